"""What pairwise ranking needs besides a grid: the columns of every row, and pairs to watch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._jit import read_only
from ..backends.base import Backend
from ..kernels.pairwise import draw_pairs, list_positives, mark_positives, sort_positives
from .grid import Grid

__all__ = ["Positives", "bands_of", "key_of"]

Integers = npt.NDArray[np.integer]

NEGATIVES = 5
"""Negatives that a held-out entry is compared with; they are drawn once."""


@dataclass(frozen=True)
class Positives:
    """Sorted columns of the entries of every row, by place: never drawn as negatives."""

    indptr: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    marks: npt.NDArray[np.uint8]
    n_columns: int

    @classmethod
    def of(cls, grid: Grid, more: tuple[Integers, Integers], backend: Backend) -> Positives:
        """List the entries of a grid and ``more``: places of rows, places of columns."""
        n_rows, n_columns = len(grid.row_bands.spot), len(grid.column_bands.spot)
        runs = [_run_of(grid, band) for band in range(len(grid.row_bands))]
        counted = backend.map(_count_rows, runs, (grid, n_rows))
        counts = sum(counted, np.bincount(more[0], minlength=n_rows).astype(np.int64))
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        position, columns = indptr[:-1].copy(), np.empty(int(indptr[-1]), np.int32)
        backend.map(_list_rows, runs, (grid, position, columns))
        if more[0].size:
            order = np.argsort(more[0], kind="stable")
            rows = more[0][order]
            first = np.searchsorted(rows, rows)
            columns[position[rows] + np.arange(rows.size) - first] = more[1][order]
            sort_positives(read_only(indptr), np.unique(rows).astype(np.int64), columns)
        indptr, columns = read_only(indptr), read_only(columns)
        marks = np.empty(columns.size, np.uint8)  # not zeros, which get no large pages
        bands = [*itertools.pairwise(grid.row_bands.edges.tolist())]
        backend.map(_mark_rows, bands, (indptr, columns, n_columns, marks))
        return cls(indptr, columns, read_only(marks), n_columns)

    def pairs(self, rows: Integers, columns: Integers, seed: int) -> npt.NDArray[np.int32]:
        """Compare entries with fixed negatives: (n_pairs, 3) of row, column, negative."""
        pairs = np.empty((rows.size * NEGATIVES, 3), np.int32)
        pairs[:, 0], pairs[:, 1] = np.repeat(rows, NEGATIVES), np.repeat(columns, NEGATIVES)
        every = np.array([0, self.n_columns, 0, self.n_columns, self.n_columns], np.int64)
        draw_pairs(key_of(seed, -1, 0), read_only(every), self.indptr, self.columns, pairs)
        return read_only(pairs[pairs[:, 2] >= 0])


def bands_of(grid: Grid, block: int, guest: int) -> npt.NDArray[np.int64]:
    """Where a block's negatives come from, as ``rank_block`` wants it."""
    edges = grid.column_bands.edges
    if not grid.in_blocks:
        return read_only(np.array([0, edges[-1], 0, edges[-1], edges[-1]], np.int64))
    home = block % len(grid.column_bands)
    runs = [(edges[band], edges[band + 1] - edges[band]) for band in (home, guest)]
    return read_only(np.array([*runs[0], *runs[1], edges[-1]], np.int64))


def key_of(seed: int, epoch: int, block: int) -> np.uint64:
    """Key of the random stream of a block in an epoch."""
    sequence = np.random.SeedSequence((seed, 21, epoch + 1, block))
    return np.uint64(sequence.generate_state(1)[0])


def _run_of(grid: Grid, band: int) -> tuple[int, int]:
    n = len(grid.column_bands)
    return int(grid.offsets[band * n]), int(grid.offsets[(band + 1) * n])


def _count_rows(run: tuple[int, int], shared: Any) -> npt.NDArray[np.int64]:
    grid, n_rows = shared
    return np.bincount(grid.entries["row"][slice(*run)], minlength=n_rows)


def _mark_rows(run: tuple[int, int], shared: Any) -> None:
    indptr, columns, n_columns, marks = shared
    marks[indptr[run[0]] : indptr[run[1]]] = 0
    mark_positives(indptr, columns, n_columns, *run, marks)


def _list_rows(run: tuple[int, int], shared: Any) -> None:
    # Blocks of a band of rows follow each other in order of columns, and each holds the entries of
    # a row in order of columns: the lists come out sorted.
    grid, position, columns = shared
    list_positives(read_only(grid.entries), *run, position, columns)
