"""Strict columns keep out what their reference did not have; others only count it."""

from typing import Any

import numpy as np
import pytest

from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import ManifestError, Signature, TensorSpec, check
from tidegate_server.http.door import Door
from tidegate_server.http.errors import OipError
from tidegate_server.offline.profile import build

from bundles import manifest  # isort: skip

SIGNATURE = Signature(
    (
        TensorSpec("delay", Datatype.FP64, (-1,)),
        TensorSpec("wind", Datatype.FP64, (-1,)),
        TensorSpec("carrier", Datatype.BYTES, (-1,)),
    ),
    (),
)
PROFILE = build(
    {
        "delay": np.array([0.0, 5.0, 10.0]),
        "wind": np.array([1.0, np.nan, 2.0]),
        "carrier": np.array(["UA", "AA", "UA"], np.object_),
    }
)
GOOD: dict[str, Any] = {"delay": [15.0], "wind": [None], "carrier": ["AA"]}


def refused(table: dict[str, Any], *strict: str) -> str:
    with pytest.raises(OipError) as caught:
        Door(PROFILE, SIGNATURE, strict).check(table)
    assert (caught.value.status, caught.value.kind, caught.value.column) == (400, "strict", strict[0])
    return caught.value.message


def test_what_the_reference_might_hold_comes_in() -> None:
    door = Door(PROFILE, SIGNATURE, ("delay", "wind", "carrier"))
    door.check(GOOD)
    door.check({name: np.array(column) for name, column in GOOD.items()})


def test_a_number_of_single_precision_is_compared_as_such() -> None:
    profile = build({"x": np.full(3, 0.1, np.float32)})
    signature = Signature((TensorSpec("x", Datatype.FP32, (-1,)),), ())
    Door(profile, signature, ("x",)).check({"x": [0.1]})
    Door(profile, signature, ("x",)).check({"x": np.array([0.1], np.float32)})
    with pytest.raises(OipError, match="a number outside"):
        Door(profile, signature, ("x",)).check({"x": [0.1000001]})


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("delay", [1.0, 15.1], "row 1: a number outside -5 to 15"),
        ("delay", [-5.1], "row 0: a number outside"),
        ("delay", [0.0, None], "row 1: a value is missing"),
        ("carrier", ["UA", "AA", "secret"], "row 2: a value that the model has never seen"),
        ("carrier", [None], "row 0: a value is missing"),
        ("wind", [99.0], "row 0: a number outside"),
    ],
)
def test_other_values_of_a_strict_column_are_refused_by_row_and_never_shown(
    column: str, values: list[Any], said: str
) -> None:
    table = {name: value * len(values) for name, value in GOOD.items()} | {column: values}
    message = refused(table, column)
    assert said in message
    assert "secret" not in message
    Door(PROFILE, SIGNATURE, tuple(GOOD.keys() - {column})).check(table)


def test_a_manifest_cannot_be_strict_about_what_is_no_input() -> None:
    check(manifest(strict=("delay",)))
    with pytest.raises(ManifestError, match="strict: 'other'"):
        check(manifest(strict=("other",)))
