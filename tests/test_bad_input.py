"""Bad input is refused with a message that says what was given, what is needed and what to do."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError

from skglrm import Entries, EntryRegressor, FPSGFactorizer

NAN, INF = np.nan, np.inf


def matrix():
    """20 × 12, a third of it missing."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 12))
    X[rng.random(X.shape) < 0.3] = NAN
    return X


def entries():
    return Entries.from_matrix(matrix())


def twice(row, col):
    """The entries of the matrix, and one more for a cell that has been seen."""
    one = entries()
    at = np.flatnonzero((one.row == row) & (one.col == col))
    assert at.size == 1
    parts = (np.append(array, array[at]) for array in (one.row, one.col, one.value))
    return Entries(*parts, one.matrix_shape)


def with_ids():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"user": ["ann", "bob", "bob"], "item": [7, 7, 8], "stars": [1, 2, 3]})
    return Entries.from_frame(frame, row="user", col="item", value="stars")


def changed(value, fmt=np.asarray):
    X = matrix()
    X[3, 4] = value
    return fmt(X)


def model(**params):
    return FPSGFactorizer(**{"n_components": 3, "max_iter": 2, "random_state": 0, **params})


def fit(X, **params):
    return model(**params).fit(X)


def sparse(X):
    return sp.csr_array(np.where(np.isnan(X), 0, X))


# Name: (call, error, what the message says, in this order)
DATA = {
    "infinity": (lambda: fit(changed(INF)), ValueError, "Input X contains infinity"),
    "minus infinity": (lambda: fit(changed(-INF)), ValueError, "infinity"),
    "stored infinity": (lambda: fit(changed(INF, sparse)), ValueError, "infinity"),
    "infinite entry": (
        lambda: fit(Entries([0, 1], [0, 1], [1.0, INF])),
        ValueError,
        r"value\[1\] is inf; 1 of 2 values.*finite",
    ),
    "missing entry": (
        lambda: fit(Entries([0, 1], [0, 1], [NAN, 1.0])),
        ValueError,
        r"value\[0\] is nan.*left out",
    ),
    "no rows": (lambda: fit(np.empty((0, 5))), ValueError, r"0 sample\(s\).*minimum of 1"),
    "no columns": (lambda: fit(np.empty((5, 0))), ValueError, r"0 feature\(s\).*minimum of 1"),
    "all missing": (
        lambda: fit(np.full((4, 3), NAN)),
        ValueError,
        "no observed cell: all 4 x 3 are missing.*needs at least one",
    ),
    "nothing stored": (
        lambda: fit(sp.csr_array((4, 3))),
        ValueError,
        "no observed cell: all 4 x 3.*needs at least one.*unstored='zero'",
    ),
    "no entries": (
        lambda: fit(Entries([], [], [], (4, 3))),
        ValueError,
        "no observed cell: all 4 x 3 are missing.*needs at least one",
    ),
    "complex": (lambda: fit(matrix() + 1j), ValueError, "Complex data not supported"),
    "strings": (lambda: fit([["a", "b"], ["c", "d"]]), ValueError, "could not convert.*'a'"),
    "objects": (
        lambda: fit(np.array([[1.0, {}], [2.0, 3.0]], object)),
        (TypeError, ValueError),
        "dict",
    ),
    "one dimension": (
        lambda: fit([1.0, 2.0, 3.0]),
        ValueError,
        "Expected 2D array, got 1D.*[Rr]eshape",
    ),
    "three dimensions": (lambda: fit(np.ones((2, 2, 2))), ValueError, "dim 3"),
    "a tuple of arrays": (
        lambda: fit(([0, 1], [0, 1], [1.0, 2.0])),
        TypeError,
        r"tuple of 3 objects.*pass Entries\(row, col, value\)",
    ),
    "DIA": (
        lambda: fit(sp.dia_array(np.eye(4))),
        ValueError,
        "DIA loses stored zeros.*tocsr.*unstored='zero'",
    ),
    "BSR": (
        lambda: fit(sp.bsr_array(np.eye(4))),
        ValueError,
        "BSR stores zeros as padding.*tocsr.*unstored='zero'",
    ),
    "duplicates in COO": (
        lambda: fit(sp.coo_array(([1.0, 2.0, 5.0], ([0, 1, 1], [0, 2, 2])))),
        ValueError,
        "row 1, column 2.*more than once.*remove|combine",
    ),
    "duplicates in entries": (
        lambda: fit(twice(5, 6)),
        ValueError,
        "row 5, column 6.*more than once.*[Cc]ombine",
    ),
    "duplicates in entries of several blocks": (
        lambda: fit(twice(5, 6), n_blocks=4, n_jobs=2, schedule="rotation"),
        ValueError,
        "row 5, column 6.*more than once.*[Cc]ombine",
    ),
    "duplicates in entries of a wide matrix": (
        lambda: fit(Entries([0, 1, 1], [0, 7, 7], [1.0, 2.0, 3.0], (2, 9))),
        ValueError,
        "row 1, column 7.*more than once.*[Cc]ombine",
    ),
    "positions beyond the shape": (
        lambda: fit(Entries([0, 4], [0, 1], [1.0, 2.0], (4, 3))),
        ValueError,
        r"row\[1\] is 4.*last row.*\(4, 3\) is 3.*shape that holds all",
    ),
    "negative positions": (
        lambda: fit(Entries([0, 1], [0, -1], [1.0, 2.0])),
        ValueError,
        r"col\[1\] is -1.*counted from 0.*from_frame",
    ),
    "positions that are no integers": (
        lambda: fit(Entries([0.0, 1.0], [0, 1], [1.0, 2.0])),
        TypeError,
        r"row must hold integer.*float64.*row\.astype",
    ),
    "positions that are names": (
        lambda: fit(Entries(["ann", "bob"], [0, 1], [1.0, 2.0])),
        TypeError,
        "row must hold integer.*from_frame",
    ),
    "lengths of entries": (
        lambda: fit(Entries([0, 1, 2], [0, 1], [1.0, 2.0])),
        ValueError,
        "same length; got 3, 2 and 2",
    ),
    "a huge step": (
        lambda: fit(matrix(), learning_rate=1e200),
        FloatingPointError,
        "no longer finite after iteration 1.*learning rate 1e.200.*learning_rate smaller",
    ),
}

