"""What every solver returns, and when an outer loop ends."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

__all__ = ["Patience", "Solution", "one_blas_thread"]

Floats = npt.NDArray[np.floating]


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


_held: contextvars.ContextVar[bool] = contextvars.ContextVar("_held", default=False)


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Context in which BLAS and LAPACK use the calling thread: same bits whatever is configured.

    Inside of another one it costs nothing; else half a millisecond.
    """
    if _held.get():
        yield
        return
    token = _held.set(True)
    try:
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        _held.reset(token)


@dataclass(frozen=True)
class Solution:
    """Factors, how they were reached, and what is needed to go on from them.

    Attributes
    ----------
    row_factors : ndarray of shape (n_rows, n_components)
    column_factors : ndarray of shape (n_columns, n_components)
    row_accumulators, column_accumulators : ndarray of shape (n_rows or n_columns, 2)
        Sums of mean squared gradients that set the learning rates.
    loss_curve : list of float
        Objective by iteration.
    validation_curve : list of float
        Mean loss on held-out entries by iteration; empty without such entries.
    n_iter : int
        Iterations run.
    best_iter : int
        The iteration, counted from 1, that the factors are of.
    converged : bool
        Whether the stopping rule ended the loop before ``max_iter``.
    """

    row_factors: Floats
    column_factors: Floats
    row_accumulators: Floats
    column_accumulators: Floats
    loss_curve: list[float]
    validation_curve: list[float]
    n_iter: int
    best_iter: int
    converged: bool


class Patience:
    """Says when a curve has stopped falling.

    A value counts as progress if it is below the best before by more than ``tol`` times that best;
    after ``n_iter_no_change`` values in a row without progress the loop should end.
    """

    def __init__(self, tol: float, n_iter_no_change: int = 1):
        self.tol, self.n_iter_no_change = tol, n_iter_no_change
        self.best = np.inf
        self.waited = 0

    def is_over(self, value: float) -> bool:
        """Take note of the next value of the curve."""
        if value < self.best - self.tol * abs(self.best) or self.best == np.inf:
            self.waited = 0
        else:
            self.waited += 1
        self.best = min(self.best, value)
        return self.waited >= self.n_iter_no_change
