"""Everything that can happen next, each in words: what a counterexample is told in."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from tidegate_contract.actions import Action
from tidegate_operator.core.types import Kind, Ref
from verify import cluster, drive, invariants, specs
from verify.drive import Deed
from verify.looks import Began, Looks, Node, Reading, refusals
from verify.operators import FEEDS, Feed, Flight, Lost, Proc, Refusals, State, cached, newly, shown, tell, up_to_date
from verify.values import EMPTY, Budget, Kid, Model, Numbers, Truth, with_item


@dataclass(frozen=True, slots=True)
class World:
    """A small world: how it begins, and what may happen in it."""

    name: str
    about: str
    start: Truth
    budgets: tuple[Budget, ...]
    """What may come, in one of these mixtures."""
    edits: tuple[tuple[str, dict[str, Any]], ...] = ()
    """What the owner may change in spec: in words, and which fields."""
    actions: tuple[Action, ...] = ()
    strangers: tuple[str, ...] = ()
    """Names in `STRANGERS`."""
    losses: tuple[str, ...] = FEEDS
    """The feeds that may break."""
    retagged: bool = False
    """The owner may move the tag that spec names."""
    coarse: bool = False
    """The Deployment's controller does all its work in one move; so that what is about other things stays small."""
    kept: int = 10
    """As `records.KEPT`."""
    standby: bool = False
    """Whether a second process waits to lead, with caches of its own; without it one starts from a fresh list."""
    release: int = 0
    unseen: tuple[str, ...] = ()
    """The feeds that have not told of the beginning yet."""
    restored: tuple[str, ...] = ()
    """Other versions that a restored spec may ask for than the one that was deleted."""


Move = tuple[str, State, Budget, Deed | None]

Moves = Callable[[World, Looks, State, Budget], Iterator[Move]]


def first(world: World) -> State:
    leading = newly(world.start, world.release)
    for name in world.unseen:
        leading = leading.but(**{name: Feed((), (Lost(),))})
    return State(world.start, (leading, leading.but(leads=False)) if world.standby else (leading,))


def following(world: World, looks: Looks, state: State, budget: Budget) -> Iterator[Move]:
    for moves in MOVES:
        yield from moves(world, looks, state, budget)


# ---------------------------------------------------------------- the operator


def processes(world: World, looks: Looks, state: State, budget: Budget) -> Iterator[Move]:
    """Looks go one step on, or begin, each with as many of the news as have arrived by then."""
    for place, proc in enumerate(state.procs):
        for which in ("look", "around"):
            flight: Flight | None = getattr(proc, which)
            if flight:
                for node, after, deed in drive.steps(looks, state, place, which):
                    yield f"{_who(proc)}: {_step(node, deed)}", after, budget, deed
        if not proc.leads:
            continue
        for told in told_of(state, proc):
            if proc.look is None and (begun := look_at(looks, state, place, told)):
                yield f"{_who(proc)} begins a look{_unread(told)}", begun, budget, None
            if proc.around is None and (begun := look_about(looks, state, place, told)):
                yield f"{_who(proc)} looks around the namespace{_unread(told)}", begun, budget, None
        model = cached(proc.models)
        if model and state.truth.model is None:
            evicted = proc.but(models=Feed((), proc.models.news))
            yield "a resync finds the ModelDeployment gone", with_proc(state, place, evicted), budget, None


def told_of(state: State, proc: Proc) -> list[Proc]:
    """The process after any number of the news on their way has arrived."""
    if not any(getattr(proc, name).news for name in FEEDS):
        return [proc]
    options = []
    for name in FEEDS:
        feed: Feed = getattr(proc, name)
        truth = shown(state.truth, name)
        evicts = name != "models"  # the feed of models never makes up a deletion
        options.append([feed.deliver(count, truth, evicts=evicts) for count in range(len(feed.news) + 1)])
    return [proc.but(**dict(zip(FEEDS, feeds, strict=True))) for feeds in product(*options)]


