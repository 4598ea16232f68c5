"""One trial as it is counted: from what routers and pods say to what that means. Pure.

Every router process is a source of its own, and so is every serving pod: their counts only rise during one life of
them. The tally holds what each of them said last, so that the next thing it says is worth exactly what has come since,
however long ago that was and whoever counted until then. What comes is put together as long as the weight stays the
same, and entered when something happens: bets do not depend on how requests are divided into readings, and the record
of all entries stays small enough to be kept and calculated again.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tidegate_contract.evidence import ALPHA, Arm, Harm, Scrape, Signal, harm_of, harmful, merged
from tidegate_contract.route import WHOLE
from tidegate_operator.core.evidence.policy import ROUNDING, speaks_against
from tidegate_operator.core.evidence.promotion import BETA, Promotion, needed_by_all, promotion_of, proven, still_needed
from tidegate_operator.core.evidence.slow import LEAST, slower_than, threshold
from tidegate_operator.core.evidence.split import AT_FIRST, Split, broken
from tidegate_operator.core.types import Count, Counted, Evidence, Limits, Numbers

ENTRY_READINGS = 120
"""So many readings at the most are put together: about a minute of them."""
MOST_ENTRIES = 4000
"""Of a record, about: a trial that is longer enters less and less often."""
NONE, UNSPLIT = Arm(0), Split(AT_FIRST)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one router process has counted until now; only what chance has divided."""

    source: str
    weight: int
    """Of the version under trial, of 100: the one in force."""
    candidate: Arm
    stable: Arm


@dataclass(frozen=True, slots=True)
class Pods:
    """What all pods of both versions have counted until now: answers in each cell of time, by the life of a process."""

    candidate: dict[str, tuple[int, ...]]
    stable: dict[str, tuple[int, ...]]


class Entry(NamedTuple):
    """Something that was counted, under one weight; under two where the weight changed meanwhile."""

    signal: Signal
    largest: int
    smallest: int
    requests: int
    events: int
    stable_requests: int
    stable_events: int

    @property
    def scrape(self) -> Scrape:
        """Under the largest weight."""
        stable = Arm(self.stable_requests, self.stable_events)
        return Scrape(self.largest / WHOLE, Arm(self.requests, self.events), stable)


@dataclass(frozen=True, slots=True)
class Judges:
    """What everything entered so far amounts to."""

    harm: dict[Signal, Harm]
    promotion: dict[Signal, Promotion]
    split: Split = UNSPLIT

    def after(self, entry: Entry) -> "Judges":
        """Where the weight has changed, the largest is safe for harm and the smallest for a proof; that the routers
        divide as they should is not asked then."""
        scrape, signal = entry.scrape, entry.signal
        harm = self.harm | {signal: self.harm[signal].after(scrape)}
        promotion, split = self.promotion, self.split
        if entry.smallest > 0:
            low = scrape.at(entry.smallest / WHOLE)
            promotion = promotion | {signal: promotion[signal].after(low)}
        if entry.smallest == entry.largest and signal is Signal.ERRORS:
            split = split.after(scrape)
        return Judges(harm, promotion, split)


def judges(errors: float, slow: float) -> Judges:
    """Those that have seen nothing. `errors`, `slow`: the tolerances, shares of all requests."""
    tolerances = {Signal.ERRORS: errors, Signal.SLOW: slow}
    return Judges(
        {signal: harm_of(signal, tolerance) for signal, tolerance in tolerances.items()},
        {signal: promotion_of(signal, tolerance) for signal, tolerance in tolerances.items()},
    )


