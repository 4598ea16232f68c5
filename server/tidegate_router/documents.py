"""What Envoy is told: the resources of xDS, as plain data. Pure.

For each model, which has a port of its own and needs no Host header:

    listener    flights              leads to the route of that name
    route       flights              infer by weight; whoever names a version, or comes back to the one that chance gave
                                     it, to that version; all the rest to stable
    clusters    flights/a, /b        what was divided by chance, and nothing else: their counts are evidence
                flights/a/named, ... the same pods, for whoever named the version or comes back to it, and for all that
                                     is no prediction
                flights/shadow       copies
                flights/feedback     pods of stable, the same one for the same path
    endpoints   flights/a, /b, /shadow, /feedback

Envoy confirms or refuses each by its version. A route's says what is in force where it is confirmed: the generation,
and the weights.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath

from tidegate_contract import names
from tidegate_contract.route import SHARED, Route, Slot
from tidegate_contract.router import HOLD_SOCKET, Document, by_agent, pipe
from tidegate_router.endpoints import Address
from tidegate_router.weights import Weights

TYPES = "type.googleapis.com/envoy"
CLUSTER = f"{TYPES}.config.cluster.v3.Cluster"
ENDPOINTS = f"{TYPES}.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{TYPES}.config.listener.v3.Listener"
ROUTE = f"{TYPES}.config.route.v3.RouteConfiguration"

NAMED, FEEDBACK = "named", "feedback"
CLIENTS = "clients"
"""Before a model's name, of what Envoy counts of its clients: Envoy has an `admin` itself."""

REVISION_HEADER = "tidegate-revision"
"""Of a request that wants a certain version."""
VERSION_COOKIE = "tidegate-version"
"""Of a client that is to stay: the version that chance gave it."""
CLUSTER_HEADER = "tidegate-cluster"
"""Of a request, for the hold slot: where it is to go."""
AGAIN_HEADER = "tidegate-again"
"""Of an answer of the hold slot: there is a pod now, ask it."""

CONNECT_SECONDS = 1.0
RETRIES = 5
"""Of one request, each at another pod."""
LONGER_SECONDS = 1.0
"""The servers know the deadline too, and answer it better."""
IDLE_SECONDS = 60.0
"""Of a connection to a pod: below what the server keeps it for, so that it is never closed under a request."""
MOST_REQUESTS = 16384
"""At once, of one version: its pods refuse long before."""
MOST_RETRIES = 4096
"""At once, the requests that wait in the hold slot among them."""
BODY_BYTES = 16 << 20
"""What is kept of a request to be asked again, which is all of the longest."""

# What all of a kind have in common, made once: a hundred models have 600 clusters.

LIMITS: Document = {
    "thresholds": [
        {
            "max_connections": MOST_REQUESTS,
            "max_pending_requests": MOST_REQUESTS,
            "max_requests": MOST_REQUESTS,
            "max_retries": MOST_RETRIES,
        }
    ]
}
LEFT_OUT: Document = {
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": 1,
    "enforcing_consecutive_5xx": 0,
    "enforcing_consecutive_gateway_failure": 0,
    "enforcing_success_rate": 0,
    "enforcing_local_origin_success_rate": 0,
    "interval": "0.5s",
    "base_ejection_time": "1s",
    "max_ejection_time": "5s",
    "max_ejection_percent": 50,
}
"""A pod that cannot be reached is left out for a moment; what a model answers is no reason to."""
ASKED_AGAIN: Document = {
    "retry_on": "connect-failure,reset,retriable-headers",
    "retriable_headers": [{"name": AGAIN_HEADER, "present_match": True}],
    "num_retries": RETRIES,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {"@type": f"{TYPES}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
        }
    ],
    "host_selection_retry_max_attempts": RETRIES,
    "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.1s"},
}
PROTOCOL: Document = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": f"{TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        "common_http_protocol_options": {"idle_timeout": f"{IDLE_SECONDS:g}s"},
    }
}
"""Of the servers: HTTP/1.1."""


def cluster_name(model: str, slot: Slot, kind: str = "") -> str:
    """A model's name has no slash.

    >>> cluster_name("flights", Slot.A), cluster_name("flights", Slot.A, NAMED)
    ('flights/a', 'flights/a/named')
    """
    return "/".join(part for part in (model, str(slot), kind) if part)


# ---------------------------------------------------------------- endpoints


def endpoints(folder: PurePosixPath, name: str, addresses: Sequence[Address]) -> Document:
    """Where the pods of a slot are, or of feedback; the hold slot of this router where there is none.

    Copies wait for nobody: in the hold slot they would pass for the requests that they are copies of.
    """
    asked = [_socket(address.ip, address.http) for address in addresses]
    if not asked and not name.endswith(f"/{Slot.SHADOW}"):
        asked = [pipe(folder / HOLD_SOCKET)]
    found = [{"endpoint": {"address": address}} for address in asked]
    return {
        "@type": ENDPOINTS,
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": found}],
    }


# ---------------------------------------------------------------- clusters


def model_of(name: str) -> str:
    """The model that a resource of this name belongs to.

    >>> model_of("flights/a/named"), model_of("flights")
    ('flights', 'flights')
    """
    return name.partition("/")[0]


def endpoints_of(cluster: str) -> str:
    """The name of a cluster's endpoints.

    >>> endpoints_of("flights/a/named"), endpoints_of("flights/feedback")
    ('flights/a', 'flights/feedback')
    """
    return cluster.removesuffix(f"/{NAMED}")


def clusters(model: str) -> list[Document]:
    """All of one model; all are there from its first day on, and never change."""
    made = [_cluster(cluster_name(model, slot, kind)) for slot in SHARED for kind in ("", NAMED)]
    made.append(_cluster(cluster_name(model, Slot.SHADOW)))
    return [*made, _cluster(f"{model}/{FEEDBACK}") | {"lb_policy": "MAGLEV"}]


