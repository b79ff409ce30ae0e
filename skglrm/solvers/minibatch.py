r"""Mini-batch SGD: solve a sample of the rows, then step the columns on what these rows say.

.. math:: Y_j \leftarrow \arg\min_Y \; \tfrac1f \, g_j \cdot (Y - Y_j)
    + \tfrac{\sqrt t}{2 \eta f} \, (Y - Y_j)^T A_j (Y - Y_j) + \tilde r_j(Y)

The slope g_j and the curvature A_j of a share f of the rows are divided by f: sums, not means, so
that strengths mean the same as in all solvers.  Steps measured by A_j make η a pure number, and
the first, at t = 1 and η = 1, solves for the columns of its sample.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..backends.base import Backend
from .alternating import Report, column_sides, finish, objective, row_side
from .base import Floats
from .half_step import Block, HalfStep, improve
from .problem import Cells, Factors, Fit, Problem

__all__ = ["solve_minibatch"]

FRACTION = 0.1
ROWS_PER_COORDINATE = 10
"""Rows of a batch, at least: fewer say more about themselves than about the columns."""


def solve_minibatch(
    problem: Problem,
    start: Factors,
    backend: Backend,
    *,
    max_iter: int,
    tol: float,
    report: Report | None = None,
    seed: Any = 0,
    fraction: float = FRACTION,
    learning_rate: float = 1.0,
) -> Fit:
    """Minimise by stochastic steps; an iteration sees every row once, in a new random order.

    The objective is that of all data after every iteration, and may rise.  It stops when the
    objective changes by less than ``tol`` times its value.

    Raises
    ------
    ValueError
        If rows or columns are coupled with one another.
    """
    if problem.row_coupling is not None or problem.column_coupling is not None:
        raise ValueError(
            "solver='sgd' needs rows and columns that are not coupled with one another, but a "
            "regularizer couples them. Use solver='proximal' or 'auto'."
        )
    rng = np.random.default_rng(seed)
    fewest = ROWS_PER_COORDINATE * problem.n_coordinates
    n_batches = max(1, min(round(1 / fraction), problem.n_rows // fewest))
    X, H = problem.inside(start)
    row_side(problem, X, H), column_sides(problem, X, H)  # so that penalties are finite
    curve: list[float] = []
    converged, n_steps = False, 0
    for n_iter in range(1, max_iter + 1):
        for rows in np.array_split(rng.permutation(problem.n_rows), n_batches):
            n_steps += 1
            _visit(problem, X, H, np.sort(rows), learning_rate / n_steps**0.5, backend)
        total = objective(problem, problem.outside(X, H), backend)
        if not np.isfinite(total):
            raise FloatingPointError(
                f"The objective is no longer finite after iteration {n_iter}: the steps of "
                "solver='sgd' are too long for these data. Use solver='proximal' or 'auto'."
            )
        curve.append(total)
        stop = report is not None and report(n_iter, total, lambda: problem.outside(X, H))
        if stop or (n_iter > 1 and tol > 0 and abs(curve[-2] - total) <= tol * abs(total)):
            converged = True
            break
    final = finish(problem, X, H, backend)
    if curve:
        curve[-1] = final
    return Fit(problem.outside(X, H), curve, len(curve), converged)


def _visit(
    problem: Problem,
    X: Floats,
    H: Floats,
    rows: npt.NDArray[np.int64],
    rate: float,
    backend: Backend,
) -> None:
    """Improve some rows of X, then all columns on the cells of these rows; in place."""
    batch = _batch(problem, rows)
    x = X[rows]
    row_side(batch, x, H).run(improve, backend)
    X[rows] = x
    share = rows.size / problem.n_rows
    for side in column_sides(batch, x, H):
        for block, new in zip(
            side.blocks,
            backend.map(_step_of_block, [(block, rate, share) for block in side.blocks], side),
            strict=True,
        ):
            side.target[block.rows] = new


def _batch(problem: Problem, rows: npt.NDArray[np.int64]) -> Problem:
    """Return the problem of some of the rows."""
    part_of = np.empty(problem.n_rows, np.int64)
    for number, part in enumerate(problem.row_parts):
        part_of[part.rows] = number
    mine = part_of[rows]
    parts = tuple(
        replace(part, rows=np.flatnonzero(mine == number).astype(np.int32))
        for number, part in enumerate(problem.row_parts)
    )
    groups = tuple(replace(group, by_row=_rows_of(group.by_row, rows)) for group in problem.groups)
    return replace(problem, groups=groups, row_parts=parts, n_rows=rows.size)


def _rows_of(cells: Cells, rows: npt.NDArray[np.int64]) -> Cells:
    counts = np.diff(cells.indptr)[rows]
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    at = np.repeat(cells.indptr[rows] - indptr[:-1], counts) + np.arange(indptr[-1])
    weights = cells.weights[at] if cells.weights.size else cells.weights
    return Cells(indptr, cells.indices[at], cells.values[at], weights, cells.n_columns)


def _step_of_block(job: tuple[Block, float, float], side: HalfStep) -> Floats:
    """Minimise the models of the columns of a block, that of the sample divided by its share."""
    block, rate, share = job
    x = side.target[block.rows]
    _, G, A = side.model(block.rows, x, side.state.radius[block.rows])
    scale = np.full(block.rows.size, 1 / (share * rate))
    z = side.minimised(block.part, A, G / share, x.astype(np.float64), scale, thorough=False)
    return z.astype(x.dtype)
