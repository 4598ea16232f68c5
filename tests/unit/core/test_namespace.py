"""What the models of a namespace share: made with the first of them, repaired, and gone with the last."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tidegate_contract.route import FIRST_PORT, LAST_PORT
from tidegate_operator.core import router
from tidegate_operator.core.children import owner
from tidegate_operator.core.look import Evict, Found, GivePort, Looked, ReadChild, ReadPorts, Secure, Step
from tidegate_operator.core.namespace import REST, SILENT_SECONDS, Namespace, Silence, look_at
from tidegate_operator.core.types import ABSENT, Apply, Child, Container, Identity, Kind, Pod, Remove, Workload
from worlds import NOW, child

IMAGES = router.Images("envoy:1", "tools:1")
FLIGHTS, HOTELS = Identity("ml", "flights", "uid-1", 1), Identity("ml", "hotels", "uid-2", 1)
KINDS = [Kind.SERVICE_ACCOUNT, Kind.ROLE_BINDING, Kind.POD_DISRUPTION_BUDGET, Kind.DEPLOYMENT]
Answers = Callable[[Step], Any]


def drive(known: Namespace, answers: Answers = lambda step: None) -> tuple[list[Step], Looked]:
    """Every step of a look, and how it ended."""
    steps, answer = look_at(known, IMAGES, NOW), None
    found: list[Step] = []
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            return found, end.value
        found.append(step)
        answer = answers(step)


def there(*owners: Identity) -> dict[tuple[Kind, str], Child]:
    """The routers' objects, as they were made for these models."""
    made = [child(Kind(manifest["kind"]), manifest) for manifest in router.objects("ml", owners, IMAGES)]
    return {(each.kind, each.name): replace(each, owner_uid=None) for each in made}


def applied(steps: list[Step]) -> list[Kind]:
    return [step.kind for step in steps if isinstance(step, Apply)]


def test_the_first_model_has_the_routers_made_and_their_secret_before() -> None:
    steps, looked = drive(Namespace("ml", routed=(FLIGHTS,)))
    assert steps[0] == Secure((FLIGHTS,))
    assert applied(steps) == KINDS
    assert {step.version for step in steps if isinstance(step, Apply)} == {ABSENT}
    assert looked == Looked({})


def test_each_name_is_asked_for_before_it_is_taken() -> None:
    steps, _ = drive(Namespace("ml", routed=(FLIGHTS,)))
    assert [step for step in steps if isinstance(step, ReadChild)] == [ReadChild(kind, router.NAME) for kind in KINDS]


def test_what_is_as_it_should_be_is_left_alone() -> None:
    steps, _ = drive(Namespace("ml", routed=(FLIGHTS,), children=there(FLIGHTS)))
    assert steps == [Secure((FLIGHTS,))]


def test_another_model_becomes_an_owner_of_all() -> None:
    steps, _ = drive(Namespace("ml", routed=(FLIGHTS, HOTELS), children=there(FLIGHTS)))
    assert applied(steps) == KINDS
    for step in steps[1:]:
        assert isinstance(step, Apply)
        assert step.manifest["metadata"]["ownerReferences"] == [owner(FLIGHTS), owner(HOTELS)]
        assert step.uid


def test_without_a_model_that_needs_them_the_routers_go() -> None:
    steps, _ = drive(Namespace("ml", children=there(FLIGHTS)))
    assert sorted(step.kind for step in steps if isinstance(step, Remove)) == sorted(KINDS)
    assert len(steps) == len(KINDS)
    going = {ref: replace(each, deleting=True) for ref, each in there(FLIGHTS).items()}
    assert drive(Namespace("ml", children=going))[0] == []


def test_a_strangers_object_is_told_and_never_touched() -> None:
    def answers(step: Step) -> Any:
        is_it = step == ReadChild(Kind.DEPLOYMENT, router.NAME)
        return Found(Child(Kind.DEPLOYMENT, router.NAME, "x", None, None, b"")) if is_it else None

    steps, looked = drive(Namespace("ml", routed=(FLIGHTS,)), answers)
    assert applied(steps) == KINDS[:-1]
    assert looked.trouble.startswith("Deployment tidegate-router is there and was not made by Tidegate")