# Name: (parameters, what the message says)
PARAMETERS = {
    "n_components=0": ({"n_components": 0}, "'n_components'.*at least 1. Got 0"),
    "n_components=2.5": ({"n_components": 2.5}, "'n_components'.*integer.*Got 2.5"),
    "n_components=True": ({"n_components": True}, "'n_components'.*integer.*Got True"),
    "n_components='auto'": ({"n_components": "auto"}, "'n_components'.*integer.*Got 'auto'"),
    "n_components=None": ({"n_components": None}, "'n_components'.*integer.*Got None"),
    "loss": ({"loss": "square"}, "'loss'.*one of 'squared'.*Got 'square'"),
    "schedule": (
        {"schedule": "dsgd"},
        "'schedule'.*one of 'fpsg', 'rotation', 'averaging', 'hogwild'.*Got 'dsgd'",
    ),
    "unstored": ({"unstored": "zeros"}, "'unstored'.*one of 'missing', 'zero'.*Got 'zeros'"),
    "backend": ({"backend": "cuda"}, "[Bb]ackend.*'cuda'.*'numba-threads'"),
    "backend=None": ({"backend": None}, "[Bb]ackend.*None.*'numba-threads'"),
    "regularization": ({"regularization": -0.1}, "'regularization'.*at least 0. Got -0.1"),
    "regularization=nan": ({"regularization": NAN}, "'regularization'.*finite.*Got nan"),
    "regularization=inf": ({"regularization": INF}, "'regularization'.*finite.*Got inf"),
    "regularization='l2'": ({"regularization": "l2"}, "'regularization'.*number.*Got 'l2'"),
    "l1_regularization": ({"l1_regularization": -1}, "'l1_regularization'.*at least 0. Got -1"),
    "learning_rate=0": ({"learning_rate": 0}, "'learning_rate'.*greater than 0. Got 0"),
    "learning_rate=nan": ({"learning_rate": NAN}, "'learning_rate'.*finite.*Got nan"),
    "learning_rate=inf": ({"learning_rate": INF}, "'learning_rate'.*finite.*Got inf"),
    "nonnegative": ({"nonnegative": "yes"}, "'nonnegative'.*True or False. Got 'yes'"),
    "early_stopping": ({"early_stopping": 1}, "'early_stopping'.*True or False. Got 1"),
    "n_blocks=0": ({"n_blocks": 0}, "'n_blocks'.*at least 1. Got 0"),
    "n_blocks='auto'": ({"n_blocks": "auto"}, "'n_blocks'.*integer.*Got 'auto'"),
    "n_blocks too large": (
        {"n_blocks": 13},
        "n_blocks=13.*smaller side of the data has 12.*Lower n_blocks, or leave it at None",
    ),
    "n_blocks too small for the threads": (
        {"n_blocks": 2, "n_jobs": 2},
        "'fpsg' with 2 threads needs n_blocks of at least 3.*got 2.*(Raise|lower)",
    ),
    "max_iter=0": ({"max_iter": 0}, "'max_iter'.*at least 1. Got 0"),
    "max_iter=1e3": ({"max_iter": 1e3}, "'max_iter'.*integer.*Got 1000.0"),
    "tol": ({"tol": -1e-4}, "'tol'.*at least 0. Got -0.0001"),
    "tol=nan": ({"tol": NAN}, "'tol'.*finite.*Got nan"),
    "n_iter_no_change": ({"n_iter_no_change": 0}, "'n_iter_no_change'.*at least 1. Got 0"),
    "validation_fraction=0": ({"validation_fraction": 0}, "'validation_fraction'.*above|greater"),
    "validation_fraction=1": ({"validation_fraction": 1.0}, "'validation_fraction'.*below 1.*1.0"),
    "validation_fraction=10": ({"validation_fraction": 10}, "'validation_fraction'.*below 1.*10"),
    "verbose": ({"verbose": -1}, "'verbose'.*at least 0. Got -1"),
    "random_state": ({"random_state": "seed"}, "'seed' cannot be used to seed"),
}

