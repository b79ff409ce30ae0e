"""Constraints: 0 where they hold, infinity elsewhere; their prox is the projection."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from .base import Regularizer

__all__ = ["NonNegative"]


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
