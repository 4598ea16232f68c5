"""Usual requests are answered without a task, and nobody can tell: what is said, counted and bounded is the same."""

import asyncio
import gc
import json
import re
import socket
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import pytest
import uvicorn
from prometheus_client import generate_latest
from uvicorn.server import ServerState as Shared

from tidegate_server.http import infer, straight
from tidegate_server.http.app import Front, make_app
from tidegate_server.http.heads import Connection
from tidegate_server.http.infer import SMALL_BODY_BYTES, Reply, headers_of
from tidegate_server.http.plain import Plain
from tidegate_server.http.state import ServerState, Serving
from tidegate_server.metrics import Metrics
from tidegate_server.offline.profile import build
from tidegate_server.serve import TidegateServer
from tidegate_server.settings import Settings

INFER = "/v2/models/flights/infer"
CARRIER = {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]}
DELAY = {"name": "delay", "shape": [1], "datatype": "FP64", "data": [2.5]}
BODY: dict[str, Any] = {"id": "7", "inputs": [CARRIER, DELAY]}
DATE = b"Sat, 28 Nov 2026 10:00:00 GMT"


def post(body: Any = BODY, path: str = INFER, version: str = "1.1", **headers: str) -> bytes:
    """A request as it goes over the wire."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    said = {"host": "x", "content-length": str(len(content)), **headers}
    lines = [f"POST {path} HTTP/{version}", *(f"{name.replace('_', '-')}: {value}" for name, value in said.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> tuple[str, bytes]:
        """Head and body of the next one, as they came."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        length = re.search(rb"\r\ncontent-length: (\d+)", head)
        return head.decode(), await self.reader.readexactly(int(length[1]) if length else 0)

    async def ask(self, request: bytes = post()) -> tuple[int, Any]:
        self.writer.write(request)
        head, body = await self.answer()
        return int(head.split()[1]), json.loads(body)

    async def closed(self, seconds: float = 0.1) -> bool:
        """Whether the server hangs up."""
        try:
            return await asyncio.wait_for(self.reader.read(1), seconds) == b""
        except TimeoutError:
            return False


class Wire:
    """A server on a port of its own; `shortcut` says whether requests may go straight."""

    def __init__(self, serving: Serving | None, *, shortcut: bool = True, timeout: float = 10.0) -> None:
        self.state, self.metrics = ServerState(), Metrics()
        self.state.serving = serving
        front = make_app(self.state, self.metrics, timeout)

        async def around(scope: Any, receive: Any, send: Any) -> None:
            await front(scope, receive, send)

        app = front if shortcut else around
        self.config = uvicorn.Config(
            app, http=Connection, lifespan="off", ws="none", log_config=None, proxy_headers=False
        )
        self.shared = Shared()
        self.shared.default_headers = [(b"date", DATE)]
        self.clients: list[Client] = []
        self.port = 0

    async def client(self, receives: int | None = None) -> Client:
        connection = socket.socket()
        if receives is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.port))
        self.clients.append(Client(*await asyncio.open_connection(sock=connection)))
        return self.clients[-1]

    @property
    def connections(self) -> list[Connection]:
        return [connection for connection in self.shared.connections if isinstance(connection, Connection)]

    @property
    def connection(self) -> Connection:
        (found,) = self.connections
        return found

    def counted(self) -> list[str]:
        """Of the metrics, whatever is no time."""
        said = generate_latest(self.metrics.registry).decode().splitlines()
        kept = ("tidegate_requests_total", "tidegate_errors", "tidegate_refused", "tidegate_in_flight")
        return [line for line in said if line.startswith((*kept, "tidegate_request_seconds_count"))]


@asynccontextmanager
async def served(serving: Serving | None, sends: int | None = None, **options: Any) -> AsyncIterator[Wire]:
    wire = Wire(serving, **options)
    wire.config.load()
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    if sends is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sends)
    wire.port = listener.getsockname()[1]
    server = await loop.create_server(
        lambda: Connection(config=wire.config, server_state=wire.shared, app_state={}, _loop=loop), sock=listener
    )
    try:
        yield wire
    finally:
        for client in wire.clients:
            client.writer.close()
        server.close()
        await until(lambda: not wire.shared.connections)


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 - what is waited for is the server's
            await asyncio.sleep(0.005)


