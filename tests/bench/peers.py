"""What our model server answers beside others: MLServer, KServe's server, BentoML and LitServe.

    .venv/bin/python tests/bench/peers.py              about twenty minutes
    .venv/bin/python tests/bench/peers.py --short      about five; a clock that misses its bar is shown as slow
    .venv/bin/python tests/bench/peers.py whole        one part: one, whole

one      requests of one row over 16 and 64 connections; a figure is the median over the rounds, which go through all
         servers in turn, and so is a ratio
whole    requests of many rows, one at a time, from the first byte sent to the answer as an array

Each server has core 0, with all its processes, and is asked from core 1. Each has an environment of its own, from
`peer_servers/`, which is made when it is not there; serves the same three models, fitted on arrays, in the way that its
documentation shows; and is first asked for answers, which must be the model's own.

MLServer is there three times: as it comes; in one process, out of its debug mode, with adaptive batching as it answers
most, which is searched for first, for each model and number of connections; and so with our engine in place of
scikit-learn. It takes binary tensors over gRPC alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests, where the packages are

# As our server sets them, before the libraries are imported; the others get the same.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import joblib
import numpy as np

from bench.fitted import COLUMNS
from bench.load import LOAD_CORE, ask, exchange, post
from bench.peer_field import (
    BATCHABLE,
    BATCHED,
    BATCHED_ENGINE,
    LABELS,
    MODELS,
    OURS,
    OURS_SCIKIT,
    PEERS,
    PLAIN,
    Field,
    start_all,
    versions,
)
from bench.peer_requests import Rows, Target, WrongError, connect, first_output, many, row
from bench.scenarios.report import Report

CONNECTIONS = (16, 64)
SIZES = (64, 1024, 4096)
MEAN_BAR, CELL_BAR = 6.0, 4.0
DEFAULT_BARS = {"forest": 20.0, "boosting": 8.0, "logistic": 8.0}
SCIKIT_BAR = 1.2
WHOLE_BAR = 1.15


# ---------------------------------------------------------------- one row


@dataclass(frozen=True)
class Cell:
    """One server under one load in one round; times in milliseconds."""

    label: str
    model: str
    connections: int
    requests: int
    failed: int
    per_second: float
    p50: float
    p99: float


def measure(target: Target, connections: int, seconds: float) -> Cell:
    found = ask(target.port, target.request(row()), connections, seconds)
    rate = found.per_second
    return Cell(
        target.label,
        target.model,
        connections,
        found.requests,
        found.failed,
        rate,
        found.p50 * 1e3,
        found.p99 * 1e3,
    )


Place = tuple[str, str, int]
"""Label, model, connections."""


def search(field: Field, seconds: float) -> tuple[dict[Place, Target], list[dict[str, Any]]]:
    """MLServer as it answers most, for each of its places, and what each tuning answered."""
    best: dict[Place, Target] = {}
    tried = []
    for (label, model), candidates in field.candidates.items():
        for connections in CONNECTIONS:
            rates = {tuning: measure(each, connections, seconds).per_second for tuning, each in candidates.items()}
            for tuning, rate in rates.items():
                tried.append(
                    {"label": label, "model": model, "connections": connections, "per_second": rate} | asdict(tuning)
                )
            tuning = max(rates, key=lambda each: rates[each])
            best[label, model, connections] = candidates[tuning]
            said = f"max_batch_size {tuning.size}, max_batch_time {tuning.seconds:g}" if tuning.size else "no batching"
            field.report.say(f"{label}, {model}, {connections} connections: {said}, {rates[tuning]:,.0f} a second")
    return best, tried


def one_row(field: Field, *, short: bool) -> dict[str, Any]:
    report = field.report
    seconds, count = (0.7, 2) if short else (2.0, 5)
    best, tried = search(field, 0.4 if short else 0.7)
    places = {
        (label, model, connections): best.get((label, model, connections)) or field.targets.get((label, model))
        for model in MODELS
        for connections in CONNECTIONS
        for label in LABELS
    }
    rounds: list[list[Cell]] = []
    for turn in range(count + 1):
        cells = [measure(target, place[2], seconds) for place, target in places.items() if target]
        rounds += [cells] if turn else []  # the first round warms up
        report.say(f"round {turn} of {count}")
    failed = sum(cell.failed for cells in rounds for cell in cells)
    report.bar("requests that failed", f"{failed:,}", "0", passed=failed == 0)
    judge_rates(report, rates_of(rounds))
    return {"tunings": tried, "rounds": [[asdict(cell) for cell in cells] for cells in rounds]}


def rates_of(rounds: Sequence[Sequence[Cell]]) -> dict[Place, list[float]]:
    """Requests a second in each round."""
    rates: dict[Place, list[float]] = {}
    for cells in rounds:
        for cell in cells:
            rates.setdefault((cell.label, cell.model, cell.connections), []).append(cell.per_second)
    return rates


def ratio(rates: Mapping[Place, Sequence[float]], ours: Place, theirs: Place) -> float | None:
    """The median of the rounds' ratios; None if one of them is not there."""
    if ours not in rates or theirs not in rates:
        return None
    return statistics.median(a / b for a, b in zip(rates[ours], rates[theirs], strict=True))


