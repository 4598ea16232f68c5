"""`tidegate check`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate_cli.errors import EXIT_FAILURE, explained
from tidegate_cli.printing import print_json

if TYPE_CHECKING:
    from tidegate_server.offline.check import Finding

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("data", type=_FILE)
@click.option("--target", help="The column that is predicted.")
@click.option("--held-out", type=_FILE, help="The rows that a model of DATA will be judged by.")
@click.option("--json", "as_json", is_flag=True, help="The findings, for a program.")
@click.pass_context
def check(context: click.Context, data: Path, target: str | None, held_out: Path | None, as_json: bool) -> None:
    """Look for what is wrong with DATA, .parquet or .csv, before a model is trained on it.

    Rows that repeat or contradict each other, columns that give the target away, held-out rows that are in the training
    data, missing and infinite values, rare classes. Exits with 1 if it finds a problem.
    """
    with explained():
        from tidegate_server.offline.check import Weight
        from tidegate_server.offline.check import check as look_over
        from tidegate_server.offline.table import read_table

        frame = read_table(data)
        found = look_over(frame, target, read_table(held_out) if held_out else None)
    if as_json:
        print_json(found)
    else:
        for finding in found:
            click.echo(sentence(finding))
        problems = sum(finding.weight is Weight.PROBLEM for finding in found)
        click.echo(f"{data}: {len(frame):,} rows, {problems} problems, {len(found) - problems} notes")
    if any(finding.weight is Weight.PROBLEM for finding in found):
        context.exit(EXIT_FAILURE)


def sentence(finding: "Finding") -> str:
    return f"{click.style(finding.weight, bold=True)}: {finding.message}"
