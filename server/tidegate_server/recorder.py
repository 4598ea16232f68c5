"""Counting what was asked and answered, beside the requests.

    a predict of one or many requests -> ring (a reference each) -> a thread, four times a second -> cells

A request pays for putting its columns into the ring, and nothing else. What does not fit is left out and said so.
Whoever reads the counters counts first what still waits: a reading holds every row that was answered before it.
"""

import logging
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tidegate_contract.counters import (
    SLOW_BOUNDS,
    WARMING_REQUESTS,
    WARMING_SECONDS,
    Counters,
    Evidence,
    slow_cell,
)
from tidegate_contract.losses import LossReport
from tidegate_contract.profile import Codes, Column, Numeric, Profile, score_place
from tidegate_server.tensors import Array, Columns

_logger = logging.getLogger(__name__)

RING_ENTRIES = 4096
RING_ROWS = 65_536
RING_BYTES = 8 << 20
"""What may wait, its bytes as those of the requests. One entry of more is taken when nothing else waits."""
EAGER_ENTRIES, EAGER_BYTES = 1024, RING_BYTES // 2
"""From so many on, counting begins at once."""
INTERVAL_SECONDS, BREATH_SECONDS = 0.25, 0.01
"""Between two rounds of counting; and at least, so that readers have their turn."""
LATELY_SECONDS, LINGER_SECONDS = 5.0, 2.0
"""A pod that was read so lately waits so long at its end for one more reading."""
SLICE_ROWS = 4096
"""Counted in one go: the interpreter is held no longer than that takes."""


@dataclass(frozen=True, slots=True)
class Marked:
    """So many rows of one request, and whether a router assigned it at random."""

    rows: int
    evidence: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    columns: Columns
    answers: Columns
    rows: int
    marks: Sequence[Marked]
    """Of the requests that were folded into it; empty where none is evidence."""
    size: int


class _Cells:
    """Rows in the cells of one column, then missing, then invalid."""

    def __init__(self, column: Column) -> None:
        self.column = column
        self.counts = np.zeros(column.invalid_code + 1, np.int64)

    def codes(self, values: Array) -> Codes:
        """The cell of each value, found a slice at a time: each holds the interpreter."""
        slices = range(0, len(values), SLICE_ROWS)
        return _joined([self._codes(values[start : start + SLICE_ROWS]) for start in slices])

    def count(self, codes: Codes) -> Codes:
        """How many of the codes are of each cell."""
        return np.bincount(codes, minlength=self.counts.size)

    def _codes(self, values: Array) -> Codes:
        if isinstance(self.column, Numeric):
            return self.column.codes(values)
        return self.column.codes([None if value is None else str(value) for value in values.tolist()])

    @property
    def told(self) -> tuple[int, ...]:
        return tuple(self.counts.tolist())


