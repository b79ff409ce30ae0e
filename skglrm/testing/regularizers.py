"""The laws of regularizers."""

from __future__ import annotations

from math import inf, isfinite, isnan

import numpy as np
import numpy.typing as npt

from .._jit import kernel
from ..regularizers import Regularizer
from ._claims import check_claims
from ._records import broken, check_record, compare, compile_with

STEPS = (1e-3, 0.3, 1.0, 10.0)


def check_regularizer(regularizer: Regularizer) -> None:
    r"""Check that a regularizer obeys the laws that solvers rely on.

    - *frozen*, *equality*, *repr*, *pickle*: it is a value, which can be cloned, hashed and sent to
      other processes.
    - *in place*: ``prox(x, step)`` writes to ``x`` and returns nothing, ``value`` writes nothing.
    - *finite*: after ``prox`` the row and its value are finite.
    - *projection*: if ``value`` is always 0 or infinite, prox does nothing the second time, and the
      step does not matter.
    - *firm*, for a convex one: :math:`\|\xi - \upsilon\|^2 \le (\xi - \upsilon) \cdot (z - u)` with
      ξ = prox(z) and υ = prox(u).
    - *three points*, for a convex regularizer r with ξ = prox(z) and any u:
      :math:`r(\xi) - r(u) \le (\|u - z\|^2 - \|u - \xi\|^2 - \|\xi - z\|^2) / (2\,step)`, which
      says that ``prox`` is the proximal map of ``value``.
    - *minimum*, for the others: no point of a fine grid (in one and two dimensions), and none of a
      random sample (in more), has less :math:`r(u) + \|u - z\|^2 / (2\,step)` than ξ.
    - *small step*: from a row of finite value a tiny step goes nowhere.
    - *claims*: ``quadratic_center``, ``ridge_on_interval``, ``one_hot``, ``separable``,
      ``homogeneous`` and ``shrinks`` are true if the class claims them.
    - *compiled*: kernels compute the same numbers as Python, in float64 and in float32, and
      wherever the numbers of a row lie in memory.

    Rows of the sizes that ``check_size`` allows are tried, or blocks of them if ``on_block``.

    Parameters
    ----------
    regularizer : Regularizer
        The regularizer to check.

    Raises
    ------
    AssertionError
        If a law is broken.  The message names the law and says what to fix.
    ValueError
        If ``check_size`` allows no rows of up to 64 entries.

    See Also
    --------
    check_loss : The same for losses.

    Examples
    --------
    >>> from skglrm.regularizers import L1, L2, Sum
    >>> from skglrm.testing import check_regularizer
    >>> check_regularizer(Sum(L1(0.5), L2(2.0)))
    >>> check_regularizer(L1)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    AssertionError: <class ...L1'> breaks the law 'instance': it is no instance of ...
    """
    check_record(regularizer, Regularizer, "regularizer")
    rows = _rows(regularizer)
    _check_in_place(regularizer, rows)
    _check_finite_after_prox(regularizer, rows)
    _check_projection(regularizer, rows)
    if regularizer.convex:
        _check_firm(regularizer, rows)
    _check_prox(regularizer, rows)
    _check_small_step(regularizer, rows)
    check_claims(regularizer, rows)
    _check_compiled_regularizer(regularizer, rows)


