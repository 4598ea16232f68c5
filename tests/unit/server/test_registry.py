"""Upload to a real registry process; where there is none, the cluster's tests cover it."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundles import write_bundle
from tidegate_server.offline.errors import RegistryError
from tidegate_server.offline.oci import INDEX_TYPE
from tidegate_server.offline.push import push
from tidegate_server.offline.registry import Login

BINARY = shutil.which("docker-registry")
needs_registry = pytest.mark.skipif(BINARY is None, reason="no docker-registry binary (apt: docker-registry)")
PASSWORD_HASH = "$2b$05$K8qAdzvaU4MrxRHjfxlGrujB88CDPd9AQamc3tbCEbct9X7PIfnxK"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _start(folder: Path, *, auth: str = "") -> tuple[subprocess.Popen[bytes], str]:
    port = _free_port()
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'storage'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n{auth}"
    )
    process = subprocess.Popen(
        [str(BINARY), "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process, f"127.0.0.1:{port}"
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise AssertionError("the registry did not start")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process, address = _start(tmp_path_factory.mktemp("registry"))
    yield address
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that wants a user, `ada`."""
    folder = tmp_path_factory.mktemp("closed")
    (folder / "htpasswd").write_text(f"ada:{PASSWORD_HASH}\n")
    process, address = _start(folder, auth=f"auth: {{htpasswd: {{realm: r, path: {folder / 'htpasswd'}}}}}\n")
    yield address
    process.terminate()
    process.wait()


@pytest.fixture(autouse=True)
def no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def bundle_dir(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@needs_registry
def test_what_is_pushed_is_there_under_its_digest(registry: str, bundle_dir: Path, tmp_path: Path) -> None:
    pushed = push(bundle_dir, f"{registry}/models/flights:1", plain_http=True)
    assert pushed.uri == f"oci://{registry}/models/flights:1@{pushed.image_digest}"
    for reference in ("1", pushed.image_digest):
        request = urllib.request.Request(f"http://{registry}/v2/models/flights/manifests/{reference}")
        request.add_header("Accept", INDEX_TYPE)
        with urllib.request.urlopen(request) as answer:
            assert answer.headers["Docker-Content-Digest"] == pushed.image_digest
            assert [m["platform"]["architecture"] for m in json.load(answer)["manifests"]] == ["amd64", "arm64"]
    archived = push(bundle_dir, f"oci-archive:{tmp_path / 'a.tar'}")
    assert archived.image_digest == pushed.image_digest


@needs_registry
def test_pushing_twice_is_the_same(registry: str, bundle_dir: Path) -> None:
    first = push(bundle_dir, f"oci://{registry}/models/twice:1", plain_http=True)
    assert push(bundle_dir, f"oci://{registry}/models/twice:1", plain_http=True) == first


@needs_registry
def test_a_login_that_was_given_is_used(closed_registry: str, bundle_dir: Path) -> None:
    login = Login("ada", "lovelace")
    assert push(bundle_dir, f"{closed_registry}/models/flights:1", plain_http=True, login=login).image_digest


@needs_registry
def test_dockers_stored_login_is_used(closed_registry: str, bundle_dir: Path, tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    auth = base64.b64encode(b"ada:lovelace").decode()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": {closed_registry: {"auth": auth}}}))
    assert push(bundle_dir, f"{closed_registry}/models/flights:2", plain_http=True).image_digest


@needs_registry
@pytest.mark.parametrize("login", [None, Login("ada", "wrong")], ids=["no login", "a wrong password"])
def test_without_the_right_login_the_answer_is_quick_and_clear(
    login: Login | None, closed_registry: str, bundle_dir: Path
) -> None:
    start = time.monotonic()
    with pytest.raises(RegistryError, match="docker login"):
        push(bundle_dir, f"{closed_registry}/models/flights:1", plain_http=True, login=login)
    assert time.monotonic() - start < 5


def test_a_registry_that_is_not_there_is_said_quickly(bundle_dir: Path) -> None:
    start = time.monotonic()
    with pytest.raises(RegistryError, match="cannot be reached"):
        push(bundle_dir, "127.0.0.1:1/models/flights:1", plain_http=True)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("reference", ["flights", "host/flights", "host/Flights:1", "host/flights:1@sha256:abc"])
def test_a_reference_without_registry_name_and_tag_is_refused(reference: str, bundle_dir: Path) -> None:
    with pytest.raises(RegistryError, match="REGISTRY/NAME:TAG"):
        push(bundle_dir, reference)
