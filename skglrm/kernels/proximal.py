r"""Rows of factors given the other side, by quadratic models of the objective.

For a row with factors x, observed cells j of weight ω and other factors y_j, and u_j = x·y_j, the
model at the present x0 is

.. math::

    F(x_0) + g \cdot (x - x_0) + \tfrac12 (x - x_0)^T A (x - x_0) + r(x), \quad
    g = \sum_j \omega_j L'(u_j, a_j)\, y_j, \quad A = \sum_j \omega_j h_j\, y_j y_j^T .

h_j is the slope of L' across a small window around u_j, no more than a bound on L'' where the loss
has one: steps are those of Newton's method, and the longer ones are shortened until the objective
falls.  Where losses have kinks the window is wide at first, and then narrower and narrower.

Rows of a block are arrays of float64 that begin with the number of the row in the block; ``rows``
says where the row's cells are.  Factors are (n, d, K): d is 1 but for columns whose loss has
several predictions, and then either x holds d rows and ``other`` (m, 1, K) one for each cell, or
the reverse.  A is (n, d, K, K): curvature between rows of the same x is left out.  The first ``k``
of the K coordinates are penalised, the first ``free`` are solved for: an offset is the last one, 1
and fixed in rows, free of penalty in columns.

A loss of several predictions that is a sum of Booleans, one for each, is taken apart: ``reading``
says how prediction c reads the cell's value a.
"""

import numpy as np

from .._jit import kernel
from .._simd import fold, nothing, splat, vectorized

TILE = 4, 8
"""Entries of a matrix that are summed at once, in registers."""

AS_IT_IS, IS_LEVEL, IS_ABOVE = 0, 1, 2
"""Readings of a cell's value a by prediction c: a itself, whether a = c, whether a > c."""

BOUNDED, SOFTMAX, BY_DIFFERENCES, APART = 0, 1, 2, 3
"""How the Hessian of a loss of several predictions is known; the last is a diagonal above it."""

FAR = 9.0
"""Units over which a slope counts as falling to zero, so that a step ends where a loss is flat."""

DIFFERENCE = 1e-5


@kernel
def add_model(
    loss, reading, indptr, indices, values, weights, other, rows, x, curvature, smooth, reach,
    fixed, relative, radius, cautious, F, G, A, B,
):  # fmt: skip
    """Add a loss to F (n,), G (n, d or 1, K) and A (n, d or 1, K, K), at x like G.

    Half the window of the slope of L' is ρ = ``fixed`` + ``relative`` · ``radius`` (n,).  The slope
    is at most ``curvature``, and that where ρ = 0; in ``cautious`` (n,) rows it is at least
    L' / ``reach``, where a reach of 0 is the residual.  A loss that is not smooth is replaced by
    its mean over the window, whose derivative is (L(u + ρ) - L(u - ρ)) / 2ρ, but in F.  B, like G
    or empty, gets what of G is by a kink inside of the window: Σ ω h (u - κ) y.
    """
    K, width = x.shape[2], max(x.shape[1], other.shape[1])
    Y, T, sums = _scratch(K)
    u, v, w = np.empty(len(Y)), np.empty(len(Y)), np.ones(len(Y))
    slope, h, bend = np.empty(len(Y)), np.empty(len(Y)), np.empty(len(Y))
    mine, theirs = x.shape[1] // width, other.shape[1] // width
    for p in range(rows.size):
        n, total = 0, 0.0
        r, far = fixed + relative * radius[p], reach if cautious[p] else np.inf
        sums[:] = 0.0
        for c in range(width):
            z = x[p, c * mine]
            begin, end = indptr[rows[p]], indptr[rows[p] + 1]
            while begin < end:
                first, n = n, min(len(Y), n + end - begin)
                for b in range(first, n):
                    t = begin + b - first
                    row, y, predicted = other[indices[t], c * theirs], Y[b], 0.0
                    for d in range(K):
                        y[d] = row[d]
                        predicted += y[d] * z[d]
                    u[b], v[b] = predicted, _read(values[t], reading, c)
                    if weights.size > 0:
                        w[b] = weights[t]
                begin += n - first
                # The next prediction may go on with the batch, if it adds to the same matrix.
                if n < len(Y) and begin == end and mine == 0 and c + 1 < width:
                    break
                for b in range(n):
                    total += w[b] * loss.value(u[b], v[b])
                _look(loss, u[:n], v[:n], r, curvature, smooth, far, slope, h, bend)
                for b in range(n):
                    y, t = Y[b], T[b]
                    for d in range(K):
                        t[d] = w[b] * h[b] * y[d]
                    t[K], t[K + 1] = w[b] * slope[b], w[b] * bend[b]
                _add_products(Y, T, n, sums)
                n = 0
            if mine == 1 or c + 1 == width:
                _add_sums(sums, G[p, c * mine], A[p, c * mine])
                for d in range(K if B.size > 0 else 0):
                    B[p, c * mine, d] += sums[K + 1, d]
                sums[:] = 0.0
        F[p] += total


