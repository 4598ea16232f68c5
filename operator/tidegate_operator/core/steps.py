"""How far a candidate is: where its steps and the people who act say that the traffic is to go, and what each step
waits for. Pure."""

from dataclasses import replace

from tidegate_contract.route import Route, Slot
from tidegate_operator.core.choice import goes_back
from tidegate_operator.core.guards import Guard
from tidegate_operator.core.ramp import ramp, reason
from tidegate_operator.core.scene import Scene
from tidegate_operator.core.traffic import Aim, Step
from tidegate_operator.core.trial import OPERATOR, decided, expected, heard_of, is_baked, next_check, step_waits
from tidegate_operator.core.types import (
    Approval,
    Baking,
    Candidate,
    Decision,
    Stable,
    Standing,
    Status,
    Strategy,
    Weight,
)

RAMP, STEP, PROMOTED = "Ramp", "Step", "Promoted"
"""What is decided of a candidate that goes on: its weights, where nobody gave any; that it has seen enough at one of
them; and that it is stable from now on."""
BY_HAND = "every router sends it"
"""How a Step begins to say why, where a person is to say whether it goes on."""


def candidate_of(scene: Scene) -> Candidate | None:
    """The version that is to take over step by step; None if there is none, or it takes over at once."""
    target, before, now = scene.choice.target, scene.before, scene.now
    if not scene.serving or target in ("", scene.serving) or goes_back(before) or scene.returns_to:
        return None
    candidate = before.candidate
    if candidate is None or candidate.revision != target:
        return Candidate(target, 0, 0, now, now)
    left = target not in scene.present and not any(pod.revision == target for pod in scene.observed.pods)
    if candidate.standing is Standing.SUSPECT and scene.guards.holds(Guard.AFRESH, left):
        anew = replace(candidate, step=0, weight=0, since=now, reached=None, standing=Standing.TRIED, passed=False)
        return replace(anew, trial=candidate.trial + 1)
    steps = len(scene.desired.steps)
    if steps and candidate.step >= steps and not candidate.passed:  # the owner has taken steps away
        return replace(candidate, step=steps - 1, since=now, reached=None)
    return candidate


def with_ramp(scene: Scene, status: Status) -> Status:
    """The weights of a candidate that nobody has given any, once it is known how many requests there are."""
    candidate, budget, found = status.candidate, scene.desired.budget, heard_of(status, scene.observed.evidence)
    if candidate is None or budget is None or candidate.ramp or candidate.passed:
        return status
    if found is None or found.rate is None:
        return status
    weights = ramp(found.rate, budget)
    why = reason(found.rate, weights, budget)
    status = decided(status, Decision(scene.now, RAMP, candidate.revision, OPERATOR, why))
    step = min(candidate.step, len(weights) - 1)
    return replace(status, candidate=replace(candidate, ramp=weights, step=step, reached=None))


def baking_of(scene: Scene) -> Baking | None:
    """What stable has taken over from, as long as it is compared with it."""
    baking, found = scene.before.baking, heard_of(scene.before, scene.observed.evidence)
    if baking is None or scene.choice.target != scene.serving or baking.revision not in scene.contents:
        return None
    return None if is_baked(baking, scene.desired, found, scene.now) else baking


def aim_of(scene: Scene, status: Status, *, enters: bool) -> Aim:
    """Where the traffic is to go."""
    steps, route, candidate, bake = scene.desired.steps, scene.before.route, status.candidate, scene.desired.bake
    if enters and scene.serving and not scene.is_left:
        return Aim(scene.serving)
    if status.baking is not None and bake is not None:
        return Aim(scene.serving, status.baking.revision, bake.holdback)
    if candidate is None:
        return Aim(scene.returns_to or scene.choice.target)
    if candidate.standing is Standing.SUSPECT:
        return Aim(scene.serving)
    if candidate.standing is Standing.INCONCLUSIVE:
        return Aim(scene.serving, candidate.revision, 0)
    if not scene.guards.holds(Guard.NOT_PAUSED, not scene.choice.paused):
        return _as_it_is(route) if route else Aim(scene.serving)
    if not scene.guards.holds(Guard.OWN_PODS, not scene.left_behind & {scene.serving, candidate.revision}):
        return Aim(scene.serving, candidate.revision, candidate.weight)
    if not scene.has_steps(candidate):
        return Aim(scene.serving, candidate.revision, candidate.weight)
    if candidate.step >= len(steps):
        return Aim(candidate.revision)
    if scene.desired.strategy is Strategy.SHADOW:
        return Aim(scene.serving, candidate.revision, copies=True)
    weights = [each.percent for each in steps[: candidate.step + 1] if isinstance(each, Weight)]
    found = heard_of(status, scene.observed.evidence)
    if not weights:
        return Aim(scene.serving, candidate.revision, 0)
    if not scene.guards.holds(Guard.COUNTED, found is not None and found.saved):
        return Aim(scene.serving, candidate.revision, min(weights[-1], candidate.weight))
    return Aim(scene.serving, candidate.revision, weights[-1])


