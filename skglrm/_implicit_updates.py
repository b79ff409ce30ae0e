"""``partial_fit`` of implicit ALS: new rows, new columns and rows whose history has changed.

Everything is computed before anything is written, so that a call that fails changes nothing.  No
pass over all factors or all cells is made: the Gram matrices follow what changes by low-rank
updates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._factorizer import Floats
from ._ids import grown, position_dtype
from ._interactions import Growing, History, canonical, csr_of, read_interactions
from .backends import ThreadsBackend
from .entries import Entries
from .solvers.implicit import eigenbasis, gram

__all__ = ["updated"]

Integers = npt.NDArray[np.integer]


def updated(model: Any, X: Any) -> None:
    """Update an ``ImplicitALS`` in place."""
    if isinstance(X, Entries):
        cells, n_rows, n_columns, row_ids, col_ids = _placed(model, X)
    else:
        cells, n_rows, n_columns, row_ids, col_ids = _appended(model, X)
    n_known_rows, n_known_columns = len(model.row_factors_), model.n_features_in_
    dtype = model.components_.dtype
    cells = cells if cells.value.dtype == dtype else _as_type(cells, dtype)

    # New rows, even without cells, and known ones with an entry in a known column.
    given = np.unique(cells.row[(cells.col < n_known_columns) | (cells.row >= n_known_rows)])
    rows = np.union1d(given, np.arange(n_known_rows, n_rows)).astype(np.int64)
    others = np.setdiff1d(cells.row, rows).astype(np.int64)
    histories = _rows_of(cells, rows, n_columns)
    change = _Change(model, rows, histories)
    if n_columns > n_known_columns:
        change.add_columns(cells, n_rows, n_columns)
    _commit(model, change, others, _rows_of(cells, others, n_columns), n_rows, n_columns)
    model.row_ids_, model.col_ids_ = row_ids, col_ids
    if n_columns != n_known_columns:
        model.n_features_in_ = n_columns
        if hasattr(model, "feature_names_in_"):
            del model.feature_names_in_


# ------------------------------------------------------------------ where the batch goes


def _appended(model: Any, X: Any) -> tuple[Entries, int, int, Any, Any]:
    """The rows of a matrix, behind those that are known."""
    if model.row_ids_ is not None:
        raise ValueError(
            "The model was fitted on Entries with ids, and a matrix does not say which ids its "
            "rows have. Pass Entries.from_frame(...) to partial_fit."
        )
    entries = read_interactions(model, X, reset=False)
    n_rows = len(model.row_factors_) + entries.matrix_shape[0]
    shape = n_rows, model.n_features_in_
    row = entries.row.astype(position_dtype(shape), copy=False) + len(model.row_factors_)
    cells = Entries._trusted(row, entries.col, entries.value, shape)
    return cells, *shape, None, model.col_ids_


def _placed(model: Any, X: Entries) -> tuple[Entries, int, int, Any, Any]:
    """Entries by their positions in the grown matrix; zeros take a row's cells away."""
    sides: list[tuple[Integers, Any, int]] = []
    for side, n, ids, known, n_known, positions in (
        ("row", X.matrix_shape[0], X.row_ids, model.row_ids_, len(model.row_factors_), X.row),
        ("column", X.matrix_shape[1], X.col_ids, model.col_ids_, model.n_features_in_, X.col),
    ):
        if ids is None and known is None:
            sides.append((positions, None, _checked_size(side, positions, n_known)))
        elif ids is not None and ids is known:
            sides.append((positions, ids, n_known))
        else:
            at, all_ids, n_all = grown(side, n, ids, known, n_known)
            sides.append((at[positions], all_ids, n_all))
    (row, row_ids, n_rows), (col, col_ids, n_columns) = sides
    dtype = position_dtype((n_rows, n_columns))
    shape = n_rows, n_columns
    cells = Entries._trusted(row.astype(dtype), col.astype(dtype), X.value, shape)
    return cells, *shape, row_ids, col_ids


def _checked_size(side: str, positions: Integers, n_known: int) -> int:
    """Number of rows or columns with the new ones, which must follow the known without a gap."""
    new = np.unique(positions[positions >= n_known])
    expected = n_known + np.arange(new.size)
    gap = np.flatnonzero(new != expected)
    if gap.size:
        first, found = int(expected[gap[0]]), int(new[gap[0]])
        missing = f"{side} {first}" if found == first + 1 else f"{side}s {first} to {found - 1}"
        raise ValueError(
            f"The entries name {side} {found}, but there is nothing about {missing}: the model has "
            f"{n_known} {side}s. Number new {side}s from {n_known} on without a gap, or use ids "
            "(Entries.from_frame)."
        )
    return n_known + int(new.size)


def _as_type(cells: Entries, dtype: Any) -> Entries:
    value = cells.value.astype(dtype)
    return Entries._trusted(cells.row, cells.col, value, cells.matrix_shape)


def _rows_of(cells: Entries, rows: Integers, n_columns: int) -> sp.csr_array:
    """The cells of some rows, in ascending order, as CSR: summed, without zeros."""
    mine = np.isin(cells.row, rows)
    at = np.searchsorted(rows, cells.row[mine]).astype(cells.row.dtype)
    shape = (len(rows), n_columns)
    if not len(rows):
        return sp.csr_array(shape, dtype=cells.value.dtype)
    return csr_of(canonical(Entries._trusted(at, cells.col[mine], cells.value[mine], shape)))


# ------------------------------------------------------------------ new factors


