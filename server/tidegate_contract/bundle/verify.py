"""Whether a directory holds the bytes that were asked for: answered before anything in them is parsed.

The order is the point. The digest of the manifest's bytes comes first, then the manifest
is parsed, then every file that it lists is hashed. A model file is read again by
`VerifiedBundle.read`, which hashes what it hands out: a volume that somebody writes to
in between gives an error, never other bytes.
"""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tidegate_contract.bundle import timings
from tidegate_contract.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest, ManifestError, decode, digest_of
from tidegate_contract.bundle.timings import MAX_TIMINGS_BYTES, TIMINGS_NAME, Timings
from tidegate_contract.failure import BundleError, FailureReason

MAX_MANIFEST_BYTES = 4 << 20
"""Fifty golden rows of a wide table are far below this; a larger file is no manifest."""

_CHUNK = 1 << 20
_LINK = "{path} is, or lies behind, a symbolic link; put the file itself into the bundle"


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """A bundle whose bytes are the ones its digest names."""

    directory: Path
    digest: str
    """`sha256:<64 hex>` of manifest.json."""
    manifest: Manifest

    def read(self, path: str) -> bytes:
        """The bytes of a listed file, hashed once more as they are read.

        Raises BundleError if they changed since the bundle was verified.
        """
        entry = self.manifest.files[path]
        with _open(self.directory, path) as file:
            content = file.read(entry.size + 1)
        _compare(path, entry, len(content), hashlib.sha256(content).hexdigest())
        return content

    def read_manifest(self) -> bytes:
        """The bytes of manifest.json, those of the digest.

        Raises BundleError if they changed since the bundle was verified.
        """
        content = _read_manifest(self.directory)
        _expect(self.digest, digest_of(content))
        return content

    def read_timings(self) -> bytes | None:
        """The bytes of timings.json, which no digest covers; None where there is none that can be used.

        It is advice and never a reason to refuse a bundle.
        """
        try:
            with _open(self.directory, TIMINGS_NAME) as file:
                content = file.read(MAX_TIMINGS_BYTES + 1)
        except (OSError, BundleError):
            return None
        return content if timings.decode(content) else None

    def timings(self) -> Timings | None:
        """What was measured where the bundle was packed, if that is known."""
        content = self.read_timings()
        return None if content is None else timings.decode(content)


def verify(directory: Path, expected_digest: str | None) -> VerifiedBundle:
    """Check a bundle directory against a digest, or against itself if none is given.

    Files that the manifest does not list are neither read nor served.
    Raises BundleError with the reason BUNDLE_NOT_FOUND, TOO_LARGE, DIGEST_MISMATCH or BUNDLE_INVALID.
    """
    content = _read_manifest(directory)
    digest = digest_of(content)
    if expected_digest is not None:
        _expect(expected_digest, digest)
    try:
        manifest = decode(content)
    except ManifestError as error:
        raise BundleError(FailureReason.BUNDLE_INVALID, f"{error}; pack the model again") from error
    for path, entry in sorted(manifest.files.items()):
        _verify_file(directory, path, entry)
    return VerifiedBundle(directory, digest, manifest)


def _expect(wanted: str, found: str) -> None:
    if wanted != found:
        raise BundleError(
            FailureReason.DIGEST_MISMATCH,
            f"the bundle is {found}, and {wanted} was asked for; "
            "correct spec.model.digest, or put the bundle with that digest at the address",
        )


def _read_manifest(directory: Path) -> bytes:
    if not directory.is_dir():
        raise BundleError(FailureReason.BUNDLE_NOT_FOUND, f"{directory} is not a directory; give the bundle's folder")
    try:
        with _open(directory, MANIFEST_NAME) as file:
            content = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError as error:
        raise BundleError(
            FailureReason.BUNDLE_NOT_FOUND,
            f"there is no {MANIFEST_NAME} in {directory}; make a bundle with `tidegate pack`",
        ) from error
    if len(content) > MAX_MANIFEST_BYTES:
        raise BundleError(FailureReason.TOO_LARGE, f"{MANIFEST_NAME} is larger than {MAX_MANIFEST_BYTES} bytes")
    return content


def _verify_file(directory: Path, path: str, entry: FileEntry) -> None:
    hasher = hashlib.sha256()
    size = 0
    try:
        with _open(directory, path) as file:
            while size <= entry.size and (chunk := file.read(_CHUNK)):
                size += len(chunk)
                hasher.update(chunk)
    except FileNotFoundError as error:
        raise BundleError(
            FailureReason.BUNDLE_INVALID, f"{path} is listed in the manifest and missing; copy the bundle again, whole"
        ) from error
    _compare(path, entry, size, hasher.hexdigest())


def _compare(path: str, entry: FileEntry, size: int, sha256: str) -> None:
    if size != entry.size:
        found = f"more than {entry.size}" if size > entry.size else str(size)
        raise BundleError(
            FailureReason.DIGEST_MISMATCH,
            f"{path} has {found} bytes and the manifest says {entry.size}; copy the bundle again",
        )
    if sha256 != entry.sha256:
        raise BundleError(
            FailureReason.DIGEST_MISMATCH,
            f"{path} has sha256 {sha256} and the manifest says {entry.sha256}; copy the bundle again",
        )


def _open(directory: Path, path: str) -> BinaryIO:
    """Open a regular file below a directory for reading; a symbolic link on the way is refused.

    Raises FileNotFoundError, or BundleError for anything that is not a plain, readable file.
    """
    parts = PurePosixPath(path).parts
    try:
        for depth in range(1, len(parts)):
            if stat.S_ISLNK(os.lstat(directory.joinpath(*parts[:depth])).st_mode):
                raise BundleError(FailureReason.BUNDLE_INVALID, _LINK.format(path=path))
        descriptor = os.open(directory.joinpath(*parts), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BundleError(FailureReason.BUNDLE_INVALID, _LINK.format(path=path)) from error
        raise BundleError(FailureReason.BUNDLE_INVALID, f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleError(FailureReason.BUNDLE_INVALID, f"{path} is not a regular file; copy the bundle again")
    return os.fdopen(descriptor, "rb")
