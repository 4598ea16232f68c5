"""What a serving pod counts, as the operator reads it: cumulative integers over the cells of its bundle's profile.

Like Prometheus counters they only rise during one life of a process, so that a lost scrape costs nothing, the increase
between any two is exact, and pods add up by addition.
"""

from bisect import bisect_left

import msgspec

from tidegate_contract.losses import LossReport

COUNTERS_PATH = "/counters"
"""On the metrics port of every serving pod."""

GROWTH = 1.2
SLOW_BOUNDS: tuple[float, ...] = tuple(0.001 * GROWTH**step for step in range(64))
"""Upper bounds of the cells of answering times, in seconds; one more cell holds what is slower than all of them."""

WARMING_REQUESTS, WARMING_SECONDS = 20, 10.0
"""Times of a pod's first requests are not evidence: so many, or for so long, whichever ends first."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Of the requests that a router assigned at random, and no others."""

    requests: int = 0
    slow: tuple[int, ...] = (0,) * (len(SLOW_BOUNDS) + 1)
    """Answering times: requests in each cell of SLOW_BOUNDS, without those while the pod was warming."""
    score: tuple[int, ...] = ()
    """Rows in each cell of the profile's score, then missing, then invalid."""


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one process has counted so far."""

    pod: str
    """Uid of the pod; its name where the uid is not told."""
    revision: str
    digest: str
    epoch: str
    """One life of one process: with another one, counts begin at 0."""
    sequence: int
    """Rises by one with each reading."""
    rows: int = 0
    """Rows in the cells."""
    left_out: int = 0
    """Rows that were answered and are in no cell, as they came faster than they could be counted."""
    features: dict[str, tuple[int, ...]] = {}
    """Of each feature of the profile: rows in each cell, then missing, then invalid."""
    score: tuple[int, ...] = ()
    """The same of the answers. Its sum is below `rows` where requests did not ask for the output it is made of."""
    evidence: Evidence = Evidence()
    losses: LossReport = LossReport()
    """What this pod was told of predictions, its own and others'."""


def slow_cell(seconds: float) -> int:
    """The cell of an answering time.

    >>> slow_cell(0.0005), slow_cell(0.0011), slow_cell(1e9) == len(SLOW_BOUNDS)
    (0, 1, True)
    """
    return bisect_left(SLOW_BOUNDS, seconds)


def encode(counters: Counters) -> bytes:
    """The bytes that a reading answers with."""
    return msgspec.json.encode(counters)


def decode(content: bytes) -> Counters:
    """Raises msgspec.DecodeError."""
    return msgspec.json.decode(content, type=Counters)
