"""A trained model, and a rule that overrules it: what `tidegate pack` takes instead of a model file."""

from pathlib import Path

import numpy as np
import pandas as pd
import skops.io

from .rules import cannot_catch_up


class Model:
    """Flights by boosted trees, and late by rule where the delay cannot be made up for."""

    def load(self, directory: Path) -> None:
        """Read what lies in this folder. The digest of the bundle has been checked, so its types can be trusted."""
        file = directory / "model.skops"
        self._model = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
        self.classes_ = self._model.classes_

    def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answers by name, for columns by name; `because` says who decided."""
        rows = pd.DataFrame({name: pd.array(c, "str") if c.dtype == object else c for name, c in inputs.items()})
        chances = self._model.predict_proba(rows)
        by_rule = cannot_catch_up(inputs["dep_delay"], inputs["distance"])
        chances[by_rule] = [0.0, 1.0]
        return {
            "predict": self.classes_[chances.argmax(axis=1)],
            "predict_proba": chances,
            "because": np.where(by_rule, "rule: cannot catch up", "model"),
        }
