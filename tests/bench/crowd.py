"""Clients of a model server who do not wait for each other, and some of whom behave badly.

Open loop: requests come when they come, at a rate, by whichever connection is free, or a new one. Some have large
bodies, some clients go away in the middle, some send a byte a second. In closed loop each connection asks again as
soon as it is answered, which is how a server's capacity is measured. One thread, and no client library: it has to be
cheaper than what it measures.
"""

import json
import random
import selectors
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from bench.scenarios.report import percentile

LARGE_EACH_SECOND = 2.0
LEAVING_SHARE = 0.01
SLOW_CLIENTS = 8
MOST_CONNECTIONS = 512
"""Of those that ask at the rate: eight times the places of the server's queue."""
PATIENCE_SECONDS = 30.0
"""Beyond any deadline of the server: who waits longer is not answered at all."""


class Kind(Enum):
    SMALL = "small"
    LARGE = "large"
    LEAVES_ASKING = "leaves while it sends"
    LEAVES_WAITING = "leaves before the answer"
    SLOW = "slow"


@dataclass
class Seen:
    """What the clients saw."""

    seconds: float = 0.0
    asked: int = 0
    left: int = 0
    """Of those that were asked: the client went away itself."""
    unsent: int = 0
    """Requests that came while every connection was in use."""
    answers: dict[str, int] = field(default_factory=dict)
    """By status; `slow` before it: of a client that sends a byte a second."""
    errors: dict[str, int] = field(default_factory=dict)
    """Connections that ended without an answer, by why."""
    ok_p50: float = 0.0
    ok_p99: float = 0.0
    """Seconds until 200, of small requests."""

    @property
    def ok_per_second(self) -> float:
        return self.answers.get("200", 0) / self.seconds


class _Client:
    """A connection, and the request that it is busy with."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.kind = Kind.SMALL
        self.rest = memoryview(b"")
        """What is not sent yet."""
        self.read = b""
        self.since = 0.0
        """When it asked; 0 while it is idle."""
        self.writes = False
        """Whether it waits until more can be sent."""


class Crowd:
    """All clients of one load."""

    def __init__(self, port: int, small: bytes, large: Sequence[bytes]) -> None:
        self._port = port
        self._small = memoryview(small)
        self._large = [memoryview(body) for body in large]
        self._poll = selectors.EpollSelector()
        self._idle: list[_Client] = []
        self._busy = 0
        self._slow: list[_Client] = []
        self._seen = Seen()
        self._answers: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._took: list[float] = []
        self._random = random.Random(1)
        self._again = False

    def ask_in_turn(self, connections: int, seconds: float) -> Seen:
        """Closed loop, of small requests."""
        self._again = True
        start = time.perf_counter()
        for _ in range(connections):
            self._ask(Kind.SMALL, self._small)
        while (now := time.perf_counter()) < start + seconds:
            self._look(start + seconds - now)
        return self._said(time.perf_counter() - start)

    def ask_so_many(self, connections: int, requests: int) -> Seen:
        """Closed loop, until about so many small requests are answered."""
        self._again = True
        start = time.perf_counter()
        for _ in range(connections):
            self._ask(Kind.SMALL, self._small)
        while self._answers.total() < requests:
            self._look(1.0)
        return self._said(time.perf_counter() - start)

    def come(self, rate: float, seconds: float) -> Seen:
        """Open loop, at so many requests a second; then nobody asks anew, and the last ones are waited for."""
        start = due = tick = time.perf_counter()
        while (now := time.perf_counter()) < start + seconds:
            while due <= now:
                self._arrive(rate)
                due += self._random.expovariate(rate)
            if now >= tick:
                tick += 1
                self._each_second(now)
            self._look(max(0.0, min(due, tick) - time.perf_counter()))
        spent = time.perf_counter() - start
        for client in self._slow:
            self._end(client)
        while self._busy and time.perf_counter() < start + spent + PATIENCE_SECONDS:
            self._look(1.0)
        self._errors["no answer"] += self._busy
        return self._said(spent)

    def _said(self, seconds: float) -> Seen:
        seen = self._seen
        seen.seconds = seconds
        seen.answers, seen.errors = dict(sorted(self._answers.items())), dict(+self._errors)
        if self._took:
            seen.ok_p50, seen.ok_p99 = percentile(self._took, 0.5), percentile(self._took, 0.99)
        return seen

    def _arrive(self, rate: float) -> None:
        chance = self._random.random()
        if chance < LARGE_EACH_SECOND / rate and self._large:
            self._ask(Kind.LARGE, self._random.choice(self._large))
        elif chance > 1 - LEAVING_SHARE / 2:
            self._ask(Kind.LEAVES_ASKING, self._small[: len(self._small) // 2])
        elif chance > 1 - LEAVING_SHARE:
            self._ask(Kind.LEAVES_WAITING, self._small)
        else:
            self._ask(Kind.SMALL, self._small)

    def _each_second(self, now: float) -> None:
        """Slow clients send a byte, those who have gone come anew, and nobody waits for ever."""
        for client in self._slow:
            if client.rest:
                self._send(client, 1)
        while len(self._slow) < SLOW_CLIENTS:
            self._slow.append(client := self._open(Kind.SLOW))
            client.since, client.rest = now, self._small
            if len(self._slow) % 4:  # every fourth is slow from its first byte on, the others with their body
                self._send(client, bytes(self._small).index(b"\r\n\r\n") + 4)
        for key in list(self._poll.get_map().values()):
            client = key.data
            if client.kind is not Kind.SLOW and client.since and now - client.since > PATIENCE_SECONDS:
                self._errors["no answer"] += 1
                self._end(client)

    def _open(self, kind: Kind) -> _Client:
        client = _Client(self._port)
        client.kind = kind
        self._poll.register(client.socket, selectors.EVENT_READ, client)
        return client

    def _ask(self, kind: Kind, request: memoryview) -> None:
        if self._idle:
            client = self._idle.pop()
        elif self._busy < MOST_CONNECTIONS:
            client = self._open(kind)
        else:
            self._seen.unsent += 1
            return
        self._busy += 1
        self._seen.asked += 1
        client.kind, client.rest, client.since = kind, request, time.perf_counter()
        self._send(client, len(request))

    def _send(self, client: _Client, most: int) -> None:
        try:
            client.rest = client.rest[client.socket.send(client.rest[:most]) :]
        except BlockingIOError:
            pass
        except OSError as error:
            if client.kind not in (Kind.LARGE, Kind.SLOW):  # the answer to these may be there already
                self._errors[type(error).__name__] += 1
                self._end(client)
                return
            client.rest = client.rest[:0]
        if client.kind in (Kind.LEAVES_ASKING, Kind.LEAVES_WAITING):
            self._seen.left += 1
            self._end(client)
        elif client.kind is not Kind.SLOW and client.writes != bool(client.rest):
            client.writes = bool(client.rest)
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.writes else 0)
            self._poll.modify(client.socket, wanted, client)

    def _look(self, timeout: float) -> None:
        for key, events in self._poll.select(timeout):
            client = key.data
            if events & selectors.EVENT_READ:
                self._receive(client)
            if events & selectors.EVENT_WRITE and client.rest:
                self._send(client, len(client.rest))

    def _receive(self, client: _Client) -> None:
        try:
            data = client.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._errors[f"{client.kind.value}: {type(error).__name__}"] += 1
            self._end(client)
            return
        if not data:
            if client.since:  # an idle connection may be closed
                self._errors[f"{client.kind.value}: closed"] += 1
            self._end(client)
            return
        client.read += data
        if not _is_whole(client.read):
            return
        status = client.read[9:12].decode()
        self._answers[f"slow {status}" if client.kind is Kind.SLOW else status] += 1
        if client.kind is Kind.SMALL and status == "200":
            self._took.append(time.perf_counter() - client.since)
        if client.rest or client.kind is Kind.SLOW or b"\r\nconnection: close" in client.read:
            self._end(client)
        elif self._again:
            client.read, client.rest, client.since = b"", self._small, time.perf_counter()
            self._seen.asked += 1
            self._send(client, len(self._small))
            return
        else:
            self._busy -= 1
            client.read, client.since = b"", 0.0
            self._idle.append(client)
        if self._again:
            self._ask(Kind.SMALL, self._small)

    def _end(self, client: _Client) -> None:
        """Close the connection, whatever it is doing."""
        self._poll.unregister(client.socket)
        client.socket.close()
        client.rest = client.rest[:0]
        if client.kind is Kind.SLOW:
            self._slow = [slow for slow in self._slow if slow is not client]
        elif client.since:
            self._busy -= 1
        else:
            self._idle.remove(client)


def _is_whole(answer: bytes) -> bool:
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    found = head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0]
    return len(body) >= int(found or 0)


def request(path: str, body: bytes) -> bytes:
    """A POST as one piece."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass(frozen=True)
