"""How a version takes over through routers, look by look: where everything follows at once, and where it does not."""

from dataclasses import replace

import pytest

from routed_worlds import PORT, ROUTED, STEPS, Cluster, canary, deployment_of
from tidegate_contract.actions import Action
from tidegate_contract.route import Share, Slot
from tidegate_operator.core.children import endpoints
from tidegate_operator.core.rollout import LEFT_BEHIND
from tidegate_operator.core.types import Approval, Child, Desired, Kind, Remove, Status, Strategy, Via, Weight
from worlds import FLIGHTS, ME, asking, child, name

NEXT = asking(ROUTED, digest="sha256:" + "6" * 64)
THIRD = asking(ROUTED, digest="sha256:" + "7" * 64)
STEP_BY_STEP = canary(NEXT)
A, B, C = name(ROUTED), name(NEXT), name(THIRD)


def serving(desired: Desired = ROUTED) -> Cluster:
    """A model that serves through routers."""
    return Cluster(desired).settle()


def rolling(desired: Desired = STEP_BY_STEP) -> Cluster:
    """Another version is on its way."""
    found = serving()
    found.desired = desired
    return found.settle()


def ask(cluster: Cluster, verb: str) -> Cluster:
    cluster.action = Action(f"id-{len(cluster.plans)}", verb, by="ada")
    return cluster.settle()


def answer(cluster: Cluster) -> tuple[str, str]:
    assert cluster.status.action is not None
    return str(cluster.status.action.outcome), cluster.status.action.message


def test_the_first_version_gets_a_deployment_of_its_own_a_port_and_all_requests() -> None:
    found = serving()
    assert found.serves == {deployment_of(A): A}
    assert found.weights() == {A: 100}
    assert found.status.stable is not None
    assert found.status.stable.revision == A
    assert found.condition("Ready") == ("True", "Serving")
    assert found.condition("Progressing") == ("False", "Complete")
    assert not found.plans[-1].moves


def test_the_first_version_is_stable_when_a_router_knows_its_pods() -> None:
    found = Cluster(ROUTED, broken={A}).settle()
    assert found.status.stable is None
    assert found.condition("Ready") == ("False", "NoReadyPod")
    found.broken.clear()
    assert found.settle().status.stable is not None


def test_a_canary_waits_at_each_approval_and_takes_over_after_the_last() -> None:
    found = rolling()
    assert found.weights() == {A: 95, B: 5}
    assert found.status.candidate is not None
    assert (found.status.candidate.revision, found.status.candidate.step, found.status.candidate.weight) == (B, 1, 5)
    assert found.status.phase == "Step 2"
    assert found.condition("Progressing") == ("False", "AwaitingApproval")
    assert found.sizes == {deployment_of(A): 2, deployment_of(B): 1}
    ask(found, "Approve")
    assert answer(found) == ("Obeyed", "step 2 of 4 is approved")
    assert found.weights() == {A: 50, B: 50}
    assert found.sizes == {deployment_of(A): 2, deployment_of(B): 1}
    ask(found, "Approve")
    assert found.weights() == {B: 100}
    assert found.status.stable is not None
    assert found.status.stable.revision == B
    assert found.status.candidate is None
    assert found.serves == {deployment_of(B): B}
    assert found.sizes == {deployment_of(B): 2}
    assert (Kind.SERVICE, deployment_of(A)) not in found.children
    assert found.condition("Progressing") == ("False", "Complete")
    assert [d.what for d in found.status.decisions][-4:] == ["Approve", "Step", "Approve", "Promoted"]


def test_promote_skips_what_is_left_and_the_record_says_so() -> None:
    found = ask(rolling(), "Promote")
    assert answer(found) == ("Obeyed", "it takes over without the 3 steps left")
    assert found.weights() == {B: 100}
    assert [(d.what, d.by) for d in found.status.decisions if d.what == "Promote"] == [("Promote", "ada")]


