"""Losses of real numbers: functions of the error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..domains import Circle, Domain, Real
from . import _constants
from .base import Loss

__all__ = ["Absolute", "Huber", "Interval", "Periodic", "Quadratic", "Quantile", "Truncated"]


@dataclass(frozen=True)
class Quadratic(Loss):
    r"""Half the squared error, :math:`\tfrac12 (u - a)^2`.

    Examples
    --------
    >>> from skglrm.losses import Quadratic
    >>> Quadratic().value(3.0, 1.0), Quadratic().gradient(3.0, 1.0)
    (2.0, 2.0)
    """

    degree: ClassVar[float | None] = 2.0

    @property
    def curvature(self) -> float:  # noqa: D102
        return 1.0

    def value(self, u, a):  # noqa: D102
        r = u - a
        return 0.5 * r * r

    def gradient(self, u, a):  # noqa: D102
        return u - a

    def best_constant(self, values, weights=None):  # noqa: D102
        return _constants.mean(values, weights)


@dataclass(frozen=True)
class Absolute(Loss):
    """Absolute error, :math:`|u - a|`: its best constant is the median."""

    degree: ClassVar[float | None] = 1.0
    smooth: ClassVar[bool] = False

    def value(self, u, a):  # noqa: D102
        return abs(u - a)

    def gradient(self, u, a):  # noqa: D102
        return (u > a) * 1.0 - (u < a) * 1.0

    def best_constant(self, values, weights=None):  # noqa: D102
        if weights is None and np.size(values):
            return float(np.median(values))
        a, w = _constants.counted(values, weights)
        return _constants.lowest_of_kinks(a, 2.0 * w, -w.sum())


@dataclass(frozen=True)
class Huber(Loss):
    r"""Quadratic near zero and linear beyond ``delta``: robust to outliers.

    :math:`\tfrac12 r^2` where :math:`|r| \le \delta`, else
    :math:`\delta(|r| - \tfrac12\delta)`, with :math:`r = u - a`.

    Parameters
    ----------
    delta : float, default=1.0
        Error at which the loss turns linear, in units of the data; positive.
    """

    delta: float = 1.0

    def __post_init__(self):
        if not self.delta > 0:
            raise ValueError(f"Huber needs delta > 0; got {self.delta!r}.")

    @property
    def curvature(self) -> float:  # noqa: D102
        return 1.0

    def value(self, u, a):  # noqa: D102
        r = abs(u - a)
        return 0.5 * r * r if r <= self.delta else self.delta * (r - 0.5 * self.delta)

    def gradient(self, u, a):  # noqa: D102
        return min(max(u - a, -self.delta), self.delta)

    def best_constant(self, values, weights=None):  # noqa: D102
        a, w = _constants.counted(values, weights)
        if not a.size:
            return 0.0
        return _constants.root(
            lambda u: float(w @ np.clip(u - a, -self.delta, self.delta)),
            float(a.min()),
            float(a.max()),
        )


@dataclass(frozen=True)
class Quantile(Loss):
    r"""Pinball loss: :math:`q (a - u)` below the observation, :math:`(1 - q)(u - a)` above it.

    Its best constant is the ``q``-quantile; for ``q = 0.5`` it is half the absolute error.

    Parameters
    ----------
    q : float, default=0.5
        The quantile, between 0 and 1.

    References
    ----------
    R. Koenker and G. Bassett, "Regression quantiles", Econometrica 1978.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.losses import Quantile
    >>> Quantile(0.9).best_constant(np.arange(11.0))
    9.0
    """

    q: float = 0.5

    degree: ClassVar[float | None] = 1.0
    smooth: ClassVar[bool] = False

    def __post_init__(self):
        if not 0 < self.q < 1:
            raise ValueError(f"Quantile needs 0 < q < 1; got {self.q!r}.")

    def value(self, u, a):  # noqa: D102
        return self.q * (a - u) if u < a else (1.0 - self.q) * (u - a)

    def gradient(self, u, a):  # noqa: D102
        return (1.0 - self.q) * (u > a) - self.q * (u < a)

    def best_constant(self, values, weights=None):  # noqa: D102
        a, w = _constants.counted(values, weights)
        return _constants.lowest_of_kinks(a, w, -self.q * w.sum())


@dataclass(frozen=True)
class Periodic(Loss):
    r"""Loss of angles, hours or weekdays, :math:`1 - \cos(2\pi (u - a) / T)`.

    Parameters
    ----------
    period : float
        The period T, in units of the data; positive.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.losses import Periodic
    >>> round(Periodic(24.0).best_constant(np.array([23.0, 2.0])), 6)  # hours around midnight
    0.5
    """

    period: float

    convex: ClassVar[bool] = False

    def __post_init__(self):
        if not 0 < self.period < math.inf:
            raise ValueError(f"Periodic needs a finite period > 0; got {self.period!r}.")

    @property
    def curvature(self) -> float:  # noqa: D102
        return (2.0 * math.pi / self.period) ** 2

    @property
    def domain(self) -> Domain:  # noqa: D102
        return Circle(self.period)

    def value(self, u, a):  # noqa: D102
        # 1 - cos x loses all digits near 0.
        half = math.sin(math.pi * (u - a) / self.period)
        return 2.0 * half * half

    def gradient(self, u, a):  # noqa: D102
        turn = 2.0 * math.pi / self.period
        return turn * math.sin(turn * (u - a))

    def impute(self, u):  # noqa: D102
        return self.domain.impute(_IDENTITY, u)

    def best_constant(self, values, weights=None):  # noqa: D102
        a, w = _constants.counted(values, weights)
        turn = 2.0 * math.pi / self.period
        angle = math.atan2(float(w @ np.sin(turn * a)), float(w @ np.cos(turn * a)))
        return float(self.domain.impute(_IDENTITY, angle / turn))


@dataclass(frozen=True)
class Interval(Loss):
    r"""Loss of observations that are intervals, or are censored.

    An observation a stands for the interval :math:`[l, r] = [a - radius, a + radius]`.  One at or
    below ``lower`` says no more than "that low", so :math:`l = -\infty`; one at or above ``upper``
    says "that high", so :math:`r = \infty`.  The cost is the distance to the interval,
    :math:`(l - u)_+ + (u - r)_+`.

    Parameters
    ----------
    radius : float, default=0.0
        Half the width of the intervals.
    lower, upper : float, default=-inf, inf
        Limits of detection.

    Examples
    --------
    >>> from skglrm.losses import Interval
    >>> loss = Interval(upper=10.0)
    >>> loss.value(12.0, 10.0), loss.value(12.0, 9.0)  # 10 means "10 or more"
    (0.0, 3.0)
    """

    radius: float = 0.0
    lower: float = -math.inf
    upper: float = math.inf

    smooth: ClassVar[bool] = False

    def __post_init__(self):
        if not 0 <= self.radius < math.inf:
            raise ValueError(f"Interval needs a finite radius >= 0; got {self.radius!r}.")
        if not self.lower < self.upper:
            raise ValueError(
                f"Interval needs lower < upper; got {self.lower!r} and {self.upper!r}."
            )

    def value(self, u, a):  # noqa: D102
        below = max(a - self.radius - u, 0.0) if a > self.lower else 0.0
        above = max(u - a - self.radius, 0.0) if a < self.upper else 0.0
        return below + above

    def gradient(self, u, a):  # noqa: D102
        below = a > self.lower and u < a - self.radius
        above = a < self.upper and u > a + self.radius
        return above * 1.0 - below * 1.0

    def best_constant(self, values, weights=None):  # noqa: D102
        a, w = _constants.counted(values, weights)
        left, right = a > self.lower, a < self.upper
        kinks = np.concatenate([a[left] - self.radius, a[right] + self.radius])
        return _constants.lowest_of_kinks(
            kinks, np.concatenate([w[left], w[right]]), -w[left].sum()
        )


@dataclass(frozen=True)
class Truncated(Loss):
    r"""A loss that is not charged for going beyond the bounds: ``base`` at clip(u, lower, upper).

    For ratings or shares, whose scale ends while the tendency does not.  Not convex: a prediction
    far beyond a bound feels no pull back.

    Parameters
    ----------
    base : Loss
        Loss of real numbers.
    lower, upper : float
        The bounds, between which all observations lie.

    Examples
    --------
    >>> from skglrm.losses import Quadratic, Truncated
    >>> loss = Truncated(Quadratic(), 1.0, 5.0)
    >>> loss.value(7.0, 5.0), loss.value(7.0, 4.0), loss.value(4.5, 4.0)
    (0.0, 0.5, 0.125)
    """

    base: Loss
    lower: float
    upper: float

    smooth: ClassVar[bool] = False
    convex: ClassVar[bool] = False

    def __post_init__(self):
        if not self.lower < self.upper:
            raise ValueError(
                f"Truncated needs lower < upper; got {self.lower!r} and {self.upper!r}."
            )
        if not isinstance(self.base.domain, Real):
            raise ValueError(
                f"Truncated needs a loss of real numbers; got {self.base!r}, a loss of "
                f"{self.base.domain!r}."
            )

    @property
    def curvature(self) -> float | None:  # noqa: D102
        return self.base.curvature

    @property
    def domain(self) -> Domain:  # noqa: D102
        return Real(self.lower, self.upper)

    def value(self, u, a):  # noqa: D102
        return self.base.value(min(max(u, self.lower), self.upper), a)

    def gradient(self, u, a):  # noqa: D102
        return self.base.gradient(u, a) if self.lower <= u <= self.upper else 0.0

    def contains(self, a):  # noqa: D102
        return self.domain.contains(a) & self.base.contains(a)

    def impute(self, u):  # noqa: D102
        return np.clip(self.base.impute(u), self.lower, self.upper)

    def best_constant(self, values, weights=None):  # noqa: D102
        return min(max(self.base.best_constant(values, weights), self.lower), self.upper)


_IDENTITY = Quadratic()
"""Imputes a prediction as it is."""
