"""Where block SGD starts: counts, the unit of the data, and factors that no grid changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ._factorizer import count_entries
from ._fpsg_task import Task
from ._jit import read_only
from .backends.base import Backend
from .entries import Entries
from .kernels.grid import sum_squared_deviations
from .solvers.block_sgd import Cells

__all__ = ["Statistics", "random_factors", "unit_of", "with_intercepts", "without_intercepts"]

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Statistics:
    """Entries by row and column, the score that suits all of them, and the unit of the data.

    ``row_totals`` and ``column_totals`` are sums of weights, and the counts themselves without any.
    """

    cells: Cells
    row_totals: npt.NDArray[Any]
    row_sums: npt.NDArray[np.float64]
    column_totals: npt.NDArray[Any]
    column_sums: npt.NDArray[np.float64]
    baseline: float
    unit: float

    @classmethod
    def of(
        cls, task: Task, entries: Entries, weights: Floats | None, backend: Backend
    ) -> Statistics:
        """Count entries, and describe their values."""
        ids = [(entries.row, entries.matrix_shape[0]), (entries.col, entries.matrix_shape[1])]
        (row_counts, row_sums), (column_counts, column_sums) = backend.map(
            _count_side, ids, entries.value
        )
        row_totals, column_totals = row_counts, column_counts
        value = entries.value
        if weights is not None:
            weights = weights.astype(value.dtype)
            (row_totals, row_sums), (column_totals, column_sums) = [
                (np.bincount(side, weights, n), np.bincount(side, weights * value, n))
                for side, n in ids
            ]
        mean = float(row_sums.sum() / row_totals.sum())
        if task.of_positives:
            baseline = 0.0
        elif task.loss.degree == 2.0:
            baseline = mean
        else:
            w = None if weights is None else weights.astype(np.float64)
            baseline = float(task.loss.best_constant(value.astype(np.float64), w))
        unit = _unit(value, weights, mean) if task.has_unit else 1.0
        counts = row_counts, column_counts
        cells = Cells(entries.row, entries.col, value, *counts, weights)
        totals = row_totals, row_sums, column_totals, column_sums
        return cls(cells, *totals, baseline, unit)

    def write(self, model: Any, task: Task) -> None:
        """Set the attributes from which cells without factors are predicted.

        Rankings have no means: a row that is unseen has columns in order of popularity, the share
        of a column's visits in which it is the positive.
        """
        model._row_counts, model._row_sums = self.row_totals, self.row_sums
        model._column_counts, model._column_sums = self.column_totals, self.column_sums
        if task.kind != "pairs":
            return
        for side, total in (("row", self.row_totals), ("column", self.column_totals)):
            if (side == "row") == task.by_column:
                setattr(model, f"_{side}_counts", total + total.sum() / total.size)
                setattr(model, f"_{side}_sums", total.astype(np.float64))
            else:
                setattr(model, f"_{side}_sums", np.zeros(total.size))


def _count_side(side: Any, values: Floats) -> Any:
    return count_entries(side[0], values, side[1])


def _unit(values: Floats, weights: Floats | None, mean: float) -> float:
    """Return the unit of values, see ``unit_of``."""
    if weights is None:
        variance = sum_squared_deviations(read_only(values), mean) / values.size
    else:
        deviations = values.astype(np.float64) - mean
        variance = np.average(deviations * deviations, weights=weights)
    return unit_of(variance, mean)


def unit_of(variance: float, mean: float) -> float:
    """Return the standard deviation; of constant data the root mean square, or 1 if that is 0."""
    deviation = float(np.sqrt(variance))
    rms = float(np.hypot(mean, deviation))
    unit = deviation if deviation > 1e-4 * rms else rms
    # Rounded, so that it does not depend on the order in which values were summed.
    return float(np.float32(unit)) or 1.0


def random_factors(
    seen: npt.NDArray[np.bool_], k: int, dtype: Any, scale: float, seed: Any, centred: bool
) -> Floats:
    """Draw from [0, √(scale/k)) in order of id, so that the start does not depend on the grid.

    With an intercept there is no level to find, and the same range is ``centred`` at 0.
    """
    factors = np.random.default_rng(seed).random((seen.size, k), dtype=dtype)
    if centred:
        factors -= dtype.type(0.5)
    factors *= dtype.type((scale / k) ** 0.5)
    factors[~seen] = 0
    return factors


def with_intercepts(factors: Floats, own: int, shift: float, root: float) -> Floats:
    """Factors as the solver wants them, whose first two columns are an intercept and a 1.

    The solver divides all by ``root``, √c, where c is the unit: an intercept has the unit c.
    """
    out = factors.copy()
    out[:, own] = (factors[:, own] - shift) / root
    out[:, 1 - own] = root
    return out


def without_intercepts(
    factors: Floats, own: int, shift: float, root: float, seen: npt.NDArray[np.bool_]
) -> Floats:
    """Undo ``with_intercepts``; what has no entries has zeros."""
    factors[:, own] = factors[:, own] * root + shift
    factors[:, 1 - own] = 1
    factors[~seen] = 0
    return factors
