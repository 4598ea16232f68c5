"""Two models on the same rows: what is told of them, and what is not."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bundles import classifier, flights, manifest, regressor
from tidegate_contract.bundle.datatypes import Datatype
from tidegate_contract.bundle.manifest import Signature, TensorSpec
from tidegate_server.loader import LoadedModel, load_model
from tidegate_server.offline.compare import Comparison, compare
from tidegate_server.offline.errors import CompareError
from tidegate_server.offline.pack import pack
from tidegate_server.tensors import Columns

Answer = Callable[[Columns], np.ndarray[Any, Any]]
INPUTS = (TensorSpec("carrier", Datatype.BYTES, (-1,)), TensorSpec("delay", Datatype.FP64, (-1,)))


def of_classes(chance: Answer, inputs: tuple[TensorSpec, ...] = INPUTS) -> LoadedModel:
    """A model that gives class 1 this chance."""

    class Engine:
        def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
            p = chance(columns)
            return {"predict": (p > 0.5).astype(np.int64), "predict_proba": np.column_stack([1 - p, p])}

    outputs = (
        TensorSpec("predict", Datatype.INT64, (-1,)),
        TensorSpec("predict_proba", Datatype.FP64, (-1, 2), labels=(0, 1)),
    )
    return LoadedModel(Engine(), manifest(signature=Signature(inputs, outputs)), "sha256:0", None, 0.0)


def of_numbers(answer: Answer) -> LoadedModel:
    class Engine:
        def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
            return {"predict": answer(columns)}

    signature = Signature(INPUTS, (TensorSpec("predict", Datatype.FP64, (-1,)),))
    return LoadedModel(Engine(), manifest(signature=signature), "sha256:0", None, 0.0)


def table(rows: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Late, 1, where the delay is above 0; with one row in ten the other way round."""
    random = np.random.default_rng(seed)
    delay = random.normal(0, 1, rows)
    late = ((delay > 0) ^ (random.random(rows) < 0.1)).astype(int)
    return pd.DataFrame({"carrier": random.choice(["AA", "DL", "UA"], rows), "delay": delay, "late": late})


def by_delay(columns: Columns) -> Any:
    return np.where(columns["delay"] > 0, 0.9, 0.1)


def by_nothing(columns: Columns) -> Any:
    return np.full(len(columns["delay"]), 0.9)


def wrong_for_ua(columns: Columns) -> Any:
    """As `by_delay`, and of one carrier always the contrary."""
    return np.where(columns["carrier"] == "UA", 1 - by_delay(columns), by_delay(columns))


def verdicts(found: Comparison) -> dict[str, str]:
    return {each.name: each.verdict for each in found.figures}


def test_a_better_model_is_better_by_every_figure() -> None:
    found = compare(of_classes(by_nothing), of_classes(by_delay), table(), "late")
    assert verdicts(found) == dict.fromkeys(("wrong answers", "log loss", "Brier score"), "better")
    wrong = found.figures[0]
    assert wrong.rows == found.rows == 2000
    assert (wrong.old, wrong.new) == pytest.approx((0.5, 0.1), abs=0.03)
    assert wrong.difference.estimate == pytest.approx(wrong.new - wrong.old)
    turned = compare(of_classes(by_delay), of_classes(by_nothing), table(), "late")
    assert set(verdicts(turned).values()) == {"worse"}


def test_figures_are_what_they_are_called() -> None:
    frame = pd.DataFrame({"carrier": ["AA"] * 4, "delay": [1.0, 1.0, -1.0, -1.0], "late": [1, 0, 0, 0]})
    found = {
        each.name: each.new for each in compare(of_classes(by_nothing), of_classes(by_delay), frame, "late").figures
    }
    assert found["wrong answers"] == 0.25
    assert found["log loss"] == pytest.approx((3 * -np.log(0.9) - np.log(0.1)) / 4)
    assert found["Brier score"] == pytest.approx((3 * 2 * 0.01 + 2 * 0.81) / 4)


def test_the_same_model_twice_leaves_it_open() -> None:
    found = compare(of_classes(by_delay), of_classes(by_delay), table(), "late")
    assert set(verdicts(found).values()) == {"open"}
    assert {part.verdict for part in found.slices} == {"open"}


def test_models_that_differ_by_chance_are_rarely_told_apart_by_any_of_their_slices() -> None:
    """Both err in one row of five, each in its own; 40 tables, and a chance of 5 % each that one slice is told."""

    def coin(seed: int) -> Answer:
        def chance(columns: Columns) -> Any:
            flip = np.random.default_rng(seed).random(len(columns["delay"])) < 0.2
            return np.where(flip, 1 - by_delay(columns), by_delay(columns))

        return chance

    told = 0
    for seed in range(40):
        found = compare(of_classes(coin(seed)), of_classes(coin(seed + 1000)), table(1000, seed), "late")
        assert len(found.slices) == 7
        told += any(part.verdict != "open" for part in found.slices)
    assert told <= 6


