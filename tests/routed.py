"""A router as it is in its pod, Envoy and agent, before a pretended API server and pretended serving pods."""

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp
from aiohttp import web

from answering import answering
from cluster.layout import Cache
from cluster.steps import Steps
from cluster.tools import envoy_program, install_envoy
from tidegate_cluster.connection import Connection
from tidegate_contract import labels, names
from tidegate_contract.route import FIRST_PORT, LAST_PORT
from tidegate_contract.router import DRAIN_SECONDS, ENV_FOLDER, bootstrap
from tidegate_router.__main__ import serve
from tidegate_router.settings import Settings
from tidegate_router.watch import MODELS, SLICES

NAMESPACE = "ml"
TOKEN = "a token of these routers"
Object = dict[str, Any]


def envoy() -> Path:
    """Its program, fetched once for each machine."""
    cache = Cache.from_environment(os.environ)
    for folder in (cache.locks, cache.logs):
        folder.mkdir(parents=True, exist_ok=True)
    install_envoy(cache, Steps())
    return envoy_program(cache)


class Cluster:
    """Objects of two kinds that can be listed and watched."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, Object]] = {MODELS.plural: {}, SLICES.plural: {}}
        self._watchers: dict[str, set[asyncio.Queue[Object | None]]] = {plural: set() for plural in self._objects}
        self._told: dict[str, list[Object]] = {plural: [] for plural in self._objects}
        """Of each kind, all that has happened: a watch goes on from where it was."""
        self._version = 1
        self._away = False
        self.forbidden = False
        """It lets nobody read."""

    @property
    def away(self) -> bool:
        """It answers nothing, and ends its watches."""
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        for queue in set().union(*self._watchers.values()) if away else ():
            queue.put_nowait(None)

    def put(self, plural: str, name: str, **parts: Any) -> None:
        self._version += 1
        known = self._objects[plural].get(name)
        metadata = {"name": name, "namespace": NAMESPACE, "uid": name, "resourceVersion": str(self._version)}
        metadata["labels"] = parts.pop("labels", {})
        self._objects[plural][name] = {"metadata": metadata, **parts}
        self._tell(plural, "MODIFIED" if known else "ADDED", self._objects[plural][name])

    def remove(self, plural: str, name: str) -> None:
        self._version += 1
        gone = self._objects[plural].pop(name)
        gone["metadata"]["resourceVersion"] = str(self._version)
        self._tell(plural, "DELETED", gone)

    def model(self, name: str, route: Object | None) -> None:
        self.put(MODELS.plural, name, status={"route": route} if route else {})

    def slice(self, model: str, revision: str, endpoints: Sequence[Object]) -> None:
        """All pods of a version."""
        told = {labels.MODEL: model, labels.REVISION: revision}
        ports = [{"name": "http", "port": Pod.HTTP}, {"name": "metrics", "port": Pod.METRICS}]
        self.put(SLICES.plural, f"{model}-{revision}", labels=told, endpoints=list(endpoints), ports=ports)

    def _tell(self, plural: str, kind: str, what: Object) -> None:
        event = json.loads(json.dumps({"type": kind, "object": what}))
        self._told[plural].append(event)
        for queue in self._watchers[plural]:
            queue.put_nowait(event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        plural = request.path.rpartition("/")[2]
        if self.away:
            raise web.HTTPServiceUnavailable
        if self.forbidden:
            raise web.HTTPForbidden
        if "watch" not in request.query:
            metadata = {"resourceVersion": str(self._version)}
            return web.json_response({"items": list(self._objects[plural].values()), "metadata": metadata})
        response = web.StreamResponse()
        queue: asyncio.Queue[Object | None] = asyncio.Queue()
        for event in self._told[plural]:
            if int(event["object"]["metadata"]["resourceVersion"]) > int(request.query["resourceVersion"]):
                queue.put_nowait(event)
        self._watchers[plural].add(queue)
        await response.prepare(request)
        try:
            with suppress(ConnectionResetError):  # whoever watched is gone
                while (news := await queue.get()) is not None:
                    await response.write(json.dumps(news).encode() + b"\n")
            return response
        finally:
            self._watchers[plural].discard(queue)


def endpoint(pod: "Pod", *, ready: bool = True, serving: bool = True, terminating: bool = False) -> Object:
    conditions = {"ready": ready, "serving": serving, "terminating": terminating}
    return {"addresses": [pod.ip], "conditions": conditions}


@dataclass
class Pod:
    """A serving pod that answers everything with its own name, and remembers what it was asked."""

    HTTP = 18080
    METRICS = 19090

    ip: str
    name: str = ""
    status: int = 200
    seen: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Path and headers of each request, but for those of the router itself."""
    seconds: float = 0.0
    ready: int = 200
    """What it says of itself when the router asks."""
    ready_seconds: float = 0.0
    checked: int = 0
    """How often it was asked that, and ..."""
    checking: int = 0
    """... how many wait for it."""
    _runner: web.AppRunner | None = None

    async def start(self) -> "Pod":
        app = web.Application(client_max_size=32 << 20)
        app.router.add_route("GET", "/v2/models/{model}/ready", self._ready)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        for port in (self.HTTP, self.METRICS):
            await web.TCPSite(self._runner, self.ip, port).start()
        return self

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _ready(self, request: web.Request) -> web.Response:
        assert names.EVIDENCE_HEADER not in request.headers
        self.checked += 1
        self.checking += 1
        try:
            await asyncio.sleep(self.ready_seconds)
        finally:
            self.checking -= 1
        return web.json_response({"ready": self.ready == 200}, status=self.ready)

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.seen.append((request.path, request.headers))
        await asyncio.sleep(self.seconds)
        return web.json_response({"pod": self.name, "bytes": len(body)}, status=self.status)


