"""Whether a candidate does harm, told from counts alone: what the operator and every router's agent compute alike.

Chance gives a request to the candidate with a known probability, its weight w. On that rests everything here. A bettor
begins with a wealth of 1, bets against a hypothesis, and gains nothing on average while the hypothesis is true; that he
ever owns 1/alpha has then at most the probability alpha (Ville's inequality, arXiv 2210.01948). So one may look after
every scrape, under any traffic and through any change of weights, and act at the first look that says enough.

    Ratio    H0: the candidate's rate of events is at most `limit` times stable's
    Excess   H0: it is at most `tolerance` above stable's
    Harm     H0: one of these two

A wealth is kept as its natural logarithm (nats), which 1e8 requests neither overflow nor exhaust. States are frozen,
`after` gives the next one, and `dump` and `load` bring them through JSON to the last bit. It is plain arithmetic of
the standard library: numpy, which neither the operator nor an agent has in memory otherwise, would save little on 50
numbers.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Of the largest stake: one bettor each."""
EXCESS_FRACTIONS = (0.005, *FRACTIONS)
"""And one more that stakes little, as events of a candidate of small weight count for much."""
LARGEST_STAKE = 0.95
"""Of a bettor's wealth: what one request may cost."""
ALTERNATIVES, NEAREST, FARTHEST = 40, 1.1, 200.0
"""Bettors against a ratio: so many, from NEAREST times the limit to FARTHEST, in equal steps of the logarithm."""
RESERVE = 0.5
"""Of the wealth against harm: it waits for harm that begins late."""
DECLINE = 0.25
"""Of what waits a part (t + 1)^-DECLINE is left after t rounds."""
ALPHA = 0.01
"""The most that a rollout's chance of a false alarm may be, over all its signals."""
LARGEST_COUNT = 2**63 - 1


class Signal(StrEnum):
    """What is counted of requests, and tested."""

    ERRORS = "errors"
    """First attempts that did not end with 2xx in time."""
    SLOW = "slow"
    """Answers that took longer than nearly all of stable's."""


LIMITS = {Signal.ERRORS: 1.5, Signal.SLOW: 2.0}
"""How many times stable's rate is no harm yet."""
TOLERANCES = {Signal.ERRORS: 0.01, Signal.SLOW: 0.005}
"""How far above stable's rate is no harm yet, and too far above for a promotion."""


# ---------------------------------------------------------------- what a scrape says


def whole(value: int, what: str) -> int:
    """A count. Raises ValueError unless it is a whole number from 0 to 2^63 - 1."""
    if not (isinstance(value, int) and 0 <= value <= LARGEST_COUNT):
        raise ValueError(f"{what} must be a whole number from 0 to 2^63 - 1, not {value!r}")
    return value


def inside(value: float, what: str, low: float = 0.0, high: float = 1.0) -> float:
    """A number. Raises ValueError unless it is between `low` and `high`, and neither of them."""
    if not low < value < high:
        raise ValueError(f"{what} must be above {low:g} and below {high:g}, not {value!r}")
    return value


class Arm(msgspec.Struct, frozen=True):
    """Of the requests of one version in one interval: how many there were, and at how many of them it happened."""

    requests: int
    events: int = 0

    def __post_init__(self) -> None:
        whole(self.requests, "requests")
        if whole(self.events, "events") > self.requests:
            raise ValueError(f"there cannot be {self.events} events among {self.requests} requests")

    @property
    def others(self) -> int:
        """Requests without an event."""
        return self.requests - self.events


class Scrape(msgspec.Struct, frozen=True):
    """Both versions in the same interval, and the candidate's weight in it: the probability w of a request to be its.

    Of an interval in which the weight changed none is right; the largest is safe for harm, the smallest for promotion.
    """

    weight: float
    candidate: Arm
    stable: Arm

    def __post_init__(self) -> None:
        inside(self.weight, "weight")

    def at(self, weight: float) -> "Scrape":
        """The same counts under another weight."""
        return Scrape(weight, self.candidate, self.stable)


