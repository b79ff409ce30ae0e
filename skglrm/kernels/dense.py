"""The observed cells of a dense matrix."""

import numpy as np

from .._jit import kernel


@kernel
def count_observed(X, counts):
    """Write the number of cells of each row of X (n_rows, n_columns) that are not NaN to counts."""
    for i in range(X.shape[0]):
        n = 0
        for j in range(X.shape[1]):
            n += not np.isnan(X[i, j])
        counts[i] = n


@kernel
def list_observed(X, row, column, value):
    """List the cells of X (n_rows, n_columns) that are not NaN, row by row."""
    n = 0
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            if not np.isnan(X[i, j]):
                row[n], column[n], value[n] = i, j, X[i, j]
                n += 1
