"""The objects that serve a model: makers that return plain data, one for each kind.

Replicas stand in none of them: they move by `/scale`, because leaving them out of a
later apply would reset them to 1.
"""

import math
from collections.abc import Iterable, Mapping

from tidegate_contract import labels, names
from tidegate_operator.core import sources
from tidegate_operator.core.revision import digest, name_of, request_of
from tidegate_operator.core.types import Content, Desired, Identity, Kind, Manifest, Ref, Release, Version

DRAIN_SECONDS = 5
"""How long a pod serves on after SIGTERM: until the last kube-proxy has taken it out."""

NOWHERE = "192.0.2.1/32"
"""An address of RFC 5737 that leads nowhere."""

RESOLVER_TRIES = 1_000_000
"""A Job that gives up would have to be made anew; the kubelet's own pauses between tries grow to five minutes."""

API_VERSIONS: Mapping[Kind, str] = {
    Kind.SERVICE_ACCOUNT: "v1",
    Kind.ROLE_BINDING: "rbac.authorization.k8s.io/v1",
    Kind.NETWORK_POLICY: "networking.k8s.io/v1",
    Kind.SERVICE: "v1",
    Kind.JOB: "batch/v1",
    Kind.DEPLOYMENT: "apps/v1",
    Kind.POD_DISRUPTION_BUDGET: "policy/v1",
}


def url(identity: Identity) -> str:
    """Where the model answers, inside the cluster."""
    return f"http://{identity.name}.{identity.namespace}.svc"


def children(
    identity: Identity,
    desired: Desired,
    versions: tuple[Version, ...],
    resolve: Content | None,
    replicas: int,
    release: Release,
    port: int | None = None,
) -> dict[Ref, Manifest]:
    """Every object that should exist for this model, without its hash annotation.

    `versions` have pods; `resolve` is what a Job should read the digest of, None if there is nothing to read; `port` is
    that of the routers where requests come through them, None where they go to the pods straight.
    """
    known = [(version, version.content) for version in versions if version.content]
    sources_read = tuple(found for found in (*(content for _, content in known), resolve) if found)
    made = [service_account(identity)]
    if sources_read:
        made.append(network_policy(identity, sources_read, release))
    made.append(service(identity, port))
    if resolve:
        made.append(resolver(identity, desired, resolve, release))
    for version, content in known:
        if version.deployment != identity.name:
            made.append(endpoints(identity, version.revision))
        made.append(deployment(identity, desired, version, content, release))
    if replicas > 1:
        # With one replica a budget would only block the drain of its node.
        made.append(pod_disruption_budget(identity))
    return {(Kind(manifest["kind"]), manifest["metadata"]["name"]): manifest for manifest in made}


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
            "ownerReferences": [owner(identity) | {"controller": True, "blockOwnerDeletion": False}],
        },
    }


def owner(identity: Identity) -> Manifest:
    """A reference to the ModelDeployment, with which what has no other owner goes too."""
    return {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": names.KIND,
        "name": identity.name,
        "uid": identity.uid,
    }


def service_account(identity: Identity) -> Manifest:
    return child(Kind.SERVICE_ACCOUNT, identity) | {"automountServiceAccountToken": False}


def service(identity: Identity, port: int | None = None) -> Manifest:
    """The model's address: its listener in the routers, or, without a port of theirs, its pods."""
    return child(Kind.SERVICE, identity) | {
        "spec": {
            "type": "ClusterIP",
            "selector": {labels.COMPONENT: labels.ROUTER} if port else servers(identity),
            "ports": [{"name": "http", "port": names.SERVICE_PORT, "protocol": "TCP", "targetPort": port or "http"}],
        }
    }


def version_name(identity: Identity, revision: str) -> str:
    """What the Deployment and the Service of one version are called."""
    return f"{identity.name}-{revision}"


def revision_in(name: str, model: str) -> str:
    """Of which version a Deployment of this name is: the inverse of `version_name`."""
    return name.removeprefix(f"{model}-")


def endpoints(identity: Identity, revision: str) -> Manifest:
    """A Service without an address, for the sake of its EndpointSlices: they tell routers of a version's pods."""
    made = child(Kind.SERVICE, identity)
    of_version = {labels.MODEL: identity.name, labels.REVISION: revision}
    metadata = made["metadata"] | {"name": version_name(identity, revision), "labels": of_version}
    ports = [
        {"name": name, "port": port, "protocol": "TCP", "targetPort": name}
        for name, port in (("http", names.HTTP_PORT), ("metrics", names.METRICS_PORT))
    ]
    selected = servers(identity) | {labels.REVISION: revision}
    return made | {
        "metadata": metadata,
        "spec": {"type": "ClusterIP", "clusterIP": "None", "selector": selected, "ports": ports},
    }


def servers(identity: Identity) -> dict[str, str]:
    """The labels that select a model's serving pods, and not those of its resolver."""
    return {labels.MODEL: identity.name, labels.COMPONENT: labels.SERVER}


def selector(identity: Identity) -> str:
    """The same, as `status.selector` says it to an autoscaler."""
    return ",".join(f"{key}={value}" for key, value in servers(identity).items())


