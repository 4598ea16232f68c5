"""That a candidate answers otherwise is proven by where its answers fall, and told only if it is a good deal."""

import math
from itertools import product

import pytest

from tidegate_contract.evidence import Contrast
from tidegate_operator.core.evidence.shift import Shift, radius, shift_of, shifted


def exact(value: float) -> object:
    return pytest.approx(value, rel=1e-11, abs=1e-11)


def drawn(weight: float, arms: str) -> float:
    """By hand, answer by answer: what a bet on the next one wins, of whoever gave it.

    The bettor starts at 20 answers divided by the weight and learns: the next is the candidate's with the share of the
    candidate among those before.
    """
    ours, theirs, won = 20 * weight, 20 * (1 - weight), 1.0
    for arm in arms:
        share = ours / (ours + theirs)
        won *= share / weight if arm == "c" else (1 - share) / (1 - weight)
        ours, theirs = ours + (arm == "c"), theirs + (arm == "s")
    return won


@pytest.mark.parametrize("weight", [0.05, 0.3, 0.9])
def test_a_bin_wins_what_a_bettor_wins_who_learns_its_share_answer_by_answer(weight: float) -> None:
    for arms in ("c", "s", "ccss", "scsccc", "s" * 12):
        shift = shift_of(1).after(weight, [arms.count("c")], [arms.count("s")])
        assert shift.log_evidence == exact(math.log(drawn(weight, arms)))


def test_bins_and_weights_multiply() -> None:
    shift = (
        shift_of(3).after(0.1, [2, 0, 1], [3, 0, 0]).after(0.1, [0, 0, 1], [0, 0, 4]).after(0.4, [1, 0, 0], [1, 0, 2])
    )
    won = drawn(0.1, "ccsss") * drawn(0.1, "ccssss") * drawn(0.4, "cs") * drawn(0.4, "ss")
    assert shift.log_evidence == exact(math.log(won))
    assert shift.log_before == exact(math.log(drawn(0.1, "ccsss") * drawn(0.1, "ccssss")))


def test_answers_gain_nothing_on_average_while_they_say_nothing_of_who_gave_them() -> None:
    """Exactly, over everything that four answers in two bins can be, through a change of the weight."""
    mean, often, weights = 0.0, (0.3, 0.7), (0.2, 0.2, 0.6, 0.6)
    for path in product("cs", (0, 1), repeat=4):
        arms, bins = path[::2], path[1::2]
        shift, chance = shift_of(2), 1.0
        for arm, at, weight in zip(arms, bins, weights, strict=True):
            assert isinstance(at, int)
            counts = [0, 0]
            counts[at] = 1
            ours, theirs = (counts, [0, 0]) if arm == "c" else ([0, 0], counts)
            shift = shift.after(weight, ours, theirs)
            chance *= often[at] * (weight if arm == "c" else 1 - weight)
        mean += chance * math.exp(shift.log_evidence)
    assert mean == exact(1)


def test_it_begins_with_20_bins_and_nothing() -> None:
    assert Shift() == shift_of(20)
    assert (Shift().log_evidence, Shift().distance()) == (0.0, (0.0, 0.0))
    assert not shifted(Shift())


def test_the_distance_is_half_the_difference_of_all_shares_and_its_bound_is_below() -> None:
    shift = shift_of(2).after(0.5, [900, 100], [500, 500])
    assert shift.distance() == (exact(0.4), exact(0.4 - math.sqrt((2 * math.log(2) + math.log(20)) / 1000)))
    assert shift_of(2).after(0.5, [6, 4], [5, 5]).distance() == (exact(0.1), 0.0)


def test_the_radius_falls_with_the_root_of_the_answers() -> None:
    assert radius(20, 1000) == exact(math.sqrt((20 * math.log(2) + math.log(20)) / 2000))
    assert radius(20, 4000) == exact(radius(20, 1000) / 2)
    assert radius(1, 1, 0.5) == exact(math.sqrt(math.log(4) / 2))
    with pytest.raises(ValueError, match="failure must be above 0"):
        radius(2, 100, 0.0)


def test_equal_answers_are_no_shift_however_many() -> None:
    shift = Shift()
    for _ in range(100):
        shift = shift.after(0.1, [5] * 20, [45] * 20)
        assert not shifted(shift)
    assert shift.log_evidence < -50


def test_a_constant_answer_is_a_shift_at_once() -> None:
    shift, found = Shift(), []
    for _ in range(3):
        shift = shift.after(0.1, [0] * 7 + [10] + [0] * 12, [4] * 20)
        found.append(shifted(shift))
    assert found == [True, True, True]


def test_a_shift_that_is_proven_but_small_is_not_told() -> None:
    shift = shift_of(2).after(0.5, [5800, 4200], [5000, 5000])
    assert shift.log_evidence > 20
    assert not shifted(shift)
    assert shifted(shift, distance=0.079)
    assert not shifted(shift, distance=0.081)
    assert shifted(shift_of(2).after(0.5, [6100, 3900], [5000, 5000]))
    assert not shifted(shift_of(2).after(0.5, [5990, 4010], [5000, 5000]))


def test_a_shift_of_just_enough_is_told() -> None:
    """A wealth of 100, a distance of .1: all of it under weights that are over."""

    def over(wealth: float, distance: float) -> Shift:
        return Shift(Contrast((0, 0), (0, 0), (distance, -distance), 1.0), math.log(wealth))

    assert shifted(Shift(over(1, 0.1).contrast, -math.log(0.01)))
    assert not shifted(over(99.5, 0.1))
    assert not shifted(over(101, 0.0999))


def test_a_shift_is_proven_by_a_wealth_of_100() -> None:
    """Of 20 answers that all differ the wealth is between 10 and 100 times as large as told here."""
    shift = shift_of(2).after(0.5, [12, 0], [0, 12])
    wealth = math.exp(shift.log_evidence)
    assert 20 < wealth < 100
    assert [shifted(shift), shifted(shift, alpha=0.99 / wealth), shifted(shift, alpha=1.01 / wealth)] == [
        False,
        False,
        True,
    ]
    assert shifted(shift_of(2).after(0.5, [14, 0], [0, 14]))
    with pytest.raises(ValueError, match="alpha must be above 0"):
        shifted(shift, alpha=0.0)


def test_answers_in_other_bins_than_before_are_refused() -> None:
    with pytest.raises(ValueError, match="1 and 1 counts instead of 20"):
        Shift().after(0.5, [1], [1])
    with pytest.raises(ValueError, match="a count must be"):
        shift_of(1).after(0.5, [-1], [1])
    with pytest.raises(ValueError, match="weight must be above 0"):
        shift_of(1).after(0.0, [1], [1])
