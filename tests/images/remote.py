"""For any other cluster: whichever engine is here builds on the official base image, and pushes to a registry.

A cluster that shares this machine's engine (kind, k3d, minikube) can load the images without one.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from cluster.shell import run, succeeds
from cluster.steps import ClusterError, Steps

from .content import IMAGES, LOCAL_REGISTRY, snapshot, tag

ENGINES = ("docker", "podman", "buildah")
# The installed program is not enough: docker's daemon may not run.
PROBE = {"docker": "info", "podman": "info", "buildah": "info"}
LOADERS = {
    "kind-": "kind load docker-image {images} --name {cluster}",
    "k3d-": "k3d image import {images} --cluster {cluster}",
    "minikube": "minikube image load {images}",
}


def find_engine(wanted: str | None) -> str:
    """The engine that was asked for, else the first that works."""
    for engine in [wanted] if wanted else ENGINES:
        if shutil.which(engine) and succeeds([engine, PROBE[engine]]):
            return engine
    if wanted:
        raise ClusterError(f"{wanted} is not installed or does not answer to `{wanted} {PROBE[wanted]}`.")
    raise ClusterError("None of docker, podman and buildah works here; images are built with one of them.")


def build(
    checkout: Path, registry: str | None, engine: str | None, push: bool, steps: Steps, *, plain_http: bool = False
) -> str:
    """Build what the engine lacks, push if asked to, and return the tag."""
    if push and not registry:
        raise ClusterError(
            "Where shall the images go? Say REGISTRY=<host>/<path>, a registry that the cluster can pull from."
        )
    engine = find_engine(engine)
    where = registry or LOCAL_REGISTRY
    inspect = ["inspect", "--type", "image"] if engine == "buildah" else ["image", "inspect"]
    verb = ["bud", "--layers"] if engine == "buildah" else ["build"]
    with tempfile.TemporaryDirectory(prefix="tidegate-images-") as folder:
        context = snapshot(checkout, Path(folder))
        name = tag(context, None)
        references = {image: image.reference(where, name) for image in IMAGES}
        for image, reference in references.items():
            if succeeds([engine, *inspect, reference]):
                continue
            target = ["--target", image.target] if image.target else []
            file = str(context / image.dockerfile)
            with steps.step(f"build {reference}"):
                _show([engine, *verb, "--file", file, *target, "--tag", reference, folder])
    if push:
        for reference in references.values():
            with steps.step(f"push {reference}"):
                _show(push_command(engine, reference, plain_http=plain_http))
    elif not registry:
        steps.say(how_to_load(_context(), list(references.values())))
    steps.say("Install them:")
    steps.say(f"  helm upgrade --install tidegate charts/tidegate --set image.registry={where} --set image.tag={name}")
    return name


def push_command(engine: str, reference: str, *, plain_http: bool) -> list[str]:
    """How an engine pushes; docker takes `localhost` as a registry without TLS, and others by its own configuration.

    >>> push_command("podman", "localhost:5001/tidegate-server:1", plain_http=True)
    ['podman', 'push', '--tls-verify=false', 'localhost:5001/tidegate-server:1']
    """
    return [engine, "push", *(["--tls-verify=false"] if plain_http and engine != "docker" else []), reference]


def how_to_load(context: str, references: list[str]) -> str:
    """What brings images without a registry into the cluster of a kube context.

    >>> how_to_load("kind-dev", ["tidegate.local/tidegate-server:1"])
    'Bring them into the cluster: kind load docker-image tidegate.local/tidegate-server:1 --name dev'
    """
    for prefix, command in LOADERS.items():
        if context.startswith(prefix):
            said = command.format(images=" ".join(references), cluster=context.removeprefix(prefix))
            return f"Bring them into the cluster: {said}"
    return f"The cluster of context `{context}` pulls from a registry: run this again with REGISTRY=<host>/<path>."


def _context() -> str:
    try:
        return run(["kubectl", "config", "current-context"]).strip()
    except (ClusterError, FileNotFoundError):
        return ""


def _show(command: list[str]) -> None:
    """An engine shows its own progress, and asks for a login in its own words."""
    if subprocess.run(command, check=False).returncode:
        raise ClusterError(f"`{' '.join(command[:2])}` failed; its words stand above.")
