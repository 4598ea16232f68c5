"""The search finds what is wrong, the shortest way to it, and nothing where all is well."""

from dataclasses import replace

from tidegate_operator.core.guards import Guard, Guards
from verify import themes
from verify.pairs import enumerate_pairs, pair_of
from verify.search import search
from verify.values import Budget


def test_a_small_world_keeps_every_promise() -> None:
    found = search(themes.pair())
    assert found.counterexample is None
    assert found.complete
    assert found.states > found.truths > 10


def test_without_a_guard_the_shortest_way_to_harm_is_told() -> None:
    found = search(themes.named("update"), Guards(frozenset({Guard.OURS})))
    assert found.counterexample
    assert found.counterexample.promise.startswith("strangers_are_left_alone")
    assert len(found.counterexample.moves) <= 4


def test_more_trouble_covers_less() -> None:
    world = themes.pair()
    more, less = world.budgets[0], world.budgets[0]._replace(crashes=0)
    assert search(replace(world, budgets=(more, less))).states == search(world).states


def test_two_models_are_the_product_of_one_and_one() -> None:
    world = replace(themes.pair(), budgets=(Budget(0),))
    pairs, product, error = enumerate_pairs(pair_of(world))
    assert error is None
    assert pairs == product
