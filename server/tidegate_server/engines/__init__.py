"""What runs a model: one file each, behind one small protocol.

    engine = load_engine(bundle, allow_pickle=False)
    engine.predict({"carrier": array(["UA"]), "distance": array([1400.0])}, ("predict",))

scikit.py      a scikit-learn model itself
onnx.py        an ONNX model, by ONNX Runtime
written.py     a class that its author wrote, with modules.py
compiled.py    a scikit-learn model as plain arrays, with trees.py and linear.py
chosen.py      one of the two, by the number of rows

A new engine is one more file and one more case in `load_engine`. Libraries are imported
inside the file of their engine only, so that a server pays for the one that it uses.
"""

from collections.abc import Sequence
from typing import Protocol

from tidegate_contract.bundle.manifest import Format, Manifest
from tidegate_contract.bundle.verify import VerifiedBundle
from tidegate_contract.failure import BundleError, FailureReason
from tidegate_server.tensors import Columns

PREDICT = "predict"
PREDICT_PROBA = "predict_proba"
"""The outputs that models have."""


class Engine(Protocol):
    """A loaded model."""

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        """The wanted outputs, shape [n] or [n, k], for columns of shape [n] that match the signature.

        Raises whatever the model raises.
        """
        ...


def permit(manifest: Manifest, *, allow_pickle: bool) -> None:
    """Whether the model may be read at all. Raises BundleError PICKLE_REFUSED."""
    if not manifest.format.runs_code or allow_pickle:
        return
    if manifest.format is Format.PYTHON:
        said = f"{manifest.model_file} is Python, and serving it"
        ways = ""
    else:
        said = f"{manifest.model_file} is a pickle, and reading one"
        ways = "either save the model with skops.io.dump and pack that, or "
    raise BundleError(
        FailureReason.PICKLE_REFUSED,
        f"{said} runs code of its author: {ways}set spec.model.allowPickle to true if you trust every writer of it",
    )


def load_engine(bundle: VerifiedBundle, *, allow_pickle: bool) -> Engine:
    """Load a verified bundle's model itself.

    Raises BundleError with LOAD_FAILED or PICKLE_REFUSED.
    """
    permit(bundle.manifest, allow_pickle=allow_pickle)
    match bundle.manifest.format:
        case Format.SKLEARN_SKOPS | Format.SKLEARN_JOBLIB:
            from tidegate_server.engines import scikit

            return scikit.load(bundle)
        case Format.ONNX:
            from tidegate_server.engines import onnx

            return onnx.load(bundle)
        case Format.PYTHON:
            from tidegate_server.engines import written

            return written.load(bundle)
