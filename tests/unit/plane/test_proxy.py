"""The proxy between operator and API server: what it forwards, what it writes down, how it misbehaves."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from plane.proxy import (
    Action,
    Answer,
    Cut,
    CutLater,
    Delay,
    ErrorEvent,
    Incoming,
    Nonsense,
    Proxy,
    Write,
    content_hash,
    proxy,
)

PATH = "/api/v1/namespaces/a/services/s"


class Upstream:
    """Answers as an API server would, and remembers what reached it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.more = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.rel_url} {await request.text()}".strip())
        if "watch" not in request.query:
            return web.json_response({"kind": "Service"}, status=201)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":"ADDED"}\n')
        await self.more.wait()
        return response


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, Proxy]]:
    fake, app = Upstream(), web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with proxy(f"http://127.0.0.1:{runner.addresses[0][1]}", ssl.create_default_context()) as made:
        yield fake, made
    fake.more.set()
    await runner.cleanup()


async def send(made: Proxy, method: str, path: str, body: str = "") -> tuple[int, str]:
    """Code and text; 0 for no answer."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{made.server}{path}", data=body) as response,
        ):
            return response.status, await response.text()
    except aiohttp.ClientError:
        return 0, ""


def outcomes(made: Proxy) -> list[tuple[str, str, int, bool]]:
    return [(write.method, write.path, write.code, write.delivered) for write in made.writes]


async def test_a_request_goes_through_with_its_query_and_body(upstream: tuple[Upstream, Proxy]) -> None:
    fake, made = upstream
    assert await send(made, "PATCH", f"{PATH}?force=true", "{}") == (201, '{"kind": "Service"}')
    assert fake.seen == [f"PATCH {PATH}?force=true {{}}"]
    assert outcomes(made) == [("PATCH", PATH, 201, True)]


async def test_reads_and_the_lease_are_no_writes(upstream: tuple[Upstream, Proxy]) -> None:
    _, made = upstream
    await send(made, "GET", PATH)
    await send(made, "PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/l", "{}")
    assert made.writes == []


@pytest.mark.parametrize(
    ("action", "code", "reached", "noted"),
    [
        pytest.param(Answer(409), 409, 0, (0, False), id="an answer of its own keeps the request"),
        pytest.param(Cut(forwarded=False), 0, 0, (0, False), id="cut before it is forwarded"),
        pytest.param(Cut(forwarded=True), 0, 1, (201, False), id="cut after it was forwarded"),
        pytest.param(Delay(0.01), 201, 1, (201, True), id="a delay changes nothing else"),
        pytest.param(Nonsense(), 200, 0, (0, False), id="nonsense keeps the request"),
    ],
)
async def test_a_script_decides(
    upstream: tuple[Upstream, Proxy], action: Action, code: int, reached: int, noted: tuple[int, bool]
) -> None:
    fake, made = upstream
    made.script = lambda _: action
    assert (await send(made, "PATCH", PATH, "{}"))[0] == code
    assert len(fake.seen) == reached
    assert [(write.code, write.delivered) for write in made.writes] == [noted]


async def test_writes_are_numbered_from_one_and_nothing_else_is(upstream: tuple[Upstream, Proxy]) -> None:
    _, made = upstream
    seen: list[int] = []

    def script(incoming: Incoming) -> Action | None:
        seen.append(incoming.number)
        return None

    made.script = script
    for method in ("GET", "PATCH", "DELETE"):
        await send(made, method, PATH)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", (False, False)),
        ("?limit=100", (True, False)),
        ("?labelSelector=a", (True, False)),
        ("?watch=1", (False, True)),
    ],
)
async def test_a_script_is_told_what_is_a_list_and_what_a_watch(
    upstream: tuple[Upstream, Proxy], query: str, wanted: tuple[bool, bool]
) -> None:
    _, made = upstream
    seen: list[tuple[bool, bool]] = []

    def script(incoming: Incoming) -> Action | None:
        seen.append((incoming.is_list, incoming.is_watch))
        return Answer(500)

    made.script = script
    await send(made, "GET", f"/api/v1/services{query}")
    assert seen == [wanted]


async def test_what_happens_in_a_cut_happens_between_forwarding_and_hanging_up(
    upstream: tuple[Upstream, Proxy],
) -> None:
    fake, made = upstream
    reached: list[int] = []
    made.script = lambda _: Cut(True, lambda: reached.append(len(fake.seen)))
    await send(made, "PATCH", PATH)
    assert reached == [1]


async def test_open_watches_are_cut_and_new_ones_refused_until_told(upstream: tuple[Upstream, Proxy]) -> None:
    _, made = upstream
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{made.server}/api/v1/services?watch=1") as response:
            assert await response.content.readline() == b'{"type":"ADDED"}\n'
            made.refuse_watches = True
            assert made.cut_watches() == 1
            with pytest.raises(aiohttp.ClientError):
                await response.content.readline()
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{made.server}/api/v1/services?watch=1")
        assert (await send(made, "GET", "/api/v1/services"))[0] == 201
        made.refuse_watches = False
        async with session.get(f"{made.server}/api/v1/services?watch=1") as response:
            assert await response.content.readline() == b'{"type":"ADDED"}\n'


async def watched(made: Proxy) -> tuple[bytes, bool]:
    """What a watch says, and whether it is hung up on."""
    said = b""
    async with aiohttp.ClientSession() as session, session.get(f"{made.server}/api/v1/services?watch=1") as response:
        assert response.status == 200
        try:
            async for line in response.content:
                said += line
        except aiohttp.ClientError:
            return said, True
    return said, False


async def test_a_watch_can_begin_and_then_say_an_error(upstream: tuple[Upstream, Proxy]) -> None:
    fake, made = upstream
    made.script = lambda _: ErrorEvent(500)
    said, cut = await watched(made)
    event = json.loads(said)
    assert (event["type"], event["object"]["code"], cut) == ("ERROR", 500, False)
    assert fake.seen == []


async def test_a_watch_can_be_hung_up_on_after_a_while(upstream: tuple[Upstream, Proxy]) -> None:
    fake, made = upstream
    made.script = lambda _: CutLater(0.1)
    assert await watched(made) == (b'{"type":"ADDED"}\n', True)
    assert len(fake.seen) == 1
    assert made.cut_watches() == 0


async def test_nonsense_is_no_json_in_a_watch_either(upstream: tuple[Upstream, Proxy]) -> None:
    _, made = upstream
    made.script = lambda _: Nonsense()
    said, _ = await watched(made)
    assert said.endswith(b"\n")
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(said)


def test_the_content_is_the_same_whatever_version_it_is_meant_for() -> None:
    first = content_hash(b'{"metadata":{"name":"a","uid":"1"},"spec":{"x":1}}')
    assert first == content_hash(b'{"spec":{"x":1},"metadata":{"name":"a","resourceVersion":"7"}}')
    assert first != content_hash(b'{"metadata":{"name":"a"},"spec":{"x":2}}')


def test_only_the_same_content_twice_in_a_row_and_taken_both_times_is_double() -> None:
    def write(content: str, code: int = 200) -> Write:
        return Write(0.0, "PATCH", PATH, content, code, True)

    made = Proxy("http://unused", ssl.create_default_context())
    made.writes = [write("a"), write("b"), write("a"), write("b", 500), write("b")]
    assert made.doubles() == []
    made.writes += [write("b")]
    assert made.doubles() == [f"PATCH {PATH}"]
