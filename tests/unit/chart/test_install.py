"""manifests/install.yaml: the chart for people who use kubectl alone."""

import subprocess
import sys
from typing import Any

import yaml

from .conftest import CHECKOUT

INSTALL = CHECKOUT / "manifests" / "install.yaml"


def render_script(helm: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(CHECKOUT / "manifests" / "render.py"), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env={"HELM": helm})


def test_it_is_what_the_chart_renders(helm: str) -> None:
    done = render_script(helm, "--check")
    assert done.returncode == 0, done.stderr


def test_its_namespace_enforces_restricted() -> None:
    (space,) = [d for d in yaml.safe_load_all(INSTALL.read_text()) if d["kind"] == "Namespace"]
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_it_makes_the_same_objects_as_the_chart(render: Any) -> None:
    ours = {(d["kind"], d["metadata"]["name"]) for d in yaml.safe_load_all(INSTALL.read_text())}
    assert ours - {("Namespace", "tidegate-system")} == {(d["kind"], d["metadata"]["name"]) for d in render()}


def test_a_forgotten_registry_cannot_be_anybodys(helm: str) -> None:
    text = INSTALL.read_text()
    assert "image: registry.invalid/tidegate/tidegate-operator:" in text
    assert "render.py --registry" in text.split("---")[0]


def test_a_registry_and_a_tag_take_the_placeholders_place(helm: str) -> None:
    done = render_script(helm, "--registry", "r.example/t", "--tag", "x")
    body = done.stdout.split("---", 1)[1]
    assert "r.example/t/tidegate-operator:x" in body
    assert "registry.invalid" not in body


def test_it_does_not_say_that_helm_manages_it() -> None:
    assert "managed-by" not in INSTALL.read_text()
