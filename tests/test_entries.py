import datetime
import decimal
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ShuffleSplit,
    cross_validate,
    learning_curve,
    train_test_split,
)

from skglrm._ids import codes_of
from skglrm.entries import Entries

NAN = np.nan
# A stored zero at (0, 2), an empty row, an empty column.
DENSE = np.array([[1.0, NAN, 0.0, NAN], [NAN, NAN, NAN, NAN], [NAN, NAN, -2.0, 3.0]])
ROW, COL = np.array([0, 0, 2, 2]), np.array([0, 2, 2, 3])
VALUE = np.array([1.0, 0.0, -2.0, 3.0])

FORMATS = ["csr", "csc", "coo", "lil", "dok"]
CONTAINERS = [f"{fmt}_{kind}" for fmt in FORMATS for kind in ("array", "matrix")]


def sparse(container, row=ROW, col=COL, value=VALUE, shape=DENSE.shape):
    fmt, kind = container.split("_")
    return getattr(sp, f"coo_{kind}")((value, (row, col)), shape).asformat(fmt)


def with_index_dtype(X, dtype):
    for name in ("indices", "indptr", "row", "col"):
        if hasattr(X, name):
            setattr(X, name, getattr(X, name).astype(dtype))
    return X


def cells(entries):
    triples = zip(entries.row.tolist(), entries.col.tolist(), entries.value.tolist(), strict=True)
    return list(triples)


