"""What every solver returns, and when an outer loop ends."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import threadpoolctl
from threadpoolctl import ThreadpoolController

__all__ = ["Patience", "Solution", "one_blas_thread"]

Floats = npt.NDArray[np.floating]


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def _take_control() -> None:
    """Let this thread set the number: newer threadpoolctl obeys the first alone that did."""
    clear = getattr(threadpoolctl.OpenBLASController, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)


_lock = threading.Lock()
_within: set[object] = set()
_before: list[tuple[Any, int]] = []
"""Libraries, and the numbers of threads to give back to them."""


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Context in which BLAS and LAPACK use the calling thread: same bits whatever is configured.

    The number belongs to the process: of fits that run side by side the first sets it, and the last
    gives it back.  Inside of another one it costs nothing; else half a millisecond.
    """
    me = object()
    try:
        with _lock:
            _within.add(me)
            if not _before:
                _take_one_thread()
        yield
    finally:
        try:
            _leave(me)
        except KeyboardInterrupt:  # the number would stay as it is for good
            _leave(me)
            raise


def _take_one_thread() -> None:
    """Write down the numbers first: whoever is interrupted here can still give them back."""
    _take_control()
    _before[:] = [
        (library, library.num_threads)
        for library in _controller().lib_controllers
        if library.user_api == "blas"
    ]
    for library, _ in _before:
        library.set_num_threads(1)


def _leave(me: object) -> None:
    """Give the numbers back after the last fit; doing it twice does no harm."""
    with _lock:
        _within.discard(me)
        if not _within and _before:
            _take_control()
            for library, n in _before:
                library.set_num_threads(n)
            _before.clear()


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
