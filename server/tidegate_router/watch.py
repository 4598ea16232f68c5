"""What the agent reads of the cluster: the routes of its namespace, and the pods that serve them."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tidegate_cluster.api import Api
from tidegate_cluster.reflector import Reflector
from tidegate_cluster.resource import Metadata, Resource
from tidegate_cluster.store import Key, Store, key_of
from tidegate_contract import labels, names
from tidegate_contract.route import Route, RouteError, route_of
from tidegate_router.endpoints import EndpointSlice, usable
from tidegate_router.models import Pods


class _Status(msgspec.Struct):
    route: object = None


class RoutedModel(msgspec.Struct):
    """A ModelDeployment, as much of it as a router looks at."""

    metadata: Metadata
    status: _Status = msgspec.field(default_factory=_Status)


class Slice(EndpointSlice, frozen=True, kw_only=True):
    """One EndpointSlice of a version's Service, whose labels it has."""

    metadata: Metadata


MODELS = Resource(f"apis/{names.GROUP}/{names.VERSION}", names.PLURAL, RoutedModel)
SLICES = Resource("apis/discovery.k8s.io/v1", "endpointslices", Slice)


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one model."""

    route: Route | None
    """None before the operator has made one, and where it means nothing."""
    refused: str
    """Why it means nothing."""
    pods: Pods


class Watch:
    """Both collections of one namespace. `changed` is told the name of a model of which something is new."""

    def __init__(self, api: Api, namespace: str, changed: Callable[[str], None]) -> None:
        def tell(key: Key) -> None:
            changed(key[1])

        self._namespace = namespace
        self._models: Store[RoutedModel] = Store(tell, owner=key_of)
        self._slices: Store[Slice] = Store(tell)
        self.reflectors = [
            Reflector(api, resource, store, namespace=namespace, selector=selector, restarted=lambda plural: None)
            for resource, store, selector in ((MODELS, self._models, ""), (SLICES, self._slices, labels.REVISION))
        ]

    async def listed(self) -> None:
        """Wait until both were read once, whole: what is not known must not pass for what is not there."""
        for reflector in self.reflectors:
            await reflector.listed.wait()

    def told(self, name: str) -> Told | None:
        """None for a model that is gone."""
        model = self._models.get((self._namespace, name))
        if model is None:
            return None
        by_revision: dict[str, list[EndpointSlice]] = {}
        for each in self._slices.of((self._namespace, name)):
            by_revision.setdefault(each.metadata.labels.get(labels.REVISION, ""), []).append(each)
        pods = {revision: found for revision, slices in by_revision.items() if (found := usable(slices))}
        if model.status.route is None:
            return Told(None, "", pods)
        try:
            return Told(route_of(model.status.route), "", pods)
        except RouteError as error:
            return Told(None, f"status.route: {error}", pods)
