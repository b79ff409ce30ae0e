"""Reading the blocks of a file as a fit visits them."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ._block_format import BlockFileError, Tables, bytes_of
from ._jit import read_only
from .backends.base import Backend
from .kernels.block_file import check_block
from .kernels.grid import entry_type
from .solvers.block_sgd import Cells
from .solvers.grid import Grid

__all__ = ["BlockReader", "StoredCells"]


class BlockReader:
    """Reads blocks from an open file, side by side from any number of threads."""

    def __init__(self, path: Path, tables: Tables) -> None:
        self.path, self.tables = path, tables
        self.offsets, self.type = tables.offsets, entry_type(tables.head.dtype)
        self._begin = tables.head.entries_begin
        self._longest = int(np.diff(tables.offsets).max())
        self._mine = threading.local()
        self._expected: set[int] = set()
        self._lock = threading.Lock()
        self._file = open(self.path, "rb", buffering=0)
        packed = tables.head.pack()
        is_same = self._file.read(len(packed)) == packed
        if not is_same or self._file.seek(0, os.SEEK_END) != tables.head.file_size:
            self.close()
            raise BlockFileError(
                f"{self.path} is no longer the file that was opened. Make a new BlockFile of it."
            )

    def __enter__(self) -> BlockReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, block: int, unit: float = 1.0, shift: float = 0.0) -> npt.NDArray[np.void]:
        """Return entries of a block, values a as unit · a + shift, in a buffer of this thread."""
        if not hasattr(self._mine, "buffer"):
            self._mine.buffer = np.empty(self._longest, self.type)
        self._expected.discard(block)
        start, stop = self.offsets[block : block + 2].tolist()
        entries = self._mine.buffer[: stop - start]
        self._fill(bytes_of(entries), self._place(start))
        bands = self._bands_of(block)
        if not check_block(entries, *bands, *map(self.type["value"].type, (unit, shift))):
            raise BlockFileError(
                f"{self.path} is damaged: block {block} has entries of other blocks, or values "
                "that are not finite. Write the file again."
            )
        return read_only(entries)

    def expect(self, block: int) -> None:
        """Let the system read a block ahead, where it can; once until the block is read."""
        if hasattr(os, "posix_fadvise") and block not in self._expected:
            self._expected.add(block)
            start, stop = (self._place(t) for t in self.offsets[block : block + 2].tolist())
            os.posix_fadvise(self._file.fileno(), start, stop - start, os.POSIX_FADV_WILLNEED)

    def _bands_of(self, block: int) -> tuple[int, ...]:
        """Where the block's rows begin, how many they are, and the same of its columns."""
        at = divmod(block, self.tables.head.n_blocks)
        (row, end_row), (column, end_column) = (
            side.edges[n : n + 2].tolist() for side, n in zip(self.tables.sides, at, strict=True)
        )
        return row, end_row - row, column, end_column - column

    def _place(self, entry: int) -> int:
        return self._begin + entry * self.type.itemsize

    def _fill(self, buffer: memoryview, place: int) -> None:
        while buffer.nbytes:
            if hasattr(os, "preadv"):
                n = os.preadv(self._file.fileno(), [buffer], place)
            else:
                with self._lock:
                    self._file.seek(place)
                    n = self._file.readinto(buffer) or 0
            if n == 0:
                raise BlockFileError(f"{self.path} has been cut short. Write the file again.")
            buffer, place = buffer[n:], place + n


@dataclass(frozen=True)
class StoredCells(Cells):
    """The cells of a file, as the solver takes them; it sees no arrays, only the grid.

    ``low`` is -1 if that stands for false, else 0.
    """

    reader: BlockReader | None = None
    low: float = 0.0

    @classmethod
    def of(cls, reader: BlockReader, low: float) -> StoredCells:
        """Return the cells of a file that a reader has opened."""
        tables = reader.tables
        none, no_value = np.zeros(0, np.int32), np.zeros(0, tables.head.dtype)
        return cls(
            none, none, no_value, tables.rows.counts, tables.columns.counts,
            n_bands=tables.head.n_blocks, reader=reader, low=low,
        )  # fmt: skip

    def transposed(self) -> StoredCells:
        """Return the same; the longer side is the first in the file anyway."""
        return replace(self, row_counts=self.column_counts, column_counts=self.row_counts)

    def grid(
        self, n_bands: int, seed: int, unit: float, pairwise: bool, backend: Backend,
        in_groups: bool = False,
    ) -> StoredGrid:  # fmt: skip
        """Return the grid of the file, which has been drawn when it was written."""
        assert self.reader is not None
        first, second = (side.bands() for side in self.reader.tables.sides)
        no_entries = np.zeros(0, self.reader.type)
        reading = (1 / (1 - self.low) / unit, -self.low / (1 - self.low) / unit)
        return StoredGrid(no_entries, self.reader.offsets, first, second, self.reader, reading)


@dataclass(frozen=True)
class StoredGrid(Grid):
    """A grid that reads every block when it is visited."""

    reader: BlockReader
    reading: tuple[float, float]

    def block(self, number: int) -> tuple[npt.NDArray[np.void], int, int]:
        """Read a block."""
        entries = self.reader.read(number, *self.reading)
        return entries, 0, entries.size

    def announced(self, schedule: Any) -> _ReadAhead:
        """Return a schedule whose next blocks are read ahead."""
        return _ReadAhead(schedule, self.reader)


class _ReadAhead:
    """A schedule that tells a reader what to expect."""

    def __init__(self, schedule: Any, reader: BlockReader) -> None:
        self._schedule, self._reader = schedule, reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._schedule, name)

    def take(self) -> int | None:
        block = self._schedule.take()
        for following in self._schedule.coming():
            self._reader.expect(following)
        return block
