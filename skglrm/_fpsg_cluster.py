"""``FPSGFactorizer.fit`` of cells that stay on a Spark cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ._factorizer import stays_on_cluster
from ._fpsg_start import Statistics, unit_of
from ._fpsg_task import Task, encoded
from ._spark.gather import Gathered, Table
from .backends import SparkBackend
from .backends.base import Backend
from .domains import Real
from .entries import Entries
from .kernels.grid import entry_type, order_block
from .solvers.block_sgd import Cells
from .solvers.grid import Bands, DuplicateCellError, Grid

__all__ = ["distinct_values", "fits_on_cluster", "on_cluster"]


def fits_on_cluster(model: Any, X: Any, weights: Any) -> bool:
    """Whether a fit needs no cells on the driver."""
    # Early stopping draws cells; an intercept begins at their mean, whose bits depend on order.
    needs_cells = model.early_stopping or model.fit_intercept or model._task.of_positives
    return stays_on_cluster(model, X) and weights is None and not needs_cells


@contextmanager
def on_cluster(model: Any, X: Any) -> Iterator[ClusterEntries]:
    """Let the executors keep the cells for a fit, and the model know what they are."""
    task = model._task
    X = model._input(X, reset=True)
    options = SparkBackend() if model.backend == "spark" else model.backend
    table = X.table(options.storage_level, summed=False)
    try:
        twice = table.duplicate()
        if twice is not None:
            raise DuplicateCellError(*twice)
        values, counts = np.zeros(0), np.zeros(0)
        if task.loss.domain != Real() or task.loss.degree != 2.0:
            values, counts = distinct_values(task, table.cells)
        low = -1.0 if task.kind == "booleans" and (values < 0).any() else 0.0
        model.__dict__.pop("classes_", None)
        if task.kind == "booleans":
            model.classes_ = np.array([low, 1.0])
        yield ClusterEntries(X, table, values, counts, low)
    finally:
        table.free()


def distinct_values(task: Task, cells: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return distinct values and how often they occur; refuse those that the loss does not take."""
    from pyspark.sql import functions as F

    one = F.min(F.struct("row", "col")).alias("at")
    found = cells.groupBy("value").agg(F.count(F.lit(1)).alias("n"), one).orderBy("value")
    found = found.select("value", "n", "at.row", "at.col").toArrow()
    values, counts, row, col = (found.column(name).to_numpy() for name in found.column_names)
    encoded(task, Entries._trusted(row, col, values, (0, 0)))
    return values.astype(np.float64), counts


@dataclass(frozen=True)
class ClusterEntries:
    """Cells on a cluster in the place of ``Entries``, for the time of a fit.

    ``values`` are distinct values and ``counts`` how often they occur, where a loss needs them.
    Booleans become 0 and 1 if ``low``, what stands for false, is -1.
    """

    entries: Any
    table: Table
    values: npt.NDArray[np.float64]
    counts: npt.NDArray[Any]
    low: float

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Shape of the matrix."""
        shape: tuple[int, int] = self.entries.matrix_shape
        return shape

    @property
    def row_ids(self) -> Any:
        """Ids of the rows."""
        return self.entries.row_ids

    @property
    def col_ids(self) -> Any:
        """Ids of the columns."""
        return self.entries.col_ids

    def __len__(self) -> int:
        return len(self.entries)

    def statistics(self, task: Task) -> Statistics:
        """Describe the values."""
        low, (rows, columns) = self.low, map(self.table.statistics, ("row", "col"))
        row_counts, column_counts = (side["count"].astype(np.int64) for side in (rows, columns))
        mean = float(rows["sum"].sum() / row_counts.sum())
        baseline, unit = mean, 1.0
        if task.loss.degree != 2.0:
            values = (self.values - low) / (1.0 - low)
            baseline = float(task.loss.best_constant(values, self.counts))
        if task.has_unit:
            unit = unit_of(self.table.squares(mean) / len(self), mean)
        row_sums, column_sums = (
            (side["sum"] - low * side["count"]) / (1.0 - low) for side in (rows, columns)
        )
        none = np.zeros(0, np.int32)
        # Its type and its size are looked at, its values never.
        value = np.broadcast_to(np.zeros(1, self.table.dtype), len(self))
        cells = ClusterCells(
            none, none, value, row_counts, column_counts, table=self.table, low=low
        )
        return Statistics(cells, row_counts, row_sums, column_counts, column_sums, baseline, unit)


@dataclass(frozen=True)
class ClusterCells(Cells):
    """Cells on a cluster, as the solver takes them; it sees no arrays, only the grid."""

    table: Any = None
    low: float = 0.0
    is_transposed: bool = False

    def transposed(self) -> ClusterCells:
        """Return the entries with rows and columns exchanged."""
        return replace(
            self, row_counts=self.column_counts, column_counts=self.row_counts,
            is_transposed=not self.is_transposed,
        )  # fmt: skip

    def grid(
        self, n_bands: int, seed: int, unit: float, pairwise: bool, backend: Backend,
        in_groups: bool = False,
    ) -> ClusterGrid:  # fmt: skip
        """Plan the blocks, and count their entries."""
        bands = self.bands(n_bands, seed, pairwise, in_groups)
        blocks = Blocks(*bands, np.dtype(self.table.dtype).type(1 / unit), self.low,
                        self.is_transposed)  # fmt: skip
        source = Gathered(self.table, blocks)
        counts = source.counts(len(bands[0]) * len(bands[1]))
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return ClusterGrid(np.empty(0, entry_type(self.table.dtype)), offsets, *bands, source)


@dataclass(frozen=True)
class ClusterGrid(Grid):
    """A grid whose entries are on the cluster."""

    source: Any

    @property
    def owner(self) -> Any:
        """Who holds the entries."""
        return self.source


@dataclass(frozen=True)
class Blocks:
    """The layout of pieces that are blocks of a grid, as ``build_grid`` makes them.

    Places of entries count from where the block's bands begin.
    """

    row_bands: Bands
    column_bands: Bands
    inverse: Any
    low: float
    is_transposed: bool
    blocks: Any = None

    def cut(self, places: list[Any]) -> Blocks:
        """Return the layout of these blocks, all that have entries."""
        return replace(self, blocks=np.array(places))

    def numbers(self, row: Any, col: Any) -> Any:
        """Return the number of each cell's block."""
        row, col = (col, row) if self.is_transposed else (row, col)
        block = (
            self.row_bands.spot[row, 0] * len(self.column_bands) + self.column_bands.spot[col, 0]
        )
        return block if self.blocks is None else np.searchsorted(self.blocks, block)

    def data(self, number: int, row: Any, col: Any, value: Any) -> tuple[Any, ...]:
        """Return the entries of a block, in the order of visits."""
        row, col = (col, row) if self.is_transposed else (row, col)
        at = divmod(int(self.blocks[number]), len(self.column_bands))
        sides = (self.row_bands, self.column_bands)
        (i, end_row), (j, end_column) = (
            side.edges[n : n + 2].tolist() for side, n in zip(sides, at, strict=True)
        )
        entries = np.empty(value.size, entry_type(value.dtype))
        entries["row"] = self.row_bands.place[row] - i
        entries["column"] = self.column_bands.place[col] - j
        entries["value"] = (value > 0) if self.low else value
        entries["value"] *= self.inverse
        order_block(entries, 0, end_row - i, 0, end_column - j)
        return (entries,)
