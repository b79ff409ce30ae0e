r"""Rows of factors given the other side: one small regularised least-squares problem per row.

For row i with observed columns j, values a_j and other factors q_j the objective is

.. math::

    \tfrac12 \sum_j (p \cdot q_j - a_j)^2 + \tfrac12 \lambda_i \|p\|_2^2 + \mu_i \|p\|_1
    = \tfrac12 p^T A p - b^T p + \mu_i \|p\|_1 + \text{const},
    \quad A = \sum_j q_j q_j^T + \lambda_i I, \quad b = \sum_j a_j q_j .
"""

import numpy as np

from .._jit import kernel


@kernel
def solve_rows(indptr, indices, values, other, l2, start, stop, out):
    """Solve A p = b for rows start..stop: out (n_rows, k) = factors given ``other`` (n_columns, k).

    ``indptr``, ``indices``, ``values`` are a CSR matrix; λ_i = l2 · (entries of row i).  A row
    without entries gets zeros; so does a dimension that no entry of the row touches when l2 = 0.
    """
    k = other.shape[1]
    A, b = np.empty((k, k)), np.empty(k)
    for i in range(start, stop):
        begin, end = indptr[i], indptr[i + 1]
        _normal_equations(indices, values, other, begin, end, l2 * (end - begin), A, b)
        _cholesky_solve(A, b)
        for d in range(k):
            out[i, d] = b[d]


@kernel
def solve_rows_proximal(
    indptr, indices, values, other, l2, l1, nonnegative, max_iter, tol, start, stop, out
):
    """Minimise the objective with μ_i = l1 · (entries of row i), and p ≥ 0 if asked, for each row.

    Cyclic coordinate descent from zero, until no coordinate moves by more than ``tol`` times the
    largest, or ``max_iter`` cycles: each coordinate has the closed form
    S(b_d − Σ_{l≠d} A_dl p_l, μ) / A_dd with S the soft threshold.
    """
    k = other.shape[1]
    A, b, p = np.empty((k, k)), np.empty(k), np.empty(k)
    for i in range(start, stop):
        begin, end = indptr[i], indptr[i + 1]
        _normal_equations(indices, values, other, begin, end, l2 * (end - begin), A, b)
        threshold = l1 * (end - begin)
        p[:] = 0.0
        for _ in range(max_iter):
            largest, moved = 0.0, 0.0
            for d in range(k):
                if A[d, d] == 0.0:
                    continue
                slope = b[d] + A[d, d] * p[d]
                for m in range(k):
                    slope -= A[d, m] * p[m]
                slope -= min(max(slope, -threshold), threshold)
                new = slope / A[d, d]
                if nonnegative and new < 0.0:
                    new = 0.0
                moved = max(moved, abs(new - p[d]))
                largest = max(largest, abs(new))
                p[d] = new
            if moved <= tol * largest:
                break
        for d in range(k):
            out[i, d] = p[d]


@kernel
def _normal_equations(indices, values, other, begin, end, ridge, A, b):
    """Fill A (both triangles) and b of one row."""
    k = b.size
    A[:] = 0.0
    b[:] = 0.0
    for t in range(begin, end):
        q = other[indices[t]]
        a = np.float64(values[t])
        for d in range(k):
            x = np.float64(q[d])
            b[d] += a * x
            for m in range(d + 1):
                A[d, m] += x * q[m]
    for d in range(k):
        A[d, d] += ridge
        for m in range(d):
            A[m, d] = A[d, m]


@kernel
def _cholesky_solve(A, b):
    """Overwrite b by the solution of A x = b for a positive semidefinite A, using its lower half.

    A pivot at rounding level means that the dimension is not determined: it becomes zero.
    """
    k = b.size
    floor = 0.0
    for d in range(k):
        floor = max(floor, A[d, d])
    floor *= 1e-13
    for d in range(k):
        for m in range(d):
            s = A[d, m]
            for n in range(m):
                s -= A[d, n] * A[m, n]
            A[d, m] = s / A[m, m] if A[m, m] > 0.0 else 0.0
        s = A[d, d]
        for n in range(d):
            s -= A[d, n] * A[d, n]
        A[d, d] = np.sqrt(s) if s > floor else 0.0
    for d in range(k):
        s = b[d]
        for n in range(d):
            s -= A[d, n] * b[n]
        b[d] = s / A[d, d] if A[d, d] > 0.0 else 0.0
    for r in range(k):
        d = k - 1 - r
        s = b[d]
        for n in range(d + 1, k):
            s -= A[n, d] * b[n]
        b[d] = s / A[d, d] if A[d, d] > 0.0 else 0.0
