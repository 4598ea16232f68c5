"""Between the event loop and the model: a bounded queue whose requests are folded into common predicts.

    a request comes, nothing runs    it starts in the same turn of the loop, with all that came in this turn
    a predict runs                   what comes waits, and is folded into the next one
    a predict has ended              the next one starts, or waits a little for those who were just answered

One predict at a time. Those that are known to be short run on the event loop, as to wake a thread costs more than they
do; all others run in one worker thread, so that probes and refusals are answered meanwhile. A request takes its place
before its body is read; what does not fit is refused, and memory stays bounded.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

from tidegate_contract.bundle.manifest import Signature
from tidegate_server.engines import Engine
from tidegate_server.outputs import check_form
from tidegate_server.recorder import Marked
from tidegate_server.tensors import Columns, Table, gather, rows_of

MAX_WAITING = 64
"""Requests that may be queued or running; at 10 ms each the last one waits about as long as a person notices."""
MAX_BYTES = 64 << 20
"""What the bodies of all of them may have together."""
MAX_FOLDED_ROWS = 1024
MAX_FOLDED_BYTES = 1 << 20
"""What one predict of several requests may have: they all wait for the last row of it."""

RECENT = 5
SHORT_SECONDS = 200e-6
"""A predict that takes no longer may run on the loop: about what the server needs for four requests beside it."""
STALL_SECONDS = 2e-3
FIRST_PAUSE, STALL_PAUSE = 16, 1000
"""Once one has taken so long on the loop, so many predicts run in the thread: a few after the first, as the processor
may have been taken away; four times as many after each that follows within a thousand, and a thousand at most."""
COMPANY_SHARE, COMPANY_SECONDS = 0.1, 2e-3
"""How long the next predict waits for company: a share of the last one's time, and no longer than this."""

Record = Callable[[Columns, Columns, int, Sequence[Marked], int], None]
"""What `Recorder.add` takes."""


def _forget(*_: object) -> None:
    pass


class Asker(Protocol):
    """Whoever asks is told once, on the event loop, and raises nothing then."""

    def answered(self, result: Any) -> None: ...
    def failed(self, error: BaseException) -> None: ...


class QueueFullError(Exception):
    """There is no place in the queue, or not for so many bytes."""


class Pace:
    """Which predicts are short: known from the last five of about as many rows, or of more, by the fastest of them.

    Not by their mean: in the thread some are held up by the loop, which has to let go of the interpreter first. One
    that waits for something outside is never fast there.
    """

    def __init__(self) -> None:
        self._last: dict[int, deque[float]] = {}
        self._short = 0
        """The largest size, as its number of bits, whose predicts are short."""
        self._pause = 0
        self._last_pause = FIRST_PAUSE
        self._calm = STALL_PAUSE
        """Predicts on the loop since the last that held it up."""

    def short(self, rows: int) -> bool:
        """Whether a predict of so many rows may run on the loop."""
        if self._pause:
            return False
        size = rows.bit_length()
        last = self._last.get(size)
        return size <= self._short if last is None or len(last) < RECENT else min(last) <= SHORT_SECONDS

    def saw(self, rows: int, seconds: float, *, on_loop: bool) -> None:
        """A predict of so many rows took so long."""
        size = rows.bit_length()
        last = self._last.setdefault(size, deque(maxlen=RECENT))
        last.append(seconds)
        if (size <= self._short) != _are_short(last):
            self._short = max((size for size, last in self._last.items() if _are_short(last)), default=0)
        if on_loop and seconds > STALL_SECONDS:
            again = self._calm < STALL_PAUSE
            self._pause = self._last_pause = min(STALL_PAUSE, 4 * self._last_pause) if again else FIRST_PAUSE
            self._calm = 0
            return
        self._calm += on_loop
        if self._pause:
            self._pause -= 1


def _are_short(last: deque[float]) -> bool:
    return len(last) == RECENT and min(last) <= SHORT_SECONDS


@dataclass(slots=True, eq=False)
class _Asked:
    """What a place asks for."""

    asker: Asker | None
    """None once it was told, or waits no more."""
    work: Callable[[], Any] | None = None
    """A work of its own; without one, a predict that may be folded."""
    table: Table | None = None
    outputs: tuple[str, ...] = ()
    rows: int = 0
    size: int = 0
    evidence: bool = False
    alone: bool = False
    """It was part of a predict that raised."""
    running: bool = False
    left: Callable[[], None] | None = None
    """What its place left to be done when it ends."""

    def end(self) -> Asker | None:
        """It runs no more; who is to be told."""
        self.running = False
        if self.left is not None:
            self.left()
        asker, self.asker = self.asker, None
        return asker

    def joins(self, first: "_Asked") -> bool:
        """Whether one predict answers both."""
        if self.work is not None or self.alone:
            return False
        return self.outputs == first.outputs or set(self.outputs) == set(first.outputs)


