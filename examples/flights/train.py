"""Learn from January and February 2013 whether a flight will arrive more than 15 minutes late.

Writes what `tidegate pack` takes: `model.skops` (a scikit-learn pipeline without pickle)
and `train.parquet` (the features and the target `late`). Two runs write the same model.
"""

import argparse
import time
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the example's model on January and February 2013.")
    parser.add_argument("--output", "-o", type=Path, default=Path("dist/flights"), metavar="DIR")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)

    started = time.perf_counter()
    rows, march = data.read(1, 2), data.read(3)
    held_out = march[march["day"] <= 15]
    print(f"read {len(rows):,} flights of January and February in {time.perf_counter() - started:.1f} s")

    started = time.perf_counter()
    model = train(rows)
    print(f"trained in {time.perf_counter() - started:.1f} s")

    late = model.predict_proba(held_out[data.FEATURES])[:, 1]
    auc = roc_auc_score(held_out[data.TARGET], late)
    accuracy = accuracy_score(held_out[data.TARGET], late > 0.5)
    print(f"held out, {len(held_out):,} flights of 1 to 15 March: AUC {auc:.3f}, accuracy {accuracy:.1%}")

    skops.io.dump(model, output / "model.skops")
    rows[[*data.FEATURES, data.TARGET]].to_parquet(output / "train.parquet", index=False)
    print(f"wrote {output / 'model.skops'} and {output / 'train.parquet'}")


if __name__ == "__main__":
    main()
