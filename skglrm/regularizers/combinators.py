"""Regularizers made of regularizers."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Regularizer

__all__ = ["Sum"]


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
