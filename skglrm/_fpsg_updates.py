"""``partial_fit`` of block SGD: new entries of known rows and columns, and new rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._factorizer import Floats, count_entries
from ._fpsg_start import random_factors
from ._fpsg_task import encoded
from ._ids import extended, grown, position_dtype
from ._observations import read_matrix
from .entries import Entries
from .solvers.block_sgd import Cells, Start

__all__ = ["updated"]


def updated(model: Any, X: Any) -> None:
    """Visit new entries once, from where the known rows and columns stand."""
    row, col, value, shape, row_ids, col_ids = _placed(model, X)
    n_rows, n_columns = shape
    task = model._task
    W = extended(model.row_factors_, n_rows, 0)
    H = extended(model.components_.T, n_columns, 0)
    row_steps = extended(model._row_accumulators, n_rows, 1)
    column_steps = extended(model._column_accumulators, n_columns, 1)
    row_counts, row_sums = count_entries(row, value, n_rows)
    column_counts, column_sums = count_entries(col, value, n_columns)
    old_row_counts = extended(model._row_counts, n_rows, 0)
    old_column_counts = extended(model._column_counts, n_columns, 0)

    if value.size:
        _start_new(model, W, H, row, col, value, old_row_counts, old_column_counts)
        # Only rows and columns with entries move: solve for them alone, and for all that may be
        # drawn as negatives.
        rows, columns = np.flatnonzero(row_counts), np.flatnonzero(column_counts)
        if task.kind == "pairs":
            rows = np.arange(n_rows) if task.by_column else rows
            columns = columns if task.by_column else np.arange(n_columns)
        cells = Cells(
            _ranks(rows, n_rows)[row], _ranks(columns, n_columns)[col], value,
            row_counts[rows], column_counts[columns],
        )  # fmt: skip
        start = Start(W[rows], H[columns], row_steps[rows], column_steps[columns])
        known = _known(model, rows, columns, shape) if task.kind == "pairs" else None
        solution = model._solve(
            cells, model._inside(start), model.scale_, model._seed, 1,
            first_epoch=model.n_iter_, known=known,
        )  # fmt: skip
        W[rows], H[columns], row_steps[rows], column_steps[columns] = model._outside(
            solution, cells
        )
        model.loss_curve_ = [*model.loss_curve_, *solution.loss_curve]
        model.n_iter_ += 1
        model.best_iter_ = model.n_iter_
        if task.kind == "pairs":
            model._add_seen(row, col, shape)
            row_counts, row_sums, column_counts, column_sums = _of_pairs(
                row_counts, column_counts, task.by_column
            )
        else:
            model._move_baseline(value)

    model._row_counts = old_row_counts + row_counts
    model._row_sums = extended(model._row_sums, n_rows, 0) + row_sums
    model._column_counts = old_column_counts + column_counts
    model._column_sums = extended(model._column_sums, n_columns, 0) + column_sums
    if n_columns != model.n_features_in_:
        model.n_features_in_ = n_columns
        if hasattr(model, "feature_names_in_"):
            del model.feature_names_in_
    model.row_ids_, model.col_ids_ = row_ids, col_ids
    model._set_factors(W, H, row_steps, column_steps)


def _placed(model: Any, X: Any) -> tuple[Any, Any, Floats, tuple[int, int], Any, Any]:
    """Rows, columns and values by their positions in the grown matrix, its shape, and all ids."""
    n_known = len(model.row_factors_)
    if isinstance(X, Entries):
        X, _ = encoded(model._task, X)
        row_at, row_ids, n_rows = grown(
            "row", X.matrix_shape[0], X.row_ids, model.row_ids_, n_known
        )
        column_at, col_ids, n_columns = grown(
            "column", X.matrix_shape[1], X.col_ids, model.col_ids_, model.n_features_in_
        )
        dtype = position_dtype((n_rows, n_columns))
        row, col = row_at.astype(dtype)[X.row], column_at.astype(dtype)[X.col]
    else:
        if model.row_ids_ is not None:
            raise ValueError(
                "The model was fitted on Entries with ids, and a matrix does not say which "
                "ids its rows have. Pass Entries.from_frame(...) to partial_fit."
            )
        X = read_matrix(model, X, unstored=model.unstored, reset=False)
        X, _ = encoded(model._task, X)
        row_ids, col_ids = None, model.col_ids_
        n_rows, n_columns = n_known + X.matrix_shape[0], model.n_features_in_
        row, col = X.row + n_known, X.col
    value = X.value.astype(model.components_.dtype, copy=False)
    return row, col, value, (n_rows, n_columns), row_ids, col_ids


def _start_new(
    model: Any,
    W: Floats,
    H: Floats,
    row: npt.NDArray[Any],
    col: npt.NDArray[Any],
    value: Floats,
    row_counts: npt.NDArray[Any],
    column_counts: npt.NDArray[Any],
) -> None:
    """Give rows and columns without entries so far factors to start from, in place.

    Rows are folded in on known columns, then columns on known rows; what is left is drawn.
    """
    matrix = Entries._trusted(row, col, value, (len(W), len(H))).to_csr()
    known_column = (column_counts > 0)[matrix.indices]
    is_ranked = model._task.kind == "pairs"
    for of_columns, side, other, cells, known, counts, stream in (
        (False, W, H, matrix, known_column, row_counts, 11),
        (True, H, W, sp.csr_array(matrix.T), None, column_counts, 12),
    ):
        new = np.flatnonzero((counts == 0) & (np.diff(cells.indptr) > 0))
        if is_ranked and of_columns != model._task.by_column:
            new = np.flatnonzero(counts == 0)  # any of them may be drawn as a negative
        if not new.size:
            continue
        if is_ranked:
            without = new
        else:
            if known is not None:
                cells = _kept(cells, known)
            side[new] = model._folded(cells[new], other, of_columns)
            without = new[~side[new, 2 * model._has_intercepts :].any(axis=1)]
        drawn = np.ones(len(side), bool)
        seed = (model._seed, stream, model.n_iter_)
        k = len(model.components_) - 2 * model._has_intercepts
        fresh = random_factors(
            drawn, k, side.dtype, model.scale_, seed, centred=model._has_intercepts
        )
        side[without, side.shape[1] - k :] = fresh[without]


def _known(
    model: Any, rows: npt.NDArray[Any], columns: npt.NDArray[Any], shape: tuple[int, int]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Old entries among some rows and columns, by their places there."""
    seen = model._seen().tocoo()
    at = [np.full(n, -1) for n in shape]
    for places, ids in zip(at, (rows, columns), strict=True):
        places[ids] = np.arange(ids.size)
    row, column = at[0][seen.row], at[1][seen.col]
    inside = (row >= 0) & (column >= 0)
    return row[inside], column[inside]


def _of_pairs(row_counts: Any, column_counts: Any, by_column: bool) -> Any:
    """Counts and sums of a ranking's entries, as ``Statistics.write`` keeps them."""
    users = (column_counts if by_column else row_counts), None
    items = row_counts if by_column else column_counts
    ranked = items + items.sum() / items.size, items.astype(np.float64)
    asked = users[0], np.zeros(users[0].size)
    return (*ranked, *asked) if by_column else (*asked, *ranked)


def _ranks(ids: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int32]:
    """Map each of ``ids`` to its place among them."""
    ranks = np.zeros(n, np.int32)
    ranks[ids] = np.arange(ids.size)
    return ranks


def _kept(matrix: sp.csr_array, keep: npt.NDArray[np.bool_]) -> sp.csr_array:
    """Return the matrix with some of its stored entries only."""
    indptr = np.concatenate([[0], np.cumsum(keep)])[matrix.indptr].astype(matrix.indptr.dtype)
    return sp.csr_array((matrix.data[keep], matrix.indices[keep], indptr), shape=matrix.shape)
