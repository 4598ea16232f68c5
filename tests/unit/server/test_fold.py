"""Requests that wait are put together into one predict, and each gets its own rows and its own errors."""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import wait_for
from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, TensorSpec
from tidegate_server import batch
from tidegate_server.batch import Asker, Pace, Place, Predictor
from tidegate_server.tensors import Columns

BAD = -1.0
SIGNATURE = Signature(
    (TensorSpec("x", Datatype.FP64, (-1,)),),
    (TensorSpec("predict", Datatype.FP64, (-1,)), TensorSpec("other", Datatype.FP64, (-1,))),
)


@dataclass
class Twice:
    """Answers with twice what was asked, raises at a bad row, and is as slow as it is told."""

    seconds: float = 0
    calls: list[tuple[int, tuple[str, ...], bool]] = field(default_factory=list)
    """Rows, outputs, and whether it was in the thread."""
    gate: Any = None

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        values = columns["x"]
        in_thread = threading.current_thread() is not threading.main_thread()
        self.calls.append((len(values), tuple(outputs), in_thread))
        if self.gate is not None and not self.gate.opened.is_set():
            self.gate(columns)
        if self.seconds:
            time.sleep(self.seconds)
        if (values == BAD).any():
            raise ValueError("a bad row")
        return {name: values * 2 + (name == "other") for name in outputs}


async def ask(predictor: Predictor, *values: float, outputs: tuple[str, ...] = ("predict",)) -> dict[str, list[float]]:
    table = {"x": np.array(values, np.float64)}
    share = await wait_for(predictor, lambda place, asker: place.predict(asker, table, outputs, len(values)))
    return {name: answer.tolist() for name, answer in share.columns.items()}


def predictor_of(engine: Twice, seconds: list[float] | None = None) -> Predictor:
    seen = seconds if seconds is not None else []
    return Predictor(engine, lambda rows, spent: seen.append(spent), SIGNATURE)


async def behind(engine: Twice, gate: Any, *asked: "asyncio.Task[Any]") -> None:
    """Let those that were asked wait behind a predict that runs, then open it."""
    await asyncio.to_thread(gate.entered.wait)
    await asyncio.sleep(0.02)
    engine.calls.clear()
    gate.opened.set()
    await asyncio.wait(asked)


async def test_what_waits_is_folded_into_one_predict_of_the_same_outputs(gate: Any) -> None:
    engine = Twice(gate=gate)
    predictor = predictor_of(engine)
    first = asyncio.create_task(ask(predictor, 0.5))
    await asyncio.to_thread(gate.entered.wait)
    both = ("predict", "other")
    asked = [
        asyncio.create_task(ask(predictor, 1, 2)),
        asyncio.create_task(ask(predictor, 3, outputs=both)),
        asyncio.create_task(ask(predictor, 4)),
        asyncio.create_task(ask(predictor, 5, outputs=both[::-1])),
    ]
    await behind(engine, gate, first, *asked)
    assert [task.result() for task in asked] == [
        {"predict": [2, 4]},
        {"predict": [6], "other": [7]},
        {"predict": [8]},
        {"predict": [10], "other": [11]},
    ]
    assert [call[:2] for call in engine.calls] == [(3, ("predict",)), (2, both)]


async def test_what_comes_in_one_turn_of_the_loop_is_one_predict() -> None:
    engine = Twice()
    predictor = predictor_of(engine)
    assert await asyncio.gather(*(ask(predictor, value) for value in (1, 2, 3))) == [
        {"predict": [value]} for value in (2, 4, 6)
    ]
    assert [call[0] for call in engine.calls] == [3]


async def test_an_error_is_told_to_the_one_whose_row_it_was(gate: Any) -> None:
    engine, seconds = Twice(gate=gate), list[float]()
    predictor = predictor_of(engine, seconds)
    asked = [asyncio.create_task(ask(predictor, value)) for value in (0.5, 1, BAD, 2)]
    gate.opened.set()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(answer) for answer in found] == [
        "{'predict': [1.0]}",
        "{'predict': [2.0]}",
        "a bad row",
        "{'predict': [4.0]}",
    ]
    assert [call[0] for call in engine.calls] == [4, 1, 1, 1, 1]
    assert len(seconds) == 5
    assert await ask(predictor, 7, 8) == {"predict": [14, 16]}


