"""Rows solved to the end, for final factors of the other side.

Where losses are convex, and regularizers half the square of a norm, by Newton's method
with a line search that looks at slopes alone, so that every look at the cells also says where to go
next.  Kinks are looked at through windows that shrink, once a row is solved in one.  The solution
moves with them along a line as long as no kink enters or leaves its window: the prediction at a
kink stays at the same share of the window.  So the step to the next window is a prediction, and
often an exact one.

All other rows take the steps of :mod:`skglrm.solvers.half_step` until they get no better.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernels.proximal import minimise_ridge
from .base import Floats
from .half_step import Block, HalfStep, Outcome, settle_slowly

__all__ = ["settle"]

Doubles = npt.NDArray[np.float64]

MOST_LOOKS = 100
WIDEST, NARROWEST = 0.5, 1e-5
"""Half the first window and the last, in units."""

NARROWER, MUCH_NARROWER = 0.3, 0.1
"""What a window shrinks by; the latter where the step to this window has hit the solution."""

CLOSE, SOLVED = 0.1, 0.1
"""Promised decrease, relative to the objective, below which losses count as curved as they are, and
below which, times the square of the window, a row is solved in it."""

STEEP = 0.5
"""Share of the slope at the start of a step that may be left, upwards, at its end."""

SHORTEST = 1e-8


def settle(block: Block, side: HalfStep) -> Outcome:
    """Take steps until no row of a block gets better."""
    part = side.parts[block.part]
    plain = side.methods[block.part].strength is not None and side.bound is None
    convex = all(term.loss.convex for term in side.terms)
    if part.regularizer.one_hot or side.is_quadratic or not (plain and convex):
        return settle_slowly(block, side)
    rows = _Rows(side, block)
    for _ in range(MOST_LOOKS):
        if not rows.active.size:
            break
        rows.look()
    return rows.outcome()


class _Rows:
    """Rows of a block on their way: where they are, the step that is tried, and how far of it."""

    def __init__(self, side: HalfStep, block: Block):
        n = block.rows.size
        self.side, self.block, method = side, block, side.methods[block.part]
        self.strength, self.center = method.strength or 0.0, method.center
        self.best = side.state.of(block.rows).copy()
        self.loss, self.total = np.full(n, np.inf), np.full(n, np.inf)  # of the best
        self.x = self.best.x.astype(np.float64)
        self.step, self.share = np.zeros_like(self.x), np.ones(n)
        self.promised = np.full(n, np.inf)  # the slope along the step, downwards
        self.radius = np.full(n, WIDEST if side.is_kinked else NARROWEST)
        self.cautious = np.ones(n, bool)
        self.active = np.arange(n)

    def look(self) -> None:
        """Look at the cells at the end of the steps; go on from those that are no overshoot."""
        at, side = self.active, self.side
        k, strength = side.n_penalised, self.strength
        x = (self.x[at] + self.share[at, None, None] * self.step[at]).astype(self.best.x.dtype)
        rows, radius = self.block.rows[at], self.radius[at]
        F, G, A, B, C = side.windowed_model(rows, x, radius, self.cautious[at])
        away = x[:, :, :k].astype(np.float64) - self.center
        penalty = 0.5 * strength * np.einsum("pcm,pcm->p", away, away)
        self._remember(x, F, penalty)
        Q = G.copy()
        Q[:, :, :k] += strength * away
        rise = np.einsum("pcm,pcm->p", Q, self.step[at])
        over = ~(np.isfinite(F) & (rise <= STEEP * self.promised[at]))
        self._shorten(at[over], rise[over])
        good = ~over
        self.x[at[good]] = x[good]
        going = over & (self.share[at] > SHORTEST)
        model = tuple(array[good] for array in (G, A, B, C))
        going[good] = self._turn(at[good], (F + penalty)[good], Q[good], *model)
        self.active = at[going]

    def _remember(self, x: Floats, F: Doubles, penalty: Doubles) -> None:
        total = F + penalty
        better = total < self.total[self.active]
        at = self.active[better]
        self.best.x[at], self.loss[at], self.total[at] = x[better], F[better], total[better]

    def _shorten(self, at: Any, rise: Doubles) -> None:
        """Go to where the slope would be 0 if it were straight."""
        steep = self.promised[at]
        with np.errstate(invalid="ignore"):
            share = np.where(np.isfinite(rise), steep / (steep + rise), 0.0)
        self.share[at] *= np.clip(share, 0.1, 0.9)

    def _turn(
        self, at: Any, total: Doubles, Q: Doubles, G: Doubles, A: Doubles, B: Doubles, C: Doubles
    ) -> npt.NDArray[np.bool_]:
        """Find the next steps, and return which rows are to take them."""
        self.share[at] = 1.0
        step = self._newton(at, A + C, G)
        promised = -np.einsum("pcm,pcm->p", Q, step)
        self.cautious[at] = promised > CLOSE * np.abs(total)
        last = self.radius[at] <= NARROWEST
        tol = np.where(last, self.tol, np.maximum(SOLVED * self.radius[at] ** 2, self.tol))
        solved = promised <= tol * np.abs(total)
        some = solved & ~last
        if some.any():
            wide, foreseen = self.radius[at[some]], np.isinf(self.promised[at[some]])
            narrow = np.maximum(np.where(foreseen, MUCH_NARROWER, NARROWER) * wide, NARROWEST)
            f = (wide / narrow)[:, None, None]
            G, A = G[some] + (f - 1) * B[some], A[some] + f[..., None] * C[some]
            step[some], promised[some] = self._newton(at[some], A, G), np.inf
            self.radius[at[some]] = narrow
        self.step[at], self.promised[at] = step, promised
        return ~(solved & last)

    def _newton(self, at: Any, A: Doubles, G: Doubles) -> Doubles:
        side, x = self.side, self.x[at]
        out = np.empty_like(x)
        ridge = (self.strength, self.center, side.n_penalised, side.n_free)
        minimise_ridge(A, G, x, np.ones(len(x)), *ridge, out)
        return out - x

    @property
    def tol(self) -> float:
        """Promised decrease, relative to the objective, of rows that are solved."""
        return 1e-9 if self.best.x.dtype == np.float32 or self.side.is_kinked else 1e-14

    def outcome(self) -> Outcome:
        """Return the best that was seen."""
        penalty = self.side.penalties(self.side.parts[self.block.part], self.best.x.astype(float))
        state = self.best._replace(penalty=penalty)
        return Outcome(state, float(self.loss.sum()), float(penalty.sum()), self.active.size)
