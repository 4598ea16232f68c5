"""What the operator knows of the cluster: the newest version of each object that it has seen.

Two feeds write here, the watch and the answers to our own writes. The one with the
higher resourceVersion wins, so that reading our own write never depends on the watch.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from tidegate_cluster.resource import Metadata
from tidegate_contract import labels

Key = tuple[str, str]
"""Namespace and name."""

REMEMBERED_DELETIONS = 4096


class Item(Protocol):
    """Anything with metadata."""

    @property
    def metadata(self) -> Metadata: ...


I = TypeVar("I", bound=Item)  # noqa: E741 - the store's one type


def key_of(item: Item) -> Key:
    """The object's own key."""
    return item.metadata.namespace, item.metadata.name


def model_key(item: Item) -> Key:
    """The key of the ModelDeployment that a child or a pod belongs to, by its label."""
    return item.metadata.namespace, item.metadata.labels.get(labels.MODEL, "")


def version(item: Item) -> int:
    return int(item.metadata.resourceVersion or 0)


class Store(Generic[I]):
    """Objects of one kind, found by the ModelDeployment they belong to.

    `changed` is called with that key after every change.
    """

    def __init__(self, changed: Callable[[Key], None], owner: Callable[[I], Key] = model_key) -> None:
        self._changed = changed
        self._owner = owner
        self._items: dict[Key, I] = {}
        self._owned: dict[Key, set[Key]] = {}
        self._deleted: OrderedDict[str, int] = OrderedDict()
        self._assumed: set[Key] = set()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Key) -> I | None:
        return self._items.get(key)

    def of(self, owner: Key) -> list[I]:
        """The objects that belong to a ModelDeployment, by name."""
        return [self._items[key] for key in sorted(self._owned.get(owner, ()))]

    def __iter__(self) -> Iterator[Key]:
        """The keys as they are now; changes on the way are not seen."""
        return iter(tuple(self._items))

    def owners(self) -> list[Key]:
        """The ModelDeployments to which something belongs."""
        return list(self._owned)

    def put(self, item: I) -> None:
        """Keep an object, unless something newer is known of it."""
        key = key_of(item)
        known = self._items.get(key)
        if known is not None and version(known) >= version(item) + (key in self._assumed):
            return
        if self._deleted.get(item.metadata.uid, -1) >= version(item):
            return
        if known is not None:
            self._forget(key, known)
            if self._owner(known) != self._owner(item):
                self._changed(self._owner(known))  # somebody relabelled it: its owner has lost a child
        self._items[key] = item
        self._assumed.discard(key)
        self._owned.setdefault(self._owner(item), set()).add(key)
        self._changed(self._owner(item))

    def assume(self, item: I) -> None:
        """Keep what we think an object of this version says, until that version is told or a newer one.

        Where a write has changed nothing, its answer names a version that somebody else has made.
        """
        self.put(item)
        if self._items.get(key_of(item)) is item:
            self._assumed.add(key_of(item))

    def remove(self, item: I) -> None:
        """Forget a deleted object, unless another one has taken its place."""
        self._bury(item, version(item))
        key = key_of(item)
        known = self._items.get(key)
        if known is not None and known.metadata.uid == item.metadata.uid:
            self._forget(key, known)
            self._changed(self._owner(known))

    def lose(self, known: I | None) -> None:
        """Forget an object that the API server says is gone; not another one that has its name by now."""
        if known is not None:
            self.remove(known)

    def newest(self, namespace: str) -> int:
        """The highest version that is known in a namespace (empty: in all of them)."""
        return max((version(item) for key, item in self._items.items() if namespace in ("", key[0])), default=0)

    def replace(self, items: Iterable[I], namespace: str, listed_at: int, *, put_back: bool = False) -> None:
        """Take over a whole list; what it does not hold was deleted while nobody looked.

        `namespace` limits that to what the list covers; empty means all. `listed_at` is
        the list's own version: what is newer was made after it and stays. `put_back`
        says that the cluster is in an older state than it was: nothing that was known counts.
        """
        listed = list(items)
        uids = {item.metadata.uid for item in listed}
        if put_back:
            self._deleted.clear()
        for key, known in list(self._items.items()):
            if namespace not in ("", key[0]):
                continue
            if put_back or (known.metadata.uid not in uids and version(known) <= listed_at):
                self._forget(key, known)
                self._bury(known, -1 if put_back else listed_at)
                self._changed(self._owner(known))
        for item in listed:
            self.put(item)

    def _bury(self, item: I, at: int) -> None:
        """Remember that this object is gone, so that an older answer on its way does not bring it back."""
        self._deleted[item.metadata.uid] = at
        if len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)

    def _forget(self, key: Key, item: I) -> None:
        del self._items[key]
        self._assumed.discard(key)
        owner = self._owner(item)
        self._owned[owner].discard(key)
        if not self._owned[owner]:
            del self._owned[owner]
