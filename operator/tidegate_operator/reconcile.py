"""One look at one ModelDeployment: observe, decide, apply."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from tidegate_operator.api import v1alpha1
from tidegate_operator.cluster import convert
from tidegate_operator.cluster import resources as r
from tidegate_operator.cluster.api import Api, ApiError, Forbidden, Invalid, NotFound
from tidegate_operator.cluster.store import Key, Store
from tidegate_operator.core import types as core
from tidegate_operator.core.children import children
from tidegate_operator.core.decide import decide, invalid
from tidegate_operator.writer import Writer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stores:
    """Everything that is known of the cluster."""

    models: Store[r.ModelDeployment]
    pods: Store[r.Pod]
    children: Mapping[core.Kind, Store[r.Child | r.Deployment]]


@dataclass(frozen=True, slots=True)
class Refusals:
    """The children of one generation of one object that the API server did not take, and its words."""

    uid: str
    generation: int
    words: Mapping[core.Kind, str]


class Reconciler:
    def __init__(
        self, stores: Stores, api: Api, writer: Writer, release: core.Release, now: Callable[[], datetime]
    ) -> None:
        self._stores = stores
        self._api = api
        self._writer = writer
        self._release = release
        self._now = now
        self._refused: dict[Key, Refusals] = {}
        """What the API server did not take at the last look."""

    async def look(self, key: Key) -> float | None:
        """Bring the cluster one pass nearer to what the object says.

        Returns the seconds after which to look again although nothing happened, or None.
        Raises what the API server answers; the caller tries again later.
        """
        model = self._stores.models.get(key)
        if model is None or model.metadata.deletionTimestamp is not None:
            self._refused.pop(key, None)
            return None  # the garbage collector takes the children along
        identity, status = convert.identity(model), convert.status(model.status)
        try:
            desired = v1alpha1.parse(model.spec)
        except v1alpha1.SpecError as error:
            plan = invalid(identity, str(error), status, self._now())
        else:
            observed = await self._observe(key, model, identity, desired)
            if observed is None:
                return None
            plan = decide(identity, desired, status, observed, self._release, self._now())
        known = self._known_refusals(key, identity)
        refused = await self._apply(model, plan)
        self._refused[key] = Refusals(identity.uid, identity.generation, refused)
        # What is refused anew the object must say at once, and what is taken again it must stop saying. Other words
        # for the same refusal can wait: some hold figures that differ each time.
        return plan.look_again if refused.keys() == known.keys() else 0.0

    def _known_refusals(self, key: Key, identity: core.Identity) -> Mapping[core.Kind, str]:
        """What was refused of this very spec; what was refused of another one says nothing about it."""
        found = self._refused.get(key)
        return found.words if found and (found.uid, found.generation) == (identity.uid, identity.generation) else {}

    async def _observe(
        self, key: Key, model: r.ModelDeployment, identity: core.Identity, desired: core.Desired
    ) -> core.Observed | None:
        """The snapshot; None if the object turns out to be gone.

        What the caches lack is read fresh: only the API server knows whether a name is
        free, and only it knows whether the object that wants the child still exists.
        """
        found: dict[core.Kind, r.Child | r.Deployment] = {
            kind: item for kind, store in self._stores.children.items() if (item := store.get(key)) is not None
        }
        missing = [kind for kind in children(identity, desired, self._release) if kind not in found]
        if missing and not await self._still_there(model):
            return None
        for kind in missing:
            resource = r.CHILDREN[kind]
            try:
                found[kind] = await self._api.get(resource.path(*key), resource.type)
            except NotFound:
                continue
        deployment = found.get(core.Kind.DEPLOYMENT)
        return core.Observed(
            children={kind: convert.child(kind, item) for kind, item in found.items()},
            workload=convert.workload(deployment) if isinstance(deployment, r.Deployment) else None,
            pods=tuple(convert.pod(pod) for pod in self._stores.pods.of(key)),
            refused=self._known_refusals(key, identity),
        )

    async def _still_there(self, model: r.ModelDeployment) -> bool:
        metadata = model.metadata
        try:
            fresh = await self._api.get(r.MODELS.path(metadata.namespace, metadata.name), r.ModelDeployment)
        except NotFound:
            self._stores.models.remove(model)
            return False
        if fresh.metadata.uid != metadata.uid or fresh.metadata.deletionTimestamp is not None:
            self._stores.models.put(fresh)
            return False
        return True

    async def _apply(self, model: r.ModelDeployment, plan: core.Plan) -> dict[core.Kind, str]:
        """Carry out a plan; returns what the API server refuses to take. The rest is done all the same."""
        namespace, name = model.metadata.namespace, model.metadata.name
        refused: dict[core.Kind, str] = {}
        for happening in plan.happenings:
            await self._tell(model, happening)
        if plan.status is not None:
            self._stores.models.put(await self._writer.status(model, plan.status))
        for apply in plan.applies:
            log.info(
                "%s %s", "repairing" if apply.uid else "creating", apply.kind, extra={"model": f"{namespace}/{name}"}
            )
            try:
                self._stores.children[apply.kind].put(await self._writer.child(apply, namespace))
            except (Forbidden, Invalid) as error:
                log.warning("%s refused: %s", apply.kind, error.message, extra={"model": f"{namespace}/{name}"})
                refused[apply.kind] = error.message
        if plan.scale is not None:
            self._scaled(await self._writer.scale(plan.scale, namespace), (namespace, name), plan.scale)
        for remove in plan.removes:
            log.info("removing %s", remove.kind, extra={"model": f"{namespace}/{name}"})
            await self._writer.remove(remove, namespace)
            if (item := self._stores.children[remove.kind].get((namespace, remove.name))) is not None:
                self._stores.children[remove.kind].remove(item)
        return refused

    async def _tell(self, model: r.ModelDeployment, happening: core.Happening) -> None:
        """Post an Event. A quota on Events must not keep a model from being repaired."""
        try:
            await self._writer.event(model, happening, self._now())
        except ApiError as error:
            log.warning("an Event was not taken: %s", error, extra={"model": model.metadata.name})

    def _scaled(self, version: str, key: Key, scale: core.Scale) -> None:
        """Remember our own scaling, so that the next look does not repeat it before the watch has told of it."""
        store = self._stores.children[core.Kind.DEPLOYMENT]
        item = store.get(key)
        if isinstance(item, r.Deployment):
            metadata = msgspec.structs.replace(
                item.metadata, resourceVersion=version, generation=item.metadata.generation + 1
            )
            store.put(msgspec.structs.replace(item, metadata=metadata, spec=r.DeploymentSpec(scale.replicas)))
