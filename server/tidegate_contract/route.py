"""What the operator tells the routers of a namespace: `status.route` of each ModelDeployment.

    slots        a, b      two versions that share the traffic by weight; which of them is stable changes
                 shadow    a version that is sent copies, and whose answers nobody sees
    generation   rises by one with every change; routers say which one they really run

The agent beside each Envoy reads it from the API server itself, so that routing goes on while no operator is there. A
release later may add fields: what is not known here is left out.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from tidegate_contract.evidence import TOLERANCES, Signal
from tidegate_contract.names import REVISION_PATTERN

FIRST_PORT, LAST_PORT = 10000, 14999
"""Of listeners in the router's pod, one for each ModelDeployment of the namespace."""
LONGEST_SECONDS = 3600
"""Of a deadline: more than a ModelDeployment can have, and not so much that it cannot be written as a duration."""
LONGEST_STICKY_SECONDS = 30 * 24 * 3600
WHOLE = 100
"""What the weights add up to."""


class Slot(StrEnum):
    """A place for a version."""

    A = "a"
    B = "b"
    SHADOW = "shadow"


SHARED = (Slot.A, Slot.B)
"""The slots that share the traffic."""


class Share(msgspec.Struct, frozen=True):
    """The version in a slot."""

    revision: str
    """Its name: eight hex digits."""
    weight: int = 0
    """Of 100 requests."""


class Route(msgspec.Struct, frozen=True, rename="camel"):
    """How the requests for one model are to be divided."""

    port: int
    generation: int
    stable: Slot
    slots: dict[Slot, Share]
    timeout_seconds: float = 10.0
    """The longest deadline of the versions in the slots."""
    sticky_seconds: int = 0
    """How long a client stays with the version that chance gave it; 0: chance decides each request."""
    tolerance_errors: float = TOLERANCES[Signal.ERRORS]
    """How far above stable's share of errors is no harm yet: a share of all requests."""

    def changed(
        self,
        *,
        slots: dict[Slot, Share] | None = None,
        stable: Slot | None = None,
        timeout_seconds: float | None = None,
        sticky_seconds: int | None = None,
        tolerance_errors: float | None = None,
    ) -> "Route":
        """The route that follows it, with the next generation."""
        return msgspec.structs.replace(
            self,
            generation=self.generation + 1,
            slots=slots or self.slots,
            stable=stable or self.stable,
            timeout_seconds=timeout_seconds or self.timeout_seconds,
            sticky_seconds=self.sticky_seconds if sticky_seconds is None else sticky_seconds,
            tolerance_errors=tolerance_errors or self.tolerance_errors,
        )


class RouteError(ValueError):
    """A route that means nothing; the message says what is wrong with it."""


def route_of(told: object) -> Route:
    """The route that a status holds, as plain data. Raises RouteError."""
    try:
        route = msgspec.convert(told, Route)
    except msgspec.ValidationError as error:
        raise RouteError(str(error)) from error
    if not FIRST_PORT <= route.port <= LAST_PORT:
        raise RouteError(f"port {route.port} is none of {FIRST_PORT} to {LAST_PORT}")
    if route.generation < 1:
        raise RouteError("a generation is 1 or more")
    if not 0 < route.timeout_seconds <= LONGEST_SECONDS:
        raise RouteError(f"the timeout is above 0 and at most {LONGEST_SECONDS:g} seconds")
    if not 0 <= route.sticky_seconds <= LONGEST_STICKY_SECONDS:
        raise RouteError(f"a client stays for 0 to {LONGEST_STICKY_SECONDS} seconds")
    if not 0 < route.tolerance_errors < 1:
        raise RouteError("a tolerance is a share of all requests, above 0 and below 1")
    if route.stable not in SHARED or route.stable not in route.slots:
        raise RouteError("stable is one of the slots a and b, and there is a version in it")
    if any(share.weight < 0 for share in route.slots.values()) or total(route.slots) != WHOLE:
        raise RouteError(f"the weights are 0 or more and add up to {WHOLE}")
    if Slot.SHADOW in route.slots and route.slots[Slot.SHADOW].weight:
        raise RouteError("a shadow has no weight")
    if not all(REVISION_PATTERN.fullmatch(share.revision) for share in route.slots.values()):
        raise RouteError("a revision is eight hex digits")
    if len({share.revision for share in route.slots.values()}) < len(route.slots):
        raise RouteError("a version is in one slot only")
    return route


def total(slots: Mapping[Slot, Share]) -> int:
    """All weights together."""
    return sum(share.weight for share in slots.values())
