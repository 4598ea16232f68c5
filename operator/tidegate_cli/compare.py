"""`tidegate compare`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate_cli.errors import explained
from tidegate_cli.printing import print_json
from tidegate_cli.progress import steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from tidegate_server.offline.compare import Comparison, Figure, Importance

_BUNDLE = click.Path(path_type=Path, exists=True, file_okay=False)
_SHOWN_SLICES = 5
"""At each end, of those that hold up; all are in --json."""
_SHOWN_COLUMNS = 15
_WIDTH = 31


@click.command()
@click.argument("old", type=_BUNDLE)
@click.argument("new", type=_BUNDLE)
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Rows that neither model was trained on, .parquet or .csv.",
)
@click.option("--target", required=True, help="The column that is predicted.")
@click.option(
    "--allow-pickle", is_flag=True, help="Read bundles of joblib models too: that runs code of their authors."
)
@click.option("--json", "as_json", is_flag=True, help="Everything, for a program.")
def compare(old: Path, new: Path, data: Path, target: str, allow_pickle: bool, as_json: bool) -> None:
    """Compare bundle NEW with bundle OLD on the same rows.

    Their losses with 95 % intervals of the difference, the slices of the data in which they differ, and the columns
    that each of them goes by.
    """
    with explained(), steps("loading both models") as progress:
        from tidegate_server.loader import load_model
        from tidegate_server.offline.compare import compare as compared
        from tidegate_server.offline.table import read_table

        frame = read_table(data)
        models = [load_model(bundle, None, allow_pickle=allow_pickle) for bundle in (old, new)]
        found = compared(models[0], models[1], frame, target, progress=progress)
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: "Comparison") -> None:
    from rich.console import Console

    console = Console()
    console.print(_figures("figure", found.figures, f"{found.rows:,} rows, lower is better"))
    telling = [part for part in found.slices if part.verdict != "open"]
    title = f"{len(found.slices)} slices looked at, {len(telling)} with a difference that holds up among so many"
    if telling:
        worse = [part for part in telling if part.verdict == "worse"][:_SHOWN_SLICES]
        better = [part for part in telling if part.verdict == "better"][-_SHOWN_SLICES:]
        console.print(_figures("slice", [*worse, *better], title))
    else:
        console.print(f"[italic]{title}[/]")
    console.print(_columns(found.importance))
    console.print(sentence(found), soft_wrap=True, markup=False)


def sentence(found: "Comparison") -> str:
    """What there is to say in one line."""
    first = found.figures[0]
    change = {
        "better": "the new model is better",
        "worse": "the new model is worse",
        "open": "these rows do not tell which is better",
    }[first.verdict]
    worse = [part.name for part in found.slices if part.verdict == "worse"]
    but = f"; it is worse where {worse[0]}" if worse and first.verdict != "worse" else ""
    interval = f"{first.difference.low:+.4g} to {first.difference.high:+.4g}"
    return f"{change}: {first.name} {first.old:.4g} -> {first.new:.4g}, a difference of {interval}{but}"


def _figures(what: str, figures: "Sequence[Figure]", title: str) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    axis = f"{'better':<{_WIDTH // 2}}0{'worse':>{_WIDTH // 2}}"
    table = Table(what, "rows", "old", "new", "new - old", axis, "", title=title, title_justify="left")
    colours = {"better": "green", "worse": "red", "open": ""}
    for each in figures:
        cells = f"{each.rows:,}", f"{each.old:.4g}", f"{each.new:.4g}", f"{each.difference.estimate:+.4g}"
        table.add_row(escape(each.name), *cells, picture(each), each.verdict, style=colours[each.verdict])
    return table


def picture(found: "Figure") -> str:
    """The interval on a line of its own scale, with 0 in the middle.

    >>> from tidegate_server.offline.compare import Figure
    >>> from tidegate_server.offline.intervals import Interval
    >>> picture(Figure("wrong answers", 100, 0.5, 0.4, Interval(-0.3, -0.1, 0.1)))
    '├─────────●────┼────┤          '
    """
    middle = _WIDTH // 2
    widest = max(abs(found.difference.low), abs(found.difference.high)) or 1.0

    def place(value: float) -> int:
        return middle + round(middle * max(-1.0, min(1.0, value / widest)))

    line = [" "] * _WIDTH
    low, high = place(found.difference.low), place(found.difference.high)
    line[low : high + 1] = "─" * (high + 1 - low)
    line[low], line[high] = "├", "┤"
    line[middle] = "┼" if low <= middle <= high else "│"
    line[place(found.difference.estimate)] = "●"
    return "".join(line)


def _columns(importance: "Sequence[Importance]") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    title = "what each model goes by: how much more it errs when a column's values are mixed up"
    table = Table("column", "old", "new", "rank", title=title, title_justify="left")
    for each in importance[:_SHOWN_COLUMNS]:
        cells = ("-" if rise is None else f"{rise:+.4g}" for rise in (each.old, each.new))
        table.add_row(escape(each.column), *cells, _rank(each))
    return table


def _rank(each: "Importance") -> str:
    if each.old_rank is None or each.new_rank is None:
        return "new" if each.old_rank is None else "gone"
    moved = each.old_rank - each.new_rank
    return f"{each.new_rank}" + (f" ({'up' if moved > 0 else 'down'} {abs(moved)})" if moved else "")
