"""Whoever asks a predictor, as a coroutine."""

import asyncio
from collections.abc import Callable
from typing import Any

from tidegate_server.batch import Asker, Place, Predictor


class Waiting:
    """Waits to be told."""

    def __init__(self) -> None:
        self.told: asyncio.Future[tuple[Any, BaseException | None]] = asyncio.get_running_loop().create_future()

    def answered(self, result: Any) -> None:
        self._tell(result, None)

    def failed(self, error: BaseException) -> None:
        self._tell(None, error)

    def _tell(self, result: Any, error: BaseException | None) -> None:
        if not self.told.done():  # it is if the caller was cancelled just now
            self.told.set_result((result, error))


async def wait_for(predictor: Predictor, ask: Callable[[Place, Asker], None]) -> Any:
    """What comes of it. Raises QueueFullError, and whatever the model raises; a caller that is cancelled leaves."""
    place = predictor.place()
    try:
        waiting = Waiting()
        ask(place, waiting)
        result, error = await waiting.told
        del waiting  # the error's traceback holds what is named here, and this holds the error
        if error is not None:
            try:
                raise error
            finally:
                del error
        return result
    finally:
        place.leave()
