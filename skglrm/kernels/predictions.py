"""Predicted values of single cells."""

import numpy as np

from .._jit import kernel


@kernel
def predict_cells(rows, columns, row_factors, column_factors, out):
    """Write p_i·q_j of every cell to out (n_cells,), and 0 where an id is negative."""
    k = row_factors.shape[1]
    for t in range(rows.size):
        i, j = rows[t], columns[t]
        total = np.float64(0)
        if i >= 0 and j >= 0:
            for d in range(k):
                total += np.float64(row_factors[i, d]) * column_factors[j, d]
        out[t] = total


@kernel
def total_loss(loss, predictions, observations):
    """Return the sum of the losses of predictions (n_cells,) of observations (n_cells,)."""
    total = 0.0
    for t in range(predictions.size):
        total += loss.value(predictions[t], observations[t])
    return total