def judge_rates(report: Report, rates: Mapping[Place, Sequence[float]]) -> None:
    print(f"\n{rates_table(rates)}\n", flush=True)
    cells = [(model, connections) for model in MODELS for connections in CONNECTIONS]

    def compare(ours: str, theirs: str, bars: Mapping[str, float]) -> list[float]:
        found = []
        for model, connections in cells:
            of = ratio(rates, (ours, model, connections), (theirs, model, connections))
            if of is None:
                continue
            found.append(of)
            what = f"{ours} / {theirs}: {model}, {connections}"
            if bars:
                bar = bars[model]
                report.bar(what, f"{of:.2f}", f">= {bar:g}", passed=of >= bar, timed=True)
            else:
                report.figure(what, f"{of:.2f}")
        return found

    found = compare(OURS, BATCHED, dict.fromkeys(MODELS, CELL_BAR))
    if found:
        mean = statistics.geometric_mean(found)
        what = f"{OURS} / {BATCHED}: geometric mean"
        report.bar(what, f"{mean:.2f}", f">= {MEAN_BAR:g}", passed=mean >= MEAN_BAR, timed=True)
    compare(OURS, BATCHED_ENGINE, {})
    for peer in PEERS:
        compare(OURS, peer, DEFAULT_BARS)
    compare(OURS, BATCHABLE, {})
    compare(OURS_SCIKIT, BATCHED, dict.fromkeys(MODELS, SCIKIT_BAR))


