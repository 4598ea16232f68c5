"""Golden pairs: the spec in `golden/NAME.in.yaml` makes exactly the children in `golden/NAME.out.yaml`.

After a change that is meant, `GOLDEN=write pytest tests/unit/core/test_golden.py` writes
them anew; the diff is the review.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate_operator.api.v1alpha1 import parse
from tidegate_operator.core.types import Kind
from worlds import DIGEST, asking, in_force, replicas, straight

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.name.removesuffix(".in.yaml") for path in GOLDEN.glob("*.in.yaml"))


def made(case: str) -> dict[Kind, dict[str, Any]]:
    """By kind: where spec leaves the digest open, with the Job that reads it, and the pods once it has read it."""
    desired = parse(yaml.safe_load((GOLDEN / f"{case}.in.yaml").read_text()))
    resolve = None if desired.content.digest else desired.content
    content = in_force(asking(desired, digest=desired.content.digest or DIGEST))
    found = straight(desired, content, resolve, replicas(desired))
    return {kind: manifest for (kind, _), manifest in found.items()}


def pods(case: str) -> list[dict[str, Any]]:
    """The spec of every pod that these children make."""
    return [
        manifest["spec"]["template"]["spec"]
        for kind, manifest in made(case).items()
        if kind in (Kind.DEPLOYMENT, Kind.JOB)
    ]


@pytest.mark.parametrize("case", CASES)
def test_a_spec_makes_these_children(case: str) -> None:
    class NoAliases(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    rendered = yaml.dump_all(made(case).values(), Dumper=NoAliases, sort_keys=False, width=110)
    golden = GOLDEN / f"{case}.out.yaml"
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(rendered)
    assert golden.read_text() == rendered


@pytest.mark.parametrize("case", CASES)
def test_no_container_of_ours_has_a_secret_a_token_or_write_access_but_the_fetcher(case: str) -> None:
    assert made(case)[Kind.SERVICE_ACCOUNT]["automountServiceAccountToken"] is False
    for pod in pods(case):
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert "envFrom" not in container
            sources = [variable["valueFrom"] for variable in container.get("env", []) if "valueFrom" in variable]
            assert all(source.keys() == {"fieldRef"} for source in sources)  # what the pod is, and no secret
            assert all(mount["readOnly"] for mount in container["volumeMounts"])
        assert not [volume for volume in pod["volumes"] if volume.keys() & {"secret", "projected", "hostPath"}]


@pytest.mark.parametrize("case", CASES)
def test_every_container_is_restricted_field_by_field(case: str) -> None:
    for pod in pods(case):
        for container in pod["containers"] + pod.get("initContainers", []):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["privileged"] is False
            assert context["runAsNonRoot"] is True
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("case", CASES)
def test_the_service_and_the_budget_select_the_servers_and_never_the_resolver(case: str) -> None:
    """A Service that selected the resolver's pod would send requests to it."""
    found = made(case)
    service = found[Kind.SERVICE]["spec"]["selector"].items()
    assert service <= found[Kind.DEPLOYMENT]["spec"]["template"]["metadata"]["labels"].items()
    policy = found[Kind.NETWORK_POLICY]["spec"]["podSelector"]["matchLabels"].items()
    for kind in found.keys() & {Kind.JOB, Kind.DEPLOYMENT}:
        assert policy <= found[kind]["spec"]["template"]["metadata"]["labels"].items()
    if Kind.JOB in found:
        assert not service <= found[Kind.JOB]["spec"]["template"]["metadata"]["labels"].items()
