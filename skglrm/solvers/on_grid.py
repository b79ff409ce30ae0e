"""Blocks of a grid as tasks share them wherever their entries are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .._jit import read_only
from .._simd import aligned_zeros
from ..backends.base import Scattered
from .grid import Grid

__all__ = ["OnGrid"]


class OnGrid(Scattered):
    """What an epoch of block SGD tells backends; a piece holds the entries of a block.

    A task elsewhere gets the factors of the block's two bands, and places count from where these
    begin.  Blocks that run together share no band, so what comes back is put side by side; groups
    of rows share all columns, and return them as their result.
    """

    grid: Any
    rows: Any
    columns: Any
    in_groups: bool

    def home(self):  # noqa: D102
        if getattr(self, "positives", None) is not None:
            raise ValueError(
                "Pairwise losses draw negatives from bands of other blocks, which backend='spark' "
                "does not send. Use backend='numba-threads'."
            )
        return (self.grid.owner,), np.flatnonzero(np.diff(self.grid.offsets)).tolist()

    def place(self, block):  # noqa: D102
        return block

    def piece(self, place):  # noqa: D102
        entries = self.grid.entries[self.grid.offsets[place] : self.grid.offsets[place + 1]].copy()
        (first_row, _), (first_column, _) = _bands(self.grid, place)
        entries["row"] -= first_row
        entries["column"] -= first_column
        return (entries,)

    def without_data(self):  # noqa: D102
        grid = self.grid
        row_bands, column_bands = (
            replace(bands, spot=bands.spot[:0]) for bands in (grid.row_bands, grid.column_bands)
        )
        grid = Grid(grid.entries[:0], grid.offsets[:0], row_bands, column_bands)
        sides = {
            name: replace(side, counts=side.counts[:0], bands=bands, saved=None)
            for name, side, bands in (
                ("rows", self.rows, row_bands), ("columns", self.columns, column_bands),
            )
        }  # fmt: skip
        this: Any = self
        return replace(this, grid=grid, **sides)

    def at(self, block, piece):  # noqa: D102
        (entries,) = piece
        row_run, column_run = _bands(self.grid, block)
        offsets: Any = {block: 0, block + 1: entries.size}
        this: Any = self
        here = replace(
            this,
            grid=replace(self.grid, entries=read_only(entries), offsets=offsets),
            rows=_band(self.rows, *row_run),
            columns=_band(self.columns, *column_run),
        )
        return block, here

    def found(self, result, shared):  # noqa: D102
        sides = (shared.rows,) if self.in_groups else (shared.rows, shared.columns)
        return result, [(side.factors, side.state) for side in sides]

    def put(self, block, found):  # noqa: D102
        result, bands = found
        sides = zip((self.rows, self.columns), _bands(self.grid, block), bands, strict=False)
        for side, (start, stop), (factors, state) in sides:
            side.factors[start:stop], side.state[start:stop] = factors, state
        return result


def _bands(grid: Any, block: int) -> list[tuple[int, int]]:
    """Where the bands of rows and columns of a block begin and end."""
    edges = grid.row_bands.edges, grid.column_bands.edges
    at = divmod(block, edges[1].size - 1)
    return [(int(e[n]), int(e[n + 1])) for e, n in zip(edges, at, strict=True)]


def _band(side: Any, start: int, stop: int) -> Any:
    arrays = {}
    for name in ("factors", "state"):
        source = getattr(side, name)[start:stop]
        arrays[name] = aligned_zeros(source.shape, source.dtype)
        arrays[name][:] = source
    return replace(side, **arrays)
