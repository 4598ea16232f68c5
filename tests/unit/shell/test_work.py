"""What becomes of a look that fails, and of what was remembered when the Lease was lost."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from answering import ENVIRONMENT, answering
from tidegate_cluster.connection import Connection
from tidegate_operator import shell
from tidegate_operator.core.types import Identity, Status
from tidegate_operator.settings import read
from tidegate_operator.shell import Operator
from worlds import NOW

KEY = ("ml", "flights")
MODEL: dict[str, Any] = {
    "metadata": {"name": "flights", "namespace": "ml", "uid": "u", "resourceVersion": "1", "generation": 1},
    "spec": {"model": {"uri": "oci://registry.example/flights:1"}},
}


@asynccontextmanager
async def operator_before(answer: web.Response) -> AsyncIterator[Operator]:
    """An operator in front of an API server that always answers so."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async with answering(handle) as url, aiohttp.ClientSession() as session:
        yield Operator(read(ENVIRONMENT), Connection(url, session))


async def test_a_pause_that_the_api_server_asks_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with operator_before(web.Response(status=429, headers={"Retry-After": "7"})) as operator, asyncio.timeout(5):
        pauses: asyncio.Queue[float] = asyncio.Queue()
        monkeypatch.setattr(operator.queue, "mark_later", lambda _, seconds: pauses.put_nowait(seconds))
        operator.leading = True
        operator.seen("ADDED", MODEL)
        working = asyncio.create_task(operator.work())
        assert await pauses.get() == 7.0
        working.cancel()


async def test_a_spec_that_a_look_itself_reads_is_tried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the feed is blind only the look learns of it; the pause was for the spec before."""
    newer = {"metadata": MODEL["metadata"] | {"resourceVersion": "2", "generation": 2}, "spec": MODEL["spec"]}
    async with operator_before(web.json_response(newer)) as operator:
        forgiven: list[tuple[str, str]] = []
        operator.seen("ADDED", MODEL)
        monkeypatch.setattr(operator.queue, "forgive", forgiven.append)
        for _ in range(2):
            await operator.reconciler.read_model(KEY)
        assert forgiven == [KEY]


async def test_garbage_is_looked_for_again_though_the_caches_do_not_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API server may be away for days, and each try that fails leaves some."""
    monkeypatch.setattr(shell, "START_SECONDS", 0.05)
    async with operator_before(web.Response(status=503)) as operator:
        gc.disable()
        leading = asyncio.create_task(operator.lead())
        try:
            await asyncio.sleep(0.3)
            assert gc.isenabled()
            assert not operator.ready
        finally:
            gc.enable()
            leading.cancel()


async def test_a_process_that_leads_anew_asks_the_status_what_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    me, refused = Identity(*KEY, "u", 1), {("Service", "flights"): "no"}
    async with operator_before(web.Response(status=503)) as operator, asyncio.timeout(5):
        refusals = operator.refusals
        refusals.ended(KEY, me, {}, refused, NOW)
        assert refusals.known(KEY, me, Status()) == refused
        monkeypatch.setattr(operator.leader, "held", lambda: True)
        led = asyncio.Event()
        monkeypatch.setattr(operator.metrics.leader, "set", lambda _: led.set())
        for reflector in operator.reflectors:
            reflector.synced.set()
        leading = asyncio.create_task(operator.lead())
        await led.wait()
        await asyncio.sleep(0)
        leading.cancel()
        assert refusals.known(KEY, me, Status()) == {}
