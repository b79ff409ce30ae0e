r"""How good a ranking of columns is, row by row.

For a row with the relevant columns :math:`R`, :math:`m = |R|`, and a ranking :math:`c_1, c_2, …`
let :math:`y_p = 1` if :math:`c_p \in R`, else 0, and :math:`h = \sum_{p \le k} y_p`.

==========================  ====================================================================
precision                   :math:`h / k`: the divisor is k, even if m < k
recall                      :math:`h / m`: below 1 if m > k
truncated recall            :math:`h / \min(k, m)`
hit rate                    1 if :math:`h > 0`, else 0
reciprocal rank             1 / p of the first :math:`y_p = 1` among the first k, else 0
average precision           :math:`\sum_{p \le k} y_p \frac1p \sum_{q \le p} y_q`, divided by
                            :math:`\min(k, m)`
NDCG                        :math:`\sum_{p \le k} \frac{g_p}{\log_2(p + 1)}`, divided by the same of
                            the best order; the gain g is y, or the value of the cell
AUC                         chance that a relevant column scores above one that is not, ties ½
==========================  ====================================================================

A metric is the mean over the rows that have relevant columns.  All are between 0 and 1, and higher
is better.
"""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils.validation import check_array

from .entries import Entries, within

__all__ = [
    "auc_score",
    "average_precision_at_k",
    "hit_rate_at_k",
    "ndcg_at_k",
    "precision_at_k",
    "recall_at_k",
    "reciprocal_rank_at_k",
    "truncated_recall_at_k",
]

SCORES_AT_ONCE = 4_000_000

Values = npt.NDArray[np.float64]

_PARAMETERS = """Parameters
    ----------
    y_true : sparse, array-like or Entries of shape (n_rows, n_columns)
        Relevant cells: those with a value above 0.
    y_pred : ndarray of int, shape (n_rows, n), or of float, shape (n_rows, n_columns)
        Either columns in order, the best first, as ``recommend`` returns them; -1 is no column.
        Or scores of all columns, as ``inverse_transform`` returns them: the highest comes first,
        ties go to the column that comes first, -inf and NaN are never ranked.  The dtype tells.
    k : int, default=10
        Length of the part of the ranking that counts.
    exclude : sparse, array-like or Entries of shape (n_rows, n_columns), default=None
        Cells that were seen before (stored cells; of a dense array those that are neither 0 nor
        NaN): they are taken out of the ranking, and are not relevant either.
    average : {"samples"} or None, default="samples"
        The mean over the rows that have relevant columns; or, with ``None``, each row's value.

    Returns
    -------
    float or ndarray of shape (n_rows,)
        The metric.  Rows without relevant columns are NaN; the mean of no rows is NaN, with an
        ``UndefinedMetricWarning``.

    Raises
    ------
    TypeError
        If ``y_pred`` holds neither integers nor floats.
    ValueError
        If shapes differ, a ranking is shorter than ``k``, names a column twice or one that does not
        exist, or a parameter is not among those above."""


def _with_parameters(function):
    function.__doc__ = function.__doc__.replace("{parameters}", _PARAMETERS)
    return function


@_with_parameters
def precision_at_k(y_true, y_pred, *, k=10, exclude=None, average="samples"):
    """Share of the first k columns that are relevant; the divisor is always k.

    {parameters}

    Examples
    --------
    >>> from skglrm.metrics import precision_at_k
    >>> precision_at_k([[1, 0, 1, 0]], [[2, 1, 3]], k=2)
    0.5
    """
    found = _look_up(y_true, y_pred, k, exclude)
    return _mean(found.share(found.n_hits, k), average)


@_with_parameters
def recall_at_k(y_true, y_pred, *, k=10, exclude=None, average="samples"):
    """Share of the relevant columns that are among the first k.

    It cannot reach 1 in rows with more than k relevant columns; see :func:`truncated_recall_at_k`.

    {parameters}

    Examples
    --------
    >>> from skglrm.metrics import recall_at_k
    >>> recall_at_k([[1, 1, 1, 1]], [[2, 1, 3]], k=2)
    0.5
    """
    found = _look_up(y_true, y_pred, k, exclude)
    return _mean(found.share(found.n_hits, found.n_relevant), average)


@_with_parameters
def truncated_recall_at_k(y_true, y_pred, *, k=10, exclude=None, average="samples"):
    """Relevant columns among the first k, as a share of how many could be there.

    Some libraries call this precision or recall.

    {parameters}

    Examples
    --------
    >>> from skglrm.metrics import truncated_recall_at_k
    >>> truncated_recall_at_k([[1, 1, 1, 1]], [[2, 1, 3]], k=2)
    1.0
    """
    found = _look_up(y_true, y_pred, k, exclude)
    possible = np.minimum(found.n_relevant, k)
    return _mean(found.share(found.n_hits, possible), average)


