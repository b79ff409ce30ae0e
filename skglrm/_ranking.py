"""The n best columns for each row, by blocks, so that rows × columns is never held at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

__all__ = ["best_columns", "most_similar"]

SCORES_AT_ONCE = 4_000_000


def best_columns(
    row_factors: npt.NDArray[np.floating],
    column_factors: npt.NDArray[np.floating],
    n: int,
    *,
    exclude: sp.csr_array | None = None,
    pool: npt.NDArray[np.integer] | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """Return the n columns with the highest w·h for each row, best first, and these scores.

    ``exclude`` stores the cells that must not be returned, ``pool`` lists the columns that may be.
    Both results have shape (n_rows, n), with -1 and -inf where fewer than n remain.  Ties go to the
    column that comes first.
    """
    if pool is None:
        pool = np.arange(len(column_factors))
    candidates = column_factors[pool]
    place = np.full(len(column_factors), -1)
    place[pool] = np.arange(len(pool))
    n_rows, width = len(row_factors), min(n, len(pool))
    items = np.full((n_rows, n), -1, np.int64)
    scores = np.full((n_rows, n), -np.inf, np.result_type(row_factors, column_factors))
    step = max(1, SCORES_AT_ONCE // max(1, len(pool)))
    for start in range(0, n_rows, step):
        stop = min(start + step, n_rows)
        block = row_factors[start:stop] @ candidates.T
        if exclude is not None:
            run = slice(exclude.indptr[start], exclude.indptr[stop])
            lengths = np.diff(exclude.indptr[start : stop + 1])
            rows, columns = np.repeat(np.arange(stop - start), lengths), place[exclude.indices[run]]
            block[rows[columns >= 0], columns[columns >= 0]] = -np.inf
        if width == 0:
            continue
        top, best = _top(block, width)
        items[start:stop, :width] = np.where(best == -np.inf, -1, pool[top])
        scores[start:stop, :width] = best
    return items, scores


def most_similar(
    factors: npt.NDArray[np.floating], ids: Any, n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """Return the n other rows of ``factors`` with the highest cosine to each of ``ids``."""
    norms = np.linalg.norm(factors, axis=1, keepdims=True)
    unit = factors / np.where(norms > 0, norms, 1)
    itself = sp.csr_array(
        (np.ones(len(ids)), ids, np.arange(len(ids) + 1)), shape=(len(ids), len(factors))
    )
    return best_columns(unit[ids], unit, n, exclude=itself)


def _top(block: npt.NDArray[Any], n: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Columns and values of the n largest of each row, in order, ties by column."""
    n_columns = block.shape[1]
    if n < n_columns:
        # All that reach the n-th largest value, ties included, or their order would be arbitrary.
        bar = np.partition(block, n_columns - n, axis=1)[:, n_columns - n, None]
        rows, columns = np.nonzero(block >= bar)
    else:
        rows, columns = np.nonzero(np.ones_like(block, bool))
    order = np.lexsort((columns, -block[rows, columns], rows))
    rows, columns = rows[order], columns[order]
    begins = np.searchsorted(rows, np.arange(len(block)))
    take = begins[:, None] + np.arange(n)
    top = columns[take]
    return top, np.take_along_axis(block, top, axis=1)
