"""Prometheus metrics of one server, on a port of their own: a scrape never waits behind a predict.

Labels are bounded by construction: `code` is one of the server's own statuses, and a
process serves one model of one revision.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The metrics of this process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tidegate_requests",
            "Infer requests by the status they were answered with.",
            ["code"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "tidegate_request_seconds",
            "From the first byte of an infer request's head to the end of its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "tidegate_in_flight", "Infer requests that are not answered yet.", registry=self.registry
        )
        self.predict_seconds = Histogram(
            "tidegate_predict_seconds", "Time inside the model, per call.", buckets=_SECONDS, registry=self.registry
        )
        self.load_seconds = Gauge(
            "tidegate_load_seconds", "From reading the bundle to its golden rows answered.", registry=self.registry
        )
        self.model_info = Gauge(
            "tidegate_model_info", "1, with what is served.", ["model", "revision", "digest"], registry=self.registry
        )
        ProcessCollector(registry=self.registry)
