"""Matrix factorization as a regression on two id columns."""

from __future__ import annotations

from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from ._ids import codes_of, unique_ids, with_new
from ._observations import unchanged_on_error
from ._persistence import Saved
from .entries import Entries

__all__ = ["EntryRegressor"]

Array = NDArray[Any]


class EntryRegressor(Saved, RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """Regressor on pairs of ids: the value of the cell (row id, column id).

    Makes a matrix factorizer an ordinary scikit-learn regressor: `X` holds the two ids of each
    observed cell, `y` its value. Every splitter, scorer and search works as it is, on ids of any
    type. An id that was not seen in `fit` has no factors: its cells are predicted from means.

    Parameters
    ----------
    estimator : estimator object
        A factorizer with `fit(Entries)` and `predict_entries(rows, cols)`, such as
        `FPSGFactorizer` or `GLRM`. It is cloned.

    Attributes
    ----------
    estimator_ : estimator object
        The fitted factorizer.
    row_ids_, col_ids_ : ndarray of shape (n_rows,) and (n_columns,)
        Ids of the rows and columns of the matrix, in order of position.
    n_features_in_ : int
        Always 2.
    feature_names_in_ : ndarray of shape (2,)
        Names of the two id columns, if `X` is a data frame.

    Notes
    -----
    `X` needs exactly two columns, so that scikit-learn's `check_estimator`, which tries many
    widths, does not apply.

    Examples
    --------
    >>> from skglrm import EntryRegressor, FPSGFactorizer
    >>> X = [["ann", "up"], ["ann", "alien"], ["bob", "up"], ["bob", "alien"], ["cat", "up"]]
    >>> y = [5.0, 1.0, 4.0, 1.0, 5.0]
    >>> model = EntryRegressor(FPSGFactorizer(n_components=1, random_state=0)).fit(X, y)
    >>> model.row_ids_.tolist()
    ['ann', 'bob', 'cat']
    >>> model.predict([["cat", "alien"], ["dan", "up"]]).shape
    (2,)
    """

    estimator_: Any
    row_ids_: Array
    col_ids_: Array

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    def fit(self, X: Any, y: ArrayLike) -> EntryRegressor:
        """Fit the factorizer on the cells of a table.

        Parameters
        ----------
        X : array-like or data frame of shape (n_entries, 2)
            Row id and column id of each cell: strings, integers, dates, anything that sorts.
        y : array-like of shape (n_entries,)
            Value of each cell. float32 is kept, everything else becomes float64.

        Returns
        -------
        EntryRegressor
            The fitted regressor.

        Raises
        ------
        TypeError
            If `X` is sparse, or ids have no common order.
        ValueError
            If `X` has not two columns, an id or a value is missing, a pair occurs twice, or the
            lengths of `X` and `y` differ.
        """
        self._check_estimator("fit", "predict_entries")
        return self._fit(X, y, "fit")

    def partial_fit(self, X: Any, y: ArrayLike) -> EntryRegressor:
        """Update the factorizer with more cells; new ids become new rows and columns.

        Parameters
        ----------
        X : array-like or data frame of shape (n_entries, 2)
            Row id and column id of each cell.
        y : array-like of shape (n_entries,)
            Value of each cell.

        Returns
        -------
        EntryRegressor
            The updated regressor. A call that fails leaves it as it was.

        Raises
        ------
        TypeError, ValueError
            As in `fit`.
        """
        self._check_estimator("partial_fit", "predict_entries")
        return self._fit(X, y, "partial_fit")

    def predict(self, X: Any) -> Array:
        """Predict the values of cells.

        Parameters
        ----------
        X : array-like or data frame of shape (n_entries, 2)
            Row id and column id of each cell; ids may be unknown.

        Returns
        -------
        ndarray of shape (n_entries,)
            Predicted values.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the regressor has not been fitted.
        ValueError
            If `X` has not two columns.
        """
        check_is_fitted(self)
        row, col = self._id_columns(X, reset=False)
        values = self.estimator_.predict_entries(
            codes_of(row, self.row_ids_), codes_of(col, self.col_ids_)
        )
        return np.asarray(values)

    def _fit(self, X: Any, y: ArrayLike, method: str) -> EntryRegressor:
        grows = method == "partial_fit" and hasattr(self, "estimator_")
        with unchanged_on_error(self):
            row, col = self._id_columns(X, reset=not grows)
            value = self._values(X, y)
            row_ids = unique_ids(getattr(row, "name", "row id"), row)
            col_ids = unique_ids(getattr(col, "name", "column id"), col)
            if grows:
                row_ids = with_new(self.row_ids_, row_ids)
                col_ids = with_new(self.col_ids_, col_ids)
            entries = Entries._trusted(
                codes_of(row, row_ids),
                codes_of(col, col_ids),
                value,
                (len(row_ids), len(col_ids)),
                row_ids,
                col_ids,
            )
            estimator = self.estimator_ if grows else clone(self.estimator)
            self.estimator_ = getattr(estimator, method)(entries)
            self.row_ids_, self.col_ids_ = row_ids, col_ids
        return self

    def _check_estimator(self, *methods: str) -> None:
        absent = [method for method in methods if not hasattr(self.estimator, method)]
        if absent:
            raise TypeError(
                f"The estimator {self.estimator!r} has no {' and no '.join(absent)}. "
                "EntryRegressor needs a factorizer such as FPSGFactorizer()."
            )

    def _id_columns(self, X: Any, *, reset: bool) -> list[Any]:
        """Split `X` into its two columns, each an array or a narwhals series."""
        if sp.issparse(X):
            raise TypeError(
                "X is sparse, but EntryRegressor needs two columns of ids. Fit the factorizer "
                "itself on a sparse matrix."
            )
        frame = nw.from_native(X, pass_through=True, eager_only=True)
        if isinstance(frame, nw.DataFrame):
            columns = list(frame.iter_columns())
        else:
            # Objects, because NumPy would turn the id 1 in [1, "a"] into "1".
            X = X if hasattr(X, "dtype") else np.asarray(X, dtype=object)
            if X.ndim != 2:
                raise ValueError(
                    f"Expected 2D array, got {X.ndim}D array instead: EntryRegressor needs two "
                    "columns, the row id and the column id of each cell."
                )
            columns = list(X.T)
        if len(columns) != 2:
            raise ValueError(
                f"X has {len(columns)} features, but EntryRegressor is expecting 2 features as "
                "input: the row id and the column id of each cell."
            )
        validate_data(self, X, reset=reset, skip_check_array=True)
        return columns

    def _values(self, X: Any, y: Any) -> Array:
        if y is None:
            raise ValueError(
                "This EntryRegressor estimator requires y to be passed, but the target y is None."
            )
        y = check_array(y, ensure_2d=False, dtype=[np.float64, np.float32], input_name="y")
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y)
        return np.asarray(y)
