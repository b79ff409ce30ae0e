"""Convex constraints: 0 where they hold, infinity elsewhere; their prox is the projection.

They have no strength, so that no strength of 0 can switch them off.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, sqrt
from typing import ClassVar

from .base import Regularizer, check_not_empty

__all__ = ["Ball", "Box", "Entropy", "NonNegative", "Simplex"]

TOLERANCE = 1e-6
"""Relative error up to which a constraint on a norm or on a sum holds, float32 in mind."""


@dataclass(frozen=True)
class NonNegative(Regularizer):
    """The constraint x ≥ 0."""

    separable: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = True

    @property
    def ridge_on_interval(self):  # noqa: D102
        return 0.0, 0.0, inf

    def value(self, x):  # noqa: D102
        for d in range(x.size):
            if x[d] < 0:
                return inf
        return 0.0

    def prox(self, x, step):  # noqa: D102
        for d in range(x.size):
            x[d] = max(x[d], 0.0)


@dataclass(frozen=True)
class Box(Regularizer):
    """The constraint lower ≤ x ≤ upper for every entry.

    Parameters
    ----------
    lower, upper : float, default=0.0 and 1.0
        Ends of the interval; they may be infinite.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import Box
    >>> x = np.array([-0.5, 0.25, 7.0])
    >>> Box(0.0, 1.0).prox(x, 1.0)
    >>> x
    array([0.  , 0.25, 1.  ])
    """

    lower: float = 0.0
    upper: float = 1.0

    separable: ClassVar[bool] = True

    def __post_init__(self):
        if not (self.lower <= self.upper and self.lower < inf and self.upper > -inf):
            raise ValueError(
                f"Box needs lower <= upper, and a number between; got {self.lower!r} and "
                f"{self.upper!r}."
            )

    @property
    def ridge_on_interval(self):  # noqa: D102
        return 0.0, float(self.lower), float(self.upper)

    def value(self, x):  # noqa: D102
        for d in range(x.size):
            # An end such as 0.1 is no float32: what the prox has clipped must be inside.
            slack = TOLERANCE * abs(x[d])
            if x[d] < self.lower - slack or x[d] > self.upper + slack:
                return inf
        return 0.0

    def prox(self, x, step):  # noqa: D102
        for d in range(x.size):
            x[d] = min(max(x[d], self.lower), self.upper)


@dataclass(frozen=True)
class Ball(Regularizer):
    r"""The constraint :math:`\|x\|_2 \le \rho`: on both sides it bounds the max-norm by ρ².

    Parameters
    ----------
    radius : float, default=1.0
        ρ > 0.

    References
    ----------
    Srebro, Rennie and Jaakkola (2005), "Maximum-margin matrix factorization".

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import Ball
    >>> x = np.array([3.0, 4.0])
    >>> Ball(2.5).prox(x, 1.0)
    >>> x
    array([1.5, 2. ])
    """

    radius: float = 1.0

    shrinks: ClassVar[bool] = True

    def __post_init__(self):
        if not 0 < self.radius < inf:
            raise ValueError(f"Ball needs a finite radius > 0; got {self.radius!r}.")

    def value(self, x):  # noqa: D102
        total = 0.0
        for d in range(x.size):
            total += x[d] * x[d]
        return 0.0 if sqrt(total) <= self.radius * (1.0 + TOLERANCE) else inf

    def prox(self, x, step):  # noqa: D102
        total = 0.0
        for d in range(x.size):
            total += x[d] * x[d]
        norm = sqrt(total)
        if norm > self.radius:
            for d in range(x.size):
                x[d] *= self.radius / norm


@dataclass(frozen=True)
class Simplex(Regularizer):
    r"""The constraint :math:`x \ge 0, \; \sum_d x_d = 1`: rows are mixtures.

    The projection lowers all entries by one number and clips at zero (Michelot 1986).

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import Simplex
    >>> x = np.array([0.9, 0.6, -0.3, 0.1])
    >>> Simplex().prox(x, 1.0)
    >>> x
    array([0.65, 0.35, 0.  , 0.  ])
    """

    def check_size(self, size):  # noqa: D102
        check_not_empty(self, size)

    def value(self, x):  # noqa: D102
        total = 0.0
        for d in range(x.size):
            if x[d] < 0:
                return inf
            total += x[d]
        return 0.0 if abs(total - 1.0) <= TOLERANCE else inf

    def prox(self, x, step):  # noqa: D102
        top = -inf
        for d in range(x.size):
            top = max(top, x[d])
        # Relative to the largest entry, so that large entries do not hide the 1; written down,
        # because a kernel may add in another order.
        for d in range(x.size):
            x[d] -= top
        threshold, active, before = -inf, x.size + 1, x.size + 2
        while active < before:  # rounding could make it grow again, and shrink, for ever
            before, active, total = active, 0, -1.0
            for d in range(x.size):
                if x[d] > threshold:
                    total += float(x[d])
                    active += 1
            threshold = total / max(active, 1)
        for d in range(x.size):
            x[d] = max(x[d] - threshold, 0.0)


@dataclass(frozen=True)
class Entropy(Regularizer):
    r"""Negative entropy on the simplex, :math:`\lambda \sum_d x_d \log x_d`: mixtures with spread.

    Infinite unless :math:`x \ge 0` and :math:`\sum_d x_d = 1`; without strength it is
    :class:`Simplex`.

    Parameters
    ----------
    strength : float, default=1.0
        λ ≥ 0.

    Notes
    -----
    The prox solves :math:`\tau \log x_d + x_d = v_d - \tau - t` with τ = λ · step, where t makes
    the sum 1.  The sum is a convex decreasing function of t, so Newton's method from the left
    neither overshoots nor fails.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import Entropy
    >>> x = np.array([5.0, 0.0])
    >>> Entropy(1.0).prox(x, 1.0)
    >>> x.round(3)
    array([0.983, 0.017])
    """

    strength: float = 1.0

    def __post_init__(self):
        if not 0 <= self.strength < inf:
            raise ValueError(f"Entropy needs a finite strength >= 0; got {self.strength!r}.")

    def check_size(self, size):  # noqa: D102
        check_not_empty(self, size)

    def value(self, x):  # noqa: D102
        total, cost = 0.0, 0.0
        for d in range(x.size):
            if x[d] < 0:
                return inf
            if x[d] > 0:
                cost += x[d] * log(x[d])
            total += x[d]
        return self.strength * cost if abs(total - 1.0) <= TOLERANCE else inf

    def prox(self, x, step):  # noqa: D102
        tau = step * self.strength
        top = -inf
        for d in range(x.size):
            top = max(top, float(x[d]))
        t, last = -1.0 - tau, False  # relative to top, where the largest entry becomes 1
        for _ in range(200):
            total, slope = 0.0, 0.0
            for d in range(x.size):
                c = float(x[d]) - top - tau - t
                p = 0.0
                if c > -745.0 * tau:  # else p = exp(y) is 0
                    # τ y + exp(y) = c by Newton's method from the right, where it is monotone.
                    y = log(c) if c > 1.0 else min(0.0, c / tau) if c < 0.0 else 0.0
                    for _ in range(200):
                        p = exp(y)
                        move = (tau * y + p - c) / (tau + p)
                        y -= move
                        if abs(move) <= 1e-15 * max(1.0, abs(y)):
                            break
                    p = exp(y)
                    total += p
                    slope += p / (p + tau)
                if last:
                    x[d] = p
            if last:
                break
            move = (total - 1.0) / slope if slope > 0.0 else 0.0
            t += move
            last = abs(move) <= 1e-15 * max(1.0, abs(t))
