"""Where the cost of answers is known it is compared, where it is not, how often they differ."""

import math
from collections.abc import Callable
from itertools import product

import pytest
from scipy.special import betainc, betaln

from tidegate_contract.evidence import EXCESS_FRACTIONS, FRACTIONS, Excess, bettors, harmful
from tidegate_operator.core.evidence.losses import Disagreement, Paired, harm_of_losses
from tidegate_operator.core.evidence.promotion import Promotion, proven


def exact(value: float) -> object:
    return pytest.approx(value, rel=1e-12, abs=1e-12)


# ---------------------------------------------------------------- labels


def test_harm_by_labels_has_a_reserve_as_other_harm_has() -> None:
    assert harm_of_losses(0.02) == Excess(0.02, bettors(len(EXCESS_FRACTIONS), 0.5))


def test_labels_prove_harm_or_that_there_is_none() -> None:
    harm, promotion = harm_of_losses(0.05), Promotion(0.05)
    for _ in range(100):
        labels = 0.2, {0.1: 8, 0.9: 12}, {0.1: 60, 0.9: 20}
        harm, promotion = harm.after_losses(*labels), promotion.after_losses(*labels)
    assert (harmful(harm, 1), proven(promotion)) == (True, False)
    harm, promotion = harm_of_losses(0.05), Promotion(0.05)
    for _ in range(100):
        labels = 0.2, {0.1: 15, 0.9: 5}, {0.1: 60, 0.9: 20}
        harm, promotion = harm.after_losses(*labels), promotion.after_losses(*labels)
    assert (harmful(harm, 1), proven(promotion)) == (False, True)


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize("margin", [-0.1, 0.01, 0.3])
def test_a_pair_gains_nothing_on_average_at_the_margin_and_less_beyond(margin: float) -> None:
    """Exactly, over the three differences that losses of 0 or 1 can have."""

    def means(mean: float) -> list[float]:
        chances = {1.0: 0.3 + mean / 2, -1.0: 0.3 - mean / 2, 0.0: 0.4}
        settled = [
            (chance, Paired(margin).after({difference: 1}).wealth.logs) for difference, chance in chances.items()
        ]
        return [sum(chance * math.exp(logs[bettor]) for chance, logs in settled) for bettor in range(7)]

    assert means(margin) == [exact(1)] * 7
    assert all(mean < 1 for mean in means(margin + 0.05))
    assert all(mean > 1 for mean in means(margin - 0.05))


def test_the_worst_pair_costs_each_bettor_what_he_staked() -> None:
    assert Paired(0.01).wealth == bettors(7)
    assert Paired(0.2).after({1.0: 1}).wealth.logs == tuple(exact(math.log(1 - 0.95 * f)) for f in FRACTIONS)
    assert Paired(0.2).after({0.5: 2, -1.0: 1}).wealth.logs[6] == exact(
        2 * math.log1p(-0.95 / 0.8 * 0.3) + math.log1p(0.95 / 0.8 * 1.2)
    )


def test_without_a_difference_500_pairs_are_proof() -> None:
    assert [proven(Paired(0.01).after({0.0: pairs})) for pairs in (450, 500)] == [False, True]


