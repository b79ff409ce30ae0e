r"""Row solves of implicit ALS, in the basis where the Gram matrix of the other side is diagonal.

The factors x of one row minimise, with the factors y_j of the other side fixed,

.. math::

    \sum_{\text{all } j} w_0 (x \cdot y_j)^2 + \sum_{\text{stored } j}
    \big[ w_j (x \cdot y_j)^2 - 2 t_j\, x \cdot y_j + t_j \big] + \lambda \|x\|^2

with :math:`w_j = \alpha |v_j|`, and :math:`t_j = w_0 + w_j` for :math:`v_j > 0`, else 0.  Factors
are rotated so that :math:`\sum y_j y_j^\top` is the diagonal matrix of its eigenvalues, the
``spectrum``:
then D = w₀ · spectrum + λ is all that unstored cells amount to, and x solves

.. math::  A x = b, \qquad A = D + Y^\top W Y, \qquad b = Y^\top t

with one row of Y per stored cell.  A, b and all guards scale with (w₀, α, λ), so nothing here
compares with an absolute number.  At any x with the residual r = b − A x the row costs
:math:`\sum t - (b + r) \cdot x`, which is how the objective comes for free.

All kernels take the rows ``order[start:stop]``, gather the y of stored cells into contiguous
scratch, padded with zeros, and write to ``target`` (n_rows, k).
"""

import numpy as np

from .._jit import kernel
from .._simd import (
    fold,
    four_elements,
    lane_sums,
    lanes_of,
    nothing,
    one_element,
    splat,
    vectorized,
    zeros_of,
)

STEP = 8
"""Widths of scratch are multiples of it: a vector of float32, two of float64."""

CHUNK = 64
"""Cells whose outer products are added at once; the transposed chunk stays in a near cache."""

AHEAD = 8
"""Cells between the prefetch of a y and its copy: the latency of memory."""

GATHERED = 1024 * 1024
"""Numbers of a row's Y to keep between passes: reading them in order is cheaper than gathering."""


@kernel
def solve_rows(
    indptr, indices, values, order, other, spectrum, ridge, w0, alpha, dual_cells, max_steps, start,
    stop, target,
):  # fmt: skip
    """Solve A x = b to rounding; return the objective of these rows, and a row that failed or -1.

    Rows with fewer than ``dual_cells`` stored cells are solved in that many dimensions: with
    B = W^½ Y D^{-½}, x = D^{-½} Bᵀ (I + B Bᵀ)⁻¹ W^{-½} t.  The others by conjugate gradients from
    zero, or if ``max_steps`` do not suffice by Cholesky's factors of A; where the working precision
    does not suffice, in float64.
    """
    k, type_ = other.shape[1], other.dtype.type
    longest = np.int64(0)
    for s in range(start, stop):
        n = indptr[order[s] + 1] - indptr[order[s]]
        longest = max(longest, n if n < dual_cells else 0)
    size = _padded(max(longest, k)) + STEP
    A, T = np.zeros((size, size), other.dtype), np.zeros((STEP, STEP), other.dtype)
    short = np.zeros((_padded(longest) + STEP, _padded(k)), other.dtype)
    columns, root = np.zeros((_padded(k), CHUNK), other.dtype), np.zeros(k, other.dtype)
    rows, w, t, x, D, work = _cg_scratch(other)
    tol = type_(np.finfo(other.dtype).eps)
    total, failed = 0.0, np.int64(-1)
    for s in range(start, stop):
        u = order[s]
        begin, end = indptr[u], indptr[u + 1]
        sum_t = _sum_targets(values, begin, end, w0, alpha)
        total += sum_t
        target[u] = type_(0)
        if sum_t == 0.0:
            continue
        x[:] = type_(0)
        for d in range(k):
            D[d] = w0 * spectrum[d] + ridge[u]
        gain, ok = 0.0, False
        positive = D[:k].min() > 0
        if positive and end - begin < dual_cells:
            for d in range(k):
                root[d] = type_(1) / np.sqrt(D[d])
            gain, ok = _solve_dual(
                indices, values, begin, end, other, root, w0, alpha, short, A, T, x
            )
        elif positive and max_steps > 0:
            gain, ok = _conjugate(
                indices, values, begin, end, other, w0, alpha, D, x, max_steps, tol, rows, w, t,
                work,
            )  # fmt: skip
        if positive and not ok:
            gain, ok = _solve_primal(
                indices, values, begin, end, other, D, w0, alpha, columns, A, T, x
            )
        if not ok:
            gain, ok = _solve_in_double(
                indices, values, begin, end, other, spectrum, ridge[u], w0, alpha, x
            )
        if not ok:
            failed = u
            continue
        total -= gain
        for d in range(k):
            target[u, d] = x[d]
    return total, failed


