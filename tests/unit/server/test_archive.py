"""A tar stream stays inside its directory and inside its limits."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate_contract.failure import BundleError, FailureReason
from tidegate_server.sources.archive import TruncatedError, unpack

LIMIT = 4 << 20


def _tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _file(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), content


def _special(name: str, kind: bytes, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b""


def _unpack(content: bytes, directory: Path, limit: int = LIMIT) -> int:
    return unpack(io.BytesIO(content).read, directory, limit)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_files_and_folders_come_out_as_they_went_in(
    compress: Callable[[bytes], bytes], form: int, tmp_path: Path
) -> None:
    large = bytes(range(256)) * 4000
    archive = _tar(_special("a", tarfile.DIRTYPE), _file("a/b.bin", large), _file("./c", b""), form=form)
    assert _unpack(compress(archive), tmp_path) == len(large)
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")} == {"a", "a/b.bin", "c"}
    assert (tmp_path / "a/b.bin").read_bytes() == large


HOSTILE: dict[str, tuple[bytes, FailureReason]] = {
    "an absolute path": (_tar(_file("/tmp/evil")), FailureReason.BUNDLE_INVALID),
    "a path that climbs": (_tar(_file("../evil")), FailureReason.BUNDLE_INVALID),
    "a folder that climbs": (_tar(_special("a/../../evil", tarfile.DIRTYPE)), FailureReason.BUNDLE_INVALID),
    "a symbolic link": (_tar(_special("link", tarfile.SYMTYPE, "/etc")), FailureReason.BUNDLE_INVALID),
    "a hard link": (_tar(_file("a"), _special("b", tarfile.LNKTYPE, "a")), FailureReason.BUNDLE_INVALID),
    "a device": (_tar(_special("null", tarfile.CHRTYPE)), FailureReason.BUNDLE_INVALID),
    "a pipe": (_tar(_special("pipe", tarfile.FIFOTYPE)), FailureReason.BUNDLE_INVALID),
    "one name twice": (_tar(_file("a"), _file("a")), FailureReason.BUNDLE_INVALID),
    "a file below a file": (_tar(_file("a"), _file("a/b")), FailureReason.BUNDLE_INVALID),
    "a file larger than the limit": (_tar(_file("a", bytes(LIMIT + 1))), FailureReason.TOO_LARGE),
    "many files larger than the limit": (
        _tar(*[_file(f"{i}", bytes(1 << 20)) for i in range(5)]),
        FailureReason.TOO_LARGE,
    ),
    "a bomb": (gzip.compress(_tar(_file("a", bytes(LIMIT * 8)))), FailureReason.TOO_LARGE),
    "too many files": (_tar(*[_file(f"{i}", b"") for i in range(1001)]), FailureReason.TOO_LARGE),
    "no archive": (b"<html>sign in</html>" * 100, FailureReason.BUNDLE_INVALID),
    "a gzip that holds no archive": (gzip.compress(b"hello" * 1000), FailureReason.BUNDLE_INVALID),
    "a gzip that is damaged": (gzip.compress(b"x")[:4] + b"\xff" * 500, FailureReason.BUNDLE_INVALID),
    "nothing": (b"", FailureReason.BUNDLE_INVALID),
}


@pytest.mark.parametrize(("content", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_refused(content: bytes, reason: FailureReason, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(BundleError) as caught:
        _unpack(content, inside)
    assert caught.value.failure.reason is reason
    assert [path.name for path in tmp_path.iterdir()] == ["inside"], "nothing was written outside"


def test_a_header_that_claims_gigabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 4 << 30
    served = 0

    def endless(size: int) -> bytes:
        nonlocal served
        first = header.tobuf(tarfile.USTAR_FORMAT) if served == 0 else bytes(size)
        served += len(first)
        return first

    with pytest.raises(BundleError) as caught:
        unpack(endless, tmp_path, 10 << 30)
    assert caught.value.failure.reason is FailureReason.TOO_LARGE
    assert served < 4 << 20


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_stream_that_breaks_off_is_worth_another_try(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    import random

    whole = compress(_tar(_file("a", b"1"), _file("b", random.Random(1).randbytes(500_000))))
    with pytest.raises(TruncatedError):
        _unpack(whole[: len(whole) // 2], tmp_path)
