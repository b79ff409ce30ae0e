"""The n best columns of each row, against a naive sort."""

import tracemalloc

import narwhals.stable.v2 as nw
import numpy as np
import pytest
import scipy.sparse as sp

from skglrm import Entries, FPSGFactorizer, _ranking
from skglrm._ranking import best_columns, most_similar
from skglrm.backends import ThreadsBackend


def naive(scores, n, exclude=None, pool=None):
    items = np.full((len(scores), n), -1)
    best = np.full((len(scores), n), -np.inf)
    for i, row in enumerate(scores):
        allowed = range(len(row)) if pool is None else pool
        seen = () if exclude is None else exclude.indices[exclude.indptr[i] : exclude.indptr[i + 1]]
        order = sorted((-row[j], j) for j in allowed if j not in set(seen))[:n]
        for place, (score, j) in enumerate(order):
            items[i, place], best[i, place] = j, -score
    return items, best


def assert_best(got, expected):
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])
    assert got[0].dtype == np.int64


@pytest.fixture(params=["by norm, blocks of 7", "by norm, one block", "as they come"], autouse=True)
def plan(request, monkeypatch):
    """How the work is cut may not show in any result."""
    monkeypatch.setattr(_ranking, "FEW_ROWS", 100 if request.param == "as they come" else 0)
    if request.param == "by norm, blocks of 7":
        monkeypatch.setattr(_ranking, "ROWS_AT_ONCE", 7)


