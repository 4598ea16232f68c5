"""What must never happen: one function for each promise.

`DEEDS` are asked about every write that a look makes, in every state; `ENDS` about every
state in which nothing is left to do.
"""

from collections.abc import Callable
from datetime import timedelta

from tidegate_contract import names
from tidegate_contract.actions import Outcome, Verb
from tidegate_operator.core import records
from tidegate_operator.core.choice import newest_first
from tidegate_operator.core.look import WriteStatus
from tidegate_operator.core.reasons import Reason, Type
from tidegate_operator.core.revision import asked
from tidegate_operator.core.trial import OPERATOR
from tidegate_operator.core.types import Apply, Content, Desired, Forget, Keep, Kind, Remove, Role, Scale, Status, Truth
from verify import specs
from verify.drive import Deed
from verify.looks import ref_of
from verify.values import Kid
from verify.values import Truth as World

Words = str | None
"""What went wrong; None: nothing did."""


def touched(deed: Deed) -> Kid | None:
    """The child that a write was about, as it stood before."""
    match deed.step:
        case Apply() as step:
            return deed.before.kid(ref_of(step))
        case Scale(name=name):
            return deed.before.kid((Kind.DEPLOYMENT, name))
        case Remove(kind=kind, name=name):
            return deed.before.kid((kind, name))
        case _:
            return None


def only_the_leader_writes(deed: Deed) -> Words:
    """A process that was stopped and woke up after another one took over writes nothing."""
    return None if deed.leads else f"a process that does not lead sent {name_of(deed)}"


def strangers_are_left_alone(deed: Deed) -> Words:
    """9: an object that is not ours is neither overwritten nor scaled nor deleted."""
    kid = touched(deed)
    if kid and kid.manifest is None and deed.changes:
        return f"{name_of(deed)} changed the {kid.ref[0]} of a stranger"
    return None


def a_name_is_read_before_it_is_taken(deed: Deed) -> Words:
    """9: whatever is made, its name was asked for in the same look; and a change never brings back what is gone."""
    step = deed.step
    if isinstance(step, Apply) and deed.changes and touched(deed) is None and ref_of(step) not in deed.look.reads:
        return f"{name_of(deed)} made it without having asked for the name in this look"
    made = isinstance(step, Keep) and deed.changes and deed.before.revision(step.revision.name) is None
    if made and isinstance(step, Keep) and step.revision.name not in deed.look.reads:
        return f"{name_of(deed)} made it without having asked for the name in this look"
    return None


def a_record_is_never_taken_for_new(deed: Deed) -> Words:
    """12: what a ModelRevision says of the past is not overwritten by a look that did not know it."""
    if not isinstance(deed.step, Keep) or deed.step.revision.uid is not None or not deed.changes:
        return None
    there = deed.before.revision(deed.step.revision.name)
    if there is None:
        return None
    before, after = there.record.value.record, deed.step.revision.record
    if not set(before.decisions) <= set(after.decisions) or (before.verdict and not after.verdict):
        return f"{name_of(deed)} overwrote one that said more: {before.role}, {len(before.decisions)} decisions"
    return None


def a_rejected_revision_gets_no_pods(deed: Deed) -> Words:
    """3, 12: neither what the status rejects, nor, where there is no status yet, what a revision records."""
    kid, template = touched(deed), template_after(deed)
    if not template or (kid and specs.template_of(kid) == template):
        return None
    model = deed.before.model
    if model is None:
        return None
    status = model.status.value
    if any(entry.revision == template for entry in status.rejected):
        return f"the Deployment gets the pods of revision {template}, which the status rejects"
    kept = deed.before.revision(template)
    if kept and not status.observed_generation:
        record = kept.record.value.record
        if record.role == Role.REJECTED and record.verdict and record.verdict.retry_token == model.spec.token:
            return f"the Deployment gets the pods of revision {template}, which is recorded as rejected"
    return None


