"""Well known models as configurations of :class:`skglrm.GLRM`.

Each function returns an estimator that is not fitted yet.  Further keywords are parameters of
``GLRM``, and win over what the preset sets.

>>> from skglrm import presets
>>> presets.nmf(3, regularization=0.5)
GLRM(column_regularizer='nonnegative_l2', n_components=3, regularization=0.5,
     row_regularizer='nonnegative_l2')
"""

from __future__ import annotations

from typing import Any

from .glrm import GLRM
from .losses import Hinge, Huber, Quantile
from .regularizers import L1, L2, Ball, BlockSparse, NonNegative, OneSparse, Sum

__all__ = [
    "boolean_pca",
    "categorical_pca",
    "kmeans",
    "kmedians",
    "logistic_pca",
    "matrix_completion",
    "max_margin",
    "nmf",
    "ordinal_pca",
    "orthogonal_nmf",
    "pca",
    "poisson_pca",
    "quadratic_mixture",
    "quadratically_regularized_pca",
    "quantile_pca",
    "robust_pca",
    "sparse_pca",
    "subspace_clustering",
]


def _model(n_components: int, preset: dict[str, Any], params: dict[str, Any]) -> GLRM:
    return GLRM(n_components, **(preset | params))


def _l2_model(
    n_components: int, regularization: float, preset: dict[str, Any], params: dict[str, Any]
) -> GLRM:
    return _model(n_components, {"regularization": regularization} | preset, params)


def pca(n_components: int = 2, *, center: bool = True, **params: Any) -> GLRM:
    r"""Principal components of a table, which may have missing cells.

    :math:`\tfrac12 \|A - XY - 1b^\top\|^2`; with complete data the truncated SVD, of the table
    minus its column means if ``center``.

    Parameters
    ----------
    n_components : int, default=2
        Number of components.
    center : bool, default=True
        Fit an offset for each column.
    **params
        Further parameters of :class:`skglrm.GLRM`.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm import presets
    >>> X = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, np.nan]])
    >>> presets.pca(1).fit(X).impute(X)[2].round(2)
    array([3., 6.])
    """
    preset = {"row_regularizer": "zero", "column_regularizer": "zero", "offset": center}
    preset |= {"tol": 1e-7, "max_iter": 1000}
    return _model(n_components, preset, params)


def quadratically_regularized_pca(
    n_components: int = 2, *, regularization: float = 1.0, **params: Any
) -> GLRM:
    r"""PCA with ½ λ ‖·‖² on both factors, which shrinks singular values by λ.

    Parameters
    ----------
    n_components : int, default=2
        Number of components.
    regularization : float, default=1.0
        λ.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    return _l2_model(n_components, regularization, {"tol": 1e-7, "max_iter": 1000}, params)


def matrix_completion(
    n_components: int = 10, *, regularization: float = 1.0, **params: Any
) -> GLRM:
    r"""Completion of a table by a matrix of small nuclear norm.

    With enough components the minimiser of
    :math:`\tfrac12 \|P_\Omega(A - Z)\|^2 + \lambda \|Z\|_*`, as by soft-impute.

    Parameters
    ----------
    n_components : int, default=10
        Bound on the rank.
    regularization : float, default=1.0
        λ.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    return _l2_model(n_components, regularization, {"tol": 1e-6, "max_iter": 1000}, params)


def sparse_pca(
    n_components: int = 2,
    *,
    sparsity: float = 1.0,
    regularization: float = 0.1,
    **params: Any,
) -> GLRM:
    """PCA whose components have few entries: L1 on the columns, L2 on the rows.

    Parameters
    ----------
    n_components : int, default=2
        Number of components.
    sparsity : float, default=1.0
        Strength of L1.
    regularization : float, default=0.1
        Strength of L2, without which rows would grow as columns shrink.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    return _l2_model(n_components, regularization, {"column_regularizer": L1(sparsity)}, params)


def nmf(n_components: int = 2, *, regularization: float = 0.0, **params: Any) -> GLRM:
    """Non-negative matrix factorization, with missing cells if there are any.

    Parameters
    ----------
    n_components : int, default=2
        Number of components.
    regularization : float, default=0.0
        Strength of L2 on both sides.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    name = "nonnegative_l2" if regularization > 0 else "nonnegative"
    preset = {"row_regularizer": name, "column_regularizer": name}
    return _l2_model(n_components, regularization, preset, params)


def orthogonal_nmf(n_components: int = 2, **params: Any) -> GLRM:
    """NMF that gives each row to one component only, so that row factors are orthogonal.

    Parameters
    ----------
    n_components : int, default=2
        Number of components.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    preset = {"row_regularizer": Sum(NonNegative(), OneSparse())}
    return _model(n_components, preset | {"column_regularizer": "nonnegative"}, params)


def kmeans(n_clusters: int = 8, **params: Any) -> GLRM:
    """k-means clustering, with missing cells if there are any.

    ``components_`` holds the centres, and a row of ``row_factors_`` the 1 at its cluster.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    preset = {"row_regularizer": "unit_one_sparse", "column_regularizer": "zero"}
    return _model(n_clusters, preset | {"init": "kmeans++"}, params)


