"""timings.json: how fast a bundle's engines were where it was packed.

No two measurements are equal, so it stands beside the manifest and outside of the digest.
Both engines give the same answers: a wrong figure costs time, and nothing else.
"""

import math

import msgspec

TIMINGS_NAME = "timings.json"
MAX_TIMINGS_BYTES = 1 << 16
ROWS = tuple(1 << power for power in range(13))
"""At which numbers of rows engines are measured, 1 to 4,096."""
UNMEASURED_LIMIT = 16
"""Up to so many rows a compiled engine is used of which no figures are known: the time of the model itself is all
overhead there."""
_CLEARLY = 2
"""So many times as fast at the largest number of rows, and the compiled engine is used for more rows too."""


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Medians of both engines at ascending numbers of rows, in microseconds a call."""

    rows: tuple[int, ...]
    compiled: tuple[float, ...]
    original: tuple[float, ...]
    processor: str = ""

    @property
    def limit(self) -> int | None:
        """The largest number of rows up to which the compiled engine was never slower.

        None, for any number, if it took at most half the time at the largest one; nearer to the original, nothing is
        known of more rows than were measured.

        >>> Timings(rows=(1, 2, 4), compiled=(5, 6, 9), original=(50, 50, 8)).limit
        2
        >>> Timings(rows=(1, 2, 4), compiled=(5, 6, 7), original=(50, 50, 8)).limit
        4
        """
        limit = 0
        for rows, compiled, original in zip(self.rows, self.compiled, self.original, strict=True):
            if compiled > original:
                return limit
            limit = rows
        return None if _CLEARLY * self.compiled[-1] <= self.original[-1] else limit


def limit_of(timings: Timings | None) -> int | None:
    """Up to how many rows a compiled engine is used; None: at any number."""
    return UNMEASURED_LIMIT if timings is None else timings.limit


def encode(timings: Timings) -> bytes:
    return msgspec.json.format(msgspec.json.encode(timings, order="sorted"), indent=2) + b"\n"


def decode(content: bytes) -> Timings | None:
    """None for what does not parse or cannot be meant."""
    try:
        timings = msgspec.json.decode(content, type=Timings)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    rows, figures = timings.rows, (*timings.compiled, *timings.original)
    fits = 0 < len(rows) == len(timings.compiled) == len(timings.original)
    ascending = all(low < high for low, high in zip((0, *rows), rows, strict=False))
    positive = all(math.isfinite(figure) and figure > 0 for figure in figures)
    whole = len(content) <= MAX_TIMINGS_BYTES and len(timings.processor) <= 200
    return timings if fits and ascending and positive and whole else None