def test_what_is_refused_is_told_and_the_rest_is_made() -> None:
    def answers(step: Step) -> Any:
        return "forbidden" if isinstance(step, Apply) and step.kind == Kind.ROLE_BINDING else None

    steps, looked = drive(Namespace("ml", routed=(FLIGHTS,)), answers)
    assert applied(steps) == KINDS
    assert looked.trouble.startswith("the API server refuses the RoleBinding tidegate-router: forbidden")


# ---------------------------------------------------------------- ports


def test_a_model_without_a_port_gets_the_lowest_that_is_free() -> None:
    known = Namespace("ml", routed=(FLIGHTS, HOTELS), portless=(FLIGHTS, HOTELS), children=there(FLIGHTS, HOTELS))
    taken = {"trains": FIRST_PORT, "ships": FIRST_PORT + 2}
    steps, _ = drive(known, lambda step: taken if isinstance(step, ReadPorts) else None)
    given = [step for step in steps if isinstance(step, GivePort)]
    assert given == [GivePort("flights", "uid-1", FIRST_PORT + 1), GivePort("hotels", "uid-2", FIRST_PORT + 3)]


def test_where_no_port_is_left_that_is_told() -> None:
    taken = {str(port): port for port in range(FIRST_PORT, LAST_PORT + 1)}
    known = Namespace("ml", routed=(FLIGHTS,), portless=(FLIGHTS,), children=there(FLIGHTS))
    steps, looked = drive(known, lambda step: taken if isinstance(step, ReadPorts) else None)
    assert not [step for step in steps if isinstance(step, GivePort)]
    assert "no port for another one" in looked.trouble


# ---------------------------------------------------------------- routers that do not answer

DEAD = (("router-1", "r1"), ("router-2", "r2"))


def evicted(silence: Silence) -> list[Step]:
    steps, looked = drive(Namespace("ml", routed=(FLIGHTS,), children=there(FLIGHTS), silence=silence))
    assert looked.look_again == (SILENT_SECONDS if silence.pods else None)
    return [step for step in steps if isinstance(step, Evict)]


@pytest.mark.parametrize(
    ("silence", "ended"),
    [
        (Silence(), []),
        (Silence(DEAD[:1], others_answer=True), [Evict("router-1", "r1")]),
        (Silence(DEAD, others_answer=True), [Evict("router-1", "r1")]),
        (Silence(DEAD, others_answer=False), []),
        (Silence(DEAD, others_answer=True, youngest=NOW - REST), [Evict("router-1", "r1")]),
        (Silence(DEAD, others_answer=True, youngest=NOW - REST + timedelta(seconds=1)), []),
        (Silence(DEAD, others_answer=True, ended=NOW - REST + timedelta(seconds=1)), []),
    ],
    ids=["none", "one", "only one of two", "all", "made long ago", "made lately", "ended one lately"],
)
def test_at_most_one_is_ended_and_only_while_another_answers(silence: Silence, ended: list[Step]) -> None:
    assert evicted(silence) == ended


# ---------------------------------------------------------------- what keeps them from being ready

PULL = Container("envoy", waiting="ErrImagePull", waiting_message="envoy:1: not found")


@pytest.mark.parametrize(
    ("pods", "workload", "said"),
    [
        (
            (Pod("a", "", containers=(PULL,)),),
            None,
            "container envoy cannot be pulled: envoy:1: not found; check image.e",
        ),
        ((Pod("a", "", containers=(PULL,)), Pod("b", "", ready=True)), None, ""),
        ((Pod("a", "", unschedulable="0/1 nodes"),), None, "no node takes a router: 0/1 nodes"),
        ((Pod("a", "", containers=(Container("agent", exit_code=1, exit_message="no token"),)),), None, "1: no token"),
        ((), Workload(refused="exceeded quota"), "refuses the routers' pods: exceeded quota"),
        ((), None, ""),
    ],
    ids=["an image", "another one is ready", "no node", "a crash", "a quota", "nothing yet"],
)
def test_why_no_router_gets_ready(pods: tuple[Pod, ...], workload: Workload | None, said: str) -> None:
    known = Namespace("ml", routed=(FLIGHTS,), children=there(FLIGHTS), pods=pods, workload=workload)
    trouble = drive(known)[1].trouble
    assert said in trouble
    assert bool(said) == bool(trouble)
