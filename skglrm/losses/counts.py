"""Losses of counts, rates, and other numbers that are not negative."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..domains import Count, Domain, Positive, Real
from . import _constants
from .base import Loss

__all__ = ["KL", "Fractional", "Poisson"]

OVERFLOW = 709.0
"""Beyond it ``exp`` overflows, where Python raises."""

TINY = 1e-8
"""Below it KL is continued."""

TINIEST = 1e-300
"""In place of a share of the prediction that underflows: its logarithm is still a number."""

SMALL_SHARE = 1e-3
"""Below this share of the observation Fractional is continued linearly."""


@dataclass(frozen=True)
class Poisson(Loss):
    r"""Deviance of counts from :math:`e^u`: :math:`e^u - au + a\log a - a`.

    Observations are numbers of events, or rates: any a ≥ 0.  The domain is :class:`~.Count`, so
    imputed numbers are rounded.  Value and gradient are +inf where :math:`e^u` overflows.

    Examples
    --------
    >>> from skglrm.losses import Poisson
    >>> round(Poisson().value(0.3, 2.0), 10), round(Poisson().gradient(0.3, 2.0), 10)
    (0.1361531687, -0.6501411924)
    """

    finite: ClassVar[bool] = False

    @property
    def domain(self) -> Domain:  # noqa: D102
        return Count()

    def value(self, u, a):  # noqa: D102
        rest = a * math.log(a) - a if a > 0 else 0.0
        return math.exp(u) - a * u + rest if u < OVERFLOW else math.inf

    def gradient(self, u, a):  # noqa: D102
        return math.exp(u) - a if u < OVERFLOW else math.inf

    def contains(self, a):  # noqa: D102
        return Real(low=0.0).contains(a)

    def impute(self, u):  # noqa: D102
        return np.exp(np.minimum(u, OVERFLOW))

    def best_constant(self, values, weights=None):  # noqa: D102
        a, w = _constants.counted(values, weights)
        if not a.size:
            return 0.0
        # Without any event the best constant is -∞: count half an event.
        return math.log(_constants.mean(a, w) or 0.5 / a.size)


@dataclass(frozen=True)
class KL(Loss):
    r"""Generalised Kullback-Leibler divergence :math:`a \log(a/u) - a + u`, for :math:`u > 0`.

    The loss of non-negative matrix factorization with ``beta_loss="kullback-leibler"``; give rows
    and columns a :class:`~skglrm.regularizers.NonNegative` regularizer.  Below :math:`t = 10^{-8}`
    it is continued linearly, and below 0 the square :math:`u^2 / 2t` is added, so that negative
    predictions do not pay where nothing was observed, or not more than the :math:`t/2` that
    smoothness costs there.

    Examples
    --------
    >>> from skglrm.losses import KL
    >>> KL().value(2.0, 2.0), KL().gradient(2.0, 1.0)
    (0.0, 0.5)
    """

    @property
    def domain(self) -> Domain:  # noqa: D102
        return Real(low=0.0)

    def value(self, u, a):  # noqa: D102
        v = max(u, TINY)
        below = min(u, 0.0)
        # The share may underflow; its logarithm must not be that of 0.
        least = a * math.log(max(a / v, TINIEST)) - a + v if a > 0 else v
        return least + (1.0 - a / v) * (u - v) + below * below / (2.0 * TINY)

    def gradient(self, u, a):  # noqa: D102
        return 1.0 - a / max(u, TINY) + min(u, 0.0) / TINY

    def impute(self, u):  # noqa: D102
        return np.maximum(u, 0.0)

    def best_constant(self, values, weights=None):  # noqa: D102
        return _constants.mean(values, weights)


@dataclass(frozen=True)
class Fractional(Loss):
    r"""By how many times the prediction is off, less one: :math:`\max(a/u, u/a) - 1`.

    Below a thousandth of the observation it is continued linearly.

    Examples
    --------
    >>> from skglrm.losses import Fractional
    >>> Fractional().value(20.0, 10.0), Fractional().value(5.0, 10.0)
    (1.0, 1.0)
    """

    degree: ClassVar[float | None] = 0.0
    smooth: ClassVar[bool] = False

    @property
    def domain(self) -> Domain:  # noqa: D102
        return Positive()

    def value(self, u, a):  # noqa: D102
        v = max(u, SMALL_SHARE * a)
        return u / a - 1.0 if u >= a else a / v - 1.0 - a / (v * v) * (u - v)

    def gradient(self, u, a):  # noqa: D102
        v = max(u, SMALL_SHARE * a)
        return 1.0 / a * (u > a) - a / (v * v) * (u < a)

    def impute(self, u):  # noqa: D102
        u = np.asarray(u, np.result_type(u, np.float32))
        return np.maximum(u, np.finfo(u.dtype).tiny)

    def best_constant(self, values, weights=None):  # noqa: D102
        a, w = _constants.counted(values, weights)
        if not a.size:
            return 0.0

        def slope(u):
            v = np.maximum(u, SMALL_SHARE * a)
            return float(w @ np.where(u < a, -a / (v * v), 1.0 / a))

        return _constants.root(slope, float(a.min()), float(a.max()))
