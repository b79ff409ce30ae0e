r"""Parameters and data of other implicit feedback libraries in terms of ``ImplicitALS``, and back.

Every library solves :math:`A x = b` for a row, with
:math:`A = a_0 \sum_{\text{all}} y y^\top + \sum_{\text{stored}} w\, y y^\top + \lambda_u I` and
:math:`b = \sum_{\text{stored}} t\, y`, where (n stored cells in the row, n₊ of them positive, m
columns)

===========================  ===========  ==========  ==============  ==============
library                      a₀           w           t if v > 0      λ_u
===========================  ===========  ==========  ==============  ==============
``ImplicitALS``              w₀           α \|v\|     w₀ + w          λ (n + w₀ m)^e
implicit                     1            \|αv\| − 1  αv              λ
Spark ML ALS                 1            α \|v\|     1 + w           λ n₊
cmfrec ``CMF_implicit``      1            α v         1 + w           λ
irspack ``IALSRecommender``  α₀           v           α₀ + v          λ (n + α₀ m)^ν
Rendle et al., IALSPP        α₀           v           v               λ (n + α₀ m)^ν
===========================  ===========  ==========  ==============  ==============

Each ``from_…`` takes the data and the parameters as that library takes them and returns ``(X,
params)`` for ``ImplicitALS(**params).fit(X)``; each ``to_…`` takes the data and an ``ImplicitALS``
and returns what to give to the library.  What has no equivalent is refused.  Numbers of factors, of
iterations and seeds are not touched.  ``X`` is never changed.

If all three are multiplied by one number, w₀, α and λ_u mean the same; that is most of what happens
here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = [
    "from_cmfrec",
    "from_implicit",
    "from_irspack",
    "from_rendle",
    "from_spark",
    "to_cmfrec",
    "to_implicit",
    "to_irspack",
    "to_rendle",
    "to_spark",
]

TINY = 2.0**-40
"""Unit in which Spark's weights are so small that λ counts stored cells only."""

Converted = tuple[sp.csr_array, dict[str, float]]


# ------------------------------------------------------------------ implicit


def from_implicit(X: Any, *, regularization: float = 0.01, alpha: float = 1.0) -> Converted:
    """Convert from ``implicit.als.AlternatingLeastSquares``, whose values are confidences.

    Parameters
    ----------
    X : sparse or array-like of shape (n_rows, n_columns)
        Its ``user_items``.
    regularization, alpha : float
        Its parameters.

    Returns
    -------
    X : csr_array
        Data for ``ImplicitALS``.
    params : dict
        Parameters for ``ImplicitALS``.

    Raises
    ------
    ValueError
        If a stored confidence is below 1, or 1 among others: there the weight of a cell would be
        smaller than, or the same as, that of one that is not stored.

    Examples
    --------
    >>> from skglrm.conversions import from_implicit
    >>> X, params = from_implicit([[3.0, 0.0], [0.0, 5.0]])
    >>> X.toarray()
    array([[2., 0.],
           [0., 4.]])
    >>> params["alpha"], params["unobserved_weight"]
    (1.0, 1.0)
    """
    X = _csr(X, keep_zeros=True)
    confidence = alpha * X.data
    size = np.abs(confidence)
    if (size < 1).any():
        raise ValueError(
            f"implicit stores the confidence {confidence[size < 1][0]:g}, less than that of a cell "
            "that is not stored. ImplicitALS only adds weight: pass confidences of at least 1."
        )
    params = _params(1.0, 1.0, regularization, 0.0)
    if confidence.size and (confidence == 1).all():
        return _with(X, np.ones_like(X.data)), params | {"alpha": 0.0}
    if (confidence == 1).any():
        raise ValueError(
            "implicit stores the confidence 1 among others: a liked cell that weighs no more than "
            "one that is not stored has no value in ImplicitALS. Pass larger confidences."
        )
    X = _with(X, np.copysign(size - 1, confidence))
    X.eliminate_zeros()  # disliked with the weight and the target of a cell that is not stored
    return X, params


