"""What is agreed about a router's pod: its two containers meet on sockets, and the operator makes both.

Envoy starts from `bootstrap` alone, which never changes: everything else its agent tells it, over a socket.
"""

from pathlib import PurePosixPath
from typing import Any

AGENT_PORT = 9901
"""Of the agent: signals and probes."""
READY_PATH, LIVE_PATH, DRAINED_PATH = "/ready", "/live", "/drained"
DRAIN_PATH = "/drain"
"""On END_SOCKET alone: whoever can ask for it ends the router."""

FOLDER = "/run/tidegate"
"""Where both containers have the sockets."""
XDS_SOCKET, ADMIN_SOCKET, HOLD_SOCKET, END_SOCKET = "xds.sock", "admin.sock", "hold.sock", "end.sock"
TOKEN_FILE = "/var/run/secrets/tidegate/token"  # noqa: S105 - a path
TOKEN_KEY = "token"  # noqa: S105 - the key of the Secret

# Environment of the agent, beside the uid of its pod, whose name is that of every pod of ours.
ENV_NAMESPACE = "TIDEGATE_NAMESPACE"
ENV_FOLDER = "TIDEGATE_ROUTER_DIR"
ENV_TOKEN_FILE = "TIDEGATE_TOKEN_FILE"  # noqa: S105 - a variable's name

REPLICAS, SURGE = 2, 1
"""Routers of a namespace, and how many more there are while they are replaced."""
MOST_ROUTERS = REPLICAS + SURGE
"""Each of them judges candidates by itself, and all of them together may be wrong as seldom as one judge."""

SPREAD_SECONDS = 5
"""How long a router that goes still takes new connections: until the last kube-proxy has taken it out."""
DRAIN_SECONDS = 30
"""How long it waits for answers after that."""

AGENT = "agent"
"""Envoy's name for the agent."""
ENVOY_MEMORY_BYTES = 1 << 30
"""Envoy's limit. It keeps bodies to ask again, and takes no requests rather than being killed with all it has."""

HEAP = "envoy.resource_monitors.fixed_heap"
HEAP_TYPE = "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"

Document = dict[str, Any]


def bootstrap(folder: PurePosixPath, router: str) -> Document:
    """What Envoy starts from: an admin interface and an agent, each by a socket in `folder`, and nothing else.

    `router`: the uid of its pod, or what Kubernetes puts in its place.
    """
    protocol, heap = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions", ENVOY_MEMORY_BYTES * 9 // 10
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
            "lds_config": by_agent(),
            "cds_config": by_agent(),
        },
        "overload_manager": {
            "resource_monitors": [{"name": HEAP, "typed_config": {"@type": HEAP_TYPE, "max_heap_size_bytes": heap}}],
            "actions": [
                {
                    "name": f"envoy.overload_actions.{action}",
                    "triggers": [{"name": HEAP, "threshold": {"value": share}}],
                }
                for action, share in (("shrink_heap", 0.8), ("stop_accepting_requests", 0.9))
            ],
        },
        "layered_runtime": {"layers": [{"name": "agent", "admin_layer": {}}]},
    }


def by_agent() -> Document:
    """Where a resource comes from: the agent."""
    return {"resource_api_version": "V3", "ads": {}}


def pipe(path: PurePosixPath) -> Document:
    """A socket as an address."""
    return {"pipe": {"path": str(path)}}
