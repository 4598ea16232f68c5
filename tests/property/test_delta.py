"""Whatever is lost, refused, forgotten or changed on the way: in the end Envoy has what it should."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate_router.delta import ORDER, WILDCARD, Catalog, Conversation, Key, Message, Resource
from tidegate_router.documents import CLUSTER, ENDPOINTS, LISTENER, ROUTE

BAD = "bad"
"""In a version: Envoy refuses it."""
MODELS = ("m1", "m2")
LEADS_TO = {CLUSTER: ENDPOINTS, LISTENER: ROUTE}
"""Whoever has the one asks for the other of that name."""

Wanted = dict[str, dict[str, str]]
"""By model and type: the version. A model that is not in it is gone."""


def catalog_of(wanted: Wanted) -> dict[Key, Resource]:
    found: dict[Key, Resource] = {}
    for name, versions in wanted.items():
        for cluster in (f"{name}/a", f"{name}/b"):
            found[CLUSTER, cluster] = Resource(versions[CLUSTER], b"{}")
            found[ENDPOINTS, cluster] = Resource(versions[ENDPOINTS], b"{}")
        after = frozenset(found.keys() & {(of, f"{name}/{slot}") for of in (CLUSTER, ENDPOINTS) for slot in "ab"})
        found[LISTENER, name] = Resource(versions[LISTENER], b"{}", after)
        found[ROUTE, name] = Resource(versions[ROUTE], b"{}")
    return found


@dataclass
class Request:
    """What Envoy says in one message."""

    kind: str
    subscribe: list[str] = field(default_factory=list)
    unsubscribe: list[str] = field(default_factory=list)
    has: dict[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str = ""
    takes: Key | None = None
    """What it confirms."""


class Envoy:
    """As much of one as speaks the protocol."""

    def __init__(self) -> None:
        self.has: dict[Key, str] = {}
        self.asks: set[Key] = set()
        """Of the types that are not asked for as a whole."""
        self.told: deque[Message] = deque()
        self.says: deque[Request] = deque()
        self.messages = 0

    def connect(self) -> None:
        """By a new stream: what was on its way in either direction is lost, and what it has it says."""
        self.told.clear()
        self.says.clear()
        for kind in (CLUSTER, LISTENER):
            self.says.append(Request(kind, [WILDCARD] if kind == CLUSTER else [], has=self._versions(kind)))
        for kind in (ENDPOINTS, ROUTE):
            if names := sorted(name for of, name in self.asks if of == kind):
                self.says.append(Request(kind, names, has=self._versions(kind)))

    def _versions(self, kind: str) -> dict[str, str]:
        return {name: version for (of, name), version in self.has.items() if of == kind}

    def read(self) -> None:
        """One message, and what follows."""
        message = self.told.popleft()
        key = message.kind, message.name
        answer = Request(message.kind, nonce=message.nonce)
        if message.resource is None:
            self._drop(key)
        elif BAD in message.resource.version:
            answer.error = "no"
        elif key[0] in LEADS_TO or key in self.asks:
            assert message.resource.after <= self.has.keys(), "it leads nowhere"
            self.has[key] = message.resource.version
            answer.takes = key
            self._ask(key)
        self.says.append(answer)

    def _ask(self, key: Key) -> None:
        if key[0] in LEADS_TO and (other := (LEADS_TO[key[0]], key[1])) not in self.asks:
            self.asks.add(other)
            end = Request(other[0], unsubscribe=[other[1]])
            if end in self.says:  # not said yet: it never ended
                self.says.remove(end)
            self.says.append(Request(other[0], [other[1]]))

    def _drop(self, key: Key) -> None:
        model = key[1].partition("/")[0]
        assert key[0] != CLUSTER or (LISTENER, model) not in self.has, "a listener leads to it"
        self.has.pop(key, None)
        if key[0] in LEADS_TO and (other := (LEADS_TO[key[0]], key[1])) in self.asks:
            self.asks.discard(other)
            self.has.pop(other, None)
            self.says.append(Request(other[0], unsubscribe=[other[1]]))


class World:
    """Both ends of a stream, and the catalog."""

    def __init__(self) -> None:
        self.wanted: Wanted = {MODELS[0]: dict.fromkeys(ORDER, "1")}
        self.envoy = Envoy()
        self.reconnect()
        self.settle()

    @property
    def catalog(self) -> Catalog:
        return catalog_of(self.wanted)

    def reconnect(self) -> None:
        self.conversation = Conversation()
        self.taken = set(self.envoy.has)
        self.envoy.connect()

    def say(self) -> None:
        """The agent's turn."""
        for message in self.conversation.due(self.catalog):
            assert message.resource is None or message.resource.after <= self.taken, "too soon"
            self.envoy.messages += 1
            self.envoy.told.append(message)

    def hear(self) -> None:
        said = self.envoy.says.popleft()
        self.taken |= {said.takes} if said.takes else set()
        self.conversation.take(
            said.kind,
            subscribe=said.subscribe,
            unsubscribe=said.unsubscribe,
            has=said.has,
            nonce=said.nonce,
            error=said.error,
        )

    def settle(self) -> None:
        """Until nobody has anything to say."""
        most = self.envoy.messages + 12 * len(MODELS) * len(ORDER)  # each may be refused, and end, and come again
        self.say()
        while self.envoy.told or self.envoy.says:
            while self.envoy.told:
                self.envoy.read()
            while self.envoy.says:
                self.hear()
            self.say()
            assert self.envoy.messages < most, "they talk for ever"


