r"""One side of a fitted model, moved by new cells without those it was fitted on.

The cells of before are remembered by how many there were.  Around the present factors
:math:`h_j^0` they cost about :math:`\tfrac12 \kappa_j (h_j - h_j^0)^\top M (h_j - h_j^0)`, where M
is the mean of :math:`x_i x_i^\top` and :math:`\kappa_j` the number of cells times the curvature of
the loss: exact for complete data and quadratic losses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["moved"]

Doubles = npt.NDArray[np.float64]

STEPS = 60


def moved(
    factors: Doubles,
    slopes: Callable[[Doubles], Doubles],
    bound: Doubles,
    past: Doubles,
    moment: Doubles,
    regularizers: list[Any],
    n_penalised: int,
) -> Doubles:
    """Return rows of factors (n, K) that cost less, by accelerated proximal gradient steps.

    Parameters
    ----------
    factors : ndarray of shape (n, K)
    slopes : function
        From factors to the derivatives (n, K) of the loss of the new cells.
    bound : ndarray of shape (n,)
        Of the second derivatives of that loss.
    past : ndarray of shape (n,)
        κ, the weight of what is remembered.
    moment : ndarray of shape (K, K)
        M, the mean of the other side's outer products.
    regularizers : list
        One for each row, of its first ``n_penalised`` entries.
    """
    largest = float(np.linalg.eigvalsh(moment)[-1]) if len(moment) else 0.0
    curvature = bound + past * largest
    step = 1.0 / np.where(curvature > 0, curvature, np.inf)
    # What the regularizer asks of a row, the remembered cells have held up: this point's prox is
    # the row itself.
    held = factors.copy()
    for _ in range(20):
        held += factors - _prox(held, step, regularizers, n_penalised)
    held = np.where((past > 0)[:, None], held - factors, 0.0)
    x = point = factors
    t = 1.0
    for _ in range(STEPS):
        slope = slopes(point) + past[:, None] * ((point - factors) @ moment)
        new = _prox(point + held - step[:, None] * slope, step, regularizers, n_penalised)
        # A row whose momentum points uphill starts its own anew.
        uphill = np.sum((point - new) * (new - x), axis=1) > 0
        t_next = 0.5 * (1 + np.sqrt(1 + 4 * t * t))
        momentum = np.where(uphill, 0.0, (t - 1) / t_next)
        point, x, t = new + momentum[:, None] * (new - x), new, t_next
    return np.where((bound > 0)[:, None], x, factors)


def _prox(rows: Doubles, steps: Doubles, regularizers: list[Any], n_penalised: int) -> Doubles:
    out = rows.copy()
    first = regularizers[0]
    strength = first.quadratic_strength
    if strength is not None and all(one is first for one in regularizers):
        out[:, :n_penalised] /= (1.0 + steps * strength)[:, None]
        return out
    for row, step, regularizer in zip(out, steps.tolist(), regularizers, strict=True):
        if step > 0:
            regularizer.prox(row[:n_penalised], step)
    return out
