"""The few calls that starting a cluster makes to its API server, with the standard library alone."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .layout import METRICS_PORT, METRICS_SERVICE, Slot


class Api:
    """Speaks as admin."""

    def __init__(self, slot: Slot, timeout: float = 5) -> None:
        self._address = (str(slot.node_ip), urlsplit(slot.server).port)
        self._timeout = timeout
        self._tls = ssl.create_default_context(cafile=str(slot.pki / "ca.crt"))
        self._tls.load_cert_chain(slot.pki / "admin.crt", slot.pki / "admin.key")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Status and answer; raises OSError or HTTPException when nobody answers."""
        host, port = self._address
        connection = http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._tls)
        try:
            kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
            payload = json.dumps(body).encode() if body is not None else None
            connection.request(method, path, payload, {"Content-Type": kind, "Accept": "application/json"})
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        try:
            return response.status, json.loads(data)
        except ValueError:
            return response.status, data.decode(errors="replace")

    def ready(self) -> bool:
        try:
            return self.call("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def apply(self, path: str, body: dict[str, Any]) -> None:
        status, answer = self.call("PATCH", f"{path}?fieldManager=tidegate-cluster&force=true", body)
        if status not in (200, 201):
            raise OSError(f"{path}: {status} {answer}")


def https_ok(url: str, ca: Path, timeout: float = 1) -> bool:
    """Whether an unauthenticated GET is answered with 200."""
    parts = urlsplit(url)
    try:
        tls = ssl.create_default_context(cafile=str(ca))
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=tls)
        try:
            connection.request("GET", parts.path)
            return connection.getresponse().status == 200
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False


RBAC = "rbac.authorization.k8s.io"

Objects = dict[str, dict[str, Any]]
"""Paths, and the objects to apply there."""


def dns_objects(slot: Slot) -> Objects:
    """CoreDNS runs as a process of the node; these make it the Service that pods ask."""
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    read = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
    ]
    return {
        **_role("system:coredns", rules),
        **_binding("system:coredns", "system:coredns", "system:coredns"),
        **_service(slot, "kube-dns", labels, {"clusterIP": str(slot.dns_ip), "ports": ports}, ports),
    }


def metrics_objects(slot: Slot, ca: bytes) -> Objects:
    """metrics-server runs as a process of the node; these let it read, and lead the API server to it.

    Its rights are those of its own manifests. `ca` is the certificate of the authority that signed its own.
    """
    user = "system:metrics-server"
    rules = [
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
    ]
    service = {"name": METRICS_SERVICE, "namespace": "kube-system"}
    port = {"name": "https", "port": 443, "protocol": "TCP"}
    return {
        **_role(user, rules),
        **_binding(user, user, user),
        **_binding(f"{METRICS_SERVICE}:system:auth-delegator", "system:auth-delegator", user),
        **_service(slot, METRICS_SERVICE, {}, {"ports": [port]}, [port | {"port": METRICS_PORT}]),
        "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io": {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": service,
                "caBundle": base64.b64encode(ca).decode(),
            },
        },
    }


def _role(name: str, rules: list[dict[str, Any]]) -> Objects:
    document = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
    return {f"/apis/{RBAC}/v1/clusterroles/{name}": document}


def _binding(name: str, role: str, user: str) -> Objects:
    document = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    }
    return {f"/apis/{RBAC}/v1/clusterrolebindings/{name}": document}


def _service(
    slot: Slot, name: str, labels: dict[str, str], spec: dict[str, Any], listening: list[dict[str, Any]]
) -> Objects:
    """A Service of kube-system without a selector: what it leads to is listening on the node's own address."""
    return {
        f"/api/v1/namespaces/kube-system/services/{name}": {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
        },
        f"/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/{name}-node": {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-node", "labels": labels | {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [str(slot.node_ip)], "conditions": {"ready": True}}],
            "ports": listening,
        },
    }
