"""The queue in front of the model is bounded, and a caller that gave up leaves it."""

import asyncio
from typing import Any

import numpy as np
import pytest

from tidegate_server.batch import Predictor, QueueFullError

COLUMNS = {"delay": np.array([1.0])}


async def test_a_caller_that_gave_up_is_not_predicted_for(fake_engine: Any, gate: Any) -> None:
    engine = fake_engine(gate)
    predictor = Predictor(engine, lambda seconds: None, max_waiting=2)
    running = asyncio.create_task(predictor.predict(COLUMNS, ("predict",)))
    await asyncio.to_thread(gate.entered.wait)
    queued = asyncio.create_task(predictor.predict(COLUMNS, ("predict_proba",)))
    await asyncio.sleep(0.01)
    queued.cancel()
    await asyncio.gather(queued, return_exceptions=True)
    gate.opened.set()
    await running
    await predictor.predict(COLUMNS, ())
    assert engine.calls == [("predict",), ()]


async def test_a_predict_that_runs_keeps_its_place_until_it_ends(fake_engine: Any, gate: Any) -> None:
    predictor = Predictor(fake_engine(gate), lambda seconds: None, max_waiting=1)
    running = asyncio.create_task(predictor.predict(COLUMNS, ("predict",)))
    await asyncio.to_thread(gate.entered.wait)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(QueueFullError):
        await predictor.predict(COLUMNS, ("predict",))
    gate.opened.set()


async def test_a_model_that_raises_frees_its_place(fake_engine: Any) -> None:
    def behave(columns: Any) -> None:
        raise KeyError("x")

    seconds: list[float] = []
    predictor = Predictor(fake_engine(behave), seconds.append, max_waiting=1)
    for _ in range(3):
        with pytest.raises(KeyError):
            await predictor.predict(COLUMNS, ("predict",))
        await asyncio.sleep(0.01)
    assert len(seconds) == 3