def test_abort_rejects_the_candidate_and_stable_has_all_again() -> None:
    found = ask(rolling(), "Abort")
    assert found.weights() == {A: 100}
    assert found.serves == {deployment_of(A): A}
    assert [entry.revision for entry in found.status.rejected] == [B]
    assert found.condition("SpecInSync") == ("False", "RevisionRejected")
    assert found.condition("Progressing") == ("False", "Complete")
    assert found.status.phase == "Idle"
    assert ask(found, "Abort").weights() == {A: 100}
    assert answer(found)[0] == "Refused"


@pytest.mark.parametrize("verb", ["Approve", "Promote", "Abort"])
def test_without_a_candidate_there_is_nothing_to_say(verb: str) -> None:
    found = ask(serving(), verb)
    assert answer(found)[0] == "Refused"
    assert "no candidate" in answer(found)[1]


def test_approval_is_refused_while_routers_have_not_followed() -> None:
    found = serving()
    found.desired, found.lagging = canary(NEXT), {"r1"}
    ask(found, "Approve")
    assert answer(found)[0] == "Refused"


def test_a_pause_holds_where_it_is() -> None:
    found = ask(rolling(), "Pause")
    ask(found, "Approve")
    assert found.weights() == {A: 95, B: 5}
    assert ask(found, "Resume").weights() == {A: 50, B: 50}


def test_blue_green_stands_beside_in_full_and_has_no_request_until_it_is_approved() -> None:
    found = rolling(replace(NEXT, strategy=Strategy.BLUE_GREEN, steps=(Approval(),)))
    assert found.weights() == {A: 100, B: 0}
    assert found.sizes == {deployment_of(A): 2, deployment_of(B): 2}
    assert ask(found, "Approve").weights() == {B: 100}


def test_a_shadow_is_sent_copies_until_it_is_approved() -> None:
    found = rolling(replace(NEXT, strategy=Strategy.SHADOW, steps=(Approval(),)))
    assert found.status.route is not None
    assert found.status.route.slots == {Slot.A: Share(A, 100), Slot.SHADOW: Share(B)}
    assert found.sizes == {deployment_of(A): 2, deployment_of(B): 2}
    assert "copies" in found.message("Progressing")
    assert ask(found, "Pause").weights() == {A: 100, B: 0}
    ask(found, "Resume")
    assert ask(found, "Approve").weights() == {B: 100}
    assert Slot.SHADOW not in found.status.route.slots


def test_a_shadow_that_is_taken_back_gets_no_copies_any_more() -> None:
    found = ask(rolling(replace(NEXT, strategy=Strategy.SHADOW, steps=(Approval(),))), "Abort")
    assert found.weights() == {A: 100}
    assert found.serves == {deployment_of(A): A}


def test_immediate_takes_over_as_soon_as_it_is_ready() -> None:
    assert rolling(NEXT).weights() == {B: 100}


def test_another_spec_drains_the_candidate_and_the_next_one_starts_from_stable() -> None:
    found = rolling()
    found.desired = canary(THIRD)
    found.settle()
    assert found.weights() == {A: 95, C: 5}
    assert set(found.serves.values()) == {A, C}


def test_spec_back_to_stable_drains_the_candidate() -> None:
    found = rolling()
    found.desired = canary(ROUTED)
    assert found.settle().weights() == {A: 100}
    assert found.status.candidate is None
    assert set(found.serves.values()) == {A}


def test_a_candidate_whose_pods_do_not_come_gets_no_request() -> None:
    found = serving()
    found.desired, found.broken = canary(NEXT), {B}
    found.settle()
    assert found.weights() == {A: 100}
    assert found.condition("Ready") == ("True", "Serving")


def test_pods_of_a_version_stay_while_a_router_has_a_request_there() -> None:
    found = rolling()
    found.desired, found.leaving = canary(ROUTED), 1
    found.settle()
    assert set(found.serves.values()) == {A, B}
    found.leaving = 0
    assert set(found.settle().serves.values()) == {A}


