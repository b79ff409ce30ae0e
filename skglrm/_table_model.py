"""What a model with a loss for each column does with its factors once they are fitted."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted

from ._columns import Columns, Null, predictor
from ._factorizer import Factorizer, Floats, _positions, stays_on_cluster
from ._held_out import hidden_cells
from ._observations import finite, quiet_arithmetic, read_input
from ._sampling import draw_cells
from ._tables import Table, as_frame
from .entries import Entries

__all__ = ["TableModel"]

NO_COST = 1e-150
"""Columns whose best constants cost no more are constant, and no unit of costs."""


class TableModel(Factorizer):
    """Base of models of tables: what follows from factors, offsets, and losses by column."""

    offset_: Floats
    losses_: list[Any]
    column_weights_: npt.NDArray[np.float64]
    _columns: Columns
    _null: Null
    _table: Table | None

    def transform(self, X: Any) -> Floats:
        """Fold rows in: their factors, given ``components_``.

        The result of a row depends on that row alone.  Rows without observed cells get zeros, or
        what their regularizer prefers.  Labels that were not seen in ``fit`` count as missing, with
        one warning.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            Rows with the columns of the fitted data.

        Returns
        -------
        ndarray of shape (n_rows, n_components)
            Factors, of the dtype of ``components_``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the columns are not those of the fitted data, or a value is outside the domain of its
            column's loss.
        """
        return super().transform(X)

    @quiet_arithmetic()
    def inverse_transform(self, W: npt.ArrayLike) -> Any:
        """Predict all cells of rows with given factors, in the domains of the columns.

        Parameters
        ----------
        W : array-like of shape (n_rows, n_components)
            Factors, for instance from :meth:`transform`; rows of the identity show what each
            component stands for.

        Returns
        -------
        ndarray or data frame of shape (n_rows, n_features)
            Predicted values; for a model of a data frame one of the same library, with its labels
            and types.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``W`` has another number of columns than ``n_components``.
        """
        check_is_fitted(self)
        values = self._values(self._check_factors(W))
        return values if self._table is None else self._table.decode(values)

    def impute(self, X: Any) -> Any:
        """Fill in the missing cells; observed cells stay as they are.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            Rows with the columns of the fitted data.

        Returns
        -------
        ndarray or data frame of shape (n_rows, n_features)
            Complete rows.  A data frame gives a frame with the same types, labels and index if the
            model was fitted on one; everything else an array.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the columns are not those of the fitted data, or a value is outside the domain of its
            column's loss.
        """
        check_is_fitted(self)
        entries = self._read(X)
        values = self._values(self._fold_in(entries.to_csr()))
        values[entries.row, entries.col] = entries.value
        return self._typed(values, X)

    def sample(self, X: Any, *, random_state: Any = None, missing_only: bool = True) -> Any:
        r"""Draw cells from the model, for instance for multiple imputation.

        A cell is drawn from the density proportional to :math:`\exp(-L(u, \cdot))` of its column's
        scaled loss: levels and Booleans by their probabilities, counts from the Poisson law, angles
        from the von Mises law; and numbers from the normal law, with the deviation of the observed
        cells of the column from their predictions.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            Rows with the columns of the fitted data.
        random_state : int, RandomState instance or None, default=None
            Seed of the draw.
        missing_only : bool, default=True
            Keep the observed cells, and draw the missing ones only.

        Returns
        -------
        ndarray or data frame of shape (n_rows, n_features)
            As from :meth:`impute`.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the columns are not those of the fitted data, or a value is outside the domain of its
            column's loss.
        """
        check_is_fitted(self)
        entries = self._read(X)
        U = self._predictions(self._fold_in(entries.to_csr()))
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
        values = draw_cells(self._columns, self.column_weights_, U, entries, rng)
        if missing_only:
            values[entries.row, entries.col] = entries.value
        return self._typed(values, X)

    @quiet_arithmetic()
    def predict_entries(self, rows: npt.ArrayLike, cols: npt.ArrayLike) -> Floats:
        """Predict single cells of the fitted data, in the domains of their columns.

        Parameters
        ----------
        rows, cols : array-like of int, shape (n_cells,)
            Positions of the cells.  A position that is negative or beyond the fitted matrix, or
            whose row or column had no cell, counts as unseen.

        Returns
        -------
        ndarray of shape (n_cells,)
            Predicted values, codes where a data frame had labels.  Never NaN: where the row is
            unseen, the best constant of the column; where the column is, that of all cells if all
            columns have the same loss, else what a prediction of 0 stands for.

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
        row, col = _seen(rows, self._row_counts), _seen(cols, self._column_counts)
        beyond = (cols < 0) | (cols >= self.n_features_in_)
        at = np.where(beyond, 0, cols).astype(np.int64)
        out = self._columns.impute_cells(at, self._predictor(row, unseen=(row < 0) | (col < 0)))
        overall = self._null.overall
        if beyond.any() and overall is not None:
            group = self._columns.groups[0]
            out[beyond] = group.domain.impute(group.loss, np.array([overall]))[0]
        elif beyond.any():
            out[beyond] = 0.0
        return out.astype(self.components_.dtype)

    def score(self, X: Any, y: Any = None) -> float:
        """Return D² = 1 − loss / loss of the best constants, on cells that were not fitted on.

        The losses of a column are divided by its generalised variance, the mean loss of its best
        constant in ``fit``, so that columns of any unit and type count alike.  Predictions for
        which the loss of a likelihood of ordered levels would be infinite are first lowered as
        little as makes it finite; so they are wherever cells are predicted.

        Parameters
        ----------
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            Of a matrix, a fixed fifth of each row's cells is hidden, the row folded in on the
            others, and the hidden cells are scored.  ``Entries`` are predicted with the fitted row
            factors as they are, so pass cells that were held out.
        y : ignored
            Present by convention.

        Returns
        -------
        float
            At most 1; 0 is as good as the best constant of each column, as found in ``fit``.  NaN,
            with a warning, if there are not two cells to score.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the columns are not those of the fitted data, or a value is outside the domain of its
            column's loss.
        """
        check_is_fitted(self)
        if stays_on_cluster(self, X):
            from ._cluster import score_of_rows

            return self._d2(*score_of_rows(self, X))
        if isinstance(X, Entries):
            return self._d2(*self._score_sums(X))
        entries = self._read(X)
        hidden = hidden_cells(entries)
        cells = entries[hidden]
        W = self._fold_in(entries[~hidden].to_csr())
        return self._d2(*self._costs(cells, predictor(cells.row, W, self._H, self.offset_)))

    def _score_sums(self, X: Entries, _: Any = None) -> tuple[float, float, float]:
        """Return the number of cells, their losses, and those of the best constants."""
        row_at, cells = self._aligned(X)
        self._check_domain(cells)
        row = row_at[cells.row]
        row = np.where(self._row_counts[row] > 0, row, -1)
        unseen = (row < 0) | (self._column_counts[cells.col] == 0)
        return self._costs(cells, self._predictor(row, unseen))

    def _costs(self, cells: Entries, predict: Any) -> tuple[float, float, float]:
        columns, constants = self._columns, self._constants
        unit = np.where(self._null.costs > NO_COST, self._null.costs, np.inf)
        if np.isinf(unit).all():
            unit[:] = 1.0
        each = 1.0 / unit[cells.col]
        with quiet_arithmetic():
            cost = columns.costs(cells.col, cells.value, predict) @ each
            best = columns.costs(cells.col, cells.value, lambda at, places: constants[places])
            worst = best @ each
        if np.isnan(cost):  # an infinite cost is bad, but is one
            finite(cost)
        return len(cells), float(cost), float(finite(worst))

    def _d2(self, n: float, cost: float, worst: float) -> float:
        if n < 2:
            warnings.warn(
                f"The score is undefined: there are {n:.0f} cells to score, and rows of a "
                "matrix need two observed cells each to hide one.",
                UndefinedMetricWarning,
                stacklevel=3,
            )
            return float("nan")
        if worst == 0.0:
            return 1.0 if cost == 0.0 else 0.0
        return float(1.0 - cost / worst)

    # -------------------------------------------------------------- reading

    def _read(self, X: Any) -> Entries:
        frame = as_frame(X)
        if frame is not None and self._table is not None and not self._table.is_numeric:
            X = self._table.encode(frame)
        entries = read_input(self, X, unstored=self.unstored, reset=False)
        value = entries.value.astype(self.components_.dtype, copy=False)
        entries = Entries._trusted(
            entries.row, entries.col, value, entries.matrix_shape, entries.row_ids, entries.col_ids
        )
        self._check_domain(entries)
        return entries

    def _check_domain(self, entries: Entries) -> None:
        self._columns.check(entries.col, entries.value, self._names(None, self._table))

    def _names(self, entries: Entries | None, table: Table | None) -> Any:
        """Names of the columns, if they have any."""
        if table is not None:
            return [column.name for column in table.columns]
        ids = getattr(self, "col_ids_", None) if entries is None else entries.col_ids
        return getattr(self, "feature_names_in_", None) if ids is None else ids

    @quiet_arithmetic()
    def _typed(self, values: Floats, X: Any) -> Any:
        frame = as_frame(X)
        if frame is None or self._table is None:
            return values
        return self._table.decode(values, frame)

    # -------------------------------------------------------------- predictions

    @property
    def _H(self) -> Floats:
        return np.ascontiguousarray(self.components_.T)

    @property
    def _constants(self) -> npt.NDArray[np.float64]:
        """What is predicted without factors: (n_predictions,)."""
        constants = self._null.constants
        if self._null.overall is None:
            return constants
        return np.where(self._null.counts > 0, constants, self._null.overall)

    @quiet_arithmetic()
    def _predictions(self, W: Floats) -> Floats:
        """Predictions u (n_rows, n_predictions) before they are taken to the domains."""
        return np.asarray(finite(W @ self.components_ + self.offset_))

    @quiet_arithmetic()
    def _values(self, W: Floats) -> Floats:
        return self._columns.impute(self._predictions(W))

    def _predictor(self, rows: npt.NDArray[Any], unseen: npt.NDArray[np.bool_]) -> Any:
        """Predict cells of fitted rows, by constants where row or column are unseen."""
        known = predictor(rows, self.row_factors_, self._H, self.offset_)
        constants = self._constants

        def predict(at: Any, places: npt.NDArray[np.int64]) -> Floats:
            return np.where(unseen[at][:, None], constants[places], known(at, places))

        return predict

    def _check_factors(self, W: npt.ArrayLike) -> Floats:
        factors: Floats = check_array(W, dtype=[np.float64, np.float32], input_name="W")
        if factors.shape[1] != len(self.components_):
            raise ValueError(
                f"W has {factors.shape[1]} columns, but {type(self).__name__} was fitted with "
                f"n_components={len(self.components_)}. Pass what transform returns."
            )
        return factors

    @quiet_arithmetic()
    def _ranking_factors(
        self, W: Floats, counts: npt.NDArray[Any], sums: npt.NDArray[Any]
    ) -> tuple[Floats, Floats]:
        """Row and column factors whose products are the predictions.

        (w, 1, 0) or (0, 0, 1) for a row, (h, b, c) for a column with constant c; one without cells
        has (0, c, c).
        """
        self._check_scalar("recommend")
        seen, known = (counts > 0)[:, None], (self._column_counts > 0)[:, None]
        c = self._constants[:, None]
        rows = [W * seen, seen, ~seen]
        columns = [self._H * known, np.where(known, self.offset_[:, None], c), c]
        dtype = self.components_.dtype
        return np.column_stack(rows).astype(dtype), np.column_stack(columns).astype(dtype)

    def _similar(self, side: str, *further: Any) -> Any:
        if side == "item":
            self._check_scalar("similar_items")
        return super()._similar(side, *further)

    def _check_scalar(self, method: str) -> None:
        if not self._columns.is_scalar:
            j = next(j for j, loss in enumerate(self.losses_) if loss.embedding_dim > 1)
            raise ValueError(
                f"{method} compares columns by one number each, but column {j} has "
                f"{self.losses_[j]!r}, with {self.losses_[j].embedding_dim} predictions per cell. "
                "Fit the columns to compare on their own."
            )


def _seen(at: npt.NDArray[Any], counts: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Positions of rows or columns with cells, -1 for all others."""
    outside = (at < 0) | (at >= counts.size)
    at = np.where(outside, 0, at).astype(np.int64)
    return np.where(outside | (counts[at] == 0), -1, at)
