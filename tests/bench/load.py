"""The load of the benches of servers: one request over many connections, from a process of its own on its own core.

    ask(port, request, connections=64, seconds=1.5)

What was sent is answered before a load ends, so that nothing of it is left for whatever is measured next on that core.
"""

import argparse
import json
import math
import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests, where the packages are

from bench.scenarios.report import percentile

SERVER_CORE, LOAD_CORE = 0, 1
DRAIN_SECONDS = 20.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Load:
    """What one load saw; times in seconds."""

    requests: int
    failed: int
    seconds: float
    p50: float
    p99: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def post(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """A request as it goes over the wire.

    >>> post("/v2", b"{}").decode().splitlines()[0]
    'POST /v2 HTTP/1.1'
    """
    said = {"host": "bench", "content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def ask(port: int, request: bytes, connections: int, seconds: float) -> Load:
    """The same request over so many connections at once, each anew when it was answered."""
    command = [sys.executable, __file__, "--port", str(port)]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    timeout = seconds + DRAIN_SECONDS + 60
    found = subprocess.run(command, input=request, check=True, stdout=subprocess.PIPE, timeout=timeout)
    return Load(**json.loads(found.stdout))


def exchange(connection: socket.socket, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to one request. Raises ConnectionError if the server hangs up instead."""
    connection.sendall(request)
    data, need = bytearray(), -1
    while need < 0 or len(data) < need:
        part = connection.recv(1 << 18)
        if not part:
            raise ConnectionError("the server hung up")
        data += part
        if need < 0 and (length := whole_length(bytes(data))) is not None:
            need = length
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    return head, body


def whole_length(answer: bytes) -> int | None:
    """How many bytes an answer has, head included; None while its head is not whole. Raises ValueError for an answer
    that does not say its length.

    >>> whole_length(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhe"), whole_length(b"HTTP/1.1 200 OK\\r\\nCon")
    (43, None)
    """
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(answer, 0, end + 2)
    if length is None:
        raise ValueError(f"an answer without a length: {answer[:end]!r}")
    return end + 4 + int(length[1])


def run(request: bytes, port: int, connections: int, seconds: float) -> Load:
    poll = selectors.EpollSelector()
    sent: dict[int, float] = {}
    read: dict[int, bytes] = {}
    took: list[float] = []
    failed = 0
    now = time.perf_counter
    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        poll.register(connection, selectors.EVENT_READ, connection)
    start = now()
    for key in poll.get_map().values():
        sent[key.fd], read[key.fd] = now(), b""
        key.data.send(request)
    end = start + seconds
    spent = 0.0
    while sent and now() < end + DRAIN_SECONDS:
        for key, _ in poll.select(1):
            connection = key.data
            part = connection.recv(65536)
            if not part:
                raise ConnectionError("the server hung up")
            data = read[key.fd] + part
            length = whole_length(data)
            if length is None or len(data) < length:
                read[key.fd] = data
                continue
            at = now()
            if at >= end:
                del sent[key.fd]
                continue
            took.append(at - sent[key.fd])
            failed += not data.startswith(b"HTTP/1.1 200")
            read[key.fd], sent[key.fd] = b"", now()
            connection.send(request)
            spent = now() - start
    if not took:
        return Load(0, failed + len(sent), max(spent, seconds), math.nan, math.nan)
    return Load(len(took), failed + len(sent), max(spent, seconds), percentile(took, 0.5), percentile(took, 0.99))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    found = run(sys.stdin.buffer.read(), options.port, options.connections, options.seconds)
    print(json.dumps(vars(found)))


if __name__ == "__main__":
    main()
