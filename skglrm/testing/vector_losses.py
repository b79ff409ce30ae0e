"""The laws of vector losses."""

from __future__ import annotations

from math import inf, isfinite

import numpy as np
import numpy.typing as npt

from .._jit import kernel, read_only
from ..losses import VectorLoss
from ._records import broken, check_record, compare, compile_with
from .losses import check_slope

Matrix = npt.NDArray[np.float64]

MODERATE = 10.0
"""Predictions up to here are used where values are compared with each other."""


def check_vector_loss(loss: VectorLoss, *, predictions: npt.ArrayLike | None = None) -> None:
    r"""Check that a loss of several predictions obeys the laws that solvers rely on.

    - *frozen*, *equality*, *repr*, *pickle*: as for :func:`check_loss`.
    - *contains*: its observations are levels, of which there are at least two.
    - *finite*: value and gradient are finite, also for predictions of ±1000; a class that says
      ``finite = False`` may return +inf as a value.
    - *in place*: ``gradient`` writes all derivatives, returns nothing, and leaves ``u`` alone.
    - *gradient*, *smooth*, *convex*, *curvature*: as for :func:`check_loss`, wherever the value is
      finite.
    - *impute*: no level costs less than the imputed one.
    - *best_constant*: no predictions tried cost less, with and without weights (skipped if it is
      not implemented).
    - *compiled*: kernels compute the same numbers as Python, in float64 and in float32.

    Parameters
    ----------
    loss : VectorLoss
        The loss to check.
    predictions : array-like of shape (n, embedding_dim), default=None
        Predictions to try; by default some forty rows of numbers between -1000 and 1000, of which
        some fall.

    Raises
    ------
    AssertionError
        If a law is broken.  The message names the law and says what to fix.
    ValueError
        If none of the predictions to try has a finite value.

    See Also
    --------
    check_loss : The same for losses of one prediction.

    Examples
    --------
    >>> from skglrm.losses import Multinomial
    >>> from skglrm.testing import check_vector_loss
    >>> check_vector_loss(Multinomial(3))
    """
    check_record(loss, VectorLoss, "loss")
    levels = _check_contains(loss)
    u = _predictions(loss.embedding_dim) if predictions is None else np.array(predictions, float)
    _check_finite(loss, u, levels)
    feasible = np.array([[isfinite(loss.value(row, a)) for a in levels] for row in u]).all(axis=1)
    if not feasible.any():
        raise ValueError(
            f"{loss!r} is +inf at all predictions that were tried. Pass predictions=[...] to "
            "check_vector_loss."
        )
    _check_gradient(loss, u[feasible], levels)
    moderate = u[feasible & (np.abs(u).max(axis=1) <= MODERATE)]
    _check_bounds(loss, moderate, levels)
    _check_impute(loss, moderate, levels)
    if type(loss).best_constant is not VectorLoss.best_constant:
        _check_best_constant(loss, levels)
    _check_compiled(loss, u, levels)


def _predictions(dim: int) -> Matrix:
    rng = np.random.default_rng(0)
    rows = [rng.normal(0, scale, (8, dim)) for scale in (0.3, 1.0, 4.0)]
    # What some losses of thresholds need: negative numbers that fall.
    falling = [-np.cumsum(rng.uniform(0.05, scale, (6, dim)), axis=1) for scale in (0.3, 1.0, 3.0)]
    ends = np.outer([0.0, 1.0, 1e3, -1e3], np.ones(dim))
    apart = np.array([-1e3, -40.0, 40.0, 1e3])[:, None] * np.arange(1, dim + 1) / dim
    return np.concatenate([*rows, *falling, ends, apart])


def _gradient(loss: VectorLoss, u: Matrix, a: float) -> Matrix:
    out = np.full(u.size, np.nan)
    loss.gradient(u, a, out)
    return out


