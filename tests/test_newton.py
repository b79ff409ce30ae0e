"""Rows solved by Newton's method: what one look decides, by hand, and where it ends."""

import numpy as np
import pytest

from skglrm.kernels.newton import MUCH_NARROWER, NARROWEST, SHORTEST, WIDEST, Rows, advance

K = 2
NO_PENALTY = (0.0, np.zeros(K), K, K)


@pytest.fixture(params=["compiled", "python"])
def step(request):
    """Look at a row whose losses are f, with slope g and Hessian h, and go on."""
    how = advance if request.param == "compiled" else advance.py_func

    def run(rows, active, trial, f, g, h, bends=0.0, kinks=0.0, ridge=NO_PENALTY, tol=1e-9):
        n, eye = len(active), np.eye(K)
        F, G = np.full(n, float(f)), np.array(np.broadcast_to(g, (n, 1, K)), float)
        A, C = h * np.ones((n, 1, 1, 1)) * eye, kinks * np.ones((n, 1, 1, 1)) * eye
        B = bends + np.zeros(G.shape)
        with np.errstate(invalid="ignore"):
            return how(rows, active, trial, F, G, A, B, C, *ridge, tol)

    return run


def rows_at(*x, radius=NARROWEST):
    best = np.array(x, float).reshape(-1, 1, K)
    return Rows.of(best, radius), np.arange(len(best)), best.copy()


def test_a_parabola_is_solved_by_one_step(step):
    rows, active, trial = rows_at((3.0, -4.0))
    assert step(rows, active, trial, f=25.0, g=(6.0, -8.0), h=2.0) == 1
    np.testing.assert_allclose(trial, 0, atol=1e-12)
    assert step(rows, active, trial, f=0.0, g=(0.0, 0.0), h=2.0) == 0
    np.testing.assert_allclose(rows.best, 0, atol=1e-12)
    assert rows.loss == 0


def test_the_penalty_is_part_of_the_objective(step):
    rows, active, trial = rows_at((1.0, 1.0))
    ridge = (3.0, np.array([1.0, 0.0]), 1, 2)  # 1.5 (x_0 - 1)^2
    assert step(rows, active, trial, f=1.0, g=(2.0, 2.0), h=1.0, ridge=ridge) == 1
    np.testing.assert_allclose(trial[0, 0], [1 - 2 / 4, 1 - 2 / 1])


def test_a_step_that_goes_too_far_is_shortened_to_where_the_slope_would_be_0(step):
    rows, active, trial = rows_at((1.0, 0.0))
    step(rows, active, trial, f=1.0, g=(1.0, 0.0), h=0.25)  # to -3; slope along it -4
    np.testing.assert_allclose(trial[0, 0], [-3.0, 0.0])
    assert step(rows, active, trial, f=9.0, g=(-3.0, 0.0), h=1.0) == 1  # slope along it 12
    np.testing.assert_allclose(trial[0, 0], [1 - 4 * 4 / 16, 0.0])
    np.testing.assert_array_equal(rows.best[0, 0], [1.0, 0.0])


@pytest.mark.parametrize("lost", [np.inf, np.nan])
def test_a_row_comes_back_from_where_its_loss_is_no_number(step, lost):
    rows, active, trial = rows_at((1.0, 0.0))
    step(rows, active, trial, f=1.0, g=(1.0, 0.0), h=1.0)
    assert step(rows, active, trial, f=lost, g=(lost, lost), h=1.0) == 1
    np.testing.assert_allclose(trial[0, 0], [0.9, 0.0])
    for _ in range(20):
        if not step(rows, active, trial, f=lost, g=(lost, lost), h=1.0):
            break
    assert rows.share[0] <= SHORTEST  # it gives up, and keeps the best
    np.testing.assert_array_equal(rows.best[0, 0], [1.0, 0.0])


def test_a_row_that_is_solved_in_its_window_moves_with_the_kink(step):
    rows, active, trial = rows_at((0.2, 0.0), radius=WIDEST)
    # At a kink the slope is u / radius and something constant pulls by the same amount.
    g, kinks = (0.0, 0.0), 1 / WIDEST
    assert step(rows, active, trial, 1.0, g, 0.0, bends=(0.4, 0.0), kinks=kinks, tol=1e-3) == 1
    assert rows.radius[0] == pytest.approx(MUCH_NARROWER * WIDEST)
    assert np.isinf(rows.promised[0])
    np.testing.assert_allclose(trial[0, 0], [0.2 * MUCH_NARROWER, 0.0])  # the same share of it


def test_rows_that_go_on_move_up(step):
    rows, active, trial = rows_at((0.0, 0.0), (1.0, 1.0))
    G = np.array([[[0.0, 0.0]], [[1.0, 1.0]]])
    assert step(rows, active, trial, f=1.0, g=G, h=1.0) == 1
    assert active[0] == 1
    np.testing.assert_allclose(trial[0, 0], 0, atol=1e-12)