def test_harm_is_the_mirror_image() -> None:
    """As E[D] <= tolerance is refuted by -D >= -tolerance."""
    assert proven(Paired(-0.01).after({-1.0: 20, 0.0: 180}))
    assert not proven(Paired(-0.01).after({-1.0: 2, 1.0: 2, 0.0: 196}))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Paired(1.0), "margin must be above -1 and below 1"),
        (lambda: Paired(-1.0), "margin must be above -1 and below 1"),
        (lambda: Paired(0.1, bettors(8)), "wealth of 8 bettors instead of 7"),
        (lambda: Paired(0.1).after({1.1: 1}), "must lie in"),
        (lambda: Paired(0.1).after({-1.1: 1}), "must lie in"),
        (lambda: Paired(0.1).after({math.nan: 1}), "not be nan"),
        (lambda: Paired(0.1).after({0.0: -1}), "a count must be"),
        (lambda: Disagreement(1, 2), "2 differing among 1 pairs"),
        (lambda: Disagreement(-1, 0), "pairs must be"),
        (lambda: Disagreement(1, -1), "differing pairs must be"),
        (lambda: Disagreement(5, 1).after(1, 2), "2 differing among 1 pairs"),
        (lambda: Disagreement(5, 1).log_evidence(1.0), "rate must be above 0 and below 1"),
        (lambda: Disagreement(5, 1).log_evidence(0.0), "rate must be above 0 and below 1"),
        (lambda: Disagreement(5, 1).upper(0.0), "beta must be above 0"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


# ---------------------------------------------------------------- disagreement


COUNTS = [(0, 0), (1, 0), (1, 1), (7, 3), (30, 0), (30, 30), (300, 2), (5000, 90), (10**6, 2000), (10**8, 200_000)]


@pytest.mark.parametrize(("pairs", "differing"), COUNTS)
def test_the_evidence_is_that_of_the_incomplete_beta_function_of_a_library(pairs: int, differing: int) -> None:
    a, b = differing + 1, pairs - differing + 1
    compared = 0
    for rate in (1e-4, 0.001, 0.01, 0.05, 0.3, 0.5, 0.9, 0.999, differing / max(pairs, 1), (a + 1) / (a + b + 2)):
        share = float(betainc(a, b, rate)) if 0 < rate < 1 else 0.0
        if share > 1e-250:
            whole = float(betaln(a, b)) - a * math.log(rate) - (b - 1) * math.log1p(-rate)
            found = Disagreement(pairs, differing).log_evidence(rate)
            assert found == pytest.approx(whole + math.log(share), rel=1e-9, abs=3e-6 if pairs == 10**8 else 1e-8)
            compared += 1
    assert compared >= 2


def test_by_hand_it_is_an_integral() -> None:
    """No pair: 1. One that agrees, u = .5: the integral of (1-q)/(1-u) over (0, u), over u, is 1.5; one that differs:
    .5."""
    found = [math.exp(Disagreement(*counts).log_evidence(0.5)) for counts in ((0, 0), (1, 0), (1, 1), (2, 2))]
    assert found == [exact(1), exact(1.5), exact(0.5), exact(1 / 3)]


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.8])
def test_pairs_gain_nothing_on_average_where_the_versions_disagree_as_often_as_that(rate: float) -> None:
    """Exactly, over everything that five pairs can be."""
    mean = 0.0
    for path in product((0, 1), repeat=5):
        chance = math.prod(rate if differs else 1 - rate for differs in path)
        mean += chance * math.exp(Disagreement(5, sum(path)).log_evidence(rate))
    assert mean == exact(1)


@pytest.mark.parametrize(("pairs", "differing"), [(1, 0), (30, 0), (300, 2), (5000, 90), (10**6, 2000)])
@pytest.mark.parametrize("beta", [0.05, 0.2])
def test_the_bound_is_where_the_evidence_is_just_enough(pairs: int, differing: int, beta: float) -> None:
    state = Disagreement(pairs, differing)
    bound = state.upper(beta)
    if bound < 1:
        assert state.log_evidence(bound) == pytest.approx(-math.log(beta), abs=1e-6)
        assert bound > differing / pairs
    else:
        assert state.log_evidence(1 - 1e-12) < -math.log(beta) + 50


def test_it_is_a_bound_of_95_percent_if_nothing_else_is_asked() -> None:
    assert Disagreement(300, 2).upper() == Disagreement(300, 2).upper(0.05) != Disagreement(300, 2).upper(0.06)


def test_of_no_pairs_or_of_none_that_agree_there_is_no_bound() -> None:
    assert (Disagreement().upper(), Disagreement(5, 5).upper()) == (1.0, 1.0)
    assert 0.999 < Disagreement(3000, 2999).upper() < 1


@pytest.mark.parametrize(("pairs", "bound"), [(10, 0.36), (100, 0.06), (1000, 0.008), (10_000, 0.001)])
def test_the_bound_falls_as_pairs_agree(pairs: int, bound: float) -> None:
    assert Disagreement(pairs, 0).upper() < bound < Disagreement(pairs // 3, 0).upper()


def test_pairs_add_up() -> None:
    assert Disagreement(5, 1).after(7, 2).after(0, 0) == Disagreement(12, 3)
