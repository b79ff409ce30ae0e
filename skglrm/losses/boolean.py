r"""Losses of Booleans: functions of :math:`su`, where s is 1 for true and -1 for false.

An observation is true if it is positive, so both 0 and 1, and -1 and 1, will do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..domains import Boolean, Domain
from . import _constants
from .base import Loss

__all__ = ["Hinge", "Logistic", "SquaredHinge", "WeightedHinge"]


class _OfBooleans(Loss):
    """What losses of Booleans share."""

    __slots__ = ()

    @property
    def domain(self) -> Domain:
        return Boolean()

    def impute(self, u):
        u = np.asarray(u)
        return (u > 0).astype(u.dtype if np.issubdtype(u.dtype, np.floating) else np.float64)


def check_binary(what: Any) -> None:
    """Refuse a loss of anything but Booleans as a part of a vector loss."""
    if not isinstance(what.binary, Loss) or what.binary.domain != Boolean():
        raise ValueError(
            f"{type(what).__name__} needs a loss of Booleans, such as Logistic() or Hinge(); got "
            f"{what.binary!r}."
        )


@dataclass(frozen=True)
class Logistic(_OfBooleans):
    r"""Minus the log-likelihood of log odds, :math:`\log(1 + e^{-su})`.

    Examples
    --------
    >>> from skglrm.losses import Logistic
    >>> round(Logistic().value(1.0, True), 10), round(Logistic().value(1.0, False), 10)
    (0.3132616875, 1.3132616875)
    """

    @property
    def curvature(self) -> float:  # noqa: D102
        return 0.25

    def value(self, u, a):  # noqa: D102
        wrong = max(-u, 0.0) if a > 0 else max(u, 0.0)
        return wrong + math.log1p(math.exp(-abs(u)))

    def gradient(self, u, a):  # noqa: D102
        tail = math.exp(-abs(u))
        true = (1.0 if u > 0 else tail) / (1.0 + tail)
        false = (tail if u > 0 else 1.0) / (1.0 + tail)
        return -false if a > 0 else true

    def best_constant(self, values, weights=None):  # noqa: D102
        share = _constants.share_of_true(values, weights)
        return math.log(share) - math.log1p(-share)


@dataclass(frozen=True)
class Hinge(_OfBooleans):
    r"""Loss of maximum margin, :math:`(1 - su)_+`."""

    smooth: ClassVar[bool] = False

    def value(self, u, a):  # noqa: D102
        return max(1.0 - u, 0.0) if a > 0 else max(1.0 + u, 0.0)

    def gradient(self, u, a):  # noqa: D102
        return -1.0 * (u < 1.0) if a > 0 else 1.0 * (u > -1.0)

    def best_constant(self, values, weights=None):  # noqa: D102
        return WeightedHinge(1.0).best_constant(values, weights)


@dataclass(frozen=True)
class WeightedHinge(_OfBooleans):
    r"""Hinge loss where true counts ρ times: :math:`\rho (1 - u)_+` for true, :math:`(1 + u)_+`.

    Parameters
    ----------
    positive_weight : float
        ρ > 0, what a true observation weighs; above 1 where true is rare and must not be missed.
    """

    positive_weight: float

    smooth: ClassVar[bool] = False

    def __post_init__(self):
        if not 0 < self.positive_weight < math.inf:
            raise ValueError(
                f"WeightedHinge needs a finite positive_weight > 0; got {self.positive_weight!r}."
            )

    def value(self, u, a):  # noqa: D102
        return self.positive_weight * max(1.0 - u, 0.0) if a > 0 else max(1.0 + u, 0.0)

    def gradient(self, u, a):  # noqa: D102
        return -self.positive_weight * (u < 1.0) if a > 0 else 1.0 * (u > -1.0)

    def best_constant(self, values, weights=None):  # noqa: D102
        a, w = _constants.counted(values, weights)
        true = a > 0
        jumps = np.where(true, self.positive_weight * w, w)
        return _constants.lowest_of_kinks(np.where(true, 1.0, -1.0), jumps, -jumps[true].sum())


@dataclass(frozen=True)
class SquaredHinge(_OfBooleans):
    r"""Smooth loss of maximum margin, :math:`(1 - su)_+^2`."""

    @property
    def curvature(self) -> float:  # noqa: D102
        return 2.0

    def value(self, u, a):  # noqa: D102
        short = max(1.0 - u, 0.0) if a > 0 else max(1.0 + u, 0.0)
        return short * short

    def gradient(self, u, a):  # noqa: D102
        return -2.0 * max(1.0 - u, 0.0) if a > 0 else 2.0 * max(1.0 + u, 0.0)

    def best_constant(self, values, weights=None):  # noqa: D102
        return _constants.mean(np.where(np.asarray(values) > 0, 1.0, -1.0), weights)
