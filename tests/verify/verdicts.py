"""What is promised of trials: what a look may make of what requests say, and where that comes to rest."""

from typing import NamedTuple

from tidegate_contract.actions import Verb
from tidegate_contract.route import WHOLE
from tidegate_operator.core.evidence.policy import STRIKES
from tidegate_operator.core.look import Save
from tidegate_operator.core.types import (
    Approval,
    Candidate,
    Role,
    RolloutStep,
    Standing,
    Status,
    Strategy,
    Via,
    Weight,
)
from verify.routed import AGAIN, BAKE, LETTERS, STEPS, Made, State, Told
from verify.words import Said

FORWARD, BACK = (Verb.APPROVE, Verb.PROMOTE), (Verb.ABORT, Verb.ROLLBACK)
RESTLESS = {Said.HARM, Said.PROOF, Said.UNHEARD}
"""What no last step stays with."""
IN_DOUBT = {Said.DOUBT, Said.OLD, Said.UNHEARD}
"""What a bake stays with."""


class Tried(NamedTuple):
    """A version that has still to prove itself, or to be looked at while it bakes."""

    revision: str
    strikes: int
    trial: int


def tried(status: Status) -> Tried | None:
    candidate, baking, stable = status.candidate, status.baking, status.stable
    if baking and stable:
        return Tried(stable.revision, baking.strikes, baking.trial)
    return Tried(candidate.revision, candidate.strikes, candidate.trial) if candidate else None


# ---------------------------------------------------------------- of a look


def of_a_verdict(state: State, made: Made, after: Status) -> str:
    """What is wrong with the status that a look is about to write, as things are when it begins."""
    before, route = state.status.value, made.flight.status[1] if made.flight.status else ()
    return (
        of_rejections(state, before, after)
        or of_strikes(state, before, after)
        or of_harm(state, before, after)
        or of_the_end_of_a_bake(state, before, after)
        or of_a_record(state, made, before, after)
        or of_a_step(state, before, after)
        or of_a_return(state, after, route)
        or (of_a_rise(state, after, route) if route else "")
        or (of_a_suspect(state, after, route) if route else "")
    )


def of_rejections(state: State, before: Status, after: Status) -> str:
    """Two strikes in two trials, or a person."""
    was, is_new = tried(before), {entry.revision for entry in after.rejected} - {e.revision for e in before.rejected}
    if not before.observed_generation:
        is_new -= recorded_as_rejected(state)
    elif state.action in BACK:
        return ""
    if not is_new:
        return ""
    if was is None or is_new != {was.revision} or state.says is not Said.HARM:
        return f"{LETTERS[min(is_new)]} is rejected, and nobody has said anything against it"
    if was.strikes < STRIKES - 1 or was.trial < STRIKES:
        return f"{LETTERS[was.revision]} is rejected after one strike"
    return ""


def recorded_as_rejected(state: State) -> set[str]:
    return {each.name for each in state.revisions.value if each.record.role is Role.REJECTED}


def of_a_return(state: State, after: Status, route: Told | tuple[()]) -> str:
    """12: what was rejected neither should serve again nor gets requests, whoever knows of it: a status or a record."""
    before = state.route.weights if state.route else {}
    for name in recorded_as_rejected(state):
        if after.revision == name != state.status.value.revision:
            return f"{LETTERS[name]} is recorded as rejected, and should serve again"
        if route and route.weights.get(name, 0) > before.get(name, 0):
            return f"{LETTERS[name]} is recorded as rejected, and has more weight"
    return ""


def of_a_beginning(before: State, after: State) -> str:
    """A trial begins with nothing: what an object of the same name has counted is nobody's."""
    words = after.words
    if not words or words.trial == (before.words and before.words.trial):
        return ""
    afresh = words.says is Said.NOTHING and words.kept is None
    return "" if afresh else f"trial {words.trial.number} of {LETTERS[words.trial.revision]} begins with {words.says}"


