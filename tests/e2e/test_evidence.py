"""Versions that their own requests judge: the bars of `make bench-rollout`, and what is kept of their trials."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.rollout import MODEL, Stage, fails, latch, staged
from bench.scenarios.report import Report
from deployed import LOCAL, Figure
from kube import Kube
from tidegate_cli.main import main
from tidegate_operator.core.evidence import tally
from tidegate_operator.kept import unpacked

pytestmark = pytest.mark.skipif(not LOCAL, reason="asks a Service by its address inside of the cluster")


@pytest.fixture(scope="module")
def stage(kube: Kube, registry: str) -> Iterator[Stage]:
    with staged(kube, registry, Report()) as found:
        yield found


@pytest.mark.parametrize("case", [fails, latch], ids=lambda case: str(case.__name__))
def test_every_bar_holds(case: Callable[[Stage], None], stage: Stage, figure: Figure) -> None:
    stage.report.scenario = name = case.__name__
    stage.begin()
    case(stage)
    rows = [row for row in stage.report.rows if row.scenario == name]
    for row in rows:
        figure(f"{name}: {row.what}", row.measured, row.bar or "published")
    assert [row for row in rows if row.bar]
    assert [row for row in rows if not row.passed] == []


def test_a_trial_is_kept_in_its_versions_revision_and_can_be_calculated_again(stage: Stage, figure: Figure) -> None:
    """Those of the versions above."""
    uid = stage.kube.get("mdep", MODEL, stage.namespace)["metadata"]["uid"]
    trials, counted = 0, 0
    for revision in stage.kube.items("mrev", stage.namespace):
        for trial in revision.get("trials", []):
            kept = unpacked(trial["kept"])
            trials, counted = trials + 1, counted + bool(kept.tally.entries or kept.tally.open)
            assert (kept.uid, kept.tally.revision) == (uid, revision["spec"]["revision"])
            assert (kept.tally.against, kept.tally.trial) == (trial["against"], trial["number"])
            assert tally.replayed(kept.tally.entries, *kept.tally.tolerances) == kept.tally.judges
            what = f"trial {trial['number']} of {kept.tally.revision}, as it is kept"
            figure(what, f"{len(trial['kept']):,} bytes", "published")
    assert trials >= 3
    assert counted >= 2, "but for what a router has found when no operator was there to count"


def test_every_decision_is_calculated_again_from_what_is_kept(stage: Stage, tmp_path: Path, figure: Figure) -> None:
    """By the command line, from a file: as an auditor does."""
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"items": stage.kube.items("mrev", stage.namespace)}))
    result = CliRunner().invoke(main, ["replay", MODEL, "--file", str(record)])
    *lines, summary = result.output.splitlines()
    figure("decisions that are calculated again", summary, "0 not equal")
    assert (result.exit_code, "0 not equal" in summary) == (0, True), result.output
    assert len([line for line in lines if line.startswith("equal")]) >= 2
