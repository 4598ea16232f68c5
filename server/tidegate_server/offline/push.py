"""A bundle to where Kubernetes can mount it from: a registry, or an OCI archive file."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tidegate_contract.bundle.verify import verify
from tidegate_server.offline.oci import Image, build_image, write_archive
from tidegate_server.offline.registry import Login, upload

ARCHIVE_PREFIX = "oci-archive:"


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where the bundle is, and what it is."""

    uri: str
    """For `spec.model.uri`: `oci://REGISTRY/NAME:TAG@sha256:...`; of a file, `oci-archive:FILE[:TAG]@sha256:...`."""
    image_digest: str
    """Of the image index."""
    bundle_digest: str
    """For `spec.model.digest`."""


def push(
    directory: Path,
    reference: str,
    *,
    plain_http: bool = False,
    login: Login | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Pushed:
    """Verify a bundle and put it, as an image, to `REGISTRY/NAME:TAG` or `oci-archive:FILE[:TAG]`.

    Without a login, docker's stored ones are used. The same bundle gives the same image digest everywhere.
    Raises BundleError, RegistryError, OSError for a file that cannot be written.
    """
    progress("verifying the bundle")
    bundle = verify(directory, None)
    with tempfile.TemporaryDirectory(prefix="tidegate-push-") as scratch:
        layout = Path(scratch)
        progress("building the image")
        image = build_image(bundle, layout)
        if reference.startswith(ARCHIVE_PREFIX):
            _archive(image, layout, reference.removeprefix(ARCHIVE_PREFIX))
            uri = f"{reference}@{image.index.digest}"
        else:
            reference = reference.removeprefix("oci://")
            upload(image, reference, plain_http=plain_http, login=login, progress=progress)
            uri = f"oci://{reference}@{image.index.digest}"
    return Pushed(uri, image.index.digest, bundle.digest)


def _archive(image: Image, layout: Path, target: str) -> None:
    """Beside the file first, then in its place: a reader never sees half an archive."""
    path, _, name = target.partition(":")
    destination = Path(path).absolute()
    handle, unfinished = tempfile.mkstemp(prefix=f".{destination.name}-", dir=destination.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write_archive(image, layout, file, name)
            os.fchmod(file.fileno(), 0o644)
        Path(unfinished).rename(destination)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
