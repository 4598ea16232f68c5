"""Versions that their own requests judge: the bars of `make bench-rollout`, and what is kept of their trials."""

from collections.abc import Callable, Iterator

import pytest

from bench.rollout import CASES, MODEL, Stage, staged
from bench.scenarios.report import Report
from deployed import LOCAL, Figure
from kube import Kube
from tidegate_operator.core.evidence import tally
from tidegate_operator.trials import unpacked

pytestmark = pytest.mark.skipif(not LOCAL, reason="asks a Service by its address inside of the cluster")


@pytest.fixture(scope="module")
def stage(kube: Kube, registry: str) -> Iterator[Stage]:
    with staged(kube, registry, Report()) as found:
        yield found


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.__name__))
def test_every_bar_holds(case: Callable[[Stage], None], stage: Stage, figure: Figure) -> None:
    stage.report.scenario = name = case.__name__
    case(stage)
    rows = [row for row in stage.report.rows if row.scenario == name]
    for row in rows:
        figure(f"{name}: {row.what}", row.measured, row.bar or "published")
    assert [row for row in rows if row.bar]
    assert [row for row in rows if not row.passed] == []


def test_a_trial_is_kept_in_its_versions_revision_and_can_be_calculated_again(stage: Stage, figure: Figure) -> None:
    """Those of the versions above."""
    uid = stage.kube.get("mdep", MODEL, stage.namespace)["metadata"]["uid"]
    serves, (rejected,) = stage.status["stable"]["revision"], stage.status["rejected"]
    numbers = {}
    for revision in (serves, rejected["revision"]):
        found = stage.kube.get("mrev", f"{MODEL}-{revision}", stage.namespace)["trials"]
        numbers[revision] = [trial["number"] for trial in found]
        for trial in found:
            kept = unpacked(trial["kept"])
            assert kept.uid == uid
            assert (kept.tally.revision, kept.tally.trial) == (revision, trial["number"])
            assert kept.tally.against == trial["against"]
            assert tally.replayed(kept.tally.entries, *kept.tally.tolerances) == kept.tally.judges
            figure(
                f"trial {trial['number']} of {revision}, as it is kept", f"{len(trial['kept']):,} bytes", "published"
            )
    good = unpacked(stage.kube.get("mrev", f"{MODEL}-{serves}", stage.namespace)["trials"][0]["kept"]).tally
    assert good.entries, "nothing was counted of what has taken over"
    assert numbers == {serves: [1], rejected["revision"]: [1, 2]}