@pytest.mark.parametrize("trouble", ["silent", "lagging"])
def test_a_router_that_does_not_follow_holds_everything(trouble: str) -> None:
    found = rolling()
    getattr(found, trouble).add("r2")
    ask(found, "Promote")
    assert A in found.serves.values()
    assert found.status.stable is not None
    assert found.status.stable.revision == A
    if trouble == "silent":
        assert found.condition("MetricsAvailable") == ("False", "RoutersSilent")
    getattr(found, trouble).clear()
    assert set(found.settle().serves.values()) == {B}


def test_with_every_router_silent_nobody_says_that_the_model_is_down() -> None:
    found = serving()
    found.silent = {"r1", "r2"}
    assert found.settle().condition("Ready") == ("Unknown", "RoutersSilent")


def test_a_rollback_needs_no_steps() -> None:
    found = ask(ask(rolling(), "Promote"), "Rollback")
    assert found.weights() == {A: 100}
    assert set(found.serves.values()) == {A}
    assert found.status.stable is not None
    assert found.status.stable.revision == A


def test_what_was_rejected_gets_no_weight_again_when_another_version_is_asked_for_on_the_way_back() -> None:
    found = ask(rolling(), "Promote")
    found.action = Action("back", "Rollback", by="ada")
    found.until(lambda cluster: cluster.weights() == {A: 100, B: 0})
    found.desired, looks = canary(THIRD), len(found.plans)
    assert found.settle().weights() == {A: 95, C: 5}
    routes = [plan.status.route for plan in found.plans[looks:] if plan.status and plan.status.route]
    assert not any(share.weight for route in routes for share in route.slots.values() if share.revision == B)


def test_what_was_rejected_gets_no_weight_again_when_requests_are_to_go_straight() -> None:
    found = ask(rolling(), "Promote")
    found.action = Action("back", "Rollback", by="ada")
    found.until(lambda cluster: cluster.weights() == {A: 100, B: 0})
    found.desired, looks = replace(NEXT, via=Via.SERVICE), len(found.plans)
    assert found.settle().serves == {ME.name: A}
    routes = [plan.status.route for plan in found.plans[looks:] if plan.status and plan.status.route]
    assert not any(share.weight for route in routes for share in route.slots.values() if share.revision == B)


def test_what_was_rejected_gets_no_weight_when_requests_are_to_come_through_routers() -> None:
    found = Cluster(FLIGHTS).settle()
    found.desired = replace(NEXT, via=Via.SERVICE)
    found.settle()
    found.desired, found.action = NEXT, Action("back", "Rollback", by="ada")
    found.until(lambda cluster: cluster.status.route is not None)
    assert found.weights() == {A: 100}
    assert deployment_of(B) not in found.serves
    assert found.settle().serves == {deployment_of(A): A}
    assert found.status.stable is not None
    assert found.status.stable.revision == A


@pytest.mark.parametrize("weight", [0, 100])
def test_of_two_versions_that_were_rejected_one_after_the_other_neither_comes_back(weight: int) -> None:
    """Each of them stands beside the other, and so each seemed to be what the other goes back to, for ever."""
    found = serving(THIRD)
    for desired in (ROUTED, NEXT):
        found.desired = desired
        found.settle()
    found.action = Action("back", "Rollback", by="ada", revision=A)
    found.until(lambda cluster: cluster.weights().get(A) == weight)
    found.action, looks = Action("further", "Rollback", by="ada", revision=C), len(found.plans)
    assert found.settle().weights() == {C: 100}
    routes = [plan.status.route for plan in found.plans[looks:] if plan.status and plan.status.route]
    assert not any(share.weight > weight for route in routes for share in route.slots.values() if share.revision == A)


@pytest.mark.parametrize("via", list(Via))
def test_the_service_of_a_version_that_has_no_deployment_goes(via: Via) -> None:
    """A look has ended between the two, and then nobody wanted the version any more."""
    found = Cluster(replace(ROUTED, via=via)).settle()
    found.children[Kind.SERVICE, deployment_of(B)] = child(Kind.SERVICE, endpoints(ME, B))
    assert (Kind.SERVICE, deployment_of(B)) not in found.settle().children


# ---------------------------------------------------------------- from Services to routers, and back


