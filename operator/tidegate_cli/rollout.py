"""One look at a rollout: what the status says, and what the operator knows beyond that. Pure, and tolerant."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate_cli.decisions import DecisionView, NumbersView, decisions_of, numbers_of
from tidegate_cli.tolerant import count, mapping, mappings, moment, text
from tidegate_cli.view import steps_of

STABLE, CANDIDATE, PREVIOUS, COMING, LEAVING = "stable", "candidate", "previous", "coming", "leaving"
"""What a version is to its model, in the order in which they are shown."""
_ORDER = (STABLE, CANDIDATE, COMING, PREVIOUS, LEAVING)
EVERYTHING, BAKE = "all", "bake"
"""Behind the steps that spec says."""
_SHARED = ("a", "b", "shadow")


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version that has, or is to have, requests. None is unknown."""

    role: str
    revision: str
    weight: int | None
    """Of 100 requests."""
    pods: int | None
    """That every router knows."""
    copies: bool = False
    """It is sent copies of all requests."""


@dataclass(frozen=True, slots=True)
class NextView:
    """When a step will have seen enough, about."""

    at: dt.datetime
    requests: int | None


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A model and what is on its way there. Texts are empty where there is nothing to say."""

    namespace: str
    name: str
    phase: str
    versions: tuple[VersionView, ...]
    steps: tuple[str, ...] = ()
    """In a word each: a weight, `approval`, `all`, `bake`. Empty where nothing is on its way, or nobody knows."""
    at: int | None = None
    """Which of them it is at; as many as there are: past the last."""
    standing: str = ""
    strikes: int | None = None
    tried: str = ""
    """The version that is compared with another one; empty if none is."""
    trial: int | None = None
    began: dt.datetime | None = None
    """When the rollout did."""
    numbers: NumbersView | None = None
    numbers_of: str = ""
    """Which moment they are of; empty: now."""
    broken: str = ""
    needs: str = ""
    waits: str = ""
    next: NextView | None = None
    decisions: tuple[DecisionView, ...] = ()
    wrong: str = ""
    """What stands in the way."""
    silent: int | None = None
    """Routers that do not answer."""


def rollout_view(model: Mapping[str, Any], live: Mapping[str, Any] | None = None) -> RolloutView:
    """A ModelDeployment, and what the operator knows of it at this moment, as plain JSON; None: it does not say."""
    metadata, status = mapping(model.get("metadata")), mapping(model.get("status"))
    candidate, baking = mapping(status.get("candidate")), mapping(status.get("baking"))
    tried = baking or candidate
    trial = count(tried.get("trial"))
    on_trial = text(mapping(status.get("stable") if baking else candidate).get("revision")) if tried else ""
    decisions = decisions_of(status)
    known = _trial(mapping(live), on_trial, trial)
    numbers, of = numbers_of(known.get("numbers")), ""
    if numbers is None and tried:
        numbers, of = _last_numbers(decisions, on_trial, trial)
    steps, at = _steps(mapping(mapping(model.get("spec")).get("rollout")), candidate, is_baking=bool(baking))
    return RolloutView(
        namespace=text(metadata.get("namespace")),
        name=text(metadata.get("name")),
        phase=text(status.get("phase")),
        versions=_versions(status, mapping(mapping(live).get("pods"))),
        steps=steps,
        at=at,
        standing=str(candidate.get("standing") or ""),
        strikes=count(tried.get("strikes", 0)) if tried else None,
        tried=on_trial,
        trial=trial,
        began=moment(tried.get("began")),
        numbers=numbers,
        numbers_of=of,
        broken=str(known.get("broken") or ""),
        needs=str(known.get("needs") or ""),
        waits=_said(status, "Progressing", "True", "False"),
        next=_next(mapping(status.get("nextCheck"))),
        decisions=decisions,
        wrong=_said(status, "Degraded", "True"),
        silent=count(mapping(mapping(live).get("routers")).get("silent")),
    )


def _trial(live: Mapping[str, Any], revision: str, number: int | None) -> Mapping[str, Any]:
    """What the operator knows of this trial: of another one it may speak for a moment, before or after."""
    found = mapping(live.get("trial"))
    return found if (found.get("revision"), found.get("trial")) == (revision, number) else {}


def _last_numbers(
    decisions: tuple[DecisionView, ...], revision: str, trial: int | None
) -> tuple[NumbersView | None, str]:
    """Those of the last decision that was made from this trial, and when that was."""
    for made in reversed(decisions):
        if made.numbers and (made.numbers.revision, made.numbers.trial) == (revision, trial):
            return made.numbers, made.at
    return None, ""


def _versions(status: Mapping[str, Any], pods: Mapping[str, Any]) -> tuple[VersionView, ...]:
    """The stable one first. Without a route requests go straight to the pods, and nobody divides them."""
    roles = {
        mapping(status.get(name)).get("revision"): role
        for name, role in (("baking", PREVIOUS), ("candidate", CANDIDATE), ("stable", STABLE))
    }
    roles = {status.get("revision"): COMING} | roles
    slots = mapping(mapping(status.get("route")).get("slots"))
    found = []
    for slot in _SHARED:
        if share := mapping(slots.get(slot)):
            revision, copies = text(share.get("revision")), slot == "shadow"
            role = roles.get(revision, LEAVING)
            weight = 0 if copies else count(share.get("weight", 0))
            found.append(VersionView(role, revision, weight, count(pods.get(slot)), copies))
    known = {version.revision for version in found}
    missing = {revision: role for revision, role in roles.items() if revision and revision not in known}
    found += [VersionView(role, text(revision), 0 if slots else None, None) for revision, role in missing.items()]
    return tuple(sorted(found, key=lambda version: _ORDER.index(version.role)))


def _steps(
    rollout: Mapping[str, Any], candidate: Mapping[str, Any], *, is_baking: bool
) -> tuple[tuple[str, ...], int | None]:
    """All that comes until it is over, and where it is."""
    said = steps_of(rollout, candidate)
    if is_baking and said is None:
        said = ()  # they are forgotten with the candidate that they were chosen for
    if said is None or not (candidate or is_baking):
        return (), None
    bakes = is_baking or mapping(rollout.get("bake")).get("duration") not in ("0s", "0m", "0h")
    steps = (*said, EVERYTHING, BAKE) if bakes and rollout.get("strategy") != "Immediate" else (*said, EVERYTHING)
    if is_baking:
        return steps, len(said) + 1
    return steps, count(candidate.get("step"))


def _said(status: Mapping[str, Any], type: str, *statuses: str) -> str:
    """What a condition says, if it has one of these; empty if not."""
    found = next((each for each in mappings(status.get("conditions")) if each.get("type") == type), {})
    return str(found.get("message") or found.get("reason") or "") if found.get("status") in statuses else ""


def _next(item: Mapping[str, Any]) -> NextView | None:
    at = moment(item.get("at"))
    return NextView(at, count(item.get("requests"))) if at else None


def span(seconds: float) -> str:
    """A time in its two largest units.

    >>> span(872), span(59.4), span(7500), span(90061), span(-3)
    ('14 min 32 s', '59 s', '2 h 5 min', '1 d 1 h', '0 s')
    """
    left = max(0, round(seconds))
    found: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        whole, left = divmod(left, size)
        if whole or found:
            found.append(f"{whole} {unit}" if whole else "")
    return " ".join(filter(None, found[:2])) or "0 s"
