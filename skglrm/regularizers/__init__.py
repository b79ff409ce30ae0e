r"""Regularizers: what one row of factors costs.

A regularizer is a frozen dataclass with two methods on one row ``x`` of factors: ``value(x)``, and
``prox(x, step)``, which replaces ``x`` in place by

.. math:: \operatorname{prox}(x) = \arg\min_{\xi} \; r(\xi) + \tfrac{1}{2\,step} \|\xi - x\|^2 .

Constraints cost 0 or infinity, and their prox is the projection whatever the step.
"""

from __future__ import annotations

from collections.abc import Callable

from .base import Coupling, Regularizer
from .combinators import ConstantLast, Fixed, FreeLast, Shifted, Sum
from .constraints import Ball, Box, Entropy, NonNegative, Simplex
from .penalties import L1, L2, ElasticNet, L2Norm, Zero
from .sparsity import BlockSparse, KSparse, OneSparse, UnitOneSparse
from .structured import GraphLaplacian, Tied

__all__ = [
    "L1",
    "L2",
    "Ball",
    "BlockSparse",
    "Box",
    "ConstantLast",
    "Coupling",
    "ElasticNet",
    "Entropy",
    "Fixed",
    "FreeLast",
    "GraphLaplacian",
    "KSparse",
    "L2Norm",
    "NonNegative",
    "OneSparse",
    "Regularizer",
    "Shifted",
    "Simplex",
    "Sum",
    "Tied",
    "UnitOneSparse",
    "Zero",
    "get_regularizer",
]

_NAMES: dict[str, Callable[[float], Regularizer]] = {
    "zero": lambda strength: Zero(),
    "none": lambda strength: Zero(),
    "l2": L2,
    "l1": L1,
    "l2_norm": L2Norm,
    "nonnegative": lambda strength: NonNegative(),
    "nonnegative_l2": lambda strength: Sum(L2(strength), NonNegative()),
    "nonnegative_l1": lambda strength: Sum(L1(strength), NonNegative()),
    "simplex": lambda strength: Simplex(),
    "entropy": Entropy,
    "one_sparse": lambda strength: OneSparse(),
    "nonnegative_one_sparse": lambda strength: Sum(NonNegative(), OneSparse()),
    "unit_one_sparse": lambda strength: UnitOneSparse(),
}


def get_regularizer(
    regularizer: str | Regularizer | Coupling | None, strength: float = 0.1
) -> Regularizer | Coupling:
    """Return the regularizer that a parameter means: an instance as it is, or a name.

    Parameters
    ----------
    regularizer : str, Regularizer, Coupling or None
        One of the names

        - ``"l2"``, ``"l1"``, ``"l2_norm"``, ``"entropy"``, ``"nonnegative_l2"`` and
          ``"nonnegative_l1"``, which take ``strength``;
        - ``"zero"`` (also called ``"none"``, or ``None``), ``"nonnegative"``, ``"simplex"``,
          ``"one_sparse"``, ``"nonnegative_one_sparse"`` and ``"unit_one_sparse"``, which have no
          strength;

        or an instance, which carries its own strength.
    strength : float, default=0.1
        Strength of a regularizer given by name.

    Returns
    -------
    Regularizer or Coupling
        The regularizer.

    Raises
    ------
    ValueError
        If the name is unknown or the strength negative.
    TypeError
        If ``regularizer`` is neither a name nor an instance.

    Examples
    --------
    >>> from skglrm.regularizers import L1, get_regularizer
    >>> get_regularizer("l2", 0.5)
    L2(strength=0.5)
    >>> get_regularizer(L1(2.0), 0.5)
    L1(strength=2.0)
    """
    if isinstance(regularizer, Regularizer | Coupling):
        return regularizer
    if regularizer is None:
        return Zero()
    if not isinstance(regularizer, str):
        raise TypeError(
            "A regularizer must be a name or an instance of skglrm.regularizers.Regularizer; got "
            f"{regularizer!r}. A class needs calling: L2(0.5), not L2."
        )
    if regularizer not in _NAMES:
        raise ValueError(f"Unknown regularizer {regularizer!r}; the names are {sorted(_NAMES)}.")
    return _NAMES[regularizer](float(strength))
