"""Durations as Kubernetes writes them."""

import re

DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Seconds of a duration that matches DURATION_PATTERN.

    >>> seconds("1m30s")
    90.0
    >>> seconds("50ms")
    0.05
    """
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