def test_the_slice_in_which_a_model_fails_comes_first() -> None:
    found = compare(of_classes(by_delay), of_classes(wrong_for_ua), table(), "late")
    assert (found.slices[0].name, found.slices[0].verdict) == ("carrier = UA", "worse")
    assert {part.verdict for part in found.slices if part.name in ("carrier = AA", "carrier = DL")} == {"open"}


def test_slices_of_few_rows_are_left_out_and_missing_values_are_one() -> None:
    frame = table()
    frame.loc[:149, "carrier"] = None
    frame.loc[150:159, "carrier"] = "XX"
    names = [part.name for part in compare(of_classes(by_nothing), of_classes(by_delay), frame, "late").slices]
    assert "carrier is missing" in names
    assert "carrier = XX" not in names
    assert sum(name.startswith("delay") for name in names) == 4


def test_what_a_model_goes_by_is_what_it_errs_without() -> None:
    frame = table().assign(late=lambda rows: (rows["carrier"] == "UA").astype(int))
    by_carrier = of_classes(lambda columns: np.where(columns["carrier"] == "UA", 0.9, 0.1))
    first, second = compare(of_classes(by_delay), by_carrier, frame, "late").importance
    assert (first.column, first.old_rank, first.new_rank) == ("carrier", 2, 1)
    assert (first.old, first.new) == pytest.approx((0, 4 / 9), abs=0.03)
    assert (second.column, second.old_rank, second.new, second.new_rank) == ("delay", 1, 0, 2)


def test_a_column_that_only_one_of_them_takes_has_no_rank_in_the_other() -> None:
    found = compare(of_classes(by_delay), of_classes(by_delay, INPUTS[1:]), table(), "late")
    assert {each.column: (each.old_rank, each.new_rank) for each in found.importance} == {
        "delay": (1, 1),
        "carrier": (2, None),
    }


def test_models_of_numbers_are_compared_by_their_errors() -> None:
    frame = table().assign(minutes=lambda rows: 10 * rows["delay"])
    exact = of_numbers(lambda columns: 10 * columns["delay"])
    off = of_numbers(lambda columns: 10 * columns["delay"] + 2)
    found = compare(off, exact, frame.drop(columns="late"), "minutes")
    assert [each.name for each in found.figures] == ["absolute error", "squared error"]
    assert [each.old for each in found.figures] == pytest.approx([2, 4])
    assert [each.new for each in found.figures] == pytest.approx([0, 0])


def test_rows_without_a_truth_are_left_out() -> None:
    frame = table().astype({"late": "Int64"})
    frame.loc[:99, "late"] = None
    assert compare(of_classes(by_nothing), of_classes(by_delay), frame, "late").rows == 1900


@pytest.mark.parametrize(
    ("old", "new", "frame", "target", "message"),
    [
        (of_classes(by_delay), of_classes(by_delay), table(), "x", "no column 'x'"),
        (of_classes(by_delay), of_numbers(by_delay), table(), "late", "one model answers with classes"),
        (of_classes(by_delay), of_classes(by_delay), table()[["late", "delay"]], "late", "the data lacks: carrier"),
        (of_classes(by_delay), of_classes(by_delay), table().assign(late=None), "late", "no row of the data"),
        (of_numbers(by_delay), of_numbers(by_delay), table().assign(late="x"), "late", "holds something else"),
        (of_classes(by_delay), of_classes(lambda columns: columns["x"]), table(), "late", "cannot answer the data"),
    ],
    ids=[
        "no target",
        "classes and numbers",
        "a column too few",
        "nothing known",
        "text for a number",
        "a broken model",
    ],
)
def test_what_cannot_be_compared_is_said(
    old: LoadedModel, new: LoadedModel, frame: pd.DataFrame, target: str, message: str
) -> None:
    with pytest.raises(CompareError, match=message):
        compare(old, new, frame, target)


def test_real_bundles_of_text_and_numbers_are_compared(tmp_path: Path) -> None:
    import skops.io

    frame, held_out = flights(400), flights(200)
    for name, rows in (("old", frame.iloc[:60]), ("new", frame)):
        skops.io.dump(classifier(rows), tmp_path / f"{name}.skops")
        pack(tmp_path / f"{name}.skops", frame, tmp_path / name)
    models = [load_model(tmp_path / name, None, allow_pickle=False) for name in ("old", "new")]
    found = compare(models[0], models[1], held_out, "late")
    assert [each.name for each in found.figures] == ["wrong answers", "log loss", "Brier score"]
    assert {each.column for each in found.importance} == {"carrier", "delay", "hour", "weekend"}
    skops.io.dump(regressor(frame), tmp_path / "minutes.skops")
    number = pack(tmp_path / "minutes.skops", frame, tmp_path / "minutes")
    model = load_model(number.directory, None, allow_pickle=False)
    assert compare(model, model, held_out, "minutes").figures[0].name == "absolute error"
