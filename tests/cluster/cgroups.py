"""One cgroup per cluster, with the node's programs in `system` and the pods in `kubepods` beside it.

Version 1 (several hierarchies, the cgroupfs driver) is what this was built and tested on. Version 2 takes the same path
with one hierarchy, where the controllers are handed down by hand; it has not been tried. What is mounted at
/sys/fs/cgroup decides.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

NEEDED = ("cpu", "memory", "pids")
MOUNT = Path("/sys/fs/cgroup")


def unified() -> bool:
    return (MOUNT / "cgroup.controllers").exists()


def hierarchies() -> list[Path]:
    """The root of every hierarchy: one in version 2, one for each controller in version 1 (and one without any)."""
    found: dict[Path, None] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        point = Path(fields.split()[4])
        if kind.split()[0] in ("cgroup", "cgroup2") and point.is_relative_to(MOUNT):
            found[point] = None
    return list(found)


def missing_controllers() -> list[str]:
    if unified():
        present = set((MOUNT / "cgroup.controllers").read_text().split())
    else:
        present = {name for root in hierarchies() for name in root.name.split(",")}
    return [name for name in NEEDED if name not in present]


def create(name: str) -> None:
    """Make the cluster's cgroup in every hierarchy."""
    for root in hierarchies():
        group = root / name
        (group / "system").mkdir(parents=True, exist_ok=True)
        if (root / "cgroup.controllers").exists():
            for parent in (root, group):
                for controller in (parent / "cgroup.controllers").read_text().split():
                    _write(parent / "cgroup.subtree_control", f"+{controller}")
        elif (root / "cpuset.cpus").exists():
            for child in (group, group / "system"):  # a new cpuset is empty and takes no process
                for file in ("cpuset.cpus", "cpuset.mems"):
                    _write(child / file, (root / file).read_text())
        elif (root / "cpu.shares").exists():
            # Version 1 weighs the whole cluster against each single process of the root group.
            _write(group / "cpu.shares", str(1024 * 2 * (os.cpu_count() or 1)))
            _write(group / "system" / "cpu.shares", "4096")


def enter(name: str) -> None:
    """Move this process into the cluster's `system` cgroup, so that it does not end with the caller's session."""
    for root in hierarchies():
        _write(root / name / "system" / "cgroup.procs", str(os.getpid()))


def existing(name: str) -> list[Path]:
    return [root / name for root in hierarchies() if (root / name).is_dir()]


def processes(name: str) -> set[int]:
    """Processes in the cluster's cgroups."""
    found: set[int] = set()
    for group in existing(name):
        for file in group.rglob("cgroup.procs"):
            try:
                found.update(int(pid) for pid in file.read_text().split())
            except OSError:
                continue  # it went while we looked
    return found - {0}


def remove(name: str) -> None:
    """Remove the cluster's cgroups; a dying process keeps one for a moment."""
    deadline = time.monotonic() + 5
    while (groups := existing(name)) and time.monotonic() < deadline:
        for group in groups:
            for folder, _, _ in os.walk(group, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    continue
        if existing(name):
            time.sleep(0.05)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError:
        return  # a controller that this machine does not hand down; preflight has named those that are needed
