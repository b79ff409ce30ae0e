import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from skglrm._observations import read_input, read_matrix, unchanged_on_error
from skglrm.entries import Entries

NAN = np.nan
DENSE = np.array([[1.0, NAN, 0.0], [NAN, NAN, NAN], [NAN, 2.0, -3.0]])
FORMATS = ["csr", "csc", "coo", "lil", "dok"]
CONTAINERS = [f"{fmt}_{kind}" for fmt in FORMATS for kind in ("array", "matrix")]


class Scale(TransformerMixin, BaseEstimator):
    """The smallest transformer of matrices with missing cells: zeros for them, columns scaled."""

    def __init__(self, unstored="missing"):
        self.unstored = unstored

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X, y=None):
        entries = read_input(self, X, unstored=self.unstored, reset=True)
        self.scale_ = np.ones(self.n_features_in_, dtype=entries.value.dtype)
        np.maximum.at(self.scale_, entries.col, np.abs(entries.value))
        return self

    def transform(self, X):
        check_is_fitted(self)
        entries = read_input(self, X, unstored=self.unstored, reset=False)
        out = np.zeros(entries.matrix_shape, dtype=entries.value.dtype)
        out[entries.row, entries.col] = entries.value
        return out / self.scale_


def sparse(container, X=DENSE):
    fmt, kind = container.split("_")
    row, col = np.nonzero(~np.isnan(X))
    return getattr(sp, f"coo_{kind}")((X[row, col], (row, col)), X.shape).asformat(fmt)


def read(X, unstored="missing", reset=True, estimator=None):
    return read_input(estimator or Scale(), X, unstored=unstored, reset=reset)


@parametrize_with_checks([Scale(), Scale(unstored="zero")])
def test_an_estimator_that_reads_this_way_passes_the_checks_of_sklearn(estimator, check):
    check(estimator)


# Laws


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("container", CONTAINERS)
def test_sparse_and_dense_say_the_same(container, dtype):
    given, expected = read(sparse(container, DENSE.astype(dtype))), read(DENSE.astype(dtype))
    assert given.value.dtype == expected.value.dtype == dtype
    assert given.matrix_shape == expected.matrix_shape
    for name in ("row", "col", "value"):
        np.testing.assert_array_equal(getattr(given, name), getattr(expected, name))


@pytest.mark.parametrize("container", [*CONTAINERS, "dia_array", "bsr_matrix"])
def test_unstored_zeros_are_those_of_the_array(container):
    X = sparse(container)
    given, expected = read(X, "zero"), read(X.toarray())
    for name in ("row", "col", "value"):
        np.testing.assert_array_equal(getattr(given, name), getattr(expected, name))


@pytest.mark.parametrize("container", ["dense", *CONTAINERS])
def test_entries_come_in_row_major_order_of_the_right_types(container):
    rng = np.random.default_rng(0)
    X = np.where(rng.random((30, 20)) < 0.3, rng.normal(size=(30, 20)), NAN)
    entries = read(X if container == "dense" else sparse(container, X))
    cell = entries.row.astype(np.int64) * 20 + entries.col
    assert (np.diff(cell) > 0).all()
    assert entries.row.dtype == entries.col.dtype == np.int32
    np.testing.assert_array_equal(entries.to_dense(), X)


def test_entries_are_returned_as_they_are():
    entries = Entries([1, 0], [0, 2], [1.0, 2.0])
    assert read(entries) is entries


@pytest.mark.parametrize("integer", [np.int64, np.uint8, bool])
def test_integers_become_float64(integer):
    assert read(np.eye(3, dtype=integer)).value.dtype == np.float64


# Features


def test_entries_set_the_number_of_features_and_forget_names():
    pd = pytest.importorskip("pandas")
    estimator = Scale()
    read(pd.DataFrame(DENSE, columns=["a", "b", "c"]), estimator=estimator)
    assert estimator.feature_names_in_.tolist() == ["a", "b", "c"]
    read(Entries([0], [3], [1.0]), estimator=estimator)
    assert estimator.n_features_in_ == 4
    assert not hasattr(estimator, "feature_names_in_")


def frame_entries(items, **known):
    pd = pytest.importorskip("pandas")
    df = pd.DataFrame({"user": 1, "item": items, "stars": 2.0})
    return Entries.from_frame(df, row="user", col="item", value="stars", **known)


def test_column_ids_are_feature_names_if_they_are_strings():
    estimator = Scale()
    read(frame_entries(["up", "alien"]), estimator=estimator)
    assert estimator.feature_names_in_.tolist() == ["alien", "up"]
    read(frame_entries([3, 1]), estimator=estimator)
    assert not hasattr(estimator, "feature_names_in_")


