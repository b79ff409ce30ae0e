"""A half-step as tasks share it wherever the cells of its rows are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .._jit import read_only
from ..backends.base import Scattered
from .problem import Cells

__all__ = ["NOTHING", "OnRows"]


class OnRows(Scattered):
    """What ``HalfStep`` tells backends; a block has a part and rows, and may be first in a tuple.

    A piece holds the cells of a block's rows, and where the loss is quadratic the columns that
    these rows lack.
    """

    terms: Any
    parts: Any
    blocks: Any
    target: Any
    state: Any
    bound: Any
    prepared: Any
    is_quadratic: Any

    def home(self):  # noqa: D102
        cells = tuple(term.cells for term in self.terms)
        return (*cells, self.is_quadratic), [self.place(block) for block in self.blocks]

    def place(self, block):  # noqa: D102
        block = _of_job(block)
        return block.part, int(block.rows[0]), block.rows.size

    def piece(self, place):  # noqa: D102
        part, first, size = place
        rows = self.parts[part].rows
        start = int(np.searchsorted(rows, first))
        rows = rows[start : start + size]
        arrays: list[Any] = [rows]
        for term in self.terms:
            cells = _rows_of(term.cells, rows)
            lacking = cells.lacking if self.is_quadratic else NOTHING
            arrays += [cells.indptr, cells.indices, cells.values, cells.weights, *lacking]
        return tuple(arrays)

    def without_data(self):  # noqa: D102
        sent = _copy(self)
        sent.terms = tuple(replace(t, cells=_empty(t.cells)) for t in self.terms)
        sent.parts = tuple(replace(part, rows=part.rows[:0]) for part in self.parts)
        sent.prepared = [known and ((), *known[1:]) for known in self.prepared]
        return sent

    def at(self, block, piece):  # noqa: D102
        inner, rows, here = _of_job(block), piece[0], _copy(self)
        terms, lacking = [], []
        for n, term in enumerate(self.terms):
            start = 1 + 6 * n
            indptr, indices, values, weights, *lists = piece[start : start + 6]
            cells = Cells(indptr, indices, values, weights, term.cells.n_columns)
            if not term.cells.n_rows:  # a block of complete rows, in a side that is not
                vars(cells)["dense"] = None
            terms.append(replace(term, cells=cells))
            lacking.append(tuple(map(read_only, lists)))
        here.terms = tuple(terms)
        pairs = zip(lacking, self.prepared, strict=False)
        here.prepared = [known and (own, *known[1:]) for own, known in pairs]
        here.target = self.target[rows]
        here.state = self.state.of(rows)._replace(x=here.target)
        here.bound = None if self.bound is None else tuple(array[rows] for array in self.bound)
        inner = inner._replace(rows=np.arange(rows.size, dtype=np.int32))
        return (inner, *block[1:]) if type(block) is tuple else inner, here

    def found(self, result, shared):  # noqa: D102
        return result

    def put(self, block, found):  # noqa: D102
        return found


NOTHING = np.zeros(1, np.int64), np.zeros(0, np.int32)
DERIVED = ("blocks", "is_complete", "methods")


def _of_job(block: Any) -> Any:
    return block[0] if type(block) is tuple else block


def _copy(side: Any) -> Any:
    """Return a side whose attributes can be replaced, without those that follow from them."""
    new = object.__new__(type(side))
    new.__dict__.update({n: v for n, v in vars(side).items() if n not in DERIVED})
    return new


def _rows_of(cells: Cells, rows: Any) -> Cells:
    counts = np.diff(cells.indptr)[rows]
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    at = np.repeat(cells.indptr[rows] - indptr[:-1], counts) + np.arange(indptr[-1])
    weights = cells.weights[at] if cells.weights.size else cells.weights
    return Cells(indptr, cells.indices[at], cells.values[at], weights, cells.n_columns)


def _empty(cells: Cells) -> Cells:
    """No cells; with a row if all of them were dense, because the kernels are others then."""
    none: Any = np.zeros(0)
    indptr: Any = np.zeros(1 + (cells.dense is not None))
    return Cells(indptr, none, none, none, cells.n_columns)
