"""Cells of a matrix that ``score`` hides: a seeded share of every row's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .entries import Entries

__all__ = ["drawn_cells", "hidden_cells"]

SHARE = 0.2
"""Share of a row's cells to hide; at least one and never all of two or more."""


def hidden_cells(entries: Entries) -> npt.NDArray[np.bool_]:
    """Choose cells to hide: (n_entries,) mask.

    The choice depends on nothing but the content of the row, so that scores are repeatable, and do
    not change when rows are reordered or scored in batches.  Rows with one cell keep it.
    """
    column = entries.col.astype(np.uint64)
    bits = entries.value.astype(np.float64).view(np.uint64)
    n_rows = entries.matrix_shape[0]
    content = np.zeros(n_rows, np.uint64)
    np.add.at(content, entries.row, _mix(bits ^ _mix(column)))
    draw = _mix(content[entries.row] ^ _mix(column))

    order = np.lexsort((draw, entries.row))
    counts = np.bincount(entries.row, minlength=n_rows)
    begins = np.cumsum(counts) - counts
    rank = np.empty(len(entries), np.int64)
    rank[order] = np.arange(len(entries)) - begins[entries.row[order]]
    n_hidden = np.where(counts > 1, np.maximum(1, np.round(SHARE * counts)), 0)
    return rank < n_hidden[entries.row]


def drawn_cells(entries: Entries, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Draw this share of the entries, at least one of them and never all: (n_entries,) mask.

    Whether a cell is drawn depends on its position in the matrix, not on its place among the
    entries.
    """
    draw = _mix(_mix(entries.row.astype(np.uint64)) ^ entries.col.astype(np.uint64))
    draw = _mix(draw ^ np.uint64(seed))
    n_drawn = min(max(1, round(share * draw.size)), draw.size - 1)
    return draw < np.partition(draw, n_drawn)[n_drawn]


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Hash 64-bit numbers (the finaliser of splitmix64)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
