"""helm, as a function from values to what the chart makes of them."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
CHART = CHECKOUT / "charts" / "tidegate"

Values = dict[str, Any]
Document = dict[str, Any]
Render = Callable[..., list[Document]]


@pytest.fixture(scope="session")
def helm() -> str:
    for found in (os.environ.get("HELM"), CHECKOUT / ".cluster" / "bin" / "helm", shutil.which("helm")):
        if found and Path(found).exists():
            return str(found)
    pytest.fail("there is no helm here: `make tools` and `make cluster` put one at .cluster/bin/helm")


@pytest.fixture
def template(helm: str, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """`helm template` with some values; `registry` is set unless the values say otherwise."""

    def run(values: Values | None = None, *, registry: str = "r.example/t") -> "subprocess.CompletedProcess[str]":
        file = tmp_path / "values.yaml"
        file.write_text(yaml.safe_dump(values or {}))
        command = [helm, "template", "tidegate", str(CHART), "--namespace", "tidegate-system", "--values", str(file)]
        command += ["--kube-version", "1.37.0", "--set-string", f"image.registry={registry}"]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    return run


@pytest.fixture
def render(template: Callable[..., "subprocess.CompletedProcess[str]"]) -> Render:
    """The objects that the chart makes of some values."""

    def documents(values: Values | None = None) -> list[Document]:
        done = template(values)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return documents
