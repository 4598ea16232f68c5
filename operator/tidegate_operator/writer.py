"""The one module that writes to the API server.

Every write passes the same gate: it goes out only while the Lease is held, measured when it
begins, and again in the moment in which its bytes go to the connection. A leader that was
stopped and wakes up finds the gate closed.
"""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import aiohttp
import msgspec
from aiohttp.abc import AbstractStreamWriter

from tidegate_cluster.api import RETRY_AFTER, Conflict, Count, Invalid, NotFound, error_of
from tidegate_cluster.connection import Connection
from tidegate_cluster.store import Key
from tidegate_contract import labels, names
from tidegate_operator.cluster import convert
from tidegate_operator.cluster import resources as r
from tidegate_operator.core import types as core
from tidegate_operator.core.guards import ALL, Guard
from tidegate_operator.core.look import Evict
from tidegate_operator.core.records import object_name

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON = "application/json"

T = TypeVar("T")


class NotLeader(Exception):  # noqa: N818 - a state, not a mistake
    """The Lease is not held, so nothing may be written."""


class Body(aiohttp.BytesPayload):
    """The bytes of a request, which ask before they are written; aiohttp keeps the headers back until then.

    Between a request's begin and its bytes lie a connection that may have to be made, and at least one turn of the
    event loop: a process that is stopped there would go on with it when it wakes up.
    """

    def __init__(self, content: bytes, last_word: Callable[[], None] | None) -> None:
        super().__init__(content)
        self._last_word = last_word

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if self._last_word is not None:
            self._last_word()
        await super().write_with_length(writer, content_length)


