"""What components cost, and what each of them explains."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._columns import Columns, Group

__all__ = ["explained_shares", "row_stride", "shared_strength"]

Floats = npt.NDArray[np.floating]

CELLS_TO_EXPLAIN = 20_000
"""Shares are read off about so many cells, those of evenly spaced rows."""


def shared_strength(regularizer: Any) -> float | None:
    """Return s if every row of factors costs exactly ½ s ‖x‖², else ``None``."""
    if isinstance(regularizer, list) or getattr(regularizer, "on_block", False):
        return None
    return getattr(regularizer, "quadratic_strength", None)


def row_stride(n_cells: int) -> int:
    """Return the distance of the rows that are looked at."""
    return max(1, n_cells // CELLS_TO_EXPLAIN)


def explained_shares(
    columns: Columns,
    matrix: sp.csr_array,
    column_weights: Floats,
    W: Floats,
    H: Floats,
    b: Floats,
    every: int | None = None,
) -> npt.NDArray[np.float64]:
    """Return how much the loss grows without each component, as a share of that without any.

    Only rows at this distance from one another are looked at.
    """
    every = row_stride(matrix.nnz) if every is None else every
    chosen = np.arange(0, matrix.shape[0], every)
    part = matrix if every == 1 else matrix[chosen]
    rows = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
    weights = column_weights[part.indices]
    W, H = (np.ascontiguousarray(side.T, np.float64) for side in (W[chosen], H))

    losses = np.zeros(2 + len(H))
    for group, at, places in columns.groups_of(part.indices):
        cells = rows[at], places, b[places].astype(np.float64), part.data[at], weights[at]
        losses += _losses_without(group, W, H, *cells)
    whole, nothing, without = losses[0], losses[1], losses[2:]
    return (without - whole) / nothing if nothing > 0 else np.zeros(len(H))


def _losses_without(
    group: Group,
    W: Floats,
    H: Floats,
    rows: npt.NDArray[Any],
    places: npt.NDArray[Any],
    constants: Floats,
    observed: Floats,
    weights: Floats,
) -> npt.NDArray[np.float64]:
    """Loss with all k components, with none, and without each (2 + k,); W, H have k rows."""

    def share(c: int) -> Floats:  # made twice: all of them at once would not fit the cache
        return W[c][rows][:, None] * H[c][places]

    def loss(predictions: Floats) -> float:
        return float(np.sum(group.costs(predictions, observed) * weights))

    every = range(len(H))
    whole = constants + sum(map(share, every))
    return np.array([loss(whole), loss(constants), *(loss(whole - share(c)) for c in every)])
