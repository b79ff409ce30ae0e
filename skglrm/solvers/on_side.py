"""Runs of the rows of one side of implicit ALS, as tasks share them wherever the cells are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..backends.base import Scattered
from .base import Floats

__all__ = ["OnSide"]


@dataclass(frozen=True)
class OnSide(Scattered):
    """A side, what tasks write to and what else they read of the model.

    A block is (..., start, stop), about the rows ``side.order[start:stop]``.  ``target`` has their
    results; ``is_read`` says whether tasks start from what is there.
    """

    side: Any
    target: Floats
    fixed: tuple[Any, ...]
    is_read: bool = False

    def home(self):  # noqa: D102
        return (self.side.owner,), self.side.tasks(self.target.shape[1])

    def place(self, block):  # noqa: D102
        return tuple(block[-2:])

    def piece(self, place):  # noqa: D102
        side, rows = self.side, self.side.order[slice(*place)]
        counts = side.counts[rows]
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        cells = np.arange(indptr[-1]) + np.repeat(side.indptr[rows] - indptr[:-1], counts)
        return rows, indptr, side.indices[cells], side.values[cells]

    def without_data(self):  # noqa: D102
        none = np.zeros(0, np.int64)
        names = ("indptr", "indices", "values", "counts", "order")
        side = replace(self.side, source=None, **dict.fromkeys(names, none))
        target = self.target if self.is_read else self.target[:0]
        return replace(self, side=side, target=target)

    def at(self, block, piece):  # noqa: D102
        rows, indptr, indices, values = piece
        n = len(rows)
        side = replace(
            self.side, indptr=indptr, indices=indices, values=values, ridge=self.side.ridge[rows],
            order=np.arange(n),
        )  # fmt: skip
        if self.is_read:
            target = self.target[rows]
        else:
            target = np.empty((n, self.target.shape[1]), self.target.dtype)
        shared = replace(self, side=side.read_only(), target=target)
        return (*block[:-2], 0, n), shared

    def found(self, result, shared):  # noqa: D102
        return result, shared.target

    def put(self, block, found):  # noqa: D102
        result, written = found
        rows = self.side.order[block[-2] : block[-1]]
        self.target[rows] = written
        if isinstance(result, tuple) and result[1] >= 0:  # a row that failed, counted in the block
            return result[0], int(rows[result[1]])
        return result
