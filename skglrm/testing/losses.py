"""The laws of losses."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite, isnan
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from .._jit import kernel, read_only
from ..domains import Boolean
from ..losses import Loss, VectorLoss
from ._records import EPS, broken, check_record, compare, compile_with

OBSERVATIONS = (-3.0, -1.0, -0.4, 0.0, 0.25, 1.0, 2.0, 5.0)
"""Tried as observations, as far as a loss contains them."""

PREDICTIONS = (*np.linspace(-6.0, 6.0, 25) + 0.0137, *OBSERVATIONS, -1e3, -40.0, 40.0, 1e3)
"""Tried as predictions: between kinks, at them (most lie at an observation or at ±1), and far out,
where ``exp`` overflows."""

MODERATE = 10.0
"""Predictions up to here are used where values are compared with each other."""


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
    - *finite*: value and gradient are finite, also for predictions of ±1000; a class that says
      ``finite = False`` may return +inf.
    - *gradient*: it is the derivative of the value, and a subgradient at kinks.  *smooth* and
      *convex* hold if the class claims them.
    - *curvature*: the parabola of that curvature which touches at u is nowhere below the value.
    - *degree*: :math:`L(cu, ca) = c^d L(u, a)` if ``degree`` is a number d.
    - *impute*: no observation costs less than the imputed one; a Boolean is true where u > 0.
    - *best_constant*: no constant prediction costs less, with and without weights (skipped if it is
      not implemented).
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
    check_vector_loss : The same for losses that take several predictions.
    check_regularizer : The same for regularizers.

    Examples
    --------
    >>> from skglrm.losses import Huber
    >>> from skglrm.testing import check_loss
    >>> check_loss(Huber(0.5))
    """
    if isinstance(loss, VectorLoss):
        broken(loss, "instance", "it takes several predictions.", "Call check_vector_loss.")
    check_record(loss, Loss, "loss")
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
    if loss.curvature is not None:
        _check_curvature(loss, moderate, a)
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
            broken(loss, "contains", found, remedy)
    for number in (np.nan, inf, -inf):
        if np.asarray(loss.contains(np.array([number]))).any():
            broken(loss, "contains", f"{number} was said to be in the domain.", remedy)


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
                if not (isfinite(number) or (number == inf and not loss.finite)):
                    broken(
                        loss,
                        "finite",
                        f"{name}({prediction}, {observation}) is {number}.",
                        "Evaluate exponentials of negative numbers only, or continue the loss "
                        "linearly where it grows too fast. If it must be +inf somewhere, set the "
                        "class attribute finite: ClassVar[bool] = False.",
                    )


def _check_gradient(loss: Loss, u: npt.NDArray[np.float64], a: npt.NDArray[np.float64]) -> None:
    for observation in a.tolist():

        def value(prediction, observation=observation):
            return float(loss.value(prediction, observation))

        def gradient(prediction, observation=observation):
            return float(loss.gradient(prediction, observation))

        for prediction in u.tolist():
            if isfinite(value(prediction)):
                check_slope(loss, value, gradient, prediction, observation)


def check_slope(
    loss: Any,
    value: Callable[[float], float],
    gradient: Callable[[float], float],
    u: float,
    a: float,
) -> None:
    """Compare the gradient at u with slopes of the value around it."""
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
        broken(loss, "gradient", found, remedy)
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
        broken(loss, "gradient", found, remedy + " At a kink return a number between both slopes.")
    if loss.smooth and high - low > 10 * slack:
        found = (
            f"at u={u:g}, a={a:g} the slope of value jumps from {left:.9g} to {right:.9g}, though "
            "the class says smooth = True."
        )
        broken(loss, "smooth", found, "Set the class attribute smooth: ClassVar[bool] = False.")


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
            broken(loss, "convex", found, remedy)


def _check_curvature(loss: Loss, u: npt.NDArray[np.float64], a: npt.NDArray[np.float64]) -> None:
    for observation in a.tolist():
        values = np.array([loss.value(p, observation) for p in u.tolist()])
        slopes = np.array([loss.gradient(p, observation) for p in u.tolist()])
        step = u[None, :] - u[:, None]
        parabola = values[:, None] + slopes[:, None] * step + 0.5 * loss.curvature * step**2
        excess = values[None, :] - parabola
        at, toward = np.unravel_index(np.argmax(excess), excess.shape)
        if excess[at, toward] > 1e-7 * (1 + np.abs(values).max()):
            found = (
                f"the parabola of curvature {loss.curvature:g} that touches at u={u[at]:g}, "
                f"a={observation:g} is below the value at u={u[toward]:g} by "
                f"{excess[at, toward]:.3g}."
            )
            remedy = "Return a bound on the second derivative, or None."
            broken(loss, "curvature", found, remedy)


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
                    broken(loss, "degree", found, remedy)


