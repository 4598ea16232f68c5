"""A wheelhouse: every wheel of the locks, so that the build itself needs no network. Downloaded once for each lock."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import sys
from pathlib import Path

from cluster.shell import locked, run_logged, succeeds
from cluster.steps import ClusterError, Steps

from .content import LOCKS

PYTHON = (3, 11)
"""The Python of the local base image (Debian bookworm), whichever one runs this."""
GLIBC = (2, 36)
"""Its C library: the newest `manylinux` that it can load."""


def select(lock: str, python: tuple[int, int] = PYTHON) -> str:
    """The entries of a lock that hold for `python`; pip would judge by the Python that it runs in itself.

    >>> select("a==1 ; python_full_version < '3.12'\\nb==2 ; python_full_version >= '3.12'\\nc==3\\n")
    'a==1\\nc==3\\n'
    """
    kept: list[str] = []
    wanted = True
    for line in lock.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            match = re.fullmatch(r"(\S+) ; (.*?)( \\)?", line)
            wanted = not match or _holds(match[2], python)
            line = match[1] + (match[3] or "") if match else line
        if wanted:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _holds(marker: str, python: tuple[int, int]) -> bool:
    match = re.fullmatch(r"python_full_version (<|>=) '(\d+)\.(\d+)'", marker)
    if not match:
        raise ClusterError(f"requirements/: the marker `{marker}` is new; teach it to tests/images/wheels.py.")
    older = python < (int(match[2]), int(match[3]))
    return older if match[1] == "<" else not older


def folder(cache: Path, checkout: Path) -> Path:
    text = "".join(_lock(checkout, name).read_text() for name in LOCKS)
    found = hashlib.sha256(repr((_platform(), text)).encode())
    return cache / f"wheels-{found.hexdigest()[:12]}"


def fetch(cache: Path, checkout: Path, steps: Steps) -> Path:
    """The wheelhouse of this checkout's locks, from the cache or else from the package index."""
    target = folder(cache, checkout)
    with locked(cache / "locks" / "wheels"):
        if target.exists():
            return target
        with steps.step("download the wheels", long="about 100 MB"):
            partial = cache / ".wheels.part"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            command = [
                *_pip(cache),
                "download",
                "--dest",
                partial / "wheels",
                "--require-hashes",
                "--no-deps",
                *_platform(),
            ]
            for name in LOCKS:
                (partial / f"{name}.txt").write_text(select(_lock(checkout, name).read_text()))
                command += ["-r", partial / f"{name}.txt"]
            run_logged(command, cache / "logs" / "wheels.log")
            (partial / "wheels").rename(target)
            shutil.rmtree(partial)
    return target


def _lock(checkout: Path, name: str) -> Path:
    return checkout / "requirements" / f"{name}.txt"


def _platform() -> list[str]:
    """pip's description of the base image's Python: it wants each older `manylinux` by name."""
    major, minor = PYTHON
    described = ["--only-binary=:all:", f"--python-version={major}.{minor}", "--implementation=cp"]
    described += [f"--abi={abi}" for abi in (f"cp{major}{minor}", "abi3", "none")]
    glibc, newest = GLIBC
    named = [f"manylinux_{glibc}_{n}" for n in range(newest, 4, -1)]
    named.insert(named.index("manylinux_2_17"), "manylinux2014")  # the same by another name, which some wheels have
    return described + [f"--platform={name}_{platform.machine()}" for name in named]


def _pip(cache: Path) -> list[str | Path]:
    """A pip: this Python's, the one that `make cluster` made where the system has none, or the system's."""
    pythons: list[str | Path] = [sys.executable, cache / "pip" / "bin" / "python", "/usr/bin/python3"]
    for python in pythons:
        if Path(python).exists() and succeeds([python, "-m", "pip", "--version"]):
            return [python, "-m", "pip"]
    raise ClusterError("No Python here has pip; install python3-venv and python3-pip, or run `make cluster` first.")