class Writer:
    """Writes through one session; `may_write` is asked before each."""

    def __init__(self, connection: Connection, may_write: Callable[[], bool], count: Count) -> None:
        self._connection = connection
        self._may_write = may_write
        self._count = count

    async def child(self, apply: core.Apply, namespace: str) -> r.AnyChild:
        """Make a child look like its manifest, and return what the API server made of it.

        The uid keeps an update from becoming a creation when the object goes in the meantime, and the version ABSENT a
        creation from becoming an update when the name is taken in the meantime. Raises Conflict for both.
        """
        resource = r.CHILDREN[apply.kind]
        manifest = apply.manifest | {
            "metadata": apply.manifest["metadata"] | _given(uid=apply.uid, resourceVersion=apply.version)
        }
        path = resource.path(namespace, manifest["metadata"]["name"])
        found: r.AnyChild = await self._apply(path, manifest, resource.type)
        return found

    async def scale(self, scale: core.Scale, namespace: str) -> str:
        """Set replicas through `/scale`; returns the resourceVersion that the object has now."""
        path = r.CHILDREN[core.Kind.DEPLOYMENT].path(namespace, scale.name, "scale")
        body = {"metadata": _given(uid=scale.uid), "spec": {"replicas": scale.replicas}}
        return (await self._send("PATCH", path, body, MERGE, r.Meta)).metadata.resourceVersion

    async def remove(self, remove: core.Remove, namespace: str) -> None:
        """Delete a child, if it still is the one that was meant."""
        path = r.CHILDREN[remove.kind].path(namespace, remove.name)
        # Said, because a Job's own default is to leave its pods behind.
        body = {"preconditions": _given(uid=remove.uid), "propagationPolicy": "Background"}
        await self._delete(path, body)

    async def evict(self, evict: Evict, namespace: str) -> None:
        """End a pod, if it still is the one that was meant and its budget allows it.

        Raises ApiError with 429 if the budget does not.
        """
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": evict.name, "namespace": namespace},
            "deleteOptions": {"preconditions": _given(uid=evict.uid)},
        }
        with contextlib.suppress(NotFound):
            await self._send("POST", r.PODS.path(namespace, evict.name, "eviction"), body, JSON, msgspec.Raw)

    async def status(self, key: Key, status: core.Status, version: str | None) -> r.ModelDeployment:
        """Write `/status`, if the object is still the version that was decided on.

        Raises Conflict if it is not: decide again on the new one.
        """
        namespace, name = key
        metadata = {"name": name, "namespace": namespace} | _given(resourceVersion=version)
        manifest = {
            "apiVersion": f"{names.GROUP}/{names.VERSION}",
            "kind": names.KIND,
            "metadata": metadata,
            "status": convert.status_body(status),
        }
        return await self._apply(r.MODELS.path(namespace, name, "status"), manifest, r.ModelDeployment)

    async def revision(self, revision: core.Revision, namespace: str) -> r.ModelRevision:
        """Make a ModelRevision, or write its record; the uid is that of the object to change."""
        name = object_name(revision.model, revision.name)
        manifest = {
            "apiVersion": f"{names.GROUP}/{names.VERSION}",
            "kind": names.REVISION_KIND,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {labels.MODEL: revision.model, labels.REVISION: revision.name},
            }
            | _given(uid=revision.uid, resourceVersion=revision.version),
        } | convert.revision_body(revision)
        return await self._apply(r.REVISIONS.path(namespace, name), manifest, r.ModelRevision)

    async def forget(self, forget: core.Forget, namespace: str) -> None:
        """Delete a ModelRevision, if it still is the one that was meant."""
        body = {"preconditions": _given(uid=forget.uid, resourceVersion=forget.version)}
        await self._delete(r.REVISIONS.path(namespace, forget.name), body)

    async def event(self, model: r.ModelDeployment, happening: core.Happening, now: datetime) -> None:
        """Post an Event whose name follows from what it says, so that saying it again changes it and adds none."""
        metadata = model.metadata
        said = f"{metadata.uid} {happening.reason} {happening.message}"
        name = f"{metadata.name}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"
        manifest = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": metadata.namespace},
            "involvedObject": {
                "apiVersion": f"{names.GROUP}/{names.VERSION}",
                "kind": names.KIND,
                "name": metadata.name,
                "namespace": metadata.namespace,
                "uid": metadata.uid,
            },
            "type": "Warning" if happening.warning else "Normal",
            "reason": happening.reason,
            "message": happening.message[:1024],
            "firstTimestamp": convert.timestamp(now),
            "lastTimestamp": convert.timestamp(now),
            "count": 1,
            "source": {"component": r.MANAGER},
            "reportingComponent": r.MANAGER,
        }
        await self._apply(r.EVENTS.path(metadata.namespace, name), manifest, msgspec.Raw)

    async def secret(
        self,
        namespace: str,
        name: str,
        data: Mapping[str, str],
        owners: list[core.Manifest],
        *,
        labelled: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> None:
        """Make a Secret hold `data`, values in base64, and have these ownerReferences and labels.

        `version`: the resourceVersion that it was read at, or ABSENT to make one. Raises Conflict if it is another one.
        """
        metadata = {"name": name, "namespace": namespace, "labels": labelled or {}, "ownerReferences": owners}
        manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata | _given(resourceVersion=version),
            "type": "Opaque",
            "data": data,
        }
        await self._apply(r.SECRETS.path(namespace, name), manifest, r.Meta)

    async def trials(self, namespace: str, name: str, uid: str, trials: list[r.TrialBody]) -> None:
        """Keep the trials of a version in its ModelRevision. The rest of that has another manager, and stays as it is.

        Raises NotFound or Conflict where that object is gone.
        """
        manifest = {
            "apiVersion": f"{names.GROUP}/{names.VERSION}",
            "kind": names.REVISION_KIND,
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "trials": msgspec.to_builtins(trials),
        }
        await self._apply(r.REVISIONS.path(namespace, name), manifest, r.Meta, manager=r.TRIALS_MANAGER)

    async def lease(self, namespace: str, body: dict[str, Any], *, create: bool) -> dict[str, Any]:
        """Create or replace the Lease; the one write that does not ask whether the Lease is held."""
        name = "" if create else body["metadata"]["name"]
        path = r.LEASES.path(namespace, name)
        return await self._request("POST" if create else "PUT", path, {}, body, JSON, dict[str, Any])

    async def _apply(self, path: str, manifest: core.Manifest, type: type[T], manager: str = r.MANAGER) -> T:
        parameters = {"fieldManager": manager, "force": "true"}
        return await self._send("PATCH", path, manifest, APPLY, type, parameters)

    async def _delete(self, path: str, body: Any) -> None:
        """Delete what may be gone already."""
        with contextlib.suppress(NotFound):
            await self._send("DELETE", path, body, JSON, msgspec.Raw)

    async def _send(
        self,
        method: str,
        path: str,
        body: Any,
        content: str,
        type: type[T],
        parameters: dict[str, str] | None = None,
    ) -> T:
        def expect_lease() -> None:
            if not ALL.holds(Guard.LEASE, self._may_write()):
                raise NotLeader(f"{method} {path} was not sent")

        expect_lease()
        return await self._request(method, path, parameters or {}, body, content, type, expect_lease)

    async def _request(
        self,
        method: str,
        path: str,
        parameters: dict[str, str],
        body: Any,
        content: str,
        type: type[T],
        last_word: Callable[[], None] | None = None,
    ) -> T:
        """`last_word` is asked before the first byte is sent, and may raise NotLeader: then none is."""
        try:
            async with self._connection.session.request(
                method,
                f"{self._connection.server}{path}",
                params=parameters,
                data=Body(msgspec.json.encode(body), last_word),
                headers={"Content-Type": content, "Accept": JSON},
            ) as response:
                status, headers, answer = response.status, response.headers, await response.read()
        except BaseException as lost:
            if isinstance(lost.__cause__, NotLeader):
                raise lost.__cause__ from None
            self._count(method.lower(), None)
            raise
        self._count(method.lower(), status)
        if status >= 300:
            error = error_of(status, answer, headers.get(RETRY_AFTER, ""))
            if isinstance(error, Invalid) and "metadata.uid" in error.message:
                raise Conflict(409, error.message)  # another object has the name by now
            raise error
        return msgspec.json.decode(answer, type=type)


def _given(**fields: str | None) -> dict[str, str]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value}