N_JOBS = {
    "n_jobs=0": (0, "n_jobs.*0"),
    "n_jobs='two'": ("two", "n_jobs.*'two'"),
    "n_jobs=1.5": (1.5, "n_jobs.*1.5"),
}

# Name: (call on a fitted model, error, what the message says)
METHODS = {
    "too few columns": (
        lambda m: m.transform(matrix()[:, :5]),
        ValueError,
        "X has 5 features, but FPSGFactorizer is expecting 12 features",
    ),
    "too many columns": (
        lambda m: m.transform(np.ones((1, 13))),
        ValueError,
        "X has 13 features, but FPSGFactorizer is expecting 12",
    ),
    "too few columns in entries": (
        lambda m: m.transform(Entries([0], [0], [1.0])),
        ValueError,
        "X has 1 features, but FPSGFactorizer is expecting 12",
    ),
    "columns of a matrix to score": (
        lambda m: m.score(np.ones((2, 3))),
        ValueError,
        "X has 3 features, but FPSGFactorizer is expecting 12",
    ),
    "columns of new rows": (
        lambda m: m.partial_fit(np.ones((2, 3))),
        ValueError,
        "X has 3 features, but FPSGFactorizer is expecting 12",
    ),
    "columns of rows to recommend for": (
        lambda m: m.recommend(np.ones((2, 3))),
        ValueError,
        "X has 3 features, but FPSGFactorizer is expecting 12",
    ),
    "infinity to fold in": (lambda m: m.transform(changed(INF)), ValueError, "infinity"),
    "duplicates to fold in": (
        lambda m: m.transform(twice(5, 6)),
        ValueError,
        "row 5, column 6.*more than once.*remove",
    ),
    "a tuple to fold in": (
        lambda m: m.transform(([0], [1], [1.0])),
        TypeError,
        r"tuple of 3.*Entries\(row, col, value\)",
    ),
    "DIA to fold in": (
        lambda m: m.transform(sp.dia_array(np.eye(12))),
        ValueError,
        "DIA.*tocsr.*unstored='zero'",
    ),
    "factors of the wrong width": (
        lambda m: m.inverse_transform(np.ones((2, 4))),
        ValueError,
        "W has 4 columns.*n_components=3.*transform",
    ),
    "missing factors": (
        lambda m: m.inverse_transform([[1.0, NAN, 2.0]]),
        ValueError,
        "W contains NaN",
    ),
    "positions with a point": (
        lambda m: m.predict_entries([0.5], [0]),
        TypeError,
        "rows must be integers.*got float64",
    ),
    "positions that are ids": (
        lambda m: m.predict_entries([0], ["item"]),
        TypeError,
        "cols must be integers.*got <U4",
    ),
    "positions that are a mask": (
        lambda m: m.predict_entries([True], [0]),
        TypeError,
        "rows must be integers.*got bool",
    ),
    "positions of unequal length": (
        lambda m: m.predict_entries([0, 1], [0]),
        ValueError,
        "rows and cols differ in length: 2 and 1",
    ),
    "positions in two dimensions": (
        lambda m: m.predict_entries([[0, 1]], [[0, 1]]),
        ValueError,
        r"rows must be one-dimensional; got shape \(1, 2\)",
    ),
    "items beyond the matrix": (
        lambda m: m.recommend(matrix(), items=[0, 12]),
        ValueError,
        "items must be positions from 0 to 11.*got 12",
    ),
    "negative items": (
        lambda m: m.recommend(matrix(), items=[-1]),
        ValueError,
        "items must be positions from 0 to 11.*got -1",
    ),
    "items that are a mask": (
        lambda m: m.recommend(matrix(), items=np.ones(12, bool)),
        TypeError,
        "items must be integers.*got bool",
    ),
    "no recommendation": (
        lambda m: m.recommend(matrix(), n=0),
        ValueError,
        "n must be a positive integer. Got 0",
    ),
    "half a recommendation": (
        lambda m: m.recommend(matrix(), n=2.5),
        ValueError,
        "n must be a positive integer. Got 2.5",
    ),
    "similar to no item": (
        lambda m: m.similar_items([12]),
        ValueError,
        "items must be positions from 0 to 11.*got 12",
    ),
    "similar to no row": (
        lambda m: m.similar_rows([0, -1]),
        ValueError,
        "rows must be positions from 0 to 19.*got -1",
    ),
    "similar to nothing": (
        lambda m: m.similar_rows([0], n=-3),
        ValueError,
        "n must be a positive integer. Got -3",
    ),
    "ids after positions": (
        lambda m: m.partial_fit(with_ids()),
        ValueError,
        "have ids for their rows.*fitted on positions.*from_frame",
    ),
    "duplicates in an update": (
        lambda m: m.partial_fit(Entries([0, 0], [3, 3], [1.0, 2.0])),
        ValueError,
        "row 0, column 3.*more than once",
    ),
    "duplicates in an update far from the first rows": (
        lambda m: m.partial_fit(Entries([15, 2, 15], [9, 1, 9], [1.0, 2.0, 3.0])),
        ValueError,
        "row 15, column 9.*more than once",
    ),
    "divergence in an update": (
        lambda m: m.set_params(learning_rate=1e200).partial_fit(matrix()),
        FloatingPointError,
        "no longer finite.*learning_rate smaller",
    ),
}

