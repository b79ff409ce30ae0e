r"""Losses: what one entry costs.

A loss is a frozen dataclass with two scalar methods, :math:`L(u, a)` and its derivative (or a
subgradient) by the prediction :math:`u`, where :math:`a` is the observation.  Kernels compile them;
the other methods stay Python.  ``docs/extend.md`` shows how to write one.
"""

from __future__ import annotations

from .base import Loss
from .real import Absolute, Huber, Quadratic

__all__ = ["Absolute", "Huber", "Loss", "Quadratic", "get_loss"]

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