class Answers:
    """What one predict said to all who asked together."""

    __slots__ = ("columns", "plain")

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.plain: dict[str, list[Any]] = {}
        """Outputs that somebody has made lists of already, for the others."""


@dataclass(slots=True, eq=False)
class Share:
    """The rows of an answer that are one request's own."""

    of: Answers
    start: int
    end: int

    @property
    def columns(self) -> Columns:
        found = self.of.columns
        return {name: answer[self.start : self.end] for name, answer in found.items()}


class Predictor:
    """Runs an engine's predicts one after another. On the event loop only, but for `predict`."""

    def __init__(
        self,
        engine: Engine,
        observe: Callable[[int, float], None],
        signature: Signature,
        record: Record = _forget,
        max_waiting: int = MAX_WAITING,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """`observe` is told the rows and seconds of each predict, `record` what was asked and answered."""
        self._engine = engine
        self._observe = observe
        self._signature = signature
        self._dtypes = {spec.name: spec.datatype.dtype for spec in signature.inputs}
        self.record = record
        self._places_left = max_waiting
        self._bytes_left = max_bytes
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")
        self._pool.submit(int)  # its thread is made now: one that could not be made later would answer nobody
        self._pace = Pace()
        self._waiting: deque[_Asked] = deque()
        self._busy = False
        self._starting = False
        self._company = 0
        self._patience: asyncio.TimerHandle | None = None

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of whoever asked first. Python asks the system for the process's number whenever it looks."""
        return asyncio.get_running_loop()

    def place(self) -> "Place":
        """A place in the queue, which must be left. Raises QueueFullError."""
        self.take(places=1)
        return Place(self)

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        """One predict, in work that a place runs. Raises whatever the model raises."""
        return self._timed(columns, outputs)[0]

    def _timed(self, columns: Columns, outputs: Sequence[str]) -> tuple[Columns, float]:
        start = time.perf_counter()
        try:
            answers = self._engine.predict(columns, outputs)
        finally:
            seconds = time.perf_counter() - start
            self._observe(rows_of(columns), seconds)
        return answers, seconds

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def columns(self, table: Table) -> Columns:
        """A request's table as the engine takes it."""
        return gather([table], self._dtypes)

    def take(self, places: int = 0, size: int = 0) -> None:
        """Of what is left. Raises QueueFullError."""
        if self._places_left < places or self._bytes_left < size:
            raise QueueFullError
        self._places_left -= places
        self._bytes_left -= size

    def give_back(self, places: int, size: int) -> None:
        self._places_left += places
        self._bytes_left += size

    def ask(self, asked: _Asked) -> None:
        """Put it at the end of the queue."""
        self._waiting.append(asked)
        self._wake()

    def drop(self, asked: _Asked) -> None:
        """Take it out of the queue, if it is still there."""
        if asked in self._waiting:
            self._waiting.remove(asked)

    def close(self) -> None:
        """Let go of the thread; what is queued is dropped, what runs is not waited for."""
        self._waiting.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _wake(self) -> None:
        if self._busy or self._starting or not self._waiting:
            return
        if self._patience is not None:
            if len(self._waiting) < self._company:
                return
            self._patience.cancel()
            self._patience = None
        self._starting = True
        self.loop.call_soon(self._start)

    def _start(self) -> None:
        self._starting = False
        if not self._waiting:
            return
        batch = self._next_batch()
        for asked in batch:
            asked.running = True
        rows = sum(asked.rows for asked in batch)
        work = batch[0].work
        if work is None and self._pace.short(rows):
            self._on_loop(batch, rows)
            return
        self._busy = True
        loop = self.loop

        def ended(done: "Future[Any]") -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._ended, batch, done)

        self._pool.submit(work or (lambda: self._fold(batch, rows, on_loop=False))).add_done_callback(ended)

    def _next_batch(self) -> list[_Asked]:
        """The first that waits, and all that may join it."""
        first = self._waiting.popleft()
        batch, rows, size = [first], first.rows, first.size
        if first.work is not None or first.alone or not self._waiting:
            return batch
        others: list[_Asked] = []
        for asked in self._waiting:
            fits = rows + asked.rows <= MAX_FOLDED_ROWS and size + asked.size <= MAX_FOLDED_BYTES
            if fits and asked.joins(first):
                batch.append(asked)
                rows, size = rows + asked.rows, size + asked.size
            else:
                others.append(asked)
        self._waiting = deque(others)
        return batch

    def _on_loop(self, batch: list[_Asked], rows: int) -> None:
        try:
            answers, _ = self._fold(batch, rows, on_loop=True)
        except Exception as error:  # noqa: BLE001 - it is theirs who asked
            self._failed(batch, error)
            batch.clear()  # the error's traceback holds it, and it the error
        else:
            _answered(batch, answers)
        self._wake()

    def _fold(self, batch: Sequence[_Asked], rows: int, *, on_loop: bool) -> tuple[Columns, float]:
        """One predict of all of them, and its seconds. Raises whatever the model raises."""
        columns = gather([asked.table for asked in batch if asked.table is not None], self._dtypes)
        answers, seconds = self._timed(columns, batch[0].outputs)
        self._pace.saw(rows, seconds, on_loop=on_loop)
        check_form(answers, batch[0].outputs, rows, self._signature)
        marks = [Marked(asked.rows, asked.evidence) for asked in batch] if any(a.evidence for a in batch) else ()
        self.record(columns, answers, rows, marks, sum(asked.size for asked in batch))
        return answers, seconds

    def _ended(self, batch: list[_Asked], done: "Future[Any]") -> None:
        """Work in the thread has ended."""
        self._busy = False
        if done.cancelled():
            return  # by `close`
        if (error := done.exception()) is not None:
            self._failed(batch, error)
        elif batch[0].work is not None:
            _answer(batch[0], done.result())
        else:
            answers, seconds = done.result()
            _answered(batch, answers)
            self._expect(len(batch), seconds)
        batch.clear()  # an error's traceback holds it, and it the error
        self._wake()

    def _expect(self, answered: int, seconds: float) -> None:
        """Those that were just answered may come back, and can all be answered at once then."""
        wait = min(COMPANY_SECONDS, COMPANY_SHARE * seconds)
        self._company = answered + len(self._waiting)
        if self._company > 1 and wait >= COMPANY_SHARE * SHORT_SECONDS:
            self._patience = self.loop.call_later(wait, self._enough)

    def _enough(self) -> None:
        self._patience = None
        self._wake()

    def _failed(self, batch: Sequence[_Asked], error: BaseException) -> None:
        """The error is that of the one that asked; of several it may be any's, and each is asked again on its own."""
        if len(batch) == 1:
            if (asker := batch[0].end()) is not None:
                asker.failed(error)
            return
        for asked in reversed(batch):
            if asked.asker is None:
                asked.end()
            else:
                asked.running, asked.alone = False, True
                self._waiting.appendleft(asked)


