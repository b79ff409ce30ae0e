"""What a loss means to ``FPSGFactorizer``: which data it takes, and the problem that SGD solves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ._parameters import check_choice
from .domains import Boolean, Real
from .entries import Entries
from .kernels.elementary import exponential, logarithm
from .losses import KL, Logistic, Loss, VectorLoss, get_loss

__all__ = ["Task", "encoded", "scaled", "task_of"]

Floats = npt.NDArray[np.floating]

LOSSES = (
    "squared", "absolute", "huber", "quantile", "kl", "poisson", "fractional", "logistic", "hinge",
    "squared_hinge", "bpr_row", "bpr_column", "one_class", "quadratic",
)  # fmt: skip

FLOOR = 1e-3
"""Below this prediction KL is continued in a straight line, in units of the scaled problem: its
slope is at most 1000 times the observation."""

TINY = 1e-200
"""In place of an observation of 0 in a logarithm."""


@dataclass(frozen=True)
class Task:
    """What is fitted: numbers, Booleans, pairs of columns (or of rows), or the whole matrix."""

    loss: Loss
    kind: str
    by_column: bool = False

    @property
    def of_positives(self) -> bool:
        """Whether entries say only *that* a row has a column."""
        return self.kind in ("pairs", "whole")

    @property
    def has_unit(self) -> bool:
        """Whether predictions are in the unit of the data, which can be scaled away."""
        is_real = isinstance(self.loss.domain, Real) or self.loss.degree is not None
        return self.kind == "numbers" and is_real


def task_of(estimator: Any) -> Task:
    """Return what the parameters of an ``FPSGFactorizer`` ask for."""
    loss = estimator.loss
    if isinstance(loss, str):
        check_choice(estimator, "loss", LOSSES)
        if loss == "one_class":
            _check_exact(estimator)
            return Task(get_loss("squared"), "whole")
        if loss.startswith("bpr"):
            if estimator.fit_intercept:
                raise ValueError(
                    f"loss={loss!r} ranks by differences, which a constant does not change. Leave "
                    "fit_intercept at False."
                )
            return Task(Logistic(), "pairs", by_column=loss == "bpr_column")
    loss = get_loss(loss)
    if isinstance(loss, VectorLoss):
        raise ValueError(
            f"{loss!r} takes {loss.embedding_dim} predictions for an entry, and FPSGFactorizer "
            "makes one. Use GLRM."
        )
    if loss == KL() and (not estimator.nonnegative or estimator.fit_intercept):
        raise ValueError(
            "loss='kl' needs predictions that are not negative. Pass nonnegative=True, and leave "
            "fit_intercept at False."
        )
    return Task(loss, "booleans" if isinstance(loss.domain, Boolean) else "numbers")


def _check_exact(estimator: Any) -> None:
    for name in ("l1_regularization", "nonnegative", "fit_intercept", "early_stopping"):
        if getattr(estimator, name):
            raise ValueError(
                f"loss='one_class' is solved exactly, and not with {name}="
                f"{getattr(estimator, name)!r}. Leave it at its default."
            )
    if not 0 < estimator.unobserved_weight < 1:
        raise ValueError(
            "loss='one_class' needs 0 < unobserved_weight < 1, what a cell without an entry weighs "
            f"beside one with; got {estimator.unobserved_weight!r}."
        )


def encoded(
    task: Task, entries: Entries, weights: Floats | None = None
) -> tuple[Entries, Floats | None]:
    """Check that values are in the domain; write Booleans as 0 and 1, leave out zeros of rankings.

    Raises
    ------
    ValueError
        If a value is outside; the message names row, column and value.
    """
    value = entries.value
    if task.of_positives:
        _refuse(entries, value < 0, "entries are positive, and 0 means that there is none")
        keep = value > 0
        if keep.all():
            return entries, weights
        return entries[keep], None if weights is None else weights[keep]
    if task.kind == "booleans":
        low = 0 if not (value < 0).any() else -1
        _refuse(entries, (value != low) & (value != 1), "Booleans are 0 and 1, or -1 and 1")
        value = (value > 0).astype(value.dtype)
        return _with_values(entries, value), weights
    if task.loss.domain != Real():
        _refuse(entries, ~task.loss.contains(value), f"{task.loss!r} takes {task.loss.domain!r}")
    return entries, weights


def _with_values(entries: Entries, value: Floats) -> Entries:
    return Entries._trusted(
        entries.row, entries.col, value, entries.matrix_shape, entries.row_ids, entries.col_ids
    )


def _refuse(entries: Entries, bad: npt.NDArray[np.bool_], why: str) -> None:
    if bad.any():
        t = int(np.argmax(bad))
        negative = "Negative values in data. " if entries.value[t] < 0 else ""
        raise ValueError(
            f"{negative}The value {entries.value[t]:g} of the cell (row {entries.row[t]}, column "
            f"{entries.col[t]}) does not fit the loss: {why}. Change the data, or the loss."
        )


# ------------------------------------------------------------------ the scaled problem


def scaled(loss: Loss, unit: float, shift: float) -> tuple[Loss, float]:
    r"""Return a loss L′ and a degree d with L(c u′ + shift, c a′) = c^d L′(u′, a′), c = ``unit``.

    A loss without a degree, such as one with a threshold, has its numbers scaled with the data.
    """
    degree = loss.degree
    if loss == KL():
        loss, degree = FlooredKL(FLOOR), 1.0
    elif loss == Logistic():
        loss, degree = SwiftLogistic(), 0.0
    elif degree is None:
        degree = 0.0
        if unit != 1.0:
            loss, degree = InUnits(loss, unit), 2.0
    return (Shifted(loss, shift / unit) if shift else loss), degree


@dataclass(frozen=True)
class InUnits(Loss):
    """A loss of numbers in another unit c: L(c u, c a) / c²."""

    loss: Loss
    unit: float

    def value(self, u, a):
        return self.loss.value(self.unit * u, self.unit * a) / (self.unit * self.unit)

    def gradient(self, u, a):
        return self.loss.gradient(self.unit * u, self.unit * a) / self.unit


@dataclass(frozen=True)
class Shifted(Loss):
    """A loss of predictions that lack a constant: L(u + shift, a)."""

    loss: Loss
    shift: float

    def value(self, u, a):
        return self.loss.value(u + self.shift, a)

    def gradient(self, u, a):
        return self.loss.gradient(u + self.shift, a)


@dataclass(frozen=True)
class FlooredKL(Loss):
    """Generalised Kullback-Leibler divergence, a straight line below ``floor``.

    ``KL`` turns as low as 1e-8, where one step of SGD would throw a row out of sight.
    """

    floor: float
    summed_apart: ClassVar[bool] = True

    @property
    def domain(self):
        return Real(low=0.0)

    def value(self, u, a):
        v = max(u, self.floor)
        # An observation of 0 is multiplied by a logarithm that is finite.
        return a * logarithm(max(a, TINY) / v) - a + v + (1.0 - a / v) * (u - v)

    def gradient(self, u, a):
        return 1.0 - a / max(u, self.floor)


@dataclass(frozen=True)
class SwiftLogistic(Loss):
    """``Logistic`` without branches, which a CPU would guess wrong, and without calls."""

    summed_apart: ClassVar[bool] = True

    @property
    def domain(self):
        return Boolean()

    def value(self, u, a):
        right = u if a > 0 else -u
        return max(-right, 0.0) + logarithm(1.0 + exponential(-abs(u)))

    def gradient(self, u, a):
        one = type(u)(1.0)  # else float32 would be calculated with as float64
        share = one / (one + exponential(u if a > 0 else -u))
        return -share if a > 0 else share
