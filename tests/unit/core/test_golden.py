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
from tidegate_operator.core.children import children
from tidegate_operator.core.types import Kind
from worlds import ME, RELEASE

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.name.removesuffix(".in.yaml") for path in GOLDEN.glob("*.in.yaml"))


def made(case: str) -> dict[Kind, dict[str, Any]]:
    desired = parse(yaml.safe_load((GOLDEN / f"{case}.in.yaml").read_text()))
    return children(ME, desired, RELEASE)


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
def test_no_serving_container_has_a_secret_a_token_or_write_access(case: str) -> None:
    pod = made(case)[Kind.DEPLOYMENT]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert made(case)[Kind.SERVICE_ACCOUNT]["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert "envFrom" not in container
        assert all("valueFrom" not in variable for variable in container["env"])
        assert all(mount["readOnly"] for mount in container["volumeMounts"])
    assert not [volume for volume in pod["volumes"] if volume.keys() & {"secret", "projected", "hostPath"}]


@pytest.mark.parametrize("case", CASES)
def test_every_container_is_restricted_field_by_field(case: str) -> None:
    pod = made(case)[Kind.DEPLOYMENT]["spec"]["template"]["spec"]
    for container in pod["containers"] + pod.get("initContainers", []):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["privileged"] is False
        assert context["runAsNonRoot"] is True
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