def _cluster(name: str) -> Document:
    return {
        "@type": CLUSTER,
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"service_name": endpoints_of(name), "eds_config": by_agent()},
        "connect_timeout": _seconds(CONNECT_SECONDS),
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": LIMITS,
        "outlier_detection": LEFT_OUT,
        "typed_extension_protocol_options": PROTOCOL,
    }


# ---------------------------------------------------------------- routes


def route(model: str, told: Route, weights: Weights) -> Document:
    """Where which request goes."""
    named = {share.revision: slot for slot, share in told.slots.items() if slot in SHARED}
    base = f"/v2/models/{model}"
    predictions = {"path": f"{base}/infer", "headers": [_is(":method", "POST")]}
    back = {revision: slot for revision, slot in named.items() if weights.get(slot) or slot == told.stable}
    routes = [
        *(
            _route(told, {"path_separated_prefix": f"{base}/versions/{revision}"}, to=_named(model, slot))
            for revision, slot in named.items()
        ),
        *(
            _route(told, {"prefix": "/", "headers": [_is(REVISION_HEADER, revision)]}, to=_named(model, slot))
            for revision, slot in named.items()
        ),
        *(
            _route(
                told,
                predictions | {"headers": [*predictions["headers"], _has_cookie(VERSION_COOKIE, revision)]},
                to=_named(model, slot) | _copied(model, told),
            )
            for revision, slot in (back.items() if told.sticky_seconds else ())
        ),
        _route(told, predictions, to=_divided(model, told, weights), evidence=True),
        _route(told, {"path_separated_prefix": f"{base}/feedback"}, to=_by_path(model)),
        _route(told, {"prefix": "/"}, to=_named(model, told.stable)),
    ]
    return {
        "@type": ROUTE,
        "name": model,
        "virtual_hosts": [
            {
                "name": model,
                "domains": ["*"],
                "routes": routes,
                "request_body_buffer_limit": BODY_BYTES,
                "retry_policy": ASKED_AGAIN,
            }
        ],
    }


def _named(model: str, slot: Slot) -> Document:
    return {"cluster": cluster_name(model, slot, NAMED)}


def _divided(model: str, told: Route, weights: Weights) -> Document:
    shares = []
    for slot, weight in weights.items():
        name = cluster_name(model, slot)
        share: Document = {"name": name, "weight": weight, "request_headers_to_add": _headers({CLUSTER_HEADER: name})}
        if told.sticky_seconds:
            share["response_headers_to_add"] = [_cookie(model, told.slots[slot].revision, told.sticky_seconds)]
        shares.append(share)
    return {"weighted_clusters": {"clusters": shares}} | _copied(model, told)


def _copied(model: str, told: Route) -> Document:
    """Predictions that nobody sent to a certain version go to the shadow, too."""
    if Slot.SHADOW not in told.slots:
        return {}
    copied: Document = {"cluster": cluster_name(model, Slot.SHADOW)}
    copied["request_headers_mutations"] = [{"remove": names.EVIDENCE_HEADER}]
    return {"request_mirror_policies": [copied]}


def _cookie(model: str, revision: str, seconds: int) -> Document:
    """Beside those that the server sets, if any."""
    value = f"{VERSION_COOKIE}={revision}; Path=/v2/models/{model}; Max-Age={seconds}; HttpOnly"
    return {"header": {"key": "set-cookie", "value": value}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}


def _has_cookie(name: str, value: str) -> Document:
    """By its whole name and value: `;` parts cookies and is in none. Bytes of the others need not be UTF-8."""
    return {"name": "cookie", "string_match": {"safe_regex": {"regex": rf"(\C*;)?[ \t]*{name}={value}[ \t]*(;\C*)?"}}}


def _by_path(model: str) -> Document:
    return {"cluster": f"{model}/{FEEDBACK}", "hash_policy": [{"header": {"header_name": ":path"}}]}


def _route(told: Route, match: Document, *, to: Document, evidence: bool = False) -> Document:
    """Only the routers say what is evidence: what a client says of it is thrown away."""
    added = {names.GENERATION_HEADER: str(told.generation)}
    added |= {names.EVIDENCE_HEADER: "1"} if evidence else {}
    added |= {CLUSTER_HEADER: to["cluster"]} if "cluster" in to else {}
    return {
        "match": match,
        "route": to | {"timeout": _seconds(told.timeout_seconds + LONGER_SECONDS)},
        "request_headers_to_remove": [names.EVIDENCE_HEADER, REVISION_HEADER],
        "request_headers_to_add": _headers(added),
    }


def _headers(added: dict[str, str]) -> list[Document]:
    return [
        {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for name, value in added.items()
    ]


def _is(header: str, value: str) -> Document:
    return {"name": header, "string_match": {"exact": value}}


# ---------------------------------------------------------------- listeners


def listener(model: str, port: int) -> Document:
    """The port of one model."""
    manager = {
        "@type": f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": f"{CLIENTS}/{model}",
        "rds": {"route_config_name": model, "config_source": by_agent()},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{TYPES}.extensions.filters.http.router.v3.Router"}}
        ],
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": False,
        # What Envoy itself has to say it says as the servers do.
        "local_reply_config": {
            "body_format": {"json_format": {"error": "%LOCAL_REPLY_BODY%"}, "content_type": "application/json"}
        },
    }
    return {
        "@type": LISTENER,
        "name": model,
        "address": _socket("0.0.0.0", port),  # noqa: S104 - a pod's
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _socket(ip: str, port: int) -> Document:
    return {"socket_address": {"address": ip, "port_value": port}}


def _seconds(seconds: float) -> str:
    return f"{seconds:g}s"
