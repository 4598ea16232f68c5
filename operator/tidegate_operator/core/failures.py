"""Why the pods of a revision do not serve: from the facts in their status to one reason and one sentence.

The checks are ordered by how near they are to the cause. The first pod with a failure
speaks for all: they run the same revision, and one sentence helps more than ten.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tidegate_contract import failure as contract
from tidegate_contract import names
from tidegate_contract.source import OciSource, PvcSource
from tidegate_operator.core.reasons import Reason
from tidegate_operator.core.sources import describe
from tidegate_operator.core.types import Container, Desired, Kind, Pod, Workload

PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"}
)


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


def failure(desired: Desired, workload: Workload, pods: Iterable[Pod], refused: Mapping[Kind, str]) -> Failure | None:
    """What keeps these pods, all of one revision, from serving; None if nothing is known to."""
    for kind, words in refused.items():
        return Failure(
            Reason.CHILD_REFUSED,
            f"the API server refuses the {kind}: {words}; correct spec, or whatever forbids it; it is tried again",
        )
    for pod in sorted(pods, key=lambda pod: pod.name):
        if not pod.ready and not pod.deleting and (found := _pod_failure(desired, pod)):
            return found
    if workload.refused:
        return Failure(Reason.PODS_REFUSED, f"the API server refuses the pods: {workload.refused}")
    return None


def _pod_failure(desired: Desired, pod: Pod) -> Failure | None:
    if pod.unschedulable:
        return _unschedulable(desired, pod)
    for container in pod.containers:
        if container.ready:
            continue
        for check in CHECKS:
            if found := check(desired, container):
                return found
    return None


def _unschedulable(desired: Desired, pod: Pod) -> Failure:
    if isinstance(desired.source, PvcSource) and "persistentvolumeclaim" in pod.unschedulable.lower():
        claim = desired.source.claim
        if "not found" in pod.unschedulable:
            advice = f"create the claim {claim} in the model's namespace, or correct spec.model.uri"
            return Failure(Reason.CLAIM_NOT_FOUND, f"{pod.unschedulable}; {advice}")
        return Failure(Reason.CLAIM_NOT_BOUND, f"{pod.unschedulable}; give the claim {claim} a volume")
    return Failure(
        Reason.UNSCHEDULABLE,
        f"no node takes the pod: {pod.unschedulable}; free capacity, or change spec.server.resources or "
        "spec.server.template",
    )


Check = Callable[[Desired, Container], Failure | None]


def pull_failed(desired: Desired, container: Container) -> Failure | None:
    """The kubelet cannot get an image: the bundle's, mounted as a volume, or the container's own."""
    if container.waiting not in PULL_REASONS:
        return None
    if isinstance(desired.source, OciSource) and _speaks_of(desired.source, container.waiting_message):
        return Failure(
            Reason.ARTIFACT_PULL_FAILED,
            f"{describe(desired.source)} cannot be pulled: {plain(container.waiting_message)}; "
            "check the address, and spec.server.template.imagePullSecrets if the registry wants credentials",
        )
    return Failure(
        Reason.IMAGE_PULL_FAILED,
        f"the image of container {container.name} cannot be pulled: {plain(container.waiting_message)}; "
        "check spec.server.image and spec.server.template.imagePullSecrets",
    )


def _speaks_of(source: OciSource, message: str) -> bool:
    """Whether the message is about the bundle's image, whatever it leaves of the reference."""
    return re.search(rf'(?<![\w.:/-]){re.escape(source.repository)}[:@"\s]', message) is not None


def config_error(desired: Desired, container: Container) -> Failure | None:
    """The kubelet has the image and cannot make a container of it."""
    if container.waiting not in ("CreateContainerConfigError", "CreateContainerError"):
        return None
    if container.name == names.FETCH_CONTAINER and "secret" in container.waiting_message.lower():
        return Failure(
            Reason.SECRET_NOT_FOUND,
            f"{container.waiting_message}: create the Secret {desired.secret_name} in the model's namespace, or "
            "correct spec.model.secretName",
        )
    return Failure(
        Reason.CONTAINER_CONFIG_ERROR, f"container {container.name} cannot be made: {container.waiting_message}"
    )


def gave_up(desired: Desired, container: Container) -> Failure | None:
    """The container said itself why it ended; where its bundle comes from, only we know."""
    if container.exit_code in (None, 0):
        return None
    found = contract.decode(container.exit_message)
    return Failure(found.reason, f"{describe(desired.source)}: {found.message}") if found else None


def out_of_memory(desired: Desired, container: Container) -> Failure | None:
    if container.exit_reason != "OOMKilled":
        return None
    limit = dict(desired.limits).get("memory", "none")
    return Failure(
        Reason.OUT_OF_MEMORY,
        f"the model does not fit into memory (limit {limit}): raise spec.server.resources.limits.memory",
    )


def crashed(_desired: Desired, container: Container) -> Failure | None:
    if container.exit_code in (None, 0):
        return None
    last = container.exit_message.strip().splitlines()[-1:] or ["see its logs"]
    return Failure(Reason.CRASHED, f"container {container.name} ended with exit code {container.exit_code}: {last[0]}")


CHECKS: tuple[Check, ...] = (pull_failed, config_error, gave_up, out_of_memory, crashed)
"""Asked in this order of each container that is not ready; the first answer counts."""
