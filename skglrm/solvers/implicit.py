"""Implicit ALS: half-sweeps over rows and columns in turn, each in the basis that suits it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .._jit import read_only
from ..backends.base import Backend
from ..kernels.implicit import rotate_rows, solve_rows, solve_rows_cg, solve_rows_subspace
from .base import Floats, Patience, one_blas_thread
from .implicit_start import can_start_spectrally, spectral_start
from .on_side import OnSide

__all__ = ["ImplicitALSSolver", "Model", "Side", "Solution", "choose_solver", "gram", "solve_side"]

CG_STEPS = 1
"""Steps per half-sweep; the start is warm and the preconditioner nearly exact.

Two or three steps end at the same objective, to a thousandth of what an iteration gains.
"""

RELAXATION = 0.5
"""How much further than solved for "cg" moves the columns, from the second iteration on.

Alternating minimisation creeps along curved valleys; a longer step saves about every fifth
iteration.  It is given up for good once the objective rises.
"""

DUAL_CELLS = 24
"""Rows with fewer cells are solved exactly also by "cg": that is cheaper than a step."""

EXACT_STEPS = 100
"""Steps to take before an exact solve resorts to Cholesky's factors."""

SUBSPACE_BLOCK = 64
"""Coordinates that "subspace" solves for together."""

CHOLESKY_COMPONENTS = 16
"""Up to so many components "auto" solves exactly."""

ROWS_PER_TASK = 4096
NUMBERS_PER_TASK = 2_000_000

INITIAL_DEVIATION = 0.1
"""Length of a row's first factors, on average."""


@dataclass(frozen=True)
class Model:
    """The objective: what cells weigh and what factors cost."""

    alpha: float
    unobserved_weight: float
    regularization: float
    exponent: float

    def ridge(self, counts: npt.NDArray[np.integer], n_other: int) -> npt.NDArray[np.float64]:
        """λ of rows with so many stored cells, among ``n_other`` columns."""
        bracket = counts.astype(np.float64) + self.unobserved_weight * n_other
        return np.asarray(self.regularization * bracket**self.exponent, np.float64)


