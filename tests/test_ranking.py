"""The n best columns of each row, against a naive sort."""

import numpy as np
import pytest
import scipy.sparse as sp

from skglrm import _ranking
from skglrm._ranking import best_columns, most_similar


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


@pytest.fixture(params=[4_000_000, 100, 1], ids="{} scores at once".format)
def blocks(request, monkeypatch):
    monkeypatch.setattr(_ranking, "SCORES_AT_ONCE", request.param)


@pytest.fixture(params=["distinct", "ties", "all equal"])
def factors(request):
    """Small integers, so that products are exact whatever the order of additions."""
    rng = np.random.default_rng(0)
    high = {"distinct": 1000, "ties": 2, "all equal": 1}[request.param]
    return rng.integers(0, high, (23, 4)) * 1.0, rng.integers(0, high, (31, 4)) * 1.0


@pytest.mark.parametrize("n", [1, 2, 10, 30, 31, 32, 50])
@pytest.mark.parametrize("excluded", [0.0, 0.3, 0.9, 1.0])
def test_the_best_columns_are_those_of_a_naive_sort(n, excluded, factors, blocks):
    rows, columns = factors
    exclude = None
    if excluded:
        cells = np.random.default_rng(1).random((23, 31)) < excluded
        exclude = sp.csr_array(cells.astype(float))
    expected = naive(rows @ columns.T, n, exclude)
    assert_best(best_columns(rows, columns, n, exclude=exclude), expected)


@pytest.mark.parametrize("n", [1, 4, 7])
@pytest.mark.parametrize("pool", [[5], [2, 3, 11, 30], list(range(0, 31, 2)), []], ids=str)
def test_a_pool_leaves_out_all_other_columns(pool, n, factors, blocks):
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
def test_the_most_similar_rows_have_the_largest_cosines(n, blocks):
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


def test_a_row_of_zeros_is_similar_to_nothing():
    items, scores = most_similar(
        np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), np.array([0, 1]), 2
    )
    np.testing.assert_array_equal(items, [[1, 2], [0, 2]])
    np.testing.assert_array_equal(scores, 0)
