"""How ``FPSGFactorizer`` is fitted: from entries to factors, once parameters are checked."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from ._factorizer import Factorizer, Floats
from ._fpsg_fold_in import fold_in_pairs, fold_in_rows
from ._fpsg_start import Statistics, random_factors, with_intercepts, without_intercepts
from ._fpsg_task import Task, encoded, scaled, task_of
from ._held_out import drawn_cells
from ._interactions import read_interactions
from ._observations import finite, quiet_arithmetic, read_input
from .backends import effective_threads, get_backend
from .entries import Entries
from .implicit_als import ImplicitALS
from .solvers.block_sgd import BlockSGD, Cells, SGDSolution, Start

__all__ = ["FPSGModel", "of_ones", "with_ones"]

ENTRIES_PER_BLOCK = 45_000
"""Aim of ``n_blocks=None``: about a millisecond of work, and bands that fit in a core's cache."""


class FPSGModel(Factorizer):
    """Base of ``FPSGFactorizer``, which has the parameters; everything here is private."""

    n_components: int
    loss: Any
    regularization: float
    l1_regularization: float
    learning_rate: float
    nonnegative: bool
    fit_intercept: bool
    unobserved_weight: float
    schedule: str
    n_blocks: int | None
    warm_start: bool
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    max_iter: int
    tol: float
    random_state: Any
    _seed: int
    n_iter_: int
    validation_curve_: list[float]
    _shift: float = 0.0
    _seen_cells: list[npt.NDArray[Any]] | None = None

    # -------------------------------------------------------------- reading

    def _input(self, X: Any, *, reset: bool) -> Entries:
        allow = self._task.of_positives
        return read_input(self, X, unstored=self.unstored, reset=reset, allow_constant=allow)

    def _encoded(self, entries: Entries, weights: Floats | None) -> tuple[Entries, Floats | None]:
        """Return entries to be fitted, in the form that losses take."""
        found = encoded(self._task, entries, weights)
        if self._task.kind == "booleans":
            low = -1.0 if (entries.value < 0).any() else 0.0
            self.classes_ = np.array([low, 1.0])
        elif hasattr(self, "classes_"):
            del self.classes_
        return found

    def _read(self, X: Any) -> Entries:
        return encoded(self._task, super()._read(X))[0]

    @property
    def _task(self) -> Task:
        return task_of(self)

    @property
    def _has_intercepts(self) -> bool:
        return bool(self.fit_intercept)

    # -------------------------------------------------------------- the fit of entries

    def _fit_entries(self, entries: Any, weights: Floats | None, max_iter: int) -> bool:
        """Fit; return whether the user has interrupted."""
        task = task_of(self)
        warm = self._is_warm(entries)
        drawn = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        seed = self._seed if warm else int(drawn)
        if not len(entries):
            raise ValueError("X has no positive value, and nothing else says what goes together.")
        if task.kind == "whole":
            return self._fit_whole(entries, weights, seed, max_iter)
        held_out = None
        if self.early_stopping and max_iter > 1:
            entries, weights, held_out = self._held_out(entries, weights, seed)
        with get_backend(self.backend, min(2, effective_threads(self.n_jobs))) as backend:
            if hasattr(entries, "statistics"):  # they are on disk, or on a cluster
                statistics = entries.statistics(task)
            else:
                statistics = Statistics.of(task, entries, weights, backend)
        if not warm:
            self.scale_, self.baseline_ = statistics.unit, statistics.baseline
            self._shift = statistics.baseline if self.fit_intercept else 0.0
        self._seed = seed

        def fitted(solution: SGDSolution) -> dict[str, Any]:
            model = copy(self)
            model._keep(solution, entries, statistics, held_out, warm)
            return dict(vars(model))

        solution = self._solve(
            statistics.cells, self._start(statistics, seed, warm), self.scale_, seed, max_iter,
            first_epoch=self.n_iter_ if warm else 0, held_out=held_out, fitted=fitted,
        )  # fmt: skip
        self._keep(solution, entries, statistics, held_out, warm)
        return solution.interrupted

    def _keep(
        self,
        solution: SGDSolution,
        entries: Any,
        statistics: Statistics,
        held_out: tuple[Entries, Floats | None] | None,
        warm: bool,
    ) -> None:
        """Set the attributes that follow from factors and the entries that they were fitted to."""
        task = self._task
        statistics.write(self, task)
        if task.kind == "pairs":
            parts = [entries] if held_out is None else [entries, held_out[0]]
            row = np.concatenate([part.row for part in parts])
            col = np.concatenate([part.col for part in parts])
            self._write_seen(row, col, entries.matrix_shape)
        self.row_ids_, self.col_ids_ = entries.row_ids, entries.col_ids
        self._set_factors(*self._outside(solution, statistics.cells))
        before, losses, held_out_losses = 0, [], []  # type: int, list[float], list[float]
        if warm:
            before, losses, held_out_losses = self.n_iter_, self.loss_curve_, self.validation_curve_
        self.loss_curve_ = [*losses, *solution.loss_curve]
        self.validation_curve_ = [*held_out_losses, *solution.validation_curve]
        self.n_iter_, self.best_iter_ = before + solution.n_iter, before + solution.best_iter

    def _is_warm(self, entries: Entries) -> bool:
        """Whether to go on from the last fit; refuses what does not go with it."""
        if not self.warm_start or not hasattr(self, "components_"):
            return False
        shape = len(self.row_factors_), self.components_.shape[1]
        n_components = self.n_components + 2 * self._has_intercepts
        ids = ((self.row_ids_, entries.row_ids), (self.col_ids_, entries.col_ids))
        same_ids = all(
            new is not None and np.array_equal(old, new) for old, new in ids if old is not None
        )
        if shape != entries.matrix_shape or not same_ids or n_components != len(self.components_):
            raise ValueError(
                f"warm_start=True goes on from factors of a {shape[0]} x {shape[1]} matrix with "
                f"{len(self.components_)} components, and X is {entries.matrix_shape[0]} x "
                f"{entries.matrix_shape[1]} with n_components={self.n_components}, or has other "
                "ids. Use partial_fit for new rows and columns, or warm_start=False."
            )
        return True

    def _held_out(
        self, entries: Entries, weights: Floats | None, seed: int
    ) -> tuple[Entries, Floats | None, tuple[Entries, Floats | None]]:
        if len(entries) < 2:
            raise ValueError(
                f"Early stopping with validation_fraction={self.validation_fraction} leaves "
                f"no entries on one side of {len(entries)}. Fit without early_stopping."
            )
        hidden = drawn_cells(entries, self.validation_fraction, seed)
        kept, held_out = entries[~hidden], entries[hidden]
        held_out.to_csr()  # refuses duplicates, as the solver does among the others
        if weights is None:
            return kept, None, (held_out, None)
        return kept, weights[~hidden], (held_out, weights[hidden])

    def _start(self, statistics: Statistics, seed: int, warm: bool) -> Start:
        cells, k, task = statistics.cells, int(self.n_components), self._task
        dtype, centred = cells.value.dtype, self._has_intercepts
        factors = []
        for n, counts in enumerate((cells.row_counts, cells.column_counts)):
            # Whatever may be drawn as a negative needs factors.
            seen = (counts > 0) | (task.kind == "pairs" and task.by_column == (n == 0))
            drawn = random_factors(seen, k, dtype, self.scale_, (seed, 11 + n), centred)
            if centred:
                pair = np.zeros((len(drawn), 2), dtype)
                pair[:, 1] = n * self._shift
                drawn = np.concatenate([pair, drawn], axis=1)
            factors.append(drawn)
        steps = [np.ones((len(side), 2), dtype) for side in factors]
        if warm:
            for side, old in zip(factors, (self.row_factors_, self.components_.T), strict=True):
                known = old[:, 2 * centred :].any(axis=1)
                side[known] = old[known]
            old_steps = self._row_accumulators, self._column_accumulators
            steps = [side.astype(dtype) for side in old_steps]
        return self._inside(Start(*factors, *steps))

    def _inside(self, start: Start) -> Start:
        """Return a start as the solver wants it."""
        if not self._has_intercepts:
            return start
        root = self.scale_**0.5
        rows = with_intercepts(start.row_factors, 0, 0.0, root)
        columns = with_intercepts(start.column_factors, 1, self._shift, root)
        return Start(rows, columns, start.row_accumulators, start.column_accumulators)

    def _outside(self, solution: SGDSolution, cells: Cells) -> tuple[Floats, ...]:
        """Return factors and accumulators of rows and columns."""
        W, H = solution.row_factors, solution.column_factors
        if self._has_intercepts:
            root = self.scale_**0.5
            W = without_intercepts(W, 0, 0.0, root, cells.row_counts > 0)
            H = without_intercepts(H, 1, self._shift, root, cells.column_counts > 0)
        return W, H, solution.row_accumulators, solution.column_accumulators

    def _set_factors(
        self, row_factors: Floats, column_factors: Floats, row_steps: Floats, column_steps: Floats
    ) -> None:
        self.row_factors_, self.components_ = row_factors, column_factors.T
        self._row_accumulators, self._column_accumulators = row_steps, column_steps
        self._n_features_out = self.components_.shape[0]

    def _move_baseline(self, value: Floats) -> None:
        """Let the baseline follow new values; exact for the mean."""
        n = float(self._row_counts.sum())
        if self._task.loss.degree == 2.0:
            new = float(value.astype(np.float64).mean())
        else:
            new = float(self._task.loss.best_constant(value.astype(np.float64)))
        self.baseline_ = (n * self.baseline_ + value.size * new) / (n + value.size)

    # -------------------------------------------------------------- solving

    def _solve(
        self,
        cells: Cells,
        start: Start,
        scale: float,
        seed: int,
        max_iter: int,
        *,
        first_epoch: int = 0,
        held_out: tuple[Entries, Floats | None] | None = None,
        known: Any = None,
        fitted: Callable[[SGDSolution], dict[str, Any]] | None = None,
    ) -> SGDSolution:
        """Solve in units of c = ``scale``, where a = c a′ and p = √c p′.

        A loss with L(c u, c a) = c^d L(u, a) makes that λ′ = c^(1−d) λ and μ′ = c^(½−d) μ, and the
        objective c^d times the scaled one.  ``fitted`` makes the attributes of a model from a
        solution.
        """
        task = self._task

        def upright(solution: SGDSolution) -> SGDSolution:
            return solution.transposed() if task.by_column else solution

        def report(iteration: int, objective: float, held_out_loss: Any, so_far: Any) -> bool:
            def attributes() -> Any:
                return fitted and fitted(upright(so_far()))

            return self._report(iteration, objective, held_out_loss, attributes)

        loss, degree = scaled(task.loss, scale, self._shift)
        validation = None
        if held_out is not None:
            part, w = held_out
            none = np.zeros(0, np.int64)
            value = part.value
            weight = None if w is None else w.astype(value.dtype)
            validation = Cells(part.row, part.col, value, none, none, weight)
        if task.by_column:
            cells, start = cells.transposed(), start.transposed()
            validation = validation and validation.transposed()
            known = known and known[::-1]
        n_bands, n_threads = self._n_bands(cells, is_update=first_epoch > 0)
        solver = BlockSGD(
            loss=loss,
            l2=self.regularization * scale ** (1 - degree),
            l1=self.l1_regularization * scale ** (0.5 - degree),
            nonnegative=self.nonnegative,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            n_bands=n_bands,
            max_iter=max_iter,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            slow_first=first_epoch == 0 and max_iter > 1,
            first_epoch=first_epoch,
            seed=seed,
            value_unit=scale,
            objective_unit=scale**degree,
            report=report,
            pairwise=task.kind == "pairs",
            intercepts=self._has_intercepts,
        )
        with get_backend(self.backend, n_threads) as backend:
            solution = solver.solve(cells, start, backend, validation, known)
        if self.tol > 0 and max_iter > 1 and not solution.converged and not solution.interrupted:
            warnings.warn(
                f"FPSGFactorizer did not converge in {max_iter} iterations: the objective still "
                f"falls by more than tol={self.tol:g} of itself. Raise max_iter or tol.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return upright(solution)

    def _n_bands(self, cells: Cells, is_update: bool) -> tuple[int, int]:
        """Return bands of rows, which do not depend on ``n_jobs``, and how many threads to use.

        A batch of an update may have fewer rows than ``n_blocks``, and makes do with fewer bands.
        Rankings have twice as many bands of columns.
        """
        n_threads = effective_threads(self.n_jobs)
        per_band = 2 if self._task.kind == "pairs" else 1
        n_columns = cells.column_counts.size
        most = min(cells.row_counts.size, n_columns // per_band)
        if not most:
            raise ValueError(
                f"loss={self.loss!r} ranks one side of the matrix, which has n_features = "
                f"{n_columns}: there is nothing to compare. Pass at least 2."
            )
        if self.n_blocks is None or cells.n_bands:
            aim = (cells.value.size / ENTRIES_PER_BLOCK / per_band) ** 0.5
            n_bands = cells.n_bands or min(most, max(1, round(aim)))
            if self.schedule == "fpsg":
                # Below two bands per thread, and one, a thread has no choice of blocks.
                n_threads = min(n_threads, max(1, (n_bands - 1) // 2))
            return n_bands, min(n_threads, n_bands)
        n_bands = min(int(self.n_blocks), most) if is_update else int(self.n_blocks)
        if n_bands > most:
            raise ValueError(
                f"n_blocks={n_bands} bands need as many rows and columns, but the smaller side of "
                f"the data has {most}. Lower n_blocks, or leave it at None."
            )
        if is_update:
            n_threads = min(n_threads, max(1, (n_bands - 1) // 2))
        if self.schedule == "fpsg" and n_threads > 1:
            if n_bands < n_threads + 1:
                raise ValueError(
                    f"schedule='fpsg' with {n_threads} threads needs n_blocks of at least "
                    f"{n_threads + 1}, or a thread finds no free block; got {n_bands}. Raise "
                    "n_blocks, leave it at None, or lower n_jobs."
                )
            if n_bands < 2 * n_threads + 1:
                warnings.warn(
                    f"n_blocks={n_bands} leaves {n_threads} threads little choice of blocks; "
                    f"{2 * n_threads + 1} or more converge better.",
                    UserWarning,
                    stacklevel=5,
                )
        return n_bands, n_threads

    # -------------------------------------------------------------- folding in

    def _fold_in(self, matrix: sp.csr_array) -> Floats:
        """Minimise the objective over unseen rows, each alone."""
        task = self._task
        if task.kind == "whole":
            return np.asarray(self._exact._fold_in(with_ones(matrix)))
        return self._folded(matrix, self.components_.T, of_columns=False)

    @quiet_arithmetic()
    def _folded(self, matrix: sp.csr_array, other: Floats, of_columns: bool) -> Floats:
        """Return factors of the rows of a matrix, or of columns, the rows of its transpose."""
        task, own = self._task, int(of_columns)
        n_threads = min(effective_threads(self.n_jobs), max(1, matrix.shape[0] // 256))
        other = np.ascontiguousarray(other)
        with get_backend(self.backend, n_threads) as backend:
            if task.kind == "pairs":
                known = (self.row_factors_, self._seen()) if task.by_column else None
                return finite(fold_in_pairs(self, matrix, other, known, backend))
            if not self._has_intercepts:
                return finite(fold_in_rows(self, task.loss, matrix, other, None, backend))
            # A row solves for b where columns have the 1, beside what is known of them, μ + c.
            # In units of √scale_, as factors are, or the penalty would depend on the unit.
            features = np.delete(other, 1 - own, axis=1)
            features[:, 0] *= self.scale_**0.5
            constant = other[:, 1 - own] + other.dtype.type(own * self._shift)
            found = finite(fold_in_rows(self, task.loss, matrix, features, constant, backend))
        pair = np.ones((len(found), 2), found.dtype)
        pair[:, own] = found[:, 0] * self.scale_**0.5 + own * self._shift
        out = np.concatenate([pair, found[:, 1:]], axis=1)
        out[np.diff(matrix.indptr) == 0] = 0
        return out

    # -------------------------------------------------------------- positives

    def _seen(self) -> sp.csr_array:
        """Return the entries that a ranking was fitted on."""
        if self._task.kind == "whole":
            rows = np.arange(len(self.row_factors_))
            return self._exact._history.rows(rows, self.n_features_in_)
        shape = len(self.row_factors_), self.n_features_in_
        if self._seen_cells is None:  # a model that was read from elsewhere
            return sp.csr_array(shape, dtype=np.int8)
        indptr, columns = self._seen_cells
        return sp.csr_array((np.ones(columns.size, np.int8), columns, indptr), shape=shape)

    def _write_seen(self, row: Any, col: Any, shape: tuple[int, int]) -> None:
        ones = np.ones(len(row), np.int8)
        matrix = sp.csr_array((ones, (row, col)), shape=shape)
        matrix.sort_indices()
        self._seen_cells = [matrix.indptr, matrix.indices]

    def _add_seen(self, row: Any, col: Any, shape: tuple[int, int]) -> None:
        old = self._seen().tocoo()
        row, col = np.concatenate([old.row, row]), np.concatenate([old.col, col])
        cells = np.unique(row.astype(np.int64) * shape[1] + col)
        self._write_seen(*np.divmod(cells, shape[1]), shape)

    def _fit_whole(
        self, entries: Entries, weights: Floats | None, seed: int, max_iter: int
    ) -> bool:
        """Fit exactly: half the objective of implicit ALS, with 1 wherever there is an entry."""
        if weights is not None:
            raise ValueError(
                "loss='one_class' takes no weights. Use ImplicitALS, whose values are weights."
            )
        exact = self._exact = ImplicitALS(
            self.n_components, alpha=1 - self.unobserved_weight,
            unobserved_weight=self.unobserved_weight, regularization=self.regularization,
            solver="cholesky", max_iter=max_iter, tol=self.tol, backend=self.backend,
            n_jobs=self.n_jobs, random_state=seed,
        )  # fmt: skip
        self._seed, self.scale_, self.baseline_, self._shift = seed, 1.0, 0.0, 0.0

        def report(iteration: int, objective: float, fitted: Any) -> bool:
            def half() -> dict[str, Any]:
                model, model._exact = copy(self), copy(exact)
                model._exact.__dict__.update(fitted())
                model._take_exact(model._exact)
                return dict(vars(model))

            return self._report(iteration, 0.5 * objective, fitted=half)

        exact._fit_entries(read_interactions(exact, of_ones(entries), reset=True), report)
        self._take_exact(exact)
        return False

    def _take_exact(self, exact: ImplicitALS) -> None:
        self.loss_curve_ = [0.5 * cost for cost in exact.loss_curve_]
        self.validation_curve_ = []
        self.n_iter_ = self.best_iter_ = exact.n_iter_
        self.row_ids_, self.col_ids_ = exact.row_ids_, exact.col_ids_
        for name in ("_row_counts", "_row_sums", "_column_counts", "_column_sums"):
            setattr(self, name, getattr(exact, name))
        none = np.zeros((0, 2))
        self._set_factors(exact.row_factors_, exact.components_.T, none, none)
        self.n_features_in_ = exact.n_features_in_


def of_ones(entries: Entries) -> Entries:
    """Return the same entries, whose values are all 1."""
    ones = np.ones_like(entries.value)
    ids = entries.row_ids, entries.col_ids
    return Entries._trusted(entries.row, entries.col, ones, entries.matrix_shape, *ids)


def with_ones(matrix: sp.csr_array) -> sp.csr_array:
    """Return the same cells, whose values are all 1."""
    parts = np.ones_like(matrix.data), matrix.indices, matrix.indptr
    return sp.csr_array(parts, shape=matrix.shape)
