"""The worlds that are searched: each begins somewhere, and has its own troubles."""

from functools import cache

from tidegate_contract.actions import Action
from tidegate_operator.core.guards import Guard
from tidegate_operator.core.types import Role
from verify import cluster, drive, specs
from verify.looks import Looks
from verify.moves import World, look_at
from verify.operators import State, newly
from verify.settle import others
from verify.values import Budget, Kept, Model, Spec, Truth

NAME = "flights"
ROUNDS = 30


def at_rest(truth: Truth) -> Truth:
    """What becomes of it if nobody meddles."""
    for _ in range(ROUNDS):
        after = looked_at(others(truth))
        if after is truth:
            return truth
        truth = after
    raise AssertionError("the beginning of a world does not come to rest")


def looked_at(truth: Truth) -> Truth:
    """After one look by an operator that knows everything."""
    looks = Looks()
    state = State(truth, (newly(truth),))
    state = look_at(looks, state, 0, state.procs[0]) or state
    while state.procs[0].look:
        state, _ = drive.step(looks, state, 0, "look")
    return state.truth


@cache
def serving(version: str, *before: str, replicas: int | None = 2, name: str = NAME) -> Truth:
    """A model that has served these versions, one after the other, and this one last."""
    truth = Truth(name, Model(0, Spec((*before, version)[0], replicas)))
    for one in (*before, version):
        assert truth.model is not None
        spec = truth.model.spec.but(version=one)
        generation = truth.model.generation + (spec is not truth.model.spec)
        truth = at_rest(truth.but(model=truth.model.but(spec=spec, generation=generation)))
    return truth


def small(name: str) -> Truth:
    """A model that has just been made, of one pod."""
    return Truth(name, Model(0, Spec("A", 1)))


def pair() -> World:
    """The small world that is searched for two models together."""
    return World(
        "pair",
        "two models, and a stranger who changes what is theirs",
        small(NAME),
        (Budget(1, strangers=1),),
        strangers=("deletes", "edits"),
    )


def new(version: str, *kept: Kept, replicas: int | None = 2, action: Action | None = None) -> Truth:
    """A model that has just been made, of which these revisions are kept."""
    model = Model(0, Spec(version, replicas), action=action, born_with=action)
    return Truth(NAME, model, kept=tuple(sorted(kept, key=lambda one: one.name)))


def rejecting() -> Truth:
    """A serves again, with one pod: B, which spec still asks for, was rejected by a rollback."""
    truth = serving("B", "A", replicas=1)
    assert truth.model is not None
    return at_rest(truth.but(model=truth.model.but(action=ROLLBACK)))


def halfway() -> Truth:
    """A serves, B is on its way with its first pod ready, and a person has asked for a pause."""
    truth = serving("A")
    assert truth.model is not None
    spec = truth.model.spec.but(version="B")
    truth = looked_at(truth.but(model=truth.model.but(spec=spec, generation=2)))
    for _ in range(3):
        truth = cluster.rolled(truth) or truth
    assert truth.model is not None
    return looked_at(truth.but(model=truth.model.but(action=PAUSE)))


def kept(version: str, role: Role, *, decided: str = "", days: int = 0) -> Kept:
    return specs.kept(NAME, version, role, decided=decided, days=days)


PAUSE, RESUME = Action("1", "Pause", by="ada"), Action("2", "Resume", by="ada")
ROLLBACK = Action("3", "Rollback", by="ada", reason="it is worse")
NOWHERE = Action("4", "Rollback", "00000000", by="ada")
TO_B = ("spec asks for B", {"version": "B"})
TO_A = ("spec asks for A", {"version": "A"})


EVERYTHING = ("deletes", "edits", "relabels", "scales", "replaces", "takes", "holds", "forgets", "hides", "rations")
REVISIONS = ("holds", "forgets", "hides", "rations")


