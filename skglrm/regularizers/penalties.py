"""Penalties: what costs more the larger it is."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from .base import Regularizer

__all__ = ["L1", "L2", "Zero"]


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