def random_entries(n=200, n_rows=12, n_cols=30, seed=0):
    rng = np.random.default_rng(seed)
    cell = rng.choice(n_rows * n_cols, n, replace=False)
    return Entries(cell // n_cols, cell % n_cols, rng.normal(size=n), (n_rows, n_cols))


# Laws


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_sparse_container_gives_the_entries_of_the_dense_matrix(
    container, dtype, index_dtype
):
    X = with_index_dtype(sparse(container, value=VALUE.astype(dtype)), index_dtype)
    entries = Entries.from_matrix(X)
    expected = Entries.from_matrix(DENSE.astype(dtype))
    assert cells(entries) == cells(expected) == list(zip(ROW, COL, VALUE, strict=True))
    assert entries.matrix_shape == DENSE.shape
    assert entries.value.dtype == dtype
    assert entries.row.dtype == entries.col.dtype == np.int32


@pytest.mark.parametrize("container", [*CONTAINERS, "dia_array", "bsr_array", "bsr_matrix"])
def test_unstored_zero_gives_the_entries_of_the_array(container):
    X = sparse(container)
    entries = Entries.from_matrix(X, unstored="zero")
    assert cells(entries) == cells(Entries.from_matrix(X.toarray()))
    assert len(entries) == DENSE.size


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_stored_zero_is_an_observation(container):
    X = sparse(container, row=[1], col=[2], value=[0.0])
    assert cells(Entries.from_matrix(X)) == [(1, 2, 0.0)]


@pytest.mark.parametrize("unstored", ["missing", "zero"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_stored_nan_is_missing(container, unstored):
    X = sparse(container, value=[1.0, NAN, -2.0, 3.0])
    entries = Entries.from_matrix(X, unstored=unstored)
    assert (0, 2) not in set(zip(entries.row, entries.col, strict=True))
    assert len(entries) == (3 if unstored == "missing" else DENSE.size - 1)


@pytest.mark.parametrize(
    "X",
    [DENSE, np.asfortranarray(DENSE), np.repeat(DENSE, 2, axis=1)[:, ::2], DENSE.tolist()],
    ids=["C", "F", "strided", "list"],
)
def test_the_layout_of_a_dense_matrix_does_not_matter(X):
    assert cells(Entries.from_matrix(X)) == list(zip(ROW, COL, VALUE, strict=True))


def test_matrix_csr_and_dense_are_round_trips():
    entries = random_entries()
    np.testing.assert_array_equal(
        Entries.from_matrix(entries.to_csr()).to_dense(), entries.to_dense()
    )
    np.testing.assert_array_equal(Entries.from_matrix(DENSE).to_dense(), DENSE)


def test_to_csr_keeps_zeros_and_sorts():
    csr = Entries(ROW[::-1], COL[::-1], VALUE[::-1], DENSE.shape).to_csr()
    assert isinstance(csr, sp.csr_array)
    assert csr.shape == DENSE.shape
    assert csr.has_canonical_format
    np.testing.assert_array_equal(csr.data, VALUE)


@pytest.mark.parametrize("container", CONTAINERS)
def test_reading_leaves_the_matrix_as_it_was(container):
    X = sparse(container)
    if X.format in ("csr", "csc"):  # unsorted and with spare room at the end
        X = type(X)(
            (
                np.array([0.0, 1.0, 3.0, -2.0, 9.0]),
                np.array([2, 0, 3, 2, 1]),
                np.array([0, 2, 2, 4] if X.format == "csr" else [0, 0, 2, 4]),
            ),
            shape=(3, 4) if X.format == "csr" else (4, 3),
        )
        before = X.data.copy(), X.indices.copy(), X.indptr.copy()
        for array in (X.data, X.indices, X.indptr):
            array.flags.writeable = False
        assert sorted(Entries.from_matrix(X).value) == [-2.0, 0.0, 1.0, 3.0]
        for array, expected in zip((X.data, X.indices, X.indptr), before, strict=True):
            np.testing.assert_array_equal(array, expected)
    else:
        before = X.toarray()
        Entries.from_matrix(X)
        np.testing.assert_array_equal(X.toarray(), before)


def test_arrays_of_the_right_type_are_not_copied():
    row, col = ROW.astype(np.int32), COL.astype(np.int32)
    for array in (row, col, VALUE):
        array.flags.writeable = False
    entries = Entries(row, col, VALUE)
    assert entries.row is row and entries.col is col and entries.value is VALUE
    VALUE.flags.writeable = True


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("f4", "f4"),
        ("f8", "f8"),
        (">f4", "f4"),
        ("f2", "f8"),
        ("i8", "f8"),
        ("u1", "f8"),
        ("?", "f8"),
    ],
)
def test_values_are_float32_or_float64(given, kept):
    assert Entries([0, 1], [0, 1], np.array([0, 1], dtype=given)).value.dtype == np.dtype(kept)


def test_positions_are_int64_only_when_the_shape_needs_it():
    assert Entries([0], [0], [1.0], shape=(2**31 - 1, 1)).row.dtype == np.int32
    big = Entries([2**40], [0], [1.0])
    assert big.row.dtype == big.col.dtype == np.int64
    assert big.matrix_shape == (2**40 + 1, 1)


def test_the_shape_is_inferred_from_the_largest_positions():
    assert Entries(ROW, COL, VALUE).matrix_shape == (3, 4)
    assert Entries(ROW, COL, VALUE, shape=(5, 6)).matrix_shape == (5, 6)


# Samples


KEYS = [
    slice(1, None),
    slice(None, None, -2),
    [0, 2],
    [],
    [True, False, True, False],
    np.array([3, 3]),
    np.array([True, False, False, True]),
    (np.array([1, 2]), ...),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing_takes_cells_and_keeps_the_matrix(key):
    entries = Entries(ROW, COL, VALUE, DENSE.shape)
    part = entries[key]
    plain = key[0] if isinstance(key, tuple) else key
    np.testing.assert_array_equal(part.row, ROW[plain])
    np.testing.assert_array_equal(part.col, COL[plain])
    np.testing.assert_array_equal(part.value, VALUE[plain])
    assert part.matrix_shape == entries.matrix_shape
    assert part.shape == (len(part),)


@pytest.mark.parametrize("key", [0, 3, -1, -4, np.int64(2)])
def test_an_integer_takes_entries_of_length_one(key):
    assert cells(Entries(ROW, COL, VALUE)[key]) == [cells(Entries(ROW, COL, VALUE))[key]]


@pytest.mark.parametrize("key", [4, -5, (0, 1), None, [[0]], "a", 1.5, [True]], ids=str)
def test_other_keys_are_index_errors(key):
    with pytest.raises(IndexError):
        Entries(ROW, COL, VALUE)[key]


def test_entries_are_iterable_and_sized():
    entries = Entries(ROW, COL, VALUE)
    assert len(entries) == len(list(entries)) == 4


def test_entries_do_not_become_an_array_by_accident():
    with pytest.raises(TypeError, match="not an array"):
        np.asarray(Entries(ROW, COL, VALUE))


def test_repr_says_what_is_inside():
    assert repr(Entries(ROW, COL, VALUE)) == "Entries(4 observed cells of a 3 x 4 matrix, float64)"
    assert "1 observed cell of" in repr(Entries(ROW, COL, VALUE)[0])


def test_a_pickle_is_a_round_trip():
    entries = random_entries()
    entries.row_ids = np.arange(12)
    again = pickle.loads(pickle.dumps(entries))
    assert cells(again) == cells(entries)
    assert again.matrix_shape == entries.matrix_shape
    np.testing.assert_array_equal(again.row_ids, entries.row_ids)


# Scikit-learn's tools


@pytest.mark.parametrize(
    "splitter",
    [KFold(4), KFold(4, shuffle=True, random_state=0), ShuffleSplit(3, random_state=0)],
    ids=str,
)
def test_splitters_hold_out_cells(splitter):
    entries = random_entries()
    for train, test in splitter.split(entries):
        together = sorted(cells(entries[train]) + cells(entries[test]))
        assert together == sorted(cells(entries))


def test_train_test_split_keeps_the_matrix():
    entries = random_entries()
    train, test = train_test_split(entries, test_size=50, random_state=0)
    assert (len(train), len(test)) == (150, 50)
    assert train.matrix_shape == test.matrix_shape == entries.matrix_shape
    assert sorted(cells(train) + cells(test)) == sorted(cells(entries))


def test_group_k_fold_holds_out_rows():
    entries = random_entries()
    for train, test in GroupKFold(3).split(entries, groups=entries.row):
        assert not set(entries[train].row) & set(entries[test].row)


def mean_model():
    # A local class travels to other processes by value.
    class Mean(BaseEstimator):
        def __init__(self, shrinkage=0.0):
            self.shrinkage = shrinkage

        def fit(self, X, y=None):
            assert isinstance(X.value, np.ndarray)
            self.mean_ = X.value.mean() * (1 - self.shrinkage)
            self.matrix_shape_ = X.matrix_shape
            return self

        def score(self, X, y=None):
            assert X.matrix_shape == self.matrix_shape_
            return -float(np.mean((X.value - self.mean_) ** 2))

    return Mean()


def test_cross_validation_and_search_take_entries():
    entries = random_entries()
    folds = KFold(4, shuffle=True, random_state=0)
    results = cross_validate(mean_model(), entries, cv=folds, return_train_score=True)
    by_hand = [
        -np.mean((entries.value[test] - entries.value[train].mean()) ** 2)
        for train, test in folds.split(entries)
    ]
    np.testing.assert_allclose(results["test_score"], by_hand)
    search = GridSearchCV(mean_model(), {"shrinkage": [0.0, 1.0]}, cv=folds).fit(entries)
    assert search.best_estimator_.matrix_shape_ == entries.matrix_shape
    learning_curve(mean_model(), entries, None, cv=folds, shuffle=True, random_state=0)


def test_entries_travel_to_other_processes():
    # Large enough for joblib to hand the arrays over as read-only memory maps.
    n = 200_000
    entries = Entries(np.arange(n) % 500, np.arange(n) // 500, np.linspace(0, 1, n))
    folds = KFold(2, shuffle=True, random_state=0)
    one, two = (
        cross_validate(mean_model(), entries, cv=folds, n_jobs=n_jobs, error_score="raise")
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one["test_score"], two["test_score"])


def test_memory_mapped_arrays_are_read(tmp_path):
    for name, array in {"row": ROW, "col": COL, "value": VALUE}.items():
        np.save(tmp_path / f"{name}.npy", array.astype("i4") if name != "value" else array)
    maps = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("row", "col", "value")]
    entries = Entries(*maps)
    np.testing.assert_array_equal(entries.to_dense(), DENSE)
    assert all(
        np.shares_memory(*pair) for pair in zip(maps, [entries.row, entries.col], strict=False)
    )


# Missing values of other worlds


def test_a_masked_cell_is_missing():
    X = np.ma.array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]])
    assert cells(Entries.from_matrix(X)) == [(0, 0, 1.0), (1, 0, 3.0), (1, 1, 4.0)]