@_with_parameters
def hit_rate_at_k(y_true, y_pred, *, k=10, exclude=None, average="samples"):
    """Share of rows with at least one relevant column among the first k.

    {parameters}

    Examples
    --------
    >>> from skglrm.metrics import hit_rate_at_k
    >>> hit_rate_at_k([[1, 0, 1], [0, 0, 1]], [[2, 0], [0, 1]], k=2)
    0.5
    """
    found = _look_up(y_true, y_pred, k, exclude)
    return _mean(found.share(found.gains.any(axis=1), 1), average)


@_with_parameters
def reciprocal_rank_at_k(y_true, y_pred, *, k=10, exclude=None, average="samples"):
    """One over the place of the first relevant column; the mean is known as MRR.

    {parameters}

    Examples
    --------
    >>> from skglrm.metrics import reciprocal_rank_at_k
    >>> reciprocal_rank_at_k([[1, 0, 0]], [[2, 0, 1]], k=3)
    0.5
    """
    found = _look_up(y_true, y_pred, k, exclude)
    hits = found.gains > 0
    return _mean(found.share(hits.any(axis=1), 1 + hits.argmax(axis=1)), average)


@_with_parameters
def average_precision_at_k(y_true, y_pred, *, k=10, exclude=None, average="samples"):
    """Mean of the precisions at the relevant columns among the first k; its mean is MAP.

    The divisor is the number of relevant columns, or k if there are more.

    {parameters}

    Examples
    --------
    >>> from skglrm.metrics import average_precision_at_k
    >>> average_precision_at_k([[1, 0, 1]], [[2, 1, 0]], k=3)  # (1/1 + 2/3) / 2
    0.8333333333333333
    """
    found = _look_up(y_true, y_pred, k, exclude)
    hits = found.gains > 0
    precisions = hits.cumsum(axis=1) / (1 + np.arange(k))
    possible = np.minimum(found.n_relevant, k)
    return _mean(found.share((hits * precisions).sum(axis=1), possible), average)


@_with_parameters
def ndcg_at_k(y_true, y_pred, *, k=10, graded=False, exclude=None, average="samples"):
    """Normalised discounted cumulative gain: hits count less the later they come.

    With ``graded=True`` a hit gains the value of its cell, otherwise 1.

    {parameters}

    References
    ----------
    .. [1] Järvelin and Kekäläinen (2002), "Cumulated gain-based evaluation of IR techniques",
       ACM Transactions on Information Systems 20, 422-446.

    Examples
    --------
    >>> from skglrm.metrics import ndcg_at_k
    >>> round(ndcg_at_k([[1, 0, 1]], [[1, 2, 0]], k=2), 4)  # (1/log2(3)) / (1 + 1/log2(3))
    0.3869
    >>> round(ndcg_at_k([[1, 0, 3]], [[2, 0, 1]], k=2, graded=True), 4)
    1.0
    """
    found = _look_up(y_true, y_pred, k, exclude)
    discounts = 1 / np.log2(2 + np.arange(k))
    gains, best = found.gains, _largest(found.relevant, k)
    if not graded:
        gains, best = np.sign(gains), np.sign(best)
    return _mean(found.share(gains @ discounts, best @ discounts), average)


def auc_score(
    y_true: Any, y_score: npt.ArrayLike, *, exclude: Any = None, average: str | None = "samples"
) -> Any:
    """Area under the ROC curve of each row: how well scores part the relevant from the rest.

    It needs the scores of all columns: a list of the best says nothing about the others.

    Parameters
    ----------
    y_true : sparse, array-like or Entries of shape (n_rows, n_columns)
        Relevant cells: those with a value above 0.
    y_score : array-like of shape (n_rows, n_columns)
        Scores; equal ones count half.
    exclude : sparse, array-like or Entries of shape (n_rows, n_columns), default=None
        Cells that are left out, relevant or not: stored cells; of a dense array those that are
        neither 0 nor NaN.
    average : {"samples"} or None, default="samples"
        The mean over rows, or, with ``None``, each row's value.

    Returns
    -------
    float or ndarray of shape (n_rows,)
        The metric.  Rows where all or none of the columns are relevant are NaN; the mean of no rows
        is NaN, with an ``UndefinedMetricWarning``.

    Raises
    ------
    ValueError
        If shapes differ, a score is NaN, or ``average`` is unknown.

    Examples
    --------
    >>> from skglrm.metrics import auc_score
    >>> auc_score([[1, 0, 0, 1]], [[0.9, 0.1, 0.5, 0.4]])
    0.75
    """
    scores = _dense("y_score", y_score)
    relevant = _relevant_cells(y_true)
    _check_shape("y_score", scores.shape, relevant.shape)
    if np.isnan(scores).any():
        raise ValueError(
            "y_score has NaN. Every column needs a score; use exclude to leave cells out."
        )
    left_out = None if exclude is None else _stored_cells(exclude, relevant.shape)
    areas = np.empty(len(scores))
    for block in _blocks(*scores.shape):
        positive = relevant[block].toarray() > 0
        some = scores[block].copy()
        if left_out is not None:
            cells = left_out[block].toarray()
            positive[cells] = False
            some[cells] = np.nan
        areas[block] = _areas(some, positive)
    return _mean(areas, average)