def network_policy(identity: Identity, read: Iterable[Content], release: Release) -> Manifest:
    """For every pod of the model: in to the server's ports, out to where the bundles are, and nothing else."""
    ports = [{"port": port, "protocol": "TCP"} for port in (names.HTTP_PORT, names.METRICS_PORT)]
    spec: Manifest = {
        "podSelector": {"matchLabels": {labels.MODEL: identity.name}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": ports}],
    }
    egress: list[Manifest] = []
    for content in read:
        egress += [rule for rule in sources.supply(content, release).egress if rule not in egress]
    # Said even where nothing is allowed, or others could add to it unseen; an empty list would not be kept.
    spec["egress"] = egress or [{"to": [{"ipBlock": {"cidr": NOWHERE}}]}]
    return child(Kind.NETWORK_POLICY, identity) | {"spec": spec}


def pod_disruption_budget(identity: Identity) -> Manifest:
    return child(Kind.POD_DISRUPTION_BUDGET, identity) | {
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": servers(identity)}}
    }


def resolver_name(identity: Identity, request: str) -> str:
    return f"{identity.name}-resolve-{request}"


def resolver(identity: Identity, desired: Desired, content: Content, release: Release) -> Manifest:
    """The Job that reads the bundle once, before any revision of it exists, and says which digest it has."""
    request = request_of(desired)
    made = child(Kind.JOB, identity)
    supply = sources.supply(content, release)
    spec = pod_base(identity, desired, content, supply) | {
        # In one pod, again and again: it ends when the bundle could be read, or when nobody wants it any more.
        "restartPolicy": "OnFailure",
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": names.RESOLVE_CONTAINER,
                "image": content.tools or release.tools_image,
                "imagePullPolicy": release.pull_policy,
                "args": ["-m", "tidegate_server.resolve", names.BUNDLE_DIR],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"memory": sources.TOOLS_MEMORY},
                },
                "securityContext": sources.RESTRICTED,
                "terminationMessagePath": names.TERMINATION_LOG,
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [supply.mount],
            }
        ],
    }
    found = {labels.MODEL: identity.name, labels.COMPONENT: labels.RESOLVER, labels.REQUEST: request}
    metadata = made["metadata"] | {"name": resolver_name(identity, request), "labels": found}
    template = {"metadata": {"labels": found}, "spec": spec}
    return made | {"metadata": metadata, "spec": {"backoffLimit": RESOLVER_TRIES, "template": template}}


def deployment(identity: Identity, desired: Desired, version: Version, content: Content, release: Release) -> Manifest:
    """One Deployment; what changes in it rolls over by surge, and a pod goes only when its successor is ready."""
    of_version = servers(identity) | {labels.REVISION: version.revision}
    made: Manifest = {
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": 600,
        # The one that all versions share must find the pods of all of them.
        "selector": {"matchLabels": servers(identity) if version.deployment == identity.name else of_version},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": {"labels": of_version}, "spec": pod_spec(identity, desired, content, release)},
    }
    found = child(Kind.DEPLOYMENT, identity)
    return found | {
        "metadata": found["metadata"] | {"name": version.deployment},
        "spec": made | ({"paused": True} if version.held else {}),
    }


def pod_spec(identity: Identity, desired: Desired, content: Content, release: Release) -> Manifest:
    supply = sources.supply(content, release)
    return pod_base(identity, desired, content, supply) | {
        "terminationGracePeriodSeconds": DRAIN_SECONDS + math.ceil(content.timeout) + 5,
        "containers": [server(identity, content, release, supply.mount)],
        "topologySpreadConstraints": [spread(servers(identity))],
    }


def spread(selected: dict[str, str]) -> Manifest:
    """On as many nodes as there are, of the pods with these labels."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selected},
    }


def pod_base(identity: Identity, desired: Desired, content: Content, supply: sources.Supply) -> Manifest:
    """What every pod of a model has, whatever runs in it: its account, its bundle, its place."""
    spec: Manifest = {
        "serviceAccountName": identity.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": sources.RESTRICTED_POD,
        "volumes": [supply.volume],
    }
    if supply.init_containers:
        spec["initContainers"] = list(supply.init_containers)
    if content.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in content.pull_secrets]
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


def server(identity: Identity, content: Content, release: Release, mount: Manifest) -> Manifest:
    return {
        "name": names.SERVER_CONTAINER,
        "image": content.image,
        "imagePullPolicy": release.pull_policy,
        "env": environment(identity, content),
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
            for name, amounts in (("requests", dict(content.requests)), ("limits", dict(content.limits)))
            if amounts
        },
        "securityContext": sources.RESTRICTED,
        "terminationMessagePath": names.TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [mount],
    }


def environment(identity: Identity, content: Content) -> list[Manifest]:
    found = {
        names.ENV_MODEL_NAME: identity.name,
        names.ENV_REVISION: name_of(content),
        names.ENV_BUNDLE_DIR: names.BUNDLE_DIR,
        names.ENV_ALLOW_PICKLE: "true" if content.allow_pickle else "false",
        names.ENV_DRAIN_SECONDS: str(DRAIN_SECONDS),
        names.ENV_TIMEOUT_SECONDS: f"{content.timeout:g}",
    }
    if content.digest:
        found[names.ENV_BUNDLE_DIGEST] = content.digest
    told = [{"name": name, "value": value} for name, value in (*found.items(), *content.env)]
    return [variable(names.ENV_POD_UID, "metadata.uid"), *told]


def variable(name: str, field: str) -> Manifest:
    """A variable of the environment that says a field of the pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": field}}}


def probe(path: str, *, period: int, failures: int, timeout: int = 1, port: str | int = "http") -> Manifest:
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }
