"""L-BFGS and mini-batch SGD: the same minima by other ways."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import approx_fprime

from skglrm.backends import ThreadsBackend
from skglrm.losses import Absolute, Huber, Logistic, Multinomial, Poisson, Quadratic
from skglrm.regularizers import L1, L2, GraphLaplacian, NonNegative, Shifted, Zero
from skglrm.solvers import joint
from skglrm.solvers.alternating import column_sides, objective, row_side, solve_alternating
from skglrm.solvers.joint import solve_joint
from skglrm.solvers.minibatch import solve_minibatch
from skglrm.solvers.problem import Factors, Problem
from skglrm.solvers.start import make_start

K = 2


@pytest.fixture
def backend():
    return ThreadsBackend(1)


def problem_of(losses, rows=L2(0.3), columns=None, n_rows=20, offset=True, seed=0):  # noqa: B008
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(n_rows, K)) @ rng.normal(size=(K, len(losses)))
    dense += 0.1 * rng.normal(size=dense.shape)
    for j, loss in enumerate(losses):
        if not loss.contains(dense[:, j]).all():
            dense[:, j] = dense[:, j] > 0
    kept = rng.random(dense.shape) < 0.8
    at = np.nonzero(kept)
    matrix = sp.csr_array((dense[kept], at), shape=dense.shape)
    return Problem.build(
        matrix, losses, K, row_regularizer=rows, column_regularizer=columns, offset=offset,
        weights=rng.uniform(0.5, 2, at[0].size),
    )  # fmt: skip


MIXED = [Quadratic(), Huber(0.5), Logistic(), Poisson(), Multinomial(2), Quadratic()]


@pytest.mark.parametrize(
    "rows",
    [L2(0.3), Shifted((0.5, -0.5), L2(0.3)), [L2(0.3), Zero()] * 10],
    ids=["l2", "shifted", "by row"],
)
def test_the_gradient_is_that_of_the_objective(rows, backend):
    laplacian = GraphLaplacian.from_adjacency(np.ones((7, 7)) - np.eye(7), 0.2)
    problem = problem_of(MIXED, rows, laplacian)
    rng = np.random.default_rng(1)
    X, H = rng.normal(size=(20, K + 1)), rng.normal(size=(7, K + 1))
    X[:, K] = 1
    sides = [row_side(problem, X, H), *column_sides(problem, X, H)]
    theta = np.concatenate([joint._free(side, side.target).ravel() for side in sides])

    def value(point):
        return joint._value_and_gradient(point, problem, sides, X, H, backend)[0]

    total, gradient = joint._value_and_gradient(theta, problem, sides, X, H, backend)
    assert total == pytest.approx(objective(problem, problem.outside(X, H), backend))
    np.testing.assert_allclose(gradient, approx_fprime(theta, value), atol=1e-4)


@pytest.mark.parametrize("solve", [solve_alternating, solve_joint])
@pytest.mark.parametrize("s_x, s_y", [(0.5, 0.5), (0.2, 1.8)])
def test_ridges_shrink_singular_values(solve, s_x, s_y, backend):
    A = np.random.default_rng(0).normal(size=(20, 6))
    problem = Problem.build(
        sp.csr_array(A), Quadratic(), K, row_regularizer=L2(s_x), column_regularizer=L2(s_y)
    )
    rng, s = np.random.default_rng(1), (s_x * s_y) ** 0.5
    start = Factors(rng.normal(size=(20, K)), rng.normal(size=(6, K)))
    fit = solve(problem, start, backend, max_iter=3000, tol=1e-15)
    sizes = np.linalg.svd(A, compute_uv=False)
    best = (s * sizes[:K] - 0.5 * s**2).sum() + 0.5 * (sizes[K:] ** 2).sum()
    assert fit.loss_curve[-1] == pytest.approx(best, rel=1e-8)


def test_alternating_and_joint_minimisation_agree(backend):
    problem = problem_of(MIXED)
    start = make_start(problem, "svd", 0, backend)
    one = solve_alternating(problem, start, backend, max_iter=2000, tol=1e-12)
    two = solve_joint(problem, start, backend, max_iter=2000, tol=1e-13)
    assert two.loss_curve[-1] == pytest.approx(one.loss_curve[-1], rel=1e-4)
    assert objective(problem, two.factors, backend) == pytest.approx(two.loss_curve[-1])
    assert two.converged


def test_bounds_are_kept(backend):
    problem = problem_of([Quadratic()] * 6, NonNegative(), NonNegative(), offset=False)
    start = make_start(problem, "svd", 0, backend)
    fit = solve_joint(problem, start, backend, max_iter=300, tol=1e-12)
    assert (fit.factors.row_factors >= 0).all() and (fit.factors.column_factors >= 0).all()
    assert fit.loss_curve[-1] < fit.loss_curve[0]


def test_what_is_not_smooth_is_refused_by_name(backend):
    start = Factors(np.ones((20, K)), np.ones((2, K)))
    problem = problem_of([Quadratic(), Absolute()], offset=False)
    with pytest.raises(ValueError, match=r"column 1 has Absolute\(\).*proximal"):
        solve_joint(problem, start, backend, max_iter=5, tol=0)
    problem = problem_of([Quadratic(), Huber()], L1(0.5), offset=False)
    with pytest.raises(ValueError, match=r"one is L1\(strength=0.5\).*proximal"):
        solve_joint(problem, start, backend, max_iter=5, tol=0)


# ------------------------------------------------------------------ mini-batches


def test_mini_batches_come_close_to_the_minimum(backend):
    problem = problem_of([Quadratic()] * 4 + [Logistic()] * 2, n_rows=600)
    start = make_start(problem, "random", 0, backend)
    best = solve_alternating(problem, start, backend, max_iter=200, tol=1e-8)
    fit = solve_minibatch(problem, start, backend, max_iter=30, tol=0.0, seed=0)
    assert fit.loss_curve[-1] < 1.25 * best.loss_curve[-1]
    assert fit.loss_curve[-1] < 0.2 * objective(problem, start, backend)
    assert fit.loss_curve[-1] == pytest.approx(objective(problem, fit.factors, backend))


def test_mini_batches_depend_on_the_seed_alone():
    problem = problem_of([Quadratic()] * 3 + [Absolute()] * 3, n_rows=300)
    curves = []
    for n_threads, seed in ((1, 0), (2, 0), (1, 1)):
        with ThreadsBackend(n_threads) as backend:
            start = make_start(problem, "svd", 0, backend)
            fit = solve_minibatch(problem, start, backend, max_iter=3, tol=0.0, seed=seed)
        curves.append(fit.loss_curve)
    assert curves[0] == curves[1] != curves[2]


def test_mini_batches_respect_regularizers_of_rows(backend):
    problem = problem_of([Quadratic()] * 6, [NonNegative(), L2(0.1)] * 150, L1(0.1), n_rows=300)
    start = make_start(problem, "random", 0, backend)
    fit = solve_minibatch(problem, start, backend, max_iter=3, tol=0.0)
    assert (fit.factors.row_factors[::2] >= 0).all()
    assert (fit.factors.row_factors[1::2] < 0).any()


def test_mini_batches_refuse_what_couples_columns(backend):
    laplacian = GraphLaplacian.from_adjacency(np.ones((2, 2)) - np.eye(2), 0.2)
    problem = problem_of([Quadratic(), Huber()], L2(0.1), laplacian)
    start = make_start(problem, "random", 0, backend)
    with pytest.raises(ValueError, match="coupled"):
        solve_minibatch(problem, start, backend, max_iter=3, tol=0.0)
    fit = solve_alternating(problem, start, backend, max_iter=20, tol=0.0)
    assert (np.diff(fit.loss_curve) <= 1e-9).all()
