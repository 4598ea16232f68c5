"""Clients of a router: they never ask again, and everything but 200 is lost. One thread, in a process of its own.

    come       open loop: requests are due at random moments, at a rate, whatever became of the earlier ones; where all
               connections are in use, one waits for the next that is free, and the clock runs
    in_turn    closed loop: so many connections, each asks again as soon as it is answered

`crowd.py` is the model server's load; its clients misbehave, which is not the question here, and its clock wakes to the
millisecond, which is more than a router may add to a request. All times are of the machine's one monotonic clock, so
that whoever started this knows what happened when.
"""

import argparse
import json
import os
import random
import selectors
import socket
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests, where the packages are

from bench.load import LOAD_CORE, whole_length

MOST_CONNECTIONS = 900
"""Of the open loop, where nobody says otherwise; select() ends at 1,024 files."""
CONNECT_SECONDS = 1.0
PATIENCE_SECONDS = 20.0
"""Beyond the deadline of any route: who waits longer is lost."""
WORDS = 120
"""Bytes that are kept of an answer that is not 200."""
_now = time.monotonic


Address = tuple[str, int]


@dataclass
class Seen:
    """What the clients saw, in seconds."""

    start: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0
    due: list[float] = field(default_factory=list)
    """When each request that got a 200 was due,"""
    took: list[float] = field(default_factory=list)
    """and how long after that its answer was there."""
    lost: list[tuple[float, float, str]] = field(default_factory=list)
    """When it was due, when that was known, and why."""

    @property
    def asked(self) -> int:
        return len(self.took) + len(self.lost)


