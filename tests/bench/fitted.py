"""The three models that the benches of servers serve."""

from pathlib import Path
from typing import Any

COLUMNS = tuple(f"x{place}" for place in range(10))


def make_bundles(folder: Path, *, named: bool = True) -> dict[str, Any]:
    """A bundle of each in the folder, under its name; the fitted models.

    `named`: fitted on a data frame; without, on an array, which scikit-learn answers a little faster.
    """
    import numpy as np
    import pandas as pd
    import skops.io
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    from tidegate_server.offline.pack import pack

    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(2000, len(COLUMNS))), columns=COLUMNS).round(4)
    target = (frame.sum(axis=1) + random.normal(size=len(frame)) > 0).astype(int)
    models = {
        "logistic": LogisticRegression(),
        "boosting": HistGradientBoostingClassifier(),
        "forest": RandomForestClassifier(100, random_state=1),
    }
    for name, model in models.items():
        skops.io.dump(model.fit(frame if named else frame.to_numpy(), target), folder / f"{name}.skops")
        pack(folder / f"{name}.skops", frame, folder / name, name="bench")
    return models
