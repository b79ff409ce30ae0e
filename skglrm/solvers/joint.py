"""L-BFGS over both sides at once: few cheap iterations to high accuracy, for smooth problems."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.optimize

from ..backends.base import Backend
from .alternating import Report, feasible_columns, finish, row_side
from .half_step import Block, HalfStep
from .problem import Factors, Fit, Problem

__all__ = ["check_joint", "solve_joint"]

Doubles = npt.NDArray[np.float64]

CORRECTIONS = 10
TOO_FAR = 1e30


def check_joint(problem: Problem) -> None:
    """Raise ``ValueError`` unless L-BFGS can minimise the problem.

    Losses must be smooth; regularizers ½ s ‖x - μ‖², maybe on an interval.
    """
    advice = "Use solver='proximal' or 'auto'."
    for group in problem.groups:
        if not group.loss.smooth:
            raise ValueError(
                f"solver='lbfgs' needs smooth losses, but column {group.columns[0]} has "
                f"{group.loss!r}. {advice}"
            )
    for regularizer in problem.regularizers():
        if regularizer.ridge_on_interval is None and not _is_centered(regularizer):
            raise ValueError(
                "solver='lbfgs' needs regularizers that are squares of norms, or bounds, but one "
                f"is {regularizer!r}. {advice}"
            )


def solve_joint(
    problem: Problem,
    start: Factors,
    backend: Backend,
    *,
    max_iter: int,
    tol: float,
    report: Report | None = None,
) -> Fit:
    """Minimise over rows, columns and offset jointly by L-BFGS-B, in float64.

    It stops when an iteration lowers the objective by less than ``tol`` times its value, and ends
    like :func:`~skglrm.solvers.alternating.solve_alternating`.

    Raises
    ------
    ValueError
        If a loss is not smooth, or a regularizer neither quadratic nor a bound.
    """
    check_joint(problem)
    X, H = (factor.astype(np.float64) for factor in problem.inside(start))
    sides = [row_side(problem, X, H), *feasible_columns(problem, X, H, backend)]
    bounds = [_bounds(side) for side in sides]
    curve: list[float] = []

    def note(intermediate_result: Any) -> None:
        curve.append(float(intermediate_result.fun))
        if report is None:
            return

        def factors() -> Factors:
            _write(sides, intermediate_result.x)
            return problem.outside(X.astype(problem.dtype), H.astype(problem.dtype))

        if report(len(curve), curve[-1], factors):
            raise StopIteration

    result = scipy.optimize.minimize(
        _value_and_gradient,
        np.concatenate([_free(side, side.target).ravel() for side in sides]),
        args=(problem, sides, X, H, backend),
        jac=True,
        method="L-BFGS-B",
        bounds=scipy.optimize.Bounds(*(np.concatenate(ends) for ends in zip(*bounds, strict=True))),
        callback=note,
        options={
            "maxiter": max_iter, "maxfun": 20 * max_iter, "maxcor": CORRECTIONS, "ftol": tol,
            "gtol": 0.0,
        },
    )  # fmt: skip
    _write(sides, result.x)
    X, H = X.astype(problem.dtype), H.astype(problem.dtype)
    final = finish(problem, X, H, backend)
    curve[-1:] = [final]  # of the start, if no step leads down from it
    return Fit(problem.outside(X, H), curve, len(curve), bool(result.status != 1))


def _value_and_gradient(
    theta: Doubles,
    problem: Problem,
    sides: list[HalfStep],
    X: Doubles,
    H: Doubles,
    backend: Backend,
) -> tuple[float, Doubles]:
    _write(sides, theta)
    total, gradients = 0.0, []
    for number, side in enumerate(sides):
        found = backend.map(_slope_of_block, side.blocks, side)
        G = np.empty(side.target.shape)
        for block, (loss, penalty, slope) in zip(side.blocks, found, strict=True):
            G[block.rows] = slope
            total += penalty + (loss if number == 0 else 0.0)
        gradients.append(G)
    k = problem.n_components
    if problem.row_coupling is not None:
        total += problem.row_coupling.value_all(X[:, :k])
        gradients[0][:, 0, :k] += problem.row_coupling.majorizer(X[:, :k])[0]
    if problem.column_coupling is not None:
        columns = np.empty_like(H)
        columns[problem.order] = H
        total += problem.column_coupling.value_all(columns[:, :k])
        linear = problem.column_coupling.majorizer(columns[:, :k])[0][problem.order]
        for G, group in zip(gradients[1:], problem.groups, strict=True):
            G[:, :, :k] += linear[group.start : group.stop].reshape(*G.shape[:2], k)
    flat = [_free(side, G).ravel() for side, G in zip(sides, gradients, strict=True)]
    gradient = np.concatenate(flat)
    if not np.isfinite(total):  # outside the domain: the line search is to turn back
        return TOO_FAR, np.nan_to_num(gradient, posinf=0.0, neginf=0.0)
    return float(total), gradient


def _slope_of_block(block: Block, side: HalfStep) -> tuple[float, float, Doubles]:
    """Loss, penalty, and their slope at the rows of a block."""
    x, k = side.target[block.rows], side.n_penalised
    F, G = side.slope(block.rows, x)
    strength, center = _ridge(side, block.part)
    away = x[:, :, :k] - center
    G[:, :, :k] += strength * away
    return float(F.sum()), 0.5 * strength * float((away * away).sum()), G


def _free(side: HalfStep, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array[:, :, : side.n_free]


def _write(sides: list[HalfStep], theta: Doubles) -> None:
    start = 0
    for side in sides:
        free = _free(side, side.target)
        free[:] = theta[start : start + free.size].reshape(free.shape)
        start += free.size


def _is_centered(regularizer: Any) -> bool:
    inner = getattr(regularizer, "regularizer", None)
    if inner is None or not hasattr(regularizer, "center"):
        return False
    return inner.quadratic_strength is not None


def _ridge(side: HalfStep, part: int) -> tuple[float, Doubles]:
    """Strength and center of the quadratic part of a regularizer."""
    method = side.methods[part]
    if method.strength is not None:
        return method.strength, method.center
    interval = side.parts[part].regularizer.ridge_on_interval
    assert interval is not None  # by check_joint
    return interval[0], method.center


def _bounds(side: HalfStep) -> tuple[Doubles, Doubles]:
    lower = np.full(side.target.shape, -math.inf)
    upper = np.full(side.target.shape, math.inf)
    for part in side.parts:
        interval = part.regularizer.ridge_on_interval
        if interval is not None:
            lower[part.rows, :, : side.n_penalised] = interval[1]
            upper[part.rows, :, : side.n_penalised] = interval[2]
    return _free(side, lower).ravel(), _free(side, upper).ravel()
