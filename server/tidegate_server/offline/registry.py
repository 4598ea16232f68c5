"""Upload of an image to a registry, through `oras`, with the logins that docker keeps.

Whether a registry answers, and which kind of login it wants, is asked first: that way what
is wrong is said at once and in our words. A private certificate authority is given to the
underlying library by REQUESTS_CA_BUNDLE.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests
from oras.container import Container
from oras.provider import Registry

from tidegate_server.offline.errors import RegistryError
from tidegate_server.offline.oci import Blob, Image

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 300.0
_REFERENCE = re.compile(
    r"^(?P<registry>[a-zA-Z0-9.-]+(:[0-9]+)?)/(?P<name>[a-z0-9]+([._/-]+[a-z0-9]+)*):(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})$"
)


@dataclass(frozen=True, slots=True)
class Login:
    """A user of a registry, for this one upload; nothing is stored."""

    username: str
    password: str = field(repr=False)


class _Client(Registry):  # type: ignore[misc]
    """oras without its retries: they sleep for two minutes over a wrong password."""

    def do_request(self, *args: Any, **kwargs: Any) -> requests.Response:
        answer: requests.Response = Registry.do_request.__wrapped__(self, *args, **kwargs)
        return answer


def upload(
    image: Image, reference: str, *, plain_http: bool, login: Login | None, progress: Callable[[str], None]
) -> None:
    """Upload an image as `REGISTRY/NAME:TAG`. Blobs that the registry has are not sent again.

    Raises RegistryError.
    """
    if not _REFERENCE.match(reference):
        raise RegistryError(
            f"{reference!r} is not REGISTRY/NAME:TAG, for example registry.example.com/models/flights:1"
        )
    container = Container(reference)
    try:
        client = _client(container, plain_http=plain_http, login=login)
        for blob in image.blobs:
            progress(f"uploading {blob.digest[:19]} ({blob.size} bytes)")
            answer = client.upload_blob(str(blob.path), container, {"digest": blob.digest, "size": blob.size})
            _accepted(answer, container, "a layer")
        for manifest in image.manifests:
            _put(client, container, manifest, manifest.digest)
        _put(client, container, image.index, container.tag)
    except requests.exceptions.SSLError as error:
        raise RegistryError(
            f"the certificate of {container.registry} is not trusted; point REQUESTS_CA_BUNDLE at its authority, "
            "or add --plain-http for a registry without TLS"
        ) from error
    except requests.exceptions.RequestException as error:
        raise RegistryError(
            f"{container.registry} cannot be reached ({type(error).__name__}); check its name and port"
        ) from error
    except ValueError as error:
        raise RegistryError(f"{container.registry} does not take the upload; if it wants a login, {_ADVICE}") from error


_ADVICE = "log in with `docker login`, or give --username and --password-stdin"


def _client(container: Container, *, plain_http: bool, login: Login | None) -> Registry:
    scheme = _login_scheme(f"{'http' if plain_http else 'https'}://{container.registry}/v2/", container)
    client = _Client(insecure=plain_http, auth_backend="basic" if scheme == "basic" else "token")
    client.session.request = functools.partial(client.session.request, timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS))
    if login is not None:
        client.auth.set_basic_auth(login.username, login.password)
    else:
        client.auth.load_configs(container)
    if scheme == "basic" and not getattr(client.auth, "_basic_auth", None):
        raise RegistryError(f"{container.registry} wants a login; {_ADVICE}")
    return client


def _login_scheme(url: str, container: Container) -> str:
    """`basic`, `bearer`, or empty for a registry that is open to everybody."""
    answer = requests.get(url, timeout=_CONNECT_SECONDS)
    if answer.status_code == 200:
        return ""
    if answer.status_code == 401:
        return answer.headers.get("WWW-Authenticate", "").partition(" ")[0].lower()
    raise RegistryError(f"{container.registry} answers {answer.status_code} where a registry says who it is")


def _put(client: Registry, container: Container, document: Blob, tag: str) -> None:
    """By our own bytes and not oras' `upload_manifest`, which encodes a document anew and so changes its digest."""
    url = f"{client.prefix}://{container.manifest_url(tag)}"
    headers = {"Content-Type": document.media_type}
    _accepted(client.do_request(url, "PUT", data=document.path.read_bytes(), headers=headers), container, "a manifest")


def _accepted(answer: requests.Response, container: Container, what: str) -> None:
    if answer.status_code in (401, 403):
        raise RegistryError(f"{container.registry} does not let this login write there; {_ADVICE}")
    if answer.status_code not in (200, 201, 202):
        raise RegistryError(f"{container.registry} answers {answer.status_code} to {what}")
