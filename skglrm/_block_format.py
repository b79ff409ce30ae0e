"""The layout of a block file: a head, tables, and entries block by block.

===========  =====================================================================================
head         ``HEAD``, see ``Head``, and the CRC-32 of it
tables       of rows, then of columns: numbers of entries (int64), sums of values (float64), places
             (int32), edges of bands (int64, n_blocks + 1); then where blocks begin among the
             entries (int64, n_blocks² + 1); the CRC-32 of these tables is in the head
entries      records of row, column (int32) and value (float32 or float64), block by block
===========  =====================================================================================

All numbers are little-endian.  Entries name rows and columns by their places.  The longer side of
the matrix is the first of an entry's two ids, and its bands number the blocks, as in the solver.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from .kernels.grid import entry_type
from .solvers.grid import Bands

__all__ = [
    "MAGIC",
    "VERSION",
    "BlockFileError",
    "Head",
    "Side",
    "Tables",
    "bytes_of",
    "pack_tables",
    "read_tables",
]

MAGIC = b"skglrmBF"
VERSION = 1
HEAD = struct.Struct("<8sIIqqqqqdI")
LARGEST = 2**31 - 1


class BlockFileError(ValueError):
    """A file is no block file that this version reads."""


@dataclass(frozen=True)
class Head:
    """What the first bytes say."""

    magic: bytes
    version: int
    value_size: int
    n_rows: int
    n_columns: int
    n_entries: int
    n_blocks: int
    seed: int
    squares: float
    tables_crc: int

    def pack(self) -> bytes:
        """Return the head, with its own checksum."""
        packed = HEAD.pack(*astuple(self))
        return packed + struct.pack("<I", zlib.crc32(packed))

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return np.dtype(np.float32 if self.value_size == 4 else np.float64)

    @property
    def tables_size(self) -> int:
        """Number of bytes of all tables."""
        sides = 20 * (self.n_rows + self.n_columns) + 16 * (self.n_blocks + 1)
        return sides + 8 * (self.n_blocks**2 + 1)

    @property
    def entries_begin(self) -> int:
        """Place of the first entry in the file."""
        return HEAD.size + 4 + self.tables_size

    @property
    def file_size(self) -> int:
        """Number of bytes of the whole file."""
        return self.entries_begin + self.n_entries * entry_type(self.dtype).itemsize


@dataclass(frozen=True)
class Side:
    """How often each row (or column) occurs, the sum of its values, and its place in the grid."""

    counts: npt.NDArray[np.int64]
    sums: npt.NDArray[np.float64]
    place: npt.NDArray[np.int32]
    edges: npt.NDArray[np.int64]

    def bands(self) -> Bands:
        """Return the bands that the places are cut into."""
        band_of_place = np.repeat(np.arange(self.edges.size - 1), np.diff(self.edges))
        spot = np.column_stack([band_of_place[self.place].astype(np.int32), self.place])
        return Bands(spot, self.edges)

    def is_sound(self, n_entries: int) -> bool:
        """Whether counts add up, places are a permutation, and bands follow one another."""
        seen = np.zeros(self.place.size, bool)
        inside = (self.place >= 0) & (self.place < self.place.size)
        seen[self.place[inside]] = True
        return bool(
            inside.all()
            and seen.all()
            and _climbs(self.edges, self.place.size)
            and self.counts.min() >= 0
            and self.counts.max() <= n_entries
            and self.counts.sum() == n_entries
            and np.isfinite(self.sums).all()
        )


@dataclass(frozen=True)
class Tables:
    """The head and the tables of a block file."""

    head: Head
    rows: Side
    columns: Side
    offsets: npt.NDArray[np.int64]

    @property
    def is_wide(self) -> bool:
        """Whether columns are the longer side."""
        return self.head.n_columns > self.head.n_rows

    @property
    def sides(self) -> tuple[Side, Side]:
        """Rows and columns, the longer side first."""
        return (self.columns, self.rows) if self.is_wide else (self.rows, self.columns)

    def __post_init__(self) -> None:
        for side in (self.rows, self.columns):
            for array in vars(side).values():
                array.flags.writeable = False
        self.offsets.flags.writeable = False


def bytes_of(entries: npt.NDArray[np.void]) -> Any:
    """Return the memory of contiguous entries."""
    return memoryview(entries.view(np.uint8))  # type: ignore[arg-type]


def pack_tables(rows: Side, columns: Side, offsets: npt.NDArray[np.int64]) -> bytes:
    """Return the bytes of the tables."""
    arrays = [*vars(rows).values(), *vars(columns).values(), offsets]
    return b"".join(array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays)


def read_tables(file: BinaryIO, path: Path) -> Tables:
    """Read and check head and tables; nothing is allocated that the file is too short for."""
    size = file.seek(0, 2)
    file.seek(0)
    head = _read_head(file.read(HEAD.size + 4), size, path)
    content = file.read(head.tables_size)
    if zlib.crc32(content) != head.tables_crc:
        raise _damaged(path, "the checksum of its tables is wrong")
    arrays, at = [], 0
    for dtype, length in _lengths(head):
        stop = at + length * dtype.itemsize
        arrays.append(np.frombuffer(content[at:stop], dtype).astype(dtype.newbyteorder("=")))
        at = stop
    tables = Tables(head, Side(*arrays[:4]), Side(*arrays[4:8]), arrays[8])
    sound = all(side.is_sound(head.n_entries) for side in (tables.rows, tables.columns))
    if not (sound and _climbs(tables.offsets, head.n_entries)):
        raise _damaged(path, "its tables contradict one another")
    return tables


def _read_head(content: bytes, size: int, path: Path) -> Head:
    if content[:8] != MAGIC:
        raise BlockFileError(
            f"{path} is not a block file. BlockFile.write makes one of entries; "
            "skglrm.io.read_libmf reads LIBMF's text."
        )
    if len(content) < HEAD.size + 4:
        raise _damaged(path, f"it ends after {size} bytes")
    head = Head(*HEAD.unpack(content[: HEAD.size]))
    if head.version != VERSION:
        raise BlockFileError(
            f"{path} has version {head.version} of the block format; this version of skglrm reads "
            f"version {VERSION}. Write the file again, or upgrade skglrm."
        )
    if struct.unpack("<I", content[HEAD.size :])[0] != zlib.crc32(content[: HEAD.size]):
        raise _damaged(path, "the checksum of its head is wrong")
    possible = (
        head.value_size in (4, 8)
        and 1 <= head.n_rows <= LARGEST
        and 1 <= head.n_columns <= LARGEST
        and head.n_entries >= 1
        and 1 <= head.n_blocks <= min(head.n_rows, head.n_columns)
        and head.seed >= 0
        and 0 <= head.squares < np.inf
    )
    if not possible:
        raise _damaged(path, "its head holds impossible numbers")
    if head.file_size != size:
        raise _damaged(path, f"it has {size} bytes and should have {head.file_size}")
    return head


def _lengths(head: Head) -> list[tuple[np.dtype, int]]:
    def side(n: int) -> list[tuple[np.dtype, int]]:
        edges = head.n_blocks + 1
        return list(zip(map(np.dtype, ("<i8", "<f8", "<i4", "<i8")), (n, n, n, edges), strict=True))

    blocks = [(np.dtype("<i8"), head.n_blocks**2 + 1)]
    return [*side(head.n_rows), *side(head.n_columns), *blocks]


def _climbs(edges: npt.NDArray[Any], last: int) -> bool:
    return bool(edges[0] == 0 and edges[-1] == last and (edges[1:] >= edges[:-1]).all())


def _damaged(path: Path, how: str) -> BlockFileError:
    return BlockFileError(f"{path} is damaged: {how}. Write the file again.")
