"""Carries out the steps of a look over HTTP, and keeps the caches up with what it did."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from tidegate_cluster.api import TRANSIENT, Api, ApiError, Conflict, NotFound
from tidegate_cluster.store import Key, Store
from tidegate_contract import actions, labels
from tidegate_contract.source import SourceError
from tidegate_operator.api import v1alpha1
from tidegate_operator.cluster import convert
from tidegate_operator.cluster import resources as r
from tidegate_operator.core import types as core
from tidegate_operator.core.children import owner, revision_in
from tidegate_operator.core.look import (
    Evict,
    Found,
    Fresh,
    GivePort,
    Known,
    Looked,
    ReadChild,
    ReadModel,
    ReadPorts,
    ReadRevision,
    ReadRouters,
    Save,
    Secure,
    Step,
    Steps,
    Tell,
    Together,
    WriteStatus,
    look,
)
from tidegate_operator.core.namespace import Namespace, Silence, look_at
from tidegate_operator.core.router import Images
from tidegate_operator.core.trial import trial_of
from tidegate_operator.keys import SecretInTheWay, Tokens
from tidegate_operator.refusals import Refusals
from tidegate_operator.routers import Routers
from tidegate_operator.trials import Trials
from tidegate_operator.writer import NotLeader, Writer

log = logging.getLogger(__name__)

TROUBLE_SECONDS = 30.0
"""How soon to look again at a namespace whose routers cannot be made; of a policy or a quota no event tells."""
EVENT_SECONDS = 2.0
"""How long a look waits for its Events at its end. Nothing depends on them."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Everything that is known of the cluster."""

    models: Store[r.ModelDeployment]
    pods: Store[r.Pod]
    revisions: Store[r.ModelRevision]
    children: Mapping[core.Kind, Store[Any]]


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator's own settings say about models."""

    release: core.Release
    via: core.Via
    """How requests reach a model whose spec does not say it."""

    @property
    def images(self) -> Images:
        return Images(self.release.envoy_image, self.release.tools_image, self.release.pull_policy)


