"""What every regularizer is."""

from __future__ import annotations

from typing import ClassVar

from .._record import RegularizerRecord

__all__ = ["Regularizer"]


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