def to_implicit(X: Any, model: Any) -> Converted:
    """Convert to ``implicit.als.AlternatingLeastSquares``.

    Parameters
    ----------
    X : sparse or array-like of shape (n_rows, n_columns)
        Data for ``ImplicitALS``.
    model : ImplicitALS
        Its parameters; it need not be fitted.

    Returns
    -------
    X : csr_array
        ``user_items``.
    params : dict
        ``alpha`` and ``regularization``.

    Raises
    ------
    ValueError
        If ``unobserved_weight`` is 0 or ``regularization_exponent`` is not.
    """
    w0 = _positive_weight(model, "implicit")
    _no_exponent(model, "implicit")
    X = _csr(X)
    confidence = np.copysign(1 + (model.alpha / w0) * np.abs(X.data), X.data)
    return _with(X, confidence), {"alpha": 1.0, "regularization": model.regularization / w0}


# ------------------------------------------------------------------ Spark ML


def from_spark(X: Any, *, regParam: float = 0.1, alpha: float = 1.0) -> Converted:
    """Convert from ``pyspark.ml.recommendation.ALS`` with ``implicitPrefs=True``.

    Its λ counts the positive cells of a row; with a unit so small that w₀ times the number of
    columns vanishes, ``regularization_exponent=1`` counts the stored ones.

    Parameters
    ----------
    X : sparse or array-like of shape (n_rows, n_columns)
        Its ratings.
    regParam, alpha : float
        Its parameters.

    Returns
    -------
    X : csr_array
        Data for ``ImplicitALS``.
    params : dict
        Parameters for ``ImplicitALS``.

    Raises
    ------
    ValueError
        If a rating is negative: it would count in λ here, and does not in Spark.
    """
    X = _csr(X)
    _only_positive(X, "Spark's λ does not count them")
    return X, _params(TINY * alpha, TINY, TINY * regParam, 1.0)


def to_spark(X: Any, model: Any) -> Converted:
    """Convert to ``pyspark.ml.recommendation.ALS`` with ``implicitPrefs=True``.

    Parameters
    ----------
    X : sparse or array-like of shape (n_rows, n_columns)
        Data for ``ImplicitALS``.
    model : ImplicitALS
        Its parameters; it need not be fitted.

    Returns
    -------
    X : csr_array
        Ratings.
    params : dict
        ``alpha`` and ``regParam``.

    Raises
    ------
    ValueError
        If λ of some row or column is not proportional to its number of positive cells.
    """
    w0 = _positive_weight(model, "Spark")
    X = _csr(X)
    likes = X.copy()
    likes.data = (X.data > 0).astype(float)
    strengths = []
    for axis, n_other in ((1, X.shape[1]), (0, X.shape[0])):
        stored = np.bincount(X.nonzero()[1 - axis], minlength=X.shape[1 - axis])
        bracket = (stored + w0 * n_other) ** model.regularization_exponent
        positive = np.asarray(likes.sum(axis=axis))
        ridge = model.regularization * bracket / w0
        if ((positive == 0) & (stored > 0)).any():
            strengths.append(np.nan)
        strengths.extend(ridge[positive > 0] / positive[positive > 0])
    if not np.allclose(strengths, strengths[0], rtol=1e-6, atol=0):
        raise ValueError(
            "Spark multiplies regParam by the number of positive cells of a row or column, and the "
            "λ of this model are not proportional to it. Only equal numbers of cells, or the "
            "parameters that from_spark returns, have an equivalent."
        )
    return X, {"alpha": model.alpha / w0, "regParam": float(strengths[0])}


# ------------------------------------------------------------------ cmfrec


