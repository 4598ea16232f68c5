"""From a scikit-learn model to the arrays of a compiled engine, or the reason why there is none.

Nothing here has to be trusted: what it makes is compared with the model before it is used (`trial.py`). Where it
reads private attributes of scikit-learn, another release may break it, and then the model is served as it was.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidegate_contract.bundle.manifest import Signature
from tidegate_server.engines.compiled import VERSION, Answer, Code, Number, Operation, Program, Step
from tidegate_server.engines.linear import Linear
from tidegate_server.engines.trees import Trees, lay_out
from tidegate_server.tensors import Array, to_values


@dataclass(frozen=True, slots=True)
class Filled:
    """An input of text whose missing values become another one; what follows makes codes of it."""

    input: int
    text: str


Feature = Number | Code | Filled
Tree = tuple[Array, Array, Array, Array, Array, Array]
"""Of each node: left and right child (-1 at a leaf), column, threshold, whether a missing value goes left; and
the values, shape [nodes, width]."""


class NotCompiledError(Exception):
    """There is no engine for this model; the message says why, as the end of a sentence that begins with its name."""


def compile_model(model: Any, signature: Signature) -> Program:
    """The model as a program. Raises NotCompiledError."""
    try:
        return _compile(model, signature)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise NotCompiledError(f"{_name(model)} is not as expected: {type(error).__name__}: {error}") from error


def _compile(model: Any, signature: Signature) -> Program:
    from sklearn.pipeline import Pipeline

    named = getattr(model, "feature_names_in_", None) is not None
    table = _Table(signature, double=not (named and _is_single(signature)))
    if isinstance(model, Pipeline):
        for _, step in model.steps[:-1]:
            table.apply(step)
        model = model.steps[-1][1]
    if type(model).__module__.partition(".")[0] != "sklearn":
        raise NotCompiledError(f"there is no compiled engine for {_name(model)}, which is not scikit-learn's")
    parts = _trees(model, table) or _linear(model)
    if parts is None:
        raise NotCompiledError(f"there is no compiled engine for {_name(model)}")
    if isinstance(parts["model"], Trees) and named and not table.steps and _is_whole(signature):
        table.double = parts["model"].double  # what is whole goes to single precision in one rounding
    features = [feature for feature in table.features if not isinstance(feature, Filled)]
    if text := sorted({table.names[f.input] for f in table.features if not isinstance(f, Code)} & table.text):
        raise NotCompiledError(f"the model takes text as it is: {', '.join(text)}")
    parts["takes_nan"] = parts.get("takes_nan", False) and not table.sparse
    return Program(
        version=VERSION,
        features=tuple(features),
        double=table.double,
        steps=tuple(table.steps),
        takes_infinity=parts.pop("takes_infinity", False) and table.takes_infinity,
        **parts,
    )


@dataclass(slots=True)
class _Part:
    """Columns side by side, and what is done to all of them: an operation, a number for each."""

    features: list[Feature]
    notes: list[tuple[Operation, Array]] = field(default_factory=list)

    def replace(self, features: list[Feature]) -> None:
        if self.notes and len(features) != len(self.features):
            raise NotCompiledError("there is no compiled engine for codes behind numbers that were changed")
        self.features = features


_NOTHING = {Operation.FILL: np.nan, Operation.MULTIPLY: 1.0, Operation.DIVIDE: 1.0}
"""The numbers that change nothing; 0 of the others."""


class _Table:
    """What becomes of the inputs before the model sees them."""

    def __init__(self, signature: Signature, *, double: bool) -> None:
        self.names = [spec.name for spec in signature.inputs]
        self.text = {spec.name for spec in signature.inputs if spec.datatype.dtype.kind == "O"}
        self._whole = _Part([Number(index) for index in range(len(self.names))])
        self.double = double
        self.single = any(dtype.kind == "f" and dtype.itemsize < 8 for dtype in _dtypes(signature))
        self.sparse = False
        """scikit-learn gives the model a sparse matrix."""
        self.takes_infinity = True

    @property
    def features(self) -> list[Feature]:
        return self._whole.features

    @property
    def steps(self) -> list[Step]:
        return [Step(operation, tuple(to_values(numbers))) for operation, numbers in self._whole.notes]

    def apply(self, step: Any) -> None:
        """Let a fitted transformer follow on the whole table. Raises NotCompiledError."""
        from sklearn.compose import ColumnTransformer

        if isinstance(step, ColumnTransformer):
            self._choose(step)
        else:
            self._transform(step, self._whole)

    def _choose(self, transformer: Any) -> None:
        """A ColumnTransformer: each of its parts takes some columns, and the results stand side by side."""
        features = self._whole.features
        if self._whole.notes or len(features) != len(self.names):
            raise NotCompiledError("there is no compiled engine for a ColumnTransformer behind other steps")
        parts: list[_Part] = []
        for _, step, columns in transformer.transformers_:
            part = _Part([features[index] for index in self._indices(columns)])
            if step != "drop" and part.features:
                self._transform(step, part)
                parts.append(part)
        if transformer.transformer_weights:
            raise NotCompiledError("there is no compiled engine for a ColumnTransformer with weights")
        whole = _Part([feature for part in parts for feature in part.features])
        start = 0
        for part in parts:
            for operation, numbers in part.notes:
                every = np.full(len(whole.features), _NOTHING.get(operation, 0.0))
                every[start : start + len(numbers)] = numbers
                whole.notes.append((operation, every))
            start += len(part.features)
        if self.single and (whole.notes or not any(isinstance(feature, Code) for feature in whole.features)):
            raise NotCompiledError("there is no compiled engine for a ColumnTransformer that works in single precision")
        self._whole = whole
        self.double = True
        self.sparse = bool(transformer.sparse_output_)

    def _indices(self, columns: Any) -> list[int]:
        if isinstance(columns, str | int | np.integer):
            columns = [columns]
        if isinstance(columns, slice):
            return list(range(len(self.names)))[columns]
        if len(columns) and all(isinstance(chosen, bool | np.bool_) for chosen in columns):
            return np.flatnonzero(columns).tolist()
        return [self.names.index(c) if isinstance(c, str) else int(c) for c in columns]

    def _transform(self, step: Any, part: _Part) -> None:
        """What a transformer of single columns makes of a part."""
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import (
            FunctionTransformer,
            MinMaxScaler,
            OneHotEncoder,
            OrdinalEncoder,
            RobustScaler,
            StandardScaler,
        )

        def note(operation: Operation, numbers: Any) -> None:
            if numbers is None:
                return
            if self.single and operation is not Operation.FILL:  # scikit-learn rounds the numbers too, then
                raise NotCompiledError(f"there is no compiled engine for {_name(step)} of FP32")
            part.notes.append((operation, np.broadcast_to(np.asarray(numbers, np.float64), len(part.features))))

        kind = type(step)
        if step is None or step == "passthrough" or (kind is FunctionTransformer and step.func is None):
            return
        if kind is Pipeline:
            for _, inner in step.steps:
                self._transform(inner, part)
            return
        if kind is OrdinalEncoder:
            part.replace([_ordinal(step, index, feature) for index, feature in enumerate(part.features)])
            return
        if kind is OneHotEncoder:
            part.replace([code for index, f in enumerate(part.features) for code in _one_hot(step, index, f)])
            self.sparse = step.sparse_output
            return
        if kind is SimpleImputer and step.statistics_.dtype.kind == "O":
            part.replace([self._filled(step, index, feature) for index, feature in enumerate(part.features)])
            return
        self.takes_infinity = False
        if kind is StandardScaler:
            note(Operation.SUBTRACT, step.mean_ if step.with_mean else None)
            note(Operation.DIVIDE, step.scale_ if step.with_std else None)
        elif kind is RobustScaler and not step.unit_variance:
            note(Operation.SUBTRACT, step.center_ if step.with_centering else None)
            note(Operation.DIVIDE, step.scale_ if step.with_scaling else None)
        elif kind is MinMaxScaler and not step.clip:
            note(Operation.MULTIPLY, step.scale_)
            note(Operation.ADD, step.min_)
        elif kind is SimpleImputer and not step.add_indicator and np.isnan(step.missing_values):
            statistics = np.asarray(step.statistics_, dtype=np.float64)
            if np.isnan(statistics).any():
                raise NotCompiledError("there is no compiled engine for a SimpleImputer that drops columns")
            note(Operation.FILL, statistics)
        else:
            raise NotCompiledError(f"there is no compiled engine for {_name(step)} with its settings")

    def _filled(self, imputer: Any, index: int, feature: Feature) -> Filled:
        text = imputer.statistics_[index]
        of_text = isinstance(feature, Number) and self.names[feature.input] in self.text and isinstance(text, str)
        if not of_text or imputer.add_indicator or not (imputer.missing_values != imputer.missing_values):
            raise NotCompiledError("there is no compiled engine for a SimpleImputer of text with its settings")
        return Filled(feature.input, text)


def _categories(encoder: Any, index: int, feature: Feature) -> list[str]:
    """The categories of text that an encoder knows in one of its columns, without the missing one."""
    if isinstance(feature, Code) or encoder.dtype != np.float64 or encoder._infrequent_enabled:
        raise NotCompiledError(f"there is no compiled engine for {_name(encoder)} with its settings")
    texts = [value for value in encoder.categories_[index].tolist() if value is not None and value == value]
    if not all(isinstance(text, str) for text in texts):
        raise NotCompiledError(f"there is no compiled engine for {_name(encoder)} of numbers")
    return texts


def _ordinal(encoder: Any, index: int, feature: Feature) -> Code:
    texts = _categories(encoder, index, feature)
    knows_missing = len(texts) < len(encoder.categories_[index])
    refuses = encoder.handle_unknown == "error"
    unknown = None if refuses else float(encoder.unknown_value)
    missing = float(encoder.encoded_missing_value) if knows_missing else unknown
    codes: dict[str, float | None] = {text: float(place) for place, text in enumerate(texts)}
    return _code(feature, codes, missing, unknown, refuses=refuses, knows_missing=knows_missing)


def _one_hot(encoder: Any, index: int, feature: Feature) -> list[Code]:
    """A code for each category, 1 for that and 0 for others; the first refuses for all of them."""
    texts = _categories(encoder, index, feature)
    knows_missing = len(texts) < len(encoder.categories_[index])
    refuses = encoder.handle_unknown == "error"
    dropped = None if encoder.drop_idx_ is None else encoder.drop_idx_[index]
    if dropped is not None and not refuses:
        raise NotCompiledError("there is no compiled engine for a OneHotEncoder that drops one and takes the unknown")
    found: list[Code] = []
    for place, text in enumerate([*texts, *([None] if knows_missing else [])]):
        if place == dropped:
            continue
        strict = refuses and not found
        told = texts if strict else [text]
        codes: dict[str, float | None] = {other: float(other == text) for other in told if other is not None}
        found.append(_code(feature, codes, float(text is None), 0.0, refuses=strict, knows_missing=knows_missing))
    return found


def _code(
    feature: Feature,
    codes: dict[str, float | None],
    missing: float | None,
    unknown: float | None,
    *,
    refuses: bool,
    knows_missing: bool,
) -> Code:
    """`missing`: the code of what is missing where nothing has filled it in, which `knows_missing` says is no error."""
    if isinstance(feature, Filled):
        knows_missing = not refuses or feature.text in codes
        missing = codes.get(feature.text, unknown)
    return Code(feature.input, codes, _null(missing), _null(unknown), refuses, refuses and knows_missing)


def _null(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else value


def _trees(model: Any, table: _Table) -> dict[str, Any] | None:
    """What a program says of a model of trees; None of another model."""
    from sklearn import ensemble, tree

    forests: set[Any] = {ensemble.RandomForestClassifier, ensemble.ExtraTreesClassifier}
    forests |= {ensemble.RandomForestRegressor, ensemble.ExtraTreesRegressor}
    single: set[Any] = {tree.DecisionTreeClassifier, tree.DecisionTreeRegressor}
    single |= {tree.ExtraTreeClassifier, tree.ExtraTreeRegressor}
    kind = type(model)
    width = len(table.features)
    if kind in forests or kind in single:
        return _forest(model, model.estimators_ if kind in forests else [model], width)
    if kind in (ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor):
        return _boosting(model, width)
    if kind in (ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor):
        return _histogram_boosting(model, width)
    return None


def _forest(model: Any, members: Sequence[Any], columns: int) -> dict[str, Any]:
    classifies = hasattr(model, "classes_")
    if classifies and model.n_outputs_ > 1:
        raise NotCompiledError(f"there is no compiled engine for a {_name(model)} of several targets")
    outputs = int(model.n_classes_ if classifies else model.n_outputs_)
    trees = [_tree(member.tree_, member.tree_.value.reshape(member.tree_.node_count, -1)) for member in members]
    return {
        "model": _pack(trees, columns, double=False, outputs=outputs, baseline=[0.0] * outputs, divisor=len(trees)),
        "answer": Answer.PROBABILITIES if classifies else Answer.NUMBERS,
        "classes": _labels(model) if classifies else (),
        "takes_nan": bool(members[0]._support_missing_values(np.zeros((1, columns), np.float32))),
    }


def _boosting(model: Any, columns: int) -> dict[str, Any]:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    if model.init_ != "zero" and type(model.init_) not in (DummyClassifier, DummyRegressor):
        raise NotCompiledError(f"there is no compiled engine for a {_name(model)} that begins with another model")
    members = model.estimators_.ravel()  # stages of shape [iterations, outputs]
    trees = [_tree(m.tree_, model.learning_rate * m.tree_.value[:, 0, :], missing=False) for m in members]
    outputs = model.estimators_.shape[1]
    baseline = model._raw_predict_init(np.zeros((1, columns), np.float32))[0].tolist()
    classifies = hasattr(model, "classes_")
    return {
        "model": _pack(trees, columns, double=False, outputs=outputs, baseline=baseline),
        **_boosted(model, outputs, slope=2.0 if classifies and model.loss == "exponential" else 1.0),
        "zero_is_second": True,
        "takes_nan": False,
    }


def _histogram_boosting(model: Any, columns: int) -> dict[str, Any]:
    trees: list[Tree] = []
    if getattr(model, "_preprocessor", None) is not None:
        raise NotCompiledError(f"there is no compiled engine for a {_name(model)} with categories of its own")
    for stage in model._predictors:
        for predictor in stage:
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            left, right = (np.where(leaf, -1, nodes[side].astype(np.int64)) for side in ("left", "right"))
            missing = nodes["missing_go_to_left"].astype(bool)
            trees.append((left, right, nodes["feature_idx"], nodes["num_threshold"], missing, nodes["value"][:, None]))
    outputs = model.n_trees_per_iteration_
    baseline = np.ravel(model._baseline_prediction).tolist()
    return {
        "model": _pack(trees, columns, double=True, outputs=outputs, baseline=baseline),
        **_boosted(model, outputs),
        "takes_nan": True,
        "takes_infinity": True,
    }


def _boosted(model: Any, outputs: int, slope: float = 1.0) -> dict[str, Any]:
    if not hasattr(model, "classes_"):
        log = type(getattr(model._loss, "link", None)).__name__ == "LogLink"
        return {"answer": Answer.EXPONENTIALS if log else Answer.NUMBERS}
    answer = Answer.LOGISTIC if outputs == 1 else Answer.SOFTMAX
    return {"answer": answer, "classes": _labels(model), "slope": slope}


def _tree(tree: Any, values: Array, *, missing: bool = True) -> Tree:
    goes_left = tree.missing_go_to_left.astype(bool) & missing
    return tree.children_left, tree.children_right, tree.feature, tree.threshold, goes_left, values


def _pack(
    trees: Iterable[Tree], columns: int, *, double: bool, outputs: int, baseline: list[float], divisor: float = 1.0
) -> Trees:
    sizes: list[int] = []
    parts: list[tuple[Array, ...]] = []
    for left, right, feature, threshold, goes_left, values in trees:
        order, places = lay_out(left.tolist(), right.tolist())
        leaf = np.asarray(left)[order] < 0
        column = np.where(leaf, 0, feature[order] + np.where(goes_left[order], columns, 0))
        limit = np.where(leaf, 0, threshold[order])
        parts.append((np.array(places) + sum(sizes), column, limit, values[order][leaf]))
        sizes.append(len(order))
    right, column, limit, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Trees(
        double=double,
        sizes=tuple(sizes),
        right=right.astype("<i4").tobytes(),
        feature=column.astype("<i4").tobytes(),
        threshold=(limit.astype("<f8") if double else _largest_single(limit)).tobytes(),
        values=values.astype("<f8").tobytes(),
        width=values.shape[1],
        outputs=int(outputs),
        baseline=tuple(map(float, baseline)),
        divisor=float(divisor),
    )


def _largest_single(threshold: Array) -> Array:
    """The largest float32 that is not above each threshold: a float32 is up to the one where it is up to the other."""
    with np.errstate(over="ignore"):
        single = threshold.astype("<f4")
    above = single > threshold
    single[above] = np.nextafter(single[above], np.float32(-np.inf))
    return single


def _linear(model: Any) -> dict[str, Any] | None:
    """What a program says of a linear model; None of another model."""
    from sklearn import linear_model, svm

    numbers = {"LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "LassoLars", "ElasticNet", "ElasticNetCV"}
    numbers |= {"Lars", "OrthogonalMatchingPursuit", "BayesianRidge", "ARDRegression", "HuberRegressor"}
    numbers |= {"TheilSenRegressor", "QuantileRegressor", "SGDRegressor"}
    logs = ("PoissonRegressor", "GammaRegressor")
    logistic = ("LogisticRegression", "LogisticRegressionCV")
    scores = ("RidgeClassifier", "RidgeClassifierCV", "Perceptron", "PassiveAggressiveClassifier")
    kind = type(model)

    def among(names: Iterable[str]) -> bool:
        return any(kind is getattr(linear_model, name, None) for name in names)

    if among(numbers) or kind is svm.LinearSVR:
        said: dict[str, Any] = {"answer": Answer.NUMBERS}
    elif among(logs):
        said = {"answer": Answer.EXPONENTIALS}
    elif among(logistic):
        said = {"answer": Answer.LOGISTIC if len(model.classes_) == 2 else Answer.SOFTMAX, "classes": _labels(model)}
    elif kind is linear_model.SGDClassifier and model.loss == "log_loss":
        binary = len(model.classes_) == 2
        said = {"answer": Answer.LOGISTIC if binary else Answer.EACH_AGAINST_REST, "classes": _labels(model)}
    elif among(scores) or kind is svm.LinearSVC or (kind is linear_model.SGDClassifier and not _weighs(model)):
        said = {"answer": Answer.SCORES, "classes": _labels(model)}
    else:
        return None
    weights = np.atleast_2d(np.asarray(model.coef_))
    intercept = np.broadcast_to(np.asarray(model.intercept_), (len(weights),))
    double = weights.dtype != np.float32
    dtype = "<f8" if double else "<f4"
    linear = Linear(
        double=double,
        weights=np.ascontiguousarray(weights, dtype).tobytes(),
        intercept=np.ascontiguousarray(intercept, dtype).tobytes(),
        outputs=len(weights),
    )
    return {"model": linear, "takes_nan": False, **said}


def _weighs(model: Any) -> bool:
    return callable(getattr(model, "predict_proba", None))


def _labels(model: Any) -> tuple[Any, ...]:
    return tuple(to_values(np.asarray(model.classes_)))


def _dtypes(signature: Signature) -> list[np.dtype[Any]]:
    return [spec.datatype.dtype for spec in signature.inputs]


def _is_single(signature: Signature) -> bool:
    dtypes = _dtypes(signature)
    return all(dtype.kind in "biuf" for dtype in dtypes) and np.result_type(*dtypes) == np.float32


def _is_whole(signature: Signature) -> bool:
    dtypes = _dtypes(signature)
    return all(dtype.kind in "iu" for dtype in dtypes) and np.result_type(*dtypes).kind in "iu"


def _name(model: Any) -> str:
    return type(model).__name__