@dataclass(frozen=True, slots=True)
class Sum:
    """Both versions, over some time."""

    candidate: Arm = NONE
    stable: Arm = NONE

    def after(self, entry: Entry) -> "Sum":
        return Sum(
            Arm(self.candidate.requests + entry.requests, self.candidate.events + entry.events),
            Arm(self.stable.requests + entry.stable_requests, self.stable.events + entry.stable_events),
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """A trial until now."""

    revision: str
    against: str
    trial: int
    judges: Judges
    tolerances: tuple[float, float]
    routers: dict[str, Reading]
    pods: Pods
    pods_weight: tuple[int, int] = (0, 0)
    """Smallest and largest weight of any router since the pods were read."""
    weight: int = 0
    """The last above 0 that any router had."""
    in_force: tuple[int, int] = (0, 0)
    """Smallest and largest weight of the routers that were heard last."""
    slow_above: float | None = None
    """Seconds, as long as the weight stays the same; None: not known."""
    open: dict[Signal, Entry] = field(default_factory=dict)
    """What is put together and not entered yet."""
    readings: int = 0
    """How many are in it."""
    entries: tuple[Entry, ...] = ()
    whole: dict[Signal, Sum] = field(default_factory=dict)
    at_weight: dict[Signal, Sum] = field(default_factory=dict)

    @property
    def now(self) -> Judges:
        """What all of it amounts to, that is not entered yet included."""
        return _entered(self.judges, self.open.values())


def begin(revision: str, against: str, trial: int, errors: float, slow: float, routers: Iterable[Reading]) -> Tally:
    """One that has counted nothing yet. `routers`: all that there are; what they have counted until now is the past.

    `errors`, `slow`: the tolerances, shares of all requests.
    """
    before = {reading.source: reading for reading in routers}
    return Tally(revision, against, trial, judges(errors, slow), (errors, slow), before, Pods({}, {}))


def hear(tally: Tally, readings: Iterable[Reading]) -> Tally:
    """With what routers say now. One that was not there at the begin has begun to count since."""
    there = tuple(readings)
    for reading in there:
        known = tally.routers.get(reading.source, Reading(reading.source, reading.weight, NONE, NONE))
        tally = replace(tally, routers=tally.routers | {reading.source: _highest(known, reading)})
        smallest, largest = sorted((known.weight, reading.weight))
        tally = _count(tally, Signal.ERRORS, smallest, largest, _gain(known, reading))
        low, high = tally.pods_weight
        tally = replace(tally, pods_weight=(min(low, smallest), max(high, largest)))
    weights = [reading.weight for reading in there]
    return replace(tally, in_force=(min(weights), max(weights))) if weights else tally


def _highest(before: Reading, now: Reading) -> Reading:
    """What has been used up of a router's counts.

    It reads them one after another while requests go on. A failure that was counted as its success was not read yet is
    made up for by the next one.
    """

    def arm(one: Arm, two: Arm) -> Arm:
        return Arm(max(one.requests, two.requests), max(one.events, two.events))

    return Reading(now.source, now.weight, arm(before.candidate, now.candidate), arm(before.stable, now.stable))


def _gain(before: Reading, now: Reading) -> Sum:
    """What has come since. A count that has gone back says nothing."""

    def arm(one: Arm, two: Arm) -> Arm:
        requests, events = max(0, two.requests - one.requests), max(0, two.events - one.events)
        return Arm(requests, min(events, requests))

    return Sum(arm(before.candidate, now.candidate), arm(before.stable, now.stable))


def hear_pods(tally: Tally, pods: Pods) -> Tally:
    """With what all pods of both versions say now.

    One that is new began to count during the trial if it is the candidate's; a new one of stable may have served for
    long, and counts from now on.
    """
    smallest, largest = tally.pods_weight
    limit = tally.slow_above or threshold(_sum(pods.stable.values()))
    first = not tally.pods.stable and not tally.pods.candidate
    gains = _cells(tally.pods.candidate, pods.candidate), _cells(tally.pods.stable, pods.stable, pods.stable)
    tally = replace(tally, pods=pods, pods_weight=tally.in_force, slow_above=limit)
    if first or limit is None:
        return tally
    return _count(tally, Signal.SLOW, smallest, largest, Sum(*(slower_than(limit, cells) for cells in gains)))


def _sum(cells: Iterable[Sequence[int]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*cells, strict=True)))


