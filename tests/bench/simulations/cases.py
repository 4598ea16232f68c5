"""What is asked of evidence, and how often chance answers otherwise: one case for each bar."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

from scipy.stats import beta

from bench.simulations.rollout import Rollout
from bench.simulations.traffic import (
    EXPONENTIAL,
    LOGNORMAL,
    PARETO,
    POSITIONS,
    WIDE,
    Fate,
    Shape,
    Traffic,
    alike,
    quantile_at,
    with_slow,
)
from tidegate_contract.evidence import ALPHA, Signal
from tidegate_operator.core.evidence.promotion import proven
from tidegate_operator.core.types import Approval, Weight

AUTO = (Weight(5), Weight(20), Weight(50))
"""The steps where the owner gives none."""
AT_5, AT_10 = (Weight(5),), (Weight(10),)
HELD_AT_10 = (Weight(10), Approval())
"""Under trial for good: it waits for a person."""
NEVER = math.inf


@dataclass(frozen=True)
class Figure:
    """What has come out, and its bar if it has one."""

    what: str
    measured: str
    bar: str = ""
    passed: bool = True


@dataclass(frozen=True)
class Seeds:
    """The seeds of a range, and how much of a case is done with them."""

    first: int = 0
    short: bool = False
    long_share: int = 1
    """Of the longest case one run of so many is done."""
    progress: Callable[[int, int], None] = field(default=lambda done, number: None)

    def __call__(self, number: int) -> Iterator[int]:
        """So many of them; of the short form a few."""
        number = max(4, number // 25) if self.short else number
        for done in range(number):
            self.progress(done, number)
            yield self.first + done


Case = Callable[[Seeds], Iterator[Figure]]
"""Gives its figures one after another: the same ones for any seeds."""


def count(found: list[bool]) -> str:
    return f"{sum(found)} of {len(found)}"


def lower(found: int, number: int) -> float:
    """The least share that is not refuted, at 95 % (Clopper-Pearson)."""
    return float(beta.ppf(0.05, found, number - found + 1)) if found else 0.0


def shares(found: list[str]) -> str:
    return ", ".join(f"{kind} {number}" for kind, number in sorted(Counter(found).items())) + f" of {len(found)}"


# ---------------------------------------------------------------- harm


def harm(seeds: Seeds) -> Iterator[Figure]:
    """Errors of 0.5 % against more, at weight 10: the candidate's requests from there to the first strike."""
    usual = Fate(0.005)

    def needed(seed: int, errors: float, healthy: int = 0) -> float:
        rollout = Rollout(alike(usual), HELD_AT_10, seed, look=1.0 if not healthy else 2.0)
        if healthy:
            rollout.until(lambda now: now.asked >= healthy)
        begun, rollout.traffic, rollout.every = rollout.requests, Traffic(Fate(errors), usual), 1.0
        rollout.until(lambda now: now.struck is not None or now.requests - begun >= 20_000)
        return rollout.struck.requests - begun if rollout.struck else NEVER

    found = [needed(seed, 0.05) for seed in seeds(100)]
    passed = median(found) <= 300
    yield Figure("5 %: candidate requests to a strike, median", f"{median(found):,.0f}", "<= 300", passed)
    healthy = 10_000 if seeds.short else 200_000
    for errors, before, runs in ((0.05, healthy, 30), (0.2, 0, 100), (0.2, healthy, 20), (0.02, 0, 20)):
        found = [needed(seed, errors, before) for seed in seeds(runs)]
        after = f" after {before:,} healthy requests" if before else ""
        yield Figure(f"{errors:.0%}{after}: the same", f"{median(found):,.0f}")


# ---------------------------------------------------------------- nothing wrong, or just not

STORM = Fate(0.3, with_slow(0.6))
CALM = Fate(0.005, with_slow(0.002))
KINDS = {
    "A/A": alike(CALM),
    "outages of both": Traffic(CALM, CALM, (STORM, STORM)),
    "at the tolerances": Traffic(Fate(0.015, with_slow(0.007)), CALM),
    "at the ratios": Traffic(
        Fate(0.045, with_slow(0.016)), Fate(0.03, with_slow(0.008)), (Fate(0.45, with_slow(0.6)), STORM)
    ),
    "sessions of 20": Traffic(CALM, CALM, evidence=1 / 20),
    "1 % forced": Traffic(CALM, CALM, evidence=0.99),
}
"""Both margins of both signals are met exactly. Of a session's requests only the first is evidence, of those that name
their version none; which of them are counted is the routers' business, and so there are just fewer here."""


