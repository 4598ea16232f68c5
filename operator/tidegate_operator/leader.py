"""Which of the operator's processes may write: the one that holds the Lease.

`held` is asked before every write and answers from the monotonic clock alone, so that
a process that was stopped for a minute knows it at once, before it has asked anybody.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tidegate_cluster.api import TRANSIENT, Api, Conflict, NotFound
from tidegate_contract import labels
from tidegate_operator.cluster import resources as r
from tidegate_operator.settings import Settings
from tidegate_operator.writer import Writer

log = logging.getLogger(__name__)


class LeaseLost(Exception):  # noqa: N818 - a fact
    """Another process leads: this one must end and start again from nothing."""


class LeaseExpired(Exception):  # noqa: N818 - a fact
    """The Lease could not be renewed in time. Nobody is known to have taken it: the API server may just be away."""


class Leader:
    """Takes the Lease, keeps it, gives it back."""

    def __init__(self, settings: Settings, now: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._times = settings.lease
        self._now = now
        self._monotonic = monotonic
        self._renewed = float("-inf")
        self._seen: tuple[str, float] = ("", float("-inf"))
        """The renewal of another holder that was seen last, and when: clocks of two machines are never compared."""
        self.elsewhere = ""
        """Where the process that holds the Lease is asked, if it is another one; empty: not known."""

    def held(self) -> bool:
        """Whether a write may go out now. Counted from the start of the last renewal that succeeded."""
        return self._monotonic() - self._renewed < self._times.deadline

    async def acquire(self, api: Api, writer: Writer, *, again: bool = False) -> None:
        """Wait until this process holds the Lease.

        `again`: it has held it before; then it raises LeaseLost if another process has taken it.
        """
        while not self.held():
            try:
                taken = await self._try(api, writer)
                if taken:
                    log.info("this process leads", extra={"lease": self._settings.lease_name})
                    return
                if again and taken is False:
                    raise LeaseLost("another process holds the Lease")
            except TRANSIENT as error:
                log.warning("the Lease could not be read or taken: %s: %s", type(error).__name__, error)
            await asyncio.sleep(self._times.renew / 2)

    async def keep(self, api: Api, writer: Writer) -> None:
        """Renew until that fails for too long.

        Raises LeaseLost, LeaseExpired.
        """
        wait = self._times.renew
        while self.held():
            await asyncio.sleep(wait)
            wait = self._times.renew / 5
            try:
                taken = await self._try(api, writer)
                if taken is False:
                    raise LeaseLost("another process holds the Lease")
                if taken:
                    wait = self._times.renew
            except TRANSIENT as error:
                log.warning("the Lease could not be renewed: %s: %s", type(error).__name__, error)
        raise LeaseExpired(f"the Lease could not be renewed for {self._times.deadline:g} s")

    async def release(self, api: Api, writer: Writer) -> None:
        """Give the Lease back, so that the next process need not wait for it to expire."""
        if not self.held():
            return
        self._renewed = float("-inf")
        try:
            body = await self._read(api)
            if body is not None and _spec(body).get("holderIdentity") == self._settings.identity:
                body["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._stamp()}
                await writer.lease(self._settings.namespace, body, create=False)
        except TRANSIENT as error:
            log.warning("the Lease could not be given back: %s", error)

    async def _read(self, api: Api) -> dict[str, Any] | None:
        try:
            return await api.get(r.LEASES.path(self._settings.namespace, self._settings.lease_name), dict[str, Any])
        except NotFound:
            return None

    async def _try(self, api: Api, writer: Writer) -> bool | None:
        """One round: True if the Lease is ours now, False if another process holds it, None if that is not known."""
        started = self._monotonic()
        async with asyncio.timeout(self._times.deadline / 4):
            body = await self._read(api)
            if body is not None and not self._free(_spec(body)):
                self.elsewhere = (body["metadata"].get("annotations") or {}).get(labels.ADDRESS, "")
                return False
            try:
                await writer.lease(self._settings.namespace, self._ours(body), create=body is None)
            except Conflict:
                return None  # somebody wrote it: another process, or we ourselves, by a request given up too early
        self._renewed, self.elsewhere = started, ""
        return True

    def _free(self, spec: dict[str, Any]) -> bool:
        holder = spec.get("holderIdentity", "")
        if holder in ("", self._settings.identity):
            return True
        renewal = f"{holder} {spec.get('renewTime')}"
        if renewal != self._seen[0]:
            self._seen = (renewal, self._monotonic())
        return self._monotonic() - self._seen[1] > float(spec.get("leaseDurationSeconds", self._times.duration))

    def _ours(self, body: dict[str, Any] | None) -> dict[str, Any]:
        stamp = self._stamp()
        address = {labels.ADDRESS: self._settings.address}
        metadata = {
            "name": self._settings.lease_name,
            "namespace": self._settings.namespace,
            "annotations": address,
        }
        spec = {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": round(self._times.duration),
            "renewTime": stamp,
        }
        if body is None:
            return {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": metadata,
                "spec": spec | {"acquireTime": stamp, "leaseTransitions": 0},
            }
        old = _spec(body)
        if old.get("holderIdentity") != self._settings.identity:
            spec |= {"acquireTime": stamp, "leaseTransitions": old.get("leaseTransitions", 0) + 1}
        known = body["metadata"]
        metadata = known | {"annotations": (known.get("annotations") or {}) | address}
        return body | {"metadata": metadata, "spec": old | spec}

    def _stamp(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _spec(lease: dict[str, Any]) -> dict[str, Any]:
    """What a Lease says; one that somebody made by hand may say nothing, and is free."""
    return lease.get("spec") or {}
