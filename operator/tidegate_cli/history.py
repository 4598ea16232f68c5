"""`tidegate history`."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import click

from tidegate_cli.decisions import DecisionView
from tidegate_cli.records import trials_of
from tidegate_cli.view import RevisionView, revision_view


@click.command()
@click.argument("name")
@click.option("--revision", metavar="REVISION", help="This one alone.")
@click.option("-n", "--namespace", help="[default: the context's, or the pod's own]")
@click.option("--context", help="Context of the kubeconfig.  [default: the current one]")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def history(name: str, revision: str | None, namespace: str | None, context: str | None, output: str) -> None:
    """Show the revisions of model NAME, newest first: what they are, and all that was decided about them.

    Each decision with who made it and why, and with what had been counted then. They outlive the model for a while, and
    a backup brings them back. `tidegate replay` takes the JSON of it, too.
    """
    from tidegate_cli.cluster import connect

    cluster = connect(context)
    space = namespace or cluster.namespace
    found = [(revision_view(item), item) for item in cluster.revisions(space, name)]
    found.sort(key=lambda pair: (pair[0].known_since, pair[0].revision), reverse=True)
    shown = [pair for pair in found if revision in (None, pair[0].revision)]
    if output == "json":
        click.echo(json.dumps({"revisions": [item for _, item in shown]}, indent=2))
    elif shown:
        for view, item in shown:
            _show(view, item, about(view, [other for other, _ in found]))
    elif found:
        raise click.ClickException(f"no ModelRevision {revision} of {space}/{name}: `tidegate history {name}` has all")
    else:
        click.echo(f"no ModelRevisions of {space}/{name}; `tidegate status -n {space}` lists the models")


def about(revision: RevisionView, all_of_them: Iterable[RevisionView]) -> list[DecisionView]:
    """What was decided about a revision, oldest first: a rollback, which is about the one that is gone back to, also
    belongs to the one that was judged."""
    others = (decision for view in all_of_them if view is not revision for decision in view.decisions)
    judged = (decision for decision in others if decision.judged == revision.revision)
    return sorted((*revision.decisions, *judged), key=lambda each: each.at)


def _show(revision: RevisionView, item: Mapping[str, Any], decisions: list[DecisionView]) -> None:
    """A revision a paragraph: digest and image alone are wider than many a terminal."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    console.print(
        f"[bold]{escape(revision.revision)}[/]  {escape(revision.role)} since {escape(revision.since)}", soft_wrap=True
    )
    trials = "; ".join(trial.line for trial in trials_of(item))
    rows = {"digest": revision.digest, "image": revision.image, "verdict": revision.verdict, "trials": trials}
    for label, text in rows.items():
        if text:
            console.print(f"      {label:<9}{escape(text)}", soft_wrap=True)
    for made in decisions:
        other = f" to {made.revision}" if made.revision != revision.revision else ""
        told = escape(f"{other} by {made.by}{made.because}")
        console.print(f"      {made.at}  [bold]{escape(made.what)}[/]{told}", soft_wrap=True)
        if made.numbers:
            judged = f"{made.judged}, " if made.judged and made.judged != revision.revision else ""
            console.print(f"          {escape(judged + made.numbers.line)}", style="dim", soft_wrap=True)
