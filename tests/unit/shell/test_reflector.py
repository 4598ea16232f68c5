"""A reflector against an API server that misbehaves: whatever it answers, the store ends up right."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from answering import answering
from tidegate_cluster.api import Api
from tidegate_cluster.connection import Connection
from tidegate_cluster.reflector import Reflector
from tidegate_cluster.store import Store
from tidegate_contract import labels
from tidegate_operator.cluster import resources as r

Answer = Callable[[web.Request], Any]


def pod(name: str, version: int) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "ml",
            "uid": name,
            "resourceVersion": str(version),
            "labels": {labels.MODEL: "flights"},
        }
    }


def listing(version: int, *items: dict[str, Any], more: str = "") -> dict[str, Any]:
    return {"items": list(items), "metadata": {"resourceVersion": str(version), "continue": more}}


class Server:
    """Answers lists and watches from a script; when a script is at its end, watches stay open and silent."""

    def __init__(self) -> None:
        self.lists: list[dict[str, Any] | bytes | int] = []
        self.watches: list[list[dict[str, Any]] | bytes | int] = []
        self.asked: list[dict[str, str]] = []
        self.retry_after = ""
        self.hang_up = False
        """Watches end at once, with nothing said."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/api/v1/pods":
            raise web.HTTPNotFound
        self.asked.append(dict(request.query))
        script = self.watches if "watch" in request.query else self.lists
        answer = script.pop(0) if script else []
        if self.hang_up and "watch" in request.query and answer:
            return web.Response()
        if isinstance(answer, int):
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            return web.json_response({"message": "no", "code": answer}, status=answer, headers=headers)
        if isinstance(answer, dict):
            return web.json_response(answer)
        if isinstance(answer, bytes):
            return web.Response(body=answer, content_type="application/json")
        response = web.StreamResponse()
        await response.prepare(request)
        for event in answer:
            await response.write(json.dumps(event).encode() + b"\n")
        if not answer:
            await asyncio.sleep(30)
        return response


class World:
    def __init__(self, server: Server, session: aiohttp.ClientSession, url: str) -> None:
        self.server = server
        self.store: Store[r.Pod] = Store(lambda key: None)
        self.task: asyncio.Task[None]
        self.restarts: list[str] = []
        api = Api(Connection(url, session), lambda verb, code: None)
        self.reflector = Reflector(
            api, r.PODS, self.store, namespace="", selector=r.SELECTOR, restarted=self.restarts.append
        )

    async def settles(self, *names: str) -> None:
        """Wait until the store holds exactly these pods and the server's scripts are used up."""
        async with asyncio.timeout(5):
            while self.server.lists or self.server.watches or self.names() != set(names):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def names(self) -> set[str]:
        return {key[1] for key in self.store}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    server = Server()
    async with answering(server.handle) as url, aiohttp.ClientSession() as session:
        made = World(server, session, url)
        made.task = asyncio.create_task(made.reflector.run())
        yield made
        made.task.cancel()
        await asyncio.gather(made.task, return_exceptions=True)


async def test_it_lists_in_pages_and_goes_on_watching_from_there(world: World) -> None:
    world.server.lists = [listing(5, pod("a", 1), more="next"), listing(5, pod("b", 2))]
    world.server.watches = [
        [{"type": "ADDED", "object": pod("c", 6)}, {"type": "DELETED", "object": pod("a", 7)}],
    ]
    await world.settles("b", "c")
    assert [asked.get("continue") for asked in world.server.asked[:2]] == [None, "next"]
    watches = [asked["resourceVersion"] for asked in world.server.asked if "watch" in asked]
    assert watches[:1] == ["5"]
    assert world.reflector.synced.is_set()


