"""What the race of `make race` makes of its pods, its clients and its answers."""

import doctest
import importlib
import random
from dataclasses import replace

import pytest

from bench import race
from bench.racing import argo
from bench.racing.clients import USUAL, Answer, Mesh, Side
from bench.racing.results import EXPERT, OUTAGE, TIDEGATE, Run, bars, middle, timed
from bench.racing.settings import SETTINGS

RUN = Run(0, 0, TIDEGATE, "20", 5.0, 0.1, 25, 7, 10, 30.0, True, 600.0, 0.5, "", "")
DEPLOYMENT = {
    "spec": {
        "replicas": 2,
        "template": {
            "metadata": {"labels": {"models.tidegate.dev/model": "small", "team": "tides"}},
            "spec": {
                "serviceAccountName": "small",
                "volumes": [{"name": "bundle"}],
                "containers": [
                    {
                        "image": "server:1",
                        "env": [{"name": "TIDEGATE_REVISION", "value": "aa"}, {"name": "FAILS", "value": "0.005"}],
                        "resources": {"requests": {"cpu": "250m"}},
                    }
                ],
            },
        },
    }
}


@pytest.mark.parametrize("name", ["clients", "results", "settings"])
def test_the_examples_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"bench.racing.{name}")).failed == 0


def test_argos_pods_are_tidegates_but_for_version_fault_and_owner() -> None:
    assert argo.template_of(DEPLOYMENT, "bb", FAILS=0.2) == {
        "metadata": {"labels": {"app": "small", "team": "tides"}},
        "spec": {
            "volumes": [{"name": "bundle"}],
            "containers": [
                {
                    "image": "server:1",
                    "env": [{"name": "TIDEGATE_REVISION", "value": "bb"}, {"name": "FAILS", "value": "0.2"}],
                    "resources": {"requests": {"cpu": "250m"}},
                }
            ],
        },
    }


def test_the_mesh_divides_by_the_weights_and_leaves_out_a_side_without_pods() -> None:
    canary, stable = ("10.0.0.1", 80), ("10.0.0.2", 80)
    sides: list[Side] = [(5.0, [canary]), (95.0, [stable])]
    mesh = Mesh(sides, chance=random.Random(1))
    asked = [mesh.choose() for _ in range(4000)]
    assert 150 < asked.count((canary, USUAL)) < 250
    mesh.sides = [(0.0, [canary]), (100.0, [stable])]
    assert {mesh.choose() for _ in range(100)} == {(stable, USUAL)}
    mesh.sides = [(50.0, []), (50.0, [stable])]
    assert {mesh.choose() for _ in range(100)} == {(stable, USUAL)}


def test_the_canary_is_withdrawn_when_its_weight_goes_to_nothing_not_before_it_had_one() -> None:
    split = argo.Split()
    for weight, withdrawn in ((0, False), (5, False), (0, True)):
        split.saw_weights(
            f'[{{"service":"small-canary","weight":"{weight}"}},{{"service":"small-stable","weight":"1"}}]'
        )
        assert (split.withdrawn is not None) == withdrawn


def test_only_pods_that_are_ready_are_asked() -> None:
    split = argo.Split()
    ready, unready = (
        '{"addresses":["10.0.0.1"],"conditions":{"ready":true}}',
        '{"addresses":["10.0.0.2"],"conditions":{}}',
    )
    split.saw_addresses(f"small-stable [{ready},{unready}]\n")
    split.saw_addresses("small-canary \n")
    assert split.addresses == {"small-stable": [("10.0.0.1", 8080)], "small-canary": []}


def test_a_run_ends_with_the_last_answer_that_was_asked_for_before_the_weight_went() -> None:
    answers = [
        Answer(due, due + 0.1, status, "bb") for due, status in ((10.0, 200), (11.0, 500), (14.0, 500), (30.0, 500))
    ]
    assert timed(answers, 15.0) == {
        "seconds": 4.0,
        "first_failed": 1.0,
        "answers": 3,
        "failed": 2,
        "failed_in_all": 3,
        "seconds_in_all": 20.0,
        "withdrawn": True,
    }


def test_each_round_has_every_system_beside_the_others_and_docs_only_in_its_own() -> None:
    found = list(race.cells(["tidegate", "docs"], ["100", OUTAGE], 2, 1))
    assert found == [
        (0, 0, "tidegate", "100"),
        (0, 0, "docs", "100"),
        (0, 0, "tidegate", OUTAGE),
        (0, 0, "docs", OUTAGE),
        (0, 1, "tidegate", OUTAGE),
        (1, 0, "tidegate", "100"),
        (1, 0, "tidegate", OUTAGE),
        (1, 1, "tidegate", OUTAGE),
    ]


def test_half_of_the_runs_without_an_end_make_a_median_without_one() -> None:
    endless = replace(RUN, seconds=None)
    assert middle([RUN, endless]) == middle([endless]) == float("inf")
    assert middle([RUN, RUN, endless]) == 5.0


def test_the_bars_are_held_against_the_expert_with_both_trials_failed_answers() -> None:
    expert = replace(RUN, system=EXPERT, seconds=13.0, failed=9, failed_in_all=9)
    assert bars([RUN, expert, replace(RUN, fault=OUTAGE, withdrawn=False)]) == [
        ("20 %: faster than the expert", "5.0 s, 13.0 s", True),
        ("20 %: fewer failed answers, both trials", "10, 9", False),
        ("outage of both: nothing is taken back", "0 of 1", True),
    ]


def test_one_failed_measurement_ends_a_release_of_all_but_the_slow_ones() -> None:
    failures = {name: {metric.failures for metric in settings.metrics} for name, settings in SETTINGS.items()}
    assert failures == {"expert": {0}, "hasty": {0}, "1s": {0}, "10s": {1}, "docs": {3}}
