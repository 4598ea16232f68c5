"""A directory is a bundle only if every byte of it is the one that was asked for."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bundles import FILES, manifest, write_bundle
from tidegate_contract.bundle.manifest import FileEntry, encode
from tidegate_contract.bundle.verify import MAX_MANIFEST_BYTES, VerifiedBundle, verify
from tidegate_contract.failure import BundleError, FailureReason

OTHER_DIGEST = "sha256:" + "0" * 64


def _reason(directory: Path, digest: str | None = None) -> FailureReason:
    with pytest.raises(BundleError) as caught:
        verify(directory, digest)
    assert len(caught.value.failure.message) > 20, "a sentence that says what to do"
    return caught.value.failure.reason


def test_a_whole_bundle_is_verified(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path)
    assert verify(tmp_path, digest) == VerifiedBundle(tmp_path, digest, manifest())


def test_without_a_digest_the_files_are_still_verified(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path)
    assert verify(tmp_path, None).digest == digest


def test_the_digest_is_looked_at_before_the_manifest_is_parsed(tmp_path: Path) -> None:
    write_bundle(tmp_path, b"this is no JSON at all")
    assert _reason(tmp_path, OTHER_DIGEST) is FailureReason.DIGEST_MISMATCH


def test_the_manifest_is_parsed_only_if_the_digest_is_right(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path, b"this is no JSON at all")
    assert _reason(tmp_path, digest) is FailureReason.BUNDLE_INVALID


def test_files_that_are_not_listed_do_not_matter(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path)
    (tmp_path / "unlisted").symlink_to("/etc/passwd")
    assert verify(tmp_path, digest).digest == digest


def _remove(path: Path) -> None:
    path.unlink()


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"!")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _change(path: Path) -> None:
    path.write_bytes(b"X" + path.read_bytes()[1:])


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _link_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to("moved")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


TAMPERED: dict[str, tuple[Callable[[Path], None], FailureReason]] = {
    "a file is missing": (_remove, FailureReason.BUNDLE_INVALID),
    "a file is longer": (_append, FailureReason.DIGEST_MISMATCH),
    "a file is shorter": (_truncate, FailureReason.DIGEST_MISMATCH),
    "a byte of a file is another one": (_change, FailureReason.DIGEST_MISMATCH),
    "a file is a symbolic link": (_link, FailureReason.BUNDLE_INVALID),
    "a folder is a symbolic link": (_link_folder, FailureReason.BUNDLE_INVALID),
    "a file is a named pipe": (_pipe, FailureReason.BUNDLE_INVALID),
    "a file is a folder": (_folder, FailureReason.BUNDLE_INVALID),
}


@pytest.mark.parametrize(("tamper", "reason"), TAMPERED.values(), ids=TAMPERED)
def test_refused_when(tamper: Callable[[Path], None], reason: FailureReason, tmp_path: Path) -> None:
    digest = write_bundle(tmp_path)
    tamper(tmp_path / "extra/notes.txt")
    assert _reason(tmp_path, digest) is reason


def test_another_bundle_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    assert _reason(tmp_path, OTHER_DIGEST) is FailureReason.DIGEST_MISMATCH


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    assert _reason(tmp_path) is FailureReason.BUNDLE_NOT_FOUND


def test_no_folder_is_no_bundle(tmp_path: Path) -> None:
    assert _reason(tmp_path / "missing") is FailureReason.BUNDLE_NOT_FOUND


def test_a_manifest_that_is_a_link_is_refused(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path)
    _link(tmp_path / "manifest.json")
    assert _reason(tmp_path, digest) is FailureReason.BUNDLE_INVALID


def test_a_manifest_without_an_end_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path, b" " * (MAX_MANIFEST_BYTES + 1))
    assert _reason(tmp_path) is FailureReason.TOO_LARGE


def test_a_listed_path_outside_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"")
    entries = {**manifest().files, "../secret": FileEntry("0" * 64, 0)}
    (tmp_path / "bundle").mkdir()
    digest = write_bundle(tmp_path / "bundle", encode(manifest(files=entries)))
    assert _reason(tmp_path / "bundle", digest) is FailureReason.BUNDLE_INVALID


def test_a_file_is_read_as_it_was_verified(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    assert verify(tmp_path, None).read("model.skops") == FILES["model.skops"]


@pytest.mark.parametrize("tamper", [_change, _append, _truncate], ids=["changed", "grown", "cut"])
def test_a_file_that_changed_since_is_not_handed_out(tamper: Callable[[Path], None], tmp_path: Path) -> None:
    write_bundle(tmp_path)
    bundle = verify(tmp_path, None)
    tamper(tmp_path / "model.skops")
    with pytest.raises(BundleError) as caught:
        bundle.read("model.skops")
    assert caught.value.failure.reason is FailureReason.DIGEST_MISMATCH


def test_verifying_needs_no_more_than_the_tools_image_has() -> None:
    script = (
        "import sys, tidegate_contract.bundle.verify, tidegate_server.fetch;"
        "roots = {name.split('.')[0] for name in sys.modules};"
        "print(sorted(roots - sys.stdlib_module_names - set(sys.argv[1:])))"
    )
    ours = ["tidegate_contract", "tidegate_server", "msgspec", "numpy", "typing_extensions"]
    before = subprocess.run(
        [sys.executable, "-c", "import sys; print(*{n.split('.')[0] for n in sys.modules})"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    after = subprocess.run([sys.executable, "-c", script, *ours, *before], check=True, capture_output=True, text=True)
    assert after.stdout.strip() == "[]"