AFTER_IDS = {
    "positions after ids": (
        lambda m: m.partial_fit(entries()),
        ValueError,
        "have no ids for their rows.*fitted on ids.*from_frame",
    ),
    "a matrix after ids": (
        lambda m: m.partial_fit([[1.0, 2.0]]),
        ValueError,
        "fitted on Entries with ids.*matrix does not say.*from_frame",
    ),
}

UNFITTED = {
    "transform": lambda m: m.transform(matrix()),
    "inverse_transform": lambda m: m.inverse_transform([[1.0, 2.0, 3.0]]),
    "predict_entries": lambda m: m.predict_entries([0], [0]),
    "score": lambda m: m.score(matrix()),
    "score of entries": lambda m: m.score(entries()),
    "recommend": lambda m: m.recommend(matrix()),
    "similar_items": lambda m: m.similar_items([0]),
    "similar_rows": lambda m: m.similar_rows([0]),
}

# Divergence overflows on the way to its error.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")


@pytest.mark.parametrize("kind", DATA)
def test_bad_data_are_refused_with_advice(kind):
    call, error, message = DATA[kind]
    with pytest.raises(error, match=f"(?s){message}"):
        call()


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", PARAMETERS)
def test_bad_parameters_are_refused_by_name(kind, method):
    params, message = PARAMETERS[kind]
    estimator = model(**params)  # scikit-learn wants no error before fit
    with pytest.raises(ValueError, match=message):
        getattr(estimator, method)(matrix())
    assert not hasattr(estimator, "components_")


