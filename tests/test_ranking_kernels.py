"""Kernels of ranking against naive lines, and against their own source run as Python."""

import numpy as np
import pytest
import scipy.sparse as sp

from skglrm._jit import read_only
from skglrm._simd import Width
from skglrm.kernels.ranking import CACHE_LINE, TALL, _pack, rank_block

N_ROWS, N_COLUMNS = 13, 45


def in_python(kernel):
    return getattr(kernel, "py_func", kernel)


@pytest.fixture(params=[np.float32, np.float64])
def problem(request):
    """Small integers, so that all ways to add are exact."""
    rng = np.random.default_rng(0)
    rows = rng.integers(-3, 4, (N_ROWS, 10)).astype(request.param)
    columns = rng.integers(-3, 4, (N_COLUMNS, 10)).astype(request.param)
    columns *= rng.choice([1, 10, 100], (N_COLUMNS, 1)).astype(request.param)
    seen = sp.csr_array((rng.random((N_ROWS, N_COLUMNS)) < 0.3) * 1.0)
    return rows, columns, seen


def ranked(rank, rows, columns, seen, n, norms=None, order=None):
    width = CACHE_LINE // rows.itemsize
    order = np.arange(len(columns)) if order is None else order
    n_tiles = -(-len(columns) // width)
    items, scores = np.empty((len(rows), n), np.int64), np.empty((len(rows), n), rows.dtype)
    rank(
        Width(width),
        read_only(rows),
        read_only(np.linalg.norm(rows, axis=1).astype(np.float64)),
        read_only(columns[order]),
        read_only(np.full(n_tiles, np.inf) if norms is None else norms),
        read_only(order.astype(np.int32)),
        read_only(seen.indptr[:-1].astype(np.int64)),
        read_only(seen.indptr[1:].astype(np.int64)),
        read_only(seen.indices.astype(np.int32)),
        items,
        scores,
    )
    return items, scores


def naive(rows, columns, seen, n):
    scores = rows @ columns.T
    allowed = seen.toarray() == 0
    items = np.full((len(rows), n), -1)
    for i in range(len(rows)):
        best = sorted(np.flatnonzero(allowed[i]), key=lambda j: (-scores[i, j], j))[:n]
        items[i, : len(best)] = best
    return items, np.where(items < 0, -np.inf, np.take_along_axis(scores, items, axis=1))


def assert_equal_pairs(got, expected):
    for one, two in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("run", [_pack, in_python(_pack)], ids=["compiled", "python"])
@pytest.mark.parametrize("width", [TALL, 8, 16])
@pytest.mark.parametrize("k", [1, 8, 13, 24])
def test_a_panel_holds_rows_dimension_by_dimension_and_zeros_beyond(k, width, run):
    factors = np.random.default_rng(0).normal(size=(N_COLUMNS, k))
    for first in (0, 5, N_COLUMNS - 3):
        panel = np.full((24, width), np.nan)
        run(read_only(factors), first, panel)
        expected = np.zeros((24, width))
        some = factors[first : first + width]
        expected[:k, : len(some)] = some.T
        np.testing.assert_array_equal(panel, expected)


@pytest.mark.parametrize("run", [rank_block, in_python(rank_block)], ids=["compiled", "python"])
@pytest.mark.parametrize("n", [1, 7, N_COLUMNS])
def test_the_best_are_those_of_a_naive_sort(n, run, problem):
    assert_equal_pairs(ranked(run, *problem, n), naive(*problem, n))


@pytest.mark.parametrize("run", [rank_block, in_python(rank_block)], ids=["compiled", "python"])
def test_the_order_in_which_columns_come_does_not_matter(run, problem):
    order = np.random.default_rng(1).permutation(N_COLUMNS)
    assert_equal_pairs(ranked(run, *problem, 7, order=order), naive(*problem, 7))


@pytest.mark.parametrize("run", [rank_block, in_python(rank_block)], ids=["compiled", "python"])
def test_tiles_that_cannot_reach_any_bar_are_not_made(run, problem):
    """Columns out of reach are made huge behind the back of their norms: nobody may notice."""
    rows, columns, seen = problem
    norms = np.linalg.norm(columns, axis=1)
    order = np.argsort(-norms, kind="stable")
    width = CACHE_LINE // rows.itemsize
    expected = naive(rows, columns, seen, 2)
    reach = expected[1][:, -1].min() / np.linalg.norm(rows, axis=1).max()
    bounds = norms[order][::width].astype(np.float64)
    beyond = order[np.repeat(bounds < reach, width)[:N_COLUMNS]]
    assert len(beyond) > 0
    columns[beyond] *= 1000
    got = ranked(run, rows, columns, seen, 2, bounds * 1.001, order)
    assert_equal_pairs(got, expected)


def test_rows_of_zeros_are_left_out(problem):
    rows, columns, seen = problem
    rows[[0, 8]] = 0
    items, scores = ranked(rank_block, rows, columns, seen, 4)
    zero = np.zeros(N_ROWS, bool)
    zero[[0, 8]] = True
    np.testing.assert_array_equal(items[zero], -1)
    np.testing.assert_array_equal(scores[zero], -np.inf)
    others = naive(rows, columns, seen, 4)
    assert_equal_pairs((items[~zero], scores[~zero]), (part[~zero] for part in others))


def test_a_score_is_one_chain_of_additions():
    """1 is lost beside 2²⁴ in float32, in whatever tile and wherever the row stands."""
    rows = np.tile(np.array([1, 1, 1, 1], np.float32), (N_ROWS, 1))
    columns = np.zeros((N_COLUMNS, 4), np.float32)
    columns[:, :3] = 2.0**24, 1, 1
    columns[1::2] = columns[1::2, [1, 2, 0, 3]]
    nothing = sp.csr_array((N_ROWS, N_COLUMNS))
    items, scores = ranked(rank_block, rows, columns, nothing, N_COLUMNS)
    np.testing.assert_array_equal(scores, np.where(items % 2, 2.0**24 + 2, 2.0**24))
