import datetime
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_predict,
    cross_validate,
    learning_curve,
)
from sklearn.utils import get_tags

from skglrm.entries import Entries
from skglrm.entry_regressor import EntryRegressor


class Means(BaseEstimator):
    """Row and column offsets: all that a regressor on entries asks of its estimator."""

    def __init__(self, damping=1.0):
        self.damping = damping

    def fit(self, X, y=None):
        X.to_csr()  # refuses duplicates
        self.entries_ = [X]
        return self._update()

    def partial_fit(self, X, y=None):
        if not hasattr(self, "entries_"):
            return self.fit(X)
        X.to_csr()
        self.entries_ = [*self.entries_, X]
        return self._update()

    def _update(self):
        row, col, value = (
            np.concatenate([getattr(part, name) for part in self.entries_])
            for name in ("row", "col", "value")
        )
        n_rows, n_cols = self.entries_[-1].matrix_shape
        self.mean_ = value.mean()
        self.row_offsets_ = self._offsets(row, value - self.mean_, n_rows)
        residual = value - self.mean_ - self.row_offsets_[row]
        self.col_offsets_ = self._offsets(col, residual, n_cols)
        return self

    def _offsets(self, ids, value, n):
        count = np.bincount(ids, minlength=n)
        return np.bincount(ids, value, minlength=n) / (count + self.damping)

    def predict_entries(self, rows, cols):
        # One more offset, of 0, for all that is unseen: -1 is its index.
        row_offsets, col_offsets = np.append(self.row_offsets_, 0), np.append(self.col_offsets_, 0)
        return self.mean_ + row_offsets[rows] + col_offsets[cols]


USERS = np.array([f"user {i}" for i in range(20)], dtype=object)
ITEMS = np.array([f"item {i}" for i in range(15)], dtype=object)


def ratings(n=200, seed=0):
    rng = np.random.default_rng(seed)
    cell = rng.choice(len(USERS) * len(ITEMS), n, replace=False)
    row, col = cell // len(ITEMS), cell % len(ITEMS)
    y = rng.normal(size=len(USERS))[row] + rng.normal(size=len(ITEMS))[col] + 3
    return np.column_stack([USERS[row], ITEMS[col]]), y + rng.normal(scale=0.1, size=n)


