"""What Argo Rollouts asks Prometheus for, by competitor: its documentation's settings, two that are tuned for speed,
and those of an expert who knew the traffic and the share of errors, with patience and without.

A number of requests in a window is told as the counters now less the counters then. `increase` would miss what a series
begins with, and so the first errors of every pod; and it guesses at the edges of a short window.
"""

from dataclasses import dataclass

from kube import Object

ANSWERS, FAILURES = "tidegate_request_seconds_count", "tidegate_requests_total"
FAILED = 'code=~"5.."'
DOCUMENTED = (
    'sum(irate(tidegate_requests_total{hash="{{args.canary}}",code!~"5.*"}[5m])) / '
    'sum(irate(tidegate_requests_total{hash="{{args.canary}}"}[5m]))'
)
"""The query of the documentation's example, with the pods' own counter in place of Istio's. Where nothing is found,
Argo Rollouts counts an error, as it does with Istio."""
EXPERT = ((5, 0.40), (15, 0.10), (60, 0.02))
"""Windows in seconds, and by how much the canary's share of answers without an error may be below stable's."""


@dataclass(frozen=True)
class Metric:
    """`failures`: measurements that may be below `least`; one more ends the rollout."""

    query: str
    least: float
    interval: str
    failures: int = 0
    delay: int = 0
    """Seconds from the canary's weight to the first measurement."""


@dataclass(frozen=True)
class Settings:
    metrics: tuple[Metric, ...]

    def template(self, name: str, address: str) -> Object:
        metrics = [
            {
                "name": f"success-{index}",
                "interval": metric.interval,
                "initialDelay": f"{metric.delay}s",
                "failureLimit": metric.failures,
                "successCondition": f"result[0] >= {metric.least}",
                "provider": {"prometheus": {"address": address, "query": metric.query}},
            }
            for index, metric in enumerate(self.metrics)
        ]
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AnalysisTemplate",
            "metadata": {"name": name},
            "spec": {"args": [{"name": "canary"}, {"name": "stable"}], "metrics": metrics},
        }


def failing(side: str, seconds: int) -> str:
    """The share of a side's answers in a window that failed; nothing if there were none.

    >>> failing("canary", 5).count("offset 5s")
    2
    """
    pods = f'hash="{{{{args.{side}}}}}"'
    answers, failures = f"{ANSWERS}{{{pods}}}", f"{FAILURES}{{{pods},{FAILED}}}"
    failed = f"((sum({failures}) or vector(0)) - (sum({failures} offset {seconds}s) or vector(0)))"
    asked = f"((sum({answers}) or vector(0)) - (sum({answers} offset {seconds}s) or vector(0)))"
    return f"({failed} / ({asked} > 0))"


def succeeding(seconds: int) -> str:
    """The canary's share of answers without an error; 1 where there are none: no data is no failure."""
    return f"(1 - {failing('canary', seconds)}) or vector(1)"


def beside_stable(seconds: int) -> str:
    """The same less stable's; 0 where either has none."""
    return f"({failing('stable', seconds)} - {failing('canary', seconds)}) or vector(0)"


def windows(early: int | None) -> tuple[Metric, ...]:
    """The three windows, each judged from so many seconds before it is full; from its first second on with None."""
    return tuple(
        Metric(beside_stable(seconds), -by, "1s", delay=0 if early is None else seconds - early)
        for seconds, by in EXPERT
    )


SETTINGS = {
    "expert": Settings(windows(early=2)),
    "hasty": Settings(windows(early=None)),
    "1s": Settings((Metric(succeeding(2), 0.95, "1s"),)),
    "10s": Settings((Metric(succeeding(10), 0.95, "10s", failures=1),)),
    "docs": Settings((Metric(DOCUMENTED, 0.95, "5m", failures=3),)),
}
"""`expert` waits for its windows: a share of ten requests says nothing to a hundredth. Two seconds early, as the first
measurements were that the bars come from. `hasty` does not wait."""
