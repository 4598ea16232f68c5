"""One conversation with Envoy about its resources, as delta xDS has it. No network, no protobuf.

    take    what Envoy says: which resources it wants, which it has, and that it took or refused what it was told
    due     what is to be said now

Each resource goes out in a message of its own, so that Envoy's answer is about that resource and no other: one that it
refuses holds up nobody else's. Protocol: envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol, "Incremental xDS".
"""

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tidegate_router.documents import CLUSTER, ENDPOINTS, LISTENER, ROUTE, model_of

ORDER = (CLUSTER, ROUTE, ENDPOINTS, LISTENER)
"""What is referred to comes before what refers to it; but a version loses its pods after its place in the route."""
WILDCARD = "*"

Key = tuple[str, str]
"""The type of a resource, and its name."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What Envoy should have under a key."""

    version: str
    packed: bytes
    """Its document, compressed: a hundred models have 1,200 of them, and as JSON they take 700 kB more."""
    after: frozenset[Key] = frozenset()
    """Resources that Envoy must have before it is told of this one."""

    @property
    def body(self) -> bytes:
        """The document as JSON."""
        return zlib.decompress(self.packed)


Catalog = Mapping[Key, Resource]
"""All that Envoy should have."""


@dataclass(frozen=True, slots=True)
class Message:
    """One resource, or that there is none of that name; none at all, if the name is the wildcard."""

    kind: str
    nonce: str
    name: str
    resource: Resource | None


@dataclass(slots=True)
class _Subscription:
    """What Envoy wants of one type."""

    everything: bool = False
    names: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)
    """Names that were asked for and not spoken of yet: that there is no such thing is to be said too."""


class Conversation:
    """From the first message of a stream to its last."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, _Subscription] = {}
        self._sent: dict[Key, str] = {}
        """The version of each that Envoy has, or will have if it takes what is on its way."""
        self._on_the_way: dict[str, tuple[Key, str | None]] = {}
        """By nonce; None for the news that there is none."""
        self._count = 0
        self.confirmed: dict[Key, str] = {}
        """The versions that Envoy has taken, by its own word."""
        self.refused: dict[Key, tuple[str, str]] = {}
        """The version that it refused last, and its words; until it takes another one."""
        self._again: set[Key] = set()
        """Of these, those that it is to be asked once more."""

    def take(
        self,
        kind: str,
        *,
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
        has: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str = "",
    ) -> None:
        """One message of Envoy's.

        `has`: versions from before this stream; `error`: why it refuses what came with `nonce`; empty if it takes it.
        """
        if nonce in self._on_the_way:
            self._answered(*self._on_the_way.pop(nonce), error)
        first = kind not in self._subscriptions
        subscription = self._subscriptions.setdefault(kind, _Subscription())
        wanted = set(subscribe)
        if WILDCARD in wanted or (first and not wanted):
            subscription.everything = True
            subscription.unanswered |= set() if has else {WILDCARD}
        subscription.names |= wanted - {WILDCARD}
        subscription.unanswered |= wanted - {WILDCARD}
        for name in wanted:
            self._forget((kind, name))  # it asks anew for what it does not have any more
        for name, version in (has or {}).items():
            self._sent[kind, name] = self.confirmed[kind, name] = version
        for name in set(unsubscribe):
            subscription.names.discard(name)
            self._forget((kind, name))

    def _answered(self, key: Key, version: str | None, error: str) -> None:
        if version is None:
            for other in [other for other in self.refused if other[0] == key[0]]:
                del self.refused[other]  # what has ended may have been in its way, as a port that was taken
        elif not error:
            self.confirmed[key] = version
            self.refused.pop(key, None)
        else:
            self.refused[key] = version, error
            if self._sent.get(key) == version:  # it goes on with what it had
                self._sent.pop(key)
                if key in self.confirmed:
                    self._sent[key] = self.confirmed[key]

    def _forget(self, key: Key) -> None:
        """Also what is on its way: the answer to it says nothing any more."""
        for known in (self._sent, self.confirmed, self.refused):
            known.pop(key, None)
        self._on_the_way = {nonce: about for nonce, about in self._on_the_way.items() if about[0] != key}

    def try_again(self) -> None:
        """Ask once more for what it refused: its reason may be gone, as a port that another process had."""
        self._again = set(self.refused)

    def due(self, catalog: Catalog, kept: Collection[str] = ()) -> list[Message]:
        """What Envoy is to be told, in this order, for it to have what it should; it counts as said.

        `kept`: models of which nothing is taken away, as nobody knows what they should have.
        """
        self.refused = {key: said for key, said in self.refused.items() if key in catalog}
        found: list[Message] = []
        ends: list[Message] = []
        for kind in ORDER:
            if (subscription := self._subscriptions.get(kind)) is None:
                continue
            names = set(subscription.names)
            if subscription.everything:
                names |= {name for of, name in (*catalog, *self._sent) if of == kind}
            messages = [
                message for name in sorted(names) for message in self._about(kind, name, subscription, catalog, kept)
            ]
            if WILDCARD in subscription.unanswered and not messages:
                messages.append(self._message((kind, WILDCARD), None))  # it does not start before it knows
            subscription.unanswered.discard(WILDCARD)
            found += [message for message in messages if message.resource]
            ends += [message for message in messages if not message.resource]
        return [*found, *reversed(ends)]

    def _about(
        self, kind: str, name: str, subscription: _Subscription, catalog: Catalog, kept: Collection[str]
    ) -> Iterable[Message]:
        key = kind, name
        resource, sent = catalog.get(key), self._sent.get(key)
        if resource is None:
            if model_of(name) in kept:
                return
            if sent is not None or name in subscription.unanswered:
                subscription.unanswered.discard(name)
                self._forget(key)
                yield self._message(key, None)
            return
        waits = not resource.after <= self.confirmed.keys()
        refused, _ = self.refused.get(key, ("", ""))
        if waits or resource.version == sent or (resource.version == refused and key not in self._again):
            return
        self._again.discard(key)
        subscription.unanswered.discard(name)
        self._sent[key] = resource.version
        yield self._message(key, resource)

    def _message(self, key: Key, resource: Resource | None) -> Message:
        self._count += 1
        nonce = str(self._count)
        self._on_the_way[nonce] = key, resource.version if resource else None
        return Message(key[0], nonce, key[1], resource)
