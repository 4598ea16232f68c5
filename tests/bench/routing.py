"""A router as it is in its pod, two processes on a core of their own, for the bench of routers.

The agent reads a pretended API server, by TLS and with a service account as in a cluster: its code and its memory are
those of the pod, where no kubeconfig is read and the `kubernetes` package is not there. Pods are processes on the other
core, and so are the clients and the API server.
"""

import asyncio
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp
from aiohttp import web

from bench import arrivals, cheap_pod
from bench.arrivals import Seen
from bench.load import post
from plane import certs
from plane.program import Program, free_ports
from processes import SOURCES
from routed import NAMESPACE, TOKEN, Cluster, Object, Pod, envoy
from tidegate_contract import names, router
from tidegate_contract.route import FIRST_PORT, LAST_PORT

ROUTER_CORE = 0
MODEL = "flights"
INFER = f"/v2/models/{MODEL}/infer"
STABLE, CANDIDATE = "aaaaaaaa", "bbbbbbbb"
PODS = {STABLE: ("127.0.7.1", "127.0.7.2"), CANDIDATE: ("127.0.7.3", "127.0.7.4")}
ASKED_SECONDS = 1.0
"""How often the operator asks, without which candidates have no weight."""

AS_IN_THE_POD = """
import runpy
from pathlib import Path
import tidegate_cluster.connection as connection
import tidegate_contract.router as router
connection.SERVICE_ACCOUNT, router.AGENT_PORT = Path({account!r}), {port}
runpy.run_module("tidegate_router", run_name="__main__", alter_sys=True)
"""
"""`python -m tidegate_router`, at a port that is free on this machine. `-m` is runpy, too."""


def body() -> bytes:
    """A row of 30 features, 2 kB."""
    tensors = [
        {"name": f"x{place}", "shape": [1], "datatype": "FP64", "data": [(place % 9 - 4) / 3]} for place in range(30)
    ]
    return json.dumps({"inputs": tensors}, separators=(",", ":")).encode()


REQUEST = post(INFER, body())


def route(port: int, generation: int, weight: int = 0, *, candidate: str = CANDIDATE) -> Object:
    """`weight`: the candidate's."""
    slots = {"a": {"revision": STABLE, "weight": 100 - weight}, "b": {"revision": candidate, "weight": weight}}
    return {"port": port, "generation": generation, "stable": "a", "slots": slots}


