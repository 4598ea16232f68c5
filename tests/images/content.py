"""What goes into the images, and the tag that follows: the same content has the same tag, and is built once."""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOCAL_REGISTRY = "tidegate.local"
"""The registry in the names of images that never leave this machine. Nothing answers there."""


@dataclass(frozen=True)
class Image:
    """One image: its name and how to build it."""

    name: str
    dockerfile: str
    target: str | None = None

    def reference(self, registry: str, tag: str) -> str:
        return f"{registry}/{self.name}:{tag}"


OPERATOR = Image("tidegate-operator", "operator/Dockerfile")
SERVER = Image("tidegate-server", "server/Dockerfile", "server")
TOOLS = Image("tidegate-tools", "server/Dockerfile", "tools")
IMAGES = (OPERATOR, SERVER, TOOLS)

LOCKS = ("build", "operator", "server", "tools")
"""The locks of requirements/ that the Dockerfiles install from."""

FILES = (
    *(f"requirements/{lock}.txt" for lock in LOCKS),
    "operator/Dockerfile",
    "server/Dockerfile",
    "pyproject.toml",
    "LICENSE",
)
PACKAGES = (
    "operator/tidegate_operator",
    "server/tidegate_cluster",
    "server/tidegate_contract",
    "server/tidegate_router",
    "server/tidegate_server",
)
# The wheel's metadata holds a copy of these and nothing reads it there: a word in them shall not build an image.
UNREAD = (".dockerignore", "README.md")


def sources(checkout: Path) -> Iterator[str]:
    """The files that decide what the images are, as paths from the checkout, in a fixed order."""
    yield from FILES
    for package in PACKAGES:
        for path in sorted((checkout / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(checkout).as_posix()


def version(checkout: Path) -> str:
    return str(tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["version"])


def tag(checkout: Path, base: str | None) -> str:
    """Version and the hash of the content; `base` is the base image, None for the one that the Dockerfiles name."""
    found = hashlib.sha256(repr(base).encode())
    for name in sources(checkout):
        data = (checkout / name).read_bytes()
        found.update(f"{name} {len(data)}\n".encode() + data)
    return f"{version(checkout)}-{found.hexdigest()[:12]}"


def snapshot(checkout: Path, target: Path) -> Path:
    """Copy the build context; the tag is taken from the copy, so that no edit gets into an image of another tag."""
    for name in (*sources(checkout), *UNREAD):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(checkout / name, target / name)
    return target