def _check_contains(loss: VectorLoss) -> Matrix:
    n_levels = loss.domain.n_levels
    if n_levels is None or n_levels < 2:
        found = f"domain.n_levels is {n_levels!r}."
        broken(loss, "contains", found, "Return a domain of levels, such as Categorical(3).")
    levels = np.arange(n_levels, dtype=np.float64)
    for argument in (levels, levels.reshape(1, -1), levels.astype(np.float32)):
        answer = loss.contains(argument)
        if np.shape(answer) != argument.shape or not np.all(answer):
            found = f"contains({argument!r}) returned {answer!r}."
            broken(loss, "contains", found, "All levels from 0 on must be in the domain.")
    for number in (np.nan, inf, -inf, 0.5, float(n_levels)):
        if np.asarray(loss.contains(np.array([number]))).any():
            found = f"{number} was said to be in the domain."
            broken(loss, "contains", found, f"Levels are whole numbers below {n_levels}.")
    return levels


def _check_finite(loss: VectorLoss, u: Matrix, levels: Matrix) -> None:
    for row in u:
        for a in levels.tolist():
            before, out = row.copy(), np.full(row.size, np.nan)
            try:
                value = float(loss.value(row, a))
                returned = loss.gradient(row, a, out)
            except (TypeError, ValueError, ArithmeticError, IndexError) as error:
                raise AssertionError(
                    f"{loss!r} breaks the law 'finite': value or gradient of ({row!r}, {a}) raised "
                    f"{error!r}. They must take {loss.embedding_dim} predictions and any level."
                ) from error
            if not (isfinite(value) or (value == inf and not loss.finite)):
                remedy = "Subtract the largest exponent before taking exponentials."
                broken(loss, "finite", f"value({row!r}, {a}) is {value}.", remedy)
            if returned is not None or not np.array_equal(row, before):
                found = (
                    f"gradient({before!r}, {a}, out) returned {returned!r} and left u at {row!r}."
                )
                broken(loss, "in place", found, "Write to out[c], and leave u as it is.")
            if not np.isfinite(out).all():
                found = f"gradient({row!r}, {a}, out), with NaN in out before, led to {out!r}."
                broken(loss, "finite", found, "Set every out[c] to a finite number.")


def _check_gradient(loss: VectorLoss, u: Matrix, levels: Matrix) -> None:
    for row in u:
        for c in range(row.size):

            def at(t, row=row, c=c):
                moved = row.copy()
                moved[c] = t
                return moved

            h = 1e-5 * max(1.0, abs(row[c]))
            for a in levels.tolist():
                if isfinite(loss.value(at(row[c] - h), a) + loss.value(at(row[c] + h), a)):
                    check_slope(
                        loss,
                        lambda t, a=a, at=at: float(loss.value(at(t), a)),
                        lambda t, a=a, at=at, c=c: float(_gradient(loss, at(t), a)[c]),
                        float(row[c]),
                        a,
                    )


def _check_bounds(loss: VectorLoss, u: Matrix, levels: Matrix) -> None:
    """Compare tangents (convex) and parabolas (curvature) with the value, for all pairs."""
    steps = u[None, :, :] - u[:, None, :]
    for a in levels.tolist():
        values = np.array([loss.value(row, a) for row in u])
        slopes = np.array([_gradient(loss, row, a) for row in u])
        tangents = values[:, None] + (slopes[:, None, :] * steps).sum(axis=2)
        slack = 1e-7 * (1 + np.abs(values).max())
        above = tangents - values
        if loss.convex and above.max() > slack:
            at, toward = np.unravel_index(np.argmax(above), above.shape)
            found = (
                f"its tangent at u={u[at]!r}, a={a:g} is above the value at u={u[toward]!r} by "
                f"{above[at, toward]:.3g}, though the class says convex = True."
            )
            remedy = "Set the class attribute convex: ClassVar[bool] = False, or correct value."
            broken(loss, "convex", found, remedy)
        if loss.curvature is None:
            continue
        above = values - tangents - 0.5 * loss.curvature * (steps**2).sum(axis=2)
        if above.max() > slack:
            at, toward = np.unravel_index(np.argmax(above), above.shape)
            found = (
                f"the parabola of curvature {loss.curvature:g} that touches at u={u[at]!r}, a={a:g}"
                f" is below the value at u={u[toward]!r} by {above[at, toward]:.3g}."
            )
            remedy = "Return a bound on the eigenvalues of the Hessian, or None."
            broken(loss, "curvature", found, remedy)


