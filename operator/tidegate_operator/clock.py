"""The one module that asks what time it is."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The time of day, aware UTC: for what people read."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds since some moment: for measuring how long something takes."""
    return time.monotonic()
