"""What the model server may cost beside a request, and what it withstands.

    .venv/bin/python tests/bench/limits.py              about half an hour
    .venv/bin/python tests/bench/limits.py --short      two minutes
    .venv/bin/python tests/bench/limits.py start        one part: recorder, start, overload

recorder   throughput with the counters of 30 features and without them, by pairs of rounds; a row on the request path
start      seconds from exec to ready, and memory with a compiled forest
overload   ten minutes at twice the capacity: of a forest's compiled engine, and of the forest itself, which is slow

Servers have core 0 to themselves and are asked from core 1; needs nothing else to run on either.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests, where the packages are

from bench.crowd import Crowd, Health, Seen, probe, request, tell
from bench.scenarios.report import Report, percentile
from plane.program import free_ports
from tidegate_contract import names

COLUMNS = tuple(f"x{place}" for place in range(30))
PARTS = ("recorder", "start", "overload")
INFER = "/v2/models/bench/infer"
SERVER_CORE, LOAD_CORE = 0, 1
RECORDER_SHARE_BAR = 0.03
RECORDER_ROW_BAR = 2e-6
CONNECTIONS = 64
FOLDED = 64
MEMORY_BAR = 80 << 20
READY_BAR = 1.0
WARM_REQUESTS = 1000
HEALTH_BAR = 0.1
FLAT_SHARE, FLAT_BYTES = 0.05, 5 << 20
LARGE_BYTES = (64 << 10, 1 << 20, 4 << 20, 15 << 20)
"""Sizes of large bodies: up to nearly what the server takes."""
AFTER_SECONDS = 11.0
"""Beyond the deadline of whatever was asked: nothing may be left of it."""
Figures = dict[str, Any]

# ---------------------------------------------------------------- the servers


def make_bundles(folder: Path) -> None:
    import numpy as np
    import pandas as pd
    import skops.io
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    from tidegate_server.offline.pack import pack

    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(2000, len(COLUMNS))), columns=COLUMNS).round(4)
    target = (frame.sum(axis=1) + random.normal(size=len(frame)) > 0).astype(int)
    models = {"logistic": LogisticRegression(), "forest": RandomForestClassifier(100, random_state=1)}
    for name, model in models.items():
        skops.io.dump(model.fit(frame, target), folder / f"{name}.skops")
        pack(folder / f"{name}.skops", frame, folder / name, name="bench")


def run_server(options: argparse.Namespace) -> None:
    """In a process of its own, until it is killed."""
    os.sched_setaffinity(0, {SERVER_CORE})
    from tidegate_server.threads import limit_threads

    limit_threads(os.environ)
    import tidegate_server.serve as module
    from tidegate_server.settings import Settings

    if options.unrecorded:
        vars(module)["Recorder"] = _without_counting()
    if options.original:
        vars(module)["load_model"] = _without_compiled(vars(module)["load_model"])
    ports = {"http_port": options.port, "metrics_port": options.metrics_port}
    module.serve(Settings(bundle_dir=options.bundle, host="127.0.0.1", **ports))


def _without_counting() -> type:
    from tidegate_server.recorder import Recorder

    class Silent(Recorder):
        def start(self) -> None:
            pass

        def add(self, *_: object) -> None:
            pass

    return Silent


def _without_compiled(load: Callable[..., Any]) -> Callable[..., Any]:
    """The model itself answers, as in a bundle that has no engine."""
    from dataclasses import replace

    def load_original(*arguments: Any, **options: Any) -> Any:
        loaded = load(*arguments, **options)
        return replace(loaded, engine=loaded.engine.load_original(), engine_kind="original")

    return load_original


AS_IN_THE_POD = """
import runpy
import tidegate_contract.names as names
names.HTTP_PORT, names.METRICS_PORT = {port}, {metrics_port}
runpy.run_module("tidegate_server", run_name="__main__", alter_sys=True)
"""
"""`python -m tidegate_server`, at ports that are free on this machine. `-m` is runpy, too."""


class Server:
    """One of them, and what it uses."""

    def __init__(self, bundle: Path, *flags: str, in_pod: bool = False) -> None:
        self.port, self.metrics_port = free_ports(2)
        environ = {**os.environ}
        if in_pod:
            code = AS_IN_THE_POD.format(port=self.port, metrics_port=self.metrics_port)
            command = [sys.executable, "-P", "-c", code]
            environ = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", names.ENV_BUNDLE_DIR: str(bundle)}
            if "PYTHONPATH" in os.environ:
                environ["PYTHONPATH"] = os.environ["PYTHONPATH"]
        else:
            command = [sys.executable, __file__, "--serve", "--bundle", str(bundle), *flags]
            command += ["--port", str(self.port), "--metrics-port", str(self.metrics_port)]
        self.began = time.perf_counter()
        self.process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)

    def wait(self) -> float:
        """Until it is ready; the seconds since it was started."""
        while time.perf_counter() < self.began + 60:
            assert self.process.poll() is None, "the server has ended"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2/health/ready", timeout=5).close()
                return time.perf_counter() - self.began
            except OSError:
                time.sleep(0.005)
        raise TimeoutError("the server is not ready")

    def cpu_seconds(self) -> float:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def memory(self, what: str = "VmRSS") -> int:
        """Bytes."""
        said = Path(f"/proc/{self.process.pid}/status").read_text().partition(f"{what}:")[2]
        return int(said.split()[0]) << 10

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])

    def command(self, *arguments: object) -> list[str]:
        """This file again, as a client of the server."""
        return [sys.executable, __file__, "--port", str(self.port), *map(str, arguments)]

    def load(self, *arguments: object) -> Seen:
        done = subprocess.run(self.command("--load", *arguments), check=True, stdout=subprocess.PIPE, timeout=900)
        return Seen(**json.loads(done.stdout))


@contextmanager
def serving(bundle: Path, *flags: str, in_pod: bool = False) -> Iterator[Server]:
    server = Server(bundle, *flags, in_pod=in_pod)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


# ---------------------------------------------------------------- the load


def body_of(rows: int) -> bytes:
    tensors = [
        {"name": name, "shape": [rows], "datatype": "FP64", "data": [(place % 9 - 4) / 3] * rows}
        for place, name in enumerate(COLUMNS)
    ]
    return json.dumps({"inputs": tensors}, separators=(",", ":")).encode()


def run_load(options: argparse.Namespace) -> None:
    """In a process of its own; prints what it saw as JSON."""
    os.sched_setaffinity(0, {LOAD_CORE})
    small, row = request(INFER, body_of(1)), len(body_of(1001)) - len(body_of(1))
    large = [request(INFER, body_of(size * 1000 // row)) for size in LARGE_BYTES] if options.rate else []
    crowd = Crowd(options.port, small, large)
    if options.rate:
        os.nice(5)  # the prober runs on the same core, and what it measures is the server
        tell(crowd.come(options.rate, options.seconds))
    elif options.requests:
        tell(crowd.ask_so_many(options.connections, options.requests))
    else:
        tell(crowd.ask_in_turn(options.connections, options.seconds))


# ---------------------------------------------------------------- the recorder


def recorder(report: Report, folder: Path) -> Figures:
    figures = {"throughput": beside_requests(report, folder / "logistic"), "row": on_the_path(folder / "logistic")}
    for what, found in figures["row"].items():
        said = f"{found['median'] * 1e6:.2f} us, p99 {found['p99'] * 1e6:.2f}"
        report.bar(f"a row, {what}", said, "<= 2 us", passed=found["median"] <= RECORDER_ROW_BAR, timed=True)
    return figures


def beside_requests(report: Report, bundle: Path) -> Figures:
    """Pairs of rounds, in new processes now and then: where its memory lies makes one a little faster or slower."""
    starts, rounds, seconds = (2, 5, 0.5) if report.short else (6, 12, 1.0)
    pairs: list[tuple[Figures, Figures]] = []
    for _ in range(starts):
        with serving(bundle) as on, serving(bundle, "--unrecorded") as off:
            for server in (on, off):
                server.wait()
                server.load("--connections", CONNECTIONS, "--seconds", 1)
            for turn in range(rounds):
                order = (on, off) if turn % 2 else (off, on)
                found = {server: _round(server, seconds) for server in order}
                pairs.append((found[on], found[off]))
            rows, left_out = on.metric("tidegate_recorded_rows_total"), on.metric("tidegate_left_out_rows_total")
            assert rows > 0, "the recorder is on, and counted nothing"
            assert off.metric("tidegate_recorded_rows_total") == 0, "the recorder is off, and counted"
    lost = [1 - on["per_second"] / off["per_second"] for on, off in pairs]
    cpu = [on["cpu"] / off["cpu"] - 1 for on, off in pairs]
    low, _, high = statistics.quantiles(lost, n=4)
    said = f"{statistics.median(lost):.1%} (quarters {low:.1%} to {high:.1%} of {len(lost)} pairs)"
    passed = statistics.median(lost) <= RECORDER_SHARE_BAR
    report.bar("throughput lost to it", said, "<= 3 %", passed=passed, timed=True)
    least = [min(pair[which]["cpu"] for pair in pairs) * 1e6 for which in (0, 1)]
    said = f"{statistics.median(cpu):.1%} (the least of any round {least[0]:.1f} us, without it {least[1]:.1f})"
    report.figure("CPU a request, more with it", said)
    report.figure("requests a second, with and without", " ".join(f"{_middle(pairs, n):.0f}" for n in (0, 1)))
    report.bar("rows left out of the counters", f"{left_out:.0f} of {rows:.0f}", "0", passed=not left_out)
    failed = sum(each["failed"] for pair in pairs for each in pair)
    report.bar("answers that are not 200", str(failed), "0", passed=not failed)
    return {"pairs": pairs, "lost": statistics.median(lost), "cpu": statistics.median(cpu)}


def _round(server: Server, seconds: float) -> Figures:
    cpu = server.cpu_seconds()
    seen = server.load("--connections", CONNECTIONS, "--seconds", seconds)
    answered = sum(seen.answers.values())
    return {
        "per_second": seen.ok_per_second,
        "failed": answered - seen.answers.get("200", 0) + sum(seen.errors.values()),
        "cpu": (server.cpu_seconds() - cpu) / answered,
    }


def _middle(pairs: Sequence[tuple[Figures, Figures]], which: int) -> float:
    found: float = statistics.median(pair[which]["per_second"] for pair in pairs)
    return found


def on_the_path(bundle: Path) -> Figures:
    """Seconds of `Recorder.add` for a row, its thread at work beside it; the calls come so that the ring has room."""
    import numpy as np

    from tidegate_contract.bundle.verify import verify
    from tidegate_server.loader import read_profile
    from tidegate_server.recorder import Marked, Recorder

    profile = read_profile(verify(bundle, None))
    assert profile
    assert len(profile.features) == len(COLUMNS)
    random = np.random.default_rng(1)
    figures = {}
    for rows, what in ((1, "alone"), (FOLDED, f"of {FOLDED} folded")):
        columns = {name: random.normal(size=rows) for name in COLUMNS}
        answers = {"predict": np.zeros(rows, np.int64), "predict_proba": np.full((rows, 2), 0.5)}
        marks = [Marked(1, evidence=True)] * rows
        recorder = Recorder(profile, pod="", revision="", digest="")
        recorder.start()
        took: list[float] = []
        for _ in range(40):
            for _ in range(512):
                start = time.perf_counter()
                recorder.add(columns, answers, rows, marks)
                took.append((time.perf_counter() - start) / rows)
            counted = recorder.read()
        recorder.close()
        assert counted.rows + counted.left_out == len(took) * rows
        assert not counted.left_out, "what is left out costs less"
        figures[what] = {"median": statistics.median(took), "p99": percentile(took, 0.99)}
    return figures


# ---------------------------------------------------------------- the start


def start(report: Report, folder: Path) -> Figures:
    times, resident, peak = [], [], []
    for turn in range((3 if report.short else 7) + 1):
        with serving(folder / "forest", in_pod=True) as server:
            seconds = server.wait()
            seen = server.load("--connections", 16, "--requests", WARM_REQUESTS)
            assert set(seen.answers) == {"200"}, seen
            if turn:  # the first one reads the files from the disk
                times.append(seconds)
                resident.append(server.memory())
                peak.append(server.memory("VmHWM"))
    said = f"{statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"
    passed = statistics.median(times) <= READY_BAR
    report.bar("from exec to ready", said, f"<= {READY_BAR} s", passed=passed, timed=True)
    for what, found in (("VmRSS", resident), ("VmHWM", peak)):
        said, passed = f"{max(found) / (1 << 20):.1f} MiB", max(found) <= MEMORY_BAR
        report.bar(f"{what} after {WARM_REQUESTS:,} requests", said, "<= 80 MiB", passed=passed)
    return {"ready_seconds": times, "resident_bytes": resident, "peak_bytes": peak}


# ---------------------------------------------------------------- the overload


def overload(report: Report, folder: Path) -> Figures:
    seconds = 30.0 if report.short else 600.0
    figures = {}
    for name, flags in (("compiled", ()), ("original", ("--original",))):
        with serving(folder / "forest", *flags) as server:
            server.wait()
            figures[name] = twice(report, name, server, seconds)
    return figures


def twice(report: Report, name: str, server: Server, seconds: float) -> Figures:
    """Twice the capacity of a server, and what it said and used."""
    server.load("--connections", CONNECTIONS // 2, "--seconds", 1)
    capacity = server.load("--connections", CONNECTIONS // 2, "--seconds", 3).ok_per_second
    loading = subprocess.Popen(server.command("--load", "--rate", 2 * capacity, "--seconds", seconds), stdout=-1)
    probing = subprocess.Popen(server.command("--probe", server.process.pid, "--seconds", seconds), stdout=-1)
    memory, load = [], []
    while loading.poll() is None:
        time.sleep(1)
        memory.append(server.memory())
        load.append(os.getloadavg()[0])
    seen = Seen(**json.loads(loading.communicate()[0]))
    health = Health(**json.loads(probing.communicate()[0]))
    memory = memory[: int(seconds)]  # after it nothing comes, and the last answers are waited for
    time.sleep(AFTER_SECONDS)
    in_flight, queued = server.metric("tidegate_in_flight"), server.metric("tidegate_queued")
    after = server.load("--connections", CONNECTIONS, "--seconds", 1)

    report.figure(f"{name}: capacity, asked, answered with 200 a second", _rates(capacity, seen))
    report.figure(f"{name}: went away, found no connection", f"{seen.left} {seen.unsent}")
    report.figure(f"{name}: 200 of a small request", f"p50 {seen.ok_p50 * 1e3:.0f} ms, p99 {seen.ok_p99 * 1e3:.0f} ms")
    others = set(seen.answers) - {"200", "503", "504", "slow 408", "slow 503"}
    report.bar(f"{name}: answers", _counts(seen.answers), "200, 503, 504; 408 to slow senders", passed=not others)
    report.bar(f"{name}: connections without an answer", _counts(seen.errors), "none", passed=not seen.errors)
    report.bar(f"{name}: health that fails", _counts(health.failed), "none", passed=not health.failed)
    said = f"{health.slowest * 1e3:.0f} ms (p99 {health.p99 * 1e3:.0f}; {health.slow} of {health.probes} too slow)"
    report.bar(f"{name}: slowest health", said, "< 100 ms", passed=health.slowest < HEALTH_BAR, timed=True)
    report.figure(f"{name}: slowest health but for waits for a processor", f"{health.slowest_served * 1e3:.0f} ms")
    middle, last = (statistics.median(part) for part in _last_thirds(memory))
    grown = last - middle
    said = f"{middle / (1 << 20):.1f} to {last / (1 << 20):.1f} MiB (peak {max(memory) / (1 << 20):.1f})"
    passed = grown <= min(FLAT_SHARE * middle, FLAT_BYTES)
    report.bar(f"{name}: memory, last third and the one before", said, "+5 %, +5 MiB", passed=passed, timed=True)
    said = f"{in_flight:.0f} in flight, {queued:.0f} queued, then {_counts(after.answers)}"
    passed = in_flight == queued == 0 and set(after.answers) == {"200"}
    report.bar(f"{name}: afterwards", said, "0, 0, all 200", passed=passed)
    return {"capacity": capacity, "seen": asdict(seen), "health": asdict(health), "memory": memory, "load": load}


def _last_thirds(samples: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    third = len(samples) // 3
    return samples[third : 2 * third], samples[2 * third :]


def _rates(capacity: float, seen: Seen) -> str:
    return f"{capacity:.0f} {seen.asked / seen.seconds:.0f} {seen.ok_per_second:.0f}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} of {what}" for what, count in counts.items()) or "none"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all without one")
    parser.add_argument("--short", action="store_true", help="fewer rounds, half a minute of overload; the same bars")
    parser.add_argument("--json", type=Path, default=Path("dist/bench-limits.json"), help="where the figures go")
    for name in ("serve", "load", "unrecorded", "original"):
        parser.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    for name in ("probe", "port", "metrics-port", "connections", "requests"):
        parser.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)
    for name in ("rate", "seconds"):
        parser.add_argument(f"--{name}", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--bundle", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve or options.load:
        (run_server if options.serve else run_load)(options)
        return 0
    if options.probe:
        os.sched_setaffinity(0, {LOAD_CORE})
        tell(probe(options.port, options.probe, options.seconds))
        return 0
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return bench(options)


def bench(options: argparse.Namespace) -> int:
    report, figures = Report(options.short), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_bundles(folder)
        for part, measure in (("recorder", recorder), ("start", start), ("overload", overload)):
            if part in (options.parts or PARTS):
                report.scenario = part
                figures[part] = measure(report, folder)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"\nfigures: {options.json}")
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
