"""However feedback is spread over pods, their counts add up to the same."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_contract.losses import GROWTH, HIGHEST, LOWEST, LossReport, error_cell, merge
from tidegate_contract.prediction_id import Prediction
from tidegate_server.feedback import Feedback, Loss

losses = st.one_of(
    st.builds(Loss, right=st.booleans(), brier=st.none() | st.floats(0, 1)),
    st.builds(Loss, error=st.floats(0, allow_nan=False)),
)
predictions = st.builds(
    Prediction,
    revision=st.sampled_from(["a", "b"]),
    generation=st.integers(0, 2),
    evidence=st.booleans(),
    time=st.integers(0, 2000),
    rows=st.just(1),
    number=st.just(False),
)
told = st.lists(st.tuples(predictions, losses, st.integers(0, 2)), max_size=40)


@settings(deadline=None)
@given(told)
def test_any_split_over_pods_adds_up_to_the_same(feedbacks: list[tuple[Prediction, Loss, int]]) -> None:
    whole, pods = Feedback(), [Feedback() for _ in range(3)]
    for number, (prediction, loss, pod) in enumerate(feedbacks):
        for counters in (whole, pods[pod]):
            assert counters.count(str(number), prediction, [(0, loss)], 1000.0).counted == 1
    reports = [pod.snapshot() for pod in pods]
    assert merge(reports) == whole.snapshot()
    random.shuffle(reports)
    assert merge([merge(reports[:1]), merge(reports[1:])]) == whole.snapshot()
    assert merge([whole.snapshot(), LossReport()]) == whole.snapshot()


@given(st.floats(min_value=0, exclude_min=True, allow_nan=False))
def test_every_error_has_the_cell_whose_edges_hold_it(error: float) -> None:
    cell = error_cell(error)
    assert cell == HIGHEST or error <= GROWTH**cell
    assert cell == LOWEST or error > GROWTH ** (cell - 1)