def began(state: State, proc: Proc) -> Began | None:
    """What a look at the ModelDeployment would know; None if there is nothing to look at."""
    model: Model | None = cached(proc.models)
    if model is None or model.deleting:
        return None
    refused = proc.refused
    if refused and refused.uid != model.uid:
        refused = None
    pods = cached(proc.pods)
    truth = state.truth
    return Began(truth.name, model, proc.kids.items, proc.kept.items, pods, proc.release, truth.day, refused)


def look_at(looks: Looks, state: State, place: int, proc: Proc) -> State | None:
    known = began(state, proc)
    if known is None:
        return None
    node = looks.begin(known)
    if node is None:
        assert known.model is not None
        after = Refusals(known.model.uid, ()) if refusals(known) else None
        return with_proc(state, place, proc.but(refused=after)) if proc.refused != after else None
    model = state.truth.model
    assert known.model is not None
    alive = model is not None and model.uid == known.model.uid
    return with_proc(state, place, proc.but(look=Flight(node, alive, up_to_date(proc, state.truth))))


def look_about(looks: Looks, state: State, place: int, proc: Proc) -> State | None:
    if cached(proc.models) is not None or not proc.kept.items:
        return None
    truth = state.truth
    node = looks.begin(Began(truth.name, None, kept=proc.kept.items, day=truth.day))
    if node is None:
        return None
    flight = Flight(node, alive=True, fresh=up_to_date(proc, truth))
    return with_proc(state, place, proc.but(around=flight))


def with_proc(state: State, place: int, proc: Proc) -> State:
    return State(state.truth, (*state.procs[:place], proc, *state.procs[place + 1 :]))


def _who(proc: Proc) -> str:
    return "the operator" if proc.leads else "the old leader, woken,"


def _unread(proc: Proc) -> str:
    behind = [name for name in FEEDS if getattr(proc, name).news]
    return f" without the last news of {', '.join(behind)}" if behind else ""


def _step(node: Node, deed: Deed | None) -> str:
    if isinstance(node, Reading):
        return f"reads {' '.join(str(getattr(node.step, name)) for name in node.step.__slots__)}"
    if deed is None:
        return "may not write: its look ends"
    made = invariants.name_of(deed)
    return f"{made}{'' if not deed.refused else ', which is refused'}"


def crashes(world: World, looks: Looks, state: State, budget: Budget) -> Iterator[Move]:
    """A process dies, its looks and caches with it, and another one starts from a fresh list."""
    for place, proc in enumerate(state.procs):
        fresh = newly(state.truth, proc.release, leads=proc.leads)
        if budget.crashes and proc.leads and fresh is not proc:
            yield "the operator crashes and starts again", with_proc(state, place, fresh), budget.spend("crashes"), None
        if budget.releases and proc.leads and proc.release + 1 < len(specs.RELEASES):
            newer = fresh.but(release=proc.release + 1)
            words = "a new release of the operator takes over"
            yield words, with_proc(state, place, newer), budget.spend("releases"), None


def handovers(world: World, looks: Looks, state: State, budget: Budget) -> Iterator[Move]:
    """The leader is stopped, the standby takes the Lease, and the looks of the old one go on when it wakes."""
    if not budget.handovers:
        return
    if not any(proc.leads and (proc.look or proc.around) for proc in state.procs) and not world.standby:
        return  # a leader that does nothing can be woken as it likes
    procs = tuple(zombie(proc) if proc.leads else leader(state, proc) for proc in state.procs)
    if not any(proc.leads for proc in procs):
        procs = (newly(state.truth, procs[0].release), *procs)
    yield "the leader is stopped, the standby takes over", State(state.truth, procs), budget.spend("handovers"), None


def zombie(proc: Proc) -> Proc:
    """A process that does not lead any more: its looks go on, and no other begins."""
    return Proc(look=proc.look, around=proc.around, leads=False, release=proc.release, stopped=True)


def leader(state: State, proc: Proc) -> Proc:
    """The standby as it is; where that one was stopped before, a process that has just started."""
    return newly(state.truth, proc.release) if proc.stopped else proc.but(leads=True)


