"""What starting points are made of: a linearised problem, its products, and distances of rows."""

import numpy as np

from .._jit import kernel


@kernel
def linearise(loss, indptr, values, weights, base, unit, out):
    r"""Write -L'(b, a) / c of every cell of each column to out (n_cells,).

    b is ``base`` (n_columns,), and c the column's mean slope of L' over b ± ``unit``: a residual in
    units of predictions, a - b for the quadratic loss.  A weight is taken relative to the mean.
    """
    for j in range(base.size):
        b, h, n = base[j], 0.0, indptr[j + 1] - indptr[j]
        heaviness = 0.0
        for t in range(indptr[j], indptr[j + 1]):
            a = np.float64(values[t])
            heaviness += weights[t] if weights.size > 0 else 1.0
            h += (loss.gradient(b + unit, a) - loss.gradient(b - unit, a)) / (2.0 * unit)
        h = max(h / n, 1e-3 / unit) if n > 0 else 1.0
        for t in range(indptr[j], indptr[j + 1]):
            w = weights[t] * n / heaviness if weights.size > 0 else 1.0
            out[t] = -w * loss.gradient(b, np.float64(values[t])) / h


@kernel
def linearise_vector(loss, d, indptr, values, weights, base, c, out):
    """Write -∇L(b, a) / c of every cell of each column to out (n_cells, d); base (n_columns, d)."""
    s = np.empty(d)
    for j in range(base.shape[0]):
        heaviness = 0.0
        for t in range(indptr[j], indptr[j + 1]):
            heaviness += weights[t] if weights.size > 0 else 1.0
        n = indptr[j + 1] - indptr[j]
        for t in range(indptr[j], indptr[j + 1]):
            w = weights[t] * n / heaviness if weights.size > 0 else 1.0
            loss.gradient(base[j], np.float64(values[t]), s)
            for e in range(d):
                out[t, e] = -w * s[e] / c


@kernel
def multiply_rows(indptr, indices, values, other, start, stop, out):
    """Write rows start..stop of a CSR matrix times ``other`` (n_columns, k) to out."""
    k = other.shape[1]
    acc = np.empty(k)
    for i in range(start, stop):
        acc[:] = 0.0
        for t in range(indptr[i], indptr[i + 1]):
            a, row = np.float64(values[t]), other[indices[t]]
            for d in range(k):
                acc[d] += a * row[d]
        for d in range(k):
            out[i - start, d] = acc[d]


@kernel
def spread_rows(indptr, indices, values, start, stop, out):
    """Add rows start..stop of a CSR matrix to the dense out (stop - start, n_columns)."""
    for i in range(start, stop):
        for t in range(indptr[i], indptr[i + 1]):
            out[i - start, indices[t]] += values[t]


@kernel
def row_distances(indptr, indices, values, center, out):
    """Write the mean of (value - center)² over the cells of each row to out (n_rows,), or 0."""
    for i in range(out.size):
        total = 0.0
        for t in range(indptr[i], indptr[i + 1]):
            r = values[t] - center[indices[t]]
            total += r * r
        n = indptr[i + 1] - indptr[i]
        out[i] = total / n if n > 0 else 0.0