async def test_a_bookmark_moves_the_place_to_go_on_from(world: World) -> None:
    world.server.lists = [listing(5)]
    world.server.watches = [[{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "99"}}}], []]
    await world.settles()
    await asyncio.sleep(0.05)
    assert [asked["resourceVersion"] for asked in world.server.asked if "watch" in asked] == ["5", "99"]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(410, id="410 as an answer"),
        pytest.param([{"type": "ERROR", "object": {"code": 410, "message": "too old"}}], id="410 as an event"),
        pytest.param([{"type": "ERROR", "object": {"code": 500, "message": "no"}}], id="another ERROR event"),
        pytest.param(500, id="500"),
        pytest.param(429, id="429"),
        pytest.param(403, id="403"),
        pytest.param([{"type": "ADDED", "object": {"metadata": 7}}], id="nonsense"),
        pytest.param([{"type": "BOOKMARK", "object": {"metadata": {}}}], id="a bookmark of no place"),
        pytest.param(b'{"type": "ADDED\xff"}\n', id="no text"),
        pytest.param(b"<html>sorry</html>\n", id="HTML"),
    ],
)
async def test_after_a_gap_it_lists_again_and_what_is_gone_is_deleted(world: World, broken: Any) -> None:
    world.server.lists = [listing(5, pod("a", 1), pod("b", 2)), listing(9, pod("b", 2), pod("c", 8))]
    world.server.watches = [broken, []]
    await world.settles("b", "c")
    assert world.restarts == ["pods"]


async def test_a_list_that_fails_is_tried_again(world: World) -> None:
    world.server.lists = [500, 503, listing(5, pod("a", 1))]
    await world.settles("a")


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"items": [], "metadata": {}}, id="without a version"),
        pytest.param({"items": [], "metadata": {"resourceVersion": ""}}, id="with an empty version"),
        pytest.param({"items": [], "metadata": {"resourceVersion": "new"}}, id="with a version that is no number"),
        pytest.param(b"<html>sorry</html>", id="HTML"),
        pytest.param(b'{"items": [], "metadata": {"resourceVersion": "5\xff"}}', id="no text"),
    ],
)
async def test_a_list_that_cannot_be_read_is_tried_again(world: World, broken: dict[str, Any] | bytes) -> None:
    world.server.lists = [broken, listing(5, pod("a", 1))]
    await world.settles("a")
    assert not world.task.done()


@pytest.mark.parametrize(
    "broken",
    [pytest.param(b'"b\xff"', id="no text"), pytest.param(b"7", id="another type")],
)
async def test_an_object_that_cannot_be_read_hides_none_of_the_others(world: World, broken: bytes) -> None:
    shown = json.dumps(listing(5, pod("a", 1), pod("b", 2)))
    world.server.lists = [shown.encode().replace(b'"b"', broken)]
    event = json.dumps({"type": "ADDED", "object": pod("b", 6)})
    world.server.watches = [event.encode().replace(b'"b"', broken) + b"\n", [{"type": "ADDED", "object": pod("c", 7)}]]
    await world.settles("a", "c")
    assert world.restarts == []


async def test_a_version_that_is_no_number_hides_none_of_the_others(world: World) -> None:
    strange = pod("b", 2)
    strange["metadata"]["resourceVersion"] = "x"
    world.server.lists = [listing(5, pod("a", 1), strange)]
    world.server.watches = [[{"type": "ADDED", "object": pod("c", 7)}]]
    await world.settles("a", "c")
    assert world.restarts == []


async def test_an_event_of_any_size_is_read(world: World) -> None:
    large = pod("a", 6)
    large["metadata"]["annotations"] = {"x": "y" * 300_000}
    world.server.lists = [listing(5)]
    world.server.watches = [[{"type": "ADDED", "object": large}], []]
    await world.settles("a")


@pytest.mark.parametrize("broken", [pytest.param(429, id="429"), pytest.param(410, id="410")])
async def test_a_watch_that_never_works_is_tried_ever_more_slowly(world: World, broken: int) -> None:
    """A list that succeeds in between must not make it hurry: each one costs the API server more than the watch."""
    world.server.lists = [listing(5) for _ in range(6)]
    world.server.watches = [broken] * 5
    started = asyncio.get_running_loop().time()
    await world.settles()
    assert asyncio.get_running_loop().time() - started > 1.5


async def test_a_pause_that_the_api_server_asks_for_is_kept(world: World) -> None:
    world.server.lists, world.server.retry_after = [503, listing(5, pod("a", 1))], "1"
    await asyncio.sleep(0.8)
    assert len(world.server.asked) == 1
    await world.settles("a")


async def test_a_watch_that_is_hung_up_on_at_once_is_not_opened_again_at_once(world: World) -> None:
    world.server.lists = [listing(5)]
    world.server.watches = [204] * 4
    world.server.hang_up = True
    started = asyncio.get_running_loop().time()
    await world.settles()
    assert asyncio.get_running_loop().time() - started > 0.3
