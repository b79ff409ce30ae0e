r"""Weights for counts: transformers that stand in a pipeline before a model of implicit feedback.

A count says less than it seems to: the tenth play adds little to the first, a column that everyone
has tells rows little apart, and a row with many counts is not surer of each.  The transformers here
replace the counts :math:`x_{ij}` by weights :math:`v_{ij}`, with

- :math:`N` the number of rows that have cells, :math:`d_j` the number of cells of column j, and
  :math:`\bar\ell` the mean of :math:`\ell_i = \sum_j |x_{ij}|` over rows that have cells, all three
  learned in ``fit``;
- zeros the same as no cell, and the sign of a count kept: a dislike stays a dislike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ._observations import read_input
from ._parameters import check_real
from .entries import Entries, within

__all__ = ["BM25Weighting", "LogWeighting", "TfidfWeighting"]

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


class _Weighting(OneToOneFeatureMixin, TransformerMixin, BaseEstimator, ABC):
    """Base of the transformers: what is counted, and what comes back in which container."""

    n_rows_: int
    column_counts_: npt.NDArray[np.int64]
    mean_length_: float

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> Any:
        """Count cells per column, and the length of rows.

        Parameters
        ----------
        X : sparse, array-like or Entries of shape (n_rows, n_features)
            Counts.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If a parameter is out of range, or ``X`` has NaN or infinite values.
        """
        self._check_parameters()
        row, col, value, shape = _cells(self._read(X, reset=True))
        there = value != 0
        lengths = np.bincount(row[there], np.abs(value[there]), shape[0])
        lengths = lengths[lengths > 0]
        self.n_rows_ = len(lengths)
        self.column_counts_ = np.bincount(col[there], minlength=shape[1])
        self.mean_length_ = float(lengths.mean()) if len(lengths) else 1.0
        return self

    def transform(self, X: Any) -> Any:
        """Replace counts by weights.

        Parameters
        ----------
        X : sparse, array-like or Entries of shape (n_rows, n_features)
            Counts, with the columns of ``fit``.  The weights of a row depend on that row alone.

        Returns
        -------
        sparse (CSR), ndarray or Entries of shape (n_rows, n_features)
            Weights, in the container that ``X`` came in; ``X`` is not changed.

        Raises
        ------
        NotFittedError
            If the transformer is not fitted.
        ValueError
            If the columns are not those of ``fit``, or ``X`` has NaN or infinite values.
        """
        check_is_fitted(self)
        X = self._read(X, reset=False)
        row, col, value, (n_rows, _) = _cells(X)
        size = np.abs(value).astype(np.float64)
        lengths: Any = np.bincount(row, size, n_rows)
        weights = self._weights(size, lengths[row], self.column_counts_[col])
        weights = np.copysign(weights, value).astype(value.dtype)
        if isinstance(X, Entries):
            ids = X.row_ids, X.col_ids
            return Entries._trusted(row, col, weights, X.matrix_shape, *ids)
        if sp.issparse(X):
            X = X.copy()
            X.data = weights
            return X
        out = np.zeros_like(X)
        out[row, col] = weights
        return out

    def _check_parameters(self) -> None:
        """Refuse parameters that are out of range."""

    @abstractmethod
    def _weights(self, x: Floats, length: Floats, count: npt.NDArray[np.int64]) -> Floats:
        """Return the weights of cells with |count| x, row length and cells in the column."""

    def _read(self, X: Any, *, reset: bool) -> Any:
        if isinstance(X, Entries):
            return read_input(self, X, unstored="missing", reset=reset)
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=reset)
        if sp.issparse(X) and not within(X).has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        return X


def _cells(X: Any) -> tuple[Integers, Integers, Floats, tuple[int, int]]:
    """Rows, columns and values of the cells, and the shape of the matrix."""
    if isinstance(X, Entries):
        return X.row, X.col, X.value, X.matrix_shape
    if sp.issparse(X):
        row = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
        return row, X.indices, X.data, X.shape
    row, col = np.nonzero(X)
    return row, col, X[row, col], X.shape


class LogWeighting(_Weighting):
    r"""Weight counts by their logarithm: :math:`v = \log(1 + x / s)`.

    Small against the scale s a count weighs in proportion, far above it only its order of magnitude
    matters.

    Parameters
    ----------
    scale : float, default=1.0
        Count from which weights bend, greater than 0.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, if ``fit`` was given a data frame.

    References
    ----------
    .. [1] Hu, Koren and Volinsky (2008), "Collaborative filtering for implicit feedback datasets",
       equation 6: confidence 1 + α log(1 + x / ε).

    Examples
    --------
    >>> from skglrm.weighting import LogWeighting
    >>> LogWeighting().fit_transform([[0.0, 1.0, 7.0]]).round(2)
    array([[0.  , 0.69, 2.08]])
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def _check_parameters(self):
        check_real(self, "scale", 0, above=True)

    def _weights(self, x, length, count):
        return np.log1p(x / self.scale)