@kernel
def solve_rows_cg(
    indptr, indices, values, order, other, spectrum, ridge, w0, alpha, max_steps, tol, start, stop,
    target,
):  # fmt: skip
    """Take preconditioned conjugate gradient steps from ``target``; return the objective.

    The preconditioner is the diagonal of A.  A row is done when the energy of its residual is
    below ``tol``² times that of its solution.  A start that is worse than zero gives way to zero.
    """
    k, type_ = other.shape[1], other.dtype.type
    rows, w, t, x, D, work = _cg_scratch(other)
    total = 0.0
    for s in range(start, stop):
        u = order[s]
        begin, end = indptr[u], indptr[u + 1]
        sum_t = _sum_targets(values, begin, end, w0, alpha)
        total += sum_t
        if sum_t == 0.0:
            target[u] = type_(0)
            continue
        for d in range(k):
            x[d] = target[u, d]
        for d in range(k):
            D[d] = w0 * spectrum[d] + ridge[u]
        gain, _ = _conjugate(
            indices, values, begin, end, other, w0, alpha, D, x, max_steps, tol, rows, w, t, work
        )
        total -= gain
        for d in range(k):
            target[u, d] = x[d]
    return total


@kernel
def solve_rows_subspace(
    indptr, indices, values, order, other, spectrum, ridge, w0, alpha, block, start, stop, target
):
    """Minimise over ``block`` coordinates of x at a time, from ``target``; return the objective.

    For a block π of coordinates, δ = (D_ππ + Y_πᵀ W Y_π)⁻¹ (b − A x)_π is added to x_π, and the
    predictions ŷ = Y x of the stored cells follow (iALS++).
    """
    k, type_ = other.shape[1], other.dtype.type
    longest = np.int64(0)
    for s in range(start, stop):
        longest = max(longest, indptr[order[s] + 1] - indptr[order[s]])
    w, t, predicted = np.zeros((3, longest), other.dtype)
    size = _padded(block) + STEP
    H, T = np.zeros((size, size), other.dtype), np.zeros((STEP, STEP), other.dtype)
    columns = np.zeros((_padded(block), CHUNK), other.dtype)
    step = np.zeros(size, other.dtype)
    total, failed = 0.0, np.int64(-1)
    for s in range(start, stop):
        u = order[s]
        begin, n = indptr[u], indptr[u + 1] - indptr[u]
        sum_t = _sum_targets(values, begin, begin + n, w0, alpha)
        total += sum_t
        x = target[u]
        if sum_t == 0.0:
            x[:] = type_(0)
            continue
        for i in range(n):
            _weigh(values[begin + i], w0, alpha, i, w, t)
            y = other[indices[begin + i]]
            predicted[i] = type_(0)
            for d in range(k):
                predicted[i] += x[d] * y[d]
        for first in range(0, k, block):
            d_block = min(block, k - first)
            if not _solve_block(
                indices, begin, n, other, first, d_block, spectrum, ridge[u], w0, w, t, predicted,
                x, columns, H, T, step,
            ):  # fmt: skip
                failed = u
        total += _cost(spectrum, ridge[u], w0, n, w, t, predicted, x)
    return total, failed


@kernel
def rotate_rows(rows, rotation, start, stop, out):
    """Write rows · rotation to rows start..stop of ``out``; a row's bits depend on it alone."""
    for i in range(start, stop):
        out[i] = 0
        for d in range(rotation.shape[0]):
            c = rows[i, d]
            for e in range(rotation.shape[1]):
                out[i, e] += c * rotation[d, e]


# ------------------------------------------------------------------ the cells of a row


@kernel
def _padded(n):
    return (n + STEP - 1) // STEP * STEP


