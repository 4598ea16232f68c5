"""Ends a cluster however it was left, and finds what is still there."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

from . import cgroups, network, slots
from .layout import FIXED_FOLDERS, Slot
from .shell import locked, succeeds
from .steps import ClusterError


def processes(slot: Slot) -> set[int]:
    """Processes in the slot's network namespace or its cgroups, where the pods are, whose networks are their own."""
    found = cgroups.processes(slot.name)
    try:
        inode = network.namespace(slot).stat().st_ino
    except OSError:
        return found
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "ns" / "net").stat().st_ino == inode:
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


def kill(slot: Slot) -> None:
    """Every process of the slot, and wait until the kernel has let go of them."""
    deadline = time.monotonic() + 20
    while alive := processes(slot):
        if time.monotonic() > deadline:
            raise ClusterError(f"These processes do not end: {sorted(alive)}. Look at them with `ps`.")
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def mounts(slot: Slot) -> list[str]:
    """Mount points of the machine that lie under the slot's folders."""
    below = (f"{slot.state}/", f"{slot.run}/")
    found = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [mount for mount in found if mount.startswith(below)]


def clear(slot: Slot) -> None:
    """Back to nothing, from whatever state; the slot stays taken."""
    kill(slot)
    network.remove(slot)
    cgroups.remove(slot.name)
    for mount in reversed(mounts(slot)):
        succeeds(["umount", "--lazy", mount])
    for folder in (slot.state, slot.run):
        shutil.rmtree(folder, ignore_errors=True)
    slot.kubeconfig.unlink(missing_ok=True)


def free(slot: Slot) -> None:
    """Give the slot back, and with the last one the mount points that all share."""
    with locked(slots.LOCK):
        (slots.REGISTER / str(slot.number)).unlink(missing_ok=True)
        if slots.taken():
            return
        network.forget_namespaces()
        for folder in (*FIXED_FOLDERS, slot.state.parent):
            try:
                folder.rmdir()
            except OSError:
                continue  # not there, or not only ours


def leftovers(slot: Slot) -> list[str]:
    """One line for each thing of the slot that is still there."""
    found = [f"process {pid}: {_command(pid)}" for pid in sorted(processes(slot))]
    found += [f"mount {mount}" for mount in mounts(slot)]
    if network.link_exists(slot):
        found.append(f"interface {slot.link}")
    found += [f"route {route}" for route in network.routes(slot)]
    if network.namespace(slot).exists():
        found.append(f"network namespace {slot.name}")
    found += [f"cgroup {group}" for group in cgroups.existing(slot.name)]
    found += [f"folder {folder}" for folder in (slot.state, slot.run) if folder.exists()]
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120]
    except OSError:
        return "?"