class TfidfWeighting(_Weighting):
    r"""Weight counts down in columns that many rows have.

    .. math::

        v_{ij} = \sqrt{x_{ij}} \, \Bigl(1 + \log \frac{1 + N}{1 + d_j}\Bigr)

    The second factor is scikit-learn's smooth inverse document frequency, at least 1.

    Attributes
    ----------
    n_rows_ : int
        Number of rows that have cells, N.
    column_counts_ : ndarray of int64, shape (n_features,)
        Number of cells of each column, d.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, if ``fit`` was given a data frame.

    Examples
    --------
    >>> from skglrm.weighting import TfidfWeighting
    >>> TfidfWeighting().fit_transform([[4.0, 4.0], [1.0, 0.0]]).round(2)
    array([[2.  , 2.81],
           [1.  , 0.  ]])
    """

    def _weights(self, x, length, count):
        return np.sqrt(x) * (1 + np.log((1 + self.n_rows_) / (1 + count)))


class BM25Weighting(_Weighting):
    r"""Weight counts as the ranking function Okapi BM25 does.

    .. math::

        v_{ij} = \log\Bigl(1 + \frac{N - d_j + \frac12}{d_j + \frac12}\Bigr)
            \frac{(k_1 + 1) \, x_{ij}}{x_{ij} + k_1 (1 - b + b \, \ell_i / \bar\ell)}

    Counts saturate, the sooner the smaller :math:`k_1`; they count less in long rows, and in
    columns that many rows have.  The 1 in the logarithm keeps weights positive in columns that more
    than half of the rows have.

    Parameters
    ----------
    k1 : float, default=1.2
        Where counts saturate, at least 0; with 0 all counts are alike.  For plays or clicks, which
        run into hundreds, values about 100 are common.
    b : float, default=0.75
        How much the length of a row matters, from 0 to 1.

    Attributes
    ----------
    n_rows_ : int
        Number of rows that have cells, N.
    column_counts_ : ndarray of int64, shape (n_features,)
        Number of cells of each column, d.
    mean_length_ : float
        Mean sum of a row.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, if ``fit`` was given a data frame.

    References
    ----------
    .. [1] Robertson and Zaragoza (2009), "The probabilistic relevance framework: BM25 and beyond",
       Foundations and Trends in Information Retrieval 3, 333-389.

    Examples
    --------
    >>> from skglrm.weighting import BM25Weighting
    >>> BM25Weighting().fit_transform([[4.0, 4.0], [1.0, 0.0]]).round(2)
    array([[0.27, 1.03],
           [0.27, 0.  ]])
    """

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        self.k1 = k1
        self.b = b

    def _check_parameters(self):
        check_real(self, "k1", 0)
        if check_real(self, "b", 0) > 1:
            raise ValueError(
                f"The 'b' parameter of BM25Weighting must be at most 1. Got {self.b!r}."
            )

    def _weights(self, x, length, count):
        rarity = np.log1p((self.n_rows_ - count + 0.5) / (count + 0.5))
        half = self.k1 * (1 - self.b + self.b * length / self.mean_length_)
        # A cell of count 0 is no cell, also where 0 / 0 says nothing.
        return rarity * np.divide((self.k1 + 1) * x, x + half, out=np.zeros_like(x), where=x > 0)