@pytest.fixture
def no_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Front, scope: object, receive: object, send: object) -> None:
        pytest.fail("it went through ASGI")

    monkeypatch.setattr(Front, "__call__", fail)


OTHER = post({**BODY, "outputs": [{"name": "predict"}]})
"""It is not folded with those that ask for all."""
BOTH = ("predict", "predict_proba")


class SameId:
    """Gives every answer the same id."""

    def make(self, *_: object) -> str:
        return "tg-x"


class Choosy:
    """Answers by the delay of a row: 1 raises, 2 is no number."""

    def predict(self, columns: Any, outputs: Any) -> Any:
        delays = columns["delay"]
        if (delays == 1).any():
            raise ValueError(f"cannot digest {columns['carrier'][0]}")
        proba = np.tile([0.25, 0.75], (len(delays), 1))
        proba[delays == 2] = np.nan
        return {"predict": np.ones(len(delays), np.int64), "predict_proba": proba}


def of(delay: float = 2.5, carrier: str = "UA", **more: Any) -> dict[str, Any]:
    return {"inputs": [{**CARRIER, "data": [carrier]}, {**DELAY, "data": [delay]}], **more}


RAW = json.dumps({"inputs": [CARRIER, {**DELAY, "data": None, "parameters": {"binary_data_size": 8}}]}).encode()
RAW = RAW.replace(b'"data": null, ', b"")
TWO = {"inputs": [{**CARRIER, "shape": [2], "data": ["UA", None]}, {**DELAY, "shape": [2, 1], "data": [1.5, None]}]}
CHUNKS = post(b"", transfer_encoding="chunked").replace(b"content-length: 0\r\n", b"") + b"2\r\n{}\r\n0\r\n\r\n"
STRAIGHT: dict[str, bytes] = {
    "usual": post(),
    "by its version": post(path="/v2/models/flights/versions/abc123/infer"),
    "two rows, no id": post(TWO),
    "the last one": post(connection="close"),
    "of another time": post(version="1.0"),
    "of another time, to be kept": post(version="1.0", connection="keep-alive"),
    "one output": post({**BODY, "outputs": [{"name": "predict"}]}),
    "special": post({**BODY, "parameters": {"x": 1}}),
    "binary output": post({**BODY, "parameters": {"binary_data_output": True}}),
    "binary input": post(RAW + b"\0" * 8, inference_header_content_length=str(len(RAW))),
    "evidence": post(tidegate_evidence="1", tidegate_generation="17"),
    "a generation that is none": post(tidegate_generation="x"),
    "explained": post({**BODY, "parameters": {"explain": True}}),
    "not JSON": post(b"{"),
    "nothing": post(b""),
    "an input too many": post({"inputs": [CARRIER, DELAY, {**DELAY, "name": "x"}]}),
    "an input too few": post({"inputs": [CARRIER]}),
    "compressed": post(content_encoding="gzip"),
    "plain": post(content_encoding="identity"),
    "a wrong length of its JSON": post(inference_header_content_length="x"),
    "a strict column": post(of(carrier="XX")),
    "a model that raises": post(of(1)),
    "a number that is none": post(of(2)),
    "as large as a small one may be": post(json.dumps(BODY).encode().ljust(SMALL_BODY_BYTES)),
}
USUAL_WAY: dict[str, bytes] = {
    "a large one": post(json.dumps(BODY).encode().ljust(SMALL_BODY_BYTES + 1)),
    "too large": post(content_length=str(17 << 20)),
    "in chunks": CHUNKS,
    "with a query": post(path=f"{INFER}?x=1"),
    "written in another way": post(path=INFER.replace("flights", "%66lights")),
    "of another model": post(path="/v2/models/other/infer"),
    "of another version": post(path="/v2/models/flights/versions/x/infer"),
    "of another method": post().replace(b"POST", b"GET"),
}


