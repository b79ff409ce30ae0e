"""What every loss is."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from .._record import LossRecord

__all__ = ["Loss"]


class Loss(LossRecord):
    """Base of all losses; subclasses are frozen dataclasses whose fields are numbers.

    Class attributes
    ----------------
    degree : float or None
        d when ``L(c u, c a) = c**d L(u, a)`` for every c > 0; ``None`` when no such d exists.
    smooth, convex : bool
        Whether the derivative by u exists everywhere, and whether L is convex in u.
    """

    __slots__ = ()

    degree: ClassVar[float | None] = None
    smooth: ClassVar[bool] = True
    convex: ClassVar[bool] = True

    def value(self, u: float, a: float) -> float:
        """Cost of predicting ``u`` where ``a`` was observed."""
        raise NotImplementedError

    def gradient(self, u: float, a: float) -> float:
        """(Sub)derivative of ``value`` by ``u``."""
        raise NotImplementedError

    def contains(self, a: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which of the observations lie in the domain of the loss."""
        return np.isfinite(a)

    def impute(self, u: npt.ArrayLike) -> npt.NDArray[np.floating]:
        """Observation that costs least where ``u`` is predicted."""
        return np.asarray(u)

    def best_constant(self, values: npt.NDArray[np.floating]) -> float:
        """Prediction that costs least if it must serve all ``values``."""
        raise NotImplementedError