def from_cmfrec(
    X: Any, *, lambda_: float = 1.0, alpha: float = 1.0, apply_log_transf: bool = False
) -> Converted:
    """Convert from ``cmfrec.CMF_implicit``.

    Parameters
    ----------
    X : sparse or array-like of shape (n_rows, n_columns)
        Its data.
    lambda_, alpha, apply_log_transf
        Its parameters.

    Returns
    -------
    X : csr_array
        Data for ``ImplicitALS``.
    params : dict
        Parameters for ``ImplicitALS``.

    Raises
    ------
    ValueError
        If a value is not positive, or with ``apply_log_transf`` not above 1: its logarithm would
        be a weight of zero or less.
    """
    X = _csr(X)
    _only_positive(X, "cmfrec takes none")
    if apply_log_transf:
        if (X.data <= 1).any():
            raise ValueError(
                f"apply_log_transf replaces the value {X.data.min():g} by a logarithm that is not "
                "positive, so no weight. Pass values above 1."
            )
        X = _with(X, np.log(X.data))
    return X, _params(alpha, 1.0, lambda_, 0.0)


def to_cmfrec(X: Any, model: Any) -> Converted:
    """Convert to ``cmfrec.CMF_implicit``.

    Parameters
    ----------
    X : sparse or array-like of shape (n_rows, n_columns)
        Data for ``ImplicitALS``.
    model : ImplicitALS
        Its parameters; it need not be fitted.

    Returns
    -------
    X : csr_array
        Data.
    params : dict
        ``alpha`` and ``lambda_``.

    Raises
    ------
    ValueError
        If a value is negative, ``unobserved_weight`` is 0 or ``regularization_exponent`` is not.
    """
    w0 = _positive_weight(model, "cmfrec")
    _no_exponent(model, "cmfrec")
    X = _csr(X)
    _only_positive(X, "cmfrec takes none")
    return X, {"alpha": model.alpha / w0, "lambda_": model.regularization / w0}


# ------------------------------------------------------------------ irspack and Rendle


def from_irspack(
    X: Any,
    *,
    alpha0: float = 0.0,
    reg: float = 1e-3,
    nu: float = 1.0,
    confidence_scaling: str = "none",
    epsilon: float = 1.0,
) -> Converted:
    """Convert from ``irspack.IALSRecommender`` with ``loss_type="ORIGINAL"``.

    Parameters
    ----------
    X : sparse or array-like of shape (n_rows, n_columns)
        Its data.
    alpha0, reg, nu, confidence_scaling, epsilon
        Its parameters; "log" takes the values to log(1 + v / epsilon).

    Returns
    -------
    X : csr_array
        Data for ``ImplicitALS``.
    params : dict
        Parameters for ``ImplicitALS``.

    Raises
    ------
    ValueError
        If a value is negative, or ``confidence_scaling`` is neither "none" nor "log".
    """
    if confidence_scaling not in ("none", "log"):
        raise ValueError(
            f"confidence_scaling must be 'none' or 'log'. Got {confidence_scaling!r} instead."
        )
    X = _csr(X)
    _only_positive(X, "irspack takes none")
    if confidence_scaling == "log":
        X = _with(X, np.log1p(X.data / epsilon))
    return X, _params(1.0, alpha0, reg, nu)


def to_irspack(X: Any, model: Any) -> Converted:
    """Convert to ``irspack.IALSRecommender`` with ``loss_type="ORIGINAL"``.

    Parameters
    ----------
    X : sparse or array-like of shape (n_rows, n_columns)
        Data for ``ImplicitALS``.
    model : ImplicitALS
        Its parameters; it need not be fitted.

    Returns
    -------
    X : csr_array
        Data, α times the values.
    params : dict
        ``alpha0``, ``reg`` and ``nu``.

    Raises
    ------
    ValueError
        If a value is negative or ``alpha`` is 0.
    """
    X = _csr(X)
    _only_positive(X, "irspack takes none")
    if not model.alpha:
        raise ValueError("irspack reads weights off the data, and alpha=0 gives them none.")
    params = {
        "alpha0": model.unobserved_weight,
        "reg": model.regularization,
        "nu": model.regularization_exponent,
    }
    return _with(X, model.alpha * X.data), params


