"""Penalties: what costs more the larger it is."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import ClassVar

from .base import Regularizer

__all__ = ["L1", "L2", "ElasticNet", "L2Norm", "Zero"]


def _check_strength(record, *names: str) -> None:
    for name in names or ("strength",):
        number = getattr(record, name)
        if not 0 <= number < inf:
            raise ValueError(f"{type(record).__name__} needs a finite {name} >= 0; got {number!r}.")


@dataclass(frozen=True)
class Zero(Regularizer):
    """No cost."""

    separable: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = True

    @property
    def ridge_on_interval(self):  # noqa: D102
        return 0.0, -inf, inf

    def value(self, x):  # noqa: D102
        return 0.0

    def prox(self, x, step):  # noqa: D102
        pass


@dataclass(frozen=True)
class L2(Regularizer):
    r"""Half the squared Euclidean norm, :math:`\tfrac12 \lambda \|x\|_2^2`.

    On both sides of a quadratic model it amounts to the nuclear norm of the product.

    Parameters
    ----------
    strength : float, default=1.0
        λ ≥ 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import L2
    >>> x = np.array([3.0, 4.0])
    >>> print(L2(2.0).value(x))
    25.0
    >>> L2(2.0).prox(x, 0.5)
    >>> x
    array([1.5, 2. ])
    """

    strength: float = 1.0

    separable: ClassVar[bool] = True

    def __post_init__(self):
        _check_strength(self)

    @property
    def ridge_on_interval(self):  # noqa: D102
        return float(self.strength), -inf, inf

    def value(self, x):  # noqa: D102
        total = 0.0
        for d in range(x.size):
            total += x[d] * x[d]
        return 0.5 * self.strength * total

    def prox(self, x, step):  # noqa: D102
        shrink = 1.0 / (1.0 + step * self.strength)
        for d in range(x.size):
            x[d] *= shrink


@dataclass(frozen=True)
class L1(Regularizer):
    r"""Sum of absolute values, :math:`\lambda \|x\|_1`: sparse factors.

    Parameters
    ----------
    strength : float, default=1.0
        λ ≥ 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import L1
    >>> x = np.array([3.0, -0.5])
    >>> print(L1(2.0).value(x))
    7.0
    >>> L1(2.0).prox(x, 0.5)
    >>> x
    array([2., 0.])
    """

    strength: float = 1.0

    separable: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = True

    def __post_init__(self):
        _check_strength(self)

    @property
    def ridge_on_interval(self):  # noqa: D102
        return (0.0, -inf, inf) if self.strength == 0 else None

    def value(self, x):  # noqa: D102
        total = 0.0
        for d in range(x.size):
            total += abs(x[d])
        return self.strength * total

    def prox(self, x, step):  # noqa: D102
        threshold = step * self.strength
        for d in range(x.size):
            x[d] -= min(max(x[d], -threshold), threshold)


@dataclass(frozen=True)
class ElasticNet(Regularizer):
    r"""Sparse and small factors, :math:`\lambda_1 \|x\|_1 + \tfrac12 \lambda_2 \|x\|_2^2`.

    Parameters
    ----------
    l1, l2 : float, default=0.5
        λ₁ ≥ 0 and λ₂ ≥ 0.

    References
    ----------
    Zou and Hastie (2005), "Regularization and variable selection via the elastic net".

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import ElasticNet
    >>> x = np.array([3.0, -0.5])
    >>> ElasticNet(1.0, 1.0).prox(x, 1.0)
    >>> x
    array([1., 0.])
    """

    l1: float = 0.5
    l2: float = 0.5

    separable: ClassVar[bool] = True

    def __post_init__(self):
        _check_strength(self, "l1", "l2")

    @property
    def ridge_on_interval(self):  # noqa: D102
        return (float(self.l2), -inf, inf) if self.l1 == 0 else None

    def value(self, x):  # noqa: D102
        total = 0.0
        for d in range(x.size):
            total += self.l1 * abs(x[d]) + 0.5 * self.l2 * x[d] * x[d]
        return total

    def prox(self, x, step):  # noqa: D102
        threshold = step * self.l1
        shrink = 1.0 / (1.0 + step * self.l2)
        for d in range(x.size):
            x[d] = shrink * (x[d] - min(max(x[d], -threshold), threshold))


@dataclass(frozen=True)
class L2Norm(Regularizer):
    r"""The Euclidean norm without its square, :math:`\lambda \|x\|_2`: rows that are all zero.

    Parameters
    ----------
    strength : float, default=1.0
        λ ≥ 0.

    References
    ----------
    Yuan and Lin (2006), "Model selection and estimation in regression with grouped variables".

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import L2Norm
    >>> x = np.array([3.0, 4.0])
    >>> L2Norm(1.0).prox(x, 2.5)
    >>> x
    array([1.5, 2. ])
    """

    strength: float = 1.0

    homogeneous: ClassVar[bool] = True
    shrinks: ClassVar[bool] = True

    def __post_init__(self):
        _check_strength(self)

    @property
    def ridge_on_interval(self):  # noqa: D102
        return (0.0, -inf, inf) if self.strength == 0 else None

    def value(self, x):  # noqa: D102
        total = 0.0
        for d in range(x.size):
            total += x[d] * x[d]
        return self.strength * sqrt(total)

    def prox(self, x, step):  # noqa: D102
        total = 0.0
        for d in range(x.size):
            total += x[d] * x[d]
        norm, threshold = sqrt(total), step * self.strength
        shrink = 1.0 - threshold / norm if norm > threshold else 0.0
        if norm > 0.0:
            for d in range(x.size):
                x[d] *= shrink
