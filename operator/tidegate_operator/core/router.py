"""The objects of a namespace's router, which all its models share. Pure."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from tidegate_contract import labels, names, router
from tidegate_operator.core import sources
from tidegate_operator.core.children import owner, probe, spread, variable
from tidegate_operator.core.types import Identity, Manifest

NAME = "tidegate-router"
"""Of all its objects, and of the ClusterRole with their rights."""
ENVOY, AGENT = "envoy", "agent"
WORKERS = 2
"""Threads of Envoy; by itself it takes as many as the node has processors."""
SELECTED = {labels.COMPONENT: labels.ROUTER}
LABELS = SELECTED | {labels.MODEL: ""}
"""Of all its objects and pods: they belong to no model, and are found with the children of all."""
GRACE_SECONDS = router.SPREAD_SECONDS + router.DRAIN_SECONDS + 5


@dataclass(frozen=True, slots=True)
class Images:
    """What its pods run."""

    envoy: str
    agent: str
    """The tools of this release."""
    pull_policy: str = "IfNotPresent"


def objects(namespace: str, owners: Iterable[Identity], images: Images) -> list[Manifest]:
    """All of them, in the order in which they are made. Its Secret is made before: only that one knows the token.

    `owners`: every ModelDeployment of the namespace. The last of them takes the router along, an operator or not.
    """
    told = [owner(identity) for identity in owners]
    return [
        _object("v1", "ServiceAccount", namespace, told) | {"automountServiceAccountToken": False},
        _object("rbac.authorization.k8s.io/v1", "RoleBinding", namespace, told)
        | {
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
        },
        _object("policy/v1", "PodDisruptionBudget", namespace, told)
        | {"spec": {"maxUnavailable": 1, "selector": {"matchLabels": SELECTED}}},
        _object("apps/v1", "Deployment", namespace, told) | {"spec": _deployment(images)},
    ]


def _object(api: str, kind: str, namespace: str, owners: list[Manifest]) -> Manifest:
    metadata = {"name": NAME, "namespace": namespace, "labels": LABELS, "ownerReferences": owners}
    return {"apiVersion": api, "kind": kind, "metadata": metadata}


def _deployment(images: Images) -> Manifest:
    return {
        "replicas": router.REPLICAS,
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": SELECTED},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": router.SURGE, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": LABELS}, "spec": _pod(images)},
    }


def _pod(images: Images) -> Manifest:
    return {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": False,  # the agent alone has one
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": sources.RESTRICTED_POD | {"fsGroup": 65532},
        "containers": [_agent(images), _envoy(images)],
        "volumes": [
            {"name": "sockets", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "token", "secret": {"secretName": NAME}},
            {"name": "account", "projected": {"sources": ACCOUNT}},
        ],
        "topologySpreadConstraints": [spread(SELECTED)],
    }


SOCKETS = {"name": "sockets", "mountPath": router.FOLDER}
ACCOUNT = [
    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
]
"""What the agent needs to read the cluster, as Kubernetes would give it to every container."""
DRAIN = {"exec": {"command": ["/opt/tidegate/bin/python", "-m", "tidegate_router.drain"]}}
DRAINED = {"httpGet": {"path": router.DRAINED_PATH, "port": router.AGENT_PORT}}
"""Both containers end when nobody is served any more. Envoy's has nothing to run that could wait; the kubelet asks."""


def _envoy(images: Images) -> Manifest:
    told = router.bootstrap(PurePosixPath(router.FOLDER), f"$({names.ENV_POD_UID})")
    return {
        "name": ENVOY,
        "image": images.envoy,
        "imagePullPolicy": images.pull_policy,
        "command": ["/usr/local/bin/envoy"],
        "args": [
            *("--config-yaml", json.dumps(told, separators=(",", ":"))),
            *("--concurrency", str(WORKERS)),
            *("--drain-strategy", "immediate"),
            *("--drain-time-s", str(router.DRAIN_SECONDS)),
            "--disable-hot-restart",
        ],
        "env": [variable(names.ENV_POD_UID, "metadata.uid")],
        "lifecycle": {"preStop": DRAINED},
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"memory": str(router.ENVOY_MEMORY_BYTES)},
        },
        "securityContext": sources.RESTRICTED,
        "volumeMounts": [SOCKETS],
    }


def _agent(images: Images) -> Manifest:
    return {
        "name": AGENT,
        "image": images.agent,
        "imagePullPolicy": images.pull_policy,
        "args": ["-m", "tidegate_router"],
        "env": [
            variable(router.ENV_NAMESPACE, "metadata.namespace"),
            variable(names.ENV_POD_UID, "metadata.uid"),
            {"name": router.ENV_FOLDER, "value": router.FOLDER},
            {"name": router.ENV_TOKEN_FILE, "value": router.TOKEN_FILE},
            # It trusts the certificate of the API server and asks nobody else; aiohttp would read all of the system's.
            {"name": "SSL_CERT_FILE", "value": "/dev/null"},
            # The few threads of gRPC share the memory of the one that does the work.
            {"name": "MALLOC_ARENA_MAX", "value": "1"},
        ],
        "ports": [{"name": "agent", "containerPort": router.AGENT_PORT, "protocol": "TCP"}],
        "readinessProbe": probe(router.READY_PATH, period=1, failures=3, timeout=2, port=router.AGENT_PORT),
        "livenessProbe": probe(router.LIVE_PATH, period=10, failures=3, timeout=2, port=router.AGENT_PORT),
        "lifecycle": {"preStop": DRAIN},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": sources.RESTRICTED,
        "volumeMounts": [
            SOCKETS,
            {"name": "token", "mountPath": str(PurePosixPath(router.TOKEN_FILE).parent), "readOnly": True},
            {"name": "account", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
        ],
    }
