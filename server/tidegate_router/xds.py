"""Tells Envoy what it should have, over one gRPC stream on a Unix socket.

A file for each model would do for a few: Envoy has an inotify instance for each file, and a kernel 128 for each user.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.json_format import Parse, ParseError

from tidegate_router.delta import WILDCARD, Catalog, Conversation, Key, Message, Resource

# What documents.py speaks of: the reader of JSON has to know the types that stand in it.
for _module in (
    "config.cluster.v3.cluster_pb2",
    "config.endpoint.v3.endpoint_pb2",
    "config.listener.v3.listener_pb2",
    "config.route.v3.route_pb2",
    "extensions.filters.http.router.v3.router_pb2",
    "extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2",
    "extensions.retry.host.previous_hosts.v3.previous_hosts_pb2",
    "extensions.upstreams.http.v3.http_protocol_options_pb2",
):
    import_module(f"envoy.{_module}")

PAUSE_SECONDS = 0.01
"""Between two looks at what is due: an Envoy that is told of a hundred models answers each of 1,200 messages by itself,
and a look at all of them after each answer would keep the loop busy for seconds."""
WITHOUT_PROBES = (("grpc.http2.bdp_probe", 0),)
"""gRPC would measure how much fits between it and Envoy, which is one socket, and take memory for that: ten megabytes
when Envoy is told of a hundred models."""

_logger = logging.getLogger(__name__)


class Xds:
    """Keeps Envoy equal to a catalog. On the event loop only.

    `changed` is called whenever Envoy has taken or refused something, or comes anew.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._catalog: Catalog | None = None
        self._kept: Collection[str] = ()
        self._conversation: Conversation | None = None
        self._wake = asyncio.Event()

    def tell(self, catalog: Catalog, kept: Collection[str] = ()) -> None:
        """All that Envoy should have, but for models of which it keeps what it has.

        Before the first of these nothing is said: Envoy may have more from before.
        """
        self._catalog, self._kept = catalog, kept
        self._wake.set()

    def confirmed(self, key: Key) -> str:
        """The version that Envoy has, by its own word; empty if none."""
        return self._conversation.confirmed.get(key, "") if self._conversation else ""

    def refused(self, key: Key) -> tuple[str, str]:
        """The version that Envoy has refused, and its words; two empty ones if none."""
        return self._conversation.refused.get(key, ("", "")) if self._conversation else ("", "")

    def try_again(self) -> None:
        """Ask once more for what Envoy has refused."""
        if self._conversation and self._conversation.refused:
            self._conversation.try_again()
            self._wake.set()

    async def listen(self, path: PurePosixPath) -> grpc.aio.Server:
        """Serve on a socket. Its owner stops it."""
        server = grpc.aio.server(options=WITHOUT_PROBES)
        servicer = ads_pb2_grpc.AggregatedDiscoveryServiceServicer()
        servicer.DeltaAggregatedResources = self._converse
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(servicer, server)
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        return server

    async def _converse(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> None:
        conversation = self._conversation = Conversation()
        self._wake.set()  # whoever spoke before is gone
        listening = asyncio.create_task(self._listen(conversation, requests))
        try:
            while self._conversation is conversation and not listening.done():
                self._wake.clear()
                for message in conversation.due(self._catalog, self._kept) if self._catalog is not None else ():
                    try:
                        response = _response(message)
                    except ParseError as error:  # Envoy would refuse it, and it alone
                        conversation.take(message.kind, nonce=message.nonce, error=str(error))
                        self._changed()
                    else:
                        await context.write(response)
                await asyncio.sleep(PAUSE_SECONDS)
                await self._wake.wait()
            if listening.done():
                listening.result()  # only a bug ends it otherwise than Envoy
        finally:
            listening.cancel()
            if self._conversation is conversation:
                self._conversation = None
            self._changed()

    async def _listen(self, conversation: Conversation, requests: AsyncIterator[Any]) -> None:
        try:
            async for request in requests:
                if request.error_detail.message:
                    _logger.warning("Envoy refuses what it was told: %s", request.error_detail.message)
                conversation.take(
                    request.type_url,
                    subscribe=request.resource_names_subscribe,
                    unsubscribe=request.resource_names_unsubscribe,
                    has=request.initial_resource_versions,
                    nonce=request.response_nonce,
                    error=request.error_detail.message or ("refused" if request.HasField("error_detail") else ""),
                )
                self._wake.set()
                self._changed()
        finally:
            self._wake.set()


def _response(message: Message) -> Any:
    response = discovery_pb2.DeltaDiscoveryResponse(type_url=message.kind, nonce=message.nonce)
    if message.name == WILDCARD:
        pass
    elif message.resource is None:
        response.removed_resources.append(message.name)
    else:
        response.resources.append(_packed(message.name, message.resource))
    return response


def _packed(name: str, resource: Resource) -> Any:
    packed = Parse(resource.body, Packed())
    return discovery_pb2.Resource(name=name, version=resource.version, resource=packed)
