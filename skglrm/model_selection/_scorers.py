"""Scorers that look at cells which the model has not been shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from .. import metrics
from .._factorizer import Factorizer, count_entries, position_of
from .._ranking import best_columns
from ..backends import effective_threads, get_backend
from ..entries import Entries
from ._adapter import EntriesAdapter

__all__ = ["make_heldout_scorer", "make_ranking_scorer"]

RANKING = {
    "recall": metrics.recall_at_k,
    "truncated_recall": metrics.truncated_recall_at_k,
    "precision": metrics.precision_at_k,
    "ndcg": metrics.ndcg_at_k,
    "hit_rate": metrics.hit_rate_at_k,
    "average_precision": metrics.average_precision_at_k,
    "reciprocal_rank": metrics.reciprocal_rank_at_k,
}


def make_heldout_scorer(
    metric: str | Callable[..., Any] = "neg_root_mean_squared_error",
    *,
    test_fraction: float = 0.2,
    random_state: int = 0,
) -> Any:
    """Make a scorer that predicts cells from other cells of their rows.

    Of a matrix, a share of each row's cells is hidden, the rows are folded in on the others, and
    the hidden cells are predicted: how well are *new rows* completed?  ``Entries`` are predicted
    as they are, with the fitted row factors: how well are *new cells* predicted?

    Parameters
    ----------
    metric : str, scorer or callable, default="neg_root_mean_squared_error"
        A name of scikit-learn's scorers of regression, a scorer, or a function
        ``metric(y_true, y_pred)`` of which higher values are better.
    test_fraction : float, default=0.2
        Share of each row's cells to hide; at least one, and never all, of rows with two or more.
    random_state : int, default=0
        Seed of the draw, which is the same for every model that is compared.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None)``, for the ``scoring`` of scikit-learn's tools.

    Raises
    ------
    ValueError
        If the metric is unknown, or ``test_fraction`` is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm import GLRM
    >>> from skglrm.model_selection import make_heldout_scorer
    >>> X = np.outer(np.arange(1.0, 9.0), [1.0, 2.0, 3.0, 2.0])
    >>> make_heldout_scorer("r2")(GLRM(1, regularization=1e-3).fit(X), X) > 0.99
    True
    """
    from sklearn.metrics import get_scorer  # takes long to import

    scorer = get_scorer(metric) if isinstance(metric, str) else metric
    return _HeldOut(scorer, _fraction(test_fraction), random_state)


def make_ranking_scorer(
    metric: str = "ndcg",
    k: int = 10,
    *,
    threshold: float = 0.0,
    test_fraction: float = 0.2,
    random_state: int = 0,
) -> Any:
    """Make a scorer that looks for hidden cells among the first k that a model recommends.

    Of a matrix, a share of each row's cells is hidden, the rows are folded in on the others, and
    columns are recommended that are not among these.  Of ``Entries`` all cells are looked for, and
    columns are recommended that the row was not fitted on; this the model must know, as
    ``ImplicitALS``, ``FPSGFactorizer`` with a loss of rankings, and :class:`EntriesAdapter` do.

    Parameters
    ----------
    metric : str, default="ndcg"
        "recall", "truncated_recall", "precision", "ndcg", "hit_rate", "average_precision" or
        "reciprocal_rank"; see :mod:`skglrm.metrics`.
    k : int, default=10
        Length of the part of the ranking that counts.
    threshold : float, default=0.0
        Cells with a value above this are to be found: 3.5 for ratings of four stars and more.
    test_fraction : float, default=0.2
        Share of each row's cells to hide; at least one, and never all, of rows with two or more.
    random_state : int, default=0
        Seed of the draw.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None)``, for the ``scoring`` of scikit-learn's tools.

    Raises
    ------
    ValueError
        If the metric is unknown, ``k`` is not positive, or ``test_fraction`` is not between 0
        and 1.
    """
    if metric not in RANKING:
        raise ValueError(f"metric must be one of {sorted(RANKING)}. Got {metric!r} instead.")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k must be a positive integer. Got {k!r} instead.")
    return _Ranking(metric, k, float(threshold), _fraction(test_fraction), random_state)


def _fraction(share: Any) -> float:
    if not 0 < share < 1:
        raise ValueError(f"test_fraction must be between 0 and 1. Got {share!r} instead.")
    return float(share)


@dataclass(frozen=True)
class _HeldOut:
    metric: Any
    test_fraction: float
    random_state: int

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        check_is_fitted(estimator)
        if isinstance(X, Entries):
            model = _factorizer_of(estimator)
            rows = position_of(
                X.matrix_shape[0], X.row_ids, model.row_ids_, len(model.row_factors_)
            )
            columns = position_of(
                X.matrix_shape[1], X.col_ids, model.col_ids_, model.n_features_in_
            )
            observed, predicted = X.value, model.predict_entries(rows[X.row], columns[X.col])
        else:
            _factorizer_of(estimator)
            shown, hidden = _parted(estimator, X, self.test_fraction, self.random_state)
            W = estimator._fold_in(shown.to_csr())
            # Codes, where a model of a frame would give labels.
            complete = getattr(estimator, "_values", estimator.inverse_transform)
            observed, predicted = hidden.value, complete(W)[hidden.row, hidden.col]
        if not observed.size:
            raise ValueError(
                "There is no cell to score: each row needs two observed cells to hide one."
            )
        if hasattr(self.metric, "_score_func"):  # a scorer: it asks an estimator for predictions
            return float(self.metric(_Given(), predicted.reshape(-1, 1), observed))
        return float(self.metric(observed, predicted))


class _Given(RegressorMixin, BaseEstimator):
    """Predicts what it is given, so that scorers score predictions that are there already."""

    fitted_ = True

    def fit(self, X: Any, y: Any = None) -> _Given:
        return self

    def predict(self, X: Any) -> Any:
        return X[:, 0]


@dataclass(frozen=True)
class _Ranking:
    metric: str
    k: int
    threshold: float
    test_fraction: float
    random_state: int

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        check_is_fitted(estimator)
        if isinstance(X, Entries):
            model = _factorizer_of(estimator)
            seen = _fitted_cells(estimator)
            row_at, cells = model._aligned(X)
            row = row_at[cells.row]
            hidden = _cells(row[row >= 0], cells[row >= 0], seen.matrix_shape)
            best = model.recommend(seen, n=self.k, return_scores=False)
        else:
            _factorizer_of(estimator)
            seen, hidden = _parted(estimator, X, self.test_fraction, self.random_state)
            best = _recommended(estimator, seen, self.k)
        wanted = hidden[hidden.value > self.threshold]
        relevant = _cells(wanted.row, wanted, hidden.matrix_shape, np.ones(len(wanted)))
        return float(RANKING[self.metric](relevant, best, k=self.k, exclude=_ones(seen)))


def _parted(estimator: Any, X: Any, share: float, seed: int) -> tuple[Entries, Entries]:
    """Return the cells of a matrix to show, and those to hide: the same share of every row's."""
    entries = estimator._read(X)
    counts = np.bincount(entries.row, minlength=entries.matrix_shape[0])
    draw = np.random.default_rng(seed).random(len(entries))
    order = np.lexsort((draw, entries.row))
    begins = np.cumsum(counts) - counts
    rank = np.empty(len(entries), np.int64)
    rank[order] = np.arange(len(entries)) - begins[entries.row[order]]
    n_hidden = np.clip(np.round(share * counts), 1, np.maximum(counts - 1, 0))
    hidden = rank < np.where(counts > 1, n_hidden, 0)[entries.row]
    return entries[~hidden], entries[hidden]