def losses(world: World, looks: Looks, state: State, budget: Budget) -> Iterator[Move]:
    """A watch breaks: what was on its way is lost, and nothing comes until everything is listed again."""
    if not budget.losses:
        return
    for place, proc in enumerate(state.procs):
        for name in world.losses:
            feed: Feed = getattr(proc, name)
            if Lost() not in feed.news:
                broken = proc.but(**{name: Feed(feed.items, (Lost(),))})
                yield f"the watch of {name} breaks", with_proc(state, place, broken), budget.spend("losses"), None


# ---------------------------------------------------------------- the cluster


DEPLOYMENT = frozenset({Kind.DEPLOYMENT})
THE_REST = frozenset(Kind) - DEPLOYMENT


def others(world: World, looks: Looks, state: State, budget: Budget) -> Iterator[Move]:
    """Controllers and the garbage collector."""
    for words, after in (
        ("the Deployment's controller changes a pod", None if world.coarse else cluster.rolled(state.truth)),
        ("the Deployment's controller finishes", cluster.rolled_out(state.truth) if world.coarse else None),
        ("the resolver goes on", cluster.resolved(state.truth)),
        ("the garbage collector removes the Deployment", cluster.collected(state.truth, DEPLOYMENT)),
        ("the garbage collector removes the other children", cluster.collected(state.truth, THE_REST)),
    ):
        if after:
            yield words, tell(state, after), budget, None


# ---------------------------------------------------------------- people


def owners(world: World, looks: Looks, state: State, budget: Budget) -> Iterator[Move]:
    """The owner edits spec, asks for an action, or moves the tag."""
    truth, model = state.truth, state.truth.model
    if not budget.users or model is None or model.deleting:
        return
    spent = budget.spend("users")
    for words, changes in world.edits:
        spec = model.spec.but(**changes)
        if spec is not model.spec:
            edited = model.but(spec=spec, generation=model.generation + 1)
            yield (
                f"the owner: {words}",
                tell(state, truth.but(model=edited, emptied=truth.emptied or spec.replicas == 0)),
                spent,
                None,
            )
    for action in world.actions:
        if model.action is None or int(action.id) > int(model.action.id):
            words = f"a person asks for {action.verb} {action.revision}".rstrip()
            yield words, tell(state, truth.but(model=model.but(action=action))), spent, None
    if world.retagged and truth.tag == 0:
        yield "the owner moves the tag to other bytes", tell(state, truth.but(tag=1)), spent, None


def restores(world: World, looks: Looks, state: State, budget: Budget) -> Iterator[Move]:
    """The object is deleted; and made again from a backup: same spec and annotations, no status."""
    truth, model = state.truth, state.truth.model
    if not budget.restores:
        return
    if model is not None:
        after = truth.but(model=None, ended=truth.day, backup=model.but(status=EMPTY, generation=1))
        yield "the ModelDeployment is deleted", tell(state, after), budget, None
    elif truth.backup:
        saved = truth.backup
        for version in (saved.spec.version, *world.restored):
            spec = saved.spec.but(version=version)
            again = saved.but(uid=truth.uids, spec=spec, born_with=saved.action)
            after = truth.but(model=again, uids=truth.uids + 1, ended=None, backup=None)
            words = f"the ModelDeployment is made again, asking for {version}"
            yield words, tell(state, after), budget.spend("restores"), None


def days(world: World, looks: Looks, state: State, budget: Budget) -> Iterator[Move]:
    if budget.days:
        after = state.truth.but(day=state.truth.day + 1)
        yield "a day passes", tell(state, after), budget.spend("days"), None


# ---------------------------------------------------------------- strangers


def strangers(world: World, looks: Looks, state: State, budget: Budget) -> Iterator[Move]:
    """Somebody else changes what is ours, or takes its name."""
    if budget.strangers:
        spent = budget.spend("strangers")
        for name in world.strangers:
            for words, after in STRANGERS[name](state):
                if after is not state.truth:
                    yield f"a stranger {words}", tell(state, after), spent, None
    if state.truth.quota:
        yield "the quota is taken away", tell(state, state.truth.but(quota=False)), budget, None
    for kid in state.truth.kids:
        if kid.held and kid.deleting:
            yield (
                f"the finalizer of {kid.ref[0]} is taken away",
                tell(state, cluster.gone(state.truth, kid.ref)),
                budget,
                None,
            )
    for kept in state.truth.kept:
        if kept.held and kept.deleting:
            after = state.truth.but(
                kept=with_item(state.truth.kept, kept.name, None), lost=state.truth.lost | {kept.name}
            )
            yield f"the finalizer of revision {kept.name} is taken away", tell(state, after), budget, None


