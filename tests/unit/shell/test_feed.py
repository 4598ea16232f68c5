"""kopf itself against an API server that misbehaves: it goes on whatever is answered, and the feed tells of all."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import kopf
import pytest
from aiohttp import web

from answering import answering
from plane import certs
from tidegate_cluster import reflector
from tidegate_cluster.connection import connect
from tidegate_contract import names
from tidegate_operator import clock
from tidegate_operator.cluster.feed import Feed
from tidegate_operator.shell import kopf_settings

GROUP = f"/apis/{names.GROUP}/{names.VERSION}"
COLLECTION = f"{GROUP}/{names.PLURAL}"


def group(name: str, version: str) -> dict[str, Any]:
    versions = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [versions], "preferredVersion": versions}


def kind(name: str, plural: str) -> dict[str, Any]:
    verbs = ["get", "list", "watch"]
    return {"name": plural, "singularName": name.lower(), "namespaced": True, "kind": name, "verbs": verbs}


DISCOVERED: dict[str, dict[str, Any]] = {
    "/api": {"versions": ["v1"]},
    "/api/v1": {"resources": [kind("Namespace", "namespaces")]},
    "/apis": {"groups": [group(names.GROUP, names.VERSION), group("apiextensions.k8s.io", "v1")]},
    "/apis/apiextensions.k8s.io/v1": {"resources": [kind("CustomResourceDefinition", "customresourcedefinitions")]},
    GROUP: {"resources": [kind(names.KIND, names.PLURAL)]},
}


def model(name: str, version: int) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ml", "uid": name, "resourceVersion": str(version)}
    return {"apiVersion": f"{names.GROUP}/{names.VERSION}", "kind": names.KIND, "metadata": metadata, "spec": {}}


def page(*items: dict[str, Any], version: int = 5, more: str = "") -> web.Response:
    return web.json_response({"items": items, "metadata": {"resourceVersion": str(version), "continue": more}})


def refused(code: int) -> web.Response:
    return web.json_response({"kind": "Status", "message": "no", "code": code}, status=code)


def html(code: int = 200) -> web.Response:
    return web.Response(text="<html>sorry</html>\n", content_type="text/html", status=code)


def text(body: bytes, code: int = 200, content_type: str = "application/json") -> web.Response:
    return web.Response(body=body, content_type=content_type, status=code)


def event(type: str, thing: dict[str, Any]) -> bytes:
    return json.dumps({"type": type, "object": thing}).encode() + b"\n"


class Hangup:
    """Half an answer, or none."""

    def __init__(self, said: bytes) -> None:
        self.said = said


class Server:
    """Answers lists and watches from a script; at its end, lists show what there is, and watches say nothing."""

    def __init__(self) -> None:
        self.lists: list[web.Response | Hangup] = []
        self.watches: list[web.Response | list[bytes]] = []
        self.there: list[dict[str, Any]] = []
        self.unauthorized: tuple[str, ...] = ()
        """Paths that are answered 401."""
        self.requests = 0
        self.following = False
        """Whether the newest watch is one that says nothing."""
        self.asked: list[tuple[str, str]] = []
        """Each list with its `continue`, and each watch with its resourceVersion."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        if request.path in self.unauthorized:
            return refused(401)
        if request.path in DISCOVERED:
            return web.json_response(DISCOVERED[request.path])
        if request.path != COLLECTION:
            return refused(404)
        is_watch = "watch" in request.query
        place = request.query["resourceVersion"] if is_watch else request.query.get("continue", "")
        self.asked.append(("watch" if is_watch else "list", place))
        return await (self._watch(request) if is_watch else self._list(request))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        answer = self.lists.pop(0) if self.lists else page(*self.there, version=50)
        if not isinstance(answer, Hangup):
            return answer
        response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
        if answer.said:
            await response.prepare(request)
            await response.write(answer.said)
        assert request.transport
        request.transport.abort()
        return response

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        answer = self.watches.pop(0) if self.watches else []
        self.following = answer == []
        if isinstance(answer, web.Response):
            return answer
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for line in answer:
            await response.write(line)
        if not answer:
            await asyncio.sleep(60)
        return response


