"""The API server, the controllers and the garbage collector, as far as the operator can tell them from real ones."""

from functools import cache

from tidegate_contract import labels
from tidegate_operator.core.types import ABSENT, Kind, Manifest, Ref, Revision, Status
from verify import specs
from verify.values import Kept, Kid, Model, Numbers, Truth, manifest_of, record_of, status_of, with_item


class ConflictError(Exception):
    """409: a precondition does not hold. Or 404: it is gone. The look ends."""


class RefusedError(Exception):
    """403 or 422: the API server does not take it."""


def apply_child(truth: Truth, ref: Ref, manifest: Manifest, uid: str | None, version: str | None, fresh: int) -> Truth:
    """Server-side apply, with force. `fresh` is the uid of what it would create.

    A uid makes it fail where nothing, or another object, has the name; the version ABSENT where anything has it;
    without either it creates, or takes over.
    """
    kid = truth.kid(ref)
    if kid is None:
        if uid is not None:
            raise ConflictError
        numbers = Numbers() if ref[0] == Kind.DEPLOYMENT else None
        return _put(truth, Kid(ref, fresh, manifest_of(manifest), numbers=numbers))
    if version == ABSENT or (uid is not None and uid != str(kid.uid)):
        raise ConflictError
    if ref[0] == Kind.JOB and kid.manifest and kid.manifest.value["spec"] != manifest["spec"]:
        raise RefusedError("field is immutable")
    numbers = kid.numbers
    if numbers and (kid.manifest is None or kid.manifest.value["spec"] != manifest["spec"]):
        numbers = numbers.but(seen=False)
    return _put(truth, kid.but(manifest=manifest_of(manifest), hurt=False, labelled=True, numbers=numbers))


def _put(truth: Truth, kid: Kid) -> Truth:
    return truth.but(kids=with_item(truth.kids, kid.ref, kid))


def scale(truth: Truth, name: str, replicas: int, uid: str | None) -> Truth:
    kid = truth.kid((Kind.DEPLOYMENT, name))
    if kid is None or kid.numbers is None or (uid is not None and uid != str(kid.uid)):
        raise ConflictError
    if kid.numbers.wanted == replicas:
        return truth
    return _put(truth, kid.but(numbers=kid.numbers.but(wanted=replicas, seen=False)))


def delete_child(truth: Truth, ref: Ref, uid: str | None) -> Truth:
    kid = truth.kid(ref)
    if kid is None or (uid is not None and uid != str(kid.uid)):
        raise ConflictError
    return _put(truth, kid.but(deleting=True)) if kid.held else gone(truth, ref)


def gone(truth: Truth, ref: Ref) -> Truth:
    """Without the child, and without the pods that it made."""
    pods = truth.pods
    if ref[0] == Kind.DEPLOYMENT:
        pods = pods.but(serving=())
    if ref[0] == Kind.JOB and (kid := truth.kid(ref)) and kid.manifest:
        made_for = request_of(kid)
        pods = pods.but(resolving=tuple(one for one in pods.resolving if one[0] != made_for))
    return truth.but(kids=with_item(truth.kids, ref, None), pods=pods)


def request_of(job: Kid) -> str:
    """The question that a Job answers; empty if it is a stranger's."""
    return str(job.manifest.value["metadata"]["labels"][labels.REQUEST]) if job.manifest else ""


def keep(truth: Truth, revision: Revision, fresh: int) -> Truth:
    """Server-side apply of a ModelRevision."""
    there = truth.revision(revision.name)
    if there is None:
        if revision.uid is not None:
            raise ConflictError
        if truth.quota:
            raise RefusedError("exceeded quota")
        return with_kept(truth, Kept(revision.name, fresh, record_of(revision)))
    if revision.uid is not None and revision.uid != str(there.uid):
        raise ConflictError
    if revision.version is not None and revision.version != specs.version_of(there):
        raise ConflictError
    return with_kept(truth, there.but(record=record_of(revision), labelled=True))


def with_kept(truth: Truth, kept: Kept) -> Truth:
    return truth.but(kept=with_item(truth.kept, kept.name, kept))