@pytest.mark.parametrize("dtype", ["Int64", "Float32", "object"])
def test_pandas_na_is_missing(dtype):
    pd = pytest.importorskip("pandas")
    df = pd.DataFrame({"a": pd.array([1, pd.NA], dtype=dtype), "b": pd.array([2, 3], dtype=dtype)})
    assert cells(Entries.from_matrix(df)) == [(0, 0, 1.0), (0, 1, 2.0), (1, 1, 3.0)]


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_null_is_missing(library):
    make = getattr(
        pytest.importorskip(library), {"polars": "DataFrame", "pyarrow": "table"}[library]
    )
    df = make({"a": [1, None], "b": [2.0, 3.0]})
    assert cells(Entries.from_matrix(df)) == [(0, 0, 1.0), (0, 1, 2.0), (1, 1, 3.0)]


def test_a_matrix_without_observations_has_no_entries():
    entries = Entries.from_matrix(np.full((2, 3), NAN))
    assert len(entries) == 0
    assert entries.matrix_shape == (2, 3)


def test_no_entries_are_fine_with_a_shape():
    entries = Entries([], [], [], shape=(2, 3))
    assert len(entries) == 0
    assert entries.row.dtype == np.int32
    assert entries.to_csr().nnz == 0


# Refusals


@pytest.mark.parametrize("container", ["dia_array", "dia_matrix", "bsr_array", "bsr_matrix"])
def test_lossy_formats_are_refused(container):
    with pytest.raises(ValueError, match=r"sparse format (DIA|BSR).*tocsr.*unstored='zero'"):
        Entries.from_matrix(sparse(container))


