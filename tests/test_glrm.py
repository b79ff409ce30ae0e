"""The estimator of generalised low rank models."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError, UndefinedMetricWarning

from skglrm._columns import Columns, Group
from skglrm._sampling import draw_cells
from skglrm.entries import Entries
from skglrm.glrm import GLRM
from skglrm.losses import (
    Absolute,
    CumulativeLogit,
    Huber,
    Logistic,
    Multinomial,
    MultinomialOrdinal,
    Periodic,
    Poisson,
    Quadratic,
)
from skglrm.regularizers import L1, L2, Fixed, GraphLaplacian, NonNegative, Zero


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 2)) @ rng.normal(size=(2, 12)) + 3 * rng.normal(size=12)


@pytest.fixture(scope="module")
def X(truth):
    rng = np.random.default_rng(1)
    X = truth + 0.1 * rng.normal(size=truth.shape)
    X[rng.random(X.shape) < 0.3] = np.nan
    X[7] = np.nan
    return X


@pytest.fixture(scope="module")
def model(X):
    return GLRM(2, offset=True, tol=1e-6, max_iter=1000).fit(X)


def objective(model, X, weights=None, strength=0.1):
    """The objective of a quadratic model with L2, from its definition."""
    U = model.row_factors_ @ model.components_ + model.offset_
    w = np.ones(X.shape) if weights is None else np.broadcast_to(weights, X.shape)
    seen = ~np.isnan(X)
    loss = 0.5 * np.sum((w * (U - X) ** 2)[seen])
    sides = np.sum(model.row_factors_**2) + np.sum(model.components_**2)
    return loss + 0.5 * strength * sides


# ------------------------------------------------------------------ what is minimised


def test_the_reported_objective_is_losses_and_both_regularizers(model, X):
    assert model.objective_ == pytest.approx(objective(model, X), rel=1e-6)
    assert model.loss_curve_[-1] == model.objective_
    assert len(model.loss_curve_) == model.n_iter_
    assert (np.diff(model.loss_curve_) <= 1e-12 * model.loss_curve_[0]).all()


def test_hidden_cells_are_recovered(model, X, truth):
    out, hidden = model.impute(X), np.isnan(X)
    hidden[7] = False
    assert np.abs(out - truth)[hidden].mean() < 0.15
    np.testing.assert_array_equal(out[~np.isnan(X)], X[~np.isnan(X)])


def test_a_row_without_cells_gets_the_offset(model):
    np.testing.assert_array_equal(model.row_factors_[7], 0)
    W = model.transform(np.full((1, 12), np.nan))
    np.testing.assert_array_equal(W, 0)
    np.testing.assert_allclose(model.inverse_transform(W)[0], model.offset_)


def test_weights_are_integer_repetitions_and_zero_is_missing(X):
    w = np.random.default_rng(0).integers(0, 3, size=X.shape).astype(float)
    model = GLRM(2, tol=1e-10, max_iter=2000).fit(X, weights=w)
    assert model.objective_ == pytest.approx(objective(model, X, w), rel=1e-6)
    without = np.where(w > 0, X, np.nan)
    same = GLRM(2, tol=1e-10, max_iter=2000).fit(without, weights=np.where(w > 0, w, 7.0))
    np.testing.assert_array_equal(model.components_, same.components_)


def test_weights_come_in_several_shapes(X):
    columns = np.linspace(0.5, 2, X.shape[1])
    base = GLRM(2).fit(X, weights=np.tile(columns, (len(X), 1)))
    entries = Entries.from_matrix(X)
    shapes = [
        (X, columns[None]),
        (entries, columns[entries.col]),
        (X, sp.csr_array(np.tile(columns, (len(X), 1)))),
    ]
    for data, weights in shapes:
        same = GLRM(2).fit(data, weights=weights)
        np.testing.assert_array_equal(same.components_, base.components_)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((3, 3)), r"shape \(60, 12\) of X, \(60, 1\) or \(1, 12\); got \(3, 3\)"),
        (np.full((1, 12), -1.0), "finite and at least 0.*got -1"),
        (np.zeros((1, 12)), "All weights are zero"),
        (sp.csr_array(np.ones((3, 3))), r"weights are of shape \(3, 3\), and X \(60, 12\)"),
        (np.ones(12), "got .12,"),
    ],
)
def test_weights_that_make_no_sense_are_refused(X, weights, message):
    with pytest.raises(ValueError, match=message):
        GLRM(1).fit(X, weights=weights)


def test_all_containers_give_the_same_model(model, X):
    pd = pytest.importorskip("pandas")
    filled = np.where(np.isnan(X), 0, X)
    csr = sp.csr_array((filled[~np.isnan(X)], np.nonzero(~np.isnan(X))), shape=X.shape)
    for data in (Entries.from_matrix(X), csr, csr.tocsc(), csr.tocoo(), pd.DataFrame(X)):
        same = GLRM(2, offset=True, tol=1e-6, max_iter=1000).fit(data)
        np.testing.assert_array_equal(same.components_, model.components_)
    dense = GLRM(2, unstored="zero").fit(csr)
    np.testing.assert_array_equal(dense.components_, GLRM(2).fit(filled).components_)


@pytest.mark.parametrize("loss", ["quadratic", "huber"])
def test_results_do_not_depend_on_the_number_of_threads(loss, X):
    found = [GLRM(2, loss=loss, offset=True, max_iter=5, tol=0, n_jobs=n).fit(X) for n in (1, 2, 3)]
    for other in found[1:]:
        np.testing.assert_array_equal(other.components_, found[0].components_)
        np.testing.assert_array_equal(other.row_factors_, found[0].row_factors_)
        np.testing.assert_array_equal(other.transform(X), found[0].transform(X))


def test_permuted_columns_permute_the_components(model, X):
    order = np.random.default_rng(0).permutation(X.shape[1])
    other = GLRM(2, offset=True, tol=1e-6, max_iter=1000).fit(X[:, order])
    np.testing.assert_allclose(other.components_, model.components_[:, order], atol=1e-3)


def test_the_unit_of_a_column_does_not_matter_with_scale(X):
    units = 10.0 ** np.tile([-2, 0, 3], 4)
    free = GLRM(2, offset=True, scale=True, regularization=0.0, tol=1e-10, max_iter=3000)
    one, two = (clone(free).fit(data) for data in (X, X * units))
    U, V = (m.row_factors_ @ m.components_ + m.offset_ for m in (one, two))
    np.testing.assert_allclose(np.delete(V / units, 7, 0), np.delete(U, 7, 0), atol=1e-2)
    np.testing.assert_allclose(two.column_weights_, one.column_weights_ / units**2)
    seen = X[~np.isnan(X[:, 3]), 3]
    assert one.column_weights_[3] == pytest.approx(2 / np.var(seen))
    assert two.objective_ == pytest.approx(one.objective_, rel=1e-4)


def test_components_are_orthogonal_and_ordered(model):
    gram = model.components_ @ model.components_.T
    assert abs(gram[0, 1]) < 1e-8
    assert gram[0, 0] > gram[1, 1]
    assert model.importance_[0] > model.importance_[1] > 0.05
    assert model.importance_.sum() == pytest.approx(1, abs=0.2)


def test_transform_leaves_the_model_alone_and_agrees_with_fit(model, X):
    before = model.components_.copy()
    np.testing.assert_array_equal(model.transform(X), model.row_factors_)
    np.testing.assert_array_equal(model.transform(X[3:5]), model.row_factors_[3:5])
    np.testing.assert_array_equal(model.components_, before)


# ------------------------------------------------------------------ losses and regularizers


@pytest.fixture(scope="module")
def mixed(X):
    Z = X.copy()
    Z[:, 3] = np.where(np.isnan(Z[:, 3]), np.nan, np.where(Z[:, 3] > np.nanmean(Z[:, 3]), 1, -1))
    Z[:, 5] = np.where(np.isnan(Z[:, 5]), np.nan, np.digitize(Z[:, 5], np.nanquantile(
        Z[:, 5], [0.3, 0.6])))  # fmt: skip
    return Z


def test_columns_have_losses_of_their_own(mixed):
    by_position = {3: "logistic", 5: "multinomial", 0: Huber(0.5)}
    as_list = [Quadratic()] * 12
    as_list[3], as_list[5], as_list[0] = Logistic(), Multinomial(3), Huber(0.5)
    models = [
        GLRM(2, loss=loss, offset=True, max_iter=10, tol=0).fit(mixed)
        for loss in (by_position, as_list)
    ]
    np.testing.assert_array_equal(models[0].components_, models[1].components_)
    model = models[0]
    assert model.components_.shape == (2, 14)
    assert model.component_slices_[5] == slice(5, 8)
    out = model.inverse_transform(model.row_factors_)
    assert set(np.unique(out[:, 3])) == {-1.0, 1.0}
    assert set(np.unique(out[:, 5])) <= {0.0, 1.0, 2.0}
    assert model.score(mixed) > 0.5
    for method in (model.recommend, lambda X: model.similar_items([0])):
        with pytest.raises(ValueError, match=r"column 5 has Multinomial\(n_levels=3\)"):
            method(mixed)
    cells = np.nonzero(~np.isnan(mixed))
    np.testing.assert_allclose(model.predict_entries(*cells), out[cells], rtol=1e-6)


def test_an_instance_carries_its_own_strength(X):
    by_name = GLRM(2, regularization=0.3).fit(X)
    instance = GLRM(2, row_regularizer=L2(0.3), column_regularizer=L2(0.3)).fit(X)
    np.testing.assert_array_equal(by_name.components_, instance.components_)
    zero = GLRM(2, regularization=0.0).fit(X)
    none = GLRM(2, row_regularizer=Zero(), column_regularizer="zero").fit(X)
    np.testing.assert_allclose(zero.objective_, none.objective_)


def test_columns_and_rows_may_have_regularizers_of_their_own(X):
    columns = {0: L1(1e4), 1: NonNegative()}
    model = GLRM(2, column_regularizer=columns, max_iter=5, tol=0).fit(X)
    np.testing.assert_array_equal(model.components_[:, 0], 0)
    assert model.components_[:, 1].min() >= 0
    assert model.components_[:, 2:].min() < 0
    rows = [Fixed((1.0,), L2(0.1)) if i < 5 else L2(0.1) for i in range(len(X))]
    model = GLRM(2, row_regularizer=rows, max_iter=5, tol=0).fit(X)
    np.testing.assert_array_equal(model.row_factors_[:5, 0], 1)
    with pytest.raises(ValueError, match="row_regularizer is a list of 60 for 3"):
        model.transform(X[:3])


def test_neighbouring_columns_of_a_graph_are_alike(X):
    A = np.diag(np.ones(11), 1)
    graph = GraphLaplacian.from_adjacency(sp.csr_array(A + A.T), strength=2000.0)
    rough = GLRM(2, max_iter=20, tol=0).fit(X).components_
    smooth = GLRM(2, column_regularizer=graph, max_iter=200, tol=0).fit(X).components_
    ratio = [np.sum(np.diff(H, axis=1) ** 2) / np.sum(H**2) for H in (rough, smooth)]
    assert ratio[1] < 0.5 * ratio[0]


# ------------------------------------------------------------------ the null model and score


def test_score_of_entries_is_one_less_the_ratio_of_losses(X):
    rng = np.random.default_rng(0)
    entries = Entries.from_matrix(X)
    hidden = rng.random(len(entries)) < 0.2
    model = GLRM(2, offset=True).fit(entries[~hidden])
    test, train = entries[hidden], entries[~hidden]
    mean = np.array([train.value[train.col == j].mean() for j in range(12)])
    variance = np.array([train.value[train.col == j].var() for j in range(12)])
    each = 1 / variance[test.col]
    U = model.row_factors_ @ model.components_ + model.offset_
    cost = np.sum(each * (U[test.row, test.col] - test.value) ** 2)
    null = np.sum(each * (mean[test.col] - test.value) ** 2)
    assert model.score(test) == pytest.approx(1 - cost / null)


@pytest.mark.parametrize("loss", [MultinomialOrdinal(4), CumulativeLogit(4)], ids=repr)
def test_predictions_that_no_level_could_have_are_lowered_as_little_as_helps(loss):
    group = Group(loss, loss.domain, np.arange(1), np.arange(3)[None])
    u = np.random.default_rng(0).normal(size=(40, 3))
    lowered = group.shaped(u)
    assert (lowered <= u + 1e-12).all()
    costs = [[loss.value(row, float(a)) for a in range(4)] for row in lowered]
    assert np.isfinite(costs).all()
    np.testing.assert_allclose(group.shaped(lowered), lowered, atol=1e-12)
    inside = np.array([[-0.5, -1.5, -2.0]])
    np.testing.assert_allclose(group.shaped(inside), inside, atol=1e-12)
    highest = group.shaped(np.array([[2.0, 1.0, -3.0]]))[0]
    expected = [-0.001, -0.002, -3.0] if isinstance(loss, MultinomialOrdinal) else [2, 1, -3]
    np.testing.assert_allclose(highest, expected, atol=1e-12)


def test_score_prefers_the_true_rank(X):
    scores = [GLRM(k, offset=True, regularization=0.02, tol=1e-3).fit(X).score(X) for k in (1, 2)]
    assert scores[0] < scores[1] <= 1
    model = GLRM(2, offset=True, regularization=1e6).fit(X)
    assert model.score(X) == pytest.approx(0, abs=0.1)


def test_a_score_without_cells_is_undefined(model, X):
    with pytest.warns(UndefinedMetricWarning, match="0 cells to score"):
        assert np.isnan(model.score(np.full((2, 12), np.nan)))


def test_unseen_rows_and_columns_get_constants(model, X):
    means = np.nanmean(X, axis=0)
    out = model.predict_entries([7, 60, -1, 0, 0], [2, 2, 2, 12, 2])
    np.testing.assert_allclose(out[:3], means[2])
    assert out[3] == pytest.approx(np.nanmean(X))
    U = model.row_factors_ @ model.components_ + model.offset_
    assert out[4] == pytest.approx(U[0, 2])


def test_positions_of_cells_are_checked(model):
    with pytest.raises(ValueError, match="differ in length: 2 and 1"):
        model.predict_entries([0, 1], [0])
    with pytest.raises(TypeError, match="rows must be integers"):
        model.predict_entries([0.5], [0])
    assert model.predict_entries([], []).shape == (0,)


def test_recommendations_are_the_best_predictions(model, X):
    items, scores = model.recommend(X[:5], n=3)
    U = model.row_factors_[:5] @ model.components_ + model.offset_
    U = np.where(np.isnan(X[:5]), U, -np.inf)
    np.testing.assert_array_equal(items, np.argsort(-U, axis=1)[:, :3])
    np.testing.assert_allclose(scores, -np.sort(-U, axis=1)[:, :3], rtol=1e-6)
    everywhere, _ = model.recommend(X[7:8], n=12)
    np.testing.assert_array_equal(everywhere[0], np.argsort(-np.nanmean(X, axis=0)))
    assert model.similar_items([0], n=2)[0].shape == (1, 2)


# ------------------------------------------------------------------ updates


def test_new_rows_bring_the_model_close_to_a_fit_of_all(X):
    fit = GLRM(2, offset=True).fit(X)
    grown = GLRM(2, offset=True).fit(X[:30])
    known = grown.row_factors_.copy()
    before = grown.score(X[30:])
    for start in (30, 45):
        grown.partial_fit(X[start : start + 15])
    assert grown.row_factors_.shape == (60, 2)
    np.testing.assert_array_equal(grown.row_factors_[:30], known)
    assert grown.score(X) > fit.score(X) - 0.01
    assert grown.score(X[30:]) > before - 0.01


def test_entries_grow_the_model_both_ways(truth):
    rng = np.random.default_rng(0)
    seen = rng.random(truth.shape) < 0.7
    entries = Entries(*np.nonzero(seen), truth[seen], shape=truth.shape)
    small = (entries.row < 40) & (entries.col < 9)
    cells = entries[small]
    model = GLRM(2, offset=True, regularization=0.01).fit(
        Entries(cells.row, cells.col, cells.value, shape=(40, 9))
    )
    model.partial_fit(entries[~small])
    assert model.row_factors_.shape == (60, 2)
    assert model.components_.shape == (2, 12)
    assert model.n_features_in_ == 12
    hidden = np.nonzero(~seen)
    predicted = model.predict_entries(*hidden)
    null = np.abs(truth.mean(axis=0)[hidden[1]] - truth[hidden]).mean()
    assert np.abs(predicted - truth[hidden]).mean() < 0.5 * null


def test_new_cells_of_known_rows_move_them_towards_these(truth):
    model = GLRM(2, offset=True, regularization=0.01).fit(truth[:, :12])
    off = truth.copy()
    off[0] += 5 * model.components_[0]
    cells = Entries(np.zeros(12, int), np.arange(12), off[0], shape=truth.shape)
    before = model.row_factors_.copy()
    model.partial_fit(cells)
    after = model.row_factors_
    np.testing.assert_array_equal(after[1:], before[1:])
    assert 1 < (after - before)[0, 0] < 5


def test_updates_that_cannot_be_are_refused_and_change_nothing(mixed):
    model = GLRM(1, loss={3: "logistic"}, max_iter=3, tol=0).fit(mixed)
    before = model.components_.copy()
    with pytest.raises(ValueError, match="1 columns that the model has not seen.*Fit all anew"):
        model.partial_fit(Entries([0], [12], [1.0], shape=(1, 13)))
    bad = mixed.copy()
    bad[0, 3] = 5
    with pytest.raises(ValueError, match="Column 3 holds 5"):
        model.partial_fit(bad)
    with pytest.raises(ValueError, match="expecting 12 features"):
        model.partial_fit(mixed[:, :4])
    np.testing.assert_array_equal(model.components_, before)
    assert len(model.row_factors_) == len(mixed)


def test_the_first_partial_fit_is_a_fit(X, model):
    first = GLRM(2, offset=True, tol=1e-6, max_iter=1000).partial_fit(X)
    np.testing.assert_array_equal(first.components_, model.components_)


# ------------------------------------------------------------------ tools


def test_the_gap_vanishes_at_the_optimum_and_bounds_the_distance_elsewhere(X):
    best = GLRM(8, regularization=2.0, offset=True, tol=1e-11, max_iter=3000).fit(X)
    assert best.optimality_gap(X) < 1e-3
    for k, tol in ((1, 1e-8), (8, 1e-2)):
        other = GLRM(k, regularization=2.0, offset=True, tol=tol).fit(X)
        excess = (other.objective_ - best.objective_) / other.objective_
        assert other.optimality_gap(X) > excess - 1e-6


def test_the_gap_covers_other_convex_losses(X):
    model = GLRM(6, loss="huber", regularization=1.0, tol=1e-8, max_iter=2000).fit(X)
    assert 0 <= model.optimality_gap(X) < 0.05


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"row_regularizer": "nonnegative"}, "row_regularizer is 'nonnegative'"),
        ({"regularization": 0.0}, "L2 with a positive strength"),
        ({"column_regularizer": L1(0.1)}, "column_regularizer is L1"),
    ],
)
def test_there_is_no_certificate_of_other_models(X, params, message):
    model = GLRM(1, max_iter=2, tol=0, **params).fit(X)
    with pytest.raises(ValueError, match=message):
        model.optimality_gap(X)


def test_a_path_goes_from_nothing_to_everything(X):
    model = GLRM(3, offset=True)
    path = model.regularization_path(X, n_strengths=6)
    assert (np.diff(path.strengths) < 0).all()
    assert (np.diff(path.losses) < 0).all()
    assert path.ranks[0] <= path.ranks[-1] == 3
    assert path.losses[0] == pytest.approx(path.null_loss, rel=0.5)
    assert path.held_out_losses.min() < 0.1 * path.null_loss
    assert path.best_strength in path.strengths
    assert not hasattr(model, "components_")
    given = model.regularization_path(X, [0.1, 1.0])
    np.testing.assert_array_equal(given.strengths, [1.0, 0.1])
    with pytest.raises(ValueError, match="Name one of them"):
        GLRM(row_regularizer=L2(1.0), column_regularizer=L2(1.0)).regularization_path(X)


def test_draws_scatter_as_the_data_do(model, X, truth):
    draws = np.stack([model.sample(X, random_state=seed) for seed in range(20)])
    seen = ~np.isnan(X)
    assert (draws[:, seen] == X[seen]).all()
    hidden = ~seen
    hidden[7] = False
    assert 0.05 < draws.std(axis=0)[hidden].mean() < 0.2
    assert np.abs(draws.mean(axis=0) - truth)[hidden].mean() < 0.2


def test_counts_and_angles_are_drawn_from_their_laws():
    losses = Poisson(), Periodic(2 * np.pi)
    columns = Columns(losses, tuple(loss.domain for loss in losses), np.zeros(2, bool))
    U = np.tile([np.log(4.0), 1.0], (500, 1))
    observed = Entries([0], [0], [4.0], shape=U.shape)
    drawn = draw_cells(columns, np.ones(2), U, observed, np.random.default_rng(0))
    assert drawn[:, 0].mean() == pytest.approx(4, abs=0.4)
    assert drawn[:, 0].var() == pytest.approx(4, abs=1)
    turned = np.exp(1j * drawn[:, 1]).mean()
    assert np.angle(turned) == pytest.approx(1, abs=0.3)
    assert drawn[:, 1].min() >= 0
    assert drawn[:, 1].max() < 2 * np.pi


def test_a_user_may_say_where_to_start(model, X):
    start = (model.row_factors_, model.components_, model.offset_)
    again = GLRM(2, offset=True, init=start, max_iter=2, tol=0).fit(X)
    np.testing.assert_allclose(again.components_, model.components_, atol=1e-2)
    for bad in ((model.row_factors_[:3], model.components_), (start[0], start[1] * np.nan)):
        with pytest.raises(ValueError, match="must be finite and of shape"):
            GLRM(2, init=bad).fit(X)


@pytest.mark.parametrize("init", ["random", "svd"])
def test_an_integer_seed_repeats_the_fit(init, X):
    found = [GLRM(2, init=init, random_state=3, max_iter=3, tol=0).fit(X) for _ in range(2)]
    np.testing.assert_array_equal(found[0].components_, found[1].components_)


def test_solvers_agree(X):
    pytest.importorskip("skglrm.solvers.joint")
    found = [
        GLRM(2, offset=True, regularization=1.0, solver=solver, tol=1e-10, max_iter=2000).fit(X)
        for solver in ("exact", "proximal", "lbfgs")
    ]
    for other in found[1:]:
        assert other.objective_ == pytest.approx(found[0].objective_, rel=1e-5)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 0}, "'n_components' parameter of GLRM must be an integer of at least 1"),
        ({"regularization": -1.0}, "'regularization' parameter"),
        ({"offset": 1}, "'offset' parameter of GLRM must be True or False"),
        ({"scale": "yes"}, "'scale' parameter"),
        ({"init": "zeros"}, "'init' parameter.*'svd'"),
        ({"init": (1,)}, "'init' parameter.*tuple"),
        ({"solver": "newton"}, "'solver' parameter.*'proximal'"),
        ({"unstored": "drop"}, "'unstored' parameter"),
        ({"max_iter": 0}, "'max_iter' parameter"),
        ({"tol": -1.0}, "'tol' parameter"),
        ({"backend": "gpu"}, "Unknown backend 'gpu'"),
        ({"loss": "cubic"}, "Unknown loss 'cubic'"),
        ({"loss": [Quadratic()]}, "loss is a list of 1 for 12"),
        ({"loss": {12: "huber"}}, "there is no column 12"),
        ({"loss": "logistic"}, "Column . holds .*needs 0 and 1, or -1 and 1.*NaN"),
        ({"loss": "multinomial"}, "Column 0 holds numbers.*whole numbers"),
        ({"loss": "poisson"}, "Negative values in data passed to GLRM"),
        ({"row_regularizer": "ridge"}, "Unknown regularizer 'ridge'"),
        ({"column_regularizer": [L2()]}, "column_regularizer is a list of 1 for 12"),
        ({"solver": "exact", "loss": "huber"}, "solver='exact'"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(X, params, message):
    model = GLRM(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    assert not hasattr(model, "components_")
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("params", [{"loss": Huber}, {"row_regularizer": L2}, {"loss": 3}])
def test_classes_in_place_of_instances_are_refused(X, params):
    with pytest.raises(TypeError, match="must be a name or an instance"):
        GLRM(**params).fit(X)


def test_a_call_that_fails_leaves_the_model_as_it_was(X):
    model = GLRM(1, max_iter=3, tol=0).fit(X)
    before = vars(model).copy()
    bad = X[:, :5].copy()
    bad[0, 0] = np.inf
    for call in (model.fit, model.transform, model.partial_fit, model.impute, model.score):
        with pytest.raises(ValueError):
            call(bad)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is before[name] for name in before)


def test_methods_of_a_model_that_is_not_fitted_say_so(X):
    model = GLRM()
    calls = [model.transform, model.impute, model.score, model.sample, model.optimality_gap]
    for call in (*calls, model.inverse_transform, lambda X: model.predict_entries([0], [0])):
        with pytest.raises(NotFittedError):
            call(X)


def test_a_fit_that_stops_early_says_so(X):
    with pytest.warns(ConvergenceWarning, match="did not converge in 1 iterations.*max_iter"):
        GLRM(1, loss=Absolute(), max_iter=1, tol=1e-12).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GLRM(1, loss=Absolute(), max_iter=1, tol=0).fit(X)


def test_verbose_prints_a_line_for_every_iteration(X, capsys):
    GLRM(1, max_iter=3, tol=0, verbose=1).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("[GLRM] iteration 1: objective ")


@pytest.mark.parametrize("loss", ["absolute", "huber", "hinge", "quantile"])
def test_a_row_is_transformed_alone_whatever_comes_with_it(loss):
    X = 100 * np.random.default_rng(0).normal(size=(30, 6))
    X = np.sign(X) if loss == "hinge" else X
    model = GLRM(2, loss=loss, regularization=1.0, max_iter=5, tol=0.0, random_state=0).fit(X)
    batch = model.transform(np.vstack([X[:4], np.sign(X[4:8])]))
    for row in range(4):
        np.testing.assert_array_equal(model.transform(X[[row]])[0], batch[row])
    np.testing.assert_array_equal(batch[:4], model.row_factors_[:4])
