"""A serving pod that costs next to nothing: it says its name, and which generation of the route sent the request.

    python tests/bench/cheap_pod.py 127.0.7.1 18080 a1 --seconds 0.02 --status 500

It counts what is posted, and tells by GET /count. At SIGTERM it takes no more connections, answers what it has, and
ends; a connection that does nothing is closed at once.
"""

import argparse
import asyncio
import os
import re
import signal
from typing import cast

import uvloop

CORE = 1
"""Beside the load: the router has the other one."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_GENERATION = re.compile(rb"\r\ntidegate-generation: *(\d+)", re.IGNORECASE)


class Pod:
    """What all connections share."""

    def __init__(self, name: str, seconds: float, status: int = 200) -> None:
        self.name = name.encode()
        self.seconds = seconds
        self.status = status
        """Of its answers to what is posted."""
        self.count = 0
        self.connections: set[Connection] = set()
        self.leaving = False
        self.alone = asyncio.Event()
        """Set when it leaves and nobody is connected any more."""

    def leave(self) -> None:
        self.leaving = True
        for connection in [connection for connection in self.connections if not connection.busy]:
            connection.close()
        self.look()

    def look(self) -> None:
        if self.leaving and not self.connections:
            self.alone.set()


class Connection(asyncio.Protocol):
    """One request after the other; nobody sends the next one before its answer."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._read = b""
        self._transport: asyncio.Transport | None = None
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of another kin
        self._pod.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._pod.connections.discard(self)
        self._pod.look()

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self.busy = True
        request = self._read = self._read + data if self._read else data
        end = request.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(request, 0, end + 2)
        if len(request) < end + 4 + (int(length[1]) if length else 0):
            return
        self._read = b""
        if request.startswith(b"GET /count "):
            self._answer(str(self._pod.count).encode(), 200)
            return
        posted = request.startswith(b"POST ")  # the router asks too, by GET, whether it is ready
        self._pod.count += posted
        status = self._pod.status if posted else 200
        generation = _GENERATION.search(request, 0, end + 2)
        said = b'{"pod": "%s", "generation": %s}' % (self._pod.name, generation[1] if generation else b"0")
        if self._pod.seconds:
            asyncio.get_running_loop().call_later(self._pod.seconds, self._answer, said, status)
        else:
            self._answer(said, status)

    def _answer(self, body: bytes, status: int) -> None:
        self.busy = False
        if self._transport is None:
            return
        more = b"connection: close\r\n" if self._pod.leaving else b""
        head = b"HTTP/1.1 %d \r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
        self._transport.write(head % (status, more, len(body)) + body)
        if self._pod.leaving:
            self._transport.close()


async def serve(ip: str, port: int, pod: Pod) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(pod), ip, port, backlog=1024)
    told = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    await told.wait()
    server.close()
    pod.leave()
    await pod.alone.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ip")
    parser.add_argument("port", type=int)
    parser.add_argument("name")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long an answer takes")
    parser.add_argument("--status", type=int, default=200, help="of its answers to what is posted")
    options = parser.parse_args()
    os.sched_setaffinity(0, {CORE})
    uvloop.run(serve(options.ip, options.port, Pod(options.name, options.seconds, options.status)))


if __name__ == "__main__":
    main()
