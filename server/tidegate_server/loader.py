"""From a directory to a model that is known to answer right: verify, load, ask the golden rows."""

import time
from dataclasses import dataclass
from pathlib import Path

from tidegate_contract.bundle.manifest import Manifest
from tidegate_contract.bundle.verify import verify
from tidegate_server.engines import Engine, load_engine
from tidegate_server.golden import check_golden


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that answered its golden rows, which also warmed it."""

    engine: Engine
    manifest: Manifest
    digest: str
    load_seconds: float
    """From the first byte read to the last golden row answered, imports included."""


def load_model(directory: Path, expected_digest: str | None, *, allow_pickle: bool) -> LoadedModel:
    """Verify, load, check; in this order, so that nothing is parsed that was not asked for.

    Raises BundleError.
    """
    start = time.perf_counter()
    bundle = verify(directory, expected_digest)
    engine = load_engine(bundle, allow_pickle=allow_pickle)
    check_golden(engine, bundle.manifest)
    return LoadedModel(engine, bundle.manifest, bundle.digest, time.perf_counter() - start)