@kernel
def _weigh(value, w0, alpha, i, w, t):
    """Write the weight and the target of a cell to w[i], t[i]."""
    w[i] = alpha * abs(value)
    t[i] = w0 + w[i] if value > 0 else w0 * 0


@kernel
def _sum_targets(values, begin, end, w0, alpha):
    """Σ t in float64."""
    total = 0.0
    for c in range(begin, end):
        if values[c] > 0:
            total += w0 + alpha * values[c]
    return total


@kernel
def _gather(indices, values, begin, end, other, w0, alpha, rows, w, t):
    """Copy the y, weights and targets of some cells; return their number, rounded up to 4."""
    n, k = end - begin, other.shape[1]
    whole, last = k // STEP * STEP, end - 1
    for i in range(n):
        j, soon = np.int64(indices[begin + i]), np.int64(indices[min(begin + i + AHEAD, last)])
        _weigh(values[begin + i], w0, alpha, i, w, t)
        copy_row(other, j, soon, whole, rows, i)
        for d in range(whole, k):
            rows[i, d] = other[j, d]
    filled = (n + 3) // 4 * 4
    for i in range(n, filled):
        rows[i], w[i], t[i] = 0, 0, 0
    return filled


# ------------------------------------------------------------------ conjugate gradients


@kernel
def _cg_scratch(other):
    """Memory for gathered rows, weights, targets, x, D and the vectors of the iteration."""
    width = _padded(other.shape[1])
    cap = max(GATHERED // width, CHUNK) // 4 * 4
    type_ = other.dtype
    return (
        np.zeros((cap, width), type_), np.zeros(cap, type_), np.zeros(cap, type_),
        np.zeros(width, type_), np.zeros(width, type_), np.zeros((4, width), type_),
    )  # fmt: skip


@kernel
def _conjugate(
    indices, values, begin, end, other, w0, alpha, D, x, max_steps, tol, rows, w, t, work
):
    """Improve x (width,); return what it saves against zero, (b + r)·x, and whether it is done."""
    r, p, q, inverse = work[0], work[1], work[2], work[3]
    zero, one = other.dtype.type(0), other.dtype.type(1)
    bx = _residual(indices, values, begin, end, other, w0, alpha, D, x, rows, w, t, r, inverse)
    if bx + inner(r, x) < zero:
        x[:] = zero
        bx = _residual(indices, values, begin, end, other, w0, alpha, D, x, rows, w, t, r, inverse)
    for d in range(inverse.size):
        inverse[d] = one / inverse[d] if inverse[d] > zero else zero
    times(r, inverse, p)
    rz = inner(r, p)
    energy = max(abs(bx), rz)
    for _ in range(max_steps):
        if not rz > tol * tol * energy:
            break
        bp = _product(indices, values, begin, end, other, w0, alpha, D, p, rows, w, t, q)
        pq = inner(p, q)
        if not pq > zero:
            break
        a = rz / pq
        combine(x, a, p, x)
        combine(r, -a, q, r)
        times(r, inverse, q)
        new = inner(r, q)
        combine(q, new / rz, p, p)
        bx, rz = bx + a * bp, new
        energy = max(energy, abs(bx))
    return np.float64(bx) + np.float64(inner(r, x)), rz <= tol * tol * energy


@kernel
def _residual(indices, values, begin, end, other, w0, alpha, D, x, rows, w, t, r, jacobi):
    """Fill r = b − A x and jacobi = diag(A); return b · x."""
    bx, one, cap = r[0] * 0, r.dtype.type(1), rows.shape[0]
    times(D, x, jacobi)
    r[:] = r.dtype.type(0)
    combine(r, -one, jacobi, r)
    jacobi[:] = D
    for c in range(begin, end, cap):
        n = _gather(indices, values, c, min(c + cap, end), other, w0, alpha, rows, w, t)
        for i in range(0, n, 4):
            y0, y1, y2, y3 = dot_four(rows, i, x)
            add_four(
                rows, i, t[i] - w[i] * y0, t[i + 1] - w[i + 1] * y1, t[i + 2] - w[i + 2] * y2,
                t[i + 3] - w[i + 3] * y3, r,
            )  # fmt: skip
            add_squares(rows, i, w[i], w[i + 1], w[i + 2], w[i + 3], jacobi)
            bx += t[i] * y0 + t[i + 1] * y1 + t[i + 2] * y2 + t[i + 3] * y3
    return bx


@kernel
def _product(indices, values, begin, end, other, w0, alpha, D, p, rows, w, t, q):
    """Fill q = A p; return b · p.  ``rows`` still hold the cells if they all fit."""
    bp, cap = q[0] * 0, rows.shape[0]
    times(D, p, q)
    for c in range(begin, end, cap):
        n = (end - begin + 3) // 4 * 4
        if end - begin > cap:
            n = _gather(indices, values, c, min(c + cap, end), other, w0, alpha, rows, w, t)
        for i in range(0, n, 4):
            y0, y1, y2, y3 = dot_four(rows, i, p)
            add_four(rows, i, w[i] * y0, w[i + 1] * y1, w[i + 2] * y2, w[i + 3] * y3, q)
            bp += t[i] * y0 + t[i + 1] * y1 + t[i + 2] * y2 + t[i + 3] * y3
    return bp


# ------------------------------------------------------------------ exact solves


@kernel
def _solve_dual(indices, values, begin, end, other, root, w0, alpha, rows, A, T, x):
    """Write D^{-½} Bᵀ (I + B Bᵀ)⁻¹ W^{-½} t to x, with ``root`` D^{-½}; return b·x, success."""
    n, k, one = end - begin, other.shape[1], other.dtype.type(1)
    size = _padded(n)
    # A weight of zero counts as 2⁻⁶⁰ w₀, far below rounding, so that W^{-½} exists.
    least = w0 * other.dtype.type(2.0**-60)
    whole = k // STEP * STEP
    for i in range(n):
        j, soon = np.int64(indices[begin + i]), np.int64(indices[min(begin + i + AHEAD, end - 1)])
        copy_row(other, j, soon, whole, rows, i)
        for d in range(whole, k):
            rows[i, d] = other[j, d]
        weight = np.sqrt(max(alpha * abs(values[begin + i]), least))
        for d in range(k):
            rows[i, d] *= weight * root[d]
    rows[n : size + 4] = 0
    for i in range(0, size, 4):
        for j in range(0, i + 4, 2):
            A[i : i + 4, j : j + 2] = 0
            add_products(rows, i, j, rows.shape[1], one, A)
    for i in range(size):
        A[i, i] += one
    A[size : size + 4] = 0
    for i in range(n):
        v = values[begin + i]
        if v > 0 and w0 + alpha * v > 0:
            A[size, i] = (w0 + alpha * v) / np.sqrt(max(alpha * v, least))
    if not _cholesky(A, size, T):
        return 0.0, False
    solution, gain = A[size], 0.0
    _back_substitute(A, size, solution)
    for i in range(0, size, 4):
        add_four(rows, i, solution[i], solution[i + 1], solution[i + 2], solution[i + 3], x)
    for i in range(0, size, 4):
        y = dot_four(rows, i, x)
        for e in range(min(4, n - i)):
            v = values[begin + i + e]
            if v > 0:
                scale = np.sqrt(max(alpha * v, least))
                gain += np.float64((w0 + alpha * v) / scale if scale > 0 else scale) * y[e]
    for d in range(k):
        x[d] *= root[d]
    return gain, True


@kernel
def _solve_primal(indices, values, begin, end, other, D, w0, alpha, columns, A, T, x):
    """Write A⁻¹ b to x by rank-``CHUNK`` updates of A; return b·x = |L⁻¹ b|², and success."""
    k, one = other.shape[1], other.dtype.type(1)
    size = _padded(k)
    A[: size + 4] = 0
    for d in range(size):
        A[d, d] = D[d] if d < k else one
    b = A[size]
    for c in range(begin, end, CHUNK):
        n = min(CHUNK, end - c)
        for i in range(n):
            y, v = other[indices[c + i]], values[c + i]
            weight = np.sqrt(alpha * abs(v))
            target = w0 + alpha * v if v > 0 else w0 * 0
            for d in range(k):
                columns[d, i] = weight * y[d]
                b[d] += target * y[d]
        filled = _padded(n)
        for d in range(k):
            columns[d, n:filled] = 0
        _add_outer(columns, size, filled, A)
    if not _cholesky(A, size, T):
        return 0.0, False
    gain = 0.0
    for d in range(k):
        gain += np.float64(b[d]) * np.float64(b[d])
    _back_substitute(A, size, b)
    for d in range(k):
        x[d] = b[d]
    return gain, True


@kernel
def _add_outer(columns, size, n, A):
    """Add columns[:, :n] · columns[:, :n]ᵀ to the lower half of A."""
    one = A.dtype.type(1)
    for i in range(0, size, 4):
        for j in range(0, i + 4, 2):
            add_products(columns, i, j, n, one, A)


@kernel
def _cholesky(A, n, T):
    """Factorise A[:n, :n] = L Lᵀ in place, lower half, and turn row n, holding b, into L⁻¹ b.

    Left-looking, ``STEP`` columns at a time: subtract what the columns before explain, factorise
    the square on the diagonal, and multiply the rows below by T, the transpose of its inverse.
    Returns whether all pivots are well above rounding.
    """
    minus, zero = A.dtype.type(-1), A.dtype.type(0)
    floor = A.dtype.type(16) * np.finfo(A.dtype).eps
    for J in range(0, n, STEP):
        for e in range(STEP):
            T[e, 0] = A[J + e, J + e]
        if J > 0:
            for i in range(J, n + 1, 4):
                for j in range(J, min(J + STEP, i + 4), 2):
                    add_products(A, i, j, J, minus, A)
        for e in range(STEP):
            limit, pivot = floor * T[e, 0], A[J + e, J + e]
            for f in range(e):
                pivot -= A[J + e, J + f] * A[J + e, J + f]
            if not pivot > limit:
                return False
            A[J + e, J + e] = np.sqrt(pivot)
            inverse = A.dtype.type(1) / A[J + e, J + e]
            for g in range(e + 1, STEP):
                rest = A[J + g, J + e]
                for f in range(e):
                    rest -= A[J + g, J + f] * A[J + e, J + f]
                A[J + g, J + e] = rest * inverse
        for e in range(STEP):  # T[e] = column e of the inverse of the square
            for f in range(STEP):
                rest = A.dtype.type(1) if e == f else zero
                for g in range(e, f):
                    rest -= A[J + f, J + g] * T[e, g]
                T[e, f] = rest / A[J + f, J + f] if f >= e else zero
        for i in range(J + STEP, n + 1):
            multiply_eight(A, i, J, T)
    return True


@kernel
def _back_substitute(A, n, b):
    """Overwrite b by L⁻ᵀ b, with L in the lower half of A."""
    for r in range(n):
        i = n - 1 - r
        b[i] /= A[i, i]
        for j in range(i):
            b[j] -= b[i] * A[i, j]


@kernel
def _solve_in_double(indices, values, begin, end, other, spectrum, ridge, w0, alpha, x):
    """Solve one row in float64, slowly; return b·x, and whether A is not singular to rounding."""
    k = other.shape[1]
    A, b = np.zeros((k, k)), np.zeros(k)
    for d in range(k):
        A[d, d] = np.float64(w0) * spectrum[d] + ridge
    for c in range(begin, end):
        y, w = other[indices[c]], np.float64(alpha) * abs(values[c])
        t = w0 + w if values[c] > 0 else 0.0
        for d in range(k):
            b[d] += t * y[d]
            wy = w * y[d]
            for e in range(d + 1):
                A[d, e] += wy * y[e]
    floor = k * np.finfo(np.float64).eps
    for d in range(k):
        limit = floor * A[d, d]
        for e in range(d + 1):
            rest = A[d, e]
            for f in range(e):
                rest -= A[d, f] * A[e, f]
            if e < d:
                A[d, e] = rest / A[e, e]
            elif rest > limit:
                A[d, d] = np.sqrt(rest)
            else:
                return 0.0, False
    gain = 0.0
    for d in range(k):
        for e in range(d):
            b[d] -= A[d, e] * b[e]
        b[d] /= A[d, d]
        gain += b[d] * b[d]
    _back_substitute(A, k, b)
    for d in range(k):
        x[d] = b[d]
    return gain, True


# ------------------------------------------------------------------ blocks of coordinates


@kernel
def _solve_block(
    indices, begin, n, other, first, block, spectrum, ridge, w0, w, t, predicted, x, columns, H, T,
    step,
):  # fmt: skip
    """Minimise over the coordinates first, …, first + block − 1 of x; return whether it worked."""
    size, zero, one = _padded(block), other.dtype.type(0), other.dtype.type(1)
    H[: size + 4] = 0
    columns[:] = 0
    g = H[size]
    for d in range(size):
        H[d, d] = one
        if d < block:
            H[d, d] = w0 * spectrum[first + d] + ridge
            g[d] = -H[d, d] * x[first + d]
    for c in range(0, n, CHUNK):
        filled = min(CHUNK, n - c)
        for i in range(filled):
            y, weight = other[indices[begin + c + i]], np.sqrt(w[c + i])
            error = t[c + i] - w[c + i] * predicted[c + i]
            for d in range(block):
                columns[d, i] = weight * y[first + d]
                g[d] += error * y[first + d]
        for d in range(block):
            columns[d, filled : _padded(filled)] = 0
        _add_outer(columns, size, _padded(filled), H)
    if not _cholesky(H, size, T):
        return False
    for d in range(size):
        step[d] = g[d]
    _back_substitute(H, size, step)
    for d in range(block):
        x[first + d] += step[d]
    for i in range(n):
        y, change = other[indices[begin + i]], zero
        for d in range(block):
            change += step[d] * y[first + d]
        predicted[i] += change
    return True


@kernel
def _cost(spectrum, ridge, w0, n, w, t, predicted, x):
    """Return xᵀ A x − 2 b·x in float64."""
    total = 0.0
    for i in range(n):
        u = np.float64(predicted[i])
        total += (w[i] * u - 2 * t[i]) * u
    for d in range(x.size):
        total += (np.float64(w0) * spectrum[d] + ridge) * x[d] * x[d]
    return total


# ------------------------------------------------------------------ vector arithmetic, in NumPy


def copy_row(source, j, soon, length, out, i):
    """Copy source[j, :length] to out[i], and bring source[soon] nearer."""
    out[i, :length] = source[j, :length]


def inner(x, y):
    """Return the inner product of two vectors; ``STEP`` divides their length."""
    return x @ y


def times(x, y, out):
    """Write the elementwise product of two vectors to out."""
    out[:] = x * y


def combine(x, c, y, out):
    """Write x + c · y to out."""
    out[:] = x + c * y


def dot_four(rows, i, x):
    """Return the inner products of rows i, …, i + 3 with x (width,)."""
    return tuple(rows[i + n] @ x[: rows.shape[1]] for n in range(4))


def add_four(rows, i, c0, c1, c2, c3, out):
    """Add c0 · row i + … + c3 · row i + 3 to out (width,)."""
    for n, c in enumerate((c0, c1, c2, c3)):
        out[: rows.shape[1]] += c * rows[i + n]


def add_squares(rows, i, c0, c1, c2, c3, out):
    """Add c0 · (row i)² + … + c3 · (row i + 3)² to out (width,)."""
    for n, c in enumerate((c0, c1, c2, c3)):
        out[: rows.shape[1]] += c * rows[i + n] ** 2


def add_products(rows, i, j, length, sign, out):
    """Add sign · rows[i : i + 4] · rows[j : j + 2]ᵀ to out[i : i + 4, j : j + 2].

    Only the first ``length`` columns of rows count, a multiple of ``STEP``.
    """
    out[i : i + 4, j : j + 2] += sign * (rows[i : i + 4, :length] @ rows[j : j + 2, :length].T)


def multiply_eight(A, i, J, T):
    """Replace A[i, J : J + 8] by its product with T (8, 8)."""
    A[i, J : J + STEP] = A[i, J : J + STEP] @ T


# ------------------------------------------------------------------ the same, in vectors


@vectorized(copy_row, returns=nothing)
def _copy_row(builder, source, j, soon, length, out, i):
    here, ahead, there = source.long_row(j), source.long_row(soon), out.long_row(i)

    def body(offset, _):
        (there + offset).store((here + offset).load(0, STEP), 0)
        (ahead + offset).prefetch(STEP)
        return []

    fold(builder, length, STEP, [], body)


@vectorized(inner, returns=one_element)
def _inner(builder, x, y):
    lanes, a, b = lanes_of(x.element), x.vector(), y.vector()

    def body(offset, sums):
        return [(a + offset).load(0, lanes).times_plus((b + offset).load(0, lanes), sums[0])]

    return lane_sums(fold(builder, x.shape[-1], lanes, zeros_of(builder, x.element, 1), body))[0]


@vectorized(times, returns=nothing)
def _times(builder, x, y, out):
    _each(builder, x, y, out, lambda a, b: a * b)


@vectorized(combine, returns=nothing)
def _combine(builder, x, c, y, out):
    c = splat(builder, c, x.element, STEP)
    _each(builder, x, y, out, lambda a, b: c.times_plus(b, a))


def _each(builder, x, y, out, function):
    x, y, out, length = x.vector(), y.vector(), out.vector(), x.shape[-1]

    def body(offset, _):
        result = function((x + offset).load(0, STEP), (y + offset).load(0, STEP))
        (out + offset).store(result, 0)
        return []

    fold(builder, length, STEP, [], body)


@vectorized(dot_four, returns=four_elements)
def _dot_four(builder, rows, i, x):
    four, lanes = _four_rows(builder, rows, i), lanes_of(rows.element)
    x = x.vector()

    def body(offset, sums):
        part = (x + offset).load(0, lanes)
        return [
            (y + offset).load(0, lanes).times_plus(part, s) for y, s in zip(four, sums, strict=True)
        ]

    sums = fold(builder, rows.shape[-1], lanes, zeros_of(builder, rows.element, 4), body)
    return lane_sums(sums)


@vectorized(add_four, returns=nothing)
def _add_four(builder, rows, i, c0, c1, c2, c3, out):
    _add(builder, rows, i, (c0, c1, c2, c3), out, lambda y: y)


@vectorized(add_squares, returns=nothing)
def _add_squares(builder, rows, i, c0, c1, c2, c3, out):
    _add(builder, rows, i, (c0, c1, c2, c3), out, lambda y: y * y)


def _add(builder, rows, i, coefficients, out, function):
    four, lanes = _four_rows(builder, rows, i), lanes_of(rows.element)
    coefficients = [splat(builder, c, rows.element, lanes) for c in coefficients]
    out = out.vector()

    def body(offset, _):
        total = (out + offset).load(0, lanes)
        for y, c in zip(four, coefficients, strict=True):
            total = c.times_plus(function((y + offset).load(0, lanes)), total)
        (out + offset).store(total, 0)
        return []

    fold(builder, rows.shape[-1], lanes, [], body)


def _four_rows(builder, rows, i):
    first = rows.long_row(i)
    return [first, *(first + builder.mul(rows.shape[-1], i.type(n)) for n in (1, 2, 3))]


@vectorized(add_products, returns=nothing)
def _add_products(builder, rows, i, j, length, sign, out):
    lanes = lanes_of(rows.element)
    left, right = _four_rows(builder, rows, i), _four_rows(builder, rows, j)[:2]

    def body(offset, sums):
        b = [(row + offset).load(0, lanes) for row in right]
        a = [(row + offset).load(0, lanes) for row in left]
        pairs = [(x, y) for x in a for y in b]
        return [x.times_plus(y, s) for (x, y), s in zip(pairs, sums, strict=True)]

    sums = lane_sums(fold(builder, length, lanes, zeros_of(builder, rows.element, 8), body))
    for n, row in enumerate(_four_rows(builder, out, i)):
        here = row + j
        for e in range(2):
            old = here.load(e, 1)
            product = splat(builder, sums[2 * n + e], rows.element, 1)
            here.store(splat(builder, sign, rows.element, 1).times_plus(product, old), e)


@vectorized(multiply_eight, returns=nothing)
def _multiply_eight(builder, A, i, J, T):
    row = A.long_row(i) + J
    v = row.load(0, STEP)
    total = v.full(0.0)
    for lane in range(STEP):
        total = v.pick([lane] * STEP).times_plus(T.row(i.type(lane), STEP).load(0, STEP), total)
    row.store(total, 0)
