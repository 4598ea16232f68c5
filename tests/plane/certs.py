"""The certificates and kubeconfigs of a control plane on loopback, made with the openssl command line."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from cluster.shell import run

CONFIG = "[req]\ndistinguished_name = dn\n[dn]\n"  # openssl's default configuration would make every certificate a CA
LOOPBACK = "DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1"

ADMIN = "admin"
CONTROLLERS = "system:kube-controller-manager"
OPERATOR = "tidegate-operator"
USERS = {ADMIN: "/O=system:masters/CN=admin", CONTROLLERS: f"/CN={CONTROLLERS}", OPERATOR: f"/CN={OPERATOR}"}
"""Who may come in, and the subject of the certificate."""


def make(folder: Path) -> None:
    """An authority, the API server's certificate, one for each of USERS, and the key of the service accounts."""
    folder.mkdir(mode=0o700)
    (folder / "openssl.cnf").write_text(CONFIG)
    _sign(folder, "ca", "/CN=plane-ca", ["basicConstraints=critical,CA:TRUE"], signed=False)
    _sign(folder, "apiserver", "/CN=kube-apiserver", [f"subjectAltName={LOOPBACK}"])
    for user, subject in USERS.items():
        _sign(folder, _file(user), subject, [])
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "service-account.key"])


def pair(folder: Path, user: str) -> tuple[Path, Path]:
    """The files of a user's certificate and key."""
    return folder / f"{_file(user)}.crt", folder / f"{_file(user)}.key"


def kubeconfig(folder: Path, user: str, server: str) -> str:
    """A kubeconfig that carries its certificates (JSON, which is YAML)."""

    def data(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    crt, key = pair(folder, user)
    return _kubeconfig(
        {"server": server, "certificate-authority-data": data(folder / "ca.crt")},
        {"client-certificate-data": data(crt), "client-key-data": data(key)},
    )


def plain_kubeconfig(server: str) -> str:
    """A kubeconfig without any credentials, for a proxy that has them itself."""
    return _kubeconfig({"server": server}, {})


def _kubeconfig(cluster: dict[str, str], user: dict[str, str]) -> str:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "plane", "cluster": cluster}],
        "users": [{"name": "plane", "user": user}],
        "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": "plane"}}],
        "current-context": "plane",
    }
    return json.dumps(document, indent=1) + "\n"


def _file(user: str) -> str:
    return user.replace(":", "-")


def _sign(folder: Path, name: str, subject: str, extensions: Sequence[str], *, signed: bool = True) -> None:
    argv: list[str | Path] = ["openssl", "req", "-x509", "-config", folder / "openssl.cnf", "-newkey", "ec"]
    argv += ["-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", subject]
    argv += ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"]
    if signed:
        argv += ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key"]
        extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth", *extensions]
    for extension in extensions:
        argv += ["-addext", extension]
    run(argv)
