"""A rollout as a picture of a terminal's size. Pure: what is drawn follows from a view, from what was seen before, and
from the time."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate_cli.decisions import DecisionView, NumbersView, SignalView, number, share
from tidegate_cli.rollout import CANDIDATE, STABLE, RolloutView, VersionView, span
from tidegate_cli.tolerant import UNKNOWN, moment

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

LABEL = 12
"""Columns of the words in front."""
ROOMY = 110
"""Columns from which on there is room for what is only nice to know."""
COLOURS = {STABLE: "green", CANDIDATE: "cyan"}
NAMELESS = ("Rollout", "Ramp", "Promoted", "Held", "Inconclusive", "Again")
"""Decisions whose sentences do not name their version."""
DECIDED = {"Strike": "yellow", "Rollback": "red", "Abort": "red", "Promoted": "green", "Step": "cyan"}
WHOLE, HALF, REST = "━", "╸", "─"
TICKS = "▁▂▃▄▅▆▇█"
MOST_SAMPLES = 3600
"""So many of the last ones are shown, the older ones in fewer columns."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one moment, each of 1; None is unknown."""

    weight: float | None
    """Of what is under trial."""
    harm: float | None
    """The signal that says most, of what is enough."""
    proof: float | None
    """The one that says least."""


def sample(view: RolloutView) -> Sample:
    shown = next((each for each in view.versions if each.revision == view.tried), None)
    weight = None if shown is None or shown.weight is None else shown.weight / 100
    numbers = view.numbers
    if numbers is None:
        return Sample(weight, None, None)
    signals = (numbers.errors, numbers.slow)
    harm = [part(each.harm, numbers.harm_limit) for each in signals]
    proof = [part(each.proof, numbers.proof_limit) for each in signals]
    return Sample(weight, _most(harm), _least(proof))


def _most(parts: Sequence[float | None]) -> float | None:
    return max((each for each in parts if each is not None), default=None)


def _least(parts: Sequence[float | None]) -> float | None:
    return min((each for each in parts if each is not None), default=None)


def part(value: float | None, limit: float | None) -> float | None:
    """How much of what is enough, from 0 to 1; None is unknown.

    >>> part(1.5, 3.0), part(-2.0, 3.0), part(9.0, 3.0), part(None, 3.0)
    (0.5, 0.0, 1.0, None)
    """
    return None if value is None or not limit else min(1.0, max(0.0, value / limit))


