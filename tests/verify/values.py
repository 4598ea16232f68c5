"""What a state of the world is made of.

A search compares and hashes millions of states, so every value here exists once: two
that say the same are one object, and comparing them costs nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Generic, NamedTuple, Self, TypeVar, cast

from tidegate_contract.actions import Action
from tidegate_operator.core.types import Kind, Manifest, Ref, Revision, Status

T = TypeVar("T")


class Once(type):
    """Of a class whose equal values are one object."""

    _all: dict[tuple[Any, ...], Any]
    _places: dict[str, int]
    _fields: Callable[[Any], tuple[Any, ...]]

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if "_all" not in cls.__dict__:
            names = cls.__dict__["__slots__"]
            cls._all = {}
            cls._places = {name: place for place, name in enumerate(names)}
            several = len(names) > 1  # of one name there would be no tuple
            cls._fields = attrgetter(*names) if several else lambda value: tuple(getattr(value, name) for name in names)
        found = cls._all.get(args) if len(args) == len(cls._places) else None
        if found is not None:
            return found
        made = super().__call__(*args, **kwargs)
        return cls._all.setdefault(cls._fields(made), made)

    def changed(cls, value: Any, changes: dict[str, Any]) -> Any:
        """The value with other fields, which mostly exists already."""
        fields = list(cls._fields(value))
        for name, value_now in changes.items():
            fields[cls._places[name]] = value_now
        return cls(*fields)


@dataclass(frozen=True, slots=True, eq=False)
class Value(metaclass=Once):
    """The base of all values: made once, compared by identity."""

    def but(self, **changes: Any) -> Self:
        cls: Any = type(self)
        return cast(Self, cls.changed(self, changes))


class Shared(Generic[T]):
    """A value of the core that stands in a state; the same object for the same value."""

    __slots__ = ("value",)
    _all: "dict[Any, Shared[Any]]" = {}  # noqa: RUF012 - the table itself

    def __init__(self, value: T) -> None:
        self.value = value

    @classmethod
    def of(cls, value: T, key: Any) -> "Shared[T]":
        """`key` is hashable and says everything that the value says."""
        found = cls._all.get((type(value), key))
        if found is None:
            found = cls._all[type(value), key] = Shared(value)
        return found


def status_of(status: Status) -> Shared[Status]:
    return Shared.of(status, status)


EMPTY = status_of(Status())


def record_of(revision: Revision) -> Shared[Revision]:
    """A revision as it is kept, whichever object keeps it. A card holds dicts, so its words are the key."""
    bare = replace(revision, uid=None, deleting=False, version=None)
    return Shared.of(bare, repr(bare))


def revision_of(revision: Revision) -> Shared[Revision]:
    """A revision with everything that it says, as the answer to a read."""
    return Shared.of(revision, ("read", repr(revision)))


def manifest_of(manifest: Manifest) -> Shared[Manifest]:
    return Shared.of(manifest, repr(manifest))


def owner_of(manifest: Shared[Manifest]) -> str:
    """The uid of the ModelDeployment that a child was made for."""
    return str(manifest.value["metadata"]["ownerReferences"][0]["uid"])


# ---------------------------------------------------------------- what the API server holds


@dataclass(frozen=True, slots=True, eq=False)
class Spec(Value):
    """Which of the world's specs; `themes` says what each version is."""

    version: str
    replicas: int | None = 2
    paused: bool = False
    token: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Model(Value):
    """A ModelDeployment."""

    uid: int
    spec: Spec
    generation: int = 1
    status: Shared[Status] = field(default=EMPTY)
    action: Action | None = None
    born_with: Action | None = None
    """The action that it had when it was made: history of another object."""
    deleting: bool = False

    @property
    def key(self) -> str:
        return ""


