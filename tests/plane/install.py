"""What the operator needs in the cluster: its CRDs, its namespace, its rights as the chart renders them."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from cluster import build
from cluster.shell import run
from plane import certs
from plane.client import Client, Object

ROOT = Path(__file__).parents[2]
NAMESPACE = "tidegate-system"
RIGHTS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}
USER = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": certs.OPERATOR}


def definitions() -> list[Object]:
    """Every CRD of this checkout."""
    return [found for found in yaml.safe_load_all((ROOT / "manifests/crd.yaml").read_text()) if found]


def rights() -> list[Object]:
    """The operator's roles as the chart renders them, bound to the user of our certificate."""
    argv: list[str | Path] = [_helm(), "template", "tidegate", ROOT / "charts/tidegate", "--namespace", NAMESPACE]
    argv += ["--kube-version", build.KUBERNETES, "--set-string", "image.registry=registry.example/tidegate"]
    rendered = run([*argv, "--show-only", "templates/rbac.yaml"])
    return [_bound(found) for found in yaml.safe_load_all(rendered) if found and found["kind"] in RIGHTS]


def _bound(document: Object) -> Object:
    return document | {"subjects": [USER]} if "subjects" in document else document


def _helm() -> str:
    found = ROOT / ".cluster/bin/helm"
    helm = str(found) if found.exists() else shutil.which("helm")
    if not helm:
        raise FileNotFoundError("there is no helm here: `make tools` puts one at .cluster/bin/helm")
    return helm


def operator_environment() -> dict[str, str]:
    """What the operator's process needs besides its settings: this checkout's sources, whatever is installed."""
    sources = os.pathsep.join(str(ROOT / folder) for folder in ("operator", "server"))
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": sources}


async def install(admin: Client) -> None:
    """Everything, and wait until the API server serves the CRDs."""
    await admin.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for definition in definitions():
        await admin.create(crds, definition)
    for right in rights():
        within = f"/namespaces/{NAMESPACE}" if right["metadata"].get("namespace") else ""
        await admin.create(f"/apis/rbac.authorization.k8s.io/v1{within}/{RIGHTS[right['kind']]}", right)
    for definition in definitions():
        while not _established(await admin.get(f"{crds}/{definition['metadata']['name']}")):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def _established(definition: dict[str, Any]) -> bool:
    found = definition.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Established" and condition["status"] == "True" for condition in found)
