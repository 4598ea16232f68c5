"""Bytes behind an HTTPS address.

Credentials go to the host that they were meant for and to no other: they are sent as
unredirected headers, and handed on only while redirects stay with the same host and port.
A server that says nothing, or next to nothing, is given up: nobody hears of a fetch that hangs.
"""

import base64
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection, InvalidURL
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from tidegate_contract.failure import BundleError, FailureReason
from tidegate_contract.names import SECRET_ENV_PREFIX

CONNECT_SECONDS = 3.0
"""For the connection and for the handshake, each."""
SILENCE_SECONDS = 30.0
"""Without a byte."""
PACE_SECONDS, PACE_BYTES = 30.0, 256 << 10
"""What has to come in each such time, head included; a server that drips would otherwise never end."""
_MAX_REDIRECTS = 5
_USER_AGENT = "tidegate-fetch"
_ONE_LINE = re.compile(r"[ -~]*")
_NOT_AN_ADDRESS = (
    "spec.model.uri cannot be asked for: write it in ASCII and without spaces, and every other character as %XX"
)


class TransientError(Exception):
    """Something that may be gone in a moment: no connection, a 5xx answer, a cut-off body."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the Secret of the model holds. At most one of token and username is used, the token first."""

    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    ca_pem: str = field(default="", repr=False)
    """Certificates of a private authority, beside those of the system."""

    @property
    def authorization(self) -> str | None:
        """The value of the Authorization header."""
        if self.token:
            return f"Bearer {self.token}"
        if self.username:
            return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")
        return None


def credentials_from(environ: Mapping[str, str]) -> Credentials:
    """The keys `token`, `username`, `password` and `ca.crt` of the model's Secret.

    >>> credentials_from({"TIDEGATE_SECRET_username": "ada"}).username
    'ada'

    Raises BundleError UNAUTHORIZED for what no header can carry; the library's own refusal would repeat it.
    """
    credentials = Credentials(
        token=environ.get(f"{SECRET_ENV_PREFIX}token", "").strip(),
        username=environ.get(f"{SECRET_ENV_PREFIX}username", "").strip(),
        password=environ.get(f"{SECRET_ENV_PREFIX}password", "").rstrip("\r\n"),
        ca_pem=environ.get(f"{SECRET_ENV_PREFIX}ca.crt", ""),
    )
    wanted = "one line of printable characters"
    for key, fine, form in (
        ("token", _ONE_LINE.fullmatch(credentials.token) is not None, f"{wanted} of ASCII"),
        ("username", credentials.username.isprintable(), wanted),
        ("password", credentials.password.isprintable(), wanted),
    ):
        if not fine:
            raise BundleError(
                FailureReason.UNAUTHORIZED, f"{key} in the Secret of spec.model.secretName must be {form}; correct it"
            )
    return credentials


class Download(Protocol):
    """An open answer."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer whose body has not been read; `size` in bytes, None if the server does not say."""

    body: Download
    size: int | None


class _PacedSocket(ssl.SSLSocket):
    """A socket whose reads fail once too little has come."""

    _until = 0.0
    _came = 0

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        now = time.monotonic()
        if now >= self._until:
            if self._until and self._came < PACE_BYTES:
                raise TimeoutError("too slow")
            self._until, self._came = now + PACE_SECONDS, 0
        count = super().recv_into(buffer, nbytes, flags)
        self._came += count
        return count


class _Connection(HTTPSConnection):
    """Little patience for a host that cannot be reached, more for one that has answered."""

    def connect(self) -> None:
        self.timeout = CONNECT_SECONDS
        super().connect()
        self.sock.settimeout(SILENCE_SECONDS)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._tls = context

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_Connection, req, context=self._tls)


