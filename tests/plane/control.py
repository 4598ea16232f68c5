"""The control plane: etcd, the API server and the controllers, from the one binary of the local cluster."""

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from cluster import build
from cluster.layout import Cache
from plane import certs, flags, install
from plane.audit import Audit
from plane.client import Client, tls
from plane.process import InPod
from plane.program import Cost, Program, ProgramError, free_ports, seconds_since

START_SECONDS = 60.0


class Plane:
    """One control plane; made and ended by `control_plane`."""

    def __init__(self, places: flags.Places, ports: flags.Ports, kube: Path) -> None:
        self.places = places
        self.ports = ports
        self.audit = Audit(places.audit_log)
        self.server = f"https://127.0.0.1:{ports.api}"
        self.admin = Client(self.server, tls(places.pki, certs.ADMIN))
        self.etcd = self._program("etcd", kube, flags.etcd(places, ports))
        self.api = self._program("kube-apiserver", kube, flags.apiserver(places, ports))
        self.controllers = self._program("kube-controller-manager", kube, flags.controller_manager(places, ports))

    @property
    def programs(self) -> tuple[Program, ...]:
        return self.etcd, self.api, self.controllers

    @property
    def in_pod(self) -> InPod:
        """Straight to the API server, as the operator's user."""
        return InPod(self.ports.api, self.places.account)

    def _program(self, name: str, kube: Path, arguments: list[str]) -> Program:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.places.folder), "LANG": "C.UTF-8"}
        return Program(name, [str(kube), name, *arguments], environment, self.places.logs / f"{name}.log")

    def costs(self) -> dict[str, Cost]:
        return {program.name: program.cost() for program in self.programs}

    async def start(self) -> None:
        self.etcd.start()
        await self._until("etcd listens", self._etcd_listens)
        await self.start_api()
        # Controllers that start before the API server has made its own roles give up.
        self.controllers.start()
        await install.install(self.admin)

    async def start_api(self) -> None:
        """Start the API server, on the port it always has, and wait until it is ready."""
        self.api.start()
        await self.until_ready()

    async def until_ready(self) -> None:
        await self._until("the API server is ready", self.admin.is_ready)

    async def forget_history(self) -> None:
        """Compact etcd and restart the API server, which keeps some history too: every older watch is answered 410."""
        revision = (await self._etcd("kv/range", {"key": "AA=="}))["header"]["revision"]
        self.api.kill()
        await self._etcd("kv/compaction", {"revision": revision, "physical": True})
        await self.start_api()

    async def _etcd(self, path: str, body: dict[str, object]) -> dict[str, dict[str, str]]:
        url = f"http://127.0.0.1:{self.ports.etcd}/v3/{path}"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
            response.raise_for_status()
            found: dict[str, dict[str, str]] = await response.json()
            return found

    async def _etcd_listens(self) -> bool:
        try:
            await self._etcd("kv/range", {"key": "AA=="})
        except (aiohttp.ClientError, TimeoutError):
            return False
        return True

    async def _until(self, what: str, check: Callable[[], Awaitable[bool]]) -> None:
        started = time.monotonic()
        while not await check():
            for program in self.programs:
                if program.exit_code is not None:
                    program.expect_running()
            if seconds_since(started) > START_SECONDS:
                raise ProgramError(f"{what}: not within {START_SECONDS:g} s, see {self.places.logs}")
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        await self.admin.close()
        for program in reversed(self.programs):
            program.kill()


@asynccontextmanager
async def control_plane(*, keep: bool = False) -> AsyncIterator[Plane]:
    """A control plane with the operator's CRDs and rights in it, and no operator.

    Its folder goes with it, unless `keep`.
    """
    folder = Path(tempfile.mkdtemp(prefix="tidegate-plane-"))
    ports = flags.Ports(*free_ports(4))
    plane = Plane(_laid_out(folder, ports), ports, _kube())
    try:
        await plane.start()
        yield plane
    finally:
        await plane.stop()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _laid_out(folder: Path, ports: flags.Ports) -> flags.Places:
    places = flags.Places(folder)
    places.logs.mkdir()
    places.audit_policy.write_text(flags.audit_policy())
    certs.make(places.pki)
    for user in certs.USERS:
        text = certs.kubeconfig(places.pki, user, f"https://127.0.0.1:{ports.api}")
        places.kubeconfig(user).write_text(text)
    token = secrets.token_hex(16)
    places.tokens.write_text(f"{token},{certs.OPERATOR},{certs.OPERATOR}\n")
    places.account.mkdir()
    (places.account / "token").write_text(token)
    shutil.copy(places.pki / "ca.crt", places.account / "ca.crt")
    return places


def _kube() -> Path:
    kube = build.folder(Cache.from_environment(os.environ), build.KUBE) / "kube"
    if not kube.exists():
        raise FileNotFoundError(f"{kube} is not built: `make cluster` does it")
    return kube