def _as_it_is(route: Route) -> Aim:
    stable = route.slots[route.stable].revision
    if shadow := route.slots.get(Slot.SHADOW):
        return Aim(stable, shadow.revision, copies=True)
    others = [share for slot, share in route.slots.items() if slot != route.stable]
    return Aim(stable, others[0].revision, others[0].weight) if others else Aim(stable)


def advanced(scene: Scene, status: Status, route: Route, found: Step, aim: Aim, *, enters: bool) -> tuple[Status, str]:
    """The status after a step of the traffic: whose time as stable has begun, and how far the candidate is; and what
    its next step waits for."""
    status, candidate, now = replace(status, route=route), status.candidate, scene.now
    stable = route.slots[route.stable].revision
    if scene.serving and stable != scene.serving and stable == aim.stable and not enters:
        why = f"it has taken over from {scene.serving}: it has all requests, and every router says so"
        status = decided(status, Decision(now, PROMOTED, stable, OPERATOR, why))
        baking = None
        if candidate is not None and scene.desired.bake and not scene.is_left:
            baking = Baking(scene.serving, now, candidate.strikes, candidate.trial, candidate.began)
        return replace(status, stable=Stable(stable, now), candidate=None, baking=baking), ""
    first_one = not scene.serving and not enters and stable == scene.choice.target and scene.replicas > 0
    if first_one and found.acknowledged and scene.knows(route, stable, 1):
        return replace(status, stable=Stable(stable, now)), ""
    if candidate is None or enters:
        return status, ""
    shares = (share for share in route.slots.values() if share.revision == candidate.revision)
    candidate = replace(candidate, weight=next((share.weight for share in shares), 0))
    follows = route == scene.before.route and found.acknowledged
    if not scene.has_steps(candidate):
        return replace(status, candidate=candidate), "its weights wait until all routers have counted for a few seconds"
    if candidate.standing is Standing.SUSPECT or candidate.step >= len(scene.desired.steps) or not follows:
        return replace(status, candidate=candidate), ""
    return _stepped(scene, status, candidate)


def _stepped(scene: Scene, status: Status, candidate: Candidate) -> tuple[Status, str]:
    """How far a candidate is that has what every router says it has; and what its step waits for."""
    steps, now = scene.desired.steps, scene.now
    if steps[candidate.step] != Weight(candidate.weight):
        return replace(status, candidate=candidate), ""
    candidate = replace(candidate, reached=candidate.reached or now)
    evidence, behind = heard_of(status, scene.observed.evidence), steps[candidate.step + 1 :]
    asks = bool(behind) and isinstance(behind[0], Approval)
    waits = "" if asks else step_waits(candidate, evidence, now, last=not behind)
    goes_on = scene.guards.holds(Guard.NOT_PAUSED, not scene.choice.paused)
    if not goes_on or not scene.guards.holds(Guard.EVIDENT, not waits):
        if goes_on:
            check = next_check(candidate, evidence, now, last=not behind)
            status = replace(status, next_check=expected(scene.before.next_check, check, now))
        return replace(status, candidate=candidate), f"its step waits for {waits}" if waits else ""
    why = f"{BY_HAND} {candidate.weight} of 100 requests"
    if not asks and evidence is not None:
        why = f"{evidence.proof or evidence.summary} at {candidate.weight} of 100 requests"
    status = decided(status, Decision(now, STEP, candidate.revision, OPERATOR, why))
    passed = replace(candidate, step=candidate.step + 1, passed=not behind)
    return replace(status, candidate=replace(passed, since=now, reached=None)), ""
