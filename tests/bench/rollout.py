"""What a version costs that evidence judges: from its first wrong answer to its end, or to its taking over.

    .venv/bin/python tests/bench/rollout.py              every case, on the real cluster, about six minutes
    .venv/bin/python tests/bench/rollout.py fails        one of them

fails    it answers 500 to everything, at 5 of 100 requests: the first strike, and the second
latch    the same after a while, when no operator is there
kills    both operators are killed when a bad one has its first strike, at each step of a good one and in its bake
good     it is as good as stable: until it has all requests

Needs the cluster and the operator of `make cluster images install`.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests, where the packages are

import deployed
import models
from bench.scenarios.report import Report
from bench.soak import PATIENCE, SERVER, Load, kill_operators, no_operator, pushed, until_two_routers
from deployed import Pushed, model, until_ready
from kube import Kube, Object, wait_for
from tidegate_contract import labels

RATE = 100.0
MODEL = "small"
AGAIN = 100
SETTLED_SECONDS = 5.0
"""After a change of spec a new version has had its first pod for long by then."""


class Stage:
    """A model that serves through routers, and other versions of it that fail as they are told."""

    def __init__(self, kube: Kube, namespace: str, bundle: Pushed, report: Report) -> None:
        self.kube, self.namespace, self.bundle, self.report = kube, namespace, bundle, report
        self.past: list[Object] = []

    def apply(self, rollout: Object, **env: object) -> None:
        template = {"env": [{"name": name, "value": str(value)} for name, value in env.items()]}
        spec = {"server": SERVER | {"template": template}, "traffic": {"via": "Router"}, "scaling": {"replicas": 2}}
        made = model(self.namespace, self.bundle, **spec, rollout=rollout)
        made["spec"]["model"]["allowPickle"] = True
        self.kube.apply(made)

    @property
    def status(self) -> Object:
        found: Object = self.kube.get("mdep", MODEL, self.namespace)["status"]
        return found

    def pods(self) -> list[Object]:
        return self.kube.items("pods", self.namespace)

    def begin(self) -> None:
        """What was decided until now is the past."""
        self.past = self.status["decisions"]

    def decided(self, what: str) -> list[Object]:
        found = (decision for decision in self.status["decisions"] if decision not in self.past)
        return [decision for decision in found if decision["what"] == what]

    def until_phase(self, phase: str) -> None:
        wait_for(phase, lambda: self.status["phase"] == phase, 200)

    @contextlib.contextmanager
    def load(self) -> Iterator[Load]:
        ip = self.kube.get("service", MODEL, self.namespace)["spec"]["clusterIP"]
        with Load(ip, 100, RATE) as load:
            yield load


def fails(stage: Stage) -> None:
    """It answers 500 to everything."""
    rollout = {"strategy": "Canary", "steps": [{"weight": 5}, {"weight": 50}], "retryToken": "1"}
    with stage.load() as load:
        stage.apply(rollout, FAILS=1)
        wait_for("a strike", lambda: stage.decided("Strike"), PATIENCE)
        wait_for("a rollback", lambda: stage.decided("Rollback"), 2 * PATIENCE)
    times = sorted((due, known) for seen in load.seen for due, known, _ in seen.lost)
    (strike,), (rollback,) = stage.decided("Strike"), stage.decided("Rollback")
    # Between the two trials new pods are made, which takes seconds in which nothing fails.
    gap = max(range(1, len(times)), key=lambda at: times[at][0] - times[at - 1][0])
    report = stage.report
    report.figure("the first strike says", strike["why"])
    report.figure("the rollback says", rollback["why"])
    lasted = times[gap - 1][0] - times[0][0]
    report.bar("first trial: from the first failed answer to the last", f"{lasted:.2f} s", "<= 3 s", passed=lasted <= 3)
    report.bar("first trial: failed answers", str(gap), "<= 20", passed=gap <= 20)
    report.bar("failed answers in all", str(len(times)), "<= 40", passed=len(times) <= 40)
    rejected = [entry["revision"] for entry in stage.status["rejected"]]
    report.bar("it is rejected", str(strike["revision"] in rejected), "True", passed=strike["revision"] in rejected)
    report.figure("answers in all", str(load.asked))
    insisted(stage, rollout, strike["revision"])


def insisted(stage: Stage, rollout: Object, rejected: str) -> None:
    """What was rejected is asked for again and again, as a machine does that keeps a cluster as Git says."""
    before = stage.status["decisions"]
    for _ in range(AGAIN):
        stage.apply(rollout, FAILS=1)
    time.sleep(SETTLED_SECONDS)
    made = [pod for pod in stage.pods() if pod["metadata"]["labels"].get(labels.REVISION) == rejected]
    nothing = stage.status["decisions"] == before and "candidate" not in stage.status and not made
    said = f"{len(stage.status['decisions']) - len(before)} decisions, {len(made)} pods"
    stage.report.bar(f"the same applied {AGAIN} times", said, "nothing happens", passed=nothing)
    stage.apply(rollout, RELEASE="mended")
    wait_for("a changed one starts", lambda: "candidate" in stage.status, PATIENCE)
    begun = stage.status["candidate"]["revision"]
    stage.report.bar("then a changed one", f"{begun} starts", "another one starts", passed=begun != rejected)
    stage.apply({"strategy": "Immediate"})
    until_ready(stage.kube, stage.namespace, seconds=PATIENCE)


def latch(stage: Stage) -> None:
    """It begins to fail when no operator is there: the routers find out, and the operator hears of it afterwards."""
    with stage.load() as load:
        rollout = {"strategy": "Canary", "steps": [{"weight": 5}, {"weight": 50}], "retryToken": "3"}
        stage.apply(rollout, FAILS=1, AFTER=25)
        wait_for("its first requests", lambda: stage.status.get("candidate", {}).get("weight") == 5, PATIENCE)
        with no_operator(stage.kube):
            time.sleep(40)
            assert not stage.decided("Strike")
        wait_for("a strike", lambda: stage.decided("Strike"), PATIENCE)
        stage.apply({"strategy": "Immediate"})
        until_ready(stage.kube, stage.namespace, seconds=PATIENCE)
    times = sorted(due for seen in load.seen for due, _, _ in seen.lost)
    lasted, report = times[-1] - times[0], stage.report
    report.figure("the strike says", stage.decided("Strike")[-1]["why"])
    passed = lasted <= 2 or len(times) <= 40
    said = f"{lasted:.2f} s, {len(times)} requests"
    report.bar("from the first failed answer to the last", said, "<= 2 s or <= 40", passed=passed)


def good(stage: Stage) -> None:
    """As good as stable, without an error."""
    began = datetime.now(UTC)
    with stage.load() as load:
        rollout = {"strategy": "Canary", "steps": [{"weight": 10}, {"weight": 50}], "retryToken": "2"}
        stage.apply(rollout | {"bake": {"duration": "20s"}}, RELEASE="next")
        wait_for("it takes over", lambda: stage.decided("Promoted"), 300)
        until_ready(stage.kube, stage.namespace, seconds=120)
    step = stage.decided("Step")[-1]
    (promoted,) = stage.decided("Promoted")
    took = (datetime.fromisoformat(promoted["at"]) - began).total_seconds()
    stage.report.figure("its last step says", step["why"])
    stage.report.figure("from its being asked for to its taking over", f"{took:.0f} s")
    lost = load.lost.total()
    stage.report.bar("requests lost", f"{lost} of {load.asked}", "0", passed=not lost)


def kills(stage: Stage) -> None:
    """SIGKILL of both operators in every phase."""
    with stage.load() as load:
        stage.apply({"strategy": "Canary", "steps": [{"weight": 5}, {"weight": 50}], "retryToken": "4"}, FAILS=1)
        wait_for("a strike", lambda: stage.decided("Strike"), PATIENCE)
        kill_operators(stage.kube)
        wait_for("a rollback", lambda: stage.decided("Rollback"), 2 * PATIENCE)
    strikes = stage.decided("Strike")
    stage.report.bar("strikes before the rollback", str(len(strikes)), "1", passed=len(strikes) == 1)
    stage.report.figure("failed answers in all", str(load.lost.total()))
    with stage.load() as load:
        rollout = {"strategy": "Canary", "steps": [{"weight": 10}, {"weight": 50}], "retryToken": "5"}
        stage.apply(rollout | {"bake": {"duration": "20s"}}, RELEASE="5")
        for phase in ("Step 1", "Step 2", "Baking"):
            stage.until_phase(phase)
            time.sleep(5)
            kill_operators(stage.kube)
        until_ready(stage.kube, stage.namespace, seconds=200)
    promoted = len(stage.decided("Promoted"))
    stage.report.bar("a good one takes over", str(promoted), "1", passed=promoted == 1)
    lost = load.lost.total()
    stage.report.bar("requests lost", f"{lost} of {load.asked}", "0", passed=not lost)


CASES: tuple[Callable[[Stage], None], ...] = (fails, latch, kills, good)


@contextlib.contextmanager
def staged(kube: Kube, registry: str, report: Report, name: str = "rollout", **env: object) -> Iterator[Stage]:
    """A model that serves through routers, in a namespace of its own; `env` says how its stable version fails."""
    namespace = f"{name}-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        bundle = pushed(registry, "faulty", models.written(Path(folder) / "faulty", models.FAULTY))
    deployed.space(kube, namespace)
    try:
        stage = Stage(kube, namespace, bundle, report)
        stage.apply({"strategy": "Immediate"}, **env)
        until_ready(kube, namespace, seconds=PATIENCE)
        until_two_routers(kube, namespace)
        yield stage
    finally:
        kube.delete("namespace", namespace, wait=False)


def main() -> int:
    names = {case.__name__: case for case in CASES}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(names)}; all of them by default")
    options = parser.parse_args()
    if unknown := set(options.cases) - names.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    report = Report(short=False)
    with staged(Kube(), os.environ["CLUSTER_REGISTRY"], report) as stage:
        for name in options.cases or names:
            report.scenario = name
            stage.begin()
            names[name](stage)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
