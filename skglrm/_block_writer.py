"""Sorting entries into blocks on disk, in memory for a few million of them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ._block_format import MAGIC, VERSION, Head, Side, bytes_of, pack_tables
from ._jit import read_only
from .entries import Entries
from .kernels.grid import (
    count_and_sum,
    count_blocks,
    entry_type,
    order_block,
    scatter_blocks,
    sum_squared_deviations,
)
from .solvers.grid import Bands, DuplicateCellError

__all__ = ["Heap", "Sorted", "read_chunks"]

ENTRIES_PER_RUN = 4_000_000
"""Entries that are sorted at a time, in memory for about three times as many."""

ENTRIES_PER_BLOCK = 45_000


def read_chunks(source: Any, shape: tuple[int, int] | None) -> Iterator[Entries]:
    if isinstance(source, Entries):
        source = [source]
    for chunk in source:
        if isinstance(chunk, Entries):
            if chunk.row_ids is not None or chunk.col_ids is not None:
                raise ValueError(
                    "A block file holds positions, no ids. Keep entries.row_ids and "
                    "entries.col_ids, and write Entries(entries.row, entries.col, entries.value, "
                    "entries.matrix_shape)."
                )
            yield chunk if shape is None else Entries(chunk.row, chunk.col, chunk.value, shape)
        elif isinstance(chunk, tuple) and len(chunk) == 3:
            if len(chunk[2]):
                yield Entries(*chunk, shape)
        else:
            raise TypeError(
                "A chunk must be Entries or a tuple of arrays (row, col, value); got "
                f"{type(chunk).__name__}. Entries.from_matrix(X) reads a matrix."
            )


class _Count:
    """How often ids of one side occur and the sum of their values; it grows with the ids."""

    def __init__(self) -> None:
        self.n = 0
        self.counts, self.sums = np.zeros(0, np.int64), np.zeros(0)

    def add(self, ids: npt.NDArray[Any], values: npt.NDArray[Any], n: int) -> None:
        self.n = max(self.n, n)
        if self.n > self.counts.size:
            more = max(self.n, 2 * self.counts.size) - self.counts.size
            self.counts, self.sums = np.pad(self.counts, (0, more)), np.pad(self.sums, (0, more))
        count_and_sum(read_only(ids), read_only(values), self.counts, self.sums)


class Heap:
    """All entries, unsorted, in a temporary file."""

    def __init__(self, file: Any, dtype: npt.DTypeLike | None) -> None:
        self.file = file
        self.dtype = None if dtype is None else np.dtype(dtype)
        if self.dtype not in (None, np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"dtype must be numpy.float32 or numpy.float64. Got {dtype} instead.")
        self.n_entries = 0
        self.rows, self.columns = _Count(), _Count()

    def add(self, chunk: Entries) -> None:
        if max(chunk.matrix_shape) > np.iinfo(np.int32).max:
            raise ValueError(
                f"A block file has at most {np.iinfo(np.int32).max} rows and columns; got a matrix "
                f"of shape {chunk.matrix_shape}."
            )
        self.dtype = self.dtype or chunk.value.dtype
        for start in range(0, max(1, len(chunk)), ENTRIES_PER_RUN):
            part = chunk[start : start + ENTRIES_PER_RUN]
            row, col = part.row.astype(np.int32), part.col.astype(np.int32)
            value = part.value.astype(self.dtype, copy=False)
            self.rows.add(row, value, chunk.matrix_shape[0])
            self.columns.add(col, value, chunk.matrix_shape[1])
            self.n_entries += len(part)
            self.file.write(bytes_of(_records(row, col, value)))

    def runs(self) -> list[tuple[int, int]]:
        n = self.n_entries
        return [(at, min(at + ENTRIES_PER_RUN, n)) for at in range(0, n, ENTRIES_PER_RUN)]


class Sorted:
    """The entries of a heap run by run, each run sorted by block, and what that needs."""

    def __init__(self, heap: Heap, n_blocks: int | None, seed: int) -> None:
        if not heap.n_entries or heap.dtype is None:
            raise ValueError("There is no entry to write. A block file needs at least one.")
        self.heap, self.seed, self.type = heap, seed, entry_type(heap.dtype)
        self.is_wide = heap.columns.n > heap.rows.n
        counts = [side.counts[: side.n] for side in (heap.rows, heap.columns)]
        longer, shorter = counts[:: -1 if self.is_wide else 1]
        self.n_blocks = _n_blocks(n_blocks, heap.n_entries, shorter.size)
        # The streams that the solver draws its grid from.
        streams = [np.random.default_rng((seed, n)) for n in range(2)]
        self.first = Bands.cut(longer, self.n_blocks, streams[0])
        self.second = Bands.cut(shorter, self.n_blocks, streams[1])

    def write(self, file: BinaryIO) -> None:
        heap = self.heap
        with np.errstate(over="ignore"):  # what is beyond float64 is refused by its squares
            mean = heap.rows.sums[: heap.rows.n].sum() / heap.n_entries
        counts, squares = zip(*[self._sort(*run, mean) for run in heap.runs()], strict=True)
        runs, sizes = heap.runs(), np.array(counts)
        begins = np.array([start for start, _ in runs])[:, None] + np.cumsum(sizes, axis=1) - sizes
        offsets = np.concatenate([[0], np.cumsum(sizes.sum(axis=0))]).astype(np.int64)
        bands = [self.first, self.second][:: -1 if self.is_wide else 1]
        rows, columns = (
            Side(side.counts[: side.n], side.sums[: side.n], band.place.copy(), band.edges)
            for side, band in zip((heap.rows, heap.columns), bands, strict=True)
        )
        tables = pack_tables(rows, columns, offsets)
        head = Head(
            MAGIC, VERSION, self.type["value"].itemsize, rows.counts.size, columns.counts.size,
            heap.n_entries, self.n_blocks, self.seed, math.fsum(squares), zlib.crc32(tables),
        )  # fmt: skip
        file.write(head.pack() + tables)
        for block in range(self.n_blocks**2):
            file.write(bytes_of(self._gather(block, begins[:, block], sizes[:, block])))

    def _sort(self, start: int, stop: int, mean: float) -> tuple[npt.NDArray[np.int64], float]:
        """Sort a run by block where it lies; return the sizes of blocks, and Σ (value - mean)²."""
        run = self._read(start, stop)
        row, col, value = (read_only(run[name]) for name in ("row", "column", "value"))
        squares = sum_squared_deviations(value, mean)
        if not np.isfinite(squares):
            raise ValueError(
                f"The squares of values between {value.min():g} and {value.max():g} are beyond "
                "float64. Divide the values by a constant."
            )
        if self.is_wide:
            row, col = col, row
        sizes = np.zeros(self.n_blocks**2, np.int64)
        spots = self.first.spot, self.second.spot
        count_blocks(row, col, *spots, self.n_blocks, 0, row.size, sizes)
        one = self.type["value"].type(1)
        scatter_blocks(
            row, col, value, *spots, self.n_blocks, 0, row.size, one, np.cumsum(sizes) - sizes, run
        )
        self.heap.file.seek(start * self.type.itemsize)
        self.heap.file.write(bytes_of(run))
        return sizes, squares

    def _gather(
        self, block: int, begins: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.void]:
        """Put the pieces of a block together, in the order in which it will be visited."""
        pieces = zip(begins.tolist(), sizes.tolist(), strict=True)
        entries = np.concatenate([self._read(begin, begin + size) for begin, size in pieces])
        i, j = divmod(block, self.n_blocks)
        (row, end_row), (column, end_column) = (
            band.edges[at : at + 2] for band, at in ((self.first, i), (self.second, j))
        )
        if not order_block(entries, row, end_row - row, column, end_column - column):
            cell = self.first.id_at(entries[0]["row"]), self.second.id_at(entries[0]["column"])
            raise DuplicateCellError(*cell[:: -1 if self.is_wide else 1])
        return entries

    def _read(self, start: int, stop: int) -> npt.NDArray[np.void]:
        entries = np.empty(stop - start, self.type)
        self.heap.file.seek(start * self.type.itemsize)
        self.heap.file.readinto(bytes_of(entries))
        return entries


def _records(
    row: npt.NDArray[Any], col: npt.NDArray[Any], value: npt.NDArray[Any]
) -> npt.NDArray[np.void]:
    records = np.empty(row.size, entry_type(value.dtype))
    records["row"], records["column"], records["value"] = row, col, value
    return records


def _n_blocks(n_blocks: int | None, n_entries: int, most: int) -> int:
    if n_blocks is None:
        return min(most, max(1, round((n_entries / ENTRIES_PER_BLOCK) ** 0.5)))
    if n_blocks > most:
        raise ValueError(
            f"n_blocks={n_blocks} bands need as many rows and columns, but the smaller side of the "
            f"data has {most}. Lower n_blocks, or leave it at None."
        )
    return int(n_blocks)
