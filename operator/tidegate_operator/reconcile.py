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
from tidegate_contract import actions
from tidegate_contract.source import SourceError
from tidegate_operator.api import v1alpha1
from tidegate_operator.cluster import convert
from tidegate_operator.cluster import resources as r
from tidegate_operator.core import types as core
from tidegate_operator.core.look import (
    Found,
    Fresh,
    Known,
    Looked,
    ReadChild,
    ReadModel,
    ReadRevision,
    Step,
    Steps,
    Tell,
    Together,
    WriteStatus,
    look,
    look_around,
)
from tidegate_operator.refusals import Refusals
from tidegate_operator.writer import NotLeader, Writer

log = logging.getLogger(__name__)

EVENT_SECONDS = 2.0
"""How long a look waits for its Events at its end. Nothing depends on them."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Everything that is known of the cluster."""

    models: Store[r.ModelDeployment]
    pods: Store[r.Pod]
    revisions: Store[r.ModelRevision]
    children: Mapping[core.Kind, Store[Any]]


class Reconciler:
    def __init__(
        self,
        stores: Stores,
        api: Api,
        writer: Writer,
        refusals: Refusals,
        know: Callable[[r.ModelDeployment], None],
        release: core.Release,
        now: Callable[[], datetime],
    ) -> None:
        """`know` is told of every ModelDeployment that was read because the feed may not have told of it."""
        self._stores = stores
        self._api = api
        self._writer = writer
        self._refusals = refusals
        self._know = know
        self._release = release
        self._now = now

    async def look(self, key: Key) -> float | None:
        """One look at a ModelDeployment.

        Returns the seconds after which to look again although nothing happened, or None.
        Raises what the API server answers; the caller tries again later.
        """
        model = self._stores.models.get(key)
        if model is None or model.metadata.deletionTimestamp is not None:
            self._refusals.forget(key)
            return None  # the garbage collector takes the children along
        identity, status = convert.identity(model), convert.status(model.status)
        known = self._refusals.known(key, identity, status)
        observed = self._observe(key, model, known)
        version = model.metadata.resourceVersion
        looked = await self._drive(
            look(Known(identity, version, _desired(model), status, observed, self._release, self._now())), key
        )
        again = self._refusals.ended(key, identity, known, looked.refused, self._now())
        return min((seconds for seconds in (looked.look_again, again) if seconds is not None), default=None)

    async def look_around(self, namespace: str) -> float | None:
        """One look at a namespace: at the revisions whose ModelDeployment the caches do not show. As `look`."""
        revisions = [
            revision
            for key in self._stores.revisions.owners()
            if key[0] == namespace and self._stores.models.get(key) is None
            for revision in self._revisions(key)
        ]
        looked = await self._drive(look_around(revisions, self._now()), (namespace, ""))
        self._refusals.forget((namespace, ""))  # nobody could be told of it; the next resync comes again
        return looked.look_again

    def _observe(self, key: Key, model: r.ModelDeployment, refused: core.Refusals) -> core.Observed:
        """What the caches know about one model."""
        children: dict[core.Ref, core.Child] = {}
        workload = None
        for kind, store in self._stores.children.items():
            for item in store.of(key):
                children[kind, item.metadata.name] = convert.child(kind, item)
                if isinstance(item, r.Deployment) and item.metadata.name == key[1]:
                    workload = convert.workload(item)
        return core.Observed(
            children=children,
            workload=workload,
            pods=tuple(convert.pod(pod) for pod in self._stores.pods.of(key)),
            revisions=tuple(self._revisions(key)),
            action=actions.parse(model.metadata.annotations),
            refused=refused,
        )

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
        if not isinstance(step, core.Write):
            return await self._carry_out(step, key)
        try:
            await self._carry_out(step, key)
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
            store.put(msgspec.structs.replace(item, metadata=metadata, spec=r.DeploymentSpec(scale.replicas)))


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


def _desired(model: r.ModelDeployment) -> core.Desired | core.Unusable:
    try:
        return v1alpha1.parse(msgspec.json.decode(model.spec))
    except v1alpha1.SpecError as error:
        return core.Unusable(str(error))