def _recommended(model: Any, shown: Entries, n: int) -> npt.NDArray[np.int64]:
    """Recommend to rows of which some cells are shown; all others are missing."""
    matrix = shown.to_csr()
    counts, sums = count_entries(shown.row, shown.value, matrix.shape[0])
    rows, columns = model._ranking_factors(model._fold_in(matrix), counts, sums)
    with get_backend(model.backend, effective_threads(model.n_jobs)) as backend:
        return np.asarray(best_columns(rows, columns, n, exclude=matrix, backend=backend)[0])


def _factorizer_of(estimator: Any) -> Any:
    model = getattr(estimator, "estimator_", estimator)
    if not isinstance(model, Factorizer):
        raise TypeError(
            f"Cells are predicted by a factorizer or an EntriesAdapter; got {estimator!r:.80}."
        )
    return model


def _fitted_cells(estimator: Any) -> Entries:
    """Return the cells that a model was fitted on, in its own numbering."""
    if isinstance(estimator, EntriesAdapter):
        return estimator.fitted_cells()
    n_rows, n_columns = len(estimator.row_factors_), estimator.n_features_in_
    if hasattr(estimator, "_history"):
        csr = estimator._history.rows(np.arange(n_rows), n_columns)
    elif getattr(estimator, "_seen_cells", None) is not None or hasattr(estimator, "_exact"):
        csr = estimator._seen()
    else:
        raise TypeError(
            f"{type(estimator).__name__} does not remember which cells it was fitted on, and a "
            "ranking of Entries must leave them out. Search over EntriesAdapter("
            f"{type(estimator).__name__}(...)), or score a matrix."
        )
    row = np.repeat(np.arange(n_rows, dtype=csr.indices.dtype), np.diff(csr.indptr))
    return Entries._trusted(
        row, csr.indices, csr.data, csr.shape, estimator.row_ids_, estimator.col_ids_
    )


def _cells(
    row: npt.NDArray[Any], cells: Entries, shape: tuple[int, int], value: Any = None
) -> Entries:
    return Entries._trusted(row, cells.col, cells.value if value is None else value, shape)


def _ones(cells: Entries) -> Any:
    """Return the cells as a matrix of ones; zeros are cells as well."""
    return Entries._trusted(cells.row, cells.col, np.ones(len(cells)), cells.matrix_shape).to_csr()
