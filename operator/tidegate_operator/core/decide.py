"""One snapshot in, one plan out; the same call for create, update, child event, resync and restart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tidegate_contract import resolution
from tidegate_contract.actions import Outcome
from tidegate_contract.names import RESOLVE_CONTAINER
from tidegate_contract.resolution import Card
from tidegate_operator.core import conditions, drift, records, writes
from tidegate_operator.core.children import children, resolver_name, seal, selector, url
from tidegate_operator.core.choice import Choice, choose, refused, remembered, restored
from tidegate_operator.core.claim import Claim, claim
from tidegate_operator.core.failures import Failure, failure, podless, refusal, unrouted
from tidegate_operator.core.guards import ALL, Guard, Guards
from tidegate_operator.core.ramp import ramped
from tidegate_operator.core.reasons import Reason, Type
from tidegate_operator.core.revision import Asked, asked, request_of
from tidegate_operator.core.rollout import Way, follow
from tidegate_operator.core.scene import Scene
from tidegate_operator.core.trial import heard_of, numbered
from tidegate_operator.core.types import (
    Child,
    Condition,
    Desired,
    Happening,
    Identity,
    Kind,
    Manifest,
    Observed,
    Plan,
    Pod,
    Ref,
    Release,
    Resolved,
    Stable,
    Standing,
    Status,
    Truth,
    Version,
    Via,
    Workload,
)

STRANGER_SECONDS = 10.0
"""How soon to look again for an object that stands in the way, or gets no pod."""
PATIENCE = timedelta(seconds=15)
"""How long a Job may take to make its pod before something must be in the way. Nothing in its status says what."""
REST = timedelta(hours=1)
"""How long a Job whose answer nobody can read stays before it is made anew."""


@dataclass(frozen=True, slots=True)
class Case:
    """One look at one model: what is wanted, what is there, and when."""

    identity: Identity
    desired: Desired
    observed: Observed
    release: Release
    now: datetime
    guards: Guards


def decide(
    identity: Identity,
    desired: Desired,
    status: Status,
    observed: Observed,
    release: Release,
    now: datetime,
    guards: Guards = ALL,
) -> Plan:
    """What should be done now.

    `observed.children` holds whatever stands at the name of a wanted child, ours or not.
    """
    now = now.replace(microsecond=0)
    before = remembered(status, desired, observed, now, guards)
    desired = ramped(desired, before.candidate)
    case = Case(identity, desired, observed, release, now, guards)
    found, card = resolution_of(desired, observed)
    wish = asked(desired, before, observed.revisions, release, found)
    choice = choose(desired, wish, before, observed, now, guards)
    replicas = replicas_of(desired, before, observed)
    way = follow(Scene(identity, desired, choice, observed, replicas, now, guards))
    choice = replace(choice, status=way.status)
    wanted = wanted_children(case, wish, choice, way, replicas)
    pods_of = {(Kind.DEPLOYMENT, version.deployment): version for version in way.versions}  # not all can be made
    claims = {ref: claim(identity, c) for ref, c in observed.children.items() if ref in wanted or ref in pods_of}
    unkept = unkept_of(pods_of, observed)
    applies = tuple(writes.applies(identity, wanted, observed, unkept, guards))
    # The numbers of a Deployment mean something only if it is ours and says what we want.
    numbers = numbers_of(identity, pods_of, claims, observed)
    own = way.of(choice.target)
    serving = (Kind.DEPLOYMENT, own.deployment if own else identity.name)
    changes = any((apply.kind, apply.manifest["metadata"]["name"]) == serving for apply in applies)
    settled = claims.get(serving) == Claim.OURS and serving not in unkept and not changes
    answered = answers(way, numbers.values(), observed)
    after = next_status(case, wish, choice, way, replicas, wanted, claims, numbers.get(serving), answered, settled)
    after = numbered(before, after, observed.evidence)
    keeps = tuple(records.keeps(identity, desired, wish, choice, after, observed, card, now, guards))
    return Plan(
        happenings=happenings(status, after),
        status=after if guards.holds(Guard.STATUS_CHANGED, after != status) else None,
        writes=(
            *keeps,
            *applies,
            *writes.scales(identity, way.versions, observed, guards),
            *writes.removes(identity, wanted, way.gone, observed, guards),
            *records.forgets(identity, wish, after, observed, keeps, guards),
        ),
        look_again=look_again(case, wish, claims),
        moves=way.moves,
        saves=saves(before, after, observed),
    )


def saves(before: Status, after: Status, observed: Observed) -> bool:
    """Whether it is time to keep what a trial has counted: when it begins, now and then, and when it has decided."""
    found = heard_of(before, observed.evidence)  # afterwards it may have ended
    return found is not None and (not found.saved or found.due or before.decisions != after.decisions)


def unkept_of(pods_of: Mapping[Ref, Version], observed: Observed) -> frozenset[Ref]:
    """The Deployments of revisions that are not kept."""
    kept = {revision.name for revision in observed.revisions}
    return frozenset(ref for ref, version in pods_of.items() if version.revision not in kept)


def numbers_of(
    identity: Identity, pods_of: Mapping[Ref, Version], claims: Mapping[Ref, Claim], observed: Observed
) -> dict[Ref, Workload]:
    """The numbers of each Deployment that is there and ours."""
    found = {ref: writes.numbers_in(identity, version, observed) for ref, version in pods_of.items()}
    return {ref: workload for ref, workload in found.items() if workload and claims.get(ref) == Claim.OURS}


def invalid(
    identity: Identity, message: str, status: Status, observed: Observed, now: datetime, guards: Guards = ALL
) -> Plan:
    """The plan for a spec that means nothing: say so, touch nothing, leave running what runs."""
    said = "spec means nothing at the moment: correct it, then ask again with a new id"
    before = refused(restored(status, observed, guards), observed, said, guards)
    finding = conditions.Finding(Type.DEGRADED, Truth.TRUE, Reason.INVALID_SPEC, message)
    kept = tuple(condition for condition in before.conditions if condition.type != Type.DEGRADED)
    stamped = conditions.stamp([finding], before.conditions, identity.generation, now, same_revision=False)
    after = replace(
        before,
        observed_generation=identity.generation,
        phase=before.phase or "Idle",
        url=before.url or url(identity),
        replicas=replicas_now(before, observed),
        conditions=kept + stamped,
    )
    return Plan(happenings(status, after), after if guards.holds(Guard.STATUS_CHANGED, after != status) else None)


def resolution_of(desired: Desired, observed: Observed) -> tuple[Resolved | None, Card]:
    """What the resolver has read, and the card of the bundle; nothing as long as it has not ended well."""
    request = request_of(desired)
    messages = (
        container.exit_message
        for pod in observed.pods
        for container in pod.containers
        if request and pod.request == request and container.name == RESOLVE_CONTAINER and container.exit_code == 0
    )
    found = next(filter(None, map(resolution.decode, messages)), None)
    return (Resolved(request, desired.content.uri, found.digest), found.card) if found else (None, Card())


def replicas_of(desired: Desired, status: Status, observed: Observed) -> int:
    """As many pods as spec says; where it says nothing as many as there are, 1 to begin with."""
    return replicas_now(status, observed) if desired.replicas is None else desired.replicas


def replicas_now(status: Status, observed: Observed) -> int:
    if status.observed_generation:
        return status.replicas
    return observed.workload.wanted if observed.workload else 1


def wanted_children(case: Case, wish: Asked, choice: Choice, way: Way, replicas: int) -> dict[Ref, Manifest]:
    """Every child that should exist, sealed."""
    resolve = wish.content if resolves(case, wish, choice) else None
    found = children(case.identity, case.desired, way.versions, resolve, replicas, case.release, way.port)
    address = (Kind.SERVICE, case.identity.name)
    sealed = {ref: seal(manifest) for ref, manifest in found.items() if way.opens or ref != address}
    there, job = resolver(case, wish), (Kind.JOB, resolver_name(case.identity, wish.request))
    ours = there is not None and claim(case.identity, there) == Claim.OURS
    if job in sealed and there and ours and not wish.content.digest and not drift.is_latest(there, sealed[job]):
        del sealed[job]  # it cannot be changed, so it goes, and the next look makes it as it should be
    return sealed


def resolver(case: Case, wish: Asked) -> Child | None:
    """What stands at the name of the Job that reads the digest, ours or not."""
    return case.observed.children.get((Kind.JOB, resolver_name(case.identity, wish.request)))


def resolves(case: Case, wish: Asked, choice: Choice) -> bool:
    """Whether a resolver should be there: until its answer is in a revision, and not if it ended without one."""
    if not wish.request or any(revision.name == wish.name for revision in case.observed.revisions):
        return False
    job = resolver(case, wish)
    if wish.content.digest:
        return job is not None
    reading = any(pod.request == wish.request and not pod.ended for pod in case.observed.pods)
    since = unreadable_since(case, wish)
    rests = since is not None and case.now - since < REST
    return not choice.paused and (rests or not (job is not None and job.ended and not reading))


def look_again(case: Case, wish: Asked, claims: Mapping[Ref, Claim]) -> float | None:
    """The seconds after which to look although nothing happened: where no event tells that it has ended, or lasts."""
    in_the_way = set(claims.values()) - {Claim.OURS}
    waits = podless_since(case, wish) or unreadable_since(case, wish)
    return STRANGER_SECONDS if in_the_way or waits else None


def podless_since(case: Case, wish: Asked) -> datetime | None:
    """Since when the Job that should read the digest has had no pod; None if it has had one, or needs none."""
    job = resolver(case, wish)
    if job is None or wish.name or job.ended or claim(case.identity, job) != Claim.OURS:
        return None
    return None if any(pod.request == wish.request for pod in case.observed.pods) else job.podless_since


def unreadable_since(case: Case, wish: Asked) -> datetime | None:
    """Since when the Job that should read the digest has ended well, with an answer in its pod that says nothing."""
    job = resolver(case, wish)
    if job is None or wish.content.digest or claim(case.identity, job) != Claim.OURS:
        return None
    answered = any(
        container.name == RESOLVE_CONTAINER and container.exit_code == 0
        for pod in case.observed.pods
        if pod.request == wish.request
        for container in pod.containers
    )
    return job.succeeded_at if answered else None


def next_status(
    case: Case,
    wish: Asked,
    choice: Choice,
    way: Way,
    replicas: int,
    wanted: Mapping[Ref, Manifest],
    claims: Mapping[Ref, Claim],
    workload: Workload | None,
    answered: Truth,
    settled: bool,
) -> Status:
    """The status after this look. `settled`: the Deployment is ours and says what should serve."""
    identity, observed, now = case.identity, case.observed, case.now
    before, target, workload = choice.status, choice.target, workload or Workload()
    stable = before.stable
    # Where there are routers, it is they who say that a version serves.
    serves = way.port is None or not replicas or (stable is not None and stable.revision == target)
    complete = settled and way.arrived and serves and rolled_over(replicas, workload, observed.pods, target)
    # At zero replicas nothing has shown that the revision serves.
    if complete and replicas and (stable is None or stable.revision != target):
        stable = Stable(target, now)
    pods = tuple(pod for pod in observed.pods if target and pod.revision == target and not pod.ended)
    facts = conditions.Facts(
        identity=identity,
        desired=case.desired,
        asked=wish,
        choice=choice,
        way=way,
        replicas=replicas,
        workload=workload,
        answers=answered,
        pods=pods,
        routers=len(observed.routers),
        silent=observed.silent,
        strangers=tuple(observed.children[ref] for ref, found in claims.items() if found == Claim.STRANGE),
        failure=_failure(case, wish, choice, workload, pods, complete),
        complete=complete,
        taken_over=stable is not None and stable.revision == target,
        asked_served=any(r.name == wish.name and r.record.served for r in observed.revisions),
        additions={
            ref[1]: drift.additions(observed.children[ref], wanted.get(ref))
            for ref, found in claims.items()
            if ref[0] == Kind.DEPLOYMENT and found == Claim.OURS
        },
    )
    return replace(
        before,
        observed_generation=identity.generation,
        phase=phase(facts),
        url=url(identity),
        stable=stable,
        replicas=replicas,
        selector=selector(identity),
        conditions=conditions.stamp(
            (check(facts) for check in conditions.CHECKS),
            before.conditions,
            identity.generation,
            now,
            same_revision=before.revision == target,
        ),
    )


def _failure(
    case: Case, wish: Asked, choice: Choice, workload: Workload, pods: tuple[Pod, ...], complete: bool
) -> Failure | None:
    """What stands in the way of what spec asks for, else of what should serve."""
    if found := refusal(case.observed.refused):
        return found
    if case.desired.via is Via.ROUTER and (found := unrouted(case.observed)):
        return found
    since = podless_since(case, wish)
    if since and case.now - since >= PATIENCE:
        return podless(case.identity, resolver_name(case.identity, wish.request))
    resolvers = tuple(pod for pod in case.observed.pods if wish.request and pod.request == wish.request)
    if not wish.name and (found := failure(wish.content, Workload(), resolvers)):
        return found
    return None if complete else failure(choice.content or wish.content, workload, pods)


def answers(way: Way, numbers: Iterable[Workload], observed: Observed) -> Truth:
    """Whether a request to the model's address gets an answer, as far as the routers or our Deployments say."""
    route = way.status.route
    if way.port is None or route is None:
        return Truth.TRUE if any(workload.available for workload in numbers) else Truth.FALSE
    told = [router for router in observed.routers.values() if router]
    if any(router.answers for router in told):
        return Truth.TRUE
    return Truth.UNKNOWN if way.status.stable and observed.routers and not told else Truth.FALSE


