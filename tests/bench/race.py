"""Tidegate against Argo Rollouts with Prometheus: the same pods, the same faults, one after the other.

    .venv/bin/python tests/bench/race.py                                 ten rounds of everything: six hours
    .venv/bin/python tests/bench/race.py --rounds 1 --against expert     one round beside the expert: fifteen minutes
    .venv/bin/python tests/bench/race.py --continue                      go on with the runs that are missing

A candidate gets 5 of 100 requests and fails for 100, 20 or 5 % of its answers; stable fails for 0.5 %. Measured is what
clients see: from its first answer to its last before its weight is taken away. In an `outage` both versions fail
everything for 20 seconds, and nothing should be taken back. docs/race.md says what is fair about it and what is not.

Needs the cluster and the operator of `make cluster images install`; the first time it builds the other side.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests, where the packages are

from bench.racing import argo
from bench.racing.clients import Clients
from bench.racing.results import HEALTHY_SECONDS, OUTAGE, TIDEGATE, Run, bars, table, timed
from bench.racing.settings import SETTINGS
from bench.racing.tidegate import Tidegate
from bench.rollout import MODEL, RATE, staged
from bench.scenarios.report import Report
from deployed import until_ready
from kube import Kube, wait_for

STABLE_FAILS = 0.005
DOCS = "docs"
OUTAGE_SECONDS, AFTERWARDS = 20.0, 62.0
"""Of an outage: until the longest window has nothing of it any more."""


@dataclass(frozen=True)
class Fault:
    fails: float
    """Share of the candidate's answers."""
    outage: bool = False
    turns: int = 1
    """How often in a round."""


FAULTS = {
    "100": Fault(1.0),
    "20": Fault(0.2),
    "5": Fault(0.05),
    OUTAGE: Fault(STABLE_FAILS, outage=True, turns=2),
}


class Racer(Protocol):
    """One side: what stands, and a release at a time."""

    @property
    def withdrawn(self) -> float | None:
        """When it was seen that the candidate's weight is taken away."""

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""

    @property
    def why(self) -> str: ...

    def followed(self, clients: Clients) -> AbstractContextManager[None]: ...

    def release(self, system: str, fails: float) -> str: ...

    def reset(self) -> None: ...


Cell = tuple[int, int, str, str]
"""Round, turn, system, fault."""


def cells(systems: list[str], faults: list[str], rounds: int, docs_rounds: int) -> Iterator[Cell]:
    """In their order: each round has every system beside the others on each fault, in turns who is first."""
    for number in range(rounds):
        for fault in faults:
            for turn in range(FAULTS[fault].turns):
                first = (number + turn) % len(systems)
                for system in systems[first:] + systems[:first]:
                    if system != DOCS or (number < docs_rounds and turn == 0):
                        yield number, turn, system, fault


def until(ended: Callable[[], bool], seconds: float) -> None:
    """Until that, or the time is over."""
    end = time.monotonic() + seconds
    while not ended() and time.monotonic() < end:
        time.sleep(0.2)


def raced(racer: Racer, cell: Cell, limit: float) -> Run:
    """One release, from stable alone to stable alone."""
    number, turn, system, name = cell
    fault = FAULTS[name]
    at, load = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0]
    with Clients(RATE) as clients:
        with racer.followed(clients):
            wait_for("answers", lambda: len(clients.answers) > RATE, 30)
            candidate = racer.release(system, fault.fails)
            wait_for("an answer of the candidate", lambda: clients.of(candidate), 120, pause=0.02)
            if fault.outage:
                for seconds, out in ((HEALTHY_SECONDS, True), (OUTAGE_SECONDS, False), (AFTERWARDS, False)):
                    until(lambda: racer.withdrawn is not None, seconds)
                    clients.outage(out)
            else:
                until(lambda: racer.over, limit)
            time.sleep(1.0)  # what was asked for is answered
            withdrawn, why = racer.withdrawn, racer.why
        answers = clients.of(candidate)
    racer.reset()
    what: dict[str, Any] = timed(answers, withdrawn)
    return Run(number, turn, system, name, limit=limit, load=round(load, 2), at=at, why=why, **what)


def kept(path: Path) -> list[Run]:
    return [Run(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def race(options: argparse.Namespace) -> list[Run]:
    path: Path = options.json
    path.parent.mkdir(parents=True, exist_ok=True)
    systems = [TIDEGATE, *options.against]
    runs = kept(path)
    done = {run.cell for run in runs}
    left = [cell for cell in cells(systems, options.faults, options.rounds, options.docs_rounds) if cell not in done]
    kube, report = Kube(), Report()
    with (
        staged(kube, os.environ["CLUSTER_REGISTRY"], report, name="race-tidegate", FAILS=STABLE_FAILS) as stage,
        tempfile.TemporaryDirectory() as folder,
    ):
        revision = until_ready(kube, stage.namespace)["status"]["stable"]["revision"]
        deployment = kube.get("deployment", f"{MODEL}-{revision}", stage.namespace)
        tidegate = Tidegate(stage, STABLE_FAILS)
        with argo.standing(kube, f"race-argo-{uuid.uuid4().hex[:8]}", deployment, Path(folder)) as rollouts:
            for number, turn, system, fault in left:
                report.scenario = f"round {number + 1}, {fault}, {system}"
                racer: Racer = tidegate if system == TIDEGATE else rollouts
                limit = options.docs_limit if system == DOCS else options.limit
                run = raced(racer, (number, turn, system, fault), limit)
                runs.append(run)
                with path.open("a") as out:
                    out.write(json.dumps(asdict(run)) + "\n")
                report.say(
                    f"{'taken back' if run.withdrawn else 'goes on'}, {run.seconds} s, {run.failed} failed answers "
                    f"of {run.answers}, {run.failed_in_all} in all, load {run.load}: {run.why[:160]}"
                )
    return runs


def listed(of: list[str]) -> Any:
    """A type for argparse: some of these, with commas between them."""

    def parsed(text: str) -> list[str]:
        found = [name for name in text.split(",") if name]
        if unknown := set(found) - set(of):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(of)}")
        return found

    return parsed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="an outage comes twice in each")
    parser.add_argument("--faults", type=listed([*FAULTS]), default=[*FAULTS], help=f"of {','.join(FAULTS)}")
    parser.add_argument(
        "--against", type=listed([*SETTINGS]), default=[*SETTINGS], help=f"of {','.join(SETTINGS)}, or ''"
    )
    parser.add_argument("--docs-rounds", type=int, default=1, help="in which docs takes part: it needs half an hour")
    parser.add_argument("--limit", type=float, default=600.0, metavar="SECONDS", help="of a run")
    parser.add_argument("--docs-limit", type=float, default=1800.0, metavar="SECONDS", help="of one of docs")
    parser.add_argument("--json", type=Path, default=Path("dist/race.jsonl"), help="where each run goes")
    parser.add_argument("--continue", dest="resumed", action="store_true", help="only what is not there yet")
    options = parser.parse_args()
    if options.json.exists() and not options.resumed:
        parser.error(f"{options.json} has runs of another time: --continue, or take it away")
    runs = race(options)
    print(f"\n{table(runs, [TIDEGATE, *options.against], options.faults)}\n")
    rows = bars(runs)
    for what, figures, passed in rows:
        print(f"{'pass' if passed else 'FAIL'}  {what}: {figures}")
    return 0 if all(passed for *_, passed in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