def kmedians(n_clusters: int = 8, **params: Any) -> GLRM:
    """k-means with absolute errors, so that centres are medians.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    return kmeans(n_clusters, **({"loss": "absolute"} | params))


def quadratic_mixture(n_components: int = 2, **params: Any) -> GLRM:
    """Rows as mixtures of archetypes: shares that are not negative and add up to 1.

    Parameters
    ----------
    n_components : int, default=2
        Number of archetypes.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    preset = {"row_regularizer": "simplex", "column_regularizer": "zero", "init": "kmeans++"}
    return _model(n_components, preset, params)


def subspace_clustering(n_clusters: int = 2, dimension: int = 2, **params: Any) -> GLRM:
    """Clusters that are subspaces: each row uses one block of components.

    Parameters
    ----------
    n_clusters : int, default=2
        Number of subspaces.
    dimension : int, default=2
        Dimension of each.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    preset = {"row_regularizer": BlockSparse(dimension), "column_regularizer": "zero"}
    return _model(n_clusters * dimension, preset, params)


def robust_pca(
    n_components: int = 2, *, delta: float = 1.0, regularization: float = 0.1, **params: Any
) -> GLRM:
    """PCA that outliers do not bend: Huber loss.

    Parameters
    ----------
    n_components : int, default=2
        Number of components.
    delta : float, default=1.0
        Error beyond which a cell counts linearly.
    regularization : float, default=0.1
        Strength of L2 on both sides.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    return _l2_model(n_components, regularization, {"loss": Huber(delta), "offset": True}, params)


def quantile_pca(
    n_components: int = 2, *, quantile: float = 0.5, regularization: float = 0.1, **params: Any
) -> GLRM:
    """PCA of a quantile in place of the mean.

    Parameters
    ----------
    n_components : int, default=2
        Number of components.
    quantile : float, default=0.5
        The quantile, between 0 and 1.
    regularization : float, default=0.1
        Strength of L2 on both sides.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    preset = {"loss": Quantile(quantile), "offset": True}
    return _l2_model(n_components, regularization, preset, params)


def logistic_pca(n_components: int = 2, *, regularization: float = 0.1, **params: Any) -> GLRM:
    """PCA of Booleans by their log-odds.

    Parameters
    ----------
    n_components : int, default=2
        Number of components.
    regularization : float, default=0.1
        Strength of L2 on both sides.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    preset = {"loss": "logistic", "offset": True, "max_iter": 500}
    return _l2_model(n_components, regularization, preset, params)


def boolean_pca(n_components: int = 2, *, regularization: float = 0.1, **params: Any) -> GLRM:
    """PCA of Booleans by hinge loss: each column is a linear support vector machine.

    Parameters
    ----------
    n_components : int, default=2
        Number of components.
    regularization : float, default=0.1
        Strength of L2 on both sides.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    return _l2_model(n_components, regularization, {"loss": "hinge"}, params)


def ordinal_pca(n_components: int = 2, *, regularization: float = 0.1, **params: Any) -> GLRM:
    """PCA of ordered levels, coded as whole numbers.

    Parameters
    ----------
    n_components : int, default=2
        Number of components.
    regularization : float, default=0.1
        Strength of L2 on both sides.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    preset = {"loss": "ordinal_hinge", "offset": True}
    return _l2_model(n_components, regularization, preset, params)


def categorical_pca(n_components: int = 2, *, regularization: float = 0.1, **params: Any) -> GLRM:
    """PCA of labels, coded as 0, 1, 2, ... in each column, by multinomial likelihood.

    Parameters
    ----------
    n_components : int, default=2
        Number of components.
    regularization : float, default=0.1
        Strength of L2 on both sides.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    preset = {"loss": "multinomial", "offset": True, "max_iter": 500}
    return _l2_model(n_components, regularization, preset, params)


def poisson_pca(n_components: int = 2, *, regularization: float = 0.1, **params: Any) -> GLRM:
    """PCA of counts by the logarithm of their means.

    Parameters
    ----------
    n_components : int, default=2
        Number of components.
    regularization : float, default=0.1
        Strength of L2 on both sides.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    return _l2_model(n_components, regularization, {"loss": "poisson", "offset": True}, params)


def max_margin(
    n_components: int = 10, *, radius: float | None = None, regularization: float = 0.1,
    **params: Any,
) -> GLRM:  # fmt: skip
    """Maximum margin factorization of Booleans, or with ``loss="ordinal_hinge"`` of ratings.

    Parameters
    ----------
    n_components : int, default=10
        Bound on the rank.
    radius : float, default=None
        Longest row of factors on both sides: the square root of a bound on the max-norm.  ``None``
        penalises the trace norm by L2 instead.
    regularization : float, default=0.1
        Strength of L2 without ``radius``.
    **params
        Further parameters of :class:`skglrm.GLRM`.
    """
    side = L2(regularization) if radius is None else Ball(radius)
    preset = {"loss": Hinge(), "row_regularizer": side, "column_regularizer": side}
    return _model(n_components, preset, params)