class _Change:
    """Factors of the rows that are solved for, and of new columns."""

    def __init__(self, model: Any, rows: Integers, histories: sp.csr_array):
        self.model, self.rows, self.histories = model, rows, histories
        self.spectrum, self.rotation = model._spectrum, model._rotation
        self.column_gram, self.row_gram = model._column_gram, None
        self.new_columns = np.zeros((0, len(model.components_)), model.components_.dtype)
        self.factors = model._solve_exactly(
            "row", histories[:, : model.n_features_in_], model.components_.T, self.spectrum,
            self.rotation,
        )  # fmt: skip
        if model._row_gram is not None:
            self.row_gram = self._changed_row_gram()

    def add_columns(self, cells: Entries, n_rows: int, n_columns: int) -> None:
        """Solve for new columns against all rows, then for the rows again against all columns."""
        model = self.model
        n_known = model.n_features_in_
        if self.row_gram is None:
            self.row_gram = self._changed_row_gram()
        new = cells.col >= n_known
        used = np.unique(cells.row[new])
        at = np.searchsorted(used, cells.row[new]).astype(cells.row.dtype)
        shape = (n_columns - n_known, len(used))
        by_column = Entries._trusted(cells.col[new] - n_known, at, cells.value[new], shape)
        basis = eigenbasis(self.row_gram, self.factors.dtype)
        self.new_columns = model._solve_exactly(
            "column", csr_of(canonical(by_column)), self._rows(used), *basis, n_other=n_rows
        )
        added = self.new_columns.astype(np.float64)
        self.column_gram = self.column_gram + added.T @ added
        self.spectrum, self.rotation = eigenbasis(self.column_gram, self.factors.dtype)
        # Only columns with cells are needed, so that known ones are not copied.
        columns, at = np.unique(self.histories.indices, return_inverse=True)
        known, behind = columns[columns < n_known], columns[columns >= n_known] - n_known
        factors = np.concatenate([model.components_.T[known], self.new_columns[behind]])
        parts = (self.histories.data, at.astype(np.int32), self.histories.indptr)
        histories = sp.csr_array(parts, shape=(len(self.rows), len(columns)))
        before = self.factors
        self.factors = model._solve_exactly(
            "row", histories, factors, self.spectrum, self.rotation, n_other=n_columns
        )
        self.row_gram = self.row_gram + _outer(self.factors) - _outer(before)

    def _changed_row_gram(self) -> npt.NDArray[np.float64]:
        """Σ w wᵀ with the new factors of rows."""
        model = self.model
        total = model._row_gram
        if total is None:
            total = gram(model.row_factors_, ThreadsBackend(1))
        known = self.rows[self.rows < len(model.row_factors_)]
        return total + _outer(self.factors) - _outer(model.row_factors_[known])

    def _rows(self, rows: Integers) -> Floats:
        """Factors of rows, new where they are."""
        W = np.zeros((len(rows), self.factors.shape[1]), self.factors.dtype)
        known = rows < len(self.model.row_factors_)
        W[known] = self.model.row_factors_[rows[known]]
        _, here, there = np.intersect1d(rows, self.rows, return_indices=True)
        W[here] = self.factors[there]
        return W


def _outer(factors: Floats) -> npt.NDArray[np.float64]:
    factors = factors.astype(np.float64)
    return factors.T @ factors


# ------------------------------------------------------------------ writing


def _commit(
    model: Any, change: _Change, others: Integers, additions: sp.csr_array, n_rows: int,
    n_columns: int,
) -> None:  # fmt: skip
    """Take over what has been computed; rows that are known are overwritten last."""
    rows, histories = change.rows, change.histories
    n_known = len(model.row_factors_)
    history: History = model._history
    known = rows[rows < n_known]
    removed = history.rows(known, n_columns)
    if len(others):  # known rows that only got new columns
        kept = history.rows(others, n_columns)
        both = sp.coo_array(kept + additions).tocsr()
        both.sort_indices()
        everything, cells = np.concatenate([rows, others]), sp.vstack([histories, both], "csr")
    else:
        everything, cells = rows, histories
    new_history = history.replaced(everything, cells, n_rows)
    row_sums, column_sums = (
        np.concatenate([old, np.zeros(n - len(old))])
        for old, n in ((model._row_sums, n_rows), (model._column_sums, n_columns))
    )
    column_counts = np.concatenate(
        [model._column_counts, np.zeros(n_columns - len(model._column_counts), np.int64)]
    )
    for part, sign in ((removed, -1), (histories, 1), (additions, 1)):
        np.add.at(column_counts, part.indices, sign)
        np.add.at(column_sums, part.indices, sign * part.data.astype(np.float64))
    row_sums[rows] = histories.sum(axis=1)
    row_sums[others] += additions.sum(axis=1)

    row_memory, column_memory = _memory(model)
    column_memory = column_memory.appended(change.new_columns)
    row_memory = row_memory.appended(change.factors[rows >= n_known])
    model._history, model._row_counts = new_history, new_history.stop - new_history.start
    model._row_sums, model._column_sums = row_sums, column_sums
    model._column_counts = column_counts
    model._column_gram, model._row_gram = change.column_gram, change.row_gram
    model._spectrum, model._rotation = change.spectrum, change.rotation
    model._set_factors(row_memory, column_memory)
    model.row_factors_[known] = change.factors[rows < n_known]


def _memory(model: Any) -> tuple[Growing, Growing]:
    """The factors and the memory behind them; anew after unpickling."""
    memory = getattr(model, "_memory", None)
    if memory is not None and memory[0].array is model.row_factors_:
        return memory
    return Growing.copy_of(model.row_factors_), Growing.copy_of(model.components_.T)
