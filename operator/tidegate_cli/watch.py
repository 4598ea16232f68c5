"""`tidegate status --watch`: look once a second, and draw or tell what has changed."""

import contextlib
import datetime as dt
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from tidegate_cli.decisions import DecisionView
from tidegate_cli.draw import MOST_SAMPLES, Canvas, Sample, draw, sample
from tidegate_cli.printing import gist
from tidegate_cli.rollout import RolloutView, rollout_view
from tidegate_cli.tolerant import moment

if TYPE_CHECKING:
    from rich.console import Console

    from tidegate_cli.cluster import Cluster
    from tidegate_cli.live import Live


@dataclass(frozen=True, slots=True)
class Look:
    """What was read at one moment."""

    model: Mapping[str, Any]
    live: Mapping[str, Any] | None
    """None: unknown, and `note` says why."""
    note: str = ""

    @property
    def view(self) -> RolloutView:
        return rollout_view(self.model, self.live)

    @property
    def now(self) -> dt.datetime:
        """By the operator's clock, which wrote all other times, if it is known."""
        return moment((self.live or {}).get("asOf")) or dt.datetime.now(dt.UTC)


def watch(cluster: "Cluster", live: "Live", namespace: str, name: str, interval: float, *, as_json: bool) -> None:
    """Until Ctrl-C. Raises click.ClickException if the model cannot be read, or is deleted."""
    from rich.console import Console

    console = Console()
    seen = looks(cluster, live, namespace, name, interval)
    with contextlib.suppress(KeyboardInterrupt):
        if as_json:
            _tell(json_lines(seen))
        elif sys.stdout.isatty() and not console.is_dumb_terminal:
            _draw(seen, console)
        else:
            _tell(lines(seen))


def looks(cluster: "Cluster", live: "Live", namespace: str, name: str, interval: float) -> Iterator[Look]:
    """One each `interval` seconds. An API server that is away for a while ends nothing: the last look stands."""
    from tidegate_cli.cluster import AwayError

    last: Look | None = None
    while True:
        began = time.monotonic()
        try:
            last = Look(cluster.model(namespace, name), *live.read(namespace, name))
        except AwayError as error:
            if last is None:
                raise
            last = replace(last, live=None, note=f"{error.message}; this is what was seen last")
        yield last
        time.sleep(max(0.0, interval - (time.monotonic() - began)))


def _tell(told: Iterator[str]) -> None:
    """Each line at once: who reads a pipe wants it now."""
    for line in told:
        click.echo(line)
        sys.stdout.flush()


def _draw(seen: Iterator[Look], console: "Console") -> None:
    """On a screen of its own, which leaves the last picture behind."""
    from rich.console import Group
    from rich.live import Live as Screen

    samples: tuple[Sample, ...] = ()
    picture = Group()
    try:
        with Screen(console=console, auto_refresh=False, screen=True) as screen:
            for look in seen:
                view, size = look.view, console.size
                samples = (*samples, sample(view))[-MOST_SAMPLES:]
                picture = draw(view, samples, look.note, Canvas(size.width, size.height, look.now))
                screen.update(picture, refresh=True)
    finally:
        console.print(picture)


# ---------------------------------------------------------------- where nobody looks at a terminal


def json_lines(seen: Iterator[Look]) -> Iterator[str]:
    """An object a line for each look that differs from the one before."""
    before: object = None
    for look in seen:
        live = {key: value for key, value in look.live.items() if key != "asOf"} if look.live else None
        if (found := (look.model, live, look.note)) != before:
            yield json.dumps({"model": look.model, "live": look.live, "note": look.note})
            before = found


def lines(seen: Iterator[Look]) -> Iterator[str]:
    """A line for each change and each decision. That numbers rise is no change; they stand in the next line."""
    before: RolloutView | None = None
    decisions: tuple[DecisionView, ...] | None = None
    for look in seen:
        view = look.view
        known = view.decisions if decisions is None else decisions
        decisions = view.decisions
        for made in (each for each in decisions if each not in known):
            yield f"{made.at} {made.what} {made.revision} by {made.by}{made.because}".replace("  ", " ")
        if (state := without_counts(view, look.note)) != before:
            yield f"{look.now:%Y-%m-%dT%H:%M:%SZ} {summary(view, look.note)}"
            before = state


def without_counts(view: RolloutView, note: str) -> RolloutView:
    """What has to be another one for a change."""
    said = f"{view.waits} {note}"
    still = replace(view, waits=gist(said), broken=gist(view.broken))
    return replace(still, numbers=None, numbers_of="", needs="", next=None, decisions=())


def summary(view: RolloutView, note: str) -> str:
    """A rollout in one line."""
    versions = [
        f"{each.role} {each.revision}{'' if each.weight is None else f' {each.weight} of 100'}"
        for each in view.versions
    ]
    strikes = [f"strikes {view.strikes}"] if view.strikes else []
    standing = [view.standing] if view.standing not in ("", "Tried") else []
    counted = [view.numbers.line] if view.numbers else []
    said = [each for each in (view.waits, view.broken, view.wrong, note and f"no live numbers: {note}") if each]
    return f"{view.namespace}/{view.name} {view.phase}: {'; '.join([*versions, *standing, *strikes, *counted, *said])}"
