"""How each component is started. Pure: folders and ports in, command lines out."""

import json
from dataclasses import dataclass
from pathlib import Path

from plane import certs


@dataclass(frozen=True)
class Ports:
    etcd: int
    etcd_peer: int
    api: int
    controllers: int


@dataclass(frozen=True)
class Places:
    """Where everything of one control plane lies."""

    folder: Path

    @property
    def pki(self) -> Path:
        return self.folder / "pki"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    @property
    def audit_policy(self) -> Path:
        return self.folder / "audit.json"

    @property
    def account(self) -> Path:
        """What a pod of the operator would find of its service account."""
        return self.folder / "account"

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens.csv"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def kubeconfig(self, user: str) -> Path:
        return self.folder / f"{user.replace(':', '-')}.kubeconfig"


def audit_policy() -> str:
    """Everything that the operator asks for, and nothing else: the log is for counting."""
    document = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "users": [certs.OPERATOR]}, {"level": "None"}],
    }
    return json.dumps(document)


def etcd(places: Places, ports: Ports) -> list[str]:
    client, peer = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peer}"
    return [
        f"--data-dir={places.folder}/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",  # the data end with the plane; a slow disk should not be measured
        "--quota-backend-bytes=4294967296",
        "--log-level=warn",
    ]


def apiserver(places: Places, ports: Ports) -> list[str]:
    pki = places.pki
    return [
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        "--etcd-compaction-interval=0",  # whoever tests what happens then says when
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={ports.api}",
        "--endpoint-reconciler-type=none",  # no loopback address can be the kubernetes Service's
        "--service-cluster-ip-range=10.128.0.0/14",
        f"--cert-dir={places.folder}/apiserver",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--token-auth-file={places.tokens}",
        f"--service-account-key-file={pki}/service-account.key",
        f"--service-account-signing-key-file={pki}/service-account.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=RBAC",
        "--profiling=false",
        "--shutdown-delay-duration=0s",
        f"--audit-policy-file={places.audit_policy}",
        f"--audit-log-path={places.audit_log}",
        "--audit-log-mode=blocking",
        "--audit-log-maxsize=10000",  # MiB: it is never rotated
    ]


def controller_manager(places: Places, ports: Ports) -> list[str]:
    pki, kubeconfig = places.pki, places.kubeconfig(certs.CONTROLLERS)
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.controllers}",
        f"--cert-dir={places.folder}/controllers",
        f"--root-ca-file={pki}/ca.crt",
        f"--service-account-private-key-file={pki}/service-account.key",
        f"--flex-volume-plugin-dir={places.folder}/volume-plugins",
        "--use-service-account-credentials=true",
        "--kube-api-qps=500",  # the usual 20 a second would be measured instead of the operator
        "--kube-api-burst=1000",
        "--leader-elect=false",
        "--profiling=false",
    ]
