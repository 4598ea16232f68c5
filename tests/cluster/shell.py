"""Runs other programs: output goes to a log, and a failure carries the log's last lines."""

from __future__ import annotations

import fcntl
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .steps import ClusterError

TAIL = 15
# Dies with the thread that waits for it, and takes its children along: they share a process namespace. Wants root.
BOUND = ["setpriv", "--pdeathsig", "KILL", "--"]
BOUND += ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--"]


def run(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a short command and return what it printed."""
    done = subprocess.run(
        [str(a) for a in argv],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=dict(env) if env is not None else None,
        cwd=cwd,
    )
    if done.returncode:
        tail = "\n".join((done.stderr + done.stdout).strip().splitlines()[-TAIL:])
        raise ClusterError(f"`{' '.join(str(a) for a in argv[:6])}` ended with {done.returncode}:\n{tail}")
    return done.stdout


def succeeds(argv: Sequence[str | Path]) -> bool:
    try:
        done = subprocess.run(
            [str(a) for a in argv],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return False
    return done.returncode == 0


def run_logged(
    argv: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    bound: bool = True,
) -> None:
    """Run a long command with its output in `log`.

    A `bound` one ends when we do, so that a second run never meets the first; what must not be torn apart (apt) is not.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    prefix = BOUND if bound and has_namespaces() else []
    with log.open("wb") as out:
        child = subprocess.Popen(
            [*prefix, *(str(a) for a in argv)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=not prefix,
        )
        if bound:
            _bound.add(child)
        try:
            code = child.wait()
        except BaseException:
            if bound:
                _end(child)
                child.wait()
            raise
        finally:
            _bound.discard(child)
    if code:
        raise ClusterError(f"`{' '.join(str(a) for a in argv[:6])}` ended with {code}.\n{tail_of(log)}")


_bound: set[subprocess.Popen[bytes]] = set()


@functools.cache
def has_namespaces() -> bool:
    """Whether a command can be bound by the kernel; without root its process group must do."""
    return sys.platform == "linux" and os.geteuid() == 0 and succeeds([*BOUND, "true"])


def stop_all() -> None:
    """End the bound commands that other threads are waiting for."""
    for child in list(_bound):
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    if has_namespaces():
        child.kill()
        return
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended by itself


def tail_of(log: Path, lines: int = TAIL) -> str:
    try:
        with log.open("rb") as f:
            f.seek(max(0, log.stat().st_size - 16384))
            text = f.read().decode(errors="replace")
    except OSError:
        return f"(no log at {log})"
    return f"The end of {log}:\n" + "\n".join(text.splitlines()[-lines:])


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock that ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.chmod(mode)
    temporary.replace(path)
