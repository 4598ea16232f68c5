"""`tidegate inspect`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate_cli.errors import explained
from tidegate_cli.printing import print_json

if TYPE_CHECKING:
    from rich.table import Table

    from tidegate_contract.bundle.manifest import Manifest
    from tidegate_contract.bundle.timings import Timings
    from tidegate_contract.bundle.verify import VerifiedBundle
    from tidegate_contract.profile import Numeric, Profile

_SHOWN_GOLDEN_ROWS = 5
_SHOWN_VALUES = 4
"""Of a column of text."""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="All of it, for a program.")
@click.option("--digest", help="Refuse the bundle if its digest is another one.")
def inspect(bundle: Path, as_json: bool, digest: str | None) -> None:
    """Verify BUNDLE and show what it is."""
    with explained():
        from tidegate_contract.bundle.verify import verify
        from tidegate_server.loader import read_profile

        verified = verify(bundle, digest)
        profile = read_profile(verified)
    if as_json:
        timings = verified.timings()
        known = {"digest": verified.digest, "manifest": verified.manifest, "profile": profile, "timings": timings}
        print_json(known)
    else:
        _show(verified, profile)


def _show(bundle: "VerifiedBundle", profile: "Profile | None") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    manifest = bundle.manifest
    console = Console()
    environment = manifest.environment
    rows = {
        "name": manifest.name,
        "digest": bundle.digest,
        "format": str(manifest.format),
        "model": manifest.lineage.model,
        "packed": manifest.lineage.created,
        "data": f"sha256:{manifest.lineage.data_sha256}" if manifest.lineage.data_sha256 else "",
        "data at": manifest.lineage.data_uri,
        "commit": manifest.lineage.commit,
        "run": manifest.lineage.run,
        "author": manifest.lineage.author,
        "python": f"{environment.python} on {environment.os} {environment.arch}",
        "libraries": ", ".join(f"{name} {version}" for name, version in sorted(environment.libraries.items())),
        "trusted types": ", ".join(manifest.trusted_types),
        "metrics": ", ".join(f"{name} {value:g}" for name, value in sorted(manifest.metrics.items())),
        "engine": _engine(manifest, bundle.timings()),
    }
    for label, text in rows.items():
        if text:
            console.print(f"[bold]{label:<15}[/]{escape(text)}", soft_wrap=True)

    one = manifest.signature.tensor
    title = f"signature, all inputs as one tensor {escape(one)}" if one else "signature"
    signature = Table("tensor", "datatype", "shape", "labels", title=title, title_justify="left")
    for arrow, specs in (("in", manifest.signature.inputs), ("out", manifest.signature.outputs)):
        for spec in specs:
            cells = f"{arrow}  {spec.name}", spec.datatype, str(list(spec.shape)), ", ".join(map(str, spec.labels))
            signature.add_row(*map(escape, cells))
    console.print(signature)

    golden = manifest.golden
    columns: dict[str, Sequence[object]] = {
        **{spec.name: golden.inputs[spec.name] for spec in manifest.signature.inputs},
        **{f"-> {spec.name}": golden.outputs[spec.name] for spec in manifest.signature.outputs},
    }
    title = f"golden rows ({min(_SHOWN_GOLDEN_ROWS, golden.rows)} of {golden.rows}, tolerance {golden.tolerance:g})"
    examples = Table(*map(escape, columns), title=title, title_justify="left")
    for row in range(min(_SHOWN_GOLDEN_ROWS, golden.rows)):
        examples.add_row(*(escape(_cell(cells[row])) for cells in columns.values()))
    console.print(examples)

    if profile:
        console.print(_picture(profile))
    else:
        console.print("[italic]no profile[/]: pack the model again to have its traffic compared with its data")

    console.print("[italic]files[/]")
    for path, entry in sorted(manifest.files.items()):
        console.print(f"{escape(path)}  {entry.size:,} bytes  sha256:{entry.sha256}", soft_wrap=True)


def _engine(manifest: "Manifest", timings: "Timings | None") -> str:
    """Which engine answers, up to how many rows, and why."""
    from tidegate_contract.bundle.timings import limit_of

    record = manifest.engine
    if record is None:
        refused = [f"{item.kind} is not used: {item.reason}" for item in manifest.engines if item.reason]
        return f"the model itself; {'; '.join(refused) or 'the bundle has no other'}"
    limit = limit_of(timings)
    if timings is None:
        speed = "the bundle has no timings"
    else:
        first = timings.original[0] / timings.compiled[0]
        speed = f"{first:.3g} times as fast as the model at {timings.rows[0]} row, measured where it was packed"
    if limit == 0:
        return f"the model itself; {record.kind} gives the same answers and was slower at every number of rows"
    above = f"up to {limit} {'row' if limit == 1 else 'rows'}, and the model itself above"
    where = "for every number of rows" if limit is None else above
    compared = f"{record.reference_rows:,} rows of the data and {record.perturbed_rows:,} perturbed ones"
    same = f"equal on {compared}, to {record.max_difference:.1g}" if record.max_difference else f"equal on {compared}"
    return f"{record.kind} {where}; {speed}; {same}"


def _picture(profile: "Profile") -> "Table":
    """A line a column: how much is missing, from where to where nearly all of it lies, and what it looks like."""
    from rich.markup import escape
    from rich.table import Table

    from tidegate_contract.profile import Numeric

    title = f"profile of {profile.rows:,} rows"
    table = Table("column", "missing", "from", "to", "looks like", title=title, title_justify="left")
    for column in (*profile.features, *([profile.score] if profile.score else [])):
        name = f"-> {profile.score_of}" if column is profile.score else column.name
        missing = f"{column.missing / profile.rows:.1%}" if column.missing else ""
        if isinstance(column, Numeric):
            cells = f"{column.minimum:.4g}", f"{column.maximum:.4g}", _bars(column)
        else:
            total = sum(column.counts)
            shares = [
                f"{value} {count / total:.0%}" for value, count in zip(column.values, column.counts, strict=False)
            ]
            more = len(column.values) + len(column.rare) - _SHOWN_VALUES
            cells = "", "", ", ".join([*shares[:_SHOWN_VALUES], *([f"and {more} more"] if more > 0 else [])])
        table.add_row(*map(escape, (name, missing, *cells)))
    return table


def _bars(column: "Numeric", width: int = 24) -> str:
    """Bars of how many values lie in equal steps between the outermost edges, evenly spread inside each cell."""
    import numpy as np

    if len(column.edges) < 2:
        return ""
    below = np.cumsum(column.counts)[:-1]  # how many values lie below each edge
    ends = np.interp(np.linspace(column.edges[0], column.edges[-1], width + 1), column.edges, below)
    heights = np.diff(ends) / max(np.diff(ends).max(), 1e-300)
    return "".join(" ▁▂▃▄▅▆▇█"[int(np.ceil(8 * height))] for height in heights)


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(_cell(item) for item in value)
    if value is None:
        return "missing"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
