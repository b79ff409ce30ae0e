"""Laws of FPSGFactorizer; what is random is seeded, and bounds are far from what is reached."""

import pickle

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError, UndefinedMetricWarning

from skglrm import Entries, FPSGFactorizer
from skglrm.solvers import block_sgd

NAN = np.nan
SCHEDULES = ["fpsg", "rotation", "hogwild"]
DTYPES = [np.float64, np.float32]


def planted(m=120, n=80, k=3, share=0.5, noise=0.05, seed=0, dtype=np.float64):
    """Cells of a matrix of low rank, and a tenth of them held out; every row and column is seen."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(m, k)) @ rng.normal(size=(k, n)) + noise * rng.normal(size=(m, n))
    cell = rng.permutation(m * n)[: int(share * m * n)]
    entries = Entries(cell // n, cell % n, truth.ravel()[cell].astype(dtype), (m, n))
    cut = len(entries) // 10
    assert np.bincount(entries[cut:].row, minlength=m).all()
    assert np.bincount(entries[cut:].col, minlength=n).all()
    return entries[cut:], entries[:cut]


def ratings(m=70, n=50, share=0.4, seed=0):
    """Halves of stars, as Entries in random order."""
    train, _ = planted(m, n, 3, share, seed=seed)
    value = np.clip(np.round(2 * (3 + train.value)) / 2, 0.5, 5)
    return Entries(train.row, train.col, value, (m, n))


def make(n_components=4, **params):
    defaults = {"regularization": 0.02, "max_iter": 30, "random_state": 0}
    return FPSGFactorizer(n_components, **(defaults | params))


def arrays(model):
    """All arrays that a fitted model consists of."""
    return {name: value for name, value in vars(model).items() if isinstance(value, np.ndarray)}


def assert_same_bits(a, b):
    assert arrays(a).keys() == arrays(b).keys() >= {"components_", "row_factors_"}
    for name, array in arrays(a).items():
        np.testing.assert_array_equal(array, arrays(b)[name], err_msg=name)
    assert a.loss_curve_ == b.loss_curve_
    assert a.validation_curve_ == b.validation_curve_


def differ(a, b):
    return not np.array_equal(a.components_, b.components_)


def objective(model, entries):
    """The class docstring's, cell by cell."""
    W, H = model.row_factors_[entries.row], model.components_.T[entries.col]
    error = np.einsum("ij,ij->i", W, H) - entries.value
    squares, absolutes = (W**2).sum() + (H**2).sum(), abs(W).sum() + abs(H).sum()
    return (
        0.5 * (error**2).sum()
        + 0.5 * model.regularization * squares
        + model.l1_regularization * absolutes
    )


def gradient_of_row(model, entries, w):
    """Derivative of the smooth part of one row's objective."""
    Q = model.components_.T[entries.col].astype(np.float64)
    return Q.T @ (Q @ w - entries.value) + model.regularization * len(entries) * w


def rows_of(entries):
    """The dense matrix, and the entries of each row."""
    X = entries.to_dense()
    return X, [Entries.from_matrix(row[None]) for row in X]


# ------------------------------------------------------------------ it factors


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_planted_matrix_is_recovered_on_held_out_cells(schedule, dtype, n_jobs):
    train, test = planted(dtype=dtype)
    model = make(8, max_iter=60, schedule=schedule, n_jobs=n_jobs, n_blocks=5).fit(train)
    error = model.predict_entries(test.row, test.col) - test.value
    assert np.sqrt(np.mean(error**2)) < 0.2 < test.value.std()
    assert model.score(test) > 0.98


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("l1", [0.0, 0.01])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_objective_falls(schedule, l1, nonnegative):
    train, _ = planted()
    model = make(schedule=schedule, l1_regularization=l1, nonnegative=nonnegative).fit(train)
    curve = np.array(model.loss_curve_)
    assert len(curve) == model.n_iter_ == 30
    assert curve[-1] < curve[0] * 0.95
    # SGD may rise a little near the end, never much.
    assert (curve[1:] < curve[:-1] * 1.001).all()


@pytest.mark.parametrize(
    "params",
    [{}, {"l1_regularization": 0.05}, {"nonnegative": True}, {"n_components": 11}],
    ids=str,
)
@pytest.mark.parametrize("unit", [1.0, 37.0])
def test_the_loss_curve_ends_at_the_objective_of_the_factors(params, unit):
    train, _ = planted()
    train = Entries(train.row, train.col, unit * train.value, train.matrix_shape)
    model = make(max_iter=200, **{"regularization": 0.02 * unit, **params}).fit(train)
    assert model.loss_curve_[-1] == pytest.approx(objective(model, train), rel=0.01)


@pytest.mark.parametrize("n_components", [1, 2, 7, 8, 9, 13, 16, 24, 50])
def test_any_number_of_components_will_do(n_components):
    train, test = planted(40, 30, k=1, share=0.7)
    model = make(n_components, max_iter=40).fit(train)
    assert model.components_.shape == (n_components, 30)
    assert model.row_factors_.shape == (40, n_components)
    assert model.transform(train).shape == (40, n_components)
    assert model.score(test) > 0.9


@pytest.mark.parametrize("n_blocks", [1, 2, 6, 30])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_any_grid_will_do(schedule, n_blocks):
    train, test = planted(60, 30, share=0.8)
    assert make(schedule=schedule, n_blocks=n_blocks, max_iter=60).fit(train).score(test) > 0.9


def test_negative_data_are_data_like_any_other():
    train, test = planted()
    train, test = (Entries(e.row, e.col, -5 - abs(e.value), e.matrix_shape) for e in (train, test))
    model = make(8, max_iter=60).fit(train)
    assert model.score(test) > 0.3
    assert model.predict_entries(test.row, test.col).max() < 0


@pytest.mark.parametrize("regularization", [10, 1e2, 1e3, 1e4])
def test_a_strong_penalty_leaves_nothing_or_says_that_its_steps_are_too_long(regularization):
    train, _ = planted()
    model = make(regularization=regularization)
    try:
        model.fit(train)
    except FloatingPointError as error:
        assert regularization > 1e2 and "learning_rate" in str(error)
    else:
        assert abs(model.predict_entries(train.row, train.col)).max() < 1e-3
        assert abs(model.transform(train)).max() < 1e-3


def test_l1_makes_zeros_and_more_l1_more_zeros():
    train, _ = planted()
    zeros = [
        np.mean(make(16, l1_regularization=l1, max_iter=60).fit(train).components_ == 0)
        for l1 in (0.0, 0.02, 0.2)
    ]
    assert zeros[0] == 0 < zeros[1] < zeros[2]


@pytest.mark.parametrize("l1", [0.0, 0.01])
def test_nonnegative_factors_are_not_negative(l1):
    rng = np.random.default_rng(0)
    X = rng.random((60, 3)) @ rng.random((3, 40)) + 0.01 * rng.normal(size=(60, 40))
    X[rng.random(X.shape) < 0.4] = NAN
    model = make(max_iter=60, nonnegative=True, l1_regularization=l1).fit(X)
    assert model.row_factors_.min() >= 0
    assert model.components_.min() >= 0
    assert model.transform(X).min() >= 0
    assert model.transform(-X).min() >= 0
    assert model.score(X) > 0.5
    model.partial_fit(X[:5])
    assert min(model.row_factors_.min(), model.components_.min()) >= 0


