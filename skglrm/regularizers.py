r"""Regularizers: what one row of factors costs.

A regularizer is a frozen dataclass with two methods on one row ``x`` of factors: ``value(x)``, and
``prox(x, step)``, which replaces ``x`` in place by

.. math:: \operatorname{prox}(x) = \arg\min_{\xi} \; r(\xi) + \tfrac{1}{2\,step} \|\xi - x\|^2 .

Constraints cost 0 or infinity, and their prox is the projection whatever the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from ._record import RegularizerRecord

__all__ = ["L1", "L2", "NonNegative", "Regularizer", "Sum", "Zero"]


class Regularizer(RegularizerRecord):
    """Base of all regularizers; subclasses are frozen dataclasses of numbers and records.

    Class attributes
    ----------------
    convex : bool
        Whether ``value`` is a convex function.
    """

    __slots__ = ()

    convex: ClassVar[bool] = True

    def value(self, x):
        """Cost of the row ``x``."""
        raise NotImplementedError

    def prox(self, x, step):
        """Replace ``x`` in place by its proximal point for a step ``step`` > 0."""
        raise NotImplementedError


def _check_strength(record) -> None:
    if not 0 <= record.strength < inf:
        raise ValueError(
            f"{type(record).__name__} needs a finite strength >= 0; got {record.strength!r}."
        )


@dataclass(frozen=True)
class Zero(Regularizer):
    """No cost."""

    def value(self, x):  # noqa: D102
        return 0.0

    def prox(self, x, step):  # noqa: D102
        pass


@dataclass(frozen=True)
class L2(Regularizer):
    r"""Half the squared Euclidean norm, :math:`\tfrac12 \lambda \|x\|_2^2`.

    Parameters
    ----------
    strength : float, default=1.0
        λ ≥ 0.
    """

    strength: float = 1.0

    def __post_init__(self):
        _check_strength(self)

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
    """

    strength: float = 1.0

    def __post_init__(self):
        _check_strength(self)

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
class NonNegative(Regularizer):
    """The constraint x ≥ 0."""

    def value(self, x):  # noqa: D102
        for d in range(x.size):
            if x[d] < 0:
                return inf
        return 0.0

    def prox(self, x, step):  # noqa: D102
        for d in range(x.size):
            x[d] = max(x[d], 0.0)


@dataclass(frozen=True)
class Sum(Regularizer):
    """The sum of two regularizers, by composition of their proxes (``first``, then ``second``).

    Composition is the exact prox of the sum for the pairs ``L1`` then ``L2``, ``L1`` then
    ``NonNegative``, and ``L2`` then ``NonNegative`` (Yu 2013, "On decomposing the proximal map");
    :func:`skglrm.testing.check_regularizer` tells of any other pair.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import L1, NonNegative, Sum
    >>> x = np.array([-2.0, 0.25, 2.0])
    >>> Sum(L1(0.5), NonNegative()).prox(x, 1.0)
    >>> x
    array([0. , 0. , 1.5])
    """

    first: Regularizer
    second: Regularizer

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """Whether both parts are convex functions."""
        return self.first.convex and self.second.convex

    def value(self, x):  # noqa: D102
        return self.first.value(x) + self.second.value(x)

    def prox(self, x, step):  # noqa: D102
        self.first.prox(x, step)
        self.second.prox(x, step)
