"""Where a bundle comes from: the address that a user writes, taken apart once for everybody.

The operator turns a source into volumes and init containers, the fetcher into bytes.
A new scheme is one more class here, one more case in the operator's `core/sources.py`,
and, if something must be fetched, one more case in `tidegate_server/fetch.py`.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
_CLAIM = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")


class SourceError(ValueError):
    """An address that no source can be made of; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class OciSource:
    """An image whose root file system is the bundle; the kubelet pulls and mounts it."""

    reference: str
    """As a container runtime takes it: `registry/name:tag` or `registry/name[:tag]@sha256:...`."""

    @property
    def pinned(self) -> bool:
        """Whether the reference names bytes, and not a tag that can move."""
        return "@sha256:" in self.reference

    @property
    def repository(self) -> str:
        """The reference without tag and digest: runtimes leave out either when they speak of an image.

        >>> OciSource("registry.example:5000/acme/flights:1@sha256:ab").repository
        'registry.example:5000/acme/flights'
        """
        name = self.reference.partition("@")[0]
        return re.sub(r":[^:/]*$", "", name)


@dataclass(frozen=True, slots=True)
class PvcSource:
    """A directory of a PersistentVolumeClaim of the model's namespace."""

    claim: str
    path: str
    """Relative, without a leading slash; empty for the root of the claim."""


@dataclass(frozen=True, slots=True)
class HttpsSource:
    """A tar archive of the bundle directory, plain or gzip, behind HTTPS."""

    url: str
    port: int


Source = OciSource | PvcSource | HttpsSource


def parse(uri: str) -> Source:
    """Take an address apart.

    Raises SourceError with a sentence that never repeats a password.

    >>> parse("oci://registry.example/acme/flights:2013-03")
    OciSource(reference='registry.example/acme/flights:2013-03')
    >>> parse("pvc://models/flights/v1")
    PvcSource(claim='models', path='flights/v1')
    >>> parse("https://example.com/flights.tar.gz")
    HttpsSource(url='https://example.com/flights.tar.gz', port=443)
    >>> parse("ftp://example.com/flights")
    Traceback (most recent call last):
    tidegate_contract.source.SourceError: the address must start with oci://, pvc:// or https://
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in ("oci", "pvc", "https"):
        raise SourceError("the address must start with oci://, pvc:// or https://")
    if "@" in rest.split("/", 1)[0]:
        raise SourceError("an address must not carry credentials; put them in a Secret")
    if scheme == "oci":
        if "/" not in rest or rest.startswith("/") or rest.endswith("/"):
            raise SourceError("an oci address is oci://REGISTRY/NAME:TAG or oci://REGISTRY/NAME@sha256:DIGEST")
        return OciSource(rest)
    if scheme == "pvc":
        claim, _, path = rest.partition("/")
        if not _CLAIM.match(claim):
            raise SourceError("a pvc address is pvc://CLAIM/PATH")
        parts = [part for part in path.split("/") if part]
        if any(part in (".", "..") for part in parts):
            raise SourceError("the path of a pvc address must not contain . or ..")
        return PvcSource(claim, "/".join(parts))
    try:
        split = urlsplit(uri)
        port = split.port or 443
    except ValueError as error:
        raise SourceError("an https address is https://HOST[:PORT]/PATH") from error
    if not split.hostname:
        raise SourceError("an https address is https://HOST[:PORT]/PATH")
    return HttpsSource(uri, port)