def test_entries_of_other_columns_are_refused():
    estimator = Scale()
    train = frame_entries(["up", "alien"])
    read(train, estimator=estimator)
    read(frame_entries(["up"], col_ids=train.col_ids), reset=False, estimator=estimator)
    with pytest.raises(ValueError, match=r"not those that Scale was fitted on.*col_ids="):
        read(frame_entries(["up", "brazil"]), reset=False, estimator=estimator)


@pytest.mark.parametrize(
    "X", [np.ones((2, 4)), sp.csr_array(np.ones((2, 4))), Entries([0], [3], [1.0])], ids=type
)
def test_another_number_of_columns_is_refused_in_the_words_of_sklearn(X):
    estimator = Scale().fit(DENSE)
    with pytest.raises(
        ValueError, match="X has 4 features, but Scale is expecting 3 features as input"
    ):
        read(X, reset=False, estimator=estimator)


# Refusals


@pytest.mark.parametrize("unstored", ["missing", "zero"])
def test_duplicates_are_refused_not_summed(unstored):
    X = sp.coo_array(([5.0, 5.0, 1.0], ([2, 2, 0], [1, 1, 0])), (3, 3))
    with pytest.raises(ValueError, match="row 2, column 1"):
        read(X, unstored)


@pytest.mark.parametrize("container", ["dia_array", "dia_matrix", "bsr_array", "bsr_matrix"])
def test_lossy_formats_are_refused(container):
    with pytest.raises(ValueError, match="sparse format"):
        read(sparse(container))


@pytest.mark.parametrize(
    "X", [np.full((2, 3), NAN), sp.csr_array((2, 3)), Entries([], [], [], (2, 3))], ids=type
)
def test_nothing_observed_is_refused_in_fit_only(X):
    with pytest.raises(ValueError, match=r"no observed cell: all 2 x 3.*Scale needs at least one"):
        read(X)
    assert len(read(X, reset=False, estimator=Scale().fit(DENSE))) == 0


def test_a_tuple_of_positions_and_values_is_refused_with_advice():
    with pytest.raises(TypeError, match=r"tuple of 3.*Entries\(row, col, value\)"):
        read((np.array([0]), np.array([0]), np.array([1.0])))
    with pytest.raises(TypeError, match="tuple of 2"):
        read(([1.0], ([0], [0])))


@pytest.mark.parametrize(
    "X",
    [
        np.array([[np.inf, 1.0]]),
        sp.csr_array([[np.inf, 1.0]]),
        np.ones(3),
        np.empty((0, 3)),
        np.array([[1j]]),
        [["a"]],
    ],
    ids=["inf", "sparse inf", "1d", "empty", "complex", "strings"],
)
def test_a_call_that_fails_leaves_the_estimator_as_it_was(X):
    pd = pytest.importorskip("pandas")
    estimator = Scale().fit(pd.DataFrame(DENSE, columns=["a", "b", "c"]))
    before = vars(estimator).copy()
    with pytest.raises(ValueError):
        read(X, estimator=estimator)
    assert vars(estimator) == before
    assert all(vars(estimator)[name] is value for name, value in before.items())


def test_new_changed_and_deleted_attributes_are_restored():
    estimator = Scale()
    estimator.a_, estimator.b_ = 1, 2
    with pytest.raises(KeyboardInterrupt), unchanged_on_error(estimator):
        estimator.a_, estimator.c_ = 3, 4
        del estimator.b_
        raise KeyboardInterrupt
    assert vars(estimator) == {"unstored": "missing", "a_": 1, "b_": 2}


def test_an_unknown_word_for_unstored_is_refused():
    with pytest.raises(ValueError, match="got 'zeros'"):
        read(DENSE, "zeros")


# Degenerate data


def test_equal_stored_values_are_called_degenerate():
    clicks = sp.csr_array(np.eye(3))
    with pytest.warns(UserWarning, match=r"All 3 stored values.*are 1.*ImplicitALS"):
        read(clicks)
    with pytest.warns(UserWarning, match="unstored='zero'"):
        read_matrix(Scale(), clicks, unstored="missing", reset=True)


def test_other_data_are_not_called_degenerate():
    fitted = Scale().fit(DENSE)
    clicks = sp.csr_array(np.eye(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(clicks, "zero")
        read(clicks, reset=False, estimator=fitted)  # a new row may well be constant
        read(sp.csr_array([[2.0, 0.0]]))
        read(np.ones((2, 2)))
        read(sp.csr_array([[1.0, 2.0]]))
        read_input(Scale(), clicks, unstored="missing", reset=True, allow_constant=True)
