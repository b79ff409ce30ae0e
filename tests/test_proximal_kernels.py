"""Kernels of the half-steps against naive NumPy, and against themselves as plain Python."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from skglrm._jit import read_only
from skglrm.kernels import cells as cell_kernels
from skglrm.kernels.proximal import (
    AS_IT_IS,
    BOUNDED,
    BY_DIFFERENCES,
    IS_ABOVE,
    IS_LEVEL,
    SOFTMAX,
    _add_products,
    _bend,
    _look,
    _secant,
    add_model,
    add_slope,
    add_value,
    add_vector_model,
    add_vector_value,
    add_weighted_model,
    minimise_by_coordinates,
    minimise_by_prox,
    minimise_ridge,
    move_model,
)
from skglrm.kernels.quadratic import (
    add_quadratic_model,
    add_quadratic_slope,
    minimise_on_interval,
    solve_quadratic_rows,
)
from skglrm.losses import (
    Absolute,
    BiggerVsSmaller,
    CumulativeLogit,
    Huber,
    Logistic,
    Multinomial,
    OneVsAll,
)
from skglrm.regularizers import L1, L2, NonNegative, Sum
from skglrm.solvers.problem import Cells

N_ROWS, N_COLUMNS, K = 6, 9, 3
NO_BENDS = np.zeros((0, 0, 0))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=["weighted", "unweighted"])
def cells(request, rng):
    """CSR arrays with an empty row, values, and weights or none."""
    dense = rng.random((N_ROWS, N_COLUMNS)) < 0.6
    dense[2] = False
    indptr = np.concatenate([[0], np.cumsum(dense.sum(axis=1))])
    n = int(indptr[-1])
    weights = rng.uniform(0.5, 2, n if request.param == "weighted" else 0)
    return tuple(
        map(read_only, (indptr, np.nonzero(dense)[1].astype(np.int32), rng.normal(size=n), weights))
    )


@pytest.fixture
def other(rng):
    return read_only(rng.normal(size=(N_COLUMNS, 1, K)))


@pytest.fixture
def rows():
    return np.array([4, 2, 0, 5], np.int32)


def by_row(cells, row):
    indptr, indices, values, weights = cells
    run = slice(indptr[row], indptr[row + 1])
    w = weights[run] if weights.size else np.ones(run.stop - run.start)
    return indices[run], values[run], w


def zeros(n, d=1):
    return np.zeros(n), np.zeros((n, d, K)), np.zeros((n, d, K, K))


def look(loss, u, v, *how):
    """Slope, slope of the slope and bend of one cell."""
    out = np.empty((3, 1))
    _look(loss, np.array([u]), np.array([v]), *how, *out)
    return tuple(out[:, 0])


def wary(rows):
    """Windows of 1 for rows that take no chances."""
    return np.ones(rows.size), np.ones(rows.size, bool)


def test_the_model_has_the_value_slope_and_curvature_of_the_loss(cells, other, rows, rng):
    loss, x = Huber(0.5), rng.normal(size=(rows.size, 1, K))
    F, G, A = zeros(rows.size)
    how = (1.0, True, 9.0, 0.0, 0.0, *wary(rows))
    add_model(loss, AS_IT_IS, *cells, other, rows, read_only(x), *how, F, G, A, NO_BENDS)
    for p, row in enumerate(rows):
        columns, values, w = by_row(cells, row)
        Y = other[columns, 0]

        def naive(z, Y=Y, values=values, w=w):
            return sum(c * loss.value(u, a) for c, u, a in zip(w, Y @ z, values, strict=True))

        assert F[p] == pytest.approx(naive(x[p, 0]))
        np.testing.assert_allclose(G[p, 0], approx_fprime(x[p, 0], naive), atol=1e-6)
        np.testing.assert_allclose(A[p, 0], (Y * w[:, None]).T @ Y, atol=1e-12)


def test_value_slope_and_model_agree(cells, other, rows, rng):
    loss, x = Huber(0.5), read_only(rng.normal(size=(rows.size, 1, K)))
    F, G, A = zeros(rows.size)
    how = (1.0, True, 9.0, 0.0, 0.0, *wary(rows))
    add_model(loss, AS_IT_IS, *cells, other, rows, x, *how, F, G, A, NO_BENDS)
    F2, G2, _ = zeros(rows.size)
    add_slope(loss, AS_IT_IS, *cells, other, rows, x, F2, G2)
    F3 = np.zeros(rows.size)
    add_value(loss, AS_IT_IS, *cells, other, rows, x, F3)
    np.testing.assert_allclose(F2, F)
    np.testing.assert_allclose(F3, F)
    np.testing.assert_allclose(G2, G)


def test_a_model_in_windows_sees_the_kink(cells, other, rows, rng):
    x = read_only(rng.normal(size=(rows.size, 1, K)))
    F, G, A = zeros(rows.size)
    B = np.zeros_like(G)
    how = (np.inf, False, 9.0, 0.0, 0.5, *wary(rows))
    add_model(Absolute(), AS_IT_IS, *cells, other, rows, x, *how, F, G, A, B)
    for p, row in enumerate(rows):
        columns, values, w = by_row(cells, row)
        Y = other[columns, 0]
        away = Y @ x[p, 0] - values
        slope = w * np.clip(away / 0.5, -1, 1)
        np.testing.assert_allclose(G[p, 0], slope @ Y, atol=1e-12)
        h = np.empty((3, away.size))
        _look(Absolute(), away, np.zeros_like(away), 0.5, np.inf, False, 9.0, *h)
        h = h[1]
        np.testing.assert_allclose(A[p, 0], (Y * (w * h)[:, None]).T @ Y, atol=1e-12)
        inside = np.where(abs(away) < 0.5, slope, 0.0)
        np.testing.assert_allclose(B[p, 0], inside @ Y, atol=1e-12)
    assert _secant(Absolute(), 0.3, 0.0, 0.5, 2.0) == pytest.approx(2.0)
    assert 0 < _secant(Absolute(), 3.0, 0.0, 0.5, 0.0) < 2.0
    assert look(Absolute(), 1e3, 0.0, 0.5, np.inf, False, 10.0) == (1.0, pytest.approx(0.1), 0)
    assert look(Absolute(), 3.0, 0.0, 0.5, np.inf, False, np.inf) == (1.0, 0.0, 0.0)


def hessian(loss, u, a):
    """By central differences of the slope."""
    d, columns = u.size, []
    for c in range(d):
        ends = np.empty((2, d))
        for side, sign in enumerate((1, -1)):
            loss.gradient(u + sign * 1e-5 * np.eye(d)[c], a, ends[side])
        columns.append((ends[0] - ends[1]) / 2e-5)
    return np.array(columns)


@pytest.mark.parametrize(
    "loss, how", [(Multinomial(3), SOFTMAX), (CumulativeLogit(4), BY_DIFFERENCES)]
)
def test_hessians_of_losses_of_several_predictions(loss, how):
    u, s, B = np.array([0.7, 0.2, -0.6]), np.empty(3), np.empty((3, 3))
    for a in range(3):
        loss.gradient(u, float(a), s)
        _bend(loss, u, float(a), s, how, 0.0, False, B)
        expected = hessian(loss, u, float(a))
        np.testing.assert_allclose(B, expected, atol=1e-4)
        _bend(loss, u, float(a), s, how, 0.0, True, B)
        assert (B == np.diag(np.diag(B))).all()
        if how == BY_DIFFERENCES:
            assert np.linalg.eigvalsh(B - expected).min() > -1e-3


def test_the_curvature_of_a_smooth_loss_is_that_where_it_is():
    for u in (-1.0, 0.2, 2.0):
        slope, h, _ = look(Logistic(), u, 1.0, 3e-4, 0.25, True, 9.0)
        share = 1 / (1 + np.exp(u))
        assert slope == pytest.approx(-share)
        assert h == pytest.approx(share * (1 - share), rel=1e-3)
    # Far on the wrong side it is flat, but a step is not to go on for ever.
    assert look(Logistic(), -30.0, 1.0, 3e-4, 0.25, True, 9.0)[1] == pytest.approx(1 / 9)


@pytest.mark.parametrize("side", ["rows", "columns"])
@pytest.mark.parametrize(
    "loss, reading",
    [(OneVsAll(3, Logistic()), IS_LEVEL), (BiggerVsSmaller(4, Logistic()), IS_ABOVE)],
)
def test_sums_of_boolean_losses_are_taken_apart(cells, rows, side, loss, reading, rng):
    d = 3
    mine, theirs = (1, d) if side == "rows" else (d, 1)
    codes = read_only(rng.integers(0, loss.n_levels, cells[2].size).astype(float))
    cells = (*cells[:2], codes, cells[3])
    other = read_only(rng.normal(size=(N_COLUMNS, theirs, K)))
    x = read_only(rng.normal(size=(rows.size, mine, K)))
    F, G, A = zeros(rows.size, mine)
    how = (0.25, True, 9.0, 1e-4, 0.0, *wary(rows))
    add_model(Logistic(), reading, *cells, other, rows, x, *how, F, G, A, NO_BENDS)
    F2, G2, A2 = zeros(rows.size, mine)
    add_vector_model(loss, d, *cells, other, rows, x, BY_DIFFERENCES, 0.0, F2, G2, A2)
    F3 = np.zeros(rows.size)
    add_value(Logistic(), reading, *cells, other, rows, x, F3)
    F4, G4, _ = zeros(rows.size, mine)
    add_slope(Logistic(), reading, *cells, other, rows, x, F4, G4)
    for found in (F, F3, F4):
        np.testing.assert_allclose(found, F2)
    for found in (G, G4):
        np.testing.assert_allclose(found, G2, atol=1e-12)
    np.testing.assert_allclose(A, A2, atol=1e-3)


def padded(other):
    Y = np.zeros((len(other), -(-K // 8) * 8))
    Y[:, :K] = other[:, 0]
    return read_only(Y)


def quadratic_models(cells, other):
    """All kernels that build the model, for cells with weights and without."""
    if cells[3].size:
        return [(add_weighted_model, (*cells, other))]
    Y = padded(other)
    gram = read_only((Y.T @ Y)[:K, :K].copy())
    held = Cells(*cells, N_COLUMNS)
    assert held.lacking[1].size > 0
    nothing = (read_only(np.zeros(N_ROWS + 1, np.int64)), held.lacking[1])
    return [(add_quadratic_model, (*cells[:3], one, Y, gram)) for one in (held.lacking, nothing)]


def test_the_quadratic_model_is_the_normal_equations(cells, other, rows):
    for build, arguments in quadratic_models(cells, other):
        F, G, A = zeros(rows.size)
        build(*arguments, rows, F, G, A[:, 0])
        for p, row in enumerate(rows):
            columns, values, w = by_row(cells, row)
            Y = other[columns, 0]
            assert F[p] == pytest.approx(0.5 * w @ values**2)
            np.testing.assert_allclose(G[p, 0], -(w * values) @ Y, atol=1e-12)
            np.testing.assert_allclose(A[p, 0], (Y * w[:, None]).T @ Y, atol=1e-12)
        if not cells[3].size:
            F2, G2, _ = zeros(rows.size)
            add_quadratic_slope(*cells[:3], padded(other), rows, F2, G2)
            np.testing.assert_allclose(F2, F)
            np.testing.assert_allclose(G2, G)


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_the_model_of_a_vector_loss_has_its_value_and_slope(cells, rows, side, rng):
    d, loss = 3, Multinomial(3)
    mine, theirs = (1, d) if side == "rows" else (d, 1)
    codes = read_only(rng.integers(0, d, cells[2].size).astype(float))
    cells = (*cells[:2], codes, cells[3])
    other = read_only(rng.normal(size=(N_COLUMNS, theirs, K)))
    x = rng.normal(size=(rows.size, mine, K))
    F, G, A = zeros(rows.size, mine)
    add_vector_model(loss, d, *cells, other, rows, read_only(x), BOUNDED, 0.5, F, G, A)
    F2 = np.zeros(rows.size)
    add_vector_value(loss, d, *cells, other, rows, read_only(x), F2)
    np.testing.assert_allclose(F2, F)
    for p, row in enumerate(rows):
        columns, values, w = by_row(cells, row)

        def naive(flat, columns=columns, values=values, w=w):
            z = flat.reshape(mine, K)
            U = np.einsum("ck,jck->jc", np.broadcast_to(z, (d, K)), _wide(other[columns], d))
            return sum(c * loss.value(u, a) for c, u, a in zip(w, U, values, strict=True))

        assert F[p] == pytest.approx(naive(x[p].ravel()))
        numeric = approx_fprime(x[p].ravel(), naive).reshape(mine, K)
        np.testing.assert_allclose(G[p], numeric, atol=1e-6)
        bound = sum(0.5 * c * Y.T @ Y for c, Y in zip(w, other[columns], strict=True))
        np.testing.assert_allclose(A[p], np.broadcast_to(bound, A[p].shape), atol=1e-12)


def _wide(block, d):
    return np.broadcast_to(block, (len(block), d, K))


@pytest.mark.parametrize("n", [0, 1, 37])
def test_tiles_cover_the_lower_half_of_a_product(n, rng):
    T, Y = rng.normal(size=(40, 12)), rng.normal(size=(40, 16))
    sums, plain = np.ones((12, 16)), np.ones((12, 16))
    _add_products(Y, T, n, sums)
    _add_products.py_func(Y, T, n, plain)
    np.testing.assert_allclose(sums, plain, atol=1e-12)
    np.testing.assert_allclose(np.tril(sums - 1), np.tril(T[:n].T @ Y[:n]), atol=1e-12)


def models(rng, n=5):
    root = rng.normal(size=(n, K, K))
    A = np.matmul(root, root.transpose(0, 2, 1))
    return A[:, None], rng.normal(size=(n, 1, K)), np.ones(n)


def along(A, step):
    return np.einsum("pcml,pcl->pcm", A, step)


def test_a_ridge_is_minimised_where_its_slope_vanishes(rng):
    A, G, scale = models(rng)
    x, center, out = rng.normal(size=G.shape), rng.normal(size=K), np.empty(G.shape)
    minimise_ridge(A, G, x, 2 * scale, 0.7, center, K, K, out)
    slope = G + 2 * along(A, out - x) + 0.7 * (out - center)
    np.testing.assert_allclose(slope, 0, atol=1e-10)


def test_coordinates_that_are_fixed_or_free_of_penalty(rng):
    A, G, scale = models(rng)
    x, out = rng.normal(size=G.shape), np.empty(G.shape)
    minimise_ridge(A, G, x, scale, 0.7, np.zeros(K), K - 1, K - 1, out)
    assert (out[:, :, -1] == x[:, :, -1]).all()
    slope = G + along(A, out - x) + 0.7 * out
    np.testing.assert_allclose(slope[:, :, :-1], 0, atol=1e-10)
    minimise_ridge(A, G, x, scale, 0.7, np.zeros(K), K - 1, K, out)
    slope = G + along(A, out - x)
    slope[:, :, :-1] += 0.7 * out[:, :, :-1]
    np.testing.assert_allclose(slope, 0, atol=1e-10)


def test_a_direction_that_nothing_determines_stays(rng):
    x, out = rng.normal(size=(1, 1, K)), np.empty((1, 1, K))
    A, G = np.diag([1.0, 0.0, 2.0])[None, None], np.array([[[1.0, 0.0, 2.0]]])
    minimise_ridge(A, G, x, np.ones(1), 0.0, np.zeros(K), K, K, out)
    np.testing.assert_allclose(out[0, 0], x[0, 0] - [1, 0, 1])


@pytest.mark.parametrize("minimise", [minimise_by_coordinates, minimise_by_prox])
def test_the_minimum_of_a_model_is_a_fixed_point_of_the_prox(minimise, rng):
    regularizer = Sum(L1(0.3), NonNegative())
    A, G, scale = models(rng)
    out = np.empty(G.shape)
    minimise(regularizer, A, G, np.zeros(G.shape), scale, K, K, 100_000, 1e-14, out)
    moved = out - 0.1 * (G + along(A, out))
    for p in range(len(out)):
        regularizer.prox(moved[p, 0], 0.1)
    np.testing.assert_allclose(moved, out, atol=1e-9)
    assert (out >= 0).all()


def test_the_minimum_on_an_interval_is_a_fixed_point_of_the_prox(rng):
    n, k, (s, low, high) = 11, K - 1, (0.5, -0.1, 0.4)
    B = rng.normal(size=(n, 1, K, K + 2))
    A, G, scale = B @ B.swapaxes(-1, -2), rng.normal(size=(n, 1, K)), rng.uniform(1, 3, n)
    x, out = rng.normal(size=(n, 1, K)), np.empty((n, 1, K))
    how = (s, low, high, k, K, 10_000, 1e-14)
    minimise_on_interval(A, G, x, scale, *how, out)
    slope = G + along(A * scale[:, None, None, None], out - x)
    moved = out - 0.1 * slope
    moved[:, :, :k] = np.clip(moved[:, :, :k] / (1 + 0.1 * s), low, high)
    np.testing.assert_allclose(moved, out, atol=1e-9)
    assert {low, high} <= set(out[:, 0, :k].ravel())
    for p in (0, 9):  # what is beside a row in the vectors does not matter
        one, alone = slice(p, p + 1), np.empty((1, 1, K))
        minimise_on_interval(A[one], G[one], x[one], scale[one], *how, alone)
        np.testing.assert_array_equal(alone, out[one])
        python = np.empty((1, 1, K))
        minimise_on_interval.py_func(A[one], G[one], x[one], scale[one], *how, python)
        np.testing.assert_allclose(python, alone, atol=1e-9)


def test_all_rows_may_share_a_matrix(rng):
    A, G, scale = models(rng)
    same = np.repeat(A[:1], len(G), axis=0)
    for minimise, arguments in (
        (minimise_ridge, (0.5, np.zeros(K), K, K)),
        (minimise_by_prox, (K, K, 50, 0.0)),
        (minimise_by_coordinates, (K, K, 50, 0.0)),
        (minimise_on_interval, (0.5, 0.0, 1.0, K, K, 50, 0.0)),
    ):
        first = (L2(0.5),) if minimise in (minimise_by_prox, minimise_by_coordinates) else ()
        out, expected = np.empty(G.shape), np.empty(G.shape)
        minimise(*first, A[:1].copy(), G, np.zeros(G.shape), scale, *arguments, out)
        minimise(*first, same, G, np.zeros(G.shape), scale, *arguments, expected)
        np.testing.assert_allclose(out, expected)


def test_the_model_along_a_step(rng):
    A, G, _ = models(rng)
    step = rng.normal(size=G.shape)
    linear, curved, slope = np.empty(len(G)), np.empty(len(G)), np.empty(G.shape)
    move_model(A, G, step, linear, curved, slope)
    np.testing.assert_allclose(linear, (G * step).sum(axis=(1, 2)))
    np.testing.assert_allclose(curved, [s[0] @ a[0] @ s[0] for s, a in zip(step, A, strict=True)])
    np.testing.assert_allclose(slope, G + along(A, step))


def test_kernels_are_what_their_source_says(cells, other, rows, rng):
    x = read_only(rng.normal(size=(rows.size, 1, K)))
    for kernel, arguments in (
        (
            add_model,
            (
                Huber(0.5),
                AS_IT_IS,
                *cells,
                other,
                rows,
                x,
                1.0,
                True,
                9.0,
                1e-3,
                0.0,
                *wary(rows),
            ),
        ),
        *((build, (*given, rows)) for build, given in quadratic_models(cells, other)),
    ):
        compiled, plain = zeros(rows.size), zeros(rows.size)
        if kernel is not add_model:
            compiled, plain = ((F, G, A[:, 0]) for F, G, A in (compiled, plain))
        else:
            compiled, plain = ((*three, np.zeros(x.shape)) for three in (compiled, plain))
        kernel(*arguments, *compiled)
        kernel.py_func(*arguments, *plain)
        for one, two in zip(compiled, plain, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-12)


def test_columns_are_taken_and_cells_transposed(rng):
    dense = np.where(rng.random((5, 4)) < 0.7, rng.normal(size=(5, 4)), 0)
    r, c = np.nonzero(dense)
    indptr = np.searchsorted(r, np.arange(6)).astype(np.int64)
    weights = rng.uniform(1, 2, r.size)
    weights[1] = 0
    position = np.array([-1, 1, -1, 0], np.int32)
    counts = np.empty(5, np.int64)
    cell_kernels.count_kept(indptr, c.astype(np.int32), weights, position, counts)
    n = int(counts.sum())
    out = np.empty(n, np.int32), np.empty(n), np.empty(n)
    cell_kernels.take_columns(
        indptr, c.astype(np.int32), dense[r, c], weights, position, np.full(4, 3.0), *out
    )
    kept = (position[c] >= 0) & (weights != 0)
    np.testing.assert_array_equal(counts, np.bincount(r[kept], minlength=5))
    np.testing.assert_array_equal(out[0], position[c[kept]])
    np.testing.assert_array_equal(out[1], dense[r, c][kept])
    np.testing.assert_array_equal(out[2], 3 * weights[kept])


@pytest.mark.parametrize("strength", [0.0, 0.7])
@pytest.mark.parametrize("free", [K, K - 1])
@pytest.mark.parametrize("cells", ["unweighted"], indirect=True)
def test_quadratic_rows_are_solved_side_by_side(cells, other, rows, rng, strength, free):
    # More rows than fit side by side, in any order, one of them empty.
    rows = np.array([4, 2, 0, 5, 1, 3, 0, 2, 4, 5, 1], np.int32)
    (_, (*given, lacking, Y, gram)), (_, (*_, nothing, _, _)) = quadratic_models(cells, other)
    k, center = K - 1, rng.normal(size=K - 1)
    start = rng.normal(size=(rows.size, 1, K))
    for lists in (lacking, nothing):
        for kernel in (solve_quadratic_rows, solve_quadratic_rows.py_func):
            x, loss = start.copy(), np.empty(rows.size)
            kernel(*given, lists, Y, gram, rows, strength, center, k, free, x, loss)
            np.testing.assert_array_equal(x[:, :, free:], start[:, :, free:])
            for p, row in enumerate(rows):
                columns, values, _ = by_row(cells, row)
                y = other[columns, 0]
                residual = y @ x[p, 0] - values
                assert loss[p] == pytest.approx(0.5 * residual @ residual, abs=1e-12)
                slope = y.T @ residual
                slope[:k] += strength * (x[p, 0, :k] - center)
                np.testing.assert_allclose(slope[:free], 0, atol=1e-9)