def bar(share: float | None, width: int) -> tuple[str, str]:
    """What is full of a bar, and the rest.

    >>> bar(0.5, 9), bar(1.0, 4), bar(None, 3)
    (('━━━━╸', '────'), ('━━━━', ''), ('', '───'))
    """
    halves = round((share or 0.0) * width * 2)
    full = WHOLE * (halves // 2) + HALF * (halves % 2)
    return full, REST * (width - len(full))


def sparkline(values: Sequence[float | None], width: int) -> str:
    """All of them in so many columns at the most; a gap where nothing is known.

    >>> sparkline([0.0, None, 0.5, 1.0], 9), sparkline([0.0, 0.0, 0.5, 1.0], 2)
    ('▁ ▅█', '▁█')
    """
    if len(values) > width:
        values = [values[(column + 1) * len(values) // width - 1] for column in range(width)]
    return "".join(" " if each is None else TICKS[round(each * (len(TICKS) - 1))] for each in values)


# ---------------------------------------------------------------- the picture


@dataclass(frozen=True, slots=True)
class Canvas:
    """How large it is, and what time."""

    width: int
    height: int
    now: dt.datetime


def draw(view: RolloutView, samples: Sequence[Sample], note: str, canvas: Canvas) -> "Group":
    """All of it; what was decided takes what room there is. `note`: why there are no live numbers, where that is so."""
    from rich.console import Group

    blocks = [
        [*_title(view, note, canvas), *_versions(view, canvas.width)],
        [*_steps(view, canvas.width), *_standing(view), *_exposure(view)],
        _evidence(view, canvas.width),
        [*_outlook(view, note, canvas), *_seen(view, samples, canvas.width)],
    ]
    lines = [line for block in blocks for line in _spaced(block)]
    left = canvas.height - len(lines)
    lines += _decisions(view.decisions, canvas.width, left)
    while lines and not lines[-1].plain.strip():
        lines.pop()
    return Group(*lines[: canvas.height])


def _spaced(block: "list[Text]") -> "list[Text]":
    return [*block, _line()] if block else []


def _line(*parts: str | tuple[str, str]) -> "Text":
    """One that is cut where it is too long, and never wraps."""
    from rich.text import Text

    return Text.assemble(*(part for part in parts if part), no_wrap=True, overflow="ellipsis")


def _labelled(label: str, *parts: str | tuple[str, str]) -> "Text":
    return _line((f" {label:<{LABEL - 1}}", "dim"), *parts)


def _wrapped(label: str, words: str, width: int, most: int, style: str = "") -> "list[Text]":
    """Words in a few lines at the most."""
    import textwrap

    found = textwrap.wrap(words, max(10, width - LABEL - 1), max_lines=most, placeholder=" …")
    return [_labelled(label if not at else "", (line, style)) for at, line in enumerate(found)]


def _title(view: RolloutView, note: str, canvas: Canvas) -> "list[Text]":
    age = f"began {span((canvas.now - view.began).total_seconds())} ago" if view.began else ""
    live = ("no live numbers", "yellow") if note else ("● live", "green")
    right = f"{age}   {live[0]} "
    left = f" {view.name}"
    where = f" in {view.namespace}"
    phase = f"   {view.phase}" if view.phase != UNKNOWN else "   the operator has said nothing yet"
    gap = " " * max(2, canvas.width - len(left + where + phase + right))
    title = _line((left, "bold"), (where, "dim"), (phase, "bold cyan"), gap, (f"{age}   ", "dim"), live)
    return [title, _line((" " + REST * (canvas.width - 2), "dim"))]


def _versions(view: RolloutView, width: int) -> "list[Text]":
    return [_version(each, width) for each in view.versions]


def _version(version: VersionView, width: int) -> "Text":
    colour = COLOURS.get(version.role, "blue")
    told = "" if version.weight is None else f"{version.weight:>3} of 100"
    told = "    copies" if version.copies else told
    pods = "" if version.pods is None else f"{version.pods} {'pod' if version.pods == 1 else 'pods'}"
    full, rest = bar(None if version.weight is None else version.weight / 100, max(4, width - LABEL - 32))
    return _labelled(
        version.role,
        (f"{version.revision:<10}", colour),
        (full, colour),
        (rest, "dim"),
        (f"  {told:<11}", "bold"),
        (f"{pods:>8}", ""),
    )


_AHEAD, _HERE, _BEHIND = ("○", "dim"), ("●", "bold cyan"), ("✓", "green")


def _steps(view: RolloutView, width: int) -> "list[Text]":
    """The way, and where it is on it."""
    if not view.steps:
        return []
    at = view.at
    marks: list[tuple[str, str]] = []
    for place, step in enumerate(view.steps):
        dot, colour = _AHEAD if at is None or place > at else _HERE if place == at else _BEHIND
        marks.append((f"{dot} {step}", colour))
    joint = f" {REST * 3} "
    if len(joint.join(words for words, _ in marks)) > width - LABEL - 1:
        joint = " "
        marks = marks[max(0, (at or 0) - 2) :]
    way: list[tuple[str, str]] = []
    for place, mark in enumerate(marks):
        way += [(joint, "dim"), mark] if place else [mark]
    return [_labelled("steps", *way)]


def _standing(view: RolloutView) -> "list[Text]":
    from tidegate_operator.core.evidence.policy import STRIKES

    strikes = view.strikes
    if not view.tried:
        return []
    said = UNKNOWN if strikes is None else f"{strikes} of {STRIKES} strikes" if strikes else "no strike"
    told = [(said, "bold yellow" if strikes else "")]
    if view.standing and view.standing != "Tried":
        told.append((f", {view.standing}", "bold yellow"))
    if view.trial is not None:
        told.append((f", trial {view.trial}", ""))
    return [_labelled("standing", *told)]


def _exposure(view: RolloutView) -> "list[Text]":
    """How much clients have had to do with it."""
    if view.numbers is None:
        return []
    requests, failed = view.numbers.errors.tried
    told = f" in this trial have met {view.tried}, {number(failed)} of them failed"
    return [_labelled("exposure", (f"{number(requests)} requests", "bold"), told)]


def _evidence(view: RolloutView, width: int) -> "list[Text]":
    """Of each signal what was counted, and how much of what is enough that is, against it and for it."""
    numbers = view.numbers
    if numbers is None:
        return []
    until = f"until {_clock(view.numbers_of)}, when something was last decided"
    found = [_labelled("counted", (until, "dim"))] if view.numbers_of else []
    for label, happened, signal in (("errors", "failed", numbers.errors), ("slow", "slow", numbers.slow)):
        found += _signal(label, happened, signal, numbers, width)
    if view.broken:
        found += _wrapped("split", view.broken, width, 1, "yellow")
    return found


def _signal(label: str, happened: str, signal: SignalView, numbers: NumbersView, width: int) -> "list[Text]":
    harm, proof = part(signal.harm, numbers.harm_limit), part(signal.proof, numbers.proof_limit)
    size = max(4, (width - LABEL - 40) // 2)
    struck, proven = harm == 1.0, proof == 1.0
    verdict = ("  harm is proven", "bold red") if struck else ("  no worse: proven", "bold green") if proven else ""
    colour = "red" if struck else "yellow" if harm and harm >= 0.5 else "magenta"
    counted = _labelled(label, signal.counted(happened), verdict)
    return [
        counted,
        _labelled(
            "",
            ("harm ", "dim"),
            *_meter(harm, size, colour),
            (f" {share(signal.harm, numbers.harm_limit, 1):<12} ", "bold red" if struck else ""),
            ("  proof ", "dim"),
            *_meter(proof, size, "green" if proven else "blue"),
            (f" {share(signal.proof, numbers.proof_limit, 1)}", "bold green" if proven else ""),
        ),
    ]


def _meter(share: float | None, size: int, colour: str) -> Iterable[tuple[str, str]]:
    full, rest = bar(share, size)
    return (full, colour), (rest, "dim")


def _outlook(view: RolloutView, note: str, canvas: Canvas) -> "list[Text]":
    """What comes next, and what that waits for."""
    found: list[Text] = []
    if view.next:
        seconds = (view.next.at - canvas.now).total_seconds()
        when = f"about {span(seconds)}" if seconds > 0 else "a moment"
        requests = f", {view.next.requests:,} requests" if view.next.requests else ""
        needs = f"; proof needs {view.needs}" if view.needs and canvas.width >= ROOMY else ""
        found.append(_labelled("next check", (f"enough in {when}{requests}", "bold"), (needs, "dim")))
    elif view.needs:
        found.append(_labelled("proof", f"needs {view.needs}"))
    if view.waits:
        found += _wrapped("now", view.waits, canvas.width, 2)
    if view.wrong:
        found += _wrapped("in the way", view.wrong, canvas.width, 2, "red")
    if view.silent:
        found.append(_labelled("routers", (f"{view.silent} do not answer", "yellow")))
    if note:
        found += _wrapped("not live", note, canvas.width, 1, "yellow")
    return found


def _seen(view: RolloutView, samples: Sequence[Sample], width: int) -> "list[Text]":
    """What was watched, from left to right; nothing where nothing is on its way."""
    if not view.tried:
        return []
    size = max(4, (width - LABEL - 24) // 3)
    parts: list[tuple[str, str]] = []
    told = (
        ("weight", [each.weight for each in samples], "cyan"),
        ("harm", [each.harm for each in samples], "magenta"),
        ("proof", [each.proof for each in samples], "blue"),
    )
    for name, values, colour in told:
        parts += [(f"{name} ", "dim"), (f"{sparkline(values, size):<{size}}", colour), ("  ", "")]
    return [_labelled("watched", *parts)]


def _decisions(decisions: Sequence[DecisionView], width: int, height: int) -> "list[Text]":
    """As many of the last ones as there is room for, the newest last."""
    room, shown = height, []
    for made in reversed(decisions):
        most = 2 if made is decisions[-1] or height > 8 else 1
        lines = _decision(made, width, most)
        if len(lines) > room:
            lines = _decision(made, width, 1)
        if len(lines) > room:
            break
        room -= len(lines)
        shown.append(lines)
    return [line for lines in reversed(shown) for line in lines]


def _decision(made: DecisionView, width: int, most: int) -> "list[Text]":
    import textwrap

    from tidegate_operator.core.trial import OPERATOR

    about = f"{made.revision}: " if made.revision and made.what in NAMELESS else ""
    by = about if made.by == OPERATOR else f"by {made.by}: "
    time = _clock(made.at)
    head = f" {time}  {made.what:<12} "
    room = max(10, width - len(head) - 1)
    words = textwrap.wrap(f"{by}{made.why}", room, max_lines=most, placeholder=" …") or [""]
    first = _line((f" {time}  ", "dim"), (f"{made.what:<12} ", DECIDED.get(made.what, "bold")), words[0])
    return [first, *(_line(" " * len(head), line) for line in words[1:])]


def _clock(time: str) -> str:
    """The time of the day, as the operator writes it: UTC."""
    at = moment(time)
    return f"{at.astimezone(dt.UTC):%H:%M:%S}" if at else f"{time:<8.8}"
