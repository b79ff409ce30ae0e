"""ImplicitALS: its objective, its laws, serving and updates."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize
from sklearn.base import clone

from skglrm import Entries
from skglrm.implicit_als import ImplicitALS
from skglrm.solvers.implicit import ImplicitALSSolver, Model, choose_solver, draw_factors

SOLVERS = ["cholesky", "cg", "subspace"]
DTYPES = [np.float32, np.float64]


def checkerboard(n=50, dtype=float):
    """Row u likes all columns of its parity, except column u."""
    u, i = np.indices((n, n))
    return ((u % 2 == i % 2) & (u != i)).astype(dtype)


def feedback(n=30, m=20, *, seed=0, density=0.3, dislikes=True):
    rng = np.random.default_rng(seed)
    D = np.where(rng.random((n, m)) < density, rng.integers(1, 6, (n, m)), 0).astype(float)
    D[~D.any(axis=1), 0] = 1  # no row is empty
    return D * np.where(rng.random(D.shape) < 0.15, -1, 1) if dislikes else D


def fit(X, k=3, **params):
    return ImplicitALS(k, **{"regularization": 1.0, "random_state": 0, **params}).fit(X)


def naive_objective(D, model):
    """The double loop of the docstring."""
    W, H = model.row_factors_.astype(float), model.components_.T.astype(float)
    w0, reg, e = model.unobserved_weight, model.regularization, model.regularization_exponent
    total = 0.0
    for u in range(len(D)):
        for i in range(D.shape[1]):
            c = w0 + model.alpha * abs(D[u, i])
            total += c * ((D[u, i] > 0) - W[u] @ H[i]) ** 2
    for side, other, stored in ((W, H, D != 0), (H, W, (D != 0).T)):
        for x, cells in zip(side, stored, strict=True):
            total += reg * (cells.sum() + w0 * len(other)) ** e * (x @ x)
    return total


def scores(model):
    return model.row_factors_ @ model.components_


def gradient(D, model):
    W, H = model.row_factors_, model.components_.T
    w0, e = model.unobserved_weight, model.regularization_exponent
    C = w0 + model.alpha * abs(D)
    R = C * (W @ H.T - (D > 0))
    ridge = [model.regularization * ((D != 0).sum(axis=a) + w0 * D.shape[a]) ** e for a in (1, 0)]
    return R @ H + ridge[0][:, None] * W, R.T @ W + ridge[1][:, None] * H


# ------------------------------------------------------------------ the checkerboard


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_checkerboard_is_completed(solver, dtype):
    D = checkerboard(dtype=dtype)
    model = fit(D, solver=solver)
    assert model.components_.dtype == dtype
    best = model.recommend(D, n=1, return_scores=False)
    np.testing.assert_array_equal(best.ravel(), np.arange(50))
    for side in (model.similar_items, model.similar_rows):
        found, cosines = side(np.arange(50), n=10)
        assert (found % 2 == np.arange(50)[:, None] % 2).all()
        np.testing.assert_allclose(cosines, 1, atol=1e-2)


def test_filters_remove_and_pools_confine():
    D = checkerboard()
    model = fit(D)
    pool = np.arange(0, 50, 5)
    found, values = model.recommend(D, n=12, items=pool, exclude_seen=False)
    for row in found:
        assert set(row[:10]) == set(pool)
    assert (found[:, 10:] == -1).all() and (values[:, 10:] == -np.inf).all()
    one = np.vstack(
        [model.recommend(D[[u]], n=12, items=pool, exclude_seen=False)[0] for u in range(9)]
    )
    np.testing.assert_array_equal(one, found[:9])
    with pytest.raises(ValueError, match="positions from 0 to 49"):
        model.recommend(D, items=[50])


def test_rows_and_columns_without_cells_are_similar_to_nobody():
    D = checkerboard()
    D[42], D[:, 49] = 0, 0
    model = fit(D)
    np.testing.assert_array_equal(model.row_factors_[42], 0)
    assert 42 not in model.similar_rows(np.arange(40), n=49)[0]
    assert 49 not in model.similar_items(np.arange(40), n=49)[0]


# ------------------------------------------------------------------ the objective


@pytest.mark.parametrize("w0", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("e", [0.0, 1.0])
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_loss_is_the_double_loop(solver, e, w0):
    D = feedback()
    X = sp.csr_array(D)
    X.data[3] = 0  # a stored zero
    D = X.toarray()
    model = fit(
        X, solver=solver, unobserved_weight=w0, regularization=0.02, max_iter=4,
        regularization_exponent=e, alpha=2.0,
    )  # fmt: skip
    assert model.loss_curve_[-1] == pytest.approx(naive_objective(D, model), rel=1e-9)


def test_the_loss_of_a_huge_almost_empty_matrix_is_finite():
    X = sp.csr_array(([1.0, 2.0], ([5, 99_999], [99_999, 7])), shape=(100_000, 100_000))
    model = fit(X, k=2, max_iter=2)
    assert np.isfinite(model.loss_curve_).all()


@pytest.mark.parametrize("e", [0.0, 1.0])
def test_exact_sweeps_never_raise_the_loss(e):
    curve = np.array(fit(feedback(), solver="cholesky", regularization=0.1, max_iter=40,
                         regularization_exponent=e).loss_curve_)  # fmt: skip
    assert (np.diff(curve) <= 1e-12 * curve[0]).all()
    assert curve[-1] < curve[0]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("regularization", "e"), [(1.1, 0.0), (0.02, 1.0)])
def test_the_gradient_vanishes_in_the_end(regularization, e, solver):
    D = np.log1p(feedback(dislikes=False) / 3)
    model = fit(
        D, k=5, solver=solver, unobserved_weight=2.4, regularization=regularization,
        regularization_exponent=e, max_iter=400,
    )  # fmt: skip
    for part in gradient(D, model):
        assert abs(part).max() < 1e-5
    assert abs(scores(model)).max() > 0.1


def test_it_warns_when_everything_collapses_to_zero():
    D = np.log1p(feedback(dislikes=False) / 3)
    with pytest.warns(UserWarning, match="All predictions are zero"):
        fit(D, k=5, unobserved_weight=2.4, regularization=1.1, regularization_exponent=1.0,
            max_iter=200)  # fmt: skip


def test_it_warns_where_nothing_speaks_against_ones():
    with pytest.warns(UserWarning, match="unobserved_weight=0"):
        fit(feedback(dislikes=False), unobserved_weight=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(feedback(), unobserved_weight=0.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_a_binary_matrix_of_full_rank_is_reproduced(solver, dtype):
    D = np.array(
        [[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 0, 0], [1, 0, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0],
         [0, 0, 1, 1, 0, 1], [0, 1, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]], dtype,
    )  # fmt: skip
    assert np.linalg.matrix_rank(D) == 6
    model = fit(D, k=6, solver=solver, regularization=0.0, max_iter=50)
    np.testing.assert_allclose(scores(model), D, atol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_more_components_than_columns_do_no_harm(solver):
    D = np.eye(10)
    model = fit(D, k=15, solver=solver, regularization=0.01)
    assert np.isfinite(scores(model)).all()
    best = model.recommend(D, n=1, exclude_seen=False, return_scores=False)
    np.testing.assert_array_equal(best.ravel(), np.arange(10))


def test_a_full_fit_is_about_as_good_as_joint_quasi_newton():
    D = feedback(10, 9, dislikes=False)
    model = fit(D, regularization=2.5, alpha=4.234, max_iter=100)
    rng = np.random.default_rng(0)

    def cost(z):
        trial = copy.copy(model)
        trial.row_factors_, trial.components_ = z[:30].reshape(10, 3), z[30:].reshape(9, 3).T
        W, H = gradient(D, trial)
        value = ((1 + 4.234 * abs(D)) * ((D > 0) - scores(trial)) ** 2).sum()
        return value + 2.5 * z @ z, 2 * np.concatenate([W.ravel(), H.ravel()])

    best = min(minimize(cost, rng.normal(size=57), jac=True).fun for _ in range(5))
    assert model.loss_curve_[-1] <= 1.05 * best


# ------------------------------------------------------------------ laws


@pytest.mark.parametrize("solver", SOLVERS)
def test_factors_do_not_depend_on_the_number_of_threads(solver, monkeypatch):
    monkeypatch.setattr("skglrm.solvers.implicit.NUMBERS_PER_TASK", 5_000)
    D = sp.random_array((513, 257), density=0.05, rng=np.random.default_rng(0), format="csr")
    models = [fit(D, k=31, solver=solver, max_iter=2, n_jobs=n) for n in (1, 2, 3, 8)]
    for model in models[1:]:
        np.testing.assert_array_equal(model.row_factors_, models[0].row_factors_)
        np.testing.assert_array_equal(model.components_, models[0].components_)
        assert model.loss_curve_ == models[0].loss_curve_
        np.testing.assert_array_equal(model.transform(D[:9]), models[0].transform(D[:9]))


@pytest.mark.parametrize("solver", SOLVERS)
def test_all_weights_times_a_power_of_two_change_no_bit(solver):
    D, c = feedback(), 2.0**-40
    one = fit(D, solver=solver, max_iter=5, alpha=1.5)
    other = fit(D, solver=solver, max_iter=5, alpha=1.5 * c, unobserved_weight=c, regularization=c)
    np.testing.assert_array_equal(one.row_factors_, other.row_factors_)


def test_values_and_alpha_share_a_unit():
    D = feedback()
    np.testing.assert_allclose(scores(fit(D, alpha=2.0)), scores(fit(D * 5, alpha=0.4)))


def test_only_the_product_of_two_constant_strengths_matters():
    matrix, k = sp.csr_array(feedback()), 3

    class TwoStrengths(Model):
        def ridge(self, counts, n_other):
            return np.full(len(counts), 0.5 if n_other == 20 else 2.0)

    results = []
    for cls, shrink in ((Model, 1.0), (TwoStrengths, 2.0**0.5)):
        X, Y = np.zeros((30, k)), np.zeros((20, k))
        from skglrm.backends import ThreadsBackend

        with ThreadsBackend(1) as backend:
            draw_factors(X, 0, backend)
            X *= shrink  # t = (b / a)^(1/4), X / t and Y t have equal strengths
            solver = ImplicitALSSolver(cls(1.0, 1.0, 1.0, 0.0), "cholesky", 20, 0.0, print_nothing)
            solver.solve(matrix, X, Y, backend)
        results.append(X @ Y.T)
    np.testing.assert_allclose(*results, atol=1e-8)


def print_nothing(iteration, objective, so_far):
    pass


def test_all_formats_are_one_matrix_and_duplicates_are_summed():
    D = feedback()
    expected = fit(D)
    for X in (sp.csr_array(D), sp.csc_array(D), sp.coo_array(D), sp.csr_matrix(D), sp.dia_array(D),
              Entries.from_matrix(sp.csr_array(D))):  # fmt: skip
        np.testing.assert_array_equal(fit(X).row_factors_, expected.row_factors_)
    row, col = np.nonzero(D)
    twice = (np.tile(D[row, col] / 2, 2), (np.tile(row, 2), np.tile(col, 2)))
    np.testing.assert_array_equal(fit(sp.coo_array(twice)).row_factors_, expected.row_factors_)
    entries = Entries(*twice[1], twice[0])
    np.testing.assert_array_equal(fit(entries).row_factors_, expected.row_factors_)


@pytest.mark.parametrize("e", [0.0, 1.0])
def test_stored_zeros_and_nan_are_absent_cells_and_the_input_stays(e):
    D = feedback()
    expected = fit(D, regularization=0.05, regularization_exponent=e)
    X = sp.csr_array(np.where(D == 0, 7.0, D))
    X.data[X.data == 7.0] = 0.0
    before = X.copy()
    model = fit(X, regularization=0.05, regularization_exponent=e)
    np.testing.assert_array_equal(model.row_factors_, expected.row_factors_)
    np.testing.assert_array_equal(X.data, before.data)
    np.testing.assert_array_equal(X.indices, before.indices)
    missing = np.where(D == 0, np.nan, D)
    model = fit(missing, regularization=0.05, regularization_exponent=e)
    np.testing.assert_array_equal(model.row_factors_, expected.row_factors_)


def test_single_and_double_precision_agree():
    D = feedback(60, 40)
    one, two = (fit(D.astype(t), k=8, max_iter=10) for t in DTYPES)
    np.testing.assert_allclose(scores(one), scores(two), atol=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_folding_the_rows_in_gives_their_factors(solver, dtype):
    D = feedback(60, 40).astype(dtype)
    for tol in (0.0, 0.05):
        model = ImplicitALS(9, solver=solver, random_state=0, max_iter=8, tol=tol)
        W = model.fit_transform(D)
        np.testing.assert_array_equal(model.transform(D), W)
        np.testing.assert_array_equal(model.row_factors_, W)
        np.testing.assert_array_equal(np.vstack([model.transform(row[None]) for row in D]), W)


def test_clones_and_pickles_are_the_same_model():
    D = feedback()
    model = fit(D)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(D), model.row_factors_)
    np.testing.assert_array_equal(clone(model).fit(D).row_factors_, model.row_factors_)
    again.partial_fit(D[:2])
    assert len(again.row_factors_) == 32 and len(model.row_factors_) == 30
    assert len(pickle.dumps(model)) < 1.5 * (
        sum(a.nbytes for a in (model.row_factors_, model.components_)) + 12 * D.size + 5_000
    )


def test_auto_is_the_solver_that_it_names():
    assert choose_solver(8, 100.0) == choose_solver(8, 1.0) == "cholesky"
    assert choose_solver(64, 100.0) == "cg"
    D = feedback()
    for k in (3, 40):
        auto = fit(D, k=k, max_iter=3)
        assert len(set(auto.solver_)) == 1
        named = fit(D, k=k, max_iter=3, solver=auto.solver_[0])
        np.testing.assert_array_equal(auto.row_factors_, named.row_factors_)


def test_a_generator_and_an_old_random_state_are_seeds_too():
    D = feedback()
    for seed in (np.random.RandomState, np.random.default_rng):
        one, two = (fit(D, random_state=seed(3)).row_factors_ for _ in range(2))
        np.testing.assert_array_equal(one, two)


# ------------------------------------------------------------------ serving


def test_rows_that_nothing_is_known_of_get_what_is_popular():
    D = feedback(dislikes=False)
    model = fit(D)
    order = np.argsort(-D.sum(axis=0), kind="stable")
    found, values = model.recommend(np.vstack([np.zeros(20), D[0]]), n=5)
    np.testing.assert_array_equal(found[0], order[:5])
    np.testing.assert_array_equal(values[0], D.sum(axis=0)[order[:5]])
    np.testing.assert_array_equal(found[1], model.recommend(D[:1], n=5)[0][0])


def test_recommendations_are_a_sorted_product():
    D = feedback(dislikes=False)
    model = fit(D)
    S = np.where(D != 0, -np.inf, scores(model))
    found, values = model.recommend(Entries.from_matrix(sp.csr_array(D)), n=4)
    np.testing.assert_array_equal(found, np.argsort(-S, axis=1, kind="stable")[:, :4])
    np.testing.assert_allclose(values, np.take_along_axis(S, found, axis=1))


def test_unknown_cells_are_predicted_as_not_having_happened():
    model = fit(feedback())
    np.testing.assert_array_equal(model.predict_entries([-1, 0, 99], [0, 99, 0]), 0)
    assert model.predict_entries([2], [3])[0] == pytest.approx(scores(model)[2, 3])


@pytest.mark.parametrize("e", [0.0, 1.0])
def test_explanations_add_up_to_the_prediction(e):
    D = feedback()
    model = fit(D, regularization=0.05, regularization_exponent=e, alpha=2.0)
    for X in (4, D[[4]], sp.csr_array(D[[4]])):
        items, parts = model.explain(X, 7)
        assert parts.sum() == pytest.approx(scores(model)[4, 7], rel=1e-6)
        np.testing.assert_array_equal(np.sort(items), np.flatnonzero(D[4] > 0))
        assert (np.diff(parts) <= 0).all()
    assert len(model.explain(4, 7, n=2)[0]) == 2


def test_the_score_is_the_mean_ndcg_of_hidden_cells():
    D = checkerboard()
    hidden = Entries([0, 1], [0, 1], [1.0, 1.0], (50, 50))
    assert fit(D).score(hidden) == 1.0
    nobody = Entries([0], [1], [1.0], (50, 50))
    assert fit(D).score(nobody) < 0.6
    assert fit(D).score(D) > 0.9


# ------------------------------------------------------------------ updates


def test_changed_rows_are_solved_anew_and_nothing_else_moves():
    D = checkerboard()
    model = fit(D)
    before = model.row_factors_.copy()
    likes = np.flatnonzero(D[1])
    model.partial_fit(Entries(np.zeros(24, int), likes, np.ones(24), (50, 50)))
    unseen = Entries(np.zeros(24, int), likes, np.ones(24), (50, 50))
    assert model.recommend(unseen, n=1)[0][0, 0] == 1
    np.testing.assert_array_equal(model.row_factors_[0], model.transform(D[[1]])[0])
    np.testing.assert_array_equal(model.row_factors_[1:], before[1:])
    everything = Entries.from_matrix(sp.csr_array(D))
    model.partial_fit(everything)  # unchanged rows re-sent: as if folded in
    np.testing.assert_array_equal(model.row_factors_, model.transform(D))


def test_new_rows_and_columns_find_their_place():
    D = checkerboard()
    model = fit(D)
    odd = np.array([i for i in range(1, 50, 2) if i != 7])
    model.partial_fit(Entries(np.full(24, 50), odd, np.ones(24)))
    assert model.recommend(Entries(np.full(24, 50), odd, np.ones(24)), n=1)[0][50, 0] == 7
    users = np.array([u for u in range(3, 50, 2)])
    before = model.row_factors_.copy()
    model.partial_fit(Entries(users, np.full(24, 50), np.ones(24), (51, 51)))
    assert model.n_features_in_ == 51 and model.components_.shape == (3, 51)
    np.testing.assert_array_equal(model.row_factors_, before)
    seen = Entries(np.ones(24, int), np.flatnonzero(D[1]), np.ones(24), (51, 51))
    assert set(model.recommend(seen, n=2)[0][1]) == {1, 50}
    assert abs(model.predict_entries(np.arange(0, 50, 2), np.full(25, 50))).max() < 0.2
    H = model.components_.T
    np.testing.assert_allclose(model._column_gram, H.T @ H, atol=1e-10)
    W = model.row_factors_
    np.testing.assert_allclose(model._row_gram, W.T @ W, atol=1e-10)
    wide = np.zeros((1, 51))
    wide[0, [1, 3, 50]] = 1
    again = model.transform(wide)
    model.partial_fit(Entries([0, 0, 0], [1, 3, 50], np.ones(3), (51, 51)))
    np.testing.assert_array_equal(model.row_factors_[[0]], again)
    np.testing.assert_allclose(model._row_gram, model.row_factors_.T @ model.row_factors_)
    assert model.explain(0, 5)[0].tolist() != []


def test_a_fold_in_after_growth_solves_the_grown_problem():
    D = feedback()
    model = fit(D, regularization_exponent=0.5, alpha=2.0)
    model.partial_fit(Entries([1, 2, 5], [20, 20, 20], np.ones(3), (30, 21)))
    row = np.zeros((1, 21))
    row[0, [2, 20]] = [3, 1]
    H = model.components_.T
    weight = 1 + 2 * row[0]
    A = (H.T * weight) @ H + (2 + 21) ** 0.5 * np.eye(3)
    expected = np.linalg.solve(A, H.T @ (weight * (row[0] > 0)))
    np.testing.assert_allclose(model.transform(row)[0], expected, rtol=1e-10)


def test_positions_that_leave_a_gap_are_refused_and_the_model_stays():
    model = fit(checkerboard())
    before = pickle.dumps(model)
    for entries, gap in (
        (Entries([100], [0], [1.0]), "rows 50 to 99"),
        (Entries([0, 0], [1, 51], [1.0, 1.0]), "column 50"),
    ):
        with pytest.raises(ValueError, match=gap):
            model.partial_fit(entries)
    assert pickle.dumps(model) == before


def test_ids_say_which_row_is_meant():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"u": ["b", "b", "a", "c"], "i": [1, 2, 1, 3], "v": [1.0, 1, 1, 1]})
    model = fit(Entries.from_frame(frame, row="u", col="i", value="v"), k=2)
    new = pd.DataFrame({"u": ["d", "a"], "i": [3, 2], "v": [1.0, 1.0]})
    model.partial_fit(Entries.from_frame(new, row="u", col="i", value="v"))
    assert model.row_ids_.tolist() == ["a", "b", "c", "d"]
    rows = np.zeros((2, 3))
    rows[0, 2] = rows[1, 1] = 1
    np.testing.assert_array_equal(model.row_factors_[[3, 0]], model.transform(rows))


def test_appended_rows_of_a_matrix_are_folded_in_and_popularity_follows():
    D = feedback(dislikes=False)
    model = fit(D)
    model.partial_fit(D[:5])
    np.testing.assert_array_equal(model.row_factors_[30:], model.transform(D[:5]))
    popular = D.sum(axis=0) + D[:5].sum(axis=0)
    np.testing.assert_array_equal(model._column_sums, popular)
    for _ in range(40):  # many changes of one row: replaced cells are let go
        model.partial_fit(Entries(np.zeros(20, int), np.arange(20), np.ones(20)))
    np.testing.assert_array_equal(model._history.rows(np.array([0]), 20).data, 1)
    np.testing.assert_array_equal(model._history.rows(np.array([4]), 20).toarray()[0], D[4])


def test_a_shallow_copy_can_go_its_own_way():
    D = feedback()
    one = fit(D)
    two = copy.copy(one)
    one.partial_fit(D[:1])
    two.partial_fit(D[1:2])
    np.testing.assert_array_equal(one.row_factors_[30], one.transform(D[:1])[0])
    np.testing.assert_array_equal(two.row_factors_[30], two.transform(D[1:2])[0])
    np.testing.assert_array_equal(two._history.rows(np.array([30]), 20).toarray()[0], D[1])


# ------------------------------------------------------------------ refusals

REFUSED = {
    "no weight at all": (lambda: fit(feedback(), alpha=0, unobserved_weight=0), "no cell has"),
    "negative alpha": (lambda: fit(feedback(), alpha=-1), "alpha"),
    "negative weight": (lambda: fit(feedback(), unobserved_weight=-1), "unobserved_weight"),
    "negative strength": (lambda: fit(feedback(), regularization=-1), "regularization"),
    "negative exponent": (lambda: fit(feedback(), regularization_exponent=-1), "exponent"),
    "unknown solver": (lambda: fit(feedback(), solver="lbfgs"), "lbfgs"),
    "no components": (lambda: fit(feedback(), k=0), "n_components"),
    "infinity": (lambda: fit(np.where(feedback() == 1, np.inf, 0)), "infinity"),
    "nothing happened": (lambda: fit(np.zeros((3, 4))), "nothing has happened"),
    "nothing stored": (lambda: fit(sp.csr_array((3, 4))), "no observed cell"),
    "transposed": (lambda: fit(feedback()).transform(feedback().T), "30 features.*expecting 20"),
    "several rows": (lambda: fit(feedback()).explain(feedback(), 0), "takes one row; X has 30"),
    "no such row": (lambda: fit(feedback()).explain(30, 0), "0 to 29"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_by_name(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_an_undetermined_row_is_an_error_and_not_nan():
    D = feedback()
    D[4] = 0
    with pytest.raises(ValueError, match=r"row 4 .*regularization > 0"):
        fit(D, k=1, regularization=0.0, unobserved_weight=0.0, alpha=1.0)
    model = fit(feedback(), k=1, regularization=0.0, unobserved_weight=0.0)
    with pytest.raises(ValueError, match="row 0"):
        model.transform(np.zeros((1, 20)))


def test_tolerance_ends_the_loop_or_is_reported():
    model = fit(feedback(), tol=0.01, max_iter=100)
    assert model.n_iter_ == len(model.loss_curve_) < 100
    with pytest.warns(UserWarning, match="did not converge in 2 iterations"):
        fit(feedback(), tol=1e-9, max_iter=2)