def containers(X):
    yield "object array", X
    yield "string array", X.astype(str)
    yield "list", X.tolist()
    yield "list of tuples", list(map(tuple, X))
    columns = {"user": X[:, 0].tolist(), "item": X[:, 1].tolist()}
    for library, make in [("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "table")]:
        yield library, getattr(pytest.importorskip(library), make)(columns)


# Laws


def test_it_fits_the_estimator_on_the_entries():
    X, y = ratings()
    model = EntryRegressor(Means()).fit(X, y)
    (entries,) = model.estimator_.entries_
    assert isinstance(entries, Entries)
    np.testing.assert_array_equal(model.row_ids_[entries.row], X[:, 0])
    np.testing.assert_array_equal(model.col_ids_[entries.col], X[:, 1])
    np.testing.assert_array_equal(entries.value, y)
    assert entries.row_ids is model.row_ids_ and entries.col_ids is model.col_ids_
    assert entries.matrix_shape == (len(model.row_ids_), len(model.col_ids_))
    np.testing.assert_array_equal(
        model.predict(X), model.estimator_.predict_entries(entries.row, entries.col)
    )
    assert not hasattr(model.estimator, "entries_")
    assert model.n_features_in_ == 2


def test_the_container_of_ids_does_not_matter():
    X, y = ratings()
    expected = EntryRegressor(Means()).fit(X, y).predict(X)
    for name, ids in containers(X):
        model = EntryRegressor(Means()).fit(ids, y)
        np.testing.assert_array_equal(model.predict(ids), expected, err_msg=name)
        assert model.row_ids_.tolist() == sorted(set(X[:, 0])), name
        named = hasattr(model, "feature_names_in_")
        assert named == (name in ("pandas", "polars", "pyarrow")), name
        if named:
            assert model.feature_names_in_.tolist() == ["user", "item"]


@pytest.mark.parametrize(
    "ids",
    [
        np.arange(20),
        np.arange(20, dtype=np.uint8),
        np.arange(20) / 8,
        np.datetime64("2020-01-01") + np.arange(20),
        [datetime.date(2020, 1, 1 + i) for i in range(20)],
        [(i, "x") for i in range(20)],
    ],
    ids=["int", "uint8", "float", "datetime64", "date", "tuple"],
)
def test_ids_may_be_of_any_type(ids):
    pd = pytest.importorskip("pandas")
    X, y = ratings()
    expected = EntryRegressor(Means()).fit(X, y).predict(X)
    place = [USERS.tolist().index(user) for user in X[:, 0]]
    users = [ids[i] for i in place] if isinstance(ids, list) else ids[place]
    renamed = pd.DataFrame({"user": users, "item": X[:, 1]})
    model = EntryRegressor(Means()).fit(renamed, y)
    np.testing.assert_allclose(model.predict(renamed), expected)


def test_the_order_of_lines_does_not_matter():
    X, y = ratings()
    order = np.random.default_rng(1).permutation(len(y))
    a, b = EntryRegressor(Means()).fit(X, y), EntryRegressor(Means()).fit(X[order], y[order])
    np.testing.assert_allclose(a.predict(X), b.predict(X))


def test_unknown_ids_are_predicted_from_means():
    X, y = ratings()
    model = EntryRegressor(Means()).fit(X, y)
    inner = model.estimator_
    both, row, col = model.predict([["nobody", "nothing"], ["nobody", "item 3"], ["user 4", None]])
    assert both == inner.mean_
    assert row == inner.mean_ + inner.col_offsets_[model.col_ids_.tolist().index("item 3")]
    assert col == inner.mean_ + inner.row_offsets_[model.row_ids_.tolist().index("user 4")]


def test_ids_of_another_type_are_unknown():
    y = [1.0, 2.0, 3.0]
    model = EntryRegressor(Means()).fit(np.array([[1, 1], [2, 1], [2, 2]]), y)
    assert (model.predict([["1", "1"], [None, "x"]]) == 2.0).all()
    np.testing.assert_array_equal(model.predict([[1.0, 1]]), model.predict(np.array([[1, 1]])))


@pytest.mark.parametrize("given", [np.float32, np.float64, int])
def test_float32_values_stay_float32(given):
    X, y = ratings()
    (entries,) = EntryRegressor(Means()).fit(X, y.astype(given)).estimator_.entries_
    assert entries.value.dtype == (np.float32 if given is np.float32 else np.float64)


def test_no_lines_give_no_predictions():
    X, y = ratings()
    assert EntryRegressor(Means()).fit(X, y).predict(X[:0]).shape == (0,)


# Growing


def test_partial_fit_adds_ids_and_keeps_the_places_of_the_known():
    model = EntryRegressor(Means()).partial_fit([["b", "y"], ["b", "x"]], [1.0, 2.0])
    assert model.partial_fit([["a", "y"], ["b", "w"]], [3.0, 4.0]) is model
    assert model.row_ids_.tolist() == ["b", "a"]
    assert model.col_ids_.tolist() == ["x", "y", "w"]
    first, second = model.estimator_.entries_
    assert first.matrix_shape == (1, 2)
    assert second.matrix_shape == (2, 3)
    assert second.row.tolist() == [1, 0] and second.col.tolist() == [1, 2]
    assert second.row_ids is model.row_ids_


def test_parts_predict_like_the_whole():
    X, y = ratings()
    parts = EntryRegressor(Means())
    for start in range(0, len(y), 40):
        parts.partial_fit(X[start : start + 40], y[start : start + 40])
    np.testing.assert_allclose(parts.predict(X), EntryRegressor(Means()).fit(X, y).predict(X))


def test_new_ids_of_another_type_do_not_blur_the_known():
    big = 2**53 + 1
    model = EntryRegressor(Means()).fit(np.array([[big, 0]]), [1.0])
    model.partial_fit(np.array([[0.5, 0.0]]), [2.0])
    assert model.row_ids_.tolist() == [big, 0.5]
    assert model.col_ids_.tolist() == [0]


@pytest.mark.parametrize(
    ("X", "y"),
    [
        ([["c", "x"], ["c", "x"]], [1.0, 2.0]),
        ([["c", "x"]], [np.nan]),
        ([["c", None]], [1.0]),
        ([["c", "x", "x"]], [1.0]),
        ([["c", "x"]], [1.0, 2.0]),
        ([["c", 1], ["c", "x"]], [1.0, 2.0]),
    ],
    ids=["duplicate", "nan", "no id", "three columns", "lengths", "mixed types"],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_call_that_fails_changes_nothing(method, X, y):
    pd = pytest.importorskip("pandas")
    train = pd.DataFrame({"u": ["b", "b"], "i": ["y", "x"]})
    model = EntryRegressor(Means()).fit(train, [1.0, 2.0])
    before, inner = vars(model).copy(), vars(model.estimator_).copy()
    X = pd.DataFrame(X, columns=["u", "i", "j"][: len(X[0])])
    with pytest.raises((TypeError, ValueError)):
        getattr(model, method)(X, y)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())
    assert vars(model.estimator_) == inner


# Scikit-learn


def test_it_is_a_regressor_on_categories():
    model = EntryRegressor(Means())
    assert is_regressor(model)
    tags = get_tags(model)
    assert tags.input_tags.string and tags.input_tags.categorical
    assert tags.target_tags.required
    assert not tags.input_tags.sparse


def test_parameters_are_nested_and_cloned():
    model = EntryRegressor(Means(damping=3.0))
    assert model.get_params()["estimator__damping"] == 3.0
    again = clone(model).set_params(estimator__damping=5.0)
    assert (model.estimator.damping, again.estimator.damping) == (3.0, 5.0)
    assert "Means" in repr(model)
    assert "Means" in model._repr_html_()


def test_a_pickle_predicts_the_same():
    X, y = ratings()
    model = EntryRegressor(Means()).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_every_scorer_and_splitter_works():
    X, y = ratings()
    folds = KFold(4, shuffle=True, random_state=0)
    scoring = ["r2", "neg_root_mean_squared_error", "neg_median_absolute_error", "neg_max_error"]
    for name, ids in containers(X):
        if name == "pyarrow":  # only recent versions of scikit-learn take its lines
            continue
        results = cross_validate(EntryRegressor(Means()), ids, y, cv=folds, scoring=scoring)
        assert results["test_r2"].min() > 0.8, name
    model = EntryRegressor(Means())
    assert model.fit(X, y).score(X, y) > 0.9
    assert np.isfinite(cross_val_predict(model, X, y, cv=folds)).all()
    learning_curve(model, X, y, cv=folds, shuffle=True, random_state=0)


def test_groups_hold_out_users():
    X, y = ratings()
    results = cross_validate(
        EntryRegressor(Means()), X, y, cv=GroupKFold(4), groups=X[:, 0], error_score="raise"
    )
    assert np.isfinite(results["test_score"]).all()


def test_a_search_over_string_ids():
    pd = pytest.importorskip("pandas")
    X, y = ratings()
    X = pd.DataFrame(X, columns=["user", "item"])
    search = GridSearchCV(
        EntryRegressor(Means()),
        {"estimator__damping": [0.1, 1e6]},
        cv=KFold(4, shuffle=True, random_state=0),
        scoring=["neg_root_mean_squared_error", "r2"],
        refit="r2",
    ).fit(X, y)
    assert search.best_params_ == {"estimator__damping": 0.1}
    assert search.best_estimator_.feature_names_in_.tolist() == ["user", "item"]
    assert np.isfinite(search.predict(X)).all()


# Refusals


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        (np.ones((2, 3)), [1, 2], ValueError, r"X has 3 features.*expecting 2.*row id"),
        (np.ones((2, 1)), [1, 2], ValueError, "X has 1 features"),
        (["a", "b"], [1, 2], ValueError, "Expected 2D array, got 1D"),
        (sp.csr_array(np.ones((2, 2))), [1, 2], TypeError, "X is sparse"),
        ([["a", "x"], ["b", "x"]], None, ValueError, "requires y to be passed"),
        ([["a", "x"], ["b", "x"]], [1], ValueError, "inconsistent numbers of samples"),
        ([["a", "x"], ["b", "x"]], [1, np.nan], ValueError, "y contains NaN"),
        ([["a", "x"], ["b", "x"]], [1, np.inf], ValueError, "y contains infinity"),
        ([["a", "x"], ["b", "x"]], ["u", "v"], ValueError, "could not convert"),
        ([["a", "x"], [None, "x"]], [1, 2], ValueError, "1 of 2 ids of column 'row id'"),
        ([["a", "x"], ["b", np.nan]], [1, 2], ValueError, "1 of 2 ids of column 'column id'"),
        (np.array([[0, 1], [0, np.nan]]), [1, 2], ValueError, "1 of 2 ids of column 'column id'"),
        ([["a", "x"], [1, "x"]], [1, 2], TypeError, r"mixes ids.*\(int, str\)"),
        ([["a", "x"], ["a", "x"]], [1, 2], ValueError, "more than once"),
        (np.empty((0, 2)), [], ValueError, "0 sample"),
    ],
)
def test_bad_input_is_refused_with_advice(method, X, y, error, message):
    with pytest.raises(error, match=message):
        getattr(EntryRegressor(Means()), method)(X, y)


def test_columns_are_not_swapped():
    pd = pytest.importorskip("pandas")
    X, y = ratings()
    X = pd.DataFrame(X, columns=["user", "item"])
    model = EntryRegressor(Means()).fit(X, y)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X[["item", "user"]])
    with pytest.raises(ValueError, match="X has 1 features"):
        model.predict(X[["item"]])


def test_predict_comes_after_fit():
    with pytest.raises(NotFittedError):
        EntryRegressor(Means()).predict([["a", "b"]])


def test_the_estimator_must_predict_entries():
    with pytest.raises(TypeError, match=r"Ridge\(\) has no predict_entries.*FPSGFactorizer"):
        EntryRegressor(Ridge()).fit([["a", "b"]], [1.0])
    with pytest.raises(TypeError, match="no partial_fit and no predict_entries"):
        EntryRegressor(Ridge()).partial_fit([["a", "b"]], [1.0])
