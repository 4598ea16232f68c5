"""A model file and its data, for commands that start from them."""

import os
from pathlib import Path

import pytest

from bundles import classifier, flights
from tidegate_server.threads import limit_threads

limit_threads(os.environ)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`late.skops`, with `flights.parquet` beside it."""
    import skops.io

    folder = tmp_path_factory.mktemp("model")
    frame = flights()
    frame.to_parquet(folder / "flights.parquet")
    skops.io.dump(classifier(frame), folder / "late.skops")
    return folder / "late.skops"
