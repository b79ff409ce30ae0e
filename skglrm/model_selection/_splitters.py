"""Ways to part observed cells into those to fit on and those to score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt

from .._ids import codes_of, unique_ids
from ..entries import Entries

__all__ = ["LeaveKOut", "RandomCells", "TimeOrdered", "WholeRows"]

Integers = npt.NDArray[np.int64]
Split = tuple[Integers, Integers]


class _Splitter:
    """What every splitter has."""

    n_splits: int

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of splits."""
        return self.n_splits


class _Folds(_Splitter, ABC):
    """Folds of units drawn at random: of cells, or of rows."""

    random_state: int

    @abstractmethod
    def _units(self, X: Any) -> tuple[Integers, int, str]:
        """Return the unit of each cell, how many units there are, and what they are called."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Yield the positions of cells to fit on, and of cells to score.

        Parameters
        ----------
        X : Entries, or array-like or data frame of shape (n_entries, 2)
            The cells; the ids that :class:`~skglrm.EntryRegressor` takes, or Entries.
        y, groups : ignored
            Present by convention.

        Yields
        ------
        train, test : ndarray of int64
        """
        of_cell, n, name = self._units(X)
        _check_splits(self.n_splits, n, name)
        fold = np.random.default_rng(self.random_state).permutation(n) % self.n_splits
        for held_out in range(self.n_splits):
            is_test = fold[of_cell] == held_out
            yield np.flatnonzero(~is_test), np.flatnonzero(is_test)


@dataclass(frozen=True)
class RandomCells(_Folds):
    """Folds of cells drawn at random.

    How well are unknown cells of known rows and columns predicted?

    ``KFold`` without shuffling would hold out neighbouring cells, which belong to the same rows,
    and so ask another question; this always shuffles.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds; each cell is held out once.
    random_state : int, default=0
        Seed of the draw.

    Examples
    --------
    >>> from skglrm import Entries
    >>> from skglrm.model_selection import RandomCells
    >>> entries = Entries([0, 0, 1, 1], [0, 1, 0, 1], [1.0, 2.0, 3.0, 4.0])
    >>> [test.tolist() for _, test in RandomCells(2).split(entries)]
    [[0, 1], [2, 3]]
    """

    n_splits: int = 5
    random_state: int = 0

    def _units(self, X: Any) -> tuple[Integers, int, str]:
        n = _count(X)
        return np.arange(n), n, "cells"


@dataclass(frozen=True)
class WholeRows(_Folds):
    """Folds of whole rows.

    How well are rows predicted that nothing is known of?

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds; each row is held out once.
    random_state : int, default=0
        Seed of the draw.

    See Also
    --------
    make_heldout_scorer : Rows that are new, but of which some cells are known.
    """

    n_splits: int = 5
    random_state: int = 0

    def _units(self, X: Any) -> tuple[Integers, int, str]:
        rows, of_cell = np.unique(_rows_of(X), return_inverse=True)
        return of_cell, len(rows), "rows"


