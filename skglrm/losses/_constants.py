"""How best constants are found: the minimum of a convex function of one number.

All take ``weights=None`` as ones, leave out what weighs nothing, and return 0 if nothing is left.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Values = npt.NDArray[np.floating]
Weights = npt.NDArray[np.floating] | None

GOLDEN = (5**0.5 - 1) / 2
REPRESENTATIVES = 200


def counted(values: Values, weights: Weights) -> tuple[Vector, Vector]:
    """Return the values that count, and their weights, in double precision."""
    a: Vector = np.asarray(values, np.float64)
    if weights is None:
        return a, np.ones(a.size)
    w: Vector = np.asarray(weights, np.float64)
    if w.shape != a.shape or not np.all(w >= 0):
        raise ValueError(
            f"weights must be at least 0, one for each of the {a.size} values; got {weights!r}."
        )
    return a[w > 0], w[w > 0]


def mean(values: Values, weights: Weights) -> float:
    if weights is None and np.size(values):
        return float(np.mean(values, dtype=np.float64))
    a, w = counted(values, weights)
    return float(a @ w / w.sum()) if a.size else 0.0


def lowest_of_kinks(kinks: Vector, jumps: Vector, slope: float) -> float:
    """Minimise a convex piecewise linear function: the middle of its minimisers between kinks.

    ``slope`` ≤ 0 is its slope at -∞, which rises by ``jumps`` > 0 at the ``kinks``.
    """
    if not kinks.size:
        return 0.0
    order = np.argsort(kinks, kind="stable")
    kinks, slopes = kinks[order], slope + np.cumsum(jumps[order])
    # Sums of weights are rounded: what is tiny against them is 0.
    level = 1e-12 * (abs(slope) + float(jumps.sum()))
    last = len(kinks) - 1
    first_flat = min(int(np.searchsorted(slopes, -level)), last)
    first_rising = min(int(np.searchsorted(slopes, level, side="right")), last)
    if slope >= -level:  # flat from -∞ on
        first_flat = first_rising
    return float(0.5 * (kinks[first_flat] + kinks[first_rising]))


def root(slope: Callable[[float], float], low: float, high: float) -> float:
    """Bisect a slope that never falls, from where it is negative to where it is positive."""
    while high - low > 1e-12 * max(1.0, abs(low), abs(high)):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 0.5 * (low + high)


def searched(cost: Callable[[float, float], float], values: Values, weights: Weights) -> float:
    """Minimise Σ w cost(u, a) over u by trial: no formula, and no convexity, needed.

    Many values are represented by ``REPRESENTATIVES`` of their quantiles.
    """
    a, w = counted(values, weights)
    if not a.size:
        return 0.0
    a, inverse = np.unique(a, return_inverse=True)
    w = np.bincount(inverse, w).astype(np.float64)
    if a.size > REPRESENTATIVES:
        group = ((np.cumsum(w) - 0.5 * w) / w.sum() * REPRESENTATIVES).astype(np.intp)
        sums = np.bincount(group, w * a).astype(np.float64)
        w = np.bincount(group, w).astype(np.float64)
        a, w = sums[w > 0] / w[w > 0], w[w > 0]

    def total(u: float) -> float:
        return float(sum(one * cost(u, float(b)) for b, one in zip(a, w, strict=True)))

    size = max(1.0, float(np.abs(a).max()))
    far = size * np.geomspace(1.0, 32.0, 6)
    tried = np.unique([*a[:: max(1, a.size // 32)], a[-1], *far, *-far, 0.0])
    costs = [total(float(u)) for u in tried]
    best = int(np.argmin(costs))
    low, high = tried[max(best - 1, 0)], tried[min(best + 1, tried.size - 1)]
    while high - low > 1e-9 * max(1.0, abs(low), abs(high)):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        low, high = (low, right) if total(left) <= total(right) else (left, high)
    middle = 0.5 * (low + high)
    return float(middle if total(middle) <= costs[best] else tried[best])


def shares(levels: Values, weights: Weights, n_levels: int) -> Vector:
    """Return the share of each level; one that was never observed has half an observation."""
    a, w = counted(levels, weights)
    counts = np.bincount(a.astype(np.intp), w, n_levels).astype(np.float64)
    if not counts.all():
        counts[counts == 0] = 0.5 * (w.mean() if w.size else 1.0)
    return counts / counts.sum()


def share_of_true(values: Values, weights: Weights) -> float:
    return float(shares((np.asarray(values) > 0).astype(np.float64), weights, 2)[1])
