"""What is agreed about a router's pod: its two containers meet on sockets, and the operator makes both.

Envoy starts from `bootstrap` alone, which never changes: everything else its agent tells it, over a socket.
"""

from pathlib import PurePosixPath
from typing import Any

AGENT_PORT = 9901
"""Of the agent: signals, probes, and the end of the pod."""
READY_PATH, LIVE_PATH, DRAIN_PATH = "/ready", "/live", "/drain"

FOLDER = "/run/tidegate"
"""Where both containers have the sockets."""
XDS_SOCKET, ADMIN_SOCKET, HOLD_SOCKET = "xds.sock", "admin.sock", "hold.sock"
TOKEN_FILE = "/var/run/secrets/tidegate/token"  # noqa: S105 - a path
TOKEN_KEY = "token"  # noqa: S105 - the key of the Secret

ENV_NAMESPACE = "TIDEGATE_NAMESPACE"
ENV_POD_UID = "TIDEGATE_POD_UID"
ENV_FOLDER = "TIDEGATE_ROUTER_DIR"
ENV_TOKEN_FILE = "TIDEGATE_TOKEN_FILE"  # noqa: S105 - a variable's name

SPREAD_SECONDS = 5
"""How long a router that goes still takes new connections: until the last kube-proxy has taken it out."""
DRAIN_SECONDS = 30
"""How long it waits for answers after that."""

AGENT = "agent"
"""Envoy's name for the agent."""

Document = dict[str, Any]


def bootstrap(folder: PurePosixPath, router: str) -> Document:
    """What Envoy starts from: an admin interface and an agent, each by a socket in `folder`, and nothing else.

    `router`: the uid of its pod, or what Kubernetes puts in its place.
    """
    protocol = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    agent = {
        "name": AGENT,
        "type": "STATIC",
        "typed_extension_protocol_options": {
            protocol: {
                "@type": f"type.googleapis.com/{protocol}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": AGENT,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": pipe(folder / XDS_SOCKET)}}]}],
        },
    }
    # An agent that starts anew is not ready before Envoy has come back to it; by itself Envoy waits for up to 30 s.
    come_back = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}}
    return {
        "node": {"id": router, "cluster": "tidegate-router"},
        "admin": {"address": {"pipe": {"path": str(folder / ADMIN_SOCKET), "mode": 0o660}}},
        "static_resources": {"clusters": [agent]},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": AGENT, "retry_policy": come_back}}],
            },
            "lds_config": told(),
            "cds_config": told(),
        },
        "layered_runtime": {"layers": [{"name": "agent", "admin_layer": {}}]},
    }


def told() -> Document:
    """Where a resource comes from: the agent."""
    return {"resource_api_version": "V3", "ads": {}}


def pipe(path: PurePosixPath) -> Document:
    """A socket as an address."""
    return {"pipe": {"path": str(path)}}
