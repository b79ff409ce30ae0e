r"""Rows of factors given the other side, for the loss ½ (u - a)²: models that are exact.

The names are those of :mod:`skglrm.kernels.proximal`; ``Y`` (m, width) holds the factors y of the
other side in double precision, each padded to whole vectors with zeros, and ``gram`` (K, K) is
Σ yyᵀ over all of them.  ``lacking`` holds the columns that rows lack, as CSR arrays (indptr,
indices): a row that lists some subtracts their products from ``gram`` instead of adding its own.
"""

import numpy as np

from .._jit import kernel
from .._simd import fold, nothing, splat, vectorized

TILE = 4, 8
"""Entries of a matrix that are summed at once, in registers."""

SIDE_BY_SIDE = 8
"""Rows whose small systems are solved in the lanes of vectors."""


@kernel
def add_quadratic_model(indptr, indices, values, lacking, Y, gram, rows, F, G, A):
    """Add ½ Σ (x·y - a)² at x = 0 to F (n,), G (n, 1, K) and A (n, K, K)."""
    K = G.shape[2]
    sums = np.empty((Y.shape[1], Y.shape[1]))
    for p in range(rows.size):
        begin, end = indptr[rows[p]], indptr[rows[p] + 1]
        F[p] += _add_linear(indices, values, Y, begin, end, sums[0], G[p, 0])
        if _gather_fewer(rows[p], indptr, indices, lacking, Y, K, sums):
            A[p] += gram
            _add_lower(sums, -1.0, A[p])
        else:
            _add_lower(sums, 1.0, A[p])


@kernel
def solve_quadratic_rows(
    indptr, indices, values, lacking, Y, gram, rows, strength, center, k, free, x, loss
):
    r"""Minimise ½ Σ (x·y - a)² + ½ s ‖x - μ‖² for each row, eight rows side by side.

    ``x`` (n, 1, K) holds what is fixed, the coordinates from ``free`` on, and gets the minimum;
    ``loss`` (n,) gets the first term there.  What nothing determines becomes 0.
    """
    K = x.shape[2]
    A, M = np.zeros((SIDE_BY_SIDE, K, K)), np.zeros((free + 1, free, SIDE_BY_SIDE))
    g, squares = np.zeros((SIDE_BY_SIDE, K)), np.zeros(SIDE_BY_SIDE)
    sums, scratch, z = np.empty((Y.shape[1], Y.shape[1])), np.empty(Y.shape[1]), np.empty(K)
    for first in range(0, rows.size, SIDE_BY_SIDE):
        n = min(SIDE_BY_SIDE, rows.size - first)
        for b in range(n):
            row = rows[first + b]
            begin, end = indptr[row], indptr[row + 1]
            g[b] = 0.0
            squares[b] = _add_linear(indices, values, Y, begin, end, scratch, g[b])
            fewer = _gather_fewer(row, indptr, indices, lacking, Y, K, sums)
            for d in range(K):
                for l in range(d + 1):  # noqa: E741
                    A[b, d, l] = gram[d, l] - sums[d, l] if fewer else sums[d, l]
            _put_system(A[b], g[b], x[first + b, 0], strength, center, k, free, b, M)
        _solve_side_by_side(M)
        for b in range(n):
            p, total = first + b, squares[b]
            for d in range(free):
                x[p, 0, d] = M[free, d, b]
            for d in range(K):
                z[d] = x[p, 0, d]  # as it is stored
                s = 0.5 * A[b, d, d] * z[d]
                for l in range(d):  # noqa: E741
                    s += A[b, d, l] * z[l]
                total += (g[b, d] + s) * z[d]
            if total < 1e-7 * squares[b]:  # too many digits are lost
                begin, end = indptr[rows[p]], indptr[rows[p] + 1]
                total = _half_squares(indices, values, Y, begin, end, z)
            loss[p] = total


@kernel
def _put_system(A, g, x, strength, center, k, free, b, M):
    # The lower half of A + s I into lane b of M, and the right-hand side below it.
    for d in range(free):
        for l in range(d + 1):  # noqa: E741
            M[d, l, b] = A[d, l]
        right = -g[d]
        for l in range(free, A.shape[0]):  # noqa: E741
            right -= A[l, d] * x[l]
        if d < k:
            M[d, d, b] += strength
            right += strength * center[d]
        M[free, d, b] = right