class Reconciler:
    def __init__(
        self,
        stores: Stores,
        api: Api,
        writer: Writer,
        refusals: Refusals,
        routers: Routers,
        trials: Trials,
        tokens: Tokens,
        know: Callable[[r.ModelDeployment], None],
        mark: Callable[[Key], None],
        policy: Policy,
        now: Callable[[], datetime],
    ) -> None:
        """`know` is told of every ModelDeployment that was read because the feed may not have told of it; `mark` of
        every key that wants a look because of what another one's has found.
        """
        self._stores = stores
        self._api = api
        self._writer = writer
        self._refusals = refusals
        self._routers = routers
        self._trials = trials
        self._tokens = tokens
        self._know = know
        self._mark = mark
        self._policy = policy
        self._now = now
        self._routed: set[Key] = set()
        """The models that need routers, as of their last look."""
        self._ports: dict[Key, tuple[str, int]] = {}
        """Uid and port of each model that was given one and does not say so in its status yet."""
        self._trouble: dict[str, str] = {}
        """By namespace: why its routers cannot be made."""
        self._reachable: dict[str, int] = {}
        """By namespace: how many routers new requests reached, as of its last look."""
        self._evicted: dict[str, datetime] = {}
        """By namespace: when a router was ended last because it did not answer."""
        self._complete: set[str] = set()
        """The namespaces all of whose models are known: they were asked for since this process leads."""

    def clear(self) -> None:
        """Forget what was decided: another process has led meanwhile."""
        for kept in (self._routed, self._ports, self._trouble, self._reachable, self._evicted, self._complete):
            kept.clear()

    async def look(self, key: Key) -> float | None:
        """One look at a ModelDeployment.

        Returns the seconds after which to look again although nothing happened, or None.
        Raises what the API server answers; the caller tries again later.
        """
        model = self._stores.models.get(key)
        if model is None or model.metadata.deletionTimestamp is not None:
            self._refusals.forget(key)
            self._needs_routers(key, False)
            self._trials.end(key)
            return None  # the garbage collector takes the children along
        identity, status = convert.identity(model), convert.status(model.status)
        known = self._refusals.known(key, identity, status)
        desired = self._desired(model)
        if isinstance(desired, core.Desired):
            trial = trial_of(status) if desired.steps else None  # without steps nothing waits for what it says
            await self._trials.follow(key, identity.uid, trial, desired.tolerance)
        observed = self._observe(key, model, known)
        version = model.metadata.resourceVersion
        release = self._policy.release
        looked = await self._drive(look(Known(identity, version, desired, status, observed, release, self._now())), key)
        self._routers.moves(key, looked.moves)
        self._needs_routers(key, self._is_routed(key, desired))
        again = self._refusals.ended(key, identity, known, looked.refused, self._now())
        return min((seconds for seconds in (looked.look_again, again) if seconds is not None), default=None)

    async def look_around(self, namespace: str) -> float | None:
        """One look at a namespace: at its models' routers, and at the revisions of those that are gone. As `look`."""
        key, children = (namespace, ""), self._stores.children
        routed = self._routed_in(namespace)
        if any(store.of(key) for store in children.values()) and (not routed or namespace not in self._complete):
            # What is there belongs to all of them, and goes without one: the feed may not have told of any yet.
            await self._see_models(namespace)
            routed = self._routed_in(namespace)
        identities = {each: convert.identity(model) for each in routed if (model := self._stores.models.get(each))}
        numbers = [convert.workload(item) for item in children[core.Kind.DEPLOYMENT].of(key)]
        known = Namespace(
            name=namespace,
            revisions=tuple(
                revision
                for each in self._stores.revisions.owners()
                if each[0] == namespace and self._stores.models.get(each) is None
                for revision in self._revisions(each)
            ),
            routed=tuple(identities.values()),
            portless=tuple(identity for each, identity in identities.items() if self._is_portless(each)),
            children={
                (kind, item.metadata.name): convert.child(kind, item)
                for kind, store in children.items()
                for item in store.of(key)
            },
            workload=numbers[0] if numbers else None,
            pods=tuple(self._router_pods(namespace)),
            silence=self._silence(namespace),
        )
        looked = await self._drive(look_at(known, self._policy.images, self._now()), key)
        self._refusals.forget(key)  # what was refused its models say
        reachable = self._reachable_in(namespace)
        if looked.trouble != self._trouble.pop(namespace, "") or reachable != self._reachable.get(namespace, 0):
            for each in routed:
                self._mark(each)
        self._reachable[namespace] = reachable
        if looked.trouble:
            self._trouble[namespace] = looked.trouble
        if not routed:
            self._evicted.pop(namespace, None)
            self._reachable.pop(namespace, None)
            self._complete.discard(namespace)
        return looked.look_again if not looked.trouble else TROUBLE_SECONDS

    def _routed_in(self, namespace: str) -> list[Key]:
        return sorted(each for each in self._stores.models if each[0] == namespace and self._is_routed(each))

    async def _see_models(self, namespace: str) -> None:
        """Ask for all models of a namespace."""
        listed = await self._api.list(r.MODELS.path(namespace), r.ModelDeployment)
        for model in listed.items:
            self._know(model)
        self._complete.add(namespace)

    def _silence(self, namespace: str) -> Silence:
        silent, others_answer = self._routers.silent(namespace)
        there = self._stores.pods.of((namespace, ""))
        made = [convert.made_at(pod) for pod in there]
        ending = {pod.metadata.uid for pod in there if pod.metadata.deletionTimestamp}
        pods = tuple((pod.name, pod.uid) for pod in silent if pod.uid not in ending)
        return Silence(pods, others_answer, max(made, default=None), self._evicted.get(namespace))

    def _is_routed(self, key: Key, desired: core.Desired | core.Unusable | None = None) -> bool:
        """Whether a model's requests come through routers, are to, or did until now. `desired`: if it is known."""
        model = self._stores.models.get(key)
        if model is None or model.metadata.deletionTimestamp is not None:
            return False
        desired = desired or self._desired(model)
        wants = isinstance(desired, core.Desired) and desired.via is core.Via.ROUTER
        deployments = self._stores.children[core.Kind.DEPLOYMENT].of(key)
        return (
            wants
            or convert.status(model.status).route is not None
            or any(item.metadata.name != key[1] for item in deployments)
        )

    def _is_portless(self, key: Key) -> bool:
        model = self._stores.models.get(key)
        return model is not None and convert.status(model.status).route is None and self._port(key, model) is None

    def _port(self, key: Key, model: r.ModelDeployment) -> int | None:
        """The port that was given to a model."""
        uid, port = self._ports.get(key, ("", 0))
        return port if uid == model.metadata.uid else None

    def _needs_routers(self, key: Key, routed: bool) -> None:
        """What a look has found; where the namespace has something to do because of it, that is marked."""
        portless = routed and self._is_portless(key) and not self._trouble.get(key[0])
        if routed != (key in self._routed) or portless:
            self._mark((key[0], ""))
        if routed:
            self._routed.add(key)
        else:
            self._routed.discard(key)
            self._ports.pop(key, None)
            self._routers.moves(key, False)

    def _observe(self, key: Key, model: r.ModelDeployment, refused: core.Refusals) -> core.Observed:
        """What the caches know about one model."""
        children: dict[core.Ref, core.Child] = {}
        versions: dict[str, core.Workload] = {}
        workload = None
        for kind, store in self._stores.children.items():
            for item in store.of(key):
                children[kind, item.metadata.name] = convert.child(kind, item)
                if isinstance(item, r.Deployment) and item.metadata.name == key[1]:
                    workload = convert.workload(item)
                elif isinstance(item, r.Deployment):
                    versions[revision_in(item.metadata.name, key[1])] = convert.workload(item)
        return core.Observed(
            children=children,
            workload=workload,
            pods=tuple(convert.pod(pod) for pod in self._stores.pods.of(key)),
            revisions=tuple(self._revisions(key)),
            action=actions.parse(model.metadata.annotations),
            refused=refused,
            versions=versions,
            routers=self._routers.heard(key),
            reachable=self._reachable_in(key[0]),
            silent=self._routers.fallen_silent(key[0]),
            port=self._port(key, model),
            no_routers=self._trouble.get(key[0], ""),
            evidence=self._trials.evidence(key),
        )

    def _router_pods(self, namespace: str) -> list[core.Pod]:
        return [convert.pod(pod) for pod in self._stores.pods.of((namespace, ""))]

    def _reachable_in(self, namespace: str) -> int:
        return sum(pod.ready and not pod.deleting for pod in self._router_pods(namespace))

    def _desired(self, model: r.ModelDeployment) -> core.Desired | core.Unusable:
        try:
            return v1alpha1.parse(msgspec.json.decode(model.spec), self._policy.via)
        except v1alpha1.SpecError as error:
            return core.Unusable(str(error))

    def _revisions(self, key: Key) -> list[core.Revision]:
        found = []
        for item in self._stores.revisions.of(key):
            try:
                found.append(convert.revision(item))
            except SourceError as error:
                log.warning("ModelRevision %s means nothing: %s", item.metadata.name, error)
        return found

    async def _drive(self, steps: Steps, key: Key) -> Looked:
        """Carry out every step of a look, in its order; Events go out beside the rest, which waits for none."""
        telling: list[asyncio.Task[None]] = []
        answer: Any = None
        try:
            while True:
                step = steps.send(answer)
                answer = None
                if isinstance(step, Tell):
                    telling.append(asyncio.create_task(self._tell(key, step.happening)))
                    await asyncio.sleep(0)  # it is sent before what it tells of
                elif isinstance(step, Together):
                    answer = await _all(self._answer(each, key) for each in step.steps)
                else:
                    answer = await self._answer(step, key)
        except StopIteration as end:
            looked: Looked = end.value
            return looked
        finally:
            await _finish(telling)

    async def _answer(self, step: Step, key: Key) -> Any:
        """Carry out one step; a write is answered by the words in which it was refused, or None."""
        if not isinstance(step, core.Write | Secure | Save):
            return await self._carry_out(step, key)
        try:
            await self._carry_out(step, key)
        except SecretInTheWay as error:
            return error.message
        except ApiError as error:
            # The rest is done all the same, and the object says what was refused.
            words = self._refusals.words(key, step, error)
            log.warning("refused: %s", words, extra={"model": "/".join(key)})
            return words
        self._refusals.taken(key, step)
        return None

    async def _carry_out(self, step: Step, key: Key) -> Any:
        """One step; returns its answer. Raises what the API server answers."""
        namespace, name = key
        match step:
            case ReadModel():
                return await self.read_model((namespace, step.name))
            case ReadChild():
                return await self._read_child(step, namespace)
            case ReadRevision():
                return await self._read_revision(step, namespace)
            case ReadRouters():
                return await self._read_routers(namespace)
            case ReadPorts():
                return await self._read_ports(namespace)
            case Save():
                await self._trials.save(key)
            case GivePort():
                self._ports[namespace, step.name] = step.uid, step.port
                self._mark((namespace, step.name))
            case Secure():
                await self._tokens.ensure(namespace, [owner(identity) for identity in step.owners])
            case Evict():
                await self._evict(step, namespace)
            case WriteStatus():
                await self._write_status(step, key)
            case core.Keep():
                self._stores.revisions.put(await self._writer.revision(step.revision, namespace))
            case core.Forget():
                known = self._stores.revisions.get((namespace, step.name))
                await self._writer.forget(step, namespace)
                self._stores.revisions.lose(known)
            case core.Apply():
                about = {"model": f"{namespace}/{name}"}
                log.info("%s %s", "repairing" if step.uid else "creating", step.kind, extra=about)
                self._stores.children[step.kind].put(await self._writer.child(step, namespace))
            case core.Scale():
                self._scaled(await self._writer.scale(step, namespace), (namespace, step.name), step)
            case core.Remove():
                log.info("removing %s %s", step.kind, step.name, extra={"model": f"{namespace}/{name}"})
                child = self._stores.children[step.kind].get((namespace, step.name))
                await self._writer.remove(step, namespace)
                self._stores.children[step.kind].lose(child)
        return None

    async def _write_status(self, step: WriteStatus, key: Key) -> None:
        try:
            self._stores.models.put(await self._writer.status(key, step.status, step.version))
        except (Conflict, NotFound):
            await self.read_model(key)  # the feed may be blind: the next try would decide on the same old version
            raise

    async def read_model(self, key: Key) -> Fresh | None:
        """Ask for one model; the cache knows afterwards what it is, or that it is gone.

        Raises what the API server answers, and UNREADABLE.
        """
        known = self._stores.models.get(key)
        try:
            fresh = await self._api.get(r.MODELS.path(*key), r.ModelDeployment)
        except NotFound:
            self._stores.models.lose(known)
            return None
        self._know(fresh)
        return Fresh(fresh.metadata.uid, fresh.metadata.deletionTimestamp is not None)

    async def _read_child(self, step: ReadChild, namespace: str) -> Found | None:
        resource = r.CHILDREN[step.kind]
        try:
            item = await self._api.get(resource.path(namespace, step.name), resource.type)
        except NotFound:
            return None
        workload = convert.workload(item) if isinstance(item, r.Deployment) else None
        return Found(convert.child(step.kind, item), workload)

    async def _read_revision(self, step: ReadRevision, namespace: str) -> core.Revision | None:
        try:
            item = await self._api.get(r.REVISIONS.path(namespace, step.name), r.ModelRevision)
        except NotFound:
            return None
        return convert.revision(item)

    async def _read_routers(self, namespace: str) -> frozenset[str]:
        selector = f"{labels.COMPONENT}={labels.ROUTER}"
        listed = await self._api.list(r.PODS.path(namespace), r.Pod, selector=selector)
        return frozenset(pod.metadata.uid for pod in listed.items if pod.may_have_requests)

    async def _read_ports(self, namespace: str) -> dict[str, int]:
        """As they stand in the API server, and as they were given and are on their way there."""
        listed = await self._api.list(r.MODELS.path(namespace), r.ModelDeployment)
        found = {name: port for (place, name), (_, port) in self._ports.items() if place == namespace}
        for model in listed.items:
            if route := convert.status(model.status).route:
                found[model.metadata.name] = route.port
        return found

    async def _evict(self, step: Evict, namespace: str) -> None:
        log.warning("ending router %s, which does not answer", step.name, extra={"model": f"{namespace}/"})
        try:
            await self._writer.evict(step, namespace)
            self._evicted[namespace] = self._now()
        except ApiError as error:  # its budget, or a policy: the next look may find that it answers again
            log.warning("router %s was not ended: %s", step.name, error, extra={"model": f"{namespace}/"})

    async def _tell(self, key: Key, happening: core.Happening) -> None:
        """Post an Event. A quota on Events must not keep a model from being repaired."""
        if (model := self._stores.models.get(key)) is None:
            return
        try:
            await self._writer.event(model, happening, self._now())
        except (*TRANSIENT, NotLeader) as error:
            log.warning("an Event was not taken: %s: %s", type(error).__name__, error, extra={"model": "/".join(key)})

    def _scaled(self, version: str, key: Key, scale: core.Scale) -> None:
        """Remember our own scaling, so that the next look does not repeat it before the watch has told of it."""
        store = self._stores.children[core.Kind.DEPLOYMENT]
        item = store.get(key)
        if isinstance(item, r.Deployment):
            metadata = msgspec.structs.replace(
                item.metadata, resourceVersion=version, generation=item.metadata.generation + 1
            )
            store.assume(msgspec.structs.replace(item, metadata=metadata, spec=r.DeploymentSpec(scale.replicas)))


async def _all(works: Iterable[Awaitable[Any]]) -> tuple[Any, ...]:
    """Wait for all of them, however one ends.

    Raises what one of those that failed has raised, a bug before what another try may mend.
    """
    answers = await asyncio.gather(*works, return_exceptions=True)
    if errors := [answer for answer in answers if isinstance(answer, BaseException)]:
        raise min(errors, key=lambda error: isinstance(error, (*TRANSIENT, NotLeader)))
    return tuple(answers)


async def _finish(telling: list[asyncio.Task[None]]) -> None:
    """Wait for Events, but not for long: whoever works on one object works on no other meanwhile."""
    try:
        done, _ = await asyncio.wait(telling, timeout=EVENT_SECONDS) if telling else ((), ())
        for task in done:
            task.result()
    finally:
        for task in telling:
            task.cancel()