def test_a_model_moves_to_routers_and_its_old_pods_go_last() -> None:
    found = Cluster(FLIGHTS).settle()
    assert found.serves == {ME.name: A}
    found.desired = ROUTED
    found.until(lambda cluster: ME.name not in cluster.serves)
    flips = [plan for plan in found.plans if any(isinstance(write, Remove) for write in plan.writes)]
    assert len(flips) == 1, "it goes at once, and nothing else does"
    assert found.settle().serves == {deployment_of(A): A}
    assert found.weights() == {A: 100}


def test_while_it_moves_requests_go_straight_until_every_router_knows_the_pods() -> None:
    found = Cluster(FLIGHTS).settle()
    found.desired, found.lagging = ROUTED, {"r1"}
    direct = found.children[Kind.SERVICE, ME.name]
    found.settle()
    assert found.children[Kind.SERVICE, ME.name] == direct
    assert set(found.serves) == {ME.name, deployment_of(A)}
    assert found.condition("Ready") == ("True", "Serving")


def test_requests_are_not_led_to_routers_that_are_all_about_to_end() -> None:
    """A model comes back to them that had left them a moment ago: they follow, and no new request reaches them."""
    found = Cluster(FLIGHTS).settle()
    found.desired, found.ending = ROUTED, True
    direct = found.children[Kind.SERVICE, ME.name]
    found.settle()
    assert found.children[Kind.SERVICE, ME.name] == direct
    assert found.serves == {ME.name: A, deployment_of(A): A}
    found.ending = False
    found.settle()
    assert found.weights() == {A: 100}
    assert found.serves == {deployment_of(A): A}


def test_a_new_version_waits_until_the_model_has_moved() -> None:
    found = Cluster(FLIGHTS).settle()
    found.desired = canary(NEXT)
    found.until(lambda cluster: B in cluster.weights())
    assert ME.name not in found.serves


def test_a_model_moves_back_and_its_route_ends_before_the_pods() -> None:
    found = rolling()
    found.desired = replace(ROUTED, via=Via.SERVICE)
    found.until(lambda cluster: ME.name in cluster.serves)
    assert found.weights() == {A: 100}
    found.until(lambda cluster: cluster.status.route is None)
    assert deployment_of(A) in found.serves
    assert found.settle().serves == {ME.name: A}
    assert [ref for ref in found.children if ref[0] == Kind.SERVICE] == [(Kind.SERVICE, ME.name)]


def test_a_route_has_the_longest_deadline_of_its_versions() -> None:
    found = rolling(canary(asking(NEXT, timeout=30.0)))
    assert found.status.route is not None
    assert found.status.route.timeout_seconds == 30.0
    ask(found, "Abort")
    assert found.status.route.timeout_seconds == 10.0
    assert found.status.route.stable is Slot.A


def test_a_route_that_a_router_refuses_can_be_taken_back() -> None:
    found = serving()
    found.desired, found.refusing = STEP_BY_STEP, {"r1"}
    found.until(lambda cluster: B in cluster.weights())
    found.settle()
    assert found.weights() == {A: 100, B: 0}
    assert found.condition("Degraded") == ("True", "RouteRefused")
    found.action = Action("stop", "Abort", by="ada")
    found.until(lambda cluster: cluster.weights() == {A: 100})
    found.refusing.clear()
    assert found.settle().serves == {deployment_of(A): A}


def test_a_candidate_keeps_its_pods_until_every_router_gives_it_less() -> None:
    desired = replace(canary(NEXT, (Weight(100), Approval())), replicas=4)
    found = serving(replace(ROUTED, replicas=4))
    found.desired = desired
    found.until(lambda cluster: cluster.weights().get(B) == 100)
    found.settle()
    assert found.sizes[deployment_of(B)] == 4
    found.desired, found.lagging = replace(desired, steps=(Weight(25), Approval())), {"r1"}
    found.settle()
    assert found.weights()[B] == 25
    assert found.sizes[deployment_of(B)] == 4
    found.lagging.clear()
    assert found.settle().sizes[deployment_of(B)] == 1


