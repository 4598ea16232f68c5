"""What one model asks of Envoy, from its route and its pods. Pure."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePosixPath

import msgspec

from tidegate_contract.route import Route, Slot
from tidegate_contract.router import Document
from tidegate_router import documents
from tidegate_router.delta import Key, Resource
from tidegate_router.documents import CLUSTER, ENDPOINTS, FEEDBACK, LISTENER, ROUTE, cluster_name
from tidegate_router.endpoints import Address
from tidegate_router.weights import Weights, effective

Pods = Mapping[str, tuple[Address, ...]]
"""By revision; one that has none is not in it."""


@dataclass(frozen=True, slots=True)
class Model:
    """One ModelDeployment, as this router is to serve it."""

    name: str
    route: Route
    pods: Pods
    led: bool
    """An operator has asked lately how it goes."""
    latched: Slot | None = None
    """The slot of a version that has failed here too often."""

    def addresses(self, slot: Slot) -> tuple[Address, ...]:
        share = self.route.slots.get(slot)
        return self.pods.get(share.revision, ()) if share else ()

    @property
    def endpoints(self) -> dict[str, tuple[Address, ...]]:
        """By the names that Envoy asks for."""
        found = {cluster_name(self.name, slot): self.addresses(slot) for slot in Slot}
        return found | {f"{self.name}/{FEEDBACK}": self.addresses(self.route.stable)}

    @property
    def weights(self) -> Weights:
        """Those in force."""
        served = [slot for slot in Slot if self.addresses(slot)]
        return effective(self.route, served, led=self.led, latched=self.latched)


def resources(folder: PurePosixPath, model: Model) -> dict[Key, Resource]:
    """All of it. The listener comes when everything that it leads to is there."""
    name = model.name
    found: dict[Key, Resource] = {}
    for asked, addresses in model.endpoints.items():
        found[ENDPOINTS, asked] = _resource(documents.endpoints(folder, asked, addresses))
    for cluster in documents.clusters(name):
        found[CLUSTER, cluster["name"]] = _resource(cluster)
    found[LISTENER, name] = _resource(documents.listener(name, model.route.port), after=frozenset(found))
    weights = model.weights
    body = _body(documents.route(name, model.route, weights))
    found[ROUTE, name] = Resource(version_of(model.route.generation, weights, _digest(body)), zlib.compress(body))
    return found


def version_of(generation: int, weights: Weights, digest: str) -> str:
    """What Envoy confirms of a route. With a digest: a model of the same name that is made anew starts again at 1.

    >>> version_of(7, {Slot.A: 95, Slot.B: 5}, "c0ffee")
    'c0ffee 7 a=95 b=5'
    """
    return " ".join([digest, str(generation), *(f"{slot}={weights[slot]}" for slot in sorted(weights))])


def confirmed(version: str) -> tuple[int, Weights]:
    """The generation and the weights of a version; generation 0 and none of an empty one.

    >>> confirmed("c0ffee 7 a=95 b=5")
    (7, {<Slot.A: 'a'>: 95, <Slot.B: 'b'>: 5})
    """
    if not version:
        return 0, {}
    _, generation, *shares = version.split()
    pairs = (share.split("=") for share in shares)
    return int(generation), {Slot(slot): int(weight) for slot, weight in pairs}


def _resource(document: Document, after: frozenset[Key] = frozenset()) -> Resource:
    body = _body(document)
    return Resource(_digest(body), zlib.compress(body), after)


def _body(document: Document) -> bytes:
    return msgspec.json.encode(document, order="sorted")


def _digest(body: bytes) -> str:
    return blake2b(body, digest_size=8).hexdigest()
