"""From a spec that the API server took to what the core wants."""

from typing import Any

import pytest

from tidegate_operator.api import v1alpha1
from tidegate_operator.api.v1alpha1 import SpecError, parse
from tidegate_operator.core.types import (
    Approval,
    Bake,
    Deadline,
    Overdue,
    RolloutStep,
    Strategy,
    Tolerance,
    Via,
    Weight,
)

MODEL = {"model": {"uri": "oci://registry.example/flights:1"}}


def meant(strategy: str = "", *steps: dict[str, Any], via: str = "") -> dict[str, Any]:
    """A spec that says so much of them."""
    rollout = ({"strategy": strategy} if strategy else {}) | ({"steps": list(steps)} if steps else {})
    return MODEL | {"rollout": rollout, "traffic": {"via": via} if via else {}}


@pytest.mark.parametrize(
    ("said", "setting", "via"),
    [
        pytest.param("", Via.SERVICE, Via.SERVICE, id="unsaid it is the setting: Service"),
        pytest.param("", Via.ROUTER, Via.ROUTER, id="unsaid it is the setting: Router"),
        pytest.param("Router", Via.SERVICE, Via.ROUTER, id="Router whatever the setting"),
        pytest.param("Service", Via.ROUTER, Via.SERVICE, id="Service whatever the setting"),
    ],
)
def test_what_spec_says_of_the_way_goes_before_the_setting(said: str, setting: Via, via: Via) -> None:
    assert parse(meant(via=said), setting).via is via


def test_without_a_setting_requests_go_straight() -> None:
    assert parse(MODEL).via is Via.SERVICE


RAMP = (Weight(5), Weight(20), Weight(50))


@pytest.mark.parametrize(
    ("spec", "strategy", "steps"),
    [
        pytest.param(meant(), Strategy.IMMEDIATE, (), id="unsaid it is Immediate"),
        pytest.param(meant("Immediate"), Strategy.IMMEDIATE, (), id="Immediate has no steps"),
        pytest.param(meant("BlueGreen"), Strategy.BLUE_GREEN, (Approval(),), id="BlueGreen waits for a person once"),
        pytest.param(meant("Canary"), Strategy.CANARY, RAMP, id="a Canary has steps by itself"),
        pytest.param(meant("Auto"), Strategy.AUTO, RAMP, id="Auto has the same"),
        pytest.param(
            meant("Canary", {"approval": {}}, {"weight": 10}, {"approval": {}}),
            Strategy.CANARY,
            (Approval(), Weight(10), Approval()),
            id="or those that are written",
        ),
        pytest.param(
            meant("Canary", {"weight": 5}, {"weight": 50}),
            Strategy.CANARY,
            (Weight(5), Weight(50)),
            id="which need no approval",
        ),
        pytest.param(meant("Shadow"), Strategy.SHADOW, (Approval(),), id="Shadow waits for a person once"),
    ],
)
def test_a_strategy_is_its_steps(spec: dict[str, Any], strategy: Strategy, steps: tuple[RolloutStep, ...]) -> None:
    found = parse(spec, Via.ROUTER)
    assert (found.strategy, found.steps) == (strategy, steps)


@pytest.mark.parametrize("strategy", ["Auto", "Canary", "BlueGreen", "Shadow"])
@pytest.mark.parametrize(
    ("said", "setting"),
    [("", Via.SERVICE), ("Service", Via.ROUTER)],
    ids=["by the setting", "by spec"],
)
def test_two_versions_cannot_share_the_requests_without_a_router(strategy: str, said: str, setting: Via) -> None:
    with pytest.raises(SpecError) as error:
        parse(meant(strategy, via=said), setting)
    assert str(error.value) == (
        f"spec.rollout.strategy: {strategy} divides requests, which needs spec.traffic.via Router; "
        "write that, or strategy Immediate"
    )


