"""The resolver: a bundle's digest for the operator, or the failure that the server would have reported."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bundles import manifest, write_bundle
from tidegate_contract import failure, resolution
from tidegate_contract.bundle import verify as verify_module
from tidegate_contract.bundle.manifest import Format, Lineage, encode
from tidegate_contract.failure import BundleError, Failure, FailureReason
from tidegate_contract.resolution import Card, Resolution
from tidegate_server import resolve as module
from tidegate_server.loader import load_model
from tidegate_server.resolve import card, main

OTHER = "sha256:" + "0" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path / "log"


def _main(folder: Path, log: Path, *more: str) -> int:
    return main([str(folder), "--termination-log", str(log), *more])


def test_a_bundle_is_its_digest_and_its_card(folder: Path, log: Path) -> None:
    digest = write_bundle(folder)
    assert _main(folder, log) == 0
    assert resolution.decode(log.read_text()) == Resolution(digest, card(manifest()))


def test_the_card_says_what_the_manifest_says() -> None:
    lineage = Lineage("LogisticRegression", "ab" * 32, "s3://data", "4f2a", "run-7", "Ada", "2013-03-01T00:00:00Z")
    full = manifest(lineage=lineage, metrics={"roc_auc": 0.75})
    assert card(full) == Card(
        name="flights",
        format="sklearn-skops",
        model="LogisticRegression",
        python="3.11.0",
        libraries={"scikit-learn": "1.9.0"},
        metrics={"roc_auc": 0.75},
        data="sha256:" + "ab" * 32 + " s3://data",
        commit="4f2a",
        run="run-7",
        author="Ada",
        created="2013-03-01T00:00:00Z",
    )
    assert (card(manifest()).data, card(manifest()).metrics) == ("", {})


def test_the_digest_that_was_asked_for_is_taken(folder: Path, log: Path) -> None:
    assert _main(folder, log, "--digest", write_bundle(folder)) == 0
    assert resolution.decode(log.read_text()) is not None


def test_a_model_that_needs_pickle_is_not_opened(folder: Path, log: Path) -> None:
    write_bundle(folder, encode(manifest(format=Format.SKLEARN_JOBLIB)))
    assert _main(folder, log) == 0


def _nothing(folder: Path) -> None:
    folder.rmdir()


def _empty(folder: Path) -> None:
    pass


def _no_manifest(folder: Path) -> None:
    write_bundle(folder, b"{")


def _other_schema(folder: Path) -> None:
    write_bundle(folder, encode(manifest(schema_version=2)))


def _another_bundle(folder: Path) -> None:
    write_bundle(folder, encode(manifest(name="other")))


def _tampered(folder: Path) -> None:
    write_bundle(folder)
    (folder / "model.skops").write_bytes(b"not a model, only bytes!")


def _missing(folder: Path) -> None:
    write_bundle(folder)
    (folder / "extra/notes.txt").unlink()


def _linked(folder: Path) -> None:
    write_bundle(folder)
    (folder / "model.skops").rename(folder / "elsewhere")
    (folder / "model.skops").symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("make", "digest"),
    [
        (_nothing, None),
        (_empty, None),
        (_no_manifest, None),
        (_other_schema, None),
        (_another_bundle, OTHER),
        (_tampered, None),
        (_missing, None),
        (_linked, None),
    ],
    ids=["no folder", "no manifest", "no JSON", "schema", "digest", "changed", "missing", "link"],
)
def test_a_defect_is_reported_as_the_server_reports_it(
    make: Callable[[Path], None], digest: str | None, folder: Path, log: Path
) -> None:
    make(folder)
    assert _main(folder, log, *(["--digest", digest] if digest else [])) == 1
    with pytest.raises(BundleError) as caught:
        load_model(folder, digest, allow_pickle=False)
    assert failure.decode(log.read_text()) == caught.value.failure


def test_a_volume_that_breaks_off_is_said(folder: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    write_bundle(folder)
    monkeypatch.setattr(verify_module, "_verify_file", fail)
    assert _main(folder, log) == 1
    words = "the bundle cannot be read: Input/output error; see to its volume, or copy it again"
    assert failure.decode(log.read_text()) == Failure(FailureReason.BUNDLE_INVALID, words)


def test_a_bug_is_not_laid_to_the_bundle(
    folder: Path, log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr(module, "verify", fail)
    assert _main(folder, log) == 1
    assert log.read_text() == ""
    said = capsys.readouterr().err
    assert ('"exception":"KeyError"' in said, "a secret" in said) == (True, False)


def test_without_a_kubelet_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    write_bundle(folder)
    assert _main(folder, tmp_path / "log") == 0
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("digest", ["sha256:1", OTHER + "\n", "md5:" + "0" * 64])
def test_a_digest_that_is_none_is_a_wrong_call(digest: str, folder: Path, log: Path) -> None:
    assert _main(folder, log, "--digest", digest) == 2


def test_as_a_process_it_needs_no_more_than_the_tools_image_has(folder: Path, log: Path) -> None:
    digest = write_bundle(folder)
    script = (
        "import sys\n"
        "before = {name.split('.')[0] for name in sys.modules}\n"
        "from tidegate_server.resolve import main\n"
        "code = main(sys.argv[1:])\n"
        "after = {name.split('.')[0] for name in sys.modules}\n"
        "ours = {'tidegate_contract', 'tidegate_server', 'msgspec', 'numpy', 'typing_extensions'}\n"
        "print(code, sorted(after - before - ours - sys.stdlib_module_names))"
    )
    arguments = [str(folder), "--termination-log", str(log)]
    done = subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True)
    assert done.stdout == "0 []\n"
    found = resolution.decode(log.read_text())
    assert found is not None
    assert found.digest == digest


def test_the_module_runs_as_a_command(folder: Path, log: Path) -> None:
    command = [sys.executable, "-m", "tidegate_server.resolve", str(folder), "--termination-log", str(log)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (refused.returncode, '"reason":"BundleNotFound"' in refused.stderr) == (1, True)


def test_sigterm_while_libraries_are_imported(folder: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    (tmp_path / "msgspec.py").write_text(f"import time; open({str(begun)!r}, 'w').close(); time.sleep(60)")
    command = [sys.executable, "-m", "tidegate_server.resolve", str(folder)]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environ) as process:
        try:
            deadline = time.monotonic() + 20
            while not begun.exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.terminate()
            assert process.wait(5) == 143
        finally:
            process.kill()