def ports(count: int) -> list[int]:
    """Of those that routes may have, from the end: tests take them from the start."""
    taken = {int(line.split()[1].rpartition(":")[2], 16) for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
    return [port for port in range(LAST_PORT, FIRST_PORT, -1) if port not in taken][:count]


def on_core(core: int, argv: list[str]) -> list[str]:
    return ["taskset", "--cpu-list", str(core), *argv]


def memory(pid: int, what: str = "VmRSS") -> int:
    """Bytes."""
    said = Path(f"/proc/{pid}/status").read_text().partition(f"{what}:")[2]
    return int(said.split()[0]) << 10


def cpu_seconds(pid: int) -> float:
    return _scheduled(pid)[0]


def waited_seconds(pid: int) -> float:
    """How long its threads could have run, and something else had the core."""
    return _scheduled(pid)[1]


def _scheduled(pid: int) -> tuple[float, float]:
    tasks = [task.read_text().split() for task in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    ran, waited = (sum(int(task[place]) for task in tasks) / 1e9 for place in (0, 1))
    return ran, waited


# ---------------------------------------------------------------- pods and clients


class ServingPod(Program):
    """One serving pod."""

    def __init__(self, folder: Path, ip: str, seconds: float = 0.0, status: int = 200) -> None:
        self.ip = ip
        flags = ["--seconds", str(seconds), "--status", str(status)]
        argv = [sys.executable, cheap_pod.__file__, ip, str(Pod.HTTP), ip, *flags]
        super().__init__(f"pod {ip}", argv, {"PATH": os.environ["PATH"]}, folder / f"pod-{ip}.log")

    async def wait(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(OSError):
                await self.count()
                return
            self.expect_running()
            await asyncio.sleep(0.02)
        raise TimeoutError(f"{self.name} is not ready")

    async def count(self) -> int:
        """How many requests it has been sent."""
        reader, writer = await asyncio.open_connection(self.ip, Pod.HTTP)
        writer.write(b"GET /count HTTP/1.1\r\nhost: bench\r\n\r\n")
        length = int((await reader.readuntil(b"\r\n\r\n")).lower().partition(b"content-length:")[2].split()[0])
        found = int(await reader.readexactly(length))
        writer.close()
        return found

    async def leave(self) -> None:
        """In good order."""
        self.signal(signal.SIGTERM)
        await asyncio.to_thread(self.wait_for_end, 10.0)


class Clients:
    """Those of one load, while they ask."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def seen(self) -> Seen:
        out, _ = await self._process.communicate()
        assert self._process.returncode == 0
        return Seen(**json.loads(out))


async def clients(port: int, ip: str = "127.0.0.1", **options: float) -> Clients:
    """See `arrivals.py` for the options."""
    flags = [f"--{name}={value}" for name, value in options.items()]
    argv = [sys.executable, arrivals.__file__, ip, str(port), *flags]
    process = await asyncio.create_subprocess_exec(*argv, stdin=-1, stdout=-1)
    assert process.stdin
    process.stdin.write(REQUEST)
    process.stdin.close()
    return Clients(process)


class Prober:
    """One connection to a model, which asks which generation sent the request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def generation(self) -> int:
        self._writer.write(REQUEST)
        length = int((await self._reader.readuntil(b"\r\n\r\n")).lower().partition(b"content-length:")[2].split()[0])
        answer = json.loads(await self._reader.readexactly(length))
        return int(answer.get("generation", 0))

    def close(self) -> None:
        self._writer.close()


# ---------------------------------------------------------------- the router


class Router:
    """Its two processes. The agent is `agent`, and Envoy is `envoy`; both can be killed and started again."""

    def __init__(self, folder: Path, server_port: int, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.port = free_ports(1)[0]
        (folder / "token").write_text(TOKEN)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": SOURCES,
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(server_port),
            router.ENV_NAMESPACE: NAMESPACE,
            names.ENV_POD_UID: "router-1",
            router.ENV_FOLDER: str(folder),
            router.ENV_TOKEN_FILE: str(folder / "token"),
            "SSL_CERT_FILE": "/dev/null",
            "MALLOC_ARENA_MAX": "1",
        }
        code = AS_IN_THE_POD.format(account=str(folder / "account"), port=self.port)
        agent = on_core(ROUTER_CORE, [sys.executable, "-P", "-c", code])
        self.agent = Program("agent", agent, environment, folder / "agent.log")
        told = json.dumps(router.bootstrap(PurePosixPath(folder), "router-1"))
        flags = ["--config-yaml", told, "--concurrency", "1", "--log-level", "warning", "--use-dynamic-base-id"]
        argv = on_core(ROUTER_CORE, [str(envoy()), *flags])
        self.envoy = Program("envoy", argv, {"PATH": os.environ["PATH"]}, folder / "envoy.log")

    async def ask(self, path: str) -> tuple[int, bytes]:
        """The agent."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with self._session.get(f"http://127.0.0.1:{self.port}{path}", headers=headers) as answer:
            return answer.status, await answer.read()

    async def signals(self) -> dict[str, Any]:
        """Of all models."""
        status, said = await self.ask("/signals")
        assert status == 200, said
        found: dict[str, Any] = json.loads(said)["models"]
        return found

    async def ready(self, seconds: float = 30.0) -> None:
        await until(self._is_ready, seconds, 0.01)

    async def _is_ready(self) -> bool:
        try:
            return (await self.ask("/ready"))[0] == 200
        except aiohttp.ClientError:
            return False

    async def runs(self, model: str, generation: int, seconds: float = 30.0) -> None:
        """Wait until it does, by what it says; seldom enough that the question does not hold it up."""

        async def does() -> bool:
            try:
                status, said = await self.ask("/signals")
            except aiohttp.ClientError:
                return False
            found = json.loads(said)["models"] if status == 200 else {}
            return bool(found.get(model, {}).get("generation", 0) >= generation)

        await until(does, seconds, 0.05)

    async def operator(self) -> None:
        """Ask as an operator does, for ever; what does not answer is asked again."""
        while True:
            with suppress(aiohttp.ClientError):
                await self.ask("/signals")
            await asyncio.sleep(ASKED_SECONDS)


async def until(holds: Callable[[], Coroutine[Any, Any, bool]], seconds: float, each: float) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if await holds():
                return
            await asyncio.sleep(each)


@contextmanager
def pods(folder: Path, *ips: str, seconds: float = 0.0, status: int = 200) -> Iterator[list[ServingPod]]:
    """Serving pods that are started; `seconds`: how long each answer takes; `status`: what it is."""
    found = [ServingPod(folder, ip, seconds, status) for ip in ips]
    try:
        for pod in found:
            pod.start()
        yield found
    finally:
        for pod in found:
            pod.kill()


def _service_account(folder: Path) -> ssl.SSLContext:
    """What a pod is given to reach the API server by; and what that one has."""
    folder.mkdir()
    account = folder / "account"
    certs.make(account)
    (account / "token").write_text("a service account's")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(account / "apiserver.crt", account / "apiserver.key")
    return context


@asynccontextmanager
async def routing(folder: Path, cluster: Cluster) -> AsyncIterator[Router]:
    """A router that is ready."""
    context = _service_account(folder)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", cluster.handle)
    server = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0, ssl_context=context).start()
    async with aiohttp.ClientSession() as session:
        router = Router(folder, server.addresses[0][1], session)
        try:
            router.agent.start()
            router.envoy.start()
            await router.ready()
            yield router
        finally:
            router.agent.kill()
            router.envoy.kill()
            await server.cleanup()


@asynccontextmanager
async def operated(router: Router) -> AsyncIterator[None]:
    """While an operator asks."""
    task = asyncio.create_task(router.operator())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
