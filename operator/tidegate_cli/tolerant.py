"""Plain JSON, read tolerantly: a field that is not there, or is something else, is unknown, never an error."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

UNKNOWN = "?"


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def mappings(value: object) -> list[Mapping[str, Any]]:
    """Those of a list that are some."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list | tuple) else []


def text(value: object) -> str:
    return UNKNOWN if value is None or value == "" else str(value)


def count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def amount(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def moment(value: object) -> dt.datetime | None:
    """A time with its zone, as the API server writes it."""
    try:
        found = dt.datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else None
