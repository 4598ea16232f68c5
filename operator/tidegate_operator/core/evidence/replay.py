"""Decisions held against the record of the trial that they were made of. Pure.

A decision carries what its trial had counted, and how far the record was then. From so much of the record the same is
calculated again: the counts, the evidence and the limits have to be equal, and to allow what was decided. Whoever
keeps the ModelRevisions can do that years later, with no cluster.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from tidegate_contract.actions import Verb
from tidegate_contract.evidence import Signal
from tidegate_operator.core.choice import RESTORED, ROLLOUT
from tidegate_operator.core.evidence.split import broken
from tidegate_operator.core.evidence.tally import NO_WORSE, Entry, Judges, Sum, Tally, counted, limits, read, replayed
from tidegate_operator.core.steps import BY_HAND, PROMOTED, STEP
from tidegate_operator.core.trial import IMPOSSIBLE, LATCHED, OPERATOR, REFUTED, STRIKE, UNDECIDED
from tidegate_operator.core.types import Counted, Decision, Numbers

PRECISION = 1e-6
"""Of a logarithm: it is told with so many digits."""
OTHER_CAUSES = (LATCHED, UNDECIDED, REFUTED, RESTORED)
"""Of a strike or a rollback: then nothing need be in the record."""


class Outcome(StrEnum):
    """What becomes of a decision that is calculated again."""

    EQUAL = "equal"
    UNEQUAL = "not equal"
    NOT_KEPT = "not kept"
    """There is no record to calculate it from."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A number that is another one than the decision says."""

    what: str
    """As the decision has it: `errors.harm`."""
    told: float
    found: float


@dataclass(frozen=True, slots=True)
class Replay:
    """A decision, calculated again."""

    outcome: Outcome
    differences: tuple[Difference, ...] = ()
    why: str = ""
    """Why it is not kept, or what is wrong with it beside its numbers."""


@dataclass(frozen=True, slots=True)
class Record:
    """A trial, as it is kept."""

    tally: Tally
    began: datetime | None
    """When its rollout did."""


def replay(decision: Decision, record: Record | None, earlier: Sequence[Decision] = ()) -> Replay | None:
    """One decision; None if it has no numbers. `record`: of the trial that they are of, None if none is kept.

    `earlier`: the decisions before it about the same model, oldest first.
    """
    return again(decision, decision.numbers, record, earlier) if decision.numbers else None


def again(decision: Decision, numbers: Numbers, record: Record | None, earlier: Sequence[Decision] = ()) -> Replay:
    """The same for one that has these numbers."""
    if record is None or (missing := _missing(decision.at, numbers, record)):
        return Replay(Outcome.NOT_KEPT, why=missing if record else _none(numbers))
    try:
        entries = (*record.tally.entries[: numbers.entries], *map(read, numbers.open))
        judges = replayed(entries, *record.tally.tolerances)
    except ValueError as error:
        return Replay(Outcome.UNEQUAL, why=f"what was counted is impossible: {error}")
    found = _recounted(numbers, entries, judges)
    told, is_now = flat(numbers), flat(found)
    differences = [Difference(what, told[what], is_now[what]) for what in told if not _near(told[what], is_now[what])]
    why = contradiction(decision, found, earlier, is_broken=broken(judges.split))
    return Replay(Outcome.UNEQUAL if differences or why else Outcome.EQUAL, tuple(differences), why)


def _none(numbers: Numbers) -> str:
    return (
        f"trial {numbers.trial} of {numbers.revision} is not there: only the last three of a version are kept, and "
        "none that had no requests"
    )


def _missing(at: datetime, numbers: Numbers, record: Record) -> str:
    """Why the record is not the one that the decision was made of, or not all of it; empty if it is."""
    tally = record.tally
    theirs = (numbers.revision, numbers.against, numbers.trial)
    if (tally.revision, tally.against, tally.trial) != theirs or (record.began and at < record.began):
        return f"trial {numbers.trial} of {numbers.revision} that is kept is one of another rollout"
    if numbers.entries > len(tally.entries):
        ends = f"the record ends after {len(tally.entries)} of {numbers.entries} entries"
        return f"{ends}: the operator ended before it could keep the rest"
    return ""


