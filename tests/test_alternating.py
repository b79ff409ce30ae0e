"""Alternating minimisation: closed forms, monotone objectives, and what must not matter."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.svm import LinearSVC

from skglrm.backends import ThreadsBackend
from skglrm.losses import (
    Absolute,
    Hinge,
    Huber,
    Logistic,
    Multinomial,
    OneVsAll,
    Poisson,
    Quadratic,
)
from skglrm.regularizers import L1, L2, NonNegative, Simplex, UnitOneSparse, Zero
from skglrm.solvers.alternating import (
    column_losses,
    column_sides,
    fold_in,
    objective,
    solve_alternating,
    solve_exact,
)
from skglrm.solvers.axes import Axes
from skglrm.solvers.momentum import Momentum
from skglrm.solvers.problem import Factors, Problem
from skglrm.solvers.start import make_start

N_ROWS, N_COLUMNS, K = 30, 12, 3


@pytest.fixture
def backend():
    return ThreadsBackend(1)


def table(seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(N_ROWS, K)) @ rng.normal(size=(K, N_COLUMNS))
    return signal + noise * rng.normal(size=signal.shape)


def with_holes(dense, share=0.3, seed=1):
    kept = np.random.default_rng(seed).random(dense.shape) >= share
    kept[2] = False
    rows, columns = np.nonzero(kept)
    return sp.csr_array((dense[kept], (rows, columns)), shape=dense.shape)


def problem_of(matrix, loss, rows, columns=None, k=K, **options):
    return Problem.build(
        sp.csr_array(matrix), loss, k, row_regularizer=rows, column_regularizer=columns, **options
    )


def random_start(problem, seed=0):
    rng = np.random.default_rng(seed)
    draw = [
        rng.normal(size=(n, problem.n_components)) for n in (problem.n_rows, problem.n_predictions)
    ]
    offset = np.zeros(problem.n_predictions) if problem.offset else None
    return Factors(*(factor.astype(problem.dtype) for factor in draw), offset)


def solve(problem, backend, start=None, max_iter=500, tol=1e-13, solver=solve_alternating):
    start = random_start(problem) if start is None else start
    return solver(problem, start, backend, max_iter=max_iter, tol=tol)


def fitted(fit):
    factors = fit.factors
    predicted = factors.row_factors @ factors.column_factors.T
    return predicted if factors.offset is None else predicted + factors.offset


# ------------------------------------------------------------------ closed forms


def test_without_regularizers_it_is_the_truncated_svd(backend):
    A = table()
    sizes = np.linalg.svd(A, compute_uv=False)
    fit = solve(problem_of(A, Quadratic(), Zero()), backend, solver=solve_exact)
    assert fit.loss_curve[-1] == pytest.approx(0.5 * (sizes[K:] ** 2).sum(), rel=1e-8)
    assert fit.converged


def test_an_exact_table_is_fitted_exactly(backend):
    A = table(noise=0)
    fit = solve(problem_of(A, Quadratic(), Zero()), backend, max_iter=200)
    assert fit.loss_curve[-1] == pytest.approx(0.5 * ((A - fitted(fit)) ** 2).sum(), abs=1e-7)
    assert fit.loss_curve[-1] < 1e-6


def test_with_an_offset_it_is_the_svd_of_centred_columns(backend):
    A = table() + np.arange(N_COLUMNS)
    sizes = np.linalg.svd(A - A.mean(axis=0), compute_uv=False)
    fit = solve(problem_of(A, Quadratic(), Zero(), offset=True), backend)
    assert fit.loss_curve[-1] == pytest.approx(0.5 * (sizes[K:] ** 2).sum(), rel=1e-8)


@pytest.mark.parametrize("s_x, s_y", [(0.5, 0.5), (0.2, 1.8)])
def test_ridges_shrink_singular_values(s_x, s_y, backend):
    A, s = table(), (s_x * s_y) ** 0.5
    U, sizes, Vt = np.linalg.svd(A, full_matrices=False)
    problem = problem_of(A, Quadratic(), L2(s_x), L2(s_y))
    fit = solve(problem, backend, make_start(problem, "svd", 0, backend), tol=1e-15)
    best = (s * sizes[:K] - 0.5 * s**2).sum() + 0.5 * (sizes[K:] ** 2).sum()
    assert fit.loss_curve[-1] == pytest.approx(best, rel=1e-10)
    np.testing.assert_allclose(fitted(fit), U[:, :K] * (sizes[:K] - s) @ Vt[:K], atol=1e-6)
    gram_x, gram_y = (F.T @ F for F in (fit.factors.row_factors, fit.factors.column_factors))
    np.testing.assert_allclose(gram_x * s_x, gram_y * s_y, atol=1e-6)


def test_zero_components_are_the_best_constants(backend):
    A = np.abs(table())
    for loss, constant in ((Quadratic(), A.mean(axis=0)), (Poisson(), np.log(A.mean(axis=0)))):
        problem = problem_of(A, loss, L2(0.1), k=0, offset=True)
        fit = solve(problem, backend, make_start(problem, "svd", 0, backend))
        np.testing.assert_allclose(fit.factors.offset, constant, rtol=1e-5)


def test_one_hot_rows_are_k_means(backend):
    rng = np.random.default_rng(0)
    A = np.concatenate([rng.normal(5, 1, (100, 2)), rng.normal(-10, 1, (50, 2))])
    problem = problem_of(A, Quadratic(), UnitOneSparse(), Zero(), k=2)
    fit = solve(problem, backend, make_start(problem, "svd", 0, backend))
    assert sorted(fit.factors.row_factors.sum(axis=0)) == [50, 100]
    assert (np.sort(fit.factors.row_factors) == [0, 1]).all()
    inertia = ((A - fitted(fit)) ** 2).sum()
    assert fit.loss_curve[-1] == pytest.approx(0.5 * inertia)


def test_complete_tables_are_multiplied_as_matrices(backend):
    """Products of dense matrices and sums over listed cells are the same."""
    problem = problem_of(table(), Quadratic(), NonNegative(), L2(0.1), offset=True)
    cells = problem.groups[0].by_row
    np.testing.assert_array_equal(cells.dense, table())
    np.testing.assert_array_equal(cells.transposed.dense, table().T)
    weighted = problem_of(
        table(), Quadratic(), NonNegative(), L2(0.1), offset=True, weights=np.ones(table().size)
    )
    assert weighted.groups[0].by_row.dense is None
    assert problem_of(with_holes(table()), Quadratic(), L2(0.1)).groups[0].by_row.dense is None
    fits = [solve(one, backend, max_iter=5, tol=0.0) for one in (problem, weighted)]
    np.testing.assert_allclose(fits[1].loss_curve, fits[0].loss_curve, rtol=1e-7)
    np.testing.assert_allclose(fitted(fits[1]), fitted(fits[0]), atol=1e-4)


# ------------------------------------------------------------------ laws

PRODUCT = [
    (loss, rows, columns)
    for loss in (Quadratic(), Huber(0.3), Absolute())
    for rows, columns in (
        (L2(0.1), L2(0.1)),
        (L1(0.1), L2(0.1)),
        (NonNegative(), NonNegative()),
        (Simplex(), Zero()),
    )
]


@pytest.mark.parametrize("loss, rows, columns", PRODUCT, ids=repr)
def test_the_objective_never_increases(loss, rows, columns, backend):
    problem = problem_of(with_holes(table()), loss, rows, columns, offset=True)
    fit = solve(problem, backend, max_iter=30, tol=0.0)
    curve = np.array(fit.loss_curve)
    assert (np.diff(curve) <= 1e-6 * np.abs(curve[1:])).all()
    assert (np.diff(curve[:-1]) <= 1e-12 * np.abs(curve[1:-1])).all()
    assert curve[-1] == pytest.approx(objective(problem, fit.factors, backend), rel=1e-9)
    assert curve[-1] < 0.9 * curve[0]


def mixed(weights=None, dtype=np.float64):
    A = table()
    A[:, 4:8] = np.sign(A[:, 4:8])
    A[:, 8:] = np.clip(np.rint(np.abs(A[:, 8:])), 0, 2)
    losses = [Quadratic(), 2.0 * Quadratic(), Huber(), Absolute()]
    losses += [Logistic()] * 4 + [Multinomial(3)] * 3 + [Huber()]
    return problem_of(with_holes(A).astype(dtype), losses, L2(0.1), offset=True, weights=weights)


def test_mixed_losses_make_groups_and_go_downhill(backend):
    problem = mixed()
    assert [len(group.columns) for group in problem.groups] == [2, 2, 1, 4, 3]
    assert problem.n_predictions == 9 + 3 * 3
    assert sorted(problem.order) == list(range(problem.n_predictions))
    start = make_start(problem, "svd", 0, backend)
    fit = solve(problem, backend, start, max_iter=15, tol=0.0)
    assert (np.diff(fit.loss_curve) <= 1e-6 * fit.loss_curve[0]).all()
    assert fit.loss_curve[0] < objective(problem, start, backend)
    per_column = column_losses(problem, fit.factors, backend)
    penalty = sum(
        0.05 * (F**2).sum() for F in (fit.factors.row_factors, fit.factors.column_factors)
    )
    assert per_column.sum() + penalty == pytest.approx(fit.loss_curve[-1])


def test_a_factor_of_a_loss_is_a_weight(backend):
    A = with_holes(table())
    twice = problem_of(A, 2.0 * Huber(0.3), L2(0.1))
    weighted = problem_of(A, Huber(0.3), L2(0.1), weights=np.full(A.data.size, 2.0))
    fits = [solve(problem, backend, max_iter=5, tol=0.0) for problem in (twice, weighted)]
    assert fits[0].loss_curve == fits[1].loss_curve


def test_threads_do_not_change_a_bit(monkeypatch):
    monkeypatch.setattr("skglrm.solvers.half_step.CELLS_PER_BLOCK", 40)
    problem, found = mixed(), []
    assert len(problem.groups) > 1
    for n in (1, 2, 3):
        with ThreadsBackend(n) as backend:
            start = make_start(problem, "svd", 0, backend)
            found.append(solve(problem, backend, start, max_iter=4, tol=0.0))
    for fit in found[1:]:
        assert fit.loss_curve == found[0].loss_curve
        np.testing.assert_array_equal(fit.factors.row_factors, found[0].factors.row_factors)
        np.testing.assert_array_equal(fit.factors.column_factors, found[0].factors.column_factors)


@pytest.mark.parametrize("loss", [Quadratic(), Huber(0.3)], ids=repr)
def test_a_weight_of_zero_is_a_missing_cell(loss, backend):
    A = with_holes(table())
    weights = np.random.default_rng(0).uniform(0.5, 2, A.data.size)
    weights[::5] = 0
    kept = A.tocoo()
    rows, columns = (ids[weights > 0] for ids in kept.coords)
    without = sp.csr_array((A.data[weights > 0], (rows, columns)), shape=A.shape)
    one = problem_of(A, loss, L2(0.1), weights=weights)
    two = problem_of(without, loss, L2(0.1), weights=weights[weights > 0])
    assert one.n_cells == two.n_cells < A.data.size
    fits = [solve(problem, backend, max_iter=5, tol=0.0) for problem in (one, two)]
    np.testing.assert_array_equal(fits[0].factors.row_factors, fits[1].factors.row_factors)


def test_an_integer_weight_is_a_repeated_row(backend):
    A = table()[:5]
    H = table(seed=3)[:N_COLUMNS, :K]
    twice = problem_of(A, Huber(0.3), L2(2.0), weights=np.full(A.size, 2.0))
    once = problem_of(A, Huber(0.3), L2(1.0))
    folded = [fold_in(problem, H, None, backend) for problem in (twice, once)]
    np.testing.assert_allclose(*folded, atol=1e-5)


def test_permuting_the_table_permutes_the_factors(backend):
    A, rng = with_holes(table()).tocsc().tocsr(), np.random.default_rng(4)
    rows, columns = rng.permutation(N_ROWS), rng.permutation(N_COLUMNS)
    losses = np.array([Quadratic(), Huber(0.5)] * 6, object)
    one = problem_of(A, losses.tolist(), L2(0.1), offset=True)
    start = random_start(one)
    shuffled = sp.csr_array(A[rows][:, columns])
    shuffled.sort_indices()
    two = problem_of(shuffled, losses[columns].tolist(), L2(0.1), offset=True)
    moved = Factors(start.row_factors[rows], start.column_factors[columns], start.offset[columns])
    first, second = solve(one, backend, start, 5, 0.0), solve(two, backend, moved, 5, 0.0)
    np.testing.assert_allclose(second.loss_curve, first.loss_curve)
    np.testing.assert_allclose(
        second.factors.row_factors, first.factors.row_factors[rows], atol=1e-8
    )
    np.testing.assert_allclose(
        second.factors.column_factors, first.factors.column_factors[columns], atol=1e-8
    )
    np.testing.assert_allclose(second.factors.offset, first.factors.offset[columns], atol=1e-8)


def test_float32_stays_float32_and_close(backend):
    fits = []
    for dtype in (np.float64, np.float32):
        problem = mixed(dtype=dtype)
        start = make_start(problem, "svd", 0, backend)
        fits.append(solve(problem, backend, start, max_iter=8, tol=0.0))
        assert fits[-1].factors.row_factors.dtype == dtype
        assert fits[-1].factors.column_factors.dtype == dtype
    assert fits[1].loss_curve[-1] == pytest.approx(fits[0].loss_curve[-1], rel=1e-2)


def test_regularizers_may_differ_by_row_and_column(backend):
    rows = [L2(0.1), NonNegative()] * (N_ROWS // 2)
    columns = [L1(0.5)] * 3 + [L2(0.1)] * 9
    losses = [Quadratic(), Huber(0.5)] * 6
    problem = problem_of(table(), losses, rows, columns)
    fit = solve(problem, backend, max_iter=10, tol=0.0)
    assert (fit.factors.row_factors[1::2] >= 0).all()
    assert (fit.factors.row_factors[::2] < 0).any()
    assert (np.diff(fit.loss_curve) <= 1e-9).all()
    assert fit.loss_curve[-1] == pytest.approx(objective(problem, fit.factors, backend))


# ------------------------------------------------------------------ folding in


@pytest.mark.parametrize(
    "loss, regularizer",
    [(Quadratic(), L2(0.1)), (Quadratic(), NonNegative()), (Huber(0.3), L2(0.1)),
     (Absolute(), L2(0.1)), (Quadratic(), UnitOneSparse())],
    ids=repr,
)  # fmt: skip
def test_folding_training_rows_in_gives_their_factors(loss, regularizer, backend):
    problem = problem_of(with_holes(table()), loss, regularizer, L2(0.1), offset=True)
    start = make_start(problem, "svd", 0, backend)
    fit = solve(problem, backend, start, max_iter=5)
    W = fold_in(problem, fit.factors.column_factors, fit.factors.offset, backend)
    again = fold_in(problem, fit.factors.column_factors, fit.factors.offset, backend)
    np.testing.assert_array_equal(W, again)
    if loss == Absolute():  # the best row need not be unique
        folded = Factors(W, fit.factors.column_factors, fit.factors.offset)
        assert objective(problem, folded, backend) <= fit.loss_curve[-1] * 1.001
    else:
        np.testing.assert_array_equal(W, fit.factors.row_factors)
    if regularizer == L2(0.1):
        assert (W[2] == 0).all(), "a row without cells costs least at 0"


@pytest.mark.parametrize("loss", [Quadratic(), Huber(0.3)], ids=repr)
def test_a_row_is_folded_in_alone(loss, backend):
    matrix = with_holes(table())
    full = sp.csr_array(np.vstack([matrix.toarray(), table(5)[:2]]))
    H = table(seed=3)[:N_COLUMNS, :K]
    problem = problem_of(full, loss, L2(0.1))
    together = fold_in(problem, H, None, backend)
    for row in (0, 2, N_ROWS + 1):
        single = problem_of(full[[row]], loss, L2(0.1))
        np.testing.assert_array_equal(fold_in(single, H, None, backend)[0], together[row])


def test_rows_of_a_complete_table_are_folded_in_alone(backend):
    X, H = table(), table(seed=3)[:N_COLUMNS, :K]
    for regularizer in (L2(0.1), NonNegative()):
        together = fold_in(problem_of(X, Quadratic(), regularizer), H, None, backend)
        for row in (0, 2):
            alone = fold_in(problem_of(X[[row]], Quadratic(), regularizer), H, None, backend)[0]
            np.testing.assert_array_equal(alone, together[row])
        fit = solve(problem_of(X, Quadratic(), regularizer), backend, max_iter=3)
        problem = problem_of(X, Quadratic(), regularizer)
        W = fold_in(problem, fit.factors.column_factors, fit.factors.offset, backend)
        np.testing.assert_array_equal(W, fit.factors.row_factors)


def test_a_row_folded_in_is_the_best_one(backend):
    H = table(seed=3)[:N_COLUMNS, :K]
    for loss in (Quadratic(), Huber(0.3), Absolute()):
        problem = problem_of(with_holes(table()), loss, L1(0.2))
        W = fold_in(problem, H, None, backend)
        best = objective(problem, Factors(W, H), backend)
        rng = np.random.default_rng(0)
        for size in (1e-3, 1e-2, 0.1):
            near = Factors(W + size * rng.normal(size=W.shape), H)
            assert objective(problem, near, backend) > best


def test_rows_of_hinges_are_support_vector_machines(backend):
    levels, strength = 3, 0.2
    A = np.random.default_rng(0).integers(0, levels, (10, N_COLUMNS)).astype(float)
    matrix = sp.csr_array((A.ravel(), np.indices(A.shape).reshape(2, -1)), shape=A.shape)
    problem = problem_of(matrix, OneVsAll(levels, Hinge()), L2(strength))
    H = np.random.default_rng(1).normal(size=(problem.n_predictions, K))
    W = fold_in(problem, H, None, backend)
    best = 0.0
    for row in A:
        sign = np.where(row[:, None] == np.arange(levels), 1, -1).ravel()
        machine = LinearSVC(
            C=1 / strength, loss="hinge", fit_intercept=False, tol=1e-9, max_iter=1_000_000
        )
        w = machine.fit(H, sign).coef_[0]
        best += np.maximum(1 - sign * (H @ w), 0).sum() + 0.5 * strength * w @ w
    column_penalty = 0.5 * strength * (H**2).sum()
    found = objective(problem, Factors(W, H), backend) - column_penalty
    assert found == pytest.approx(best, rel=1e-4)


# ------------------------------------------------------------------ principal axes


def turned(rows, columns, rank=K, **options):
    """Factors before and after, the offset included, and what they cost."""
    problem = problem_of(table(), Quadratic(), rows, columns, offset=True, **options)
    rng = np.random.default_rng(0)
    X, H = rng.normal(size=(N_ROWS, K + 1)), rng.normal(size=(N_COLUMNS, K + 1))
    X[:, rank:K] = 0
    before = X.copy(), H.copy()
    Axes.of(problem).turn(X, H)
    return before, (X, H)


@pytest.mark.parametrize("rank", [0, 2, K])
def test_turned_factors_have_the_same_products_and_offset(rank):
    (X, H), (new_X, new_H) = turned(L2(0.2), L2(1.8), rank)
    np.testing.assert_allclose(new_X[:, :K] @ new_H[:, :K].T, X[:, :K] @ H[:, :K].T, atol=1e-12)
    np.testing.assert_array_equal(new_X[:, K], X[:, K])
    np.testing.assert_array_equal(new_H[:, K], H[:, K])


def test_turned_factors_cost_least():
    each = [L2(0.3 + j) for j in range(N_COLUMNS)]
    strengths = np.array([one.strength for one in each])
    for columns, s in ((L2(1.8), np.full(N_COLUMNS, 1.8)), (each, strengths)):
        (X, H), (new_X, new_H) = turned(L2(0.2), columns)
        costs = [
            0.1 * (X**2).sum() + 0.5 * (s[:, None] * H**2).sum()
            for X, H in ((X[:, :K], H[:, :K]), (new_X[:, :K], new_H[:, :K]))
        ]
        Z = np.sqrt(0.2 * s) * (X[:, :K] @ H[:, :K].T)
        assert costs[1] == pytest.approx(np.linalg.svd(Z, compute_uv=False).sum())
        assert costs[1] < costs[0]


def test_turned_factors_are_orthogonal_the_heaviest_first():
    _, (X, H) = turned(Zero(), Zero(), units=np.arange(1.0, N_COLUMNS + 1))
    gram_x = X[:, :K].T @ X[:, :K]
    scaled = H[:, :K] / np.arange(1.0, N_COLUMNS + 1)[:, None]
    np.testing.assert_allclose(gram_x, np.diag(np.diag(gram_x)), atol=1e-10)
    np.testing.assert_allclose(scaled.T @ scaled, gram_x, atol=1e-10)
    assert (np.diff(np.diag(gram_x)) < 0).all()


def test_factors_that_cannot_be_turned_are_left_alone():
    for rows, columns in ((L1(0.1), L2(0.1)), (L2(0.1), Zero()), (NonNegative(), NonNegative())):
        assert Axes.of(problem_of(table(), Quadratic(), rows, columns)) is None


# ------------------------------------------------------------------ refusals


# ------------------------------------------------------------------ columns that go on


def non_negative(rank=3):
    rng = np.random.default_rng(0)
    A = rng.random((60, rank)) @ rng.random((rank, 20)) + 0.1 * rng.random((60, 20))
    problem = problem_of(with_holes(A), Quadratic(), NonNegative(), k=rank)
    start = random_start(problem)
    return problem, Factors(abs(start.row_factors), abs(start.column_factors), None)


def test_columns_that_go_on_need_fewer_iterations(monkeypatch, backend):
    problem, start = non_negative()
    fast = solve(problem, backend, start, max_iter=100, tol=0)
    monkeypatch.setattr(Momentum, "of", classmethod(lambda *_: None))
    plain = solve(problem, backend, start, max_iter=100, tol=0)
    assert np.all(np.diff(fast.loss_curve) <= 1e-12 * fast.loss_curve[0])
    needed = np.flatnonzero(np.array(fast.loss_curve) <= plain.loss_curve[-1])
    assert needed.size
    assert needed[0] < 60


def test_columns_go_back_where_the_objective_rises(backend):
    problem, start = non_negative()
    X, H = problem.inside(start)
    momentum = Momentum.of(problem, H, column_sides(problem, X, H))
    assert not momentum.go_on()  # there is no direction yet
    H *= 0.5
    reached, share = H.copy(), momentum.share
    assert momentum.go_on()
    np.testing.assert_allclose(H, np.maximum(reached * (1 - share), 0))
    assert not momentum.pays(2.0, previous=1.0)
    np.testing.assert_array_equal(H, reached)
    assert momentum.share < share
    momentum.go_on()
    assert not momentum.pays(np.nan, previous=1.0)
    momentum.go_on()
    assert momentum.pays(0.5, previous=1.0)


def test_nothing_lies_between_columns_with_a_single_1(backend):
    problem = problem_of(table(), Quadratic(), Zero(), UnitOneSparse())
    assert Momentum.of(problem, np.zeros((2, 2)), []) is None


def test_exact_refuses_losses_that_are_not_quadratic(backend):
    problem = problem_of(table(), [Quadratic()] * 11 + [Huber()], L2(0.1))
    with pytest.raises(ValueError, match=r"column 11 has Huber\(delta=1.0\)"):
        solve(problem, backend, solver=solve_exact)


def test_one_loss_for_each_column():
    with pytest.raises(ValueError, match="2 losses for 12 columns"):
        problem_of(table(), [Quadratic()] * 2, L2(0.1))
    with pytest.raises(ValueError, match="2 regularizers for 30 rows"):
        problem_of(table(), Quadratic(), [L2(0.1)] * 2, L2(0.1))