async def test_of_an_answer_with_too_few_rows_nobody_gets_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Twice()
    predictor = predictor_of(engine)
    whole = engine.predict
    monkeypatch.setattr(engine, "predict", lambda columns, outputs: {"predict": whole(columns, outputs)["predict"][:1]})
    found = await asyncio.gather(*(ask(predictor, value) for value in (1, 2, 3)))
    assert found == [{"predict": [2]}, {"predict": [4]}, {"predict": [6]}]
    assert [call[0] for call in engine.calls] == [3, 1, 1, 1]


async def test_a_caller_that_gave_up_is_not_in_the_predict(gate: Any) -> None:
    engine = Twice(gate=gate)
    predictor = predictor_of(engine)
    first = asyncio.create_task(ask(predictor, 0.5))
    await asyncio.to_thread(gate.entered.wait)
    stays, goes = asyncio.create_task(ask(predictor, 1)), asyncio.create_task(ask(predictor, 2, 3))
    await asyncio.sleep(0.01)
    goes.cancel()
    await behind(engine, gate, first, stays, goes)
    assert (stays.result(), goes.cancelled()) == ({"predict": [2]}, True)
    assert [call[0] for call in engine.calls] == [1]


@pytest.mark.parametrize(("limit", "most"), [("MAX_FOLDED_ROWS", 4), ("MAX_FOLDED_BYTES", 20)])
async def test_a_predict_of_several_is_bounded(limit: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, limit, most)
    engine = Twice()
    predictor = predictor_of(engine)

    async def hold() -> None:
        def ask(place: Place, asker: Asker) -> None:
            place.hold(10)
            place.predict(asker, {"x": np.array([1.0, 2.0])}, ("predict",), 2)

        await wait_for(predictor, ask)

    await asyncio.gather(*(hold() for _ in range(5)))
    assert [call[0] for call in engine.calls] == [4, 4, 2]


async def test_a_model_that_raises_stop_iteration_is_an_error_like_another() -> None:
    engine = Twice()
    predictor = predictor_of(engine)
    vars(engine)["predict"] = lambda columns, outputs: next(iter([]))
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(ask(predictor, 1), 5)


async def test_short_predicts_run_on_the_loop_once_they_are_known_to_be_short() -> None:
    engine = Twice()
    predictor = predictor_of(engine)
    for _ in range(8):
        await ask(predictor, 1)
    assert [in_thread for _, _, in_thread in engine.calls] == [True] * 5 + [False] * 3
    engine.calls.clear()
    await ask(predictor, *range(100))
    assert engine.calls == [(100, ("predict",), True)], "of so many rows nothing is known yet"


async def test_slow_predicts_stay_in_the_thread() -> None:
    engine = Twice(seconds=0.002)
    predictor = predictor_of(engine)
    for _ in range(8):
        await ask(predictor, 1)
    assert [in_thread for _, _, in_thread in engine.calls] == [True] * 8


def test_a_predict_is_short_if_the_fastest_of_five_was() -> None:
    pace = Pace()
    for seconds in (1.0, 1.0, 1.0, 1e-4):
        pace.saw(1, seconds, on_loop=False)
    assert not pace.short(1)
    pace.saw(1, 1.0, on_loop=False)
    assert (pace.short(1), pace.short(2)) == (True, False)
    for _ in range(4):
        pace.saw(1, 1.0, on_loop=False)
    assert not pace.short(1)