def free_port() -> int:
    """One of those that routes may have."""
    for port in random.sample(range(FIRST_PORT, LAST_PORT), LAST_PORT - FIRST_PORT):  # another checkout's tests may run
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")


class Router:
    """Both processes, the agent in the test's own loop."""

    def __init__(self, folder: Path, api: Connection) -> None:
        self.folder = folder
        self._api = api
        (folder / "token").write_text(TOKEN)
        self._settings = Settings(NAMESPACE, "router-1", PurePosixPath(folder), folder / "token")
        with socket.socket() as tried:
            tried.bind(("127.0.0.1", 0))
            self.port: int = tried.getsockname()[1]
        self._stopped = asyncio.Event()
        self._agent: asyncio.Task[None] | None = None
        self.envoy: subprocess.Popen[bytes] | None = None
        self.session = aiohttp.ClientSession()

    def start_envoy(self) -> None:
        told = json.dumps(bootstrap(PurePosixPath(self.folder), "router-1"))
        command: list[str | Path] = [envoy(), "--config-yaml", told, "--concurrency", "1", "--log-level", "warning"]
        command += ["--drain-strategy", "immediate", "--drain-time-s", str(DRAIN_SECONDS)]
        with (self.folder / "envoy.log").open("ab") as log:
            self.envoy = subprocess.Popen([*command, "--use-dynamic-base-id"], stdout=log, stderr=log)

    def kill_envoy(self) -> None:
        if self.envoy:
            self.envoy.kill()
            self.envoy.wait()

    def start_agent(self) -> None:
        self._stopped = asyncio.Event()
        self._agent = asyncio.create_task(serve(self._settings, self._api, self.port, self._stopped))

    async def stop_agent(self) -> None:
        self._stopped.set()
        if self._agent:
            await self._agent

    async def ask(self, path: str, **headers: str) -> tuple[int, str]:
        """The agent."""
        async with self.session.get(f"http://127.0.0.1:{self.port}{path}", headers=headers) as answer:
            return answer.status, await answer.text()

    def drain(self) -> int:
        """What the kubelet runs before the pod ends; its exit code."""
        environment = {**os.environ, ENV_FOLDER: str(self.folder)}
        return subprocess.run([sys.executable, "-m", "tidegate_router.drain"], env=environment, check=False).returncode

    async def signals(self, query: str = "") -> Object:
        status, text = await self.ask(f"/signals{query}", Authorization=f"Bearer {TOKEN}")
        assert status == 200, text
        found: Object = json.loads(text)
        return found

    async def ready(self, seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    if (await self.ask("/ready"))[0] == 200:
                        return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)

    async def infer(self, port: int, path: str = "/v2/models/flights/infer", **options: Any) -> tuple[int, Object]:
        """Ask a model by a new connection."""
        options.setdefault("data", b"{}")
        headers = {"Connection": "close"} | options.pop("headers", {})
        async with self.session.post(f"http://127.0.0.1:{port}{path}", headers=headers, **options) as answer:
            return answer.status, await answer.json()

    async def close(self) -> None:
        await self.stop_agent()
        self.kill_envoy()
        await self.session.close()


@asynccontextmanager
async def routed(folder: Path, cluster: Cluster) -> AsyncIterator[Router]:
    """A router that is ready."""
    async with answering(cluster.handle) as url, aiohttp.ClientSession() as session:
        router = Router(folder, Connection(url, session))
        try:
            router.start_agent()
            router.start_envoy()
            await router.ready()
            yield router
        finally:
            await router.close()
