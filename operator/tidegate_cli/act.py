"""`tidegate pause`, `resume`, `approve`, `promote`, `abort` and `rollback`: three annotations, and the operator's
answer to them.

The command writes down what is wanted, by whom and why; the operator alone decides and does. So the wish is recorded
on the object, and it is obeyed although this process, or the operator, ends meanwhile.
"""

import datetime as dt
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tidegate_cli.view import ActionView, view
from tidegate_contract.actions import Action, ActionError, Outcome, Verb, annotations, check, parse

if TYPE_CHECKING:
    from tidegate_cli.cluster import Cluster

_WAIT_SECONDS = 30.0
"""The operator answers in well under a second; this long only where it is being replaced."""
_POLL_SECONDS = 0.5

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _options(command: _Command) -> _Command:
    """What all of them take beside the model's name."""
    for option in (
        click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the operator's answer."),
        click.option("--reason", default="", metavar="TEXT", help="Why; recorded with the decision."),
        click.option("--context", help="Context of the kubeconfig.  [default: the current one]"),
        click.option("-n", "--namespace", help="[default: the context's, or the pod's own]"),
        click.argument("name"),
    ):
        command = option(command)
    return command


@click.command()
@_options
def pause(name: str, namespace: str | None, context: str | None, reason: str, wait: bool) -> None:
    """Stop the rollout of model NAME where it is; what serves goes on serving."""
    _act(Action(_fresh_id(), Verb.PAUSE, reason=reason), name, namespace, context, wait=wait)


@click.command()
@_options
def resume(name: str, namespace: str | None, context: str | None, reason: str, wait: bool) -> None:
    """Let the rollout of model NAME go on after a pause.

    It does not overrule spec.rollout.paused, which is the owner's.
    """
    _act(Action(_fresh_id(), Verb.RESUME, reason=reason), name, namespace, context, wait=wait)


@click.command()
@_options
def approve(name: str, namespace: str | None, context: str | None, reason: str, wait: bool) -> None:
    """Let the candidate of model NAME go on to the next step of its rollout."""
    _act(Action(_fresh_id(), Verb.APPROVE, reason=reason), name, namespace, context, wait=wait)


@click.command()
@_options
def promote(name: str, namespace: str | None, context: str | None, reason: str, wait: bool) -> None:
    """Let the candidate of model NAME take over; the steps that are left are skipped, and it is recorded so."""
    _act(Action(_fresh_id(), Verb.PROMOTE, reason=reason), name, namespace, context, wait=wait)


@click.command()
@_options
def abort(name: str, namespace: str | None, context: str | None, reason: str, wait: bool) -> None:
    """End the rollout of model NAME: its candidate is rejected, and stable has all requests again.

    The spec still asks for the candidate then; `tidegate status NAME` shows how to put it in step.
    """
    _act(Action(_fresh_id(), Verb.ABORT, reason=reason), name, namespace, context, wait=wait)


@click.command()
@_options
@click.argument("revision", default="")
def rollback(name: str, revision: str, namespace: str | None, context: str | None, reason: str, wait: bool) -> None:
    """Make model NAME serve an earlier REVISION again; without one, the one that served before.

    `tidegate history NAME` lists the revisions.
    """
    _act(Action(_fresh_id(), Verb.ROLLBACK, revision, reason=reason), name, namespace, context, wait=wait)


def _act(action: Action, name: str, namespace: str | None, context: str | None, *, wait: bool) -> None:
    """Write the action down and, if wanted, see what becomes of it."""
    try:
        check(action)
    except ActionError as error:
        raise click.UsageError(str(error)) from error
    from tidegate_cli.cluster import connect

    cluster = connect(context)
    space = namespace or cluster.namespace
    action = replace(action, by=cluster.user())
    cluster.annotate(space, name, annotations(action))
    click.echo(f"{space}/{name}: {action.verb} asked for by {action.by}, id {action.id}")
    if not wait:
        click.echo(f"`tidegate status {name} -n {space}` shows what becomes of it")
        return
    answer = _answer(cluster, space, name, action)
    if answer.outcome != Outcome.OBEYED:
        raise click.ClickException(f"{answer.outcome}: {answer.message}")
    click.echo(f"{answer.outcome}: {answer.message}")


def _answer(cluster: "Cluster", namespace: str, name: str, action: Action) -> ActionView:
    """What the operator says to the action, as soon as it does.

    Raises click.ClickException if it says nothing in time, or another action took the place of this one.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        model = cluster.model(namespace, name)
        found = view(model).action
        if found is not None and found.id == action.id:
            return found
        standing = parse(model.get("metadata", {}).get("annotations") or {})
        if standing is None or standing.id != action.id:
            raise click.ClickException(
                "another action, or a withdrawal, took the place of this one before its answer was seen; "
                f"look at `tidegate status {name} -n {namespace}`, and ask again if it is still wanted"
            )
        if time.monotonic() >= deadline:
            raise click.ClickException(
                f"the operator has not answered within {_WAIT_SECONDS:g} s; see whether it runs. "
                "The action stands, and will be answered when it does"
            )
        time.sleep(_POLL_SECONDS)


def _fresh_id() -> str:
    """An id that sorts by time, and is another one for two people in the same second: `20261124-101500-ab12`."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
