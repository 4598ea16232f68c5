"""Whether a compiled engine answers as the model does, and from how many rows on it is no longer the faster one.

Compared are rows of the data, and the same with values changed to those where engines differ: at a threshold and one
or two steps beside it, in double and in single precision, missing, infinite, too large, of no known category. What the
model refuses the engine must refuse. Nothing is drawn that is not the same the next time.
"""

import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tidegate_contract.bundle.manifest import Signature, TensorSpec
from tidegate_contract.bundle.timings import ROWS, Timings
from tidegate_server.engines import PREDICT, Engine
from tidegate_server.engines.compiled import Number, Operation, Program, Step
from tidegate_server.engines.trees import Trees
from tidegate_server.offline.table import spread
from tidegate_server.tensors import Array, Columns, rows_of

TOLERANCE = 1e-6
"""Of probabilities and numbers, times 1 + |the model's answer|."""
REFERENCE_ROWS = 10_000
PERTURBED_ROWS = 10_000
_AT_ONCE = 4096
_ALONE = 32
"""Rows that are also asked one by one: an answer must not depend on the others."""
_EDGES = 200
"""Thresholds of a column that are tried."""
_BESIDE = 2
"""Neighbours of each that are tried, on both sides and in both precisions."""
_EXTREMES = 16
"""Columns of each type in which a row alone meets extreme values."""
_SHARE = 0.3
"""Of a row's values that are changed."""
_LEAST_ROUNDS, _MOST_ROUNDS, _SECONDS = 5, 200, 0.05


@dataclass(frozen=True, slots=True)
class Equal:
    """On so many rows the answers were the same; rows that both refuse are not counted."""

    reference_rows: int
    perturbed_rows: int
    max_difference: float


class DifferentError(Exception):
    """The engine answers otherwise; the message says where."""


def compare(original: Engine, compiled: Engine, program: Program, columns: Columns, signature: Signature) -> Equal:
    """Ask both the same. `columns` are rows of the data. Raises DifferentError."""
    trial = _Trial(original, compiled, signature, labels=bool(program.classes))
    rows = rows_of(columns)
    reference = pick(columns, spread(rows, REFERENCE_ROWS))
    reference_rows = trial.all(reference, "rows of the data")
    taken = _taken(trial, pick(columns, np.arange(1)), signature)
    pools = {
        spec.name: np.concatenate([taken[spec.name], edges(program, index, spec), _present(columns[spec.name])])
        for index, spec in enumerate(signature.inputs)
    }
    perturbed = perturb(columns, pools, PERTURBED_ROWS, seed=0)
    perturbed_rows = trial.all(perturbed, "perturbed rows")
    return Equal(reference_rows, perturbed_rows, trial.max_difference)


def _taken(trial: "_Trial", one: Columns, signature: Signature) -> dict[str, Array]:
    """The extreme values that each column takes. Raises DifferentError.

    In some columns of each type a row alone meets every value; the others are asked together, and only for what
    one of those takes.
    """
    taken: dict[str, Array] = {}
    for datatype in {spec.datatype: None for spec in signature.inputs}:
        names = sorted(spec.name for spec in signature.inputs if spec.datatype is datatype)
        extremes = _extremes(datatype.dtype)
        answers = np.zeros((len(names), len(extremes)), bool)
        for place, value in enumerate(_each(extremes)):
            what = f"the value {value[0]}"
            for column, name in enumerate(names[:_EXTREMES]):
                answers[column, place] = trial.same(one | {name: value}, what)
            others = names[_EXTREMES:]
            if others and answers[:, place].any():
                rows = pick(one, np.zeros(len(others), np.intp))
                for row, name in enumerate(others):
                    rows[name][row] = value[0]
                answers[_EXTREMES:, place] = trial.answered(rows, what)
        taken |= {name: extremes[own] for name, own in zip(names, answers, strict=True)}
    return taken