def phase(facts: conditions.Facts) -> str:
    """A summary for people; nothing is ever decided by it."""
    if facts.goes_back:
        return "RollingBack"
    candidate, steps = facts.choice.status.candidate, facts.desired.steps
    if facts.choice.status.baking:
        return "Baking"
    if candidate and candidate.standing is Standing.SUSPECT:
        return "Suspect"
    if candidate and steps:
        return f"Step {min(candidate.step + 1, len(steps))}"
    return "Idle" if facts.taken_over or facts.complete else "Preparing"


def rolled_over(replicas: int, workload: Workload, pods: Iterable[Pod], target: str) -> bool:
    """Whether every wanted pod runs the target revision and is ready, and the controller has seen the latest."""
    return (
        workload.observed_generation >= workload.generation
        and workload.wanted == replicas
        and workload.total == workload.updated == workload.available == replicas
        and all(pod.revision == target for pod in pods if pod.revision and not (pod.deleting or pod.ended))
    )


def happenings(before: Status, after: Status) -> tuple[Happening, ...]:
    """What people should find in the Events: what was decided, and what was answered to whom; that the model serves,
    stops serving, or something stands in its way.

    Nothing of a first look that finds nothing wrong; and one Event a reason, whose fullest words are Degraded's.
    """
    found = {
        decision.what: Happening(False, decision.what, f"revision {decision.revision}: {decision.why} ({decision.by})")
        for decision in after.decisions
        if decision not in before.decisions and before.observed_generation
    }
    if after.action and after.action != before.action and after.action.outcome != Outcome.OBEYED:
        said = f"{after.action.verb} ({after.action.id}): {after.action.message}"
        found["Action"] = Happening(True, f"Action{after.action.outcome}", said)
    old = {condition.type: condition for condition in before.conditions}
    for condition in after.conditions:
        if after.stable is None and condition.reason in (Reason.COMPLETE, Reason.SCALED_TO_ZERO):
            continue  # made to serve nothing, and nothing serves
        if (happening := _told(old.get(condition.type), condition)) is not None:
            found[condition.reason] = happening
    return tuple(found.values())


def _told(known: Condition | None, condition: Condition) -> Happening | None:
    good = condition.status == GOOD.get(condition.type)
    if condition.type not in GOOD or (known is None and condition.type != Type.DEGRADED):
        return None
    if known and (known.status, known.reason) == (condition.status, condition.reason):
        return None
    if condition.type == Type.PROGRESSING and not good:
        return None
    return Happening(not good, condition.reason, condition.message) if known or not good else None


GOOD: Mapping[str, Truth] = {
    Type.READY: Truth.TRUE,
    Type.PROGRESSING: Truth.FALSE,
    Type.DEGRADED: Truth.FALSE,
    Type.DEPLOYMENT_ALTERED: Truth.FALSE,
}
"""The conditions that make Events, and the status of each in which all is well."""
