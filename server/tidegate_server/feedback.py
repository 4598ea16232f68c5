"""What predictions cost, counted as the truth comes in.

`loss_of` holds one truth against one prediction; `Feedback` counts losses per arm. Any pod takes feedback for any
revision: the prediction id says all that is needed. An arm's counts and the memory of what was counted are bounded,
and the memory is this process's own: the same feedback at two pods, or before and after a restart, counts twice.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from tidegate_contract.bundle.manifest import Signature
from tidegate_contract.losses import (
    Arm,
    ArmLosses,
    Losses,
    LossReport,
    brier_cell,
    delay_cell,
    error_cell,
)
from tidegate_contract.prediction_id import Prediction, label_code, labels_of, list_code

MAX_ARMS = 256
REMEMBERED = 50_000
"""So many rows that were counted last are remembered at least, and about twice as many at most: some 9 MB."""
_MASK = (1 << 60) - 1
"""An int of 60 bits takes 32 bytes, one of 64 takes 48."""


class TruthError(ValueError):
    """A truth that its prediction cannot be held against; the message says what to send, and no value."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What one row cost, as far as it can be said."""

    right: bool | None = None
    brier: float | None = None
    error: float | None = None


class Labels:
    """The labels of the model that this server has: what a truth is checked against."""

    def __init__(self, signature: Signature) -> None:
        codes = [label_code(label) for label in labels_of(signature)]
        self._codes = frozenset(codes)
        self._list = list_code(codes)

    def check(self, code: int, prediction: Prediction) -> None:
        """Refuse a label that no revision is known to have.

        Where the id tells only that its revision has other labels than this server, any label is taken.
        Raises TruthError.
        """
        unknown = not prediction.labels and prediction.list_code != self._list
        if not (code in self._codes or code in prediction.labels or unknown or not prediction.list_code):
            raise TruthError("the true value is none of the model's labels; its metadata lists them")


def loss_of(prediction: Prediction, row: int, truth: object, labels: Labels, sent_back: object = None) -> Loss:
    """What a row cost. `sent_back`: its prediction, where the id has only a hash.

    Of a row with several answers: whether all of them are right, or the mean of the absolute errors.
    Raises TruthError.
    """
    if isinstance(truth, list) and not prediction.hash:
        raise TruthError("the true value of a row is one number or one label")
    if prediction.number:
        predicted = sent_back if prediction.hash else prediction.predictions[row]
        return Loss(error=_error(_numbers(predicted), _numbers(truth)))
    found = _codes(truth)
    for code in found:
        labels.check(code, prediction)
    if prediction.hash:
        said = _codes(sent_back)
        if len(said) != len(found):
            raise _other_size()
        return Loss(right=said == found)
    right = prediction.predictions[row] == found[0]
    return Loss(right, _brier(prediction, row, found[0]) if prediction.probabilities else None)


def _codes(row: object) -> list[int]:
    parts = _parts(row)
    if not all(part is None or isinstance(part, bool | int | float | str) for part in parts):
        raise TruthError("the true value of a row is one of the model's labels")
    return [label_code(part) for part in parts]


def _brier(prediction: Prediction, row: int, happened: int) -> float:
    """A label that the model did not know had the probability 0."""
    shares = prediction.probabilities[row]
    missed = sum((share - (code == happened)) ** 2 for share, code in zip(shares, prediction.labels, strict=True))
    return (missed + (happened not in prediction.labels)) / 2


def _parts(row: object) -> list[object]:
    return row if isinstance(row, list) else [row]


def _numbers(row: object) -> list[float]:
    parts = _parts(row)
    if any(isinstance(part, bool) or not isinstance(part, int | float) for part in parts):
        raise TruthError("the true value of a row is a number")
    try:
        numbers = [float(part) for part in parts]  # type: ignore[arg-type] # they are numbers
    except OverflowError as error:
        raise TruthError("the true value of a row is a number that a double can hold") from error
    if not np.isfinite(numbers).all():
        raise TruthError("the true value of a row is a finite number")
    return numbers


def _error(predicted: list[float], truth: list[float]) -> float:
    if len(predicted) != len(truth) or not truth:
        raise _other_size()
    return sum(abs(one - other) for one, other in zip(predicted, truth, strict=True)) / len(truth)


def _other_size() -> TruthError:
    return TruthError("the true value of a row has as many parts as its prediction")


@dataclass(slots=True)
class _Counts:
    right: int = 0
    wrong: int = 0
    exact: int = 0
    brier: dict[int, int] = field(default_factory=dict)
    errors: dict[int, int] = field(default_factory=dict)
    delays: dict[int, int] = field(default_factory=dict)

    def count(self, loss: Loss, delay: int) -> None:
        if loss.right is not None:
            self.right += loss.right
            self.wrong += not loss.right
        if loss.brier is not None:
            _up(self.brier, brier_cell(loss.brier))
        if loss.error is not None:
            if loss.error == 0:
                self.exact += 1
            else:
                _up(self.errors, error_cell(loss.error))
        _up(self.delays, delay)

    def frozen(self) -> Losses:
        brier, errors, delays = (dict(sorted(cells.items())) for cells in (self.brier, self.errors, self.delays))
        return Losses(self.right, self.wrong, brier, self.exact, errors, delays)


def _up(cells: dict[int, int], cell: int) -> None:
    cells[cell] = cells.get(cell, 0) + 1


@dataclass(frozen=True, slots=True)
class Taken:
    """How many rows were counted, and how many had been before."""

    counted: int
    repeated: int


class Feedback:
    """The counters of one process. From any thread."""

    def __init__(self, max_arms: int = MAX_ARMS, remembered: int = REMEMBERED) -> None:
        self._lock = threading.Lock()
        self._arms: OrderedDict[Arm, _Counts] = OrderedDict()
        self._max_arms = max_arms
        self._dropped = 0
        self._remembered = remembered
        self._young: set[int] = set()
        self._old: Collection[int] = frozenset()

    def count(self, text: str, prediction: Prediction, losses: Iterable[tuple[int, Loss]], now: float) -> Taken:
        """Count rows and their losses, each row of the id `text` once. `now`: seconds since 1970."""
        delay = delay_cell(now - prediction.time)
        arm = Arm(prediction.revision, prediction.generation, prediction.evidence)
        counted = repeated = 0
        with self._lock:
            for row, loss in losses:
                if self._is_new(hash((text, row)) & _MASK):
                    self._counts(arm).count(loss, delay)
                    counted += 1
                else:
                    repeated += 1
        return Taken(counted, repeated)

    def make_room(self) -> None:
        """Forget the oldest, if there are many. Before a feedback, so that none forgets rows of its own."""
        with self._lock:
            if len(self._young) >= self._remembered:
                self._old, self._young = self._young, set()

    def snapshot(self) -> LossReport:
        """All that was counted so far."""
        with self._lock:
            arms = tuple(ArmLosses(arm, counts.frozen()) for arm, counts in sorted(self._arms.items(), key=_by_arm))
            return LossReport(arms, self._dropped)

    def _is_new(self, mark: int) -> bool:
        if mark in self._young or mark in self._old:
            return False
        self._young.add(mark)
        return True

    def _counts(self, arm: Arm) -> _Counts:
        if (counts := self._arms.get(arm)) is None:
            if len(self._arms) >= self._max_arms:
                self._arms.popitem(last=False)
                self._dropped += 1
            counts = self._arms[arm] = _Counts()
        self._arms.move_to_end(arm)
        return counts


def _by_arm(item: tuple[Arm, _Counts]) -> Arm:
    return item[0]
