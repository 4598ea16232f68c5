"""The example, as a reader runs it: real flights, trained, packed, pushed, applied, predicted; then two others."""

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployed import Figure
from kube import Kube

DEMO = Path(__file__).parents[2] / "examples" / "flights" / "demo.py"
SECONDS = 600

pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture(scope="module")
def unused(kube: Kube) -> Iterator[str]:
    """The name of a namespace that nobody has: the demo makes it, and `ml` may be somebody's."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    yield name
    kube.delete("namespace", name, wait=False)


@pytest.fixture(scope="module")
def ended(unused: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the demo printed, on a cluster that has not seen it."""
    command = [sys.executable, str(DEMO), "--namespace", unused, "--work", str(tmp_path_factory.mktemp("demo"))]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-3000:]
    return found.stdout


def seconds_of(step: str, ended: str) -> float:
    """How long the demo says that a step took."""
    (found,) = re.findall(rf"^    {re.escape(step)}: ([0-9.]+) s$", ended, re.MULTILINE)
    return float(found)


def test_the_example_predicts_real_flights(ended: str, figure: Figure) -> None:
    first = re.search(r"From kubectl apply to the first prediction: ([0-9.]+) s", ended)
    assert first, ended
    figure("kubectl apply of the example to the first 200 from infer", f"{first[1]} s", "<= 15 s")
    assert float(first[1]) <= 15
    accuracy = re.search(r"accuracy ([0-9.]+) ?%", ended)
    assert accuracy, ended
    assert float(accuracy[1]) > 85


def test_the_better_model_is_promoted_by_its_requests(ended: str, figure: Figure) -> None:
    took = seconds_of("roll it out, as fast as its own requests allow", ended)
    figure("the example's better model, from kubectl apply to stable", f"{took:.0f} s", "<= 120 s")
    assert re.search(r": [0-9a-f]{8} has taken over$", ended, re.MULTILINE), ended[-6000:]
    assert took <= 120


def test_the_careless_one_is_rejected_by_its_requests_and_stable_answers_all_the_others(
    ended: str, figure: Figure
) -> None:
    took = seconds_of("roll that out, too: its requests reject it", ended)
    sent, failed = re.findall(r"clients in all: ([0-9,]+) requests, ([0-9,]+) failed", ended)[0]
    figure("the example's careless rule, from kubectl apply to rejected", f"{took:.0f} s", "<= 120 s")
    figure("requests that failed meanwhile, of all that clients sent", f"{failed} of {sent}", "<= 200")
    (rejected,) = set(re.findall(r": ([0-9a-f]{8}) is rejected: ", ended))
    (by,) = re.findall(r"clients in all: .*failed: (.*)$", ended, re.MULTILINE)
    failing = [part for part in by.split("; ") if part.endswith("failed")]
    assert [part.split()[0] for part in failing] == [rejected], by
    assert took <= 120
    assert int(failed.replace(",", "")) <= 200


def test_what_was_decided_follows_from_what_is_kept(ended: str) -> None:
    (equal,) = re.findall(r"^    ([0-9]+) equal, 0 not equal, 0 not kept$", ended, re.MULTILINE)
    # Two steps and a promotion of the better one; a strike and a rollback of the careless one.
    assert int(equal) >= 4
