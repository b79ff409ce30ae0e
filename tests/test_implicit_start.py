"""Where implicit ALS begins: a rough singular value decomposition of the targets."""

import numpy as np
import pytest
import scipy.sparse as sp

from skglrm._jit import read_only
from skglrm.backends import ThreadsBackend
from skglrm.implicit_als import ImplicitALS
from skglrm.kernels.sketch import multiply_targets, sketch_targets
from skglrm.solvers.implicit import ImplicitALSSolver, Model, Side, draw_factors
from skglrm.solvers.implicit_start import can_start_spectrally, spectral_start


def feedback(n=150, m=120, *, seed=0, dtype=float):
    """Rows and columns of four tastes, with noise and dislikes."""
    rng = np.random.default_rng(seed)
    taste = rng.integers(4, size=n), rng.integers(4, size=m)
    likely = np.where(taste[0][:, None] == taste[1], 0.5, 0.05)
    D = np.where(rng.random((n, m)) < likely, rng.integers(1, 5, (n, m)), 0)
    return (D * np.where(rng.random(D.shape) < 0.1, -1, 1)).astype(dtype)


def targets(D, w0, alpha):
    return np.where(D > 0, w0 + alpha * D, 0)


def sides(D, k=3):
    model = Model(1.0, 1.0, 0.1, 0.0)
    return [Side.of(sp.csr_array(A), model) for A in (D, D.T)]


def start(D, k, w0=0.5, alpha=1.5, seed=0, n_threads=1):
    X, Y = (np.empty((n, k), D.dtype) for n in D.shape)
    with ThreadsBackend(n_threads) as backend:
        spectral_start(*sides(D), X, Y, w0, alpha, seed, backend)
    return X, Y


@pytest.mark.parametrize("k", [1, 8, 11])
def test_products_with_targets_are_those_of_the_dense_matrix(k):
    D = feedback(20, 30)
    side, other = sides(D)[0], np.random.default_rng(1).normal(size=(30, k))
    cells = side.indptr, side.indices, side.values, side.order
    out = np.full((20, k), 7.0)
    multiply_targets(*cells, read_only(other), 0.5, 1.5, 0, 20, out)
    np.testing.assert_allclose(out, targets(D, 0.5, 1.5) @ other, atol=1e-10)
    if hasattr(multiply_targets, "py_func"):
        again = np.full((20, k), 7.0)
        multiply_targets.py_func(*cells, other, 0.5, 1.5, 0, 20, again)
        np.testing.assert_allclose(again, out, atol=1e-10)


def test_a_sketch_adds_columns_up_with_signs():
    D = feedback(20, 30)
    side, rng = sides(D)[0], np.random.default_rng(1)
    place, sign = rng.integers(4, size=30), rng.choice([-1.0, 1.0], 30)
    S = np.zeros((30, 4))
    S[np.arange(30), place] = sign
    out = np.full((20, 4), 7.0)
    cells = side.indptr, side.indices, side.values, side.order
    sketch_targets(*cells, place, sign, 0.5, 1.5, 0, 20, out)
    np.testing.assert_allclose(out, targets(D, 0.5, 1.5) @ S, atol=1e-10)


def test_the_start_is_nearly_the_best_approximation_of_its_rank():
    D = feedback()
    T = targets(D, 0.5, 1.5)
    mean = T[T > 0].mean()
    X, Y = start(D, 4)
    values = np.linalg.svd(T)[1]
    error = ((T - mean * X @ Y.T) ** 2).sum()
    assert error <= 1.001 * (values[4:] ** 2).sum()
    np.testing.assert_allclose(X.T @ X, Y.T @ Y, atol=1e-2 * np.abs(X.T @ X).max())


def test_a_matrix_of_lower_rank_leaves_no_nan():
    D = np.outer(np.arange(60) % 2, np.arange(60) % 3 == 1) * 1.0
    X, Y = start(D, 4)
    T = targets(D, 0.5, 1.5)
    np.testing.assert_allclose(X @ Y.T, T / T.max(), atol=1e-8)