class Recorder:
    """The counters of one process. Any thread may call any of it."""

    def __init__(
        self,
        profile: Profile | None,
        *,
        pod: str,
        revision: str,
        digest: str,
        losses: Callable[[], LossReport] = LossReport,
    ) -> None:
        """Without a profile there are no cells, and rows are only counted. `losses` are counted elsewhere."""
        self._losses = losses
        self._pod, self._revision, self._digest = pod, revision, digest
        self._epoch = secrets.token_hex(8)
        self._sequence = 0
        self._ring: deque[_Entry] = deque()
        self._ring_rows = 0
        self._ring_bytes = 0
        self._put = self._taken = 0
        """Entries, since the beginning."""
        self._ring_lock = threading.Lock()
        self._count_lock = threading.Lock()
        """Held while counting; never asked for by one who holds the other, which is held for a moment only."""
        self._wanted = threading.Event()
        self._ended = False
        self._delivered = threading.Event()
        self._read_at = -math.inf
        self._warned = False
        self._rows = 0
        self._left_out = 0
        self._features = {column.name: _Cells(column) for column in (profile.features if profile else ())}
        score = profile.score if profile else None
        self._score = _Cells(score) if score else None
        self._evidence_score = _Cells(score) if score else None
        self._score_of, self._score_at = score_place(profile.score_of if profile else "")
        self._requests = 0
        self._evidence = 0
        self._slow = [0] * (len(SLOW_BOUNDS) + 1)
        self._began = time.monotonic()
        self._warming = True
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to count; before it, rows wait in the ring."""
        self._thread.start()

    def close(self) -> None:
        """Count what waits, and end the thread."""
        self._ended = True
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._count()

    def add(self, columns: Columns, answers: Columns, rows: int, marks: Sequence[Marked] = (), size: int = 0) -> None:
        """Rows that the model answered, of requests of so many bytes. The arrays are kept for a moment and must not be
        changed."""
        with self._ring_lock:
            waiting = len(self._ring)
            full = waiting >= RING_ENTRIES or self._ring_rows + rows > RING_ROWS or self._ring_bytes + size > RING_BYTES
            if waiting and full:
                self._left_out += rows
                return
            self._ring.append(_Entry(columns, answers, rows, marks, size))
            self._ring_rows += rows
            self._ring_bytes += size
            many = self._ring_bytes >= EAGER_BYTES > self._ring_bytes - size
            self._put += 1
        if many or waiting == EAGER_ENTRIES or rows > SLICE_ROWS:
            self._wanted.set()

    def answered(self, seconds: float, *, evidence: bool) -> None:
        """A request was answered; on the event loop only."""
        if self._warming:
            self._requests += 1
            warm = self._requests > WARMING_REQUESTS or time.monotonic() - self._began > WARMING_SECONDS
            self._warming = not warm
        if evidence:
            self._evidence += 1
            if not self._warming:
                self._slow[slow_cell(seconds)] += 1

    def read(self) -> Counters:
        """A reading of the operator's: everything that was counted so far, what waits included."""
        self._read_at = time.monotonic()
        return self._told(1)

    def look(self) -> Counters:
        """The same for others."""
        return self._told(0)

    def _told(self, step: int) -> Counters:
        self._count()
        with self._count_lock:
            self._sequence += step
            return Counters(
                pod=self._pod,
                revision=self._revision,
                digest=self._digest,
                epoch=self._epoch,
                sequence=self._sequence,
                rows=self._rows,
                left_out=self._left_out,
                features={name: cells.told for name, cells in self._features.items()},
                score=self._score.told if self._score else (),
                evidence=Evidence(
                    requests=self._evidence,
                    slow=tuple(self._slow),
                    score=self._evidence_score.told if self._evidence_score else (),
                ),
                losses=self._losses(),
            )

    def delivered(self, ended: bool) -> None:
        """A reading was sent, which began after the end or before it."""
        if ended:
            self._delivered.set()

    @property
    def ended(self) -> bool:
        """Nothing will be counted any more."""
        return self._ended

    def linger(self) -> None:
        """After `close`: wait until somebody who read the counters lately has read the last ones too."""
        if time.monotonic() - self._read_at < LATELY_SECONDS:
            self._delivered.wait(LINGER_SECONDS)

    def _run(self) -> None:
        while not self._ended:
            self._wanted.wait(INTERVAL_SECONDS)
            self._wanted.clear()
            self._count()
            time.sleep(BREATH_SECONDS)

    def _count(self) -> None:
        """Count what waits now. What comes meanwhile is for the next one: a reading ends however fast rows come."""
        with self._ring_lock:
            end = self._put
        while True:
            with self._count_lock:
                if self._taken >= end:  # perhaps by another thread, meanwhile
                    return
                entries = self._next()
                try:
                    self._count_entries(entries)
                except Exception:
                    with self._ring_lock:
                        self._left_out += sum(entry.rows for entry in entries)
                    if not self._warned:
                        _logger.exception("rows cannot be counted")
                    self._warned = True

    def _next(self) -> list[_Entry]:
        """The first that wait, of about SLICE_ROWS rows together."""
        entries: list[_Entry] = []
        rows = 0
        with self._ring_lock:
            while self._ring and (not entries or rows + self._ring[0].rows <= SLICE_ROWS):
                entries.append(self._ring.popleft())
                rows += entries[-1].rows
            self._ring_rows -= rows
            self._ring_bytes -= sum(entry.size for entry in entries)
            self._taken += len(entries)
        return entries

    def _count_entries(self, entries: Sequence[_Entry]) -> None:
        """All of it, or nothing where something raises."""
        found = [
            (cells, cells.count(cells.codes(_joined([entry.columns[name] for entry in entries]))))
            for name, cells in self._features.items()
        ]
        scored = [entry for entry in entries if self._score_of in entry.answers]
        if scored and self._score is not None and self._evidence_score is not None:
            values = _joined([entry.answers[self._score_of] for entry in scored])
            if self._score_at is not None:
                values = values[:, self._score_at]
            codes = self._score.codes(values)
            found.append((self._score, self._score.count(codes)))
            if any(entry.marks for entry in scored):
                evidence = self._evidence_score
                found.append((evidence, evidence.count(codes[_evidence_rows(scored)])))
        for cells, counts in found:
            cells.counts += counts
        self._rows += sum(entry.rows for entry in entries)


def _joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _evidence_rows(entries: Sequence[_Entry]) -> Array:
    """Which rows are evidence, shape [rows of all of them]."""
    marks = [mark for entry in entries for mark in entry.marks or (Marked(entry.rows, evidence=False),)]
    return np.repeat([mark.evidence for mark in marks], [mark.rows for mark in marks])
