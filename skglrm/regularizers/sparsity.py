"""Constraints on which entries may differ from zero: not convex, ties go to the lowest index."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from .base import Regularizer, check_not_empty

__all__ = ["BlockSparse", "KSparse", "OneSparse", "UnitOneSparse"]


@dataclass(frozen=True)
class OneSparse(Regularizer):
    """At most one entry differs from zero; with :class:`NonNegative` on both sides, orthogonal NMF.

    The projection keeps the entry of largest absolute value.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import NonNegative, OneSparse, Sum
    >>> x = np.array([-3.0, 2.0, 1.0])
    >>> Sum(NonNegative(), OneSparse()).prox(x, 1.0)
    >>> x
    array([0., 2., 0.])
    """

    convex: ClassVar[bool] = False
    shrinks: ClassVar[bool] = True

    def value(self, x):  # noqa: D102
        count = 0
        for d in range(x.size):
            count += x[d] != 0
        return 0.0 if count <= 1 else inf

    def prox(self, x, step):  # noqa: D102
        largest = 0
        for d in range(x.size):
            if abs(x[d]) > abs(x[largest]):
                largest = d
        for d in range(x.size):
            if d != largest:
                x[d] = 0.0


@dataclass(frozen=True)
class UnitOneSparse(Regularizer):
    """One entry is 1 and the others are 0: with a quadratic loss and free columns, k-means.

    The projection puts the 1 where the largest entry is.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import UnitOneSparse
    >>> x = np.array([-3.0, 0.2, 0.1])
    >>> UnitOneSparse().prox(x, 1.0)
    >>> x
    array([0., 1., 0.])
    """

    convex: ClassVar[bool] = False
    one_hot: ClassVar[bool] = True

    def check_size(self, size):  # noqa: D102
        check_not_empty(self, size)

    def value(self, x):  # noqa: D102
        ones, others = 0, 0
        for d in range(x.size):
            if x[d] == 1:
                ones += 1
            elif x[d] != 0:
                others += 1
        return 0.0 if ones == 1 and others == 0 else inf

    def prox(self, x, step):  # noqa: D102
        largest = 0
        for d in range(x.size):
            if x[d] > x[largest]:
                largest = d
        for d in range(x.size):
            x[d] = 1.0 if d == largest else 0.0


@dataclass(frozen=True)
class KSparse(Regularizer):
    """At most ``n`` entries differ from zero.

    The projection keeps the ``n`` entries of largest absolute value.

    Parameters
    ----------
    n : int, default=1
        How many; at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import KSparse
    >>> x = np.array([-1.0, 2.0, -3.0, 4.0, -5.0])
    >>> KSparse(3).prox(x, 1.0)
    >>> x
    array([ 0.,  0., -3.,  4., -5.])
    """

    n: int = 1

    convex: ClassVar[bool] = False
    shrinks: ClassVar[bool] = True

    def __post_init__(self):
        _check_count(self, "n")

    def value(self, x):  # noqa: D102
        count = 0
        for d in range(x.size):
            count += x[d] != 0
        return 0.0 if count <= self.n else inf

    def prox(self, x, step):  # noqa: D102
        # In place: an entry that was dropped had n larger ones, which stay, so dropping it changes
        # no later decision.
        for d in range(x.size):
            larger = 0
            for other in range(x.size):
                if abs(x[other]) > abs(x[d]) or (abs(x[other]) == abs(x[d]) and other < d):
                    larger += 1
            if larger >= self.n:
                x[d] = 0.0


@dataclass(frozen=True)
class BlockSparse(Regularizer):
    """One block of neighbouring entries may differ from zero: rows choose among subspaces.

    The projection keeps the block of largest norm.

    Parameters
    ----------
    block_size : int, default=1
        Entries per block; at least 1.  The last block is shorter if they do not come out even.

    References
    ----------
    Vidal (2011), "Subspace clustering".

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.regularizers import BlockSparse
    >>> x = np.array([1.0, 1.0, -3.0, 4.0])
    >>> BlockSparse(2).prox(x, 1.0)
    >>> x
    array([ 0.,  0., -3.,  4.])
    """

    block_size: int = 1

    convex: ClassVar[bool] = False
    shrinks: ClassVar[bool] = True

    def __post_init__(self):
        _check_count(self, "block_size")

    def value(self, x):  # noqa: D102
        first = -1
        for d in range(x.size):
            if x[d] != 0:
                block = d // self.block_size
                if first >= 0 and block != first:
                    return inf
                first = block
        return 0.0

    def prox(self, x, step):  # noqa: D102
        best, largest = 0, -1.0
        for start in range(0, x.size, self.block_size):
            norm = 0.0
            for d in range(start, min(start + self.block_size, x.size)):
                norm += x[d] * x[d]
            if norm > largest:
                best, largest = start, norm
        for d in range(x.size):
            if d < best or d >= best + self.block_size:
                x[d] = 0.0


def _check_count(record, name: str) -> None:
    if not getattr(record, name) >= 1:
        raise ValueError(
            f"{type(record).__name__} needs {name} >= 1; got {getattr(record, name)!r}."
        )
