"""A bundle as an image: read back as a container runtime would."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from bundles import FILES, write_bundle
from tidegate_contract.bundle.verify import verify
from tidegate_contract.failure import BundleError
from tidegate_server.offline.push import push


class Archive:
    """An OCI archive, every blob checked against its digest and size."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member) for member in tar.getmembers()}
            self.files = {name: file.read() for name, file in members.items() if file is not None}

    def json(self, descriptor: dict[str, Any]) -> Any:
        return json.loads(self.blob(descriptor))

    def blob(self, descriptor: dict[str, Any]) -> bytes:
        algorithm, _, digest = descriptor["digest"].partition(":")
        content = self.files[f"blobs/{algorithm}/{digest}"]
        assert hashlib.sha256(content).hexdigest() == digest
        assert len(content) == descriptor["size"]
        return content


@pytest.fixture
def bundle_dir(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_the_image_is_one_layer_whose_root_is_the_bundle(bundle_dir: Path, tmp_path: Path) -> None:
    pushed = push(bundle_dir, f"oci-archive:{tmp_path / 'a.tar'}:registry.example.com/flights:1")
    archive = Archive(tmp_path / "a.tar")
    assert json.loads(archive.files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (named,) = json.loads(archive.files["index.json"])["manifests"]
    assert named["digest"] == pushed.image_digest
    assert named["annotations"]["org.opencontainers.image.ref.name"] == "registry.example.com/flights:1"
    index = archive.json(named)
    assert index["annotations"]["models.tidegate.dev/bundle-digest"] == pushed.bundle_digest
    assert [entry["platform"] for entry in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    layers = set()
    for entry in index["manifests"]:
        manifest = archive.json(entry)
        config = archive.json(manifest["config"])
        assert {key: config[key] for key in ("architecture", "os")} == entry["platform"]
        (layer,) = manifest["layers"]
        assert config["rootfs"] == {"type": "layers", "diff_ids": [layer["digest"]]}, "the layer is not compressed"
        layers.add(layer["digest"])
    assert len(layers) == 1
    with tarfile.open(fileobj=io.BytesIO(archive.blob(layer))) as tar:
        members = [(m.name, m.isdir(), oct(m.mode), m.mtime, m.uid, m.gid, m.uname) for m in tar.getmembers()]
        tar.extractall(tmp_path / "mounted", filter="data")
    assert members == [
        ("extra", True, "0o555", 0, 0, 0, ""),
        ("extra/notes.txt", False, "0o444", 0, 0, 0, ""),
        ("manifest.json", False, "0o444", 0, 0, 0, ""),
        ("model.skops", False, "0o444", 0, 0, 0, ""),
    ]
    assert verify(tmp_path / "mounted", pushed.bundle_digest).digest == pushed.bundle_digest


def test_the_same_bundle_gives_the_same_image(bundle_dir: Path, tmp_path: Path) -> None:
    first = push(bundle_dir, f"oci-archive:{tmp_path / 'a.tar'}")
    (tmp_path / "copy").mkdir()
    write_bundle(tmp_path / "copy")
    (tmp_path / "copy/model.skops").chmod(0o600)
    (tmp_path / "copy/unlisted").write_bytes(b"not in the manifest")
    second = push(tmp_path / "copy", f"oci-archive:{tmp_path / 'b.tar'}")
    assert second.image_digest == first.image_digest
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_damaged_bundle_is_not_pushed(bundle_dir: Path, tmp_path: Path) -> None:
    (bundle_dir / "model.skops").write_bytes(FILES["model.skops"].upper())
    with pytest.raises(BundleError):
        push(bundle_dir, f"oci-archive:{tmp_path / 'a.tar'}")
    assert not (tmp_path / "a.tar").exists()
