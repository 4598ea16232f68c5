"""A tar stream, plain or gzip, unpacked into a directory and nowhere else.

The archive is an enemy until it is proven otherwise: members are regular files and
directories only, paths stay inside, and the bytes, the files and the headers are each
counted as they come, so that neither a bomb nor an endless stream fills disk or memory.
"""

import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from tidegate_contract.bundle.manifest import MAX_FILES, MAX_PATH
from tidegate_contract.failure import BundleError, FailureReason

_CHUNK = 256 << 10
_HEADER_BYTES = 1 << 20
"""What one member may spend on headers; tarfile reads extended headers into memory, whatever size they claim."""
_GZIP_MAGIC = b"\x1f\x8b"

Read = Callable[[int], bytes]


class TruncatedError(Exception):
    """The stream ended in the middle: worth another try."""


class _Plain:
    """What tarfile reads from: the stream without its compression, within an allowance of bytes."""

    def __init__(self, read: Read, max_bytes: int) -> None:
        self._read = read
        self._left_in_total = max_bytes
        self._allowed = 0
        self._buffer = bytearray()
        self._inflate: zlib._Decompress | None = None
        self._started = False

    def allow(self, count: int) -> None:
        """From here on, `count` bytes may be read; more is an error."""
        self._allowed = count

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer at the end of the stream. Raises BundleError TOO_LARGE, TruncatedError."""
        while len(self._buffer) < size and self._fill(size):
            pass
        chunk = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._allowed -= len(chunk)
        self._left_in_total -= len(chunk)
        if self._allowed < 0 or self._left_in_total < 0:
            raise _too_large()
        return chunk

    def _fill(self, size: int) -> bool:
        if self._inflate is not None and self._inflate.unconsumed_tail:
            raw = self._inflate.unconsumed_tail
        else:
            raw = self._read(_CHUNK)
        if not self._started:
            self._started = True
            if raw.startswith(_GZIP_MAGIC):
                self._inflate = zlib.decompressobj(wbits=31)
        if self._inflate is None:
            self._buffer += raw
            return bool(raw)
        if not raw:
            if not self._inflate.eof:
                raise TruncatedError
            return False
        if self._inflate.eof:
            return False
        try:
            self._buffer += self._inflate.decompress(raw, max(size, _CHUNK))
        except zlib.error as error:
            raise _not_an_archive() from error
        return True


def unpack(read: Read, directory: Path, max_bytes: int) -> int:
    """Unpack a stream into an existing, empty directory; the number of bytes written.

    `read(n)` gives up to n bytes, and none at the end. `max_bytes` bounds what is unpacked, headers included.
    Raises BundleError with BUNDLE_INVALID or TOO_LARGE, TruncatedError.
    """
    plain = _Plain(read, max_bytes)
    written = count = 0
    plain.allow(_HEADER_BYTES)
    try:
        with tarfile.open(fileobj=plain, mode="r|", bufsize=tarfile.RECORDSIZE) as tar:  # type: ignore[call-overload]
            for count, member in enumerate(tar, start=1):
                if count > MAX_FILES:
                    raise BundleError(FailureReason.TOO_LARGE, f"the archive has more than {MAX_FILES} members")
                plain.allow(member.size + _HEADER_BYTES)
                written += _write(tar, member, directory)
                plain.allow(_HEADER_BYTES)
    except tarfile.TarError as error:
        if count:
            raise TruncatedError from error
        raise _not_an_archive() from error
    except (OverflowError, ValueError, EOFError) as error:
        raise _not_an_archive() from error
    return written


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, directory: Path) -> int:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or len(member.name) > MAX_PATH or "\\" in member.name:
        raise _refused(member.name, "leads out of the bundle")
    if member.isdir():
        directory.joinpath(path).mkdir(parents=True, exist_ok=True)
        return 0
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise _refused(member.name, "is not a regular file")
    target = directory.joinpath(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source = tar.extractfile(member)
        with target.open("xb") as file:
            while source is not None and (chunk := source.read(_CHUNK)):
                file.write(chunk)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _refused(member.name, "is in it twice") from error
    return member.size


def _refused(name: str, why: str) -> BundleError:
    return BundleError(
        FailureReason.BUNDLE_INVALID, f"the archive's member {name[:100]!r} {why}; make it with `tar czf` of the bundle"
    )


def _too_large() -> BundleError:
    return BundleError(FailureReason.TOO_LARGE, "the archive unpacks to more bytes than a bundle may have")


def _not_an_archive() -> BundleError:
    return BundleError(
        FailureReason.BUNDLE_INVALID, "what is at the address is not a tar or tar.gz archive; make it with `tar czf`"
    )
