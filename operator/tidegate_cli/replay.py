"""`tidegate replay`: whether what was decided follows from what is kept."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate_cli.errors import EXIT_FAILURE
from tidegate_cli.printing import entries
from tidegate_cli.records import KeptTrial, decisions_of, trials_of
from tidegate_cli.tolerant import mapping, mappings, text

if TYPE_CHECKING:
    from tidegate_operator.core.evidence.replay import Replay
    from tidegate_operator.core.types import Decision, Numbers

_Trials = Mapping[tuple[str, int | None], KeptTrial]
"""By version and number."""


@click.command()
@click.argument("name")
@click.option("--revision", metavar="REVISION", help="What was decided about this one, or from its requests.")
@click.option("-n", "--namespace", help="[default: the context's, or the pod's own; of a file, the only one]")
@click.option("--context", help="Context of the kubeconfig.  [default: the current one]")
@click.option(
    "--file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="ModelRevisions, as JSON or YAML, instead of a cluster.",
)
@click.pass_context
def replay(
    click_context: click.Context,
    name: str,
    revision: str | None,
    namespace: str | None,
    context: str | None,
    file: Path | None,
) -> None:
    """Calculate again what was decided about model NAME, from what its ModelRevisions keep.

    Each decision that was made while requests were counted says what the counts were; its trial's record has every
    entry of them. A decision is equal if the record gives the same counts and the same evidence, and that allows what
    was decided; not equal if it does not, and then both numbers are shown; not kept if the record is not there. Exits
    with 1 if one is not equal.

    --file reads what `kubectl get modelrevisions -o json` or `tidegate history NAME -o json` has written.
    """
    if file is not None:
        if context:
            raise click.UsageError("--file needs no cluster: leave --context out")
        items: Sequence[Mapping[str, Any]] = _of(name, namespace, _read(file))
    else:
        from tidegate_cli.cluster import connect

        cluster = connect(context)
        items = cluster.revisions(namespace or cluster.namespace, name)
    if not items:
        raise click.ClickException(f"there are no ModelRevisions of {name}{f' in {file}' if file else ''}")
    if not _replayed(items, revision):
        click_context.exit(EXIT_FAILURE)


def _read(file: Path) -> list[Mapping[str, Any]]:
    """The objects in a file: one, a List, or what `history` writes; YAML may hold several of them."""
    import yaml

    content = file.read_text(errors="replace")
    try:
        documents = [json.loads(content)] if content.lstrip().startswith("{") else list(yaml.safe_load_all(content))
    except (ValueError, yaml.YAMLError) as error:
        raise click.ClickException(f"{file} is neither JSON nor YAML: {error}") from error
    found: list[Mapping[str, Any]] = []
    for document in map(mapping, documents):
        found += mappings(document.get("items")) or mappings(document.get("revisions")) or [document]
    return found


def _of(name: str, namespace: str | None, items: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The ModelRevisions of one model; a file may hold those of several namespaces."""
    found = [(_namespace(item), item) for item in items if mapping(item.get("spec")).get("model") == name]
    spaces = sorted({space for space, _ in found if namespace in (None, space)})
    if len(spaces) > 1:
        raise click.ClickException(f"there is a {name} in {', '.join(spaces)}: say which one with --namespace")
    return [item for space, item in found if space in spaces]


def _namespace(item: Mapping[str, Any]) -> str:
    return text(mapping(item.get("metadata")).get("namespace"))


def _replayed(items: Sequence[Mapping[str, Any]], revision: str | None) -> bool:
    """Say of each decision whether it is equal. False if one is not."""
    from tidegate_operator.core.evidence.replay import Outcome

    trials = {(_name(item), trial.number): trial for item in items for trial in trials_of(item)}
    decisions, wrong = decisions_of(items)
    counts = dict.fromkeys(Outcome, 0)
    for at, made in enumerate(decisions):
        numbers = made.numbers
        if numbers is None or revision not in (None, made.revision, numbers.revision):
            continue
        found = _again(made, numbers, trials, decisions[:at])
        counts[found.outcome] += 1
        _say(made, numbers, found)
    for words in wrong:
        click.echo(f"{click.style('not equal', fg='red', bold=True)}  {words}")
    counts[Outcome.UNEQUAL] += len(wrong)
    told = ", ".join(f"{counted} {outcome}" for outcome, counted in counts.items())
    click.echo(told if any(counts.values()) else "no decision has numbers: no requests were compared")
    return not counts[Outcome.UNEQUAL]


def _name(item: Mapping[str, Any]) -> str:
    return text(mapping(item.get("spec")).get("revision"))


def _again(made: "Decision", numbers: "Numbers", trials: _Trials, earlier: "list[Decision]") -> "Replay":
    from tidegate_operator.core.evidence.replay import Outcome, Replay, again

    trial = trials.get((numbers.revision, numbers.trial))
    if trial and trial.wrong:
        return Replay(Outcome.UNEQUAL, why=f"the record of trial {numbers.trial} cannot be read: {trial.wrong}")
    return again(made, numbers, trial.record if trial else None, earlier)


_COLOURS = {"equal": "green", "not equal": "red", "not kept": "yellow"}


def _say(made: "Decision", numbers: "Numbers", found: "Replay") -> None:
    """A line of a decision, and one more for each number that is another one."""
    outcome = click.style(f"{found.outcome:<9}", fg=_COLOURS[found.outcome], bold=True)
    of = f"trial {numbers.trial} of {numbers.revision}, {entries(numbers.entries + len(numbers.open))}"
    why = f": {found.why}" if found.why else ""
    click.echo(f"{outcome}  {made.at:%Y-%m-%dT%H:%M:%SZ}  {made.what} {made.revision}, from {of}{why}")
    for each in found.differences:
        click.echo(f"           {each.what}: the decision says {each.told:.10g}, the record {each.found:.10g}")
