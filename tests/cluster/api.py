"""The few calls that starting a cluster makes to its API server, with the standard library alone."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .layout import Slot


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


def dns_objects(slot: Slot) -> dict[str, dict[str, Any]]:
    """CoreDNS runs as a process of the node; these make it the Service that pods ask. Paths and objects to apply."""
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    read = ["list", "watch"]
    rules = [
        {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
    ]
    rbac = "rbac.authorization.k8s.io"
    return {
        f"/apis/{rbac}/v1/clusterroles/system:coredns": {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "system:coredns"},
            "rules": rules,
        },
        f"/apis/{rbac}/v1/clusterrolebindings/system:coredns": {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": "system:coredns"}],
        },
        "/api/v1/namespaces/kube-system/services/kube-dns": {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "labels": labels},
            "spec": {"clusterIP": str(slot.dns_ip), "ports": ports},
        },
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns-node": {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "kube-dns-node", "labels": {**labels, "kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [str(slot.node_ip)], "conditions": {"ready": True}}],
            "ports": [{"name": p["name"], "port": p["port"], "protocol": p["protocol"]} for p in ports],
        },
    }
