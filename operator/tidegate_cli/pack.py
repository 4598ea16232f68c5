"""`tidegate pack`."""

import datetime as dt
import os
from pathlib import Path

import click

from tidegate_cli.check import sentence
from tidegate_cli.errors import explained
from tidegate_cli.progress import steps


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Rows as the model takes them, .parquet or .csv; signature and golden rows come from here.",
)
@click.option("--target", help="The column that is predicted; it is not an input.")
@click.option("--name", help="Name of the bundle.  [default: the model file's]")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Directory to write.")
@click.option("--trust", multiple=True, metavar="TYPE", help="Allow a type that a skops file names; may be repeated.")
@click.option("--allow-pickle", is_flag=True, help="Pack a .joblib or .pkl file, whose code runs when it is read.")
@click.option("--metric", multiple=True, metavar="NAME=VALUE", help="A held-out metric to record; may be repeated.")
@click.option(
    "--strict",
    multiple=True,
    metavar="COLUMN",
    help="Refuse requests with values in this column that the data has none like; may be repeated.",
)
@click.option("--tensor", default="", metavar="NAME", help="Requests have all columns in one input of this name.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="By how much a server's answers to the golden rows may differ.  [default: 1e-6, in single precision 1e-4]",
)
@click.option("--commit", default="", help="Commit of the code that trained the model.")
@click.option("--run", default="", help="The training, as whatever tracks it calls it.")
@click.option("--author", default="", help="Whose model it is.")
@click.option("--data-uri", default="", help="Where the data can be found.")
@click.option("--force", is_flag=True, help="Replace a bundle that is there.")
def pack(
    model: Path,
    data: Path,
    target: str | None,
    name: str | None,
    out: Path,
    trust: tuple[str, ...],
    allow_pickle: bool,
    metric: tuple[str, ...],
    strict: tuple[str, ...],
    tensor: str,
    tolerance: float | None,
    commit: str,
    run: str,
    author: str,
    data_uri: str,
    force: bool,
) -> None:
    """Make a bundle of MODEL: a scikit-learn model saved by skops (or joblib), an ONNX file, or a folder with a class
    in model.py.

    The same input gives the same digest. SOURCE_DATE_EPOCH, if set, is recorded as the time.
    """
    metrics = dict(_metric(text) for text in metric)
    created = _created(os.environ.get("SOURCE_DATE_EPOCH"))
    with explained(), steps("loading libraries") as progress:
        from tidegate_server.threads import limit_threads

        limit_threads(os.environ)
        from tidegate_contract.bundle.manifest import Lineage
        from tidegate_server.offline.pack import pack as pack_bundle

        packed = pack_bundle(
            model,
            data,
            out,
            target=target,
            name=name,
            allow_pickle=allow_pickle,
            trust=trust,
            metrics=metrics,
            strict=strict,
            tensor=tensor,
            tolerance=tolerance,
            lineage=Lineage(data_uri=data_uri, commit=commit, run=run, author=author, created=created),
            force=force,
            progress=progress,
        )
    for finding in packed.findings:
        click.echo(sentence(finding), err=True)
    click.echo(f"{out}: {packed.manifest.name}, {packed.manifest.golden.rows} golden rows answered right")
    click.echo(packed.digest)


def _metric(text: str) -> tuple[str, float]:
    name, separator, value = text.partition("=")
    try:
        if name and separator:
            return name, float(value)
    except ValueError:
        pass
    raise click.BadParameter(f"{text!r} is not NAME=VALUE with a number", param_hint="--metric")


def _created(epoch: str | None) -> str:
    if not epoch:
        return ""
    try:
        return dt.datetime.fromtimestamp(int(epoch), dt.UTC).isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise click.UsageError("SOURCE_DATE_EPOCH must be seconds since 1970") from error