def calm(seeds: Seeds) -> Iterator[Figure]:
    """Nothing is wrong, or as much as is allowed, for 50,000 requests from the first step to the bake."""
    asked, runs = 10_000 if seeds.short else 50_000, 300 // seeds.long_share
    for kind, traffic in KINDS.items():
        for restarts in (False, True):
            said = f"{kind}, a router restarted" if restarts else kind
            done = [_long(traffic, seed, asked, restarts) for seed in seeds(runs)]
            rejected, suspected = [now.rejected for now in done], [now.struck is not None for now in done]
            least = lower(sum(suspected), len(done))
            bar = 0.0 if traffic.outage == (STORM, STORM) else 2 * ALPHA
            split = [now.broken for now in done]
            yield Figure(f"{said}: rejected", count(rejected), "0", not any(rejected))
            yield Figure(
                f"{said}: suspected, at least",
                f"{count(suspected)}, {least:.2%}",
                f"<= {bar:.0%}" if bar else "0",
                least <= bar if bar else not any(suspected),
            )
            yield Figure(f"{said}: the split is called broken", count(split), "0", not any(split))
            yield Figure(f"{said}: promoted", count([now.promoted is not None for now in done]))


def _long(traffic: Traffic, seed: int, asked: int, restarts: bool) -> Rollout:
    rollout = Rollout(traffic, AUTO, seed, restarts=restarts, lasts=asked / 100)
    return rollout.until(lambda now: now.asked >= asked or now.rejected)


def burst(seeds: Seeds) -> Iterator[Figure]:
    """One pod fails four requests in a row and recovers, after the candidate's 10th, 25th, 100th, 300th, 750th."""
    moments = (10, 25, 100, 300, 750)

    def done(seed: int) -> Rollout:
        rollout = Rollout(alike(Fate()), AT_5, seed, burst=(moments[seed % len(moments)], 4))
        return rollout.until(lambda now: now.rejected or now.promoted is not None or now.requests >= 4000)

    found = [done(seed) for seed in seeds(60)]
    rejected = [now.rejected for now in found]
    yield Figure("rejected", count(rejected), "0", not any(rejected))
    yield Figure("suspected", count([now.struck is not None for now in found]))
    yield Figure("promoted", count([now.promoted is not None for now in found]))


def near(seeds: Seeds) -> Iterator[Figure]:
    """Worse by less than the tolerance, at weight 5: until it is decided, or for 4,000 requests of its own."""
    for ours, theirs in ((0.003, 0.0), (0.005, 0.0005)):
        found = []
        for seed in seeds(120):
            rollout = Rollout(Traffic(Fate(ours), Fate(theirs)), AT_5, seed)
            rollout.until(lambda now: now.ended or now.requests >= 4000)
            found.append("rolled back" if rollout.struck else "promoted" if rollout.promoted else "held")
        back, passed = found.count("rolled back"), found.count("rolled back") <= 0.01 * len(found)
        said = f"{ours:.2%} against {theirs:.2%}"
        yield Figure(f"{said}: rolled back", f"{back} of {len(found)}", "<= 1 %", passed)
        yield Figure(f"{said}: how it ended", shares(found))


# ---------------------------------------------------------------- proof


