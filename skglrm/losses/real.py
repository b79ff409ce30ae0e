"""Losses of real numbers: functions of the error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Loss

__all__ = ["Absolute", "Huber", "Quadratic"]


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

    def value(self, u, a):  # noqa: D102
        r = u - a
        return 0.5 * r * r

    def gradient(self, u, a):  # noqa: D102
        return u - a

    def best_constant(self, values):  # noqa: D102
        return float(np.mean(values, dtype=np.float64))


@dataclass(frozen=True)
class Absolute(Loss):
    """Absolute error, :math:`|u - a|`: its best constant is the median."""

    degree: ClassVar[float | None] = 1.0
    smooth: ClassVar[bool] = False

    def value(self, u, a):  # noqa: D102
        return abs(u - a)

    def gradient(self, u, a):  # noqa: D102
        return (u > a) * 1.0 - (u < a) * 1.0

    def best_constant(self, values):  # noqa: D102
        return float(np.median(values))


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

    def value(self, u, a):  # noqa: D102
        r = abs(u - a)
        return 0.5 * r * r if r <= self.delta else self.delta * (r - 0.5 * self.delta)

    def gradient(self, u, a):  # noqa: D102
        return min(max(u - a, -self.delta), self.delta)

    def best_constant(self, values):  # noqa: D102
        # The derivative of the total cost is monotone: bisect it between the extremes.
        low, high = float(np.min(values)), float(np.max(values))
        while high - low > 1e-12 * max(1.0, abs(low), abs(high)):
            middle = 0.5 * (low + high)
            if middle in (low, high):
                break
            slope = np.clip(middle - values, -self.delta, self.delta).sum(dtype=np.float64)
            low, high = (middle, high) if slope < 0 else (low, middle)
        return 0.5 * (low + high)