def expected(catalog: Catalog, has: dict[Key, str]) -> Iterable[tuple[Key, bool]]:
    """What Envoy is to have, and whether it may have an older version of it, or none, as it refuses this one."""
    for key, resource in catalog.items():
        excused = BAD in resource.version
        if key[0] in (ENDPOINTS, ROUTE):
            excused |= ({ENDPOINTS: CLUSTER, ROUTE: LISTENER}[key[0]], key[1]) not in has
        yield key, excused or any(of not in has or BAD in catalog[of].version for of in resource.after)


Move = tuple[str, ...]
some_version = st.sampled_from(["1", "1", "2", "3", "1 bad"])
moves: st.SearchStrategy[Move] = st.one_of(
    st.tuples(st.just("want"), st.sampled_from(MODELS), st.sampled_from(ORDER), some_version),
    st.tuples(st.just("remove"), st.sampled_from(MODELS)),
    st.tuples(st.sampled_from(["say", "read", "read all", "hear", "hear all", "settle"])),
    st.tuples(st.sampled_from(["say", "read", "read all", "hear", "hear all", "reconnect", "restart"])),
)
histories = st.lists(moves, max_size=40)


def move(world: World, what: Move) -> None:
    match what:
        case "want", name, kind, version:
            world.wanted.setdefault(name, dict.fromkeys(ORDER, "1"))[kind] = version
        case "remove", name:
            world.wanted.pop(name, None)
        case ("say",):
            world.say()
        case ("read" | "read all",):
            for _ in range(len(world.envoy.told) if "all" in what[0] else min(2, len(world.envoy.told))):
                world.envoy.read()
        case ("hear" | "hear all",):
            for _ in range(len(world.envoy.says) if "all" in what[0] else min(2, len(world.envoy.says))):
                world.hear()
        case ("reconnect",):
            world.reconnect()
        case ("restart",):
            world.envoy = Envoy()
            world.reconnect()
        case ("settle",):
            world.settle()


@settings(max_examples=300)
@given(histories)
@example([("want", "m1", ROUTE, "1"), ("settle",), ("remove", "m1"), ("say",), ("want", "m1", ROUTE, "1"), ("say",)])
def test_in_the_end_envoy_has_what_it_should_but_for_what_it_refuses(history: list[Move]) -> None:
    world = World()
    for each in history:
        move(world, each)
    world.settle()
    catalog, has = world.catalog, world.envoy.has
    assert has.keys() <= catalog.keys()
    assert [
        key for key, excused in expected(catalog, has) if not excused and has.get(key) != catalog[key].version
    ] == []
    confirmed = world.conversation.confirmed
    assert confirmed.items() <= has.items()
    assert [key for key in has if key not in confirmed and BAD not in catalog[key].version] == []


@given(histories)
def test_a_quiet_envoy_is_told_nothing(history: list[Move]) -> None:
    world = World()
    for each in history:
        move(world, each)
    world.settle()
    before = world.envoy.messages
    world.settle()
    assert world.envoy.messages == before


@given(histories)
def test_a_restart_of_the_agent_changes_nothing_that_envoy_has(history: list[Move]) -> None:
    world = World()
    for each in history:
        move(world, each)
    world.settle()
    before = dict(world.envoy.has)
    world.reconnect()
    told: Counter[Key] = Counter()
    for _ in range(10):
        while world.envoy.says:
            world.hear()
        world.say()
        told.update((message.kind, message.name) for message in world.envoy.told)
        while world.envoy.told:
            world.envoy.read()
    assert world.envoy.has == before
    for (kind, name), count in told.items():
        assert count == 1
        assert name == WILDCARD or BAD in world.catalog[kind, name].version
