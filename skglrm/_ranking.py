"""The n best columns for each row, by blocks, so that rows × columns is never held at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._jit import read_only
from ._simd import Width
from .backends import Backend, ThreadsBackend
from .kernels.ranking import CACHE_LINE, TALL, rank_block

__all__ = ["best_columns", "most_similar"]

ROWS_AT_ONCE = 60 * TALL
"""Rows of a task: enough to pay for packing columns, few enough for the second-level cache."""

FEW_ROWS = 32
"""From so many rows on, sorting columns by their norms pays."""

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]
Best = tuple[npt.NDArray[np.int64], Floats]


def best_columns(
    row_factors: Floats,
    column_factors: Floats,
    n: int,
    *,
    exclude: sp.csr_array | None = None,
    pool: Integers | None = None,
    backend: Backend | None = None,
) -> Best:
    """Return the n columns with the highest w·h for each row, best first, and these scores.

    ``exclude`` stores the cells that must not be returned, ``pool`` lists the columns that may be.
    Both results have shape (n_rows, n), with -1 and -inf where fewer than n remain.  Ties go to the
    column that comes first.  A row's result depends on that row alone, to the last bit: not on
    other rows, nor on how many threads the ``backend`` has.
    """
    n_rows = len(row_factors)
    if len(column_factors) > np.iinfo(np.int32).max:  # the kernel's ids
        raise ValueError(
            f"Rankings are of at most {np.iinfo(np.int32).max} columns; got {len(column_factors)}."
        )
    pool = np.arange(len(column_factors)) if pool is None else np.unique(pool).astype(np.int64)
    width = min(n, len(pool))
    items = np.full((n_rows, n), -1, np.int64)
    scores = np.full((n_rows, n), -np.inf, np.result_type(row_factors, column_factors))
    if n_rows == 0 or width == 0:
        return items, scores
    seen = _sorted_lists(exclude, n_rows)
    for rows, k in _groups(row_factors):
        used = np.ascontiguousarray(column_factors[:, :k], scores.dtype)
        columns = _in_order(used, pool, len(rows) >= FEW_ROWS)
        blocks = [rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE)]
        shared = row_factors, columns, pool, seen, width
        found = (backend or ThreadsBackend(1)).map(_rank, blocks, shared)
        for block, (best, values) in zip(blocks, found, strict=True):
            items[block, :width], scores[block, :width] = best, values
    return items, scores


def _groups(row_factors: Floats) -> list[tuple[Integers, int]]:
    """Rows that are ranked together, and how many coordinates they use.

    The last coordinate may be one for rows without factors of their own, and hold the popularity of
    columns.  Norms that contain it would bound nothing for all other rows, so these go without it.
    """
    k = row_factors.shape[1]
    last = row_factors[:, -1] != 0
    if k == 1 or last.all():
        return [(np.arange(len(last)), k)]
    groups = (np.flatnonzero(~last), k - 1), (np.flatnonzero(last), k)
    return [(rows, k) for rows, k in groups if len(rows)]


def most_similar(factors: Floats, ids: Integers, n: int, *, backend: Backend | None = None) -> Best:
    """Return the n other rows of ``factors`` with the highest cosine to each of ``ids``.

    A row of zeros has no direction: it is nobody's neighbour, and its own cosines are 0.
    """
    sizes = np.abs(factors).max(axis=1, initial=0)  # squares of very large or small ones are none
    known = sizes > 0
    unit = factors / np.where(known, sizes, 1)[:, None]
    unit /= np.where(known, np.linalg.norm(unit, axis=1), 1)[:, None]
    itself = sp.csr_array(
        (np.ones(len(ids)), ids, np.arange(len(ids) + 1)), shape=(len(ids), len(factors))
    )
    pool = np.flatnonzero(known)
    return best_columns(unit[ids], unit, n, exclude=itself, pool=pool, backend=backend)


class _Columns(NamedTuple):
    """Factors of columns in the order of the scan, their ids, and bounds of the norms to come."""

    factors: Floats
    ids: npt.NDArray[np.int32]
    bounds: npt.NDArray[np.float64]


def _in_order(factors: Floats, pool: Integers, by_norm: bool) -> _Columns:
    if len(pool) < len(factors):
        factors = factors[pool]
    width, k = CACHE_LINE // factors.itemsize, factors.shape[1]
    bounds = np.full(-(-len(pool) // width), np.inf)
    if by_norm:
        norms = _norms(factors)
        order = np.argsort(-norms, kind="stable")
        # Scores are rounded: no column may be given up because of its last bits.
        slack = 1 + 4 * (k + 6) * np.finfo(factors.dtype).eps
        factors, pool, bounds = factors[order], pool[order], norms[order][::width] * slack
    return _Columns(factors, pool.astype(np.int32), bounds)


def _norms(factors: Floats) -> npt.NDArray[np.float64]:
    return np.sqrt(np.einsum("ij,ij->i", factors, factors, dtype=np.float64))


class _Seen(NamedTuple):
    """Columns that rows may not get: those of row i are ids[begins[i] : ends[i]], sorted."""

    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]


def _sorted_lists(exclude: sp.csr_array | None, n_rows: int) -> _Seen:
    if exclude is None:
        nowhere = np.zeros(n_rows, np.int64)
        return _Seen(nowhere, nowhere, np.zeros(0, np.int32))
    if not exclude.has_sorted_indices:
        exclude = exclude.sorted_indices()
    indptr = exclude.indptr.astype(np.int64, copy=False)
    return _Seen(indptr[:-1], indptr[1:], exclude.indices.astype(np.int32, copy=False))


def _rank(block: Integers, shared: Any) -> Best:
    """Best columns of some rows."""
    factors, columns, pool, seen, n = shared
    rows = factors[block, : columns.factors.shape[1]].astype(columns.factors.dtype, copy=False)
    begins, ends = seen.begins[block], seen.ends[block]
    norms = _norms(rows)
    items, scores = np.empty((len(rows), n), np.int64), np.empty((len(rows), n), rows.dtype)
    rank_block(
        Width(CACHE_LINE // rows.itemsize),
        *map(read_only, (rows, norms, columns.factors, columns.bounds, columns.ids)),
        *map(read_only, (begins, ends, seen.ids)),
        items,
        scores,
    )
    for i in np.flatnonzero(norms == 0):
        own = seen.ids[begins[i] : ends[i]]
        first = np.setdiff1d(pool[: n + len(own)], own, assume_unique=True)[:n]
        items[i, : len(first)], scores[i, : len(first)] = first, 0
    return items, scores
