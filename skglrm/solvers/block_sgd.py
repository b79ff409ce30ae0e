"""Block SGD: epochs of visits to all entries, side by side where no row or column is shared."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .._jit import read_only
from .._simd import Width, aligned_zeros, padded
from ..backends.base import Backend
from ..kernels.grid import entry_type, place_rows, take_rows
from ..kernels.sgd import (
    N_SLOW,
    N_STATE,
    TICKS,
    GradientStep,
    ProximalStep,
    settle_rows,
    sgd_block,
    sum_losses,
)
from ..losses import Loss
from .base import Floats, Patience, Solution
from .grid import Bands, DuplicateCellError, Grid, build_grid
from .schedule import HogWild, LeastUpdated, Rotation

__all__ = ["SCHEDULES", "BlockSGD", "Cells", "Start"]

SCHEDULES: dict[str, type[LeastUpdated] | type[Rotation] | type[HogWild]] = {
    "fpsg": LeastUpdated,
    "rotation": Rotation,
    "hogwild": HogWild,
}

ROWS_PER_TASK = 16_384
ENTRIES_PER_TASK = 500_000

# Steps of the clock of `sgd_block` without a common measure: over the epochs every visit of a block
# is sampled as often as any other.
EPOCH_TICKS, BLOCK_TICKS = round(TICKS * 2**0.5), round(TICKS * 3**0.5)


@dataclass(frozen=True)
class Cells:
    """Entries as the solver takes them, with the number of entries of every row and column."""

    row: npt.NDArray[np.integer]
    column: npt.NDArray[np.integer]
    value: Floats
    row_counts: npt.NDArray[np.int64]
    column_counts: npt.NDArray[np.int64]

    def transposed(self) -> Cells:
        """Return the entries with rows and columns exchanged."""
        return Cells(self.column, self.row, self.value, self.column_counts, self.row_counts)


@dataclass(frozen=True)
class Start:
    """Factors (n, n_components) and accumulators (n, 2) to start from."""

    row_factors: Floats
    column_factors: Floats
    row_accumulators: Floats
    column_accumulators: Floats

    def transposed(self) -> Start:
        """Return the start with rows and columns exchanged."""
        return Start(
            self.column_factors,
            self.row_factors,
            self.column_accumulators,
            self.row_accumulators,
        )


@dataclass(frozen=True)
class BlockSGD:
    """Minimise Σ [ L(p·q, a) + r(p) + r(q) ] over entries, r = ½ l2 ‖·‖² + l1 ‖·‖₁ (+ x ≥ 0).

    It works on values divided by ``value_unit``, and factors by its root; ``l2`` and ``l1`` are
    those of this scaled problem, and its objective times ``objective_unit`` is reported.
    ``slow_first`` updates only the slow dimensions in the first epoch; ``first_epoch`` counts those
    run before; ``seed`` seeds the grid and the schedule; ``report(epoch, objective, validation)``
    is called after every epoch.
    """

    loss: Loss
    l2: float
    l1: float
    nonnegative: bool
    learning_rate: float
    schedule: str
    n_bands: int
    max_iter: int
    tol: float
    n_iter_no_change: int
    slow_first: bool
    first_epoch: int
    seed: int
    value_unit: float
    objective_unit: float
    report: Callable[[int, float, float | None], None]

    def solve(
        self, cells: Cells, start: Start, backend: Backend, held_out: Cells | None = None
    ) -> Solution:
        """Run epochs until the stopping rule or ``max_iter`` ends them.

        Raises
        ------
        FloatingPointError
            If the objective is no longer finite.
        ValueError
            If a cell occurs twice.
        """
        if cells.column_counts.size > cells.row_counts.size:
            # The longer side streams through the cache, the shorter one stays in it.
            mirror = held_out and held_out.transposed()
            try:
                mirrored = self._solve(cells.transposed(), start.transposed(), backend, mirror)
            except DuplicateCellError as error:
                raise DuplicateCellError(error.column, error.row) from None
            return replace(
                mirrored,
                row_factors=mirrored.column_factors,
                column_factors=mirrored.row_factors,
                row_accumulators=mirrored.column_accumulators,
                column_accumulators=mirrored.row_accumulators,
            )
        return self._solve(cells, start, backend, held_out)

    def _solve(
        self, cells: Cells, start: Start, backend: Backend, held_out: Cells | None
    ) -> Solution:
        streams = [np.random.default_rng((self.seed, n)) for n in range(3)]
        row_bands = Bands.cut(cells.row_counts, self.n_bands, streams[0])
        column_bands = Bands.cut(cells.column_counts, self.n_bands, streams[1])
        grid = build_grid(
            cells.row, cells.column, cells.value, row_bands, column_bands,
            self.value_unit, backend,
        )  # fmt: skip
        if self.schedule == "hogwild":
            grid = grid.shuffled(streams[2])
        schedule = SCHEDULES[self.schedule](grid.sizes, self.seed)

        root = self.value_unit**0.5
        rows = _Side.placed(
            start.row_factors, start.row_accumulators, row_bands, cells.row_counts, root, backend
        )
        columns = _Side.placed(
            start.column_factors, start.column_accumulators, column_bands, cells.column_counts,
            root, backend,
        )  # fmt: skip
        validation = None if held_out is None else self._placed(held_out, row_bands, column_bands)
        for side in (rows, columns):
            side.settle(backend)
        n_components = start.row_factors.shape[1]
        step = self._step(n_components)
        work = _Work(self.loss, step, Width(_width(n_components)), grid, rows, columns)

        patience = Patience(self.tol, self.n_iter_no_change if held_out else 1)
        loss_curve: list[float] = []
        validation_curve: list[float] = []
        best = best_iter = None
        converged = False
        for epoch in range(self.max_iter):
            slow_only = epoch == 0 and self.slow_first and n_components > 1 and not self.l1
            work.step = replace(step, fast_rate=0.0, fast_share=0.0) if slow_only else step
            work.epoch = self.first_epoch + epoch
            schedule.begin(work.epoch)
            results = backend.sweep(_visit_block, schedule, work)
            visited = sum(int(grid.offsets[b + 1] - grid.offsets[b]) for b, _ in results)
            # FPSG's epochs are not exact passes: count every visit, and scale to one pass.
            total = math.fsum(loss for _, loss in results) * (grid.entries.size / visited)
            objective = total + self._penalty(rows.settle(backend), columns.settle(backend))
            objective *= self.objective_unit
            if not math.isfinite(objective):
                raise FloatingPointError(
                    f"The objective is no longer finite after iteration {epoch + 1}: the learning "
                    f"rate {self.learning_rate} is too large for these data. Make learning_rate "
                    "smaller."
                )
            loss_curve.append(objective)
            watched, held_out_loss = objective, None
            if validation is not None:
                watched = held_out_loss = self._mean_loss(validation, work, backend)
                validation_curve.append(held_out_loss)
                if held_out_loss < patience.best:
                    best, best_iter = (rows.copy(), columns.copy()), epoch + 1
            self.report(epoch + 1, objective, held_out_loss)
            if patience.is_over(watched) and (validation is not None or self.tol > 0):
                converged = True
                break
        if best is not None:
            rows, columns = best
        return Solution(
            rows.factors_by_id(n_components, root, backend),
            columns.factors_by_id(n_components, root, backend),
            rows.accumulators_by_id(),
            columns.accumulators_by_id(),
            loss_curve=loss_curve,
            validation_curve=validation_curve,
            n_iter=len(loss_curve),
            best_iter=best_iter or len(loss_curve),
            converged=converged,
        )

    def _step(self, n_components: int) -> GradientStep:
        n_slow = _n_slow(n_components)
        n_fast = n_components - n_slow
        fast_share = 1 / n_fast if n_fast else 0.0
        rates = (self.learning_rate, self.learning_rate, 1 / n_slow, fast_share)
        if not self.l1 and not self.nonnegative:
            return GradientStep(*rates, self.l2, self.l2)
        floor = 0.0 if self.nonnegative else -math.inf
        return ProximalStep(*rates, self.l2, self.l2, self.l1, self.l1, floor)

    def _penalty(self, *sides: tuple[float, float]) -> float:
        return sum(0.5 * self.l2 * squares + self.l1 * absolutes for squares, absolutes in sides)

    def _placed(self, cells: Cells, row_bands: Bands, column_bands: Bands) -> npt.NDArray[np.void]:
        entries = np.empty(cells.value.size, entry_type(cells.value.dtype))
        entries["row"] = row_bands.place[cells.row]
        entries["column"] = column_bands.place[cells.column]
        entries["value"] = cells.value / cells.value.dtype.type(self.value_unit)
        return read_only(entries)

    def _mean_loss(self, entries: npt.NDArray[np.void], work: _Work, backend: Backend) -> float:
        runs = _runs(entries.size, ENTRIES_PER_TASK)
        total = math.fsum(backend.map(_sum_losses, runs, (entries, work)))
        return total * self.objective_unit / entries.size


# ------------------------------------------------------------------ the state of a fit


@dataclass
class _Side:
    """Padded factors and the state of their learning rates, by place."""

    factors: Floats
    state: Floats
    counts: Floats
    bands: Bands

    @classmethod
    def placed(
        cls,
        factors: Floats,
        accumulators: Floats,
        bands: Bands,
        counts: npt.NDArray[np.int64],
        unit: float,
        backend: Backend,
    ) -> _Side:
        n, n_components = factors.shape
        side = cls(
            aligned_zeros((n, _width(n_components)), factors.dtype),
            aligned_zeros((n, N_STATE), factors.dtype),
            np.empty(n),
            bands,
        )
        inverse = factors.dtype.type(1 / unit)
        backend.map(_place_rows, _runs(n, ROWS_PER_TASK), (read_only(factors), inverse, side))
        side.state[bands.place, 4:6] = accumulators
        side.counts[bands.place] = counts
        return side

    def settle(self, backend: Backend) -> tuple[float, float]:
        """Close an epoch; return Σ count · ‖x‖² and Σ count · ‖x‖₁."""
        sums = backend.map(_settle_rows, _runs(len(self.factors), ROWS_PER_TASK), self)
        return math.fsum(s for s, _ in sums), math.fsum(a for _, a in sums)

    def copy(self) -> _Side:
        return replace(self, factors=self.factors.copy(), state=self.state.copy())

    def factors_by_id(self, n_components: int, unit: float, backend: Backend) -> Floats:
        factors = np.empty((len(self.factors), n_components), self.factors.dtype)
        shared = (self, factors.dtype.type(unit), factors)
        backend.map(_take_rows, _runs(len(factors), ROWS_PER_TASK), shared)
        return factors

    def accumulators_by_id(self) -> Floats:
        return np.take(self.state[:, 4:6], self.bands.place, axis=0)


@dataclass
class _Work:
    """What the tasks of an epoch share."""

    loss: Loss
    step: GradientStep
    width: Width
    grid: Grid
    rows: _Side
    columns: _Side
    epoch: int = 0


def _visit_block(block: int, work: _Work) -> float:
    grid, rows, columns = work.grid, work.rows, work.columns
    clock = (work.epoch * EPOCH_TICKS + block * BLOCK_TICKS) % TICKS
    return sgd_block(
        work.loss, work.step, work.width,
        grid.entries, grid.offsets[block], grid.offsets[block + 1], clock,
        rows.factors, columns.factors, rows.state, columns.state,
    )  # fmt: skip


def _place_rows(run: tuple[int, int], shared: Any) -> None:
    factors, unit, side = shared
    cut, gap = _cut(factors.shape[1])
    place_rows(factors, side.bands.place, unit, cut, gap, *run, side.factors)


def _take_rows(run: tuple[int, int], shared: Any) -> None:
    side, unit, out = shared
    cut, gap = _cut(out.shape[1])
    take_rows(side.factors, side.bands.place, unit, cut, gap, *run, out)


def _settle_rows(run: tuple[int, int], side: _Side) -> tuple[float, float]:
    return settle_rows(side.factors, side.state, side.counts, *run)


def _sum_losses(run: tuple[int, int], shared: Any) -> float:
    entries, work = shared
    return sum_losses(work.loss, work.width, entries, *run, work.rows.factors, work.columns.factors)


def _n_slow(n_components: int) -> int:
    """Return the size of the slow group: half of the dimensions, at most one vector."""
    return min(N_SLOW, max(1, n_components // 2))


def _cut(n_components: int) -> tuple[int, int]:
    """Return where the fast group begins, and how far to move it to begin at a vector."""
    n_slow = _n_slow(n_components)
    return n_slow, N_SLOW - n_slow


def _width(n_components: int) -> int:
    """Return the padded width of a row: the slow vector, and as many as the fast group needs."""
    return N_SLOW + padded(n_components - _n_slow(n_components))


def _runs(n: int, length: int) -> list[tuple[int, int]]:
    return [(start, min(start + length, n)) for start in range(0, n, length)]
