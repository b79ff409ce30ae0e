r"""Losses: what one entry costs.

A loss is a frozen dataclass with two scalar methods, :math:`L(u, a)` and its derivative (or a
subgradient) by the prediction :math:`u`, where :math:`a` is the observation.  Kernels compile them;
the other methods stay Python.  ``docs/extend.md`` shows how to write one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ._record import LossRecord

__all__ = ["Absolute", "Huber", "Loss", "Quadratic", "get_loss"]


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


@dataclass(frozen=True)
class Quadratic(Loss):
    r"""Half the squared error, :math:`\tfrac12 (u - a)^2`.

    Examples
    --------
    >>> from skglrm.losses import Quadratic
    >>> Quadratic().value(3.0, 1.0), Quadratic().gradient(3.0, 1.0)
    (2.0, 2.0)
    """

    degree: ClassVar[float | None] = 2.0

    def value(self, u, a):  # noqa: D102
        r = u - a
        return 0.5 * r * r

    def gradient(self, u, a):  # noqa: D102
        return u - a

    def best_constant(self, values):  # noqa: D102
        return float(np.mean(values, dtype=np.float64))


@dataclass(frozen=True)
class Absolute(Loss):
    """Absolute error, :math:`|u - a|`: its best constant is the median."""

    degree: ClassVar[float | None] = 1.0
    smooth: ClassVar[bool] = False

    def value(self, u, a):  # noqa: D102
        return abs(u - a)

    def gradient(self, u, a):  # noqa: D102
        return (u > a) * 1.0 - (u < a) * 1.0

    def best_constant(self, values):  # noqa: D102
        return float(np.median(values))


@dataclass(frozen=True)
class Huber(Loss):
    r"""Quadratic near zero and linear beyond ``delta``: robust to outliers.

    :math:`\tfrac12 r^2` where :math:`|r| \le \delta`, else
    :math:`\delta(|r| - \tfrac12\delta)`, with :math:`r = u - a`.

    Parameters
    ----------
    delta : float, default=1.0
        Error at which the loss turns linear, in units of the data; positive.
    """

    delta: float = 1.0

    def __post_init__(self):
        if not self.delta > 0:
            raise ValueError(f"Huber needs delta > 0; got {self.delta!r}.")

    def value(self, u, a):  # noqa: D102
        r = abs(u - a)
        return 0.5 * r * r if r <= self.delta else self.delta * (r - 0.5 * self.delta)

    def gradient(self, u, a):  # noqa: D102
        return min(max(u - a, -self.delta), self.delta)

    def best_constant(self, values):  # noqa: D102
        # The derivative of the total cost is monotone: bisect it between the extremes.
        low, high = float(np.min(values)), float(np.max(values))
        while high - low > 1e-12 * max(1.0, abs(low), abs(high)):
            middle = 0.5 * (low + high)
            if middle in (low, high):
                break
            slope = np.clip(middle - values, -self.delta, self.delta).sum(dtype=np.float64)
            low, high = (middle, high) if slope < 0 else (low, middle)
        return 0.5 * (low + high)


_NAMES: dict[str, Loss] = {
    "squared": Quadratic(),
    "quadratic": Quadratic(),
    "absolute": Absolute(),
    "huber": Huber(),
}


def get_loss(loss: str | Loss) -> Loss:
    """Return the loss that a parameter means: an instance as it is, or a name.

    Parameters
    ----------
    loss : str or Loss
        ``"quadratic"`` (also called ``"squared"``), ``"absolute"``, ``"huber"``, or an instance.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If ``loss`` is neither a name nor an instance of :class:`Loss`.
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str):
        raise TypeError(
            f"loss must be a name or an instance of skglrm.losses.Loss; got {loss!r}. "
            "A class needs calling: Huber(0.5), not Huber."
        )
    if loss not in _NAMES:
        raise ValueError(f"Unknown loss {loss!r}; the names are {sorted(_NAMES)}.")
    return _NAMES[loss]