class _Trial:
    def __init__(self, original: Engine, compiled: Engine, signature: Signature, *, labels: bool) -> None:
        self._original = original
        self._compiled = compiled
        self._names = [spec.name for spec in signature.outputs]
        self._labels = labels
        self.max_difference = 0.0

    def all(self, columns: Columns, what: str) -> int:
        """In large parts, and some rows alone. How many rows were answered. Raises DifferentError."""
        rows = rows_of(columns)
        parts = (np.arange(start, min(rows, start + _AT_ONCE)) for start in range(0, rows, _AT_ONCE))
        answered = sum(int(self.answered(pick(columns, part), what).sum()) for part in parts)
        for row in spread(rows, _ALONE):
            self.same(pick(columns, np.array([row])), what)
        return answered

    def answered(self, columns: Columns, what: str) -> Array:
        """Which rows both answer: one row that is refused hides the others, so what is refused is halved."""
        rows = rows_of(columns)
        if self.same(columns, what):
            return np.ones(rows, bool)
        if rows == 1:
            return np.zeros(rows, bool)
        halves = np.array_split(np.arange(rows), 2)
        return np.concatenate([self.answered(pick(columns, half), what) for half in halves])

    def same(self, columns: Columns, what: str) -> bool:
        """Whether both answer, and not refuse. Raises DifferentError where they do not do the same."""
        expected, found = (_outcome(engine, columns, self._names) for engine in (self._original, self._compiled))
        if expected is None or found is None:
            if (expected is None) != (found is None):
                raise DifferentError(f"{'the engine' if found is None else 'the model'} alone refuses {what}")
            return False
        for name in self._names:
            self._compare(found[name], expected[name], f"{name} of {what}", exact=self._labels and name == PREDICT)
        return True

    def _compare(self, found: Array, expected: Array, what: str, *, exact: bool) -> None:
        if found.shape != expected.shape or found.dtype != expected.dtype:
            raise DifferentError(f"{what}: the engine answers with another shape or type")
        if exact or expected.dtype.kind != "f":
            wrong = int((found != expected).sum())
        else:
            with np.errstate(invalid="ignore"):
                apart = np.abs(found - expected) / (1 + np.abs(expected))
            apart[(found == expected) | (np.isnan(found) & np.isnan(expected))] = 0
            self.max_difference = max(self.max_difference, float(apart.max(initial=0)))
            wrong = int((~(apart <= TOLERANCE)).sum())
        if wrong:
            raise DifferentError(f"{what}: {wrong} of {found.size} differ")


def _outcome(engine: Engine, columns: Columns, names: list[str]) -> Columns | None:
    """The answers; None where the engine raises, whatever it is."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            return engine.predict(columns, names)
    except Exception:  # noqa: BLE001 - models raise what they like, and that they do is what is compared
        return None


def edges(program: Program, index: int, spec: TensorSpec) -> Array:
    """Values of an input at which trees branch, and those one or two steps beside, as far as its type has them.

    Where steps come before the trees, the thresholds are carried back through them.
    """
    dtype = spec.datatype.dtype
    if not isinstance(program.model, Trees) or dtype.kind not in "iuf":
        return np.empty(0, dtype)
    column = np.frombuffer(program.model.feature, "<i4") % len(program.features)
    inner = np.frombuffer(program.model.right, "<i4") != np.arange(len(column))
    limits = np.frombuffer(program.model.threshold, "<f8" if program.model.double else "<f4")
    found = [np.empty(0)]
    for place, feature in enumerate(program.features):
        if isinstance(feature, Number) and feature.input == index:
            own = np.unique(limits[(column == place) & inner])
            own = own[spread(len(own), _EDGES)] if len(own) else own
            found += [_before(program.steps, place, cut) for cut in _cuts(own)]
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        whole = np.unique(np.concatenate([np.floor(values), np.ceil(values)]))
        return whole[(whole > bounds.min) & (whole < bounds.max)].astype(dtype)
    near: list[Array] = []
    with np.errstate(over="ignore", under="ignore"):
        for middle in (values, values.astype(np.float32)):
            low = high = middle
            near.append(middle)
            for _ in range(_BESIDE):
                low, high = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
                near += [low, high]
        return np.unique(np.concatenate(near).astype(dtype))


def _cuts(limits: Array) -> list[Array]:
    """The thresholds, and of single ones those doubles too from which on a value is rounded above them."""
    doubles = limits.astype(np.float64)
    if limits.dtype == np.float64:
        return [doubles]
    with np.errstate(over="ignore"):
        return [doubles, (doubles + np.nextafter(limits, np.float32(np.inf))) / 2]


def _before(steps: Sequence[Step], place: int, values: Array) -> Array:
    """What becomes of a column's values, or nearly, when the steps are gone through from the last to the first."""
    with np.errstate(all="ignore"):
        for step in reversed(steps):
            number = np.float64(np.nan if step.numbers[place] is None else step.numbers[place])
            match step.operation:
                case Operation.ADD:
                    values = values - number
                case Operation.SUBTRACT:
                    values = values + number
                case Operation.MULTIPLY:
                    values = values / number
                case Operation.DIVIDE:
                    values = values * number
                case Operation.FILL:
                    pass
    return values