def _areas(scores: Values, positive: npt.NDArray[np.bool_]) -> Values:
    """AUC of each row by the sum of ranks of the positive cells; NaN does not count."""
    order = np.argsort(scores, axis=1)  # NaN comes last
    ordered = np.take_along_axis(scores, order, axis=1)
    place = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    differs = ordered[:, 1:] != ordered[:, :-1]
    edge = np.ones((len(scores), 1), bool)
    first = np.maximum.accumulate(np.where(np.hstack([edge, differs]), place, 0), axis=1)
    beyond = scores.shape[1]
    last = np.where(np.hstack([differs, edge]), place, beyond)[:, ::-1]
    last = np.minimum.accumulate(last, axis=1)[:, ::-1]
    ranks = (1 + (first + last) / 2) * np.take_along_axis(positive, order, axis=1)
    n_positive = positive.sum(axis=1)
    n_negative = (~np.isnan(scores)).sum(axis=1) - n_positive
    with np.errstate(invalid="ignore"):
        below = ranks.sum(axis=1) - n_positive * (n_positive + 1) / 2
        return np.asarray(below / (n_positive * n_negative))


# ------------------------------------------------------------------ from cells to gains


class _Found(NamedTuple):
    """What the first k places of each row are worth, and what there was to find."""

    gains: Values
    relevant: sp.csr_array

    @property
    def n_relevant(self) -> npt.NDArray[np.int64]:
        return np.diff(self.relevant.indptr)

    @property
    def n_hits(self) -> npt.NDArray[np.int64]:
        return np.count_nonzero(self.gains, axis=1)

    def share(self, part: npt.ArrayLike, whole: npt.ArrayLike) -> Values:
        """Return part / whole of each row, NaN for rows without relevant columns."""
        out = np.full(len(self.gains), np.nan)
        return np.divide(part, whole, out=out, where=self.n_relevant > 0)


def _look_up(y_true: Any, y_pred: Any, k: Any, exclude: Any) -> _Found:
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise ValueError(f"k must be a positive integer. Got {k!r} instead.")
    relevant = _relevant_cells(y_true)
    left_out = None
    if exclude is not None:
        left_out = _stored_cells(exclude, relevant.shape)
        relevant = _without(relevant, left_out)
    y_pred = np.asarray(y_pred)
    if y_pred.ndim != 2:
        raise ValueError(f"y_pred must have two dimensions; got shape {y_pred.shape}.")
    if y_pred.dtype.kind == "f":
        _check_shape("y_pred", y_pred.shape, relevant.shape)
        ranking = _ranking(y_pred, left_out, int(k))
    elif y_pred.dtype.kind in "iu":
        ranking = _checked_ranking(y_pred, left_out, relevant.shape, int(k))
    else:
        raise TypeError(
            f"y_pred must hold columns (integers) or scores (floats); got {y_pred.dtype}."
        )
    return _Found(_values_at(relevant, ranking), relevant)


def _ranking(scores: Any, left_out: sp.csr_array | None, k: int) -> npt.NDArray[np.int64]:
    """Return the k columns with the highest scores of each row; -1 where there are fewer."""
    ranking = np.full((len(scores), k), -1)
    for block in _blocks(*scores.shape):
        some = np.where(np.isnan(scores[block]), -np.inf, scores[block])
        if left_out is not None:
            some[left_out[block].toarray()] = -np.inf
        top = _top(some, min(k, some.shape[1]))
        worst = np.take_along_axis(some, top, axis=1) == -np.inf
        ranking[block, : top.shape[1]] = np.where(worst, -1, top)
    return ranking


def _top(scores: npt.NDArray[Any], n: int) -> npt.NDArray[np.int64]:
    """Columns of the n largest of each row, in order, ties by column."""
    n_columns = scores.shape[1]
    # All that reach the n-th largest, ties included, or their order would be arbitrary.
    bar = np.partition(scores, n_columns - n, axis=1)[:, n_columns - n, None]
    rows, columns = np.nonzero(scores >= bar)
    order = np.lexsort((columns, -scores[rows, columns], rows))
    begins = np.searchsorted(rows, np.arange(len(scores)))  # rows come sorted
    return np.asarray(columns[order][begins[:, None] + np.arange(n)])