def template_after(deed: Deed) -> str:
    """The revision whose pods a write asks for; empty if it is about something else."""
    if not isinstance(deed.step, Apply) or deed.step.kind != Kind.DEPLOYMENT or not deed.changes:
        return ""
    kid = deed.after.kid(ref_of(deed.step))
    return specs.template_of(kid) if kid else ""


def the_deployment_stays(deed: Deed) -> Words:
    """6: the Deployment of a living model is never removed, nor scaled to nothing unless its owner says so."""
    model = deed.before.model
    if isinstance(deed.step, Remove) and deed.step.kind == Kind.DEPLOYMENT and deed.changes:
        return "the Deployment was removed"
    emptied = isinstance(deed.step, Scale) and deed.step.replicas == 0 and deed.changes
    if emptied and model is not None and not deed.before.emptied:
        return "the Deployment was scaled to 0 and nobody asked for it"
    return None


def no_bytes_without_a_digest(deed: Deed) -> Words:
    """10: neither a revision nor a pod is made before the digest of its bundle is known."""
    if isinstance(deed.step, Keep) and not deed.step.revision.content.digest:
        return "a revision without a digest was kept"
    if isinstance(deed.step, Apply) and deed.step.kind == Kind.DEPLOYMENT:
        env = deed.step.manifest["spec"]["template"]["spec"]["containers"][0]["env"]
        if not any(variable["name"] == names.ENV_BUNDLE_DIGEST for variable in env):
            return "the Deployment gets pods without a digest"
    return None


def pods_have_a_record(deed: Deed) -> Words:
    """12: pods are made of a revision that is kept, unless a stranger deleted its record."""
    template = template_after(deed)
    if not template or template in deed.before.lost or deed.before.revision(template):
        return None
    return f"the Deployment gets the pods of revision {template}, which nothing records"


def nothing_is_made_for_the_dead(deed: Deed) -> Words:
    """No child is made for a ModelDeployment that was gone before the look began."""
    created = isinstance(deed.step, Apply) and touched(deed) is None and deed.changes
    if created and not deed.flight.alive:
        return f"{name_of(deed)} for a ModelDeployment that was gone before"
    return None


def no_status_undoes_another(deed: Deed) -> Words:
    """A status is written over the one that it was decided on, and never on another object of the same name."""
    if not isinstance(deed.step, WriteStatus) or deed.refused or deed.look.model is None or deed.before.model is None:
        return None
    if deed.before.model.uid != deed.look.uid:
        return "a status was written that was decided on for an object which is gone"
    if deed.before.model.status is not deed.look.model.status:
        return "a status was written over another than the one that it was decided on"
    return None


def an_action_is_answered_once(deed: Deed) -> Words:
    """What became of an action is said once; an answer never changes while its id stands."""
    before, after = statuses(deed)
    if before and after and before.action and after.action and before.action.id == after.action.id:
        if before.action != after.action:
            return f"action {before.action.id} was {before.action.outcome}, now it is answered: {after.action.message}"
        news = [decision for decision in after.decisions if decision not in before.decisions]
        if any(decision.what in set(Verb) and decision.by != OPERATOR for decision in news):
            return f"action {before.action.id} was decided again"
    return None


def history_is_not_obeyed(deed: Deed) -> Words:
    """12: an action that came with the object, as after a restore, is not obeyed."""
    before, after = statuses(deed)
    model = deed.before.model
    if before is None or after is None or after.action is None or after.action == before.action or model is None:
        return None
    came = model.born_with
    if came and came.id == after.action.id and after.action.outcome == Outcome.OBEYED:
        return f"action {came.id} came with the object and was obeyed"
    return None


def paused_means_paused(deed: Deed) -> Words:
    """While paused no other version becomes the target, except by Rollback."""
    before, after = statuses(deed)
    if before is None or after is None or deed.look.spec is None or before.revision == after.revision:
        return None
    if not (deed.look.spec.paused or after.paused) or not before.observed_generation:
        return None
    by = [decision.what for decision in after.decisions if decision not in before.decisions]
    return None if Verb.ROLLBACK in by else f"revision {after.revision} became the target while paused"