# ------------------------------------------------------------------ one model for the same cells


def containers():
    yield "csc", lambda e: e.to_csr().tocsc()
    yield "coo", lambda e: sp.coo_array((e.value, (e.row, e.col)), e.matrix_shape)
    yield "lil", lambda e: e.to_csr().tolil()
    yield "spmatrix", lambda e: sp.csr_matrix(e.to_csr())
    yield "dense", lambda e: e.to_dense()
    yield "fortran", lambda e: np.asfortranarray(e.to_dense())
    yield "list", lambda e: e.to_dense().tolist()
    yield "entries", lambda e: Entries.from_matrix(e.to_csr())
    yield "pandas", lambda e: pytest.importorskip("pandas").DataFrame(e.to_dense())
    yield (
        "polars",
        lambda e: pytest.importorskip("polars").DataFrame(
            {str(j): column for j, column in enumerate(e.to_dense().T)}, nan_to_null=True
        ),
    )


@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
@pytest.mark.parametrize(
    "convert", [convert for _, convert in containers()], ids=[name for name, _ in containers()]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_container_does_not_matter(convert, dtype):
    train, _ = planted(dtype=dtype)
    X = convert(train)
    if isinstance(X, list):  # which has no single precision
        train = Entries.from_matrix(X)
    expected, got = make(n_blocks=3).fit(train.to_csr()), make(n_blocks=3)
    W = got.fit_transform(X)
    for name in ("row_factors_", "components_"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
    np.testing.assert_array_equal(W, expected.transform(train))
    assert got.score(train) == expected.score(train)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("data", [ratings, lambda seed: planted(70, 50, seed=seed)[0]])
@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_entries_does_not_matter(seed, data, early_stopping):
    entries = data(seed=seed)
    order = np.random.default_rng(seed).permutation(len(entries))
    a, b = (make(n_blocks=3, early_stopping=early_stopping) for _ in range(2))
    a.fit(entries), b.fit(entries[order])
    np.testing.assert_array_equal(a.components_, b.components_)
    np.testing.assert_array_equal(a.row_factors_, b.row_factors_)
    np.testing.assert_array_equal(a.transform(entries), b.transform(entries[order]))


@pytest.mark.parametrize("data", [ratings, lambda: planted(70, 50)[0]])
def test_the_order_of_entries_matters_no_more_than_rounding(data):
    entries = data()
    order = np.random.default_rng(0).permutation(len(entries))
    a, b = make(n_blocks=3).fit(entries), make(n_blocks=3).fit(entries[order])
    np.testing.assert_allclose(a.components_, b.components_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(a.row_factors_, b.row_factors_, rtol=1e-6, atol=1e-9)


def results(model, X):
    W = model.transform(X)
    items, scores = model.recommend(X, n=5, exclude_seen=False)
    return [model.components_, model.row_factors_, W, model.score(X), items, scores]


@pytest.mark.parametrize("sparse", [sp.csr_array, sp.csc_matrix, sp.coo_array])
def test_unstored_cells_are_missing_by_default(sparse):
    X = ratings().to_dense()
    stored = sparse(np.nan_to_num(X))
    for got, expected in zip(
        results(make().fit(stored), stored), results(make().fit(X), X), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("sparse", [sp.csr_array, sp.csc_matrix, sp.coo_array, sp.bsr_array])
def test_unstored_cells_are_zeros_on_demand(sparse):
    stored = sparse(np.nan_to_num(ratings(share=0.1).to_dense()))
    dense = stored.toarray()
    model, expected = make(unstored="zero").fit(stored), make(unstored="zero").fit(dense)
    for a, b in zip(results(model, stored), results(expected, dense), strict=True):
        np.testing.assert_array_equal(a, b)
    assert abs(model.inverse_transform(model.row_factors_) - dense).mean() < dense.std()


def test_a_stored_zero_is_data_and_a_stored_nan_is_not():
    X = ratings().to_csr()
    X.data[:50] = 0.0
    zeros = make().fit(X)
    assert_same_bits(zeros, make().fit(Entries.from_matrix(X)))
    X.data[:50] = NAN
    dense = X.toarray()
    dense[dense == 0] = NAN
    assert_same_bits(make().fit(X), make().fit(dense))
    assert differ(zeros, make().fit(X))


def test_fitting_leaves_the_data_as_they_were():
    for X in (ratings().to_dense(), ratings().to_csr(), ratings().to_csr().tocoo()):
        parts = [getattr(X, name, None) for name in ("data", "indices", "indptr", "row", "col")]
        parts = [X] if isinstance(X, np.ndarray) else [part for part in parts if part is not None]
        before = [part.copy() for part in parts]
        for part in parts:
            part.flags.writeable = False
        model = make(max_iter=2).fit(X)
        model.transform(X), model.score(X), model.recommend(X), model.partial_fit(X)
        for part, copy in zip(parts, before, strict=True):
            np.testing.assert_array_equal(part, copy)


# ------------------------------------------------------------------ seeds and threads


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_thread_gives_the_same_bits_every_time(schedule, early_stopping):
    train, _ = planted()
    a, b = (
        make(n_blocks=5, schedule=schedule, early_stopping=early_stopping).fit(train)
        for _ in range(2)
    )
    assert_same_bits(a, b)
    assert_same_bits(a, a.fit(train))


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"early_stopping": True, "n_iter_no_change": 2},
        {"tol": 0.01, "max_iter": 100},
        {"nonnegative": True, "l1_regularization": 0.01},
        {"n_components": 13},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rotation_gives_the_same_bits_for_any_number_of_threads(params, dtype):
    train, test = planted(300, 200, dtype=dtype)
    params = {"max_iter": 10} | params
    models = []
    for n_jobs in (1, 2, 3):
        model = make(schedule="rotation", n_blocks=7, n_jobs=n_jobs, **params).fit(train)
        models.append(model.partial_fit(test))
    for model in models[1:]:
        assert_same_bits(models[0], model)
        np.testing.assert_array_equal(models[0].transform(train), model.transform(train))
        assert models[0].score(train.to_csr()) == model.score(train.to_csr())


def test_different_seeds_give_different_models_of_equal_quality():
    train, test = planted()
    models = [make(random_state=seed, max_iter=60).fit(train) for seed in range(3)]
    assert differ(models[0], models[1]) and differ(models[1], models[2])
    scores = [model.score(test) for model in models]
    assert max(scores) - min(scores) < 0.02


def test_a_random_state_instance_is_drawn_from():
    train, _ = planted()
    a, b = (make(random_state=np.random.RandomState(3)).fit(train) for _ in range(2))
    assert_same_bits(a, b)
    before = b.components_.copy()
    assert not np.array_equal(before, b.fit(train).components_)


def test_without_a_seed_fits_differ():
    train, _ = planted()
    assert differ(*(make(random_state=None, max_iter=2).fit(train) for _ in range(2)))


def test_the_start_does_not_depend_on_the_grid():
    train, _ = planted()
    a, b = (
        make(learning_rate=1e-12, max_iter=2, n_blocks=n_blocks).fit(train) for n_blocks in (1, 7)
    )
    np.testing.assert_allclose(a.row_factors_, b.row_factors_, atol=1e-9)
    np.testing.assert_allclose(a.components_, b.components_, atol=1e-9)


def test_a_few_bands_more_than_threads_are_a_warning():
    train, _ = planted()
    with pytest.warns(UserWarning, match=r"n_blocks=3 leaves 2 threads little choice.*5 or more"):
        make(n_jobs=2, n_blocks=3, max_iter=2).fit(train)


# ------------------------------------------------------------------ units


@pytest.mark.parametrize("l1", [0.0, 0.02])
def test_ten_times_the_data_give_ten_times_the_predictions(l1):
    train, test = planted()
    tenfold = Entries(train.row, train.col, 10 * train.value, train.matrix_shape)
    one = make(regularization=0.05, l1_regularization=l1).fit(train)
    ten = make(regularization=0.5, l1_regularization=l1 * 10**1.5).fit(tenfold)
    assert ten.scale_ == pytest.approx(10 * one.scale_)
    np.testing.assert_allclose(
        ten.predict_entries(test.row, test.col),
        10 * one.predict_entries(test.row, test.col),
        rtol=1e-6,
        atol=1e-6,
    )
    np.testing.assert_allclose(ten.loss_curve_, 100 * np.array(one.loss_curve_), rtol=1e-6)
    np.testing.assert_allclose(
        ten.transform(tenfold), 10**0.5 * one.transform(train), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("unit", [1e-20, 1e20])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tiny_and_huge_units_are_scaled_away(unit, dtype):
    train, test = planted()
    train, test = (
        Entries(e.row, e.col, (unit * e.value).astype(dtype), e.matrix_shape) for e in (train, test)
    )
    assert make(regularization=0.02 * unit, max_iter=60).fit(train).score(test) > 0.95


def test_rows_and_columns_are_treated_alike():
    train, test = planted(150, 60)
    scores = []
    for seed in range(3):
        across = make(8, random_state=seed).fit(train)
        down = make(8, random_state=seed).fit(Entries(train.col, train.row, train.value, (60, 150)))
        assert down.components_.shape == across.row_factors_.T.shape
        assert down.loss_curve_[-1] == pytest.approx(across.loss_curve_[-1], rel=0.02)
        turned = Entries(test.col, test.row, test.value, (60, 150))
        scores.append((across.score(test), down.score(turned)))
    assert np.abs(np.diff(scores)).max() < 0.02


# ------------------------------------------------------------------ small and odd data


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("shape", [(1, 12), (12, 1), (1, 1), (2, 2), (3, 50), (50, 3)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_small_matrices_are_fitted(shape, schedule, dtype):
    X = (1 + np.arange(np.prod(shape), dtype=dtype)).reshape(shape)
    model = make(3, regularization=1e-4, max_iter=300, schedule=schedule, n_jobs=2).fit(X)
    assert abs(model.row_factors_ @ model.components_ - X).max() < 0.1 * X.max()
    assert model.inverse_transform(model.transform(X)).shape == shape


def test_one_cell_in_a_large_matrix_is_learned_and_the_rest_is_its_value():
    model = make(max_iter=200, regularization=1e-3).fit(Entries([7], [3], [-2.0], (20, 10)))
    np.testing.assert_allclose(model.predict_entries([7, 7, 0, 0], [3, 0, 3, 0]), -2, atol=0.1)
    assert np.count_nonzero(model.row_factors_.any(axis=1)) == 1
    assert np.count_nonzero(model.components_.any(axis=0)) == 1


@pytest.mark.parametrize("constant", [5.0, -0.001, 1e6])
def test_constant_data_are_predicted(constant):
    X = np.full((30, 20), constant)
    X[::3, ::2] = NAN
    model = make(8, regularization=1e-4 * abs(constant), max_iter=100).fit(X)
    np.testing.assert_allclose(
        model.inverse_transform(model.transform(X)), constant, atol=0.1 * abs(constant)
    )


def test_all_zero_data_are_predicted():
    X = np.zeros((30, 20))
    model = make(8, max_iter=200).fit(X)
    np.testing.assert_allclose(model.predict_entries([0, 99], [0, 99]), 0, atol=0.01)
    np.testing.assert_array_equal(model.transform(X), 0)


def test_equal_stored_values_of_a_sparse_matrix_are_a_warning():
    clicks = sp.csr_array(np.eye(5) + np.eye(5, k=1))
    with pytest.warns(UserWarning, match=r"unstored='zero'.*ImplicitALS"):
        make().fit(clicks)
    make(unstored="zero").fit(clicks)


def test_rows_and_columns_without_cells_have_zero_factors():
    train, _ = planted()
    model = make().fit(Entries(2 * train.row, 3 * train.col, train.value, (250, 250)))
    without_row = np.setdiff1d(np.arange(250), 2 * train.row)
    without_col = np.setdiff1d(np.arange(250), 3 * train.col)
    assert not model.row_factors_[without_row].any()
    assert not model.components_[:, without_col].any()
    assert model.row_factors_[2 * train.row].any(axis=1).all()


# ------------------------------------------------------------------ when it ends


def noisy(**params):
    """A model that soon learns noise."""
    train, test = planted(noise=2.0)
    params = {"max_iter": 200, "learning_rate": 0.3, "regularization": 1e-3} | params
    return make(8, early_stopping=True, **params), train, test


@pytest.mark.parametrize("n_iter_no_change", [1, 3, 5])
def test_early_stopping_waits_and_keeps_the_best(n_iter_no_change):
    model, train, _ = noisy(n_iter_no_change=n_iter_no_change)
    model.fit(train)
    curve = model.validation_curve_
    assert len(curve) == len(model.loss_curve_) == model.n_iter_ < 200
    assert model.best_iter_ == 1 + np.argmin(curve)
    assert model.n_iter_ == model.best_iter_ + n_iter_no_change


def test_the_kept_factors_are_those_of_the_best_iteration():
    model, train, _ = noisy()
    model.fit(train)
    assert 1 < model.best_iter_ < model.n_iter_
    short = clone(model).set_params(max_iter=model.best_iter_).fit(train)
    assert short.best_iter_ == short.n_iter_ == model.best_iter_
    for name, array in arrays(short).items():  # accumulators of the learning rates among them
        np.testing.assert_array_equal(array, arrays(model)[name], err_msg=name)


@pytest.mark.parametrize("fraction", [0.1, 0.4])
def test_the_kept_factors_have_the_validation_loss_of_the_best_iteration(fraction, monkeypatch):
    held_out = []
    solve = FPSGFactorizer._solve

    def spy(self, *args, **kwargs):
        held_out.append(kwargs["held_out"])
        return solve(self, *args, **kwargs)

    monkeypatch.setattr(FPSGFactorizer, "_solve", spy)
    model, train, _ = noisy(validation_fraction=fraction)
    model.fit(train)
    ((cells, _),) = held_out
    assert len(cells) == pytest.approx(fraction * len(train), rel=0.15)
    products = np.einsum("ij,ij->i", model.row_factors_[cells.row], model.components_.T[cells.col])
    loss = 0.5 * np.mean((products - cells.value) ** 2)
    assert loss == pytest.approx(min(model.validation_curve_), rel=1e-9)


@pytest.mark.parametrize("n_cells", [2, 5, 10, 30])
def test_early_stopping_finds_cells_to_hold_out_however_few_there_are(n_cells):
    cells = Entries(np.arange(n_cells), np.arange(n_cells) % 3, np.arange(n_cells))
    for seed in range(20):
        model = make(early_stopping=True, random_state=seed, max_iter=2).fit(cells)
        assert len(model.validation_curve_) == 2


def test_early_stopping_helps_where_noise_is_learned():
    model, train, test = noisy()
    stopped = model.fit(train).score(test)
    assert stopped > clone(model).set_params(early_stopping=False).fit(train).score(test)


def test_without_early_stopping_every_iteration_is_run():
    train, _ = planted()
    model = make(max_iter=7, n_iter_no_change=1).fit(train)
    assert model.n_iter_ == model.best_iter_ == len(model.loss_curve_) == 7
    assert model.validation_curve_ == []


@pytest.mark.parametrize("early_stopping", [False, True])
def test_tol_is_the_relative_progress_that_counts(early_stopping):
    train, _ = planted()
    params = {"early_stopping": early_stopping, "n_iter_no_change": 2, "max_iter": 500}
    iterations = []
    for tol in (0.5, 0.05, 0.001):
        model = make(tol=tol, **params).fit(train)
        curve = model.validation_curve_ if early_stopping else model.loss_curve_
        assert model.n_iter_ == len(curve) < 500
        assert curve[-1] >= (1 - tol) * min(curve[:-1])
        iterations.append(model.n_iter_)
    assert iterations[0] < iterations[1] < iterations[2]


def test_a_fit_that_tol_does_not_end_is_a_warning():
    train, _ = planted()
    with pytest.warns(ConvergenceWarning, match=r"did not converge in 3 iterations.*max_iter"):
        model = make(max_iter=3, tol=1e-6).fit(train)
    assert model.n_iter_ == 3


def test_verbose_prints_a_line_per_iteration(capsys):
    train, _ = planted()
    make(max_iter=3).fit(train)
    assert capsys.readouterr().out == ""
    make(max_iter=3, verbose=1, early_stopping=True).fit(train)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all("iteration" in line and "objective" in line for line in lines)


# ------------------------------------------------------------------ folding in


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("regularization", [0.0, 0.02, 1.0])
def test_transform_solves_the_normal_equations_of_each_row(regularization, dtype):
    train, _ = planted(dtype=dtype)
    model = make(regularization=regularization).fit(train)
    X, rows = rows_of(train)
    Q = model.components_.T.astype(np.float64)
    W = model.transform(X)
    for w, row in zip(W, rows, strict=True):
        q = Q[row.col]
        A = q.T @ q + regularization * len(row) * np.eye(q.shape[1])
        expected = np.linalg.solve(A, q.T @ row.value.astype(np.float64))
        np.testing.assert_allclose(w, expected, rtol=2e-3 if dtype == np.float32 else 1e-6)


def test_transform_with_nonnegative_solves_nnls_of_each_row():
    train, _ = planted()
    model = make(nonnegative=True, regularization=0.05).fit(train)
    X, rows = rows_of(train)
    some_zero = False
    for w, row in zip(model.transform(X), rows, strict=True):
        ridge = np.sqrt(0.05 * len(row)) * np.eye(4)
        A = np.vstack([model.components_.T[row.col], ridge])
        expected, _ = nnls(A, np.append(row.value, np.zeros(4)))
        np.testing.assert_allclose(w, expected, atol=1e-6)
        some_zero |= (expected == 0).any()
    assert some_zero


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("l1", [0.0, 0.1, 1.0])
def test_the_transform_of_a_row_is_a_stationary_point(l1, nonnegative):
    train, _ = planted()
    model = make(8, l1_regularization=l1, nonnegative=nonnegative).fit(train)
    X, rows = rows_of(train)
    for w, row in zip(model.transform(X), rows, strict=True):
        slope = gradient_of_row(model, row, w)
        mu = l1 * len(row)
        scale = 1e-6 * max(1.0, abs(row.value).sum())
        inside = w > 0 if nonnegative else w != 0
        np.testing.assert_allclose((slope + mu * np.sign(w))[inside], 0, atol=scale)
        assert (slope[~inside] >= -mu - scale).all()
        if not nonnegative:
            assert (slope[~inside] <= mu + scale).all()


def test_fitted_rows_are_near_their_transform():
    train, _ = planted()
    model = make(max_iter=300).fit(train)
    W = model.transform(train)
    assert np.linalg.norm(W - model.row_factors_) < 0.05 * np.linalg.norm(W)


@pytest.mark.parametrize("l1", [0.0, 0.01])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_row_is_folded_in_from_its_cells_alone(n_jobs, l1):
    train, _ = planted(600, 40)  # more rows than one task takes
    model = make(l1_regularization=l1, n_jobs=n_jobs).fit(train)
    X = train.to_dense()
    W = model.transform(X)
    order = np.random.default_rng(0).permutation(600)
    np.testing.assert_array_equal(model.transform(X[order]), W[order])
    np.testing.assert_array_equal(model.transform(train.to_csr()[order[:300]]), W[order[:300]])
    for i in (0, 255, 256, 599):
        np.testing.assert_array_equal(model.transform(X[[i]])[0], W[i])


@pytest.mark.parametrize("params", [{}, {"l1_regularization": 0.01}, {"regularization": 0.0}])
def test_a_row_without_cells_has_zero_factors(params):
    train, _ = planted()
    model = make(**params).fit(train)
    X = np.full((3, 80), NAN)
    X[1] = 1.0
    W = model.transform(X)
    assert not W[[0, 2]].any() and W[1].any()
    assert not model.transform(sp.csr_array((3, 80))).any()
    assert not model.transform(Entries([], [], [], (3, 80))).any()


@pytest.mark.parametrize("convert", [Entries.to_dense, Entries.to_csr, lambda e: e])
@pytest.mark.parametrize("params", [{}, {"nonnegative": True}, {"early_stopping": True}], ids=str)
def test_fit_transform_is_fit_then_transform(params, convert):
    train, _ = planted()
    X = convert(train)
    W = make(**params).fit_transform(X)
    np.testing.assert_array_equal(W, make(**params).fit(X).transform(X))


def test_a_rank_that_cells_do_not_determine_is_folded_in_all_the_same():
    train, _ = planted()
    model = make(16, regularization=0.0).fit(train)
    X = np.full((1, 80), NAN)
    X[0, 5] = 2.0
    W = model.transform(X)
    assert np.isfinite(W).all()
    assert (W @ model.components_)[0, 5] == pytest.approx(2.0, rel=1e-6)


def test_inverse_transform_multiplies():
    train, _ = planted()
    model = make().fit(train)
    W = model.transform(train)
    np.testing.assert_allclose(model.inverse_transform(W), W @ model.components_)
    np.testing.assert_allclose(model.inverse_transform(W.tolist()), W @ model.components_)


def test_float32_models_stay_float32_whatever_they_are_given():
    train, test = planted(dtype=np.float32)
    model = make().fit(train)
    X = train.to_dense().astype(np.float64)
    assert model.transform(X).dtype == np.float32
    assert model.predict_entries(test.row, test.col).dtype == np.float32
    assert model.recommend(X)[1].dtype == model.similar_items(0)[1].dtype == np.float32
    model.partial_fit(X[:3]).partial_fit(Entries([0], [0], [1.0]))
    assert model.row_factors_.dtype == model.components_.dtype == np.float32


# ------------------------------------------------------------------ predicting cells


def half_known():
    """A model with unseen rows (from 30 on) and columns (from 20 on), and its entries."""
    train, _ = planted(30, 20, share=0.6)
    train = Entries(train.row, train.col, 3 + train.value, (35, 24))
    return make().fit(train), train


def offset(train, axis, at):
    """Damped deviation of a row's or column's values from the mean of all."""
    values = train.value[getattr(train, axis) == at]
    return (values - train.value.mean()).sum() / (len(values) + 5)


def test_known_cells_are_inner_products():
    model, _ = half_known()
    rows, cols = np.divmod(np.arange(600), 20)
    np.testing.assert_allclose(
        model.predict_entries(rows, cols).reshape(30, 20),
        (model.row_factors_ @ model.components_)[:30, :20],
    )


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8])
@pytest.mark.parametrize("beyond", [20, 23, 24, 100, -1, -24])
def test_an_unseen_column_is_predicted_from_the_row(beyond, dtype):
    model, train = half_known()
    got = model.predict_entries(np.arange(30, dtype=dtype), np.full(30, beyond, dtype))
    expected = [train.value.mean() + offset(train, "row", i) for i in range(30)]
    np.testing.assert_allclose(got, expected)


@pytest.mark.parametrize("beyond", [30, 34, 35, 1000, -1, -35])
def test_an_unseen_row_is_predicted_from_the_column(beyond):
    model, train = half_known()
    got = model.predict_entries(np.full(20, beyond), np.arange(20))
    expected = [train.value.mean() + offset(train, "col", j) for j in range(20)]
    np.testing.assert_allclose(got, expected)


def test_where_both_are_unseen_the_mean_is_predicted():
    model, train = half_known()
    rows, cols = [30, 34, 35, -1, -9, 2**40], [20, 23, 24, -1, -9, 2**40]
    assert model.baseline_ == pytest.approx(train.value.mean())
    np.testing.assert_allclose(model.predict_entries(rows, cols), train.value.mean())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_unsigned_positions_beyond_the_matrix_are_unseen_too(dtype):
    model, _ = half_known()
    rows, cols = np.array([0, 200, 0, 200], dtype), np.array([0, 0, 200, 200], dtype)
    np.testing.assert_array_equal(
        model.predict_entries(rows, cols),
        model.predict_entries(rows.astype(np.int64), cols.astype(np.int64)),
    )


def test_no_cells_have_no_predictions():
    model, _ = half_known()
    assert model.predict_entries([], []).shape == (0,)
    assert model.predict_entries(3, 4).shape == (1,)


def test_predictions_are_never_nan_where_a_row_has_one_cell():
    model = make(max_iter=5).fit(Entries([0, 5], [0, 7], [1.0, 2.0], (9, 9)))
    rows, cols = np.divmod(np.arange(12 * 12), 12)
    assert np.isfinite(model.predict_entries(rows - 1, cols - 1)).all()


# ------------------------------------------------------------------ scores


def test_the_score_of_a_matrix_is_repeatable_and_blind_to_the_order_of_rows():
    train, _ = planted()
    model, X = make().fit(train), train.to_dense()
    score = model.score(X)
    assert model.score(X) == model.score(train.to_csr()) == score
    order = np.random.default_rng(0).permutation(len(X))
    assert model.score(X[order]) == pytest.approx(score, rel=1e-12)
    assert type(score) is float


def test_the_score_is_one_for_structure_and_zero_for_noise():
    train, _ = planted()
    new_rows, _ = planted(seed=0, noise=0.05)
    assert 0.98 < make(max_iter=60).fit(train).score(new_rows.to_dense()) <= 1
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200, 60))
    noise[rng.random(noise.shape) < 0.5] = NAN
    model = make(8, regularization=0.3).fit(noise)
    assert -0.3 < model.score(noise) < 0.2
    assert -0.3 < model.score(rng.normal(size=(200, 60))) < 0.2


def test_the_score_of_new_rows_does_not_reward_rank_without_limit():
    X = planted(300, 60, noise=1.0, share=0.4)[0].to_dense()
    scores = [
        make(k, regularization=1e-3, max_iter=100).fit(X[:150]).score(X[150:]) for k in (1, 3, 16)
    ]
    assert np.argmax(scores) == 1


def test_the_score_of_entries_is_one_minus_the_ratio_of_squared_errors():
    train, test = planted()
    model = make().fit(train)
    error = model.predict_entries(test.row, test.col) - test.value
    expected = 1 - (error**2).sum() / ((test.value - test.value.mean()) ** 2).sum()
    assert model.score(test) == pytest.approx(expected, rel=1e-12)
    order = np.random.default_rng(0).permutation(len(test))
    assert model.score(test[order]) == pytest.approx(expected, rel=1e-12)


def test_entries_with_ids_are_scored_by_id():
    pd = pytest.importorskip("pandas")
    train, test = planted()

    def frame(entries):
        return pd.DataFrame(
            {
                "row": [f"user {i:03}" for i in entries.row],
                "col": [f"item {j:03}" for j in entries.col],
                "value": entries.value,
            }
        )

    names = {"row": "row", "col": "col", "value": "value"}
    model = make().fit(Entries.from_frame(frame(train), **names))
    few = test[(test.row > 60) & (test.col > 30)]
    on_its_own = Entries.from_frame(frame(few), **names)
    assert on_its_own.matrix_shape != few.matrix_shape
    assert model.score(on_its_own) == pytest.approx(make().fit(train).score(few), rel=1e-9)


def test_rows_with_one_cell_are_left_out_of_the_score():
    train, _ = planted()
    model, X = make().fit(train), train.to_dense()
    single = np.full((40, 80), NAN)
    single[:, 3] = 1e6
    assert model.score(np.vstack([single, X])) == pytest.approx(model.score(X), rel=1e-12)
    empty = np.full((2, 80), NAN)
    assert model.score(np.vstack([X, empty])) == model.score(X)


@pytest.mark.parametrize("X", [np.full((2, 80), NAN), sp.csr_array(np.eye(2, 80))])
def test_a_score_without_cells_is_nan_with_a_warning(X):
    train, _ = planted()
    model = make().fit(train)
    with pytest.warns(UndefinedMetricWarning, match="two observed cells"):
        assert np.isnan(model.score(X))


def test_the_score_of_constant_cells_is_at_most_zero_unless_they_are_hit():
    train, _ = planted()
    assert make().fit(train).score(Entries([0, 1], [0, 1], [5.0, 5.0], (120, 80))) == 0.0


# ------------------------------------------------------------------ recommending


def ranked(scores, allowed, n):
    """What ``recommend`` should return, written naively."""
    items, best = np.full((len(scores), n), -1), np.full((len(scores), n), -np.inf)
    for i, row in enumerate(scores):
        order = sorted((j for j in range(len(row)) if allowed[i, j]), key=lambda j: (-row[j], j))
        for place, j in enumerate(order[:n]):
            items[i, place], best[i, place] = j, row[j]
    return items, best


def assert_ranked(got, scores, allowed, n):
    items, best = ranked(scores, allowed, n)
    np.testing.assert_array_equal(got[0], items)
    np.testing.assert_allclose(got[1], best, rtol=1e-6)
    assert got[0].dtype == np.int64


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("n", [1, 10, 60, 200])
@pytest.mark.parametrize("convert", [Entries.to_dense, Entries.to_csr])
def test_recommendations_are_the_sorted_predictions(convert, n, exclude_seen):
    train, _ = planted()
    model, X = make().fit(train), convert(train)
    scores = model.inverse_transform(model.transform(X))
    allowed = np.isnan(train.to_dense()) | (not exclude_seen)
    got = model.recommend(X, n=n, exclude_seen=exclude_seen)
    assert_ranked(got, scores, allowed, n)
    only = model.recommend(X, n=n, exclude_seen=exclude_seen, return_scores=False)
    np.testing.assert_array_equal(only, got[0])


def test_a_stored_zero_has_been_seen():
    train, _ = planted()
    model = make().fit(train)
    X = sp.csr_array(([0.0, 0.0, 1.0], ([0, 0, 0], [4, 9, 11])), shape=(1, 80))
    items = model.recommend(X, n=80, return_scores=False)[0]
    assert sorted(items[:77]) == sorted(set(range(80)) - {4, 9, 11})
    assert (items[77:] == -1).all()


def test_unstored_zeros_have_not_been_seen():
    X = np.nan_to_num(ratings(share=0.2).to_dense())
    stored = sp.csr_array(X)
    items, scores = make(unstored="zero").fit(stored).recommend(stored, n=5)
    assert (items >= 0).all() and np.isfinite(scores).all()
    assert not np.take_along_axis(X, items, axis=1).any()


@pytest.mark.parametrize("items", [[3, 5, 70], [70, 5, 3], np.arange(0, 80, 2), [], 7], ids=str)
def test_only_columns_of_the_pool_are_recommended(items):
    train, _ = planted()
    model, X = make().fit(train), train.to_dense()
    allowed = np.zeros(X.shape, bool)
    allowed[:, np.array(items, dtype=int)] = True
    allowed &= np.isnan(X)
    scores = model.inverse_transform(model.transform(X))
    assert_ranked(model.recommend(X, n=5, items=items), scores, allowed, 5)


def test_a_column_that_is_twice_in_the_pool_counts_once():
    train, _ = planted()
    model, X = make().fit(train), train.to_dense()
    once, twice = (model.recommend(X, n=8, items=pool) for pool in ([3, 5, 9], [3, 5, 3, 9, 5, 9]))
    np.testing.assert_array_equal(twice[0], once[0])
    np.testing.assert_array_equal(twice[1], once[1])


@pytest.mark.parametrize("items", [None, [7, 3, 5, 2]])
def test_ties_go_to_the_first_column(items):
    train, _ = planted()
    model = make().fit(train)
    model.components_ = np.ones_like(model.components_)
    X = np.full((2, 80), NAN)
    X[:, 0] = 1.0
    got = model.recommend(X, n=3, items=items, return_scores=False)
    np.testing.assert_array_equal(got, [[1, 2, 3] if items is None else [2, 3, 5]] * 2)


def test_cold_rows_are_ranked_by_damped_column_means():
    model, train = half_known()
    X = np.full((2, 24), NAN)
    X[1, 0] = 4.0
    items, scores = model.recommend(X, n=24)
    means = np.full(24, train.value.mean())
    means[:20] += [offset(train, "col", j) for j in range(20)]
    assert_ranked((items[:1], scores[:1]), means[None], np.ones((1, 24), bool), 24)
    np.testing.assert_allclose(scores[0], model.predict_entries(np.full(24, -1), items[0]))
    # The row beside it is folded in; of columns that nobody has seen it has its own mean.
    w = model.transform(X)[1]
    expected = w @ model.components_
    expected[20:] = train.value.mean() + (4.0 - train.value.mean()) / 6
    assert_ranked((items[1:], scores[1:]), expected[None], np.arange(24)[None] > 0, 24)


def test_entries_are_recommended_for_with_the_fitted_rows():
    model, train = half_known()
    asked = train[(train.row == 3) | (train.row == 8)]
    items, scores = model.recommend(asked, n=24)
    assert items.shape == (35, 24)
    for i in (0, 3, 8, 31):
        seen = train.col[train.row == i] if i in (3, 8) else []
        expected = model.predict_entries(np.full(24, i), np.arange(24))
        allowed = ~np.isin(np.arange(24), seen)
        assert_ranked((items[i : i + 1], scores[i : i + 1]), expected[None], allowed[None], 24)


def test_entries_with_ids_are_recommended_for_by_id():
    pd = pytest.importorskip("pandas")
    names = {"row": "user", "col": "item", "value": "stars"}
    rng = np.random.default_rng(0)
    cell = rng.permutation(20 * 12)[:140]
    table = pd.DataFrame(
        {"user": cell // 12, "item": 100 + cell % 12, "stars": rng.normal(size=140) + 3}
    ).astype({"user": str})
    train = Entries.from_frame(table, **names)
    model = make().fit(train)
    asked = pd.DataFrame(
        {"user": ["7", "7", "zoe"], "item": [103, 999, 105], "stars": [1.0, 1.0, 2.0]}
    )
    items, scores = model.recommend(Entries.from_frame(asked, **names), n=12)
    row = train.row_ids.tolist().index("7")
    for i, (at, seen) in enumerate([(row, 3), (-1, 5)]):
        expected = model.predict_entries(np.full(12, at), np.arange(12))
        allowed = np.arange(12) != seen
        assert_ranked((items[i : i + 1], scores[i : i + 1]), expected[None], allowed[None], 12)
    assert model.col_ids_[items[0, 0]] in range(100, 112)


@pytest.mark.parametrize("side", ["items", "rows"])
@pytest.mark.parametrize("n", [1, 5, 300])
def test_similar_means_the_largest_cosine(side, n):
    train, _ = planted()
    model = make().fit(train)
    factors = model.components_.T if side == "items" else model.row_factors_
    unit = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    ids = [0, 17, 17, 60]
    others = np.arange(len(unit)) != np.array(ids)[:, None]
    got = getattr(model, f"similar_{side}")(ids, n)
    assert_ranked(got, unit[ids] @ unit.T, others, n)
    single = getattr(model, f"similar_{side}")(17, n)
    np.testing.assert_array_equal(single[0], got[0][1:2])


def test_similar_to_a_column_without_cells_is_nothing_in_particular():
    model, _ = half_known()
    items, scores = model.similar_items([22], 3)
    np.testing.assert_array_equal(scores, 0)
    np.testing.assert_array_equal(items, [[0, 1, 2]])


# ------------------------------------------------------------------ partial_fit


def table(rows, cols, values, row_name="user {}", col_name="item {}"):
    pd = pytest.importorskip("pandas")
    frame = {
        "row": [row_name.format(i) for i in rows],
        "col": [col_name.format(j) for j in cols],
        "value": np.asarray(values, float),
    }
    return Entries.from_frame(pd.DataFrame(frame), row="row", col="col", value="value")


def test_the_first_partial_fit_is_a_fit_of_one_iteration():
    train, _ = planted()
    assert_same_bits(make(max_iter=30).partial_fit(train), make(max_iter=1).fit(train))
    assert make(early_stopping=True).partial_fit(train).validation_curve_ == []


@pytest.mark.parametrize("n_components", [4, 13])
@pytest.mark.parametrize("schedule", ["rotation", "fpsg"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_epochs_may_be_run_one_by_one(schedule, dtype, n_components):
    train, _ = planted(dtype=dtype)
    params = {"schedule": schedule, "n_blocks": 4 if schedule == "rotation" else 1}
    whole = make(n_components, max_iter=5, **params).fit(train)
    parts = make(n_components, max_iter=3, **params).fit(train)
    parts.partial_fit(train).partial_fit(train)
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-7}
    np.testing.assert_allclose(parts.components_, whole.components_, **tolerance)
    np.testing.assert_allclose(parts.row_factors_, whole.row_factors_, **tolerance)
    np.testing.assert_allclose(parts.loss_curve_, whole.loss_curve_, rtol=1e-4)
    assert parts.n_iter_ == whole.n_iter_ == 5


@pytest.mark.parametrize("convert", [Entries.to_dense, Entries.to_csr])
def test_rows_of_a_matrix_are_appended(convert):
    train, _ = planted(160, 80)
    first, last = (train[train.row < 120], train[train.row >= 120])
    model = make(max_iter=60).fit(convert(first)[:120])
    rows = convert(last)[120:]
    model.partial_fit(rows)
    assert model.row_factors_.shape == (160, 4)
    assert model.components_.shape == (4, 80)
    assert model.n_iter_ == model.best_iter_ == len(model.loss_curve_) == 61
    assert model.score(last) > 0.98
    counts = [(train.row == i).sum() for i in range(160)]
    np.testing.assert_array_equal(model._row_counts, counts)
    assert model.baseline_ == pytest.approx(train.value.mean())


def test_appended_rows_without_cells_are_unseen():
    train, _ = planted()
    model = make().fit(train)
    before = arrays(clone(model).fit(train))
    model.partial_fit(np.full((2, 80), NAN)).partial_fit(sp.csr_array((1, 80)))
    assert model.row_factors_.shape == (123, 4)
    assert not model.row_factors_[120:].any()
    np.testing.assert_array_equal(model.components_, before["components_"])
    np.testing.assert_allclose(
        model.predict_entries([120, 122], [0, 0]), model.predict_entries([-1, -1], [0, 0])
    )


def test_entries_without_cells_change_no_factor():
    train, _ = planted()
    model, same = make().fit(train), make().fit(train)
    assert_same_bits(model.partial_fit(Entries([], [], [], (1, 1))), same)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rows_and_columns_without_new_entries_keep_their_factors(schedule):
    train, test = planted()
    model = make(schedule=schedule).fit(train)
    before = model.row_factors_.copy(), model.components_.copy()
    new = test[(test.row < 20) & (test.col % 2 == 0)]
    new = Entries(new.row, new.col, new.value)  # of a smaller shape
    model.partial_fit(new)
    touched_rows, touched_cols = np.unique(new.row), np.unique(new.col)
    for got, old, touched in (
        (model.row_factors_, before[0], touched_rows),
        (model.components_.T, before[1].T, touched_cols),
    ):
        still = np.setdiff1d(np.arange(len(old)), touched)
        np.testing.assert_array_equal(got[still], old[still])
        assert (got[touched] != old[touched]).any(axis=1).all()


def test_known_cells_move_towards_new_values():
    train, _ = planted()
    model = make().fit(train)
    cells = Entries([4, 4, 9], [1, 2, 3], [9.0, -9.0, 9.0])
    error = [abs(model.predict_entries(cells.row, cells.col) - cells.value)]
    for _ in range(5):
        model.partial_fit(cells)
        error.append(abs(model.predict_entries(cells.row, cells.col) - cells.value))
    assert (np.diff(error, axis=0) < 0).all()
    assert (error[-1] < 0.9 * error[0]).all()


def test_entries_by_position_add_rows_and_columns():
    train, _ = planted(120, 80)
    inner = train[(train.row < 100) & (train.col < 70)]
    model = make(max_iter=60).fit(Entries(inner.row, inner.col, inner.value, (100, 70)))
    outer = train[(train.row >= 100) | (train.col >= 70)]
    model.partial_fit(outer)
    assert model.row_factors_.shape == (120, 4)
    assert model.components_.shape == (4, 80)
    assert model.n_features_in_ == 80
    assert model.score(outer) > 0.9
    assert model.transform(train).shape == (120, 4)
    assert model.inverse_transform(model.row_factors_).shape == (120, 80)


def test_entries_with_ids_add_ids_and_keep_the_places_of_the_known():
    model = make().fit(table([3, 1, 2], [5, 6, 5], [1, 2, 3]))
    assert model.row_ids_.tolist() == ["user 1", "user 2", "user 3"]
    before = model.row_factors_[1].copy()
    model.partial_fit(table([0, 3], [6, 0], [4, 5]))
    assert model.row_ids_.tolist() == ["user 1", "user 2", "user 3", "user 0"]
    assert model.col_ids_.tolist() == ["item 5", "item 6", "item 0"]
    assert model.n_features_in_ == 3
    np.testing.assert_array_equal(model.row_factors_[1], before)
    assert model.row_factors_[3].any() and model.components_[:, 2].any()


def test_names_of_rows_and_columns_do_not_matter():
    train, test = planted()
    plain = make().fit(train).partial_fit(test)
    sortable = {"row_name": "u{:03}", "col_name": "i{:03}"}
    named = make().fit(table(train.row, train.col, train.value, **sortable))
    named.partial_fit(table(test.row, test.col, test.value, **sortable))
    np.testing.assert_array_equal(named.components_, plain.components_)
    np.testing.assert_array_equal(named.row_factors_, plain.row_factors_)


@pytest.mark.parametrize("schedule", ["rotation", "fpsg"])
def test_a_batch_may_be_smaller_than_the_grid(schedule):
    train, _ = planted()
    model = make(schedule=schedule, n_blocks=7).fit(train)
    model.partial_fit(train.to_dense()[:1])
    model.partial_fit(Entries([0], [0], [1.0]))
    assert model.row_factors_.shape == (121, 4)


def test_a_model_grows_from_parts():
    train, test = planted()
    model = make(8, learning_rate=0.2)
    for epoch in range(30):
        for part in np.array_split(np.random.default_rng(epoch).permutation(len(train)), 3):
            model.partial_fit(train[part])
    assert model.n_iter_ == 90
    assert model.score(test) > 0.95


# ------------------------------------------------------------------ calls that fail


FAILURES = {
    "columns": (lambda m: m.partial_fit(np.ones((2, 3))), ValueError),
    "infinity": (lambda m: m.partial_fit(np.full((1, 80), np.inf)), ValueError),
    "no matrix": (lambda m: m.partial_fit([1.0, 2.0]), ValueError),
    "complex": (lambda m: m.partial_fit(np.full((1, 80), 1j)), ValueError),
    "strings": (lambda m: m.partial_fit([["a"] * 80]), ValueError),
    "tuple": (lambda m: m.partial_fit(([0], [0], [1.0])), TypeError),
    "duplicates": (lambda m: m.partial_fit(Entries([0, 0], [1, 1], [1, 2])), ValueError),
    "duplicates in a new row": (
        lambda m: m.partial_fit(Entries([500, 500], [1, 1], [1, 2])),
        ValueError,
    ),
    "ids": (lambda m: m.partial_fit(table([0], [0], [1])), ValueError),
    "parameter": (lambda m: m.set_params(tol=-1).partial_fit(Entries([0], [0], [1])), ValueError),
    "divergence": (
        lambda m: m.set_params(learning_rate=1e200).partial_fit(planted()[0]),
        FloatingPointError,
    ),
    "divergence in new rows": (
        lambda m: m.set_params(learning_rate=1e200).partial_fit(planted()[0].to_dense()),
        FloatingPointError,
    ),
    "fit of nothing": (lambda m: m.fit(np.full((2, 2), NAN)), ValueError),
    "fit of other columns that diverges": (
        lambda m: m.set_params(learning_rate=1e200).fit(planted(30, 20)[0]),
        FloatingPointError,
    ),
    "fit of duplicates": (lambda m: m.fit(Entries([0, 0], [1, 1], [1, 2])), ValueError),
    "fit of ids that fails": (
        lambda m: m.set_params(n_blocks=9).fit(table([0, 1], [0, 1], [1, 2])),
        ValueError,
    ),
    "transform": (lambda m: m.transform(np.ones((2, 3))), ValueError),
    "score": (lambda m: m.score(np.ones((2, 3))), ValueError),
    "recommend": (lambda m: m.recommend(np.ones((2, 80)), n=0), ValueError),
    "predict": (lambda m: m.predict_entries([0.5], [0]), TypeError),
}


# Losses overflow on the way to the error.
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("failure", FAILURES)
def test_a_call_that_fails_leaves_the_model_as_it_was(failure):
    call, error = FAILURES[failure]
    train, _ = planted()
    model = make(3).fit(train).partial_fit(train[:100])
    fitted = {name: value for name, value in vars(model).items() if name.endswith("_")}
    bits = pickle.dumps({n: v for n, v in vars(model).items() if n not in model.get_params()})
    with pytest.raises(error):
        call(model)
    after = {n: v for n, v in vars(model).items() if n not in model.get_params()}
    assert all(after[name] is value for name, value in fitted.items())
    assert pickle.dumps(after) == bits


def test_a_fit_that_fails_leaves_an_unfitted_model_unfitted():
    model = make()
    with pytest.raises(ValueError):
        model.fit(Entries([0, 0], [1, 1], [1.0, 2.0]))
    assert vars(model) == vars(make())
    with pytest.raises(NotFittedError):
        model.transform([[1.0, 2.0]])


def test_an_interrupt_of_the_first_iteration_leaves_the_model_as_it_was(monkeypatch):
    train, _ = planted()
    model = make(n_jobs=2, n_blocks=5).fit(train)
    before = {name: value for name, value in vars(model).items() if name != "history_"}

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(block_sgd, "sgd_block", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(train)
    assert all(vars(model)[name] is value for name, value in before.items())


# ------------------------------------------------------------------ copies


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_pickle_is_the_same_model_and_goes_on_alike(dtype):
    train, test = planted(dtype=dtype)
    model = make(schedule="rotation").fit(train)
    again = pickle.loads(pickle.dumps(model))
    assert_same_bits(model, again)
    np.testing.assert_array_equal(model.transform(train), again.transform(train))
    assert_same_bits(model.partial_fit(test), again.partial_fit(test))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_read_only_memory_map_is_the_same_model_and_goes_on_alike(dtype, tmp_path):
    train, test = planted(dtype=dtype)
    model = make(schedule="rotation").fit(train)
    joblib.dump(model, tmp_path / "model")
    again = joblib.load(tmp_path / "model", mmap_mode="r")
    assert not again.row_factors_.flags.writeable and not again.components_.flags.writeable
    X = train.to_dense()
    np.testing.assert_array_equal(model.transform(X), again.transform(X))
    np.testing.assert_array_equal(model.recommend(X)[0], again.recommend(X)[0])
    np.testing.assert_array_equal(model.recommend(test)[0], again.recommend(test)[0])
    np.testing.assert_array_equal(model.similar_items(0)[0], again.similar_items(0)[0])
    np.testing.assert_array_equal(
        model.predict_entries(test.row, test.col), again.predict_entries(test.row, test.col)
    )
    assert model.score(X) == again.score(X)
    assert_same_bits(model.partial_fit(test), again.partial_fit(test))
    assert_same_bits(model.partial_fit(X[:3]), again.partial_fit(X[:3]))


def test_a_clone_has_the_parameters_and_nothing_else():
    train, _ = planted()
    params = {"schedule": "rotation", "n_blocks": 3, "l1_regularization": 0.1, "verbose": 0}
    model = make(**params).fit(train)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert vars(copy).keys() == model.get_params().keys()
    assert_same_bits(copy.fit(train), model)


def test_fitting_again_forgets_the_first_fit():
    train, _ = planted()
    other, _ = planted(30, 20, seed=5)
    named = table(other.row, other.col, other.value)
    for first in (other, named, other.to_dense()):
        model = make().fit(first)
        assert_same_bits(model.fit(train), make().fit(train))
        assert model.row_ids_ is None
        assert not hasattr(model, "feature_names_in_")