@dataclass(frozen=True, slots=True, eq=False)
class Numbers(Value):
    """Of a Deployment: what its spec says, and what its controller has said last."""

    wanted: int = 1
    seen: bool = False
    """The controller has looked since the Deployment changed last."""
    total: int = 0
    updated: int = 0
    available: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Kid(Value):
    """An object at the name of a child: ours, or a stranger's, which has no manifest."""

    ref: Ref
    uid: int
    manifest: Shared[Manifest] | None
    hurt: bool = False
    """A stranger has changed a field of ours."""
    labelled: bool = True
    """It has our label, so the watch shows it."""
    held: bool = False
    """A stranger's finalizer is on it."""
    deleting: bool = False
    ended: bool = False
    """A Job that is over."""
    numbers: Numbers | None = None

    @property
    def key(self) -> Ref:
        return self.ref

    @property
    def owner(self) -> str:
        return owner_of(self.manifest) if self.manifest else ""


@dataclass(frozen=True, slots=True, eq=False)
class Kept(Value):
    """A ModelRevision."""

    name: str
    uid: int
    record: Shared[Revision]
    labelled: bool = True
    held: bool = False
    deleting: bool = False

    @property
    def key(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, eq=False)
class Pods(Value):
    """The pods of a model: of each revision how many are ready and how many not yet; and its resolvers'."""

    serving: tuple[tuple[str, int, int], ...] = ()
    resolving: tuple[tuple[str, str], ...] = ()
    """Request and the digest that was read, which is empty as long as it runs."""

    @property
    def key(self) -> str:
        return ""

    @property
    def uid(self) -> int:
        return 0


Item = Model | Kid | Kept | Pods
"""What a watch tells of."""
Key = str | Ref


@dataclass(frozen=True, slots=True, eq=False)
class Truth(Value):
    """Everything that the API server holds of one model, and what an observer must remember of its past."""

    name: str
    model: Model | None
    kids: tuple[Kid, ...] = ()
    """By kind and name."""
    kept: tuple[Kept, ...] = ()
    """By name."""
    pods: Pods = field(default_factory=Pods)
    tag: int = 0
    """Which bytes the address without a digest stands for."""
    day: int = 0
    uids: int = 1
    """How many ModelDeployments of this name there have been."""
    ended: int | None = None
    """The day on which the last of them went, if there is none now."""
    emptied: bool = False
    """The owner has asked for no pods at all, once."""
    quota: bool = False
    """A stranger allows no new ModelRevision."""
    backup: Model | None = None
    """What a restore would bring back."""
    lost: frozenset[str] = frozenset()
    """Revisions whose record a stranger has deleted or hidden."""

    def kid(self, ref: Ref) -> Kid | None:
        return next((kid for kid in self.kids if kid.ref == ref), None)

    def revision(self, name: str) -> Kept | None:
        return next((kept for kept in self.kept if kept.name == name), None)

    @property
    def deployment(self) -> Kid | None:
        return next((kid for kid in self.kids if kid.ref[0] == Kind.DEPLOYMENT), None)


ORDER = {kind: place for place, kind in enumerate(Kind)}

I = TypeVar("I", Model, Kid, Kept, Pods)  # noqa: E741 - an item


def with_item(items: tuple[I, ...], key: Key, item: I | None) -> tuple[I, ...]:
    """The items with this one in the place of whatever was at its key."""
    rest = [other for other in items if other.key != key]
    if item is not None:
        rest.append(item)
        rest.sort(key=_place)
    return tuple(rest)


def _place(item: Item) -> tuple[int, str]:
    return (ORDER[item.ref[0]], item.ref[1]) if isinstance(item, Kid) else (0, str(item.key))


# ---------------------------------------------------------------- what may still happen


class Budget(NamedTuple):
    """How often each kind of trouble may still come; a state with more of everything covers one with less."""

    crashes: int = 2
    strangers: int = 0
    users: int = 0
    """Edits of spec and actions."""
    losses: int = 0
    """Watches that break."""
    restores: int = 0
    """The object is deleted, and made again."""
    releases: int = 0
    """New releases of the operator."""
    handovers: int = 0
    """Leaders that are stopped and woken again."""
    days: int = 0

    def covers(self, other: "Budget") -> bool:
        return all(mine >= its for mine, its in zip(self, other, strict=True))

    def spend(self, what: str) -> "Budget":
        return self._replace(**{what: getattr(self, what) - 1})
