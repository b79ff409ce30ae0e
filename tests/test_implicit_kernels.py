"""Row solves of implicit ALS against ten naive lines."""

import numpy as np
import pytest
import scipy.sparse as sp

from skglrm._jit import read_only
from skglrm.backends import ThreadsBackend
from skglrm.kernels import implicit as kernels
from skglrm.kernels.implicit import (
    rotate_rows,
    solve_rows,
    solve_rows_cg,
    solve_rows_subspace,
)
from skglrm.solvers.implicit import Model, Side, eigenbasis, gram, in_basis, solve_side

PRECISION = {np.float32: 2e-5, np.float64: 1e-11}
DTYPES = list(PRECISION)


def problem(n, m, k, *, density=0.4, dislikes=True, seed=0, largest=5):
    """A sparse matrix, and factors of its columns in the basis where their Gram is diagonal."""
    rng = np.random.default_rng(seed)
    D = np.where(rng.random((n, m)) < density, rng.integers(1, largest, (n, m)), 0.0)
    if dislikes:
        D *= np.where(rng.random(D.shape) < 0.15, -1.0, 1.0)
    Y = rng.normal(size=(m, k))
    spectrum, rotation = np.linalg.eigh(Y.T @ Y)
    return D, Y @ rotation, spectrum


def naive(D, Y, model):
    """Each row's least squares problem over all cells, and the objective."""
    X, total = np.zeros((len(D), Y.shape[1])), 0.0
    for u, row in enumerate(D):
        weight, target = model.unobserved_weight + model.alpha * abs(row), (row > 0) * 1.0
        ridge = model.ridge(np.array([np.count_nonzero(row)]), len(Y))[0]
        A = (Y.T * weight) @ Y + ridge * np.eye(Y.shape[1])
        X[u] = np.linalg.solve(A, Y.T @ (weight * target))
        total += weight @ (target - Y @ X[u]) ** 2 + ridge * X[u] @ X[u]
    return X, total


def arguments(D, Y, spectrum, model, dtype):
    side = Side.of(sp.csr_array(D.astype(dtype)), model)
    return (
        side.indptr, side.indices, side.values, side.order, read_only(Y.astype(dtype)),
        read_only(spectrum.astype(dtype)), side.ridge, dtype(model.unobserved_weight),
        dtype(model.alpha),
    )  # fmt: skip


def exact(D, Y, spectrum, model, dtype, dual_cells=0, max_steps=0):
    out = np.full((len(D), Y.shape[1]), 7.0, dtype)
    cells = arguments(D, Y, spectrum, model, dtype)
    total, failed = solve_rows(*cells, dual_cells, max_steps, 0, len(D), out)
    assert failed == -1
    return out, total


def close(found, expected, dtype):
    np.testing.assert_allclose(found, expected, rtol=0, atol=PRECISION[dtype] * abs(expected).max())


