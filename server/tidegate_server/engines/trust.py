"""Which types a skops file may name: the one list for `pack`, which asks, and the server, which enforces.

skops audits every type in a file and trusts a list of its own: public estimators, ufuncs,
dtypes, primitives. Beside that list a manifest may allow more. Here stand

ORDINARY    what nearly every scikit-learn model needs and skops leaves to the user, because
            a *forged* file could carry tree nodes that point out of bounds. The digest is what
            says that a file is not forged, so `pack` allows these without asking.
forbidden   what no manifest can allow: the standard library is where `eval`, `system` and
            `open` live, and no fitted model needs more of it than containers.
"""

import sys
from collections.abc import Iterable

ORDINARY = frozenset(
    {
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
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Matern",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.metrics._classification.balanced_accuracy_score",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.metrics._dist_metrics.MinkowskiDistance64",
        "sklearn.metrics._scorer._CurveScorer",
        "sklearn.metrics._scorer._Scorer",
        "sklearn.multiclass._ConstantPredictor",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._metadata_requests.MetadataRequest",
        "sklearn.utils._metadata_requests.MethodMetadataRequest",
    }
)
"""Found by fitting every estimator of scikit-learn 1.9 and asking skops 0.16 what it does not trust."""

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

    >>> forbidden(["builtins.eval", "os.system", "acme.Encoder", "collections.OrderedDict"])
    ('builtins.eval', 'os.system')
    """
    roots = sys.stdlib_module_names
    return tuple(sorted(t for t in set(types) - _HARMLESS_STDLIB if t.split(".", 1)[0] in roots))


def unknown(types: Iterable[str]) -> tuple[str, ...]:
    """The types that a packer has to allow by name, sorted.

    >>> unknown(["numpy.dtype", "acme.Encoder"])
    ('acme.Encoder',)
    """
    return tuple(sorted(set(types) - ORDINARY))
