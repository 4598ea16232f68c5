"""Between the event loop and the model: one worker thread and a bounded queue.

Neither a predict nor what belongs to it runs on the event loop, so probes and refusals are
answered while the model works. A request takes its place before its body is read; what
does not fit is refused at once, and memory stays bounded. Folding of waiting requests into
one predict will live here.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tidegate_server.engines import Engine
from tidegate_server.tensors import Columns

MAX_WAITING = 64
"""Requests that may be queued or running; at 10 ms each the last one waits about as long as a person notices."""
MAX_BYTES = 64 << 20
"""What the bodies of all of them may have together."""

T = TypeVar("T")


class QueueFullError(Exception):
    """There is no place in the queue, or not for so many bytes."""


class Predictor:
    """Runs an engine's predicts one after another, off the loop."""

    def __init__(
        self,
        engine: Engine,
        observe: Callable[[float], None],
        max_waiting: int = MAX_WAITING,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """`observe` is told the seconds of each predict."""
        self._engine = engine
        self._observe = observe
        self._lock = threading.Lock()
        self._places_left = max_waiting
        self._bytes_left = max_bytes
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")

    def place(self) -> "Place":
        """A place in the queue, to be left by `with`. Raises QueueFullError."""
        self.take(places=1)
        return Place(self)

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        """One predict, in work that a place runs. Raises whatever the model raises."""
        start = time.perf_counter()
        try:
            return self._engine.predict(columns, outputs)
        finally:
            self._observe(time.perf_counter() - start)

    def take(self, places: int = 0, size: int = 0) -> None:
        """Of what is left. Raises QueueFullError."""
        with self._lock:
            if self._places_left < places or self._bytes_left < size:
                raise QueueFullError
            self._places_left -= places
            self._bytes_left -= size

    def give_back(self, places: int, size: int) -> None:
        with self._lock:
            self._places_left += places
            self._bytes_left += size

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """To the one thread."""
        return self._pool.submit(work)

    def close(self) -> None:
        """Let go of the thread; what is queued is dropped, what runs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Place:
    """One request's place in the queue, and its bytes."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._size = 0
        self._working = False

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._working:
            self._predictor.give_back(1, self._size)

    def hold(self, size: int) -> None:
        """Count so many bytes more. Raises QueueFullError."""
        self._predictor.take(size=size)
        self._size += size

    async def run(self, work: Callable[[], T]) -> T:
        """Queue the work of this request and wait for it; at most once.

        A caller that is cancelled while it waits takes its work out of the queue; work that runs already goes on,
        and keeps the place until it ends.

        Raises whatever the work raises.
        """
        todo = [work]
        self._working = True
        future = self._predictor.submit(lambda: todo.pop()())

        def done(_: "Future[T]") -> None:
            todo.clear()  # the pool forgets cancelled work only when it comes to it, and the work holds a body
            self._predictor.give_back(1, self._size)

        future.add_done_callback(done)
        return await asyncio.wrap_future(future)
