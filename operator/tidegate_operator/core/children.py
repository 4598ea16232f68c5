"""The objects that serve a model: makers that return plain data, one for each kind.

Replicas stand in none of them: they move by `/scale`, because leaving them out of a
later apply would reset them to 1.
"""

import math
from collections.abc import Mapping

from tidegate_contract import labels, names
from tidegate_operator.core import sources
from tidegate_operator.core.revision import digest, image
from tidegate_operator.core.revision import revision as revision_of
from tidegate_operator.core.types import Desired, Identity, Kind, Manifest, Release

DRAIN_SECONDS = 5
"""How long a pod serves on after SIGTERM: until the last kube-proxy has taken it out."""

API_VERSIONS: Mapping[Kind, str] = {
    Kind.SERVICE_ACCOUNT: "v1",
    Kind.NETWORK_POLICY: "networking.k8s.io/v1",
    Kind.SERVICE: "v1",
    Kind.DEPLOYMENT: "apps/v1",
    Kind.POD_DISRUPTION_BUDGET: "policy/v1",
}


def url(identity: Identity) -> str:
    """Where the model answers, inside the cluster."""
    return f"http://{identity.name}.{identity.namespace}.svc"


def children(identity: Identity, desired: Desired, release: Release) -> dict[Kind, Manifest]:
    """Every object that should exist for this model, without its hash annotation."""
    found = {
        Kind.SERVICE_ACCOUNT: service_account(identity),
        Kind.NETWORK_POLICY: network_policy(identity, desired, release),
        Kind.SERVICE: service(identity),
        Kind.DEPLOYMENT: deployment(identity, desired, release),
    }
    if desired.replicas > 1:
        # With one replica a budget would only block the drain of its node.
        found[Kind.POD_DISRUPTION_BUDGET] = pod_disruption_budget(identity)
    return found


def seal(manifest: Manifest) -> Manifest:
    """The manifest with the annotation that says what was applied."""
    metadata = manifest["metadata"]
    annotations = metadata.get("annotations", {}) | {labels.APPLIED: digest(manifest)}
    return manifest | {"metadata": metadata | {"annotations": annotations}}


def child(kind: Kind, identity: Identity) -> Manifest:
    """What every child has: name, label, and the owner that takes it along when it goes."""
    return {
        "apiVersion": API_VERSIONS[kind],
        "kind": str(kind),
        "metadata": {
            "name": identity.name,
            "namespace": identity.namespace,
            "labels": {labels.MODEL: identity.name},
            "ownerReferences": [
                {
                    "apiVersion": f"{names.GROUP}/{names.VERSION}",
                    "kind": names.KIND,
                    "name": identity.name,
                    "uid": identity.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
    }


def service_account(identity: Identity) -> Manifest:
    return child(Kind.SERVICE_ACCOUNT, identity) | {"automountServiceAccountToken": False}


def service(identity: Identity) -> Manifest:
    return child(Kind.SERVICE, identity) | {
        "spec": {
            "type": "ClusterIP",
            "selector": {labels.MODEL: identity.name},
            "ports": [{"name": "http", "port": names.SERVICE_PORT, "protocol": "TCP", "targetPort": "http"}],
        }
    }


def network_policy(identity: Identity, desired: Desired, release: Release) -> Manifest:
    ports = [{"port": port, "protocol": "TCP"} for port in (names.HTTP_PORT, names.METRICS_PORT)]
    spec: Manifest = {
        "podSelector": {"matchLabels": {labels.MODEL: identity.name}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": ports}],
    }
    if egress := sources.supply(desired, release).egress:
        # An empty list says the same as none, but the API server drops it and drift would be seen for ever.
        spec["egress"] = list(egress)
    return child(Kind.NETWORK_POLICY, identity) | {"spec": spec}


def pod_disruption_budget(identity: Identity) -> Manifest:
    return child(Kind.POD_DISRUPTION_BUDGET, identity) | {
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {labels.MODEL: identity.name}}}
    }


def deployment(identity: Identity, desired: Desired, release: Release) -> Manifest:
    """One Deployment; a new revision rolls over by surge, and a pod goes only when its successor is ready."""
    revision = revision_of(desired, release)
    selector = {labels.MODEL: identity.name}
    return child(Kind.DEPLOYMENT, identity) | {
        "spec": {
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": selector | {labels.REVISION: revision}},
                "spec": pod_spec(identity, desired, release, revision),
            },
        }
    }


def pod_spec(identity: Identity, desired: Desired, release: Release, revision: str) -> Manifest:
    supply = sources.supply(desired, release)
    spec: Manifest = {
        "serviceAccountName": identity.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": DRAIN_SECONDS + math.ceil(desired.timeout) + 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [server(identity, desired, release, revision, supply.mount)],
        "volumes": [supply.volume],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {labels.MODEL: identity.name}},
            }
        ],
    }
    if supply.init_containers:
        spec["initContainers"] = list(supply.init_containers)
    if desired.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in desired.pull_secrets]
    if desired.node_selector:
        spec["nodeSelector"] = dict(desired.node_selector)
    if desired.tolerations:
        spec["tolerations"] = [
            {
                key: value
                for key, value in (
                    ("key", toleration.key),
                    ("operator", toleration.operator),
                    ("value", toleration.value),
                    ("effect", toleration.effect),
                    ("tolerationSeconds", toleration.seconds),
                )
                if value not in ("", None)
            }
            for toleration in desired.tolerations
        ]
    return spec


def server(identity: Identity, desired: Desired, release: Release, revision: str, mount: Manifest) -> Manifest:
    return {
        "name": names.SERVER_CONTAINER,
        "image": image(desired, release),
        "imagePullPolicy": release.pull_policy,
        "env": environment(identity, desired, revision),
        "ports": [
            {"name": "http", "containerPort": names.HTTP_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": names.METRICS_PORT, "protocol": "TCP"},
        ],
        # The listener is up long before the model is: liveness must not wait for it.
        "startupProbe": probe("/v2/health/live", period=1, failures=120),
        "livenessProbe": probe("/v2/health/live", period=10, failures=3, timeout=5),
        "readinessProbe": probe("/v2/health/ready", period=1, failures=3, timeout=2),
        "resources": {
            name: amounts
            for name, amounts in (("requests", dict(desired.requests)), ("limits", dict(desired.limits)))
            if amounts
        },
        "securityContext": sources.RESTRICTED,
        "terminationMessagePath": names.TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [mount],
    }


def environment(identity: Identity, desired: Desired, revision: str) -> list[Manifest]:
    found = {
        names.ENV_MODEL_NAME: identity.name,
        names.ENV_REVISION: revision,
        names.ENV_BUNDLE_DIR: names.BUNDLE_DIR,
        names.ENV_ALLOW_PICKLE: "true" if desired.allow_pickle else "false",
        names.ENV_DRAIN_SECONDS: str(DRAIN_SECONDS),
        names.ENV_TIMEOUT_SECONDS: f"{desired.timeout:g}",
    }
    if desired.digest:
        found[names.ENV_BUNDLE_DIGEST] = desired.digest
    return [{"name": name, "value": value} for name, value in (*found.items(), *desired.env)]


def probe(path: str, *, period: int, failures: int, timeout: int = 1) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }
