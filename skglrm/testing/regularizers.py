"""The laws of regularizers."""

from __future__ import annotations

from math import inf, isfinite, isnan

import numpy as np
import numpy.typing as npt

from .._jit import kernel
from ..regularizers import Regularizer
from ._records import broken, check_record, compare, compile_with

STEPS = (1e-3, 0.3, 1.0, 10.0)


def check_regularizer(regularizer: Regularizer) -> None:
    r"""Check that a regularizer obeys the laws that solvers rely on.

    - *frozen*, *equality*, *repr*, *pickle*: it is a value, which can be cloned, hashed and sent to
      other processes.
    - *in place*: ``prox(x, step)`` writes to ``x`` and returns nothing.
    - *finite*: after ``prox`` the row and its value are finite.
    - *projection*: if ``value`` is always 0 or infinite, prox does nothing the second time, and the
      step does not matter.
    - *three points*, for a convex regularizer r with ξ = prox(z) and any u:
      :math:`r(\xi) - r(u) \le (\|u - z\|^2 - \|u - \xi\|^2 - \|\xi - z\|^2) / (2\,step)`, which
      says that ``prox`` is the proximal map of ``value``.
    - *minimum*, for the others: no point of a fine grid (in one and two dimensions), and none of a
      random sample (in more), has less :math:`r(u) + \|u - z\|^2 / (2\,step)` than ξ.
    - *small step*: from a row of finite value a tiny step goes nowhere.
    - *compiled*: kernels compute the same numbers as Python, in float64 and in float32.

    Parameters
    ----------
    regularizer : Regularizer
        The regularizer to check.

    Raises
    ------
    AssertionError
        If a law is broken.  The message names the law and says what to fix.

    See Also
    --------
    check_loss : The same for losses.

    Examples
    --------
    >>> from skglrm.regularizers import L1, L2, Sum
    >>> from skglrm.testing import check_regularizer
    >>> check_regularizer(Sum(L1(0.5), L2(2.0)))
    >>> check_regularizer(Sum(L2(2.0), L1(0.5)))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    AssertionError: Sum(...) breaks the law 'three points': prox(...) leads to ...
    """
    check_record(regularizer, Regularizer, "regularizer")
    rows = _rows()
    _check_in_place(regularizer, rows)
    _check_finite_after_prox(regularizer, rows)
    _check_projection(regularizer, rows)
    _check_prox(regularizer, rows)
    _check_small_step(regularizer, rows)
    _check_compiled_regularizer(regularizer, rows)


