"""One cgroup per cluster, with the node's programs in `system` and the pods in `kubepods` beside it.

Version 1 (several hierarchies, the cgroupfs driver) is what this was built and tested on. Version 2 takes the same path
with one hierarchy, where the controllers are handed down by hand, and taken back from the machine's root with the last
cluster; it has not been tried. What is mounted at /sys/fs/cgroup decides.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from pathlib import Path

from .layout import RUN_ROOT
from .shell import locked, write_atomically
from .steps import ClusterError

NEEDED = ("cpu", "memory", "pids")
# What the kubelet uses, where it is there: its `supportedControllers`.
USED = ("cpu", "cpuset", "hugetlb", "memory", "pids")
MOUNT = Path("/sys/fs/cgroup")
# The controllers that we have made the root of version 2 hand down, which it did not before.
ADDED = RUN_ROOT / "cgroup-controllers"


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
            _hand_down(root, group)
        elif (root / "cpuset.cpus").exists():
            for child in (group, group / "system"):  # a new cpuset is empty and takes no process
                for file in ("cpuset.cpus", "cpuset.mems"):
                    _write(child / file, (root / file).read_text())
        elif (root / "cpu.shares").exists():
            # Version 1 weighs the whole cluster against each single process of the root group.
            _write(group / "cpu.shares", str(1024 * 2 * (os.cpu_count() or 1)))
            _write(group / "system" / "cpu.shares", "4096")


def _hand_down(root: Path, group: Path) -> None:
    """Version 2: a group has the controllers that each group above hands down. What we add at the root is noted."""
    with _lock():
        lacking = [name for name in _words(root / "cgroup.controllers") if name in USED]
        lacking = [name for name in lacking if name not in _words(root / "cgroup.subtree_control")]
        write_atomically(ADDED, " ".join(sorted({*_words(ADDED), *lacking})))
        for name in lacking:
            _write(root / "cgroup.subtree_control", f"+{name}")
    for name in _words(group / "cgroup.controllers"):
        if name in USED:
            _write(group / "cgroup.subtree_control", f"+{name}")
    handed = _words(group / "cgroup.subtree_control")
    refused = [name for name in NEEDED if name not in handed]
    if refused and unified():
        raise ClusterError(
            f"The cgroup {root} does not hand down its controllers {', '.join(refused)}: it may have processes of its "
            "own, as in a container; use a machine of its own, or CLUSTER=current."
        )


def _take_back(root: Path, name: str) -> None:
    """Undo what `_hand_down` did to the root, with the last cluster. `name` says what clusters are called."""
    with _lock():
        if any(root.glob(name.rpartition("-")[0] + "-*")):
            return
        for controller in _words(ADDED):
            _write(root / "cgroup.subtree_control", f"-{controller}")
        ADDED.unlink(missing_ok=True)


def _lock() -> AbstractContextManager[None]:
    return locked(ADDED.with_name("locks") / "cgroups")


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def enter(name: str) -> None:
    """Move this process into the cluster's `system` cgroup, so that it does not end with the caller's session."""
    for root in hierarchies():
        group = root / name / "system"
        try:
            (group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError as error:
            raise ClusterError(f"The cgroup {group} takes no process ({error.strerror}).") from error


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
    for root in hierarchies():
        if (root / "cgroup.controllers").exists():
            _take_back(root, name)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError:
        return  # a controller that this machine does not hand down; preflight has named those that are needed