def with_duplicate(fmt):
    if fmt == "coo":
        return sp.coo_array(([1.0, 5.0, 5.0], ([0, 2, 2], [0, 1, 1])), (3, 3))
    if fmt == "bsr":
        return sp.bsr_array((np.ones((2, 1, 1)), [1, 1], [0, 0, 0, 2]), shape=(3, 3))
    cls = getattr(sp, f"{fmt}_array")
    starts = {"csr": [0, 1, 1, 4], "csc": [0, 1, 4, 4]}[fmt]
    other = {"csr": [0, 1, 0, 1], "csc": [0, 2, 0, 2]}[fmt]
    return cls(([1.0, 5.0, 3.0, 5.0], other, starts), shape=(3, 3))


@pytest.mark.parametrize(
    ("fmt", "unstored"),
    [
        *((fmt, word) for fmt in ("coo", "csr", "csc") for word in ("missing", "zero")),
        ("bsr", "zero"),
    ],
)
def test_duplicates_are_refused_and_named(fmt, unstored):
    with pytest.raises(ValueError, match=r"row 2, column 1.*more than once"):
        Entries.from_matrix(with_duplicate(fmt), unstored=unstored)


def test_duplicate_entries_are_refused_where_they_are_sorted():
    twice = Entries([0, 1, 1], [0, 2, 2], [1.0, 2.0, 3.0])
    for convert in (twice.to_csr, twice.to_dense):
        with pytest.raises(ValueError, match="row 1, column 2"):
            convert()


@pytest.mark.parametrize(
    "X", [DENSE, sparse("csr_array"), sparse("coo_matrix")], ids=["dense", "csr", "coo"]
)
def test_infinity_is_refused(X):
    X = X.copy()
    if sp.issparse(X):
        X.data[1] = np.inf
    else:
        X[0, 0] = -np.inf
    with pytest.raises(ValueError, match="infinity"):
        Entries.from_matrix(X)


@pytest.mark.parametrize(
    "X",
    [
        [1.0, 2.0],
        np.empty((0, 3)),
        sp.csr_array((3, 0)),
        [["a", "b"]],
        np.array([[1j]]),
    ],
    ids=["1d", "no rows", "no columns", "strings", "complex"],
)
def test_what_is_not_a_real_matrix_is_refused(X):
    with pytest.raises(ValueError):
        Entries.from_matrix(X)


