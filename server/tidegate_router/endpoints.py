"""Which addresses a version can be asked at, from the EndpointSlices of its Service. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

HTTP, METRICS = "http", "metrics"
"""Names of the ports."""


class Conditions(msgspec.Struct, frozen=True):
    ready: bool | None = None
    """None is to be taken as true, says the API."""
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(msgspec.Struct, frozen=True):
    addresses: tuple[str, ...] = ()
    conditions: Conditions = Conditions()


class EndpointPort(msgspec.Struct, frozen=True):
    name: str | None = None
    port: int | None = None


class EndpointSlice(msgspec.Struct, frozen=True):
    """As much of it as is looked at."""

    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A pod, and where it answers."""

    ip: str
    http: int
    metrics: int


def usable(slices: Iterable[EndpointSlice]) -> tuple[Address, ...]:
    """Those that are ready and stay; where there is none, those that go and still serve; in their order, each once.

    A pod that is told to end serves until its readiness fails, and its Service may have nobody else.
    """
    ready: set[Address] = set()
    going: set[Address] = set()
    for found in slices:
        ports = {port.name: port.port for port in found.ports or ()}
        http = ports.get(HTTP)
        if http is None:
            continue
        for endpoint in found.endpoints or ():
            if not endpoint.addresses:
                continue
            address = Address(endpoint.addresses[0], http, ports.get(METRICS) or 0)
            conditions = endpoint.conditions
            if conditions.terminating:
                if conditions.serving:
                    going.add(address)
            elif conditions.ready is not False:
                ready.add(address)
    return tuple(sorted(ready or going))
