"""The fetcher against a real HTTPS server, whose authority is made here."""

import base64
import gzip
import http.server
import io
import json
import random
import socket
import ssl
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bundles import FILES, write_bundle
from tidegate_contract.bundle.manifest import MANIFEST_NAME
from tidegate_contract.bundle.verify import verify
from tidegate_contract.failure import BundleError, Failure, FailureReason, decode
from tidegate_contract.source import HttpsSource
from tidegate_server import fetch as module
from tidegate_server.fetch import ATTEMPTS, Job, fetch, main
from tidegate_server.sources import https
from tidegate_server.sources.https import Credentials, credentials_from

Answer = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Authority:
    """A certificate authority of this test run, and a server certificate of it."""

    certificate: Path
    server: Path
    key: Path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("authority")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    usage = ["-addext", "keyUsage=critical,keyCertSign"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test", "-days", "2", *usage)
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "ext").write_text(
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nauthorityKeyIdentifier=keyid\nbasicConstraints=CA:FALSE\n"
    )
    signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext"]
    openssl("x509", "-req", "-in", "server.csr", *signed, "-out", "server.crt")
    return Authority(folder / "ca.crt", folder / "server.crt", folder / "server.key")


@dataclass
class Site:
    """A web site: what it answers to each path, and what it was asked."""

    port: int = 0
    answers: dict[str, Callable[[], Answer]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Authorization header of each request."""
    drip: float = 0
    """Seconds between the bytes of a body, if it drips."""

    def url(self, path: str) -> str:
        return f"https://localhost:{self.port}{path}"

    def put(self, path: str, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.answers[path] = lambda: (status, headers, body)


def _serve(site: Site, authority: Authority) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append((self.path, self.headers.get("Authorization")))
            status, headers, body = site.answers.get(self.path, lambda: (404, {}, b""))()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            for byte in body if site.drip else b"":
                self.wfile.write(bytes([byte]))
                time.sleep(site.drip)
            if not site.drip:
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server, authority.key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    site.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@pytest.fixture
def sites(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Site, Site]]:
    """Two sites on different ports, reached without a proxy."""
    monkeypatch.setenv("no_proxy", "localhost")
    pair = (Site(), Site())
    servers = [_serve(site, authority) for site in pair]
    yield pair
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def site(sites: tuple[Site, Site]) -> Site:
    return sites[0]


def _archive(directory: Path, top: str = "") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(directory, arcname=top or ".")
    return file.getvalue()


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    (tmp_path / "packed").mkdir()
    write_bundle(tmp_path / "packed")
    return _archive(tmp_path / "packed")


@pytest.fixture
def job(authority: Authority, site: Site, tmp_path: Path) -> Callable[..., Job]:
    destination = tmp_path / "volume"
    destination.mkdir()

    def make(path: str = "/b.tgz", **changes: Any) -> Job:
        secret = {"ca_pem": authority.certificate.read_text(), **changes.pop("secret", {})}
        digest = verify(tmp_path / "packed", None).digest if (tmp_path / "packed").exists() else None
        fields: dict[str, Any] = {"digest": digest, "max_bytes": 1 << 20, "credentials": Credentials(**secret)}
        return Job(HttpsSource(site.url(path), site.port), destination, **{**fields, **changes})

    return make


def _fetch(job: Job) -> list[float]:
    """Fetch without waiting; the pauses that were asked for."""
    pauses: list[float] = []
    fetch(job, pauses.append)
    return pauses


def _failure(job: Job) -> Failure:
    with pytest.raises(BundleError) as caught:
        _fetch(job)
    assert not (job.destination / MANIFEST_NAME).exists(), "nothing stands under its own name"
    assert list(job.destination.iterdir()) == [], "and nothing else is left"
    return caught.value.failure


def test_a_bundle_is_fetched_and_verified(site: Site, archive: bytes, job: Any) -> None:
    site.put("/b.tgz", body=archive)
    assert _fetch(job()) == []
    found = {p.relative_to(job().destination).as_posix() for p in job().destination.rglob("*") if p.is_file()}
    assert found == {*FILES, MANIFEST_NAME}


@pytest.mark.parametrize("compress", [gzip.decompress, lambda content: content], ids=["tar", "tar.gz"])
@pytest.mark.parametrize("top", ["", "bundle"], ids=["at the top", "in a folder"])
def test_each_way_to_make_the_archive(
    compress: Callable[[bytes], bytes], top: str, site: Site, archive: bytes, job: Any, tmp_path: Path
) -> None:
    site.put("/b.tgz", body=compress(_archive(tmp_path / "packed", top)))
    _fetch(job())
    assert verify(job().destination, job().digest)


def test_a_restart_finds_the_bundle_and_asks_nobody(site: Site, archive: bytes, job: Any) -> None:
    site.put("/b.tgz", body=archive)
    _fetch(job())
    _fetch(job())
    assert len(site.asked) == 1


def test_what_an_earlier_attempt_left_is_cleared(site: Site, archive: bytes, job: Any) -> None:
    site.put("/b.tgz", body=archive)
    (job().destination / ".tidegate-fetch-old").mkdir()
    (job().destination / "model.skops").write_bytes(b"half of it")
    _fetch(job())
    assert sorted(p.name for p in job().destination.iterdir()) == ["extra", "manifest.json", "model.skops"]


def test_a_bundle_with_another_digest_is_replaced(site: Site, archive: bytes, job: Any) -> None:
    site.put("/b.tgz", body=archive)
    (job().destination / MANIFEST_NAME).write_bytes(b"{}")
    _fetch(job())
    assert len(site.asked) == 1


SECRETS: dict[str, tuple[dict[str, str], str | None]] = {
    "nothing": ({}, None),
    "a token": ({"token": "t0"}, "Bearer t0"),
    "a user": ({"username": "ada", "password": "p:ü"}, "Basic " + base64.b64encode("ada:p:ü".encode()).decode()),
}


@pytest.mark.parametrize(("secret", "header"), SECRETS.values(), ids=SECRETS)
def test_credentials_are_sent(secret: dict[str, str], header: str | None, site: Site, archive: bytes, job: Any) -> None:
    site.put("/b.tgz", body=archive)
    _fetch(job(secret=secret))
    assert site.asked == [("/b.tgz", header)]


def test_credentials_follow_a_redirect_on_the_same_host(site: Site, archive: bytes, job: Any) -> None:
    site.put("/b.tgz", 302, Location="/moved.tgz")
    site.put("/moved.tgz", body=archive)
    _fetch(job(secret={"token": "t0"}))
    assert site.asked == [("/b.tgz", "Bearer t0"), ("/moved.tgz", "Bearer t0")]


def test_credentials_do_not_follow_a_redirect_to_another_host(
    sites: tuple[Site, Site], archive: bytes, job: Any
) -> None:
    here, there = sites
    here.put("/b.tgz", 302, Location=there.url("/b.tgz"))
    there.put("/b.tgz", 302, Location="/again.tgz")
    there.put("/again.tgz", 302, Location=here.url("/c.tgz"))
    here.put("/c.tgz", body=archive)
    _fetch(job(secret={"token": "t0"}))
    assert there.asked == [("/b.tgz", None), ("/again.tgz", None)]
    assert here.asked == [("/b.tgz", "Bearer t0"), ("/c.tgz", None)]


def test_a_redirect_to_an_address_without_tls_is_refused(site: Site, job: Any) -> None:
    site.put("/b.tgz", 302, Location=f"http://localhost:{site.port}/b.tgz")
    failure = _failure(job(secret={"token": "t0"}))
    assert failure.reason is FailureReason.FETCH_FAILED
    assert failure.message == "localhost redirects to an address without TLS; ask for https"


def test_an_authority_that_nobody_knows_is_refused_with_the_way_out(site: Site, job: Any) -> None:
    failure = _failure(job(secret={"ca_pem": ""}))
    assert failure.reason is FailureReason.FETCH_FAILED
    assert "ca.crt" in failure.message


@pytest.mark.parametrize(
    ("status", "secret", "reason", "words"),
    [
        pytest.param(401, {}, FailureReason.UNAUTHORIZED, "spec.model.secretName", id="401 without credentials"),
        pytest.param(401, {"token": "t0"}, FailureReason.UNAUTHORIZED, "renew them", id="401 with credentials"),
        pytest.param(403, {"token": "t0"}, FailureReason.UNAUTHORIZED, "renew them", id="403"),
        pytest.param(404, {}, FailureReason.FETCH_FAILED, "nothing is at spec.model.uri", id="404"),
        pytest.param(302, {}, FailureReason.FETCH_FAILED, "answered 302", id="a redirect to nowhere"),
    ],
)
def test_a_refusal_is_final(
    status: int, secret: dict[str, str], reason: FailureReason, words: str, site: Site, job: Any
) -> None:
    site.put("/b.tgz", status)
    failure = _failure(job(secret=secret))
    assert (failure.reason, len(site.asked)) == (reason, 1)
    assert words in failure.message
    assert "t0" not in failure.message


def test_a_server_in_trouble_is_asked_again_after_a_pause(site: Site, archive: bytes, job: Any) -> None:
    bad: list[Answer] = [(503, {}, b"")]
    site.answers["/b.tgz"] = lambda: bad.pop() if bad else (200, {}, archive)
    (pause,) = _fetch(job())
    assert 0 < pause < 2


def test_a_server_that_stays_in_trouble_is_a_failure(site: Site, job: Any) -> None:
    site.put("/b.tgz", 500)
    assert _failure(job()).reason is FailureReason.FETCH_FAILED
    assert len(site.asked) == ATTEMPTS


def test_a_download_that_breaks_off_is_tried_again(site: Site, archive: bytes, job: Any) -> None:
    cut: list[Answer] = [(200, {"Content-Length": str(len(archive))}, archive[:100])]
    site.answers["/b.tgz"] = lambda: cut.pop() if cut else (200, {}, archive)
    assert len(_fetch(job())) == 1


def test_nobody_listens(job: Any, tmp_path: Path) -> None:
    nobody = Job(HttpsSource("https://localhost:1/b.tgz", 1), job().destination, None, 1, job().credentials)
    failure = _failure(nobody)
    assert failure.reason is FailureReason.FETCH_FAILED
    assert "localhost cannot be reached" in failure.message


@pytest.fixture
def black_hole() -> Iterator[int]:
    """The port of a listener that takes connections and never says a word."""
    with socket.create_server(("localhost", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_host_that_says_nothing_is_a_failure_soon(job: Any, black_hole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert https.CONNECT_SECONDS * ATTEMPTS <= 6
    monkeypatch.setattr(https, "CONNECT_SECONDS", 0.2)
    start = time.monotonic()
    source = HttpsSource(f"https://localhost:{black_hole}/b.tgz", black_hole)
    failure = _failure(Job(source, job().destination, None, 1, job().credentials))
    assert "localhost cannot be reached: TimeoutError" in failure.message
    assert time.monotonic() - start < 3


def test_a_server_that_drips_is_given_up(site: Site, archive: bytes, job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "PACE_SECONDS", 0.3)
    site.put("/b.tgz", body=archive)
    site.drip = 0.02
    start = time.monotonic()
    assert "the connection broke" in _failure(job()).message
    assert time.monotonic() - start < 0.02 * len(archive) / 2


@pytest.mark.parametrize("path", ["/flüge.tgz", "/a b.tgz", "/\x7f"], ids=["letters", "a space", "a control character"])
def test_an_address_that_cannot_be_asked_for_is_refused_at_once(path: str, site: Site, job: Any) -> None:
    failure = _failure(job(path))
    assert (failure.reason, site.asked) == (FailureReason.FETCH_FAILED, [])
    assert "spec.model.uri cannot be asked for" in failure.message


def test_a_host_that_no_name_can_be_is_refused_at_once(job: Any) -> None:
    url = f"https://{'a' * 70}.example/b.tgz"
    failure = _failure(Job(HttpsSource(url, 443), job().destination, None, 1, job().credentials))
    assert "spec.model.uri cannot be asked for" in failure.message


@pytest.mark.parametrize("location", ["https://[", "https://localhost:99999/b.tgz", "https://localhost:x/b.tgz"])
def test_a_redirect_to_no_address_is_refused_at_once(location: str, site: Site, job: Any) -> None:
    site.put("/b.tgz", 302, Location=location)
    failure = _failure(job(secret={"token": "t0"}))
    assert (failure.reason, len(site.asked)) == (FailureReason.FETCH_FAILED, 1)
    assert failure.message == "localhost redirects to something that is no address; see to the server"


@pytest.mark.parametrize("says", [True, False], ids=["with its length", "without its length"])
def test_a_download_that_is_too_large_is_stopped(says: bool, site: Site, job: Any, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/large").write_bytes(random.Random(1).randbytes(2 << 20))
    headers = {} if says else {"Content-Length": ""}
    body = _archive(tmp_path / "other")
    site.answers["/b.tgz"] = lambda: (200, headers, body)
    assert _failure(job()).reason is FailureReason.TOO_LARGE


def test_another_bundle_than_the_one_asked_for_is_refused(site: Site, archive: bytes, job: Any) -> None:
    site.put("/b.tgz", body=archive)
    assert _failure(job(digest="sha256:" + "0" * 64)).reason is FailureReason.DIGEST_MISMATCH


def test_an_archive_without_a_bundle_is_refused(site: Site, job: Any, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/readme").write_text("hello")
    site.put("/b.tgz", body=_archive(tmp_path / "other"))
    assert _failure(job()).reason is FailureReason.BUNDLE_NOT_FOUND


def test_a_link_out_of_the_archive_is_refused(site: Site, job: Any, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/link").symlink_to("/etc")
    site.put("/b.tgz", body=_archive(tmp_path / "other"))
    assert _failure(job()).reason is FailureReason.BUNDLE_INVALID


def test_the_secrets_keys_are_the_variables_names() -> None:
    environ = {
        "TIDEGATE_SECRET_token": "t0\n",
        "TIDEGATE_SECRET_username": "ada\n",
        "TIDEGATE_SECRET_password": "p w\n",
        "TIDEGATE_SECRET_ca.crt": "PEM",
        "HOME": "/",
    }
    assert credentials_from(environ) == Credentials("t0", "ada", "p w", "PEM")
    assert "p w" not in repr(credentials_from(environ))


@pytest.mark.parametrize("key", ["token", "username", "password"])
@pytest.mark.parametrize("value", ["hush\nhush", "hush\rhush", "hush\udcff"], ids=["two lines", "a return", "no text"])
def test_credentials_that_no_header_can_carry_are_refused_and_not_repeated(
    key: str, value: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    environ = {"TIDEGATE_SECRET_username": "ada", f"TIDEGATE_SECRET_{key}": value}
    assert main(["https://localhost:1/b.tgz", str(tmp_path / "volume")], environ, log) == module.EXIT_REFUSED
    failure = decode(log.read_text())
    assert failure is not None
    assert failure.reason is FailureReason.UNAUTHORIZED
    assert failure.message.startswith(f"{key} in the Secret of spec.model.secretName must be one line")
    assert "hush" not in log.read_text() + capfd.readouterr().err


def test_a_bug_is_reported_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("hush")

    monkeypatch.setattr(module, "fetch", broken)
    log = tmp_path / "termination-log"
    log.touch()
    assert main(["https://localhost:1/b.tgz", str(tmp_path / "volume")], {}, log) == module.EXIT_REFUSED
    failure = Failure(FailureReason.FETCH_FAILED, "the fetcher has a bug (KeyError); see its log")
    assert decode(log.read_text()) == failure
    line = json.loads(capfd.readouterr().err)
    assert line["exception"] == "KeyError"
    assert "broken" in line["at"][-1]
    assert "hush" not in str(line)


def test_the_command_leaves_its_failure_for_the_kubelet(
    site: Site, authority: Authority, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    site.put("/b.tgz", 403)
    environ = {"TIDEGATE_SECRET_ca.crt": authority.certificate.read_text(), "TIDEGATE_SECRET_token": "t0"}
    assert main([site.url("/b.tgz"), str(tmp_path / "volume")], environ, log) == 3
    failure = decode(log.read_text())
    assert failure is not None
    assert failure.reason is FailureReason.UNAUTHORIZED
    line = json.loads(capfd.readouterr().err.splitlines()[-1])
    assert (line["level"], line["reason"]) == ("error", "Unauthorized")


def test_the_command_fetches(site: Site, authority: Authority, archive: bytes, job: Any, tmp_path: Path) -> None:
    site.put("/b.tgz", body=archive)
    environ = {"TIDEGATE_SECRET_ca.crt": authority.certificate.read_text()}
    arguments = [site.url("/b.tgz"), str(tmp_path / "new/volume"), "--digest", job().digest]
    assert main(arguments, environ, tmp_path / "no-log") == 0
    assert verify(tmp_path / "new/volume", job().digest)


@pytest.mark.parametrize(
    "arguments",
    [["oci://registry/a:b"], ["http://host/b.tgz"], ["https://u:p@host/b.tgz"], ["https://host/b", "--digest", "x"]],
    ids=["what the kubelet mounts", "no TLS", "credentials in the address", "no digest"],
)
def test_a_wrong_call_is_2(arguments: list[str], tmp_path: Path) -> None:
    assert main([arguments[0], str(tmp_path / "v"), *arguments[1:]], {}, tmp_path / "no-log") == module.EXIT_USAGE