@pytest.mark.skipif(sp.coo_array([1.0]).ndim == 2, reason="older SciPy knows two dimensions only")
def test_a_sparse_vector_is_refused():
    with pytest.raises(ValueError, match="2D sparse matrix; got 1 dim"):
        Entries.from_matrix(sp.coo_array([1.0, 2.0]))


def test_unstored_is_one_of_two_words():
    with pytest.raises(ValueError, match="'missing' or 'zero'; got 'zeros'"):
        Entries.from_matrix(DENSE, unstored="zeros")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0.0], [0], [1.0]), TypeError, r"row must hold integer.*float64.*row\.astype"),
        (([0], ["a"], [1.0]), TypeError, r"col must hold integer.*from_frame"),
        (([True], [0], [1.0]), TypeError, "row must hold integer.*bool"),
        (([0], [0], ["a"]), TypeError, "real numbers"),
        (([0], [0], [1j]), TypeError, "real numbers.*complex128"),
        (([0], [0], [None]), TypeError, "object.*left out"),
        (([0], [0], [NAN]), ValueError, r"value\[0\] is nan.*left out"),
        (([0, 0], [0, 1], [1, np.inf]), ValueError, r"value\[1\] is inf; 1 of 2"),
        (([0, 1], [0], [1.0]), ValueError, "same length; got 2, 1 and 1"),
        (([[0]], [0], [1.0]), ValueError, "row must be one-dimensional.*1, 1"),
        ((0, 0, 1.0), ValueError, "row must be one-dimensional"),
        (([0, -1], [0, 1], [1, 2]), ValueError, r"row\[1\] is -1.*from 0"),
        (([0], [0], np.ma.array([1.0], mask=[True])), ValueError, "value is a masked array"),
        (([], [], []), ValueError, "give shape="),
        (([0, 5], [0, 0], [1, 1], (3, 2)), ValueError, r"row\[1\] is 5.*shape \(3, 2\) is 2"),
        (([0], [2], [1], (3, 2)), ValueError, r"col\[0\] is 2"),
        (([0], [0], [1], (0, 2)), ValueError, r"two positive integers.*\(0, 2\)"),
        (([0], [0], [1], (1.5, 2)), ValueError, "two positive integers"),
        (([0], [0], [1], 3), ValueError, "two positive integers"),
        (([0], [0], [1], (1, 2, 3)), ValueError, "two positive integers"),
    ],
)
def test_bad_entries_are_refused_with_advice(arguments, error, message):
    with pytest.raises(error, match=message):
        Entries(*arguments)


# Frames


def frame(library, data):
    module = pytest.importorskip(library.split()[0])
    make = {"pyarrow": "table", "polars lazy": "LazyFrame"}.get(library, "DataFrame")
    return getattr(module, make)(data)


LIBRARIES = ["pandas", "polars", "polars lazy", "pyarrow"]
DAYS = [datetime.date(2021, 1, 2), datetime.date(2020, 5, 1), datetime.date(2021, 1, 2)]
IDS = {
    "str": ["bob", "ann", "bob"],
    "int": [70, -3, 70],
    "float": [0.5, 0.25, 0.5],
    "date": DAYS,
    "datetime": [datetime.datetime(day.year, day.month, day.day, 12) for day in DAYS],
    "bool": [True, False, True],
}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_every_frame_and_every_type_of_id_gives_the_same_entries(library, kind):
    df = frame(library, {"user": IDS[kind], "item": [3, 3, 1], "stars": [1, 0, 5]})
    entries = Entries.from_frame(df, row="user", col="item", value="stars")
    assert cells(entries) == [(1, 1, 1.0), (0, 1, 0.0), (1, 0, 5.0)]
    assert entries.matrix_shape == (2, 2)
    assert entries.row.dtype == entries.col.dtype == np.int32
    expected = np.array(sorted(set(IDS[kind])), dtype="M8[us]" if "date" in kind else None)
    np.testing.assert_array_equal(entries.row_ids.astype(expected.dtype), expected)
    assert entries.col_ids.tolist() == [1, 3]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_categories_are_ids(library):
    module = pytest.importorskip(library)
    df = frame(library, {"user": ["bob", "ann", "bob"], "item": [3, 3, 1], "stars": [1, 0, 5]})
    if library == "pandas":
        df["user"] = df["user"].astype("category")
    else:
        df = df.with_columns(module.col("user").cast(module.Categorical))
    entries = Entries.from_frame(df, row="user", col="item", value="stars")
    assert entries.row_ids.tolist() == ["ann", "bob"]
    assert entries.row.tolist() == [1, 0, 1]


