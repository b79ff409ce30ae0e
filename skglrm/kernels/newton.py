r"""Newton's method on convex rows, with a line search that looks at slopes alone.

Looking at the cells of a row, at the end of a step, gives the model of
:mod:`skglrm.kernels.proximal` there: the objective is convex, so its slope along the step says
whether the step went too far, and if it did not, the same look says where to go next.

Kinks are looked at through windows that shrink, once a row is solved in one.  The solution moves
with them along a line as long as no kink enters or leaves its window: the prediction at a kink
stays at the same share of the window.  So the step to the next window is a prediction, and often
an exact one.
"""

from typing import Any, NamedTuple

import numpy as np

from .._jit import kernel
from .proximal import factorise, solve_factorised

__all__ = ["NARROWEST", "WIDEST", "Rows", "advance"]

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


class Rows(NamedTuple):
    """Rows on their way: where they are, the step that is tried and how far of it, and the best.

    ``promised`` is the slope along the step, downwards; to the next window it is infinite.
    """

    x: Any  # (n, d, K)
    step: Any  # (n, d, K)
    share: Any  # (n,)
    promised: Any  # (n,)
    radius: Any  # (n,)
    cautious: Any  # (n,)
    best: Any  # (n, d, K)
    loss: Any  # (n,)
    total: Any  # (n,)

    @classmethod
    def of(cls, best: Any, radius: float) -> "Rows":
        """Return rows that stand at ``best`` and have not looked yet."""
        n, x = len(best), best.astype(np.float64)
        ones, most = np.ones(n), np.full(n, np.inf)
        return cls(
            x, np.zeros_like(x), ones, most, np.full(n, radius), np.ones(n, np.bool_), best,
            most.copy(), most.copy(),
        )  # fmt: skip


@kernel
def advance(rows, active, trial, F, G, A, B, C, strength, center, k, free, tol):
    r"""Go on from ``trial`` (n, d, K), where the losses of rows ``active`` (n,) are F, G, A + C.

    The objective is F + ½ s ‖x - μ‖².  A step at whose end the slope q·step, q the derivative
    there, is above STEEP times what was promised is shortened to where it would be 0 if it were
    straight.  From the end of others Newton's step is next.  A row that is solved in its window
    gets a narrower one: B and C are what of G and A is by kinks inside of it, and C grows as
    1 / window.

    It writes the rows that go on, and where to look next, to the beginning of ``active`` and
    ``trial``, and returns how many they are.
    """
    d, K = trial.shape[1:]
    M, b, q, new = np.empty((free, free)), np.empty(free), np.empty((d, K)), np.empty((d, K))
    going = 0
    for p in range(len(active)):
        i, penalty, rise = active[p], 0.0, 0.0
        for c in range(d):
            for m in range(K):
                q[c, m] = G[p, c, m]
                if m < k:
                    away = trial[p, c, m] - center[m]
                    penalty += 0.5 * strength * away * away
                    q[c, m] += strength * away
                rise += q[c, m] * rows.step[i, c, m]
        cost = F[p] + penalty
        if cost < rows.total[i]:
            rows.total[i], rows.loss[i] = cost, F[p]
            rows.best[i] = trial[p]
        if np.isfinite(F[p]) and rise <= STEEP * rows.promised[i]:
            foreseen, radius = np.isinf(rows.promised[i]), rows.radius[i]
            rows.share[i], rows.x[i] = 1.0, trial[p]
            _newton(A[p], C[p], 1.0, G[p], B[p], rows.x[i], strength, center, k, M, b, new)
            rows.promised[i] = -np.sum(q * new)
            rows.cautious[i] = rows.promised[i] > CLOSE * abs(cost)
            last = radius <= NARROWEST
            enough = tol if last else max(SOLVED * radius * radius, tol)
            if rows.promised[i] <= enough * abs(cost):
                if last:
                    continue
                rows.radius[i] = max((MUCH_NARROWER if foreseen else NARROWER) * radius, NARROWEST)
                rows.promised[i], f = np.inf, radius / rows.radius[i]
                _newton(A[p], C[p], f, G[p], B[p], rows.x[i], strength, center, k, M, b, new)
            rows.step[i] = new
        else:
            straight = rows.promised[i] / (rows.promised[i] + rise) if np.isfinite(rise) else 0.0
            rows.share[i] *= min(max(straight, 0.1), 0.9)
            if not rows.share[i] > SHORTEST:
                continue
        for c in range(d):
            for m in range(K):
                trial[going, c, m] = rows.x[i, c, m] + rows.share[i] * rows.step[i, c, m]
        active[going] = i
        going += 1
    return going


@kernel
def _newton(A, C, f, G, B, x, strength, center, k, M, b, out):
    # (A + f C + s I) δ = -(G + (f - 1) B) - s (x - μ), for each row of x (d, K).
    free = b.size
    for c in range(x.shape[0]):
        for m in range(free):
            for l in range(m + 1):  # noqa: E741
                M[m, l] = A[c, m, l] + f * C[c, m, l]
            b[m] = -G[c, m] - (f - 1.0) * B[c, m]
            if m < k:
                M[m, m] += strength
                b[m] -= strength * (x[c, m] - center[m])
        factorise(M)
        solve_factorised(M, b)
        out[c, :free], out[c, free:] = b, 0.0
