"""Says in one sentence what this machine lacks for a cluster, before anything is started."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from . import cgroups
from .layout import STATE_ROOT, Cache
from .oci import ARCHITECTURES
from .steps import ClusterError
from .tools import search_path

OTHERWISE = "or use a cluster that you have (kind, k3d, minikube): CLUSTER=current."
BUILD_SPACE = 6 << 30
RUN_SPACE = 1 << 30

# What kube-proxy asks of nf_tables, tried in a network namespace that ends with the command.
FIREWALL = """
table ip tidegate {
  map services {
    type ipv4_addr . inet_proto . inet_service : verdict
  }
  chain endpoint {
    meta l4proto tcp dnat to 192.0.2.1:80
  }
  chain services {
    ip daddr . meta l4proto . th dport vmap @services
    numgen random mod 2 vmap { 0 : goto endpoint, 1 : goto endpoint }
  }
  chain nat {
    type nat hook prerouting priority -100;
    fib daddr type local jump services
  }
  chain out {
    type nat hook postrouting priority 100;
    masquerade
  }
}
"""


def check_root() -> None:
    if platform.system() != "Linux":
        raise ClusterError(
            f"The test cluster needs Linux, this is {platform.system()}; use a Linux machine {OTHERWISE}"
        )
    if platform.machine() not in ARCHITECTURES:
        raise ClusterError(
            f"The test cluster is not known to run on {platform.machine()}; use x86-64 or arm64 {OTHERWISE}"
        )
    if sys.version_info < (3, 11):  # noqa: UP036 - run by the system's Python, whatever it is
        raise ClusterError("The test cluster needs Python 3.11 or later; install it " + OTHERWISE)
    if os.geteuid() != 0:
        raise ClusterError(
            f"The test cluster makes namespaces and cgroups and needs root; run it with sudo {OTHERWISE}"
        )


def check_disk(cache: Cache, *, building: bool) -> None:
    for folder, need in ((cache.root, BUILD_SPACE if building else 0), (STATE_ROOT, RUN_SPACE)):
        existing = next(p for p in (folder, *folder.parents) if p.exists())
        free = shutil.disk_usage(existing).free
        if free < need:
            raise ClusterError(
                f"{folder} has {free / 2**30:.1f} GiB free and needs {need / 2**30:.0f}; make room "
                f"(TIDEGATE_CACHE moves what is built elsewhere) {OTHERWISE}"
            )


def check_kernel() -> None:
    """After the packages are there: it tries the real thing in namespaces that vanish."""
    lacking = cgroups.missing_controllers()
    if lacking:
        raise ClusterError(
            f"The kernel gives this machine no cgroup controller for {', '.join(lacking)}; enable it on the kernel's "
            f"command line (in a container: give it the machine's cgroups) {OTHERWISE}"
        )
    _try(
        ["unshare", "--net", "--mount", "--pid", "--fork", "true"],
        "",
        "no namespaces for network, mounts and processes",
    )
    _try(
        ["unshare", "--net", "ip", "link", "add", "probe0", "type", "veth", "peer", "name", "probe1"],
        "",
        "no veth interfaces",
    )
    _try(
        ["unshare", "--net", "nft", "-f", "-"], FIREWALL, "no nf_tables with NAT (modules nf_tables, nft_nat, nft_masq)"
    )
    trial = STATE_ROOT / f".overlay-{os.getpid()}"
    folders = {name: trial / name for name in ("lower", "upper", "work", "merged")}
    try:
        for folder in folders.values():
            folder.mkdir(parents=True)
        options = f"lowerdir={folders['lower']},upperdir={folders['upper']},workdir={folders['work']}"
        mount = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, str(folders["merged"])]
        _try(mount, "", f"no overlayfs on {STATE_ROOT}")
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _try(argv: list[str], text: str, lacks: str) -> None:
    env = {**os.environ, "PATH": search_path()}
    done = subprocess.run(argv, check=False, input=text, capture_output=True, text=True, env=env)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        reason = lines[0] if lines else f"`{argv[0]}` ended with {done.returncode}"
        raise ClusterError(f"This machine has {lacks} ({reason}); enable that {OTHERWISE}")


def check_folder(checkout: Path) -> None:
    """Under these the node sees folders of its own, and could not write the checkout's logs."""
    for hidden in ("/run", "/var/log"):
        if checkout.is_relative_to(hidden):
            raise ClusterError(f"A checkout under {hidden} cannot have a test cluster; move it elsewhere.")