def test_a_size_that_was_not_seen_is_short_if_a_larger_one_is() -> None:
    pace = Pace()
    for _ in range(5):
        pace.saw(40, 1e-5, on_loop=False)
    assert (pace.short(1), pace.short(63), pace.short(64)) == (True, True, False)
    for _ in range(5):
        pace.saw(1, 1.0, on_loop=False)
    assert (pace.short(1), pace.short(2), pace.short(63)) == (False, True, True)
    for _ in range(5):
        pace.saw(40, 1.0, on_loop=False)
    assert not pace.short(2)


def test_one_that_held_up_the_loop_sends_the_next_ones_to_the_thread_more_of_them_each_time() -> None:
    pace = Pace()
    for _ in range(5):
        pace.saw(1, 1e-5, on_loop=True)
    for pause in (16, 64, 256, 1000, 1000):
        pace.saw(1, 1.0, on_loop=True)
        for _ in range(pause):
            assert not pace.short(1)
            pace.saw(1, 1e-5, on_loop=False)
        assert pace.short(1)
    for _ in range(1000):
        pace.saw(1, 1e-5, on_loop=True)
    pace.saw(1, 1.0, on_loop=True)
    for _ in range(16):
        pace.saw(1, 1e-5, on_loop=False)
    assert pace.short(1)


async def test_the_next_predict_waits_for_those_who_were_just_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "COMPANY_SECONDS", 5.0)
    monkeypatch.setattr(batch, "COMPANY_SHARE", 100.0)
    engine = Twice(seconds=0.02)
    predictor = predictor_of(engine)

    async def client(value: float) -> None:
        for _ in range(3):
            await ask(predictor, value)
            await asyncio.sleep(0.005 * value)

    await asyncio.wait_for(asyncio.gather(*(client(value) for value in range(3))), 4)
    assert [call[0] for call in engine.calls] == [3, 3, 3]


async def test_nothing_waits_for_company_that_does_not_come() -> None:
    engine = Twice(seconds=0.01)
    predictor = predictor_of(engine)
    await asyncio.gather(ask(predictor, 1), ask(predictor, 2))
    start = time.monotonic()
    assert await ask(predictor, 3) == {"predict": [6]}
    assert time.monotonic() - start < 1


REQUESTS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 9).map(float), min_size=1, max_size=3),
        st.sampled_from([("predict",), ("predict", "other"), ("other", "predict")]),
        st.integers(0, 3),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)
"""Of each: its rows, of which 0 is bad; the outputs; the turns of the loop before it comes; whether it gives up."""


@given(requests=REQUESTS, on_loop=st.booleans())
@settings(max_examples=150, deadline=None)
def test_whoever_asks_gets_exactly_its_own_answer(requests: Any, on_loop: bool) -> None:
    class Known(Pace):
        def short(self, rows: int) -> bool:
            return on_loop

    async def one(predictor: Predictor, place: int, rows: list[float], outputs: tuple[str, ...], turns: int) -> Any:
        for _ in range(turns):
            await asyncio.sleep(0)
        values = [BAD if row == 0 else row + 100 * place for row in rows]
        try:
            return await ask(predictor, *values, outputs=outputs)
        except ValueError as error:
            return str(error)

    async def every() -> list[Any]:
        predictor = predictor_of(Twice())
        vars(predictor)["_pace"] = Known()
        tasks = [
            asyncio.create_task(one(predictor, place, rows, outputs, turns))
            for place, (rows, outputs, turns, _) in enumerate(requests)
        ]
        for task, (_, _, turns, gives_up) in zip(tasks, requests, strict=True):
            if gives_up:
                asyncio.get_running_loop().call_later(0.0002 * turns, task.cancel)
        found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        await ask(predictor, 1)  # what ran for those who gave up has ended
        assert predictor._places_left == batch.MAX_WAITING
        predictor.close()
        return found

    for place, (found, (rows, outputs, _, gives_up)) in enumerate(zip(asyncio.run(every()), requests, strict=True)):
        if gives_up and isinstance(found, asyncio.CancelledError):
            continue
        values = [row + 100 * place for row in rows]
        right = {name: [2 * value + (name == "other") for value in values] for name in outputs}
        assert found == ("a bad row" if 0 in rows else right)
