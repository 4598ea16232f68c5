"""Which checkout has which slot. The register stands beside the clusters' sockets in /run, because the names that it
shares out (interfaces, namespaces, cgroups) belong to the machine and end with its boot as well.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path

from .layout import RUN_ROOT, SLOTS, Route, Slot, free_slot, none_free
from .shell import locked, run, write_atomically
from .steps import ClusterError

REGISTER = RUN_ROOT / "slots"
LOCK = RUN_ROOT / "lock"


def taken() -> dict[int, Path]:
    found: dict[int, Path] = {}
    for number in SLOTS:
        try:
            found[number] = Path((REGISTER / str(number)).read_text())
        except FileNotFoundError:
            continue
    return found


def find(checkout: Path) -> Slot | None:
    """The slot that this checkout holds, if any."""
    for number, owner in taken().items():
        if owner == checkout:
            return Slot(number, checkout)
    return None


def claim(checkout: Path) -> tuple[Slot, list[Slot]]:
    """Take a slot for this checkout, and name those whose checkout is gone (the caller clears and frees them)."""
    with locked(LOCK):
        held = taken()
        orphans = [Slot(number, owner) for number, owner in held.items() if not owner.is_dir()]
        present = routes()
        slot = free_slot(held, present, checkout)
        if slot is None:
            raise ClusterError(none_free(held, present))
        write_atomically(REGISTER / str(slot.number), str(checkout))
    return slot, orphans


def release(slot: Slot) -> None:
    with locked(LOCK):
        (REGISTER / str(slot.number)).unlink(missing_ok=True)


def routes() -> list[Route]:
    """Every IPv4 route of the machine: VPNs keep theirs in tables of their own."""
    found = []
    for route in json.loads(run(["ip", "-j", "-4", "route", "show", "table", "all"]) or "[]"):
        destination = "0.0.0.0/0" if route["dst"] == "default" else route["dst"]
        found.append((route.get("dev", ""), IPv4Network(destination, strict=False)))
    return found