def _check_impute(loss: Loss, u: npt.NDArray[np.float64], a: npt.NDArray[np.float64]) -> None:
    candidates = np.concatenate([a, np.linspace(-6.0, 6.0, 49)])
    candidates = candidates[loss.contains(candidates)]
    imputed = loss.impute(u)
    if np.shape(imputed) != u.shape:
        found = f"impute of an array of shape {u.shape} has shape {np.shape(imputed)}."
        broken(loss, "impute", found, "It must work element by element.")
    if not np.all(loss.contains(imputed)):
        outside = np.asarray(imputed)[~np.asarray(loss.contains(imputed))][0]
        broken(
            loss,
            "impute",
            f"it returned {outside}, which contains refuses.",
            "Return the observation in the domain that costs least; round if need be.",
        )
    if isinstance(loss.domain, Boolean):
        # Not the cheaper class: what weighs more in the fit is no less probable.
        if not np.array_equal(imputed, u > 0):
            remedy = "Return 1.0 where u is positive, else 0.0."
            broken(loss, "impute", f"impute({u!r}) is {imputed!r}.", remedy)
        return
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
                broken(loss, "impute", found, remedy)


def _check_best_constant(loss: Loss, a: npt.NDArray[np.float64]) -> None:
    rng = np.random.default_rng(0)
    many = rng.choice(a, 40)
    cases = [(values, None) for values in (a, a[:2], a[[-1, -1, -1]], many)]
    cases += [(np.append(np.tile(a[0], 9), a[1]), None)]
    cases += [(a, rng.uniform(0.1, 3.0, a.size)), (many, rng.integers(0, 3, many.size) * 1.0)]
    for values, weights in cases:
        best, at, attained = _least_cost(loss, values, weights)
        for dtype, precision in ((np.float64, 1e-7), (np.float32, 1e-5)):
            case = f"of {values.tolist()} ({dtype.__name__}), weights {weights},"
            arguments = [read_only(values.astype(dtype))]
            if weights is not None:
                arguments.append(read_only(weights.astype(dtype)))
            try:
                constant = loss.best_constant(*arguments)
            except TypeError as error:
                remedy = "Take the weights of the values as a second argument, None meaning 1."
                broken(loss, "best_constant", f"{case} it raised {error!r}.", remedy)
            if not isinstance(constant, float) or isnan(constant):
                broken(loss, "best_constant", f"{case} it is {constant!r}.", "Return a float.")
            if not (attained and isfinite(constant)):
                continue
            cost = _cost_of_constant(loss, constant, values, weights)
            if cost > best + precision * (1 + abs(best)):
                found = f"{case} it is {constant:.9g}, which costs {cost:.9g}, but {at:.9g} costs "
                remedy = "Return the u with the least sum of value(u, a) over the values."
                broken(loss, "best_constant", f"{found}{best:.9g}.", remedy)


def _cost_of_constant(
    loss: Loss,
    constant: float,
    values: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64] | None,
) -> float:
    costs = [float(loss.value(constant, one)) for one in values.tolist()]
    return float(np.sum(costs) if weights is None else weights @ costs)


def _least_cost(
    loss: Loss, values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64] | None
) -> tuple[float, float, bool]:
    """Return the least cost of a constant, where it is, and whether it lies among those tried."""

    def cost(constant):
        return _cost_of_constant(loss, constant, values, weights)

    grid = np.linspace(values.min() - 6.0, values.max() + 6.0, 121)
    grid = np.sort(np.concatenate([grid, values]))
    costs = [cost(constant) for constant in grid.tolist()]
    nearest = int(np.argmin(costs))
    low, high = grid[max(nearest - 1, 0)], grid[min(nearest + 1, grid.size - 1)]
    refined = minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
    best, at = min((costs[nearest], float(grid[nearest])), (float(refined.fun), refined.x))
    return best, at, 0 < nearest < grid.size - 1


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
        compile_with(loss, _evaluate_loss, read_only(u_), read_only(a_), values, gradients)
        for name, compiled in (("value", values), ("gradient", gradients)):
            method = getattr(loss, name)
            pairs = zip(u_.astype(float).tolist(), a_.astype(float).tolist(), strict=True)
            python = np.array([float(method(*pair)) for pair in pairs])
            # Cancellation makes errors as large as rounding of the arguments does.
            sensitivity = 1 + np.abs(python) + np.abs(u_) + np.abs(a_)
            if name == "value":
                sensitivity = sensitivity * (1 + np.abs(gradients))
            compare(
                loss,
                compiled,
                python,
                precision * sensitivity,
                lambda t, name=name, u_=u_, a_=a_: f"{name}({u_[t]!r}, {a_[t]!r})",
            )