def from_rendle(X: Any, *, alpha0: float, reg: float, nu: float = 1.0) -> Converted:
    """Convert from the objective of iALS++, ``irspack``'s ``loss_type="IALSPP"``.

    It charges α₀ ŷ² for *all* cells, the stored ones included, so the best prediction of a stored
    cell with the value v is v / (v + α₀) and not 1.  Scores, and rankings, are the same but for the
    factor (v + α₀) / v; the factors differ by its square root.

    Parameters
    ----------
    X : sparse or array-like of shape (n_rows, n_columns)
        Data with one value in all stored cells.
    alpha0, reg, nu : float
        Weight of all cells, strength, and exponent of the regularization.

    Returns
    -------
    X : csr_array
        Data for ``ImplicitALS``.
    params : dict
        Parameters for ``ImplicitALS``.

    Raises
    ------
    ValueError
        If values differ: the target of a cell would depend on its value.
    """
    X = _csr(X)
    return X, _params(1.0, alpha0, reg * _rendle_scale(X, alpha0), nu)


def to_rendle(X: Any, model: Any) -> Converted:
    """Convert to the objective of iALS++; see `from_rendle`.

    Parameters
    ----------
    X : sparse or array-like of shape (n_rows, n_columns)
        Data with one value in all stored cells.
    model : ImplicitALS
        Its parameters; it need not be fitted.

    Returns
    -------
    X : csr_array
        Data, α times the values.
    params : dict
        ``alpha0``, ``reg`` and ``nu``.

    Raises
    ------
    ValueError
        If values differ or are negative, or ``alpha`` is 0.
    """
    X, params = to_irspack(X, model)
    return X, params | {"reg": params["reg"] / _rendle_scale(X, params["alpha0"])}


def _rendle_scale(X: sp.csr_array, alpha0: float) -> float:
    _only_positive(X, "their target would not be zero")
    values = np.unique(X.data)
    if values.size > 1:
        raise ValueError(
            f"Values from {values[0]:g} to {values[-1]:g} have no equivalent: in the objective of "
            "iALS++ the target of a cell depends on its value. Pass data with one value."
        )
    return float((values[0] + alpha0) / values[0]) if values.size else 1.0


# ------------------------------------------------------------------ common


def _params(
    alpha: float, weight: float, regularization: float, exponent: float
) -> dict[str, float]:
    return {
        "alpha": alpha,
        "unobserved_weight": weight,
        "regularization": regularization,
        "regularization_exponent": exponent,
    }


def _csr(X: Any, keep_zeros: bool = False) -> sp.csr_array:
    """Return a copy in CSR, of floats, duplicates added up."""
    dtype = np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64
    X = sp.csr_array(X, dtype=dtype, copy=True)
    X.sum_duplicates()
    if not np.isfinite(X.data).all():
        raise ValueError("X holds NaN or infinite values; weights must be finite.")
    if not keep_zeros:
        X.eliminate_zeros()
    return X


def _with(X: sp.csr_array, data: Any) -> sp.csr_array:
    return sp.csr_array((data.astype(X.dtype), X.indices, X.indptr), shape=X.shape)


def _only_positive(X: sp.csr_array, why: str) -> None:
    if (X.data < 0).any():
        raise ValueError(f"X has negative values, the first {X.data[X.data < 0][0]:g}; {why}.")


def _positive_weight(model: Any, library: str) -> float:
    if not model.unobserved_weight:
        raise ValueError(
            f"unobserved_weight=0 has no equivalent: in {library} cells that are not stored weigh "
            "1. Pass a positive weight."
        )
    return float(model.unobserved_weight)


def _no_exponent(model: Any, library: str) -> None:
    if model.regularization_exponent:
        raise ValueError(
            f"regularization_exponent={model.regularization_exponent:g} has no equivalent: "
            f"{library} has one λ for all rows. Pass 0."
        )
