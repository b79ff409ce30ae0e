r"""Losses: what one entry costs.

A loss is a frozen dataclass with two scalar methods, :math:`L(u, a)` and its derivative (or a
subgradient) by the prediction :math:`u`, where :math:`a` is the observation.  A vector loss takes
several predictions for one entry.  Kernels compile these methods; the others stay Python.
``docs/extend.md`` shows how to write one.
"""

from __future__ import annotations

from typing import overload

from .base import Loss, Scaled, ScaledVector, VectorLoss
from .boolean import Hinge, Logistic, SquaredHinge, WeightedHinge
from .categorical import Multinomial, OneVsAll
from .counts import KL, Fractional, Poisson
from .ordinal import BiggerVsSmaller, CumulativeLogit, MultinomialOrdinal, OrdinalHinge, Ordistic
from .real import Absolute, Huber, Interval, Periodic, Quadratic, Quantile, Truncated

__all__ = [
    "KL",
    "Absolute",
    "BiggerVsSmaller",
    "CumulativeLogit",
    "Fractional",
    "Hinge",
    "Huber",
    "Interval",
    "Logistic",
    "Loss",
    "Multinomial",
    "MultinomialOrdinal",
    "OneVsAll",
    "OrdinalHinge",
    "Ordistic",
    "Periodic",
    "Poisson",
    "Quadratic",
    "Quantile",
    "Scaled",
    "ScaledVector",
    "SquaredHinge",
    "Truncated",
    "VectorLoss",
    "WeightedHinge",
    "get_loss",
]

_NAMES: dict[str, Loss] = {
    "squared": Quadratic(),
    "quadratic": Quadratic(),
    "absolute": Absolute(),
    "huber": Huber(),
    "quantile": Quantile(),
    "logistic": Logistic(),
    "hinge": Hinge(),
    "squared_hinge": SquaredHinge(),
    "poisson": Poisson(),
    "kl": KL(),
    "fractional": Fractional(),
}


@overload
def get_loss(loss: str | Loss) -> Loss: ...
@overload
def get_loss(loss: VectorLoss) -> VectorLoss: ...
def get_loss(loss: str | Loss | VectorLoss) -> Loss | VectorLoss:
    """Return the loss that a parameter means: an instance as it is, or a name.

    Parameters
    ----------
    loss : str, Loss or VectorLoss
        ``"quadratic"`` (also called ``"squared"``), ``"absolute"``, ``"huber"``, ``"quantile"``
        (the median), ``"logistic"``, ``"hinge"``, ``"squared_hinge"``, ``"poisson"``, ``"kl"``,
        ``"fractional"``, or an instance.  Losses that need a number, such as a period or the
        number of levels, have no name.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If ``loss`` is neither a name nor an instance.
    """
    if isinstance(loss, Loss | VectorLoss):
        return loss
    if not isinstance(loss, str):
        raise TypeError(
            f"loss must be a name or an instance of skglrm.losses.Loss; got {loss!r}. "
            "A class needs calling: Huber(0.5), not Huber."
        )
    if loss not in _NAMES:
        raise ValueError(f"Unknown loss {loss!r}; the names are {sorted(_NAMES)}.")
    return _NAMES[loss]
