"""What was decided, and what had been counted then: as a status, a ModelRevision and the operator tell it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate_cli.tolerant import UNKNOWN, amount, count, mapping, mappings, text


@dataclass(frozen=True, slots=True)
class SignalView:
    """One signal of a trial. None is unknown."""

    tried: tuple[int | None, int | None] = (None, None)
    """Requests of the version under trial, and at how many of them it happened."""
    against: tuple[int | None, int | None] = (None, None)
    harm: float | None = None
    """Logarithm of the evidence."""
    proof: float | None = None

    def counted(self, happened: str) -> str:
        """What was counted, in words.

        >>> SignalView((9, 7), (171, 1)).counted("failed")
        '7 of 9 failed against 1 of 171'
        """
        (ours, bad), (theirs, their_bad) = self.tried, self.against
        return f"{number(bad)} of {number(ours)} {happened} against {number(their_bad)} of {number(theirs)}"


@dataclass(frozen=True, slots=True)
class NumbersView:
    """What a trial had counted at some moment."""

    revision: str
    """The version under trial."""
    against: str
    trial: int | None
    weight: int | None
    errors: SignalView
    slow: SignalView
    harm_limit: float | None
    proof_limit: float | None

    @property
    def line(self) -> str:
        """All of it in one line."""
        at = "" if self.weight is None else f" at {self.weight} of 100"
        signals = ((self.errors, "failed"), (self.slow, "slow"))
        told = (
            f"{signal.counted(happened)} (harm {share(signal.harm, self.harm_limit)}, "
            f"proof {share(signal.proof, self.proof_limit)})"
            for signal, happened in signals
        )
        return f"trial {number(self.trial)}{at}: {'; '.join(told)}"


@dataclass(frozen=True, slots=True)
class DecisionView:
    """One decision. Unknown texts are `?`; `revision` and `why` are empty where there is none."""

    at: str
    what: str
    revision: str
    by: str
    why: str
    numbers: NumbersView | None = None

    @property
    def judged(self) -> str:
        """The version whose requests it was decided from, where that is another one than it is about; else empty."""
        judged = self.numbers.revision if self.numbers else self.revision
        return "" if judged in (self.revision, UNKNOWN) else judged

    @property
    def line(self) -> str:
        revision = f" {self.revision}" if self.revision else ""
        return f"{self.what}{revision} by {self.by} at {self.at}{self.because}"

    @property
    def because(self) -> str:
        return f": {self.why}" if self.why else ""


def decisions_of(item: Mapping[str, Any]) -> tuple[DecisionView, ...]:
    """Those of a status, or of a ModelRevision's record, oldest first."""
    return tuple(map(_decision, mappings(item.get("decisions"))))


def _decision(item: Mapping[str, Any]) -> DecisionView:
    return DecisionView(
        at=text(item.get("at")),
        what=text(item.get("what")),
        revision=str(item.get("revision") or ""),
        by=text(item.get("by")),
        why=str(item.get("why") or ""),
        numbers=numbers_of(item.get("numbers")),
    )


def numbers_of(value: object) -> NumbersView | None:
    """None where there are none."""
    item = mapping(value)
    if not item:
        return None
    limits = mapping(item.get("limits"))
    return NumbersView(
        revision=text(item.get("revision")),
        against=text(item.get("against")),
        trial=count(item.get("trial")),
        weight=count(item.get("weight")),
        errors=_signal(mapping(item.get("errors"))),
        slow=_signal(mapping(item.get("slow"))),
        harm_limit=amount(limits.get("harm")),
        proof_limit=amount(limits.get("proof")),
    )


def _signal(item: Mapping[str, Any]) -> SignalView:
    def arm(name: str) -> tuple[int | None, int | None]:
        found = mapping(item.get(name))
        return count(found.get("requests")), count(found.get("events"))

    return SignalView(arm("tried"), arm("against"), amount(item.get("harm")), amount(item.get("proof")))


def number(value: int | None) -> str:
    """A count in words.

    >>> number(17100), number(None)
    ('17,100', '?')
    """
    return UNKNOWN if value is None else f"{value:,}"


def share(value: float | None, limit: float | None, digits: int = 2) -> str:
    """An amount and how much is enough.

    >>> share(5.4128, 5.298317), share(-0.001, 3.0), share(None, None)
    ('5.41 of 5.30', '0.00 of 3.00', '? of ?')
    """
    # `+ 0.0` makes a zero of a negative one.
    known = (UNKNOWN if each is None else f"{round(each, digits) + 0.0:.{digits}f}" for each in (value, limit))
    return " of ".join(known)