def _rows() -> list[npt.NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    rows = [
        np.array(row, np.float64)
        for row in (
            [0.0], [0.7], [-0.2], [3.0], [-5.0],
            [0.0, 0.0], [1.0, 1.0], [-1.0, 0.3], [0.05, -0.02], [-2.0, -2.0], [4.0, 0.5],
        )
    ]  # fmt: skip
    return rows + [rng.normal(0, scale, k) for k in (2, 3, 8) for scale in (0.1, 1.0, 5.0)]


def _prox(
    regularizer: Regularizer, z: npt.NDArray[np.float64], step: float
) -> npt.NDArray[np.float64]:
    x = z.copy()
    regularizer.prox(x, step)
    return x


def _check_in_place(regularizer: Regularizer, rows: list[npt.NDArray[np.float64]]) -> None:
    for z in rows:
        returned = regularizer.prox(z.copy(), 1.0)
        if returned is not None:
            found = f"prox({z!r}, 1.0) returned {returned!r}."
            broken(regularizer, "in place", found, "Write to x[d] and return nothing.")


def _check_finite_after_prox(regularizer: Regularizer, rows: list[npt.NDArray[np.float64]]) -> None:
    for z in rows:
        if isnan(regularizer.value(z)) or regularizer.value(z) == -inf:
            found = f"value({z!r}) is {regularizer.value(z)}."
            broken(regularizer, "finite", found, "It must be a number or +inf.")
        for step in STEPS:
            x = _prox(regularizer, z, step)
            if not (np.isfinite(x).all() and isfinite(regularizer.value(x))):
                found = (
                    f"prox({z!r}, {step:g}) leads to {x!r}, whose value is {regularizer.value(x)}."
                )
                remedy = "prox must end where value is finite; compare both for rounding."
                broken(regularizer, "finite", found, remedy)


def _check_prox(regularizer: Regularizer, rows: list[npt.NDArray[np.float64]]) -> None:
    remedy = (
        "Make prox(x, step) the minimiser of value(ξ) + |ξ - x|² / (2 step) over ξ. The prox of a "
        "sum is one prox after the other only for some pairs, in one order."
    )
    if regularizer.convex:
        remedy += " If value is not convex, set the class attribute convex: ClassVar[bool] = False."
    for z in rows:
        fixed = _candidates(regularizer, z)
        fixed_values = np.array([regularizer.value(u) for u in fixed])
        for step in STEPS:
            xi = _prox(regularizer, z, step)
            near = _neighbours(xi)
            u = np.concatenate([fixed, near])
            values = np.concatenate([fixed_values, [regularizer.value(one) for one in near]])
            own = regularizer.value(xi)
            from_z = ((u - z) ** 2).sum(axis=1)
            from_xi = ((u - xi) ** 2).sum(axis=1)
            moved = float(((xi - z) ** 2).sum())
            slack = 1e-8 * (1 + abs(own) + (moved + from_z) / step)
            if regularizer.convex:
                law, excess = "three points", own - values - (from_z - from_xi - moved) / (2 * step)
            else:
                law, excess = "minimum", own - values - (from_z - moved) / (2 * step)
            excess = np.where(np.isinf(values), -inf, excess - slack)
            if excess.max() > 0:
                worst = int(np.argmax(excess))
                reached = own + moved / (2 * step)
                there = values[worst] + from_z[worst] / (2 * step)
                least = reached + (from_xi[worst] / (2 * step) if regularizer.convex else 0.0)
                found = (
                    f"prox({z!r}, {step:g}) leads to ξ={xi!r}, where value(ξ) + |ξ - x|² / (2 step)"
                    f" is {reached:.9g}. So at {u[worst]!r} it should be at least {least:.9g}, but "
                    f"it is {there:.9g}."
                )
                broken(regularizer, law, found, remedy)


def _candidates(regularizer: Regularizer, z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(1)
    k = z.size
    points = [np.zeros((1, k)), z[None], rng.normal(0, 1, (20, k)), rng.normal(0, 4, (20, k))]
    # Points of finite value, which a constraint may have few of.
    points += [np.array([_prox(regularizer, one, 0.5) for one in np.concatenate(points)])]
    if not regularizer.convex and k <= 2:
        axes = [np.linspace(-6.0, 6.0, 481 if k == 1 else 49)] * k
        points.append(np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, k))
    return np.concatenate(points)


def _neighbours(xi: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shifts = [sign * size * np.eye(xi.size) for size in (1e-3, 0.03, 1.0) for sign in (-1, 1)]
    return np.concatenate([xi + shift for shift in shifts] + [xi[None] * 0.97, xi[None] * 1.03])


def _check_projection(regularizer: Regularizer, rows: list[npt.NDArray[np.float64]]) -> None:
    if any(regularizer.value(z) not in (0.0, inf) for z in rows):
        return
    for z in rows:
        x = _prox(regularizer, z, 1.0)
        again = _prox(regularizer, x, 1.0)
        if not np.allclose(again, x, rtol=1e-12, atol=1e-12):
            found = f"prox leads from {z!r} to {x!r}, and from there to {again!r}."
            remedy = "The prox of a constraint must leave points that obey it where they are."
            broken(regularizer, "projection", found, remedy)
        for step in STEPS:
            other = _prox(regularizer, z, step)
            if not np.allclose(other, x, rtol=1e-12, atol=1e-12):
                found = (
                    f"from {z!r} prox leads to {x!r} with step 1, but to {other!r} with {step:g}."
                )
                remedy = "The prox of a constraint is the projection, whatever the step."
                broken(regularizer, "projection", found, remedy)


def _check_small_step(regularizer: Regularizer, rows: list[npt.NDArray[np.float64]]) -> None:
    for z in rows:
        if isfinite(regularizer.value(z)):
            x = _prox(regularizer, z, 1e-10)
            if np.abs(x - z).max() > 1e-3 * (1 + np.abs(z).max()):
                found = f"with step 1e-10 prox goes from {z!r} to {x!r}."
                remedy = "Multiply by the step what prox takes away."
                broken(regularizer, "small step", found, remedy)


@kernel
def _evaluate_regularizer(regularizer, x, step):
    """Return the value of the row x before and after prox."""
    before = regularizer.value(x)
    regularizer.prox(x, step)
    return before, regularizer.value(x)


def _check_compiled_regularizer(
    regularizer: Regularizer, rows: list[npt.NDArray[np.float64]]
) -> None:
    for dtype, precision in ((np.float64, 1e-10), (np.float32, 2e-6)):
        for row in rows:
            z = row.astype(dtype)
            for step in STEPS:
                x = z.copy()
                before, after = compile_with(regularizer, _evaluate_regularizer, x, step)
                start = z.astype(np.float64)
                end = _prox(regularizer, start, step)
                python = np.array([regularizer.value(start), regularizer.value(end), *end])
                compiled = np.array([before, after, *x])
                names = ("value before", "value after", *[f"x[{d}] after" for d in range(z.size)])
                size = (1 + np.abs(start).sum()) * (1 + np.abs(python[np.isfinite(python)]).max())
                compare(
                    regularizer,
                    compiled,
                    python,
                    np.full(python.size, precision * size),
                    lambda t, names=names, z=z, step=step: f"{names[t]} prox({z!r}, {step:g})",
                )
