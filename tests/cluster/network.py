"""The cluster's network namespace and the one veth pair that ties it to the machine.

Nothing else of the machine's network is touched: no firewall rule, no sysctl, no forwarding. The price is that pods
reach the machine but not what lies behind it.
"""

from __future__ import annotations

import json
from pathlib import Path

from .layout import Slot
from .shell import run, succeeds
from .steps import ClusterError

NAMESPACES = Path("/run/netns")


def create(slot: Slot) -> None:
    """From nothing: the caller has removed what was there."""
    run(["ip", "netns", "add", slot.name])
    run(["ip", "link", "add", slot.link, "type", "veth", "peer", "name", "eth0", "netns", slot.name])
    inside = ["ip", "-n", slot.name]
    run([*inside, "link", "set", "lo", "up"])
    run([*inside, "address", "add", f"{slot.node_ip}/{slot.node_net.prefixlen}", "dev", "eth0"])
    run([*inside, "link", "set", "eth0", "up"])
    run([*inside, "route", "add", "default", "via", str(slot.host_ip)])
    run(["ip", "address", "add", f"{slot.host_ip}/{slot.node_net.prefixlen}", "dev", slot.link])
    run(["ip", "link", "set", slot.link, "up"])
    for net in (slot.pod_net, slot.service_net):
        run(["ip", "route", "add", str(net), "via", str(slot.node_ip), "dev", slot.link])
    for address in (slot.node_ip, slot.pod_net[1], slot.api_service_ip):
        check_way(slot, str(address))


def check_way(slot: Slot, address: str) -> None:
    """A rule of the machine may look into another table before the one that holds our routes."""
    (way,) = json.loads(run(["ip", "-j", "-4", "route", "get", address]))
    if way.get("dev") != slot.link:
        raise ClusterError(
            f"What is sent to {address} leaves by {way.get('dev')}, not by {slot.link}: a routing rule of this machine "
            "(`ip rule`), as a VPN makes them, goes before. End that connection."
        )


def remove(slot: Slot) -> None:
    if link_exists(slot):
        run(["ip", "link", "delete", slot.link])
    if namespace(slot).exists() and not succeeds(["ip", "netns", "delete", slot.name]):
        # A file without a namespace behind it, as an interrupted `ip netns add` leaves.
        namespace(slot).unlink(missing_ok=True)


def forget_namespaces() -> None:
    """Undo what the first `ip netns add` does to the machine: it mounts the folder of names onto itself."""
    try:
        if not any(NAMESPACES.iterdir()) and NAMESPACES.is_mount():
            run(["umount", NAMESPACES])
            NAMESPACES.rmdir()
    except (OSError, ClusterError):
        return  # somebody uses it


def namespace(slot: Slot) -> Path:
    return NAMESPACES / slot.name


def link_exists(slot: Slot) -> bool:
    return Path("/sys/class/net", slot.link).exists()


def routes(slot: Slot) -> list[str]:
    """Destinations of the machine's routes into the slot's networks."""
    found = json.loads(run(["ip", "-j", "-4", "route", "show", "table", "all"]) or "[]")
    return [str(route["dst"]) for route in found if route.get("dev") == slot.link]