def _check_impute(loss: VectorLoss, u: Matrix, levels: Matrix) -> None:
    imputed = loss.impute(u)
    if np.shape(imputed) != u.shape[:1] or np.shape(loss.impute(u[0])) != ():
        found = f"impute of an array of shape {u.shape} has shape {np.shape(imputed)}."
        broken(loss, "impute", found, "It must return one level for each row of predictions.")
    for row, best in zip(u, np.asarray(imputed, float).tolist(), strict=True):
        costs = [loss.value(row, a) for a in levels.tolist()]
        if best not in levels or costs[int(best)] > min(costs) + 1e-9 * (1 + abs(min(costs))):
            found = f"impute({row!r}) is {best:g}, but the levels cost {costs}."
            broken(loss, "impute", found, "Return the level a with the least value(u, a).")


def _check_best_constant(loss: VectorLoss, levels: Matrix) -> None:
    rng = np.random.default_rng(0)
    many = np.concatenate([levels, rng.choice(levels, 40)])
    cases = [(many, None), (many, rng.uniform(0.1, 3.0, many.size)), (levels[-1:], None)]
    cases += [(many, (many > 0) * 1.0)]
    for values, weights in cases:
        case = f"of {values.tolist()}, weights {weights},"
        arguments = [read_only(values)] + ([] if weights is None else [read_only(weights)])
        constant = np.asarray(loss.best_constant(*arguments))
        if constant.shape != (loss.embedding_dim,) or not np.isfinite(constant).all():
            remedy = f"Return {loss.embedding_dim} finite numbers."
            broken(loss, "best_constant", f"{case} it is {constant!r}.", remedy)
        counts = np.bincount(values.astype(int), weights, levels.size)

        def cost(u, counts=counts):
            return float(sum(n * loss.value(u, a) for n, a in zip(counts, levels, strict=True)))

        own = cost(constant)
        if not isfinite(own):
            remedy = "Count a level that was not observed as half an observation."
            broken(loss, "best_constant", f"{case} it is {constant!r}, which costs {own}.", remedy)
        if not counts.all():
            continue  # the least cost may not be attained
        for scale in (1e-3, 0.03, 0.5):
            shifts = np.concatenate([np.eye(constant.size), rng.normal(0, 1, (20, constant.size))])
            for other in constant + scale * np.concatenate([shifts, -shifts]):
                if cost(other) < own - 1e-9 * (1 + abs(own)):
                    found = (
                        f"{case} it is {constant!r}, which costs {own:.9g}, but {other!r} costs "
                        f"{cost(other):.9g}."
                    )
                    remedy = "Return the u with the least sum of value(u, a) over the values."
                    broken(loss, "best_constant", found, remedy)


@kernel
def _evaluate_vector_loss(loss, u, a, values, gradients):
    """Write value and gradient of every row of u and its level; return the sum of the values."""
    total = 0.0
    for t in range(a.size):
        values[t] = loss.value(u[t], a[t])
        loss.gradient(u[t], a[t], gradients[t])
        total += values[t]
    return total


def _check_compiled(loss: VectorLoss, u: Matrix, levels: Matrix) -> None:
    u, a = np.repeat(u, levels.size, axis=0), np.tile(levels, len(u))
    for dtype, precision in ((np.float64, 1e-10), (np.float32, 4e-6)):
        u_, a_ = u.astype(dtype), a.astype(dtype)
        values, gradients = np.empty(a.size), np.full(u.shape, np.nan, dtype)
        compile_with(loss, _evaluate_vector_loss, read_only(u_), read_only(a_), values, gradients)
        exact = u_.astype(np.float64)
        python = np.array([float(loss.value(row, one)) for row, one in zip(exact, a, strict=True)])
        slopes = np.array([_gradient(loss, row, one) for row, one in zip(exact, a, strict=True)])
        # Rounding of the arguments moves the value by as much as the gradient is steep, and the
        # gradient by as much as it bends, which is steep again where a barrier is near.
        size = 1 + np.abs(exact).max(axis=1)
        steep = 1 + np.abs(slopes).max(axis=1)
        names = [f"value({row!r}, {one})" for row, one in zip(u_, a_, strict=True)]
        slack = precision * size * steep * (1 + np.abs(python))
        compare(loss, values, python, slack, names.__getitem__)
        for c in range(loss.embedding_dim):
            compare(
                loss,
                gradients[:, c].astype(np.float64),
                slopes[:, c],
                precision * size * steep**2,
                lambda t, c=c, names=names: f"out[{c}] of gradient for {names[t]}",
            )