@pytest.mark.parametrize("kind", N_JOBS)
def test_a_number_of_threads_that_is_none_is_refused(kind):
    n_jobs, message = N_JOBS[kind]
    with pytest.raises((TypeError, ValueError), match=message):
        fit(matrix(), n_jobs=n_jobs)


@pytest.mark.parametrize("kind", METHODS)
def test_bad_calls_of_a_fitted_model_are_refused_with_advice(kind):
    call, error, message = METHODS[kind]
    with pytest.raises(error, match=f"(?s){message}"):
        call(fit(matrix()))


@pytest.mark.parametrize("kind", AFTER_IDS)
def test_ids_and_positions_do_not_mix(kind):
    call, error, message = AFTER_IDS[kind]
    with pytest.raises(error, match=message):
        call(fit(with_ids()))


@pytest.mark.parametrize("method", UNFITTED)
def test_a_model_that_is_not_fitted_says_so(method):
    with pytest.raises(NotFittedError, match=r"FPSGFactorizer.*not fitted yet.*'fit'"):
        UNFITTED[method](model())


def test_columns_with_other_names_are_refused():
    pd = pytest.importorskip("pandas")
    names = [f"film {j}" for j in range(12)]
    fitted = fit(pd.DataFrame(matrix(), columns=names))
    with pytest.raises(ValueError, match=r"(?s)feature names should match.*film 11"):
        fitted.transform(pd.DataFrame(matrix(), columns=[*names[:11], "film 12"]))


@pytest.mark.parametrize("kind", ["strings", "integers"])
@pytest.mark.parametrize("method", ["transform", "recommend"])
def test_entries_of_other_columns_are_not_mistaken_for_those_of_the_fit(method, kind):
    """As many columns, other ids: refused, or matched by id, but never taken by position."""
    pd = pytest.importorskip("pandas")
    make = str if kind == "strings" else int

    def frame(items):
        table = {"user": [0, 0, 1, 2, 2], "item": list(map(make, items)), "stars": [1, 2, 3, 4, 5]}
        return Entries.from_frame(pd.DataFrame(table), row="user", col="item", value="stars")

    train, other = frame([11, 12, 11, 12, 13]), frame([12, 13, 12, 13, 14])
    fitted = fit(train)
    try:
        got = getattr(fitted, method)(other)
    except ValueError as error:
        assert "columns of X are not those" in str(error)
        return
    by_position = Entries(other.row, other.col, other.value, other.matrix_shape)
    expected = getattr(fitted, method)(by_position)
    assert not np.array_equal(np.hstack([*got]), np.hstack([*expected]))


def test_duplicates_are_refused_whichever_of_them_is_held_out():
    refused = 0
    for seed in range(12):
        try:
            fit(twice(5, 6), early_stopping=True, validation_fraction=0.5, random_state=seed)
        except ValueError as error:
            refused += "more than once" in str(error)
    assert refused == 12


def test_early_stopping_on_too_few_cells_says_so():
    with pytest.raises(ValueError, match=r"validation_fraction=0\.1.*of 1\. Fit without"):
        fit(Entries([0], [0], [1.0]), early_stopping=True)


@pytest.mark.parametrize("X", [sp.csr_array(np.eye(3)), [["ann", "up", 3]], [["ann"]], ["ann"]])
def test_a_regressor_needs_two_columns_of_ids(X):
    with pytest.raises((TypeError, ValueError), match=r"two columns|2 features"):
        EntryRegressor(model()).fit(X, np.ones(X.shape[0] if sp.issparse(X) else len(X)))


def test_a_regressor_refuses_a_pair_of_ids_that_occurs_twice():
    X = [["ann", "up"], ["bob", "up"], ["ann", "up"]]
    with pytest.raises(ValueError, match=r"row 0, column 0.*more than once"):
        EntryRegressor(model()).fit(X, [1.0, 2.0, 3.0])