def perturb(columns: Columns, pools: Mapping[str, Array], rows: int, seed: int) -> Columns:
    """So many rows of the data, of whose values some are taken from the pools; the same ones for the same seed."""
    random = np.random.default_rng(seed)
    chosen = pick(columns, random.integers(0, rows_of(columns), rows))
    for name, pool in pools.items():
        changed = random.random(rows) < _SHARE
        chosen[name][changed] = pool[random.integers(0, len(pool), int(changed.sum()))]
    return chosen


def _extremes(dtype: np.dtype[Any]) -> Array:
    match dtype.kind:
        case "f":
            single = float(np.finfo(np.float32).max)
            values = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e30, single, 1e39, -1e300]
            with np.errstate(over="ignore"):
                return np.array(values).astype(dtype)
        case "i" | "u":
            return np.array([np.iinfo(dtype).min, 0, np.iinfo(dtype).max], dtype)
        case "b":
            return np.array([False, True])
        case _:
            return np.array([None, "", "no such category"], dtype=object)


def _present(values: Array) -> Array:
    return values[spread(len(values), _EDGES)]


def _each(values: Array) -> Iterator[Array]:
    return (values[place : place + 1] for place in range(len(values)))


def pick(columns: Columns, rows: Array) -> Columns:
    return {name: column[rows] for name, column in columns.items()}


def measure(original: Engine, compiled: Engine, columns: Columns, rows: tuple[int, ...] = ROWS) -> Timings:
    """Medians of both at each number of rows, in turns."""
    held = rows_of(columns)
    medians = []
    for count in rows:
        batch = pick(columns, np.arange(count) % held)
        first, second = (partial(engine.predict, batch, (PREDICT,)) for engine in (compiled, original))
        medians.append(in_turns(first, second))
    figures = zip(*medians, strict=True)
    return Timings(rows=rows, compiled=next(figures), original=next(figures), processor=_processor())


def in_turns(
    first: Callable[[], object], second: Callable[[], object], seconds: float = _SECONDS
) -> tuple[float, float]:
    """Medians of microseconds a call, each called once beforehand and then in turns."""
    both = (first, second)
    taken: tuple[list[float], list[float]] = ([], [])
    for call in both:
        call()
    end = time.perf_counter() + seconds
    while len(taken[1]) < _LEAST_ROUNDS or (time.perf_counter() < end and len(taken[1]) < _MOST_ROUNDS):
        for call, times in zip(both, taken, strict=True):
            start = time.perf_counter()
            call()
            times.append((time.perf_counter() - start) * 1e6)
    return round(statistics.median(taken[0]), 1), round(statistics.median(taken[1]), 1)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip()[:100] for line in lines if line.startswith("model name")), "")
