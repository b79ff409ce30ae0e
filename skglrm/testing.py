r"""The laws of losses, regularizers, backends and schedules, as functions to call in a test.

Whoever writes one of these hands it to the check of its kind, which raises ``AssertionError`` with
the law that is broken, the numbers that break it, and what to do about it::

    check_loss(MyLoss(0.5))
    check_regularizer(MyConstraint())

A pass is no proof: laws are tried at some hundred points.  Kernels compile the record that is
checked, so the first check of a class takes a second or two.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from math import inf, isfinite, isnan
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from ._jit import kernel, read_only
from .backends.base import Backend
from .losses import Loss
from .regularizers import Regularizer
from .solvers.schedule import Rotation, Schedule

__all__ = ["check_backend", "check_loss", "check_regularizer", "check_schedule"]

EPS = float(np.finfo(np.float64).eps)

OBSERVATIONS = (-3.0, -1.0, -0.4, 0.0, 0.25, 1.0, 2.0, 5.0)
"""Tried as observations, as far as a loss contains them."""

PREDICTIONS = (*np.linspace(-6.0, 6.0, 25) + 0.0137, *OBSERVATIONS, -1e3, -40.0, 40.0, 1e3)
"""Tried as predictions: between kinks, at them (most lie at an observation or at ±1), and far out,
where ``exp`` overflows."""

MODERATE = 10.0
"""Predictions up to here are used where values are compared with each other."""

STEPS = (1e-3, 0.3, 1.0, 10.0)

SECONDS = 60.0
"""After so long a check of a backend or schedule says that it hangs."""


def _broken(what: Any, law: str, found: str, remedy: str) -> NoReturn:
    raise AssertionError(f"{what!r} breaks the law {law!r}: {found} {remedy}")


# ------------------------------------------------------------------ losses


def check_loss(
    loss: Loss,
    *,
    observations: npt.ArrayLike | None = None,
    predictions: npt.ArrayLike | None = None,
) -> None:
    r"""Check that a loss obeys the laws that solvers rely on.

    - *frozen*, *equality*, *repr*, *pickle*: it is a value, which can be cloned, hashed and sent to
      other processes.
    - *contains*: it says which observations it takes, and refuses NaN and infinity.
    - *finite*: value and gradient are finite, also for predictions of ±1000.
    - *gradient*: it is the derivative of the value, and a subgradient at kinks.  *smooth* and
      *convex* hold if the class claims them.
    - *degree*: :math:`L(cu, ca) = c^d L(u, a)` if ``degree`` is a number d.
    - *impute*: no observation costs less than the imputed one.
    - *best_constant*: no constant prediction costs less (skipped if it is not implemented).
    - *compiled*: kernels compute the same numbers as Python, in float64 and in float32.

    Parameters
    ----------
    loss : Loss
        The loss to check.
    observations : array-like, default=None
        Observations to try; by default a few numbers between -3 and 5 that the loss contains.
    predictions : array-like, default=None
        Predictions to try; by default some thirty numbers between -1000 and 1000.

    Raises
    ------
    AssertionError
        If a law is broken.  The message names the law and says what to fix.
    ValueError
        If fewer than two of the observations to try are in the domain of the loss.

    See Also
    --------
    check_regularizer : The same for regularizers.

    Examples
    --------
    >>> from skglrm.losses import Huber
    >>> from skglrm.testing import check_loss
    >>> check_loss(Huber(0.5))
    """
    _check_record(loss, Loss, "loss")
    tried = np.array(OBSERVATIONS if observations is None else observations, np.float64).ravel()
    _check_contains(loss, tried)
    a = tried[loss.contains(tried)]
    if a.size < 2:
        raise ValueError(
            f"{loss!r} contains {a.size} of the observations {tried.tolist()}, and at least two "
            "are needed. Pass observations=[...] of its domain to check_loss."
        )
    u = np.array(PREDICTIONS if predictions is None else predictions, np.float64).ravel()
    _check_finite(loss, u, a)
    _check_gradient(loss, u, a)
    moderate = u[np.abs(u) <= MODERATE]
    if loss.convex:
        _check_subgradient_inequality(loss, moderate, a)
    if loss.degree is not None:
        _check_degree(loss, moderate, a)
    _check_impute(loss, moderate, a)
    if type(loss).best_constant is not Loss.best_constant:
        _check_best_constant(loss, a)
    _check_compiled_loss(loss, u, a)


def _check_contains(loss: Loss, tried: npt.NDArray[np.float64]) -> None:
    remedy = (
        "contains must answer like np.isfinite: an array of booleans of the shape of its argument, "
        "False for NaN and infinity."
    )
    for argument in (tried, tried.reshape(1, -1), float(tried[0]), tried.astype(np.float32)):
        answer = loss.contains(argument)
        if np.shape(answer) != np.shape(argument) or np.asarray(answer).dtype != bool:
            found = f"contains({argument!r}) returned {answer!r}."
            _broken(loss, "contains", found, remedy)
    for number in (np.nan, inf, -inf):
        if np.asarray(loss.contains(np.array([number]))).any():
            _broken(loss, "contains", f"{number} was said to be in the domain.", remedy)


def _check_finite(loss: Loss, u: npt.NDArray[np.float64], a: npt.NDArray[np.float64]) -> None:
    for prediction in u.tolist():
        for observation in a.tolist():
            for name in ("value", "gradient"):
                try:
                    number = float(getattr(loss, name)(prediction, observation))
                except (TypeError, ValueError, ArithmeticError) as error:
                    found = f"{name}({prediction}, {observation}) raised {error!r}."
                    remedy = "It must return a number for all numbers and observations."
                    raise AssertionError(
                        f"{loss!r} breaks the law 'finite': {found} {remedy}"
                    ) from error
                if not isfinite(number):
                    _broken(
                        loss,
                        "finite",
                        f"{name}({prediction}, {observation}) is {number}.",
                        "Evaluate exponentials of negative numbers only, or continue the loss "
                        "linearly where it grows too fast.",
                    )


def _check_gradient(loss: Loss, u: npt.NDArray[np.float64], a: npt.NDArray[np.float64]) -> None:
    for observation in a.tolist():

        def value(prediction, observation=observation):
            return float(loss.value(prediction, observation))

        def gradient(prediction, observation=observation):
            return float(loss.gradient(prediction, observation))

        for prediction in u.tolist():
            _check_slope(loss, value, gradient, prediction, observation)


def _check_slope(
    loss: Loss,
    value: Callable[[float], float],
    gradient: Callable[[float], float],
    u: float,
    a: float,
) -> None:
    remedy = "Make gradient(u, a) the derivative of value(u, a) by u."
    # A mean of the derivative lies between its extremes, at kinks too: no need to know them.
    h = 1e-5 * max(1.0, abs(u))
    around = [gradient(u + shift * h) for shift in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    slope = (value(u + h) - value(u - h)) / (2 * h)
    slack = 1e-6 * (1 + abs(slope)) + 8 * EPS * abs(value(u)) / h
    if not min(around) - slack <= slope <= max(around) + slack:
        found = (
            f"at u={u:g}, a={a:g} gradient returns {gradient(u):.9g}, but between u-{h:g} and "
            f"u+{h:g} value rises by {slope:.9g} per unit."
        )
        _broken(loss, "gradient", found, remedy)
    # At a kink any number between the slopes on the left and on the right will do.
    h = 1e-7 * max(1.0, abs(u))
    left, right = (value(u) - value(u - h)) / h, (value(u + h) - value(u)) / h
    low, high = min(left, right), max(left, right)
    slack = 1e-4 * (1 + abs(low) + abs(high)) + 8 * EPS * abs(value(u)) / h
    if not low - slack <= gradient(u) <= high + slack:
        found = (
            f"at u={u:g}, a={a:g} gradient returns {gradient(u):.9g}, but value rises by "
            f"{left:.9g} per unit on the left of it and by {right:.9g} on the right."
        )
        _broken(loss, "gradient", found, remedy + " At a kink return a number between both slopes.")
    if loss.smooth and high - low > 10 * slack:
        found = (
            f"at u={u:g}, a={a:g} the slope of value jumps from {left:.9g} to {right:.9g}, though "
            "the class says smooth = True."
        )
        _broken(loss, "smooth", found, "Set the class attribute smooth: ClassVar[bool] = False.")


def _check_subgradient_inequality(
    loss: Loss, u: npt.NDArray[np.float64], a: npt.NDArray[np.float64]
) -> None:
    for observation in a.tolist():
        values = np.array([loss.value(p, observation) for p in u.tolist()])
        slopes = np.array([loss.gradient(p, observation) for p in u.tolist()])
        # L(v) >= L(u) + L'(u) (v - u) for every pair
        excess = values[:, None] + slopes[:, None] * (u[None, :] - u[:, None]) - values[None, :]
        at, toward = np.unravel_index(np.argmax(excess), excess.shape)
        if excess[at, toward] > 1e-7 * (1 + np.abs(values).max()):
            found = (
                f"its tangent at u={u[at]:g}, a={observation:g} is above the value at "
                f"u={u[toward]:g} by {excess[at, toward]:.3g}, though the class says convex = True."
            )
            remedy = "Set the class attribute convex: ClassVar[bool] = False, or correct value."
            _broken(loss, "convex", found, remedy)


def _check_degree(loss: Loss, u: npt.NDArray[np.float64], a: npt.NDArray[np.float64]) -> None:
    degree = loss.degree
    for c in (0.25, 3.0, 20.0):
        for observation in a[loss.contains(c * a)].tolist():
            for prediction in u.tolist():
                scaled = loss.value(c * prediction, c * observation)
                expected = c**degree * loss.value(prediction, observation)
                if abs(scaled - expected) > 1e-9 * (1 + abs(expected)):
                    found = (
                        f"with degree {degree}, value({c:g} * {prediction:g}, {c:g} * "
                        f"{observation:g}) should be {c:g}**{degree:g} times value({prediction:g}, "
                        f"{observation:g}), which is {expected:.9g}, but it is {scaled:.9g}."
                    )
                    remedy = "Correct the class attribute degree; None says that there is none."
                    _broken(loss, "degree", found, remedy)


def _check_impute(loss: Loss, u: npt.NDArray[np.float64], a: npt.NDArray[np.float64]) -> None:
    candidates = np.concatenate([a, np.linspace(-6.0, 6.0, 49)])
    candidates = candidates[loss.contains(candidates)]
    imputed = loss.impute(u)
    if np.shape(imputed) != u.shape:
        found = f"impute of an array of shape {u.shape} has shape {np.shape(imputed)}."
        _broken(loss, "impute", found, "It must work element by element.")
    if not np.all(loss.contains(imputed)):
        outside = np.asarray(imputed)[~np.asarray(loss.contains(imputed))][0]
        _broken(
            loss,
            "impute",
            f"it returned {outside}, which contains refuses.",
            "Return the observation in the domain that costs least; round if need be.",
        )
    for prediction, best in zip(u.tolist(), np.asarray(imputed, float).tolist(), strict=True):
        cost = loss.value(prediction, best)
        for observation in candidates.tolist():
            other = loss.value(prediction, observation)
            if cost > other + 1e-9 * (1 + abs(other)):
                found = (
                    f"impute({prediction:g}) is {best:g}, which costs {cost:.9g}, but "
                    f"{observation:g} costs {other:.9g}."
                )
                remedy = "Return the observation a with the least value(u, a)."
                _broken(loss, "impute", found, remedy)


def _check_best_constant(loss: Loss, a: npt.NDArray[np.float64]) -> None:
    rng = np.random.default_rng(0)
    for values in (a, a[:2], a[[-1, -1, -1]], rng.choice(a, 40), np.append(np.tile(a[0], 9), a[1])):

        def cost(constant, values=values):
            return sum(float(loss.value(constant, one)) for one in values.tolist())

        grid = np.linspace(values.min() - 6.0, values.max() + 6.0, 121)
        grid = np.sort(np.concatenate([grid, values]))
        costs = [cost(constant) for constant in grid.tolist()]
        nearest = int(np.argmin(costs))
        low, high = grid[max(nearest - 1, 0)], grid[min(nearest + 1, grid.size - 1)]
        refined = minimize_scalar(
            cost, bounds=(low, high), method="bounded", options={"xatol": 1e-9}
        )
        best, at = min((costs[nearest], float(grid[nearest])), (float(refined.fun), refined.x))
        for dtype, precision in ((np.float64, 1e-7), (np.float32, 1e-5)):
            constant = loss.best_constant(read_only(values.astype(dtype)))
            if not isinstance(constant, float) or isnan(constant):
                found = f"of {values.tolist()} ({dtype.__name__}) it is {constant!r}."
                _broken(loss, "best_constant", found, "Return a float.")
            if isfinite(constant) and cost(constant) > best + precision * (1 + abs(best)):
                found = (
                    f"of {values.tolist()} ({dtype.__name__}) it is {constant:.9g}, which costs "
                    f"{cost(constant):.9g}, but {at:.9g} costs {best:.9g}."
                )
                remedy = "Return the u with the least sum of value(u, a) over the values."
                _broken(loss, "best_constant", found, remedy)


@kernel
def _evaluate_loss(loss, u, a, values, gradients):
    """Write value and gradient of every pair (u, a); return their sums."""
    total, slope = 0.0, 0.0
    for t in range(u.size):
        values[t] = loss.value(u[t], a[t])
        gradients[t] = loss.gradient(u[t], a[t])
        total += values[t]
        slope += gradients[t]
    return total, slope


def _check_compiled_loss(
    loss: Loss, u: npt.NDArray[np.float64], a: npt.NDArray[np.float64]
) -> None:
    u, a = np.repeat(u, a.size), np.tile(a, u.size)
    for dtype, precision in ((np.float64, 1e-10), (np.float32, 2e-6)):
        u_, a_ = u.astype(dtype), a.astype(dtype)
        values, gradients = np.empty(u.size), np.empty(u.size)
        _compile(loss, _evaluate_loss, read_only(u_), read_only(a_), values, gradients)
        for name, compiled in (("value", values), ("gradient", gradients)):
            method = getattr(loss, name)
            pairs = zip(u_.astype(float).tolist(), a_.astype(float).tolist(), strict=True)
            python = np.array([float(method(*pair)) for pair in pairs])
            # Cancellation makes errors as large as rounding of the arguments does.
            sensitivity = 1 + np.abs(python) + np.abs(u_) + np.abs(a_)
            if name == "value":
                sensitivity = sensitivity * (1 + np.abs(gradients))
            _compare(
                loss,
                compiled,
                python,
                precision * sensitivity,
                lambda t, name=name, u_=u_, a_=a_: f"{name}({u_[t]!r}, {a_[t]!r})",
            )


# ------------------------------------------------------------------ regularizers


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
    _check_record(regularizer, Regularizer, "regularizer")
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
            _broken(regularizer, "in place", found, "Write to x[d] and return nothing.")


def _check_finite_after_prox(regularizer: Regularizer, rows: list[npt.NDArray[np.float64]]) -> None:
    for z in rows:
        if isnan(regularizer.value(z)) or regularizer.value(z) == -inf:
            found = f"value({z!r}) is {regularizer.value(z)}."
            _broken(regularizer, "finite", found, "It must be a number or +inf.")
        for step in STEPS:
            x = _prox(regularizer, z, step)
            if not (np.isfinite(x).all() and isfinite(regularizer.value(x))):
                found = (
                    f"prox({z!r}, {step:g}) leads to {x!r}, whose value is {regularizer.value(x)}."
                )
                remedy = "prox must end where value is finite; compare both for rounding."
                _broken(regularizer, "finite", found, remedy)


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
                _broken(regularizer, law, found, remedy)


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
            _broken(regularizer, "projection", found, remedy)
        for step in STEPS:
            other = _prox(regularizer, z, step)
            if not np.allclose(other, x, rtol=1e-12, atol=1e-12):
                found = (
                    f"from {z!r} prox leads to {x!r} with step 1, but to {other!r} with {step:g}."
                )
                remedy = "The prox of a constraint is the projection, whatever the step."
                _broken(regularizer, "projection", found, remedy)


def _check_small_step(regularizer: Regularizer, rows: list[npt.NDArray[np.float64]]) -> None:
    for z in rows:
        if isfinite(regularizer.value(z)):
            x = _prox(regularizer, z, 1e-10)
            if np.abs(x - z).max() > 1e-3 * (1 + np.abs(z).max()):
                found = f"with step 1e-10 prox goes from {z!r} to {x!r}."
                remedy = "Multiply by the step what prox takes away."
                _broken(regularizer, "small step", found, remedy)


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
                before, after = _compile(regularizer, _evaluate_regularizer, x, step)
                start = z.astype(np.float64)
                end = _prox(regularizer, start, step)
                python = np.array([regularizer.value(start), regularizer.value(end), *end])
                compiled = np.array([before, after, *x])
                names = ("value before", "value after", *[f"x[{d}] after" for d in range(z.size)])
                size = (1 + np.abs(start).sum()) * (1 + np.abs(python[np.isfinite(python)]).max())
                _compare(
                    regularizer,
                    compiled,
                    python,
                    np.full(python.size, precision * size),
                    lambda t, names=names, z=z, step=step: f"{names[t]} prox({z!r}, {step:g})",
                )


# ------------------------------------------------------------------ records


def _check_record(record: Any, base: type, noun: str) -> None:
    kind = type(record)
    if not isinstance(record, base):
        remedy = "Call the class." if isinstance(record, type) else f"Derive it from {base!r}."
        _broken(record, "instance", f"it is no instance of {base.__name__}.", remedy)
    params = getattr(kind, "__dataclass_params__", None)
    if not is_dataclass(kind) or params is None or not params.frozen:
        _broken(
            record,
            "frozen",
            f"{kind.__name__} is not a frozen dataclass.",
            f"Decorate the {noun} with @dataclass(frozen=True).",
        )
    for field in fields(kind):
        try:
            setattr(record, field.name, getattr(record, field.name))
        except FrozenInstanceError:
            continue
        found = f"its field {field.name!r} can be set."
        _broken(record, "frozen", found, "Leave __setattr__ to @dataclass(frozen=True).")
    remedy = "Leave __eq__ to @dataclass(frozen=True)."
    if replace(record) != record or record == object():
        _broken(record, "equality", "it differs from a copy with the same fields.", remedy)
    for other in _with_other_numbers(record):
        if other == record:
            _broken(record, "equality", f"it equals {other!r}.", remedy)
    try:
        same = hash(replace(record)) == hash(record)
    except TypeError:
        same = False
    if not same:
        found = "it has no hash that depends on the fields alone."
        _broken(record, "equality", found, "Leave __hash__ to @dataclass(frozen=True).")
    shown = [repr(getattr(record, field.name)) for field in fields(kind)]
    if kind.__name__ not in repr(record) or any(part not in repr(record) for part in shown):
        found = f"the class is {kind.__name__} and its fields are {shown}."
        _broken(record, "repr", found, "Leave __repr__ to @dataclass(frozen=True).")
    try:
        returned = pickle.loads(pickle.dumps(record))
    except Exception as error:
        raise AssertionError(
            f"{record!r} breaks the law 'pickle': {error} Define the class at the top level of a "
            "module, so that other processes find it."
        ) from error
    if returned != record or hash(returned) != hash(record):
        found = f"it returned as {returned!r}."
        _broken(record, "pickle", found, "Leave pickling to @dataclass(frozen=True).")


def _with_other_numbers(record: Any) -> Iterator[Any]:
    """Yield the record with one number changed at a time, where its class lets it."""
    for field in fields(record):
        number = getattr(record, field.name)
        if isinstance(number, float | int):
            other = not number if isinstance(number, bool) else 2 * number or type(number)(1)
            try:
                changed = replace(record, **{field.name: other})
            except (TypeError, ValueError):
                continue
            if other != number:
                yield changed


def _compile(record: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(record, *arguments)
    except Exception as error:
        raise AssertionError(
            f"{record!r} breaks the law 'compiled': numba refuses a method that kernels call. "
            "Methods may use numbers, the fields, math, NumPy and functions that are jitted "
            f"themselves. It says: {error}"
        ) from error


def _compare(
    record: Any,
    compiled: npt.NDArray[np.float64],
    python: npt.NDArray[np.float64],
    slack: npt.NDArray[np.float64],
    name: Callable[[int], str],
) -> None:
    with np.errstate(invalid="ignore"):
        agree = (compiled == python) | (np.abs(compiled - python) <= slack)
    if not agree.all():
        t = int(np.argmin(agree))
        _broken(
            record,
            "compiled",
            f"{name(t)} is {compiled[t]:.9g} in a kernel, but {python[t]:.9g} in Python.",
            "Avoid what differs between them: integers that overflow, attributes of modules, "
            "exact comparisons of rounded numbers.",
        )


# ------------------------------------------------------------------ backends


def check_backend(backend: Backend) -> None:
    """Check that a backend obeys the laws that solvers rely on.

    - *order*: ``map`` returns the results in the order of the blocks, whichever ends first, and
      takes any iterable of blocks, an empty one as well.
    - *shared*: every task gets what is shared.
    - *sweep*: every block that the schedule hands out is run once, and given back once.
    - *errors*: an exception in a task reaches the caller, and the schedule has all its blocks back.
    - *survival*: the backend works on after it.
    - *hang*: all this ends within a minute.

    Parameters
    ----------
    backend : Backend
        The backend to check; it stays open.

    Raises
    ------
    AssertionError
        If a law is broken.  The message names the law and says what to fix.

    Examples
    --------
    >>> from skglrm.backends import ThreadsBackend
    >>> from skglrm.testing import check_backend
    >>> with ThreadsBackend(2) as backend:
    ...     check_backend(backend)
    """
    if not isinstance(backend, Backend):
        found = f"it is no instance of {Backend.__name__}."
        _broken(backend, "instance", found, f"Derive it from {Backend!r}.")
    _within_a_minute(backend, lambda: _check_verbs(backend))


def _check_verbs(backend: Backend) -> None:
    _check_map(backend)
    _check_sweep(backend)
    for verb in (_failing_map, _failing_sweep):
        try:
            verb(backend)
        except _TaskError as error:
            if error.args != (FAILING,):
                found = f"the exception arrived with the arguments {error.args!r}."
                _broken(backend, "errors", found, "Raise the exception of the task unchanged.")
        else:
            found = "an exception in a task did not reach the caller."
            _broken(backend, "errors", found, "Raise it again when the tasks have ended.")
    try:
        _check_map(backend)
        _check_sweep(backend)
    except Exception as error:
        raise AssertionError(
            f"{backend!r} breaks the law 'survival': after an exception in a task it fails with "
            f"{error!r}. An exception must leave the backend as it was."
        ) from error


FAILING = 5


class _TaskError(Exception):
    """What a task of these checks raises."""


def _square_slowly(block: int, shared: int) -> int:
    time.sleep(0.002 if block % 4 == 0 else 0.0)
    return shared + block * block


def _fail_at_one(block: int, shared: int) -> int:
    if block == shared:
        raise _TaskError(block)
    return block


def _check_map(backend: Backend) -> None:
    expected = [100 + block * block for block in range(30)]
    for blocks in (range(30), iter(range(30)), list(range(30))):
        results = backend.map(_square_slowly, blocks, 100)
        if results != expected:
            if sorted(results) == expected:
                found = f"the results came as {results}, not in the order of the blocks."
                _broken(backend, "order", found, "Sort results by block.")
            found = f"map returned {results} instead of {expected}."
            _broken(backend, "shared", found, "Call task(block, shared) once for every block.")
    if backend.map(_square_slowly, [], 0) != []:
        _broken(backend, "order", "without blocks map returned something.", "Return [].")


class _Watched:
    """A schedule that notes what is done with it."""

    def __init__(self, schedule: Schedule):
        self.schedule = schedule
        self.taken: list[int] = []
        self.given: list[int] = []

    def take(self):
        block = self.schedule.take()
        if block is not None:
            self.taken.append(block)
        return block

    def give(self, block):
        self.given.append(block)
        self.schedule.give(block)

    def stop(self):
        self.schedule.stop()


def _new_schedule() -> _Watched:
    schedule = Rotation(np.ones((5, 5), np.int64), seed=0)
    schedule.begin(0)
    return _Watched(schedule)


def _check_sweep(backend: Backend) -> None:
    watched = _new_schedule()
    results = backend.sweep(_square_slowly, watched, 7)
    expected = [(block, 7 + block * block) for block in range(25)]
    if sorted(results) != expected:
        found = f"sweep returned {sorted(results)} instead of {expected}."
        remedy = "Run every block that take returns once; return (block, result) pairs."
        _broken(backend, "sweep", found, remedy)
    _check_all_given(backend, watched, "sweep")


def _check_all_given(backend: Backend, watched: _Watched, law: str) -> None:
    if sorted(watched.taken) != sorted(watched.given):
        found = f"it took the blocks {sorted(watched.taken)} and gave back {sorted(watched.given)}."
        _broken(backend, law, found, "Give every block back once, in a finally clause.")


def _failing_map(backend: Backend) -> None:
    backend.map(_fail_at_one, range(30), FAILING)


def _failing_sweep(backend: Backend) -> None:
    watched = _new_schedule()
    try:
        backend.sweep(_fail_at_one, watched, FAILING)
    finally:
        _check_all_given(backend, watched, "errors")
        if watched.take() is not None:
            found = "after an exception the schedule would still hand out blocks."
            _broken(backend, "errors", found, "Call schedule.stop() when a task fails.")


# ------------------------------------------------------------------ schedules


def check_schedule(schedule_class: type[Schedule], *, disjoint: bool = True) -> None:
    """Check that a schedule obeys the laws that block SGD relies on, with blocks that do nothing.

    - *disjoint*: blocks that are held at the same time share no band of rows or columns.
    - *empty*: blocks without entries are never handed out.
    - *epoch*: every epoch hands out as many blocks as have entries, and then ``None``.
    - *seed*: one thread gets the same blocks in the same order for the same seed.
    - *stop*: after ``stop`` nothing is handed out until the next epoch begins.
    - *hang*: nobody waits for ever.

    Parameters
    ----------
    schedule_class : type
        Class that is called as ``schedule_class(sizes, seed)``.
    disjoint : bool, default=True
        Whether the first law is asked for; ``HogWild`` gives it up.

    Raises
    ------
    AssertionError
        If a law is broken.  The message names the law and says what to fix.

    Examples
    --------
    >>> from skglrm.solvers.schedule import Rotation
    >>> from skglrm.testing import check_schedule
    >>> check_schedule(Rotation)
    """
    rng = np.random.default_rng(0)
    sparse = rng.integers(0, 3, (6, 6)) * rng.integers(1, 50, (6, 6))
    alone = np.zeros((3, 3), np.int64)
    alone[1, 2] = 4
    for sizes in (np.ones((1, 1), np.int64), alone, sparse, np.ones((7, 7), np.int64)):
        for n_threads in (1, 3):
            _within_a_minute(
                schedule_class,
                lambda sizes=sizes, n_threads=n_threads: _check_epochs(
                    schedule_class, sizes, n_threads, disjoint
                ),
            )
        _within_a_minute(
            schedule_class, lambda sizes=sizes: _check_order_and_stop(schedule_class, sizes)
        )


def _check_epochs(
    schedule_class: type[Schedule], sizes: npt.NDArray[np.int64], n_threads: int, disjoint: bool
) -> None:
    n_bands = len(sizes)
    schedule = schedule_class(sizes, 0)
    lock = threading.Lock()
    for epoch in range(3):
        held: list[int] = []
        taken: list[int] = []
        complaints: list[tuple[str, str, str]] = []

        def work(held=held, taken=taken, complaints=complaints):
            while (block := schedule.take()) is not None:
                with lock:
                    for other in held if disjoint else ():
                        if block // n_bands == other // n_bands or not (block - other) % n_bands:
                            found = f"blocks {block} and {other} of {n_bands}² were held together."
                            remedy = "Hand out blocks whose bands of rows and columns are free."
                            complaints.append(("disjoint", found, remedy))
                    held.append(block)
                    taken.append(block)
                time.sleep(0)  # let another thread take one
                with lock:
                    held.remove(block)
                schedule.give(block)

        schedule.begin(epoch)
        threads = [threading.Thread(target=work, daemon=True) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if complaints:
            _broken(schedule_class, *complaints[0])
        for block in taken:
            if not sizes.flat[block]:
                found = f"block {block} of {sizes.tolist()} was handed out."
                _broken(schedule_class, "empty", found, "Leave out blocks of size 0.")
        if len(taken) != np.count_nonzero(sizes):
            found = (
                f"epoch {epoch} with {n_threads} threads handed out {len(taken)} blocks, but "
                f"{np.count_nonzero(sizes)} of {sizes.tolist()} have entries."
            )
            _broken(schedule_class, "epoch", found, "Count blocks when they are taken.")


def _check_order_and_stop(schedule_class: type[Schedule], sizes: npt.NDArray[np.int64]) -> None:
    first, second = schedule_class(sizes, 3), schedule_class(sizes, 3)
    for epoch in range(2):
        runs = []
        for schedule in (first, second):
            schedule.begin(epoch)
            run = []
            while (block := schedule.take()) is not None:
                run.append(block)
                schedule.give(block)
            runs.append(run)
        if runs[0] != runs[1]:
            found = f"with one thread and the same seed it gave {runs[0]} and {runs[1]}."
            _broken(schedule_class, "seed", found, "Draw from the generator that is passed.")
    first.begin(2)
    block = first.take()
    first.stop()
    if block is None or first.take() is not None:
        found = "take returned another block after stop."
        _broken(schedule_class, "stop", found, "Leave take and stop to Schedule.")
    first.give(block)
    first.begin(3)
    if first.take() is None:
        found = "begin did not start a new epoch after stop."
        _broken(schedule_class, "stop", found, "Reset in _begin what an epoch changes.")


def _within_a_minute(what: Any, check: Callable[[], None]) -> None:
    """Run a check in a thread of its own, so that it cannot hang the caller."""
    raised: list[BaseException] = []

    def run():
        try:
            check()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        found = f"no end after {SECONDS:g} seconds."
        _broken(what, "hang", found, "Look for a wait that nobody ends.")
    if raised:
        raise raised[0]