def test_clients_stay_as_long_as_spec_says() -> None:
    found = serving(replace(ROUTED, sticky=60))
    assert found.status.route is not None
    assert found.status.route.sticky_seconds == 60
    found.desired = ROUTED
    found.settle()
    assert (found.status.route.sticky_seconds, found.status.route.generation) == (0, 2)


def test_steps_that_are_taken_out_of_the_spec_are_no_proof() -> None:
    found = rolling()
    found.desired, found.says = canary(NEXT, STEPS[:1]), replace(found.says, proof="")
    for _ in range(60):
        found.look()
    assert found.weights()[A] > 0
    found.says = replace(found.says, proof="it is no worse")
    assert found.until(lambda one: one.weights() == {B: 100}, 60).status.candidate is None


def test_requests_go_to_routers_when_the_pods_that_stay_are_ready() -> None:
    """Routers know pods of the version: those that are about to go."""
    found = Cluster(FLIGHTS).settle()
    direct = found.children[Kind.SERVICE, ME.name]
    found.desired, found.slow = ROUTED, {deployment_of(A)}
    assert found.settle().children[Kind.SERVICE, ME.name] == direct
    found.slow.clear()
    assert found.settle().serves == {deployment_of(A): A}


def test_a_route_ends_when_every_router_has_run_it() -> None:
    """What a router said before it knew the model looks like what it says when it does not any more."""
    found = Cluster(FLIGHTS).settle()
    found.desired, found.lagging = ROUTED, {"r1"}
    found.settle()
    found.desired = FLIGHTS
    assert found.settle().status.route is not None
    found.lagging.clear()
    assert found.settle().status.route is None


def test_requests_that_go_to_pods_go_back_to_routers_only_when_those_know_the_pods() -> None:
    """The Service was led to pods, and the Deployment that was to take over not made yet."""
    found = serving()
    found.desired = FLIGHTS
    found.until(lambda cluster: ME.name in cluster.serves)
    for place in (found.sizes, found.serves):
        place.pop(ME.name)
    direct, _ = found.children[Kind.SERVICE, ME.name], found.children.pop((Kind.DEPLOYMENT, ME.name))
    found.desired, found.silent = ROUTED, {"r2"}
    assert found.settle().children[Kind.SERVICE, ME.name] == direct
    found.silent.clear()
    assert found.settle().children[Kind.SERVICE, ME.name] != direct


def test_a_strangers_pods_take_over_from_nobody() -> None:
    """They serve, at the name where the model's own are to come."""
    found = serving()
    found.children[Kind.DEPLOYMENT, ME.name] = Child(Kind.DEPLOYMENT, ME.name, "x", "somebody", None, b"")
    found.sizes[ME.name], found.serves[ME.name] = 2, ""
    found.desired = FLIGHTS
    found.settle()
    assert deployment_of(A) in found.serves
    assert found.condition("NameConflict")[0] == "True"


def test_replicas_0_are_none_while_a_model_moves_to_routers_too() -> None:
    found = Cluster(FLIGHTS).settle()
    found.desired = replace(ROUTED, replicas=0)
    assert found.settle().serves == {deployment_of(A): A}
    assert found.sizes == {deployment_of(A): 0}
    assert found.condition("Progressing") == ("False", "Complete")
    assert not found.plans[-1].moves


def before_it_has_a_port(desired: Desired, *partly: str) -> Cluster:
    """Its Service leads straight, as nothing else is there to lead to."""
    found = Cluster(desired, port=None, partly=set(partly)).settle()
    found.port = PORT
    return found


def test_a_new_model_without_replicas_comes_to_rest() -> None:
    found = before_it_has_a_port(replace(ROUTED, replicas=0)).settle()
    assert found.condition("Progressing") == ("False", "Complete")
    assert not found.plans[-1].moves


def test_a_new_model_of_which_not_every_pod_gets_ready_takes_another_version() -> None:
    found = before_it_has_a_port(replace(ROUTED, replicas=2), A).settle()
    assert found.status.stable is not None
    found.desired = replace(NEXT, replicas=2)
    assert found.settle().weights() == {B: 100}


