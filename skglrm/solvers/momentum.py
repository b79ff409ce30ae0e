"""Columns that go on the way they went, as long as the objective falls.

Alternation takes ever shorter steps along the same valley.  Between the passes over columns and
rows, the columns are moved on by a share of what they have moved since they last stood here; the
pass over the rows finds the objective there anyway.  If it is higher than before, the columns go
back, the rows are passed again, and the share shrinks: the objective never rises.

The idea is that of A. M. S. Ang and N. Gillis, *Accelerating nonnegative matrix factorization
algorithms using extrapolation*, Neural Computation 31, 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

from .base import Floats
from .half_step import HalfStep
from .problem import Problem

__all__ = ["Momentum"]

FIRST, MOST = 0.65, 1.0
"""The share that is tried first, and the largest."""

GROWTH, DECAY = 1.05, 1.5
"""What the share is multiplied by, after success, and divided by, after failure."""


class Momentum:
    """Where the columns H of a problem were, and how far they go on."""

    def __init__(self, H: Floats, columns: Sequence[HalfStep]):
        self.H, self.columns, self.share = H, columns, FIRST
        self.before: Floats | None = None
        """Where the pass over the columns has ended."""

    @classmethod
    def of(cls, problem: Problem, H: Floats, columns: Sequence[HalfStep]) -> Momentum | None:
        """Return the momentum of columns, or ``None`` if what lies between two may be forbidden."""
        convex = all(part.regularizer.convex for part in problem.column_parts)
        return cls(H, columns) if convex else None

    def go_on(self) -> bool:
        """Move the columns on; return whether they moved, as they do from the second time on."""
        before, self.before = self.before, self.H.copy()
        if before is None:
            return False
        self.H += self.H.dtype.type(self.share) * (self.H - before)
        for side in self.columns:
            side.make_feasible()
        return True

    def pays(self, total: float, previous: float) -> bool:
        """Whether the objective has not risen; if it has, the columns go back."""
        if total <= previous:
            self.share = min(MOST, GROWTH * self.share)
            return True
        assert self.before is not None
        self.share /= DECAY
        self.H[:] = self.before
        for side in self.columns:
            side.penalise()
        return False