def a_rollback_goes_somewhere(deed: Deed) -> Words:
    """5: a rollback goes to a revision that is kept."""
    before, after = statuses(deed)
    if before is None or after is None or after.action is None or after.action == before.action:
        return None
    if after.action.verb != Verb.ROLLBACK or after.action.outcome != Outcome.OBEYED:
        return None
    if deed.before.revision(after.revision) or after.revision in deed.before.lost:
        return None
    return f"a rollback to {after.revision or 'nothing'}, which is not kept"


def statuses(deed: Deed) -> tuple[Status | None, Status | None]:
    """Before and after a write of the status that was taken; (None, None) for any other write."""
    if not isinstance(deed.step, WriteStatus) or deed.refused or deed.before.model is None:
        return None, None
    return deed.before.model.status.value, deed.step.status


def what_is_needed_is_kept(deed: Deed) -> Words:
    """12: no revision is forgotten that serves, should serve, is asked for or is among the newest."""
    if not isinstance(deed.step, Forget) or not deed.changes or deed.look.uid is None or deed.before.model is None:
        return None
    name = deed.step.name.rpartition("-")[2]
    model, revisions = deed.before.model, [specs.core_revision(kept) for kept in deed.before.kept]
    status = model.status.value
    if name in (status.revision, status.stable.revision if status.stable else ""):
        return f"revision {name} was forgotten, which serves or should serve"
    wanted = specs.desired(deed.look.spec) if deed.look.spec else None
    if isinstance(wanted, Desired) and asked(wanted, status, revisions, specs.RELEASES[0], None).name == name:
        return f"revision {name} was forgotten, which spec asks for"
    if not deed.before.lost and name in [revision.name for revision in newest_first(revisions)[: records.KEPT]]:
        return f"revision {name} was forgotten, one of the newest"
    return None


def a_day_is_a_day(deed: Deed) -> Words:
    """12: the revisions of a ModelDeployment that is gone are kept for a day."""
    if not isinstance(deed.step, Forget) or not deed.changes or deed.look.uid is not None:
        return None
    if not deed.look.absent:
        return "a revision was forgotten as an orphan without asking for its ModelDeployment"
    ended = deed.before.ended
    if ended is not None and timedelta(days=deed.before.day - ended) < records.ORPHANED:
        return "a revision was forgotten within a day of its ModelDeployment's end"
    return None


def the_living_have_no_orphans(deed: Deed) -> Words:
    """12: no record calls itself orphaned that was not found without its ModelDeployment."""
    orphaned = isinstance(deed.step, Keep) and deed.step.revision.record.orphaned
    if orphaned and not deed.look.absent and deed.before.model is not None:
        return "a revision was marked as an orphan while its ModelDeployment is there"
    return None


def records_are_not_undone(deed: Deed) -> Words:
    """12: a look around changes nothing of a record but that it is an orphan."""
    if not isinstance(deed.step, Keep) or not deed.changes or deed.look.uid is not None:
        return None
    there = deed.before.revision(deed.step.revision.name)
    if there is None:
        return f"revision {deed.step.revision.name} was made again after it was forgotten"
    before, after = there.record.value.record, deed.step.revision.record
    if (before.role, before.verdict) != (after.role, after.verdict):
        return f"the record of {there.name} was {before.role} and was overwritten with {after.role}"
    return None


def no_write_when_nothing_changed(deed: Deed) -> Words:
    """A look that knows everything as it is writes nothing that changes nothing."""
    if deed.changes or not deed.flight.fresh or (deed.refused and deed.before.quota and isinstance(deed.step, Keep)):
        return None  # whether a quota still stands can only be tried
    return f"{name_of(deed)} changed nothing, and everything was known"


def nobody_elses_objects(deed: Deed) -> Words:
    """What makes the product of models sound: a look names only objects of its own model."""
    own = deed.look.name
    match deed.step:
        case Apply() as step:
            name = ref_of(step)[1]
        case Scale(name=name) | Remove(name=name):
            pass
        case Forget(name=name):
            return None if name.rpartition("-")[0] == own else f"a look of {own} names {name}"
        case Keep(revision=revision):
            return None if revision.model == own else f"a look of {own} keeps a revision of {revision.model}"
        case _:
            return None
    return None if name == own or name.startswith(f"{own}-resolve-") else f"a look of {own} names {name}"