def _cells(
    before: Mapping[str, Sequence[int]],
    now: Mapping[str, Sequence[int]],
    default: Mapping[str, Sequence[int]] | None = None,
) -> tuple[int, ...]:
    """What came into each cell, of all processes; one that was not there before had what `default` says, or nothing."""
    gained = []
    for source, cells in now.items():
        known = before.get(source) or (default or {}).get(source) or (0,) * len(cells)
        gained.append([max(0, new - old) for new, old in zip(cells, known, strict=True)])
    return _sum(gained)


def _count(tally: Tally, signal: Signal, smallest: int, largest: int, gain: Sum) -> Tally:
    """Something was counted. Without a weight there is nobody to compare with, and a router that gives none while
    others do, because nobody has asked it, changes nothing for them."""
    if not largest:
        return tally
    if largest != tally.weight:
        tally = enter(tally)
        # What is slow is asked of stable anew: it may have changed its pace since the last step.
        tally = replace(tally, weight=largest, at_weight={}, slow_above=None)
    if largest == WHOLE or not gain.candidate.requests + gain.stable.requests:
        return tally
    entry = _entry(signal, smallest, largest, gain.candidate, gain.stable)
    sums = {name: getattr(tally, name) for name in ("whole", "at_weight")}
    sums = {name: known | {signal: known.get(signal, Sum()).after(entry)} for name, known in sums.items()}
    tally = replace(tally, **sums)
    waiting = tally.open.get(signal)
    if waiting and (waiting.smallest, waiting.largest) != (smallest, largest):
        tally, waiting = enter(tally), None
    if waiting:
        both = merged((waiting.scrape, entry.scrape))
        entry = _entry(signal, smallest, largest, both.candidate, both.stable)
    tally = replace(tally, open=tally.open | {signal: entry}, readings=tally.readings + 1)
    crowded = len(tally.entries) * 2 // MOST_ENTRIES
    happened = gain.candidate.events and tally.readings >= 4**crowded
    return enter(tally) if happened or tally.readings >= ENTRY_READINGS << 2 * crowded else tally


def _entry(signal: Signal, smallest: int, largest: int, ours: Arm, theirs: Arm) -> Entry:
    return Entry(signal, largest, smallest, ours.requests, ours.events, theirs.requests, theirs.events)


def enter(tally: Tally) -> Tally:
    """Enter what is open."""
    entries = tuple(tally.open.values())
    if not entries:
        return tally
    return replace(tally, judges=tally.now, entries=tally.entries + entries, open={}, readings=0)


def replayed(entries: Iterable[Entry], errors: float, slow: float) -> Judges:
    """What a record amounts to, calculated again."""
    return _entered(judges(errors, slow), entries)


def _entered(found: Judges, entries: Iterable[Entry]) -> Judges:
    for entry in entries:
        found = found.after(entry)
    return found


# ---------------------------------------------------------------- what it means


NO_WORSE = "it is no worse"
"""How a proof begins."""
HAPPENED = {Signal.ERRORS: "failed", Signal.SLOW: "were slow"}


def meaning(tally: Tally, *, alpha: float = ALPHA) -> Evidence:
    """What it says now. When that was heard and where it is kept is not for a tally to say."""
    found = tally.now
    words = {signal: _words(tally, signal, found.harm[signal]) for signal in Signal}
    needed = _needed(tally, found)
    harm = [words[signal] for signal in Signal if harmful(found.harm[signal], len(Signal), alpha)]
    suspicious = [words[signal] for signal in Signal if _is_suspicious(found, signal)]
    is_proven = all(proven(found.promotion[signal]) for signal in Signal)
    is_broken = broken(found.split)
    at_weight, errors = tally.at_weight.get(Signal.ERRORS, Sum()), tally.whole.get(Signal.ERRORS, Sum())
    ours, theirs = errors.candidate, errors.stable
    summary = (
        f"{ours.events} of {ours.requests} answers of {tally.revision} failed, {theirs.events} of {theirs.requests} of "
        f"{tally.against}"
    )
    split = f"{ours.requests} of {ours.requests + theirs.requests} requests went to {tally.revision}"
    return Evidence(
        revision=tally.revision,
        trial=tally.trial,
        requests=at_weight.candidate.requests,
        suspicion="; ".join(suspicious),
        harm="; ".join(harm),
        proof=f"{NO_WORSE}: {summary}" if is_proven else "",
        broken=f"the routers do not divide as they should: {split}" if is_broken else "",
        summary=summary,
        needs="" if is_proven else _needs(tally, found, needed),
        needed=needed,
        numbers=_numbers(tally, found, alpha),
    )


