r"""Regularizers: what one row of factors costs.

A regularizer is a frozen dataclass with two methods on one row ``x`` of factors: ``value(x)``, and
``prox(x, step)``, which replaces ``x`` in place by

.. math:: \operatorname{prox}(x) = \arg\min_{\xi} \; r(\xi) + \tfrac{1}{2\,step} \|\xi - x\|^2 .

Constraints cost 0 or infinity, and their prox is the projection whatever the step.
"""

from .base import Regularizer
from .combinators import Sum
from .constraints import NonNegative
from .penalties import L1, L2, Zero

__all__ = ["L1", "L2", "NonNegative", "Regularizer", "Sum", "Zero"]