@kernel
def _solve_side_by_side(M):
    # Cholesky of the lower halves M (n + 1, n, 8); the right-hand sides in row n become solutions.
    # Pivots are inverted; one at rounding level means that nothing determines the coordinate.
    n = M.shape[1]
    floor = np.zeros(SIDE_BY_SIDE)
    for d in range(n):
        for b in range(SIDE_BY_SIDE):
            floor[b] = max(floor[b], 1e-13 * M[d, d, b])
    for d in range(n + 1):
        for m in range(min(d, n)):
            subtract_products(M, d, m)
            for b in range(SIDE_BY_SIDE):
                M[d, m, b] *= M[m, m, b]
        if d < n:
            subtract_products(M, d, d)
            for b in range(SIDE_BY_SIDE):
                s = M[d, d, b]
                M[d, d, b] = 1.0 / np.sqrt(s) if s > floor[b] else 0.0
    for r in range(n):
        d = n - 1 - r
        for b in range(SIDE_BY_SIDE):
            M[n, d, b] *= M[d, d, b]
        subtract_row(M, d)


def subtract_products(M, d, m):
    """Subtract Σ M[d, l]·M[m, l] over l < m from M[d, m], all lanes at once."""
    M[d, m] -= (M[d, :m] * M[m, :m]).sum(axis=0)


@vectorized(subtract_products, returns=nothing)
def _subtract_products(builder, M, d, m):
    n = M.shape[1]
    one, two = builder.mul(d, n), builder.mul(m, n)

    def body(l, sums):  # noqa: E741
        x = M.row(builder.add(one, l), SIDE_BY_SIDE).load(0, SIDE_BY_SIDE)
        y = M.row(builder.add(two, l), SIDE_BY_SIDE).load(0, SIDE_BY_SIDE)
        return [sums[0] - x * y]

    target = M.row(builder.add(one, m), SIDE_BY_SIDE)
    target.store(fold(builder, m, 1, [target.load(0, SIDE_BY_SIDE)], body)[0], 0)


def subtract_row(M, d):
    """Subtract M[d, l]·M[n, d] from M[n, l] for all l < d and all lanes; n is the last row."""
    M[-1, :d] -= M[d, :d] * M[-1, d]


@vectorized(subtract_row, returns=nothing)
def _subtract_row(builder, M, d):
    n = M.shape[1]
    last, own = builder.mul(n, n), builder.mul(d, n)
    x = M.row(builder.add(last, d), SIDE_BY_SIDE).load(0, SIDE_BY_SIDE)

    def body(l, nothing):  # noqa: E741
        target = M.row(builder.add(last, l), SIDE_BY_SIDE)
        factor = M.row(builder.add(own, l), SIDE_BY_SIDE).load(0, SIDE_BY_SIDE)
        target.store(target.load(0, SIDE_BY_SIDE) - factor * x, 0)
        return []

    fold(builder, d, 1, [], body)