def worlds() -> tuple[World, ...]:
    """In the order in which they are searched: what takes longest begins first."""
    rejected = kept("B", Role.REJECTED, decided="Rollback by ada: it is worse")
    return (
        World(
            "restore",
            "A serves, B was rejected; the object is deleted and made again, asking for B, A, or nonsense",
            rejecting(),
            (Budget(1, restores=1), Budget(0, restores=1, losses=1), Budget(0, restores=1, users=1)),
            edits=(TO_A, ("another try", {"token": "again"})),
            losses=("models",),
            restored=("A", specs.WRONG),
            coarse=True,
        ),
        World(
            "deletion",
            "the object is deleted, perhaps made again, and days pass",
            serving("B", "A", replicas=1),
            (Budget(1, restores=1, days=1), Budget(0, strangers=1, restores=1)),
            strangers=("holds", "forgets"),
            coarse=True,
        ),
        World(
            "handover",
            "the leader is stopped while a model is deleted and made again",
            serving("A", replicas=1),
            (Budget(0, handovers=1, restores=1),),
            coarse=True,
        ),
        World(
            "update",
            "A serves; its owner asks for B, and perhaps for A again",
            serving("A"),
            (Budget(2, strangers=1, users=1), Budget(2, users=2, losses=1)),
            edits=(TO_B, TO_A),
            strangers=EVERYTHING,
        ),
        World(
            "rollout",
            "a new model, nothing there yet; spec may change under it",
            new("A"),
            (Budget(2, strangers=1), Budget(2, users=1, losses=1)),
            edits=(TO_B,),
            strangers=EVERYTHING,
        ),
        World(
            "scaling",
            "A serves; its owner asks for fewer pods, or none, or no longer says how many",
            serving("A"),
            (Budget(2, strangers=1, users=1), Budget(2, users=2)),
            edits=(("one pod", {"replicas": 1}), ("no pod", {"replicas": 0}), ("any number", {"replicas": None})),
            strangers=("replaces", "holds", "scales", "deletes"),
        ),
        World(
            "rollback",
            "A serves, B served before; a person asks for a rollback, the owner for another try",
            serving("B", "A"),
            (Budget(2, strangers=1, users=1), Budget(2, users=2)),
            edits=(TO_A, ("another try", {"token": "again"})),
            actions=(ROLLBACK, NOWHERE),
            strangers=("deletes", "edits", *REVISIONS),
        ),
        World(
            "pause",
            "A serves; B is asked for, and people pause, resume and roll back",
            serving("A"),
            (Budget(2, users=3),),
            edits=(TO_B, ("paused", {"paused": True})),
            actions=(PAUSE, RESUME),
        ),
        World(
            "halfway",
            "B is on its way and paused in the middle; people resume, roll back, or ask for something else",
            halfway(),
            (Budget(2, users=2),),
            edits=(TO_A, ("spec asks for C", {"version": "C"})),
            actions=(RESUME, ROLLBACK),
        ),
        World(
            "backup",
            "everything is brought back at once: the revisions, of which B was rejected, and an object that asks for B",
            new("B", kept("A", Role.STABLE, days=2), rejected, action=PAUSE),
            (Budget(2, strangers=1), Budget(2, users=1)),
            edits=(TO_A,),
            actions=(RESUME, ROLLBACK),
            unseen=("kept",),
            strangers=REVISIONS,
        ),
        World(
            "wrong",
            "the spec of a model that was made again means nothing, until its owner mends it",
            new(specs.WRONG, kept("A", Role.STABLE, days=2), rejected, action=ROLLBACK, replicas=None),
            (Budget(2, users=2, losses=1),),
            edits=(TO_A, TO_B),
        ),
        World(
            "resolver",
            "an address without a digest, whose tag may move",
            new(specs.TAG, replicas=1),
            (Budget(2, strangers=1), Budget(2, users=2)),
            edits=(TO_A,),
            retagged=True,
            strangers=("deletes", "edits", "replaces", "holds", "rations"),
        ),
        World(
            "release",
            "a new release of the operator comes while the resolver is at work",
            new(specs.TAG, replicas=1),
            (Budget(0, users=1, releases=1),),
            edits=(("another try", {"token": "again"}),),
            retagged=True,
        ),
        World(
            "leadership",
            "the leader is stopped in mid-work and wakes up when another one leads",
            serving("A"),
            (Budget(1, users=1, handovers=1),),
            edits=(TO_B, ("one pod", {"replicas": 1})),
            actions=(PAUSE,),
            standby=True,
        ),
        World(
            "history",
            "of three versions only the newest is kept",
            serving("C", "A", "B"),
            (Budget(2, strangers=1), Budget(2, users=2)),
            edits=(TO_A, TO_B),
            actions=(ROLLBACK,),
            kept=1,
            strangers=REVISIONS,
        ),
    )


def named(name: str) -> World:
    return next(world for world in worlds() if world.name == name)


MISSED: dict[Guard, str] = {
    Guard.OWNER_LIVES: "restore",
    Guard.DELETE_UID: "scaling",
    Guard.NOT_GOING: "scaling",
    Guard.REPLICAS_DIFFER: "scaling",
    Guard.MADE_ONCE: "release",
    Guard.STATUS_VERSION: "restore",
    Guard.LEASE: "leadership",
    Guard.NEW_ACTION: "pause",
    Guard.SEEN_BEFORE: "backup",
    Guard.RECORD_VERSION: "restore",
    Guard.ONLY_IF_ABSENT: "rollout",
    Guard.RESOLVED: "resolver",
    Guard.RECORDED: "rollout",
    Guard.NOT_REJECTED: "rollback",
    Guard.NOT_PAUSED: "pause",
    Guard.KEPT: "rollback",
    Guard.BEYOND_THE_LAST: "history",
    Guard.UNREFERENCED: "history",
    Guard.A_DAY_ALONE: "deletion",
    Guard.MODEL_GONE: "deletion",
}
"""Where a guard is missed first, so that it is searched first; no entry: in `FIRST`."""
FIRST = "update"
