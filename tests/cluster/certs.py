"""The cluster's certificates, made with the openssl command line (the standard library cannot sign any)."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from .layout import METRICS_SERVICE, Slot
from .shell import run, write_atomically

DAYS = "3650"
CONFIG = "[req]\ndistinguished_name = dn\n[dn]\n"  # openssl's default configuration would make every certificate a CA


@dataclass(frozen=True)
class Certificate:
    """A certificate to be made: who it names, in which groups, for which addresses, signed by which authority."""

    file: str
    user: str
    groups: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    authority: str = "ca"

    @property
    def subject(self) -> str:
        return "".join(f"/O={group}" for group in self.groups) + f"/CN={self.user}"


def certificates(slot: Slot) -> list[Certificate]:
    api_names = (
        "DNS:kubernetes",
        "DNS:kubernetes.default",
        "DNS:kubernetes.default.svc",
        "DNS:kubernetes.default.svc.cluster.local",
        "DNS:localhost",
        f"IP:{slot.api_service_ip}",
        f"IP:{slot.node_ip}",
        "IP:127.0.0.1",
    )
    metrics_names = (f"DNS:{METRICS_SERVICE}.kube-system.svc", f"IP:{slot.node_ip}")
    return [
        Certificate("apiserver", "kube-apiserver", names=api_names),
        Certificate("apiserver-kubelet", "kube-apiserver-kubelet-client", ("system:masters",)),
        Certificate("front-proxy", "front-proxy-client", authority="front-proxy-ca"),
        Certificate("kubelet-server", slot.name, names=(f"DNS:{slot.name}", f"IP:{slot.node_ip}")),
        Certificate("kubelet", f"system:node:{slot.name}", ("system:nodes",)),
        Certificate("controller-manager", "system:kube-controller-manager"),
        Certificate("scheduler", "system:kube-scheduler"),
        Certificate("proxy", "system:kube-proxy"),
        Certificate("coredns", "system:coredns"),
        Certificate("metrics-server", "system:metrics-server", names=metrics_names),
        Certificate("admin", "admin", ("system:masters",)),
    ]


def make(slot: Slot) -> None:
    """Make what is missing; idempotent."""
    pki = slot.pki
    pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = pki / "openssl.cnf"
    config.write_text(CONFIG)
    for authority in ("ca", "front-proxy-ca"):
        _sign(config, pki / authority, f"/CN=tidegate-{authority}", ["basicConstraints=critical,CA:TRUE"], None)
    for cert in certificates(slot):
        extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"]
        if cert.names:
            extensions.append("subjectAltName=" + ",".join(cert.names))
        _sign(config, pki / cert.file, cert.subject, extensions, pki / cert.authority)
    if not (pki / "service-account.key").exists():
        run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", pki / "service-account.key"])


def _sign(config: Path, target: Path, subject: str, extensions: list[str], authority: Path | None) -> None:
    crt, key = target.with_name(target.name + ".crt"), target.with_name(target.name + ".key")
    if crt.exists():
        return
    partial = crt.with_suffix(".part")
    argv: list[str | Path] = ["openssl", "req", "-x509", "-config", config, "-newkey", "ec"]
    argv += ["-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", DAYS, "-subj", subject]
    argv += ["-keyout", key, "-out", partial]
    for extension in extensions:
        argv += ["-addext", extension]
    if authority:
        argv += [
            "-CA",
            authority.with_name(authority.name + ".crt"),
            "-CAkey",
            authority.with_name(authority.name + ".key"),
        ]
    run(argv)
    partial.replace(crt)


def kubeconfig(slot: Slot, user: str) -> str:
    """A kubeconfig that carries its certificates (JSON, which is YAML)."""

    def data(file: str) -> str:
        return base64.b64encode((slot.pki / file).read_bytes()).decode()

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": slot.name, "cluster": {"server": slot.server, "certificate-authority-data": data("ca.crt")}}
        ],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": data(f"{user}.crt"), "client-key-data": data(f"{user}.key")},
            }
        ],
        "contexts": [{"name": slot.name, "context": {"cluster": slot.name, "user": user}}],
        "current-context": slot.name,
    }
    return json.dumps(document, indent=1) + "\n"


def write_kubeconfigs(slot: Slot) -> None:
    for user in ("kubelet", "controller-manager", "scheduler", "proxy", "coredns", "metrics-server"):
        write_atomically(slot.config / f"{user}.kubeconfig", kubeconfig(slot, user), 0o600)
    write_atomically(slot.kubeconfig, kubeconfig(slot, "admin"), 0o600)
