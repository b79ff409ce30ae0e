"""The block grid: entries permuted, cut into bands of rows and columns, and ordered by block."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .._jit import read_only
from ..backends.base import Backend
from ..kernels.grid import (
    count_blocks,
    entry_type,
    order_block,
    scatter_blocks,
    scatter_weights,
)

__all__ = ["Bands", "DuplicateCellError", "Grid", "build_grid"]

ENTRIES_PER_CHUNK = 1_000_000


@dataclass(frozen=True)
class Bands:
    """Ids of one side: where each is placed, and where bands of places begin.

    Places are a random permutation, so that busy ids spread over the bands; ``edges``
    (n_bands + 1,) cuts the places into runs with about equal numbers of entries; ``spot``
    (n_ids, 2) holds the band and the place of each id, side by side because they are looked up
    together.
    """

    spot: npt.NDArray[np.int32]
    edges: npt.NDArray[np.int64]

    @property
    def place(self) -> npt.NDArray[np.int32]:
        """Place of each id."""
        return self.spot[:, 1]

    def __len__(self) -> int:
        return self.edges.size - 1

    @classmethod
    def cut(cls, counts: npt.NDArray[np.int64], n_bands: int, rng: np.random.Generator) -> Bands:
        """Deal ids with these numbers of entries to bands."""
        if counts.size > np.iinfo(np.int32).max:  # places are int32, as in the entries of a block
            raise ValueError(
                f"Block SGD takes at most {np.iinfo(np.int32).max} rows and columns; got "
                f"{counts.size}. Number those that have entries only."
            )
        place = rng.permutation(counts.size).astype(np.int32)
        entries = np.empty_like(counts)
        entries[place] = counts
        middle = np.cumsum(entries) - 0.5 * entries
        band_of_place = np.minimum(middle * (n_bands / counts.sum()), n_bands - 1).astype(np.int32)
        edges = np.searchsorted(band_of_place, np.arange(n_bands + 1)).astype(np.int64)
        return cls(np.column_stack([band_of_place[place], place]), edges)

    def id_at(self, place: int) -> int:
        """Return the id that has this place."""
        return int(np.flatnonzero(self.place == place)[0])


@dataclass(frozen=True)
class Grid:
    """Entries (see ``entry_type``) by block: block b is the run offsets[b] to offsets[b + 1]."""

    entries: npt.NDArray[np.void]
    offsets: npt.NDArray[np.int64]
    row_bands: Bands
    column_bands: Bands

    @property
    def owner(self) -> Any:
        """Who holds the entries."""
        return self.entries

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Number of entries of each block, shape (bands of rows, bands of columns)."""
        return np.diff(self.offsets).reshape(len(self.row_bands), len(self.column_bands))

    def block(self, number: int) -> tuple[npt.NDArray[np.void], int, int]:
        """Return an array of entries, and where in it those of a block begin and end."""
        return self.entries, int(self.offsets[number]), int(self.offsets[number + 1])

    def announced(self, schedule: Any) -> Any:
        """Return the schedule, or one that says which blocks come next to whoever reads them."""
        return schedule

    @property
    def is_weighted(self) -> bool:
        """Whether entries have weights."""
        return "weight" in (self.entries.dtype.names or ())

    def shuffled(self, rng: np.random.Generator) -> Grid:
        """Return the same entries in no order at all, in as many runs of equal length."""
        entries = read_only(rng.permutation(self.entries))
        offsets = np.linspace(0, entries.size, self.offsets.size).astype(np.int64)
        return replace(self, entries=entries, offsets=offsets)


def build_grid(
    row: npt.NDArray[np.integer],
    column: npt.NDArray[np.integer],
    value: npt.NDArray[np.floating],
    row_bands: Bands,
    column_bands: Bands,
    unit: float,
    backend: Backend,
    weight: npt.NDArray[np.floating] | None = None,
) -> Grid:
    """Sort entries into blocks, values divided by ``unit``; the caller's arrays are only read.

    Raises
    ------
    ValueError
        If a cell occurs twice.
    """
    n, n_bands, n_blocks = row.size, len(column_bands), len(row_bands) * len(column_bands)
    edges = np.linspace(0, n, max(1, n // ENTRIES_PER_CHUNK) + 1).astype(np.int64)
    chunks = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    source = (*map(read_only, (row, column, value)), row_bands, column_bands, n_bands)

    counts = np.array(backend.map(_count_chunk, chunks, (source, n_blocks)))
    offsets = np.concatenate([[0], np.cumsum(counts.sum(axis=0))])
    positions = offsets[:-1] + np.cumsum(counts, axis=0) - counts
    entries = np.empty(n, entry_type(value.dtype, weight is not None))
    inverse = value.dtype.type(1 / unit)
    jobs = [(*chunk, position) for chunk, position in zip(chunks, positions, strict=True)]
    if weight is not None:
        copies = [(start, stop, position.copy()) for start, stop, position in jobs]
        backend.map(_scatter_weights, copies, (source, read_only(weight), entries))
    backend.map(_scatter_chunk, jobs, (source, inverse, entries))
    grid = Grid(entries, offsets, row_bands, column_bands)
    for block, unique in enumerate(backend.map(_order_block, range(n_blocks), grid)):
        if not unique:
            _raise_duplicate(grid, entries[offsets[block]])
    return replace(grid, entries=read_only(entries))


def _count_chunk(chunk: tuple[int, int], shared: Any) -> npt.NDArray[np.int64]:
    (row, column, _, row_bands, column_bands, n_bands), n_blocks = shared
    counts = np.zeros(n_blocks, np.int64)
    count_blocks(row, column, row_bands.spot, column_bands.spot, n_bands, *chunk, counts)
    return counts


def _scatter_chunk(job: Any, shared: Any) -> None:
    start, stop, position = job
    (row, column, value, row_bands, column_bands, n_bands), unit, entries = shared
    scatter_blocks(
        row, column, value, row_bands.spot, column_bands.spot, n_bands, start, stop, unit,
        position, entries,
    )  # fmt: skip


def _scatter_weights(job: Any, shared: Any) -> None:
    start, stop, position = job
    (row, column, _, row_bands, column_bands, n_bands), weight, entries = shared
    scatter_weights(
        row, column, weight, row_bands.spot, column_bands.spot, n_bands, start, stop, position,
        entries,
    )  # fmt: skip


def _order_block(block: int, grid: Grid) -> bool:
    row_edges, column_edges = grid.row_bands.edges, grid.column_bands.edges
    i, j = divmod(block, column_edges.size - 1)
    return order_block(
        grid.entries[grid.offsets[block] : grid.offsets[block + 1]],
        row_edges[i],
        row_edges[i + 1] - row_edges[i],
        column_edges[j],
        column_edges[j + 1] - column_edges[j],
    )


def _raise_duplicate(grid: Grid, entry: np.void) -> None:
    i, j = grid.row_bands.id_at(entry["row"]), grid.column_bands.id_at(entry["column"])
    raise DuplicateCellError(i, j)


class DuplicateCellError(ValueError):
    """A cell occurs twice."""

    def __init__(self, row: int, column: int):
        self.row, self.column = row, column
        super().__init__(
            f"The cell (row {row}, column {column}) occurs more than once. A cell has one value: "
            "remove the duplicates, or combine them (last, mean, sum) before."
        )
