"""The operator's own metrics, in Prometheus' terms."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

State = tuple[str, str]
"""Type and status of a condition."""


class Conditions(Collector):
    """Counts the objects by their conditions, when it is asked and not before."""

    def __init__(self, states: Callable[[], Iterable[State]]) -> None:
        self._states = states

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found = GaugeMetricFamily(
            "tidegate_modeldeployment_conditions", "ModelDeployments by condition.", labels=["type", "status"]
        )
        for state, count in sorted(Tally(self._states()).items()):
            found.add_metric(state, count)
        yield found


class Metrics:
    """One registry, so that two operators in one process (in tests) do not share counters.

    `depth`, `models` and `states` are asked whenever the gauges are read.
    """

    def __init__(
        self, depth: Callable[[], int], models: Callable[[], int], states: Callable[[], Iterable[State]]
    ) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter(
            "tidegate_reconciles", "Looks at a ModelDeployment, by result.", ["result"], registry=self.registry
        )
        self.reconcile_seconds = Histogram("tidegate_reconcile_seconds", "Seconds of one look.", registry=self.registry)
        Gauge("tidegate_queue_depth", "Keys that wait for a look.", registry=self.registry).set_function(depth)
        self.queue_wait_seconds = Histogram(
            "tidegate_queue_wait_seconds", "Seconds between a change and the look at it.", registry=self.registry
        )
        self.api_requests = Counter(
            "tidegate_api_requests",
            "Requests to the API server, by the answer.",
            ["verb", "code"],
            registry=self.registry,
        )
        self.watch_restarts = Counter(
            "tidegate_watch_restarts", "Watches that had to list again.", ["resource"], registry=self.registry
        )
        self.leader = Gauge("tidegate_leader", "1 if this process holds the Lease.", registry=self.registry)
        Gauge("tidegate_modeldeployments", "ModelDeployments that are known.", registry=self.registry).set_function(
            models
        )

        self.registry.register(Conditions(states))

    def count_request(self, verb: str, code: int | None) -> None:
        """`code` is None where no answer came."""
        self.api_requests.labels(verb=verb, code=str(code or "none")).inc()
