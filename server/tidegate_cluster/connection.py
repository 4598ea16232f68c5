"""How the API server is reached: one session, one pool, one place that knows the token.

In a pod it is the service account; elsewhere the current context of a kubeconfig.
"""

import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_SECONDS = 60.0
"""How long a token is kept before its file is read again; the kubelet renews it long before it expires."""
_SILENCE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 25_000}
"""A peer that dies without a word is noticed after 25 s, by a connection that sends as well as by one that listens."""


@dataclass(frozen=True, slots=True)
class Connection:
    server: str
    """Base URL, without a trailing slash."""
    session: aiohttp.ClientSession


def connect(
    environment: Mapping[str, str],
    monotonic: Callable[[], float],
    *middlewares: aiohttp.ClientMiddlewareType,
    agent: str,
) -> Connection:
    """Open the session; nothing is sent yet. Must run inside the event loop. `agent`: what audit logs know us by."""
    if host := environment.get("KUBERNETES_SERVICE_HOST"):
        port = environment.get("KUBERNETES_SERVICE_PORT", "443")
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        context = ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt"))
        authorization = _token_from(SERVICE_ACCOUNT / "token", monotonic)
        return Connection(server, _session(context, authorization, agent, *middlewares))
    return _from_kubeconfig(agent, *middlewares)


def _from_kubeconfig(agent: str, *middlewares: aiohttp.ClientMiddlewareType) -> Connection:
    from kubernetes import client, config  # slow to import, and not needed in a pod

    found = client.Configuration()
    config.load_kube_config(client_configuration=found)  # type: ignore[no-untyped-call]
    context = ssl.create_default_context(cafile=found.ssl_ca_cert)
    if found.cert_file:
        context.load_cert_chain(found.cert_file, found.key_file)
    if not found.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    authorization = found.get_api_key_with_prefix("authorization")
    return Connection(found.host.rstrip("/"), _session(context, lambda: authorization, agent, *middlewares))


def _token_from(path: Path, monotonic: Callable[[], float]) -> Callable[[], str]:
    read_at, header = float("-inf"), ""

    def authorization() -> str:
        nonlocal read_at, header
        if monotonic() - read_at > TOKEN_SECONDS:
            read_at, header = monotonic(), f"Bearer {path.read_text().strip()}"
        return header

    return authorization


def _session(
    context: ssl.SSLContext,
    authorization: Callable[[], str | None],
    agent: str,
    *middlewares: aiohttp.ClientMiddlewareType,
) -> aiohttp.ClientSession:
    async def authorize(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if header := authorization():
            request.headers["Authorization"] = header
        return await handler(request)

    return aiohttp.ClientSession(
        # Watches would use up a limited pool.
        connector=aiohttp.TCPConnector(limit=0, ssl=context, socket_factory=_socket),
        headers={"User-Agent": agent, "Accept-Encoding": "identity"},  # gzip costs more than it saves
        middlewares=(*middlewares, authorize),
        timeout=aiohttp.ClientTimeout(total=40, sock_connect=5),  # a webhook may take 30, and its failure is an answer
    )


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _SILENCE.items():
        if hasattr(socket, name):  # not every platform has them all
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
