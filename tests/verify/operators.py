"""What an operator's process knows: its caches, the news that are on their way to them, and its looks in flight.

News are not delivered by a move of their own but when a look begins, which is the only
time at which a cache is read: the moves stay the same, the states become far fewer.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from verify.values import Item, Key, Truth, Value, with_item

STALENESS = 2
"""How many changes a cache may be behind; the one before them has arrived."""


@dataclass(frozen=True, slots=True, eq=False)
class Put(Value):
    """An object was made or changed."""

    item: Item

    @property
    def key(self) -> Key:
        return self.item.key


@dataclass(frozen=True, slots=True, eq=False)
class Gone(Value):
    """The object of this uid is gone, or the watch does not show it any more."""

    key: Key
    uid: int


@dataclass(frozen=True, slots=True, eq=False)
class Lost(Value):
    """The watch broke: whatever happens is not told, until everything is listed anew."""

    @property
    def key(self) -> None:
        return None


News = Put | Gone | Lost


@dataclass(frozen=True, slots=True, eq=False)
class Feed(Value):
    """One cache, and what it has not been told yet, oldest first."""

    items: tuple[Any, ...] = ()
    news: tuple[News, ...] = ()

    def wrote(self, item: Item) -> "Feed":
        """The answer to our own write, or a fresh read: the newest there is, so that older news of it are ignored."""
        rest = tuple(one for one in self.news if one.key != item.key)
        return Feed(with_item(self.items, item.key, item), rest)

    def lose(self, key: Key) -> "Feed":
        """The API server says that nothing is at this name; news on their way may still bring it back."""
        return Feed(with_item(self.items, key, None), self.news)

    def removed(self, key: Key, uid: int) -> "Feed":
        """Our own removal, which the watch tells of as well."""
        lost = self.lose(key)
        return lost.hear(Gone(key, uid), ()) if any(one.key == key for one in self.news) else lost

    def hear(self, news: News, truth: tuple[Any, ...]) -> "Feed":
        if Lost() in self.news:
            return self
        feed = Feed(self.items, (*self.news, news))
        return feed.deliver(1, truth) if len(feed.news) > STALENESS else feed

    def deliver(self, count: int, truth: tuple[Any, ...], *, evicts: bool = True) -> "Feed":
        """The first news arrive. `truth` is what a list shows now; `evicts`: and what it does not show is gone."""
        items = self.items
        for news in self.news[:count]:
            match news:
                case Put(item=item):
                    items = with_item(items, item.key, item)
                case Gone(key=key, uid=uid):
                    if any(item.key == key and item.uid == uid for item in items):
                        items = with_item(items, key, None)
                case Lost():
                    items = truth if evicts or truth else items
        return Feed(items, self.news[count:])


@dataclass(frozen=True, slots=True, eq=False)
class Refusals(Value):
    """What the API server did not take at the last look; kept only where that or the status speaks of any."""

    uid: int
    words: tuple[tuple[Any, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Flight(Value):
    """A look in flight."""

    at: Any
    """The `looks.Node` that it has come to."""
    alive: bool = True
    """Its ModelDeployment was there when it began."""
    fresh: bool = True
    """Its caches were up to date when it began, and nobody has changed anything since."""


FEEDS = ("models", "kids", "kept", "pods")


@dataclass(frozen=True, slots=True, eq=False)
class Proc(Value):
    """A process of the operator."""

    models: Feed = field(default_factory=Feed)
    kids: Feed = field(default_factory=Feed)
    kept: Feed = field(default_factory=Feed)
    pods: Feed = field(default_factory=Feed)
    look: Flight | None = None
    """At the ModelDeployment."""
    around: Flight | None = None
    """At its namespace."""
    refused: Refusals | None = None
    leads: bool = True
    stopped: bool = False
    """It led and was stopped: of its caches nothing depends on any more."""
    release: int = 0


class State(NamedTuple):
    """Everything: what is true, and who knows what of it."""

    truth: Truth
    procs: tuple[Proc, ...]


def shown(truth: Truth, feed: str) -> tuple[Any, ...]:
    """What a list shows: an object without our label is not on it."""
    match feed:
        case "models":
            return (truth.model,) if truth.model else ()
        case "kids":
            return tuple(kid for kid in truth.kids if kid.labelled)
        case "kept":
            return tuple(kept for kept in truth.kept if kept.labelled)
        case _:
            return (truth.pods,)


def newly(truth: Truth, release: int = 0, *, leads: bool = True) -> Proc:
    """A process that has just listed everything."""
    models, kids, kept, pods = (Feed(shown(truth, feed)) for feed in FEEDS)
    return Proc(models, kids, kept, pods, leads=leads, release=release)


def up_to_date(proc: Proc, truth: Truth) -> bool:
    return all(not (feed := getattr(proc, name)).news and feed.items == shown(truth, name) for name in FEEDS)


def changed(before: tuple[Any, ...], after: tuple[Any, ...]) -> Iterable[News]:
    """What a watch tells of one change of the cluster."""
    old = {item.key: item for item in before}
    new = {item.key: item for item in after}
    for key, item in old.items():
        if key not in new:
            yield Gone(key, item.uid)
    for key, item in new.items():
        if item is not old.get(key):
            yield Put(item)


def tell(state: State, after: Truth, by: tuple[int, str] | None = None, own: tuple[str, Key] | None = None) -> State:
    """The state after a change of the cluster: everybody will hear of it, and no look's caches are fresh any more.

    `by` is the look that made it, `own` the object that it wrote, whose answer it puts into its own cache itself.
    """
    if after is state.truth:
        return state
    procs = list(state.procs)
    for name in FEEDS:
        before_shown, after_shown = shown(state.truth, name), shown(after, name)
        if before_shown == after_shown:
            continue
        for news in changed(before_shown, after_shown):
            for place, proc in enumerate(procs):
                if not proc.stopped and not (by and by[0] == place and own == (name, news.key)):
                    procs[place] = proc.but(**{name: getattr(proc, name).hear(news, after_shown)})
    for place, proc in enumerate(procs):
        for which in ("look", "around"):
            flight = getattr(proc, which)
            if flight and flight.fresh and by != (place, which):
                proc = proc.but(**{which: flight.but(fresh=False)})
        procs[place] = proc
    return State(after, tuple(procs))


def cached(feed: Feed) -> Any:
    """The one item of a cache that holds at most one."""
    return feed.items[0] if feed.items else None