def _recounted(numbers: Numbers, entries: Iterable[Entry], judges: Judges) -> Numbers:
    """The numbers as they should be."""
    sums: dict[Signal, Sum] = {}
    for entry in entries:
        sums[entry.signal] = sums.get(entry.signal, Sum()).after(entry)
    errors, slow = (counted(signal, sums, judges) for signal in (Signal.ERRORS, Signal.SLOW))
    return replace(numbers, errors=errors, slow=slow, limits=limits())


def flat(numbers: Numbers) -> Mapping[str, float]:
    """What can be calculated again of them, by its name."""

    def of(signal: Signal, found: Counted) -> dict[str, float]:
        return {
            f"{signal}.tried.requests": found.tried.requests,
            f"{signal}.tried.events": found.tried.events,
            f"{signal}.against.requests": found.against.requests,
            f"{signal}.against.events": found.against.events,
            f"{signal}.harm": found.harm,
            f"{signal}.proof": found.proof,
        }

    ends = {"limits.harm": numbers.limits.harm, "limits.proof": numbers.limits.proof}
    return of(Signal.ERRORS, numbers.errors) | of(Signal.SLOW, numbers.slow) | ends


def _near(one: float, two: float) -> bool:
    """Both are rounded to the same digit, and may have fallen on either side of it."""
    return abs(one - two) <= PRECISION * 1.5


# ---------------------------------------------------------------- what the numbers allow


def contradiction(decision: Decision, found: Numbers, earlier: Sequence[Decision], *, is_broken: bool) -> str:
    """What was decided and the numbers do not allow, in words; empty if they do. People may decide what they like.

    `is_broken`: the routers did not divide as they should.
    """
    if decision.by != OPERATOR:
        return ""
    if decision.what in (STRIKE, IMPOSSIBLE, Verb.ROLLBACK):
        excused = any(cause in decision.why for cause in OTHER_CAUSES)
        return "" if excused or _harmful(found) else "the record has not so much evidence of harm"
    if decision.what == STEP and not decision.why.startswith(BY_HAND):
        return _of_step(found, is_broken=is_broken, proves=decision.why.startswith(NO_WORSE))
    if decision.what == PROMOTED and (step := _by_proof(decision, earlier)) is not None:
        # A little of it may have been lost again while the requests moved.
        is_proven = _proven(found) or (step.numbers is not None and _proven(step.numbers))
        return "" if is_proven else NO_PROOF
    return ""


NO_PROOF = "the record has not so much evidence that the version is no worse"


def _of_step(found: Numbers, *, is_broken: bool, proves: bool) -> str:
    if any(signal.harm > 0 for signal in (found.errors, found.slow)) or found.errors.proof < 0:
        return "the record has something that speaks against the version"
    if proves and not _proven(found):
        return NO_PROOF
    return "the record says that the routers did not divide as they should" if proves and is_broken else ""


def _harmful(found: Numbers) -> bool:
    return any(signal.harm >= found.limits.harm for signal in (found.errors, found.slow))


def _proven(found: Numbers) -> bool:
    return all(signal.proof >= found.limits.proof for signal in (found.errors, found.slow))


def _by_proof(promoted: Decision, earlier: Sequence[Decision]) -> Decision | None:
    """The step that a version has taken over by, if that was proof and no person; None if not, or if it is not kept."""
    ways = (ROLLOUT, STEP, Verb.APPROVE, Verb.PROMOTE)
    last = next((each for each in reversed(earlier) if each.revision == promoted.revision and each.what in ways), None)
    return last if last and last.what == STEP and last.why.startswith(NO_WORSE) else None