@dataclass(frozen=True)
class Side:
    """The stored cells of the rows (or columns) to solve for, and their λ.

    ``order`` lists rows by falling number of cells, so that the longest are begun first.
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.integer]
    values: Floats
    ridge: Floats
    counts: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]
    source: Any = None

    @classmethod
    def of(cls, matrix: Any, model: Model, n_other: int | None = None) -> Side:
        """Take the rows of a CSR matrix; ``n_other`` is its number of columns unless given."""
        counts = np.diff(matrix.indptr).astype(np.int64)
        narrow = np.int32 if matrix.shape[1] < 2**31 else np.int64
        ridge = model.ridge(counts, matrix.shape[1] if n_other is None else n_other)
        ridge = ridge.astype(matrix.data.dtype)
        if not np.isfinite(ridge).all():
            raise ValueError(
                f"regularization={model.regularization:g} with regularization_exponent="
                f"{model.exponent:g} gives penalties beyond {ridge.dtype}. Choose smaller ones."
            )
        return cls(
            read_only(matrix.indptr.astype(np.int64, copy=False)),
            read_only(matrix.indices.astype(narrow, copy=False)),
            read_only(matrix.data),
            read_only(ridge),
            counts,
            read_only(np.argsort(-counts, kind="stable")),
        )

    @property
    def owner(self) -> Any:
        """Who holds the cells."""
        return self.indices if self.source is None else self.source

    @property
    def mean_positive(self) -> float:
        """Mean of the positive values; 0 if there are none."""
        if self.source is not None:
            return float(self.source.mean_positive)
        positive = self.values[self.values > 0]
        return float(positive.mean(dtype=np.float64)) if positive.size else 0.0

    @cached_property
    def n_long(self) -> int:
        """Rows that "cg" takes steps of; they come first in ``order``."""
        lengths = -self.counts[self.order]
        return int(np.searchsorted(lengths, -DUAL_CELLS, side="right"))

    def tasks(self, k: int) -> list[tuple[int, int]]:
        """Cut ``order`` into runs of about equal work, whatever the threads and the solver."""
        runs = self._runs(k, 0, self.n_long), self._runs(k, self.n_long, len(self.order))
        return [run for part in runs for run in part]

    def _runs(self, k: int, begin: int, end: int) -> list[tuple[int, int]]:
        if begin == end:
            return []
        lengths = self.counts[self.order[begin:end]] + 16
        work = np.concatenate([[0], np.cumsum(lengths)])
        n_tasks = int(min(max(1, work[-1] * k // NUMBERS_PER_TASK), 256))
        edges = np.searchsorted(work, np.linspace(0, work[-1], n_tasks + 1)[1:-1])
        edges = np.unique(np.concatenate([[0], edges, [lengths.size]])) + begin
        return [(int(a), int(b)) for a, b in itertools.pairwise(edges)]

    def shared(self, target: Floats, fixed: tuple[Any, ...], is_read: bool = False) -> OnSide:
        """Return what tasks on runs of these rows share; they write to ``target``."""
        return OnSide(self, target, fixed, is_read)

    def read_only(self) -> Side:
        """Return the same with arrays that kernels do not write to."""
        names = ("indptr", "indices", "values", "ridge", "order")
        return replace(self, **{name: read_only(getattr(self, name)) for name in names})


@dataclass(frozen=True)
class Solution:
    """Factors in the basis where the Gram matrix of the columns is diagonal, its ``spectrum``.

    The row factors are the exact solution given the column factors.
    """

    row_factors: Floats
    column_factors: Floats
    spectrum: npt.NDArray[np.float64]
    loss_curve: list[float]
    solvers: tuple[str, str]
    converged: bool


class SingularRowError(ValueError):
    """The factors of a row (or column) are not determined; ``row`` is its number."""

    def __init__(self, row: int):
        self.row = row
        super().__init__(f"The factors of row {row} are not determined.")


def choose_solver(k: int, mean_cells: float) -> str:
    """Return what "auto" means for rows with so many stored cells on average."""
    return "cholesky" if k <= CHOLESKY_COMPONENTS else "cg"


# ------------------------------------------------------------------ the Gram matrix and its basis


def gram(factors: Floats, backend: Backend) -> npt.NDArray[np.float64]:
    """Return Σ x xᵀ in float64, from sums of a fixed number of rows in the working precision."""
    runs = _runs(len(factors), max(ROWS_PER_TASK, -(-len(factors) // 64)))
    total = np.zeros((factors.shape[1], factors.shape[1]))
    for part in backend.map(_gram_of_run, runs, factors):
        total += part
    return total


def _gram_of_run(run: tuple[int, int], factors: Floats) -> npt.NDArray[np.float64]:
    total = np.zeros((factors.shape[1], factors.shape[1]))
    for start, stop in _runs(run[1] - run[0], ROWS_PER_TASK):
        part = factors[run[0] + start : run[0] + stop]
        total += part.T @ part
    return total


def eigenbasis(matrix: npt.NDArray[np.float64], dtype: Any) -> tuple[Any, Any]:
    """Return the eigenvalues of a Gram matrix, falling, and its eigenvectors with fixed signs.

    Eigenvalues at rounding level of ``dtype`` become zero.
    """
    with one_blas_thread():
        values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(len(values))])
    noise = np.finfo(dtype).eps * max(values[0], 0.0)
    return np.where(values > noise, values, 0.0), np.ascontiguousarray(vectors)


def _rotate(factors: Floats, rotation: Floats, backend: Backend) -> None:
    shared = (factors, rotation.astype(factors.dtype))
    backend.map(_rotate_run, _runs(len(factors), ROWS_PER_TASK), shared)


def _rotate_run(run: tuple[int, int], shared: Any) -> None:
    factors, rotation = shared
    factors[slice(*run)] = factors[slice(*run)] @ rotation


def _runs(n: int, length: int) -> list[tuple[int, int]]:
    return [(start, min(start + length, n)) for start in range(0, n, length)]


# ------------------------------------------------------------------ half-sweeps


def solve_side(
    side: Side,
    target: Floats,
    other: Floats,
    spectrum: npt.NDArray[np.float64],
    model: Model,
    solver: str,
    backend: Backend,
) -> float:
    """Solve for all rows of ``target`` in place; return their share of the objective.

    ``other`` is in the basis where its Gram matrix is diagonal, with the eigenvalues ``spectrum``.
    "exact" solves to rounding, as "cholesky" does, but by conjugate gradients where they are
    cheaper; these two do not read ``target``, the others start from it.

    Raises
    ------
    SingularRowError
        If the factors of a row are not determined.
    LinAlgError
        If they are, but by numbers of sizes too different to calculate with.
    """
    dtype, k = target.dtype, target.shape[1]
    if not model.unobserved_weight:
        free = np.flatnonzero((side.ridge == 0) & (side.counts == 0))
        if free.size:
            raise SingularRowError(int(free[0]))
    fixed = (
        read_only(other), read_only(spectrum.astype(dtype)),
        dtype.type(model.unobserved_weight), dtype.type(model.alpha),
    )  # fmt: skip
    shared = side.shared(target, fixed, is_read=solver not in ("cholesky", "exact"))
    n_long = side.n_long if solver == "cg" else 0
    tasks = [
        (_cg_task if start < n_long else TASKS[solver], start, stop)
        for start, stop in side.tasks(k)
    ]
    results = backend.map(_run_task, tasks, shared)
    failed = [row for _, row in results if row >= 0]
    if failed:
        row = min(failed)
        if side.ridge[row] > 0:  # determined: what fails is the arithmetic
            raise np.linalg.LinAlgError("sizes of numbers differ too much")
        raise SingularRowError(row)
    return math.fsum(cost for cost, _ in results)


def _run_task(task: tuple[Callable[..., Any], int, int], shared: OnSide) -> tuple[float, int]:
    function, start, stop = task
    side = shared.side
    other, spectrum, w0, alpha = shared.fixed
    cells = (side.indptr, side.indices, side.values, side.order, other, spectrum, side.ridge)
    return function((*cells, w0, alpha), start, stop, shared.target)


def _cholesky_task(cells: Any, start: int, stop: int, target: Floats) -> tuple[float, int]:
    return solve_rows(*cells, target.shape[1], 0, start, stop, target)


def _exact_task(cells: Any, start: int, stop: int, target: Floats) -> tuple[float, int]:
    return solve_rows(*cells, DUAL_CELLS, EXACT_STEPS, start, stop, target)


def _cg_task(cells: Any, start: int, stop: int, target: Floats) -> tuple[float, int]:
    tol = target.dtype.type(np.finfo(target.dtype).eps)
    return solve_rows_cg(*cells, CG_STEPS, tol, start, stop, target), -1


def _subspace_task(cells: Any, start: int, stop: int, target: Floats) -> tuple[float, int]:
    return solve_rows_subspace(*cells, SUBSPACE_BLOCK, start, stop, target)


TASKS = {
    "cholesky": _cholesky_task,
    "cg": _exact_task,  # of the short rows
    "exact": _exact_task,
    "subspace": _subspace_task,
}


def in_basis(factors: Floats, rotation: Floats | None) -> Floats:
    """Rows of factors in another basis; the bits of each depend on it alone, as BLAS's do not."""
    if rotation is None:
        return factors
    out = np.empty_like(factors)
    rotation = rotation.astype(factors.dtype)
    rotate_rows(read_only(factors), read_only(rotation), 0, len(factors), out)
    return out


