"""Entries on disk, sorted into the blocks of a grid."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from ._atomic import replacing
from ._block_format import read_tables
from ._block_reader import BlockReader
from ._block_writer import Heap, Sorted, read_chunks
from .entries import Entries

__all__ = ["BlockFile"]


class BlockFile:
    """Entries on disk, for fits that need memory for factors and the blocks in hand alone.

    :meth:`write` makes such a file, in memory for a few million entries however many there are;
    ``FPSGFactorizer.fit`` takes it in place of a matrix.

    Parameters
    ----------
    path : str or path-like
        A file that :meth:`write` has written.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    matrix_shape : tuple of int
        ``(n_rows, n_columns)``.
    dtype : numpy.dtype
        float32 or float64, the type of the values.
    n_blocks : int
        Bands of rows, and of columns, of the grid.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no block file, of another version, or damaged.

    Notes
    -----
    The grid is part of the file: a random permutation of rows and columns, and bands with about
    equal numbers of entries.  With the same ``random_state`` and ``n_blocks`` it is the grid of
    a fit in memory, and ``schedule="rotation"`` then gives the same bits.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skglrm import Entries, FPSGFactorizer
    >>> from skglrm.block_file import BlockFile
    >>> chunks = [([0, 0, 1], [0, 1, 0], [1.0, 2.0, 2.0]), ([1, 2], [1, 0], [4.0, 3.0])]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = BlockFile.write(pathlib.Path(folder, "ratings.blocks"), chunks, random_state=0)
    ...     model = FPSGFactorizer(1, random_state=0, max_iter=400, regularization=1e-3).fit(file)
    >>> file
    BlockFile('ratings.blocks', 5 observed cells of a 3 x 2 matrix, float64, 1 x 1 blocks)
    >>> model.predict_entries([2], [1]).round()
    array([6.])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with open(self.path, "rb") as file:
            self._tables = read_tables(file, self.path)
        head = self._tables.head
        self.matrix_shape = (head.n_rows, head.n_columns)
        self.dtype = head.dtype
        self.n_blocks = head.n_blocks

    @classmethod
    def write(
        cls,
        path: str | os.PathLike[str],
        source: Entries | Iterable[Any],
        *,
        shape: tuple[int, int] | None = None,
        n_blocks: int | None = None,
        random_state: Any = None,
        dtype: npt.DTypeLike | None = None,
    ) -> BlockFile:
        """Write entries into a block file.

        The entries are read once, and pass the disk twice: unsorted into a temporary file of the
        same size beside ``path``, then block by block.  ``path`` appears when all is written.

        Parameters
        ----------
        path : str or path-like
            The file to write.
        source : Entries, or an iterable of chunks
            A chunk is ``Entries`` or a tuple of arrays ``(row, col, value)``, as
            ``skglrm.io.read_libmf_chunks`` yields; a generator will do.
        shape : tuple of int, default=None
            ``(n_rows, n_columns)`` of the matrix; by default that of ``Entries``, or the smallest
            that holds all chunks.
        n_blocks : int, default=None
            Bands of rows, and of columns, of the grid; ``None`` chooses by the number of entries.
        random_state : int, RandomState instance or None, default=None
            Seed of the grid.  Give the fit the same to have the bits of a fit in memory.
        dtype : {numpy.float32, numpy.float64}, default=None
            Type of the values; ``None`` takes that of the first chunk.

        Returns
        -------
        BlockFile
            The file that was written.

        Raises
        ------
        TypeError
            If a chunk is neither ``Entries`` nor a tuple of three arrays.
        ValueError
            If there is no entry, a cell lies outside ``shape`` or occurs twice, a value is not
            finite, or ``n_blocks`` is larger than the smaller side of the matrix.
        OSError
            If the disk is full or ``path`` cannot be written to.
        """
        seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
        if n_blocks is not None and (
            isinstance(n_blocks, bool) or not isinstance(n_blocks, int | np.integer) or n_blocks < 1
        ):
            raise ValueError(
                f"n_blocks must be None or an integer of at least 1. Got {n_blocks!r}."
            )
        with replacing(path) as file, tempfile.TemporaryFile(dir=Path(path).parent) as spool:
            heap = Heap(spool, dtype)
            for chunk in read_chunks(source, shape):
                heap.add(chunk)
            Sorted(heap, n_blocks, seed).write(file)
        return cls(path)

    def __len__(self) -> int:
        return self._tables.head.n_entries

    def __repr__(self) -> str:
        n_rows, n_columns = self.matrix_shape
        cells = "cell" if len(self) == 1 else "cells"
        return (
            f"BlockFile({self.path.name!r}, {len(self)} observed {cells} of a {n_rows} x "
            f"{n_columns} matrix, {self.dtype}, {self.n_blocks} x {self.n_blocks} blocks)"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> npt.NDArray[Any]:
        raise TypeError(
            "A BlockFile is not an array: only FPSGFactorizer.fit reads it, block by block. For "
            "everything else pass Entries or a matrix."
        )

    def blocks(self) -> Iterator[Entries]:
        """Yield the entries block by block.

        Yields
        ------
        Entries
            Entries of a block, of the shape of the whole matrix.

        Raises
        ------
        ValueError
            If the file is damaged, or is no longer the one that was opened.
        """
        rows, columns = self._tables.rows, self._tables.columns
        row_at, column_at = (np.argsort(side.place) for side in (rows, columns))
        with self._open() as reader:
            for block in range(self.n_blocks**2):
                entries = reader.read(block)
                first, second = entries["row"], entries["column"]
                row, col = (second, first) if self._tables.is_wide else (first, second)
                yield Entries(
                    row_at[row], column_at[col], entries["value"].copy(), self.matrix_shape
                )

    def _open(self) -> BlockReader:
        return BlockReader(self.path, self._tables)
