"""The configuration of every component, as text. Pure: a slot and the places of the programs in, files out.

JSON is YAML, so everything that wants YAML gets JSON. What a setting is for is said where the default would not do.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .layout import API_PORT, KUBELET_PORT, METRICS_PORT, PRIVATE_REGISTRY_PORT, REGISTRY_PORT, REGISTRY_USER, Slot

PAUSE_IMAGE = "localhost/tidegate-pause:1"
# bcrypt of REGISTRY_PASSWORD, made once: the standard library cannot.
HTPASSWD = REGISTRY_USER + ":$2b$05$6RYbSnTCWC5bYDuq7rOtw.6X2QXxjewgEk3/kIRbkXPCOtUA8StFO\n"


@dataclass(frozen=True)
class Programs:
    """Where the programs are."""

    kube: Path
    containerd: Path
    coredns: Path
    metrics: Path
    registry: Path
    runc: Path
    cni: Path


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"


def files(slot: Slot, programs: Programs) -> dict[Path, str]:
    """Every file that the components read, apart from certificates and kubeconfigs."""
    config = slot.config
    found = {
        config / "audit.yaml": _json(audit_policy()),
        config / "kubelet.yaml": _json(kubelet(slot)),
        config / "proxy.yaml": _json(proxy(slot)),
        config / "containerd.toml": containerd(slot, programs),
        config / "cni" / "10-tidegate.conflist": _json(cni(slot)),
        config / "resolv.conf": f"nameserver {slot.dns_ip}\n",
        config / "Corefile": corefile(slot),
        config / "htpasswd": HTPASSWD,
        config / "registry.yaml": _json(registry(slot, REGISTRY_PORT, "registry", None)),
        config / "registry-private.yaml": _json(
            registry(slot, PRIVATE_REGISTRY_PORT, "registry-private", config / "htpasswd")
        ),
    }
    for address in (slot.registry, slot.private_registry):
        hosts = (
            f'server = "http://{address}"\n[host."http://{address}"]\n  capabilities = ["pull", "resolve", "push"]\n'
        )
        found[config / "certs.d" / address / "hosts.toml"] = hosts
    return found


def audit_policy() -> dict[str, Any]:
    """All that service accounts ask for, reads too, and all that anybody changes, without the node's own chatter."""
    chatter = ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"]
    chatter += ["system:coredns", "system:metrics-server"]
    rules: list[dict[str, Any]] = [
        {"level": "None", "nonResourceURLs": ["/healthz*", "/readyz*", "/livez*", "/version", "/metrics"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None", "users": chatter, "verbs": ["get", "list", "watch"]},
        {"level": "None", "userGroups": ["system:nodes"], "verbs": ["get", "list", "watch"]},
        {"level": "None", "userGroups": ["system:nodes"], "resources": [{"group": "coordination.k8s.io"}]},
        {"level": "None", "users": ["system:apiserver"], "resources": [{"group": "coordination.k8s.io"}]},
        {"level": "Metadata"},
    ]
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}


def kubelet(slot: Slot) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(slot.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{slot.name}",
        "clusterDNS": [str(slot.dns_ip)],
        "clusterDomain": "cluster.local",
        "containerLogMaxFiles": 2,
        "containerLogMaxSize": "10Mi",
        "containerRuntimeEndpoint": f"unix://{slot.containerd_socket}",
        "cpuManagerPolicy": "none",
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,  # never: a nearly full disk must not remove an image between two tests
        "imageGCLowThresholdPercent": 99,
        "makeIPTablesUtilChains": False,  # no iptables needed
        "maxPods": 110,
        "oomScoreAdj": 0,  # a negative one needs CAP_SYS_RESOURCE
        "podLogsDir": str(slot.state / "pod-logs"),
        "port": KUBELET_PORT,
        "registryPullQPS": 0,
        "resolvConf": str(slot.config / "resolv.conf"),
        "serializeImagePulls": False,
        "shutdownGracePeriod": "0s",
        "tlsCertFile": str(slot.pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(slot.pki / "kubelet-server.key"),
        "volumePluginDir": str(slot.state / "volume-plugins"),
    }


def proxy(slot: Slot) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(slot.config / "proxy.kubeconfig")},
        "clusterCIDR": str(slot.pod_net),
        # The kernel's connection table is the machine's; none of its settings is ours.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "hostnameOverride": slot.name,
        "oomScoreAdj": 0,
    }


def cni(slot: Slot) -> dict[str, Any]:
    """ptp, not bridge: pod to pod goes through the node's routing, so Services work without br_netfilter."""
    plugin = {
        "type": "ptp",
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(slot.pod_net)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(slot.state / "cni"),
        },
    }
    return {"cniVersion": "1.0.0", "name": "tidegate", "plugins": [plugin]}


def containerd(slot: Slot, programs: Programs) -> str:
    return f"""version = 4
root = "{slot.state}/containerd"
state = "{slot.run}/containerd"
imports = []

[plugins."io.containerd.server.v1.grpc"]
  address = "{slot.containerd_socket}"
[plugins."io.containerd.server.v1.ttrpc"]
  address = "{slot.containerd_socket}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{slot.state}/containerd-opt"
[plugins."io.containerd.nri.v1.nri"]
  disable = true

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{slot.config}/certs.d"

[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE no oom_score_adj may be lowered, and every sandbox would die.
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{programs.cni}"]
    conf_dir = "{slot.config}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "{programs.runc}"
      Root = "{slot.run}/runc"
      SystemdCgroup = false
"""


def corefile(slot: Slot) -> str:
    return f""".:53 {{
    bind {slot.node_ip}
    errors
    health 127.0.0.1:8080
    ready 127.0.0.1:8181
    cache 5
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {slot.config}/coredns.kubeconfig
        ttl 5
    }}
}}
"""


