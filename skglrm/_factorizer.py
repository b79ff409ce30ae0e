"""What every factorizer does with its factors once they are fitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from ._ids import position_of
from ._jit import read_only
from ._observations import finite, quiet_arithmetic, read_input
from ._persistence import Saved
from ._progress import Watched
from ._ranking import best_columns, most_similar
from .backends import Backend, SparkBackend, effective_threads, get_backend
from .entries import Entries, SparkEntries
from .kernels.grid import count_and_sum
from .kernels.predictions import predict_cells

__all__ = ["Factorizer", "count_entries", "position_of", "stays_on_cluster"]

DAMPING = 5
"""Entries that a mean counts for less than: offsets are Σ (a - baseline) / (n + DAMPING)."""

Floats = npt.NDArray[np.floating]


class Factorizer(
    Saved, ClassNamePrefixFeaturesOutMixin, TransformerMixin, Watched, BaseEstimator, ABC
):
    """Base of the estimators: everything that follows from ``row_factors_`` and ``components_``.

    A subclass has a parameter ``unstored``, says how rows are folded in, and keeps the number and
    the sum of the entries of every row and column, from which cells without factors are predicted.
    """

    unstored: str
    backend: str | Backend
    n_jobs: int | None
    row_factors_: Floats
    components_: Floats
    row_ids_: npt.NDArray[Any] | None
    col_ids_: npt.NDArray[Any] | None
    baseline_: float
    n_features_in_: int
    _row_counts: npt.NDArray[np.int64]
    _row_sums: npt.NDArray[np.float64]
    _column_counts: npt.NDArray[np.int64]
    _column_sums: npt.NDArray[np.float64]

    @abstractmethod
    def _fold_in(self, matrix: sp.csr_array) -> Floats:
        """Return the factors (n_rows, n_components) of unseen rows, each from its cells alone."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def transform(self, X: Any) -> Floats:
        """Fold rows in: their factors, given ``components_``.

        The result of a row depends on that row alone.  Rows without observed cells get zeros.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            Rows with the columns of the fitted matrix.

        Returns
        -------
        ndarray of shape (n_rows, n_components)
            Factors, of the dtype of ``components_``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the columns are not those of the fitted matrix, or a value is infinite.
        """
        check_is_fitted(self)
        if stays_on_cluster(self, X):
            from ._cluster import transform_rows

            return transform_rows(self, X)
        return self._fold_in(self._read(X).to_csr())

    @quiet_arithmetic()
    def inverse_transform(self, W: npt.ArrayLike) -> Floats:
        """Predict all cells of rows with given factors.

        Parameters
        ----------
        W : array-like of shape (n_rows, n_components)
            Factors, for instance from :meth:`transform`.

        Returns
        -------
        ndarray of shape (n_rows, n_features)
            Predicted values.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``W`` has another number of columns than ``n_components``.
        """
        check_is_fitted(self)
        factors: Floats = check_array(W, dtype=[np.float64, np.float32], input_name="W")
        if factors.shape[1] != len(self.components_):
            raise ValueError(
                f"W has {factors.shape[1]} columns, but {type(self).__name__} was fitted with "
                f"n_components={len(self.components_)}. Pass what transform returns."
            )
        return np.asarray(finite(factors @ self.components_))

    @quiet_arithmetic()
    def predict_entries(self, rows: npt.ArrayLike, cols: npt.ArrayLike) -> Floats:
        """Predict single cells of the fitted matrix.

        Parameters
        ----------
        rows, cols : array-like of int, shape (n_cells,)
            Positions of the cells.  A position that is negative or beyond the fitted matrix, or
            whose row or column had no entry, counts as unseen.

        Returns
        -------
        ndarray of shape (n_cells,)
            Predicted values, never NaN: where one side is unseen, the baseline plus the damped
            offset of the other; where both are, the baseline.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the positions are not integers.
        ValueError
            If the two arrays are not one-dimensional and of equal length.
        """
        check_is_fitted(self)
        rows, cols = _positions("rows", rows), _positions("cols", cols)
        if rows.shape != cols.shape:
            raise ValueError(f"rows and cols differ in length: {rows.size} and {cols.size}.")
        rows = _known_or_unseen(rows, len(self.row_factors_))
        cols = _known_or_unseen(cols, self.n_features_in_)
        out = np.empty(rows.size, self.components_.dtype)
        cells = map(read_only, (rows, cols, self.row_factors_, self.components_.T))
        predict_cells(*cells, out)
        row_offsets, row_known = self._offsets(self._row_counts, self._row_sums)
        column_offsets, column_known = self._offsets(self._column_counts, self._column_sums)
        unseen = (rows < 0) | (cols < 0) | ~row_known[rows] | ~column_known[cols]
        row, col = rows[unseen], cols[unseen]
        out[unseen] = self.baseline_ + (
            np.where(row < 0, 0.0, row_offsets[row]) + np.where(col < 0, 0.0, column_offsets[col])
        )
        return out

    def _offsets(
        self, counts: npt.NDArray[np.int64], sums: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Damped mean deviation from the baseline of every row or column, and which were seen."""
        return (sums - self.baseline_ * counts) / (counts + DAMPING), counts > 0

    def recommend(
        self,
        X: Any,
        *,
        n: int = 10,
        exclude_seen: bool = True,
        items: npt.ArrayLike | None = None,
        return_scores: bool = True,
        return_names: bool = False,
    ) -> Any:
        """Return the columns with the highest predicted values for each row.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            The observed cells of each row.  Rows of a matrix are folded in as in
            :meth:`transform`; rows of ``Entries`` are looked up in the fitted matrix, by id if
            there are ids, and the entries say which of their cells have been seen.
        n : int, default=10
            Number of columns per row.
        exclude_seen : bool, default=True
            Leave out the cells that are observed in ``X``.
        items : array-like of int, default=None
            Columns that may be returned; ``None`` means all.
        return_scores : bool, default=True
            Return the predicted values as well.
        return_names : bool, default=False
            Return the ids of columns, or the names of features, in place of positions.

        Returns
        -------
        items : ndarray of int64, or of names, shape (n_rows, n)
            Columns, best first; -1 where fewer than n remain.  Names are objects, and None where
            fewer remain; dates are dates, and NaT.
        scores : ndarray of shape (n_rows, n)
            Their predicted values; -inf where fewer than n remain.  Only with ``return_scores``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``n`` is not a positive integer, ``items`` are no columns of the fitted matrix, or
            its columns have no names.
        """
        check_is_fitted(self)
        n = _check_n(n)
        names = self._column_names() if return_names else None
        pool = None if items is None else np.unique(self._check_items(items))
        if isinstance(X, Entries):
            row_at, seen = self._aligned(X)
            W = np.where(row_at[:, None] < 0, 0, self.row_factors_[row_at])
            counts, sums = self._row_counts[row_at], self._row_sums[row_at]
            counts, sums = np.where(row_at < 0, 0, counts), np.where(row_at < 0, 0, sums)
        else:
            seen = self._read(X)
            W = self._fold_in(seen.to_csr())
            counts, sums = count_entries(seen.row, seen.value, len(W))
        rows, columns = self._ranking_factors(W, counts, sums)
        if sp.issparse(X) and self.unstored == "zero":  # zeros for the fit, but not seen
            seen = read_input(self, X.tocsr(), unstored="missing", reset=False)
        exclude = seen.to_csr() if exclude_seen else None
        with get_backend(self.backend, effective_threads(self.n_jobs)) as backend:
            best, scores = best_columns(
                rows, columns, n, exclude=exclude, pool=pool, backend=backend
            )
        if names is not None:
            best = _named(names, best)
        return (best, scores) if return_scores else best

    def _column_names(self) -> npt.NDArray[Any]:
        names = self.col_ids_
        if names is None:
            names = getattr(self, "feature_names_in_", None)
        if names is None:
            raise ValueError(
                "The columns of the fitted matrix have no names. Fit on a data frame or on "
                "Entries.from_frame, or leave return_names=False."
            )
        return names

    def similar_items(
        self, items: npt.ArrayLike | None = None, n: int = 10, *, frame: str | None = None
    ) -> Any:
        """Return the columns whose factors point in the most similar directions.

        Parameters
        ----------
        items : array-like of int, shape (n_items,), or int, default=None
            Columns of the fitted matrix; ``None`` means all.
        n : int, default=10
            Number of other columns for each.
        frame : {"pandas", "polars", "pyarrow"}, default=None
            Return one data frame, with a line for each pair, as a search engine can index it:
            ``item`` and ``neighbour``, by id or feature name if there are any, and ``score``.

        Returns
        -------
        items : ndarray of int64, shape (n_items, n)
            Columns, most similar first, the column itself left out; -1 where there are fewer.
            Columns without factors are never among them.
        scores : ndarray of shape (n_items, n)
            Cosines between -1 and 1; -inf where there are fewer.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``items`` are no columns of the fitted matrix, or ``frame`` is unknown.
        """
        check_is_fitted(self)
        ids = np.arange(self.n_features_in_) if items is None else self._check_items(items)
        names = self.col_ids_
        if names is None:
            names = getattr(self, "feature_names_in_", None)
        return self._similar("item", self.components_.T, ids, names, n, frame)

    def similar_rows(
        self, rows: npt.ArrayLike | None = None, n: int = 10, *, frame: str | None = None
    ) -> Any:
        """Return the fitted rows whose factors point in the most similar directions.

        Parameters
        ----------
        rows : array-like of int, shape (n_rows,), or int, default=None
            Rows of the fitted matrix; ``None`` means all.
        n : int, default=10
            Number of other rows for each.
        frame : {"pandas", "polars", "pyarrow"}, default=None
            Return one data frame, with a line for each pair: ``row`` and ``neighbour``, by id if
            there are ids, and ``score``.

        Returns
        -------
        rows : ndarray of int64, shape (n_rows, n)
            Rows, most similar first, the row itself left out; -1 where there are fewer.  Rows
            without factors are never among them.
        scores : ndarray of shape (n_rows, n)
            Cosines between -1 and 1; -inf where there are fewer.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``rows`` are no rows of the fitted matrix, or ``frame`` is unknown.
        """
        check_is_fitted(self)
        n_rows = len(self.row_factors_)
        ids = np.arange(n_rows) if rows is None else _in_range("rows", rows, n_rows)
        return self._similar("row", self.row_factors_, ids, self.row_ids_, n, frame)

    def _similar(
        self, side: str, factors: Floats, ids: Any, names: Any, n: int, frame: str | None
    ) -> Any:
        if frame not in (None, "pandas", "polars", "pyarrow"):
            raise ValueError(
                f"frame must be None, 'pandas', 'polars' or 'pyarrow'. Got {frame!r} instead."
            )
        n = _check_n(n)
        with get_backend(self.backend, effective_threads(self.n_jobs)) as backend:
            found, scores = most_similar(factors, ids, n, backend=backend)
        if frame is None:
            return found, scores
        there = found >= 0
        pairs = {side: np.repeat(ids, there.sum(axis=1)), "neighbour": found[there]}
        if names is not None:
            pairs = {name: names[positions] for name, positions in pairs.items()}
        engine: Any = frame
        return nw.from_dict({**pairs, "score": scores[there]}, backend=engine).to_native()

    # -------------------------------------------------------------- reading

    def _read(self, X: Any) -> Entries:
        return read_input(self, X, unstored=self.unstored, reset=False)

    def _aligned(self, entries: Entries) -> tuple[npt.NDArray[Any], Entries]:
        """Fitted position of each row of ``entries`` or -1, and the entries by fitted columns.

        Entries of unknown columns are left out.
        """
        n_rows = entries.matrix_shape[0]
        row_at = position_of(n_rows, entries.row_ids, self.row_ids_, len(self.row_factors_))
        column_at = position_of(
            entries.matrix_shape[1], entries.col_ids, self.col_ids_, self.n_features_in_
        )
        col = column_at[entries.col]
        known = Entries._trusted(entries.row, col, entries.value, (n_rows, self.n_features_in_))
        return row_at, known[col >= 0]

    def _ranking_factors(
        self, W: Floats, counts: npt.NDArray[Any], sums: npt.NDArray[Any]
    ) -> tuple[Floats, Floats]:
        """Row and column factors whose products are what ``predict_entries`` predicts.

        Unseen rows and columns have no direction; two further coordinates hold their means:
        (w, b + row offset, 0) or (0, 0, 1) for a row, (h, 0, b + column offset) or (0, 1, b) for a
        column, each time for one that was seen and one that was not, with b the baseline.
        """
        H, b = self.components_.T, self.baseline_
        column_offsets, column_known = self._offsets(self._column_counts, self._column_sums)
        row_offsets, row_known = self._offsets(counts, sums)
        if row_known.all() and column_known.all():
            return W, H
        rows = [W * row_known[:, None], (b + row_offsets) * row_known, ~row_known]
        columns = [H * column_known[:, None], ~column_known, b + column_offsets * column_known]
        dtype = self.components_.dtype
        return np.column_stack(rows).astype(dtype), np.column_stack(columns).astype(dtype)

    def _check_items(self, items: npt.ArrayLike) -> npt.NDArray[np.int64]:
        return _in_range("items", items, self.n_features_in_)


def stays_on_cluster(model: Any, X: Any) -> bool:
    """Whether cells are on a cluster, and the model is to work there."""
    is_spark = model.backend == "spark" or isinstance(model.backend, SparkBackend)
    return is_spark and isinstance(X, SparkEntries)


def count_entries(
    ids: npt.NDArray[np.integer], values: Floats, n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return how many entries each of n ids has, and the sum of their values."""
    counts, sums = np.zeros(n, np.int64), np.zeros(n)
    count_and_sum(read_only(ids), read_only(values), counts, sums)
    return counts, sums


def _check_n(n: Any) -> int:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n must be a positive integer. Got {n!r} instead.")
    return int(n)


def _named(names: npt.NDArray[Any], positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Names in place of positions, None or NaT in place of -1."""
    dated = names.dtype.kind in "mM"
    out = np.full(positions.shape, "NaT" if dated else None, names.dtype if dated else object)
    there = positions >= 0
    out[there] = names[positions[there]]
    return out


def _positions(name: str, ids: npt.ArrayLike) -> npt.NDArray[Any]:
    array = np.atleast_1d(np.asarray(ids))
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"{name} must be integers, the positions in the fitted matrix; got {array.dtype}."
        )
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional; got shape {array.shape}.")
    return array


def _known_or_unseen(positions: npt.NDArray[Any], n: int) -> npt.NDArray[np.int64]:
    """Return signed positions, -1 for those outside 0..n."""
    outside = (positions < 0) | (positions >= n)
    known = np.where(outside, 0, positions).astype(np.int64)
    known[outside] = -1
    return known


def _in_range(name: str, ids: npt.ArrayLike, n: int) -> npt.NDArray[np.int64]:
    array = _positions(name, ids)
    outside = (array < 0) | (array >= n)
    if outside.any():
        raise ValueError(
            f"{name} must be positions from 0 to {n - 1} in the fitted matrix; "
            f"got {array[outside][0]}."
        )
    return array.astype(np.int64)
