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
from ..kernels.pairwise import rank_block, sum_pair_losses
from ..kernels.sgd import (
    N_SLOW,
    N_STATE,
    TICKS,
    GradientStep,
    InterceptStep,
    LiftedStep,
    ProximalStep,
    settle_rows,
    sgd_block,
    sum_losses,
)
from ..losses import Loss
from .averaging import Share, average, share_of
from .base import Floats, Patience, Solution
from .grid import Bands, DuplicateCellError, Grid, build_grid
from .on_grid import OnGrid
from .pairs import Positives, keys_of
from .schedule import Groups, HogWild, LeastUpdated, Rotation, Schedule

__all__ = ["SCHEDULES", "BlockSGD", "Cells", "Start"]

SCHEDULES: dict[str, type[Schedule]] = {
    "fpsg": LeastUpdated,
    "rotation": Rotation,
    "averaging": Groups,
    "hogwild": HogWild,
}

ROWS_PER_TASK = 16_384
ENTRIES_PER_TASK = 500_000

SCORES = 256
"""Scores whose losses are summed in one go, where a loss takes longer than a visit."""

# Steps of the clock of `sgd_block` without a common measure: over the epochs every visit of a block
# is sampled as often as any other.
EPOCH_TICKS, BLOCK_TICKS = round(TICKS * 2**0.5), round(TICKS * 3**0.5)


