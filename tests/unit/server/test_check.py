"""Each check finds what it is for, says it with its numbers, and is silent about data that is as it should be."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import bundles
from tidegate_server.offline.check import Finding, Weight, check, given_away
from tidegate_server.offline.errors import TableError

ROWS = 1000


def table(**columns: Any) -> pd.DataFrame:
    """Two honest columns and a target that depends on them, with noise."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"distance": random.normal(1000, 300, ROWS), "carrier": random.choice(list("ABC"), ROWS)})
    frame["late"] = (frame["distance"] + random.normal(0, 300, ROWS) > 1100).astype(int)
    return frame.assign(**columns)


def found(frame: pd.DataFrame, target: str | None = "late", held_out: pd.DataFrame | None = None) -> list[str]:
    return [f"{one.weight} {one.what} {one.column}".strip() for one in check(frame, target, held_out)]


def test_data_that_is_as_it_should_be_gives_no_finding() -> None:
    frame = table()
    assert found(frame[: ROWS // 2], held_out=frame[ROWS // 2 :]) == []


def with_missing(share: float) -> Any:
    return np.where(np.arange(ROWS) < share * ROWS, np.nan, 1.5 * np.arange(ROWS))


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param(table(gate=np.nan), ["problem missing gate"], id="no value at all"),
        pytest.param(table(gate=with_missing(0.6)), ["note missing gate"], id="mostly missing"),
        pytest.param(table(gate=with_missing(0.4)), [], id="often missing"),
        pytest.param(table(late=with_missing(0.01)), ["problem missing late"], id="a target that is not known"),
        pytest.param(
            table(gate=np.where(with_missing(0.1) > 0, 1.0, np.inf)), ["problem infinite gate"], id="infinities"
        ),
        pytest.param(table(year=2013), ["note constant year"], id="always the same"),
        pytest.param(table(x=[1, "a"] * (ROWS // 2)), ["problem type x"], id="a column of two types"),
        pytest.param(table(late=1), ["problem classes late"], id="one class"),
        pytest.param(table(late=[1] * 5 + [0] * (ROWS - 5)), ["note classes late"], id="a rare class"),
        pytest.param(table(arrival=table()["late"] * 10.0), ["problem leak arrival"], id="the target in other words"),
        pytest.param(table(word=table()["late"].map({0: "no", 1: "yes"})), ["problem leak word"], id="and as text"),
        pytest.param(table(id=[f"flight {n}" for n in range(ROWS)]), [], id="a name for each row tells nothing"),
    ],
)
def test_what_is_found(frame: pd.DataFrame, expected: list[str]) -> None:
    assert found(frame) == expected


def test_a_leak_is_said_with_how_much_it_tells() -> None:
    (one,) = check(table(arrival=table()["late"] * 10.0), "late")
    assert one == Finding(
        Weight.PROBLEM,
        "leak",
        "arrival",
        "column 'arrival' alone tells 100% of what there is to know about 'late': is it known before the answer is?",
    )


def test_a_quantity_can_be_given_away_as_well() -> None:
    frame = table()
    frame["minutes"] = frame["distance"] * 0.1
    assert found(frame.drop(columns="late"), "minutes") == ["problem leak distance"]
    honest = LinearRegression().fit(frame[["distance"]], frame["late"]).predict(frame[["distance"]])
    assert given_away(pd.Series(honest), frame["distance"] + np.random.default_rng(1).normal(0, 300, ROWS)) < 0.7


def test_rows_that_stand_there_twice_are_counted() -> None:
    frame = pd.concat([table(), table()[:50]])
    (one,) = check(frame, "late")
    assert (one.what, one.message) == ("duplicates", "50 of 1,050 rows repeat an earlier one: they count twice")


def test_rows_that_contradict_each_other_bound_what_can_be_reached() -> None:
    frame = table()
    other = frame[:100].assign(late=1 - frame["late"][:100])
    (one,) = check(pd.concat([frame, other]), "late")
    assert one.what == "contradictions"
    assert one.message.startswith("100 rows have the same inputs as others and another 'late': ")
    assert one.message.endswith("more than 90.9% of them all")


def test_held_out_rows_that_were_trained_on_are_a_problem_whatever_their_type_of_number() -> None:
    frame = table(hour=np.arange(ROWS) % 24)
    held_out = frame[:200].astype({"hour": float})
    assert found(frame, held_out=held_out) == ["problem overlap"]


def test_rows_of_few_values_that_meet_by_chance_are_none() -> None:
    random = np.random.default_rng(5)
    frame = pd.DataFrame({"a": random.integers(0, 5, ROWS), "b": random.integers(0, 5, ROWS)})
    frame["late"] = random.integers(0, 2, ROWS)
    findings = found(frame[:500], held_out=frame[500:])
    assert not [finding for finding in findings if "overlap" in finding]


@pytest.mark.parametrize(
    ("frame", "target", "words"),
    [
        pytest.param(table()[:0], None, "no rows", id="empty"),
        pytest.param(table(), "delay", "no column 'delay'; it has distance, carrier, late", id="no target"),
    ],
)
def test_a_table_that_cannot_be_looked_at(frame: pd.DataFrame, target: str | None, words: str) -> None:
    with pytest.raises(TableError, match=words):
        check(frame, target)


def test_held_out_data_of_other_columns_is_refused_by_name() -> None:
    with pytest.raises(TableError, match="lacks carrier"):
        check(table(), "late", table().drop(columns="carrier"))


def test_every_kind_of_column_can_be_looked_at() -> None:
    frame = bundles.flights(400)
    assert {one.weight for one in check(frame.drop(columns="minutes"), "late")} <= {Weight.NOTE, Weight.PROBLEM}
