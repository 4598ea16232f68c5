"""Between the event loop and the model: one worker thread and a bounded queue.

A predict never runs on the event loop, so probes and refusals are answered while the
model works. What does not fit into the queue is refused at once, and memory stays
bounded. Folding of waiting requests into one predict will live here.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tidegate_server.engines import Engine
from tidegate_server.tensors import Columns

MAX_WAITING = 64
"""Requests that may be queued or running; at 10 ms each the last one waits about as long as a person notices."""


class QueueFullError(Exception):
    """There is no place in the queue."""


class Predictor:
    """Runs an engine's predicts one after another, off the loop."""

    def __init__(self, engine: Engine, observe: Callable[[float], None], max_waiting: int = MAX_WAITING) -> None:
        """`observe` is told the seconds of each predict."""
        self._engine = engine
        self._observe = observe
        self._places = threading.BoundedSemaphore(max_waiting)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")

    async def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        """Queue one predict and wait for it.

        A caller that is cancelled while it waits takes its predict out of the queue; one that runs already goes on,
        and keeps its place until it ends.

        Raises QueueFullError, and whatever the model raises.
        """
        if not self._places.acquire(blocking=False):
            raise QueueFullError
        future = self._pool.submit(self._run, columns, outputs)
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def _run(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        start = time.perf_counter()
        try:
            return self._engine.predict(columns, outputs)
        finally:
            self._observe(time.perf_counter() - start)

    def close(self) -> None:
        """Let go of the thread; what is queued is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
