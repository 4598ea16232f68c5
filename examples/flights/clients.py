"""Clients of the model while its versions change: real flights of March, one a request, and what came of each."""

import contextlib
import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import predict

PER_SECOND = 100.0
THREADS = 8
TELL_SECONDS = 5.0
TIMEOUT_SECONDS = 15.0

FROM_DAY = 16
"""Of March; the days before may have been learnt."""
AT_THE_GATE = 4
"""Every fourth flight has not left yet, so its departure delay is missing."""


def asked(march: pd.DataFrame) -> pd.DataFrame:
    """The flights that clients ask about, in the order in which they were to leave."""
    late = march[march["day"] >= FROM_DAY].reset_index(drop=True)
    return late.assign(dep_delay=late["dep_delay"].mask(late.index % AT_THE_GATE == 0))


def bodies(signature: Sequence[dict[str, Any]], rows: pd.DataFrame) -> list[bytes]:
    """An infer request for each row alone."""
    columns = predict.request(signature, rows)["inputs"]
    return [
        json.dumps({"inputs": [column | {"shape": [1], "data": [column["data"][at]]} for column in columns]}).encode()
        for at in range(len(rows))
    ]


Seen = Counter[tuple[str, bool]]
"""How many answers each revision gave ("": nobody gave one) that were a success, and that were none."""


def failures(seen: Seen, revision: str | None = None) -> int:
    """The requests that were no success; of one revision if it is named."""
    return sum(count for (by, success), count in seen.items() if not success and revision in (None, by))


def told(seen: Seen) -> str:
    """What was seen, in a line; the revision that answered first comes first.

    >>> told(Counter({("1a2b3c4d", True): 1200, ("6f7a8b9c", True): 6, ("6f7a8b9c", False): 2, ("", False): 1}))
    '1,209 requests, 3 failed: 1a2b3c4d answered 1,200; 6f7a8b9c answered 8, 2 failed; nobody answered 1, 1 failed'
    """
    parts = []
    for revision in dict.fromkeys(by for by, _ in seen):
        bad = failures(seen, revision)
        part = f"{revision or 'nobody'} answered {bad + seen[revision, True]:,}"
        parts.append(f"{part}, {bad:,} failed" if bad else part)
    return f"{seen.total():,} requests, {failures(seen):,} failed: {'; '.join(parts)}"


class Load:
    """Threads that send the requests in turn, at an even pace, each over a connection that it keeps open.

    The pace is that of the clock as long as answers come: what was held up is not made up for.
    """

    def __init__(self, url: str, requests: Sequence[bytes], per_second: float) -> None:
        self._url = url
        self._requests = itertools.cycle(requests)
        self._every = 1 / per_second
        self._due = time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._seen: Seen = Counter()
        self._threads = [threading.Thread(target=self._client) for _ in range(THREADS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send nothing more, and wait for the answers that are due."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def seen(self) -> Seen:
        """What was seen until now."""
        with self._lock:
            return self._seen.copy()

    def _client(self) -> None:
        with contextlib.closing(predict.Client(self._url, timeout=TIMEOUT_SECONDS)) as client:
            while True:
                due, request = self._next()
                if self._over.wait(max(0.0, due - time.monotonic())):
                    return
                found = outcome(client, request)
                with self._lock:
                    self._seen[found] += 1

    def _next(self) -> tuple[float, bytes]:
        with self._lock:
            self._due = max(self._due + self._every, time.monotonic())
            return self._due, next(self._requests)


def outcome(client: predict.Client, request: bytes) -> tuple[str, bool]:
    """The revision that answered a request, and whether that was a success."""
    try:
        reply = client.send("POST", f"/v2/models/{predict.MODEL}/infer", request)
    except (OSError, http.client.HTTPException):
        return "", False
    return reply.revision, reply.status == 200


@contextlib.contextmanager
def sending(url: str, requests: Sequence[bytes], per_second: float = PER_SECOND) -> Iterator[Load]:
    """Clients that send as long as the context is open, and a line every few seconds of what they saw."""
    load = Load(url, requests, per_second)
    over = threading.Event()
    teller = threading.Thread(target=_tell, args=(load, over))
    load.start()
    teller.start()
    try:
        yield load
    finally:
        load.stop()
        over.set()
        teller.join()


def _tell(load: Load, over: threading.Event) -> None:
    before: Seen = Counter()
    ended = False
    while not ended:
        ended = over.wait(TELL_SECONDS)
        now = load.seen()
        if new := now - before:
            # One write, so that it does not end up within a line of the command that runs meanwhile.
            print(f"    clients: {told(new)}\n", end="", flush=True)
        before = now