MODEL = Model(alpha=1.5, unobserved_weight=0.5, regularization=0.3, exponent=0.5)
WAYS = {"dual": (10_000, 0), "primal": (0, 0), "conjugate gradients": (0, 100)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("k", [1, 3, 8, 31])
def test_all_exact_ways_solve_the_naive_problem(k, way, dtype):
    D, Y, spectrum = problem(17, 90, k)
    D[4] = 0
    found, total = exact(D, Y, spectrum, MODEL, dtype, *WAYS[way])
    expected, objective = naive(D, Y, MODEL)
    close(found, expected, dtype)
    np.testing.assert_array_equal(found[4], 0)
    assert total == pytest.approx(objective, rel=PRECISION[dtype])


@pytest.mark.parametrize("way", WAYS)
def test_weights_of_zero_and_rows_of_dislikes_only_do_no_harm(way):
    D, Y, spectrum = problem(9, 40, 5)
    D[3] = -abs(D[3])
    model = Model(0.0, 2.0, 0.1, 0.0)
    found, _ = exact(D, Y, spectrum, model, np.float64, *WAYS[way])
    close(found, naive(D, Y, model)[0], np.float64)
    np.testing.assert_array_equal(found[3], 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", WAYS)
def test_weights_of_a_million_are_solved_well(way, dtype):
    D, Y, spectrum = problem(9, 60, 8, dislikes=False)
    D[D == 3] = 1e6
    found, _ = exact(D, Y, spectrum, MODEL, dtype, *WAYS[way])
    expected, _ = naive(D, Y, MODEL)
    np.testing.assert_allclose(found, expected, atol=(2e-2 if dtype == np.float32 else 1e-6))


@pytest.mark.parametrize("way", WAYS)
def test_a_row_longer_than_every_buffer_is_like_any_other(way):
    n = 9000 if way == "conjugate gradients" else 700  # buffers hold GATHERED numbers, CHUNK cells
    D, Y, spectrum = problem(2, n, 121 if n > 700 else 6, density=0.99)
    assert way == "dual" or np.count_nonzero(D[0]) > min(kernels.GATHERED // 128, kernels.CHUNK * 8)
    found, _ = exact(D, Y, spectrum, MODEL, np.float64, *WAYS[way])
    close(found, naive(D, Y, MODEL)[0], np.float64)


@pytest.mark.parametrize("c", [2.0**-40, 2.0**40])
@pytest.mark.parametrize("solver", ["exact", "cholesky", "cg", "subspace"])
def test_a_power_of_two_times_all_weights_changes_no_bit(solver, c):
    D, Y, spectrum = problem(30, 60, 7)
    results = []
    for scale in (1.0, c):
        model = Model(1.5 * scale, 0.5 * scale, 0.3 * scale, 0.0)
        out = np.full((30, 7), 0.01)
        side = Side.of(sp.csr_array(D), model)
        solve_side(side, out, Y, spectrum, model, solver, ThreadsBackend(1))
        results.append(out)
    np.testing.assert_array_equal(*results)


def cg(D, Y, spectrum, model, dtype, start, steps, tol=0.0):
    out = start.astype(dtype)
    cells = arguments(D, Y, spectrum, model, dtype)
    return out, solve_rows_cg(*cells, steps, dtype(tol), 0, len(D), out)


@pytest.mark.parametrize("dtype", DTYPES)
def test_conjugate_gradients_report_the_objective_where_they_stop(dtype):
    D, Y, spectrum = problem(12, 50, 8)
    for steps in (0, 1, 2):
        X, total = cg(D, Y, spectrum, MODEL, dtype, np.full((12, 8), 0.02), steps)
        objective = 0.0
        for row, x in zip(D, X, strict=True):
            weight = 0.5 + 1.5 * abs(row)
            ridge = MODEL.ridge(np.array([np.count_nonzero(row)]), 50)[0]
            objective += weight @ ((row > 0) - Y @ x) ** 2 + ridge * x @ x
        assert total == pytest.approx(objective, rel=PRECISION[dtype])


def test_five_steps_from_zero_are_nearly_exact():
    D, Y, spectrum = problem(30, 20, 5, dislikes=False)
    X, _ = cg(D, Y, spectrum, MODEL, np.float64, np.zeros((30, 5)), 5)
    np.testing.assert_allclose(X, naive(D, Y, MODEL)[0], atol=1e-3)


def test_a_bad_start_gives_way_to_zero():
    D, Y, spectrum = problem(12, 50, 8)
    bad, _ = cg(D, Y, spectrum, MODEL, np.float64, np.full((12, 8), 1e3), 2)
    zero, _ = cg(D, Y, spectrum, MODEL, np.float64, np.zeros((12, 8)), 2)
    np.testing.assert_array_equal(bad, zero)


def test_a_solved_row_is_left_alone_and_never_divided_by_zero():
    D, Y, spectrum = problem(12, 50, 8)
    X, _ = cg(D, Y, spectrum, MODEL, np.float64, np.zeros((12, 8)), 50, tol=1e-15)
    again, _ = cg(D, Y, spectrum, MODEL, np.float64, X, 50, tol=1e-12)
    np.testing.assert_array_equal(again, X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 3, 5, 64])
def test_blocks_of_coordinates_go_downhill_to_the_naive_solution(block, dtype):
    D, Y, spectrum = problem(12, 80, 9)
    cells = arguments(D, Y, spectrum, MODEL, dtype)
    X, costs = np.full((12, 9), 0.05, dtype), []
    for _ in range(60):
        total, failed = solve_rows_subspace(*cells, block, 0, 12, X)
        assert failed == -1
        costs.append(total)
    expected, objective = naive(D, Y, MODEL)
    close(X, expected, dtype)
    assert costs[-1] == pytest.approx(objective, rel=PRECISION[dtype])
    assert (np.diff(costs) <= PRECISION[dtype] * costs[0]).all()


def test_singular_rows_are_named_and_not_solved_by_nan():
    D, Y, _ = problem(5, 30, 6)
    D[2] = 0
    D[2, :2] = 1  # two equations for six unknowns
    model = Model(1.0, 0.0, 0.0, 0.0)
    out = np.zeros((5, 6))
    cells = arguments(D, Y, np.zeros(6), model, np.float64)
    _, failed = solve_rows(*cells, 100, 100, 0, 5, out)
    assert failed == 2
    assert np.isfinite(out).all()


@pytest.mark.parametrize("solver", ["exact", "cholesky", "cg", "subspace"])
def test_results_do_not_depend_on_the_number_of_threads(solver, monkeypatch):
    monkeypatch.setattr("skglrm.solvers.implicit.NUMBERS_PER_TASK", 500)
    D, Y, spectrum = problem(131, 257, 7, density=0.1)
    side = Side.of(sp.csr_array(D), MODEL)
    assert len(side.tasks(7)) > 8
    results = []
    for n_threads in (1, 2, 3, 8):
        out = np.full((131, 7), 0.01)
        with ThreadsBackend(n_threads) as backend:
            cost = solve_side(side, out, Y, spectrum, MODEL, solver, backend)
        results.append((out, cost))
    for out, cost in results[1:]:
        np.testing.assert_array_equal(out, results[0][0])
        assert cost == results[0][1]


def test_tasks_hold_every_row_once_the_longest_first():
    D, _, _ = problem(131, 257, 3, density=0.1)
    side = Side.of(sp.csr_array(D), MODEL)
    runs = side.tasks(1_000_000)
    assert [a for a, _ in runs] == [0, *(b for _, b in runs[:-1])] and runs[-1][1] == 131
    lengths = side.counts[side.order]
    assert (np.diff(lengths) <= 0).all()


def test_the_basis_is_orthonormal_ordered_and_of_fixed_signs():
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(5000, 6)) * [3, 1, 1, 2, 1, 0]
    with ThreadsBackend(2) as backend:
        G = gram(Y, backend)
    np.testing.assert_allclose(G, Y.T @ Y, rtol=1e-12, atol=1e-9)
    spectrum, rotation = eigenbasis(G, np.float64)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(6), atol=1e-12)
    np.testing.assert_allclose((rotation * spectrum) @ rotation.T, G, atol=1e-8)
    assert (np.diff(spectrum) <= 0).all() and spectrum[-1] == 0
    peaks = np.abs(rotation).argmax(axis=0)
    assert (rotation[peaks, np.arange(6)] > 0).all()