Changes = Iterator[tuple[str, Truth]]


def deletes(state: State) -> Changes:
    for kid in state.truth.kids:
        if not kid.deleting and not kid.held:
            yield f"deletes the {kid.ref[0]}", cluster.gone(state.truth, kid.ref)


def edits(state: State) -> Changes:
    for kid in state.truth.kids:
        if kid.manifest and not kid.hurt:
            yield f"changes the {kid.ref[0]}", _put(state.truth, kid.but(hurt=True))


def relabels(state: State) -> Changes:
    for kid in state.truth.kids:
        if kid.labelled:
            yield f"takes our label off the {kid.ref[0]}", _put(state.truth, kid.but(labelled=False))


def scales(state: State) -> Changes:
    kid = state.truth.deployment
    if kid and kid.numbers and kid.numbers.wanted != 1:
        yield "scales the Deployment to 1", _put(state.truth, kid.but(numbers=kid.numbers.but(wanted=1, seen=False)))


def replaces(state: State) -> Changes:
    """Deletes a child of ours and makes an object of its own of that name."""
    for kid in state.truth.kids:
        if kid.manifest and not kid.held and not kid.deleting:
            after = cluster.gone(state.truth, kid.ref)
            yield f"puts a {kid.ref[0]} of its own in the place of ours", _own(state, after, kid.ref)


def takes(state: State) -> Changes:
    """Makes an object of its own where there is none yet."""
    truth = state.truth
    name = truth.name
    for kind in (Kind.SERVICE_ACCOUNT, Kind.SERVICE, Kind.DEPLOYMENT, Kind.POD_DISRUPTION_BUDGET):
        if truth.kid((kind, name)) is None:
            yield f"makes a {kind} of that name", _own(state, truth, (kind, name))


def _own(state: State, truth: Truth, ref: Ref) -> Truth:
    numbers = Numbers(wanted=3, seen=True) if ref[0] == Kind.DEPLOYMENT else None
    return _put(truth, Kid(ref, drive.unused(state, ref), None, labelled=False, numbers=numbers))


def holds(state: State) -> Changes:
    """Puts a finalizer on a child that may be removed one day, or on a revision."""
    for kid in state.truth.kids:
        if kid.ref[0] in (Kind.JOB, Kind.POD_DISRUPTION_BUDGET) and not kid.held:
            yield f"puts a finalizer on the {kid.ref[0]}", _put(state.truth, kid.but(held=True))
    for kept in state.truth.kept:
        if not kept.held:
            yield f"puts a finalizer on revision {kept.name}", cluster.with_kept(state.truth, kept.but(held=True))


def forgets(state: State) -> Changes:
    for kept in state.truth.kept:
        if kept.held:
            continue
        after = state.truth.but(kept=with_item(state.truth.kept, kept.name, None), lost=state.truth.lost | {kept.name})
        yield f"deletes revision {kept.name}", after


def hides(state: State) -> Changes:
    for kept in state.truth.kept:
        if kept.labelled:
            after = cluster.with_kept(state.truth, kept.but(labelled=False))
            yield f"takes our label off revision {kept.name}", after.but(lost=after.lost | {kept.name})


def rations(state: State) -> Changes:
    yield "allows no more revisions, by a quota", state.truth.but(quota=True)


def _put(truth: Truth, kid: Kid) -> Truth:
    return truth.but(kids=with_item(truth.kids, kid.ref, kid))


STRANGERS: dict[str, Callable[[State], Changes]] = {
    "deletes": deletes,
    "edits": edits,
    "relabels": relabels,
    "scales": scales,
    "replaces": replaces,
    "takes": takes,
    "holds": holds,
    "forgets": forgets,
    "hides": hides,
    "rations": rations,
}

MOVES: tuple[Moves, ...] = (
    processes,
    crashes,
    handovers,
    losses,
    others,
    owners,
    restores,
    days,
    strangers,
)