@kernel
def _read(value, reading, c):
    a = np.float64(value)
    if reading == AS_IT_IS:
        return a
    return 1.0 if (a == c if reading == IS_LEVEL else a > c) else 0.0


@kernel
def _look(loss, u, v, r, curvature, smooth, reach, slope, h, bend):
    # The slopes of L and those of L', and what of the former is by a kink inside of the window.  A
    # smooth loss is looked at in the direction in which it falls.
    for b in range(u.size):
        slope[b], h[b], bend[b] = loss.gradient(u[b], v[b]), curvature, 0.0
    if r == 0.0:
        return
    for b in range(u.size):
        if smooth:
            ahead = -r if slope[b] > 0.0 else r
            h[b] = abs(loss.gradient(u[b] + ahead, v[b]) - slope[b]) * (1.0 / r)
        else:
            before, after = loss.gradient(u[b] - r, v[b]), loss.gradient(u[b] + r, v[b])
            h[b] = (after - before) * (0.5 / r)
            mean = (loss.value(u[b] + r, v[b]) - loss.value(u[b] - r, v[b])) * (0.5 / r)
            bend[b] = mean - 0.5 * (before + after)
    for b in range(u.size if reach < np.inf else 0):
        if not smooth:
            h[b] = _secant(loss, u[b], v[b], r, h[b])
        # The residual gives the parabola of reweighted least squares, which lies above the loss.
        distance = reach if reach > 0.0 else max(abs(u[b] - v[b]), r)
        h[b] = max(h[b], abs(slope[b]) / distance)
    for b in range(u.size):
        h[b] = min(h[b], curvature)
        if not smooth:
            slope[b] = (loss.value(u[b] + r, v[b]) - loss.value(u[b] - r, v[b])) * (0.5 / r)


@kernel
def _secant(loss, u, a, radius, largest):
    # At kinks, wider windows see the next one from afar.
    r = 8.0 * radius
    for _ in range(2):
        h = (loss.gradient(u + r, a) - loss.gradient(u - r, a)) / (2.0 * r)
        if h > largest:
            largest = h
        r *= 8.0
    return largest


@kernel
def add_slope(loss, reading, indptr, indices, values, weights, other, rows, x, F, G):
    """Add a loss at x (n, d or 1, K) to F (n,) and, its derivative, to G, like x."""
    K, width = x.shape[2], max(x.shape[1], other.shape[1])
    mine, theirs = x.shape[1] // width, other.shape[1] // width
    g = np.empty(K)
    for p in range(rows.size):
        total = 0.0
        for c in range(width):
            z = x[p, c * mine]
            g[:] = 0.0
            for t in range(indptr[rows[p]], indptr[rows[p] + 1]):
                row, u, a = other[indices[t], c * theirs], 0.0, _read(values[t], reading, c)
                for d in range(K):
                    u += np.float64(z[d]) * row[d]
                w = np.float64(weights[t]) if weights.size > 0 else 1.0
                total += w * loss.value(u, a)
                slope = w * loss.gradient(u, a)
                for d in range(K):
                    g[d] += slope * row[d]
            for d in range(K):
                G[p, c * mine, d] += g[d]
        F[p] += total