class _SameHostCredentials(urllib.request.HTTPRedirectHandler):
    max_redirections = _MAX_REDIRECTS

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except (ValueError, InvalidURL) as error:
            fp.close()
            raise BundleError(
                FailureReason.FETCH_FAILED,
                f"{_origin(req.full_url)[0]} redirects to something that is no address; see to the server",
            ) from error

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        here, there = _origin(req.full_url), _origin(newurl)
        if urlsplit(newurl).scheme != "https":
            fp.close()
            raise BundleError(
                FailureReason.FETCH_FAILED, f"{here[0]} redirects to an address without TLS; ask for https"
            )
        redirected = super().redirect_request(req, fp, code, msg, headers, newurl)
        carried = req.get_header("Authorization")
        if redirected is not None and carried and there == here:
            redirected.add_unredirected_header("Authorization", carried)
        return redirected


def _origin(url: str) -> tuple[str | None, int]:
    """Host and port. Raises ValueError."""
    split = urlsplit(url)
    return split.hostname, split.port or 443


def open_https(url: str, credentials: Credentials) -> Opened:
    """Send the request and read the head of the answer.

    Raises TransientError for what is worth another try, BundleError for what is not. No message carries a
    credential or the query of the address, which may be one.
    """
    authorization = credentials.authorization
    opener = urllib.request.build_opener(_Https(_tls(credentials.ca_pem)), _SameHostCredentials())
    request = urllib.request.Request(url, headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"})  # noqa: S310
    if authorization:
        request.add_unredirected_header("Authorization", authorization)
    host = _origin(url)[0]
    try:
        answer: Any = opener.open(request)
    except urllib.error.HTTPError as error:
        error.close()
        raise _refusal(error.code, host, authorization is not None) from error
    except urllib.error.URLError as error:
        raise _unreachable(error, host) from error
    except (InvalidURL, ValueError) as error:
        raise BundleError(FailureReason.FETCH_FAILED, _NOT_AN_ADDRESS) from error
    except TimeoutError as error:
        raise TransientError(f"{host} did not answer in time") from error
    except (HTTPException, OSError) as error:
        raise TransientError(f"{host} closed the connection: {type(error).__name__}") from error
    length = answer.headers.get("Content-Length", "")
    return Opened(answer, int(length) if length.isdecimal() else None)


def _tls(ca_pem: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = _PacedSocket
    if ca_pem:
        try:
            context.load_verify_locations(cadata=ca_pem)
        except (ssl.SSLError, TypeError, ValueError) as error:
            raise BundleError(
                FailureReason.FETCH_FAILED, "ca.crt of the Secret is not a PEM certificate; put the authority's there"
            ) from error
    return context


def _refusal(status: int, host: str | None, with_credentials: bool) -> Exception:
    if status in (401, 403):
        advice = (
            "it refuses the credentials of spec.model.secretName; renew them"
            if with_credentials
            else "it wants credentials; put token, or username and password, into a Secret and name it in "
            "spec.model.secretName"
        )
        return BundleError(FailureReason.UNAUTHORIZED, f"{host} answered {status}: {advice}")
    if status >= 500 or status in (408, 425, 429):
        return TransientError(f"{host} answered {status}")
    if status in (404, 410):
        return BundleError(
            FailureReason.FETCH_FAILED, f"{host} answered {status}: nothing is at spec.model.uri; correct the address"
        )
    return BundleError(FailureReason.FETCH_FAILED, f"{host} answered {status}; correct spec.model.uri")


def _unreachable(error: urllib.error.URLError, host: str | None) -> Exception:
    reason = error.reason
    if isinstance(reason, ssl.SSLCertVerificationError):
        return BundleError(
            FailureReason.FETCH_FAILED,
            f"the certificate of {host} is not trusted ({reason.verify_message}); put its authority under ca.crt into "
            "the Secret of spec.model.secretName",
        )
    if isinstance(reason, socket.gaierror):
        return TransientError(f"there is no address for {host}")
    return TransientError(
        f"{host} cannot be reached: {type(reason).__name__ if isinstance(reason, OSError) else reason}"
    )
