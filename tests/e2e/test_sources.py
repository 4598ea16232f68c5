"""Every source on the real cluster: it serves, its credentials are used, what is missing is named and waited for."""

import base64
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import models
from deployed import LOCAL, SYSTEM, Address, Pushed, first_answer, model, until_answer, until_ready, until_reason
from facts import Told
from kube import Kube, Object, conditions, message
from tidegate_server.offline.push import push
from tidegate_server.offline.registry import Login

LOCAL_ONLY = pytest.mark.skipif(not LOCAL, reason="needs the registry and the volumes of the local cluster")


def secret(namespace: str, name: str, data: dict[str, str], type: str = "Opaque") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": type,
        "stringData": data,
    }


@LOCAL_ONLY
def test_a_private_registry_wants_credentials_and_the_model_waits_for_them(
    kube: Kube, namespace: str, good: Pushed, address: Callable[..., Address], told: Told
) -> None:
    registry, user = os.environ["CLUSTER_PRIVATE_REGISTRY"], os.environ["CLUSTER_PRIVATE_REGISTRY_USER"]
    password = os.environ["CLUSTER_PRIVATE_REGISTRY_PASSWORD"]
    sent = push(good.bundle.directory, f"{registry}/{namespace}/small:1", plain_http=True, login=Login(user, password))
    server = {"template": {"imagePullSecrets": [{"name": "login"}]}}
    kube.apply(model(namespace, {"uri": sent.uri, "digest": good.digest}, server=server))
    told("ArtifactPullFailed")
    login = {"auths": {registry: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}}}
    kube.apply(secret(namespace, "login", {".dockerconfigjson": json.dumps(login)}, "kubernetes.io/dockerconfigjson"))
    until_ready(kube, namespace, seconds=120)
    assert first_answer(address(namespace), [-1.5, 1.5]) == [0, 1]


def test_a_tag_that_moves_is_pulled_again(
    kube: Kube,
    namespace: str,
    good: Pushed,
    better: Pushed,
    pushed: Callable[[str, models.Bundle], Pushed],
    address: Callable[..., Address],
) -> None:
    """A node that has an old image under a tag must not serve it under the new digest."""
    for version, label in ((good, 1), (better, 0)):
        moved = pushed(namespace, version.bundle)
        kube.apply(model(namespace, {"uri": moved.tag, "digest": moved.digest}))
        until_ready(kube, namespace)
        until_answer(address(namespace), [0.4], [label])


@LOCAL_ONLY
def test_a_claim_serves_and_what_is_missing_is_named(
    kube: Kube, namespace: str, good: Pushed, address: Callable[..., Address], told: Told
) -> None:
    folder = Path(os.environ["CLUSTER_VOLUMES"]) / namespace
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    kube.apply(model(namespace, {"uri": "pvc://models/small/v1", "digest": good.digest}))
    told("ClaimNotFound")
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadOnlyMany"],
            "hostPath": {"path": str(folder)},
            "storageClassName": "",
            "claimRef": {"namespace": namespace, "name": "models"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": namespace},
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "volumeName": namespace,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    try:
        kube.apply(volume, claim)
        found = until_reason(kube, namespace, "BundleNotFound")
        assert "pvc://models/small/v1" in message(found, "Degraded")
        shutil.copytree(good.bundle.directory, folder / "small" / "v1", dirs_exist_ok=True)
        until_ready(kube, namespace, seconds=120)
        assert first_answer(address(namespace), [-1.5, 1.5]) == [0, 1]
    finally:
        kube.delete("persistentvolume", namespace, wait=False)
        shutil.rmtree(folder)


FILE_SERVER = """
import http.server, os, ssl
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") != "Bearer " + os.environ["TOKEN"]:
            return self.send_error(401)
        return super().do_GET()
server = http.server.ThreadingHTTPServer(("", 8443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
os.chdir("/files")
server.serve_forever()
"""


def certificate(folder: Path, host: str) -> tuple[str, str]:
    """A self-signed certificate, which is its own authority, and its key."""
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={host}",
            "-addext",
            f"subjectAltName=DNS:{host}",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return (folder / "cert.pem").read_text(), (folder / "key.pem").read_text()


def file_server(namespace: str, image: str, tls: tuple[str, str], archive: bytes) -> list[Object]:
    """A pod and its Service that give one file over HTTPS to whoever shows the token `right`."""
    meta = {"name": "files", "namespace": namespace}
    mounts = {"script": {"configMap": {"name": "files"}}, "files": {"configMap": {"name": "archive"}}}
    volumes = [
        {"name": name} | volume for name, volume in (mounts | {"tls": {"secret": {"secretName": "tls"}}}).items()
    ]
    container = {
        "name": "files",
        "image": image,
        "command": ["python", "/script/server.py"],
        "env": [{"name": "TOKEN", "value": "right"}],
        "ports": [{"containerPort": 8443}],
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in ("script", "files", "tls")],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return [
        secret(namespace, "tls", {"tls.crt": tls[0], "tls.key": tls[1]}),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"server.py": FILE_SERVER}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta | {"name": "archive"},
            "binaryData": {"small.tar.gz": base64.b64encode(archive).decode()},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": meta | {"labels": {"app": "files"}},
            "spec": {
                "automountServiceAccountToken": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65532,
                    "fsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container],
                "volumes": volumes,
                "terminationGracePeriodSeconds": 0,
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": {"app": "files"}, "ports": [{"port": 8443}]},
        },
    ]


def test_an_https_source_with_a_private_authority_and_a_token(
    kube: Kube, namespace: str, good: Pushed, tmp_path: Path, address: Callable[..., Address], told: Told
) -> None:
    operator = kube.get("deployment", "tidegate-operator", SYSTEM)
    variables = operator["spec"]["template"]["spec"]["containers"][0]["env"]
    image = next(variable["value"] for variable in variables if variable["name"] == "TIDEGATE_TOOLS_IMAGE")
    host = f"files.{namespace}.svc"
    tls = certificate(tmp_path, host)
    assert ssl.PEM_cert_to_DER_cert(tls[0])
    archive = models.archive(good.bundle, tmp_path / "small.tar.gz").read_bytes()
    kube.apply(*file_server(namespace, image, tls, archive))
    kube.run("wait", "pod/files", "-n", namespace, "--for=condition=Ready", "--timeout=60s")
    uri = f"https://{host}:8443/small.tar.gz"

    kube.apply(model(namespace, {"uri": uri, "digest": good.digest, "secretName": "login"}))
    told("SecretNotFound")
    found = kube.get("mdep", "small", namespace)
    assert conditions(found)["ArtifactAvailable"] == ("False", "SecretNotFound")

    kube.apply(secret(namespace, "login", {"token": "wrong", "ca.crt": tls[0]}))
    until_reason(kube, namespace, "Unauthorized", 90)

    kube.apply(secret(namespace, "login", {"token": "right", "ca.crt": tls[0]}))
    until_ready(kube, namespace, seconds=120)
    assert first_answer(address(namespace), [-1.5, 1.5]) == [0, 1]

    kube.apply(model(namespace, {"uri": uri, "digest": "sha256:" + "0" * 64, "secretName": "login"}))
    until_reason(kube, namespace, "DigestMismatch", 90)
    kube.apply(model(namespace, {"uri": uri + ".gone", "secretName": "login"}))
    until_reason(kube, namespace, "FetchFailed", 90)
    assert first_answer(address(namespace), [-1.5, 1.5]) == [0, 1]