@kernel
def add_vector_model(
    loss, d, indptr, indices, values, weights, other, rows, x, how, curvature, F, G, A
):  # fmt: skip
    """Add a loss of d predictions to F (n,), G, like x, and A (n, d or 1, K, K), or empty.

    ``how`` is BOUNDED, and then ``curvature`` is the bound, or another way to the Hessian.
    """
    K = x.shape[2]
    u, s, z, B = np.empty(d), np.empty(d), np.empty((d, K)), np.empty((d, d))
    mine, theirs = x.shape[1] // d, other.shape[1] // d
    for p in range(rows.size):
        i, total = rows[p], 0.0
        for t in range(indptr[i], indptr[i + 1]):
            j = indices[t]
            a, w = np.float64(values[t]), (np.float64(weights[t]) if weights.size > 0 else 1.0)
            for c in range(d):
                u[c] = 0.0
                for m in range(K):
                    u[c] += np.float64(x[p, c * mine, m]) * other[j, c * theirs, m]
            total += w * loss.value(u, a)
            loss.gradient(u, a, s)
            for c in range(d):
                for m in range(K):
                    G[p, c * mine, m] += w * s[c] * other[j, c * theirs, m]
            if A.shape[0] > 0:
                _bend(loss, u, a, s, how, curvature, mine == 1 or how == APART, B)
                _add_bent(B, w, other[j], A[p], z)
        F[p] += total


@kernel
def _bend(loss, u, a, s, how, curvature, apart, B):
    # The Hessian B (d, d) at u, where the slope is s, or a diagonal above it if the predictions are
    # to be taken apart.  As for other losses, slopes fall to zero at last.
    d = u.size
    B[:] = 0.0
    if how == BOUNDED:
        for c in range(d):
            B[c, c] = curvature
        return
    if how == SOFTMAX:
        for c in range(d):
            share = s[c] + (1.0 if c == int(a) else 0.0)
            for l in range(0 if apart else d):  # noqa: E741
                B[c, l] = -share * (s[l] + (1.0 if l == int(a) else 0.0))
            B[c, c] += min(share, 2.0 * share * (1.0 - share)) if apart else share
    else:
        _differ(loss, u, a, s, apart, B)
    for c in range(d):
        B[c, c] = max(B[c, c], abs(s[c]) / FAR)


@kernel
def _differ(loss, u, a, s, apart, B):
    # Differences of slopes, in the directions in which the loss falls: they lead away from where it
    # is infinite.
    d = u.size
    v, ahead = u.copy(), np.empty(d)
    for c in range(d):
        if s[c] != 0.0:
            step = -DIFFERENCE if s[c] > 0.0 else DIFFERENCE
            v[c] = u[c] + step
            loss.gradient(v, a, ahead)
            v[c] = u[c]
            for l in range(d):  # noqa: E741
                h = (ahead[l] - s[l]) / step
                if apart:
                    B[l, l] += abs(h)
                else:
                    B[c, l] += 0.5 * h
                    B[l, c] += 0.5 * h


@kernel
def _add_bent(B, w, y, A, z):
    # Add w Σ B_cl y_c y_lᵀ to A (1, K, K), for y (d, K), or w B_cc yyᵀ to A_c, for y (1, K).
    K = A.shape[1]
    if y.shape[0] != B.shape[0]:
        for c in range(A.shape[0]):
            for m in range(K):
                h = w * B[c, c] * y[0, m]
                for l in range(K):  # noqa: E741
                    A[c, m, l] += h * y[0, l]
        return
    z[:] = 0.0
    for c in range(B.shape[0]):
        for l in range(B.shape[0]):  # noqa: E741
            if B[c, l] != 0.0:
                for m in range(K):
                    z[c, m] += w * B[c, l] * y[l, m]
        for m in range(K):
            for l in range(K):  # noqa: E741
                A[0, m, l] += y[c, m] * z[c, l]


