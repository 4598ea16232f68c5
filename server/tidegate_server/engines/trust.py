"""Which types a skops file may name: the one list for `pack`, which asks, and the server, which enforces.

skops audits every type in a file and trusts a list of its own: public estimators, ufuncs,
dtypes, primitives. Beside that list a manifest may allow more. Here stand

ORDINARY    what nearly every scikit-learn model needs and skops leaves to the user, because
            a *forged* file could carry tree nodes that point out of bounds. The digest is what
            says that a file is not forged, so `pack` allows these without asking.
forbidden   what no manifest can allow. The standard library is where `eval`, `system` and
            `open` live, and no fitted model needs more of it than containers. The libraries that
            every server has are full of roundabout ways to the same (`read_pickle`, `runstring`):
            of these it is ORDINARY or nothing.

What is left is code of packages that somebody put into the server's image, and that a packer named.
"""

import sys
from collections.abc import Iterable

_DISTANCES = (
    *("BrayCurtis", "Canberra", "Chebyshev", "Dice", "Euclidean", "Hamming", "Haversine", "Jaccard", "Mahalanobis"),
    *("Manhattan", "Minkowski", "RogersTanimoto", "RussellRao", "SEuclidean", "SokalSneath"),
)
_SCORES = (
    *("accuracy_score", "balanced_accuracy_score", "brier_score_loss", "f1_score", "jaccard_score", "log_loss"),
    *("matthews_corrcoef", "precision_score", "recall_score"),
)

_SPLITTERS = (
    *("GroupKFold", "GroupShuffleSplit", "KFold", "LeaveOneGroupOut", "LeaveOneOut", "PredefinedSplit"),
    *("RepeatedKFold", "RepeatedStratifiedKFold", "ShuffleSplit", "StratifiedGroupKFold", "StratifiedKFold"),
    *("StratifiedShuffleSplit", "TimeSeriesSplit"),
)

ORDINARY = frozenset(
    {
        *(f"sklearn.model_selection._split.{name}" for name in _SPLITTERS),
        *(f"sklearn.metrics._dist_metrics.{name}Distance{bits}" for name in _DISTANCES for bits in (32, 64)),
        *(f"sklearn.metrics._classification.{name}" for name in _SCORES),
        "numpy.dtype",
        "numpy.mean",
        "pandas.Index",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "scipy.interpolate._bsplines.BSpline",
        "scipy.interpolate._interpolate.interp1d",
        "scipy.sparse._csr.csr_matrix",
        "sklearn._loss.loss.HalfTweedieLoss",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._mutual_info.mutual_info_classif",
        "sklearn.feature_selection._mutual_info.mutual_info_regression",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.feature_selection._univariate_selection.r_regression",
        "sklearn.gaussian_process.kernels.CompoundKernel",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.DotProduct",
        "sklearn.gaussian_process.kernels.ExpSineSquared",
        "sklearn.gaussian_process.kernels.Exponentiation",
        "sklearn.gaussian_process.kernels.Matern",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.RationalQuadratic",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.metrics._ranking.average_precision_score",
        "sklearn.metrics._ranking.roc_auc_score",
        "sklearn.metrics._regression.max_error",
        "sklearn.metrics._regression.mean_absolute_error",
        "sklearn.metrics._regression.mean_squared_error",
        "sklearn.metrics._regression.r2_score",
        "sklearn.impute._iterative._ImputerTriplet",
        "sklearn.metrics._scorer._CurveScorer",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.metrics._scorer._Scorer",
        "sklearn.multiclass._ConstantPredictor",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils._metadata_requests.MetadataRequest",
        "sklearn.utils._metadata_requests.MethodMetadataRequest",
        "sklearn.utils.validation.check_array",
    }
)
"""Found by fitting every estimator of scikit-learn 1.9 and asking skops 0.16 what it does not trust; and the like of
what was found: the other distances, kernels, scores and splitters."""

_SERVED = frozenset({"joblib", "numpy", "pandas", "scipy", "skops", "sklearn"})

_HARMLESS_STDLIB = frozenset(
    {
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.Counter",
        "functools.partial",
        "datetime.date",
        "datetime.datetime",
        "datetime.timedelta",
        "decimal.Decimal",
        "builtins.frozenset",
        "builtins.bytes",
        "builtins.bytearray",
        "builtins.complex",
        "builtins.slice",
        "builtins.range",
    }
)


def forbidden(types: Iterable[str]) -> tuple[str, ...]:
    """The types that no manifest may allow, sorted.

    >>> forbidden(["os.system", "acme.Encoder", "collections.OrderedDict", "numpy.dtype", "joblib.load"])
    ('joblib.load', 'os.system')
    """
    roots = sys.stdlib_module_names | _SERVED
    return tuple(sorted(t for t in set(types) - _HARMLESS_STDLIB - ORDINARY if t.split(".", 1)[0] in roots))


def unknown(types: Iterable[str]) -> tuple[str, ...]:
    """The types that a packer has to allow by name, sorted.

    >>> unknown(["numpy.dtype", "acme.Encoder"])
    ('acme.Encoder',)
    """
    return tuple(sorted(set(types) - ORDINARY))