def _answered(batch: Sequence[_Asked], answers: Columns) -> None:
    """Give each the rows that are its own."""
    found, end = Answers(answers), 0
    for asked in batch:
        start, end = end, end + asked.rows
        _answer(asked, Share(found, start, end))


def _answer(asked: _Asked, result: object) -> None:
    if (asker := asked.end()) is not None:
        asker.answered(result)


class Place:
    """One request's place in the queue, and its bytes. It asks at most once."""

    __slots__ = ("_asked", "_predictor", "_size")

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._size = 0
        self._asked: _Asked | None = None

    def hold(self, size: int) -> None:
        """Count so many bytes more. Raises QueueFullError."""
        self._predictor.take(size=size)
        self._size += size

    def run(self, asker: Asker, work: Callable[[], object]) -> None:
        """Queue a work of its own, which runs in the context of the caller: what it logs belongs to the request."""
        self._ask(_Asked(asker, partial(copy_context().run, work)))

    def predict(
        self, asker: Asker, table: Table, outputs: tuple[str, ...], rows: int, *, evidence: bool = False
    ) -> None:
        """Queue a predict that may be folded with others; it is answered with the Share of its own rows."""
        self._ask(_Asked(asker, None, table, outputs, rows, self._size, evidence))

    def _ask(self, asked: _Asked) -> None:
        self._asked = asked
        self._predictor.ask(asked)

    def leave(self) -> None:
        """What waits is not done any more; what runs already goes on, and keeps the place until it ends."""
        asked, self._asked = self._asked, None
        if asked is not None and asked.running:
            asked.asker, asked.left = None, self._give_back
            return
        if asked is not None and asked.asker is not None:
            self._predictor.drop(asked)
        self._give_back()

    def _give_back(self) -> None:
        self._predictor.give_back(1, self._size)
