"""What pairwise ranking needs besides a grid: the columns of every row, and pairs to watch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .._jit import read_only
from ..backends.base import Backend
from ..kernels.negatives import (
    MARKS,
    ColumnBand,
    draw_pairs,
    list_positives,
    mark_positives,
    sort_positives,
)
from .grid import Grid

__all__ = ["Positives", "keys_of"]

Integers = npt.NDArray[np.integer]

NEGATIVES = 5
"""Negatives that a held-out entry is compared with; they are drawn once."""


@dataclass(frozen=True)
class Positives:
    """Sorted columns of the entries of every row, by place: never drawn as negatives.

    ``marks`` say roughly where they are, by band of columns and then by row; those of row i are at
    begins[i] to begins[i + 1] in every band.
    """

    indptr: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    begins: npt.NDArray[np.int64]
    marks: npt.NDArray[np.uint8]
    bands: list[ColumnBand]
    n_columns: int

    @classmethod
    def of(
        cls, grid: Grid, more: tuple[Integers, Integers], in_blocks: bool, backend: Backend
    ) -> Positives:
        """List the entries of a grid and ``more``: places of rows, places of columns.

        If entries will not stay ``in_blocks``, all columns are one band.
        """
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
        edges = grid.column_bands.edges if in_blocks else np.array([0, n_columns])
        n_bands = edges.size - 1
        n_bytes = counts * MARKS // (8 * n_bands)
        begins = np.concatenate([[0], np.cumsum(n_bytes)]).astype(np.int64)
        bands = [
            ColumnBand.of(first, stop - first, band * begins[-1])
            for band, (first, stop) in enumerate(itertools.pairwise(edges))
        ]
        found = cls(
            read_only(indptr),
            read_only(columns),
            read_only(begins),
            # Not zeros, which get no large pages; one more, where rows without marks are looked up.
            np.empty(n_bands * int(begins[-1]) + 1, np.uint8),
            bands,
            n_columns,
        )
        position[:] = indptr[:-1]
        runs = list(itertools.pairwise(grid.row_bands.edges.tolist()))
        backend.map(_mark_rows, runs, (found, position))
        return replace(found, marks=read_only(found.marks))

    def pairs(self, rows: Integers, columns: Integers, seed: int) -> npt.NDArray[np.int32]:
        """Compare entries with fixed negatives: (n_pairs, 3) of row, column, negative."""
        pairs = np.empty((rows.size * NEGATIVES, 3), np.int32)
        pairs[:, 0], pairs[:, 1] = np.repeat(rows, NEGATIVES), np.repeat(columns, NEGATIVES)
        every = ColumnBand.of(0, self.n_columns, 0)
        draw_pairs(keys_of(seed, -1, 1)[0], every, self.indptr, self.columns, pairs)
        return read_only(pairs[pairs[:, 2] >= 0])


def keys_of(seed: int, epoch: int, n_blocks: int) -> npt.NDArray[np.uint64]:
    """Keys of the random streams of the blocks in an epoch, 32 bits each."""
    return np.random.SeedSequence((seed, 21, epoch + 1)).generate_state(n_blocks).astype(np.uint64)


def _run_of(grid: Grid, band: int) -> tuple[int, int]:
    n = len(grid.column_bands)
    return int(grid.offsets[band * n]), int(grid.offsets[(band + 1) * n])


def _count_rows(run: tuple[int, int], shared: Any) -> npt.NDArray[np.int64]:
    grid, n_rows = shared
    return np.bincount(grid.entries["row"][slice(*run)], minlength=n_rows)


def _mark_rows(rows: tuple[int, int], shared: Any) -> None:
    found, position = shared
    begin, end = found.begins[list(rows)].tolist()
    for band in found.bands:
        found.marks[band.marks + begin : band.marks + end] = 0
        mark_positives(
            found.indptr, found.columns, position, found.begins, band, *rows, found.marks
        )


def _list_rows(run: tuple[int, int], shared: Any) -> None:
    # Blocks of a band of rows follow each other in order of columns, and each holds the entries of
    # a row in order of columns: the lists come out sorted.
    grid, position, columns = shared
    list_positives(read_only(grid.entries), *run, position, columns)