@dataclass(frozen=True)
class TimeOrdered(_Splitter):
    """Fit on the past, and score what comes next.

    How well is the future predicted?  The times are given as ``groups``, one for each cell:
    ``search.fit(entries, groups=times)``.  They are cut into parts of about equal numbers of cells;
    the first is only fitted on, each other is scored by a model of all that came before it.  Cells
    of one time are never parted.

    Parameters
    ----------
    n_splits : int, default=5
        Number of parts to score.
    """

    n_splits: int = 5

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Yield the positions of cells to fit on, and of cells to score.

        Parameters
        ----------
        X : Entries, or array-like or data frame of shape (n_entries, 2)
            The cells.
        y : ignored
            Present by convention.
        groups : array-like of shape (n_entries,)
            The time of each cell: numbers or dates.

        Yields
        ------
        train, test : ndarray of int64
        """
        times = _times(groups, _count(X))
        _check_splits(self.n_splits + 1, len(times), "cells")
        ordered = np.sort(times)
        at = np.arange(1, self.n_splits + 1) * len(times) // (self.n_splits + 1)
        cuts = ordered[at]
        if not (ordered[0] < cuts[0] and (cuts[1:] > cuts[:-1]).all()):
            raise ValueError(
                f"The times cannot be cut into {self.n_splits + 1} parts: too many cells have the "
                "same time. Lower n_splits, or give finer times."
            )
        part = np.searchsorted(cuts, times, side="right")
        for i in range(1, self.n_splits + 1):
            yield np.flatnonzero(part < i), np.flatnonzero(part == i)


@dataclass(frozen=True)
class LeaveKOut(_Splitter):
    """Hold out k cells of every row that has more.

    How well is the next cell of a row predicted?  With times as ``groups`` they are the last k of
    each row ("leave last out"), otherwise k at random.

    Parameters
    ----------
    k : int, default=1
        Number of cells to hold out of each row with more than k.
    n_splits : int, default=1
        Number of draws; without times only.
    random_state : int, default=0
        Seed of the draws, and of the order among equal times.
    """

    k: int = 1
    n_splits: int = 1
    random_state: int = 0

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Yield the positions of cells to fit on, and of cells to score.

        Parameters
        ----------
        X : Entries, or array-like or data frame of shape (n_entries, 2)
            The cells.
        y : ignored
            Present by convention.
        groups : array-like of shape (n_entries,), default=None
            The time of each cell; the last ones are held out.

        Yields
        ------
        train, test : ndarray of int64
        """
        if not self.k >= 1 or not self.n_splits >= 1:
            raise ValueError(
                f"k and n_splits must be at least 1; got {self.k!r} and {self.n_splits!r}."
            )
        if groups is not None and self.n_splits > 1:
            raise ValueError(
                f"With times there is one split, the last {self.k} cells of each row; got "
                f"n_splits={self.n_splits}. Leave it at 1, or leave groups out."
            )
        rows = _rows_of(X)
        times = np.zeros(len(rows)) if groups is None else _times(groups, len(rows))
        _, row, counts = np.unique(rows, return_inverse=True, return_counts=True)
        if not (counts > self.k).any():
            raise ValueError(
                f"No row has more than k={self.k} cells, so that none would be left to fit on."
            )
        rng = np.random.default_rng(self.random_state)
        for _ in range(self.n_splits):
            order = np.lexsort((rng.random(len(rows)), times, row))
            ends = np.cumsum(counts)
            from_end = np.empty(len(rows), np.int64)
            from_end[order] = np.repeat(ends, counts) - np.arange(len(rows))
            is_test = (from_end <= self.k) & (counts[row] > self.k)
            yield np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _check_splits(n_splits: Any, n: int, what: str) -> None:
    if isinstance(n_splits, bool) or not isinstance(n_splits, int) or n_splits < 2:
        raise ValueError(f"There must be at least two parts; got {n_splits!r}. Raise n_splits.")
    if n < n_splits:
        raise ValueError(f"There are {n} {what}, too few for {n_splits} parts. Lower n_splits.")


def _count(X: Any) -> int:
    if not isinstance(X, Entries) and (getattr(X, "ndim", 2) != 2 or _width(X) != 2):
        raise TypeError(
            "Cells are split from Entries, or from two columns of ids. For the cells of a matrix "
            "take Entries.from_matrix(X); to split its rows take scikit-learn's KFold."
        )
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def _width(X: Any) -> int:
    shape = getattr(X, "shape", None)
    return shape[1] if shape is not None else len(X[0]) if len(X) else 2


def _rows_of(X: Any) -> Integers:
    """Return the row of each cell, as a number."""
    if isinstance(X, Entries):
        return X.row.astype(np.int64)
    _count(X)
    frame = nw.from_native(X, pass_through=True, eager_only=True)
    if isinstance(frame, nw.DataFrame):
        ids: Any = frame[:, 0]
    else:
        ids = (X if hasattr(X, "dtype") else np.asarray(X, dtype=object))[:, 0]
    return codes_of(ids, unique_ids("row id", ids)).astype(np.int64)


def _times(times: Any, n: int) -> npt.NDArray[Any]:
    if times is None:
        raise ValueError(
            "The times of the cells are missing: pass them as groups, for instance "
            "search.fit(entries, groups=times) or cross_validate(..., groups=times)."
        )
    array = np.asarray(times)
    if array.shape != (n,):
        raise ValueError(f"There are {n} cells, but groups has the shape {array.shape}.")
    if array.dtype.kind not in "biufmM" or (array != array).any():
        raise ValueError("Times must be numbers or dates, and none of them missing.")
    return array