def _is_suspicious(found: Judges, signal: Signal) -> bool:
    """Whether more speaks against a version than for it: that it does harm, or, of failed answers, that it is worse.

    A step that multiplies what clients see of a version is not left in doubt. Of slow answers the proof wavers for
    hundreds of requests of a version that is as fast as stable, and what is slow is no failure.
    """
    is_worse = signal is Signal.ERRORS and found.promotion[signal].log_evidence <= -ROUNDING
    return is_worse or speaks_against(found.harm[signal])


def _words(tally: Tally, signal: Signal, harm: Harm) -> str:
    """How much more often it happened to the candidate, since when that seems to be so."""
    since = harm.contrast
    (ours, our_rest), (theirs, their_rest) = since.candidate, since.stable
    return (
        f"{ours} of {ours + our_rest} answers of {tally.revision} {HAPPENED[signal]} against {theirs} of "
        f"{theirs + their_rest} of {tally.against} in the same seconds"
    )


def _needed(tally: Tally, found: Judges) -> int | None:
    if not 0 < tally.weight < WHOLE:
        return None
    sums = {signal: tally.whole.get(signal, Sum()) for signal in Signal}
    return needed_by_all(
        still_needed(found.promotion[signal], tally.weight / WHOLE, each.candidate, each.stable)
        for signal, each in sums.items()
    )


def _needs(tally: Tally, found: Judges, needed: int | None) -> str:
    if not 0 < tally.weight < WHOLE:
        return ""
    if tally.slow_above is None and not proven(found.promotion[Signal.SLOW]):
        return f"first about {LEAST} answers of {tally.against}, to know what is slow"
    return "" if needed is None else f"about {needed:,} more requests of its own"


# ---------------------------------------------------------------- in numbers

DIGITS = 6
"""Of a logarithm, behind the point, where it is told."""


def _numbers(tally: Tally, found: Judges, alpha: float) -> Numbers:
    """What it has counted until now, and how to find it in the record."""
    return Numbers(
        revision=tally.revision,
        against=tally.against,
        trial=tally.trial,
        weight=tally.weight,
        errors=counted(Signal.ERRORS, tally.whole, found),
        slow=counted(Signal.SLOW, tally.whole, found),
        limits=limits(alpha),
        entries=len(tally.entries),
        open=tuple(written(entry) for entry in tally.open.values()),
    )


def limits(alpha: float = ALPHA) -> Limits:
    """How much evidence is enough: its logarithms."""
    return Limits(round(math.log(len(Signal) / alpha), DIGITS), round(-math.log(BETA), DIGITS))


def counted(signal: Signal, sums: Mapping[Signal, Sum], found: Judges) -> Counted:
    """One signal. `sums`: all that was counted, `found`: what it amounts to."""
    known = sums.get(signal, Sum())
    harm, proof = found.harm[signal].log_evidence, found.promotion[signal].log_evidence
    return Counted(_count_of(known.candidate), _count_of(known.stable), round(harm, DIGITS), round(proof, DIGITS))


def _count_of(arm: Arm) -> Count:
    return Count(arm.requests, arm.events)


def written(entry: Entry) -> str:
    """In a line.

    >>> written(Entry(Signal.ERRORS, 10, 5, 40, 2, 500, 1))
    'errors 10 5 40 2 500 1'
    """
    return " ".join(map(str, entry))


def read(line: str) -> Entry:
    """The inverse of `written`. Raises ValueError where it is not that."""
    signal, *counts = line.split(" ")
    if len(counts) != len(Entry._fields) - 1:
        raise ValueError(f"{line!r} is no entry: it needs a signal and {len(Entry._fields) - 1} counts")
    return Entry(Signal(signal), *map(int, counts))
