"""Models of scikit-learn as a service of BentoML, each as it is and batchable. Runs in BentoML's environment."""

import os
from pathlib import Path

import bentoml
import joblib
import numpy as np


@bentoml.service
class Models:
    def __init__(self) -> None:
        folder = Path(os.environ["BENCH_FOLDER"])
        self._models = {path.stem: joblib.load(path) for path in folder.glob("*.joblib")}

    @bentoml.api
    def forest(self, rows: np.ndarray) -> np.ndarray:
        return self._models["forest"].predict(rows)

    @bentoml.api
    def boosting(self, rows: np.ndarray) -> np.ndarray:
        return self._models["boosting"].predict(rows)

    @bentoml.api
    def logistic(self, rows: np.ndarray) -> np.ndarray:
        return self._models["logistic"].predict(rows)

    @bentoml.api(batchable=True)
    def forest_batchable(self, rows: np.ndarray) -> np.ndarray:
        return self._models["forest"].predict(rows)

    @bentoml.api(batchable=True)
    def boosting_batchable(self, rows: np.ndarray) -> np.ndarray:
        return self._models["boosting"].predict(rows)

    @bentoml.api(batchable=True)
    def logistic_batchable(self, rows: np.ndarray) -> np.ndarray:
        return self._models["logistic"].predict(rows)
