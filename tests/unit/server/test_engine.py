"""scikit-learn behind the engine protocol: from what a manifest says to what a model answers."""

import importlib
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest, mutual_info_classif
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import DotProduct, RationalQuadratic
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from tidegate_contract.bundle.manifest import MANIFEST_NAME, FileEntry, GoldenRows, Manifest, decode, encode
from tidegate_contract.bundle.verify import verify
from tidegate_contract.failure import BundleError, FailureReason
from tidegate_server.engines.trust import ORDINARY, forbidden, unknown
from tidegate_server.golden import differing_rows
from tidegate_server.loader import load_model, load_original
from tidegate_server.offline.errors import ModelError
from tidegate_server.offline.originals.scikit import types_to_allow
from tidegate_server.offline.pack import pack
from tidegate_server.tensors import Columns


def _rewrite(bundle: Path, out: Path, model: bytes | None = None, **changes: Any) -> Path:
    """A copy of a bundle with another manifest, whose digests are right; the model itself is to answer."""
    shutil.copytree(bundle, out)
    manifest = decode((bundle / MANIFEST_NAME).read_bytes())
    if model is not None:
        import hashlib

        (out / manifest.model_file).write_bytes(model)
        changes["files"] = {manifest.model_file: FileEntry(hashlib.sha256(model).hexdigest(), len(model))}
    (out / MANIFEST_NAME).write_bytes(encode(msgspec.structs.replace(manifest, **{"engines": (), **changes})))
    return out


def _manifest(bundle: Path) -> Manifest:
    return decode((bundle / MANIFEST_NAME).read_bytes())


def _refusal(bundle: Path, *, allow_pickle: bool = False) -> tuple[FailureReason, str]:
    with pytest.raises(BundleError) as caught:
        load_model(bundle, None, allow_pickle=allow_pickle)
    return caught.value.failure.reason, caught.value.failure.message


def test_the_engine_answers_as_the_model_does(bundle: Path, trained: Any) -> None:
    rows = trained.frame.head(40)
    columns: Columns = {name: rows[name].to_numpy() for name in ("delay", "hour", "weekend")}
    columns["carrier"] = np.array([None if value != value else value for value in rows["carrier"]], dtype=object)
    original = load_original(verify(bundle, None), allow_pickle=False)
    answers = original.predict(columns, ("predict", "predict_proba"))
    model = skops.io.load(trained.skops, trusted=["numpy.dtype"])
    features = rows[["carrier", "delay", "hour", "weekend"]]
    assert answers["predict"].tolist() == model.predict(features).tolist()
    np.testing.assert_array_equal(answers["predict_proba"], model.predict_proba(features))


def test_a_golden_label_that_differs_is_refused(bundle: Path, tmp_path: Path) -> None:
    golden = _manifest(bundle).golden
    first = golden.outputs["predict"][0]
    flipped = ("late" if first == "in time" else "in time", *golden.outputs["predict"][1:])
    changed = msgspec.structs.replace(golden, outputs={**golden.outputs, "predict": flipped})
    reason, message = _refusal(_rewrite(bundle, tmp_path / "b", golden=changed))
    assert reason is FailureReason.GOLDEN_MISMATCH
    assert "predict differs from the answer it was packed with in 1 of 20 golden rows (the first is row 0)" in message
    assert "scikit-learn" in message


@pytest.mark.parametrize(("shift", "accepted"), [(1e-8, True), (1e-4, False)], ids=["within tolerance", "beyond it"])
def test_a_golden_probability_is_held_to_its_tolerance(
    shift: float, accepted: bool, bundle: Path, tmp_path: Path
) -> None:
    golden = _manifest(bundle).golden
    rows: Any = golden.outputs["predict_proba"]
    shifted = GoldenRows(
        golden.inputs, {**golden.outputs, "predict_proba": ((rows[0][0] + shift, rows[0][1] - shift), *rows[1:])}
    )
    changed = _rewrite(bundle, tmp_path / "b", golden=shifted)
    if accepted:
        assert load_model(changed, None, allow_pickle=False).digest
    else:
        assert _refusal(changed)[0] is FailureReason.GOLDEN_MISMATCH


def test_another_model_under_the_same_signature_is_refused(bundle: Path, trained: Any, tmp_path: Path) -> None:
    model = skops.io.load(trained.skops, trusted=["numpy.dtype"])
    model[-1].coef_ = -model[-1].coef_
    assert _refusal(_rewrite(bundle, tmp_path / "b", skops.io.dumps(model)))[0] is FailureReason.GOLDEN_MISMATCH


def test_bytes_that_are_no_model_are_refused(bundle: Path, tmp_path: Path) -> None:
    reason, message = _refusal(_rewrite(bundle, tmp_path / "b", b"PK no zip"))
    assert (reason, message) == (
        FailureReason.LOAD_FAILED,
        "skops cannot read the model: BadZipFile: File is not a zip file",
    )


def test_a_type_that_the_manifest_does_not_allow_is_refused(bundle: Path, tmp_path: Path) -> None:
    reason, message = _refusal(_rewrite(bundle, tmp_path / "b", trusted_types=()))
    assert reason is FailureReason.LOAD_FAILED
    assert "types that its manifest does not allow: numpy.dtype" in message


def test_a_manifest_cannot_allow_the_standard_library(bundle: Path, tmp_path: Path) -> None:
    reason, message = _refusal(_rewrite(bundle, tmp_path / "b", trusted_types=("numpy.dtype", "builtins.eval")))
    assert reason is FailureReason.LOAD_FAILED
    assert "allows builtins.eval, which no model may use" in message