@kernel
def add_value(loss, reading, indptr, indices, values, weights, other, rows, x, F):
    """Add a loss at x (n, d or 1, K) to F (n,)."""
    K, width = x.shape[2], max(x.shape[1], other.shape[1])
    mine, theirs = x.shape[1] // width, other.shape[1] // width
    z = np.empty(K)
    for p in range(rows.size):
        total = 0.0
        for c in range(width):
            for d in range(K):
                z[d] = x[p, c * mine, d]
            for t in range(indptr[rows[p]], indptr[rows[p] + 1]):
                j, u = indices[t], 0.0
                for d in range(K):
                    u += z[d] * other[j, c * theirs, d]
                w = np.float64(weights[t]) if weights.size > 0 else 1.0
                total += w * loss.value(u, _read(values[t], reading, c))
        F[p] += total


@kernel
def add_vector_value(loss, d, indptr, indices, values, weights, other, rows, x, F):
    """Add a loss of d predictions at x (n, d or 1, K) to F (n,)."""
    K = x.shape[2]
    u = np.empty(d)
    mine, theirs = x.shape[1] // d, other.shape[1] // d
    for p in range(rows.size):
        i, total = rows[p], 0.0
        for t in range(indptr[i], indptr[i + 1]):
            j = indices[t]
            for c in range(d):
                u[c] = 0.0
                for m in range(K):
                    u[c] += np.float64(x[p, c * mine, m]) * other[j, c * theirs, m]
            w = np.float64(weights[t]) if weights.size > 0 else 1.0
            total += w * loss.value(u, np.float64(values[t]))
        F[p] += total


@kernel
def add_weighted_model(indptr, indices, values, weights, other, rows, F, G, A):
    """Add ½ Σ ω (x·y - a)² at x = 0 to F (n,), G (n, 1, K) and A (n, K, K)."""
    K = other.shape[2]
    Y, T, sums = _scratch(K)
    for p in range(rows.size):
        begin, end = indptr[rows[p]], indptr[rows[p] + 1]
        total = 0.0
        sums[:] = 0.0
        while begin < end:
            n = min(len(Y), end - begin)
            for b in range(n):
                row, y, t = other[indices[begin + b], 0], Y[b], T[b]
                a, w = np.float64(values[begin + b]), np.float64(weights[begin + b])
                for d in range(K):
                    y[d] = row[d]
                    t[d] = w * y[d]
                t[K] = -w * a
                total += w * a * a
            _add_products(Y, T, n, sums)
            begin += n
        F[p] += 0.5 * total
        _add_sums(sums, G[p, 0], A[p])


# What the cells of a row add to A and g is a product of two matrices, TᵀY, with a cell in each row:
# y in Y, and h y and the slope in T.  Only the lower half of A is summed, and a little more.