def good(seeds: Seeds) -> Iterator[Figure]:
    """As good as stable, at weight 10: the candidate's requests until each signal is proven, and it has taken over.

    The bars are about 500 and about 1,000; about is read as from 400 to 650, and from 700 to 1,300.
    """
    proofs: dict[Signal, list[float]] = {signal: [] for signal in Signal}
    promoted, seconds = [], []
    for seed in seeds(60):
        rollout = Rollout(_usual(seed, 0.0), AT_10, seed, look=1.0)
        open_yet = set(Signal)
        while rollout.promoted is None and rollout.requests < 10_000:
            rollout.look()
            judges = rollout.tally.now if rollout.tally else None
            for signal in [each for each in open_yet if judges and proven(judges.promotion[each])]:
                open_yet.remove(signal)
                proofs[signal].append(rollout.requests)
        promoted.append(rollout.promoted.requests if rollout.promoted else NEVER)
        seconds.append(rollout.promoted.seconds - rollout.began_at if rollout.promoted else NEVER)
    for signal, low, high in ((Signal.ERRORS, 400, 650), (Signal.SLOW, 700, 1300)):
        middle = median(proofs[signal] or [NEVER])
        bar = f"{low} to {high:,}"
        yield Figure(f"{signal} proven after, median", f"{middle:,.0f}", bar, low <= middle <= high)
    all_promoted = [requests < NEVER for requests in promoted]
    yield Figure("promoted", count(all_promoted), "all", all(all_promoted))
    yield Figure("promoted after, median", f"{median(promoted):,.0f} requests, {median(seconds):.0f} s")


def _usual(seed: int, errors: float) -> Traffic:
    return alike(Fate(errors, LOGNORMAL.times(quantile_at(POSITIONS[seed % len(POSITIONS)]))))


def needs(seeds: Seeds) -> Iterator[Figure]:
    """How many requests it says a proof still needs once the candidate has had 100, against how many it then took."""
    for errors in (0.0, 0.001, 0.005):
        found = []
        for seed in seeds(100):
            rollout = Rollout(_usual(seed, errors), AT_10, seed, look=1.0).until(lambda now: now.requests >= 100)
            then, said = (
                rollout.requests,
                re.search(r"about ([\d,]+) more", rollout.means.needs if rollout.means else ""),
            )
            foretold = float(said.group(1).replace(",", "")) if said else NEVER
            rollout.until(lambda now: now.ended or bool(now.means and now.means.proof) or now.requests >= 20_000)
            found.append(foretold / (rollout.requests - then))
        ratios, right = sorted(found), [1 / 1.5 <= ratio <= 1.5 for ratio in found]
        low, middle, high = (ratios[math.ceil(share * len(ratios)) - 1] for share in (0.1, 0.5, 0.9))
        bar, passed = ("80 %", sum(right) >= 0.8 * len(right)) if errors < 0.005 else ("", True)
        yield Figure(f"errors {errors:.1%}: within a factor of 1.5", count(right), bar, passed)
        said_of_all = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        yield Figure(f"errors {errors:.1%}: foretold over true, median (80 %)", said_of_all)


# ---------------------------------------------------------------- slow


def slower(seeds: Seeds) -> Iterator[Figure]:
    """Slower than stable by a factor, at weight 10, for 6,000 requests of its own; four positions of stable's p99."""
    for shape, factor in ((LOGNORMAL, 1.2), (EXPONENTIAL, 1.2), (LOGNORMAL, 2.0), (EXPONENTIAL, 2.0)):
        ends = _ends(seeds, shape, factor)
        struck = ["struck" in end for end in ends]
        bar, passed = ("0", not any(struck)) if factor < 2 else ("all", all(struck))
        yield Figure(f"{shape.name}, x{factor:g}: struck", count(struck), bar, passed)
        yield Figure(f"{shape.name}, x{factor:g}: how it ended", shares(ends))
    for shape in (WIDE, PARETO):
        yield Figure(f"{shape.name}, x2: how it ended", shares(_ends(seeds, shape, 2.0)))


def _ends(seeds: Seeds, shape: Shape, factor: float) -> list[str]:
    """How each rollout ended; one that is promoted goes on in its bake."""
    found = []
    for turn, seed in enumerate(seeds(30 * len(POSITIONS))):
        quantile = quantile_at(POSITIONS[turn % len(POSITIONS)])
        # The candidate's quantile is larger by the factor, as all its times are.
        traffic = Traffic(Fate(0.001, shape.times(factor * quantile)), Fate(0.001, shape.times(quantile)))
        rollout = Rollout(traffic, AT_10, seed).until(lambda now: now.struck is not None or now.asked >= 60_000)
        promoted = "promoted" if rollout.promoted else ""
        struck = "struck" if rollout.struck else ""
        found.append(", then ".join(filter(None, (promoted, struck))) or "held")
    return found


CASES: tuple[Case, ...] = (harm, calm, burst, near, good, needs, slower)
