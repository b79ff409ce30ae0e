"""Regularizers made of regularizers."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite

from .base import Regularizer, check_not_empty, check_parts
from .constraints import TOLERANCE
from .penalties import Zero

__all__ = ["ConstantLast", "Fixed", "FreeLast", "Shifted", "Sum"]

_ZERO = Zero()


@dataclass(frozen=True)
class Sum(Regularizer):
    r"""The sum of two regularizers, for which the exact prox is known.

    These are

    - anything and :class:`L2`: the prox of :math:`f + \tfrac{s}{2}\|\cdot\|^2` at x for a step α is
      the prox of f at :math:`x / (1 + \alpha s)` for the step :math:`\alpha / (1 + \alpha s)`;
    - a convex penalty of single entries, such as :class:`L1` or :class:`ElasticNet`, and
      :class:`NonNegative` or :class:`Box`: the prox of the penalty, then the projection;
    - one of :class:`L1`, :class:`NonNegative` or both, and one of :class:`L2Norm`, :class:`Ball`,
      :class:`OneSparse`, :class:`KSparse` or :class:`BlockSparse`: one prox after the other.

    Sums may be nested.  The parts are put into the order in which their proxes must follow each
    other, so that ``Sum(a, b) == Sum(b, a)`` if their order matters.

    Parameters
    ----------
    first, second : Regularizer
        The parts.

    Attributes
    ----------
    ridge : float
        Strength of ``first`` if it is quadratic, else 0.

    Raises
    ------
    TypeError
        If a part is no regularizer of rows.
    ValueError
        If the exact prox of the sum is not known.

    References
    ----------
    Yu (2013), "On decomposing the proximal map".

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import L1, NonNegative, Sum
    >>> x = np.array([-2.0, 0.25, 2.0])
    >>> Sum(NonNegative(), L1(0.5)).prox(x, 1.0)
    >>> x
    array([0. , 0. , 1.5])
    """

    first: Regularizer
    second: Regularizer
    ridge: float = field(init=False)

    def __post_init__(self):
        check_parts(self, self.first, self.second)
        first, *others = _ordered(self, self.first.parts + self.second.parts)
        second = others.pop()
        while others:
            second = Sum(others.pop(), second)
        object.__setattr__(self, "first", first)
        object.__setattr__(self, "second", second)
        object.__setattr__(self, "ridge", first.quadratic_strength or 0.0)

    @property
    def parts(self):  # noqa: D102
        return self.first.parts + self.second.parts

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """Whether both parts are convex functions."""
        return self.first.convex and self.second.convex

    @property
    def separable(self) -> bool:  # type: ignore[override]
        """Whether both parts are separable."""
        return self.first.separable and self.second.separable

    @property
    def ridge_on_interval(self):  # noqa: D102
        one, other = self.first.ridge_on_interval, self.second.ridge_on_interval
        if one is None or other is None:
            return None
        return one[0] + other[0], max(one[1], other[1]), min(one[2], other[2])

    def check_size(self, size):  # noqa: D102
        self.first.check_size(size)
        self.second.check_size(size)

    def value(self, x):  # noqa: D102
        return self.first.value(x) + self.second.value(x)

    def prox(self, x, step):  # noqa: D102
        self.first.prox(x, step)
        self.second.prox(x, step / (1.0 + step * self.ridge))


def _ordered(whole: Sum, parts: tuple[Regularizer, ...]) -> list[Regularizer]:
    """Parts in the order of their proxes: quadratics, penalties, intervals, what shrinks."""
    kinds: tuple[list[Regularizer], ...] = ([], [], [], [])
    quadratics, penalties, intervals, last = kinds
    for part in parts:
        known = part.ridge_on_interval
        if part.quadratic_strength is not None:
            quadratics.append(part)
        elif known is not None and known[0] == 0:
            intervals.append(part)
        else:
            (last if part.shrinks else penalties).append(part)
    entries = penalties + intervals
    exact = (
        len(penalties) <= 1
        and len(last) <= 1
        and all(part.separable and part.convex for part in entries)
        and (not last or all(part.homogeneous for part in entries))
    )
    if len(entries + last) > 1 and not exact:
        raise ValueError(
            f"The exact prox of the sum of {', '.join(map(repr, entries + last))} is not known. A "
            "Sum may hold L2 with anything, one penalty of single entries with intervals such as "
            "NonNegative, and L1 or NonNegative with one of L2Norm, Ball and the sparse ones. For "
            "another sum derive a class from skglrm.regularizers.Regularizer."
        )
    return quadratics + entries + last


class _OfRest(Regularizer):
    """A regularizer of a part of the row, or of the row elsewhere: as convex as ``regularizer``."""

    __slots__ = ()

    regularizer: Regularizer

    @property
    def convex(self) -> bool:  # type: ignore[override]
        return self.regularizer.convex


@dataclass(frozen=True)
class FreeLast(_OfRest):
    """A regularizer of all entries but the last, which costs nothing: an offset.

    Parameters
    ----------
    regularizer : Regularizer
        What the other entries cost.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import FreeLast, L2
    >>> x = np.array([2.0, 2.0])
    >>> FreeLast(L2(1.0)).prox(x, 1.0)
    >>> x
    array([1., 2.])
    """

    regularizer: Regularizer

    def __post_init__(self):
        check_parts(self, self.regularizer)

    @property
    def ridge_on_interval(self):  # noqa: D102
        known = self.regularizer.ridge_on_interval
        return known if known == (0.0, -inf, inf) else None

    def check_size(self, size):  # noqa: D102
        check_not_empty(self, size)
        self.regularizer.check_size(size - 1)

    def value(self, x):  # noqa: D102
        return self.regularizer.value(x[:-1])

    def prox(self, x, step):  # noqa: D102
        self.regularizer.prox(x[:-1], step)


@dataclass(frozen=True)
class ConstantLast(_OfRest):
    """The last entry is 1, the others have a regularizer: what an offset is multiplied by.

    Parameters
    ----------
    regularizer : Regularizer
        What the other entries cost.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import ConstantLast, L2
    >>> x = np.array([2.0, 2.0])
    >>> ConstantLast(L2(1.0)).prox(x, 1.0)
    >>> x
    array([1., 1.])
    """

    regularizer: Regularizer

    def __post_init__(self):
        check_parts(self, self.regularizer)

    def check_size(self, size):  # noqa: D102
        check_not_empty(self, size)
        self.regularizer.check_size(size - 1)

    def value(self, x):  # noqa: D102
        return self.regularizer.value(x[:-1]) if x[-1] == 1 else inf

    def prox(self, x, step):  # noqa: D102
        self.regularizer.prox(x[:-1], step)
        x[-1] = 1.0


@dataclass(frozen=True)
class Fixed(Regularizer):
    """The first entries are given, the rest have a regularizer: known features, a known intercept.

    Parameters
    ----------
    values : tuple of float
        The first entries, at least one.
    rest : Regularizer, default=Zero()
        What the rest of the entries cost.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import Fixed, L2
    >>> x = np.array([5.0, 5.0, 4.0])
    >>> Fixed((1.0, 2.0), L2(1.0)).prox(x, 1.0)
    >>> x
    array([1., 2., 2.])
    """

    values: tuple[float, ...]
    rest: Regularizer = _ZERO

    def __post_init__(self):
        object.__setattr__(self, "values", _finite_numbers(self, "values", self.values))
        check_parts(self, self.rest)

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """Whether ``rest`` is."""
        return self.rest.convex

    def check_size(self, size):  # noqa: D102
        if size < len(self.values):
            raise ValueError(
                f"{self!r} gives {len(self.values)} values, but a row has {size} entries. Give "
                "fewer, or take more components."
            )
        self.rest.check_size(size - len(self.values))

    def value(self, x):  # noqa: D102
        for d in range(min(len(self.values), x.size)):
            # A number such as 0.1 is no float32.
            if abs(x[d] - self.values[d]) > TOLERANCE * abs(self.values[d]):
                return inf
        return self.rest.value(x[len(self.values) :])

    def prox(self, x, step):  # noqa: D102
        for d in range(min(len(self.values), x.size)):
            x[d] = self.values[d]
        self.rest.prox(x[len(self.values) :], step)


@dataclass(frozen=True)
class Shifted(_OfRest):
    r"""A regularizer around another point than zero, :math:`r(x - \mu)`: a prior with a mean.

    Parameters
    ----------
    center : tuple of float
        μ, as many numbers as a row has entries.
    regularizer : Regularizer
        What the distance costs.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import L2, Shifted
    >>> x = np.array([3.0, 5.0])
    >>> Shifted((1.0, 1.0), L2(1.0)).prox(x, 1.0)
    >>> x
    array([2., 3.])
    """

    center: tuple[float, ...]
    regularizer: Regularizer

    def __post_init__(self):
        object.__setattr__(self, "center", _finite_numbers(self, "center", self.center))
        check_parts(self, self.regularizer)

    @property
    def quadratic_center(self):  # noqa: D102
        strength = self.regularizer.quadratic_strength
        return None if strength is None else (strength, self.center)

    def check_size(self, size):  # noqa: D102
        if size != len(self.center):
            raise ValueError(
                f"{self!r} has a center of {len(self.center)} numbers, but a row has {size} "
                "entries. Give one number per component."
            )
        self.regularizer.check_size(size)

    def value(self, x):  # noqa: D102
        distance = x.copy()
        for d in range(min(len(self.center), x.size)):
            distance[d] -= self.center[d]
        return self.regularizer.value(distance)

    def prox(self, x, step):  # noqa: D102
        n = min(len(self.center), x.size)
        for d in range(n):
            x[d] -= self.center[d]
        self.regularizer.prox(x, step)
        for d in range(n):
            x[d] += self.center[d]


def _finite_numbers(record: Regularizer, name: str, numbers) -> tuple[float, ...]:
    try:
        result = tuple(float(number) for number in numbers)
    except TypeError:
        result = ()
    if not result or not all(map(isfinite, result)):
        raise ValueError(
            f"{type(record).__name__} needs one or more finite numbers as {name}; got {numbers!r}."
        )
    return result
