"""Any factorizer as an estimator of observed cells."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from .._factorizer import position_of
from .._persistence import Saved
from ..entries import Entries

__all__ = ["EntriesAdapter"]


class EntriesAdapter(Saved, RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """A factorizer on ``Entries``, with predictions of cells: every tool of scikit-learn applies.

    The factorizers read ``Entries`` themselves.  What this adds is ``predict``, so that scorers by
    name and ``cross_val_predict`` work with ``y=entries.value``, and a memory of the cells it was
    fitted on, so that rankings can leave them out.  ``estimator_`` is an ordinary model.

    Parameters
    ----------
    estimator : estimator object
        A factorizer: ``GLRM``, ``ImplicitALS`` or ``FPSGFactorizer``. It is cloned.

    Attributes
    ----------
    estimator_ : estimator object
        The fitted factorizer.

    See Also
    --------
    skglrm.EntryRegressor : The same on two columns of ids.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skglrm import Entries, GLRM
    >>> from skglrm.model_selection import EntriesAdapter, RandomCells
    >>> entries = Entries.from_matrix(np.outer(np.arange(1.0, 9.0), [1.0, 2.0, 3.0, 2.0]))
    >>> grid = {"estimator__regularization": [0.01, 100.0]}
    >>> search = GridSearchCV(EntriesAdapter(GLRM(1)), grid, cv=RandomCells(3), scoring="r2")
    >>> search = search.fit(entries, entries.value)
    >>> search.best_estimator_.estimator_
    GLRM(n_components=1, regularization=0.01)
    """

    estimator_: Any
    _row: NDArray[Any]
    _col: NDArray[Any]
    _shape: tuple[int, int]

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Entries, y: ArrayLike | None = None) -> EntriesAdapter:
        """Fit the factorizer on observed cells.

        Parameters
        ----------
        X : Entries
            The cells.
        y : array-like of shape (n_entries,), default=None
            Values in place of those of ``X``; in a search, ``entries.value``.

        Returns
        -------
        EntriesAdapter
            The fitted estimator.

        Raises
        ------
        TypeError
            If ``X`` is no ``Entries``.
        ValueError
            If ``y`` has another length, or the data are unusable.
        """
        entries = _with_values(_checked(X), y)
        fitted = clone(self.estimator).fit(entries)
        self.estimator_ = fitted
        self._row, self._col, self._shape = entries.row, entries.col, entries.matrix_shape
        self.n_features_in_ = fitted.n_features_in_
        return self

    def predict(self, X: Entries) -> NDArray[Any]:
        """Predict the values of cells, be they known or not; the values of ``X`` do not matter.

        Parameters
        ----------
        X : Entries
            The cells, matched by id if there are ids.

        Returns
        -------
        ndarray of shape (n_entries,)
            Predicted values.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If ``X`` is no ``Entries``.
        """
        check_is_fitted(self)
        model, X = self.estimator_, _checked(X)
        n_rows, n_columns = X.matrix_shape
        rows = position_of(n_rows, X.row_ids, model.row_ids_, len(model.row_factors_))
        columns = position_of(n_columns, X.col_ids, model.col_ids_, model.n_features_in_)
        return np.asarray(model.predict_entries(rows[X.row], columns[X.col]))

    def score(self, X: Entries, y: ArrayLike | None = None) -> float:
        """Return the score of the factorizer itself: D², or NDCG@10 of ``ImplicitALS``.

        Parameters
        ----------
        X : Entries
            Cells that were held out.
        y : array-like of shape (n_entries,), default=None
            Values in place of those of ``X``.

        Returns
        -------
        float
            Higher is better.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        return float(self.estimator_.score(_with_values(_checked(X), y)))

    def fitted_cells(self) -> Entries:
        """Return the cells that the model was fitted on, with ones for values.

        Returns
        -------
        Entries
            Of the shape of the fitted matrix, with its ids.
        """
        check_is_fitted(self)
        model, ones = self.estimator_, np.ones(len(self._row))
        return Entries._trusted(
            self._row, self._col, ones, self._shape, model.row_ids_, model.col_ids_
        )


def _checked(X: Any) -> Entries:
    if not isinstance(X, Entries):
        raise TypeError(
            f"EntriesAdapter takes Entries; got {type(X).__name__}. Take Entries.from_matrix(X) "
            "or Entries.from_frame(...), or use EntryRegressor on two columns of ids."
        )
    return X


def _with_values(entries: Entries, y: ArrayLike | None) -> Entries:
    if y is None:
        return entries
    values = Entries(entries.row, entries.col, y, entries.matrix_shape).value
    return Entries._trusted(
        entries.row, entries.col, values, entries.matrix_shape, entries.row_ids, entries.col_ids
    )