def test_what_routers_say_of_a_route_that_is_gone_says_nothing_of_the_next_one() -> None:
    """Both have generation 1, and maybe not the same port. Also of a model that was made anew under its name."""
    found = serving()
    gone, found.desired = found.status.route, FLIGHTS
    found.until(lambda cluster: cluster.status.route is None)
    direct = found.children[Kind.SERVICE, ME.name]
    found.routers, found.lagging, found.desired = {"r1": gone, "r2": None}, {"r1"}, ROUTED
    assert found.settle().children[Kind.SERVICE, ME.name] == direct
    assert found.status.route is None
    found.routers, found.lagging = {"r1": None, "r2": None}, set()
    assert found.settle().children[Kind.SERVICE, ME.name] != direct


def test_a_model_leaves_routers_of_which_none_is_left() -> None:
    """Nobody can say that they follow, and whoever wants the model to be reached again says so by `via: Service`."""
    found = rolling()
    found.routers.clear()
    found.desired = FLIGHTS
    assert found.settle().serves == {ME.name: A}
    assert found.status.route is None
    assert found.condition("Ready") == ("True", "Serving")


def test_a_first_version_is_not_stable_before_requests_come_through_routers() -> None:
    """Until then they may still reach pods of another one that has never served."""
    found = Cluster(FLIGHTS, slow={ME.name}).settle()
    assert found.status.stable is None
    found.desired = ROUTED
    found.until(lambda cluster: cluster.status.stable is not None)
    assert found.serves == {deployment_of(A): A}


# ---------------------------------------------------------------- a model that was made again in the middle of it


def made_again(*left: str) -> Cluster:
    """It was deleted while B was on its way, and came back from a backup. `left`: versions that still have pods."""
    found = rolling()
    assert found.weights() == {A: 95, B: 5}
    found.status, found.port, found.routers = Status(), None, dict.fromkeys(found.routers)
    stay = {(Kind.DEPLOYMENT, deployment_of(revision)) for revision in left}
    found.children = {ref: replace(each, owner_uid="before") for ref, each in found.children.items() if ref in stay}
    for place in (found.sizes, found.serves):
        for gone in place.keys() - {deployment_of(revision) for revision in left}:
            del place[gone]
    return found


def collect(cluster: Cluster, revision: str) -> None:
    """The garbage collector takes a version's pods."""
    name = deployment_of(revision)
    del cluster.children[Kind.DEPLOYMENT, name], cluster.sizes[name], cluster.serves[name]


def test_made_again_it_has_no_pods_of_a_candidate_before_it_comes_through_routers() -> None:
    """Requests go straight until then: its pods would get their part of them."""
    found = made_again().settle()
    assert found.serves == {deployment_of(A): A}
    assert found.status.candidate is None
    found.port = PORT
    assert found.settle().weights() == {A: 95, B: 5}


def test_made_again_it_has_no_address_while_another_version_has_pods_of_the_object_before() -> None:
    found, address = made_again(B).settle(), (Kind.SERVICE, ME.name)
    assert address not in found.children
    assert LEFT_BEHIND in found.message("Progressing")
    collect(found, B)
    assert address in found.settle().children
    assert address in made_again(A).settle().children


@pytest.mark.parametrize("left", [A, B], ids=["stable", "candidate"])
def test_made_again_a_candidate_waits_for_the_end_of_the_pods_of_the_object_before(left: str) -> None:
    found = made_again(left)
    found.port = PORT
    assert found.settle().weights() == {A: 100, B: 0}
    assert LEFT_BEHIND in found.message("Progressing")
    collect(found, left)
    assert found.settle().weights() == {A: 95, B: 5}


def test_made_again_its_requests_stay_with_the_pods_of_the_object_before_until_routers_know_them() -> None:
    found = made_again(A).settle()
    direct = found.children[Kind.SERVICE, ME.name]
    found.port, found.unaware = PORT, {"r1"}
    assert found.settle().children[Kind.SERVICE, ME.name] == direct
    found.unaware.clear()
    assert found.settle().children[Kind.SERVICE, ME.name] != direct