def _checked_ranking(
    ranking: npt.NDArray[Any], left_out: sp.csr_array | None, shape: tuple[int, int], k: int
) -> npt.NDArray[np.int64]:
    """Return the first k columns of each row that are columns and not left out."""
    if len(ranking) != shape[0]:
        raise ValueError(f"y_true has {shape[0]} rows, but y_pred has {len(ranking)}.")
    if ranking.shape[1] < k:
        raise ValueError(
            f"y_pred ranks {ranking.shape[1]} columns, but k={k}: recommend at least that many."
        )
    if ranking.size and ranking.max() >= shape[1]:
        raise ValueError(f"y_pred names column {ranking.max()}, but y_true has {shape[1]} columns.")
    ranking = ranking.astype(np.int64)
    ordered = np.sort(ranking, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ValueError("y_pred names a column twice in the same row; its places must differ.")
    gone = ranking < 0
    if left_out is not None:
        gone |= _values_at(left_out, ranking) > 0
    closed = np.argsort(gone, axis=1, kind="stable")[:, :k]
    return np.where(
        np.take_along_axis(gone, closed, axis=1), -1, np.take_along_axis(ranking, closed, axis=1)
    )


def _values_at(cells: sp.csr_array, columns: npt.NDArray[np.int64]) -> Values:
    """Values of the cells (i, columns[i, p]); 0 where there is none, and for negative columns."""
    wanted = np.arange(len(columns))[:, None] * cells.shape[1] + columns
    keys = _keys(cells)
    if keys.size == 0:
        return np.zeros(columns.shape)
    place = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    there = (keys[place] == wanted) & (columns >= 0)
    return np.where(there, cells.data[place], 0.0)


def _keys(cells: sp.csr_array) -> npt.NDArray[np.int64]:
    """Positions of sorted cells in the matrix, counted row by row."""
    rows = np.repeat(np.arange(cells.shape[0], dtype=np.int64), np.diff(cells.indptr))
    return rows * cells.shape[1] + cells.indices


def _largest(cells: sp.csr_array, k: int) -> Values:
    """Return the k largest values of each row, in order, then zeros."""
    rows = np.repeat(np.arange(cells.shape[0]), np.diff(cells.indptr))
    order = np.lexsort((-cells.data, rows))
    place = np.arange(cells.nnz) - cells.indptr[rows]
    largest = np.zeros((cells.shape[0], k))
    few = place < k
    largest[rows[few], place[few]] = cells.data[order][few]
    return largest


# ------------------------------------------------------------------ reading


def _canonical(name: str, X: Any) -> sp.csr_array:
    """Return a sorted copy in CSR of anything with cells."""
    if isinstance(X, Entries):
        X = X.to_csr()
    elif not sp.issparse(X):
        X = _dense(name, X)
        rows, columns = np.nonzero((X != 0) & ~np.isnan(X))
        X = sp.coo_array((X[rows, columns], (rows, columns)), shape=X.shape)
    if X.ndim != 2:
        raise ValueError(f"{name} must have two dimensions; got shape {X.shape}.")
    cells = sp.csr_array(within(X), dtype=np.float64, copy=True)
    cells.sum_duplicates()
    return cells


def _dense(name: str, X: Any) -> Values:
    options = {"ensure_all_finite": False, "ensure_min_samples": 0, "ensure_min_features": 0}
    return np.asarray(check_array(X, dtype=np.float64, input_name=name, **options))


def _relevant_cells(y_true: Any) -> sp.csr_array:
    cells = _canonical("y_true", y_true)
    cells.data[~(cells.data > 0)] = 0  # NaN too
    cells.eliminate_zeros()
    return cells


def _stored_cells(exclude: Any, shape: tuple[int, int]) -> sp.csr_array:
    cells = _canonical("exclude", exclude)
    _check_shape("exclude", cells.shape, shape)
    cells.data = np.ones(cells.nnz, bool)
    return cells


def _without(cells: sp.csr_array, left_out: sp.csr_array) -> sp.csr_array:
    cells.data[np.isin(_keys(cells), _keys(left_out), assume_unique=True)] = 0
    cells.eliminate_zeros()
    return cells


def _check_shape(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape != wanted:
        raise ValueError(f"{name} has shape {shape}, but y_true has {wanted}.")


def _blocks(n_rows: int, n_columns: int) -> list[slice]:
    step = max(1, SCORES_AT_ONCE // max(1, n_columns))
    return [slice(start, start + step) for start in range(0, n_rows, step)]


# ------------------------------------------------------------------ averaging


def _mean(values: Values, average: str | None) -> Any:
    if average is None:
        return values
    if average != "samples":
        raise ValueError(f"average must be 'samples' or None. Got {average!r} instead.")
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        warnings.warn(
            "No row has relevant columns: the metric is undefined.",
            UndefinedMetricWarning,
            stacklevel=3,
        )
        return float("nan")
    return float(defined.mean())
