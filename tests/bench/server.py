"""What a request costs the model server, beside a bare uvicorn that only says hello.

    .venv/bin/python tests/bench/server.py                              about four minutes
    .venv/bin/python tests/bench/server.py --short
    .venv/bin/python tests/bench/server.py --beside ../other/server     that checkout's too, in the same rounds

One row a request. Each server has core 0 to itself while it is asked, from core 1; the rounds go through all of them in
turn. `fast` is a linear model in numpy with everything of the server around it, which is what a compiled engine leaves.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests, where the packages are

from bench.fitted import COLUMNS, make_bundles
from bench.load import SERVER_CORE, ask, post
from plane.program import free_ports

HELLO = "hello"
MODELS = ("fast", "logistic", "boosting", "forest")
CONNECTIONS = (1, 16, 64)
INFER = "/v2/models/bench/infer"
RATIO_BAR = 2.0


@dataclass(frozen=True)
class Cell:
    """One server under one load in one round; times in microseconds."""

    server: str
    connections: int
    requests: int
    failed: int
    per_second: float
    p50: float
    p99: float
    cpu: float
    """The server's, for each request."""
    predict: float
    """Inside the model by the clock, so more than its CPU where others have the core. A predict of several is shared
    among them."""
    together: float
    """Requests for each predict."""


# ---------------------------------------------------------------- the servers


class FastEngine:
    """A linear model of the bench's columns."""

    def predict(self, columns: Any, outputs: Sequence[str]) -> Any:
        import numpy as np

        rows = np.column_stack([columns[name] for name in COLUMNS])
        chance = 1 / (1 + np.exp(-rows.sum(axis=1)))
        answers = {"predict": (chance > 0.5).astype(np.int64), "predict_proba": np.column_stack([1 - chance, chance])}
        return {name: answers[name] for name in outputs}


def run_server(name: str, port: int, metrics_port: int, folder: Path) -> None:
    """In a process of its own, until it is killed."""
    os.sched_setaffinity(0, {SERVER_CORE})
    if name == HELLO:
        run_hello(port)
        return
    from tidegate_server.threads import limit_threads

    limit_threads(os.environ)
    import tidegate_server.serve as module
    from tidegate_server.settings import Settings

    if name == "fast":
        load = vars(module)["load_model"]

        def load_fast(*arguments: Any, **options: Any) -> Any:
            from dataclasses import replace

            return replace(load(*arguments, **options), engine=FastEngine())

        vars(module)["load_model"] = load_fast
    bundle = folder / ("logistic" if name == "fast" else name)
    module.serve(Settings(bundle_dir=bundle, host="127.0.0.1", http_port=port, metrics_port=metrics_port))


def run_hello(port: int) -> None:
    import uvicorn

    async def hello(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"5"), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello"})

    uvicorn.run(hello, port=port, log_config=None, access_log=False, server_header=False, lifespan="off", ws="none")


class Server:
    """One of them, and what it has used."""

    def __init__(self, name: str, code: Path | None, folder: Path) -> None:
        self.label = name if code is None else f"{name} ({code})"
        self.model = name
        self.port, self.metrics_port = free_ports(2)
        environ = {**os.environ, "PYTHONPATH": str(code.resolve()) if code else ""}
        command = [sys.executable, __file__, "--serve", name, "--folder", str(folder)]
        command += ["--port", str(self.port), "--metrics-port", str(self.metrics_port)]
        self.process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)

    def wait(self) -> None:
        path = "/" if self.model == HELLO else "/v2/health/ready"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError(f"{self.label} is not ready")

    def cpu_seconds(self) -> float:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def predicts(self) -> tuple[float, float]:
        """How many, and the seconds of all of them."""
        if self.model == HELLO:
            return 0, 0
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            said = answer.read().decode()
        count, total = (re.search(rf"^tidegate_predict_seconds_{what} (\S+)$", said, re.M) for what in ("count", "sum"))
        assert count
        assert total
        return float(count[1]), float(total[1])


# ---------------------------------------------------------------- the load


def request_of(server: str) -> bytes:
    if server == HELLO:
        return b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n"
    tensors = [
        {"name": name, "shape": [1], "datatype": "FP64", "data": [0.25 * place - 1]}
        for place, name in enumerate(COLUMNS)
    ]
    body = json.dumps({"inputs": tensors}).encode()
    return post(INFER, body)