def test_a_client_stays_for_whole_seconds_where_there_are_routers() -> None:
    spec = meant("Immediate") | {"traffic": {"sticky": "1h30m"}}
    assert parse(spec, Via.ROUTER).sticky == 5400
    with pytest.raises(SpecError, match=r"^spec\.traffic\.sticky: only routers divide requests"):
        parse(spec, Via.SERVICE)


def test_immediate_needs_no_router() -> None:
    assert parse(meant("Immediate", via="Service")).strategy is Strategy.IMMEDIATE


def rollout(strategy: str, **more: Any) -> dict[str, Any]:
    """A spec with this of its rollout."""
    return MODEL | {"rollout": {"strategy": strategy, **more}}


@pytest.mark.parametrize(
    ("said", "tolerance"),
    [
        pytest.param({}, Tolerance(0.01, 0.005), id="unsaid"),
        pytest.param({"tolerance": {}}, Tolerance(0.01, 0.005), id="said without a word"),
        pytest.param({"tolerance": {"errors": "0.2%"}}, Tolerance(0.002, 0.005), id="errors alone"),
        pytest.param({"tolerance": {"slow": "50%"}}, Tolerance(0.01, 0.5), id="slow answers alone"),
        pytest.param({"tolerance": {"errors": "10%", "slow": "0.125%"}}, Tolerance(0.1, 0.00125), id="both"),
    ],
)
def test_a_tolerance_is_a_share_of_all_requests(said: dict[str, Any], tolerance: Tolerance) -> None:
    assert parse(rollout("Auto", **said), Via.ROUTER).tolerance == tolerance


@pytest.mark.parametrize("strategy", [each for each in Strategy if each is not Strategy.IMMEDIATE])
@pytest.mark.parametrize(
    ("said", "bake"),
    [
        pytest.param({}, Bake(1800, 5), id="unsaid"),
        pytest.param({"bake": {"holdback": 50}}, Bake(1800, 50), id="a holdback alone"),
        pytest.param({"bake": {"duration": "1h30m", "holdback": 1}}, Bake(5400, 1), id="both"),
        pytest.param({"bake": {"duration": "0s"}}, None, id="none is wanted"),
    ],
)
def test_what_has_taken_over_bakes(strategy: Strategy, said: dict[str, Any], bake: Bake | None) -> None:
    assert parse(rollout(strategy, **said), Via.ROUTER).bake == bake


def test_after_immediate_nothing_is_compared() -> None:
    assert parse(rollout("Immediate", bake={"duration": "1h"}), Via.ROUTER).bake is None


@pytest.mark.parametrize(
    ("said", "deadline"),
    [
        pytest.param({}, Deadline(86400, Overdue.HOLD), id="unsaid"),
        pytest.param({"deadline": {"after": "90m"}}, Deadline(5400, Overdue.HOLD), id="a time alone"),
        pytest.param({"deadline": {"then": "Rollback"}}, Deadline(86400, Overdue.ROLLBACK), id="an end alone"),
    ],
)
def test_a_rollout_has_a_deadline(said: dict[str, Any], deadline: Deadline) -> None:
    assert parse(rollout("Auto", **said), Via.ROUTER).deadline == deadline


@pytest.mark.parametrize(
    ("said", "field"),
    [
        pytest.param({"tolerance": {"errors": "a lot"}}, "tolerance.errors", id="a tolerance in words"),
        pytest.param({"bake": {"holdback": 51}}, "bake.holdback", id="more than half held back"),
        pytest.param({"bake": {"duration": "1 day"}}, "bake.duration", id="days"),
        pytest.param({"deadline": {"then": "Promote"}}, "deadline.then", id="an end that there is not"),
    ],
)
def test_what_the_schema_refuses_means_nothing_here_either(said: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError, match=rf"^spec\.rollout\.{field}: "):
        parse(rollout("Auto", **said), Via.ROUTER)


def test_every_strategy_has_steps_of_its_own_and_they_fit_into_a_status() -> None:
    assert set(v1alpha1.STEPS) == set(Strategy)
    assert max(map(len, v1alpha1.STEPS.values())) <= v1alpha1.MOST_STEPS
