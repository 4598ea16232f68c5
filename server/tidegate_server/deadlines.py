"""One timer for the deadlines of all requests.

`asyncio.timeout` arms and disarms a timer for each request, which costs a short one a tenth of its time. All requests
have the same time here, so they end in the order in which they began, and one timer for the first of them is enough.
"""

import asyncio


class Deadlines:
    """On the event loop only."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """Kept: Python asks the system for the process's number whenever it is asked for the loop."""

    def begin(self) -> "Deadline":
        """The deadline of the current task, `seconds` from now; to be used by `with`, which raises TimeoutError."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        deadline = Deadline(self, asyncio.current_task(loop), loop.time() + self._seconds)  # type: ignore[arg-type]
        self._open[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline.at, self._ring, loop)
        return deadline

    def end(self, deadline: "Deadline") -> None:
        self._open.pop(deadline, None)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._timer = None
        for deadline in list(self._open):
            if deadline.at > now:
                self._timer = loop.call_at(deadline.at, self._ring, loop)
                break
            self.end(deadline)
            deadline.expire()


class Deadline:
    """A part of one task that is cancelled when it takes too long, as `asyncio.timeout` does it."""

    __slots__ = ("_before", "_expired", "_of", "_task", "at")

    def __init__(self, of: Deadlines, task: "asyncio.Task[object]", at: float) -> None:
        self._of = of
        self._task = task
        self._before = task.cancelling()
        self._expired = False
        self.at = at

    def expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._of.end(self)
        if self._expired and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError
