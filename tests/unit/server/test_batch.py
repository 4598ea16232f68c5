"""The queue in front of the model is bounded, and a caller that gave up leaves it."""

import asyncio
import gc
import weakref
from functools import partial
from typing import Any

import numpy as np
import pytest

from asking import wait_for
from bundles import SIGNATURE
from tidegate_server.batch import Predictor, QueueFullError

COLUMNS = {"delay": np.array([1.0])}


async def _predict(predictor: Predictor, *outputs: str) -> Any:
    return await wait_for(predictor, lambda place, asker: place.run(asker, lambda: predictor.predict(COLUMNS, outputs)))


async def _running(predictor: Predictor, gate: Any, *outputs: str) -> "asyncio.Task[Any]":
    task = asyncio.create_task(_predict(predictor, *outputs))
    await asyncio.to_thread(gate.entered.wait)
    return task


async def _give_up(task: "asyncio.Task[Any]") -> None:
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])


async def test_a_caller_that_gave_up_is_not_predicted_for(fake_engine: Any, gate: Any) -> None:
    engine = fake_engine(gate)
    predictor = Predictor(engine, lambda rows, seconds: None, SIGNATURE, max_waiting=2)
    running = await _running(predictor, gate, "predict")
    await _give_up(asyncio.create_task(_predict(predictor, "predict_proba")))
    gate.opened.set()
    await running
    await _predict(predictor)
    assert engine.calls == [("predict",), ()]


async def test_work_that_was_given_up_is_forgotten_while_another_predict_hangs(fake_engine: Any, gate: Any) -> None:
    class Body:
        pass

    predictor = Predictor(fake_engine(gate), lambda rows, seconds: None, SIGNATURE)
    running = await _running(predictor, gate, "predict")
    bodies: list[weakref.ref[Body]] = []

    async def ask() -> None:
        body = Body()
        bodies.append(weakref.ref(body))
        await wait_for(predictor, lambda place, asker: place.run(asker, lambda: body))

    await _give_up(asyncio.create_task(ask()))
    gc.collect()
    assert [body() for body in bodies] == [None]
    gate.opened.set()
    await running


async def test_a_predict_that_runs_keeps_its_place_until_it_ends(fake_engine: Any, gate: Any) -> None:
    predictor = Predictor(fake_engine(gate), lambda rows, seconds: None, SIGNATURE, max_waiting=1)
    await _give_up(await _running(predictor, gate, "predict"))
    with pytest.raises(QueueFullError):
        predictor.place()
    gate.opened.set()


def test_a_place_is_given_back_with_its_bytes(fake_engine: Any) -> None:
    predictor = Predictor(fake_engine(), lambda rows, seconds: None, SIGNATURE, max_waiting=2, max_bytes=10)
    for _ in range(3):
        one, other = predictor.place(), predictor.place()
        one.hold(4)
        other.hold(6)
        with pytest.raises(QueueFullError):
            one.hold(1)
        with pytest.raises(QueueFullError):
            predictor.place()
        one.leave()
        other.leave()


async def test_a_model_that_raises_frees_its_place(fake_engine: Any) -> None:
    def behave(columns: Any) -> None:
        raise KeyError("x")

    seconds: list[float] = []
    predictor = Predictor(fake_engine(behave), lambda rows, spent: seconds.append(spent), SIGNATURE, max_waiting=1)
    for _ in range(3):
        with pytest.raises(KeyError):
            await _predict(predictor, "predict")
        await asyncio.sleep(0.01)
    assert len(seconds) == 3


@pytest.mark.parametrize("folded", [True, False])
async def test_a_request_that_failed_is_not_kept_by_its_error(fake_engine: Any, folded: bool) -> None:
    class Body(dict[str, Any]):
        """Something that can be referred to weakly."""

    def behave(columns: Any) -> None:
        raise KeyError("x")

    predictor = Predictor(fake_engine(behave), lambda rows, seconds: None, SIGNATURE)
    gc.disable()
    try:
        body = Body(COLUMNS, carrier=np.array(["UA"], np.object_))
        seen = weakref.ref(body)

        async def ask(table: Any) -> None:
            if folded:
                await wait_for(predictor, lambda place, asker: place.predict(asker, table, ("predict",), 1))
            else:
                work = partial(predictor.predict, table, ("predict",))
                await wait_for(predictor, lambda place, asker: place.run(asker, work))

        with pytest.raises(KeyError):
            await ask(body)
        del body
        await asyncio.sleep(0.05)
        assert seen() is None
    finally:
        gc.enable()
