"""The operator's own metrics, in Prometheus' terms."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """One registry, so that two operators in one process (in tests) do not share counters.

    `depth` and `models` are asked whenever the gauges are read.
    """

    def __init__(self, depth: Callable[[], int], models: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter(
            "tidegate_reconciles", "Looks at a ModelDeployment, by result.", ["result"], registry=self.registry
        )
        self.reconcile_seconds = Histogram("tidegate_reconcile_seconds", "Seconds of one look.", registry=self.registry)
        Gauge("tidegate_queue_depth", "ModelDeployments that wait for a look.", registry=self.registry).set_function(
            depth
        )
        self.queue_wait_seconds = Histogram(
            "tidegate_queue_wait_seconds", "Seconds between a change and the look at it.", registry=self.registry
        )
        self.api_requests = Counter(
            "tidegate_api_requests", "Answers of the API server.", ["verb", "code"], registry=self.registry
        )
        self.watch_restarts = Counter(
            "tidegate_watch_restarts", "Watches that had to list again.", ["resource"], registry=self.registry
        )
        self.leader = Gauge("tidegate_leader", "1 if this process holds the Lease.", registry=self.registry)
        Gauge("tidegate_modeldeployments", "ModelDeployments that are known.", registry=self.registry).set_function(
            models
        )

    def count_request(self, verb: str, code: int) -> None:
        self.api_requests.labels(verb=verb, code=str(code)).inc()
