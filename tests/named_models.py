"""Named models, fitted on small tables whose values are often equal to each other: ties are common there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Fit = Callable[[pd.DataFrame], Any]


@dataclass(frozen=True)
class Case:
    """A model, what it is fitted on, and the column that it predicts."""

    make: Callable[[], Any]
    target: str
    gaps: bool = False
    """Whether values are missing in its data."""
    single: bool = False
    """Whether its numbers are FP32, and the last of them BOOL."""


def cases(trees: int = 20) -> dict[str, Case]:
    """The models by name; forests and boosting have so many trees."""
    from sklearn import ensemble as e
    from sklearn import linear_model as m
    from sklearn import tree as t
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler
    from sklearn.svm import LinearSVC

    def encoded() -> Any:
        encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
        numbers = [f"x{i}" for i in range(6)]
        return make_column_transformer((encode, ["text"]), ("passthrough", numbers), verbose_feature_names_out=False)

    def one_hot(model: Any, **settings: Any) -> Any:
        numbers = make_pipeline(SimpleImputer(), StandardScaler())
        encode = OneHotEncoder(**settings)
        return make_pipeline(make_column_transformer((encode, ["text"]), (numbers, [f"x{i}" for i in range(6)])), model)

    return {
        "random forest": Case(lambda: e.RandomForestClassifier(trees, random_state=0), "two"),
        "random forest, three classes, gaps": Case(
            lambda: e.RandomForestClassifier(trees, random_state=0), "three", True
        ),
        "random forest, regression": Case(lambda: e.RandomForestRegressor(trees, random_state=0), "number"),
        "extra trees": Case(lambda: e.ExtraTreesClassifier(trees, random_state=0), "two", True),
        "extra trees, regression": Case(lambda: e.ExtraTreesRegressor(trees, random_state=0), "number"),
        "decision tree": Case(lambda: t.DecisionTreeClassifier(random_state=0), "three", True),
        "decision tree, regression": Case(lambda: t.DecisionTreeRegressor(random_state=0), "number"),
        "gradient boosting": Case(lambda: e.GradientBoostingClassifier(n_estimators=trees, random_state=0), "two"),
        "gradient boosting, three classes": Case(
            lambda: e.GradientBoostingClassifier(n_estimators=trees, random_state=0), "three"
        ),
        "gradient boosting, exponential": Case(
            lambda: e.GradientBoostingClassifier(n_estimators=trees, loss="exponential", random_state=0), "two"
        ),
        "gradient boosting, regression": Case(
            lambda: e.GradientBoostingRegressor(n_estimators=trees, random_state=0), "number"
        ),
        "histogram boosting": Case(lambda: e.HistGradientBoostingClassifier(max_iter=trees), "two", True),
        "histogram boosting, three classes": Case(
            lambda: e.HistGradientBoostingClassifier(max_iter=trees), "three", True
        ),
        "histogram boosting, poisson": Case(
            lambda: e.HistGradientBoostingRegressor(max_iter=trees, loss="poisson"), "count", True
        ),
        "histogram boosting of text": Case(
            lambda: make_pipeline(encoded(), e.HistGradientBoostingClassifier(max_iter=trees)), "two", True
        ),
        "scaled histogram boosting": Case(
            lambda: make_pipeline(StandardScaler(), e.HistGradientBoostingClassifier(max_iter=trees)), "two", True
        ),
        "imputed histogram boosting of single precision": Case(
            lambda: make_pipeline(SimpleImputer(), e.HistGradientBoostingClassifier(max_iter=trees)),
            "three",
            True,
            single=True,
        ),
        "logistic regression": Case(lambda: m.LogisticRegression(max_iter=1000), "two"),
        "logistic regression, three classes": Case(lambda: m.LogisticRegression(max_iter=1000), "three"),
        "imputed and scaled logistic regression": Case(
            lambda: make_pipeline(SimpleImputer(), StandardScaler(), m.LogisticRegression()), "two", True
        ),
        "linear regression": Case(lambda: m.LinearRegression(), "number"),
        "scaled decision tree": Case(
            lambda: make_pipeline(StandardScaler(), t.DecisionTreeClassifier(random_state=0)), "three"
        ),
        "scaled gradient boosting": Case(
            lambda: make_pipeline(MinMaxScaler(), e.GradientBoostingClassifier(n_estimators=trees, random_state=0)),
            "two",
        ),
        "random forest of single precision": Case(
            lambda: e.RandomForestClassifier(trees, random_state=0), "two", True, single=True
        ),
        "histogram boosting of single precision": Case(
            lambda: e.HistGradientBoostingClassifier(max_iter=trees), "three", True, single=True
        ),
        "histogram boosting of text and single precision": Case(
            lambda: make_pipeline(encoded(), e.HistGradientBoostingClassifier(max_iter=trees)), "two", single=True
        ),
        "logistic regression of single precision": Case(
            lambda: m.LogisticRegression(max_iter=1000), "two", single=True
        ),
        "logistic regression of one-hot text": Case(
            lambda: one_hot(m.LogisticRegression(), handle_unknown="ignore"), "two", True
        ),
        "strict ridge of one-hot text": Case(lambda: one_hot(m.Ridge(), drop="first"), "number", True),
        "random forest of one-hot text": Case(
            lambda: one_hot(e.RandomForestClassifier(trees, random_state=0), sparse_output=False), "three", True
        ),
        "linear support vectors": Case(lambda: LinearSVC(random_state=0), "three"),
    }


def table(rows: int = 600, *, gaps: bool = False) -> pd.DataFrame:
    """Six numbers of one decimal, one of them of whole numbers, a text, and four targets."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame({f"x{i}": random.normal(0, 2, rows).round(1) for i in range(6)})
    frame["x5"] = frame["x5"].round()
    if gaps:
        frame.loc[::7, "x0"] = np.nan
        frame.loc[::5, "x3"] = np.nan
    known = frame.fillna(0.5)
    frame["text"] = random.choice(["red", "green", "blue"], rows)
    frame["number"] = known["x0"] * 3 + known["x1"] ** 2
    frame["count"] = known["x1"].abs().round()
    frame["two"] = np.where(known["x0"] + known["x2"] + random.normal(0, 1, rows) > 0, "yes", "no")
    frame["three"] = (known["x0"] > 0).astype(int) + (known["x3"] > 1)
    return frame


def fitted(case: Case, rows: int = 600) -> tuple[Any, pd.DataFrame]:
    """The model, and the columns that it was fitted on."""
    frame = table(rows, gaps=case.gaps)
    model = case.make()
    text = ["text"] if hasattr(model, "steps") and hasattr(model[0], "transformers") else []
    inputs = frame[[*(f"x{i}" for i in range(6)), *text]]
    if case.single:
        numbers = [f"x{i}" for i in range(5)]
        inputs = inputs.astype(dict.fromkeys(numbers, "float32")).assign(x5=inputs["x5"] > 0)
    return model.fit(inputs, frame[case.target]), inputs