def of_strikes(state: State, before: Status, after: Status) -> str:
    was, now = tried(before), tried(after)
    if was is None:
        return ""
    letter, serves = LETTERS[was.revision], after.stable.revision if after.stable else ""
    if now is None or now.revision != was.revision:
        left = after.revision != was.revision or serves == was.revision or state.spec.via is not Via.ROUTER
        return "" if left or not was.strikes else f"a strike of {letter} is forgotten"
    if now.strikes < was.strikes:
        return f"a strike of {letter} is forgotten"
    if now.strikes > was.strikes and state.says is not Said.HARM:
        return f"{letter} has a strike, and in this trial its requests have not said anything against it"
    if now.trial == was.trial:
        return ""
    if was.revision in state.there:
        return f"the second trial of {letter} has pods of its first"
    suspect = before.candidate is not None and before.candidate.standing is Standing.SUSPECT
    if now.trial != was.trial + 1 or not (suspect or now.strikes > was.strikes):
        return f"another trial of {letter} begins without a strike"
    return ""


def of_harm(state: State, before: Status, after: Status) -> str:
    """What requests say against a version counts at the next look."""
    was, now = tried(before), tried(after)
    if was is None or state.says is not Said.HARM:
        return ""
    if before.baking and (after.stable is None or after.stable.revision != before.baking.revision):
        return f"harm in the bake, and {LETTERS[before.baking.revision]} is not stable again"
    if after.revision != was.revision or was.revision in {entry.revision for entry in after.rejected}:
        return ""
    suspect = after.candidate is not None and after.candidate.standing is Standing.SUSPECT
    if now is not None and now.strikes == was.strikes + 1 and (suspect or now.trial > was.trial):
        return ""
    return f"the requests of {LETTERS[was.revision]} say harm, and it has no strike"


def of_a_record(state: State, made: Made, before: Status, after: Status) -> str:
    """What has been a strike is kept, so that people can calculate it again."""
    was, now = tried(before), tried(after)
    if state.words is None or state.says is None or was is None:
        return ""
    struck = was.revision in {entry.revision for entry in after.rejected} - {e.revision for e in before.rejected}
    struck |= now is not None and now.revision == was.revision and now.strikes > was.strikes
    saves = any(isinstance(write.value, Save) for write in made.flight.writes)
    return (
        f"{LETTERS[was.revision]} has a strike, and what its requests said is not kept" if struck and not saves else ""
    )


def of_the_end_of_a_bake(state: State, before: Status, after: Status) -> str:
    """It lasts as long as something speaks against what has taken over, or nothing is heard of its requests."""
    unknown = state.says is None and state.words is not None
    if before.baking is None or after.baking is not None or not (unknown or state.says in IN_DOUBT):
        return ""
    same = after.revision == before.revision and state.spec.via is Via.ROUTER
    return f"the bake ends, and the requests of what has taken over say {state.says}" if same else ""


def steps_of(state: State, candidate: Candidate) -> tuple[RolloutStep, ...]:
    """Those of its strategy; under `Auto` the weights that were chosen, and before that none above 0."""
    if state.spec.strategy is not Strategy.AUTO:
        return STEPS[state.spec.strategy]
    return tuple(map(Weight, candidate.ramp or (0,)))


def of_a_step(state: State, before: Status, after: Status) -> str:
    """What a step needs before its end."""
    was, now, stable = before.candidate, after.candidate, after.stable
    if was is None:
        return ""
    letter, steps = LETTERS[was.revision], steps_of(state, was)
    serves = before.stable.revision if before.stable else ""
    if now is None or now.revision != was.revision:
        early = stable is not None and stable.revision == was.revision != serves and was.step < len(steps)
        return f"{letter} takes over before its last step" if early and state.action not in FORWARD else ""
    if now.step <= was.step or state.action in FORWARD:
        return ""
    if now.step > was.step + 1 or was.standing is not Standing.TRIED or not isinstance(steps[was.step], Weight):
        return f"step {was.step + 1} of {letter} is left, which waits for a person"
    ran = {router.said[:1] for router in state.routers if router.listed}
    if not state.route or ran != {(state.route.generation,)}:
        return f"step {was.step + 1} of {letter} is left before every router follows it"
    behind = steps[was.step + 1 :]
    if behind and isinstance(behind[0], Approval):
        return ""
    enough = {Said.PROOF, Said.ENOUGH} if behind else {Said.PROOF}
    if state.says not in enough:
        return f"step {was.step + 1} of {letter} is left, and its requests say {state.says or 'nothing'}"
    return ""