def forget(truth: Truth, name: str, uid: str | None, version: str | None) -> Truth:
    there = truth.revision(name)
    if there is None or (uid is not None and uid != str(there.uid)):
        raise ConflictError
    if version is not None and version != specs.version_of(there):
        raise ConflictError
    if there.held:
        return with_kept(truth, there.but(deleting=True))
    return truth.but(kept=with_item(truth.kept, name, None))


def write_status(truth: Truth, status: Status, at: Model | None) -> Truth:
    """`at`: the version of the object that it is written on; None: whatever it is at."""
    if truth.model is None or (at is not None and at is not truth.model):
        raise ConflictError
    return truth.but(model=truth.model.but(status=status_of(status)))


# ---------------------------------------------------------------- those who work beside the operator


@cache
def collected(truth: Truth, kinds: frozenset[Kind] = frozenset(Kind)) -> Truth | None:
    """The garbage collector removes the children of these kinds whose owner is gone; None: there are none."""
    alive = str(truth.model.uid) if truth.model else None
    after = truth
    for kid in truth.kids:
        if kid.ref[0] in kinds and kid.manifest and kid.owner != alive and not kid.deleting:
            after = _put(after, kid.but(deleting=True)) if kid.held else gone(after, kid.ref)
    return after if after is not truth else None


@cache
def rolled(truth: Truth) -> Truth | None:
    """The Deployment's controller changes one pod, or only counts; None: nothing to do."""
    kid = truth.deployment
    if kid is None or kid.numbers is None or kid.manifest is None:
        return None
    template = specs.template_of(kid)
    paused = bool(kid.manifest.value["spec"].get("paused"))
    pods = {revision: (ready, unready) for revision, ready, unready in truth.pods.serving}
    _roll(pods, template, kid.numbers.wanted, paused=paused)
    serving = tuple((name, *counts) for name, counts in sorted(pods.items()) if any(counts))
    numbers = Numbers(
        wanted=kid.numbers.wanted,
        seen=True,
        total=sum(map(sum, pods.values())),
        updated=sum(pods.get(template, (0, 0))),
        available=sum(ready for ready, _ in pods.values()),
    )
    after = _put(truth, kid.but(numbers=numbers)).but(pods=truth.pods.but(serving=serving))
    return after if after is not truth else None


@cache
def rolled_out(truth: Truth) -> Truth | None:
    """The Deployment's controller does all there is to do; None: nothing."""
    after = rolled(truth)
    while after and (more := rolled(after)):
        after = more
    return after


def _roll(pods: dict[str, tuple[int, int]], template: str, wanted: int, *, paused: bool) -> None:
    """One pod more, ready or less: one above what is wanted, never one ready pod below."""
    old = [revision for revision in sorted(pods) if revision != template]
    total, available = sum(map(sum, pods.values())), sum(ready for ready, _ in pods.values())

    def change(revision: str, ready: int, unready: int) -> None:
        before = pods.get(revision, (0, 0))
        pods[revision] = (before[0] + ready, before[1] + unready)

    starting = [revision for revision in sorted(pods) if pods[revision][1]]
    if not paused and any(revision != template for revision in starting):
        change(next(revision for revision in starting if revision != template), 0, -1)
    elif starting:
        change(starting[0], 1, -1)
    elif total > wanted and (old or total > wanted + 1 or pods.get(template)):
        # Paused, the oldest ReplicaSet stays as it is and only what is too much goes.
        first = (old or [template])[0]
        if not paused or not old or total > wanted + 1:
            change(first, -1, 0)
    elif total < wanted:
        change(template if not (paused and old) else old[0], 0, 1)
    elif old and not paused and total <= wanted and available >= wanted:
        change(template, 0, 1)


@cache
def resolved(truth: Truth) -> Truth | None:
    """A resolver's pod starts, reads, and its Job ends; None: nothing to do."""
    for kid in truth.kids:
        if kid.ref[0] != Kind.JOB or kid.manifest is None or kid.ended or kid.deleting:
            continue
        request = request_of(kid)
        read = dict(truth.pods.resolving).get(request)
        if read is None:
            return _resolving(truth, request, "")
        if not read:
            return _resolving(truth, request, specs.TAGGED[truth.tag])
        return _put(truth, kid.but(ended=True))
    return None


def _resolving(truth: Truth, request: str, digest: str) -> Truth:
    found = dict(truth.pods.resolving) | {request: digest}
    return truth.but(pods=truth.pods.but(resolving=tuple(sorted(found.items()))))
