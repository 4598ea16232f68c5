"""How each kind of source reaches a serving pod: volumes, init containers, and where the pod must be let out to.

A new source is one more case in `supply`; nothing else in the operator asks what kind it is.
"""

from dataclasses import dataclass, field

from tidegate_contract import names
from tidegate_contract.source import HttpsSource, OciSource, PvcSource, Source
from tidegate_operator.core.types import Content, Manifest, Release

VOLUME = "bundle"
TOOLS_MEMORY = "256Mi"
"""What fetcher and resolver may use."""

RESTRICTED: Manifest = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""Set on every container, field by field: a field that we do not set could be added by others and stay."""

RESTRICTED_POD: Manifest = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""Set on every pod."""


@dataclass(frozen=True, slots=True)
class Supply:
    """What a source adds to the pod."""

    volume: Manifest
    mount: Manifest
    init_containers: tuple[Manifest, ...] = ()
    egress: tuple[Manifest, ...] = field(default=())
    """Rules of the NetworkPolicy; none: the pod may not call out at all."""


def supply(content: Content, release: Release) -> Supply:
    """What the pod needs so that the bundle lies in BUNDLE_DIR, read-only for the server."""
    mount = {"name": VOLUME, "mountPath": names.BUNDLE_DIR, "readOnly": True}
    match content.source:
        case OciSource(reference=reference, pinned=pinned):
            # A tag can move: a node that has an old image under it would serve that for ever.
            policy = "IfNotPresent" if pinned else "Always"
            return Supply({"name": VOLUME, "image": {"reference": reference, "pullPolicy": policy}}, mount)
        case PvcSource(claim=claim, path=path):
            volume = {"name": VOLUME, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
            return Supply(volume, mount | ({"subPath": path} if path else {}))
        case HttpsSource(url=url, port=port):
            return Supply(
                {"name": VOLUME, "emptyDir": {"sizeLimit": str(2 * release.bundle_max_bytes)}},
                mount,
                (fetcher(url, content, release),),
                egress(port),
            )


def fetcher(url: str, content: Content, release: Release) -> Manifest:
    """The init container that downloads and verifies; the only one that sees the Secret."""
    pin = ["--digest", content.digest] if content.digest else []
    container: Manifest = {
        "name": names.FETCH_CONTAINER,
        "image": content.tools or release.tools_image,
        "imagePullPolicy": release.pull_policy,
        "args": [
            "-m",
            "tidegate_server.fetch",
            url,
            names.BUNDLE_DIR,
            *pin,
            "--max-bytes",
            str(release.bundle_max_bytes),
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": TOOLS_MEMORY}},
        "securityContext": RESTRICTED,
        "terminationMessagePath": names.TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": VOLUME, "mountPath": names.BUNDLE_DIR}],
    }
    if content.secret_name:
        container["envFrom"] = [{"prefix": names.SECRET_ENV_PREFIX, "secretRef": {"name": content.secret_name}}]
    return container


def egress(port: int) -> tuple[Manifest, ...]:
    """DNS, and the one port of the source."""
    dns = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    return ({"ports": dns}, {"ports": [{"port": port, "protocol": "TCP"}]})


def describe(source: Source) -> str:
    """The source in a sentence; a query string, which may hold a token, is left out.

    >>> describe(HttpsSource("https://example.com/flights.tar.gz?token=secret", 443))
    'https://example.com/flights.tar.gz'
    """
    match source:
        case OciSource(reference=reference):
            return f"oci://{reference}"
        case PvcSource(claim=claim, path=path):
            return f"pvc://{claim}/{path}"
        case HttpsSource(url=address):
            return address.partition("?")[0]