GADGETS = [
    "joblib.numpy_pickle.load",
    "numpy.ctypeslib.load_library",
    "numpy.testing._private.utils.runstring",
    "pandas.io.pickle.read_pickle",
    "scipy.io._fortran.FortranFile",
    "skops.io._persist.load",
    "sklearn.datasets._base._fetch_remote",
]


@pytest.mark.parametrize("gadget", GADGETS)
def test_a_manifest_cannot_allow_what_the_servers_own_libraries_hold(gadget: str, bundle: Path, tmp_path: Path) -> None:
    reason, message = _refusal(_rewrite(bundle, tmp_path / "b", trusted_types=("numpy.dtype", gadget)))
    assert reason is FailureReason.LOAD_FAILED
    assert f"allows {gadget}, which no model may use" in message


def test_a_packer_cannot_allow_what_the_servers_own_libraries_hold() -> None:
    content = skops.io.dumps(FunctionTransformer(np.testing.assert_equal))
    with pytest.raises(ModelError, match=r"numpy\.testing\S+assert_equal, which no model may use"):
        types_to_allow(content, ("numpy.testing._private.utils.assert_equal",))


def test_a_model_that_raises_on_its_golden_rows_is_refused(bundle: Path, trained: Any, tmp_path: Path) -> None:
    unfitted = skops.io.dumps(LogisticRegression())
    reason, message = _refusal(_rewrite(bundle, tmp_path / "b", unfitted))
    assert reason is FailureReason.LOAD_FAILED
    assert "raised NotFittedError on its golden rows" in message


@pytest.fixture(scope="module")
def pickled(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pickled") / "bundle"
    return pack(trained.joblib, trained.frame, out, allow_pickle=True).directory


def test_a_pickle_is_refused_and_both_ways_out_are_named(pickled: Path) -> None:
    reason, message = _refusal(pickled)
    assert reason is FailureReason.PICKLE_REFUSED
    assert "skops.io.dump" in message
    assert "spec.model.allowPickle" in message


def test_a_pickle_is_not_even_opened_without_permission(pickled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate_contract.bundle.verify.VerifiedBundle.read", lambda *_: pytest.fail("it was read"))
    assert _refusal(pickled)[0] is FailureReason.PICKLE_REFUSED


def test_a_pickle_serves_with_permission(pickled: Path) -> None:
    assert load_model(pickled, None, allow_pickle=True).manifest.model_file == "model.joblib"


@pytest.mark.parametrize(
    ("answer", "expected", "wrong"),
    [
        pytest.param(np.array(["a", "b"], object), ("a", "c"), [1], id="a label is equal or wrong"),
        pytest.param(np.array([1, 2]), (1, 2, 3), [0, 1, 2], id="a row too few is wrong everywhere"),
        pytest.param(np.array([1.0, 2.0]), (1.0, 2.1), [1], id="a float beyond the tolerance"),
        pytest.param(np.array([1e9, 0.0]), (1e9 + 100, 1e-7), [], id="the tolerance grows with the value"),
        pytest.param(np.array([np.nan, np.nan]), (None, 1.0), [1], id="not a number is a missing value"),
        pytest.param(np.array([[0.5, 0.5]]), ((0.5,),), [0], id="another number of columns"),
        pytest.param(np.array([0.5]), ("x",), [0], id="text where a number should be"),
        pytest.param(np.array([True]), (True,), [], id="a boolean"),
    ],
)
def test_differing_rows(answer: Any, expected: Any, wrong: list[int]) -> None:
    assert differing_rows(answer, expected, 1e-6) == wrong


def test_types_of_the_standard_library_are_forbidden_except_containers() -> None:
    types = ["os.system", "builtins.eval", "builtins.getattr", "subprocess.Popen", "functools.partial", "acme.Thing"]
    assert forbidden(types) == ("builtins.eval", "builtins.getattr", "os.system", "subprocess.Popen")


def test_a_packer_is_asked_for_what_is_not_ordinary() -> None:
    assert unknown(["sklearn.tree._tree.Tree", "acme.Thing"]) == ("acme.Thing",)


@pytest.mark.parametrize("name", sorted(ORDINARY))
def test_an_ordinary_type_exists(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(2),
        GradientBoostingClassifier(n_estimators=2),
        HistGradientBoostingClassifier(max_iter=2),
        KNeighborsClassifier(),
        CalibratedClassifierCV(LogisticRegression(), cv=2),
        CalibratedClassifierCV(LogisticRegression(), cv=2, method="isotonic"),
        make_pipeline(SelectKBest(k=1), SVC()),
        make_pipeline(SelectKBest(mutual_info_classif, k=1), SVC()),
        GridSearchCV(LogisticRegression(), {"C": [1.0]}, scoring="roc_auc", cv=2),
        GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2),
        VotingClassifier([("svc", SVC())]),
        GaussianProcessClassifier(DotProduct() ** 2 + RationalQuadratic()),
        KNeighborsClassifier(metric="chebyshev", algorithm="ball_tree"),
        make_pipeline(FunctionTransformer(np.log1p), SGDClassifier()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_an_ordinary_model_needs_no_trust(estimator: Any) -> None:
    x, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
    assert isinstance(types_to_allow(skops.io.dumps(estimator.fit(x, y)), ()), tuple)
