"""Losses of levels without an order: one prediction for each level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..domains import Categorical, Domain, check_levels
from . import _constants
from .base import Loss, VectorLoss
from .boolean import Logistic, check_binary

__all__ = ["Multinomial", "OneVsAll"]

_LOGISTIC = Logistic()


class _OfCategories(VectorLoss):
    """What losses of categories share."""

    __slots__ = ()
    n_levels: int

    def __post_init__(self):
        check_levels(self)

    @property
    def embedding_dim(self) -> int:
        return self.n_levels

    @property
    def domain(self) -> Domain:
        return Categorical(self.n_levels)

    def impute(self, u):
        return np.argmax(u, axis=-1).astype(np.float64)


@dataclass(frozen=True)
class Multinomial(_OfCategories):
    r"""Minus the log-likelihood of a softmax, :math:`\log\sum_c e^{u_c} - u_a`.

    Parameters
    ----------
    n_levels : int
        Number of levels K.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.losses import Multinomial
    >>> print(f"{Multinomial(4).value(np.array([0.2, -1.0, 0.5, 1.5]), 2.0):.10f}")
    1.5437745369
    """

    n_levels: int

    softmax: ClassVar[bool] = True

    @property
    def curvature(self) -> float:  # noqa: D102
        return 0.5

    def value(self, u, a):  # noqa: D102
        most = u[0]
        for c in range(1, u.size):
            most = max(most, u[c])
        total = 0.0
        for c in range(u.size):
            total += math.exp(u[c] - most)
        return most - u[int(a)] + math.log(total)

    def gradient(self, u, a, out):  # noqa: D102
        most = u[0]
        for c in range(1, u.size):
            most = max(most, u[c])
        total = 0.0
        for c in range(u.size):
            out[c] = math.exp(u[c] - most)
            total += out[c]
        for c in range(u.size):
            out[c] /= total
        out[int(a)] -= 1.0

    def best_constant(self, values, weights=None):  # noqa: D102
        logs = np.log(_constants.shares(values, weights, self.n_levels))
        return logs - logs.mean()


@dataclass(frozen=True)
class OneVsAll(_OfCategories):
    r"""A Boolean loss for each level, :math:`\sum_c L(u_c, [a = c])`.

    Parameters
    ----------
    n_levels : int
        Number of levels K.
    binary : Loss, default=Logistic()
        Loss of Booleans.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.losses import Hinge, OneVsAll
    >>> float(OneVsAll(3, Hinge()).value(np.array([2.0, -1.0, -0.5]), 0.0))
    0.5
    """

    n_levels: int
    binary: Loss = _LOGISTIC

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
            total += self.binary.value(u[c], 1.0 if a == c else 0.0)
        return total

    def gradient(self, u, a, out):  # noqa: D102
        for c in range(u.size):
            out[c] = self.binary.gradient(u[c], 1.0 if a == c else 0.0)

    def best_constant(self, values, weights=None):  # noqa: D102
        a = np.asarray(values)
        is_level = [(a == c).astype(np.float64) for c in range(self.n_levels)]
        return np.array([self.binary.best_constant(one, weights) for one in is_level])
