"""The laws of what regularizers claim about themselves."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, isfinite

import numpy as np
import numpy.typing as npt

from ..regularizers import Regularizer
from ._records import broken

Rows = list[npt.NDArray[np.float64]]


def check_claims(regularizer: Regularizer, rows: Rows) -> None:
    """Check the attributes by which solvers and ``Sum`` choose what they do."""
    for holds, claim in _claims(regularizer, rows):
        if not holds:
            remedy = "Do not claim it: the attribute of the base class is always safe."
            broken(regularizer, "claims", claim, remedy)


def _claims(regularizer: Regularizer, rows: Rows) -> Iterator[tuple[bool, str]]:
    value = regularizer.value
    reached = [row.copy() for row in rows]
    for row in reached:
        regularizer.prox(row, 1.0)
    for x in rows + reached:
        yield from _quadratics(regularizer, x)
        if regularizer.one_hot:
            unit = np.count_nonzero(x) == 1 and x.sum() == 1
            best = value(np.eye(x.size)[0])
            same = value(x) == (best if unit else inf)
            yield same, f"one_hot is set, but value({x!r}) is {value(x)}."
        if regularizer.homogeneous:
            doubled = _equal(value(2 * x), 2 * value(x))
            yield doubled, f"homogeneous is set, but value(2 x) is not 2 value(x) at x={x!r}."
        if regularizer.separable:
            alone = sum(value(x[d : d + 1]) for d in range(x.size))
            found = f"separable is set, but value({x!r}) is {value(x)}, and {alone} entry by entry."
            yield _equal(value(x), alone), found
    for z, x in zip(rows, reached, strict=True):
        if regularizer.shrinks:
            kept = x[x != 0] / np.where(z == 0, inf, z)[x != 0]
            shrunk = not kept.size or (np.ptp(kept) < 1e-9 and 0 <= kept.min() <= kept.max() <= 1)
            found = f"shrinks is set, but prox leads from {z!r} to {x!r}."
            yield bool(shrunk and not x[z == 0].any()), found


def _quadratics(regularizer: Regularizer, x: npt.NDArray[np.float64]) -> Iterator[tuple[bool, str]]:
    own = regularizer.value(x)
    if regularizer.ridge_on_interval is not None:
        strength, lower, upper = regularizer.ridge_on_interval
        inside = ((x >= lower) & (x <= upper)).all()
        same = _equal(own, 0.5 * strength * float(x @ x) if inside else inf)
        claim = f"ridge_on_interval is {regularizer.ridge_on_interval}"
        yield same, f"{claim}, but value({x!r}) is {own}."
    if regularizer.quadratic_center is not None:
        strength, center = regularizer.quadratic_center
        distance = x - (0.0 if center is None else np.array(center))
        same = _equal(own, 0.5 * strength * float(distance @ distance))
        claim = f"quadratic_center is {regularizer.quadratic_center}"
        yield same, f"{claim}, but value({x!r}) is {own}."


def _equal(one: float, other: float) -> bool:
    if not (isfinite(one) and isfinite(other)):
        return one == other
    return abs(one - other) <= 1e-9 * (1 + abs(one) + abs(other))
