"""Which of all factors with the same products: the cheapest, turned to its principal axes.

Only X Hᵀ enters the losses.  Where every row and every column pays half the square of its norm
times a strength, and where none pays, the factors can be turned and stretched without a change of
the predictions, to orthogonal components, the heaviest first, for which both sides pay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .base import Floats, one_blas_thread
from .problem import Part, Problem

__all__ = ["Axes"]

Doubles = npt.NDArray[np.float64]

NOTHING = 1e-13
"""Relative size of a component that is rounding."""


@dataclass(frozen=True)
class Axes:
    """Metric in which the components of ``k`` columns are orthogonal: weights of rows (·, 1)."""

    rows: Doubles
    columns: Doubles
    k: int

    @classmethod
    def of(cls, problem: Problem) -> Axes | None:
        """Return the axes of a problem, or ``None`` if its factors must stay as they are."""
        if problem.row_coupling is not None or problem.column_coupling is not None:
            return None
        rows = _strengths(problem.row_parts, problem.n_rows)
        columns = _strengths(problem.column_parts, problem.n_columns)
        if rows is None or columns is None or not problem.n_components:
            return None
        if not rows.any() and not columns.any():
            rows, columns = np.ones_like(rows), 1.0 / problem.units**2
        elif not (rows.all() and columns.all()):
            return None
        each = [np.repeat(columns[group.columns], group.width) for group in problem.groups]
        if (rows == rows[0]).all():
            rows = rows[:1]
        columns = np.concatenate(each)
        return cls(np.sqrt(rows)[:, None], np.sqrt(columns)[:, None], problem.n_components)

    def turn(self, X: Floats, H: Floats) -> None:
        """Turn the factors X (n_rows, K), H (n_predictions, K) of a problem, in place."""
        k = self.k
        x, h = self.rows * X[:, :k].astype(np.float64), self.columns * H[:, :k].astype(np.float64)
        with one_blas_thread():
            Q, R = np.linalg.qr(h)
            squares, axes = np.linalg.eigh(x.T @ x)  # x is long, and no basis of it is needed
            _, S, Vt = np.linalg.svd(np.sqrt(np.maximum(squares, 0))[:, None] * axes.T @ R.T)
            n = np.count_nonzero(S > NOTHING * S[0])
            root = np.sqrt(S[:n])
            turned = Q @ Vt[:n].T * root
            peak = turned[np.abs(turned).argmax(axis=0), np.arange(n)]
            root = np.where(peak < 0, -root, root)
            X[:, :k], H[:, :k] = 0, 0
            X[:, :n] = x @ (R.T @ Vt[:n].T / root) / self.rows
            H[:, :n] = Q @ Vt[:n].T * root / self.columns


def _strengths(parts: Sequence[Part], n: int) -> Doubles | None:
    """Strengths (n,) of squared norms, or ``None`` if a row pays something else."""
    out = np.zeros(n)
    for part in parts:
        strength = part.regularizer.quadratic_strength
        if strength is None or part.regularizer.on_block:
            return None
        out[part.rows] = strength
    return out