def _rows(regularizer: Regularizer) -> list[npt.NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    sizes = [k for k in (1, 2, 3, 8) if _fits(regularizer, k)]
    if not sizes:
        sizes = [k for k in range(1, 65) if _fits(regularizer, k)][:2]
    if not sizes:
        regularizer.check_size(64)
    if regularizer.on_block:
        shapes = [(n, k) for n in (1, 2, 5) for k in sizes[:3]]
        blocks = [np.zeros((3, sizes[-1])), np.ones((3, sizes[-1]))]
        return blocks + [rng.normal(0, scale, shape) for shape in shapes for scale in (0.1, 5.0)]
    rows = [
        np.array(row, np.float64)
        for row in (
            [0.0], [0.7], [-0.2], [3.0], [-5.0],
            [0.0, 0.0], [1.0, 1.0], [-1.0, 0.3], [0.05, -0.02], [-2.0, -2.0], [4.0, 0.5],
        )
        if len(row) in sizes
    ]  # fmt: skip
    return rows + [rng.normal(0, scale, k) for k in sizes if k > 1 for scale in (0.1, 1.0, 5.0)]


def _fits(regularizer: Regularizer, size: int) -> bool:
    try:
        regularizer.check_size(size)
    except ValueError:
        return False
    return True


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
        x = z.copy()
        regularizer.value(x)
        if not np.array_equal(x, z):
            found = f"value({z!r}) turned the row into {x!r}."
            broken(regularizer, "in place", found, "value must work on a copy: x.copy().")


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
            from_z = ((u - z) ** 2).reshape(len(u), -1).sum(axis=1)
            from_xi = ((u - xi) ** 2).reshape(len(u), -1).sum(axis=1)
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
    k, shape = z.size, (20, *z.shape)
    points = [np.zeros((1, *z.shape)), z[None], rng.normal(0, 1, shape), rng.normal(0, 4, shape)]
    # Points of finite value, which a constraint may have few of.
    points += [np.array([_prox(regularizer, one, 0.5) for one in np.concatenate(points)])]
    if not regularizer.convex and z.ndim == 1 and k <= 2:
        axes = [np.linspace(-6.0, 6.0, 481 if k == 1 else 49)] * k
        points.append(np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, k))
    return np.concatenate(points)


def _neighbours(xi: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    unit = np.eye(xi.size).reshape(xi.size, *xi.shape)
    shifts = [sign * size * unit for size in (1e-3, 0.03, 1.0) for sign in (-1, 1)]
    return np.concatenate([xi + shift for shift in shifts] + [xi[None] * 0.97, xi[None] * 1.03])


def _check_projection(regularizer: Regularizer, rows: list[npt.NDArray[np.float64]]) -> None:
    reached = [_prox(regularizer, z, 1.0) for z in rows]
    if any(regularizer.value(x) not in (0.0, inf) for x in rows + reached):
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


def _check_firm(regularizer: Regularizer, rows: list[npt.NDArray[np.float64]]) -> None:
    for step in STEPS:
        ends = [_prox(regularizer, z, step) for z in rows]
        for z, xi in zip(rows, ends, strict=True):
            for u, upsilon in zip(rows, ends, strict=True):
                if u.shape != z.shape:
                    continue
                moved, apart = xi - upsilon, z - u
                slack = 1e-9 * (1 + float((apart * apart).sum()))
                if (moved * moved).sum() > (moved * apart).sum() + slack:
                    found = (
                        f"with step {step:g} {z!r} goes to {xi!r}, but {u!r} goes to {upsilon!r}."
                    )
                    remedy = (
                        "prox of a convex function is firmly non-expansive. If value is not "
                        "convex, set the class attribute convex: ClassVar[bool] = False."
                    )
                    broken(regularizer, "firm", found, remedy)


def _check_small_step(regularizer: Regularizer, rows: list[npt.NDArray[np.float64]]) -> None:
    for z in rows + [_prox(regularizer, z, 1.0) for z in rows]:
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
    # Two versions of the kernel, which both cost time: a layout that is misread shows in any dtype.
    for dtype, precision, strided in ((np.float64, 1e-10, False), (np.float32, 2e-6, True)):
        for row in rows:
            z = row.astype(dtype)
            for step in STEPS:
                x = _scattered(z) if strided else z.copy()
                before, after = compile_with(regularizer, _evaluate_regularizer, x, step)
                start = z.astype(np.float64)
                end = _prox(regularizer, start, step)
                python = np.array([regularizer.value(start), regularizer.value(end), *end.flat])
                compiled = np.array([before, after, *x.flat])
                names = ("value before", "value after", *[f"x[{d}] after" for d in range(z.size)])
                size = (1 + np.abs(start).sum()) * (1 + np.abs(python[np.isfinite(python)]).max())
                compare(
                    regularizer,
                    compiled,
                    python,
                    np.full(python.size, precision * size),
                    lambda t, names=names, z=z, step=step: f"{names[t]} prox({z!r}, {step:g})",
                )


def _scattered(z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Copy of z whose numbers are no neighbours in memory."""
    wide = np.zeros((*z.shape[::-1], 2), z.dtype).T[0]
    wide[...] = z
    return wide
