"""What every scenario works with: the plane, ModelDeployments that need no pods, and waiting until all is quiet."""

import asyncio
import hashlib
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.scenarios.report import Report
from plane import certs, install
from plane.client import Object, tls
from plane.control import Plane
from plane.process import LeaseTimes, Operator
from plane.proxy import Proxy, proxy
from tidegate_contract import labels, names
from tidegate_operator.cluster import resources

NAMESPACE = "models"
QUIET_SECONDS = 1.5
SETTLE_SECONDS = 900.0


@dataclass(frozen=True)
class Options:
    short: bool
    objects: int
    """What the bars call 1,000."""
    kills: int
    seed: int


@dataclass
class World:
    """One plane and what is known of it."""

    plane: Plane
    options: Options
    report: Report

    def operator(
        self,
        kubeconfig: Path | None = None,
        *,
        identity: str = "",
        lease: LeaseTimes | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Operator:
        """An operator that was not started; straight to the API server unless a kubeconfig leads elsewhere."""
        return Operator(
            sys.executable,
            kubeconfig or self.plane.in_pod,
            self.plane.places.logs,
            identity=identity,
            lease=lease or LeaseTimes(),
            settings=settings,
        )

    @asynccontextmanager
    async def proxy(self, name: str = "proxy") -> AsyncIterator[tuple[Proxy, Path]]:
        """A proxy, and the kubeconfig that leads to it."""
        async with proxy(self.plane.server, tls(self.plane.places.pki, certs.OPERATOR)) as made:
            yield made, made.write_kubeconfig(self.plane.places.folder / f"{name}.kubeconfig")

    async def make_namespace(self, namespace: str) -> None:
        if await self.plane.admin.find(f"/api/v1/namespaces/{namespace}") is None:
            await self.plane.admin.create("/api/v1/namespaces", {"metadata": {"name": namespace}})

    async def remove_namespace(self, namespace: str) -> None:
        """Delete it with everything in it, and wait until it is gone."""
        await self.plane.admin.delete(f"/api/v1/namespaces/{namespace}")
        await until(
            f"namespace {namespace} gone",
            lambda: self._absent(f"/api/v1/namespaces/{namespace}"),
            seconds=120,
        )

    async def _absent(self, path: str) -> bool:
        return await self.plane.admin.find(path) is None

    async def create(self, wanted: Iterable[str], namespace: str = NAMESPACE) -> None:
        path = models_path(namespace)
        await asyncio.gather(*(self.plane.admin.create(path, model(name)) for name in wanted))

    async def edit(self, name: str, value: str, namespace: str = NAMESPACE) -> None:
        """Change the environment of a model's server, which makes a new revision of it."""
        template = {"env": [{"name": "BENCH", "value": value}]}
        await self.plane.admin.merge(models_path(namespace, name), {"spec": {"server": {"template": template}}})

    async def delete(self, name: str, namespace: str = NAMESPACE) -> None:
        await self.plane.admin.delete(models_path(namespace, name))

    async def models(self, namespace: str = NAMESPACE) -> list[Object]:
        return await self.plane.admin.items(models_path(namespace))

    async def children(self, namespace: str = NAMESPACE) -> dict[str, list[Object]]:
        """Everything that belongs to a model, by plural."""
        return {
            plural: await self.plane.admin.items(path, labels.MODEL) for plural, path in child_paths(namespace).items()
        }

    async def until_settled(
        self,
        count: int,
        namespace: str = NAMESPACE,
        *,
        quiet: float = QUIET_SECONDS,
        seconds: float = SETTLE_SECONDS,
        every: float = 0.5,
    ) -> None:
        """Wait until that many models are there, complete, and nothing is written any more."""
        end = time.monotonic() + seconds
        said = time.monotonic()
        while True:
            place = self.plane.audit.here()
            found = await self.models(namespace)
            done = sum(map(is_settled, found))
            if len(found) == count == done:
                await asyncio.sleep(quiet)
                if not self.plane.audit.writes(place):
                    return
            if time.monotonic() > end:
                for late in [one for one in found if not is_settled(one)][:3]:
                    self.report.say(f"not complete: {late['metadata']['name']}: {json.dumps(late.get('status'))}")
                raise TimeoutError(f"{done} of {len(found)} models are complete after {seconds:g} s, {count} wanted")
            if time.monotonic() - said > 15:
                said = time.monotonic()
                self.report.say(f"{done} of {count} complete")
            # A list of thousands takes the API server a while, which others are waiting for.
            await asyncio.sleep(max(every, count / 250))

    async def shows(self, name: str, value: str, namespace: str = NAMESPACE) -> bool:
        """Whether a Deployment of that model has the value of that edit."""
        found = await self.plane.admin.items(child_paths(namespace)["deployments"], f"{labels.MODEL}={name}")
        return value in edits(json.dumps(found, separators=(",", ":")).encode())


def has_external() -> bool:
    """Whether the CRD knows `scaling.mode: External`, with which nobody needs pods."""
    return '"External"' in json.dumps(install.definitions())


SCALING: Object = {"mode": "External", "replicas": 0} if has_external() else {"replicas": 0}


def model(name: str) -> Object:
    """A ModelDeployment with a pinned digest and no pods."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {"model": {"uri": "oci://registry.example/m:1", "digest": f"sha256:{digest}"}, "scaling": SCALING},
    }


def models_path(namespace: str = NAMESPACE, name: str = "") -> str:
    return resources.MODELS.path(namespace, name)


def child_paths(namespace: str = NAMESPACE) -> dict[str, str]:
    """Plural to path of everything that the operator may make: its children, and its own other kinds."""
    found = {resource.plural: resource.path(namespace) for resource in resources.CHILDREN.values()}
    for definition in install.definitions():
        spec = definition["spec"]
        plural = spec["names"]["plural"]
        if plural != names.PLURAL:
            version = spec["versions"][0]["name"]
            found[plural] = f"/apis/{spec['group']}/{version}/namespaces/{namespace}/{plural}"
    return found


def is_settled(found: Object) -> bool:
    """Whether the operator has seen the latest spec and has nothing left to do."""
    status = found.get("status", {})
    progressing = [c["status"] for c in status.get("conditions", []) if c["type"] == "Progressing"]
    return status.get("observedGeneration") == found["metadata"]["generation"] and progressing == ["False"]


_EDIT = re.compile(rb'"name":"BENCH","value":"([^"]*)"')


def edits(text: bytes) -> set[str]:
    """The values of all edits that a Deployment's JSON shows."""
    return {found.decode() for found in _EDIT.findall(text)}


class Sight:
    """Tells when the edits reach Deployments, by a watch of our own."""

    def __init__(self) -> None:
        self._expected: dict[str, asyncio.Future[float]] = {}

    async def follow(self, watched: AsyncIterator[bytes]) -> None:
        async for line in watched:
            for value in edits(line):
                if (future := self._expected.pop(value, None)) is not None:
                    future.set_result(time.monotonic())

    def expect(self, value: str) -> "asyncio.Future[float]":
        """The time at which a Deployment first shows this value; each may be used once."""
        return self._expected.setdefault(value, asyncio.get_running_loop().create_future())


@asynccontextmanager
async def sight(world: World, namespace: str = NAMESPACE) -> AsyncIterator[Sight]:
    seen = Sight()
    async with world.plane.admin.watch(child_paths(namespace)["deployments"]) as watched:
        task = asyncio.create_task(seen.follow(watched))
        try:
            yield seen
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def measured_edit(world: World, seen: Sight, name: str, value: str, *, seconds: float = 30.0) -> float:
    """Seconds from before an edit is sent until its Deployment shows it."""
    arrival = seen.expect(value)
    started = time.monotonic()
    await world.edit(name, value)
    return await asyncio.wait_for(arrival, seconds) - started


async def until(what: str, check: Callable[[], Awaitable[Any]], *, seconds: float, every: float = 0.05) -> float:
    """Wait until a check is truthy; returns the seconds that took."""
    started = time.monotonic()
    while not await check():
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        await asyncio.sleep(every)
    return time.monotonic() - started