class _Client:
    """A connection, and the request on it."""

    __slots__ = ("address", "due", "fresh", "read", "socket")

    def __init__(self, address: Address, patience: float) -> None:
        self.address = address
        self.socket = socket.create_connection(address, patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due = 0.0
        """0 while it is idle."""
        self.read = b""
        self.fresh = False


class Arrivals:
    """`fresh`: the share of requests that come by a connection of their own. `patience`: seconds to get one.

    `asking` says where the next request goes, and what it is; `told` is given the moment at which one was due, and its
    whole answer, whatever that says.
    """

    def __init__(
        self,
        asking: Callable[[], tuple[Address, bytes]],
        fresh: float = 0.0,
        patience: float = CONNECT_SECONDS,
        told: Callable[[float, bytes], None] = lambda due, answer: None,
    ) -> None:
        self._patience = patience
        self._asking = asking
        self._told = told
        self._fresh = fresh
        self._random = random.Random(1)
        self._poll: selectors.BaseSelector = selectors.SelectSelector()
        self._idle: defaultdict[Address, list[_Client]] = defaultdict(list)
        self._busy = 0
        self._most = MOST_CONNECTIONS
        self._waiting: deque[float] = deque()
        """When those were due for whom there is no connection."""
        self._more: Callable[[], bool] = lambda: False
        self._over = threading.Event()
        self._seen = Seen()

    def stop(self) -> None:
        """From another thread: what is asked is still waited for, and nothing more is asked."""
        self._over.set()

    def come(self, rate: float, seconds: float, connections: int = 0) -> Seen:
        """`connections`: at most; those that are opened before the first request."""
        if connections:
            self._most = connections
            address, _ = self._asking()
            self._idle[address] = [self._open(address) for _ in range(connections)]
        start = due = now = _now()
        end = start + seconds
        while now < end or (self._busy and now < end + PATIENCE_SECONDS):
            if self._over.is_set():
                end = min(end, now)
            while due <= min(now, end):
                self._ask(due)
                due += self._random.expovariate(rate)
            self._look(max(0.0, min(due, end) - _now()) if now < end else 0.1)
            now = _now()
        return self._said(start, seconds)

    def in_turn(self, connections: int, seconds: float, requests: int) -> Seen:
        """Until the time is over, or so many have been asked."""
        self._poll = selectors.EpollSelector()
        start = _now()
        left = requests

        def more() -> bool:
            nonlocal left
            left -= 1
            return left >= 0 and _now() < start + seconds

        self._more = more
        for _ in range(connections):
            if more():
                self._ask(_now())
        while self._busy and _now() < start + seconds + PATIENCE_SECONDS:
            self._look(1.0)
        return self._said(start, _now() - start)

    def _said(self, start: float, seconds: float) -> Seen:
        seen = self._seen
        seen.start, seen.seconds, seen.cpu = start, seconds, time.process_time()
        left = [*self._waiting, *(key.data.due for key in self._poll.get_map().values() if key.data.due)]
        seen.lost += [(due, _now(), "no answer") for due in left]
        return seen

    def _ask(self, due: float) -> None:
        fresh = self._random.random() < self._fresh
        address, request = self._asking()
        idle = self._idle[address]
        if fresh or not idle:
            if len(self._poll.get_map()) >= self._most:
                self._waiting.append(due)
                return
            try:
                client = self._open(address)
            except OSError as error:
                self._seen.lost.append((due, _now(), f"connect: {type(error).__name__}"))
                return
            client.fresh = fresh
        else:
            client = idle.pop()
        self._busy += 1
        self._send(client, request, due)

    def _open(self, address: Address) -> _Client:
        client = _Client(address, self._patience)
        self._poll.register(client.socket, selectors.EVENT_READ, client)
        return client

    def _send(self, client: _Client, request: bytes, due: float) -> None:
        client.due, client.read = due, b""
        try:
            whole = client.socket.send(request) == len(request)
        except OSError as error:
            self._lose(client, f"send: {type(error).__name__}")
        else:
            if not whole:
                self._lose(client, "send: no room")

    def _look(self, seconds: float) -> None:
        for key, _ in self._poll.select(seconds):
            client: _Client = key.data
            try:
                data = client.socket.recv(65536)
            except OSError as error:
                self._lose(client, type(error).__name__)
                continue
            if data:
                self._take(client, data)
            else:
                self._lose(client, "hung up")

    def _take(self, client: _Client, data: bytes) -> None:
        answer = client.read + data if client.read else data
        length = whole_length(answer)
        if length is None or len(answer) < length:
            client.read = answer
            return
        self._told(client.due, answer)
        if not answer.startswith(b"HTTP/1.1 200"):
            said = answer.partition(b"\r\n\r\n")[2][:WORDS].decode(errors="replace")
            self._lose(client, f"{answer[9:12].decode()} {said}".rstrip())
            return
        self._seen.due.append(client.due)
        self._seen.took.append(_now() - client.due)
        if self._more():
            self._send(client, self._asking()[1], _now())
            return
        self._busy -= 1
        client.due = 0.0
        if client.fresh or b"\r\nconnection: close" in answer:
            self._close(client)
        else:
            self._idle[client.address].append(client)
        self._next()

    def _next(self) -> None:
        """A connection is free, or may be opened."""
        if self._waiting:
            self._ask(self._waiting.popleft())

    def _lose(self, client: _Client, why: str) -> None:
        """And the connection with it; an idle one may be closed by its server."""
        if client.due:
            self._seen.lost.append((client.due, _now(), why))
            self._busy -= 1
        else:
            self._idle[client.address].remove(client)
        self._close(client)
        if client.due and self._more():
            self._ask(_now())
        else:
            self._next()

    def _close(self, client: _Client) -> None:
        self._poll.unregister(client.socket)
        client.socket.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ip")
    parser.add_argument("port", type=int)
    # Without a rate it is a closed loop.
    for name in ("rate", "fresh", "seconds"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--patience", type=float, default=CONNECT_SECONDS, help="seconds to get a connection")
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--requests", type=int, default=10**9, help="of a closed loop, at most")
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    always = (options.ip, options.port), sys.stdin.buffer.read()
    arrivals = Arrivals(lambda: always, options.fresh, options.patience)
    if options.rate:
        seen = arrivals.come(options.rate, options.seconds, options.connections)
    else:
        seen = arrivals.in_turn(options.connections, options.seconds, options.requests)
    print(json.dumps(asdict(seen)))


if __name__ == "__main__":
    main()
