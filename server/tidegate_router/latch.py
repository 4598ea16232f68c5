"""Whether a candidate fails so much that this router gives it no requests any more, though no operator sees it. Pure.

    follow   what is under trial, from each route that comes
    asked    the weight that Envoy is to give it, before Envoy hears of it
    look     how the requests have ended that chance divided, by Envoy's counters

The test is the operator's own, of errors alone. A router knows of its own requests only, and beside it others test the
same candidate: each has an equal part of the chance to be wrong. There is no second try here: what is latched stays so
whatever the operator had in mind, until a route says that it knows, by giving that version no weight.
"""

import msgspec

from tidegate_contract.evidence import ALPHA, Arm, Harm, Scrape, Signal, harm_of, harmful
from tidegate_contract.route import SHARED, WHOLE, Route, Slot
from tidegate_contract.router import MOST_ROUTERS


class Reading(msgspec.Struct, frozen=True):
    """What Envoy has counted until now, of requests that chance divided."""

    epoch: str
    candidate: Arm
    stable: Arm

    def since(self, before: "Reading") -> "Reading":
        """What has come after an earlier one. An Envoy that started between them began at 0."""
        if self.epoch != before.epoch:
            return self
        ours, theirs = _rise(before.candidate, self.candidate), _rise(before.stable, self.stable)
        return Reading(self.epoch, ours, theirs)

    def beyond(self, before: "Reading") -> "Reading":
        """The most that either says: failures are told by several counters, and what seemed one may be none."""
        if self.epoch != before.epoch:
            return self
        ours, theirs = _most(before.candidate, self.candidate), _most(before.stable, self.stable)
        return Reading(self.epoch, ours, theirs)


def _rise(before: Arm, now: Arm) -> Arm:
    requests, events = max(0, now.requests - before.requests), max(0, now.events - before.events)
    return Arm(requests, min(events, requests))


def _most(before: Arm, now: Arm) -> Arm:
    return Arm(max(before.requests, now.requests), max(before.events, now.events))


class Trial(msgspec.Struct, frozen=True):
    """The version that has some weight and is not stable, and what its requests say against it."""

    slot: Slot
    revision: str
    harm: Harm
    before: Reading | None = None
    """The last one; None until there is one since it has weight."""
    in_force: int = 0
    """The weight that Envoy gave it then."""
    largest: int = 0
    """Of the weights that Envoy may have given it since then."""
    latched: str = ""
    """Why it gets nothing any more, in numbers."""

    @property
    def runs(self) -> bool:
        """Whether there is anything to count."""
        return bool(self.largest) and not self.latched


def follow(known: Trial | None, route: Route) -> Trial | None:
    """The trial under a route: the one that is known, as long as the route gives the same version some weight.

    A step is no word about a latch: it may have been on its way. The tolerance is that of the trial's first route.
    """
    for slot in SHARED:
        share = route.slots.get(slot)
        if share is None or slot == route.stable or not share.weight:
            continue
        if known is not None and (known.slot, known.revision) == (slot, share.revision):
            return known
        return Trial(slot, share.revision, harm_of(Signal.ERRORS, route.tolerance_errors))
    return None


def asked(trial: Trial, weight: int) -> Trial:
    """Once Envoy is about to be asked for this weight, of 100. What was before its first is the past."""
    before = trial.before if trial.largest else None
    return msgspec.structs.replace(trial, before=before, largest=max(trial.largest, weight))


def look(trial: Trial, reading: Reading, in_force: int, wanted: int) -> Trial:
    """Once Envoy has been read, of a trial that runs.

    `in_force`: the weight that Envoy gave it, by its word from before the reading; `wanted`: the one it is asked for.

    Where the weight has changed meanwhile, the largest is safe. Under weight 0, as under 100, there is nobody to
    compare with, and nothing is counted.
    """
    known, weight = trial.before, max(trial.largest, in_force)
    divided = bool(trial.in_force or in_force) and weight < WHOLE
    harm, latched = trial.harm, ""
    if known is not None and divided:
        new = reading.since(known)
        if new.candidate.requests or new.stable.requests:
            harm = harm.after(Scrape(weight / WHOLE, new.candidate, new.stable))
            latched = _words(harm) if harmful(harm, 1, ALPHA / MOST_ROUTERS) else ""
    return msgspec.structs.replace(
        trial,
        harm=harm,
        before=reading if known is None else reading.beyond(known),
        in_force=in_force,
        largest=max(in_force, wanted),
        latched=latched,
    )


def _words(harm: Harm) -> str:
    """How much more often it failed, since when that seems to be so."""
    (ours, our_rest), (theirs, their_rest) = harm.contrast.candidate, harm.contrast.stable
    return f"{ours} of {ours + our_rest} answers failed, against {theirs} of {theirs + their_rest} of the other version"
