"""A model file and its data, and an API server, for commands that start from them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundles import classifier, flights
from pretended import Api, serving, write_kubeconfig
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


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API server that the command line finds by its kubeconfig, and that holds nothing yet."""
    api = Api()
    with serving(api):
        write_kubeconfig(tmp_path / "config", api.url)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield api
