"""Alternating minimisation: rows given columns, columns given rows, and so on downhill.

The same half-step serves both sides, and new rows: folding in is a fit whose columns stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..backends.base import Backend
from .axes import Axes
from .base import Floats, one_blas_thread
from .half_step import HalfStep, Outcome, Term, improve, is_quadratic
from .momentum import Momentum
from .problem import Factors, Fit, Group, Part, Problem
from .settle import settle

__all__ = [
    "check_exact", "column_losses", "column_sides", "finish", "fold_in", "objective", "row_side",
    "rows_are_closed", "solve_alternating", "solve_exact",
]  # fmt: skip

SAME = 1e-7
"""Relative difference of objectives that does not matter."""

Report = Callable[..., bool]
"""Takes the iteration, the objective and a function that makes factors; says whether to stop."""


def solve_alternating(
    problem: Problem,
    start: Factors,
    backend: Backend,
    *,
    max_iter: int,
    tol: float,
    report: Report | None = None,
) -> Fit:
    """Minimise by passes over rows and columns, any losses and regularizers; never uphill.

    An iteration is a pass over the columns and one over the rows.  Between them factors are turned
    to their axes, if they have some: the penalty falls, which alternation alone would take hundreds
    of passes to do.  If they have none, columns go on the way they went, as long as that pays; see
    :mod:`skglrm.solvers.momentum`.  It stops when an iteration lowers the objective by less than
    ``tol`` times its value, and ends with rows that are optimal for the final columns: what
    :func:`fold_in` finds, where the problem of a row is convex.

    Raises
    ------
    ValueError
        If the loss of a column is infinite at the start.
    """
    X, H = problem.inside(start)
    with one_blas_thread():
        rows = row_side(problem, X, H)
        curve, converged, failed = _alternate(problem, rows, X, H, backend, max_iter, tol, report)
        if not rows.is_closed or rows.is_complete.any():
            final = finish(problem, X, H, backend, turned=rows.is_closed)
            if curve:
                curve[-1] = final
    return Fit(problem.outside(X, H), curve, len(curve), converged, failed)


def _alternate(
    problem: Problem,
    rows: HalfStep,
    X: Floats,
    H: Floats,
    backend: Backend,
    max_iter: int,
    tol: float,
    report: Report | None,
) -> tuple[list[float], bool, int]:
    """Improve X and H; return objectives, whether they converged, and how many rows failed."""
    columns, axes = feasible_columns(problem, X, H, backend), Axes.of(problem)
    momentum = None if axes is not None else Momentum.of(problem, H, columns)

    def pass_rows() -> tuple[int, float]:
        _bind(problem, rows, H)
        passed = rows.run(improve, backend)
        return passed.failed, _objective(problem, passed, columns, X, H)

    curve: list[float] = []
    converged, failed = False, 0
    _, previous = pass_rows()
    for n_iter in range(1, max_iter + 1):
        failed = 0
        for side, group in zip(columns, problem.groups, strict=True):
            _bind(problem, side, H, group)
            failed += side.run(improve, backend).failed
        if axes is not None:
            axes.turn(X, H)
            for side in (rows, *columns):
                side.penalise()
        before = rows.state.copy() if momentum is not None and momentum.go_on() else None
        lost, total = pass_rows()
        if momentum is not None and before is not None and not momentum.pays(total, previous):
            rows.state.put(slice(None), before)
            lost, total = pass_rows()
        failed += lost
        curve.append(total)
        stop = report is not None and report(n_iter, total, lambda: problem.outside(X, H))
        if stop or (tol > 0 and previous - total <= tol * abs(total)):
            converged = True
            break
        previous = total
    return curve, converged, failed


def solve_exact(problem: Problem, start: Factors, backend: Backend, **options: Any) -> Fit:
    """Minimise by closed or finished row solves: as :func:`solve_alternating`, checked before.

    Raises
    ------
    ValueError
        If a loss is not quadratic.
    """
    check_exact(problem)
    return solve_alternating(problem, start, backend, **options)


def check_exact(problem: Problem) -> None:
    """Raise ``ValueError`` unless all losses are quadratic."""
    for group in problem.groups:
        if not is_quadratic(group.loss):
            raise ValueError(
                f"solver='exact' solves rows in closed form, which needs quadratic losses; column "
                f"{group.columns[0]} has {group.loss!r}. Use solver='proximal' or 'auto'."
            )


def fold_in(
    problem: Problem, column_factors: Floats, offset: Floats | None, backend: Backend
) -> Floats:
    """Return factors (n_rows, n_components) of the problem's rows for given column factors.

    Each row starts from the point of least penalty and is solved to convergence; its result does
    not depend on any other row.
    """
    zeros = np.zeros((problem.n_rows, problem.n_components), problem.dtype)
    X, H = problem.inside(Factors(zeros, column_factors, offset))
    with one_blas_thread():
        row_side(problem, X, H).run(settle, backend)
    return problem.outside(X, H).row_factors


def rows_are_closed(problem: Problem) -> bool:
    """Whether rows have closed solutions: quadratic losses, and squares of norms as penalties."""
    ridges = all(part.regularizer.quadratic_strength is not None for part in problem.row_parts)
    losses = all(is_quadratic(group.loss) for group in problem.groups)
    return ridges and losses and problem.row_coupling is None


def objective(problem: Problem, factors: Factors, backend: Backend) -> float:
    """Return the losses and both penalties at given factors."""
    X, H = problem.inside(factors)
    rows = row_side(problem, X, H, project=False)
    total = float(np.sum(backend.map(_loss_of_block, rows.blocks, rows)))
    total += _penalty(rows) + _column_penalty(problem, X, H)
    return total + _coupled(problem, X, H)


def _column_penalty(problem: Problem, X: Floats, H: Floats) -> float:
    return sum(map(_penalty, column_sides(problem, X, H, project=False)))


def _penalty(side: HalfStep) -> float:
    side.penalise()
    return float(side.state.penalty.sum())


def column_losses(problem: Problem, factors: Factors, backend: Backend) -> npt.NDArray[np.float64]:
    """Return the sum of the losses of each column (n_columns,); 0 of one without cells or group."""
    X, H = problem.inside(factors)
    losses = np.zeros(problem.n_columns)
    for side, group in zip(column_sides(problem, X, H, project=False), problem.groups, strict=True):
        blocks = side.blocks
        found = backend.map(_losses_of_block, blocks, side)
        for block, loss in zip(blocks, found, strict=True):
            losses[group.columns[block.rows]] = loss
    return losses


def _losses_of_block(block: Any, side: HalfStep) -> npt.NDArray[np.float64]:
    return side.losses(block.rows, side.target[block.rows])


def _loss_of_block(block: Any, side: HalfStep) -> float:
    return float(_losses_of_block(block, side).sum())


# ------------------------------------------------------------------ sides


def row_side(problem: Problem, X: Floats, H: Floats, project: bool = True) -> HalfStep:
    """Return the rows of X (n_rows, K) as a half-step that writes to X; H is read as it changes."""
    K = X.shape[1]
    terms = tuple(
        Term.of(
            group,
            group.by_row,
            H[group.start : group.stop].reshape(-1, group.width, K),
            group.unit,
        )
        for group in problem.groups
    )
    k = problem.n_components
    return HalfStep(X.reshape(-1, 1, K), terms, problem.row_parts, k, k, project)


def column_sides(problem: Problem, X: Floats, H: Floats, project: bool = True) -> list[HalfStep]:
    """Return the columns of each group as a half-step that writes to its rows of H."""
    K = X.shape[1]
    part_of = np.empty(problem.n_columns, np.int64)
    for number, part in enumerate(problem.column_parts):
        part_of[part.rows] = number
    sides = []
    for group in problem.groups:
        mine = part_of[group.columns]
        parts = tuple(
            Part(part.regularizer, np.flatnonzero(mine == number).astype(np.int32))
            for number, part in enumerate(problem.column_parts)
        )
        term = Term.of(group, group.by_column, X.reshape(-1, 1, K), group.unit)
        target = H[group.start : group.stop].reshape(-1, group.width, K)
        sides.append(HalfStep(target, (term,), parts, problem.n_components, K, project))
    return sides


# ------------------------------------------------------------------ what couples rows


def _bind(problem: Problem, side: HalfStep, H: Floats, group: Group | None = None) -> None:
    """Give a side, rows or those of a group, the bound on what couples it at present."""
    coupling = problem.row_coupling if group is None else problem.column_coupling
    if coupling is None:
        return
    k = problem.n_components
    n, d, _ = side.target.shape
    if group is None:
        linear, diagonal = coupling.majorizer(side.target[:, 0, :k].astype(np.float64))
    else:
        linear, diagonal = coupling.majorizer(_in_order(problem, H)[:, :k])
        mine = problem.order[group.start : group.stop]
        linear, diagonal = linear[mine], diagonal[mine]
    side.bound = linear.reshape(n, d, k), diagonal.reshape(n, d).max(axis=1)


def _in_order(problem: Problem, H: Floats) -> npt.NDArray[np.float64]:
    columns = np.empty(H.shape)
    columns[problem.order] = H
    return columns


def _coupled(problem: Problem, X: Floats, H: Floats) -> float:
    k, total = problem.n_components, 0.0
    if problem.row_coupling is not None:
        total += float(problem.row_coupling.value_all(X[:, :k].astype(np.float64)))
    if problem.column_coupling is not None:
        total += float(problem.column_coupling.value_all(_in_order(problem, H)[:, :k]))
    return total


# ------------------------------------------------------------------ the end


def feasible_columns(problem: Problem, X: Floats, H: Floats, backend: Backend) -> list[HalfStep]:
    """Return ``column_sides`` after shortening the directions of columns of infinite loss.

    With its offset alone, which is its best constant, a column's loss is finite.
    """
    columns = column_sides(problem, X, H)
    for _ in range(30):
        infinite = []
        for side, group in zip(columns, problem.groups, strict=True):
            for block in side.blocks if not group.loss.finite else ():
                bad = block.rows[~np.isfinite(_losses_of_block(block, side))]
                side.target[bad, :, : problem.n_components] *= 0.5
                infinite += group.columns[bad].tolist()
        if not infinite:
            return columns
        columns = column_sides(problem, X, H)
    raise ValueError(
        f"The loss of column {infinite[0]} is infinite at the start, however small its factors are "
        "made. Thresholds need offset=True, a column_regularizer that allows factors of 0 (not "
        "Fixed, ConstantLast or Box away from 0), and an init whose objective is finite; "
        "'cumulative_logit' and 'ordinal_hinge' need less."
    )


def _objective(
    problem: Problem, rows: Outcome, columns: list[HalfStep], X: Floats, H: Floats
) -> float:
    penalty = sum(float(side.state.penalty.sum()) for side in columns)
    return rows.loss + rows.penalty + penalty + _coupled(problem, X, H)


def finish(problem: Problem, X: Floats, H: Floats, backend: Backend, turned: bool = False) -> float:
    """Turn to the axes, solve all rows for the final H, write them to X; return the objective.

    It ends no higher than X: where rows solved from nothing cost more, X is improved instead.
    """
    axes = None if turned else Axes.of(problem)
    if axes is not None:
        axes.turn(X, H)
    rows, columns = row_side(problem, X, H), column_sides(problem, X, H)
    if problem.row_coupling is not None:
        _bind(problem, rows, H)
        return _objective(problem, rows.run(improve, backend), columns, X, H)
    if rows.is_closed:
        return _objective(problem, rows.run(settle, backend), columns, X, H)
    kinds = [part.regularizer for part in rows.parts]
    if all(one.convex for one in kinds) and all(one.loss.convex for one in problem.groups):
        # From where any row starts that is folded in, so that the same is found.
        cold = X.copy()
        cold[:, : problem.n_components] = 0
        found = row_side(problem, cold, H).run(settle, backend)
        present = float(np.sum(backend.map(_loss_of_block, rows.blocks, rows)))
        present += float(rows.state.penalty.sum())
        if found.loss + found.penalty <= present * (1 + SAME):
            X[:] = cold
            return _objective(problem, found, columns, X, H)
        # Rows without cells cost no more, whatever rounding says of a fit that is exact.
        is_empty = sum(np.diff(group.by_row.indptr) for group in problem.groups) == 0
        X[is_empty] = cold[is_empty]
        rows = row_side(problem, X, H)
    return _objective(problem, rows.run(settle, backend), columns, X, H)