@pytest.mark.parametrize("value", [[1.5, 2.0, 0.0], [True, False, True], [1, 2, 3]], ids=str)
@pytest.mark.parametrize("library", LIBRARIES)
def test_values_of_a_frame_are_numbers(library, value):
    df = frame(library, {"u": [1, 2, 3], "i": [1, 2, 3], "v": value})
    assert Entries.from_frame(df, row="u", col="i", value="v").value.tolist() == value


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_decimals_are_numbers(library):
    df = frame(library, {"u": [1, 2], "i": [1, 2], "v": [decimal.Decimal("1.5")] * 2})
    assert Entries.from_frame(df, row="u", col="i", value="v").value.tolist() == [1.5, 1.5]


def test_float32_values_of_a_frame_stay_float32():
    df = frame("pandas", {"u": [1, 2], "i": [1, 2], "v": np.array([1, 2], dtype=np.float32)})
    assert Entries.from_frame(df, row="u", col="i", value="v").value.dtype == np.float32


@pytest.mark.parametrize("as_array", [list, np.array, lambda ids: np.array(ids, dtype=object)])
@pytest.mark.parametrize("library", LIBRARIES)
def test_known_ids_give_the_same_positions(library, as_array):
    train = Entries.from_frame(
        frame(library, {"u": ["c", "a", "b"], "i": [30, 10, 20], "v": [1, 2, 3]}),
        row="u",
        col="i",
        value="v",
    )
    test = Entries.from_frame(
        frame(library, {"u": ["b"], "i": [30], "v": [4]}),
        row="u",
        col="i",
        value="v",
        row_ids=train.row_ids,
        col_ids=train.col_ids,
    )
    assert cells(test) == [(1, 2, 4.0)]
    assert test.matrix_shape == (3, 3)
    own = Entries.from_frame(
        frame(library, {"u": ["b"], "i": [30], "v": [4]}),
        row="u",
        col="i",
        value="v",
        row_ids=as_array(["z", "b"]),
        col_ids=as_array([30, 5]),
    )
    assert cells(own) == [(1, 0, 4.0)]
    assert list(own.row_ids) == ["z", "b"]


def test_parts_keep_the_ids():
    df = frame("pandas", {"u": ["c", "a", "b"], "i": [3, 1, 2], "v": [1, 2, 3]})
    entries = Entries.from_frame(df, row="u", col="i", value="v")
    part = entries[1:]
    assert part.row_ids is entries.row_ids and part.col_ids is entries.col_ids


def test_large_ids_keep_apart():
    ids = [2**63 - 1, 2**63 - 2, 2**53 + 1, 2**53]
    known = np.array(sorted(ids))
    for dtype in (np.int64, np.uint64, object):
        np.testing.assert_array_equal(codes_of(np.array(ids, dtype=dtype), known), [3, 2, 1, 0])


def test_a_few_ids_are_found_without_a_look_at_all_the_others():
    class Silent(str):
        """An id that is hashed by nobody."""

        __hash__ = None

    known = np.array([Silent(f"{i:04d}") for i in range(1000)], object)
    assert codes_of(np.array(["0700", "0003"], object), known).tolist() == [700, 3]