def strict(make_serving: Any) -> Serving:
    profile = build({"carrier": np.array(["UA", "AA", None], np.object_), "delay": np.array([0.0, 10.0, np.nan])})
    serving: Serving = make_serving(Choosy(), profile=profile)
    serving = replace(serving, manifest=msgspec.structs.replace(serving.manifest, strict=("carrier",)))
    vars(serving)["ids"] = SameId()
    return serving


@pytest.mark.parametrize("request_bytes", [*STRAIGHT.values(), *USUAL_WAY.values()], ids=[*STRAIGHT, *USUAL_WAY])
async def test_both_ways_say_and_count_the_same(make_serving: Any, request_bytes: bytes) -> None:
    found: list[Any] = []
    for shortcut in (True, False):
        serving = strict(make_serving)
        async with served(serving, shortcut=shortcut) as wire:
            client = await wire.client()
            client.writer.write(request_bytes)
            answer = await client.answer()
            closed = await client.closed()
            await until(lambda wire=wire: "tidegate_in_flight 0.0" in wire.counted())  # type: ignore[misc]
            read = serving.recorder.read()
            counters = (read.rows, read.features, read.score, read.evidence)
            found.append((answer, closed, wire.counted(), counters, wire.shared.total_requests))
            assert f"\r\ndate: {DATE.decode()}\r\n" in answer[0]
    assert found[0] == found[1]


@pytest.mark.usefixtures("no_tasks")
@pytest.mark.parametrize("request_bytes", STRAIGHT.values(), ids=STRAIGHT)
async def test_a_usual_request_has_no_task(make_serving: Any, request_bytes: bytes) -> None:
    async with served(strict(make_serving)) as wire:
        client = await wire.client()
        client.writer.write(request_bytes)
        await client.answer()


@pytest.mark.usefixtures("no_tasks")
async def test_a_connection_is_kept_and_its_requests_may_come_in_pieces(make_serving: Any, fake_engine: Any) -> None:
    async with served(make_serving(fake_engine())) as wire:
        client = await wire.client()
        for size in (10_000, 100, 30):
            request = post()
            for start in range(0, len(request), size):
                client.writer.write(request[start : start + size])
                await asyncio.sleep(0.001)
            head, body = await client.answer()
            assert (head.split()[1], json.loads(body)["id"]) == ("200", "7")
        assert (wire.connection.waits, wire.connection.in_head) == (False, False), "it is idle"


