"""What a router says to the operator: what it runs, and what became of the requests so far.

Counts only rise during one epoch, which is one life of one Envoy: an agent that starts anew goes on where it was.
"""

import msgspec

from tidegate_contract.route import Slot

SIGNALS_PATH = "/signals"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Of the requests that went to one version in one way."""

    answered: int = 0
    """Those that have ended, but for those whose client went away."""
    ok: int = 0
    """With 2xx."""
    refused: int = 0
    """With 4xx."""
    failed: int = 0
    """With 5xx, those among them that no pod answered."""
    unanswered: int = 0
    """Of these, those whose deadline was over."""
    again: int = 0
    """Those that another pod answered, with whatever, as a first one was not reached or broke the connection."""
    sent_on: int = 0
    """Of `again`, about those that had waited in the hold slot: no pod has failed them."""
    active: int = 0
    """A gauge: those that a pod has."""
    pending: int = 0
    """A gauge: those that wait for a connection."""

    @property
    def first_failures(self) -> int:
        """Requests whose first attempt did not end with 2xx, or a few more: of those asked again and answered with an
        error nobody tells that they are the same."""
        return min(self.answered, self.answered - self.ok + max(0, self.again - self.sent_on))


class SlotSignals(msgspec.Struct, frozen=True, kw_only=True):
    """Of the version in one slot."""

    revision: str
    weight: int
    """The one in force: 0 for a candidate that nobody looks after, or that has no pod."""
    pods: int
    """Those that Envoy knows, by its own word."""
    divided: Counts = Counts()
    """Requests that were given to it by chance: evidence."""
    named: Counts = Counts()
    """Requests that named it, and what is no prediction."""
    latched: str = ""
    """Why this router gives it no requests any more, in numbers, until a route gives it none; empty if it does."""


class ModelSignals(msgspec.Struct, frozen=True, kw_only=True):
    """Of one ModelDeployment."""

    generation: int = 0
    """The one that Envoy runs, by its own word; 0 before the first."""
    slots: dict[Slot, SlotSignals] = {}
    refused: str = ""
    """Why the newest route is not run: in the words of whoever refuses it, the agent or Envoy."""
    answers: bool = False
    """Whether stable answers by the model's own port: what was last seen, a few seconds ago."""
    held: int = 0
    """A gauge: requests that wait for a pod."""
    leaving: int = 0
    """A gauge: requests that are still at slots which the route does not have any more."""


class PodCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What one serving pod has counted."""

    model: str
    revision: str
    address: str
    counters: msgspec.Raw
    """As the pod told it."""


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """Of one router."""

    router: str
    """Uid of its pod."""
    epoch: str
    models: dict[str, ModelSignals] = {}
    counters: list[PodCounters] = []
    """Of the serving pods; only where they are asked for."""