@pytest.mark.parametrize(
    ("few", "known", "codes"),
    [
        (["a", "c"], ["c", "b", "a"], [2, 0]),  # in no order
        (["a", "x"], ["a", "b"], [0, -1]),
        ([1, "a"], ["a", 1, None], [1, 0]),
        ([1.0, 2.5], [1, 2], [0, -1]),
        (np.array([5, 2**53 + 1]), np.array([5.0, 2.0**53]), [0, -1]),
        (np.array([3, 9, 1]), np.array([9, 1, 3]), [2, 0, 1]),
    ],
)
def test_a_few_ids_are_found_in_any_order_and_of_any_type(few, known, codes):
    few, known = (
        ids if isinstance(ids, np.ndarray) else np.array(ids, object) for ids in (few, known)
    )
    assert codes_of(few, known).tolist() == codes


def test_blocks_of_ids_do_not_show(monkeypatch):
    monkeypatch.setattr("skglrm._ids.BLOCK", 2)
    for library in LIBRARIES:
        for ids in (["b", "a", "c", "b", "a"], [7, 1, 9, 7, 1]):
            df = frame(library, {"u": ids, "i": range(5), "v": range(5)})
            entries = Entries.from_frame(df, row="u", col="i", value="v")
            assert entries.row.tolist() == [1, 0, 2, 1, 0]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"u": ["a", None], "i": [1, 2], "v": [1, 2]}, ValueError, "1 of 2 ids.*'u'.*drop"),
        ({"u": ["a", "b"], "i": [1, None], "v": [1, 2]}, ValueError, "1 of 2 ids of column 'i'"),
        ({"u": ["a", "b"], "i": [1, 2], "v": [1, None]}, ValueError, "1 of 2 values.*left out"),
        ({"u": ["a", "b"], "i": [1, 2], "v": [1.0, NAN]}, ValueError, "1 of 2 values.*left out"),
        ({"u": ["a", "b"], "i": [1.0, NAN], "v": [1, 2]}, ValueError, "1 of 2 ids of column 'i'"),
        ({"u": ["a"], "i": [1], "v": [np.inf]}, ValueError, "finite"),
        ({"u": ["a"], "i": [1], "v": ["x"]}, TypeError, "real numbers"),
        ({"u": ["a"], "i": [1], "w": [1]}, ValueError, r"no column \['v'\].*'u', 'i', 'w'"),
        ({"u": [], "i": [], "v": []}, ValueError, "empty"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("library", LIBRARIES)
def test_bad_frames_are_refused_with_advice(library, data, error, message):
    with pytest.raises(error, match=message):
        Entries.from_frame(frame(library, data), row="u", col="i", value="v")


@pytest.mark.parametrize("library", LIBRARIES)
def test_unknown_ids_are_counted_and_named(library):
    df = frame(library, {"u": ["a", "b", "x", "x"], "i": [1, 2, 1, 2], "v": [1, 2, 3, 4]})
    with pytest.raises(ValueError, match=r"2 of 4 ids of column 'u'.*2 known ones, e.g. 'x'"):
        Entries.from_frame(df, row="u", col="i", value="v", row_ids=["a", "b"])
    with pytest.raises(ValueError, match=r"4 of 4 ids of column 'i'.*e.g. 1"):
        Entries.from_frame(df, row="u", col="i", value="v", col_ids=["1", "2"])


@pytest.mark.parametrize("ids", [["a", "a", "b"], [], [["a"], ["b"]]], ids=str)
def test_known_ids_occur_once(ids):
    df = frame("pandas", {"u": ["a"], "i": [1], "v": [1]})
    with pytest.raises(ValueError, match=r"known ids of 'u'.*each once"):
        Entries.from_frame(df, row="u", col="i", value="v", row_ids=ids)


def test_ids_of_mixed_types_are_refused():
    df = frame("pandas", {"u": ["a", 1], "i": [1, 2], "v": [1, 2]})
    with pytest.raises(TypeError, match=r"'u' mixes ids.*\(int, str\)"):
        Entries.from_frame(df, row="u", col="i", value="v")


@pytest.mark.parametrize("df", [[1, 2], {"u": [1], "i": [1], "v": [1]}, DENSE], ids=type)
def test_from_frame_needs_a_frame(df):
    with pytest.raises(TypeError, match="needs a data frame"):
        Entries.from_frame(df, row="u", col="i", value="v")
