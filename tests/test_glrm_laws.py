"""Laws of generalised low rank models, for every loss and regularizer, and their known answers."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from skglrm import presets
from skglrm.entries import Entries
from skglrm.glrm import GLRM
from skglrm.losses import (
    KL,
    Absolute,
    BiggerVsSmaller,
    CumulativeLogit,
    Hinge,
    Huber,
    Logistic,
    Multinomial,
    MultinomialOrdinal,
    OneVsAll,
    OrdinalHinge,
    Ordistic,
    Periodic,
    Poisson,
    Quadratic,
    SquaredHinge,
)
from skglrm.regularizers import (
    L1,
    L2,
    Ball,
    BlockSparse,
    Box,
    ElasticNet,
    Entropy,
    Fixed,
    GraphLaplacian,
    KSparse,
    L2Norm,
    NonNegative,
    OneSparse,
    Shifted,
    Simplex,
    Sum,
    Tied,
    UnitOneSparse,
    Zero,
)

N_ROWS, N_COLUMNS, K = 24, 8, 3


def signal(n_rows=N_ROWS, n_columns=N_COLUMNS, rank=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, rank)) @ rng.normal(size=(rank, n_columns))


def levels(U, n_levels):
    """Each column cut into levels of equal numbers of cells."""
    bounds = np.quantile(U, np.arange(1, n_levels) / n_levels, axis=0)
    return np.sum(bounds[:, None] < U, axis=0).astype(float)


def with_holes(X, share=0.25, seed=1):
    return np.where(np.random.default_rng(seed).random(X.shape) < share, np.nan, X)


def never_rises(curve):
    curve = np.asarray(curve)
    return bool((np.diff(curve) <= 1e-9 * np.abs(curve[1:])).all())


# ------------------------------------------------------------------ the objective never rises

CELLS = {
    "number": lambda U: U,
    "count": lambda U: np.rint(np.exp(0.5 * U)),
    "positive": lambda U: np.abs(U),
    "angle": lambda U: U % 24.0,
    "boolean": lambda U: (U > 0).astype(float),
    "level": lambda U: levels(U, 3),
}
SMOOTH = [
    (Quadratic(), "number"),
    (Huber(0.5), "number"),
    (Periodic(24.0), "angle"),
    (Poisson(), "count"),
    (KL(), "positive"),
    (Logistic(), "boolean"),
    (SquaredHinge(), "boolean"),
    (Multinomial(3), "level"),
    (OneVsAll(3), "level"),
    (BiggerVsSmaller(3), "level"),
    (Ordistic(3), "level"),
]
ORDERED = [CumulativeLogit(3), MultinomialOrdinal(3)]  # thresholds in order, or infinite
REGULARIZERS = [
    Zero(),
    L2(0.3),
    L1(0.3),
    ElasticNet(0.2, 0.3),
    L2Norm(0.3),
    NonNegative(),
    Box(-1.0, 2.0),
    Ball(1.5),
    Simplex(),
    Entropy(0.5),
    OneSparse(),
    UnitOneSparse(),
    KSparse(2),
    BlockSparse(2),
    Fixed((1.0,), L2(0.3)),
    Shifted((1.0, 0.0, -1.0), L2(0.3)),
    Sum(L1(0.2), NonNegative()),
]
OF_COLUMNS = [one for one in REGULARIZERS if not one.one_hot]
TURN = 5  # coprime to their number, so that every regularizer is once on each side
PAIRS = [
    (*SMOOTH[i % len(SMOOTH)], regularizer, OF_COLUMNS[(TURN * i + 1) % len(OF_COLUMNS)])
    for i, regularizer in enumerate(REGULARIZERS)
] + [(loss, "level", KSparse(2), L1(0.1)) for loss in ORDERED]


def null_objective(model, X):
    """Cost of the best constants alone."""
    seen = ~np.isnan(X)
    loss = model.losses_[0]
    constants = [loss.best_constant(X[seen[:, j], j]) for j in range(X.shape[1])]
    return sum(
        float(loss.value(np.asarray(b) if np.ndim(b) else b, X[i, j]))
        for j, b in enumerate(constants)
        for i in np.flatnonzero(seen[:, j])
    )


@pytest.mark.parametrize("loss, kind, rows, columns", PAIRS, ids=repr)
def test_the_objective_never_rises(loss, kind, rows, columns):
    X = with_holes(CELLS[kind](signal()))
    model = GLRM(
        K, loss=loss, row_regularizer=rows, column_regularizer=columns, offset=True,
        solver="proximal", init="random", random_state=0, max_iter=12, tol=0,
    ).fit(X)  # fmt: skip
    assert never_rises(model.loss_curve_)
    assert model.loss_curve_[-1] <= null_objective(model, X) * (1 + 1e-9)
    penalties = [rows.value(x) for x in model.row_factors_.astype(float)]
    assert np.isfinite(penalties).all()


def test_the_objective_never_rises_at_kinks():
    losses = [Absolute(), Hinge(), OrdinalHinge(0, 2), Absolute()]
    U = signal(n_columns=4)
    U[:, 1], U[:, 2] = U[:, 1] > 0, levels(U[:, 2:3], 3)[:, 0]
    model = GLRM(2, loss=losses, offset=True, max_iter=15, tol=0).fit(with_holes(U))
    # The last point is another one: the same factors, turned to their axes.
    assert never_rises(model.loss_curve_[:-1])
    assert model.loss_curve_[-1] < 0.9 * model.loss_curve_[0]


# ------------------------------------------------------------------ mixed tables

LOSSES = [
    Quadratic(), Huber(0.5), Logistic(), Multinomial(3), Quadratic(), BiggerVsSmaller(3), Poisson(),
    Hinge(),
]  # fmt: skip
MIXED = {"offset": True, "max_iter": 6, "tol": 0, "regularization": 0.3}


def mixed_table(n_rows=40, seed=0):
    U = signal(n_rows, len(LOSSES), seed=seed)
    X = U.copy()
    X[:, [2, 7]] = X[:, [2, 7]] > 0
    X[:, [3, 5]] = levels(X[:, [3, 5]], 3)
    X[:, 6] = np.rint(np.exp(0.5 * X[:, 6]))
    return X


@pytest.fixture(scope="module")
def X():
    X = with_holes(mixed_table())
    X[4] = np.nan
    return X


@pytest.fixture(scope="module")
def model(X):
    return GLRM(2, loss=LOSSES, **MIXED).fit(X)


def test_results_are_the_same_bits_for_any_number_of_threads(X, monkeypatch):
    monkeypatch.setattr("skglrm.solvers.half_step.CELLS_PER_BLOCK", 40)
    found = []
    for n_jobs in (1, 2, 3):
        model = GLRM(2, loss=LOSSES, n_jobs=n_jobs, **MIXED).fit(X)
        found.append((model, model.transform(X), model.impute(X)))
    for model, W, filled in found[1:]:
        np.testing.assert_array_equal(model.components_, found[0][0].components_)
        np.testing.assert_array_equal(model.row_factors_, found[0][0].row_factors_)
        np.testing.assert_array_equal(model.offset_, found[0][0].offset_)
        assert model.loss_curve_ == found[0][0].loss_curve_
        np.testing.assert_array_equal(W, found[0][1])
        np.testing.assert_array_equal(filled, found[0][2])


def test_permuting_a_table_permutes_its_model(X, model):
    rng = np.random.default_rng(3)
    rows, columns = rng.permutation(len(X)), rng.permutation(len(LOSSES))
    other = GLRM(2, loss=[LOSSES[j] for j in columns], **MIXED).fit(X[rows][:, columns])
    assert other.objective_ == pytest.approx(model.objective_, rel=1e-6)
    places = np.concatenate([np.r_[model.component_slices_[j]] for j in columns])
    U, V = (m.row_factors_ @ m.components_ + m.offset_ for m in (model, other))
    np.testing.assert_allclose(V, U[rows][:, places], atol=1e-4)


def test_a_weight_of_zero_makes_a_cell_missing(X):
    weights = np.random.default_rng(0).integers(0, 3, X.shape).astype(float)
    weighted = GLRM(2, loss=LOSSES, **MIXED).fit(X, weights=weights)
    without = GLRM(2, loss=LOSSES, **MIXED).fit(
        np.where(weights > 0, X, np.nan), weights=np.maximum(weights, 1)
    )
    np.testing.assert_array_equal(weighted.components_, without.components_)
    np.testing.assert_array_equal(weighted.row_factors_, without.row_factors_)


def test_units_do_not_matter_with_scale(X):
    losses = [Quadratic(), Absolute(), Logistic(), Quadratic()]
    data, units = X[:, [0, 1, 2, 4]], np.array([2.0**-6, 2.0**9, 1.0, 2.0**5])
    rng = np.random.default_rng(0)
    W, H, b = rng.normal(size=(len(X), 2)), rng.normal(size=(2, 4)), rng.normal(size=4)
    one, two = (
        GLRM(2, loss=losses, scale=True, init=(W, H * c, b * c), **MIXED).fit(data * c)
        for c in (np.ones(4), units)
    )
    U, V = (m.row_factors_ @ m.components_ + m.offset_ for m in (one, two))
    np.testing.assert_allclose(V / units, U, atol=1e-4)
    np.testing.assert_allclose(two.loss_curve_, one.loss_curve_, rtol=1e-6)


def test_a_row_without_cells_is_the_null_model(X, model):
    np.testing.assert_array_equal(model.row_factors_[4], 0)
    np.testing.assert_array_equal(model.transform(np.full((1, len(LOSSES)), np.nan)), 0)
    offsets = model._columns.impute(model.offset_[None])
    np.testing.assert_array_equal(model.impute(X)[4], offsets[0])


def test_more_components_than_rows_and_columns():
    X = signal(5, 4, rank=4)
    fits = [GLRM(k, tol=1e-12, max_iter=2000).fit(X) for k in (4, 9)]
    assert fits[1].components_.shape == (9, 4)
    assert fits[1].objective_ == pytest.approx(fits[0].objective_, rel=1e-6)
    mixed = GLRM(9, loss=LOSSES[:4], **MIXED).fit(mixed_table()[:6, :4])
    assert np.isfinite(mixed.components_).all()


@pytest.mark.parametrize("scale", [False, True])
def test_columns_of_one_value_or_none_keep_their_place(scale):
    X = mixed_table()
    X[:, 0], X[:, 1], X[:, 2], X[:, 6] = 7.0, np.nan, 1.0, 0.0
    model = GLRM(2, loss=LOSSES, scale=scale, **MIXED)
    with pytest.warns(UserWarning, match="hold a single value or none"):
        model.fit(X)
    assert np.isfinite(model.components_).all()
    assert np.isfinite(model.offset_).all()
    out = model.inverse_transform(model.row_factors_)
    np.testing.assert_allclose(out[:, 0], 7.0, atol=0.1)
    np.testing.assert_array_equal(out[:, 2], 1.0)
    np.testing.assert_array_equal(out[:, 6], 0.0)
    if scale:
        np.testing.assert_array_equal(model.column_weights_[[0, 1, 2, 6]], 1.0)


@pytest.mark.parametrize(
    "column, value, needed",
    [
        (2, 2.0, "'flag' holds 2.*needs 0 and 1, or -1 and 1"),
        (3, 3.0, "'colour' holds 3.*levels numbered from 0 to 2"),
        (3, 0.5, "'colour' holds 0.5"),
        (5, -1.0, "'grade' holds -1.*whole numbers from 0 to 2"),
        (6, -2.0, "'visits' holds -2.*counts"),
    ],
)
def test_what_no_column_can_hold_is_refused_by_name(X, model, column, value, needed):
    pd = pytest.importorskip("pandas")
    names = ["a", "b", "flag", "colour", "c", "grade", "visits", "answer"]
    frame = pd.DataFrame(X, columns=names)
    bad = frame.copy()
    bad.iloc[1, column] = value
    with pytest.raises(ValueError, match=f"Column {needed}"):
        GLRM(2, loss=LOSSES, **MIXED).fit(bad)
    with pytest.raises(ValueError, match=f"Column {column} holds {value:g}"):
        model.transform(bad.to_numpy())


def test_a_table_of_all_kinds_of_losses_and_regularizers(X):
    """The smallest table with everything, whose cells are drawn with repetitions."""
    table = mixed_table(14, seed=5)
    rows = [L2(0.1), L1(5.0), NonNegative(), KSparse(2), *[L2(0.1)] * 10]
    options = {"row_regularizer": rows, "max_iter": 4, "tol": 0}
    drawn = np.random.default_rng(0).integers(0, table.size, 70)

    def cells(at):
        return Entries(*np.unravel_index(at, table.shape), table.ravel()[at], shape=table.shape)

    with pytest.raises(ValueError, match="more than once"):
        GLRM(3, loss=LOSSES, **options).fit(cells(drawn))
    part = cells(np.unique(drawn))
    weights = np.random.default_rng(1).uniform(0.5, 2, len(part))
    for data, given in ((table, None), (part, weights)):
        model = GLRM(3, loss=LOSSES, offset=True, **options).fit(data, weights=given)
        assert np.isfinite(model.objective_)
        assert np.isfinite(model.components_).all()
        assert (model.row_factors_[2] >= 0).all()
        assert np.count_nonzero(model.row_factors_[3]) <= 2


def test_more_components_fit_cells_better(X):
    def errors(k):
        model = GLRM(k, loss=LOSSES, offset=True, regularization=0.05, tol=1e-3).fit(X)
        out, seen = model.inverse_transform(model.row_factors_), ~np.isnan(X)
        each = [
            np.mean(domain.error(out[seen[:, j], j], X[seen[:, j], j]))
            for j, domain in enumerate(model._columns.domains)
        ]
        return np.array(each)

    one, two = errors(1), errors(2)
    assert (two <= one + 0.02).all()
    assert two.sum() < 0.7 * one.sum()


# ------------------------------------------------------------------ ordinal columns, and graphs


@pytest.mark.parametrize(
    "loss, columns",
    [
        ("bigger_vs_smaller", L2(0.3)),
        ("bigger_vs_smaller", Tied(L2(0.3))),
        ("cumulative_logit", L2(0.3)),
        ("multinomial_ordinal", L2(0.3)),
    ],
)
def test_ordinal_columns_predict_held_out_levels(loss, columns):
    X = levels(signal(80, 10), 4)
    hidden = np.random.default_rng(1).random(X.shape) < 0.2
    train = Entries(*np.nonzero(~hidden), X[~hidden], shape=X.shape)
    test = Entries(*np.nonzero(hidden), X[hidden], shape=X.shape)
    model = GLRM(
        2, loss=loss, offset=True, row_regularizer=L2(0.3), column_regularizer=columns,
        max_iter=40, tol=0,
    ).fit(train)  # fmt: skip
    strict = loss != "multinomial_ordinal"  # which may be infinite on cells that it has not seen
    if strict:
        assert model.score(test) > 0.2
    constant = model._columns.impute(model._constants[None])[0]
    predicted = model.predict_entries(*np.nonzero(hidden))
    wrong = np.abs(predicted - X[hidden]).mean()
    null = np.abs(constant[np.nonzero(hidden)[1]] - X[hidden]).mean()
    assert wrong < (0.6 if strict else 0.8) * null
    if loss != "bigger_vs_smaller" or columns != L2(0.3):
        H = model.components_.reshape(2, 10, 3)
        np.testing.assert_allclose(H, np.broadcast_to(H[:, :, :1], H.shape), rtol=1e-8)
    if loss != "bigger_vs_smaller":
        assert (np.diff(model.offset_.reshape(10, 3), axis=1) < 0).all()


def chain(n, strength):
    A = np.diag(np.ones(n - 1), 1)
    return GraphLaplacian.from_adjacency(sp.csr_array(A + A.T), strength, L2(0.1))


@pytest.mark.parametrize("side", ["row", "column"])
@pytest.mark.parametrize("loss", [Quadratic(), Huber(0.5)], ids=repr)
def test_neighbours_in_a_graph_are_pulled_together(side, loss):
    X = with_holes(signal())
    n = X.shape[side == "column"]

    def fit(strength):
        graph = {f"{side}_regularizer": chain(n, strength)}
        other = {f"{'column' if side == 'row' else 'row'}_regularizer": L2(0.1)}
        model = GLRM(2, loss=loss, max_iter=60, tol=0, **graph, **other).fit(X)
        assert never_rises(model.loss_curve_)
        factors = model.row_factors_ if side == "row" else model.components_.T
        return model, np.sum(np.diff(factors, axis=0) ** 2) / np.sum(factors**2), factors

    (_, rough, _), (model, smooth, factors) = fit(0.0), fit(200.0)
    assert smooth < 0.5 * rough
    U = model.row_factors_ @ model.components_
    cost = sum(loss.value(u, a) for u, a in zip(U.ravel(), X.ravel(), strict=True) if a == a)
    ridge = 0.05 * (np.sum(model.row_factors_**2) + np.sum(model.components_**2))
    coupled = 100.0 * np.sum(np.diff(factors, axis=0) ** 2)
    assert model.objective_ == pytest.approx(cost + ridge + coupled)


# ------------------------------------------------------------------ known answers


def test_an_exact_product_is_found_from_a_random_start():
    A = signal(100, 100, rank=5)
    model = GLRM(
        5, row_regularizer="zero", column_regularizer="zero", init="random", random_state=0,
        max_iter=200, tol=0,
    ).fit(A)  # fmt: skip
    left = 0.5 * np.sum((A - model.row_factors_ @ model.components_) ** 2)
    assert model.objective_ == pytest.approx(left, abs=1e-7)
    assert left < 1e-6
    curve = np.array(model.loss_curve_)
    assert (np.diff(curve) <= 1e-9 * curve[:-1] + 1e-12).all()


def test_a_dense_table_and_all_its_cells_are_the_same():
    A, cells = signal(100, 100, rank=3), np.indices((100, 100)).reshape(2, -1)
    start = tuple(np.random.default_rng(1).normal(size=shape) for shape in ((100, 3), (3, 100)))
    containers = [A, sp.csr_array(A), Entries(*cells, A.ravel())]
    found = [
        GLRM(3, init=start, max_iter=5, tol=0, n_jobs=n).fit(data)
        for data, n in itertools.product(containers, (1, 2, 3))
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other.row_factors_, found[0].row_factors_)
        np.testing.assert_array_equal(other.components_, found[0].components_)


def test_priors_with_means_of_their_own_recover_the_factors():
    rng, n, k = np.random.default_rng(0), 200, 5
    means = rng.normal(size=(2, n, k))
    factors = means + 0.1 * rng.normal(size=means.shape)
    A = factors[0] @ factors[1].T + np.sqrt(1e-3) * rng.normal(size=(n, n))
    rows, columns = ([Shifted(tuple(mean), L2(50.0)) for mean in side] for side in means)
    model = GLRM(k, row_regularizer=rows, column_regularizer=columns, init="random", random_state=0,
                 tol=1e-6).fit(A)  # fmt: skip
    assert np.mean((model.row_factors_ - factors[0]) ** 2) < 1e-3
    assert np.mean((model.components_.T - factors[1]) ** 2) < 1e-3


def test_a_path_of_robust_models_goes_downhill():
    rng = np.random.default_rng(0)
    A = signal(50, 50, rank=3) + 3 * rng.normal(size=(50, 50)) * (rng.random((50, 50)) < 0.05)
    path = GLRM(5, loss=Huber(), tol=1e-3).regularization_path(A, np.geomspace(1e2, 1e-2, 15))
    assert (np.diff(path.losses) <= 2e-3 * path.losses[:-1]).all()
    assert path.held_out_losses.min() < 0.2 * path.null_loss
    assert 1e-2 <= path.best_strength < 1e2


def nonnegative_table():
    rng = np.random.default_rng(0)
    return rng.random((300, 5)) @ rng.random((5, 40))


def test_nonnegative_factors():
    A = nonnegative_table()
    model = presets.nmf(5, tol=0).fit(A)
    W, H = model.row_factors_, model.components_
    assert W.min() >= 0
    assert H.min() >= 0
    assert model.objective_ == pytest.approx(0.5 * np.sum((A - W @ H) ** 2), abs=1e-6)
    np.testing.assert_allclose(model.inverse_transform(W), W @ H)
    sizes = np.linalg.svd(A, compute_uv=False)
    assert model.objective_ >= 0.5 * np.sum(sizes[5:] ** 2)


def test_one_sparse_nonnegative_factors_are_orthogonal():
    A, one = nonnegative_table(), Sum(NonNegative(), OneSparse())
    for columns in ("nonnegative", one):
        model = presets.orthogonal_nmf(5, column_regularizer=columns, tol=1e-3).fit(A)
        assert model.objective_ < 0.5 * np.sum((A - A.mean()) ** 2)
        grams = [model.row_factors_.T @ model.row_factors_]
        if columns is one:
            grams.append(model.components_ @ model.components_.T)
        for gram in grams:
            np.testing.assert_array_equal(gram, np.diag(np.diag(gram)))


def test_unit_one_sparse_rows_have_a_single_one():
    rng = np.random.default_rng(0)
    A = np.eye(5)[rng.integers(0, 5, 300)] @ rng.random((5, 40))
    model = presets.kmeans(5, random_state=0).fit(A)
    W = np.sort(model.row_factors_, axis=1)
    np.testing.assert_array_equal(W, np.tile([0.0] * 4 + [1.0], (300, 1)))
    assert model.objective_ < 0.3 * 0.5 * np.sum((A - A.mean(axis=0)) ** 2)


def test_rows_that_were_held_out_are_folded_in():
    A = signal(1000, 100, rank=8)
    model = GLRM(8, regularization=0.01).fit(A[:900])
    before, new = model.components_.copy(), A[900:].copy()
    new[3, 5] = np.nan
    W = model.transform(new)
    assert W.shape == (100, 8)
    np.testing.assert_array_equal(model.transform(new), W)
    np.testing.assert_array_equal(model.components_, before)
    np.testing.assert_allclose(model.inverse_transform(W), A[900:], atol=0.01)


@pytest.mark.parametrize("s_x, s_y", [(4.0, 4.0), (2.0, 8.0)])
def test_ridge_pca_has_a_closed_form_and_a_certificate(s_x, s_y):
    A = np.random.default_rng(0).normal(size=(30, 10))
    sizes, s = np.linalg.svd(A, compute_uv=False), 4.0
    enough = int(np.sum(sizes > s))
    assert 2 < enough < 10
    for k in (2, enough, 10):
        model = GLRM(k, row_regularizer=L2(s_x), column_regularizer=L2(s_y), tol=1e-14,
                     max_iter=5000).fit(A)  # fmt: skip
        kept = np.minimum(k, enough)
        best = np.sum(s * sizes[:kept] - 0.5 * s**2) + 0.5 * np.sum(sizes[kept:] ** 2)
        assert model.objective_ == pytest.approx(best, abs=1e-8)
        left = np.linalg.norm(A - model.row_factors_ @ model.components_, 2)
        if k >= enough:
            assert left <= s * (1 + 1e-6)
            assert model.optimality_gap(A) < 1e-6
        else:
            assert left == pytest.approx(sizes[k], rel=1e-6)
            assert left > s
            assert model.optimality_gap(A) > 0.01
