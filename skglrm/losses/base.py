"""What every loss is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .._record import LossRecord, VectorLossRecord
from ..domains import Domain, Real
from ._constants import searched

__all__ = ["Loss", "Scaled", "ScaledVector", "VectorLoss"]


class Loss(LossRecord):
    """Base of all losses; subclasses are frozen dataclasses whose fields are numbers.

    ``2.0 * loss`` is the loss that costs twice as much.

    Class attributes
    ----------------
    degree : float or None
        d when ``L(c u, c a) = c**d L(u, a)`` for every c > 0; ``None`` when no such d exists.
    smooth, convex : bool
        Whether the derivative by u exists everywhere, and whether L is convex in u.
    finite : bool
        Whether the value is finite for every u.  Where it is +inf a line search turns back.
    embedding_dim : int
        Number of predictions that the loss of one entry takes: 1.
    """

    __slots__ = ()
    __array_ufunc__ = None  # so that NumPy's numbers leave ``2.0 * loss`` to the loss

    degree: ClassVar[float | None] = None
    smooth: ClassVar[bool] = True
    convex: ClassVar[bool] = True
    finite: ClassVar[bool] = True
    embedding_dim: ClassVar[int] = 1

    @property
    def curvature(self) -> float | None:
        r"""Bound c on the second derivative; ``None`` if there is none.

        What steps rely on is :math:`L(v, a) \le L(u, a) + L'(u, a)(v - u) + \tfrac c2 (v - u)^2`.
        """
        return None

    @property
    def domain(self) -> Domain:
        """What an observation can be."""
        return Real()

    def value(self, u: float, a: float) -> float:
        """Cost of predicting ``u`` where ``a`` was observed."""
        raise NotImplementedError

    def gradient(self, u: float, a: float) -> float:
        """(Sub)derivative of ``value`` by ``u``: at a kink, the one of least magnitude."""
        raise NotImplementedError

    def contains(self, a: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which of the observations lie in the domain of the loss."""
        return self.domain.contains(a)

    def impute(self, u: npt.ArrayLike) -> npt.NDArray[np.floating]:
        """Observation that costs least where ``u`` is predicted, before any rounding."""
        return np.asarray(u)

    def best_constant(
        self, values: npt.NDArray[np.floating], weights: npt.NDArray[np.floating] | None = None
    ) -> float:
        """Prediction that costs least if it must serve all ``values``.

        Parameters
        ----------
        values : ndarray of shape (n,)
            Observations.
        weights : ndarray of shape (n,), default=None
            How much each observation counts, at least 0; ``None`` means 1.

        Returns
        -------
        float
            The best constant.  Always finite: where the cost falls for ever (one class only, no
            events at all) it is what half an observation of the other kind would lead to.  0 if
            nothing counts.

        Notes
        -----
        Without a formula it is searched for by trial, which takes milliseconds for each column.
        """
        return searched(self.value, values, weights)

    def __rmul__(self, weight: float) -> Loss:
        return Scaled(float(weight), self)