def name_of(deed: Deed) -> str:
    """A write in words."""
    match deed.step:
        case Apply(uid=uid) as step:
            kind, name = ref_of(step)
            return f"an apply of {kind} {name}, {f'uid {uid}' if uid is not None else 'new'}"
        case Keep(revision=revision):
            return f"the record of revision {revision.name}, {revision.record.role}"
        case WriteStatus():
            return "a status"
        case Scale(name=name, replicas=replicas):
            return f"a scale of {name} to {replicas}"
        case Remove(kind=kind, name=name):
            return f"a removal of {kind} {name}"
        case Forget(name=name):
            return f"a removal of ModelRevision {name}"
        case _:
            return type(deed.step).__name__


DeedCheck = Callable[[Deed], Words]

DEEDS: tuple[DeedCheck, ...] = (
    only_the_leader_writes,
    nobody_elses_objects,
    no_bytes_without_a_digest,
    strangers_are_left_alone,
    a_name_is_read_before_it_is_taken,
    a_record_is_never_taken_for_new,
    a_rejected_revision_gets_no_pods,
    the_deployment_stays,
    pods_have_a_record,
    nothing_is_made_for_the_dead,
    no_status_undoes_another,
    an_action_is_answered_once,
    history_is_not_obeyed,
    paused_means_paused,
    a_rollback_goes_somewhere,
    what_is_needed_is_kept,
    a_day_is_a_day,
    the_living_have_no_orphans,
    records_are_not_undone,
    no_write_when_nothing_changed,
)


# ---------------------------------------------------------------- where nothing is left to do


def the_dead_leave_nothing(world: World) -> Words:
    """The children of a ModelDeployment that is gone are gone, and its revisions are marked."""
    alive = str(world.model.uid) if world.model else None
    left = [kid.ref for kid in world.kids if kid.manifest and kid.owner != alive]
    if left:
        return f"children of a ModelDeployment that is gone are left: {left}"
    if world.model is None and any(kept.labelled and not kept.record.value.record.orphaned for kept in world.kept):
        return "a revision of a ModelDeployment that is gone is not marked as an orphan"
    return None


def strangers_are_named(world: World) -> Words:
    """9: whose object stands in the way, the status says."""
    if world.model is None or not isinstance(specs.desired(world.model.spec), Desired):
        return None
    strangers = [kid.ref for kid in world.kids if kid.manifest is None and kid.ref[1] == world.name]
    wanted = [ref for ref in strangers if ref[0] != Kind.POD_DISRUPTION_BUDGET or (world.model.spec.replicas or 0) > 1]
    said = condition(world, Type.NAME_CONFLICT)
    if wanted and Kind.DEPLOYMENT in [ref[0] for ref in wanted] and not world.model.status.value.revision:
        return None
    if wanted and said != (Truth.TRUE, Reason.FOREIGN_OBJECT):
        return f"{wanted} is a stranger's and the status does not say so"
    return None


def what_is_asked_for_serves(world: World) -> Words:
    """The target is what spec asks for unless that is rejected or paused, and it serves, as often as it should."""
    model = world.model
    if model is None:
        return None
    wanted, status = specs.desired(model.spec), model.status.value
    if status.observed_generation != model.generation:
        return f"the status is of generation {status.observed_generation}, the spec of {model.generation}"
    if not isinstance(wanted, Desired):
        said = condition(world, Type.DEGRADED)
        return None if said == (Truth.TRUE, Reason.INVALID_SPEC) else "a spec that means nothing is not said to"
    held = wanted.paused or status.paused
    target = world.revision(status.revision)
    missing = condition(world, Type.DEGRADED) == (Truth.TRUE, Reason.REVISION_MISSING)
    if target and not target.labelled and missing:
        return None
    if target is None:
        if not status.revision and (held or world.lost or resolver_is_strange(world)):
            return None
        return None if missing and status.revision in world.lost else f"the target {status.revision!r} is not kept"
    content = target.record.value.content
    rejects = any(
        (kept := world.revision(entry.revision)) and answers(kept.record.value.content, wanted)
        for entry in status.rejected
        if entry.retry_token == wanted.retry_token
    )
    if not answers(content, wanted) and not held and not rejects:
        return f"the target is {status.revision}, which spec does not ask for"
    return served(world, held=held)