def merged(scrapes: Iterable[Scrape]) -> Scrape:
    """Successive scrapes under one weight as a single one. Raises ValueError if there is none, or another weight.

    No bet depends on how requests are divided into scrapes; only the reserve is paid out less often. So what was
    counted while nobody looked is evidence in full, and comes to a verdict later at worst.
    """
    parts = list(scrapes)
    weights = {part.weight for part in parts}
    if len(weights) != 1:
        raise ValueError(f"scrapes are merged under one weight, not under {sorted(weights)}")
    return Scrape(
        weights.pop(),
        Arm(sum(part.candidate.requests for part in parts), sum(part.candidate.events for part in parts)),
        Arm(sum(part.stable.requests for part in parts), sum(part.stable.events for part in parts)),
    )


def increase(before: Mapping[str, Sequence[int]], now: Mapping[str, Sequence[int]], cells: int = 2) -> tuple[int, ...]:
    """How much counters have risen between two readings, summed over their sources: shape [cells], each 0 or more.

    A source is one life of one process, named so that no other life has its name: its counters begin at 0 and only
    rise. One that is new adds all that it has counted, one that is gone adds nothing. Kept together with the states
    that the reading before went into, `before` makes sure that each request counts once, however long nobody looked.
    Raises ValueError if a counter has fallen, or if there are not `cells` of them.

    >>> increase({"a": (10, 1), "gone": (7, 7)}, {"a": (15, 2), "new": (3, 0)})
    (8, 1)
    """
    risen = [0] * cells
    for source, counts in now.items():
        old = before.get(source, (0,) * cells)
        if not len(old) == len(counts) == cells:
            raise ValueError(f"{source} has {len(old)} and then {len(counts)} counters instead of {cells}")
        for cell, (less, more) in enumerate(zip(old, counts, strict=True)):
            risen[cell] += whole(more - less, f"the increase of counter {cell} of {source}")
    return tuple(risen)


# ---------------------------------------------------------------- wealth


def log_mean(logs: Sequence[float]) -> float:
    """ln of the mean of numbers that are given as their logarithms; -inf where all of them are 0."""
    top = max(logs)
    if top == -math.inf:
        return top
    return top + math.log(math.fsum([math.exp(log - top) for log in logs]) / len(logs))


def log_sum(one: float, other: float) -> float:
    """ln of the sum of two numbers that are given as their logarithms, the first of them above 0."""
    return max(one, other) + math.log1p(math.exp(-abs(one - other)))


class Wealth(msgspec.Struct, frozen=True):
    """What bettors of equal means own together, and what still waits to be given to them.

    Bettors who have lost in a long healthy time would need as long again to see harm that begins then. So the share
    `reserve` of the wealth waits, and before round t (a scrape that says anything, t = 1, 2, ...) the amount

        reserve * (t^-1/4 - (t+1)^-1/4)

    of it joins what the bettors own, an equal part each. What waits neither gains nor loses: the sum of both is a
    wealth like any other. Harm that begins at round t is met by an amount of which ln is -ln(8 t^1.25), about.
    """

    logs: tuple[float, ...]
    """ln of what each bettor owns over what he began with, an equal part of 1 - reserve; -inf: nothing."""
    reserve: float = 0.0
    rounds: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.reserve < 1:
            raise ValueError(f"reserve must be 0 or more and below 1, not {self.reserve!r}")
        whole(self.rounds, "rounds")
        if not (self.logs and sum(self.logs) < math.inf):
            raise ValueError("a wealth needs a bettor at least, and logarithms that are numbers")

    @property
    def log_evidence(self) -> float:
        """ln of all of it."""
        owned = log_mean(self.logs)
        if not self.reserve:
            return owned
        return log_sum(self._log_waiting(), math.log1p(-self.reserve) + owned)

    def after(self, gains: Sequence[float]) -> "Wealth":
        """Once a round is settled: `gains` are ln of what it multiplies each bettor's wealth by, shape [bettors]."""
        if not any(gains):
            return self
        logs: Sequence[float] = self.logs
        if self.reserve:
            joins = -math.expm1(-DECLINE * math.log1p(1 / (self.rounds + 1)))  # of what waits
            each = self._log_waiting() + math.log(joins) - math.log1p(-self.reserve)
            logs = [log_sum(each, log) for log in logs]
        return Wealth(tuple([log + gain for log, gain in zip(logs, gains, strict=True)]), self.reserve, self.rounds + 1)

    def _log_waiting(self) -> float:
        return math.log(self.reserve) - DECLINE * math.log1p(self.rounds)


