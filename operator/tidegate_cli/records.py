"""What ModelRevisions keep of trials and decisions, as the core has it: to be calculated again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidegate_cli.printing import entries
from tidegate_cli.tolerant import count, mapping, mappings, text

if TYPE_CHECKING:
    from tidegate_operator.core.evidence.replay import Record
    from tidegate_operator.core.types import Decision


@dataclass(frozen=True, slots=True)
class KeptTrial:
    """One trial of a version."""

    number: int | None
    against: str
    record: "Record | None"
    wrong: str = ""
    """Why it cannot be read; empty if it can."""

    @property
    def line(self) -> str:
        """What is kept of it, in words."""
        named = f"{text(self.number)} against {self.against}"
        if self.record is None:
            return f"{named}, which cannot be read"
        tally = self.record.tally
        return f"{named}, {entries(len(tally.entries) + len(tally.open))}"


def trials_of(item: Mapping[str, Any]) -> tuple[KeptTrial, ...]:
    """Those that a ModelRevision keeps."""
    return tuple(_trial(each) for each in mappings(item.get("trials")))


def _trial(item: Mapping[str, Any]) -> KeptTrial:
    from tidegate_contract.evidence import StateError
    from tidegate_operator.core.evidence.replay import Record
    from tidegate_operator.kept import unpacked

    number, against = count(item.get("number")), text(item.get("against"))
    try:
        kept = unpacked(str(item.get("kept") or ""))
    except (StateError, ValueError) as error:
        return KeptTrial(number, against, None, str(error))
    return KeptTrial(number, against, Record(kept.tally, kept.began))


def decisions_of(items: Iterable[Mapping[str, Any]]) -> "tuple[list[Decision], list[str]]":
    """What was decided, of all ModelRevisions of a model, oldest first; and what of it cannot be read, in words."""
    import msgspec

    from tidegate_operator.core.types import Decision

    found: list[Decision] = []
    wrong: list[str] = []
    for item in items:
        for made in mappings(mapping(item.get("record")).get("decisions")):
            try:
                found.append(msgspec.convert(made, Decision))
            except msgspec.ValidationError as error:
                wrong.append(f"{text(made.get('at'))} {text(made.get('what'))}: {error}")
    return sorted(found, key=lambda decision: decision.at), wrong
