"""The servers of the peers' bench: their environments, their processes, and the models that each of them serves."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib

from bench.fitted import make_bundles
from bench.load import LOAD_CORE, SERVER_CORE
from bench.peer_requests import COLUMN_WISE, ONE_TENSOR, PLAIN_LIST, PLAIN_OBJECT, Dialect, Target, await_answer, verify
from bench.scenarios.report import Report
from cluster.layout import Cache
from plane.program import free_ports
from tidegate_contract.bundle.timings import TIMINGS_NAME, Timings, encode

MODELS = ("forest", "boosting", "logistic")
PEERS = ("mlserver", "kserve", "bentoml", "litserve")
OURS, OURS_SCIKIT = "tidegate", "tidegate, scikit-learn"
BATCHED, BATCHED_ENGINE = "mlserver batched", "mlserver batched, our engine"
BATCHABLE = "bentoml batchable"
LABELS = (OURS, OURS_SCIKIT, BATCHED, BATCHED_ENGINE, *PEERS, BATCHABLE)
"""What is compared; a peer's name alone is the peer as it comes."""

HERE = Path(__file__).resolve().parent
CODE = HERE.parents[1] / "server"
FOLDER = HERE / "peer_servers"
"""What runs in their environments, and what these hold."""
PORTS = 40


def environment(name: str, report: Report) -> Path | None:
    """The environment of a peer, made if it is not there; None if it cannot be, and the report says why."""
    locked = FOLDER / f"{name}.txt"
    digest = hashlib.sha256(locked.read_bytes()).hexdigest()[:12]
    path = Cache.from_environment(os.environ).root / "peers" / f"{name}-{digest}"
    if (path / "installed").exists():
        return path
    report.say(f"making the environment of {name}")
    uv = str(Path(sys.executable).parent / "uv")
    environ = {**os.environ, "VIRTUAL_ENV": str(path)}
    for command in (
        [uv, "venv", "-q", "--allow-existing", "--python", sys.executable, str(path)],
        [uv, "pip", "sync", "-q", "--require-hashes", str(locked)],
    ):
        done = subprocess.run(command, env=environ, check=False, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            why = " ".join(done.stderr.split())[-300:]
            version = ".".join(map(str, sys.version_info[:2]))
            report.bar(f"{name} is there", f"does not install on Python {version}: {why}", "installs", passed=False)
            return None
    (path / "installed").touch()
    return path


def versions() -> dict[str, str]:
    """Of the peers."""
    pins = {name: (FOLDER / f"{name}.in").read_text().splitlines()[0] for name in PEERS}
    return {name: pin.partition("==")[2] for name, pin in pins.items()}


@contextmanager
def running(command: Sequence[str], environ: Mapping[str, str], log: Path, folder: Path) -> Iterator[int]:
    """A server and all its processes, on the core of servers; its process id."""
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "", **environ}
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(SERVER_CORE), *command],
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        process.terminate()  # those that start processes end them
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@dataclass(frozen=True)
class Tuning:
    """Of MLServer's adaptive batching."""

    size: int
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.size}-{self.seconds:g}"


PLAIN = Tuning(0, 0)
"""Without batching."""


def tunings(*, short: bool) -> list[Tuning]:
    sizes, times = ((16, 64), (0.005,)) if short else ((8, 16, 32, 64), (0.001, 0.005, 0.02))
    return [PLAIN, *(Tuning(size, seconds) for size in sizes for seconds in times)]


