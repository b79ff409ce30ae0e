"""Implicit feedback as estimators keep it: cells with values other than zero, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._observations import read_input
from ._simd import aligned_zeros
from .entries import Entries, within

__all__ = ["Growing", "History", "canonical", "csr_of", "read_interactions"]

Integers = npt.NDArray[np.integer]


def read_interactions(estimator: Any, X: Any, *, reset: bool) -> Entries:
    """Read `X` as `read_input` does, but add the values of a cell up, and leave zeros out.

    A click counts each time, so duplicates are summed; a cell whose sum is zero is like one that is
    not stored. `X` itself is not changed. The result is in row-major order.
    """
    if sp.issparse(X) and X.ndim == 2:
        X = _summed(X)
    entries = read_input(estimator, X, unstored="missing", reset=reset, allow_constant=True)
    if isinstance(X, Entries):
        entries = canonical(entries)
    elif not entries.value.all():
        entries = entries[entries.value != 0]
    if reset and not len(entries):
        n_rows, n_columns = entries.matrix_shape
        raise ValueError(
            f"X has no cell with a value other than zero: nothing has happened in {n_rows} x "
            f"{n_columns} cells. {type(estimator).__name__} needs at least one."
        )
    return entries


def canonical(entries: Entries) -> Entries:
    """Entries in row-major order, those of one cell added up, without zeros."""
    cells = (entries.value, (entries.row, entries.col))
    csr = sp.coo_array(cells, entries.matrix_shape).tocsr()
    csr.sum_duplicates()
    dtype = entries.row.dtype
    row = np.repeat(np.arange(csr.shape[0], dtype=dtype), np.diff(csr.indptr))
    col, shape = csr.indices.astype(dtype, copy=False), entries.matrix_shape
    summed = Entries._trusted(row, col, csr.data, shape, entries.row_ids, entries.col_ids)
    return summed if summed.value.all() else summed[summed.value != 0]


def _summed(X: Any) -> Any:
    csr = within(within(X).tocsr())
    if csr.has_canonical_format:
        return csr
    single = csr.dtype == np.float32
    # A wider type, because small integers would wrap around; and a copy.
    csr = csr.astype(csr.dtype if single or csr.dtype.kind not in "biu" else float, copy=True)
    csr.sum_duplicates()
    return csr


def csr_of(entries: Entries) -> sp.csr_array:
    """CSR of entries in row-major order, without sorting them again."""
    counts = np.bincount(entries.row, minlength=entries.matrix_shape[0])
    indptr = np.concatenate([[0], np.cumsum(counts)])
    csr = sp.csr_array(entries.matrix_shape, dtype=entries.value.dtype)
    # Set one by one: the constructor may change the type of the positions.
    csr.data, csr.indices, csr.indptr = entries.value, entries.col, indptr
    return csr


class Growing:
    """An array with spare memory behind it, so that appending rows does not copy the others."""

    def __init__(self, array: npt.NDArray[Any]):
        self.array = array
        self._memory: npt.NDArray[Any] | None = None
        self._n_used = [len(array)]  # of the memory, by all who share it

    @classmethod
    def empty(cls, n: int, *width: int, dtype: Any) -> Growing:
        """Rows without content, and untouched memory for half as many to come."""
        memory = aligned_zeros((n + n // 2 + 16, *width), dtype)  # of the system: not touched yet
        new = cls(memory[:n])
        new._memory = memory
        return new

    @classmethod
    def copy_of(cls, array: npt.NDArray[Any]) -> Growing:
        """A copy that can grow."""
        new = cls.empty(*array.shape, dtype=array.dtype)
        new.array[:] = array
        return new

    def appended(self, rows: npt.NDArray[Any]) -> Growing:
        """Return all rows and these; who holds the shorter array does not notice."""
        n = len(self.array)
        if self._memory is None or len(self._memory) < n + len(rows) or self._n_used[0] != n:
            new = Growing.empty(n + len(rows), *self.array.shape[1:], dtype=self.array.dtype)
            new.array[:n] = self.array
        else:
            new = Growing(self._memory[: n + len(rows)])
            new._memory, new._n_used = self._memory, self._n_used
        new._n_used[0] = n + len(rows)
        new.array[n:] = rows
        return new

    def __getstate__(self) -> Any:
        return {"array": self.array.copy()}  # without the spare memory

    def __setstate__(self, state: Any) -> None:
        self.__init__(state["array"])  # type: ignore[misc]


class History:
    """The stored cells of all fitted rows; those of a row can be replaced.

    New cells are written behind the others, so a change costs what it holds, not what is there.
    """

    def __init__(self, matrix: sp.csr_array):
        self.start, self.stop = matrix.indptr[:-1].copy(), matrix.indptr[1:].copy()
        self.column, self.value = map(Growing.copy_of, (matrix.indices, matrix.data))

    def rows(self, rows: Integers, n_columns: int) -> sp.csr_array:
        """Return the cells of some rows, -1 for a row that has none, as CSR."""
        known = rows >= 0
        starts = np.where(known, self.start[rows], 0)
        counts = np.where(known, self.stop[rows], 0) - starts
        indptr = np.concatenate([[0], np.cumsum(counts)])
        cells = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], counts)
        parts = (self.value.array[cells], self.column.array[cells], indptr)
        return sp.csr_array(parts, shape=(len(rows), n_columns))

    def replaced(self, rows: Integers, cells: sp.csr_array, n_rows: int) -> History:
        """Return a history of ``n_rows`` rows where these rows have other cells; self stays."""
        new = object.__new__(History)
        n_before = len(self.column.array)
        new.column = self.column.appended(cells.indices)
        new.value = self.value.appended(cells.data)
        new.start, new.stop = (
            np.concatenate([side, np.zeros(n_rows - len(side), side.dtype)])
            for side in (self.start, self.stop)
        )
        new.start[rows] = n_before + cells.indptr[:-1]
        new.stop[rows] = n_before + cells.indptr[1:]
        n_used = int((new.stop - new.start).sum())
        return new if len(new.column.array) <= 2 * n_used + 1024 else new._compact()

    def _compact(self) -> History:
        """The same cells without those that have been replaced."""
        n_columns = int(self.column.array.max(initial=0)) + 1
        return History(self.rows(np.arange(len(self.start)), n_columns))
