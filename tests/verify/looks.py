"""The real looks, run once for every distinct thing that they can know, and remembered.

A look is a generator: what it does next follows from what it knew when it began and
from the answers so far. So a look in flight is a value, and a crash can come between
any two of its steps. Looks that have only writes before them, and the same ones, are
the same look, whatever they have read to get there.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import takewhile
from typing import Any

from tidegate_contract import names
from tidegate_operator.core import children as children_module
from tidegate_operator.core import decide as decide_module
from tidegate_operator.core import drift, revision, writes
from tidegate_operator.core.failures import refused_before
from tidegate_operator.core.guards import ALL, Guards
from tidegate_operator.core.look import (
    Found,
    Known,
    ReadChild,
    ReadModel,
    ReadRevision,
    ReadRouters,
    Step,
    Steps,
    Tell,
    Together,
    WriteStatus,
    look,
    look_around,
)
from tidegate_operator.core.records import object_name
from tidegate_operator.core.types import (
    Apply,
    Child,
    Forget,
    Identity,
    Keep,
    Kind,
    Manifest,
    Named,
    Observed,
    Remove,
    Revision,
    Scale,
)
from verify import specs
from verify.operators import Refusals
from verify.values import Kept, Key, Kid, Model, Pods, Shared, Spec, Value, status_of

AT = "at the version it was decided on"
"""Stands for the resourceVersion: a look keeps the very object instead."""


@dataclass(frozen=True, slots=True, eq=False)
class Began(Value):
    """What a look knew when it began. `model` is None for a look around."""

    name: str
    model: Model | None
    kids: tuple[Kid, ...] = ()
    kept: tuple[Kept, ...] = ()
    pods: Pods = field(default_factory=Pods)
    release: int = 0
    day: int = 0
    refused: Refusals | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Reading(Value):
    """A look that has read so far, and reads next."""

    began: Began
    answers: tuple[Any, ...]
    step: ReadModel | ReadChild | ReadRevision
    reads: frozenset[Any] = frozenset()
    """The names that were read and found free."""


@dataclass(frozen=True, slots=True, eq=False)
class Writing(Value):
    """A look that only writes from here on."""

    name: str
    steps: tuple[Shared[Step], ...]
    uid: int | None
    """Of its ModelDeployment; None in a look around."""
    model: Model | None
    """The ModelDeployment that it was decided on, as long as its status is to be written."""
    spec: Spec | None
    """What it saw its owner ask for, as long as something depends on it."""
    reads: frozenset[Any]
    """The names of children that are still to be made, and were read in this look."""
    absent: bool
    """In a look around: it has read that there is no ModelDeployment."""
    complained: bool
    """It began with something that was refused before."""
    refused: tuple[tuple[Any, str], ...] = ()

    @property
    def step(self) -> Step:
        return self.steps[0].value

    def choices(self) -> "Iterator[Writing]":
        """The look before each of the writes that may come next: what is carried out together comes in any order."""
        together = list(takewhile(lambda one: isinstance(one.value, WriteStatus | Keep), self.steps))
        for one in together or self.steps[:1]:
            yield self.but(steps=(one, *(other for other in self.steps if other is not one)))


Node = Reading | Writing


class LookError(AssertionError):
    """A look does what the search relies on that none does."""


class Looks:
    """All looks under one set of guards."""

    def __init__(self, guards: Guards = ALL) -> None:
        self.guards = guards
        self._begun: dict[Began, Node | None] = {}
        self._next: dict[tuple[Node, Hashable], Node | None] = {}

    def __len__(self) -> int:
        return len(self._begun)

    def begin(self, began: Began) -> Node | None:
        """A look that begins now; None if there is nothing to do."""
        if began not in self._begun:
            self._begun[began] = self._node(began, ())
        return self._begun[began]

    def answer(self, node: Node, answer: Any) -> Node | None:
        """The look after its step was answered; None if it is over."""
        key = (node, answer)
        if key not in self._next:
            if isinstance(node, Reading):
                self._next[key] = self._node(node.began, (*node.answers, answer))
            else:
                self._next[key] = advanced(node, answer)
        return self._next[key]

    def _node(self, began: Began, answers: tuple[Any, ...]) -> Node | None:
        steps = self._run(began, answers, None)
        if not steps:
            return None
        if isinstance(steps[0], READS):
            asked = zip(self._read(began, answers), answers, strict=True)
            free = frozenset(key for step, said in asked if (key := read_key(step)) and said is None)
            return Reading(began, answers, steps[0], free)
        if any(isinstance(step, READS) for step in steps):
            raise LookError("a look reads after it has begun to write")
        answered = any(isinstance(step, Apply | Keep) for step in steps)
        if answered and [shared(step) for step in steps] != [
            shared(step) for step in self._run(began, answers, "refused")
        ]:
            raise LookError("what a look writes depends on how its writes were answered")
        reads = frozenset(key for step in self._read(began, answers) if (key := read_key(step)))
        absent = began.model is None and answers[-1:] == (None,)
        return trimmed(
            Writing(
                began.name,
                tuple(map(shared, steps)),
                began.model.uid if began.model else None,
                began.model,
                began.model.spec if began.model else None,
                reads,
                absent,
                bool(refusals(began)),
            )
        )

    def _run(self, began: Began, answers: tuple[Any, ...], refused: str | None) -> list[Step]:
        """The steps after these answers; the first if it is a read. Events are left out: nothing depends on them."""
        steps, waiting = self._start(began), list(answers)
        found: list[Step] = []
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                return found
            answer = None
            if isinstance(step, Tell):
                continue
            if isinstance(step, ReadRouters):
                answer = frozenset()  # in these worlds requests go to the pods straight
                continue
            if waiting:
                answer = said(waiting.pop(0))
                continue
            if isinstance(step, Together):
                found += step.steps
                answer = tuple(refused if isinstance(each, Keep) else None for each in step.steps)
                continue
            found.append(step)
            if isinstance(found[0], READS):
                return found
            if isinstance(step, Apply | Keep):
                answer = refused

    def _read(self, began: Began, answers: tuple[Any, ...]) -> list[Step]:
        steps: Steps = self._start(began)
        found: list[Step] = []
        answer = None
        for reply in answers:
            found.append(steps.send(answer))
            answer = said(reply)
        return found

    def _start(self, began: Began) -> Steps:
        now = specs.now(began.day)
        revisions = [specs.core_revision(kept) for kept in began.kept]
        if began.model is None:
            return look_around(revisions, now, self.guards)
        numbers = next((kid.numbers for kid in began.kids if kid.ref == (Kind.DEPLOYMENT, began.name)), None)
        observed = Observed(
            children={kid.ref: specs.child(kid) for kid in began.kids},
            workload=specs.workload(numbers) if numbers else None,
            pods=specs.pods(began.pods),
            revisions=tuple(revisions),
            action=began.model.action,
            refused=refusals(began),
        )
        known = Known(
            specs.identity(began.name, began.model),
            AT,
            specs.desired(began.model.spec),
            began.model.status.value,
            observed,
            specs.RELEASES[began.release],
            now,
        )
        return look(known, self.guards)


def refusals(began: Began) -> Mapping[Named, str]:
    """What a look takes for refused when it begins."""
    if began.refused is None:
        return refused_before(began.model.status.value) if began.model else {}
    return dict(began.refused.words)


def advanced(node: Writing, answer: Any) -> Writing | None:
    after = node.but(steps=node.steps[1:], refused=refused_by(node, answer))
    return trimmed(after) if after.steps else None


def refused_by(node: Writing, answer: Any) -> tuple[tuple[Any, str], ...]:
    """What the API server has not taken of this look, with the answer to its next write."""
    if not answer:
        return node.refused
    match node.step:
        case Apply() as step:
            about: tuple[str, str] = ref_of(step)
        case Keep(revision=revision):
            about = (names.REVISION_KIND, object_name(revision.model, revision.name))
        case _:
            raise LookError(f"{node.step} is not answered by words")
    return (*node.refused, (about, answer))


def trimmed(node: Writing) -> Writing:
    """Without what nothing depends on any more."""
    rest = [shared.value for shared in node.steps]
    making: set[Key] = {ref_of(step) for step in rest if isinstance(step, Apply) and step.uid is None}
    making |= {step.revision.name for step in rest if isinstance(step, Keep) and step.revision.uid is None}
    says = any(isinstance(step, WriteStatus) for step in rest)
    asks = says or any(isinstance(step, Forget) for step in rest)
    return node.but(
        model=node.model if says else None, spec=node.spec if asks else None, reads=node.reads & frozenset(making)
    )


READS = ReadModel | ReadChild | ReadRevision


def read_key(step: Step) -> Key | None:
    """The name that a step asks for; None if it asks for none that could be taken."""
    match step:
        case ReadChild(kind=kind, name=name):
            return kind, name
        case ReadRevision(name=name):
            return name.rpartition("-")[2]
        case _:
            return None


def said(answer: Any) -> Any:
    """An answer as the look takes it: what holds dicts stands in a state as a shared value."""
    return answer.value if isinstance(answer, Shared) else answer


def ref_of(step: Apply) -> tuple[Kind, str]:
    return step.kind, str(step.manifest["metadata"]["name"])


def shared(step: Step) -> Shared[Step]:
    return Shared.of(step, key_of(step))


def key_of(step: Step) -> Hashable:
    """Everything that a step says."""
    match step:
        case Apply(kind=kind, manifest=manifest, uid=uid, version=version):
            return ("apply", kind, repr(manifest), uid, version)
        case Keep(revision=revision):
            return ("keep", repr(revision))
        case WriteStatus(status=status, version=version):
            return ("status", status_of(status), version)
        case Forget() | Remove() | Scale():
            return (type(step).__name__, step)
        case _:
            return step


@cache
def uids(node: Node) -> frozenset[tuple[Any, int]]:
    """The objects that a look will name by their uid: by key and uid."""
    found: set[tuple[Any, int]] = set()
    if isinstance(node, Reading):
        found |= {(kid.key, kid.uid) for kid in node.began.kids} | {(kept.key, kept.uid) for kept in node.began.kept}
        for answer in node.answers:
            if isinstance(answer, Found):
                found.add(((answer.child.kind, answer.child.name), int(answer.child.uid)))
            if isinstance(revision := said(answer), Revision):
                found.add((revision.name, int(revision.uid or 0)))
        return frozenset(found)
    for one in node.steps:
        match one.value:
            case Apply(uid=str(uid)) as step:
                found.add((ref_of(step), int(uid)))
            case Remove(kind=kind, name=name, uid=str(uid)):
                found.add(((kind, name), int(uid)))
            case Scale(name=name, uid=str(uid)):
                found.add(((Kind.DEPLOYMENT, name), int(uid)))
            case Keep(revision=revision) if revision.uid is not None:
                found.add((revision.name, int(revision.uid)))
            case Forget(name=name, uid=str(uid)):
                found.add((name.rpartition("-")[2], int(uid)))
    return frozenset(found)


def remember_pure_functions() -> None:
    """Answer from memory what the core works out again at every look: hashes, manifests, whether a child is intact."""
    for module in (children_module, revision):
        module.name_of = NAME_OF  # type: ignore[attr-defined]
    decide_module.children = lru_cache(maxsize=None)(children_module.children)  # type: ignore[attr-defined]
    sealed: dict[int, tuple[Manifest, Manifest]] = {}

    def seal(manifest: Manifest) -> Manifest:
        found = sealed.get(id(manifest))
        if found is None:
            found = sealed[id(manifest)] = (manifest, children_module.seal(manifest))
        return found[1]

    decide_module.seal = seal  # type: ignore[attr-defined]
    intact: dict[tuple[Child, int, Identity], bool] = {}

    class Drift:
        @staticmethod
        def intact(child: Child, manifest: Manifest, identity: Identity) -> bool:
            key = (child, id(manifest), identity)
            if key not in intact:
                intact[key] = drift.intact(child, manifest, identity)
            return intact[key]

    writes.drift = Drift  # type: ignore[attr-defined,assignment]


NAME_OF = lru_cache(maxsize=None)(revision.name_of)
