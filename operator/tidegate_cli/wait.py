"""`tidegate wait`: the end of a rollout as an exit code, for pipelines and hooks.

It only looks, once a second. What it says follows from one look and from what it has seen before: no edge of a phase
has to be caught, and a look that is missed changes nothing.
"""

import re
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

import click

from tidegate_cli.printing import gist
from tidegate_cli.tolerant import UNKNOWN
from tidegate_cli.view import ModelView, view

if TYPE_CHECKING:
    from tidegate_cli.cluster import Cluster

EXIT_PROMOTED, EXIT_FAILED, EXIT_REJECTED, EXIT_HELD, EXIT_TIMEOUT = 0, 1, 2, 3, 4
_POLL_SECONDS = 1.0
_NAMED = re.compile(r"\brevision ([0-9a-f]{8})\b")


@dataclass(frozen=True, slots=True)
class End:
    """What has become of a revision, and how that reads."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What has been seen so far."""

    revision: str = ""
    """The one that is waited for; empty: what spec asks for, as soon as that is known."""
    wanted: bool = False
    """It was, or was to be, what serves: if it is not any more, another one has taken its place."""


class _Wrong(click.UsageError):
    """Wrong usage is 1 here: 2 says that a version was rejected, and nothing else does."""

    exit_code = EXIT_FAILED


class _Command(click.Command):
    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        try:
            return super().parse_args(context, arguments)
        except click.UsageError as error:
            raise _Wrong(error.format_message(), error.ctx) from error


def _duration(context: click.Context, parameter: click.Parameter, value: str) -> float:
    """As Kubernetes writes them, in seconds."""
    from tidegate_operator.api.durations import DURATION_PATTERN, seconds

    if not re.match(DURATION_PATTERN, value):
        raise click.BadParameter(f"{value!r} is no duration: write 90s, 30m or 1h30m")
    return seconds(value)


@click.command(cls=_Command)
@click.argument("name")
@click.option("--revision", metavar="REVISION", help="[default: the one that spec asks for when it begins]")
@click.option(
    "--timeout", callback=_duration, default="30m", metavar="DURATION", show_default=True, help="How long at the most."
)
@click.option("--baked", is_flag=True, help="Until the version before has gone, too.")
@click.option("-n", "--namespace", help="[default: the context's, or the pod's own]")
@click.option("--context", help="Context of the kubeconfig.  [default: the current one]")
def wait(
    name: str, revision: str | None, timeout: float, baked: bool, namespace: str | None, context: str | None
) -> None:
    """Wait until a revision of model NAME is promoted, is rejected, or needs a person.

    Without --revision it is the one that spec asks for: right after `kubectl apply` it waits until the operator has
    seen that. One line a change on stderr, the end on stdout.

    \b
    Exit codes: 0 promoted: it is stable. It may bake still; --baked waits for the end of that.
                1 failed: no such model, no access, wrong usage.
                2 rejected: by its requests, its deadline or a person.
                3 held: paused, an approval is due, its time is over, nothing is heard of its requests,
                  spec means nothing, or another version took its place. Somebody has to look.
                4 nothing of that within --timeout.
    """
    from tidegate_cli.cluster import connect

    cluster = connect(context)
    space = namespace or cluster.namespace
    try:
        found = _waited(cluster, space, name, Seen(revision or ""), timeout, baked=baked)
    except KeyboardInterrupt:
        click.echo(f"{space}/{name}: nobody waits any more, and the rollout goes on", err=True)
        sys.exit(130)
    _leave(found, space, name)


def _leave(found: End, namespace: str, name: str) -> NoReturn:
    click.echo(f"{namespace}/{name}: {found.message}")
    sys.exit(found.code)