class Health:
    """What a prober saw."""

    probes: int
    failed: dict[str, int]
    """Probes that were not answered with 200, by why."""
    slowest: float
    p99: float
    """Seconds from opening the connection to the last byte."""
    slow: int
    """Of 100 ms and more."""
    slowest_served: float
    """But for what the server's event loop waited for a processor meanwhile, which others may have had."""


def probe(port: int, pid: int, seconds: float, each: float = 0.1) -> Health:
    """Ask for liveness and readiness in turns, by a connection each, as a kubelet does."""
    took: list[float] = []
    served: list[float] = []
    loop = Path(f"/proc/{pid}/task/{pid}/schedstat")
    failed: Counter[str] = Counter()
    start = time.perf_counter()
    count = 0
    while (now := time.perf_counter()) < start + seconds:
        due = start + count * each
        if due > now:
            time.sleep(due - now)
        path = ("ready", "live")[count % 2]
        count += 1
        waited, began = _waited(loop), time.perf_counter()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(f"GET /v2/health/{path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
                answer = connection.recv(65536)
                while answer and not _is_whole(answer):
                    answer += connection.recv(65536)
        except OSError as error:
            failed[type(error).__name__] += 1
        else:
            if not answer.startswith(b"HTTP/1.1 200"):
                failed[answer[9:12].decode() or "closed"] += 1
        took.append(time.perf_counter() - began)
        served.append(took[-1] - (_waited(loop) - waited))
        count = max(count, int((time.perf_counter() - start) / each))
    slow = sum(each >= 0.1 for each in took)
    return Health(len(took), dict(failed), max(took), percentile(took, 0.99), slow, max(served))


def _waited(loop: Path) -> float:
    """Seconds that a thread could have run and did not."""
    return int(loop.read_text().split()[1]) / 1e9


def tell(found: Any) -> None:
    """To the process that started this one."""
    print(json.dumps(asdict(found)), flush=True)