@kernel
def _scratch(K):
    width, height = (K + 8) // 8 * 8, (K + 5) // 4 * 4
    batch = max(32, min(256, 3072 // width))
    return np.zeros((batch, width)), np.zeros((batch, height)), np.zeros((height, width))


@kernel
def _add_products(Y, T, n, sums):
    for d in range(0, sums.shape[0], 4):
        for m in range(0, min(d + 4, sums.shape[1]), 8):
            add_tile(T, Y, n, d, m, sums)


@kernel
def _add_sums(sums, g, A):
    K = g.size
    for d in range(K):
        for m in range(d):
            A[d, m] += sums[d, m]
            A[m, d] += sums[d, m]
        A[d, d] += sums[d, d]
        g[d] += sums[K, d]


def add_tile(T, Y, n, d, m, out):
    """Add the tile of TᵀY, of n rows, that begins at row d and column m to out."""
    height, width = TILE
    out[d : d + height, m : m + width] += T[:n, d : d + height].T @ Y[:n, m : m + width]


@vectorized(add_tile, returns=nothing)
def _add_tile(builder, T, Y, n, d, m, out):
    height, width = TILE

    def body(b, sums):
        t, y = T.long_row(b) + d, (Y.long_row(b) + m).load(0, width)
        factors = [splat(builder, t.load(i, 1).lane(0), y.element, width) for i in range(height)]
        return [one + factor * y for one, factor in zip(sums, factors, strict=True)]

    rows = [out.long_row(builder.add(d, d.type(i))) + m for i in range(height)]
    sums = fold(builder, n, 1, [row.load(0, width) for row in rows], body)
    for row, one in zip(rows, sums, strict=True):
        row.store(one, 0)


# ------------------------------------------------------------------ minimising the model


@kernel
def move_model(A, G, step, linear, curved, slope):
    """Write G·step and stepᵀ A step to linear and curved (n,), and G + A step to slope (n, d, K).

    A is (n, d, K, K), or (1, d, K, K) for all rows.
    """
    K = step.shape[2]
    for p in range(step.shape[0]):
        linear[p] = curved[p] = 0.0
        for c in range(step.shape[1]):
            M = A[0 if A.shape[0] == 1 else p, c]
            for m in range(K):
                s = 0.0
                for l in range(K):  # noqa: E741
                    s += M[m, l] * step[p, c, l]
                slope[p, c, m] = G[p, c, m] + s
                linear[p] += G[p, c, m] * step[p, c, m]
                curved[p] += s * step[p, c, m]


@kernel
def minimise_ridge(A, G, x, scale, strength, center, k, free, out):
    r"""Minimise the model with A times ``scale`` (n,) and r = ½ s ‖x - μ‖², for each row.

    x, G and out are (n, d, K), μ = ``center`` is (k,); A is (n, d, K, K), or (1, d, K, K) for all.
    The step solves (scale·A + s I) δ = -g - s (x - μ); a direction that nothing determines stays.
    """
    K, d = x.shape[2], x.shape[1]
    M, b = np.empty((free, free)), np.empty(free)
    shared = A.shape[0] == 1 and x.shape[0] > 1
    for p in range(x.shape[0]):
        for c in range(d):
            if p == 0 or d > 1 or not shared:
                for m in range(free):
                    for l in range(m + 1):  # noqa: E741
                        M[m, l] = scale[p] * A[0 if shared else p, c, m, l]
                    if m < k:
                        M[m, m] += strength
                factorise(M)
            for m in range(free):
                b[m] = -G[p, c, m]
                if m < k:
                    b[m] -= strength * (x[p, c, m] - center[m])
            solve_factorised(M, b)
            for m in range(K):
                out[p, c, m] = x[p, c, m] + (b[m] if m < free else 0.0)


@kernel
def minimise_by_coordinates(regularizer, A, G, x, scale, k, free, n_iter, tol, out):
    """Minimise the model by cyclic coordinate descent from x, for a regularizer of single entries.

    A coordinate has the closed form prox(x_m - slope_m / A_mm) with step 1 / A_mm.  It ends after
    ``n_iter`` cycles, or when no coordinate moves by more than ``tol`` times the largest.
    """
    K, d = x.shape[2], x.shape[1]
    z, slope = np.empty(K), np.empty(K)
    shared = A.shape[0] == 1
    for p in range(x.shape[0]):
        for c in range(d):
            M = A[0 if shared else p, c]
            for m in range(K):
                z[m] = x[p, c, m]
                slope[m] = G[p, c, m]
            for _ in range(n_iter):
                largest, moved = 0.0, 0.0
                for m in range(free):
                    h = scale[p] * M[m, m]
                    if h <= 0.0:
                        h = 1e-12
                    before = z[m]
                    z[m] -= slope[m] / h
                    if m < k:
                        regularizer.prox(z[m : m + 1], 1.0 / h)
                    change = z[m] - before
                    if change != 0.0:
                        for l in range(free):  # noqa: E741
                            slope[l] += scale[p] * M[m, l] * change
                    moved, largest = max(moved, abs(change)), max(largest, abs(z[m]))
                if moved <= tol * largest:
                    break
            for m in range(K):
                out[p, c, m] = z[m]


@kernel
def minimise_by_prox(regularizer, A, G, x, scale, k, free, n_iter, tol, out):
    """Minimise the model by proximal gradient steps from x, for any regularizer of rows.

    The step is 1 / λ with λ the largest row sum of |A|, at least the largest eigenvalue, so that no
    step increases the model, whether the regularizer is convex or not.
    """
    K, d = x.shape[2], x.shape[1]
    z, new, slope = np.empty(K), np.empty(K), np.empty(K)
    shared = A.shape[0] == 1
    for p in range(x.shape[0]):
        for c in range(d):
            M = A[0 if shared else p, c]
            bound = scale[p] * _largest_row(M, free)
            for m in range(K):
                z[m] = new[m] = x[p, c, m]
                slope[m] = G[p, c, m]
            for _ in range(n_iter):
                for m in range(free):
                    new[m] = z[m] - slope[m] / bound
                regularizer.prox(new[:k], 1.0 / bound)
                largest, moved = 0.0, 0.0
                for m in range(free):
                    moved, largest = max(moved, abs(new[m] - z[m])), max(largest, abs(new[m]))
                for m in range(free):
                    change = scale[p] * (new[m] - z[m])
                    if change != 0.0:
                        for l in range(free):  # noqa: E741
                            slope[l] += M[m, l] * change
                    z[m] = new[m]
                if moved <= tol * largest:
                    break
            for m in range(K):
                out[p, c, m] = z[m]


@kernel
def minimise_blocks(regularizer, A, G, x, scale, out):
    """Make one proximal gradient step, for a regularizer of the blocks x (n, d, K) of columns."""
    for p in range(x.shape[0]):
        bound = 0.0
        for c in range(x.shape[1]):
            M = A[0 if A.shape[0] == 1 else p, c]
            bound = max(bound, scale[p] * _largest_row(M, x.shape[2]))
        for c in range(x.shape[1]):
            for m in range(x.shape[2]):
                out[p, c, m] = x[p, c, m] - G[p, c, m] / bound
        regularizer.prox(out[p], 1.0 / bound)


@kernel
def _largest_row(M, free):
    # The smaller of two bounds of the largest eigenvalue: the largest row sum, and the trace.
    largest, trace = 0.0, 0.0
    for m in range(free):
        total = 0.0
        for l in range(free):  # noqa: E741
            total += abs(M[m, l])
        largest = max(largest, total)
        trace += M[m, m]
    return max(min(largest, trace), 1e-12)


@kernel
def penalise_rows(regularizer, x, k, R):
    """Write the cost of the first k coordinates of the d rows of x (n, d, K), added, to R (n,)."""
    for p in range(x.shape[0]):
        R[p] = 0.0
        for c in range(x.shape[1]):
            R[p] += regularizer.value(x[p, c, :k])


@kernel
def penalise_blocks(regularizer, x, R):
    """Write the cost of the blocks x (n, d, K) to R (n,)."""
    for p in range(x.shape[0]):
        R[p] = regularizer.value(x[p])


@kernel
def prox_rows(regularizer, step, x, k):
    """Replace the first k coordinates of the d rows of x (n, d, K) by their prox, in place."""
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            regularizer.prox(x[p, c, :k], step)


@kernel
def prox_blocks(regularizer, step, x):
    """Replace the blocks x (n, d, K) by their prox, in place."""
    for p in range(x.shape[0]):
        regularizer.prox(x[p], step)


@kernel
def factorise(M):
    """Replace the lower half of M by its Cholesky factor, with inverted pivots.

    A pivot at rounding level becomes 0: nothing determines the dimension, and its step is 0.
    """
    n = M.shape[0]
    floor = 0.0
    for d in range(n):
        floor = max(floor, M[d, d])
    floor *= 1e-13
    for d in range(n):
        for m in range(d):
            s = M[d, m]
            for l in range(m):  # noqa: E741
                s -= M[d, l] * M[m, l]
            M[d, m] = s * M[m, m]
        s = M[d, d]
        for l in range(d):  # noqa: E741
            s -= M[d, l] * M[d, l]
        M[d, d] = 1.0 / np.sqrt(s) if s > floor else 0.0  # the inverse: divisions are slow


@kernel
def solve_factorised(M, b):
    """Replace b by the solution, given what ``factorise`` left."""
    n = b.size
    for d in range(n):
        s = b[d]
        for l in range(d):  # noqa: E741
            s -= M[d, l] * b[l]
        b[d] = s * M[d, d]
    for r in range(n):
        d = n - 1 - r
        b[d] *= M[d, d]
        for l in range(d):  # noqa: E741
            b[l] -= M[d, l] * b[d]
