"""Starting points: exact where they can be, feasible, seeded, and never at a dead end."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from skglrm.backends import ThreadsBackend
from skglrm.losses import CumulativeLogit, Logistic, Multinomial, Poisson, Quadratic
from skglrm.regularizers import L2, NonNegative, UnitOneSparse, Zero
from skglrm.solvers.alternating import column_losses, objective, solve_alternating
from skglrm.solvers.problem import Problem
from skglrm.solvers.start import INITS, best_offset, make_start, truncated_svd


@pytest.fixture
def backend():
    return ThreadsBackend(1)


def low_rank(n=40, m=10, k=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)) @ rng.normal(size=(k, m)) + 0.1 * rng.normal(size=(n, m))


def problem_of(A, loss=Quadratic(), k=3, rows=Zero(), columns=None, **options):  # noqa: B008
    return Problem.build(
        sp.csr_array(A), loss, k, row_regularizer=rows, column_regularizer=columns, **options
    )


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (300, 200)])
def test_truncated_svd_is_that_of_lapack(shape, backend):
    A = low_rank(*shape, k=4)
    A[np.random.default_rng(1).random(shape) < 0.2] = 0
    Z = problem_of(A).groups[0].by_row
    U, S, V = truncated_svd(Z, 4, np.random.default_rng(0), backend)
    expected = np.linalg.svd(A, full_matrices=False)
    np.testing.assert_allclose(S, expected[1][:4], rtol=1e-3)
    np.testing.assert_allclose((A @ V) ** 2, (U * S) ** 2, atol=1e-6)
    np.testing.assert_allclose(V.T @ V, np.eye(4), atol=1e-8)


def test_on_a_complete_table_the_svd_is_the_optimum(backend):
    A = low_rank()
    problem = problem_of(A, offset=True)
    start = make_start(problem, "svd", 0, backend)
    sizes = np.linalg.svd(A - A.mean(axis=0), compute_uv=False)
    assert objective(problem, start, backend) == pytest.approx(0.5 * (sizes[3:] ** 2).sum())
    problem = problem_of(A, rows=L2(0.2), columns=L2(1.8))
    start = make_start(problem, "svd", 0, backend)
    sizes, s = np.linalg.svd(A, compute_uv=False), 0.6
    best = (s * sizes[:3] - 0.5 * s**2).sum() + 0.5 * (sizes[3:] ** 2).sum()
    assert objective(problem, start, backend) == pytest.approx(best)


def test_missing_cells_do_not_shrink_the_svd(backend):
    A = low_rank(400, 50)
    holes = np.where(np.random.default_rng(0).random(A.shape) < 0.5, A, 0)
    whole = make_start(problem_of(A), "svd", 0, backend)
    start = make_start(problem_of(holes), "svd", 0, backend)
    sizes = [np.linalg.norm(one.row_factors @ one.column_factors.T) for one in (whole, start)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)


@pytest.mark.parametrize("init", INITS)
def test_units_do_not_matter(init, backend):
    A, units = np.abs(low_rank()), 2.0 ** np.arange(-5, 5)
    one = make_start(problem_of(A), init, 0, backend)
    two = make_start(problem_of(A * units, units=units), init, 0, backend)
    np.testing.assert_allclose(two.row_factors, one.row_factors, atol=1e-10)
    np.testing.assert_allclose(two.column_factors / units[:, None], one.column_factors, atol=1e-10)


def complete(A):
    """All cells, those that are 0 included."""
    return sp.csr_array((A.ravel(), np.indices(A.shape).reshape(2, -1)), shape=A.shape)


@pytest.mark.parametrize("loss", [Logistic(), Poisson(), Multinomial(2)], ids=repr)
def test_the_linearised_start_is_better_than_constants(loss, backend):
    matrix, found = complete((low_rank() > 0) + 0.0), []
    for k in (0, 3):
        problem = Problem.build(matrix, loss, k, row_regularizer=L2(0.1), offset=True)
        start = make_start(problem, "svd", 0, backend)
        found.append(objective(problem, start, backend))
    assert start.row_factors.any() and start.column_factors.any()
    assert found[1] < found[0]


def test_offsets_are_best_constants():
    A = np.array([[1.0, 0.0], [3.0, 5.0], [2.0, 0.0]])
    problem = problem_of(A, k=1, offset=True)  # zeros are missing in a csr array
    np.testing.assert_allclose(best_offset(problem), [2.0, 5.0])
    empty = problem_of(np.array([[1.0, 0.0]]), k=1, offset=True)
    np.testing.assert_allclose(best_offset(empty), [1.0, 0.0])


@pytest.mark.parametrize("init", ["svd", "random"])
def test_exponentials_start_where_they_cost_no_more_than_at_zero(init, backend):
    A = np.random.default_rng(0).poisson(np.exp(3 * low_rank())).astype(float)
    problem = Problem.build(complete(A), Poisson(), 3, row_regularizer=L2(0.1))
    start = make_start(problem, init, 0, backend)
    nothing = replace(start, column_factors=0 * start.column_factors)
    found, least = (column_losses(problem, one, backend) for one in (start, nothing))
    assert (found <= 1.001 * least).all()
    assert start.column_factors.any(axis=1).all()


def test_thresholds_start_in_order(backend):
    A = np.digitize(low_rank(), [-1, 0, 1]) + 0.0
    matrix = complete(A)
    problem = Problem.build(matrix, CumulativeLogit(4), 2, row_regularizer=L2(1.0), offset=True)
    start = make_start(problem, "svd", 0, backend)
    fit = solve_alternating(problem, start, backend, max_iter=10, tol=0.0)
    assert np.isfinite(fit.loss_curve).all()
    assert (np.diff(fit.loss_curve) <= 0).all()
    flat = Problem.build(matrix, CumulativeLogit(4), 2, row_regularizer=L2(1.0))
    with pytest.raises(ValueError, match="offset=True"):
        solve_alternating(
            flat, make_start(flat, "random", 0, backend), backend, max_iter=1, tol=0.0
        )


@pytest.mark.parametrize("init", INITS)
def test_starts_are_seeded(init, backend):
    problem = problem_of(np.abs(low_rank()), rows=NonNegative(), columns=Zero())
    one, two, other = (make_start(problem, init, seed, backend) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.row_factors, two.row_factors)
    np.testing.assert_array_equal(one.column_factors, two.column_factors)
    if init in ("random", "kmeans++"):
        assert (one.column_factors != other.column_factors).any()


def test_nonnegative_sides_start_nonnegative(backend):
    problem = problem_of(np.abs(low_rank()), rows=NonNegative(), columns=NonNegative())
    start = make_start(problem, "svd", 0, backend)
    assert (start.row_factors >= 0).all() and (start.column_factors >= 0).all()


def test_one_hot_rows_start_at_rows_of_the_table(backend):
    A = low_rank()
    problem = problem_of(A, rows=UnitOneSparse(), columns=Zero())
    start = make_start(problem, "svd", 0, backend)
    for center in start.column_factors.T:
        assert np.isclose(A, center).all(axis=1).any()
    assert (np.sort(start.row_factors)[:, -1] == 1).all()
    assert start.row_factors.sum() == len(A)


def test_more_components_than_columns(backend):
    problem = problem_of(low_rank(8, 4), k=6, rows=L2(0.1))
    start = make_start(problem, "svd", 0, backend)
    assert start.row_factors.shape == (8, 6)
    assert (start.column_factors != 0).any(axis=0).all(), "no component starts dead"


def test_an_unknown_init_is_refused(backend):
    with pytest.raises(ValueError, match="kmeans"):
        make_start(problem_of(low_rank()), "pca", 0, backend)
