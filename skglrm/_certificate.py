r"""How far a fitted model is from the best of any rank.

With convex losses :math:`L \ge 0` and ``L2`` of strengths :math:`s_x, s_y > 0` on both sides, the
model is the nuclear norm problem of weight :math:`s = \sqrt{s_x s_y}`, restricted in rank.  Let G
be the matrix of the losses' derivatives on the observed cells, 0 elsewhere.  At any factors with
objective P, and with :math:`Z = XY` and columns of G that sum to 0 if there is an offset,

.. math::

    P - P^* \le \tfrac12 (s_x \|X\|^2 + s_y \|Y\|^2) + \langle G, Z \rangle
    + (\|G\|_2 / s - 1)_+ P .
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse.linalg import svds

from ._columns import Columns, predictor

__all__ = ["duality_gap", "losses_and_slopes", "spectral_norm"]

Floats = npt.NDArray[np.floating]

DENSE = 500_000
"""Matrices of up to this many cells are decomposed as dense ones."""


def losses_and_slopes(
    columns: Columns, matrix: sp.csr_array, weights: Floats, W: Floats, H: Floats, b: Floats
) -> tuple[float, sp.csr_array]:
    """Return the weighted loss of all cells, and G (n_rows, n_predictions) of its derivatives.

    ``weights`` (n_cells,) are those of the cells times those of their columns.
    """
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    predict = predictor(rows, W, H, b)
    total = float(columns.costs(matrix.indices, matrix.data, predict) @ weights)
    data, row, place = [], [], []
    for at, places, slopes in columns.slopes(matrix.indices, matrix.data, predict):
        data.append((slopes * weights[at][:, None]).ravel())
        row.append(np.repeat(rows[at], places.shape[1]))
        place.append(places.ravel())
    cells = (np.concatenate(row), np.concatenate(place))
    shape = (matrix.shape[0], len(H))
    return total, sp.coo_array((np.concatenate(data), cells), shape=shape).tocsr()


def spectral_norm(G: sp.csr_array) -> float:
    """Return the largest singular value."""
    if G.nnz == 0:
        return 0.0
    if G.shape[0] * G.shape[1] <= DENSE or min(G.shape) < 3:
        return float(np.linalg.norm(G.toarray(), 2))
    start = np.random.default_rng(0).normal(size=min(G.shape))
    return float(svds(G.astype(np.float64), k=1, v0=start, return_singular_vectors=False)[0])


def duality_gap(
    columns: Columns,
    matrix: sp.csr_array,
    weights: Floats,
    W: Floats,
    H: Floats,
    b: Floats,
    units: Floats,
    strengths: tuple[float, float],
    fit_offset: bool,
) -> tuple[float, float]:
    """Return an upper bound on P - P*, and P; column factors are penalised in ``units``."""
    W, H, b = (np.asarray(x, np.float64) for x in (W, H, b))
    loss, G = losses_and_slopes(columns, matrix, weights, W, H, b)
    if fit_offset:
        loss, G = _centred(columns, matrix, weights, W, H, b, loss, G)
    H, G = H / units[:, None], G @ sp.diags_array(units)
    row_strength, column_strength = strengths
    penalty = 0.5 * (row_strength * np.sum(W * W) + column_strength * np.sum(H * H))
    objective = loss + penalty
    inner = float(np.sum(W * (G @ H)))
    excess = max(0.0, spectral_norm(G) / np.sqrt(row_strength * column_strength) - 1.0)
    return max(0.0, penalty + inner + excess * objective), objective


def _centred(
    columns: Columns, matrix: sp.csr_array, weights: Floats, W: Floats, H: Floats, b: Floats,
    loss: float, G: sp.csr_array,
) -> tuple[float, sp.csr_array]:  # fmt: skip
    """Move the offset until the columns of G sum to 0, on which the bound rests."""
    bound = np.zeros(len(H))
    per_column = np.bincount(matrix.indices, weights, minlength=matrix.shape[1])
    for j, place in enumerate(columns.slices):
        curvature = columns.losses[j].curvature
        bound[place] = per_column[j] * (1.0 if curvature is None else curvature)
    step = 1.0 / np.where(bound > 0, bound, np.inf)
    for _ in range(1000):
        sums = np.asarray(G.sum(axis=0)).ravel()
        if np.abs(sums).sum() <= 1e-10 * np.abs(G.data).sum():
            break
        b = b - step * sums
        loss, G = losses_and_slopes(columns, matrix, weights, W, H, b)
    return loss, G
