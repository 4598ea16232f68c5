"""`tidegate status`."""

import json
from typing import TYPE_CHECKING, Any

import click

from tidegate_cli.view import ActionView, CandidateView, ConditionView, ModelView, view

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@click.argument("name", required=False)
@click.option("-n", "--namespace", help="[default: the context's, or the pod's own]")
@click.option("-A", "--all-namespaces", is_flag=True, help="The models of every namespace.")
@click.option("--context", help="Context of the kubeconfig.  [default: the current one]")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-w", "--watch", is_flag=True, help="Draw the rollout of NAME, live, until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Seconds; for -w.")
@click.option(
    "--operator-namespace",
    default="tidegate-system",
    show_default=True,
    envvar="TIDEGATE_OPERATOR_NAMESPACE",
    help="Where the operator is, which is asked for live numbers; for -w.",
)
def status(
    name: str | None,
    namespace: str | None,
    all_namespaces: bool,
    context: str | None,
    output: str,
    watch: bool,
    interval: float,
    operator_namespace: str,
) -> None:
    """Show how the models of a cluster are; with NAME, one of them with its conditions and Events.

    With -w its rollout is drawn live: weights, pods, steps, what was counted of both versions, the evidence against and
    for the new one, and what is decided. Into a pipe that is a line a change; with -o json an object a line.
    Reads the kubeconfig, or the service account inside a pod.
    """
    if name and all_namespaces:
        raise click.UsageError("give a NAME or -A, not both")
    if watch and not name:
        raise click.UsageError("-w draws one model: give its NAME")
    from tidegate_cli.cluster import connect

    cluster = connect(context)
    if name and watch:
        from tidegate_cli.live import Live
        from tidegate_cli.watch import watch as watch_it

        live = Live(cluster, operator_namespace)
        watch_it(cluster, live, namespace or cluster.namespace, name, interval, as_json=output == "json")
        return
    space = None if all_namespaces else namespace or cluster.namespace
    if name and space:
        model = cluster.model(space, name)
        events = cluster.events(space, str(model.get("metadata", {}).get("uid", "")))
        if output == "json":
            click.echo(json.dumps({"model": model, "events": events}, indent=2))
        else:
            _show_one(view(model, events))
        return
    models = cluster.models(space)
    if output == "json":
        click.echo(json.dumps({"models": models}, indent=2))
    else:
        _show_all([view(model) for model in models], space)


def _show_all(models: list[ModelView], namespace: str | None) -> None:
    if not models:
        click.echo(f"no ModelDeployments in {f'namespace {namespace}' if namespace else 'any namespace'}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("NAMESPACE", "NAME", "READY", "STABLE", "CANDIDATE", "PHASE", "REASON", "REPLICAS"):
        table.add_column(column, overflow="fold")
    for model in models:
        candidate = f"{model.candidate.revision} {model.candidate.weight}%" if model.candidate else "-"
        serving = (model.namespace, model.name, _mark(model.ready), model.stable, candidate)
        table.add_row(*serving, model.phase, model.reason, model.replicas)
    Console().print(table)


def _show_one(model: ModelView) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    rows = {
        "model": f"{model.namespace}/{model.name}",
        "ready": f"{_mark(model.ready)} {escape(model.reason)}",
        "stable": model.stable,
        "candidate": _candidate(model, model.candidate) if model.candidate else "",
        "next": escape(model.next_check),
        "wanted": _wanted(model),
        "phase": model.phase if model.observed else f"{model.phase} (the operator has not seen the latest spec yet)",
        "replicas": model.replicas,
        "uri": escape(model.uri),
        "url": escape(model.url),
        "paused": "by an action; `tidegate resume` ends it" if model.paused else "",
        "in sync": _in_sync(model.out_of_sync),
        "decision": escape(model.decision),
        "action": _action(model.action),
    }
    for label, text in rows.items():
        if text:
            console.print(f"[bold]{label:<10}[/]{text}", soft_wrap=True)
    _show_conditions(console, model)
    _show_events(console, model)


def _candidate(model: ModelView, candidate: CandidateView) -> str:
    """How far it is, and how it goes on where that takes a person."""
    from rich.markup import escape

    found = f"{candidate.revision} gets {candidate.weight} of 100 requests, {candidate.at} since {candidate.since}"
    goes_on = f"; `tidegate approve {model.name} -n {model.namespace}` goes on" if model.waits_for_approval else ""
    return escape(f"{found}{goes_on}")


def _wanted(model: ModelView) -> str:
    if model.candidate and model.candidate.revision == model.revision:
        return f"{model.revision} (the candidate)"
    return f"{model.revision} (not what serves)" if model.turning else model.revision


def _in_sync(condition: ConditionView | None) -> str:
    """Whether Git still says what serves; empty where it does."""
    from rich.markup import escape

    return f"{_mark(condition.status)} {escape(f'{condition.reason}: {_words(condition)}')}" if condition else ""


def _action(action: ActionView | None) -> str:
    from rich.markup import escape

    return escape(f"{action.verb} {action.outcome} ({action.id}): {action.message}") if action else ""


def _show_conditions(console: "Console", model: ModelView) -> None:
    """A line of words under each condition: a column of them would be a few letters wide in a narrow terminal."""
    from rich.markup import escape

    listed = [condition for condition in model.conditions if condition is not model.out_of_sync]  # that was said above
    console.print("\n[bold]conditions[/]" if listed else "\nno conditions yet")
    for condition in listed:
        console.print(
            f"  {condition.type:<18} {_mark(condition.status)} {condition.reason}, since {condition.since}",
            soft_wrap=True,
        )
        console.print(f"      {escape(_words(condition))}", soft_wrap=True)


def _words(condition: ConditionView) -> str:
    return condition.message if condition.current else f"(of an older spec) {condition.message}"


def _show_events(console: "Console", model: ModelView) -> None:
    from rich.markup import escape

    if model.events is None:
        console.print("\nevents unknown: these credentials may not read Events")
        return
    console.print("\n[bold]events[/]" if model.events else "\nno events")
    for event in model.events:
        times = f" (x{event.count})" if event.count > 1 else ""
        console.print(f"  {event.time} {event.type} {event.reason}{times}", soft_wrap=True)
        console.print(f"      {escape(event.message)}", soft_wrap=True)


def _mark(truth: Any) -> str:
    return {"True": "[green]True[/]", "False": "[red]False[/]"}.get(truth, str(truth))
