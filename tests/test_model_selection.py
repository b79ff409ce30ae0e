"""FPSGFactorizer in the hands of scikit-learn's tools, on real ratings and on generated ones."""

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
    validation_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skglrm import Entries, EntryRegressor, FPSGFactorizer

CELLS = KFold(3, shuffle=True, random_state=0)


def generated():
    """Halves of stars that three tastes explain, at 40 % of 150 × 90 cells."""
    rng = np.random.default_rng(0)
    m, n, k = 150, 90, 3
    taste = rng.normal(size=(m, k)) @ rng.normal(size=(k, n)) / np.sqrt(k)
    stars = 3 + taste + 0.3 * rng.normal(size=(m, n))
    cell = np.sort(rng.permutation(m * n)[: 4 * m * n // 10])
    value = np.clip(np.round(2 * stars.ravel()[cell]) / 2, 0.5, 5.5)
    return Entries(cell // n, cell % n, value, (m, n))


@pytest.fixture(scope="session")
def movielens(shared_data):
    """100,000 ratings of 943 users and 1,682 films."""
    path = shared_data / "ml-100k-u.data"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    user, item, rating = np.loadtxt(path, np.int64, usecols=(0, 1, 2), unpack=True)
    return Entries(user - 1, item - 1, rating.astype(np.float64))


@pytest.fixture(params=["generated", "movielens"])
def ratings(request):
    return generated() if request.param == "generated" else request.getfixturevalue("movielens")


def make(n_components=4, **params):
    # With few cells per row long steps pay.
    defaults = {"regularization": 0.1, "learning_rate": 0.3, "max_iter": 15, "random_state": 0}
    return FPSGFactorizer(n_components, **(defaults | params))


def as_ids(entries):
    """Two columns of strings, which sort like positions, and the values."""
    X = np.empty((len(entries), 2), object)
    X[:, 0] = [f"user {i:04}" for i in entries.row]
    X[:, 1] = [f"film {j:04}" for j in entries.col]
    return X, entries.value


# ------------------------------------------------------------------ quality


def test_movielens_is_predicted_as_well_as_by_libmf(movielens):
    is_test = np.random.default_rng(0).random(100_000) < 0.1
    train, test = movielens[~is_test], movielens[is_test]
    errors = []
    for seed in range(5):
        model = FPSGFactorizer(64, regularization=0.1, max_iter=30, random_state=seed).fit(train)
        errors.append(
            root_mean_squared_error(test.value, model.predict_entries(test.row, test.col))
        )
    assert np.mean(errors) <= 0.910
    assert np.std(errors) < 0.005


@pytest.mark.parametrize("schedule", ["fpsg", "rotation"])
def test_movielens_is_predicted_as_well_by_two_threads_and_in_single_precision(schedule, movielens):
    is_test = np.random.default_rng(0).random(100_000) < 0.1
    train, test = movielens[~is_test], movielens[is_test]
    train = Entries(train.row, train.col, train.value.astype(np.float32), train.matrix_shape)
    model = FPSGFactorizer(
        64, regularization=0.1, max_iter=30, random_state=0, schedule=schedule, n_blocks=8, n_jobs=2
    ).fit(train)
    error = root_mean_squared_error(test.value, model.predict_entries(test.row, test.col))
    assert error <= 0.915


# ------------------------------------------------------------------ searching over cells


def test_a_grid_search_over_entries_finds_a_model_that_predicts_held_out_cells(ratings):
    train, test = train_test_split(ratings, test_size=0.2, random_state=0)
    grid = {"n_components": [1, 4, 16], "regularization": [0.05, 0.1, 1.0]}
    search = GridSearchCV(make(), grid, cv=CELLS).fit(train)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert search.best_params_["regularization"] < 1.0
    assert search.best_score_ > 0.2 > scores.min()
    assert search.score(test) == pytest.approx(search.best_score_, abs=0.1)
    best = search.best_estimator_
    assert best.row_factors_.shape == (ratings.matrix_shape[0], search.best_params_["n_components"])
    assert best.components_.shape[1] == ratings.matrix_shape[1]


def test_the_scores_of_a_search_are_those_of_fits_by_hand():
    entries = generated()
    got = cross_val_score(make(), entries, cv=CELLS)
    expected = [
        make().fit(entries[train]).score(entries[test]) for train, test in CELLS.split(entries)
    ]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("resource", ["max_iter", "n_samples"])
def test_successive_halving_runs_over_entries(resource, ratings):
    settings = {"max_resources": 27, "min_resources": 9} if resource == "max_iter" else {}
    search = HalvingGridSearchCV(
        make(),
        {"n_components": [2, 8], "regularization": [0.1, 2.0]},
        resource=resource,
        factor=2,
        cv=CELLS,
        random_state=0,
        **settings,
    ).fit(ratings)
    assert search.n_iterations_ >= 2
    assert search.best_params_["regularization"] == 0.1
    assert search.best_score_ > 0.1


def test_a_random_search_takes_a_scorer_of_its_own():
    def negative_error(estimator, X, y=None):
        return -float(np.mean(abs(estimator.predict_entries(X.row, X.col) - X.value)))

    search = RandomizedSearchCV(
        make(),
        {"n_components": [1, 3, 9]},
        n_iter=3,
        cv=CELLS,
        random_state=0,
        scoring=negative_error,
    ).fit(generated())
    assert search.best_params_["n_components"] > 1
    assert -0.6 < search.best_score_ < 0


def test_more_cells_teach_more(ratings):
    sizes, train_scores, test_scores = learning_curve(
        make(), ratings, None, cv=CELLS, train_sizes=[0.1, 0.4, 1.0], shuffle=True, random_state=0
    )
    means = test_scores.mean(axis=1)
    assert len(sizes) == 3
    assert means[0] < means[1] < means[2]
    assert train_scores.shape == (3, 3)


def test_a_validation_curve_shows_too_strong_a_penalty():
    _, test_scores = validation_curve(
        make(),
        generated(),
        None,
        param_name="regularization",
        param_range=[0.1, 3.0],
        cv=CELLS,
    )
    assert test_scores[0].min() > 0.5 > test_scores[1].max()


def test_rows_that_are_held_out_whole_are_predicted_from_column_means(ratings):
    scores = cross_val_score(make(), ratings, groups=ratings.row, cv=GroupKFold(3))
    assert ((-0.1 < scores) & (scores < 0.3)).all()


# ------------------------------------------------------------------ searching over rows


@pytest.mark.parametrize("convert", [Entries.to_csr, Entries.to_dense])
def test_a_grid_search_over_the_rows_of_a_matrix_finds_the_rank(convert):
    search = GridSearchCV(
        make(regularization=0.01, max_iter=40), {"n_components": [1, 4, 32]}, cv=CELLS
    ).fit(convert(generated()))
    assert search.best_params_["n_components"] == 4
    assert search.best_score_ > 0.5


def liked_first_column(entries):
    """A label of each row that its factors tell: whether it is on one side of a taste."""
    X = entries.to_dense()
    mean = np.nanmean(X, axis=1)
    return X, (mean > np.median(mean)).astype(int)


def test_a_pipeline_of_factors_and_a_classifier_is_cross_validated(ratings):
    X, y = liked_first_column(ratings)
    pipe = make_pipeline(make(), StandardScaler(), LogisticRegression())
    stored = sp.csr_array(np.nan_to_num(X))
    scores = cross_val_score(pipe, stored, y, cv=CELLS)
    np.testing.assert_allclose(cross_val_score(pipe, X, y, cv=CELLS), scores)
    assert scores.min() > 0.6
    grid = {"fpsgfactorizer__n_components": [1, 8], "logisticregression__C": [0.1, 10.0]}
    search = GridSearchCV(pipe, grid, cv=CELLS).fit(stored, y)
    assert search.best_score_ >= scores.mean() - 0.05
    assert search.predict_proba(stored[:5]).shape == (5, 2)
    names = search.best_estimator_[:-2].get_feature_names_out()
    assert names.tolist() == [
        f"fpsgfactorizer{d}" for d in range(search.best_params_["fpsgfactorizer__n_components"])
    ]


def test_a_pipeline_may_regress_on_factors():
    X = generated().to_dense()
    y = np.nansum(X, axis=1)
    scores = cross_val_score(make_pipeline(make(), Ridge()), X, y, cv=CELLS)
    assert np.isfinite(scores).all()


# ------------------------------------------------------------------ as a regressor on ids


def test_string_ids_are_searched_over_with_a_scorer_by_name(ratings):
    if len(ratings) > 30_000:  # strings are slow to sort, and there are enough
        ratings = ratings[np.random.default_rng(0).permutation(len(ratings))[:30_000]]
    X, y = as_ids(ratings)
    search = GridSearchCV(
        EntryRegressor(make()),
        {"estimator__n_components": [2, 8], "estimator__regularization": [0.1, 2.0]},
        cv=CELLS,
        scoring="neg_root_mean_squared_error",
    ).fit(X, y)
    assert search.best_params_["estimator__regularization"] == 0.1
    assert -y.std() < search.best_score_ < 0
    predicted = search.predict(
        [["user 0003", "film 0005"], ["nobody", "film 0005"], ["nobody", "nothing"]]
    )
    assert np.isfinite(predicted).all()
    assert predicted[2] == pytest.approx(y.mean())


def test_string_ids_and_entries_have_the_same_errors():
    entries = generated()
    X, y = as_ids(entries)
    by_id = -cross_val_score(
        EntryRegressor(make()), X, y, cv=CELLS, scoring="neg_root_mean_squared_error"
    )
    by_cell = []
    for train, test in CELLS.split(entries):
        model, held_out = make().fit(entries[train]), entries[test]
        by_cell.append(
            root_mean_squared_error(
                held_out.value, model.predict_entries(held_out.row, held_out.col)
            )
        )
    np.testing.assert_allclose(by_id, by_cell, rtol=1e-9)


def test_many_scorers_and_halving_work_on_ids():
    X, y = as_ids(generated())
    names = ["r2", "neg_mean_absolute_error", "neg_root_mean_squared_error"]
    results = cross_validate(EntryRegressor(make()), X, y, cv=CELLS, scoring=names)
    assert (results["test_r2"] > 0.4).all()
    assert (
        results["test_neg_mean_absolute_error"] > results["test_neg_root_mean_squared_error"]
    ).all()
    search = HalvingGridSearchCV(
        EntryRegressor(make()),
        {"estimator__n_components": [1, 4]},
        cv=CELLS,
        factor=2,
        resource="estimator__max_iter",
        max_resources=20,
        min_resources=10,
        scoring="r2",
        random_state=0,
    ).fit(X, y)
    assert search.best_params_["estimator__n_components"] == 4


def test_predictions_of_all_cells_come_from_folds_without_them():
    X, y = as_ids(generated())
    predicted = cross_val_predict(EntryRegressor(make()), X, y, cv=CELLS)
    assert 0.3 < root_mean_squared_error(y, predicted) < 0.8 * y.std()


def test_ids_of_users_that_are_held_out_do_not_crash(ratings):
    X, y = as_ids(ratings[:20_000])
    scores = cross_val_score(
        EntryRegressor(make()), X, y, groups=X[:, 0], cv=GroupKFold(3), scoring="r2"
    )
    assert ((-0.2 < scores) & (scores < 0.4)).all()


# ------------------------------------------------------------------ processes and threads


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_search_has_the_same_results_in_workers(backend):
    entries = generated()
    grid = {"n_components": [2, 4], "schedule": ["fpsg", "rotation"], "n_jobs": [None, -1]}
    alone = GridSearchCV(make(), grid, cv=CELLS).fit(entries)
    with joblib.parallel_config(backend, n_jobs=2):
        together = GridSearchCV(make(), grid, cv=CELLS).fit(entries)
    np.testing.assert_array_equal(
        alone.cv_results_["mean_test_score"], together.cv_results_["mean_test_score"]
    )
    np.testing.assert_array_equal(
        alone.best_estimator_.components_, together.best_estimator_.components_
    )


def test_workers_take_large_data_as_read_only_memory_maps():
    entries = generated()
    X, y = as_ids(entries)
    with joblib.parallel_config("loky", n_jobs=2, max_nbytes=1000):
        scores = cross_val_score(make(), entries, cv=CELLS)
        rows = cross_val_score(make(), entries.to_dense(), cv=CELLS)
        errors = cross_val_score(EntryRegressor(make()), X, y, cv=CELLS)
    np.testing.assert_array_equal(scores, cross_val_score(make(), entries, cv=CELLS))
    np.testing.assert_array_equal(rows, cross_val_score(make(), entries.to_dense(), cv=CELLS))
    np.testing.assert_array_equal(errors, cross_val_score(EntryRegressor(make()), X, y, cv=CELLS))
