"""What every regularizer is."""

from __future__ import annotations

from math import inf
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .._record import RegularizerRecord

__all__ = ["Coupling", "Regularizer"]


class Regularizer(RegularizerRecord):
    """Base of all regularizers; subclasses are frozen dataclasses of numbers and records.

    Class attributes
    ----------------
    convex : bool
        Whether ``value`` is a convex function.
    on_block : bool
        Whether ``x`` is not a row but the two-dimensional block of all rows that one column of the
        data owns, as for :class:`Tied`.
    one_hot : bool
        Whether nothing but a row of zeros with a single 1 has a finite cost, and all of those cost
        the same: the best row can be found by trying them.
    separable, homogeneous, shrinks : bool
        What :class:`Sum` must know of its parts; ``False`` is always safe.  Separable: the sum of
        one and the same function of every entry, so that ``prox`` of a single entry is that of the
        row.  Homogeneous: r(c x) = c r(x) for every c > 0, so that norms
        and cones are.  Shrinks: either r grows with the Euclidean norm alone, or it limits how many
        entries, or which groups of them, may differ from zero.
    """

    __slots__ = ()

    convex: ClassVar[bool] = True
    on_block: ClassVar[bool] = False
    one_hot: ClassVar[bool] = False
    separable: ClassVar[bool] = False
    homogeneous: ClassVar[bool] = False
    shrinks: ClassVar[bool] = False

    def value(self, x):
        """Cost of the row ``x``."""
        raise NotImplementedError

    def prox(self, x, step):
        """Replace ``x`` in place by its proximal point for a step ``step`` > 0."""
        raise NotImplementedError

    @property
    def ridge_on_interval(self) -> tuple[float, float, float] | None:
        """(s, l, u) if r(x) is ½ s ‖x‖² with all entries in [l, u], infinite elsewhere."""
        return None

    @property
    def quadratic_strength(self) -> float | None:
        """The s if r(x) is exactly ½ s ‖x‖² everywhere, else ``None``."""
        known = self.ridge_on_interval
        return known[0] if known is not None and known[1:] == (-inf, inf) else None

    @property
    def quadratic_center(self) -> tuple[float, tuple[float, ...] | None] | None:
        """(s, μ) if r(x) is exactly ½ s ‖x − μ‖², with ``None`` for μ = 0; else ``None``."""
        strength = self.quadratic_strength
        return None if strength is None else (strength, None)

    @property
    def parts(self) -> tuple[Regularizer, ...]:
        """The regularizers that this one is the sum of."""
        return (self,)

    def check_size(self, size: int) -> None:
        """Raise ``ValueError`` if rows of ``size`` entries do not suit the fields."""


class Coupling:
    """Base of what couples the rows of a factor, beside a regularizer of each row by itself.

    Attributes
    ----------
    regularizer : Regularizer
        What each row costs by itself.  The methods below leave it out.
    """

    regularizer: Regularizer

    def value_all(self, factor: npt.NDArray[Any]) -> float:
        """Cost of all rows of ``factor`` (n, k) together, without ``regularizer``."""
        raise NotImplementedError

    def majorizer(
        self, factor: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return (linear (n, k), diagonal (n,)) of a bound that is separate in the rows.

        For every other factor G, with H the ``factor`` given,
        ``value_all(G) <= value_all(H) + Σ_j linear_j · (G_j - H_j) + ½ diagonal_j ‖G_j - H_j‖²``.
        """
        raise NotImplementedError

    def prox_all(self, factor: npt.NDArray[Any], step: float) -> None:
        """Replace ``factor`` in place by the proximal point of ``value_all``."""
        raise NotImplementedError

    def check_size(self, size: int) -> None:
        """Raise ``ValueError`` if rows of ``size`` entries do not suit ``regularizer``."""
        self.regularizer.check_size(size)


def check_not_empty(record: Regularizer, size: int) -> None:
    """Raise ``ValueError`` if a row has no entry."""
    if size < 1:
        raise ValueError(f"{record!r} needs rows of one entry or more; got {size}.")


def check_parts(whole: Regularizer | Coupling, *parts: Regularizer) -> None:
    """Raise ``TypeError`` if one of the parts of a combinator is no regularizer of rows."""
    for part in parts:
        if not isinstance(part, Regularizer) or part.on_block:
            raise TypeError(
                f"{type(whole).__name__} needs regularizers of rows; got {part!r}. A class needs "
                "calling: L2(0.5), not L2. What takes whole blocks or factors goes outside."
            )
