"""One key, made once; from it the token of each namespace, and a Secret that is written only where it is wrong."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from answering import answering
from tidegate_cluster.api import Api, ApiError, Conflict, NotFound
from tidegate_cluster.connection import Connection
from tidegate_contract import labels
from tidegate_operator.cluster import resources as r
from tidegate_operator.core.children import owner
from tidegate_operator.core.types import ABSENT, Identity, Manifest
from tidegate_operator.keys import KEY_BYTES, SecretInTheWay, Tokens, token_of
from tidegate_operator.writer import NotLeader, Writer

HOME = "/api/v1/namespaces/tidegate/secrets/tidegate-key"
THERE = "/api/v1/namespaces/ml/secrets/tidegate-router"
NAMESPACE = "/api/v1/namespaces/ml"
KEY = bytes(range(32))
TOKEN = token_of(KEY, "uid-ml")
FLIGHTS, TRAINS = (owner(Identity("ml", name, f"uid-{name}", 1)) for name in ("flights", "trains"))
LABELLED = {labels.COMPONENT: labels.ROUTER}


def encoded(content: bytes | str) -> str:
    return base64.b64encode(content.encode() if isinstance(content, str) else content).decode()


class Server:
    """An API server that keeps what it is told, with ABSENT and resourceVersion as its guards."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {NAMESPACE: {"metadata": {"name": "ml", "uid": "uid-ml"}}}
        self.version = 10
        self.reads: list[str] = []
        self.writes: list[tuple[str, Manifest]] = []
        self.faster: dict[str, Any] | None = None
        """What somebody else makes just before the next write."""
        self.status = 0
        """What it answers instead."""

    def put(self, path: str, data: dict[str, str], **metadata: Any) -> None:
        self.version += 1
        whole = {"name": path.rpartition("/")[2], "uid": path, "resourceVersion": str(self.version)} | metadata
        self.objects[path] = {"metadata": whole, "data": data}

    async def handle(self, request: web.Request) -> web.Response:
        path = request.path
        if self.status:
            return web.Response(status=self.status)
        if request.method == "GET":
            self.reads.append(path)
            return web.json_response(self.objects[path]) if path in self.objects else web.Response(status=404)
        manifest = await request.json()
        assert (request.method, request.content_type) == ("PATCH", "application/apply-patch+yaml")
        assert dict(request.query) == {"fieldManager": r.MANAGER, "force": "true"}
        if self.faster is not None:
            self.put(path, self.faster)
            self.faster = None
        known = self.objects.get(path, {"metadata": {"resourceVersion": ABSENT}})
        if manifest["metadata"].get("resourceVersion", ABSENT) != known["metadata"]["resourceVersion"]:
            return web.Response(status=409)
        self.writes.append((path, manifest))
        metadata = {name: manifest["metadata"][name] for name in ("labels", "ownerReferences")}
        self.put(path, manifest["data"], **metadata)
        return web.json_response(self.objects[path])


@pytest.fixture
async def world() -> AsyncIterator[tuple[Server, Tokens]]:
    server = Server()
    async with answering(server.handle) as url, aiohttp.ClientSession() as session:
        yield server, tokens(Connection(url, session))


def tokens(connection: Connection, *, leads: bool = True) -> Tokens:
    api = Api(connection, lambda verb, code: None)
    return Tokens(api, Writer(connection, lambda: leads, lambda verb, code: None), "tidegate")


World = tuple[Server, Tokens]


def test_a_namespace_and_a_key_have_one_token_and_others_have_others() -> None:
    found = [token_of(key, uid) for key in (KEY, KEY[::-1]) for uid in ("uid-ml", "uid-other")]
    assert len({*found, token_of(KEY, "uid-ml")}) == 4
    assert all(len(token) == 64 for token in found)


async def test_a_key_that_is_there_is_read_once(world: World) -> None:
    server, found = world
    server.put(HOME, {"key": encoded(KEY)})
    assert [await found.token("ml") for _ in range(3)] == [TOKEN] * 3
    assert server.reads == [NAMESPACE, HOME]
    assert server.writes == []


async def test_a_key_that_is_not_there_is_made_by_whoever_leads(world: World) -> None:
    server, found = world
    token = await found.token("ml")
    [(path, manifest)] = server.writes
    key = base64.b64decode(manifest["data"]["key"])
    assert (path, len(key), token) == (HOME, KEY_BYTES, token_of(key, "uid-ml"))
    assert manifest == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "tidegate-key",
            "namespace": "tidegate",
            "labels": {},
            "ownerReferences": [],
            "resourceVersion": ABSENT,
        },
        "type": "Opaque",
        "data": {"key": encoded(key)},
    }
    assert await found.token("ml") == token


async def test_of_two_that_make_a_key_both_have_the_first(world: World) -> None:
    server, found = world
    server.faster = {"key": encoded(KEY)}
    assert await found.token("ml") == TOKEN
    assert server.writes == []


async def test_all_namespaces_at_once_make_one_key(world: World) -> None:
    server, found = world
    names = [f"ml-{number}" for number in range(20)]
    server.objects |= {f"/api/v1/namespaces/{name}": {"metadata": {"name": name, "uid": name}} for name in names}
    made = await asyncio.gather(*(found.token(name) for name in names))
    assert len(set(made)) == 20
    assert len(server.writes) == 1
    assert server.reads.count(HOME) == 2, "before and after"


async def test_without_the_lease_no_key_is_made() -> None:
    server = Server()
    async with answering(server.handle) as url, aiohttp.ClientSession() as session:
        with pytest.raises(NotLeader):
            await tokens(Connection(url, session), leads=False).token("ml")
    assert server.writes == []


