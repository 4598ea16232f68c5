"""Why the pods of a revision do not serve: from the facts in their status to one reason and one sentence.

The checks are ordered by how near they are to the cause. The first pod with a failure
speaks for all: they run the same revision, and one sentence helps more than ten.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter

from tidegate_contract import failure as contract
from tidegate_contract import names, resolution
from tidegate_contract.source import OciSource, PvcSource
from tidegate_operator.core.evidence.policy import CERTAIN
from tidegate_operator.core.reasons import Reason, Type
from tidegate_operator.core.sources import TOOLS_MEMORY, describe
from tidegate_operator.core.types import Container, Content, Identity, Observed, Pod, Refusals, Status, Workload

PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"}
)


TOOLS = (names.FETCH_CONTAINER, names.RESOLVE_CONTAINER)
"""The containers that are the operator's own."""

_by_name = attrgetter("name")
"""Whatever order the cache has, the first pod says the same sentence."""
_NOISE = re.compile(r'^Back-off pulling image "[^"]*": ErrImagePull: |rpc error: code = \w+ desc = ')


def plain(message: str) -> str:
    """The kubelet's words without those that say nothing to the owner of a model.

    >>> plain('Back-off pulling image "a:1": ErrImagePull: rpc error: code = NotFound desc = a:1: not found')
    'a:1: not found'
    """
    return _NOISE.sub("", message)


@dataclass(frozen=True, slots=True)
class Failure:
    """A reason, as in `core.reasons` or the contract's FailureReason, and a sentence that says what to do."""

    reason: str
    message: str


_REFUSAL = "the API server refuses the {kind}: {words}; correct spec, or whatever forbids it; it is tried again"
_REFUSED = re.compile(re.escape(_REFUSAL).replace(r"\{kind\}", r"(\w+)").replace(r"\{words\}", "(.*)"), re.DOTALL)


def refusal(refused: Refusals) -> Failure | None:
    """What the API server does not take; the first speaks for all."""
    for (kind, _), words in refused.items():
        return Failure(Reason.CHILD_REFUSED, _REFUSAL.format(kind=kind, words=words))
    return None


def refused_before(status: Status) -> Refusals:
    """What a status says of refusals: a process that has not tried yet takes that for true.

    The status names one object for all, and only its kind.
    """
    for condition in status.conditions:
        if condition.type == Type.DEGRADED and condition.reason == Reason.CHILD_REFUSED:
            found = _REFUSED.match(condition.message)
            return {(found[1], ""): found[2]} if found else {("object", ""): condition.message}
    return {}


def unrouted(observed: Observed) -> Failure | None:
    """Why the model's requests cannot come through routers as they should."""
    if observed.no_routers:
        return Failure(Reason.ROUTERS_BLOCKED, observed.no_routers)
    for router in observed.routers.values():
        if router and router.refused:
            said = f"a router does not take the newest route, and goes on with the one before: {router.refused}"
            return Failure(Reason.ROUTE_REFUSED, said)
    return None


def podless(identity: Identity, job: str) -> Failure:
    """A Job has no pod, and nothing in its status says why; its Events do."""
    return Failure(
        Reason.PODS_REFUSED,
        f"the Job {job} gets no pod to read the bundle with, usually because of a quota or an admission policy: "
        f"`kubectl describe job {job} -n {identity.namespace}` has the words; it is tried again",
    )


def failure(content: Content, workload: Workload, pods: Iterable[Pod]) -> Failure | None:
    """What keeps these pods, all of one content, from their work; None if nothing is known to."""
    for pod in sorted(pods, key=_by_name):
        if not pod.ready and not pod.deleting and (found := _pod_failure(content, pod)):
            return found
    if workload.refused:
        return Failure(Reason.PODS_REFUSED, f"the API server refuses the pods: {workload.refused}")
    return None


def refutation(content: Content, pods: Iterable[Pod]) -> Failure | None:
    """What shows that a version can never serve: each of its pods that has a node says so.

    None as long as one does not, or there is none.
    """
    there = [pod for pod in sorted(pods, key=_by_name) if not (pod.deleting or pod.ended or pod.unschedulable)]
    found = [None if pod.ready else _pod_failure(content, pod) for pod in there]
    certain = [each for each in found if each and each.reason in CERTAIN]
    return certain[0] if certain and len(certain) == len(there) else None


def _pod_failure(content: Content, pod: Pod) -> Failure | None:
    if pod.unschedulable:
        return _unschedulable(content, pod)
    for container in pod.containers:
        if container.ready:
            continue
        for check in CHECKS:
            if found := check(content, container):
                return found
    return None