def test_rotating_a_row_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(0)
    rows, rotation = rng.normal(size=(33, 7)), rng.normal(size=(7, 7))
    out = in_basis(rows, rotation)
    np.testing.assert_allclose(out, rows @ rotation)
    one = np.zeros((33, 7))
    for i in range(33):
        rotate_rows(read_only(rows), read_only(rotation), i, i + 1, one)
    np.testing.assert_array_equal(one, out)


@pytest.mark.skipif(not hasattr(solve_rows, "py_func"), reason="kernels are Python here")
@pytest.mark.parametrize(
    "kernel", [solve_rows_cg, solve_rows_subspace, solve_rows], ids=["cg", "subspace", "exact"]
)
def test_compiled_kernels_do_what_their_python_does(kernel, monkeypatch):
    D, Y, spectrum = problem(5, 20, 9)
    extra = {solve_rows_cg: (2, 0.0), solve_rows_subspace: (4,), solve_rows: (3, 0)}[kernel]
    outs = [np.full((5, 9), 0.1) for _ in range(2)]
    for out, run in zip(outs, (kernel, kernel.py_func), strict=True):
        run(*arguments(D, Y, spectrum, MODEL, np.float64), *extra, 0, 5, out)
    np.testing.assert_allclose(*outs, rtol=1e-9)
