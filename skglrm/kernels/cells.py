"""Observed cells of one group of columns, by row and by column."""

import numpy as np

from .._jit import kernel


@kernel
def count_kept(indptr, indices, weights, position, counts):
    """Count what ``take_columns`` will keep of each row: counts (n_rows,)."""
    for i in range(counts.size):
        n = 0
        for t in range(indptr[i], indptr[i + 1]):
            if position[indices[t]] >= 0 and (weights.size == 0 or weights[t] != 0):
                n += 1
        counts[i] = n


@kernel
def take_columns(
    indptr, indices, values, weights, position, scale, out_indices, out_values, out_weights
):
    """Keep the cells of CSR rows whose column j has position[j] >= 0, and whose weight is not 0.

    Columns are renumbered by ``position`` (n_columns,); the weight of a cell is multiplied by
    ``scale[j]``.  No weights means that all are 1; none are written if ``out_weights`` is empty.
    """
    n = 0
    for t in range(indptr[0], indptr[-1]):
        j = indices[t]
        if position[j] < 0 or (weights.size > 0 and weights[t] == 0):
            continue
        out_indices[n] = position[j]
        out_values[n] = values[t]
        if out_weights.size > 0:
            weight = weights[t] if weights.size > 0 else 1.0
            out_weights[n] = weight * scale[j]
        n += 1


@kernel
def transpose_cells(indptr, indices, values, weights, after, out_indices, out_values, out_weights):
    """Sort CSR rows by column; ``after`` (n_columns,) holds where each begins, then where it ends.

    A counting sort: the cells of a column stay in the order of their rows.
    """
    for i in range(indptr.size - 1):
        for t in range(indptr[i], indptr[i + 1]):
            j = indices[t]
            n = after[j]
            after[j] = n + 1
            out_indices[n] = i
            out_values[n] = values[t]
            if weights.size > 0:
                out_weights[n] = weights[t]


@kernel
def count_lacking(indptr, n_columns, counts):
    """Count the columns that rows lack: counts (n_rows,), or 0 for rows that are not half full."""
    for i in range(counts.size):
        n = indptr[i + 1] - indptr[i]
        counts[i] = n_columns - n if 2 * n > n_columns else 0


@kernel
def list_lacking(indptr, indices, n_columns, lacking_indptr, out):
    """List the columns that rows lack; both lists are CSR arrays, in order of columns.

    ``out`` has room for one more, which is written and not counted: with a branch instead, a
    processor would guess wrongly at every other column.
    """
    lacks = np.empty(n_columns, np.uint8)
    for i in range(indptr.size - 1):
        n = lacking_indptr[i]
        if n == lacking_indptr[i + 1]:
            continue
        lacks[:] = 1
        for t in range(indptr[i], indptr[i + 1]):
            lacks[indices[t]] = 0
        for j in range(n_columns):
            out[n] = j
            n += np.int64(lacks[j])
