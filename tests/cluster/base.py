"""The base image of our containers on a machine that reaches no registry: Debian with Python, made by debootstrap.

buildah keeps it in a storage of the cache, so that every checkout builds on the same layers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .layout import RUN_ROOT, Cache
from .shell import locked, run, run_logged, succeeds, write_atomically
from .steps import ClusterError, Steps

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "python3", "python3-venv")
# What no container reads.
PRUNED = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/cache/debconf",
    "var/lib/apt/lists",
    "var/log",
)
RECIPE = 1  # count up when the code below makes another image of the same settings
# The releases by name and by rank: what stands behind the address of the archive, and of no other distribution's.
SUITES = {"oldoldstable", "oldstable", "stable", "testing", "unstable", "sid"}
SUITES |= {"bullseye", "bookworm", "trixie", "forky", "duke"}
SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))


def image() -> str:
    recipe = hashlib.sha256(repr((RECIPE, SUITE, PACKAGES, PRUNED)).encode()).hexdigest()[:12]
    return f"localhost/tidegate-base:{recipe}"


def environment(cache: Cache) -> dict[str, str]:
    """What makes buildah use the cache's storage, without user namespaces."""
    return {
        "BUILDAH_ISOLATION": "chroot",
        "STORAGE_DRIVER": "overlay",
        "CONTAINERS_STORAGE_CONF": str(cache.storage_conf),
    }


def write_storage_conf(cache: Cache) -> None:
    # The run root is emptied by a boot, as buildah expects, and differs for each cache.
    run_root = RUN_ROOT / ("buildah-" + hashlib.sha256(str(cache.root).encode()).hexdigest()[:8])
    text = f'[storage]\ndriver = "overlay"\ngraphroot = "{cache.storage}"\nrunroot = "{run_root}"\n'
    if not cache.storage_conf.exists() or cache.storage_conf.read_text() != text:
        write_atomically(cache.storage_conf, text)


def is_built(cache: Cache) -> bool:
    """By the storage's own list, which is quicker to read than buildah is to start."""
    try:
        images = json.loads((cache.storage / "overlay-images" / "images.json").read_text())
    except (OSError, ValueError):
        return False
    return any(image() in (entry.get("names") or []) for entry in images)


def build(cache: Cache, steps: Steps) -> None:
    write_storage_conf(cache)
    if is_built(cache):
        return
    with locked(cache.locks / "base"):
        if is_built(cache):
            return
        with steps.step("build the base image (Debian, Python)", long="about 1 min"):
            _build(cache)


def _build(cache: Cache) -> None:
    root = cache.root / ".base.part"
    _remove(root)
    mirror = debian_mirror(_apt_sources())
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        SUITE,
        str(root),
        *([mirror] if mirror else []),
    ]
    run_logged(command, cache.logs / "base.log", env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    for name in PRUNED:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var/cache/apt/archives/partial").mkdir(parents=True)
    for cached in root.glob("usr/lib/python3*/**/__pycache__"):
        shutil.rmtree(cached, ignore_errors=True)
    env = {**os.environ, **environment(cache)}
    container = run(["buildah", "from", "scratch"], env=env).strip()
    try:
        run(["buildah", "copy", container, root, "/"], env=env)
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        run(["buildah", "config", "--env", path, "--env", "LANG=C.UTF-8", "--cmd", "python3", container], env=env)
        run(["buildah", "commit", "--rm", container, image()], env=env)
    except ClusterError:
        succeeds(["env", *(f"{k}={v}" for k, v in environment(cache).items()), "buildah", "rm", container])
        raise
    _remove(root)


def _remove(root: Path) -> None:
    if root.exists():
        run(["rm", "-rf", "--one-file-system", root])


def _apt_sources() -> str:
    files = [file for source in SOURCES for file in ([source] if source.is_file() else sorted(source.glob("*")))]
    kept = [file for file in files if file.suffix in (".list", ".sources")]
    return "\n\n".join(file.read_text(errors="replace") for file in kept)


@dataclass(frozen=True)
class Source:
    """One entry of apt's list."""

    url: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""

    @property
    def is_debian(self) -> bool:
        """Others call their folder `debian` too, and their suites after Debian's; they sign with a key of their own."""
        return (
            re.fullmatch(r"https?://\S+/debian/?", self.url) is not None
            and not SUITES.isdisjoint(self.suites)
            and "main" in self.components
            and (not self.signed_by or "debian-archive" in self.signed_by)
        )


def debian_mirror(sources: str) -> str | None:
    """The Debian mirror that this machine's apt uses; None (debootstrap's own choice) where it is not a Debian."""
    live = "\n".join(line for line in sources.splitlines() if not line.lstrip().startswith("#"))
    return next((source.url for source in _parsed(live) if source.is_debian), None)


def _parsed(live: str) -> Iterator[Source]:
    """Of lines as in sources.list, and of paragraphs as in *.sources."""
    for options, url, suite, components in re.findall(
        r"^[ \t]*deb[ \t]+(?:\[(.*?)\][ \t]*)?(\S+)[ \t]+(\S+)[ \t]*(.*)$", live, re.MULTILINE
    ):
        signed = re.search(r"signed-by=(\S+)", options, re.IGNORECASE)
        yield Source(url, (suite,), tuple(components.split()), signed.group(1) if signed else "")
    for paragraph in re.split(r"\n[ \t]*\n", live):
        fields = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE)
        found = {name.lower(): value for name, value in fields}
        if "deb" in found.get("types", "").split() and found.get("enabled", "yes").strip().lower() != "no":
            suites, components = (tuple(found.get(name, "").split()) for name in ("suites", "components"))
            for url in found.get("uris", "").split():
                yield Source(url, suites, components, found.get("signed-by", "").strip())