def resolver_is_strange(world: World) -> bool:
    """A stranger's Job stands at the resolver's name, and the status says so."""
    strange = any(kid.ref[0] == Kind.JOB and kid.manifest is None for kid in world.kids)
    return strange and condition(world, Type.NAME_CONFLICT) == (Truth.TRUE, Reason.FOREIGN_OBJECT)


def answers(content: Content, wanted: Desired) -> bool:
    """Whether a revision says what a spec asks for."""
    asks = wanted.content
    return content.uri == asks.uri and asks.digest in (None, content.digest) and asks.image in (None, content.image)


def served(world: World, *, held: bool) -> Words:
    model, kid = world.model, world.deployment
    assert model is not None
    status = model.status.value
    if kid and kid.manifest is None:
        return None  # a stranger has its name, which another check sees
    if kid is None or kid.numbers is None:
        return "there is no Deployment"
    if specs.template_of(kid) != status.revision:
        return f"the Deployment is of revision {specs.template_of(kid)}, the target is {status.revision}"
    replicas = model.spec.replicas if model.spec.replicas is not None else status.replicas
    if kid.numbers.wanted != replicas:
        return f"{kid.numbers.wanted} pods are asked for instead of {replicas}"
    midway = held and kid.manifest is not None and kid.manifest.value["spec"].get("paused")
    if not midway:
        if world.pods.serving != (((status.revision, replicas, 0),) if replicas else ()):
            return f"the pods are {world.pods.serving}"
        if replicas and (status.stable is None or status.stable.revision != status.revision):
            return "the target serves and is not called stable"
    return None


def roles_are_right(world: World) -> Words:
    """12: every record says what its revision is."""
    model = world.model
    if model is None or not isinstance(specs.desired(model.spec), Desired):
        return None
    status = model.status.value
    for kept in world.kept:
        if kept.deleting or not kept.labelled:
            continue
        record = kept.record.value.record
        if record.orphaned:
            return f"{kept.name} is marked as an orphan and its ModelDeployment is there"
        rejected = any(entry.revision == kept.name for entry in status.rejected)
        stable = status.stable is not None and status.stable.revision == kept.name
        if record.role == Role.REJECTED and not rejected:
            return f"{kept.name} is recorded as rejected and the status does not say so"
        if rejected and record.role != Role.REJECTED:
            return f"{kept.name} is rejected and its record says {record.role}"
        if stable and not rejected and record.role != Role.STABLE:
            return f"{kept.name} is stable and its record says {record.role}"
        if not rejected and not stable and kept.name != status.revision and record.role == Role.STABLE:
            return f"{kept.name} serves nothing and its record says {record.role}"
    return None


def no_job_is_left(world: World) -> Words:
    """A resolver goes when its answer is known."""
    model = world.model
    if model is None or model.spec.version == specs.WRONG:
        return None
    ours = [kid.ref for kid in world.kids if kid.ref[0] == Kind.JOB and kid.manifest and kid.labelled]
    return f"{ours} are left" if ours else None


def condition(world: World, type: Type) -> tuple[str, str] | None:
    assert world.model is not None
    found = [one for one in world.model.status.value.conditions if one.type == type]
    return (found[0].status, found[0].reason) if found else None


EndCheck = Callable[[World], Words]

ENDS: tuple[EndCheck, ...] = (
    the_dead_leave_nothing,
    strangers_are_named,
    what_is_asked_for_serves,
    roles_are_right,
    no_job_is_left,
)
