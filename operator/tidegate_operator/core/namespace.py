"""The look at a namespace: at what its models share, and at what is left of models that are gone. Pure.

All models whose requests come through routers share those: they are made with the first of them, belong to all, and go
with the last one. Here alone a model's listener gets its port.
"""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tidegate_contract.route import FIRST_PORT, LAST_PORT
from tidegate_operator.core import drift, router
from tidegate_operator.core.children import seal
from tidegate_operator.core.claim import Claim, claim_shared
from tidegate_operator.core.failures import PULL_REASONS, plain
from tidegate_operator.core.guards import ALL, Guard, Guards
from tidegate_operator.core.look import (
    Evict,
    Found,
    GivePort,
    Looked,
    ReadChild,
    ReadPorts,
    Secure,
    Step,
    Steps,
    about,
    look_around,
    sent,
)
from tidegate_operator.core.types import (
    Apply,
    Child,
    Identity,
    Kind,
    Named,
    Pod,
    Ref,
    Remove,
    Revision,
    Workload,
)
from tidegate_operator.core.writes import uid_of, version_of

REST = timedelta(minutes=5)
"""Between two routers that are ended because they do not answer."""
SILENT_SECONDS = 15.0
"""How soon to look again at one that does not answer and may not be ended yet."""


@dataclass(frozen=True, slots=True)
class Silence:
    """The routers that have not answered for so long that they are taken for dead."""

    pods: tuple[tuple[str, str], ...] = ()
    """Name and uid of each."""
    others_answer: bool = False
    """Another one has answered in the last seconds: it is not the operator that is cut off."""
    youngest: datetime | None = None
    """When the newest router was made."""
    ended: datetime | None = None
    """When this process has ended one last."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """What the caches know of one."""

    name: str
    revisions: tuple[Revision, ...] = ()
    """Those whose ModelDeployment they do not show."""
    routed: tuple[Identity, ...] = ()
    """The models whose requests come through routers, are to, or did until now; by name."""
    portless: tuple[Identity, ...] = ()
    """Those of them that have no port."""
    children: Mapping[Ref, Child] = field(default_factory=dict)
    """The routers' objects."""
    workload: Workload | None = None
    pods: tuple[Pod, ...] = ()
    silence: Silence = Silence()


def look_at(known: Namespace, images: router.Images, now: datetime, guards: Guards = ALL) -> Steps:
    """Bring the namespace one pass nearer to what its models need. Its `Looked` says what stands in the way of that."""
    yield from look_around(known.revisions, now, guards)
    if not known.routed:
        yield from _end(known, guards)
        return Looked({})
    no_port = yield from _ports(known)
    in_the_way = yield from _make(known, images, guards)
    again = yield from _replace_silent(known.silence, now, guards)
    return Looked({}, again, trouble=in_the_way or no_port or pods_trouble(known))


def _end(known: Namespace, guards: Guards) -> Generator[Step, Any, None]:
    """No model needs routers any more. Their Secret goes with the models that it belongs to: nobody watches Secrets."""
    for child in known.children.values():
        if (
            guards.holds(Guard.OURS, claim_shared(child) == Claim.OURS)
            and guards.holds(Guard.UNWANTED, not known.routed)
            and guards.holds(Guard.NOT_GOING, not child.deleting)
        ):
            yield sent(Remove(child.kind, child.name, child.uid), guards)


def _make(known: Namespace, images: router.Images, guards: Guards) -> Generator[Step, Any, str]:
    """What the routers are made of. Returns what stands in its way."""
    strangers: list[str] = []
    refused: dict[Named, str | None] = {about(secure := Secure(known.routed)): (yield secure)}
    for manifest in router.objects(known.name, known.routed, images):
        wanted, kind = seal(manifest), Kind(manifest["kind"])
        child = known.children.get((kind, router.NAME))
        if not guards.holds(Guard.NAME_FREE, child is not None):
            child = child_of((yield ReadChild(kind, router.NAME)))
        strangers += _strange(kind, child)
        apply = Apply(kind, wanted, uid_of(child), version_of(child))
        if guards.holds(Guard.OURS, not _strange(kind, child)) and guards.holds(
            Guard.CHANGED, child is None or not drift.intact(child, wanted, None)
        ):
            refused[about(apply)] = yield sent(apply, guards)
    return _in_the_way(strangers, refused)


def child_of(found: Found | None) -> Child | None:
    return found.child if found else None


def _strange(kind: Kind, child: Child | None) -> list[str]:
    """What stands at the name of one of the routers' objects and is not ours, in words."""
    return [f"{kind} {router.NAME}"] if child is not None and claim_shared(child) != Claim.OURS else []


def _ports(known: Namespace) -> Generator[Step, Any, str]:
    """Give a port to each model that has none: the lowest that is free. Returns what is wrong."""
    if not known.portless:
        return ""
    taken = set((yield ReadPorts()).values())
    free = (port for port in range(FIRST_PORT, LAST_PORT + 1) if port not in taken)
    for identity in known.portless:
        port = next(free, None)
        if port is None:
            return f"the namespace has {LAST_PORT - FIRST_PORT + 1} models behind routers, and no port for another one"
        yield GivePort(identity.name, identity.uid, port)
    return ""


def _replace_silent(silence: Silence, now: datetime, guards: Guards) -> Generator[Step, Any, float | None]:
    """End one that does not answer, so that another takes its place. Returns the seconds until the next look."""
    rested = all(then is None or now - then >= REST for then in (silence.youngest, silence.ended))
    for name, uid in silence.pods[:1]:
        if guards.holds(Guard.OTHERS_ANSWER, silence.others_answer) and guards.holds(Guard.RESTED, rested):
            yield Evict(name, uid)
    return SILENT_SECONDS if silence.pods else None


def _in_the_way(strangers: Iterable[str], refused: Mapping[Named, str | None]) -> str:
    if found := ", ".join(strangers):
        return f"{found} is there and was not made by Tidegate: delete it, or the routers cannot be made"
    for (kind, name), words in ((named, words) for named, words in refused.items() if words):
        return f"the API server refuses the {kind} {name}: {words}; correct whatever forbids it; it is tried again"
    return ""


def pods_trouble(known: Namespace) -> str:
    """Why no router of the namespace gets ready; empty where one is, or nothing is known to keep them from it."""
    if any(pod.ready for pod in known.pods):
        return ""
    if known.workload and known.workload.refused:
        return f"the API server refuses the routers' pods: {known.workload.refused}"
    for pod in sorted(known.pods, key=lambda pod: pod.name):
        if pod.unschedulable:
            return f"no node takes a router: {pod.unschedulable}; free capacity"
        for container in pod.containers:
            if container.waiting in PULL_REASONS:
                value = "image.envoy" if container.name == router.ENVOY else "image.tools"
                said = f"the image of the routers' container {container.name} cannot be pulled"
                return f"{said}: {plain(container.waiting_message)}; check {value} of the operator's chart"
            if not container.ready and container.exit_code:
                last = container.exit_message.strip().splitlines()[-1:] or ["see its logs"]
                return f"the routers' container {container.name} ended with exit code {container.exit_code}: {last[0]}"
    return ""
