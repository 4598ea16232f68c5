"""`tidegate history`."""

import json

import click

from tidegate_cli.view import RevisionView, revision_view


@click.command()
@click.argument("name")
@click.option("-n", "--namespace", help="[default: the context's, or the pod's own]")
@click.option("--context", help="Context of the kubeconfig.  [default: the current one]")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def history(name: str, namespace: str | None, context: str | None, output: str) -> None:
    """Show the revisions of model NAME, newest first: what they are, and what was decided about them.

    They outlive the model for a while, and a backup brings them back.
    """
    from tidegate_cli.cluster import connect

    cluster = connect(context)
    space = namespace or cluster.namespace
    found = [(revision_view(item), item) for item in cluster.revisions(space, name)]
    found.sort(key=lambda pair: (pair[0].known_since, pair[0].revision), reverse=True)
    if output == "json":
        click.echo(json.dumps({"revisions": [item for _, item in found]}, indent=2))
    elif found:
        for view, _ in found:
            _show(view)
    else:
        click.echo(f"no ModelRevisions of {space}/{name}; `tidegate status -n {space}` lists the models")


def _show(revision: RevisionView) -> None:
    """A revision a paragraph: digest and image alone are wider than many a terminal."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    console.print(
        f"[bold]{escape(revision.revision)}[/]  {escape(revision.role)} since {escape(revision.since)}", soft_wrap=True
    )
    rows = {"digest": revision.digest, "image": revision.image, "verdict": revision.verdict, "last": revision.decision}
    for label, text in rows.items():
        if text:
            console.print(f"      {label:<9}{escape(text)}", soft_wrap=True)
