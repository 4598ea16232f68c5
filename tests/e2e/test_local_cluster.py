"""The local cluster itself: two checkouts at once, a start over what a killed one left, nothing left at the end."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deployed import LOCAL
from kube import wait_for

pytestmark = pytest.mark.skipif(not LOCAL, reason="is about the cluster that `make cluster` starts")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another checkout, as far as the cluster is concerned."""
    shutil.copytree(Path(__file__).parents[1] / "cluster", tmp_path / "tests" / "cluster")
    return tmp_path


def cluster(checkout: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cluster", command],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout / "tests")},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def nodes(kubeconfig: Path | str) -> list[str]:
    found = subprocess.run(
        ["kubectl", "--kubeconfig", str(kubeconfig), "get", "nodes", "-o", "name"],
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.split()


def network() -> set[str]:
    """The machine's interfaces and routes."""
    shown = (json.loads(subprocess.check_output(["ip", "-j", *what])) for what in (["link"], ["route"]))
    return {str(item.get("ifname", "")) + str(item.get("dst", "")) for items in shown for item in items}


def inits(checkout: Path) -> list[int]:
    """The processes that hold the other checkout's cluster together."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            here = (process / "cwd").readlink()
        except OSError:
            continue
        if b"init" in words and b"cluster" in words and here == checkout:
            found.append(int(process.name))
    return found


def test_a_second_checkout_has_a_cluster_of_its_own_and_leaves_nothing(other: Path) -> None:
    before = network()
    try:
        started = cluster(other, "up")
        assert started.returncode == 0, started.stdout + started.stderr
        theirs, ours = nodes(other / ".cluster" / "kubeconfig"), nodes(os.environ["KUBECONFIG"])
        assert len(theirs) == len(ours) == 1
        assert theirs != ours
        again = cluster(other, "up")
        assert "is running" in again.stdout

        killed = inits(other)
        assert killed
        for process in killed:
            os.kill(process, signal.SIGKILL)
        wait_for("the init gone", lambda: not inits(other), 10)
        restarted = cluster(other, "up")
        assert restarted.returncode == 0, restarted.stdout + restarted.stderr
        assert nodes(other / ".cluster" / "kubeconfig") == theirs
    finally:
        ended = cluster(other, "down")
    assert ended.returncode == 0, ended.stderr
    left = cluster(other, "leftovers")
    assert (left.returncode, left.stdout) == (0, "")
    assert network() == before
    assert len(nodes(os.environ["KUBECONFIG"])) == 1