@pytest.fixture(params=["distinct", "ties", "all equal"])
def factors(request):
    """Small integers, so that products are exact whatever the order of additions."""
    rng = np.random.default_rng(0)
    high = {"distinct": 1000, "ties": 2, "all equal": 1}[request.param]
    return rng.integers(-(high // 2), high, (23, 4)) * 1.0, rng.integers(0, high, (31, 4)) * 1.0


@pytest.mark.parametrize("n", [1, 2, 10, 30, 31, 32, 50])
@pytest.mark.parametrize("excluded", [0.0, 0.3, 0.9, 1.0])
def test_the_best_columns_are_those_of_a_naive_sort(n, excluded, factors):
    rows, columns = factors
    exclude = None
    if excluded:
        cells = np.random.default_rng(1).random((23, 31)) < excluded
        exclude = sp.csr_array(cells.astype(float))
    expected = naive(rows @ columns.T, n, exclude)
    assert_best(best_columns(rows, columns, n, exclude=exclude), expected)


@pytest.mark.parametrize("n", [1, 4, 7])
@pytest.mark.parametrize("pool", [[5], [2, 3, 11, 30], list(range(0, 31, 2)), []], ids=str)
def test_a_pool_leaves_out_all_other_columns(pool, n, factors):
    rows, columns = factors
    exclude = sp.csr_array((np.random.default_rng(1).random((23, 31)) < 0.4) * 1.0)
    got = best_columns(rows, columns, n, exclude=exclude, pool=np.array(pool, np.int64))
    assert_best(got, naive(rows @ columns.T, n, exclude, pool))


def test_all_columns_are_returned_in_order_of_their_scores():
    items, scores = best_columns(np.ones((1, 1)), np.array([[2.0], [-1.0], [3.0], [2.0]]), 4)
    np.testing.assert_array_equal(items, [[2, 0, 3, 1]])
    np.testing.assert_array_equal(scores, [[3, 2, 2, -1]])


def test_stored_zeros_are_excluded_too():
    exclude = sp.csr_array(([0.0], [1], [0, 1]), shape=(1, 3))
    items, scores = best_columns(np.ones((1, 1)), np.ones((3, 1)), 3, exclude=exclude)
    np.testing.assert_array_equal(items, [[0, 2, -1]])
    np.testing.assert_array_equal(scores, [[1, 1, -np.inf]])


def test_no_rows_give_no_items():
    items, scores = best_columns(np.ones((0, 2)), np.ones((3, 2)), 2)
    assert items.shape == scores.shape == (0, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_have_the_precision_of_the_factors(dtype):
    rng = np.random.default_rng(0)
    rows, columns = rng.normal(size=(5, 3)).astype(dtype), rng.normal(size=(9, 3)).astype(dtype)
    items, scores = best_columns(rows, columns, 4)
    assert scores.dtype == dtype
    np.testing.assert_allclose(
        scores, np.take_along_axis(rows @ columns.T, items, axis=1), rtol=1e-5
    )


def test_arguments_are_only_read(factors):
    rows, columns = factors
    exclude, pool = sp.csr_array(np.eye(23, 31)), np.arange(9)
    for array in (rows, columns, pool, exclude.data, exclude.indices, exclude.indptr):
        array.flags.writeable = False
    best_columns(rows, columns, 3, exclude=exclude, pool=pool)
    most_similar(rows, np.array([1]), 3)


# Cosines


@pytest.mark.parametrize("n", [1, 5, 22, 40])
def test_the_most_similar_rows_have_the_largest_cosines(n):
    factors = np.random.default_rng(0).normal(size=(23, 4))
    ids = np.array([3, 0, 22, 3])
    unit = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    itself = sp.csr_array((np.ones(4), ids, np.arange(5)), shape=(4, 23))
    got, expected = most_similar(factors, ids, n), naive(unit[ids] @ unit.T, n, itself)
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_allclose(got[1], expected[1])


def test_similarity_does_not_depend_on_length():
    factors = np.random.default_rng(0).normal(size=(10, 3))
    lengths = np.linspace(0.1, 50, 10)[:, None]
    one, two = (most_similar(f, np.arange(10), 9) for f in (factors, factors * lengths))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_allclose(one[1], two[1])
    assert abs(one[1]).max() <= 1 + 1e-12


def test_a_row_of_zeros_is_nobodys_neighbour():
    factors = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    items, scores = most_similar(factors, np.array([0, 1]), 3)
    np.testing.assert_array_equal(items, [[1, 3, -1], [3, -1, -1]])
    np.testing.assert_array_equal(scores, [[0, 0, -np.inf], [0, -np.inf, -np.inf]])


# Bits


@pytest.fixture(params=[np.float32, np.float64])
def long_tailed(request):
    """Factors whose norms span several decades, so that most columns are never scored."""
    rng = np.random.default_rng(0)
    rows, columns = rng.normal(size=(60, 21)), rng.normal(size=(130, 21))
    rows *= np.logspace(-6, 3, 60)[rng.permutation(60), None]
    columns *= np.logspace(-4, 1, 130)[rng.permutation(130), None]
    rows[[5, 6, 7, 17]] = 0
    columns[[0, 3, 99]] = 0
    return rows.astype(request.param), columns.astype(request.param)


def assert_same_bits(got, expected):
    for one, two in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, two)


def some_cells(n_rows, n_columns, share=0.2):
    return sp.csr_array((np.random.default_rng(1).random((n_rows, n_columns)) < share) * 1.0)


def test_a_batch_equals_single_calls(long_tailed):
    rows, columns = long_tailed
    exclude = some_cells(60, 130)
    whole = best_columns(rows, columns, 10, exclude=exclude)
    for i in (0, 5, 17, 59):
        one = best_columns(rows[i : i + 1], columns, 10, exclude=exclude[i : i + 1])
        assert_same_bits(one, [part[i : i + 1] for part in whole])
    some = np.random.default_rng(2).permutation(60)[:20]
    few = best_columns(rows[some], columns, 10, exclude=exclude[some])
    assert_same_bits(few, [part[some] for part in whole])


def test_the_number_of_threads_does_not_matter(long_tailed):
    rows, columns = long_tailed
    expected = best_columns(rows, columns, 10)
    for n_threads in (2, 3):
        with ThreadsBackend(n_threads) as backend:
            assert_same_bits(best_columns(rows, columns, 10, backend=backend), expected)


def test_a_pool_does_not_change_scores(long_tailed):
    rows, columns = long_tailed
    items, scores = best_columns(rows, columns, 130)
    pool = np.arange(0, 130, 3)
    some, their_scores = best_columns(rows, columns, len(pool), pool=pool)
    table = np.empty((60, 130), scores.dtype)
    np.put_along_axis(table, items, scores, axis=1)
    np.testing.assert_array_equal(np.take_along_axis(table, some, axis=1), their_scores)


def test_columns_given_up_by_their_norm_were_not_among_the_best(long_tailed):
    rows, columns = long_tailed
    everything, _ = best_columns(rows, columns, 130)
    items, _ = best_columns(rows, columns, 10)
    np.testing.assert_array_equal(items, everything[:, :10])


def test_the_order_of_lists_of_seen_columns_does_not_matter(long_tailed):
    rows, columns = long_tailed
    exclude = some_cells(60, 130)
    mixed = exclude.copy()
    for begin, end in zip(mixed.indptr, mixed.indptr[1:], strict=False):
        mixed.indices[begin:end] = mixed.indices[begin:end][::-1]
    mixed = sp.csr_array((mixed.data, mixed.indices, mixed.indptr), shape=mixed.shape)
    before = mixed.indices.copy()
    got = best_columns(rows, columns, 10, exclude=mixed)
    assert_same_bits(got, best_columns(rows, columns, 10, exclude=exclude))
    np.testing.assert_array_equal(mixed.indices, before)


def test_factors_in_any_layout_are_read(long_tailed):
    rows, columns = long_tailed
    got = best_columns(np.asfortranarray(rows), columns.T.copy().T, 5)
    assert_same_bits(got, best_columns(rows, columns, 5))


def test_columns_without_a_number_are_never_returned():
    rows, columns = np.ones((2, 3)), np.ones((20, 3))
    columns[[0, 7]] = np.nan
    rows[1] = np.nan
    items, scores = best_columns(rows, columns, 20)
    assert sorted(items[0][:18]) == [j for j in range(20) if j not in (0, 7)]
    np.testing.assert_array_equal(items[0][18:], -1)
    np.testing.assert_array_equal(items[1], -1)
    np.testing.assert_array_equal(scores[1], -np.inf)


def test_tiny_factors_are_ranked_as_well():
    rows, columns = np.full((40, 1), 1e-25, np.float32), np.array([[1.0], [3.0], [2.0]], np.float32)
    items, _ = best_columns(rows, columns, 3)
    np.testing.assert_array_equal(items, [[1, 2, 0]] * 40)


def test_a_coordinate_of_few_rows_changes_nothing_for_the_others(long_tailed):
    """Rows without factors get the popular columns through a coordinate of their own, the last."""
    rows, columns = long_tailed
    popularity = np.random.default_rng(3).permutation(130).astype(rows.dtype)
    cold = np.zeros(60, bool)
    cold[[1, 2, 17, 50]] = True
    rows[cold] = 0
    exclude = some_cells(60, 130)
    alone = best_columns(rows, columns, 10, exclude=exclude)
    items, scores = best_columns(
        np.column_stack([rows, cold]).astype(rows.dtype),
        np.column_stack([columns, popularity]),
        10,
        exclude=exclude,
    )
    assert_same_bits((items[~cold], scores[~cold]), [part[~cold] for part in alone])
    popular = naive(np.tile(popularity, (60, 1)), 10, exclude)
    assert_same_bits((items[cold], scores[cold]), [part[cold] for part in popular])


def test_rows_times_columns_is_never_held():
    rng = np.random.default_rng(0)
    rows, columns = rng.normal(size=(2000, 4)), rng.normal(size=(3000, 4))
    best_columns(rows[:1], columns, 5)
    tracemalloc.start()
    best_columns(rows, columns, 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2000 * 3000 * 8 / 20


# Pairs in a data frame

FRAMES = ["pandas", "polars", "pyarrow"]


def pairs_of(frame):
    """Lines of a native frame, as tuples."""
    return list(nw.from_native(frame).iter_rows())


@pytest.fixture(scope="module")
def model_with_ids():
    pd = pytest.importorskip("pandas")
    row, col = np.nonzero(np.random.default_rng(0).random((9, 6)) < 0.7)
    table = {"u": [f"u{i}" for i in row], "i": [f"i{j}" for j in col], "v": row * 1.0 - col}
    entries = Entries.from_frame(pd.DataFrame(table), row="u", col="i", value="v")
    return FPSGFactorizer(2, random_state=0).fit(entries)


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("side", ["item", "row"])
def test_a_frame_holds_all_pairs_by_id(side, frame, model_with_ids):
    pytest.importorskip(frame)
    similar = getattr(model_with_ids, "similar_items" if side == "item" else "similar_rows")
    letter, n = ("i", 6) if side == "item" else ("u", 9)
    found, scores = similar(np.arange(n), 3)
    native = similar(n=3, frame=frame)
    assert type(native).__module__.split(".")[0] == frame
    assert nw.from_native(native).columns == [side, "neighbour", "score"]
    assert pairs_of(native) == [
        (f"{letter}{one}", f"{letter}{other}", score)
        for one in range(n)
        for other, score in zip(found[one].tolist(), scores[one].tolist(), strict=True)
    ]


def test_a_frame_has_no_lines_for_neighbours_that_do_not_exist():
    pytest.importorskip("polars")
    model = FPSGFactorizer(1, random_state=0).fit(
        np.array([[1.0, np.nan, 2.0], [2.0, np.nan, 4.0]])
    )
    lines = pairs_of(model.similar_items([2, 0], 5, frame="polars"))
    assert [line[:2] for line in lines] == [(2, 0), (0, 2)]


def test_a_frame_names_the_features_of_a_frame():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame({"b": [1.0, 2.0, 4.0], "a": [2.0, 4.0, 7.0]})
    model = FPSGFactorizer(1, random_state=0).fit(X)
    lines = pairs_of(model.similar_items(frame="pandas", n=1))
    assert [line[:2] for line in lines] == [("b", "a"), ("a", "b")]


def test_an_unknown_kind_of_frame_is_refused(model_with_ids):
    with pytest.raises(ValueError, match="frame must be None, 'pandas', 'polars' or 'pyarrow'"):
        model_with_ids.similar_items(frame="excel")