def test_the_start_does_not_depend_on_threads_or_on_the_unit_of_weights(monkeypatch):
    monkeypatch.setattr("skglrm.solvers.implicit.NUMBERS_PER_TASK", 2_000)
    monkeypatch.setattr("skglrm.solvers.implicit_start.ROWS_PER_TASK", 32)
    D = feedback()
    expected = start(D, 4)
    for other in (start(D, 4, n_threads=2), start(D, 4, n_threads=3),
                  start(D, 4, 0.5 * 2.0**-40, 1.5 * 2.0**-40)):  # fmt: skip
        for one, two in zip(expected, other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_small_matrices_begin_at_random():
    assert can_start_spectrally((600, 60), 10)
    assert not can_start_spectrally((600, 59), 10)


def test_a_fit_that_begins_there_is_ahead_of_one_that_begins_at_random():
    D = feedback()
    model = ImplicitALS(4, solver="cg", max_iter=2, random_state=0).fit(D)
    X, Y = np.zeros((150, 4)), np.zeros((120, 4))
    solver = ImplicitALSSolver(Model(1.0, 1.0, 0.01, 0.0), "cg", 2, 0.0, lambda *_: None)
    with ThreadsBackend(1) as backend:
        draw_factors(X, 0, backend)
        random = solver.solve(sp.csr_array(D), X, Y, backend)
    assert model.loss_curve_[0] < random.loss_curve[0]
    assert model.loss_curve_[1] < random.loss_curve[1]


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_a_fit_is_the_same_for_any_number_of_threads(n_jobs, monkeypatch):
    monkeypatch.setattr("skglrm.solvers.implicit.NUMBERS_PER_TASK", 2_000)
    D = feedback()
    one, two = (
        ImplicitALS(4, solver="cg", max_iter=2, random_state=0, n_jobs=n).fit(D)
        for n in (1, n_jobs)
    )
    np.testing.assert_array_equal(one.row_factors_, two.row_factors_)
    np.testing.assert_array_equal(one.components_, two.components_)


def test_permuted_rows_and_columns_have_permuted_factors():
    D, rng = feedback(40, 30), np.random.default_rng(3)
    rows, columns, first = rng.permutation(40), rng.permutation(30), rng.normal(size=(40, 3))
    results = []
    for A, X in ((D, first), (D[rows][:, columns], first[rows])):
        X, Y = X.copy(), np.zeros((30, 3))
        solver = ImplicitALSSolver(Model(1.0, 1.0, 0.1, 0.0), "cg", 5, 0.0, lambda *_: None)
        with ThreadsBackend(1) as backend:
            solver.solve(sp.csr_array(A), X, Y, backend)
        results.append(X @ Y.T)
    np.testing.assert_allclose(results[1], results[0][rows][:, columns], atol=1e-10)


GUARDS = {
    "staircase": (np.tril(np.ones((12, 12))), 3, 1.0),
    "nearly empty": (
        sp.random_array((100, 100), density=0.0005, rng=np.random.default_rng(0)).toarray(),
        3,
        10.0,
    ),
    "identity": (np.eye(10), 15, 0.01),
    "values up to a million": (feedback(40, 30) * 2.5e5, 3, 1.0),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:All predictions are zero")
@pytest.mark.parametrize("name", GUARDS)
def test_conjugate_gradients_never_divide_zero_by_zero(name):
    D, k, strength = GUARDS[name]
    model = ImplicitALS(k, solver="cg", regularization=strength, random_state=0, max_iter=30)
    with np.errstate(all="raise", under="ignore"):
        model.fit(D)
    assert np.isfinite(model.row_factors_).all() and np.isfinite(model.components_).all()
    curve = np.array(model.loss_curve_)
    assert curve[-1] <= (D > 0) @ np.ones(D.shape[1]) @ np.ones(len(D)) + abs(D).sum() * (1 + 1e-9)
