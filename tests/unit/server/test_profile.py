"""What becomes the reference of a bundle, and what stands for an answer."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as some
from msgspec.structs import replace
from sklearn.linear_model import LinearRegression

import bundles
from tidegate_contract.bundle.verify import verify
from tidegate_contract.failure import BundleError
from tidegate_contract.profile import PROFILE_NAME, Categorical, Numeric, Profile, ProfileError, encode
from tidegate_server.loader import load_model, read_profile
from tidegate_server.offline.pack import pack
from tidegate_server.offline.profile import Score, build, score_of


@given(
    some.arrays(
        np.float64, st.integers(1, 300), elements=st.one_of(st.floats(-1e150, 1e150), st.just(np.nan), st.just(0.0))
    ),
)
def test_every_number_of_the_reference_is_valid_and_counted_where_it_lies(values: Any) -> None:
    made = build({"x": values})
    if not made.features:
        assert np.isnan(values).all()
        return
    (column,) = made.features
    codes = column.codes(values)
    assert np.bincount(codes, minlength=len(column.counts) + 2).tolist() == [*column.counts, column.missing, 0]


@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=1, max_size=200))
@example(["\0"])
def test_every_text_of_the_reference_is_known(values: list[str | None]) -> None:
    made = build({"x": np.array(values, dtype=object)})
    if not made.features:
        assert set(values) == {None}
        return
    (column,) = made.features
    codes = column.codes(values)
    assert np.bincount(codes, minlength=len(column.counts) + 2).tolist() == [*column.counts, column.missing, 0]


def test_a_frequent_number_has_a_cell_of_its_own() -> None:
    made = build({"x": np.array([0.0] * 10 + list(range(1, 91)), dtype=np.float64)}).features[0]
    assert isinstance(made, Numeric)
    cell = int(made.codes([0.0])[0])
    assert made.counts[cell] == 10
    assert made.codes([-1e-9, 1e-9]).tolist() == [cell - 1, cell + 1]


def test_a_column_without_a_value_has_no_profile() -> None:
    empty, text = np.array([np.nan, np.nan]), np.array([None, None], dtype=object)
    made = build({"x": empty, "y": text, "z": np.array([1, 2])})
    assert [column.name for column in made.features] == ["z"]
    assert made.rows == 2


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e151, -1.7e308])
def test_numbers_that_nothing_can_be_computed_with_are_refused_by_name(value: float) -> None:
    with pytest.raises(ProfileError, match="column 'x' holds infinite values"):
        build({"x": np.array([1.0, value, np.nan])})


def test_of_a_score_no_number_is_invalid() -> None:
    made = build({"x": np.array([1.0, 2.0])}, Score("predict", np.array([1.0, 2.0]))).score
    assert made is not None
    assert made.missing_code not in made.codes([-1e300, 1e300])
    assert made.invalid_code not in made.codes([-1e300, 1e300])


@pytest.mark.parametrize(
    ("answers", "of", "values"),
    [
        pytest.param(
            {"predict": np.array([0, 1]), "predict_proba": np.array([[0.9, 0.1], [0.2, 0.8]])},
            "predict_proba[1]",
            [0.1, 0.8],
            id="two classes: the second one's probability",
        ),
        pytest.param(
            {"predict": np.array([2, 0]), "predict_proba": np.full((2, 3), 1 / 3)},
            "predict",
            ["2", "0"],
            id="more classes: the label",
        ),
        pytest.param({"predict": np.array([1.5, 2.5])}, "predict", [1.5, 2.5], id="a number"),
        pytest.param(
            {"predict": np.array(["a\0", "a"], dtype=object)}, "predict", ["a\0", "a"], id="labels that end in a zero"
        ),
    ],
)
def test_what_stands_for_an_answer(answers: dict[str, Any], of: str, values: list[Any]) -> None:
    found = score_of(answers)
    assert found is not None
    assert (found.of, found.values.tolist()) == (of, values)


def test_no_one_number_stands_for_several() -> None:
    assert score_of({"predict": np.zeros((2, 2))}) is None


def test_pack_writes_the_profile_under_the_digest(trained: Any, tmp_path: Path) -> None:
    packed = pack(trained.skops, trained.frame, tmp_path / "b", target="late")
    loaded = load_model(packed.directory, packed.digest, allow_pickle=False)
    assert loaded.profile is not None
    assert [column.name for column in loaded.profile.features] == ["carrier", "delay", "hour", "weekend"]
    assert loaded.profile.rows == len(trained.frame)
    assert loaded.profile.score_of == "predict_proba[1]"
    carrier = loaded.profile.feature("carrier")
    assert isinstance(carrier, Categorical)
    assert carrier.missing == trained.frame["carrier"].isna().sum()
    (packed.directory / "profile.json").write_bytes(b"{}")
    with pytest.raises(BundleError, match="DigestMismatch"):
        verify(packed.directory, packed.digest)


def test_more_rows_than_enough_are_thinned_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate_server.offline.pack.PROFILE_ROWS", 11)
    monkeypatch.setattr("tidegate_server.offline.table.ASKED_AT_ONCE", 4)
    frame = pd.DataFrame({"a": np.arange(101, dtype=float), "y": np.arange(101) * 2.0})
    skops.io.dump(LinearRegression().fit(frame[["a"]], frame["y"]), tmp_path / "m.skops")
    said: list[str] = []
    packed = pack(tmp_path / "m.skops", frame, tmp_path / "b", target="y", progress=said.append)
    loaded = load_model(packed.directory, packed.digest, allow_pickle=False)
    assert loaded.profile is not None
    (column,) = loaded.profile.features
    assert isinstance(column, Numeric)
    assert (loaded.profile.rows, column.minimum, column.maximum, column.mean) == (11, 0.0, 100.0, 50.0)
    assert [words.rpartition(" ")[2] for words in said if "profiling" in words] == ["0%", "36%", "73%"]


def test_a_bundle_without_a_profile_serves(tmp_path: Path) -> None:
    bundles.write_bundle(tmp_path)
    assert read_profile(verify(tmp_path, None)) is None


FITTING = build({"carrier": np.array(["UA", "AA"], np.object_), "delay": np.array([0.0, 1.0])})
NUMBER = build({"delay": np.array([0.0, 1.0])}, score_of({"predict": np.array([0.5, 1.5])}))
LABEL = build({"delay": np.array([0.0, 1.0])}, score_of({"predict": np.array([0, 1])}))


def read(profile: Profile) -> Profile | None:
    """As a server reads it from a bundle of `bundles.SIGNATURE`: labels and two probabilities."""
    manifest = bundles.manifest(files={PROFILE_NAME: None})
    return read_profile(SimpleNamespace(manifest=manifest, read=lambda name: encode(profile)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "profile",
    [
        FITTING,
        LABEL,
        replace(NUMBER, score_of="predict_proba[1]"),
    ],
)
def test_a_profile_that_fits_the_signature_is_read(profile: Profile) -> None:
    assert read(profile) == profile


@pytest.mark.parametrize(
    "profile",
    [
        build({"other": np.array([0.0, 1.0])}),
        build({"carrier": np.array([0.0, 1.0])}),
        build({"delay": np.array(["a", "b"], np.object_)}),
        NUMBER,
        *(
            replace(NUMBER, score_of=of)
            for of in ("predict_proba", "predict_proba[2]", "predict_proba[x]", "predict_proba[-1]", "predict[0]", "")
        ),
        replace(LABEL, score_of="predict_proba[1]"),
        replace(LABEL, score_of="other"),
    ],
)
def test_a_profile_that_does_not_fit_the_signature_is_refused(profile: Profile) -> None:
    """Counting by it would fail at every row."""
    with pytest.raises(BundleError, match="BundleInvalid"):
        read(profile)