@kernel
def minimise_on_interval(A, G, x, scale, strength, lower, upper, k, free, n_iter, tol, out):
    r"""Minimise the model with A times ``scale`` and r = ½ s ‖x‖² on [l, u], eight rows abreast.

    By cyclic coordinate descent from x (n, d, K); A is (n, d, K, K), or (1, 1, K, K) for all rows,
    whose scale is then the same.  The first ``k`` coordinates are penalised and bounded.  It ends
    after ``n_iter`` cycles, or when no coordinate moves by more than ``tol`` times the largest.
    """
    d, n = x.shape[1], x.shape[0] * x.shape[1]
    M, inverse = np.zeros((free, free, SIDE_BY_SIDE)), np.zeros((free, SIDE_BY_SIDE))
    z, slope = np.zeros((free, SIDE_BY_SIDE)), np.zeros((free, SIDE_BY_SIDE))
    going, moves = np.zeros(SIDE_BY_SIDE), np.zeros((2, SIDE_BY_SIDE))
    for first in range(0, n, SIDE_BY_SIDE):
        for b in range(SIDE_BY_SIDE):
            p, c = divmod(min(first + b, n - 1), d)  # the last one again where there is none
            if first == 0 or A.shape[0] > 1:
                H = A[p, c] if A.shape[0] > 1 else A[0, 0]
                _put_matrix(H, scale[p], strength, k, free, b, M, inverse)
            z[:, b], slope[:, b], going[b] = x[p, c, :free], G[p, c, :free], 1.0
        for _ in range(n_iter):
            moves[:] = 0.0
            for m in range(free):
                low, high = (lower, upper) if m < k else (-np.inf, np.inf)
                descend(M, m, inverse, low, high, going, z, slope, moves)
            for b in range(SIDE_BY_SIDE):
                if moves[0, b] <= tol * moves[1, b]:
                    going[b] = 0.0
            if not going.any():
                break
        for b in range(min(SIDE_BY_SIDE, n - first)):
            p, c = divmod(first + b, d)
            out[p, c] = x[p, c]
            out[p, c, :free] = z[:, b]


@kernel
def _put_matrix(H, scale, strength, k, free, b, M, inverse):
    # A times its scale into lane b of M, and the inverse of its diagonal with the strength.
    for m in range(free):
        for l in range(free):  # noqa: E741
            M[m, l, b] = scale * H[m, l]
        M[m, m, b] = max(M[m, m, b], 1e-12)
        inverse[m, b] = 1.0 / (M[m, m, b] + (strength if m < k else 0.0))


def descend(M, m, inverse, lower, upper, going, z, slope, moves):
    """Move coordinate m to its best place on [lower, upper], in the lanes that are going."""
    new = (M[m, m] * z[m] - slope[m]) * inverse[m]
    new = np.minimum(np.maximum(new, lower), upper) * going + z[m] * (1.0 - going)
    change = new - z[m]
    z[m] = new
    slope += M[m] * change
    moves[0] = np.maximum(moves[0], np.abs(change))
    moves[1] = np.maximum(moves[1], np.abs(new))


@vectorized(descend, returns=nothing)
def _descend(builder, M, m, inverse, lower, upper, going, z, slope, moves):
    n, element = z.shape[0], z.element
    first = builder.mul(m, n)
    own = z.row(m, SIDE_BY_SIDE)
    old, here = own.load(0, SIDE_BY_SIDE), slope.row(m, SIDE_BY_SIDE).load(0, SIDE_BY_SIDE)
    h = M.row(builder.add(first, m), SIDE_BY_SIDE).load(0, SIDE_BY_SIDE)
    new = (h * old - here) * inverse.row(m, SIDE_BY_SIDE).load(0, SIDE_BY_SIDE)
    low, high = (splat(builder, end, element, SIDE_BY_SIDE) for end in (lower, upper))
    goes = going.vector().load(0, SIDE_BY_SIDE)
    new = new.maximum(low).minimum(high) * goes + old * (old.full(1.0) - goes)
    change = new - old
    own.store(new, 0)

    def body(l, nothing):  # noqa: E741
        target = slope.row(l, SIDE_BY_SIDE)
        factor = M.row(builder.add(first, l), SIDE_BY_SIDE).load(0, SIDE_BY_SIDE)
        target.store(target.load(0, SIDE_BY_SIDE) + factor * change, 0)
        return []

    fold(builder, n, 1, [], body)
    for number, size in enumerate((change, new)):
        most = moves.row(m.type(number), SIDE_BY_SIDE)
        most.store(most.load(0, SIDE_BY_SIDE).maximum(size.maximum(-size)), 0)


@kernel
def _half_squares(indices, values, Y, begin, end, z):
    total = 0.0
    for t in range(begin, end):
        r = -np.float64(values[t])
        for d in range(z.size):
            r += z[d] * Y[indices[t], d]
        total += r * r
    return 0.5 * total


@kernel
def add_quadratic_slope(indptr, indices, values, Y, rows, F, G):
    """Add ½ Σ (x·y - a)² at x = 0 to F (n,) and G (n, 1, K)."""
    g = np.empty(Y.shape[1])
    for p in range(rows.size):
        begin, end = indptr[rows[p]], indptr[rows[p] + 1]
        F[p] += _add_linear(indices, values, Y, begin, end, g, G[p, 0])


