"""Builds the cluster's programs from Go modules, each kept under a name that hashes its sources and flags."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from .layout import Cache
from .shell import locked, run_logged
from .steps import Steps

SOURCES = Path(__file__).parent / "go"
KUBERNETES = "1.37.2"
CONTAINERD = "2.4.2"
HELM = "3.22.0"
METRICS_SERVER = "0.9.0"
ARGO_ROLLOUTS = "1.10.1"  # whose figures the bars of the race are from; 1.10.2 wants a newer Go than is pinned
PROMETHEUS = "3.15.1"  # the latest that the pinned Go builds; as a module it is v0.315.1
AMPLE_MEMORY = 12 << 30


@dataclass(frozen=True)
class Program:
    """A Go module under `go/` and the packages of it to build; `programs` are the files that come out."""

    module: str
    title: str
    programs: tuple[str, ...]
    packages: tuple[str, ...] = (".",)
    settings: tuple[tuple[str, str], ...] = ()
    tags: str = ""
    long: str = ""

    @property
    def flags(self) -> list[str]:
        linked = "".join(f" -X {name}={value}" for name, value in self.settings)
        flags = ["-trimpath", "-buildvcs=false", f"-ldflags=-s -w{linked}"]
        return [*flags, f"-tags={self.tags}"] if self.tags else flags


def _kubernetes_version() -> tuple[tuple[str, str], ...]:
    """Without it the node and the API server call themselves v0.0.0."""
    major, minor, _ = KUBERNETES.split(".")
    values = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return tuple((f"{package}.{name}", value) for package in packages for name, value in values.items())


KUBE = Program(
    "kube",
    f"build Kubernetes {KUBERNETES} and etcd",
    ("kube",),
    settings=_kubernetes_version(),
    long="about 6 min on 2 cores",
)
CONTAINERD_PROGRAM = Program(
    "containerd",
    f"build containerd {CONTAINERD}",
    ("containerd", "containerd-shim-runc-v2", "ctr"),
    tuple(f"github.com/containerd/containerd/v2/cmd/{p}" for p in ("containerd", "containerd-shim-runc-v2", "ctr")),
    settings=(("github.com/containerd/containerd/v2/version.Version", f"v{CONTAINERD}"),),
    tags="no_btrfs,no_zfs,no_devmapper",
    long="about 2 min",
)
COREDNS = Program("coredns", "build CoreDNS", ("coredns",), long="about 1 min")
HELM_PROGRAM = Program(
    "helm",
    f"build helm {HELM}",
    ("helm",),
    ("helm.sh/helm/v3/cmd/helm",),
    settings=(("helm.sh/helm/v3/internal/version.version", f"v{HELM}"),),
    long="about 1 min",
)
METRICS = Program(
    "metricsserver",
    f"build metrics-server {METRICS_SERVER}",
    ("metrics-server",),
    ("sigs.k8s.io/metrics-server/cmd/metrics-server",),
    settings=(("k8s.io/client-go/pkg/version.gitVersion", f"v{METRICS_SERVER}"),),
    long="10 s, or 2 min where Go's cache is empty",
)
PAUSE = Program("pause", "build pause", ("pause",))
# The big one first; the others take what it leaves idle while it downloads and links. metrics-server is last of these:
# by then Go's cache holds the packages that it has in common with Kubernetes.
FIRST: tuple[Program, ...] = (KUBE,)
BESIDE: tuple[Program, ...] = (CONTAINERD_PROGRAM, PAUSE, COREDNS, HELM_PROGRAM, METRICS)
ALL = FIRST + BESIDE

# What a cluster does not need: `make race` runs against them.
ARGO = Program(
    "argorollouts",
    f"build Argo Rollouts {ARGO_ROLLOUTS}",
    ("rollouts-controller",),
    ("github.com/argoproj/argo-rollouts/cmd/rollouts-controller",),
    settings=(("github.com/argoproj/argo-rollouts/utils/version.version", f"v{ARGO_ROLLOUTS}"),),
    long="about 3 min",
)
PROMETHEUS_PROGRAM = Program(
    "prometheus",
    f"build Prometheus {PROMETHEUS}",
    ("prometheus",),
    ("github.com/prometheus/prometheus/cmd/prometheus",),
    settings=(("github.com/prometheus/common/version.Version", PROMETHEUS),),
    tags="netgo,remove_all_sd,enable_kubernetes_sd",  # without its pages, and of what it discovers only pods
    long="about 3 min",
)
RIVALS: tuple[Program, ...] = (ARGO, PROMETHEUS_PROGRAM)


def content_hash(program: Program) -> str:
    """Of the module's go.mod, go.sum and sources, and the flags."""
    digest = hashlib.sha256(repr((program.packages, program.flags)).encode())
    folder = SOURCES / program.module
    for file in sorted([*folder.glob("*.go"), folder / "go.mod", folder / "go.sum"]):
        if file.exists():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def folder(cache: Cache, program: Program) -> Path:
    return cache.bin / f"{program.module}-{content_hash(program)}"


def is_built(cache: Cache, program: Program) -> bool:
    return all((folder(cache, program) / name).exists() for name in program.programs)


def build(cache: Cache, program: Program, go: Path, steps: Steps, *, aside: bool = False) -> None:
    """Build unless it is there. `aside` gives way to the other builds. A second caller waits for the first."""
    if is_built(cache, program):
        return
    with locked(cache.locks / f"build-{program.module}"):
        if is_built(cache, program):
            return
        with steps.step(program.title, long=program.long):
            target = folder(cache, program)
            partial = cache.bin / f".{program.module}.part"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            # Go's scratch folder, in a place where the next run finds what an interrupted one left.
            scratch = cache.root / f".{program.module}.scratch"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
            env["GOTMPDIR"] = str(scratch)
            if os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") > AMPLE_MEMORY:
                env.setdefault("GOGC", "400")  # a sixth less CPU, for more memory
            argv = [str(go), "build", *program.flags, "-o", f"{partial}/", *program.packages]
            nice = ["nice", "-n", "15"] if aside else []
            run_logged(
                [*nice, *argv], cache.logs / f"build-{program.module}.log", env=env, cwd=SOURCES / program.module
            )
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
            shutil.rmtree(scratch, ignore_errors=True)
