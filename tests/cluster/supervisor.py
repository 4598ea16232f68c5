"""The init of the cluster's process namespace: starts components in order, restarts what exits, reaps what is orphaned.

It is process 1 there, so that one SIGKILL to it ends every process and every pod. It reads one JSON file and knows
nothing of Kubernetes. Before that it makes the mount namespace private and gives the node folders of its own under
fixed names.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from . import cgroups
from .api import https_ok
from .config import Component
from .layout import FIXED_FOLDERS, Slot
from .shell import run

TICK = 0.1
LOG_LIMIT = 20 << 20
LONGEST_PAUSE = 15.0
STEADY = 60.0  # a component that ran this long starts again at once

# What kubelet would set on the machine's kernel. It finds these values already there, and the machine keeps its own.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


@dataclass
class Running:
    """A component, and when it may start (again)."""

    component: Component
    pid: int = 0
    started: float = 0.0
    not_before: float = 0.0
    failures: int = 0
    was_started: bool = field(default=False)


def main(slot: Slot) -> NoReturn:
    spec = json.loads((slot.config / "components.json").read_text())
    cgroups.enter(slot.name)
    isolate(slot)
    ca = slot.pki / "ca.crt"
    table = [Running(Component(c["name"], tuple(c["argv"]), tuple(c["after"]))) for c in spec["components"]]
    signals = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    say("started")
    last_rotation = time.monotonic()
    while True:
        got = signal.sigtimedwait(signals, TICK)
        if got and got.si_signo in (signal.SIGTERM, signal.SIGINT):
            say("stopped by a signal")
            os._exit(0)  # process 1 gone, the kernel ends the rest
        now = time.monotonic()
        reap(table, now)
        for entry in table:
            due = not entry.pid and now >= entry.not_before
            if due and (entry.was_started or all(answers(target, ca) for target in entry.component.after)):
                start(entry, slot.logs, spec["environment"])
        if now - last_rotation > STEADY:
            last_rotation = now
            rotate(slot.logs)


def isolate(slot: Slot) -> None:
    """Mounts from here on are the node's own and end with it."""
    run(["mount", "--make-rprivate", "/"])
    sockets = slot.state / "mounts" / "run"
    sockets.mkdir(parents=True, exist_ok=True)
    run(["mount", "--bind", slot.run, sockets])
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "tidegate", "/run"])
    slot.run.mkdir(parents=True)
    run(["mount", "--move", sockets, slot.run])
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "tidegate", "/var/log"])
    for folder in FIXED_FOLDERS:
        own = slot.state / folder.name
        own.mkdir(parents=True, exist_ok=True)
        run(["mount", "--bind", own, folder])
    for name, value in KERNEL_SETTINGS.items():
        setting = Path("/proc/sys", name)
        if setting.exists():
            shown = slot.state / "mounts" / name.replace("/", ".")
            shown.write_text(value + "\n")
            run(["mount", "--bind", shown, setting])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")  # of this network namespace alone
    run(["mount", "--make-rshared", "/"])


def answers(target: str, ca: Path) -> bool:
    kind, _, address = target.partition(":")
    if kind == "https":
        return https_ok(address, ca)
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        try:
            if kind == "unix":
                probe.connect(address)
            else:
                parts = urlsplit(f"//{address}")
                probe.connect((parts.hostname, parts.port))
        except OSError:
            return False
    return True


def start(entry: Running, logs: Path, environment: dict[str, str]) -> None:
    name = entry.component.name
    try:
        with (logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                entry.component.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd="/",
                start_new_session=True,
                preexec_fn=unblock_signals,  # safe: this process has one thread
            )
    except OSError as error:
        say(f"{name} cannot start: {error}")
        entry.not_before = time.monotonic() + LONGEST_PAUSE
        return
    entry.pid, entry.started, entry.was_started = child.pid, time.monotonic(), True
    child.returncode = 0  # reaped below, with the orphans; Popen must not wait for it
    say(f"{name} started as {entry.pid}")


def unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def reap(table: list[Running], now: float) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        for entry in table:
            if entry.pid == pid:
                entry.failures = 0 if now - entry.started > STEADY else entry.failures + 1
                pause = min(LONGEST_PAUSE, 0.25 * 2**entry.failures) if entry.failures else 0.0
                entry.pid, entry.not_before = 0, now + pause
                say(f"{entry.component.name} ended with {os.waitstatus_to_exitcode(status)}; again in {pause:.1f} s")


def rotate(logs: Path) -> None:
    """Keep each log and one before it within the limit."""
    for log in logs.glob("*.log"):
        try:
            if log.stat().st_size > LOG_LIMIT:
                shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)  # the component appends, so it goes on at the new end
        except OSError as error:  # a full disk must not end the cluster
            say(f"{log.name} cannot be rotated: {error}")


def say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", file=sys.stderr, flush=True)