class World:
    def __init__(self) -> None:
        self.server = Server()
        self.counted: Counter[tuple[str, int | None]] = Counter()
        self.seen: dict[str, str] = {}
        self.kopf: threading.Thread
        self.feed = Feed(lambda verb, code: self.counted.update([(verb, code)]))

    async def settles(self, **versions: str) -> None:
        """Wait until the feed has told of these models in these versions, the script is used up, and kopf lives."""
        async with asyncio.timeout(15):
            while self.server.lists or self.server.watches or self.seen != versions or not self.server.following:
                assert self.kopf.is_alive(), "kopf has ended"
                await asyncio.sleep(0.01)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """It has begun, and a script that is given at once is what kopf meets first."""
    made = World()
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        own = connect({}, clock.monotonic, made.feed, agent="test")
        return kopf.AiohttpSession(server=own.server, aiohttp_session=own.session)

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def feed(event: kopf.RawEvent, **_: Any) -> None:
        metadata = event["object"]["metadata"]
        made.seen[metadata["name"]] = metadata["resourceVersion"]

    stop = threading.Event()

    async def work() -> None:
        settings = kopf_settings()
        await kopf.operator(registry=registry, settings=settings, standalone=True, clusterwide=True, stop_flag=stop)

    # When it ends it takes every task of its loop that is younger than itself along, such as this fixture's end.
    made.kopf = threading.Thread(target=asyncio.run, args=(work(),))
    async with answering(made.server.handle) as url:
        (tmp_path / "config").write_text(certs.plain_kubeconfig(url))
        made.kopf.start()
        yield made
        stop.set()
        await asyncio.to_thread(made.kopf.join)


LATIN = "grüße".encode("latin-1")


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param([page(model("a", 1), more="next"), refused(410)], id="410 on the second page"),
        pytest.param([text(b'{"items": [], "kind": null, "metadata": {"resourceVersion": "5"}}')], id="no kind"),
        pytest.param([page({"metadata": {"resourceVersion": "1", "uid": []}})], id="a uid that is none"),
        *(
            pytest.param([web.Response(text='{"items": []}', charset=name, content_type="application/json")], id=name)
            for name in ("utf-16", "latin-1")
        ),
        pytest.param([refused(404), refused(404), refused(404)], id="404 for a while"),
        pytest.param([refused(400), refused(405), refused(409), refused(418)], id="other refusals"),
        pytest.param([web.Response(status=302, headers={"Location": "/"})], id="a redirection"),
        pytest.param([web.Response(status=204)], id="204"),
        pytest.param([html()], id="HTML"),
        pytest.param([html(404), html(502)], id="HTML that is an error"),
        pytest.param([text(LATIN, code=502, content_type="text/html")], id="an error in another encoding"),
        pytest.param([text(b"")], id="nothing"),
        pytest.param([text(b'{"items": [')], id="half a list"),
        pytest.param([Hangup(b'{"items": [')], id="half an answer"),
        pytest.param([Hangup(b"")], id="no answer"),
        pytest.param([text(b"{}")], id="no list"),
        pytest.param([text(b'{"items": null, "metadata": {"resourceVersion": "5"}}')], id="null for a list"),
        pytest.param([text(b'{"items": [7], "metadata": {"resourceVersion": "5"}}')], id="what is no object"),
        pytest.param([text(b'{"items": [], "metadata": {}}')], id="a list without a version"),
        pytest.param(
            [text(b'{"items": [], "kind": "' + LATIN + b'", "metadata": {"resourceVersion": "5"}}')], id="no text"
        ),
        pytest.param(
            [text(b'{"items": [], "metadata": {"resourceVersion": "5"}}', content_type="text/plain")],
            id="a list that is said to be text",
        ),
        pytest.param([refused(401), refused(403), refused(429), refused(500), refused(503)], id="busy, broken, closed"),
        pytest.param([text(b"[7]", code=code) for code in (401, 403, 429, 500)], id="a refusal that is a list"),
        pytest.param([text(b'{"kind": "Status", "details": "x"}', code=429)], id="details that are none"),
        pytest.param(
            [web.Response(status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})],
            id="a date to wait for",
        ),
        pytest.param([web.Response(status=429, headers={"Retry-After": "1e9"})], id="a number that is none"),
    ],
)
async def test_a_list_is_asked_for_until_it_can_be_read(world: World, broken: list[Any]) -> None:
    world.server.there = [model("a", 1), model("b", 2)]
    world.server.lists = list(broken)
    await world.settles(a="1", b="2")
    assert world.server.asked[-2:] == [("list", ""), ("watch", "50")]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(refused(410), id="410"),
        pytest.param(refused(404), id="404"),
        pytest.param(refused(400), id="400"),
        pytest.param(text(LATIN, code=404), id="404 in another encoding"),
        pytest.param(html(), id="HTML"),
        pytest.param([event("ERROR", {"code": 410})], id="410 as an event"),
        pytest.param([event("ERROR", {"code": 500, "message": "no"})], id="500 as an event"),
        pytest.param([event("ERROR", {})], id="an ERROR event without a code"),
        pytest.param([b"sorry\n"], id="a line that is no JSON"),
        pytest.param([b'{"type": "ADDED"}\n'], id="an event of nothing"),
        pytest.param([event("ADDED", {"metadata": 7})], id="nonsense"),
        pytest.param([event("ADDED", model("c?", 7)).replace(b"?", b"\xff")], id="no text"),
    ],
)
async def test_after_a_watch_that_cannot_be_followed_it_lists_anew(world: World, broken: Any) -> None:
    world.server.lists = [page(model("a", 1))]
    world.server.there = [model("a", 1), model("b", 2)]
    world.server.watches = [broken]
    await world.settles(a="1", b="2")
    assert world.server.asked == [("list", ""), ("watch", "5"), ("list", ""), ("watch", "50")]


