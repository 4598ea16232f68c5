"""Prometheus metrics of one server, on a port of their own: a scrape never waits behind a predict.

Labels are bounded by construction: `code` is one of the server's own statuses, `result` one of three words, and a
process serves one model of one revision.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tidegate_server.recorder import Recorder

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)


class Cells:
    """A histogram in plain integers: the client library's own objects cost a short request a tenth of its time."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def told(self, name: str, words: str) -> HistogramMetricFamily:
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        cells = list(zip(bounds, accumulate(self._counts), strict=True))
        return HistogramMetricFamily(name, words, buckets=cells, sum_value=self._sum)


class Requests(Collector):
    """Infer requests, in plain integers. Changed on the event loop only."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._codes: dict[int, int] = {}
        self._kinds: dict[str, int] = {}
        self._columns: dict[str, int] = {}
        self._seconds = Cells(_SECONDS)

    def refused(self, kind: str, column: str) -> None:
        """An error that was answered, by its class; for the column that was wrong, if it was one."""
        self._kinds[kind] = self._kinds.get(kind, 0) + 1
        if column:
            self._columns[column] = self._columns.get(column, 0) + 1

    def saw(self, code: int, seconds: float) -> None:
        """A request ended with a status."""
        self._codes[code] = self._codes.get(code, 0) + 1
        self._seconds.add(seconds)

    def collect(self) -> Iterator[Metric]:
        yield _counter(
            "tidegate_requests", "Infer requests by the status they were answered with.", "code", self._codes
        )
        yield _counter(
            "tidegate_errors",
            "Infer requests that were not answered with 200, by the class of the error.",
            "class",
            self._kinds,
        )
        yield _counter(
            "tidegate_refused_inputs",
            "Infer requests that were refused for one of their inputs: it was missing, of another type or shape, or "
            "had a value that a strict column does not take.",
            "feature",
            self._columns,
        )
        yield self._seconds.told(
            "tidegate_request_seconds", "From the first byte of an infer request's head to the end of its answer."
        )
        yield GaugeMetricFamily("tidegate_in_flight", "Infer requests that are not answered yet.", value=self.in_flight)


class Predicts(Collector):
    """Calls of the model, in plain integers. They come one at a time, from whichever thread."""

    def __init__(self) -> None:
        self._seconds, self._rows = Cells(_SECONDS), Cells(_ROWS)

    def saw(self, rows: int, seconds: float) -> None:
        """The model was called."""
        self._rows.add(rows)
        self._seconds.add(seconds)

    def collect(self) -> Iterator[Metric]:
        yield self._seconds.told("tidegate_predict_seconds", "Time inside the model, per call.")
        yield self._rows.told(
            "tidegate_predict_rows", "Rows in one call of the model, of all requests that were folded into it."
        )


def _counter(name: str, words: str, label: str, counts: Mapping[Any, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, words, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([str(value)], count)
    return family


class Quality(Collector):
    """What the recorder has seen of each feature; their number is that of the signature's inputs."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def collect(self) -> Iterator[Metric]:
        counters = self._recorder.look()
        yield CounterMetricFamily("tidegate_recorded_rows", "Rows whose values were counted.", value=counters.rows)
        yield CounterMetricFamily(
            "tidegate_left_out_rows", "Rows that came faster than they could be counted.", value=counters.left_out
        )
        quality = CounterMetricFamily(
            "tidegate_quality",
            "Values that were missing, or invalid: far outside the range of the profile, or in none of its categories.",
            labels=["feature", "kind"],
        )
        for feature, cells in counters.features.items():
            quality.add_metric([feature, "missing"], cells[-2])
            quality.add_metric([feature, "invalid"], cells[-1])
        yield quality


class Metrics:
    """The metrics of this process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Requests()
        self.registry.register(self.requests)
        self.predicts = Predicts()
        self.registry.register(self.predicts)
        self.queued = Gauge("tidegate_queued", "Infer requests that wait for the model.", registry=self.registry)
        self.load_seconds = Gauge(
            "tidegate_load_seconds", "From reading the bundle to its golden rows answered.", registry=self.registry
        )
        self.feedback = Counter(
            "tidegate_feedback",
            "Rows whose true value was counted, or had been before (repeated); requests that were refused.",
            ["result"],
            registry=self.registry,
        )
        self.model_info = Gauge(
            "tidegate_model_info", "1, with what is served.", ["model", "revision", "digest"], registry=self.registry
        )
        self.payloads = Counter(
            "tidegate_payloads",
            "Bodies of sampled requests and answers, by what became of them.",
            ["result"],
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
