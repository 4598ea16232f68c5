"""The operator's own metrics: what is counted when somebody asks, and how it is named."""

from collections.abc import Iterable

from prometheus_client import generate_latest

from tidegate_operator.metrics import Metrics, State


def read(metrics: Metrics) -> dict[str, float]:
    """Every sample, by name and labels as they are written."""
    lines = [line for line in generate_latest(metrics.registry).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def metrics(states: Iterable[State] = ()) -> Metrics:
    return Metrics(depth=lambda: 3, models=lambda: 2, states=lambda: states)


def test_models_are_counted_by_condition_and_status_when_somebody_asks() -> None:
    states = [("Ready", "True"), ("Ready", "True"), ("Ready", "False"), ("Degraded", "False")]
    found = metrics(states)
    name = "tidegate_modeldeployment_conditions"
    assert {key: value for key, value in read(found).items() if key.startswith(name)} == {
        f'{name}{{status="False",type="Degraded"}}': 1.0,
        f'{name}{{status="False",type="Ready"}}': 1.0,
        f'{name}{{status="True",type="Ready"}}': 2.0,
    }
    states.clear()
    assert not [key for key in read(found) if key.startswith(name)], "a condition that nothing has any more is gone"


def test_without_models_there_are_no_conditions_and_it_can_be_asked_all_the_same() -> None:
    assert read(metrics())["tidegate_modeldeployments"] == 2.0
    assert read(metrics())["tidegate_queue_depth"] == 3.0


def test_every_answer_of_the_api_server_is_counted_by_verb_and_code() -> None:
    found = metrics()
    for code in (200, 409, 200):
        found.count_request("patch", code)
    assert read(found)['tidegate_api_requests_total{code="200",verb="patch"}'] == 2.0
    assert read(found)['tidegate_api_requests_total{code="409",verb="patch"}'] == 1.0


def test_a_request_without_an_answer_is_counted_too() -> None:
    found = metrics()
    found.count_request("watch", None)
    assert read(found)['tidegate_api_requests_total{code="none",verb="watch"}'] == 1.0


def test_two_operators_in_one_process_do_not_share_counters() -> None:
    one, other = metrics(), metrics()
    one.count_request("patch", 200)
    assert not [key for key in read(other) if key.startswith("tidegate_api_requests_total")]
