"""Rows of factors that rank the columns of fixed pairs: the exact fold-in of pairwise ranking."""

import math

import numpy as np

from .._jit import kernel


@kernel
def fit_pair_rows(indptr, features, offsets, l2, l1, floor, max_iter, tol, start, stop, out):
    r"""Minimise Σ_t L(x_t·p + o_t) + n (½ l2 ‖p‖² + l1 ‖p‖₁), p ≥ floor, for rows start..stop.

    ``indptr`` (n_rows + 1,) says which features x (n_pairs, k) and offsets o (n_pairs,) a row has;
    n is their number.  As L'' ≤ ¼, each step minimises, coordinate by coordinate, the parabola with
    the matrix A = ¼ Σ x xᵀ + n l2 I that touches the objective from above: it never rises.
    """
    k = features.shape[1]
    A, slope, p, moved = np.empty((k, k)), np.empty(k), np.empty(k), np.empty(k)
    for i in range(start, stop):
        n = indptr[i + 1] - indptr[i]
        A[:] = 0.0
        p[:] = 0.0
        for t in range(indptr[i], indptr[i + 1]):
            _add_outer(A, 0.25, features[t])
        for d in range(k):
            A[d, d] += l2 * n
        for _ in range(max_iter if n else 0):
            for d in range(k):
                slope[d] = l2 * n * p[d]
            for t in range(indptr[i], indptr[i + 1]):
                u = offsets[t]
                for d in range(k):
                    u += features[t, d] * p[d]
                tail = math.exp(-abs(u))
                g = -(tail if u > 0.0 else 1.0) / (1.0 + tail)
                for d in range(k):
                    slope[d] += g * features[t, d]
            if _minimise_parabola(A, slope, l1 * n, floor, tol, p, moved) <= tol:
                break
        for d in range(k):
            out[i, d] = p[d]


@kernel
def _add_outer(A, factor, x):
    """Add factor · x xᵀ to A."""
    for d in range(x.size):
        for m in range(x.size):
            A[d, m] += factor * x[d] * x[m]


@kernel
def _minimise_parabola(A, slope, l1, floor, tol, p, move):
    """Move p to the minimum of slope·v + ½ vᵀAv + l1 ‖p + v‖₁ over v, p + v ≥ floor.

    Cyclic coordinate descent; returns the largest move, relative to the largest coordinate.
    """
    k = p.size
    move[:] = 0.0
    for _ in range(100):
        largest, change = 0.0, 0.0
        for d in range(k):
            if A[d, d] <= 0.0:
                continue
            s = slope[d]
            for m in range(k):
                s += A[d, m] * move[m]
            new = p[d] + move[d] - s / A[d, d]
            threshold = l1 / A[d, d]
            new = max(new - min(max(new, -threshold), threshold), floor)
            change = max(change, abs(new - p[d] - move[d]))
            largest = max(largest, abs(new))
            move[d] = new - p[d]
        if change <= 0.1 * tol * largest:
            break
    largest, change = 0.0, 0.0
    for d in range(k):
        p[d] += move[d]
        change = max(change, abs(move[d]))
        largest = max(largest, abs(p[d]))
    return change / largest if largest > 0.0 else 0.0