@kernel
def _add_linear(indices, values, Y, begin, end, g, out):
    """Subtract Σ a y from ``out`` (K,), with ``g`` (width,) as scratch; return ½ Σ a²."""
    total = 0.0
    for t in range(begin, end):
        total += np.float64(values[t]) * np.float64(values[t])
    done = 0
    while done + 16 <= g.size:
        gather_vectors(indices, values, Y, begin, end, done, g)
        done += 16
    if done < g.size:
        gather_vector(indices, values, Y, begin, end, done, g)
    for d in range(out.size):
        out[d] -= g[d]
    return 0.5 * total


@kernel
def _gather_fewer(row, indptr, indices, lacking, Y, K, sums):
    # Of the columns that a row has, or of those that it lacks: return whether it is the latter.
    begin, end = lacking[0][row], lacking[0][row + 1]
    if begin < end:
        _gather_products(lacking[1], Y, begin, end, K, sums)
        return True
    _gather_products(indices, Y, indptr[row], indptr[row + 1], K, sums)
    return False


@kernel
def _gather_products(indices, Y, begin, end, K, sums):
    for d in range(0, K, 4):
        for m in range(0, d + 1, 8):
            gather_tile(indices, Y, begin, end, d, m, sums)


@kernel
def _add_lower(sums, sign, A):
    for d in range(A.shape[0]):
        for m in range(d):
            A[d, m] += sign * sums[d, m]
            A[m, d] += sign * sums[d, m]
        A[d, d] += sign * sums[d, d]


def gather_vector(indices, values, Y, begin, end, d, out):
    """Write eight entries of Σ a y over cells begin..end to out[d:]."""
    out[d : d + 8] = values[begin:end] @ Y[indices[begin:end], d : d + 8]


def gather_vectors(indices, values, Y, begin, end, d, out):
    """Write sixteen entries of Σ a y over cells begin..end to out[d:]."""
    out[d : d + 16] = values[begin:end] @ Y[indices[begin:end], d : d + 16]


def _gather(count):
    def generate(builder, indices, values, Y, begin, end, d, out):
        offsets = [8 * c for c in range(count)]

        def body(t, sums):
            t = builder.add(begin, t)
            row = Y.long_row(indices.integer(t)) + d
            a = splat(builder, values.number(t), Y.element, 8)
            return [s + a * row.load(o, 8) for s, o in zip(sums, offsets, strict=True)]

        target = out.vector() + d
        zeros = [target.load(o, 8).full(0.0) for o in offsets]
        sums = fold(builder, builder.sub(end, begin), 1, zeros, body)
        for s, o in zip(sums, offsets, strict=True):
            target.store(s, o)

    return generate


vectorized(gather_vector, returns=nothing)(_gather(1))
vectorized(gather_vectors, returns=nothing)(_gather(2))


def gather_tile(indices, Y, begin, end, d, m, out):
    """Write the tile of Σ yyᵀ over cells begin..end that begins at row d and column m to out."""
    height, width = TILE
    rows = Y[indices[begin:end]]
    out[d : d + height, m : m + width] = rows[:, d : d + height].T @ rows[:, m : m + width]


@vectorized(gather_tile, returns=nothing)
def _gather_tile(builder, indices, Y, begin, end, d, m, out):
    height, width = TILE

    def body(t, sums):
        row = Y.long_row(indices.integer(builder.add(begin, t)))
        y, factors = (row + m).load(0, width), row + d
        each = [splat(builder, factors.load(i, 1).lane(0), y.element, width) for i in range(height)]
        return [one + factor * y for one, factor in zip(sums, each, strict=True)]

    rows = [out.long_row(builder.add(d, d.type(i))) + m for i in range(height)]
    zero = rows[0].load(0, width).full(0.0)
    sums = fold(builder, builder.sub(end, begin), 1, [zero] * height, body)
    for row, one in zip(rows, sums, strict=True):
        row.store(one, 0)