def _unschedulable(content: Content, pod: Pod) -> Failure:
    if isinstance(content.source, PvcSource) and "persistentvolumeclaim" in pod.unschedulable.lower():
        claim = content.source.claim
        if "not found" in pod.unschedulable:
            advice = f"create the claim {claim} in the model's namespace, or correct spec.model.uri"
            return Failure(Reason.CLAIM_NOT_FOUND, f"{pod.unschedulable}; {advice}")
        return Failure(Reason.CLAIM_NOT_BOUND, f"{pod.unschedulable}; give the claim {claim} a volume")
    return Failure(
        Reason.UNSCHEDULABLE,
        f"no node takes the pod: {pod.unschedulable}; free capacity, or change spec.server.resources or "
        "spec.server.template",
    )


Check = Callable[[Content, Container], Failure | None]


def pull_failed(content: Content, container: Container) -> Failure | None:
    """The kubelet cannot get an image: the bundle's, mounted as a volume, or the container's own."""
    if container.waiting not in PULL_REASONS:
        return None
    if isinstance(content.source, OciSource) and _speaks_of(content.source, container.waiting_message):
        return Failure(
            Reason.ARTIFACT_PULL_FAILED,
            f"{describe(content.source)} cannot be pulled: {plain(container.waiting_message)}; "
            "check the address, and spec.server.template.imagePullSecrets if the registry wants credentials",
        )
    advice = "check spec.server.image and spec.server.template.imagePullSecrets"
    if container.name in TOOLS:
        advice = "it is the operator's own: check image.tools of its chart, and spec.server.template.imagePullSecrets"
    return Failure(
        Reason.IMAGE_PULL_FAILED,
        f"the image of container {container.name} cannot be pulled: {plain(container.waiting_message)}; {advice}",
    )


def _speaks_of(source: OciSource, message: str) -> bool:
    """Whether the message is about the bundle's image, whatever it leaves of the reference."""
    return re.search(rf'(?<![\w.:/-]){re.escape(source.repository)}[:@"\s]', message) is not None


def config_error(content: Content, container: Container) -> Failure | None:
    """The kubelet has the image and cannot make a container of it."""
    if container.waiting not in ("CreateContainerConfigError", "CreateContainerError"):
        return None
    if container.name == names.FETCH_CONTAINER and "secret" in container.waiting_message.lower():
        return Failure(
            Reason.SECRET_NOT_FOUND,
            f"{container.waiting_message}: create the Secret {content.secret_name} in the model's namespace, or "
            "correct spec.model.secretName",
        )
    return Failure(
        Reason.CONTAINER_CONFIG_ERROR, f"container {container.name} cannot be made: {container.waiting_message}"
    )


def gave_up(content: Content, container: Container) -> Failure | None:
    """The container said itself why it ended; where its bundle comes from, only we know."""
    if container.exit_code in (None, 0):
        return None
    found = contract.decode(container.exit_message)
    return Failure(found.reason, f"{describe(content.source)}: {found.message}") if found else None


def out_of_memory(content: Content, container: Container) -> Failure | None:
    if container.exit_reason != "OOMKilled":
        return None
    if container.name in TOOLS:
        said = (
            f"container {container.name} needs more than its {TOOLS_MEMORY}: the bundle's manifest is too large for it"
        )
        return Failure(Reason.OUT_OF_MEMORY, said)
    limit = dict(content.limits).get("memory", "none")
    return Failure(
        Reason.OUT_OF_MEMORY,
        f"the model does not fit into memory (limit {limit}): raise spec.server.resources.limits.memory",
    )


def crashed(_content: Content, container: Container) -> Failure | None:
    if container.exit_code in (None, 0):
        return None
    last = container.exit_message.strip().splitlines()[-1:] or ["see its logs"]
    return Failure(Reason.CRASHED, f"container {container.name} ended with exit code {container.exit_code}: {last[0]}")


def unreadable(_content: Content, container: Container) -> Failure | None:
    """The resolver has ended well, and the digest that it has read did not come through."""
    if container.name != names.RESOLVE_CONTAINER or container.exit_code != 0:
        return None
    if resolution.decode(container.exit_message) is not None:
        return None
    return Failure(
        Reason.CRASHED,
        f"container {container.name} read the bundle, and its answer cannot be read: something in the cluster changes "
        "or cuts its termination message, a policy or many injected containers; it is made anew after an hour",
    )


CHECKS: tuple[Check, ...] = (pull_failed, config_error, gave_up, out_of_memory, crashed, unreadable)
"""Asked in this order of each container that is not ready; the first answer counts."""
