r"""Losses of levels that have an order.

The vector losses have one prediction :math:`u_c` for each threshold :math:`c = 1, \dots, K-1`
between the K levels :math:`0, \dots, K-1`; the observation a is above threshold c if
:math:`a \ge c`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..domains import Domain, Ordinal, check_levels
from . import _constants
from .base import Loss, VectorLoss
from .boolean import Logistic, check_binary

__all__ = ["BiggerVsSmaller", "CumulativeLogit", "MultinomialOrdinal", "OrdinalHinge", "Ordistic"]

_LOGISTIC = Logistic()


@dataclass(frozen=True)
class OrdinalHinge(Loss):
    r"""Hinges at all levels, :math:`\sum_{b<a} (1 - u + b)_+ + \sum_{b>a} (1 + u - b)_+`.

    Parameters
    ----------
    low, high : int
        The first and the last level.

    References
    ----------
    J. Rennie and N. Srebro, "Fast maximum margin matrix factorization for collaborative
    prediction", ICML 2005.

    Examples
    --------
    >>> from skglrm.losses import OrdinalHinge
    >>> OrdinalHinge(1, 5).value(3.5, 2.0), OrdinalHinge(1, 5).gradient(3.5, 2.0)
    (2.0, 2.0)
    """

    low: int
    high: int

    smooth: ClassVar[bool] = False

    def __post_init__(self):
        Ordinal(self.low, self.high)  # refuses what is no range

    @property
    def domain(self) -> Domain:  # noqa: D102
        return Ordinal(self.low, self.high)

    def value(self, u, a):  # noqa: D102
        # The levels b with a positive part are consecutive: floor(u) ≤ b < a or a < b ≤ ceil(u).
        inside = min(max(u, self.low), self.high)
        first, last = math.floor(inside), math.ceil(inside)
        below, above = max(a - first, 0.0), max(last - a, 0.0)
        return below * (1.0 - u + 0.5 * (first + a - 1.0)) + above * (
            1.0 + u - 0.5 * (last + a + 1.0)
        )

    def gradient(self, u, a):  # noqa: D102
        inside = min(max(u, self.low), self.high)
        return max(math.ceil(inside) - a, 0.0) - max(a - math.floor(inside), 0.0)

    def impute(self, u):  # noqa: D102
        return np.clip(np.rint(u), self.low, self.high)

    def best_constant(self, values, weights=None):  # noqa: D102
        a, w = _constants.counted(values, weights)
        if not a.size:
            return 0.0
        # The cost is linear between levels.
        levels = np.arange(self.low, self.high + 1.0)
        counts = np.bincount((a - self.low).astype(np.intp), w, levels.size)
        costs = [
            sum(count * self.value(u, b) for b, count in zip(levels, counts, strict=True))
            for u in levels.tolist()
        ]
        return float(levels[int(np.argmin(costs))])


class _OfThresholds(VectorLoss):
    """What losses of thresholds share."""

    __slots__ = ()
    n_levels: int

    def __post_init__(self):
        check_levels(self)

    @property
    def embedding_dim(self) -> int:
        return self.n_levels - 1

    @property
    def domain(self) -> Domain:
        return Ordinal(0, self.n_levels - 1)

    def _shares_above(self, values, weights):
        """Return the shares of observations above each threshold."""
        shares = _constants.shares(values, weights, self.n_levels)
        return np.cumsum(shares[::-1])[-2::-1]


@dataclass(frozen=True)
class BiggerVsSmaller(_OfThresholds):
    r"""A Boolean loss for each threshold, :math:`\sum_c L(u_c, [a \ge c])`.

    Parameters
    ----------
    n_levels : int
        Number of levels K.
    binary : Loss, default=Logistic()
        Loss of Booleans.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.losses import BiggerVsSmaller, Hinge
    >>> float(BiggerVsSmaller(3, Hinge()).value(np.array([2.0, 0.5]), 1.0))  # above the first only
    1.5
    """

    n_levels: int
    binary: Loss = _LOGISTIC

    ordered: ClassVar[bool] = True

    def __post_init__(self):
        check_levels(self)
        check_binary(self)

    @property
    def smooth(self) -> bool:  # type: ignore[override]  # noqa: D102
        return self.binary.smooth

    @property
    def convex(self) -> bool:  # type: ignore[override]  # noqa: D102
        return self.binary.convex

    @property
    def curvature(self) -> float | None:  # noqa: D102
        return self.binary.curvature

    def value(self, u, a):  # noqa: D102
        total = 0.0
        for c in range(u.size):
            total += self.binary.value(u[c], 1.0 if a > c else 0.0)
        return total

    def gradient(self, u, a, out):  # noqa: D102
        for c in range(u.size):
            out[c] = self.binary.gradient(u[c], 1.0 if a > c else 0.0)

    def impute(self, u):  # noqa: D102
        u = np.asarray(u)
        value = np.frompyfunc(self.binary.value, 2, 1)
        # Passing one more threshold changes the cost by what saying true there costs more.
        steps = (value(u, 1.0) - value(u, 0.0)).astype(np.float64)
        costs = np.concatenate([np.zeros((*u.shape[:-1], 1)), np.cumsum(steps, axis=-1)], axis=-1)
        return np.argmin(costs, axis=-1).astype(np.float64)

    def best_constant(self, values, weights=None):  # noqa: D102
        a = np.asarray(values)
        above = [(a > c).astype(np.float64) for c in range(self.n_levels - 1)]
        return np.array([self.binary.best_constant(one, weights) for one in above])


@dataclass(frozen=True)
class MultinomialOrdinal(_OfThresholds):
    r"""Minus the log-likelihood of levels whose tails have log-probabilities :math:`u_c`.

    :math:`P(a \ge c) = e^{u_c}`, so the cost is :math:`-\log(e^{u_a} - e^{u_{a+1}})`, with
    :math:`u_0 = 0` and :math:`u_K = -\infty`.  It is +inf unless :math:`0 > u_1 > u_2 > \dots`, so
    a fit needs a start that obeys this, such as the best constant.

    Parameters
    ----------
    n_levels : int
        Number of levels K.

    Notes
    -----
    Where the thresholds share their factors, as :class:`~skglrm.GLRM` ties them, a row multiplies
    all tails by one number: it moves level 0 against the others, but not the others against each
    other.  ``CumulativeLogit`` and ``BiggerVsSmaller`` move all levels, and are nearly always the
    better choice.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.losses import MultinomialOrdinal
    >>> u = np.array([-0.5, -1.2, -2.5])
    >>> np.exp([-MultinomialOrdinal(4).value(u, float(a)) for a in range(4)]).round(4)
    array([0.3935, 0.3053, 0.2191, 0.0821])
    """

    n_levels: int

    finite: ClassVar[bool] = False

    def value(self, u, a):  # noqa: D102
        if not u[0] < 0:
            return math.inf
        for c in range(1, u.size):
            if not u[c] < u[c - 1]:
                return math.inf
        k = int(a)
        upper = u[k - 1] if k > 0 else 0.0
        if k == u.size:
            return -upper
        return -upper - math.log(-math.expm1(u[k] - upper))

    def gradient(self, u, a, out):  # noqa: D102
        feasible = u[0] < 0
        out[0] = 0.0
        for c in range(1, u.size):
            feasible = feasible and u[c] < u[c - 1]
            out[c] = 0.0
        k = int(a)
        if not feasible:
            return
        if k == u.size:
            out[k - 1] = -1.0
            return
        upper = u[k - 1] if k > 0 else 0.0
        ratio = math.exp(u[k] - upper) / -math.expm1(u[k] - upper)
        out[k] = ratio
        if k > 0:
            out[k - 1] = -1.0 - ratio

    def impute(self, u):  # noqa: D102
        tails = np.exp(np.minimum(u, 0.0))
        return _most_probable(tails)

    def best_constant(self, values, weights=None):  # noqa: D102
        return np.log(self._shares_above(values, weights))


@dataclass(frozen=True)
class CumulativeLogit(_OfThresholds):
    r"""Proportional odds: minus the log-likelihood of levels whose tails have log odds :math:`u_c`.

    :math:`P(a \ge c) = \sigma(u_c)`, so the cost is :math:`-\log(\sigma(u_a) - \sigma(u_{a+1}))`,
    with :math:`u_0 = \infty` and :math:`u_K = -\infty`.  It is +inf unless
    :math:`u_1 > u_2 > \dots`, so a fit needs a start that obeys this, such as the best constant.
    With two levels it is :class:`~.Logistic`.

    Parameters
    ----------
    n_levels : int
        Number of levels K.

    Notes
    -----
    A weakly regularized fit to few cells per row is slow, for the odds of many cells then grow
    without much to stop them; raise ``regularization`` before ``max_iter``.

    References
    ----------
    P. McCullagh, "Regression models for ordinal data", J. R. Statist. Soc. B 1980.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.losses import CumulativeLogit
    >>> u = np.log([3.0, 1.0])  # odds of 3 : 1 and 1 : 1, so levels have 1/4, 1/4 and 1/2
    >>> np.exp([-CumulativeLogit(3).value(u, float(a)) for a in range(3)]).round(6)
    array([0.25, 0.25, 0.5 ])
    """

    n_levels: int

    @property
    def finite(self) -> bool:  # type: ignore[override]  # noqa: D102
        return self.n_levels == 2

    @property
    def curvature(self) -> float | None:  # noqa: D102
        return 0.25 if self.n_levels == 2 else None

    def value(self, u, a):  # noqa: D102
        for c in range(1, u.size):
            if not u[c] < u[c - 1]:
                return math.inf
        # σ(x) - σ(y) = σ(x) σ(-y) (1 - e^(y - x))
        k = int(a)
        cost = 0.0
        if k > 0:
            cost += max(-u[k - 1], 0.0) + math.log1p(math.exp(-abs(u[k - 1])))
        if k < u.size:
            cost += max(u[k], 0.0) + math.log1p(math.exp(-abs(u[k])))
        if 0 < k < u.size:
            cost -= math.log(-math.expm1(u[k] - u[k - 1]))
        return cost

    def gradient(self, u, a, out):  # noqa: D102
        feasible = True
        out[0] = 0.0
        for c in range(1, u.size):
            feasible = feasible and u[c] < u[c - 1]
            out[c] = 0.0
        if not feasible:
            return
        k = int(a)
        ratio = 0.0
        if 0 < k < u.size:
            ratio = math.exp(u[k] - u[k - 1]) / -math.expm1(u[k] - u[k - 1])
        if k > 0:
            tail = math.exp(-abs(u[k - 1]))
            out[k - 1] = -(tail if u[k - 1] > 0 else 1.0) / (1.0 + tail) - ratio
        if k < u.size:
            tail = math.exp(-abs(u[k]))
            out[k] = (1.0 if u[k] > 0 else tail) / (1.0 + tail) + ratio

    def impute(self, u):  # noqa: D102
        return _most_probable(0.5 + 0.5 * np.tanh(0.5 * np.asarray(u)))

    def best_constant(self, values, weights=None):  # noqa: D102
        above = self._shares_above(values, weights)
        return np.log(above) - np.log1p(-above)


@dataclass(frozen=True)
class Ordistic(VectorLoss):
    r"""Levels whose log-probabilities are :math:`-u_c^2`: :math:`u_a^2 + \log\sum_c e^{-u_c^2}`.

    Here :math:`u_c` is the distance to level c, one for each of the K levels.  Not convex.

    Parameters
    ----------
    n_levels : int
        Number of levels K.

    References
    ----------
    J. Rennie and N. Srebro, "Loss functions for preference levels: regression with discrete ordered
    labels", IJCAI workshop on preference handling 2005.
    """

    n_levels: int

    convex: ClassVar[bool] = False

    def __post_init__(self):
        check_levels(self)

    @property
    def embedding_dim(self) -> int:  # noqa: D102
        return self.n_levels

    @property
    def domain(self) -> Domain:  # noqa: D102
        return Ordinal(0, self.n_levels - 1)

    def value(self, u, a):  # noqa: D102
        least = u[0] * u[0]
        for c in range(1, u.size):
            least = min(least, u[c] * u[c])
        total = 0.0
        for c in range(u.size):
            total += math.exp(least - u[c] * u[c])
        k = int(a)
        return u[k] * u[k] - least + math.log(total)

    def gradient(self, u, a, out):  # noqa: D102
        least = u[0] * u[0]
        for c in range(1, u.size):
            least = min(least, u[c] * u[c])
        total = 0.0
        for c in range(u.size):
            out[c] = math.exp(least - u[c] * u[c])
            total += out[c]
        k = int(a)
        for c in range(u.size):
            out[c] = 2.0 * u[c] * ((1.0 if c == k else 0.0) - out[c] / total)

    def impute(self, u):  # noqa: D102
        return np.argmin(np.square(u), axis=-1).astype(np.float64)

    def best_constant(self, values, weights=None):  # noqa: D102
        shares = _constants.shares(values, weights, self.n_levels)
        return np.sqrt(np.log(shares.max() / shares))


def _most_probable(tails):
    """Return the level of largest probability, by the probabilities of being above thresholds."""
    ends = np.ones((*tails.shape[:-1], 1))
    tails = np.concatenate([ends, tails, 0.0 * ends], axis=-1)
    return np.argmax(tails[..., :-1] - tails[..., 1:], axis=-1).astype(np.float64)