class Field:
    """All servers, started, and what can be asked of them."""

    def __init__(self, folder: Path, stack: ExitStack, report: Report) -> None:
        self.folder = folder
        self.stack = stack
        self.report = report
        self.targets: dict[tuple[str, str], Target] = {}
        """By label and model."""
        self.candidates: dict[tuple[str, str], dict[Tuning, Target]] = {}
        """MLServer's, likewise."""
        self.ours: dict[str, int] = {}
        """Process ids of ours with its compiled engine, by model."""
        self._ports = iter(free_ports(PORTS))  # at once, so that no two servers get the same
        self._log = folder
        """Of the server that was started last."""
        self.client: subprocess.Popen[str] | None = None
        """Of MLServer, for binary tensors."""

    def start(self, command: Sequence[object], name: str, environ: Mapping[str, str] | None = None) -> int:
        self._log = self.folder / f"{name}.log"
        return self.stack.enter_context(running(list(map(str, command)), environ or {}, self._log, FOLDER))

    def ports(self, count: int) -> list[int]:
        return [next(self._ports) for _ in range(count)]

    def add(self, label: str, model: str, port: int, path: str, dialect: Dialect) -> None:
        self.targets[label, model] = Target(label, model, port, path, dialect, self._log)

    def start_ours(self) -> None:
        for label, ending in ((OURS, ""), (OURS_SCIKIT, "-scikit")):
            for model in MODELS:
                port, metrics = self.ports(2)
                name = model + ending
                command = [sys.executable, HERE / "server.py", "--serve", name, "--folder", self.folder]
                command += ["--port", str(port), "--metrics-port", str(metrics)]
                process = self.start(command, f"tidegate-{name}", {"PYTHONPATH": str(CODE)})
                if label == OURS:
                    self.ours[model] = process
                self.add(label, model, port, "/v2/models/bench/infer", COLUMN_WISE)

    def start_mlserver(self, env: Path, tried: Sequence[Tuning]) -> None:
        def serve(name: str, settings: dict[str, object], models: dict[str, dict[str, object]]) -> tuple[int, int]:
            home = self.folder / name
            port, grpc, metrics = self.ports(3)
            ports = {"host": "127.0.0.1", "http_port": port, "grpc_port": grpc, "metrics_port": metrics}
            write(home / "settings.json", {**ports, **settings})
            for model, said in models.items():
                write(home / model / "model-settings.json", {"name": model, **said})
            paths = os.pathsep.join(map(str, (FOLDER, CODE)))
            self.start([env / "bin/mlserver", "start", home], name, {"PYTHONPATH": paths})
            return port, grpc

        def model_of(model: str) -> dict[str, object]:
            uri = str(self.folder / f"{model}.joblib")
            return {"implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": uri}}

        port, _ = serve("mlserver", {}, {model: model_of(model) for model in MODELS})
        for model in MODELS:
            self.add("mlserver", model, port, f"/v2/models/{model}/infer", ONE_TENSOR)

        models: dict[str, dict[str, object]] = {}
        names: dict[tuple[str, str, Tuning], str] = {}
        for model in MODELS:
            uri = str(self.folder / model)
            engine = {"implementation": "mlserver_engine.EngineModel", "parameters": {"uri": uri}}
            for label, said in ((BATCHED, model_of(model)), (BATCHED_ENGINE, engine)):
                for tuning in tried:
                    name = f"{model}-{'engine' if label == BATCHED_ENGINE else 'scikit'}-{tuning.name}"
                    models[name] = {**said, "max_batch_size": tuning.size, "max_batch_time": tuning.seconds}
                    names[label, model, tuning] = name
        port, grpc = serve("mlserver-in-process", {"parallel_workers": 0, "debug": False}, models)
        for (label, model, tuning), name in names.items():
            target = Target(label, model, port, f"/v2/models/{name}/infer", ONE_TENSOR, self._log)
            self.candidates.setdefault((label, model), {})[tuning] = target
        self.client = subprocess.Popen(
            [env / "bin/python", FOLDER / "mlserver_client.py", str(grpc), str(LOAD_CORE)],
            env={**os.environ, "PYTHONPATH": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.stack.callback(self.client.wait)
        self.stack.callback(self.client.kill)

    def start_kserve(self, env: Path) -> None:
        port, grpc = self.ports(2)
        command = [env / "bin/python", "kserve_server.py", "--folder", self.folder]
        self.start([*command, "--http_port", str(port), "--grpc_port", str(grpc)], "kserve")
        for model in MODELS:
            self.add("kserve", model, port, f"/v2/models/{model}/infer", ONE_TENSOR)

    def start_bentoml(self, env: Path) -> None:
        (port,) = self.ports(1)
        home = self.folder / "bentoml"
        home.mkdir()
        environ = {
            "BENTOML_HOME": str(home),
            "BENTOML_DO_NOT_TRACK": "True",
            "BENCH_FOLDER": str(self.folder),
            "PATH": f"{env / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        command = [env / "bin/bentoml", "serve", "bentoml_service:Models", "--host", "127.0.0.1", "--port", str(port)]
        self.start(command, "bentoml", environ)
        for model in MODELS:
            self.add("bentoml", model, port, f"/{model}", PLAIN_LIST)
            self.add(BATCHABLE, model, port, f"/{model}_batchable", PLAIN_LIST)

    def start_litserve(self, env: Path) -> None:
        (port,) = self.ports(1)
        command = [env / "bin/python", "litserve_server.py", "--folder", self.folder, "--port", str(port)]
        self.start(command, "litserve")
        for model in MODELS:
            self.add("litserve", model, port, f"/{model}", PLAIN_OBJECT)

    def every(self) -> list[Target]:
        return [*self.targets.values(), *(target for found in self.candidates.values() for target in found.values())]


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def start_all(field: Field, *, short: bool) -> None:
    """Every server that installs. Raises TimeoutError or WrongError for one that does not answer as the model does."""
    field.report.say("fitting and packing the models")
    models = make_bundles(field.folder, named=False)
    for name, model in models.items():
        joblib.dump(model, field.folder / f"{name}.joblib")
        without_engine(field.folder / name, field.folder / f"{name}-scikit")
    starts: dict[str, Callable[[Path], None]] = {
        "mlserver": partial(field.start_mlserver, tried=tunings(short=short)),
        "kserve": field.start_kserve,
        "bentoml": field.start_bentoml,
        "litserve": field.start_litserve,
    }
    environments = {name: environment(name, field.report) for name in PEERS}
    field.start_ours()
    for name, start in starts.items():
        if env := environments[name]:
            start(env)
    for target in field.every():
        await_answer(target)
    field.report.say("every server answers; verifying their answers")
    for target in field.every():
        verify(target, models[target.model])
    field.report.say(f"{len(field.every())} models of {len(PEERS) + 1} servers answer as the originals do")


def without_engine(bundle: Path, out: Path) -> None:
    """The same bundle where the model itself is known to be the faster one, and answers."""
    shutil.copytree(bundle, out)
    (out / TIMINGS_NAME).write_bytes(encode(Timings(rows=(1,), compiled=(2.0,), original=(1.0,))))