def measure(server: Server, connections: int, seconds: float) -> Cell:
    (count, inside), cpu = server.predicts(), server.cpu_seconds()
    found = ask(server.port, request_of(server.model), connections, seconds)
    cpu = server.cpu_seconds() - cpu
    count, inside = (after - before for after, before in zip(server.predicts(), (count, inside), strict=True))
    requests = max(1, found.requests)
    return Cell(
        server.label,
        connections,
        found.requests,
        found.failed,
        found.per_second,
        found.p50 * 1e6,
        found.p99 * 1e6,
        cpu / requests * 1e6,
        inside / requests * 1e6,
        requests / count if count else 0.0,
    )


# ---------------------------------------------------------------- the table

TITLES: tuple[str, ...] = (
    *("server", "conn", "req/s", "p50 ms", "p99 ms", "CPU us", "model us", "together", "hellos", "without model"),
)


def middle(cells: Sequence[Cell], what: str) -> float:
    found: float = statistics.median(getattr(cell, what) for cell in cells)
    return found


def ratios(cells: Sequence[Cell], hellos: Sequence[Cell]) -> tuple[float, float]:
    """Medians over the rounds of the CPU for a request in hellos: all of it, and what is not the model's."""
    pairs = list(zip(cells, hellos, strict=True))
    return (
        statistics.median(cell.cpu / hello.cpu for cell, hello in pairs),
        statistics.median((cell.cpu - cell.predict) / hello.cpu for cell, hello in pairs),
    )


def table(rounds: Sequence[Cell]) -> tuple[str, bool]:
    """The table, and whether the bar is reached."""
    lines = [TITLES]
    passed = True
    for server in dict.fromkeys(cell.server for cell in rounds):
        for connections in CONNECTIONS:
            cells = [cell for cell in rounds if (cell.server, cell.connections) == (server, connections)]
            hellos = [cell for cell in rounds if (cell.server, cell.connections) == (HELLO, connections)]
            whole, without = ratios(cells, hellos)
            passed = passed and (server != "fast" or whole <= RATIO_BAR)
            times = [f"{middle(cells, what) / 1000:.2f}" for what in ("p50", "p99")]
            rest = [f"{middle(cells, what):.0f}" for what in ("cpu", "predict")]
            together = f"{middle(cells, 'together'):.1f}"
            head = (server, str(connections), f"{middle(cells, 'per_second'):.0f}")
            lines.append((*head, *times, *rest, together, f"{whole:.2f}", f"{without:.2f}" if without > 0 else "?"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines), passed


def bench(options: argparse.Namespace) -> int:
    seconds, count = (0.5, 3) if options.short else (1.5, 7)
    rounds: list[Cell] = []
    servers: list[Server] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_bundles(folder)
        try:
            for code in (None, *options.beside):
                servers += [Server(model, code, folder) for model in ([HELLO] if code is None else []) + options.models]
            for server in servers:
                server.wait()
            for turn in range(count + 1):
                for connections in CONNECTIONS:
                    cells = [measure(server, connections, seconds) for server in servers]
                    rounds += cells if turn else []  # the first round warms up
                print(f"round {turn} of {count}", file=sys.stderr)
        finally:
            for server in servers:
                server.process.kill()
                server.process.wait()
    text, passed = table(rounds)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(cell) for cell in rounds], indent=1) + "\n")
    failed = sum(cell.failed for cell in rounds)
    print(f"{text}\n\n{failed} requests were not answered with 200; each round is in {options.json}")
    if "fast" in options.models:
        print(f"the fast model at every load: median ratio <= {RATIO_BAR:g} hellos: {'pass' if passed else 'FAIL'}")
    return 0 if passed and not failed else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="model", help=f"of {', '.join(MODELS)}; all without one")
    parser.add_argument("--short", action="store_true", help="three rounds of half a second")
    parser.add_argument("--beside", type=Path, action="append", default=[], help="the `server` folder of a checkout")
    parser.add_argument("--json", type=Path, default=Path("dist/bench-server.json"), help="where each round goes")
    for name in ("port", "metrics-port"):
        parser.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        run_server(options.serve, options.port, options.metrics_port, options.folder)
        return 0
    if unknown := set(options.models) - set(MODELS):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    options.models = options.models or list(MODELS)
    return bench(options)


if __name__ == "__main__":
    sys.exit(main())