def rates_table(rates: Mapping[Place, Sequence[float]]) -> str:
    lines = [("requests a second", *(f"{model}, {count}" for model in MODELS for count in CONNECTIONS))]
    for label in LABELS:
        found = [rates.get((label, model, count)) for model in MODELS for count in CONNECTIONS]
        lines.append((label, *(f"{statistics.median(each):,.0f}" if each else "-" for each in found)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)


# ---------------------------------------------------------------- many rows


def binary_request(rows: Rows) -> bytes:
    data = [np.ascontiguousarray(rows[:, place], "<f8").tobytes() for place in range(len(COLUMNS))]
    tensors = [
        {"name": name, "shape": [len(rows)], "datatype": "FP64", "parameters": {"binary_data_size": len(part)}}
        for name, part in zip(COLUMNS, data, strict=True)
    ]
    said = {"inputs": tensors, "outputs": [{"name": "predict", "parameters": {"binary_data": True}}]}
    head = json.dumps(said).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return post("/v2/models/bench/infer", head + b"".join(data), headers)


def read_binary(answer: tuple[bytes, bytes]) -> Rows:
    head, body = answer
    length = next(line for line in head.lower().splitlines() if line.startswith(b"inference-header-content-length:"))
    return np.frombuffer(body, "<i8", offset=int(length.split(b":")[1]))


Timed = Callable[[float], tuple[list[float], Rows]]
"""For so many seconds: the microseconds of each call, and the last answer."""


def timed(call: Callable[[], Rows]) -> Timed:
    def run(seconds: float) -> tuple[list[float], Rows]:
        took: list[float] = []
        start = time.perf_counter()
        while not took or time.perf_counter() - start < seconds:
            before = time.perf_counter()
            answer = call()
            took.append((time.perf_counter() - before) * 1e6)
        return took, answer

    return run


def grpc_call(client: subprocess.Popen[str], model: str, rows: Path) -> Timed:
    def run(seconds: float) -> tuple[list[float], Rows]:
        source, sink = pipes(client)
        sink.write(json.dumps({"model": model, "rows": str(rows), "seconds": seconds}) + "\n")
        sink.flush()
        found = json.loads(source.readline())
        return found["us"], np.array(found["answer"])

    return run


def pipes(client: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert client.stdout
    assert client.stdin
    return client.stdout, client.stdin


IN_PROCESS, BINARY, JSON = "scikit-learn", "tidegate, binary", "tidegate, JSON"
"""The first is a call of its predict in the bench's own process."""
MLSERVER_BINARY, MLSERVER_JSON = "mlserver, binary", "mlserver, JSON"


def whole(field: Field, *, short: bool) -> dict[str, Any]:
    """Requests of many rows; MLServer is the one in a process, without batching, which only holds a lone request up."""
    seconds, count = (0.1, 3) if short else (0.4, 7)
    calls: dict[tuple[str, int], dict[str, Timed]] = {}
    answers: dict[tuple[str, int], Rows] = {}
    for model in MODELS:
        original = joblib.load(field.folder / f"{model}.joblib")
        for size in SIZES:
            rows = many(size)
            saved = field.folder / f"rows-{size}.npy"
            np.save(saved, rows)
            answers[model, size] = original.predict(rows)
            calls[model, size] = calls_of(field, model, partial(original.predict, rows), rows, saved)
    for turn in range(2):  # the first requests of many rows may make a server load what answers them
        for place, ways in calls.items():
            for way, call in ways.items():
                if not np.array_equal(call(0)[1], answers[place]):
                    raise WrongError(f"{way}, {place}: not the answers of the model")
        if not turn:
            for process in field.ours.values():
                settle(process)
    field.report.say("every way answers as the originals do")
    rounds: list[dict[tuple[str, int], dict[str, float]]] = []
    for turn in range(1, count + 1):
        rounds.append(
            {
                place: {way: statistics.median(call(seconds)[0]) for way, call in ways.items()}
                for place, ways in calls.items()
            }
        )
        field.report.say(f"round {turn} of {count}")
    judge_whole(field.report, rounds)
    return {f"{model}, {size} rows": [found[model, size] for found in rounds] for model, size in calls}


def calls_of(field: Field, model: str, predict: Callable[[], Rows], rows: Rows, saved: Path) -> dict[str, Timed]:
    def over_http(target: Target, request: bytes, read: Callable[[tuple[bytes, bytes]], Rows]) -> Timed:
        def run(seconds: float) -> tuple[list[float], Rows]:
            with connect(target.port) as connection:  # anew: some servers soon hang up where nothing is asked
                return timed(lambda: read(exchange(connection, request)))(seconds)

        return run

    def read_json(answer: tuple[bytes, bytes]) -> Rows:
        return np.array(first_output(json.loads(answer[1])))

    ours = field.targets[OURS, model]
    calls = {
        IN_PROCESS: timed(predict),
        BINARY: over_http(ours, binary_request(rows), read_binary),
        JSON: over_http(ours, ours.request(rows), read_json),
    }
    if field.client:
        theirs = field.candidates[BATCHED, model][PLAIN]
        calls[MLSERVER_BINARY] = grpc_call(field.client, theirs.path.split("/")[-2], saved)
        calls[MLSERVER_JSON] = over_http(theirs, theirs.request(rows), read_json)
    return calls


def settle(process: int) -> None:
    """Until a server does nothing."""

    def used() -> float:
        tasks = Path(f"/proc/{process}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    deadline = time.monotonic() + 60
    before = used()
    while time.monotonic() < deadline:
        time.sleep(1)
        now = used()
        if now - before < 0.02:
            return
        before = now
    raise TimeoutError("a server that is asked nothing is still at work after a minute")


def judge_whole(report: Report, rounds: Sequence[Mapping[tuple[str, int], Mapping[str, float]]]) -> None:
    ways = list(dict.fromkeys(way for found in rounds[0].values() for way in found))
    lines = [("microseconds a request", *ways)]
    for place in rounds[0]:
        medians = [statistics.median(found[place][way] for found in rounds) for way in ways]
        lines.append((f"{place[0]}, {place[1]:,} rows", *(f"{each:,.0f}" for each in medians)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print("\n" + "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines) + "\n", flush=True)

    for (model, size), found in rounds[0].items():
        for ours, theirs, bar in (
            (BINARY, IN_PROCESS, f"<= {WHOLE_BAR:g}"),
            (BINARY, MLSERVER_BINARY, "<= 1"),
            (JSON, MLSERVER_JSON, ""),
        ):
            if theirs not in found:
                continue
            of = statistics.median(each[model, size][ours] / each[model, size][theirs] for each in rounds)
            what = f"{ours} / {theirs}: {model}, {size:,}"
            if bar and model != "logistic":
                report.bar(what, f"{of:.3f}", bar, passed=of <= float(bar.split()[1]), timed=True)
            else:
                report.figure(what, f"{of:.3f}")


PARTS: dict[str, Callable[..., dict[str, Any]]] = {"one": one_row, "whole": whole}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; both without one")
    parser.add_argument("--short", action="store_true", help="fewer and shorter rounds, a shorter search")
    parser.add_argument("--json", type=Path, default=Path("dist/bench-peers.json"), help="where each round goes")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    os.sched_setaffinity(0, {LOAD_CORE})
    report = Report(options.short)
    figures: dict[str, Any] = {"versions": versions()}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        field = Field(Path(folder), stack, report)
        report.scenario = "start"
        start_all(field, short=options.short)
        for part in options.parts or PARTS:
            report.scenario = part
            figures[part] = PARTS[part](field, short=options.short)
    figures["bars"] = [asdict(each) | {"verdict": each.verdict} for each in report.rows]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=1) + "\n")
    print(
        f"\n{report.table()}\n\n{len(report.failed)} of {len(report.rows)} rows fail; each round is in {options.json}"
    )
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