def registry(slot: Slot, port: int, folder: str, htpasswd: Path | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(slot.state / folder)}, "delete": {"enabled": True}},
        "http": {"addr": f"{slot.node_ip}:{port}", "secret": "only-one-instance-ever-reads-this"},
    }
    if htpasswd:
        document["auth"] = {"htpasswd": {"realm": "tidegate", "path": str(htpasswd)}}
    return document


@dataclass(frozen=True)
class Component:
    """A program of the cluster. It starts once everything in `after` answers: tcp:IP:PORT, unix:PATH or https:URL."""

    name: str
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()


def components(slot: Slot, programs: Programs) -> list[Component]:
    ready = f"https:{slot.server}/readyz"
    kube, config, pki = str(programs.kube), slot.config, slot.pki
    return [
        Component("etcd", (kube, "etcd", *etcd_flags(slot))),
        Component("containerd", (str(programs.containerd), "--config", str(config / "containerd.toml"))),
        Component("registry", (str(programs.registry), "serve", str(config / "registry.yaml"))),
        Component("registry-private", (str(programs.registry), "serve", str(config / "registry-private.yaml"))),
        Component("kube-apiserver", (kube, "kube-apiserver", *apiserver_flags(slot)), ("tcp:127.0.0.1:2379",)),
        # Controllers that start before the API server has made its own roles give up.
        Component("kube-controller-manager", (kube, "kube-controller-manager", *controller_flags(slot)), (ready,)),
        Component(
            "kubelet",
            (
                kube,
                "kubelet",
                f"--config={config}/kubelet.yaml",
                f"--kubeconfig={config}/kubelet.kubeconfig",
                f"--hostname-override={slot.name}",
                f"--node-ip={slot.node_ip}",
                f"--cert-dir={pki}",
                "--v=1",
            ),
            (f"unix:{slot.containerd_socket}", ready),
        ),
        Component(
            "kube-scheduler",
            (
                kube,
                "kube-scheduler",
                f"--kubeconfig={config}/scheduler.kubeconfig",
                f"--authentication-kubeconfig={config}/scheduler.kubeconfig",
                f"--authorization-kubeconfig={config}/scheduler.kubeconfig",
                "--bind-address=127.0.0.1",
                "--leader-elect=false",
            ),
            (ready,),
        ),
        Component("kube-proxy", (kube, "kube-proxy", f"--config={config}/proxy.yaml"), (ready,)),
        Component("coredns", (str(programs.coredns), "-conf", str(config / "Corefile")), (ready,)),
        # Nothing waits for it, so it gives way to what makes the node ready.
        Component(
            "metrics-server",
            (str(programs.metrics), *metrics_flags(slot)),
            (ready, f"tcp:{slot.node_ip}:{KUBELET_PORT}"),
        ),
    ]


def etcd_flags(slot: Slot) -> list[str]:
    """On the namespace's loopback, without TLS: only the node's own processes can reach it."""
    return [
        f"--data-dir={slot.state}/etcd",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # the data end with the cluster; a slow disk should not
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=15m",
        "--log-level=warn",
    ]


def apiserver_flags(slot: Slot) -> list[str]:
    pki = slot.pki
    return [
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={slot.node_ip}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={slot.service_net}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        "--kubelet-preferred-address-types=InternalIP",  # else logs and exec look the node's name up
        f"--service-account-key-file={pki}/service-account.key",
        f"--service-account-signing-key-file={pki}/service-account.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki}/front-proxy.crt",
        f"--proxy-client-key-file={pki}/front-proxy.key",
        "--enable-aggregator-routing=true",
        f"--audit-policy-file={slot.config}/audit.yaml",
        f"--audit-log-path={slot.audit_log}",
        "--audit-log-maxsize=200",
        "--audit-log-maxbackup=1",
        "--profiling=false",
    ]


def controller_flags(slot: Slot) -> list[str]:
    pki, config = slot.pki, slot.config
    return [
        f"--kubeconfig={config}/controller-manager.kubeconfig",
        f"--authentication-kubeconfig={config}/controller-manager.kubeconfig",
        f"--authorization-kubeconfig={config}/controller-manager.kubeconfig",
        "--bind-address=127.0.0.1",
        f"--client-ca-file={pki}/ca.crt",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        f"--service-account-private-key-file={pki}/service-account.key",
        "--use-service-account-credentials=true",
        # It makes forty service accounts before it works; at the usual 20 calls a second that took half the start.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--leader-elect=false",
        # An autoscaler looks as soon as there is something new to see. How it judges pods that have just started is
        # left as it is: what a start costs is no load.
        "--horizontal-pod-autoscaler-sync-period=5s",
        f"--flex-volume-plugin-dir={slot.state}/volume-plugins",
    ]


def metrics_flags(slot: Slot) -> list[str]:
    pki, kubeconfig = slot.pki, slot.config / "metrics-server.kubeconfig"
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={slot.node_ip}",
        f"--secure-port={METRICS_PORT}",
        f"--tls-cert-file={pki}/metrics-server.crt",
        f"--tls-private-key-file={pki}/metrics-server.key",
        # Whom the API server speaks for is taken from here; looked up there, the first start would come too early.
        "--authentication-skip-lookup=true",
        f"--client-ca-file={pki}/ca.crt",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--kubelet-request-timeout=5s",
        "--metric-resolution=10s",  # the shortest that it takes
    ]


def component_environment(slot: Slot, programs: Programs) -> dict[str, str]:
    """A clean one: a proxy of the reader's shell would catch the node's calls to its own registry."""
    path = [
        str(programs.containerd.parent),
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]
    return {"PATH": os.pathsep.join(path), "HOME": str(slot.state), "LANG": "C.UTF-8"}
