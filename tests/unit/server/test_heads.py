"""The head of a request is bounded in bytes and in time, and nobody else is cut off."""

import socket
import time
from contextlib import suppress
from typing import Any

import pytest

from processes import BODY, INFER, STAND_IN, Process
from tidegate_server.http import heads
from tidegate_server.http.heads import MAX_HEAD_BYTES, Watch


class Peer:
    """A connection as uvicorn has it."""

    def __init__(self, *, scope: object = None, waits: bool = True, in_head: bool = False) -> None:
        self.scope, self.waits, self.transport = scope, waits, self
        self.in_head = in_head
        self.said: list[str] = []

    def close(self) -> None:
        self.said.append("closed")

    def give_up(self, status: str, _: str) -> None:
        self.said.append(status)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(heads.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    return now


def test_a_head_that_does_not_end_is_refused_and_others_are_left(clock: list[float]) -> None:
    stuck, silent, busy, moving = Peer(scope={}, in_head=True), Peer(), Peer(scope={}, waits=False), Peer(scope={})
    answered = Peer(scope={})  # and its body is still coming
    watch = Watch([stuck, silent, busy, moving, answered])
    for clock[0] in range(0, 80, 10):
        watch.look()
        moving.scope = {}  # a new head
        if clock[0] < 10:
            assert stuck.said == []
        if clock[0] < 75:
            assert silent.said == []
    watch.look()
    assert stuck.said[0] == "408 Request Timeout"
    assert answered.said[0] == "closed"
    assert silent.said == []
    clock[0] = 80
    moving.scope = {}
    watch.look()
    assert silent.said == ["closed"]
    assert (busy.said, moving.said) == ([], [])


@pytest.fixture
def server(start: Any) -> Process:
    found: Process = start(STAND_IN, "{port}", "{metrics}", "0", "0", "0", "10")
    found.wait_for("/v2/health/ready")
    return found


def answer_to(server: Process, *parts: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:
                break
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
            if found.endswith(b"}"):
                break
        return found


@pytest.mark.parametrize("filler", [b"x: " + b"y" * 1000 + b"\r\n", b"y" * 1000], ids=["many headers", "one header"])
def test_a_head_without_end_is_refused(server: Process, filler: bytes) -> None:
    beginning = f"POST {INFER} HTTP/1.1\r\nhost: x\r\nz: ".encode()
    found = answer_to(server, beginning, *([filler] * (MAX_HEAD_BYTES // 900)))
    assert found.startswith(b"HTTP/1.1 431 ")
    assert found.endswith(b'{"error":"a head may have 65536 bytes"}')
    assert server.ask("POST", INFER, BODY)[0] == 200


def test_a_large_head_and_a_large_body_are_none_of_it(server: Process) -> None:
    headers = {f"x-{place}": "y" * 1000 for place in range(50)}
    assert server.ask("POST", INFER, BODY, headers=headers)[0] == 200
    assert server.ask("POST", INFER, BODY.replace("{", "{" + " " * 200_000, 1))[0] == 200


def test_a_slow_head_is_answered_if_it_ends(server: Process) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(BODY)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        for place in range(0, len(head), 20):
            connection.sendall(head[place : place + 20].encode())
            time.sleep(0.01)
        connection.sendall(BODY.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("method", ["POST", "GET"], ids=["too large", "not read"])
def test_the_body_of_a_request_that_is_answered_already_is_no_head(server: Process, method: str) -> None:
    path, length = (INFER, 17 << 20) if method == "POST" else ("/v2/health/live", 300_000)
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head.encode())
        found = connection.recv(65536)
        for _ in range(8):
            connection.sendall(b"x" * 30_000)
            time.sleep(0.01)
        connection.settimeout(0.3)
        with suppress(OSError):  # nothing more is said
            found += connection.recv(65536)
    assert found.count(b"HTTP/1.1 ") == 1
    assert found.startswith(b"HTTP/1.1 413 " if method == "POST" else b"HTTP/1.1 200 ")
