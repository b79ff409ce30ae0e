"""Kernels against naive lines in float64, and against their own source run as Python."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize

from skglrm._jit import read_only
from skglrm._simd import Width, aligned_zeros, padded
from skglrm.backends import ThreadsBackend
from skglrm.kernels.elementary import exponential, logarithm
from skglrm.kernels.grid import (
    count_and_sum,
    count_blocks,
    entry_type,
    order_block,
    place_rows,
    scatter_blocks,
    sum_squared_deviations,
    take_rows,
)
from skglrm.kernels.least_squares import solve_rows, solve_rows_proximal
from skglrm.kernels.predictions import predict_cells, total_loss
from skglrm.kernels.sgd import (
    GAP,
    LARGE,
    N_SLOW,
    N_STATE,
    POINT,
    TICKS,
    GradientStep,
    LiftedStep,
    ProximalStep,
    settle_rows,
    sgd_block,
    sum_losses,
)
from skglrm.losses import Huber, Loss, Quadratic
from skglrm.solvers.grid import Bands, build_grid

DTYPES = [np.float32, np.float64]
PRECISION = {np.float32: 2e-5, np.float64: 1e-12}


def in_python(kernel):
    return getattr(kernel, "py_func", kernel)


def as_records(entries):
    """Python reads the fields of entries as attributes only if NumPy is told so."""
    return entries.view(np.recarray)


@dataclass(frozen=True)
class Leaning(Loss):
    """A loss of a user: three times as steep below the observation."""

    steep: float = 3.0

    def value(self, prediction, observation):
        r = prediction - observation
        return 0.5 * r * r * (self.steep if r < 0 else 1.0)

    def gradient(self, prediction, observation):
        r = prediction - observation
        return r * (self.steep if r < 0 else 1.0)


# ------------------------------------------------------------------ block SGD


@dataclass
class Problem:
    """A few rows and columns, and many entries of them, neighbours often in one row or column."""

    cells: list[tuple[int, int, float]]
    P: np.ndarray
    Q: np.ndarray
    row_state: np.ndarray
    column_state: np.ndarray
    k: int

    @classmethod
    def random(cls, k, dtype, n=150, shape=(5, 4), accumulated=1.0):
        rng = np.random.default_rng(k)
        cells = [
            (int(i), int(j), float(dtype(a)))
            for i, j, a in zip(
                rng.integers(0, shape[0], n),
                rng.integers(0, shape[1], n),
                rng.normal(1.0, 1.0, n),
                strict=True,
            )
        ]
        sides = []
        for m in shape:
            factors = aligned_zeros((m, padded(k)), dtype)
            factors[:, :k] = rng.random((m, k)) / k**0.5
            state = aligned_zeros((m, N_STATE), dtype)
            state[:, 4:6] = accumulated
            settle_rows(factors, state, np.ones(m), 0, m)
            sides.append((factors, state))
        (P, row_state), (Q, column_state) = sides
        return cls(cells, P, Q, row_state, column_state, k)

    @property
    def entries(self):
        return read_only(as_records(np.array(self.cells, entry_type(self.P.dtype))))

    def visit(self, loss, step, start=0, stop=None, kernel=sgd_block, clock=0, room=0):
        stop = len(self.cells) if stop is None else stop
        scores = np.empty(room, self.P.dtype) if room else None
        return kernel(
            loss, step, Width(padded(self.k)), self.entries, None, scores, start, stop, clock,
            self.P, self.Q, self.row_state, self.column_state,
        )  # fmt: skip

    def accumulators(self):
        return [state[:, 4:6] + state[:, 0:2] for state in (self.row_state, self.column_state)]

    def arrays(self):
        return self.P, self.Q, self.row_state, self.column_state


def rates_of(k):
    n_slow = min(k, N_SLOW)
    return {
        "slow_rate": 0.1,
        "fast_rate": 0.1,
        "slow_share": 1 / n_slow,
        "fast_share": 1 / (k - n_slow) if k > n_slow else 0.0,
        "row_l2": 0.05,
        "column_l2": 0.03,
    }


def plain(k):
    return GradientStep(**rates_of(k))


def proximal(k):
    return ProximalStep(**rates_of(k), row_l1=0.02, column_l1=0.01, floor=-0.1)


def naive_visits(loss, step, cells, P, Q, G, H, n_slow=N_SLOW, clock=0):
    """The update with z = -∂L/∂u; all arguments in float64, updated in place."""
    total = 0.0
    row_l1, column_l1 = getattr(step, "row_l1", 0.0), getattr(step, "column_l1", 0.0)
    floor = getattr(step, "floor", -np.inf)
    groups = [(0, slice(0, n_slow), step.slow_rate), (1, slice(n_slow, None), step.fast_rate)]
    for t, (i, j, a) in enumerate(cells):
        u, p, q = P[i] @ Q[j], P[i].copy(), Q[j].copy()
        total += loss.value(u, a)
        z = -loss.gradient(u, a)
        times = 0.0
        if t >= clock >> POINT:
            times, clock = GAP, clock + TICKS
        if abs(z) > LARGE:
            times = 1.0
        for g, D, eta0 in groups[: 1 + (p.size > n_slow)]:
            for X, S, x, own, other, l2, l1 in (
                (P, G, i, p, q, step.row_l2, row_l1),
                (Q, H, j, q, p, step.column_l2, column_l1),
            ):
                gamma = l2 * own[D] - z * other[D]
                S[x, g] += times * np.mean(gamma**2) if eta0 else 0.0
                eta = eta0 / np.sqrt(S[x, g])
                # As in the design, but a strong penalty does not overshoot zero.
                new = own[D] - eta * gamma if eta * l2 < 1 else eta * z * other[D]
                new = np.sign(new) * np.maximum(np.abs(new) - eta * l1, 0.0)
                X[x, D] = np.maximum(new, floor)
    return total


def naive(problem, loss, step, cells=None):
    """Factors, accumulators and total loss after naive visits."""
    P, Q = (X[:, : problem.k].astype(np.float64) for X in (problem.P, problem.Q))
    G, H = (S.astype(np.float64) for S in problem.accumulators())
    total = naive_visits(loss, step, problem.cells if cells is None else cells, P, Q, G, H)
    return P, Q, G, H, total


def assert_close(problem, total, expected, dtype, growth=1.0):
    P, Q, G, H, expected_total = expected
    slack = {"rtol": PRECISION[dtype] * growth, "atol": PRECISION[dtype] * growth}
    np.testing.assert_allclose(problem.P[:, : problem.k], P, **slack)
    np.testing.assert_allclose(problem.Q[:, : problem.k], Q, **slack)
    for accumulator, expected_one in zip(problem.accumulators(), (G, H), strict=True):
        np.testing.assert_allclose(accumulator, expected_one, **slack)
    np.testing.assert_allclose(total, expected_total, **slack)


@pytest.mark.parametrize("make_step", [plain, proximal])
@pytest.mark.parametrize(
    ("k", "dtype"),
    [(k, np.float32) for k in (1, 3, 8, 10, 16, 33, 64, 130)] + [(k, np.float64) for k in (3, 10)],
)
def test_visits_are_the_published_update(k, dtype, make_step):
    problem = Problem.random(k, dtype)
    expected = naive(problem, Quadratic(), make_step(k))
    total = problem.visit(Quadratic(), make_step(k))
    assert_close(problem, total, expected, dtype, growth=5)


@pytest.mark.parametrize("make_step", [plain, proximal])
@pytest.mark.parametrize(
    ("loss", "dtype"), [(Huber(0.5), np.float32), (Leaning(), np.float64)], ids=repr
)
def test_visits_are_the_published_update_for_any_loss(loss, dtype, make_step):
    problem = Problem.random(10, dtype)
    expected = naive(problem, loss, make_step(10))
    assert_close(problem, problem.visit(loss, make_step(10)), expected, dtype, growth=5)


@pytest.mark.parametrize("make_step", [plain, proximal])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [3, 8, 10, 130])
@pytest.mark.parametrize("loss", [Quadratic(), Huber(0.5), Leaning()], ids=repr)
def test_the_source_of_the_kernel_is_the_published_update(loss, k, dtype, make_step):
    problem = Problem.random(k, dtype, n=40)
    expected = naive(problem, loss, make_step(k))
    total = problem.visit(loss, make_step(k), kernel=in_python(sgd_block))
    assert_close(problem, total, expected, dtype, growth=5)


@pytest.mark.parametrize("make_step", [plain, proximal])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_compiled_kernel_leaves_the_same_state_as_its_source(dtype, make_step):
    compiled, python = (Problem.random(10, dtype, n=60) for _ in range(2))
    totals = (
        compiled.visit(Quadratic(), make_step(10)),
        python.visit(Quadratic(), make_step(10), kernel=in_python(sgd_block)),
    )
    assert totals[0] == pytest.approx(totals[1], rel=5 * PRECISION[dtype])
    for one, other in zip(compiled.arrays(), python.arrays(), strict=True):
        np.testing.assert_allclose(one, other, rtol=5 * PRECISION[dtype], atol=5 * PRECISION[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [3, 10])
def test_the_first_step_is_the_rate_times_the_gradient(k, dtype):
    problem = Problem.random(k, dtype)
    i, j, a = problem.cells[0]
    step = plain(k)
    p, q = (X[x, :k].astype(np.float64) for X, x in ((problem.P, i), (problem.Q, j)))
    total = problem.visit(Quadratic(), step, stop=1, clock=TICKS)
    r = p @ q - a
    assert total == pytest.approx(0.5 * r * r, rel=PRECISION[dtype])
    slack = {"rtol": PRECISION[dtype], "atol": PRECISION[dtype]}
    np.testing.assert_allclose(problem.P[i, :k], p - 0.1 * (0.05 * p + r * q), **slack)
    np.testing.assert_allclose(problem.Q[j, :k], q - 0.1 * (0.03 * q + r * p), **slack)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make_step", [plain, proximal])
def test_each_visit_sees_what_the_one_before_wrote(dtype, make_step):
    # Neighbours that share a row, a column, both or nothing, in every order.
    cells = [(i, j, 1.0) for i, j in ((0, 0), (0, 0), (0, 1), (1, 1), (1, 1), (2, 0), (0, 0))]
    problem = Problem.random(10, dtype)
    problem.cells = cells
    step = replace(make_step(10), slow_rate=0.5, fast_rate=0.5)
    expected = naive(problem, Quadratic(), step)
    assert_close(problem, problem.visit(Quadratic(), step), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make_step", [plain, proximal])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_padding_stays_zero(k, dtype, make_step):
    problem = Problem.random(k, dtype)
    steps = [make_step(k)]
    if make_step is proximal:
        steps += [replace(steps[0], floor=floor) for floor in (-np.inf, 0.0)]
    for step in steps:
        problem.visit(Quadratic(), step)
        assert not problem.P[:, k:].any()
        assert not problem.Q[:, k:].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make_step", [plain, proximal])
def test_a_slow_only_epoch_leaves_the_fast_dimensions_untouched(dtype, make_step):
    step = replace(make_step(16), fast_rate=0.0, fast_share=0.0)
    problem = Problem.random(16, dtype)
    # Factors below the floor would be lifted; the solver starts from factors above it.
    expected = naive(problem, Quadratic(), step)
    before = [X[:, N_SLOW:].copy() for X in (problem.P, problem.Q)]
    total = problem.visit(Quadratic(), step)
    for X, fast in zip((problem.P, problem.Q), before, strict=True):
        np.testing.assert_array_equal(X[:, N_SLOW:], fast)
    for state in (problem.row_state, problem.column_state):
        np.testing.assert_array_equal(state[:, 1], 0)
    assert_close(problem, total, expected, dtype, growth=5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make_step", [plain, proximal])
def test_the_slow_group_may_be_less_than_a_vector(dtype, make_step):
    # Three slow dimensions, padding up to a vector, then two fast ones and padding again.
    problem = Problem.random(16, dtype)
    real, padding = [0, 1, 2, 8, 9], [3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15]
    for factors, state in (
        (problem.P, problem.row_state),
        (problem.Q, problem.column_state),
    ):
        factors[:, padding] = 0.0
        settle_rows(factors, state, np.ones(len(factors)), 0, len(factors))
    step = replace(make_step(16), slow_share=1 / 3, fast_share=1 / 2)
    P, Q = (X[:, real].astype(np.float64) for X in (problem.P, problem.Q))
    G, H = (S.astype(np.float64) for S in problem.accumulators())
    expected = naive_visits(Quadratic(), step, problem.cells, P, Q, G, H, n_slow=3)
    total = problem.visit(Quadratic(), step)
    slack = {"rtol": 5 * PRECISION[dtype], "atol": 5 * PRECISION[dtype]}
    for X, one in ((problem.P, P), (problem.Q, Q)):
        assert not X[:, padding].any()
        np.testing.assert_allclose(X[:, real], one, **slack)
    for accumulator, one in zip(problem.accumulators(), (G, H), strict=True):
        np.testing.assert_allclose(accumulator, one, **slack)
    assert total == pytest.approx(expected, rel=5 * PRECISION[dtype])


@pytest.mark.parametrize("k", [5, N_SLOW])
def test_with_few_dimensions_there_is_one_group(k):
    problem = Problem.random(k, np.float64)
    problem.visit(Quadratic(), plain(k))
    for state in (problem.row_state, problem.column_state):
        np.testing.assert_array_equal(state[:, 1], 0)  # nothing was added to the fast group
        np.testing.assert_array_equal(state[:, 5], 1)
        np.testing.assert_array_equal(state[:, 3], 1)
        assert (state[:, 0] > 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_only_the_entries_asked_for_are_visited(dtype):
    problem = Problem.random(10, dtype, n=20)
    expected = naive(problem, Quadratic(), plain(10), problem.cells[7:12])
    assert_close(problem, problem.visit(Quadratic(), plain(10), 7, 12), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_of_long_blocks_all_count(dtype):
    """They are summed at each visit, or some at a time."""
    room = 20
    problem, step = Problem.random(10, dtype, n=2 * room + 7), plain(10)
    still = replace(step, slow_rate=0.0, fast_rate=0.0)
    for start, stop in ((0, 2 * room + 7), (5, room + 5), (3, room + 4)):
        total = problem.visit(Quadratic(), still, start, stop)
        assert total == pytest.approx(problem.visit(Quadratic(), still, start, stop, room=room))
        cells = problem.cells[start:stop]
        expected = sum(0.5 * (problem.P[i] @ problem.Q[j] - a) ** 2 for i, j, a in cells)
        assert total == pytest.approx(expected, rel=10 * PRECISION[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_floor_without_l1_is_a_proximal_step_with_none(dtype):
    lifted, proximal = (Problem.random(10, dtype) for _ in range(2))
    lifted.visit(Quadratic(), LiftedStep(**rates_of(10), floor=0.2))
    proximal.visit(Quadratic(), ProximalStep(**rates_of(10), row_l1=0, column_l1=0, floor=0.2))
    for one, other in zip(lifted.arrays(), proximal.arrays(), strict=True):
        np.testing.assert_allclose(one, other, rtol=PRECISION[dtype], atol=PRECISION[dtype])
    assert lifted.P[:, :10].min() == dtype(0.2)


@pytest.mark.parametrize("compiled", [True, False])
def test_elementary_functions_are_those_of_numpy(compiled):
    exp, log = (f if compiled else in_python(f) for f in (exponential, logarithm))
    x = np.concatenate([np.linspace(-690, 690, 501), np.linspace(-1, 1, 101), [0.0]])
    np.testing.assert_allclose([exp(v) for v in x], np.exp(x), rtol=1e-12)
    y = np.exp(x)
    np.testing.assert_allclose([log(v) for v in y], np.log(y), rtol=1e-14, atol=1e-15)
    assert 0 < exp(-np.inf) < 1e-300 and 1e300 < exp(np.inf) < np.inf
    x = np.linspace(-86, 86, 501).astype(np.float32)
    single = np.array([exp(v) for v in x])
    np.testing.assert_allclose(single, np.exp(x.astype(float)), rtol=5e-6)
    near = abs(x) < 3
    np.testing.assert_allclose(single[near], np.exp(x[near].astype(float)), rtol=5e-7)
    assert 0 < exp(np.float32(-np.inf)) < 1e-37 and 1e37 < exp(np.float32(np.inf)) < np.inf


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_block_without_entries_changes_nothing(dtype):
    problem = Problem.random(10, dtype)
    before = [array.copy() for array in problem.arrays()]
    assert problem.visit(Quadratic(), plain(10), 5, 5) == 0
    for array, one in zip(problem.arrays(), before, strict=True):
        np.testing.assert_array_equal(array, one)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make_step", [plain, proximal])
def test_a_strong_penalty_does_not_overshoot_zero(dtype, make_step):
    # 1 - ηλ would be -4: without a gradient of the loss, the row becomes zero instead.
    step = replace(make_step(16), row_l2=50.0, column_l2=50.0)
    if make_step is proximal:
        step = replace(step, floor=-np.inf)
    for kernel in (sgd_block, in_python(sgd_block)):
        problem = Problem.random(16, dtype)
        i, j, _ = problem.cells[0]
        problem.P[:, N_SLOW:] = 0.0
        problem.Q[:, :N_SLOW] = 0.0  # orthogonal, so that 0 is the prediction
        for factors, state in (
            (problem.P, problem.row_state),
            (problem.Q, problem.column_state),
        ):
            settle_rows(factors, state, np.ones(len(factors)), 0, len(factors))
        problem.cells = [(i, j, 0.0)]
        assert problem.visit(Quadratic(), step, kernel=kernel, clock=TICKS) == 0.0
        assert not problem.P[i].any()
        assert not problem.Q[j].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make_step", [plain, proximal])
def test_rows_carry_the_inverse_root_of_their_accumulators(dtype, make_step):
    problem = Problem.random(16, dtype)
    problem.visit(Quadratic(), make_step(16))
    for state in (problem.row_state, problem.column_state):
        assert (state[:, :2] > 0).any()
        np.testing.assert_allclose(
            state[:, 2:4], (state[:, 4:6] + state[:, :2]) ** -0.5, rtol=PRECISION[dtype]
        )


def test_samples_add_up_to_all_squared_gradients_on_average():
    # Rates of zero keep the factors, so the squared gradients are the same for every clock.
    step = replace(plain(16), slow_rate=1e-12, fast_rate=1e-12)
    expected = naive_squares(Problem.random(16, np.float64), step)
    found = []
    clocks = np.linspace(0, TICKS, 200, endpoint=False).astype(int)
    for clock in clocks.tolist():
        problem = Problem.random(16, np.float64)
        problem.visit(Quadratic(), step, clock=clock)
        found.append(problem.row_state[:, :2])
    np.testing.assert_allclose(np.mean(found, axis=0), expected, rtol=0.03)


def naive_squares(problem, step):
    """Sum of the mean squared gradients of each row, slow and fast."""
    squares = np.zeros((len(problem.P), 2))
    for i, j, a in problem.cells:
        p, q = problem.P[i], problem.Q[j]
        gamma = step.row_l2 * p + (p @ q - a) * q
        squares[i] += np.mean(gamma[:N_SLOW] ** 2), np.mean(gamma[N_SLOW:] ** 2)
    return squares


@pytest.mark.parametrize("n_rows", [1, 2, 3, 7, 12, 16])
def test_samples_do_not_keep_step_with_rows_that_take_turns(n_rows):
    problem = Problem.random(16, np.float64, shape=(n_rows, 1))
    problem.cells = [(t % n_rows, 0, 1.0) for t in range(150 * n_rows)]
    problem.visit(Quadratic(), replace(plain(16), slow_rate=1e-12, fast_rate=1e-12))
    expected = naive_squares(problem, plain(16))
    np.testing.assert_allclose(problem.row_state[:, :2], expected, rtol=0.35)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [sgd_block, in_python(sgd_block)], ids=["compiled", "python"])
def test_a_large_slope_is_counted_at_once_and_once(kernel, dtype):
    problem = Problem.random(16, dtype)
    i, j, _ = problem.cells[0]
    a = 1000.0
    problem.cells = [(i, j, a)]
    p, q = problem.P[i].astype(np.float64), problem.Q[j].astype(np.float64)
    gamma = 0.05 * p + (p @ q - a) * q
    squares = (gamma[:N_SLOW] ** 2).mean(), (gamma[N_SLOW:] ** 2).mean()
    for clock in (0, TICKS):  # whether or not it is time for a sample
        one = Problem.random(16, dtype)
        one.cells = problem.cells
        one.visit(Quadratic(), plain(16), kernel=kernel, clock=clock)
        np.testing.assert_allclose(one.row_state[i, :2], squares, rtol=PRECISION[dtype])
        # The step is one of length about 0.1 per dimension, not one of 100.
        assert np.abs(one.P[i] - p).max() < 1.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [3, 33])
@pytest.mark.parametrize("loss", [Quadratic(), Huber(0.5)], ids=repr)
def test_sum_losses_is_the_sum_of_losses(loss, k, dtype):
    problem = Problem.random(k, dtype)
    P, Q = problem.P.astype(np.float64), problem.Q.astype(np.float64)
    expected = sum(loss.value(P[i] @ Q[j], a) for i, j, a in problem.cells[3:70])
    factors = read_only(problem.P), read_only(problem.Q)
    arguments = (loss, Width(padded(k)), problem.entries, None, 3, 70, *factors)
    for kernel in (sum_losses, in_python(sum_losses)):
        assert kernel(*arguments) == pytest.approx(expected, rel=5 * PRECISION[dtype])


# ------------------------------------------------------------------ the end of an epoch


@pytest.mark.parametrize("dtype", DTYPES)
def test_settling_folds_the_increments_and_renews_their_roots(dtype):
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(6, 16)).astype(dtype)
    state = rng.random((6, N_STATE)).astype(dtype)
    before, weights = state.astype(np.float64), np.arange(6.0)
    compiled, python = state.copy(), state.copy()
    sums = settle_rows(factors, compiled, weights, 1, 5)
    np.testing.assert_allclose(
        sums, in_python(settle_rows)(factors, python, weights, 1, 5), rtol=PRECISION[dtype]
    )
    np.testing.assert_allclose(compiled, python, rtol=PRECISION[dtype])

    x, inside = factors.astype(np.float64), np.array([0, 1, 1, 1, 1, 0], bool)
    np.testing.assert_array_equal(compiled[~inside], state[~inside])
    np.testing.assert_allclose(
        compiled[inside, 4:6], (before[:, 4:6] + before[:, :2])[inside], rtol=PRECISION[dtype]
    )
    np.testing.assert_array_equal(compiled[inside, :2], 0)
    np.testing.assert_allclose(
        compiled[inside, 2:4], compiled[inside, 4:6] ** -0.5, rtol=PRECISION[dtype]
    )
    expected = [(weights * inside) @ (x**2).sum(1), (weights * inside) @ np.abs(x).sum(1)]
    np.testing.assert_allclose(sums, expected, rtol=PRECISION[dtype])


def test_busy_rows_go_on_cooling_in_float32():
    # One increment is far below what float32 can add to 1e8; those of an epoch together are not.
    start = 1e8
    problem = Problem.random(16, np.float32, n=4000, shape=(2, 2), accumulated=start)
    problem.cells = [(i, j, a * 3.0) for i, j, a in problem.cells]
    expected = naive(problem, Quadratic(), plain(16))
    one = Problem.random(16, np.float32, n=4000, shape=(2, 2), accumulated=start)
    one.cells = problem.cells
    one.visit(Quadratic(), plain(16), stop=1)
    assert np.float32(start) + one.row_state[:, :2].max() == np.float32(start)

    problem.visit(Quadratic(), plain(16))
    for factors, state, accumulated in (
        (problem.P, problem.row_state, expected[2]),
        (problem.Q, problem.column_state, expected[3]),
    ):
        settle_rows(factors, state, np.ones(2), 0, 2)
        grown = state[:, 4:6].astype(np.float64) - start
        assert (grown > 200).all()
        np.testing.assert_allclose(grown, accumulated - start, rtol=0.01, atol=8)


def test_accumulators_set_the_rates():
    slow = Problem.random(10, np.float64, accumulated=100.0)
    fast = Problem.random(10, np.float64, accumulated=1.0)
    before = slow.P.copy()
    for problem in (slow, fast):
        problem.visit(Quadratic(), plain(10), stop=1, clock=TICKS)
    np.testing.assert_allclose((slow.P - before) * 10, fast.P - before, atol=1e-14)


# ------------------------------------------------------------------ the grid


def random_entries(rng, n_rows, n_columns, share, dtype=np.float64):
    cell = np.flatnonzero(rng.random(n_rows * n_columns) < share)
    cell = rng.permutation(cell)
    entries = np.empty(cell.size, entry_type(dtype))
    entries["row"], entries["column"] = cell // n_columns, cell % n_columns
    entries["value"] = rng.normal(size=cell.size)
    return entries


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n_rows", "n_columns", "share"),
    [(1, 1, 1.0), (1, 90, 0.9), (90, 1, 0.9), (7, 5, 0.6), (40, 30, 0.2), (600, 60, 0.05),
     (17, 200, 0.9)],
)  # fmt: skip
def test_a_block_keeps_its_entries_whatever_order_they_come_in(n_rows, n_columns, share, dtype):
    rng = np.random.default_rng(0)
    entries = random_entries(rng, n_rows, n_columns, share, dtype)
    entries["row"] += 10
    entries["column"] += 20
    arguments = (10, n_rows, 20, n_columns)
    ordered = entries.copy()
    assert order_block(ordered, *arguments)
    np.testing.assert_array_equal(np.sort(ordered), np.sort(entries))

    shuffled = rng.permutation(entries)
    assert order_block(shuffled, *arguments)
    np.testing.assert_array_equal(shuffled, ordered)

    python = as_records(entries.copy())
    assert in_python(order_block)(python, *arguments)
    np.testing.assert_array_equal(python, ordered)

    for row in np.unique(ordered["row"]):
        columns = ordered["column"][ordered["row"] == row]
        assert (np.diff(columns) > 0).all()

    # Neighbours share a row only when no other row is left.
    repeats = np.flatnonzero(np.diff(ordered["row"]) == 0)
    if repeats.size:
        assert (ordered["row"][repeats[0] :] == ordered["row"][-1]).all()


@pytest.mark.parametrize("place", [(0, 1), (5, 60), (-1, 0)])
def test_a_cell_that_occurs_twice_is_found(place):
    rng = np.random.default_rng(0)
    entries = random_entries(rng, 30, 20, 0.3)
    original, copy = place
    entries["row"][copy], entries["column"][copy] = (
        entries["row"][original],
        entries["column"][original],
    )
    twice = entries["row"][copy], entries["column"][copy]
    for kernel in (order_block, in_python(order_block)):
        ordered = as_records(entries.copy())
        assert not kernel(ordered, 0, 30, 0, 20)
        assert (ordered["row"][0], ordered["column"][0]) == twice


def test_a_block_without_entries_is_in_order():
    assert order_block(np.empty(0, entry_type(np.float64)), 3, 4, 5, 6)
    assert order_block(np.empty(0, entry_type(np.float64)), 3, 0, 5, 0)


def bands_of(ids, n, n_bands, seed):
    return Bands.cut(np.bincount(ids, minlength=n), n_bands, np.random.default_rng(seed))


@pytest.mark.parametrize("n_bands", [1, 3, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_are_counted_and_filled_in_runs(n_bands, dtype):
    rng = np.random.default_rng(1)
    entries = random_entries(rng, 50, 40, 0.3, dtype)
    row, column, value = (entries[name].copy() for name in ("row", "column", "value"))
    rows, columns = bands_of(row, 50, n_bands, 1), bands_of(column, 40, n_bands, 2)
    block = rows.spot[row, 0] * n_bands + columns.spot[column, 0]

    cells = (*map(read_only, (row, column)), rows.spot, columns.spot, n_bands)
    counts = np.zeros(n_bands**2, np.int64)
    count_blocks(*cells, 5, 400, counts)
    np.testing.assert_array_equal(counts, np.bincount(block[5:400], minlength=n_bands**2))

    position = np.cumsum(counts) - counts
    begins, out = position.copy(), np.zeros(395, entry_type(dtype))
    scatter_blocks(
        read_only(row), read_only(column), read_only(value), rows.spot, columns.spot, n_bands,
        5, 400, dtype(2.0), position, out,
    )  # fmt: skip
    np.testing.assert_array_equal(position, begins + counts)
    order = np.argsort(block[5:400], kind="stable") + 5
    np.testing.assert_array_equal(out["row"], rows.spot[row[order], 1])
    np.testing.assert_array_equal(out["column"], columns.spot[column[order], 1])
    np.testing.assert_array_equal(out["value"], dtype(2.0) * value[order])


@pytest.mark.parametrize("n_bands", [1, 4])
@pytest.mark.parametrize("id_type", [np.int32, np.int64])
def test_a_grid_holds_every_cell_once_in_its_block(n_bands, id_type, monkeypatch):
    monkeypatch.setattr("skglrm.solvers.grid.ENTRIES_PER_CHUNK", 100)  # several chunks
    rng = np.random.default_rng(2)
    entries = random_entries(rng, 60, 45, 0.3)
    row, column = entries["row"].astype(id_type), entries["column"].astype(id_type)
    rows, columns = bands_of(row, 60, n_bands, 1), bands_of(column, 45, n_bands, 2)

    def grid_of(order):
        with ThreadsBackend(1) as backend:
            return build_grid(
                row[order], column[order], entries["value"][order], rows, columns, 2.0, backend
            )

    grid = grid_of(np.arange(entries.size))
    again = grid_of(rng.permutation(entries.size))
    np.testing.assert_array_equal(grid.entries, again.entries)
    assert grid.sizes.sum() == entries.size
    assert grid.sizes.shape == (n_bands, n_bands)

    at_row, at_column = np.argsort(rows.place), np.argsort(columns.place)
    cells = zip(
        at_row[grid.entries["row"]],
        at_column[grid.entries["column"]],
        2.0 * grid.entries["value"],
        strict=True,
    )
    assert sorted(cells) == sorted(entries.tolist())
    for block in range(n_bands**2):
        run = grid.entries[grid.offsets[block] : grid.offsets[block + 1]]
        for name, bands, band in (
            ("row", rows, block // n_bands),
            ("column", columns, block % n_bands),
        ):
            assert (bands.edges[band] <= run[name]).all()
            assert (run[name] < bands.edges[band + 1]).all()
    with pytest.raises(ValueError, match="read-only"):
        grid.entries["value"][0] = 1.0


def test_bands_share_the_entries_evenly():
    counts = np.random.default_rng(0).zipf(1.5, 3000).clip(max=2000).astype(np.int64)
    bands = Bands.cut(counts, 8, np.random.default_rng(1))
    assert sorted(bands.place) == list(range(3000))
    in_band = np.bincount(bands.spot[:, 0], counts, minlength=8)
    assert in_band.sum() == counts.sum()
    assert np.abs(in_band - counts.sum() / 8).max() <= counts.max()
    np.testing.assert_array_equal(
        bands.spot[:, 0], np.searchsorted(bands.edges, bands.place, side="right") - 1
    )
    assert bands.id_at(17) == np.flatnonzero(bands.place == 17)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("id_type", [np.int32, np.int64])
def test_count_and_sum(id_type, dtype):
    rng = np.random.default_rng(3)
    ids, values = rng.integers(0, 9, 200).astype(id_type), rng.normal(size=200).astype(dtype)
    counts, sums = np.zeros(10, np.int64), np.zeros(10)
    count_and_sum(read_only(ids), read_only(values), counts, sums)
    np.testing.assert_array_equal(counts, np.bincount(ids, minlength=10))
    np.testing.assert_allclose(sums, np.bincount(ids, values, minlength=10), rtol=1e-12)


def test_squared_deviations_are_summed_in_float64():
    values = np.full(300_000, 1e4, np.float32)
    values[::2] += 1
    found = sum_squared_deviations(read_only(values), 1e4 + 0.5)
    assert found == pytest.approx(0.25 * values.size, rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_placed_and_taken_back(dtype):
    rng = np.random.default_rng(4)
    source, place = rng.normal(size=(9, 5)).astype(dtype), rng.permutation(9).astype(np.int32)
    target, back = np.zeros((9, 8), dtype), np.zeros((9, 5), dtype)
    for run in ((0, 4), (4, 9)):
        place_rows(read_only(source), place, dtype(0.5), 2, 1, *run, target)
    np.testing.assert_array_equal(target[place][:, [0, 1, 3, 4, 5]], dtype(0.5) * source)
    assert not target[:, 2].any() and not target[:, 6:].any()
    for run in ((0, 4), (4, 9)):
        take_rows(target, place, dtype(2.0), 2, 1, *run, back)
    np.testing.assert_array_equal(back, source)


# ------------------------------------------------------------------ least squares


def random_rows(k, dtype, n_rows=12, n_columns=30, share=0.4):
    """A sparse matrix, of which one row is empty and one has a single entry."""
    rng = np.random.default_rng(k)
    X = rng.normal(size=(n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < share)
    X[3], X[4, 1:] = 0.0, 0.0
    X[4, 0] = 2.0
    matrix = sp.csr_array(X.astype(dtype))
    return matrix, rng.normal(size=(n_columns, k)).astype(dtype)


def solve(kernel, matrix, other, *parameters):
    out = np.full((matrix.shape[0], other.shape[1]), np.nan, other.dtype)
    cells = map(read_only, (matrix.indptr, matrix.indices, matrix.data, other))
    kernel(*cells, *parameters, 0, matrix.shape[0], out)
    return out


def row_of(matrix, other, i):
    run = slice(matrix.indptr[i], matrix.indptr[i + 1])
    q = other[matrix.indices[run]].astype(np.float64)
    return q, matrix.data[run].astype(np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 4, 9])
@pytest.mark.parametrize("l2", [0.05, 3.0])
def test_rows_solve_their_normal_equations(l2, k, dtype):
    matrix, other = random_rows(k, dtype)
    out = solve(solve_rows, matrix, other, l2)
    for i in range(matrix.shape[0]):
        q, a = row_of(matrix, other, i)
        expected = np.linalg.solve(q.T @ q + max(l2 * a.size, 1e-9) * np.eye(k), q.T @ a)
        tolerance = 1e-5 if dtype == np.float32 else 1e-9
        np.testing.assert_allclose(out[i], expected, rtol=tolerance, atol=tolerance)
    assert not out[3].any()
    python = solve(in_python(solve_rows), matrix, other, l2)
    np.testing.assert_allclose(out, python, rtol=1e-5 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_without_regularization_are_least_squares(dtype):
    matrix, other = random_rows(4, dtype)
    out = solve(solve_rows, matrix, other, 0.0)
    for i in range(matrix.shape[0]):
        q, a = row_of(matrix, other, i)
        best = np.linalg.lstsq(q, a, rcond=None)[0]
        if a.size > 4:
            np.testing.assert_allclose(out[i], best, rtol=1e-4, atol=1e-5)
        tolerance = 1e-5 if dtype == np.float32 else 1e-9
        np.testing.assert_allclose(q @ out[i], q @ best, rtol=tolerance, atol=tolerance)


def test_a_dimension_that_no_entry_touches_is_zero():
    matrix, other = random_rows(4, np.float64)
    other[:, 2] = 0.0
    out = solve(solve_rows, matrix, other, 0.0)
    assert np.isfinite(out).all()
    assert not out[:, 2].any()
    without = solve(solve_rows, matrix, np.ascontiguousarray(other[:, [0, 1, 3]]), 0.0)
    np.testing.assert_allclose(out[:, [0, 1, 3]], without, rtol=1e-9)


def test_solving_some_rows_leaves_the_others():
    matrix, other = random_rows(4, np.float64)
    for kernel, parameters in (
        (solve_rows, (0.1,)),
        (solve_rows_proximal, (0.1, 0.1, True, 50, 1e-8)),
    ):
        full = solve(kernel, matrix, other, *parameters)
        out = np.full_like(full, np.nan)
        cells = map(read_only, (matrix.indptr, matrix.indices, matrix.data, other))
        kernel(*cells, *parameters, 2, 6, out)
        np.testing.assert_array_equal(out[2:6], full[2:6])
        assert np.isnan(np.delete(out, np.s_[2:6], axis=0)).all()


PROXIMAL = [(l2, l1, sign) for l2 in (0.0, 0.1) for l1 in (0.0, 0.2, 100.0) for sign in (0, 1)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("l2", "l1", "nonnegative"), PROXIMAL)
def test_proximal_rows_are_optimal(l2, l1, nonnegative, dtype):
    matrix, other = random_rows(5, dtype, share=0.6)
    out = solve(solve_rows_proximal, matrix, other, l2, l1, bool(nonnegative), 5000, 1e-12)
    out = out.astype(np.float64)
    scale = 1e-4 if dtype == np.float32 else 1e-7
    for i in range(matrix.shape[0]):
        q, a = row_of(matrix, other, i)
        p, strength = out[i], l1 * a.size
        slope = q.T @ (q @ p - a) + l2 * a.size * p
        slack = scale * (1 + np.abs(q.T @ a).max(initial=0.0) + strength)
        # Zero lies in the subdifferential of ... + μ |p|₁, and of the constraint if there is one.
        assert (np.abs(slope + strength)[p > 0] <= slack).all()
        if nonnegative:
            assert (p >= 0).all()
            assert (slope[p == 0] + strength >= -slack).all()
        else:
            assert (np.abs(slope - strength)[p < 0] <= slack).all()
            assert (np.abs(slope[p == 0]) <= strength + slack).all()
    if l1 == 100.0:
        assert not out.any()


def test_proximal_rows_cost_what_a_general_solver_reaches():
    matrix, other = random_rows(4, np.float64, share=0.6)
    for nonnegative in (False, True):
        out = solve(solve_rows_proximal, matrix, other, 0.05, 0.1, nonnegative, 5000, 1e-12)
        for i in (0, 1, 4):
            q, a = row_of(matrix, other, i)

            def cost(p, q=q, a=a):
                squares = 0.5 * np.sum((q @ p - a) ** 2) + 0.5 * 0.05 * a.size * p @ p
                return squares + 0.1 * a.size * np.abs(p).sum()

            # p = positive - negative part, each bounded
            best = minimize(
                lambda parts, cost=cost: cost(parts[:4] - parts[4:]),
                np.zeros(8),
                method="L-BFGS-B",
                bounds=[(0, None)] * 4 + [(0, 0) if nonnegative else (0, None)] * 4,
                options={"ftol": 1e-14, "gtol": 1e-9},
            )
            assert cost(out[i]) == pytest.approx(best.fun, rel=1e-4)
            assert cost(out[i]) <= best.fun * (1 + 1e-12)  # ours is the more exact one


@pytest.mark.parametrize("dtype", DTYPES)
def test_proximal_rows_without_proximal_terms_solve_the_normal_equations(dtype):
    matrix, other = random_rows(4, dtype, share=0.6)
    exact = solve(solve_rows, matrix, other, 0.1)
    out = solve(solve_rows_proximal, matrix, other, 0.1, 0.0, False, 5000, 1e-13)
    np.testing.assert_allclose(out, exact, rtol=1e-4 if dtype == np.float32 else 1e-8, atol=1e-6)
    python = solve(in_python(solve_rows_proximal), matrix, other, 0.1, 0.2, True, 20, 1e-9)
    compiled = solve(solve_rows_proximal, matrix, other, 0.1, 0.2, True, 20, 1e-9)
    np.testing.assert_allclose(compiled, python, rtol=1e-4 if dtype == np.float32 else 1e-8)


# ------------------------------------------------------------------ predictions


@pytest.mark.parametrize("dtype", DTYPES)
def test_cells_are_inner_products_and_zero_where_an_id_is_negative(dtype):
    rng = np.random.default_rng(5)
    P, Q = rng.normal(size=(6, 5)).astype(dtype), rng.normal(size=(7, 5)).astype(dtype)
    rows, columns = np.array([0, 5, -1, 2, -1, 5]), np.array([6, 0, 3, -1, -1, 0])
    expected = np.einsum("td,td->t", P[rows], Q[columns]) * ((rows >= 0) & (columns >= 0))
    for kernel in (predict_cells, in_python(predict_cells)):
        out = np.full(6, np.nan, dtype)
        kernel(*map(read_only, (rows, columns, P, Q)), out)
        np.testing.assert_allclose(out, expected, rtol=PRECISION[dtype])


def test_long_inner_products_keep_their_digits_in_float32():
    ones = np.ones((1, 20_000), np.float32)
    ones[0, 0] = 1e8
    out, zero = np.zeros(1, np.float32), np.zeros(1, np.int64)
    predict_cells(*map(read_only, (zero, zero, ones, np.ones_like(ones))), out)
    assert out == np.float32(1e8 + 19_999)


@pytest.mark.parametrize("loss", [Quadratic(), Huber(0.5)], ids=repr)
def test_total_loss_is_the_sum_of_losses(loss):
    u, a = np.random.default_rng(6).normal(size=(2, 50))
    expected = sum(loss.value(*pair) for pair in zip(u.tolist(), a.tolist(), strict=True))
    for kernel in (total_loss, in_python(total_loss)):
        assert kernel(loss, read_only(u), read_only(a)) == pytest.approx(expected, rel=1e-12)