def bettors(number: int, reserve: float = 0.0) -> Wealth:
    """So many of them, who have not bet yet."""
    return Wealth((0.0,) * number, reserve)


def of_as_many(wealth: Wealth, number: int) -> Wealth:
    """The wealth of so many bettors. Raises ValueError if it is of more or less: it belongs to another test."""
    if len(wealth.logs) != number:
        raise ValueError(f"this is the wealth of {len(wealth.logs)} bettors instead of {number}")
    return wealth


# ---------------------------------------------------------------- bets


@lru_cache(maxsize=4096)
def origin_bets(weight: float, limit: float, ratios: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    """Bets on where events come from: a pair for each ratio, ln of what an event of the candidate, or of stable, wins.

    Whatever the rates themselves do, an event is the candidate's with the probability q(R) = wR / (1 - w + wR) while
    its rate is R times stable's. A bettor on R against `limit` wins the likelihood ratio: q(R) / q(limit) by an event
    of the candidate, (1 - q(R)) / (1 - q(limit)) by one of stable (arXiv 2011.03567, 2106.02693).
    """
    base = math.log1p(weight * (limit - 1))
    losses = [base - math.log1p(weight * (ratio - 1)) for ratio in ratios]
    return tuple([(math.log(ratio / limit) + loss, loss) for ratio, loss in zip(ratios, losses, strict=True)])


@lru_cache(maxsize=64)
def alternatives(limit: float) -> tuple[float, ...]:
    """The ratios that are bet on against a limit, from the nearest to the farthest."""
    near, steps = NEAREST * limit, ALTERNATIVES - 1
    return tuple([near * (FARTHEST / near) ** (step / steps) for step in range(ALTERNATIVES)])


def mean_gains(
    advantages: Sequence[tuple[float, float]], worst: float, fractions: tuple[float, ...] = FRACTIONS
) -> list[float]:
    """Bets that a mean is above 0: for each fraction f the sum of n ln(1 + l a) over (a, n) in `advantages`.

    n is how often the advantage a was seen, and none lies below -`worst`. The stake is l = f LARGEST_STAKE / worst,
    fixed before anything is seen, so that no factor is below 1 - LARGEST_STAKE, and none gains on average while the
    mean of a is 0 or less (arXiv 2010.09686).
    """
    stakes = [fraction * LARGEST_STAKE / worst for fraction in fractions]
    return [sum([count * math.log1p(stake * advantage) for advantage, count in advantages]) for stake in stakes]


# ---------------------------------------------------------------- how different the versions look


class Contrast(msgspec.Struct, frozen=True):
    """The candidate's shares minus stable's, of requests in bins: each weight compared with itself alone.

    Pooled over weights, the candidate's requests of the evening would be held against stable's of the morning.
    Weights are put together by n_c n_s / (n_c + n_s), n being the requests of either version under one of them
    (Mantel-Haenszel; Greenland, Robins, Biometrics 41, 1985).
    """

    candidate: tuple[int, ...]
    """Requests in each bin under the present weight; so `stable`."""
    stable: tuple[int, ...]
    excess: tuple[float, ...]
    """Sum of n_c n_s / (n_c + n_s) times the difference of shares, in each bin, over the weights before."""
    size: float = 0.0
    """Sum of n_c n_s / (n_c + n_s) over the weights before: in requests."""
    weight: float = 0.0
    """The present one; 0 before there is any."""

    def __post_init__(self) -> None:
        if not len(self.candidate) == len(self.stable) == len(self.excess):
            raise ValueError("a contrast has as many bins of the one version as of the other")

    def after(self, weight: float, candidate: Sequence[int], stable: Sequence[int]) -> "Contrast":
        """With the requests of one more scrape, shape [bins] each. Raises ValueError if they are no counts, or not as
        many."""
        inside(weight, "weight")
        if not len(candidate) == len(stable) == len(self.candidate):
            raise ValueError(
                f"{len(candidate)} and {len(stable)} counts instead of {len(self.candidate)} of each version"
            )
        for count in chain(candidate, stable):
            whole(count, "a count")
        if weight == self.weight:
            return Contrast(
                tuple([old + new for old, new in zip(self.candidate, candidate, strict=True)]),
                tuple([old + new for old, new in zip(self.stable, stable, strict=True)]),
                self.excess,
                self.size,
                weight,
            )
        excess, size = self.totals()
        return Contrast(tuple(candidate), tuple(stable), excess, size, weight)

    def totals(self) -> tuple[tuple[float, ...], float]:
        """`excess`, shape [bins], and `size` with the present weight among them."""
        ours, theirs = sum(self.candidate), sum(self.stable)
        both = max(ours + theirs, 1)
        bins = zip(self.excess, self.candidate, self.stable, strict=True)
        return tuple([old + (c * theirs - s * ours) / both for old, c, s in bins]), self.size + ours * theirs / both

    def difference(self) -> tuple[float, ...] | None:
        """Shares of the candidate minus those of stable, shape [bins]; None until a weight has seen both."""
        excess, size = self.totals()
        return tuple([part / size for part in excess]) if size else None


def contrast(bins: int) -> Contrast:
    """One that has seen nothing yet."""
    return Contrast((0,) * bins, (0,) * bins, (0.0,) * bins)


# ---------------------------------------------------------------- harm


class Ratio(msgspec.Struct, frozen=True):
    """Against H0: the candidate's rate of events is at most `limit` times stable's, at every moment.

    40 bettors on ratios from 1.1 times the limit to 200. An outage of both versions moves nothing: events tell only by
    where they come from.
    """

    limit: float
    wealth: Wealth

    def __post_init__(self) -> None:
        if not 1 <= self.limit < FARTHEST / NEAREST:
            raise ValueError(f"limit must be 1 or more and below {FARTHEST / NEAREST:.0f}, not {self.limit!r}")
        of_as_many(self.wealth, ALTERNATIVES)

    @property
    def log_evidence(self) -> float:
        return self.wealth.log_evidence

    def gains(self, scrape: Scrape) -> list[float]:
        """ln of what a scrape multiplies each bettor's wealth by, from the nearest ratio to the farthest."""
        ours, theirs = scrape.candidate.events, scrape.stable.events
        bets = origin_bets(scrape.weight, self.limit, alternatives(self.limit))
        return [ours * won + theirs * lost for won, lost in bets]

    def after(self, scrape: Scrape) -> "Ratio":
        return Ratio(self.limit, self.wealth.after(self.gains(scrape)))


class Excess(msgspec.Struct, frozen=True):
    """Against H0: the candidate's mean loss is at most `tolerance` above stable's, at every moment.

    A loss x lies in [0, 1]; an event is one of 1, a request without one of 0. The score Z = x/w of a request that
    went to the candidate, or -x/(1-w) of one that went to stable, has the mean E[x of the candidate] - E[x of
    stable], because chance sent it there (arXiv 2010.09686, 2210.10768). What is bet on is Z - tolerance, never below
    -(1/(1-w) + tolerance).
    """

    tolerance: float
    wealth: Wealth

    def __post_init__(self) -> None:
        inside(self.tolerance, "tolerance")
        of_as_many(self.wealth, len(EXCESS_FRACTIONS))

    @property
    def log_evidence(self) -> float:
        return self.wealth.log_evidence

    def after(self, scrape: Scrape) -> "Excess":
        return self.after_losses(
            scrape.weight,
            {1.0: scrape.candidate.events, 0.0: scrape.candidate.others},
            {1.0: scrape.stable.events, 0.0: scrape.stable.others},
        )

    def after_losses(self, weight: float, candidate: Mapping[float, int], stable: Mapping[float, int]) -> "Excess":
        """With requests whose loss is known, how many of each there are; `weight` is the one they were sent under."""
        advantages = [(score - self.tolerance, count) for score, count in scores(weight, candidate, stable)]
        gains = mean_gains(advantages, 1 / (1 - weight) + self.tolerance, EXCESS_FRACTIONS)
        return Excess(self.tolerance, self.wealth.after(gains))


def scores(weight: float, candidate: Mapping[float, int], stable: Mapping[float, int]) -> list[tuple[float, int]]:
    """The score Z of requests by their losses, and how many have it. Raises ValueError for a loss outside [0, 1]."""
    inside(weight, "weight")
    for loss, count in chain(candidate.items(), stable.items()):
        whole(count, "a count")
        if not 0 <= loss <= 1:
            raise ValueError(f"a loss must lie in [0, 1], not be {loss!r}")
    ours = [(loss / weight, count) for loss, count in candidate.items()]
    return ours + [(-loss / (1 - weight), count) for loss, count in stable.items()]


class Harm(msgspec.Struct, frozen=True):
    """Against H0: by events, the candidate is within the limit throughout, or within the tolerance throughout.

    Both have to be refuted. The smaller of two wealths never exceeds the one whose hypothesis is true, so that it
    needs no correction for having looked at two. A promotion refutes the opposite of the same tolerance: no
    difference is both harm and good enough. A candidate that keeps to the limit at some moments and to the tolerance
    only at others is not covered.

    `contrast` and `cusum` decide nothing. They say how large the difference is, from where it seems to have begun:
    where the CUSUM of the bets on the nearest ratio was 0 last.
    """

    ratio: Ratio
    excess: Excess
    cusum: float = 0.0
    contrast: Contrast = contrast(2)
    """Requests with an event, and without."""

    @property
    def log_evidence(self) -> float:
        return min(self.ratio.log_evidence, self.excess.log_evidence)

    def after(self, scrape: Scrape) -> "Harm":
        """With one scrape more. Each scrape of one router process is one; only those of equal weight may be merged."""
        gains, ours, theirs = self.ratio.gains(scrape), scrape.candidate, scrape.stable
        since = self.contrast if self.cusum > 0 else contrast(2)
        return Harm(
            Ratio(self.ratio.limit, self.ratio.wealth.after(gains)),
            self.excess.after(scrape),
            max(self.cusum, 0.0) + gains[0],
            since.after(scrape.weight, (ours.events, ours.others), (theirs.events, theirs.others)),
        )


def harm_of(signal: Signal, tolerance: float | None = None) -> Harm:
    """One that has seen nothing yet. `tolerance`: of the rollout, or the default of the signal."""
    excess = Excess(TOLERANCES[signal] if tolerance is None else tolerance, bettors(len(EXCESS_FRACTIONS), RESERVE))
    return Harm(Ratio(LIMITS[signal], bettors(ALTERNATIVES, RESERVE)), excess)


def harmful(harm: Harm | Excess, signals: int, alpha: float = ALPHA) -> bool:
    """Whether that is enough to take all weight away: E >= signals / alpha.

    `signals` is the number of those that the rollout watches, fixed before it begins: alpha covers all of them
    together. An agent, which knows of one router of n, asks with alpha / n.
    """
    if whole(signals, "signals") < 1:
        raise ValueError("a rollout watches one signal at least")
    return harm.log_evidence >= math.log(signals / inside(alpha, "alpha"))


# ---------------------------------------------------------------- kept and read again


class StateError(ValueError):
    """Bytes that are no state of the kind that was asked for; the message says what to do."""


def dump(state: object) -> bytes:
    """A state, or a frozen value that holds several, as JSON. `load` gives one that is equal to the last bit."""
    return msgspec.json.encode(_plain(msgspec.to_builtins(state)))


def load(kind: type[T], content: bytes | str) -> T:
    """The state that was given to `dump`. Raises StateError."""
    try:
        # Not strict: JSON has no number for -inf, so it stands there as text.
        return msgspec.json.decode(content, type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise StateError(
            f"this is no evidence of the kind {kind.__name__}: {error}. Nothing of it can be used: drop it, begin the"
            " trial anew with fresh states, and take the counters as they are now for its baseline"
        ) from error


def _plain(value: Any) -> Any:
    """Plain data in which every number has a place in JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