def _waited(cluster: "Cluster", namespace: str, name: str, seen: Seen, timeout: float, *, baked: bool) -> End:
    from tidegate_cli.cluster import AwayError

    deadline = time.monotonic() + timeout
    told: object = None
    while True:
        try:
            found = view(cluster.model(namespace, name))
            seen, end = after(seen, found, baked=baked)
            line = progress(found)
            state: object = (found.phase, found.candidate, gist(line))
        except AwayError as error:
            end, line = None, f"{error.message}; trying again"
            state = line
        if end is not None:
            return end
        if state != told:
            click.echo(line, err=True)
            told = state
        left = deadline - time.monotonic()
        if left <= 0:
            return End(EXIT_TIMEOUT, f"{seen.revision or 'what spec asks for'} is not decided in time: {line}")
        time.sleep(min(_POLL_SECONDS, left))


def progress(model: ModelView) -> str:
    """Where a rollout is, in a line."""
    if not model.observed:
        return "the operator has not seen the latest spec yet"
    found = model.condition("Progressing")
    has = (
        f"{model.candidate.revision} {model.candidate.at}, {model.candidate.weight} of 100: " if model.candidate else ""
    )
    said = f"{found.reason}: {found.message}" if found else "nothing is said of it yet"
    degraded = model.condition("Degraded")
    wrong = f" ({degraded.reason}: {degraded.message})" if degraded and degraded.status == "True" else ""
    return f"{model.phase}: {has}{said}{wrong}"


# ---------------------------------------------------------------- what a look says


def after(seen: Seen, model: ModelView, *, baked: bool) -> tuple[Seen, End | None]:
    """What is known after one more look, and the end if it is there.

    A status of an older spec ends nothing: it may speak of another version.
    """
    if not model.observed:
        return seen, None
    seen = replace(seen, revision=seen.revision or asked(model))
    it, at = seen.revision, model.candidate
    on_its_way = it != "" and it in (model.revision, model.stable, at.revision if at else "")
    held = held_by(model)
    if it and it in model.rejected:
        return seen, End(EXIT_REJECTED, f"{it} is rejected: {_rejection(model, it)}")
    if it and it == model.stable:
        said = f"{it} has taken over{', and the version before has gone' if baked else ''}"
        return replace(seen, wanted=True), None if baked and model.baking else End(EXIT_PROMOTED, said)
    if held and (on_its_way or it in ("", asked(model))):
        return seen, End(EXIT_HELD, f"{it or 'what spec asks for'} does not go on by itself: {held}")
    if it and seen.wanted and not on_its_way:
        return seen, End(EXIT_HELD, f"another version took the place of {it}: {model.revision} is to serve")
    return replace(seen, wanted=seen.wanted or on_its_way), None


def asked(model: ModelView) -> str:
    """The revision that spec asks for; empty as long as nobody knows, because its address is being read."""
    found = model.condition("SpecInSync")
    if found is None or not found.current or found.status == "Unknown":
        return ""
    if found.status == "True":
        return "" if model.revision == UNKNOWN else model.revision
    named = _NAMED.search(found.message)
    return named[1] if named else ""


_NEEDS_A_PERSON = ("Paused", "AwaitingApproval", "Held", "Inconclusive")
"""Reasons of Progressing."""


def held_by(model: ModelView) -> str:
    """Why a rollout waits for somebody; empty if it does not."""
    degraded, progressing = model.condition("Degraded"), model.condition("Progressing")
    if degraded and degraded.current and degraded.reason == "InvalidSpec":
        return degraded.message
    if progressing and progressing.current and progressing.reason in _NEEDS_A_PERSON:
        return f"{progressing.reason}: {progressing.message}"
    return ""


def _rejection(model: ModelView, revision: str) -> str:
    """Why, as it was decided, or as spec is answered where that was long ago."""
    of_it = (made for made in reversed(model.decisions) if made.what in ("Rollback", "Abort") and revision in made.why)
    if (made := next(of_it, None)) is not None:
        return f"{made.what} by {made.by}{made.because}"
    found = model.condition("SpecInSync")
    return found.message if found else "its record says so"
