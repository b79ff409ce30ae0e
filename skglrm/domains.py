r"""Domains: what a column can be, apart from what it is charged.

A loss says what a prediction :math:`u` costs where :math:`a` was observed; a domain says which
:math:`a` there are, which of them stands for a prediction, and how wrong it is.  Every loss has a
natural domain (``loss.domain``), but a column may have another one: a PCA of Booleans charges
:class:`~skglrm.losses.Quadratic`, and is still imputed and scored as :class:`Boolean`.

Rounding is half to even, ties take the lowest level, and NaN stays NaN where numbers are rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ._record import VectorLossRecord

__all__ = ["Boolean", "Categorical", "Circle", "Count", "Domain", "Ordinal", "Positive", "Real"]

Floats = npt.NDArray[np.floating]
Booleans = npt.NDArray[np.bool_]


class Domain:
    """Base of all domains; subclasses are frozen dataclasses whose fields are numbers."""

    __slots__ = ()

    n_levels: int | None
    """Number of levels; ``None`` if there are infinitely many."""

    def contains(self, a: npt.ArrayLike) -> Booleans:
        """Which of the numbers ``a`` lie in the domain; NaN and infinity never do."""
        raise NotImplementedError

    def impute(self, loss: Any, u: npt.ArrayLike) -> Floats:
        """Observation that stands for the prediction ``u``.

        Parameters
        ----------
        loss : Loss or VectorLoss
            What the column is charged.
        u : array-like of shape (...) or, for a vector loss, (..., embedding_dim)
            Predictions.

        Returns
        -------
        ndarray of shape (...)
            Observations of the domain.

        Raises
        ------
        ValueError
            If predictions of this loss mean nothing in this domain.
        """
        raise NotImplementedError

    def error(self, predicted: npt.ArrayLike, observed: npt.ArrayLike) -> Floats:
        """Error of each imputed number; here the squared difference."""
        return np.square(_floats(predicted) - _floats(observed))

    def _refuse(self, loss: Any, needed: str) -> ValueError:
        return ValueError(
            f"{self!r} cannot be imputed from predictions of {loss!r}, which are about "
            f"{loss.domain!r}. {needed}"
        )

    def _numbers(self, loss: Any, u: npt.ArrayLike) -> Floats:
        """Impute by a loss of numbers, and refuse one that only tells classes apart."""
        if isinstance(loss, VectorLossRecord) or isinstance(loss.domain, Boolean):
            raise self._refuse(loss, "Give the column a loss of numbers, Quadratic for instance.")
        return _floats(loss.impute(u))

    def _codes(self, loss: Any, u: npt.ArrayLike) -> Floats:
        """Impute by a loss of levels, which are numbered from 0."""
        if loss.domain.n_levels != self.n_levels:
            raise self._refuse(loss, f"Give the column a loss of {self.n_levels} levels.")
        return _floats(loss.impute(u))


@dataclass(frozen=True)
class Real(Domain):
    """Real numbers between two bounds, which belong to it; the error is squared.

    Examples
    --------
    >>> from skglrm.domains import Real
    >>> from skglrm.losses import Huber
    >>> Real(low=0.0).impute(Huber(), [-0.5, 1.5])
    array([0. , 1.5])
    """

    n_levels = None
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self):
        if not self.low < self.high:
            raise ValueError(f"Real needs low < high; got {self.low!r} and {self.high!r}.")

    def contains(self, a: npt.ArrayLike) -> Booleans:  # noqa: D102
        a = np.asarray(a)
        return np.isfinite(a) & (a >= self.low) & (a <= self.high)

    def impute(self, loss: Any, u: npt.ArrayLike) -> Floats:  # noqa: D102
        return np.clip(self._numbers(loss, u), self.low, self.high)


@dataclass(frozen=True)
class Positive(Domain):
    """Real numbers above 0; the error is squared."""

    n_levels = None

    def contains(self, a: npt.ArrayLike) -> Booleans:  # noqa: D102
        return np.isfinite(a) & (np.asarray(a) > 0)

    def impute(self, loss: Any, u: npt.ArrayLike) -> Floats:  # noqa: D102
        a = self._numbers(loss, u)
        return np.maximum(a, np.finfo(a.dtype).tiny)


@dataclass(frozen=True)
class Circle(Domain):
    """Real numbers that mean the same if they differ by a period: angles, hours, weekdays.

    The error is the square of the shorter way round.

    Examples
    --------
    >>> from skglrm.domains import Circle
    >>> float(Circle(24.0).error(23.5, 0.5))
    1.0
    """

    n_levels = None
    period: float

    def __post_init__(self):
        if not 0 < self.period < math.inf:
            raise ValueError(f"Circle needs a finite period > 0; got {self.period!r}.")

    def contains(self, a: npt.ArrayLike) -> Booleans:  # noqa: D102
        return np.isfinite(a)

    def impute(self, loss: Any, u: npt.ArrayLike) -> Floats:  # noqa: D102
        a = np.mod(self._numbers(loss, u), self.period)
        # A tiny negative number is rounded up to the period itself, which is 0.
        return np.where(a == self.period, 0.0, a).astype(a.dtype, copy=False)

    def error(self, predicted: npt.ArrayLike, observed: npt.ArrayLike) -> Floats:  # noqa: D102
        way = np.mod(np.abs(_floats(predicted) - _floats(observed)), self.period)
        return np.square(np.minimum(way, self.period - way))


@dataclass(frozen=True)
class Boolean(Domain):
    """True or false, observed as 1 and 0, or as 1 and -1, and imputed as 1 and 0.

    Losses of Booleans say true where the prediction is positive; of the others, the cheaper
    observation is taken.  The error is 1 where predicted and observed disagree.

    Examples
    --------
    >>> from skglrm.domains import Boolean
    >>> from skglrm.losses import Logistic, Quadratic
    >>> Boolean().impute(Logistic(), [-0.2, 0.2]), Boolean().impute(Quadratic(), [0.2, 0.6])
    (array([0., 1.]), array([0., 1.]))
    """

    n_levels = 2

    def contains(self, a: npt.ArrayLike) -> Booleans:  # noqa: D102
        a = np.asarray(a)
        return (a == 0) | (a == 1) | (a == -1)

    def impute(self, loss: Any, u: npt.ArrayLike) -> Floats:  # noqa: D102
        if isinstance(loss, VectorLossRecord):
            return self._codes(loss, u)
        if isinstance(loss.domain, Boolean):
            return _floats(loss.impute(u))
        u = _floats(u)
        value = np.frompyfunc(loss.value, 2, 1)
        return np.asarray(value(u, 1.0) < value(u, 0.0)).astype(u.dtype)

    def error(self, predicted: npt.ArrayLike, observed: npt.ArrayLike) -> Floats:  # noqa: D102
        return ((_floats(predicted) > 0) != (_floats(observed) > 0)).astype(np.float64)


@dataclass(frozen=True)
class Count(Domain):
    """Whole numbers from 0 to ``max``, or without end; the error is squared."""

    max: int | None = None

    def __post_init__(self):
        if self.max is not None and not (self.max >= 1 and self.max == int(self.max)):
            raise ValueError(f"Count needs a whole max >= 1, or None; got {self.max!r}.")

    @property
    def n_levels(self) -> int | None:  # type: ignore[override]  # noqa: D102
        return None if self.max is None else int(self.max) + 1

    def contains(self, a: npt.ArrayLike) -> Booleans:  # noqa: D102
        return _whole_numbers(a, 0, math.inf if self.max is None else self.max)

    def impute(self, loss: Any, u: npt.ArrayLike) -> Floats:  # noqa: D102
        if self.max is not None:
            return Ordinal(0, self.max).impute(loss, u)
        return np.maximum(np.rint(self._numbers(loss, u)), 0.0)


@dataclass(frozen=True)
class Ordinal(Domain):
    """Whole numbers from ``low`` to ``high``: levels with an order.  The error is squared.

    Losses of numbers are rounded, losses of Booleans tell the two ends apart.

    Examples
    --------
    >>> from skglrm.domains import Ordinal
    >>> from skglrm.losses import Quadratic
    >>> Ordinal(1, 5).impute(Quadratic(), [0.2, 2.5, 3.5, 9.0])
    array([1., 2., 4., 5.])
    """

    low: int
    high: int

    def __post_init__(self):
        if not (self.low < self.high and self.low == int(self.low) and self.high == int(self.high)):
            raise ValueError(
                f"Ordinal needs whole numbers low < high; got {self.low!r} and {self.high!r}."
            )

    @property
    def n_levels(self) -> int:  # type: ignore[override]  # noqa: D102
        return int(self.high - self.low) + 1

    def contains(self, a: npt.ArrayLike) -> Booleans:  # noqa: D102
        return _whole_numbers(a, self.low, self.high)

    def impute(self, loss: Any, u: npt.ArrayLike) -> Floats:  # noqa: D102
        if isinstance(loss, VectorLossRecord):
            return self.low + self._codes(loss, u)
        if isinstance(loss.domain, Boolean):
            true = _floats(loss.impute(u))
            return np.where(true > 0, self.high, self.low).astype(true.dtype)
        return np.clip(np.rint(self._numbers(loss, u)), self.low, self.high)


@dataclass(frozen=True)
class Categorical(Domain):
    """Levels without an order, numbered from 0.  The error is 1 where they differ."""

    n_levels: int

    def __post_init__(self):
        check_levels(self)

    def contains(self, a: npt.ArrayLike) -> Booleans:  # noqa: D102
        return _whole_numbers(a, 0, self.n_levels - 1)

    def impute(self, loss: Any, u: npt.ArrayLike) -> Floats:  # noqa: D102
        return self._codes(loss, u)

    def error(self, predicted: npt.ArrayLike, observed: npt.ArrayLike) -> Floats:  # noqa: D102
        return (_floats(predicted) != _floats(observed)).astype(np.float64)


def check_levels(what: Any) -> None:
    """Refuse fewer than two levels, which leave nothing to predict."""
    if not (what.n_levels >= 2 and what.n_levels == int(what.n_levels)):
        raise ValueError(
            f"{type(what).__name__} needs a whole number n_levels >= 2; got {what.n_levels!r}."
        )


def _whole_numbers(a: npt.ArrayLike, low: float, high: float) -> Booleans:
    a = np.asarray(a)
    return np.isfinite(a) & (a >= low) & (a <= high) & (a == np.rint(a))


def _floats(a: npt.ArrayLike) -> Floats:
    a = np.asarray(a)
    return a if np.issubdtype(a.dtype, np.floating) else a.astype(np.float64)
