"""Carries out the steps of a look in the simulated world, as `reconcile` and `writer` do over HTTP."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tidegate_operator.core.guards import Guard
from tidegate_operator.core.look import Fresh, ReadChild, ReadModel, ReadRevision, Step, WriteStatus
from tidegate_operator.core.types import Apply, Forget, Keep, Kind, Remove, Scale
from verify import cluster, specs
from verify.looks import Looks, Node, Reading, Writing, ref_of, refused_by, uids
from verify.operators import Flight, Gone, Lost, News, Proc, Put, Refusals, State, tell
from verify.values import Kept, Key, Kid, Truth, revision_of


@dataclass(frozen=True, slots=True)
class Deed:
    """One write of a look: what it was, and what the API server made of it."""

    step: Step
    look: Writing
    flight: Flight
    before: Truth
    after: Truth
    leads: bool
    """The process that wrote holds the Lease."""
    refused: bool = False
    """The API server took it for nonsense, or its precondition did not hold."""

    @property
    def changes(self) -> bool:
        return self.after is not self.before


def steps(looks: Looks, state: State, place: int, which: str) -> Iterator[tuple[Node, State, Deed | None]]:
    """Each step that a look in flight may take next: the look before it, and what comes of it."""
    flight: Flight = getattr(state.procs[place], which)
    for node in flight.at.choices() if isinstance(flight.at, Writing) else [flight.at]:
        proc = state.procs[place].but(**{which: flight.but(at=node)})
        yield node, *step(looks, _with(state, place, proc), place, which)


def step(looks: Looks, state: State, place: int, which: str) -> tuple[State, Deed | None]:
    """The next step of a look in flight."""
    proc = state.procs[place]
    flight: Flight = getattr(proc, which)
    node: Node = flight.at
    if isinstance(node, Reading):
        return _read(looks, state, place, which, node), None
    if not looks.guards.holds(Guard.LEASE, proc.leads):
        return _with(state, place, proc.but(**{which: None})), None  # NotLeader: the look ends
    return _write(looks, state, place, which, node)


def _with(state: State, place: int, proc: Proc) -> State:
    return State(state.truth, (*state.procs[:place], proc, *state.procs[place + 1 :]))


def _on(looks: Looks, proc: Proc, which: str, answer: Any) -> Proc:
    """The process after its look was answered; where that was the last step, it remembers what was refused."""
    flight: Flight = getattr(proc, which)
    node: Node = flight.at
    after = looks.answer(node, answer)
    if after is not None:
        return proc.but(**{which: flight.but(at=after)})
    return over(proc, which, node, answer)


def over(proc: Proc, which: str, node: Node, answer: Any) -> Proc:
    refusals = None
    if isinstance(node, Writing) and node.uid is not None:
        words = refused_by(node, answer)
        refusals = Refusals(node.uid, words) if words or node.complained else None
    return proc.but(**{which: None}, **({"refused": refusals} if which == "look" else {}))


def _read(looks: Looks, state: State, place: int, which: str, node: Reading) -> State:
    truth, proc = state.truth, state.procs[place]
    answer: Any = None
    if isinstance(node.step, ReadModel):
        model = truth.model
        if model is None:
            proc = proc.but(models=proc.models.lose(""))
        else:
            known = proc.models.items
            if not known or known[0].uid != model.uid or model.deleting:
                proc = proc.but(models=proc.models.wrote(model))
            answer = Fresh(str(model.uid), model.deleting)
    elif isinstance(node.step, ReadChild):
        kid = truth.kid((node.step.kind, node.step.name))
        answer = specs.found(kid) if kid else None
    elif isinstance(node.step, ReadRevision):
        kept = truth.revision(node.step.name.rpartition("-")[2])
        answer = revision_of(specs.core_revision(kept)) if kept else None
    return _with(state, place, _on(looks, proc, which, answer))


def _write(looks: Looks, state: State, place: int, which: str, node: Writing) -> tuple[State, Deed]:
    truth, proc = state.truth, state.procs[place]
    flight: Flight = getattr(proc, which)
    answer = None
    refused = False
    own: tuple[str, Key] | None = None
    try:
        after, own = _sent(state, node)
    except cluster.ConflictError:
        deed = Deed(node.step, node, flight, truth, truth, proc.leads, refused=True)
        return _with(state, place, proc.but(**{which: None})), deed
    except cluster.RefusedError as error:
        after, answer, refused = truth, str(error), True
    deed = Deed(node.step, node, flight, truth, after, proc.leads, refused)
    told = tell(state, after, (place, which), own)
    proc = told.procs[place]
    if not refused and not proc.stopped:
        proc = _answered(proc, node.step, truth, after, own)
    return _with(told, place, _on(looks, proc, which, answer)), deed


def _sent(state: State, node: Writing) -> tuple[Truth, tuple[str, Key]]:
    """What the cluster is after a write, and the object that was written."""
    truth = state.truth
    match node.step:
        case WriteStatus(status=status, version=version):
            return cluster.write_status(truth, status, node.model if version is not None else None), ("models", "")
        case Apply(manifest=manifest, uid=uid, version=version) as apply:
            ref = ref_of(apply)
            after = cluster.apply_child(truth, ref, manifest, uid, version, unused(state, ref))
            return after, ("kids", ref)
        case Scale(name=name, replicas=replicas, uid=uid):
            return cluster.scale(truth, name, replicas, uid), ("kids", (Kind.DEPLOYMENT, name))
        case Remove(kind=kind, name=name, uid=uid):
            return cluster.delete_child(truth, (kind, name), uid), ("kids", (kind, name))
        case Keep(revision=revision):
            return cluster.keep(truth, revision, unused(state, revision.name)), ("kept", revision.name)
        case Forget(name=name, uid=uid) as forget:
            version = getattr(forget, "version", None)
            hashed = name.rpartition("-")[2]
            return cluster.forget(truth, hashed, uid, version), ("kept", hashed)
        case _:
            raise AssertionError(f"no such step: {node.step}")


def _answered(proc: Proc, step: Step, before: Truth, after: Truth, own: tuple[str, Key] | None) -> Proc:
    """The process after it has put the answer to its write into its own caches."""
    assert own is not None
    name, key = own
    feed = getattr(proc, name)
    match step:
        case WriteStatus() if after.model:
            feed = feed.wrote(after.model)
        case Apply():
            kid = after.kid(key)  # type: ignore[arg-type]
            assert kid is not None
            feed = feed.wrote(kid)
        case Keep(revision=revision):
            kept = after.revision(revision.name)
            assert kept is not None
            feed = feed.wrote(kept)
        case Scale(replicas=replicas):
            # Only the number is answered: the rest stays as it was known, under the newest version.
            known = next((item for item in feed.items if item.key == key), None)
            if isinstance(known, Kid) and known.numbers:
                feed = feed.wrote(known.but(numbers=known.numbers.but(wanted=replicas, seen=False)))
        case Remove() | Forget():
            known = next((item for item in feed.items if item.key == key), None)
            there: Kid | Kept | None = next((item for item in getattr(before, name) if item.key == key), None)
            feed = feed.removed(key, there.uid) if there else feed.lose(key)
    return proc.but(**{name: feed})


def unused(state: State, key: Key) -> int:
    """The lowest uid that nothing in the world knows: as good as one that was never used."""
    used = {kid.uid for kid in state.truth.kids if kid.key == key}
    used |= {kept.uid for kept in state.truth.kept if kept.key == key}
    for proc in state.procs:
        for feed in (proc.kids, proc.kept):
            used |= {item.uid for item in feed.items if item.key == key}
            used |= {uid_of(one) for one in feed.news if one.key == key}
        for flight in (proc.look, proc.around):
            if flight:
                used |= {uid for named, uid in uids(flight.at) if named == key}
    return next(uid for uid in range(100) if uid not in used)


def uid_of(news: News) -> int:
    match news:
        case Put(item=item):
            return item.uid
        case Gone(uid=uid):
            return uid
        case Lost():
            return -1
