"""A bundle as an OCI image, in the form that a Kubernetes image volume mounts: one layer whose root is the bundle.

A runtime picks the image of its node's platform out of an index, so there is an index with
one image per architecture; all of them share the one layer, which holds no machine code.
The layer is not compressed: its bytes, and so every digest above it, are the same whatever
compression library a machine has, and a node unpacks it as fast as it reads.

Source: OCI Image Format Specification 1.1, "Image Manifest", "Image Index", "Image Configuration", "Image Layout".
"""

import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from tidegate_contract.bundle.manifest import MANIFEST_NAME
from tidegate_contract.bundle.timings import TIMINGS_NAME
from tidegate_contract.bundle.verify import VerifiedBundle
from tidegate_contract.labels import DOMAIN

ARCHITECTURES = ("amd64", "arm64")
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
BUNDLE_DIGEST = f"{DOMAIN}/bundle-digest"
"""Annotation of the index: the digest of the bundle in it."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes of an image on disk, under the digest that names them."""

    media_type: str
    digest: str
    size: int
    path: Path


@dataclass(frozen=True, slots=True)
class Image:
    """Everything that makes a reference to `index` work, in the order in which a registry takes it."""

    blobs: tuple[Blob, ...]
    """The layer and the configurations."""
    manifests: tuple[Blob, ...]
    index: Blob


def build_image(bundle: VerifiedBundle, layout: Path) -> Image:
    """Write an OCI image layout of a bundle into an empty directory, without the `index.json` that names it.

    The same bundle gives the same bytes. Raises BundleError if a file changed since it was verified.
    """
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    unnamed = blobs / "layer"
    with unnamed.open("wb") as file:
        write_layer(bundle, file)
    with unnamed.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    layer = Blob(LAYER_TYPE, f"sha256:{sha256}", unnamed.stat().st_size, unnamed.rename(blobs / sha256))
    annotations = {BUNDLE_DIGEST: bundle.digest, "org.opencontainers.image.title": bundle.manifest.name}
    configs, manifests, entries = [], [], []
    for architecture in ARCHITECTURES:
        platform = {"architecture": architecture, "os": "linux"}
        rootfs = {"type": "layers", "diff_ids": [layer.digest]}
        config = _store(blobs, CONFIG_TYPE, {**platform, "config": {}, "rootfs": rootfs})
        manifest = _store(
            blobs,
            MANIFEST_TYPE,
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": _descriptor(config),
                "layers": [_descriptor(layer)],
                "annotations": annotations,
            },
        )
        configs.append(config)
        manifests.append(manifest)
        entries.append({**_descriptor(manifest), "platform": platform})
    index = _store(
        blobs,
        INDEX_TYPE,
        {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries, "annotations": annotations},
    )
    return Image((layer, *configs), tuple(manifests), index)


def write_layer(bundle: VerifiedBundle, file: IO[bytes]) -> None:
    """The tar of a bundle: what its manifest lists and its timings, sorted, nobody's, of no time, read-only."""
    beside = {MANIFEST_NAME: bundle.read_manifest()}
    if (timings := bundle.read_timings()) is not None and TIMINGS_NAME not in bundle.manifest.files:
        beside[TIMINGS_NAME] = timings
    paths = sorted([*bundle.manifest.files, *beside])
    folders = sorted({str(parent) for path in paths for parent in PurePosixPath(path).parents} - {"."})
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in folders:
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o555
            tar.addfile(info)
        for path in paths:
            _add(tar, path, beside[path] if path in beside else bundle.read(path), mode=0o444)


def write_archive(image: Image, layout: Path, file: IO[bytes], reference: str) -> None:
    """The layout as one tar file, as `skopeo` and `buildah` read `oci-archive:`; `reference` names the image in it."""
    entry: dict[str, object] = _descriptor(image.index)
    if reference:
        names = {"org.opencontainers.image.ref.name": reference}
        entry["annotations"] = names | ({"io.containerd.image.name": reference} if "/" in reference else {})
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "oci-layout", _encode({"imageLayoutVersion": "1.0.0"}), mode=0o644)
        _add(tar, "index.json", _encode(index), mode=0o644)
        for blob in _sorted((*image.blobs, *image.manifests, image.index)):
            info = tarfile.TarInfo(blob.path.relative_to(layout).as_posix())
            info.size, info.mode = blob.size, 0o644
            with blob.path.open("rb") as content:
                tar.addfile(info, content)


def _sorted(blobs: Iterable[Blob]) -> list[Blob]:
    return sorted({blob.digest: blob for blob in blobs}.values(), key=lambda blob: blob.digest)


def _add(tar: tarfile.TarFile, path: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))


def _store(blobs: Path, media_type: str, document: Mapping[str, object]) -> Blob:
    content = _encode(document)
    sha256 = hashlib.sha256(content).hexdigest()
    path = blobs / sha256
    path.write_bytes(content)
    return Blob(media_type, f"sha256:{sha256}", len(content), path)


def _encode(document: Mapping[str, object]) -> bytes:
    return msgspec.json.encode(document, order="sorted")


def _descriptor(blob: Blob) -> dict[str, object]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}
