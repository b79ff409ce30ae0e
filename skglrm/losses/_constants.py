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


def shares(levels: Values, weights: Weights, n_levels: int) -> Vector:
    """Return the share of each level; one that was never observed has half an observation."""
    a, w = counted(levels, weights)
    counts = np.bincount(a.astype(np.intp), w, n_levels).astype(np.float64)
    if not counts.all():
        counts[counts == 0] = 0.5 * (w.mean() if w.size else 1.0)
    return counts / counts.sum()


def share_of_true(values: Values, weights: Weights) -> float:
    return float(shares((np.asarray(values) > 0).astype(np.float64), weights, 2)[1])
