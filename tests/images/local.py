"""For the cluster of this checkout: buildah on the local base image, from a wheelhouse, without a network.

The node gets the images through the cluster's registry: only the layers that it lacks travel, where an archive would
carry all of them after every edit (0.2 s instead of 10 s). They are named after no host, so that they have the same
names, and a model the same revision, in every checkout's cluster.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cluster.layout import Cache
from cluster.shell import locked, run, run_logged, succeeds
from cluster.steps import ClusterError, Steps
from cluster.tools import ENVOY, envoy_program, install_envoy

from . import wheels
from .content import LOCAL_REGISTRY, OPERATOR, SERVER, TOOLS, Image, snapshot, tag

# Two lanes for two cores; the server takes as long as the others together.
LANES = ((SERVER,), (OPERATOR, TOOLS))
ENVOY_REFERENCE = f"{LOCAL_REGISTRY}/envoy:{ENVOY.version}"
"""Envoy itself, as the official image has it; elsewhere that one is pulled."""
ENVOY_FILE = Path(__file__).with_name("envoy.Dockerfile")


@dataclass(frozen=True)
class Node:
    """Where the images go: a `ctr` that talks to the node's containerd, and the registry that both sides reach."""

    ctr: Path
    registry: str

    def images(self) -> set[str]:
        return set(run([self.ctr, "images", "list", "--quiet"]).split())

    def give(self, reference: str, env: Mapping[str, str]) -> None:
        passing = reference.replace(LOCAL_REGISTRY, self.registry, 1)
        options = ["--quiet", "--tls-verify=false", "--compression-format", "zstd"]  # a third of gzip's time
        run(["buildah", "push", *options, reference, f"docker://{passing}"], env=env)
        run([self.ctr, "images", "pull", "--plain-http", passing])
        run([self.ctr, "images", "tag", "--force", passing, reference])
        run([self.ctr, "images", "remove", passing])


def build(checkout: Path, steps: Steps) -> str:
    """Build what is not in buildah's storage, give the node what it lacks, and return the tag."""
    settings = build_settings(checkout)
    base, cache = settings["BASE_IMAGE"], Path(settings["TIDEGATE_CACHE"])
    env = {**os.environ, **settings}
    node = find_node(checkout)
    with tempfile.TemporaryDirectory(prefix="tidegate-images-") as folder:
        context = snapshot(checkout, Path(folder))
        name = tag(context, base)
        references = {image: image.reference(LOCAL_REGISTRY, name) for lane in LANES for image in lane}
        wanted = {*references.values(), ENVOY_REFERENCE}
        unbuilt = wanted - _built(env)
        lacking = wanted - node.images() if node else set()
        if unbuilt or lacking:
            with locked(cache / "locks" / "images"):
                unbuilt -= _built(env)  # someone else may have, while we waited
                options = _options(checkout, base, cache, steps) if unbuilt else []

                def work(lane: tuple[Image, ...]) -> None:
                    for image in lane:
                        if references[image] in unbuilt:
                            with steps.step(f"build {image.name}"):
                                _build(image, references[image], context, options, cache, env)
                        if node and references[image] in lacking:
                            with steps.step(f"give {image.name} to the node"):
                                node.give(references[image], env)

                with ThreadPoolExecutor(len(LANES)) as pool:
                    list(pool.map(work, LANES))
                if ENVOY_REFERENCE in unbuilt:
                    with steps.step("build envoy"):
                        _build_envoy(Cache(cache), base, steps, env)
                if node and ENVOY_REFERENCE in lacking:
                    with steps.step("give envoy to the node"):
                        node.give(ENVOY_REFERENCE, env)
    where = "on the node" if node else "built; the next `make images` after `make cluster` brings them to the node"
    steps.say(f"The images of {name} are {where}.")
    return name


def build_settings(checkout: Path) -> dict[str, str]:
    """The base image, and where buildah keeps its images."""
    settings = _cluster_env(checkout, "--build-only")
    if settings is None:
        raise ClusterError("`python3 -m cluster env --build-only` does not say what images are built with.")
    return settings


def find_node(checkout: Path) -> Node | None:
    """The node of this checkout's cluster, if it runs."""
    found = _cluster_env(checkout)
    if found is None:
        return None
    node = Node(Path(found["CLUSTER_BIN"]) / "ctr", found["CLUSTER_REGISTRY"])
    return node if node.ctr.exists() and succeeds([node.ctr, "version"]) else None


def _cluster_env(checkout: Path, *options: str) -> dict[str, str] | None:
    """What `cluster env` prints; None while this checkout has no cluster."""
    command = [sys.executable, "-m", "cluster", "env", *options]
    env = {**os.environ, "PYTHONPATH": str(checkout / "tests")}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    if done.returncode:
        return None
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def _built(env: Mapping[str, str]) -> set[str]:
    if not Path(env["CONTAINERS_STORAGE_CONF"]).exists():
        return set()
    return set(run(["buildah", "images", "--format", "{{.Name}}:{{.Tag}}"], env=env).split())


def _options(checkout: Path, base: str, cache: Path, steps: Steps) -> list[str | Path]:
    """Base image and wheelhouse, made at the same time where missing: one computes, the other waits."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        making = pool.submit(_make_base, checkout)
        wheelhouse = wheels.fetch(cache, checkout, steps)
        making.result()
    there = f"/{wheelhouse.name}"  # of its content, or buildah would take layers that were made of other wheels
    options: list[str | Path] = ["--layers", "--pull-never", "--volume", f"{wheelhouse}:{there}:ro"]
    for argument in (f"BASE={base}", "PIP_NO_INDEX=1", f"PIP_FIND_LINKS={there}"):
        options += ["--build-arg", argument]
    return options


def _make_base(checkout: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(checkout / "tests")}
    if subprocess.run([sys.executable, "-m", "cluster", "base"], check=False, env=env).returncode:
        raise ClusterError("The base image could not be built; the reason stands above.")


def _build(
    image: Image, reference: str, context: Path, options: list[str | Path], cache: Path, env: Mapping[str, str]
) -> None:
    target = ["--target", image.target] if image.target else []
    command = ["buildah", "bud", *options, *target, "--file", context / image.dockerfile, "--tag", reference, context]
    run_logged(command, cache / "logs" / f"{image.name}.log", env=env)


def _build_envoy(cache: Cache, base: str, steps: Steps, env: Mapping[str, str]) -> None:
    install_envoy(cache, steps)
    options: list[str | Path] = ["--pull-never", "--build-arg", f"BASE={base}", "--file", ENVOY_FILE]
    command = ["buildah", "bud", *options, "--tag", ENVOY_REFERENCE, envoy_program(cache).parent]
    run_logged(command, cache.logs / "envoy-image.log", env=env)