@pytest.mark.parametrize(
    "data",
    [{}, {"key": ""}, {"key": "no base64!"}, {"key": encoded(b"short")}, {"other": encoded(KEY)}],
    ids=["nothing", "empty", "no base64", "too short", "another name"],
)
async def test_a_secret_without_a_key_is_not_touched(world: World, data: dict[str, str]) -> None:
    server, found = world
    server.put(HOME, data)
    with pytest.raises(SecretInTheWay, match="tidegate/tidegate-key has no key of 32 bytes"):
        await found.token("ml")
    assert server.writes == []


async def test_a_namespace_that_is_gone_has_no_token(world: World) -> None:
    server, found = world
    assert await found.token("gone") is None
    with pytest.raises(NotFound):
        await found.ensure("gone", [FLIGHTS])
    assert server.writes == []


async def test_the_api_servers_answers_are_raised_and_asked_for_again(world: World) -> None:
    server, found = world
    server.put(HOME, {"key": encoded(KEY)})
    server.status = 503
    with pytest.raises(ApiError, match="503"):
        await found.token("ml")
    server.status = 0
    assert await found.token("ml") == TOKEN


# -------------------------------------------------------------------- the Secret of the routers


async def test_the_secret_of_the_routers_holds_their_token_and_goes_with_their_models(world: World) -> None:
    server, found = world
    server.put(HOME, {"key": encoded(KEY)})
    await found.ensure("ml", [FLIGHTS, TRAINS])
    metadata = {
        "name": "tidegate-router",
        "namespace": "ml",
        "labels": LABELLED,
        "ownerReferences": [FLIGHTS, TRAINS],
        "resourceVersion": ABSENT,
    }
    data = {"token": encoded(TOKEN)}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}
    assert server.writes == [(THERE, manifest)]


OURS: dict[str, Any] = {"labels": LABELLED, "ownerReferences": [FLIGHTS, TRAINS]}
MANAGED = {"managedFields": [{"manager": r.MANAGER, "operation": "Apply", "fieldsV1": {}}]}
FOUND: dict[str, tuple[str, dict[str, Any], bool]] = {
    "all is right": (TOKEN, OURS, False),
    "in another order": (TOKEN, OURS | {"ownerReferences": [TRAINS, FLIGHTS]}, False),
    "another token": ("", OURS, True),
    "an owner is missing": (TOKEN, OURS | {"ownerReferences": [FLIGHTS]}, True),
    "an owner more, whoever says so": (
        TOKEN,
        OURS | {"ownerReferences": [FLIGHTS, TRAINS, {"uid": "uid-planes"}]},
        False,
    ),
    "somebody took its label": (TOKEN, OURS | {"labels": {}} | MANAGED, True),
}


@pytest.mark.parametrize(("token", "metadata", "written"), FOUND.values(), ids=FOUND)
async def test_it_is_written_only_where_it_is_wrong(
    world: World, token: str, metadata: dict[str, Any], written: bool
) -> None:
    server, found = world
    server.put(HOME, {"key": encoded(KEY)})
    server.put(THERE, {"token": encoded(token)}, **metadata)
    for _ in range(2):
        await found.ensure("ml", [FLIGHTS, TRAINS])
    assert len(server.writes) == written
    assert server.objects[THERE]["data"] == {"token": encoded(TOKEN)}


async def test_one_that_is_right_costs_one_read(world: World) -> None:
    server, found = world
    await found.ensure("ml", [FLIGHTS])
    server.reads.clear()
    await found.ensure("ml", [FLIGHTS])
    assert server.reads == [THERE]


async def test_one_of_that_name_that_is_not_ours_is_not_touched(world: World) -> None:
    server, found = world
    server.put(HOME, {"key": encoded(KEY)})
    server.put(THERE, {"password": encoded("mine")})
    with pytest.raises(SecretInTheWay, match="ml/tidegate-router is not the operator's"):
        await found.ensure("ml", [FLIGHTS])
    assert server.writes == []


async def test_one_that_somebody_makes_meanwhile_is_not_touched(world: World) -> None:
    server, found = world
    server.put(HOME, {"key": encoded(KEY)})
    server.faster = {"password": encoded("mine")}
    with pytest.raises(Conflict):
        await found.ensure("ml", [FLIGHTS])
    assert server.writes == []


async def test_a_namespace_that_was_made_anew_has_another_token(world: World) -> None:
    server, found = world
    server.put(HOME, {"key": encoded(KEY)})
    await found.ensure("ml", [FLIGHTS])
    del server.objects[THERE]
    server.objects[NAMESPACE] = {"metadata": {"name": "ml", "uid": "uid-new"}}
    await found.ensure("ml", [FLIGHTS])
    assert server.objects[THERE]["data"] == {"token": encoded(token_of(KEY, "uid-new"))}
    assert await found.token("ml") == token_of(KEY, "uid-new")


async def test_what_another_process_wrote_for_a_namespace_that_was_made_anew_stays(world: World) -> None:
    server, found = world
    server.put(HOME, {"key": encoded(KEY)})
    await found.ensure("ml", [FLIGHTS])
    server.objects[NAMESPACE] = {"metadata": {"name": "ml", "uid": "uid-new"}}
    server.put(THERE, {"token": encoded(token_of(KEY, "uid-new"))}, labels=LABELLED, ownerReferences=[FLIGHTS])
    server.writes.clear()
    await found.ensure("ml", [FLIGHTS])
    assert server.writes == []
    assert await found.token("ml") == token_of(KEY, "uid-new")