@dataclass(frozen=True)
class Cells:
    """Entries as the solver takes them, with the number of entries of every row and column.

    ``weight`` holds a weight of each entry, or is None if all are 1; ``n_bands`` is the number of
    bands per side if it is no longer free.
    """

    row: npt.NDArray[np.integer]
    column: npt.NDArray[np.integer]
    value: Floats
    row_counts: npt.NDArray[np.int64]
    column_counts: npt.NDArray[np.int64]
    weight: Floats | None = None
    n_bands: int | None = None

    def transposed(self) -> Cells:
        """Return the entries with rows and columns exchanged."""
        counts = self.column_counts, self.row_counts
        return Cells(self.column, self.row, self.value, *counts, self.weight)

    def grid(
        self, n_bands: int, seed: int, unit: float, pairwise: bool, backend: Backend,
        in_groups: bool = False,
    ) -> Grid:  # fmt: skip
        """Sort the entries, values divided by ``unit``, into the blocks of a grid.

        Blocks ``in_groups`` have all columns.
        """
        row_bands, column_bands = self.bands(n_bands, seed, pairwise, in_groups)
        cells = self.row, self.column, self.value
        return build_grid(*cells, row_bands, column_bands, unit, backend, self.weight)

    def bands(
        self, n_bands: int, seed: int, pairwise: bool, in_groups: bool
    ) -> tuple[Bands, Bands]:
        """Deal rows and columns to bands."""
        streams = [np.random.default_rng((seed, n)) for n in range(2)]
        row_bands = Bands.cut(self.row_counts, n_bands, streams[0])
        if pairwise:
            # Bands of equal numbers of ids: else not every column would be drawn equally often.
            ones = np.ones_like(self.column_counts)
            return row_bands, Bands.cut(ones, 2 * n_bands, streams[1])
        n_columns = 1 if in_groups else n_bands
        return row_bands, Bands.cut(self.column_counts, n_columns, streams[1])

    def totals(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return how much the entries of every row, and of every column, weigh."""
        if self.weight is None:
            return self.row_counts, self.column_counts
        return tuple(
            np.bincount(ids, self.weight, minlength=counts.size)
            for ids, counts in ((self.row, self.row_counts), (self.column, self.column_counts))
        )  # type: ignore[return-value]


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

    def turned(self) -> Start:
        """Return the start with the two coordinates of the intercepts exchanged."""
        return replace(
            self,
            row_factors=_turned(self.row_factors),
            column_factors=_turned(self.column_factors),
        )


@dataclass(frozen=True)
class SGDSolution(Solution):
    """A solution, and whether it is one because the user has interrupted the fit."""

    interrupted: bool = False

    def transposed(self) -> SGDSolution:
        """Return the solution with rows and columns exchanged."""
        return replace(
            self,
            row_factors=self.column_factors,
            column_factors=self.row_factors,
            row_accumulators=self.column_accumulators,
            column_accumulators=self.row_accumulators,
        )


@dataclass(frozen=True)
class BlockSGD:
    """Minimise Σ [ L(p·q, a) + r(p) + r(q) ] over entries, r = ½ l2 ‖·‖² + l1 ‖·‖₁ (+ x ≥ 0).

    It works on values divided by ``value_unit``, and factors by its root; ``l2`` and ``l1`` are
    those of this scaled problem, and its objective times ``objective_unit`` is reported.
    ``slow_first`` updates only the slow dimensions in the first epoch; ``first_epoch`` counts those
    run before; ``seed`` seeds the grid and the schedule; ``report(epoch, objective, validation,
    so_far)`` is called after every epoch; ``so_far()`` makes the solution as if that were the last.

    With ``pairwise`` an entry (i, j) costs log(1 + exp(−p·(q_j − q_w))), where w is a column
    without an entry in row i, drawn anew at every visit; ``loss`` and values are not read.  With
    ``intercepts`` the first two coordinates are (b, 1) in rows and (1, c) in columns, where 1 is
    fixed.
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
    report: Callable[[int, float, float | None, Callable[[], SGDSolution]], bool]
    pairwise: bool = False
    intercepts: bool = False

    def solve(
        self,
        cells: Cells,
        start: Start,
        backend: Backend,
        held_out: Cells | None = None,
        known: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None,
    ) -> SGDSolution:
        """Run epochs until the stopping rule, ``max_iter`` or the user ends them.

        ``known`` are rows and columns of further entries, which are not negatives either.  If the
        user interrupts, the solution is that of the last whole epoch.

        Raises
        ------
        FloatingPointError
            If the objective is no longer finite.
        ValueError
            If a cell occurs twice.
        KeyboardInterrupt
            If the user interrupts the first epoch.
        """
        if not self.pairwise and cells.column_counts.size > cells.row_counts.size:
            # The longer side streams through the cache, the shorter one stays in it.
            mirror = held_out and held_out.transposed()
            begin = start.transposed()
            begin = begin.turned() if self.intercepts else begin
            mirrored = replace(self, report=self._report_mirrored)
            try:
                found = mirrored._solve(cells.transposed(), begin, backend, mirror)
            except DuplicateCellError as error:
                raise DuplicateCellError(error.column, error.row) from None
            return self._mirrored(found)
        return self._solve(cells, start, backend, held_out, known)

    def _mirrored(self, solution: SGDSolution) -> SGDSolution:
        if self.intercepts:
            solution = replace(
                solution,
                row_factors=_turned(solution.row_factors),
                column_factors=_turned(solution.column_factors),
            )
        return solution.transposed()

    def _report_mirrored(
        self, epoch: int, objective: float, loss: float | None, so_far: Callable[[], SGDSolution]
    ) -> bool:
        return self.report(epoch, objective, loss, lambda: self._mirrored(so_far()))

    def _solve(
        self,
        cells: Cells,
        start: Start,
        backend: Backend,
        held_out: Cells | None,
        known: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None,
    ) -> SGDSolution:
        work, schedule, validation = self._prepared(cells, start, backend, held_out, known)
        rows, columns = work.rows, work.columns
        n_components = start.row_factors.shape[1]
        patience = Patience(self.tol, self.n_iter_no_change if held_out else 1)
        loss_curve: list[float] = []
        validation_curve: list[float] = []
        best = best_iter = None
        converged = interrupted = within_epoch = False

        def solution() -> SGDSolution:
            left, right = best or (rows, columns)
            root = self.value_unit**0.5
            return SGDSolution(
                left.factors_by_id(n_components, root, backend, self.intercepts),
                right.factors_by_id(n_components, root, backend, self.intercepts),
                left.accumulators_by_id(),
                right.accumulators_by_id(),
                loss_curve=loss_curve.copy(),
                validation_curve=validation_curve.copy(),
                n_iter=len(loss_curve),
                best_iter=best_iter or len(loss_curve),
                converged=converged,
                interrupted=interrupted,
            )

        try:
            for epoch in range(self.max_iter):
                within_epoch = True
                loss_curve.append(self._epoch(epoch, work, schedule, backend))
                within_epoch = False
                for side in (rows, columns):
                    side.save()
                watched, held_out_loss = loss_curve[-1], None
                if validation is not None:
                    watched = held_out_loss = self._mean_loss(validation, work, backend)
                    validation_curve.append(held_out_loss)
                    if held_out_loss < patience.best:
                        best, best_iter = (rows.copy(), columns.copy()), epoch + 1
                stop = self.report(epoch + 1, loss_curve[-1], held_out_loss, solution)
                is_over = patience.is_over(watched) and (validation is not None or self.tol > 0)
                if stop or is_over:
                    converged = True
                    break
        except KeyboardInterrupt:
            if not loss_curve:
                raise
            interrupted = True
            if within_epoch:
                for side in (rows, columns):
                    side.restore()
        return solution()

    def _prepared(
        self,
        cells: Cells,
        start: Start,
        backend: Backend,
        held_out: Cells | None,
        known: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None,
    ) -> tuple[_Work, Any, npt.NDArray[Any] | None]:
        """Return entries by block, factors by place, the schedule, and what is held out."""
        in_groups = self.schedule == "averaging"
        grid = cells.grid(
            self.n_bands, self.seed, self.value_unit, self.pairwise, backend, in_groups
        )
        row_bands, column_bands = grid.row_bands, grid.column_bands
        positives, validation = None, None  # type: Positives | None, npt.NDArray[Any] | None
        if self.pairwise:
            extra = [(part.row, part.column) for part in (held_out,) if part is not None]
            extra += [known] if known is not None else []
            places = [
                np.concatenate([bands.place[part[n]] for part in extra] or [bands.place[:0]])
                for n, bands in enumerate((row_bands, column_bands))
            ]
            in_blocks = self.schedule != "hogwild"
            positives = Positives.of(grid, (places[0], places[1]), in_blocks, backend)
            if held_out is not None:
                at = row_bands.place[held_out.row], column_bands.place[held_out.column]
                validation = positives.pairs(*at, self.seed)
        elif held_out is not None:
            validation = self._placed(held_out, row_bands, column_bands)
        if self.schedule == "hogwild":
            grid = grid.shuffled(np.random.default_rng((self.seed, 2)))
        schedule = grid.announced(SCHEDULES[self.schedule](grid.sizes, self.seed, self.pairwise))

        root = self.value_unit**0.5
        row_totals, column_totals = cells.totals()
        if self.pairwise:  # every column is as often a negative, in expectation
            column_totals = column_totals + column_totals.sum() / column_totals.size
        rows, columns = (
            _Side.placed(factors, accumulators, bands, totals, root, backend, self.intercepts)
            for factors, accumulators, bands, totals in (
                (start.row_factors, start.row_accumulators, row_bands, row_totals),
                (start.column_factors, start.column_accumulators, column_bands, column_totals),
            )
        )
        for side in (rows, columns):
            side.settle(backend)
        n_components = start.row_factors.shape[1]
        width = Width(_width(n_components, self.intercepts))
        step = self._step(n_components)
        work = _Work(self.loss, step, width, grid, rows, columns, 0, positives, in_groups=in_groups)
        return work, schedule, validation

    def _epoch(self, epoch: int, work: _Work, schedule: Any, backend: Backend) -> float:
        """Visit about every entry once; return the objective."""
        n_components, grid = work.rows.n_components, work.grid
        slow_only = epoch == 0 and self.slow_first and n_components > 1 and not self.l1
        step = work.step
        if slow_only:
            work.step = replace(step, fast_rate=0.0, fast_share=0.0)
        work.epoch = self.first_epoch + epoch
        if self.pairwise:
            work.keys = keys_of(self.seed, work.epoch, grid.offsets.size - 1)
        schedule.begin(work.epoch)
        results = self._visited(work, schedule, backend)
        work.step = step
        sizes = grid.sizes.ravel()
        visited = sum(int(sizes[job % sizes.size]) for job, _ in results)
        # FPSG's epochs are not exact passes: count every visit, and scale to one pass.
        total = math.fsum(loss for _, loss in results) * (sizes.sum() / visited)
        for side in (work.rows, work.columns):
            squares, absolutes = side.settle(backend)
            total += 0.5 * self.l2 * squares + self.l1 * absolutes
            if self.intercepts:
                total -= (0.5 * self.l2 + self.l1) * side.counts.sum()  # nobody pays for the 1
        objective = float(total * self.objective_unit)
        if not math.isfinite(objective):
            raise FloatingPointError(
                f"The objective is no longer finite after iteration {epoch + 1}: the learning "
                f"rate {self.learning_rate} is too large for these data. Make learning_rate "
                "smaller."
            )
        return objective

    def _visited(self, work: _Work, schedule: Any, backend: Backend) -> list[tuple[int, float]]:
        """Visit the blocks of an epoch; return the loss of each visit."""
        if not work.in_groups:
            return backend.sweep(_rank_block if self.pairwise else _visit_block, schedule, work)
        results = sorted(backend.sweep(_visit_group, schedule, work), key=lambda found: found[0])
        average(
            work.columns, [share for _, (_, share) in results], 0.0 if self.nonnegative else -1.0
        )
        return [(group, loss) for group, (loss, _) in results]

    def _step(self, n_components: int) -> GradientStep:
        n_slow = _n_slow(n_components, self.intercepts)
        n_fast = n_components - n_slow
        fast_share = 1 / n_fast if n_fast else 0.0
        rates = (self.learning_rate, self.learning_rate, 1 / n_slow, fast_share)
        if not (self.l1 or self.nonnegative or self.intercepts):
            return GradientStep(*rates, self.l2, self.l2)
        floor = 0.0 if self.nonnegative else -math.inf
        if not (self.l1 or self.intercepts):
            return LiftedStep(*rates, self.l2, self.l2, floor)
        fields = (*rates, self.l2, self.l2, self.l1, self.l1, floor)
        return InterceptStep(*fields, True) if self.intercepts else ProximalStep(*fields)

    def _placed(self, cells: Cells, row_bands: Bands, column_bands: Bands) -> npt.NDArray[np.void]:
        weighted = cells.weight is not None
        entries = np.empty(cells.value.size, entry_type(cells.value.dtype, weighted))
        entries["row"] = row_bands.place[cells.row]
        entries["column"] = column_bands.place[cells.column]
        entries["value"] = cells.value / cells.value.dtype.type(self.value_unit)
        if cells.weight is not None:
            entries["weight"] = cells.weight
        return read_only(entries)

    def _mean_loss(self, held_out: npt.NDArray[Any], work: _Work, backend: Backend) -> float:
        """Return the mean loss of held-out entries, or of pairs."""
        runs = _runs(len(held_out), ENTRIES_PER_TASK)
        task = _sum_pair_losses if self.pairwise else _sum_losses
        total = math.fsum(backend.map(task, runs, (held_out, work)))
        weighted = _weighted(held_out)
        n = len(held_out) if weighted is None else float(held_out["weight"].sum())
        return total * self.objective_unit / max(n, 1)


# ------------------------------------------------------------------ the state of a fit


@dataclass
class _Side:
    """Padded factors and the state of their learning rates, by place."""

    factors: Floats
    state: Floats
    counts: Floats
    bands: Bands
    n_components: int = 0
    saved: tuple[Floats, Floats] | None = None

    @classmethod
    def placed(
        cls,
        factors: Floats,
        accumulators: Floats,
        bands: Bands,
        counts: npt.NDArray[Any],
        unit: float,
        backend: Backend,
        intercepts: bool,
    ) -> _Side:
        n, n_components = factors.shape
        side = cls(
            aligned_zeros((n, _width(n_components, intercepts)), factors.dtype),
            aligned_zeros((n, N_STATE), factors.dtype),
            np.empty(n),
            bands,
            n_components,
        )
        inverse = factors.dtype.type(1 / unit)
        shared = (read_only(factors), inverse, side, intercepts)
        backend.map(_place_rows, _runs(n, ROWS_PER_TASK), shared)
        side.state[bands.place, 4:6] = accumulators
        side.counts[bands.place] = counts
        return side

    def settle(self, backend: Backend) -> tuple[float, float]:
        """Close an epoch; return Σ count · ‖x‖² and Σ count · ‖x‖₁."""
        sums = backend.map(_settle_rows, _runs(len(self.factors), ROWS_PER_TASK), self)
        return math.fsum(s for s, _ in sums), math.fsum(a for _, a in sums)

    def copy(self) -> _Side:
        return replace(self, factors=self.factors.copy(), state=self.state.copy(), saved=None)

    def save(self) -> None:
        """Keep the factors and states of now, to go back to."""
        if self.saved is None:
            self.saved = self.factors.copy(), self.state.copy()
        else:
            np.copyto(self.saved[0], self.factors)
            np.copyto(self.saved[1], self.state)

    def restore(self) -> None:
        """Go back to what was saved last."""
        if self.saved is not None:
            self.factors, self.state = self.saved

    def factors_by_id(
        self, n_components: int, unit: float, backend: Backend, intercepts: bool
    ) -> Floats:
        factors = np.empty((len(self.factors), n_components), self.factors.dtype)
        shared = (self, factors.dtype.type(unit), factors, intercepts)
        backend.map(_take_rows, _runs(len(factors), ROWS_PER_TASK), shared)
        return factors

    def accumulators_by_id(self) -> Floats:
        return np.take(self.state[:, 4:6], self.bands.place, axis=0)


@dataclass
class _Work(OnGrid):
    """What the tasks of an epoch share."""

    loss: Loss
    step: GradientStep
    width: Width
    grid: Grid
    rows: _Side
    columns: _Side
    epoch: int = 0
    positives: Positives | None = None
    keys: npt.NDArray[np.uint64] | None = None
    in_groups: bool = False

    def clock(self, block: int) -> int:
        """When the first accumulator of a visit to a block is due."""
        return (self.epoch * EPOCH_TICKS + block * BLOCK_TICKS) % TICKS


def _visit_block(block: int, work: _Work) -> float:
    rows, columns = work.rows, work.columns
    entries, start, stop = work.grid.block(block)
    apart = getattr(work.loss, "summed_apart", False)
    scores = np.empty(SCORES, rows.factors.dtype) if apart else None
    return sgd_block(
        work.loss, work.step, work.width,
        entries, _weighted(entries), scores, start, stop, work.clock(block),
        rows.factors, columns.factors, rows.state, columns.state,
    )  # fmt: skip


def _visit_group(group: int, work: _Work) -> tuple[float, Share]:
    entries, start, stop = work.grid.block(group)
    columns = work.columns.copy()
    loss = _visit_block(group, replace(work, columns=columns))
    return loss, share_of(entries[start:stop], columns)


def _rank_block(job: int, work: _Work) -> float:
    grid, rows, columns, positives = work.grid, work.rows, work.columns, work.positives
    guest, block = divmod(job, grid.offsets.size - 1)
    entries, start, stop = grid.block(block)
    assert positives is not None and work.keys is not None
    bands = positives.bands
    return rank_block(
        work.step, work.width,
        entries, _weighted(entries), start, stop, work.clock(block),
        work.keys[block], bands[block % len(bands)], bands[guest], positives.n_columns,
        positives.indptr, positives.columns, positives.begins, positives.marks,
        rows.factors, columns.factors, rows.state, columns.state,
    )  # fmt: skip


def _weighted(entries: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Entries with weights, for kernels, which are compiled without them if there are none."""
    return entries if "weight" in (entries.dtype.names or ()) else None


def _turned(factors: Floats) -> Floats:
    """Factors with the first two columns exchanged."""
    return np.concatenate([factors[:, 1::-1], factors[:, 2:]], axis=1)


def _place_rows(run: tuple[int, int], shared: Any) -> None:
    factors, unit, side, intercepts = shared
    cut, gap = _cut(factors.shape[1], intercepts)
    place_rows(factors, side.bands.place, unit, cut, gap, *run, side.factors)


def _take_rows(run: tuple[int, int], shared: Any) -> None:
    side, unit, out, intercepts = shared
    cut, gap = _cut(out.shape[1], intercepts)
    take_rows(side.factors, side.bands.place, unit, cut, gap, *run, out)


def _settle_rows(run: tuple[int, int], side: _Side) -> tuple[float, float]:
    return settle_rows(side.factors, side.state, side.counts, *run)


def _sum_losses(run: tuple[int, int], shared: Any) -> float:
    entries, work = shared
    factors = work.rows.factors, work.columns.factors
    return sum_losses(work.loss, work.width, entries, _weighted(entries), *run, *factors)


def _sum_pair_losses(run: tuple[int, int], shared: Any) -> float:
    pairs, work = shared
    factors = work.rows.factors, work.columns.factors
    return sum_pair_losses(work.width, pairs, *run, *factors)


def _n_slow(n_components: int, intercepts: bool = False) -> int:
    """Return the size of the slow group: half of the dimensions, at most one vector.

    The two dimensions of intercepts come first, and are slow.
    """
    further = 2 * intercepts
    return min(N_SLOW, further + max(1, (n_components - further) // 2))


def _cut(n_components: int, intercepts: bool) -> tuple[int, int]:
    """Return where the fast group begins, and how far to move it to begin at a vector."""
    n_slow = _n_slow(n_components, intercepts)
    return n_slow, N_SLOW - n_slow


def _width(n_components: int, intercepts: bool = False) -> int:
    """Return the padded width of a row: the slow vector, and as many as the fast group needs."""
    return N_SLOW + padded(n_components - _n_slow(n_components, intercepts))


def _runs(n: int, length: int) -> list[tuple[int, int]]:
    return [(start, min(start + length, n)) for start in range(0, n, length)]
