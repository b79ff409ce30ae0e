"""``GLRM.fit`` of cells that stay on a Spark cluster."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._column_losses import resolve_losses
from ._columns import Columns, Null
from ._components import explained_shares, row_stride
from ._factorizer import stays_on_cluster
from ._jit import read_only
from ._observations import read_input
from ._spark.errors import failures
from ._spark.gather import Gathered, Runs, Table
from ._spark.serving import by_rows
from .backends import SparkBackend
from .backends.base import Scattered
from .domains import Real
from .kernels.start import linearise
from .losses import Loss, get_loss
from .regularizers.base import Coupling
from .solvers.grid import DuplicateCellError
from .solvers.half_step import is_quadratic
from .solvers.on_rows import NOTHING
from .solvers.problem import Cells
from .solvers.start import UNIT, runs_of_rows

__all__ = ["fit_on_cluster", "fits_on_cluster"]


def fits_on_cluster(model: Any, X: Any, weights: Any) -> bool:
    """Whether a fit needs no cells on the driver.

    So it is with one loss of numbers for all columns, smooth and not too curved, and one
    regularizer for each side, in the units of the data.
    """
    if not stays_on_cluster(model, X) or weights is not None or model.scale or model.offset:
        return False
    sides = [model._regularizer(name) for name in ("row", "column")]
    if any(isinstance(one, list | Coupling) or one.one_hot for one in sides):
        return False
    try:
        loss = get_loss(model.loss)
    except (TypeError, ValueError):  # one for each column, or chosen by what they hold
        return False
    plain = isinstance(loss, Loss) and loss.domain == Real() and loss.finite and loss.smooth
    started = isinstance(model.init, str) and model.init in ("svd", "random")
    solved = model.solver in ("auto", "proximal", "exact")
    return bool(plain and loss.curvature is not None and started and solved)


def fit_on_cluster(model: Any, X: Any) -> None:
    """Fit a ``GLRM``."""
    X = read_input(model, X, unstored="missing", reset=True)
    options = SparkBackend() if model.backend == "spark" else model.backend
    table = X.table(options.storage_level, summed=False)
    try:
        twice = table.duplicate()
        if twice is not None:
            raise DuplicateCellError(*twice)
        _fit(model, X, table)
    finally:
        table.free()


def _fit(model: Any, X: Any, table: Table) -> None:
    empty = sp.csr_array(X.matrix_shape, dtype=X.dtype)
    names = model._names(X, None)
    model._table, model.row_ids_, model.col_ids_ = None, X.row_ids, X.col_ids
    model._columns = resolve_losses(model.loss, names, None, empty)
    n_columns = X.matrix_shape[1]
    model._units, model.column_weights_ = np.ones(n_columns), np.ones(n_columns)
    model._null, squares = _null_model(model._columns, X, table)
    problem = model._problem(empty, None, of_fit=True)
    sides = [table.statistics(side) for side in ("row", "col")]
    counts = [side["count"].astype(np.int64) for side in sides]
    group = problem.groups[0]
    cells = ClusterCells.of(table, counts, group.loss, squares)
    problem = replace(problem, groups=(replace(group, by_row=cells),))
    model._kinks = problem.kinks

    def keep(model: Any, factors: Any) -> None:
        model._keep(factors, empty)
        model._row_counts, model._column_counts = counts
        model._row_sums, model._column_sums = (side["sum"] for side in sides)
        model.baseline_ = float(model._row_sums.sum() / len(X))

    def report(iteration: int, objective: float, factors: Any) -> bool:
        def fitted() -> dict[str, Any]:
            new = copy(model)
            keep(new, factors())
            new.objective_, new.n_iter_ = objective, iteration
            return dict(vars(new))

        return bool(model._report(iteration, objective, fitted=fitted))

    with model._get_backend() as backend:
        start = model._start(problem, backend)
        cells.forget_start()
        found = model._solve(problem, start, backend, report)
    model.loss_curve_ = [*map(float, found.loss_curve)]
    model.objective_, model.n_iter_ = model.loss_curve_[-1], len(model.loss_curve_)
    keep(model, found.factors)
    every = row_stride(len(X))
    model.importance_ = explained_shares(
        model._columns, _some_rows(X, table, every), model.column_weights_, model.row_factors_,
        model._H, model.offset_, every,
    )  # fmt: skip


def _some_rows(X: Any, table: Table, every: int) -> sp.csr_array:
    """The cells of evenly spaced rows."""
    found = table.cells.filter(f"row % {every} = 0").select("row", "col", "value").toArrow()
    row, col, value = (column.to_numpy() for column in found.columns)
    matrix = sp.coo_array((value, (row, col)), shape=X.matrix_shape).tocsr()
    return matrix.sorted_indices()


# ------------------------------------------------------------------ the model without factors


def _null_model(columns: Columns, X: Any, table: Table) -> tuple[Null, float]:
    """Best constants of the columns and what they cost, and the sum of all squares."""
    constants, costs, counts = (np.zeros(len(columns.losses)) for _ in range(3))
    parts = []
    shared = columns, X.matrix_shape[0]
    with by_rows(_describe, shared, X, summed=False, side="col") as found, failures():
        for at, *described, squares in found.collect():
            for array, values in zip((constants, costs, counts), described, strict=True):
                array[at] = values
            parts.append(squares)
    each = table.cells.groupBy("value").count().orderBy("value")
    if is_quadratic(columns.losses[0]):
        overall = float(counts @ constants / counts.sum())
    else:
        value, n = (column.to_numpy() for column in each.toArrow().columns)
        overall = float(columns.losses[0].best_constant(value.astype(np.float64), n))
    return Null(constants, costs, counts, overall), math.fsum(parts)


def _describe(shared: Any, at: Any, cells: Any) -> Iterator[Any]:
    columns, n_rows = shared
    n, (indptr, rows, values) = len(at), cells
    # By row: sums of columns have the order that they have where all cells are at hand.
    matrix = sp.csc_array((values, rows, indptr), shape=(n_rows, n)).tocsr()
    own = Columns(columns.losses[:n], columns.domains[:n], columns.signed[:n])
    null = own.null_model(matrix, None)
    squares = float(np.sum(_linearised(columns.losses[0], values).astype(np.float64) ** 2))
    yield at, null.constants, null.costs, null.counts, squares


# ------------------------------------------------------------------ cells elsewhere


@dataclass(frozen=True, eq=False)
class ClusterCells(Cells):
    """Cells on a cluster in the place of those at hand: their numbers are known, no more."""

    table: Any = None
    side: str = "row"
    loss: Any = None
    squares: float = 0.0

    @classmethod
    def of(cls, table: Table, counts: Any, loss: Any, squares: float) -> Any:
        """Return the cells by row and, as their transpose, by column."""
        this, other = (
            cls(
                np.concatenate([[0], np.cumsum(own)]).astype(np.int64),
                # Types and sizes are looked at, values never.
                np.broadcast_to(np.zeros(1, np.int32), int(own.sum())),
                np.broadcast_to(np.zeros(1, table.dtype), int(own.sum())),
                np.zeros(0, table.dtype), others.size, table, side, loss, squares,
            )
            for own, others, side in ((*counts, "row"), (*counts[::-1], "col"))
        )  # fmt: skip
        vars(this)["transposed"], vars(other)["transposed"] = other, this
        return this

    @property
    def spark(self) -> Any:
        """The session of the cells."""
        return self.table.cells.sparkSession

    @property
    def dense(self) -> Any:
        """An array in the place of all cells, if none is missing."""
        is_complete = (np.diff(self.indptr) == self.n_columns).all()
        return np.empty((0, self.n_columns)) if is_complete else None

    @property
    def lacking(self) -> Any:
        """Whether rows have lists of lacking columns: a number in place of the lists."""
        counts = np.diff(self.indptr)
        some = (2 * counts > self.n_columns) & (counts < self.n_columns)
        return np.array([0, some.any()]), np.zeros(0, np.int32)

    @property
    def mean_square(self) -> float:
        """Mean of the squares of what the values are linearised to."""
        return self.squares / max(1, self.values.size)

    def gathered(self, places: list[Any], n_partitions: int, level: Any) -> Any:
        """Build the pieces of blocks of rows."""
        layout = Halves.of(self.side, np.arange(self.n_rows))
        layout = replace(layout, n_columns=self.n_columns, has_lists=is_quadratic(self.loss))
        return Gathered(self.table, layout).gathered(places, n_partitions, level)

    def shared(self, other: Any) -> Products:
        """Return what products of runs of rows with a thin matrix share."""
        return Products(self._runs, self.n_rows, self.n_columns, other)

    @cached_property
    def _runs(self) -> Gathered:
        layout = Linearised.of(self.side, np.arange(self.n_rows))
        return Gathered(self.table, replace(layout, loss=self.loss))

    def forget_start(self) -> None:
        """Let the runs go that only the start has needed."""
        for cells in (self, self.transposed):
            vars(cells).pop("_runs", None)


@dataclass(frozen=True)
class Halves(Runs):
    """The layout of blocks of rows as ``OnRows`` wants them; all rows are one part."""

    n_columns: int = 0
    has_lists: bool = False

    def cut(self, places: list[Any]) -> Any:
        """Return the layout of blocks with these (part, first row, size)."""
        return super().cut([(first, first + size) for _, first, size in places])

    def data(self, number: int, row: Any, col: Any, value: Any) -> tuple[Any, ...]:
        """Return rows, the arrays of their cells, and lists of the columns that they lack."""
        rows, indptr, indices, values = super().data(number, row, col, value)
        cells = Cells(indptr, indices, values, np.zeros(0, value.dtype), self.n_columns)
        lacking = cells.lacking if self.has_lists else NOTHING
        rows = rows.astype(np.int32)
        return (rows, cells.indptr, cells.indices, cells.values, cells.weights, *lacking)


@dataclass(frozen=True)
class Linearised(Runs):
    """The layout of runs of rows whose values are linearised, see ``solvers.start``."""

    loss: Any = None

    def data(self, number: int, row: Any, col: Any, value: Any) -> tuple[Any, ...]:
        """Return rows, indptr, indices and values."""
        *arrays, values = super().data(number, row, col, value)
        return (*arrays, _linearised(self.loss, values))


def _linearised(loss: Any, values: Any) -> Any:
    """What a quadratic loss would have to see, at predictions of 0."""
    if is_quadratic(loss):
        return values
    out, none = np.empty_like(values), np.zeros(0, values.dtype)
    ends = np.array([0, values.size], np.int64)
    linearise(loss, *map(read_only, (ends, values, none)), np.zeros(1), UNIT, out)
    return out


@dataclass(frozen=True)
class Products(Scattered):
    """Products of the rows of a matrix on the cluster, as tasks share them."""

    runs: Any
    n_rows: int
    n_columns: int
    other: Any

    def home(self):
        return (self.runs,), runs_of_rows(self.n_rows)

    def place(self, block):
        return block

    def piece(self, place):
        raise NotImplementedError

    def without_data(self):
        return replace(self, runs=None)

    def at(self, block, piece):
        rows, indptr, indices, values = piece
        cells = Cells(indptr, indices, values, np.zeros(0, values.dtype), self.n_columns)
        return (0, rows.size), cells if self.other is None else (cells, self.other)

    def found(self, result, shared):
        return result

    def put(self, block, found):
        return found
