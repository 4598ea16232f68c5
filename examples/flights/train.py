"""Learn from January and February 2013, and some days of March, whether a flight will arrive more than 15 minutes late.

Writes what `tidegate pack` takes: `model.skops` (a scikit-learn pipeline without pickle)
and `train.parquet` (the features and the target `late`). Two runs write the same model.
Beside them `held-out.parquet`, rows of the same columns that it has not learnt from: for `tidegate compare`.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import flights_data as data
import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

HIDDEN_SHARE = 0.1
"""Share of the training rows that are shown a second time without their departure delay."""

HELD_OUT_DAYS = 15
"""Days of March that are kept for judging a model that has learnt none of them."""


def pipeline() -> Pipeline:
    """Categories to numbers, then boosted trees.

    An airport or a carrier that was not seen in training becomes a missing value, and the trees
    take missing values as they are. A logistic regression on the same columns was a little worse
    on March and no faster to serve.
    """
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    prepare = ColumnTransformer([("categories", encode, data.CATEGORIES), ("numbers", "passthrough", data.NUMBERS)])
    return Pipeline([("prepare", prepare), ("trees", HistGradientBoostingClassifier(random_state=0))])


def with_hidden_delays(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, and a tenth of them once more with no departure delay.

    Every flight that landed has a departure delay, so the table alone cannot teach the trees what
    to say of a flight that is still at the gate.
    """
    hidden = rows.sample(frac=HIDDEN_SHARE, random_state=0).assign(dep_delay=np.nan)
    return pd.concat([rows, hidden], ignore_index=True)


def train(rows: pd.DataFrame) -> Pipeline:
    """Fit the pipeline to landed flights.

    In one thread: on a table this small several only wait for each other, and for long on a busy machine.
    """
    shown = with_hidden_delays(rows)
    with threadpool_limits(limits=1):
        return pipeline().fit(shown[data.FEATURES], shown[data.TARGET])


@dataclass(frozen=True, slots=True)
class Split:
    """What is learnt from and what the model is judged by, each also in words."""

    learnt: pd.DataFrame
    held_out: pd.DataFrame
    learnt_from: str
    held_out_from: str


def split(winter: pd.DataFrame, march: pd.DataFrame, days: int) -> Split:
    """January, February and the first `days` of March, and what follows of March; 1 to 15 March if there are none."""
    if not days:
        held_out = march[march["day"] <= HELD_OUT_DAYS]
        return Split(winter, held_out, "January and February", f"1 to {HELD_OUT_DAYS} March")
    learnt = pd.concat([winter, march[march["day"] <= days]], ignore_index=True)
    held_out = march[march["day"] > days]
    return Split(learnt, held_out, f"January, February and 1 to {days} March", f"{days + 1} to 31 March")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the example's model on January and February 2013.")
    parser.add_argument("--output", "-o", type=Path, default=Path("dist/flights"), metavar="DIR")
    parser.add_argument(
        "--march",
        type=int,
        choices=range(31),
        default=0,
        metavar="DAYS",
        help="learn the first so many days of it, too",
    )
    options = parser.parse_args()
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)

    started = time.perf_counter()
    parts = split(data.read(1, 2), data.read(3), options.march)
    held_out = parts.held_out
    print(f"read {len(parts.learnt):,} flights of {parts.learnt_from} in {time.perf_counter() - started:.1f} s")

    started = time.perf_counter()
    model = train(parts.learnt)
    print(f"trained in {time.perf_counter() - started:.1f} s")

    late = model.predict_proba(held_out[data.FEATURES])[:, 1]
    auc = roc_auc_score(held_out[data.TARGET], late)
    accuracy = accuracy_score(held_out[data.TARGET], late > 0.5)
    print(f"held out, {len(held_out):,} flights of {parts.held_out_from}: AUC {auc:.3f}, accuracy {accuracy:.1%}")

    skops.io.dump(model, output / "model.skops")
    columns = [*data.FEATURES, data.TARGET]
    parts.learnt[columns].to_parquet(output / "train.parquet", index=False)
    held_out[columns].to_parquet(output / "held-out.parquet", index=False)
    print(f"wrote {output / 'model.skops'}, {output / 'train.parquet'} and {output / 'held-out.parquet'}")


if __name__ == "__main__":
    main()
