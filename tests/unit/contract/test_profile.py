"""A value has one cell, the same wherever it is counted, and a profile that cannot be meant is refused."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tidegate_contract import profile
from tidegate_contract.profile import Categorical, Numeric, Profile, ProfileError
from tidegate_server.offline.profile import Score, build

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/profile.json").read_text())


@dataclass(frozen=True)
class Reference:
    given: dict[str, Any]
    expected: dict[str, Any]


@pytest.fixture(scope="module", params=VECTORS["cases"], ids=lambda case: case["name"])
def case(request: pytest.FixtureRequest) -> Reference:
    return Reference(request.param["input"], request.param["expected"])


def column(values: list[Any]) -> Any:
    """As `pack` hands it over: an object array of text, an array of numbers with NaN for what is missing."""
    if any(isinstance(value, str) for value in values):
        return np.array(values, dtype=object)
    return np.array(values, dtype=np.float64)


@pytest.fixture(scope="module")
def made(case: Reference) -> Profile:
    table = {name: column(values) for name, values in case.given["table"].items()}
    return build(table, Score("predict_proba[1]", column(case.given["score"])))


def test_the_profile_is_that_of_the_golden_vectors(case: Reference, made: Profile) -> None:
    wanted = case.expected["profile"]
    assert made.rows == wanted["rows"]
    for found, expected in zip((*made.features, made.score), (*wanted["features"], wanted["score"]), strict=True):
        got = msgspec.to_builtins(found)
        for field, value in expected.items():
            there = list(got[field]) if isinstance(value, list) else got[field]
            inexact = isinstance(value, float) or field == "edges"
            assert there == (pytest.approx(value, rel=VECTORS["relative_tolerance"]) if inexact else value), field


def test_each_value_has_the_cell_of_the_golden_vectors(case: Reference, made: Profile) -> None:
    codes = {found.name: found.codes(case.given["probe"][found.name]).tolist() for found in made.features}
    assert codes == case.expected["codes"]


def test_a_profile_survives_its_file_bit_for_bit(made: Profile) -> None:
    content = profile.encode(made)
    assert profile.decode(content) == made
    assert profile.encode(profile.decode(content)) == content


NUMBERS = Numeric("n", (0.0, 1.0), -1.0, 2.0, 0.0, 1.0, 0.5, 0.5, 0.5, (1, 2, 3), 1)
TEXTS = Categorical("t", ("a", "b"), ("c", "d"), (3, 2, 1), 1)


@pytest.mark.parametrize(
    ("found", "values", "codes"),
    [
        pytest.param(NUMBERS, [-0.5, 0.0, 0.99, 1.0, 2.0], [0, 1, 1, 2, 2], id="a cell begins at its edge"),
        pytest.param(NUMBERS, [None, float("nan")], [3, 3], id="missing numbers"),
        pytest.param(NUMBERS, [-1.01, 2.01, float("inf"), 1e300], [4, 4, 4, 4], id="numbers far outside"),
        pytest.param(TEXTS, ["b", "a", "d", "c"], [1, 0, 2, 2], id="the rare ones share a cell"),
        pytest.param(TEXTS, [None, "e", ""], [3, 4, 4], id="missing, and never seen"),
    ],
)
def test_the_cell_of_a_value(found: Numeric | Categorical, values: list[Any], codes: list[int]) -> None:
    assert found.codes(values).tolist() == codes


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        pytest.param(msgspec.structs.replace(NUMBERS, counts=(1, 2, 4)), "add up", id="too many rows"),
        pytest.param(msgspec.structs.replace(NUMBERS, counts=(7, 2, -3)), "add up", id="negative"),
        pytest.param(msgspec.structs.replace(NUMBERS, counts=(1, 5)), "fit", id="a cell too few"),
        pytest.param(msgspec.structs.replace(NUMBERS, edges=(1.0, 1.0)), "fit", id="an empty cell"),
        pytest.param(msgspec.structs.replace(TEXTS, rare=()), "fit", id="a cell for nothing"),
    ],
)
def test_a_profile_that_cannot_be_meant_names_the_column(broken: Numeric | Categorical, words: str) -> None:
    with pytest.raises(ProfileError, match=f"{words}.*|.*{words}") as found:
        profile.decode(profile.encode(Profile(7, (broken,))))
    assert repr(broken.name) in str(found.value)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"rows": 1, "features": [{"type": "odd"}]}'])
def test_what_does_not_parse_is_refused(content: bytes) -> None:
    with pytest.raises(ProfileError, match="does not parse"):
        profile.decode(content)