@pytest.mark.parametrize("broken", [refused(429), refused(503), Hangup(b""), Hangup(b'{"items": [')])
async def test_a_busy_api_server_is_asked_for_the_same_page_again(world: World, broken: Any) -> None:
    """From the first one on, a list of many pages would hardly ever come to its end."""
    world.server.there = [model("b", 2)]
    world.server.lists = [page(model("a", 1), more="next"), broken]
    await world.settles(a="1", b="2")
    lists = [place for verb, place in world.server.asked if verb == "list"]
    assert lists == ["", *["next"] * (len(lists) - 1)]


@pytest.mark.parametrize(
    "broken",
    [
        *(pytest.param(refused(code), id=str(code)) for code in (401, 429, 500, 503)),
        pytest.param(html(502), id="HTML that is an error"),
        pytest.param(text(b"[7]", code=429), id="a refusal that is a list"),
        pytest.param(web.Response(status=429, headers={"Retry-After": "soon"}), id="words to wait for"),
    ],
)
async def test_after_an_answer_that_says_nothing_of_the_watch_it_goes_on_where_it_was(
    world: World, broken: web.Response
) -> None:
    """A list of everything is what an API server that is busy can do least with."""
    world.server.there = [model("a", 1)]
    world.server.watches = [broken]
    await world.settles(a="1")
    assert world.server.asked == [("list", ""), ("watch", "50"), ("watch", "50")]


async def test_it_waits_as_long_as_it_is_asked_to_but_not_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflector, "LONGEST_ASKED", 3.0)
    world.server.there = [model("a", 1)]
    world.server.lists = [web.Response(status=429, headers={"Retry-After": "86400"})]
    started = asyncio.get_running_loop().time()
    await world.settles(a="1")
    assert 3 <= asyncio.get_running_loop().time() - started < 8


async def test_a_watch_that_breaks_off_in_the_middle_of_a_line_goes_on_where_it_was(world: World) -> None:
    world.server.watches = [[event("ADDED", model("a", 61)), event("ADDED", model("b", 62))[:40]]]
    world.server.watches += [[event("ADDED", model("b", 62))]]
    await world.settles(a="61", b="62")
    assert world.server.asked[:3] == [("list", ""), ("watch", "50"), ("watch", "61")]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda: refused(410), id="410"),
        pytest.param(lambda: [event("ERROR", {"code": 500})], id="an ERROR event"),
        pytest.param(web.Response, id="hung up on"),
    ],
)
async def test_a_watch_that_never_works_is_tried_ever_more_slowly(world: World, broken: Callable[[], Any]) -> None:
    """A list that succeeds in between must not make it hurry."""
    world.server.there = [model("a", 1)]
    world.server.watches = [broken() for _ in range(5)]
    started = asyncio.get_running_loop().time()
    await world.settles(a="1")
    assert asyncio.get_running_loop().time() - started > 0.8


async def test_an_event_makes_the_next_pause_a_short_one(world: World) -> None:
    world.server.there = [model("a", 1)]
    world.server.watches = [[event("MODIFIED", model("a", 60 + number))] for number in range(8)]
    started = asyncio.get_running_loop().time()
    await world.settles(a="67")
    assert asyncio.get_running_loop().time() - started < 1.5


@pytest.mark.parametrize("paths", [("/api", "/apis"), (COLLECTION,)], ids=["from the start", "afterwards"])
async def test_while_a_token_is_refused_little_is_asked_and_then_it_goes_on(
    world: World, paths: tuple[str, ...]
) -> None:
    """kopf logs in anew at once, and each login is a session of its own."""
    world.server.there = [model("a", 1)]
    world.server.unauthorized = paths
    await asyncio.sleep(2.5)
    assert 4 <= world.server.requests <= 16
    world.server.unauthorized = ()
    await world.settles(a="1")


async def test_kopfs_requests_are_counted_like_ours(world: World) -> None:
    world.server.there = [model("a", 1)]
    world.server.lists = [refused(410), Hangup(b"")]
    world.server.watches = [refused(429)]
    await world.settles(a="1")
    async with asyncio.timeout(5):
        while not world.counted["watch", 200]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert world.counted.pop(("get", 200)) > 0
    assert world.counted.pop(("list", None)) >= 1  # aiohttp sends it again by itself, if the connection was not new
    assert world.counted == {("list", 410): 1, ("list", 200): 1, ("watch", 429): 1, ("watch", 200): 1}
