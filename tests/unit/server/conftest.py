"""Real bundles, packed once a session, and models that do as they are told."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bundles import SIGNATURE, classifier, flights, manifest, regressor
from processes import STAND_IN, Process, Receiver, receiver
from tidegate_contract.profile import Profile
from tidegate_server.batch import Predictor
from tidegate_server.http.state import Serving
from tidegate_server.recorder import Recorder
from tidegate_server.tensors import Columns
from tidegate_server.threads import limit_threads

limit_threads(os.environ)


@dataclass(frozen=True)
class Trained:
    """Model files and the table that they were trained on."""

    frame: pd.DataFrame
    data: Path
    skops: Path
    joblib: Path
    regression: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    import joblib
    import skops.io

    folder = tmp_path_factory.mktemp("trained")
    frame = flights()
    paths = Trained(
        frame, folder / "flights.parquet", folder / "late.skops", folder / "late.joblib", folder / "minutes.skops"
    )
    frame.to_parquet(paths.data)
    model = classifier(frame)
    skops.io.dump(model, paths.skops)
    joblib.dump(model, paths.joblib)
    skops.io.dump(regressor(frame), paths.regression)
    return paths


@pytest.fixture(scope="session")
def bundle(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classification over text, numbers, booleans and missing values."""
    from tidegate_server.offline.pack import pack

    out = tmp_path_factory.mktemp("bundles") / "late"
    return pack(trained.skops, trained.frame, out, name="flights").directory


@pytest.fixture(scope="session")
def one_tensor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX classification that is asked by one tensor, and answers what is missing too."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    from tidegate_server.offline.pack import pack

    folder = tmp_path_factory.mktemp("one_tensor")
    rows = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    model = RandomForestClassifier(10, random_state=0).fit(rows, np.where(rows.sum(axis=1) > 0, "late", "in time"))
    graph = to_onnx(model, rows[:1], options={id(model): {"zipmap": False}})
    (folder / "m.onnx").write_bytes(graph.SerializeToString())
    frame = pd.DataFrame(rows, columns=["a", "b", "c"])
    return pack(folder / "m.onnx", frame, folder / "bundle", name="flights", tensor="rows").directory


@dataclass
class FakeEngine:
    """Answers 0.25 and 0.75 for every row, or does what `behave` says first."""

    behave: Callable[[Columns], None] = lambda columns: None
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        self.calls.append(tuple(outputs))
        self.behave(columns)
        rows = len(columns["delay"])
        answers: dict[str, Any] = {
            "predict": np.ones(rows, np.int64),
            "predict_proba": np.tile([0.25, 0.75], (rows, 1)),
        }
        return {name: answers[name] for name in outputs}


class Gate:
    """A model that waits until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, columns: Columns) -> None:
        self.entered.set()
        assert self.opened.wait(20)


def serving(
    engine: FakeEngine, max_waiting: int = 8, max_bytes: int = 64 << 20, profile: Profile | None = None
) -> Serving:
    """A loaded model of the signature of `bundles.SIGNATURE`."""
    digest = "sha256:" + "0" * 64
    recorder = Recorder(profile, pod="pod-1", revision="abc123", digest=digest)
    predictor = Predictor(engine, lambda rows, seconds: None, SIGNATURE, recorder.add, max_waiting, max_bytes)
    return Serving("flights", "abc123", digest, manifest(signature=SIGNATURE), profile, predictor, recorder)


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def run(*command: str, **environ: str) -> Process:
        started.append(Process(*command, **environ))
        return started[-1]

    yield run
    for server in started:
        server.process.kill()
        server.process.communicate()


@pytest.fixture
def stand_in(start: Any) -> Callable[..., Process]:
    def run(load: float = 0, predict: float = 0, drain: float = 0.6, timeout: float = 10, **environ: str) -> Process:
        seconds = map(str, (load, predict, drain, timeout))
        server: Process = start(STAND_IN, "{port}", "{metrics}", *seconds, **environ)
        return server

    return run


@pytest.fixture
def sink() -> Iterator[Receiver]:
    """Something that takes whatever is posted to it."""
    with receiver() as found:
        yield found


@pytest.fixture
def make_serving() -> Callable[..., Serving]:
    return serving


@pytest.fixture
def fake_engine() -> type[FakeEngine]:
    return FakeEngine


@pytest.fixture
def gate() -> Gate:
    return Gate()