def of_a_rise(state: State, after: Status, route: Told) -> str:
    """How much weight a candidate may get."""
    candidate, before = after.candidate, state.route.weights if state.route else {}
    if candidate is None:
        return ""
    letter, steps = LETTERS[candidate.revision], steps_of(state, candidate)
    had, has = before.get(candidate.revision, 0), route.weights.get(candidate.revision, 0)
    if has <= had:
        return ""
    if candidate.standing is Standing.SUSPECT:
        return f"{letter} has a strike, and more weight before its second trial"
    if candidate.step >= len(steps):
        return ""
    if candidate.standing is Standing.INCONCLUSIVE:
        return f"nothing is heard of {letter}, and it has more weight"
    if has > max((step.percent for step in steps[: candidate.step + 1] if isinstance(step, Weight)), default=0):
        return f"{letter} has more weight than its step says"
    if not had and not state.keeps:
        return f"{letter} gets its first requests, and what they say is not kept"
    return ""


def of_a_suspect(state: State, after: Status, route: Told) -> str:
    """It has no weight after its strike, as soon as the other one can take it."""
    candidate, stable = after.candidate, after.stable
    if (
        candidate is None
        or candidate.standing is not Standing.SUSPECT
        or not stable
        or stable.revision not in state.ready
    ):
        return ""
    has = {revision: weight for slot, revision, weight in route.slots if slot != route.stable}
    return f"{LETTERS[candidate.revision]} has a strike and keeps its weight" if has.get(candidate.revision) else ""


def of_a_bake(state: State) -> str:
    """While it lasts the version before has pods.

    Of a model that was made again the garbage collector may have taken them before it began, and every look since then
    been lost before it made others: there nobody may take them away while it lasts, and at rest they are there.
    """
    baking = state.status.value.baking
    if baking is None or baking.revision in state.there or state.uid == AGAIN:
        return ""
    return f"{LETTERS[baking.revision]} is still compared with, and has no pods"


def of_a_lost_control(before: State, after: State) -> str:
    """Nor do they go while it lasts."""
    baking = after.status.value.baking
    if baking is None or before.status is not after.status or baking.revision not in before.there - after.there:
        return ""
    return f"{LETTERS[baking.revision]} is still compared with, and its pods go"


# ---------------------------------------------------------------- at rest


def weights_at_rest(state: State) -> dict[str, int] | str:
    """Where the requests are to go in the end, as status and evidence are; or why this is no end."""
    status, says = state.status.value, state.says
    candidate, baking, stable = status.candidate, status.baking, status.stable
    serves = stable.revision if stable else ""
    if baking:
        if serves != status.revision:
            return f"{LETTERS[baking.revision]} is still compared with, and {LETTERS.get(status.revision)} should serve"
        if says not in IN_DOUBT:
            return f"the bake never ends, and requests say {says}"
        return {serves: WHOLE - BAKE.holdback, baking.revision: BAKE.holdback}
    if candidate is None:
        return {status.revision: WHOLE} if serves == status.revision else f"{LETTERS.get(serves)} stays stable"
    percent = _weight_at_rest(state, candidate)
    return percent if isinstance(percent, str) else {serves: WHOLE - percent, candidate.revision: percent}


def _weight_at_rest(state: State, candidate: Candidate) -> int | str:
    steps, says, letter = steps_of(state, candidate), state.says, LETTERS[candidate.revision]
    if candidate.standing is Standing.INCONCLUSIVE and says in (Said.OLD, Said.UNHEARD):
        return 0
    if candidate.standing is not Standing.TRIED:
        return f"it comes to rest with {letter} {candidate.standing}"
    if candidate.step >= len(steps):
        return f"it comes to rest before {letter} has taken over"
    percents = [step.percent for step in steps[: candidate.step + 1] if isinstance(step, Weight)]
    percent = percents[-1] if percents else 0
    if isinstance(steps[candidate.step], Approval):
        return percent
    if says is None or not state.keeps:
        return f"the requests of {letter} never count"
    if says in RESTLESS or (says is Said.ENOUGH and candidate.step + 1 < len(steps)):
        return f"it comes to rest at step {candidate.step + 1} of {len(steps)}, and requests say {says}"
    return percent


def waits_for_requests(state: State) -> bool:
    """Whether what requests or routers say next may change something."""
    status = state.status.value
    return state.spec.via is Via.ROUTER and (status.candidate is not None or status.baking is not None)