class VectorLoss(VectorLossRecord):
    """Base of losses that take several predictions for one entry.

    Levels are numbered from 0.  ``value(u, a)`` and ``gradient(u, a, out)`` take the predictions
    ``u`` of shape (embedding_dim,), which they never change, and the level ``a`` as a float.

    Class attributes
    ----------------
    smooth, convex : bool
        Whether the gradient by u exists wherever L is finite, and whether L is convex in u.
    finite : bool
        Whether the value is finite for every u.  Where it is +inf a line search turns back, and the
        gradient is 0.
    ordered : bool
        Whether prediction c belongs to the levels above c, and not to level c.
    softmax : bool
        Whether the gradient is softmax(u) less the indicator of the level.
    """

    __slots__ = ()
    __array_ufunc__ = None

    smooth: ClassVar[bool] = True
    convex: ClassVar[bool] = True
    finite: ClassVar[bool] = True
    ordered: ClassVar[bool] = False
    softmax: ClassVar[bool] = False

    @property
    def embedding_dim(self) -> int:
        """Number of predictions that the loss of one entry takes."""
        raise NotImplementedError

    @property
    def curvature(self) -> float | None:
        """Bound on the eigenvalues of the Hessian by u; ``None`` if there is none."""
        return None

    @property
    def domain(self) -> Domain:
        """What an observation can be."""
        raise NotImplementedError

    def value(self, u: npt.NDArray[np.floating], a: float) -> float:
        """Cost of predicting ``u`` where level ``a`` was observed."""
        raise NotImplementedError

    def gradient(
        self, u: npt.NDArray[np.floating], a: float, out: npt.NDArray[np.floating]
    ) -> None:
        """Write the (sub)gradient of ``value`` by ``u`` into ``out``."""
        raise NotImplementedError

    def contains(self, a: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which of the observations are levels of the loss."""
        return self.domain.contains(a)

    def impute(self, u: npt.ArrayLike) -> npt.NDArray[np.floating]:
        """Level that costs least, of shape (...), where ``u`` (..., embedding_dim) is predicted."""
        raise NotImplementedError

    def best_constant(
        self, values: npt.NDArray[np.floating], weights: npt.NDArray[np.floating] | None = None
    ) -> npt.NDArray[np.float64]:
        """Predictions, of shape (embedding_dim,), that cost least if they serve all ``values``.

        Always finite: levels that were never observed count as half an average observation.
        """
        raise NotImplementedError

    def __rmul__(self, weight: float) -> VectorLoss:
        return ScaledVector(float(weight), self)


def _check_weight(scaled: Any) -> None:
    if not 0 < scaled.weight < math.inf:
        raise ValueError(
            f"The weight of a loss must be finite and > 0; got {scaled.weight!r}. "
            "To leave cells out, give them weight 0 in the data."
        )


@dataclass(frozen=True)
class Scaled(Loss):
    """A loss times a positive number; ``2.0 * loss`` makes one.

    Examples
    --------
    >>> from skglrm.losses import Huber
    >>> 3 * (2 * Huber())
    Scaled(weight=6.0, loss=Huber(delta=1.0))
    """

    weight: float
    loss: Loss

    def __post_init__(self):
        _check_weight(self)

    @property
    def degree(self) -> float | None:  # type: ignore[override]  # noqa: D102
        return self.loss.degree

    @property
    def smooth(self) -> bool:  # type: ignore[override]  # noqa: D102
        return self.loss.smooth

    @property
    def convex(self) -> bool:  # type: ignore[override]  # noqa: D102
        return self.loss.convex

    @property
    def finite(self) -> bool:  # type: ignore[override]  # noqa: D102
        return self.loss.finite

    @property
    def curvature(self) -> float | None:  # noqa: D102
        c = self.loss.curvature
        return None if c is None else self.weight * c

    @property
    def domain(self) -> Domain:  # noqa: D102
        return self.loss.domain

    def value(self, u, a):  # noqa: D102
        return self.weight * self.loss.value(u, a)

    def gradient(self, u, a):  # noqa: D102
        return self.weight * self.loss.gradient(u, a)

    def contains(self, a):  # noqa: D102
        return self.loss.contains(a)

    def impute(self, u):  # noqa: D102
        return self.loss.impute(u)

    def best_constant(self, values, weights=None):  # noqa: D102
        return self.loss.best_constant(values, weights)

    def __rmul__(self, weight: float) -> Loss:
        return Scaled(float(weight) * self.weight, self.loss)


@dataclass(frozen=True)
class ScaledVector(VectorLoss):
    """A vector loss times a positive number; ``2.0 * loss`` makes one."""

    weight: float
    loss: VectorLoss

    def __post_init__(self):
        _check_weight(self)

    @property
    def smooth(self) -> bool:  # type: ignore[override]  # noqa: D102
        return self.loss.smooth

    @property
    def convex(self) -> bool:  # type: ignore[override]  # noqa: D102
        return self.loss.convex

    @property
    def finite(self) -> bool:  # type: ignore[override]  # noqa: D102
        return self.loss.finite

    @property
    def embedding_dim(self) -> int:  # noqa: D102
        return self.loss.embedding_dim

    @property
    def curvature(self) -> float | None:  # noqa: D102
        c = self.loss.curvature
        return None if c is None else self.weight * c

    @property
    def domain(self) -> Domain:  # noqa: D102
        return self.loss.domain

    def value(self, u, a):  # noqa: D102
        return self.weight * self.loss.value(u, a)

    def gradient(self, u, a, out):  # noqa: D102
        self.loss.gradient(u, a, out)
        for c in range(out.size):
            out[c] *= self.weight

    def contains(self, a):  # noqa: D102
        return self.loss.contains(a)

    def impute(self, u):  # noqa: D102
        return self.loss.impute(u)

    def best_constant(self, values, weights=None):  # noqa: D102
        return self.loss.best_constant(values, weights)

    def __rmul__(self, weight: float) -> VectorLoss:
        return ScaledVector(float(weight) * self.weight, self.loss)
