"""The example, as a reader runs it: real flights, trained, packed, pushed, applied, predicted."""

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


@pytest.fixture
def unused(kube: Kube) -> Iterator[str]:
    """The name of a namespace that nobody has: the demo makes it, and `ml` may be somebody's."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    yield name
    kube.delete("namespace", name, wait=False)


@pytest.fixture
def ended(unused: str, tmp_path: Path) -> str:
    """What the demo printed, on a cluster that has not seen it."""
    command = [sys.executable, str(DEMO), "--namespace", unused, "--work", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found.stdout


def test_the_example_predicts_real_flights(ended: str, figure: Figure) -> None:
    first = re.search(r"From kubectl apply to the first prediction: ([0-9.]+) s", ended)
    assert first, ended
    figure("kubectl apply of the example to the first 200 from infer", f"{first[1]} s", "<= 15 s")
    assert float(first[1]) <= 15
    accuracy = re.search(r"accuracy ([0-9.]+) ?%", ended)
    assert accuracy, ended
    assert float(accuracy[1]) > 85
