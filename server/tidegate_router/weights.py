"""The weights that a router really uses, which are those of the route where that is safe. Pure."""

from collections.abc import Collection

from tidegate_contract.route import WHOLE, Route, Slot

Weights = dict[Slot, int]
"""Of each slot that shares traffic; they add up to 100."""


def effective(route: Route, served: Collection[Slot], *, led: bool, latched: Slot | None = None) -> Weights:
    """`served`: slots of which some pod can answer; `led`: an operator has asked lately how it goes; `latched`: the
    slot of a version that has failed here too often.

    A candidate has weight only while somebody looks after it, it can answer and does not fail; stable has all the
    rest, whatever happens: its requests can wait for a pod.

    >>> from tidegate_contract.route import Share
    >>> slots = {Slot.A: Share("0a", 95), Slot.B: Share("0b", 5)}
    >>> route = Route(10000, 7, Slot.A, slots)
    >>> effective(route, {Slot.A, Slot.B}, led=True)
    {<Slot.A: 'a'>: 95, <Slot.B: 'b'>: 5}
    >>> effective(route, {Slot.A, Slot.B}, led=False)
    {<Slot.A: 'a'>: 100, <Slot.B: 'b'>: 0}
    """
    told = {slot: share.weight for slot, share in route.slots.items() if slot is not Slot.SHADOW}
    weights: Weights = {
        slot: weight if led and slot in served and slot != latched else 0 for slot, weight in told.items()
    }
    weights[route.stable] = 0
    weights[route.stable] = WHOLE - sum(weights.values())
    return weights
