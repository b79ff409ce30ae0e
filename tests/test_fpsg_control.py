"""FPSGFactorizer: interrupts, schedules with guests, warm starts, weights, intercepts."""

import os
import pickle
import signal
import threading

import numpy as np
import pytest
from sklearn.base import clone

from skglrm import Entries, FPSGFactorizer
from skglrm._jit import read_only
from skglrm._simd import Width, aligned_zeros
from skglrm.kernels import sgd
from skglrm.kernels.grid import entry_type
from skglrm.kernels.sgd import GradientStep, InterceptStep, settle_rows
from skglrm.losses import Quadratic
from skglrm.solvers import block_sgd
from skglrm.solvers.schedule import LeastUpdated, Rotation

SCHEDULES = ["fpsg", "rotation"]


def planted(m=90, n=60, share=0.6, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(m, 3)) @ rng.normal(size=(3, n)) + 0.05 * rng.normal(size=(m, n))
    cell = rng.permutation(m * n)[: int(share * m * n)]
    entries = Entries(cell // n, cell % n, truth.ravel()[cell], (m, n))
    return entries[300:], entries[:300]


def make(n_components=4, **params):
    defaults = {"regularization": 0.02, "max_iter": 30, "random_state": 0}
    return FPSGFactorizer(n_components, **(defaults | params))


def arrays(model):
    return {name: value for name, value in vars(model).items() if isinstance(value, np.ndarray)}


def assert_same(a, b, **slack):
    for name, array in arrays(a).items():
        np.testing.assert_allclose(array, arrays(b)[name], **slack, err_msg=name)


def interrupting(at, monkeypatch):
    """Let one of the visits of a fit raise what Ctrl-C raises."""
    visit, calls = block_sgd.sgd_block, []

    def visit_or_interrupt(*arguments):
        calls.append(None)
        if len(calls) == at:
            raise KeyboardInterrupt
        return visit(*arguments)

    monkeypatch.setattr(block_sgd, "sgd_block", visit_or_interrupt)


# ------------------------------------------------------------------ interrupts


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("within", [1, 13, 25])
def test_an_interrupt_leaves_the_model_of_the_last_whole_iteration(within, n_jobs, monkeypatch):
    train, test = planted()
    params = {"schedule": "rotation", "n_blocks": 5, "n_jobs": n_jobs}
    expected = make(max_iter=4, **params).fit(train)
    model = make(**params)
    with monkeypatch.context() as patch:
        interrupting(4 * 25 + within, patch)
        with pytest.raises(KeyboardInterrupt):
            model.fit(train)
    assert model.n_iter_ == model.best_iter_ == len(model.loss_curve_) == 4
    assert_same(model, expected, rtol=0)
    assert model.score(test) == expected.score(test)
    assert_same(model.partial_fit(test), expected.partial_fit(test), rtol=0)


def test_an_interrupted_fit_with_early_stopping_keeps_its_best_iteration(monkeypatch):
    train, _ = planted()
    model = make(early_stopping=True, learning_rate=0.5, regularization=1e-3, n_iter_no_change=40)
    with monkeypatch.context() as patch:
        interrupting(20, patch)
        with pytest.raises(KeyboardInterrupt):
            model.fit(train)
    assert model.n_iter_ == 19
    assert model.best_iter_ == 1 + np.argmin(model.validation_curve_)
    short = clone(model).set_params(max_iter=model.best_iter_).fit(train)
    np.testing.assert_array_equal(short.components_, model.components_)


@pytest.fixture
def ctrl_c():
    """Ctrl-C raises KeyboardInterrupt, even where whoever started the tests has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_a_fit_and_leaves_a_model():
    rng = np.random.default_rng(0)
    cell = rng.choice(2000 * 1000, 400_000, replace=False)
    X = Entries(cell // 1000, cell % 1000, rng.normal(size=cell.size), (2000, 1000))
    model = make(16, n_jobs=2, max_iter=2_000)
    fits = threading.Event()
    model._report = lambda *_: fits.set()
    pressed = []

    def press():
        fits.wait(60)
        pressed.append(True)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert pressed
    assert np.isfinite(model.predict_entries(X.row, X.col)).all()
    assert model.n_iter_ >= 1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_visit_that_raises_ends_the_fit_at_once(schedule, monkeypatch):
    train, _ = planted()
    calls = []

    def fail(*_):
        calls.append(None)
        raise ZeroDivisionError

    monkeypatch.setattr(block_sgd, "sgd_block", fail)
    model = make(n_jobs=3, n_blocks=7, schedule=schedule)
    with pytest.raises(ZeroDivisionError):
        model.fit(train)
    assert len(calls) <= 3
    assert not hasattr(model, "components_")


# ------------------------------------------------------------------ schedules with guests


@pytest.mark.parametrize("kind", [Rotation, LeastUpdated])
def test_ten_thousand_steps_on_eight_threads_share_no_band(kind):
    n_bands, n_threads = 17, 8
    for paired in (False, True):
        sizes = np.ones((n_bands, n_bands * (1 + paired)), np.int64)
        schedule = kind(sizes, 0, paired)
        busy, lock, conflicts, steps = set(), threading.Lock(), [], []

        def bands(job, sizes=sizes, paired=paired):
            guest, block = divmod(job, sizes.size)
            row, column = divmod(block, sizes.shape[1])
            return {("row", row), ("column", column)} | ({("column", guest)} if paired else set())

        def work(schedule=schedule, busy=busy, lock=lock, conflicts=conflicts, steps=steps):
            while (job := schedule.take()) is not None:
                mine = bands(job)
                with lock:
                    conflicts.extend(busy & mine)
                    busy |= mine
                    steps.append(job)
                with lock:
                    busy -= mine
                schedule.give(job)

        epoch = 0
        while len(steps) < 5_000:
            schedule.begin(epoch)
            threads = [threading.Thread(target=work) for _ in range(n_threads)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive()
            epoch += 1
            assert len(steps) == epoch * sizes.size
        assert not conflicts


@pytest.mark.parametrize("kind", [Rotation, LeastUpdated])
def test_every_band_is_a_guest_and_never_its_own(kind):
    schedule = kind(np.ones((3, 6), np.int64), 0, True)
    guests = np.zeros((6, 6), np.int64)
    for epoch in range(40):
        schedule.begin(epoch)
        while (job := schedule.take()) is not None:
            guest, block = divmod(job, 18)
            guests[block % 6, guest] += 1
            schedule.give(job)
    assert not guests.diagonal().any()
    expected = 40 * 18 / 30
    assert (abs(guests[~np.eye(6, dtype=bool)] - expected) < expected).all()


# ------------------------------------------------------------------ warm starts


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_warm_fit_goes_on_where_the_last_one_ended(fit_intercept, early_stopping):
    train, _ = planted()
    params = {"schedule": "rotation", "n_blocks": 4, "early_stopping": early_stopping}
    params |= {"fit_intercept": fit_intercept, "n_iter_no_change": 50}
    whole = make(max_iter=7, **params).fit(train)
    parts = make(max_iter=3, warm_start=True, **params).fit(train)
    parts.set_params(max_iter=4).fit(train)
    assert parts.n_iter_ == whole.n_iter_ == 7
    np.testing.assert_allclose(parts.loss_curve_, whole.loss_curve_, rtol=1e-7)
    np.testing.assert_allclose(parts.validation_curve_, whole.validation_curve_, rtol=1e-7)
    assert_same(parts, whole, rtol=1e-6, atol=1e-9)


def test_a_warm_fit_learns_rows_that_had_no_entries():
    train, test = planted()
    first = train[train.row < 60]
    model = make(warm_start=True, max_iter=40).fit(first).fit(train)
    assert model.row_factors_.any(axis=1).all()
    assert model.score(test) > 0.95


@pytest.mark.parametrize(
    "change",
    [lambda e: (e, {"n_components": 5}), lambda e: (e.to_dense()[:50], {})],
    ids=["components", "rows"],
)
def test_a_warm_fit_refuses_what_does_not_go_with_its_factors(change):
    train, _ = planted()
    model = make(warm_start=True, max_iter=2).fit(train)
    X, params = change(train)
    with pytest.raises(ValueError, match="warm_start=True goes on.*partial_fit"):
        model.set_params(**params).fit(X)


# ------------------------------------------------------------------ weights


def test_weights_that_are_all_one_change_nothing():
    train, _ = planted()
    plain, weighted = make().fit(train), make().fit(train, weights=np.ones(len(train)))
    assert_same(plain, weighted, rtol=1e-10)


def test_a_weight_multiplies_loss_and_penalty():
    train, _ = planted()
    w = np.random.default_rng(0).integers(1, 4, len(train)).astype(float)
    params = {"max_iter": 300, "l1_regularization": 0.003}
    model = make(**params).fit(train, weights=w)
    W, H = model.row_factors_[train.row], model.components_.T[train.col]
    error = np.einsum("ij,ij->i", W, H) - train.value
    penalty = 0.5 * 0.02 * ((W**2).sum(1) + (H**2).sum(1))
    penalty += 0.003 * (abs(W).sum(1) + abs(H).sum(1))
    assert model.loss_curve_[-1] == pytest.approx(w @ (0.5 * error**2 + penalty), rel=0.01)


def test_a_weight_of_zero_makes_a_cell_missing():
    train, _ = planted()
    w = (np.arange(len(train)) % 5 > 0).astype(float)
    np.testing.assert_allclose(
        make().fit(train, weights=w).components_, make().fit(train[w > 0]).components_, rtol=1e-6
    )


def test_weights_of_a_matrix_are_those_of_its_entries():
    train, _ = planted()
    X = train.to_dense()
    w = np.random.default_rng(0).random(X.shape)
    a = make().fit(X, weights=w)
    b = make().fit(train, weights=w[train.row, train.col])
    assert_same(a, b, rtol=1e-6, atol=1e-9)


def test_heavy_cells_are_fitted_better():
    train, _ = planted()
    heavy = np.arange(len(train)) % 2 == 0
    model = make(1, max_iter=60).fit(train, weights=np.where(heavy, 10.0, 0.1))
    error = (model.predict_entries(train.row, train.col) - train.value) ** 2
    assert error[heavy].mean() < 0.8 * error[~heavy].mean()


def test_held_out_losses_are_weighted():
    train, _ = planted()
    params = {"early_stopping": True, "schedule": "rotation", "max_iter": 5}
    w = np.full(len(train), 3.0)
    a, b = make(**params).fit(train), make(**params).fit(train, weights=w)
    assert b.validation_curve_[-1] == pytest.approx(a.validation_curve_[-1], rel=0.5)


# ------------------------------------------------------------------ the kernel


def visited(kernel, step, weighted, dtype):
    """Factors, states and loss after visits in a block of 6 x 5."""
    rng = np.random.default_rng(0)
    entries = np.zeros(30, entry_type(dtype, weighted))
    cell = rng.permutation(30)
    entries["row"], entries["column"], entries["value"] = cell // 5, cell % 5, rng.normal(size=30)
    if weighted:
        entries["weight"] = rng.integers(1, 4, 30)
    sides = []
    for m, one in ((6, 1), (5, 0)):
        factors, state = aligned_zeros((m, 16), dtype), aligned_zeros((m, 8), dtype)
        factors[:, :12] = rng.normal(size=(m, 12)) / 3
        factors[:, one] = 1
        state[:, 4:6] = 1
        settle_rows(factors, state, np.ones(m), 0, m)
        sides.append((factors, state))
    (P, row_state), (Q, column_state) = sides
    entries = read_only(entries)
    total = kernel(
        Quadratic(), step, Width(16), entries, entries if weighted else None, None, 0, 30, 2 << 32,
        P, Q, row_state, column_state,
    )  # fmt: skip
    return total, P, Q, row_state, column_state


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("step", "weighted"),
    [
        (GradientStep(0.1, 0.1, 1 / 8, 1 / 4, 0.05, 0.03), True),
        (InterceptStep(0.1, 0.1, 1 / 8, 1 / 4, 0.05, 0.03, 0.02, 0.01, -0.1, True), False),
    ],
    ids=["weights", "intercepts"],
)
def test_compiled_visits_are_those_of_the_source(step, weighted, dtype, monkeypatch):
    compiled = visited(sgd.sgd_block, step, weighted, dtype)
    monkeypatch.setattr(sgd, "weight_at", getattr(sgd.weight_at, "py_func", sgd.weight_at))
    source = getattr(sgd.sgd_block, "py_func", sgd.sgd_block)
    for a, b in zip(compiled, visited(source, step, weighted, dtype), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3 if dtype == np.float32 else 1e-9, atol=1e-5)
    if not weighted:
        assert (compiled[1][:, 1] == 1).all() and (compiled[2][:, 0] == 1).all()
        assert (compiled[1][:, 0] != 1).all() and (compiled[2][:, 1] != 1).all()


def test_a_visit_of_weight_two_is_twice_as_long():
    step = GradientStep(0.1, 0.1, 1 / 8, 1 / 4, 0.05, 0.03)
    moves = []
    for weight in (1.0, 2.0):
        entries = np.array([(0, 0, 0.7, weight)], entry_type(np.float64, True))
        P, Q = aligned_zeros((1, 16), np.float64), aligned_zeros((1, 16), np.float64)
        P[:], Q[:] = 0.2, 0.3
        states = [aligned_zeros((1, 8), np.float64) for _ in range(2)]
        for factors, state in zip((P, Q), states, strict=True):
            state[:, 4:6] = 1
            settle_rows(factors, state, np.ones(1), 0, 1)
        entries = read_only(entries)
        sgd.sgd_block(
            Quadratic(), step, Width(16), entries, entries, None, 0, 1, 9 << 32, P, Q, *states
        )
        moves.append((P - 0.2, Q - 0.3))
    for one, two in zip(*moves, strict=True):
        np.testing.assert_allclose(two, 2 * one, rtol=1e-12)


# ------------------------------------------------------------------ intercepts


def additive(seed=0):
    """Rows and columns with levels, and nothing else but noise."""
    rng = np.random.default_rng(seed)
    X = 50 + 3 * rng.normal(size=(80, 1)) + 2 * rng.normal(size=50) + rng.normal(size=(80, 50))
    cell = rng.permutation(X.size)[:2500]
    entries = Entries(cell // 50, cell % 50, X.ravel()[cell], X.shape)
    return entries[250:], entries[:250]


@pytest.mark.parametrize("unit", [1.0, 20.0])
def test_intercepts_find_levels_without_factors(unit):
    train, test = (Entries(e.row, e.col, unit * e.value, e.matrix_shape) for e in additive())
    params = {"regularization": 0.3 * unit, "max_iter": 60}
    model = make(2, fit_intercept=True, **params).fit(train)
    error = model.predict_entries(test.row, test.col) - test.value
    assert np.sqrt(np.mean(error**2)) < 1.3 * unit
    assert model.score(test) > make(2, **params).fit(train).score(test)
    np.testing.assert_array_equal(model.row_factors_[:, 1], 1)
    np.testing.assert_array_equal(model.components_[0], 1)
    assert model.components_.shape == (4, 50)
    assert model.baseline_ == pytest.approx(train.value.mean())


def test_the_objective_with_intercepts_is_that_of_all_factors_but_the_ones():
    train, _ = additive()
    model = make(2, fit_intercept=True, max_iter=300, regularization=0.1).fit(train)
    W, H = model.row_factors_, model.components_.T
    error = np.einsum("ij,ij->i", W[train.row], H[train.col]) - train.value
    W, H = W.copy(), H.copy()
    W[:, 1], H[:, 0], H[:, 1] = 0, 0, H[:, 1] - model.baseline_
    W[:, 0] /= model.scale_**0.5  # as factors are measured
    H[:, 1] /= model.scale_**0.5
    squares = (W[train.row] ** 2).sum() + (H[train.col] ** 2).sum()
    expected = 0.5 * (error**2).sum() + 0.05 * squares
    assert model.loss_curve_[-1] == pytest.approx(expected, rel=0.01)


def test_rows_are_folded_in_with_intercepts_of_their_own():
    train, _ = additive()
    model = make(2, fit_intercept=True, max_iter=300, regularization=0.1).fit(train)
    W = model.transform(train)
    np.testing.assert_array_equal(W[:, 1], 1)
    for i, w in enumerate(W):
        mine = train.row == i
        H = model.components_.T[train.col[mine]]
        strength = 0.1 * mine.sum() / np.array([model.scale_, 1, 1, 1])
        slope = H.T @ (H @ w - train.value[mine]) + strength * w
        np.testing.assert_allclose(np.delete(slope, 1), 0, atol=1e-6)
    assert np.linalg.norm(W - model.row_factors_) < 0.05 * np.linalg.norm(W[:, 0])


def test_the_two_sides_of_intercepts_are_alike():
    train, test = additive()
    across = make(2, fit_intercept=True).fit(train)
    down = make(2, fit_intercept=True).fit(Entries(train.col, train.row, train.value, (50, 80)))
    turned = Entries(test.col, test.row, test.value, (50, 80))
    assert across.score(test) == pytest.approx(down.score(turned), abs=0.03)


def test_intercepts_grow_with_the_model():
    train, test = additive()
    known = train[(train.row < 70) & (train.col < 45)]
    model = make(2, fit_intercept=True).fit(Entries(known.row, known.col, known.value, (70, 45)))
    model.partial_fit(train[(train.row >= 70) | (train.col >= 45)])
    assert model.row_factors_.shape == (80, 4) and model.components_.shape == (4, 50)
    np.testing.assert_array_equal(model.row_factors_[:, 1], 1)
    np.testing.assert_array_equal(model.components_[0], 1)
    assert model.score(test) > 0.7


def test_similar_items_do_not_look_at_intercepts():
    train, _ = planted()
    model = make(fit_intercept=True).fit(train)
    H = model.components_[2:].T
    unit = H / np.linalg.norm(H, axis=1, keepdims=True)
    _, scores = model.similar_items([3], 5)
    cosines = np.sort(np.delete(unit @ unit[3], 3))[::-1]
    np.testing.assert_allclose(scores[0], cosines[:5], rtol=1e-6)


def test_a_pickle_goes_on_alike():
    train, test = planted()
    model = make(fit_intercept=True, schedule="rotation").fit(train)
    again = pickle.loads(pickle.dumps(model))
    assert_same(model.partial_fit(test), again.partial_fit(test), rtol=0)