async def test_requests_that_are_sent_ahead_are_answered_in_their_order(make_serving: Any, fake_engine: Any) -> None:
    async with served(make_serving(fake_engine())) as wire:
        client = await wire.client()
        requests = [post({**BODY, "id": str(place)}) for place in range(6)]
        requests[2:2] = [post(b"{"), post(b"["), b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"]
        client.writer.write(b"".join(requests))
        found = [json.loads((await client.answer())[1]) for _ in requests]
        said = [answer.get("id", next(iter(answer))) for answer in found]
        assert said == ["0", "1", "error", "error", "live", "2", "3", "4", "5"]
        assert not await client.closed()


async def test_a_connection_whose_next_request_has_begun_is_not_idle(make_serving: Any, fake_engine: Any) -> None:
    async with served(make_serving(fake_engine())) as wire:
        client = await wire.client()
        assert (await client.ask(post(b"{") + b"POST /v2"))[0] == 400
        assert (wire.connection.timeout_keep_alive_task, wire.connection.waits) == (None, True)


@pytest.mark.parametrize("says", ["close", "keep-alive"])
async def test_nothing_is_predicted_for_what_follows_the_last_request(
    make_serving: Any, fake_engine: Any, says: str
) -> None:
    engine = fake_engine()
    async with served(make_serving(engine)) as wire:
        wire.state.draining = says != "close"  # then the server makes it the last one
        client = await wire.client()
        client.writer.write(post(b"{", connection=says) + post())
        assert (await client.answer())[0].startswith("HTTP/1.1 400 ")
        assert await client.closed()
        await asyncio.sleep(0.05)
        assert engine.calls == []
        counted = [line for line in wire.counted() if line.startswith("tidegate_requests_total")]
        assert counted == ['tidegate_requests_total{code="400"} 1.0']


@pytest.mark.usefixtures("no_tasks")
async def test_a_full_queue_is_503_at_once(make_serving: Any, fake_engine: Any, gate: Any) -> None:
    async with served(make_serving(fake_engine(gate), max_waiting=1)) as wire:
        first, second = await wire.client(), await wire.client()
        first.writer.write(post())
        await asyncio.to_thread(gate.entered.wait)
        head = post().partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        second.writer.write(head)
        said, body = await second.answer()
        assert (said.split()[1], body) == ("503", b'{"error":"the queue is full"}')
        assert "\r\nretry-after: 1\r\n" in said
        assert 'tidegate_errors_total{class="queue_full"} 1.0' in wire.counted()
        second.writer.write(json.dumps(BODY).encode())  # too late, and nobody reads it
        await asyncio.sleep(0.02)
        assert [connection.waits for connection in wire.connections] == [False, False]
        gate.opened.set()
        assert (await first.answer())[0].startswith("HTTP/1.1 200 ")
        assert (await second.ask())[0] == 200
        assert "tidegate_in_flight 0.0" in wire.counted()


@pytest.mark.usefixtures("no_tasks")
async def test_bytes_that_are_too_many_together_are_503(make_serving: Any, fake_engine: Any) -> None:
    async with served(make_serving(fake_engine(), max_bytes=300)) as wire:
        client = await wire.client()
        assert (await client.ask())[0] == 200
        assert await client.ask(post(json.dumps(BODY).encode().ljust(301))) == (503, {"error": "the queue is full"})
        assert (await client.ask())[0] == 200


@pytest.mark.usefixtures("no_tasks")
async def test_the_deadline_is_504_and_what_waits_is_not_predicted(
    make_serving: Any, fake_engine: Any, gate: Any
) -> None:
    engine = fake_engine(gate)
    async with served(make_serving(engine), timeout=0.1) as wire:
        clients = [await wire.client() for _ in range(3)]
        clients[0].writer.write(post())
        await asyncio.to_thread(gate.entered.wait)
        for client in clients[1:]:
            client.writer.write(OTHER)
        late = "the model did not answer before the deadline of the request"
        for client in clients:
            head, body = await client.answer()
            assert (head.split()[1], json.loads(body)) == ("504", {"error": late})
        gate.opened.set()
        assert (await clients[1].ask())[0] == 200
        assert engine.calls == [BOTH, BOTH], "that of the first, and the last"
        assert 'tidegate_errors_total{class="deadline"} 3.0' in wire.counted()


@pytest.mark.usefixtures("no_tasks")
async def test_a_body_that_does_not_come_is_408(make_serving: Any, fake_engine: Any) -> None:
    async with served(make_serving(fake_engine()), timeout=0.05) as wire:
        client = await wire.client()
        assert await client.ask(post()[:-5]) == (408, {"error": "the request body did not arrive in time"})
        assert wire.state.serving is not None
        assert vars(wire.state.serving.predictor)["_bytes_left"] == 64 << 20
        client.writer.write(post()[-5:])
        assert (await client.ask())[0] == 200


@pytest.mark.parametrize("whole", [True, False], ids=["that waits", "whose body is coming"])
@pytest.mark.parametrize("shortcut", [True, False])
async def test_for_a_client_that_went_away_nothing_is_predicted(
    make_serving: Any, fake_engine: Any, gate: Any, whole: bool, shortcut: bool
) -> None:
    engine = fake_engine(gate)
    async with served(make_serving(engine), shortcut=shortcut) as wire:
        first, second = await wire.client(), await wire.client()
        first.writer.write(post())
        await asyncio.to_thread(gate.entered.wait)
        second.writer.write(OTHER if whole else OTHER[:-5])
        await until(lambda: "tidegate_in_flight 2.0" in wire.counted())
        await asyncio.sleep(0.02)
        second.writer.close()
        await until(lambda: 'tidegate_requests_total{code="499"} 1.0' in wire.counted())
        gate.opened.set()
        await first.answer()
        assert (await first.ask())[0] == 200
        assert engine.calls == [BOTH, BOTH]
        assert not [line for line in wire.counted() if line.startswith("tidegate_errors_total{")]


async def test_one_that_went_away_with_others_behind_it_is_noticed(
    make_serving: Any, fake_engine: Any, gate: Any
) -> None:
    engine = fake_engine(gate)
    async with served(make_serving(engine)) as wire:
        first, second = await wire.client(), await wire.client()
        first.writer.write(post())
        await asyncio.to_thread(gate.entered.wait)
        second.writer.write(OTHER + OTHER)
        await until(lambda: any(connection.pipeline for connection in wire.connections))
        assert "tidegate_in_flight 2.0" in wire.counted()
        for connection in wire.connections:
            if connection.pipeline:  # nothing is read from it, so that it would not notice by itself
                connection.transport.abort()
        await until(lambda: 'tidegate_requests_total{code="499"} 1.0' in wire.counted())
        gate.opened.set()
        assert (await first.answer())[0].startswith("HTTP/1.1 200 ")
        assert (await first.ask())[0] == 200
        assert "tidegate_in_flight 0.0" in wire.counted()
        assert engine.calls == [BOTH, BOTH]


@pytest.mark.usefixtures("no_tasks")
async def test_those_who_were_folded_with_one_that_raises_are_answered(make_serving: Any) -> None:
    async with served(make_serving(Choosy())) as wire:
        clients = [await wire.client() for _ in range(5)]
        for place, client in enumerate(clients):
            client.writer.write(post(of({1: 1, 3: 2}.get(place, 5), id=str(place))))
        found = [json.loads((await client.answer())[1]) for client in clients]
        assert [answer.get("id") for answer in found] == ["0", None, "2", None, "4"]
        assert found[1] == {"error": "the model raised ValueError"}
        assert found[3] == {"error": "the model's answer 'predict_proba' holds a number that is not finite"}
        assert 'tidegate_errors_total{class="invalid_output"} 1.0' in wire.counted()


@pytest.mark.usefixtures("no_tasks")
async def test_a_bug_is_500_and_in_the_log_and_the_connection_is_kept(
    make_serving: Any, fake_engine: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(make_serving(fake_engine())) as wire:
        client = await wire.client()
        for name in ("decode", "encode"):
            with monkeypatch.context() as broken:
                broken.setattr(Plain, name, lambda *_: 1 / 0)
                assert await client.ask() == (500, {"error": "the server has a bug: ZeroDivisionError"})
        assert (await client.ask())[0] == 200
        assert 'tidegate_errors_total{class="bug"} 2.0' in wire.counted()
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError] * 2


@pytest.mark.usefixtures("no_tasks")
async def test_a_bug_in_the_last_step_ends_the_connection_alone(
    make_serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = headers_of

    def broken(state: ServerState, reply: Reply) -> Any:
        return 1 / 0 if b'"id":"1"' in reply.answer.body else whole(state, reply)

    monkeypatch.setattr(straight, "headers_of", broken)
    async with served(make_serving(Choosy())) as wire:
        clients = [await wire.client() for _ in range(3)]
        for place, client in enumerate(clients):
            client.writer.write(post(of(id=str(place))))
        for client in clients[::2]:
            assert (await client.answer())[0].startswith("HTTP/1.1 200 ")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await clients[1].answer()
        assert 'tidegate_requests_total{code="500"} 1.0' in wire.counted()
        assert "tidegate_in_flight 0.0" in wire.counted()


@pytest.mark.usefixtures("no_tasks")
async def test_a_server_that_ends_answers_what_is_in_flight_and_closes_what_is_idle(
    make_serving: Any, fake_engine: Any, gate: Any
) -> None:
    async with served(make_serving(fake_engine(gate))) as wire:
        busy = await wire.client()
        busy.writer.write(post())
        await asyncio.to_thread(gate.entered.wait)
        wire.connection.shutdown()
        gate.opened.set()
        head, _ = await busy.answer()
        assert head.startswith("HTTP/1.1 200 ")
        assert "\r\nconnection: close\r\n" in head
        assert await busy.closed()
        await until(lambda: not wire.shared.connections)
        idle = await wire.client()
        assert (await idle.ask())[0] == 200
        wire.connection.shutdown()
        assert await idle.closed()


@pytest.mark.usefixtures("no_tasks")
async def test_a_draining_server_says_so_and_closes(make_serving: Any, fake_engine: Any) -> None:
    async with served(make_serving(fake_engine())) as wire:
        wire.state.draining = True
        client = await wire.client()
        client.writer.write(post())
        head, _ = await client.answer()
        assert head.count("connection: close") == 1
        assert await client.closed()


async def test_a_client_that_does_not_read_is_not_read_from(make_serving: Any, fake_engine: Any) -> None:
    engine = fake_engine()
    async with served(make_serving(engine), sends=8192) as wire:
        client = await wire.client(receives=8192)
        client.reader._limit = 1  # type: ignore[attr-defined] # so that it stops to read
        request = post({**BODY, "id": "x" * 10_000})
        count = 300
        largest = 0
        for _ in range(count):
            client.writer.write(request)
            await asyncio.sleep(0.001)
            largest = max(largest, wire.connection.transport.get_write_buffer_size())
        await asyncio.sleep(0.1)
        assert len(engine.calls) < count / 2
        assert 0 < largest < 100_000
        client.reader._limit = 1 << 20  # type: ignore[attr-defined]
        for _ in range(count):
            assert (await client.answer())[0].startswith("HTTP/1.1 200 ")
        assert "tidegate_in_flight 0.0" in wire.counted()


async def test_an_answer_that_could_not_be_sent_is_counted_when_its_client_goes(
    make_serving: Any, fake_engine: Any
) -> None:
    async with served(make_serving(fake_engine())) as wire:
        client = await wire.client()
        assert (await client.ask())[0] == 200
        wire.connection.pause_writing()
        client.writer.write(post())
        await asyncio.sleep(0.05)
        assert "tidegate_in_flight 1.0" in wire.counted()
        wire.connection.resume_writing()
        assert (await client.answer())[0].startswith("HTTP/1.1 200 ")
        wire.connection.pause_writing()
        client.writer.write(post())
        await asyncio.sleep(0.05)
        client.writer.close()
        await until(lambda: "tidegate_in_flight 0.0" in wire.counted())
        assert 'tidegate_requests_total{code="200"} 3.0' in wire.counted()


@pytest.mark.parametrize("body", [BODY, b"{", of(1)], ids=["answered", "refused", "raised"])
@pytest.mark.parametrize("shortcut", [True, False])
async def test_nothing_is_left_of_a_request(
    make_serving: Any, body: Any, shortcut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[weakref.ref[Any]] = []
    begin = infer.Exchange.begin

    def watched(exchange: Any, *arguments: Any) -> None:
        seen.append(weakref.ref(exchange._asked))
        begin(exchange, *arguments)

    class Asked(infer._Asked):
        """Can be referred to weakly."""

    monkeypatch.setattr(infer, "_Asked", Asked)
    monkeypatch.setattr(infer.Exchange, "begin", watched)
    async with served(make_serving(Choosy()), shortcut=shortcut) as wire:
        client = await wire.client()
        gc.collect()
        gc.disable()
        try:
            await client.ask(post(body))
            client.writer.close()
            await until(lambda: not wire.shared.connections)
            await asyncio.sleep(0.05)
            assert [found() for found in seen] == [None]
        finally:
            gc.enable()


def test_nothing_of_uvicorns_stands_between_a_connection_and_the_application() -> None:
    server = TidegateServer(Settings(), lambda _: None)
    server.config.load()
    assert type(server.config.loaded_app) is Front, "or no request goes straight"
