"""What every object has, and where a kind of object is found."""

# ruff: noqa: N815 - the fields are spelled as in the API

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import msgspec

T = TypeVar("T")


class OwnerReference(msgspec.Struct):
    uid: str
    controller: bool = False


class Metadata(msgspec.Struct):
    name: str
    uid: str
    namespace: str = ""
    resourceVersion: Annotated[str, msgspec.Meta(pattern="^[0-9]*$")] = ""
    generation: int = 0
    deletionTimestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    ownerReferences: list[OwnerReference] = []


@dataclass(frozen=True, slots=True)
class Resource(Generic[T]):
    """Where a kind is found, and what is read of it."""

    group: str
    """`api/v1` or `apis/GROUP/VERSION`."""
    plural: str
    type: type[T]

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """
        >>> Resource("api/v1", "pods", object).path("ml")
        '/api/v1/namespaces/ml/pods'
        >>> Resource("apis/example.com/v1", "ships", object).path("ml", "flights", "status")
        '/apis/example.com/v1/namespaces/ml/ships/flights/status'
        """
        parts = ["", self.group, *(("namespaces", namespace) if namespace else ()), self.plural]
        return "/".join([*parts, *(part for part in (name, subresource) if part)])