# ------------------------------------------------------------------ the fit


@dataclass(frozen=True)
class ImplicitALSSolver:
    """Minimise the objective by half-sweeps: columns first, from the initial row factors.

    The last half-sweep, over rows, is exact whatever the ``solver``, so that folding rows in gives
    their factors.  ``report(iteration, objective, solution so far)`` is called after every
    iteration and says whether it is to be the last.
    """

    model: Model
    solver: str
    max_iter: int
    tol: float
    report: Callable[..., bool]

    def solve(
        self, matrix: Any, X: Floats, Y: Floats, backend: Backend, seed: int | None = None
    ) -> Solution:
        """Run until the stopping rule or ``max_iter`` ends the loop.

        With a ``seed`` the start is made here, else ``X`` (n_rows, k) is where rows start, and
        ``Y`` (n_columns, k) may hold zeros.  Both are overwritten by the result.

        Raises
        ------
        ValueError
            If the factors of a row or column are not determined.
        """
        if isinstance(matrix, tuple):
            rows, columns = matrix
        else:
            rows, columns = Side.of(matrix, self.model), Side.of(matrix.T.tocsr(), self.model)
        is_close = seed is not None and self._begin(rows, columns, X, Y, seed, backend)
        names = self._name(rows, X.shape[1]), self._name(columns, X.shape[1])
        patience, converged = Patience(self.tol), False
        curve: list[float] = []
        relaxation = RELAXATION if names[1] == "cg" else 0.0
        while len(curve) < self.max_iter and not converged:
            is_last = len(curve) + 1 == self.max_iter
            further = relaxation * (is_close or bool(curve))
            self._half_sweep("column", columns, Y, X, names[1], backend, further)
            name = "exact" if is_last else names[0]
            cost, spectrum = self._half_sweep("row", rows, X, Y, name, backend)
            curve.append(cost + self._penalty(columns, Y))
            so_far = Solution(X, Y, spectrum, curve, names, False)
            stop = self.report(len(curve), curve[-1], so_far)
            if len(curve) > 1 and curve[-1] > curve[-2]:
                relaxation = 0.0
            converged = stop or (self.tol > 0 and patience.is_over(curve[-1]))
        if name != "exact":
            cost = self._solve("row", rows, X, Y, spectrum, "exact", backend)
            curve[-1] = cost + self._penalty(columns, Y)
        return Solution(X, Y, spectrum, curve, names, converged)

    def _begin(
        self, rows: Side, columns: Side, X: Floats, Y: Floats, seed: int, backend: Backend
    ) -> bool:
        """Make a start; return whether it is near enough to go further than solved for."""
        if can_start_spectrally((len(X), len(Y)), X.shape[1]):
            w0, alpha = self.model.unobserved_weight, self.model.alpha
            with one_blas_thread():
                spectral_start(rows, columns, X, Y, w0, alpha, seed, backend)
            return True
        draw_factors(X, seed, backend)
        Y[:] = 0
        return False

    def _name(self, side: Side, k: int) -> str:
        if self.solver != "auto":
            return self.solver
        return choose_solver(k, side.counts.sum() / max(1, side.counts.size))

    def _half_sweep(
        self, name: str, side: Side, target: Floats, other: Floats, solver: str, backend: Backend,
        relaxation: float = 0.0,
    ) -> tuple[float, npt.NDArray[np.float64]]:  # fmt: skip
        """Rotate both sides so that the Gram matrix of ``other`` is diagonal, and solve.

        With ``relaxation``, go that share of the way further.
        """
        with one_blas_thread():
            spectrum, rotation = eigenbasis(gram(other, backend), other.dtype)
            _rotate(other, rotation, backend)
            if solver not in ("cholesky", "exact"):
                _rotate(target, rotation, backend)
        before = target.copy() if relaxation else target
        cost = self._solve(name, side, target, other, spectrum, solver, backend)
        if relaxation:
            target += target.dtype.type(relaxation) * (target - before)
        return cost, spectrum

    def _solve(
        self, name: str, side: Side, target: Floats, other: Floats, spectrum: Any, solver: str,
        backend: Backend,
    ) -> float:  # fmt: skip
        try:
            return solve_side(side, target, other, spectrum, self.model, solver, backend)
        except SingularRowError as error:
            raise ValueError(singular(name, error.row)) from None

    def _penalty(self, side: Side, factors: Floats) -> float:
        squares = np.einsum("ij,ij->i", factors, factors, dtype=np.float64)
        return float(np.dot(side.ridge, squares))


def singular(side: str, number: int) -> str:
    """Message for a row or column whose factors are not determined."""
    return (
        f"The factors of {side} {number} are not determined by its stored cells: its equations are "
        "singular. Pass regularization > 0 (and, with regularization_exponent > 0, "
        "unobserved_weight > 0 for rows and columns without cells)."
    )


def draw_factors(factors: Floats, seed: int, backend: Backend) -> None:
    """Fill factors (n, k) from N(0, 0.01/k) by runs of rows, each from a stream of its own.

    Drawn in float32 for float64 as well, so that both precisions start from one point.
    """
    backend.map(_draw_run, _runs(len(factors), ROWS_PER_TASK), (factors, seed))


def _draw_run(run: tuple[int, int], shared: Any) -> None:
    factors, seed = shared
    rng = np.random.default_rng((seed, run[0]))
    k = factors.shape[1]
    scale = np.float32(INITIAL_DEVIATION / k**0.5)
    factors[slice(*run)] = scale * rng.standard_normal((run[1] - run[0], k), np.float32)
