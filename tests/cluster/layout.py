"""Every name, address and path of one cluster, derived from its slot: two checkouts can run at once and never meet.

Pure: nothing here touches the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

SLOTS = range(1, 33)

NODE_NETS = IPv4Network("10.219.0.0/16")
POD_NETS = IPv4Network("10.220.0.0/16")
SERVICE_NETS = IPv4Network("10.221.0.0/16")

API_PORT = 6443
REGISTRY_PORT = 5000
PRIVATE_REGISTRY_PORT = 5001
METRICS_PORT = 4443
METRICS_SERVICE = "metrics-server"
KUBELET_PORT = 10250
# Not secrets: they let tests prove that pull credentials are used.
REGISTRY_USER = "tide"
REGISTRY_PASSWORD = "gate"

STATE_ROOT = Path("/var/lib/tidegate")
RUN_ROOT = Path("/run/tidegate")

# Folders that kubelet and CNI write to under a fixed name. The node mounts its own over them; the empty
# mount points on the machine's side are made by `up` and removed by the last `down`.
FIXED_FOLDERS = (Path("/var/lib/kubelet"), Path("/var/lib/cni"))


@dataclass(frozen=True)
class Slot:
    """One cluster's place on the machine. `number` is from SLOTS; `checkout` is the work tree that owns it."""

    number: int
    checkout: Path

    @property
    def name(self) -> str:
        """Name of the network namespace, the node and the cgroup."""
        return f"tidegate-{self.number}"

    @property
    def link(self) -> str:
        """The machine's end of the veth pair (an interface name holds 15 characters)."""
        return f"tidegate{self.number}"

    @property
    def node_net(self) -> IPv4Network:
        return IPv4Network((int(NODE_NETS.network_address) + 256 * self.number, 30))

    @property
    def host_ip(self) -> IPv4Address:
        return self.node_net[1]

    @property
    def node_ip(self) -> IPv4Address:
        return self.node_net[2]

    @property
    def pod_net(self) -> IPv4Network:
        return IPv4Network((int(POD_NETS.network_address) + 256 * self.number, 24))

    @property
    def service_net(self) -> IPv4Network:
        return IPv4Network((int(SERVICE_NETS.network_address) + 256 * self.number, 24))

    @property
    def networks(self) -> tuple[IPv4Network, IPv4Network, IPv4Network]:
        return self.node_net, self.pod_net, self.service_net

    @property
    def api_service_ip(self) -> IPv4Address:
        return self.service_net[1]

    @property
    def dns_ip(self) -> IPv4Address:
        return self.service_net[10]

    @property
    def server(self) -> str:
        return f"https://{self.node_ip}:{API_PORT}"

    @property
    def registry(self) -> str:
        return f"{self.node_ip}:{REGISTRY_PORT}"

    @property
    def private_registry(self) -> str:
        return f"{self.node_ip}:{PRIVATE_REGISTRY_PORT}"

    @property
    def state(self) -> Path:
        """What may grow: images, etcd, volumes. On disk, removed by `down`."""
        return STATE_ROOT / str(self.number)

    @property
    def run(self) -> Path:
        """Sockets. The path is short because a socket's name holds 107 characters."""
        return RUN_ROOT / str(self.number)

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def local(self) -> Path:
        """What the checkout's owner reads: kubeconfig, bin, logs, audit.log."""
        return self.checkout / ".cluster"

    @property
    def kubeconfig(self) -> Path:
        return self.local / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        return self.local / "audit.log"

    @property
    def logs(self) -> Path:
        return self.local / "logs"

    @property
    def bin(self) -> Path:
        return self.local / "bin"


@dataclass(frozen=True)
class Cache:
    """What is built once and kept outside the work tree, under names that carry a hash of what made them."""

    root: Path

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Cache:
        if env.get("TIDEGATE_CACHE"):
            return cls(Path(env["TIDEGATE_CACHE"]).absolute())
        parent = env.get("XDG_CACHE_HOME") or os.path.join(env.get("HOME") or str(Path.home()), ".cache")
        return cls(Path(parent).absolute() / "tidegate")

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def storage(self) -> Path:
        """buildah's images and layers, shared by all checkouts."""
        return self.root / "storage"

    @property
    def storage_conf(self) -> Path:
        return self.root / "storage.conf"


Route = tuple[str, IPv4Network]
"""Interface and destination."""

BROAD = 16
"""A route with a shorter prefix, as of a VPN, loses to ours, which are more specific."""


def met(slot: Slot, routes: Iterable[Route]) -> list[Route]:
    """The machine's routes that the slot's networks would take something from, or lose something to."""
    foreign = [(link, net) for link, net in routes if link != slot.link and net.prefixlen >= BROAD]
    return [(link, net) for link, net in foreign if any(ours.overlaps(net) for ours in slot.networks)]


def free_slot(taken: Mapping[int, Path], routes: Sequence[Route], checkout: Path) -> Slot | None:
    """The checkout's own slot, else the lowest that is free and whose networks meet none of the machine's routes.

    None when nothing is free; `none_free` says why.
    """
    for number, owner in sorted(taken.items()):
        if owner == checkout:
            return Slot(number, checkout)
    for number in SLOTS:
        slot = Slot(number, checkout)
        if number not in taken and not met(slot, routes):
            return slot
    return None


def none_free(taken: Mapping[int, Path], routes: Sequence[Route]) -> str:
    """Why no slot is free, and what to do."""
    owners = ", ".join(sorted({str(owner) for owner in taken.values()}))
    if all(number in taken for number in SLOTS):
        return f"All {len(SLOTS)} places for test clusters are taken; run `make cluster-down` in one of {owners}."
    left = [Slot(number, Path()) for number in SLOTS if number not in taken]
    hindering = sorted({f"{net} on {link or 'no interface'}" for slot in left for link, net in met(slot, routes)})
    text = (
        f"No place for a test cluster is left: it needs a part of {NODE_NETS}, {POD_NETS} and {SERVICE_NETS}, "
        f"which this machine routes elsewhere ({', '.join(hindering)}); take those routes away"
    )
    return f"{text}, or run `make cluster-down` in one of {owners}." if taken else f"{text}."
