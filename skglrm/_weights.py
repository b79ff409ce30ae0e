"""Weights of cells, in the shapes that users give them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from .entries import Entries, within

__all__ = ["weighted_cells"]

Floats = npt.NDArray[np.floating]


def weighted_cells(entries: Entries, weights: Any, X: Any) -> tuple[Entries, Floats | None]:
    """Return the entries of positive weight, and their weights."""
    if weights is None:
        return entries, None
    w = _weights_of(entries, weights, isinstance(X, Entries))
    bad = ~(np.isfinite(w) & (w >= 0))
    if bad.any():
        raise ValueError(
            f"weights must be finite and at least 0 at every observed cell; got {w[bad][0]:g}. "
            "A weight of 0 makes a cell missing."
        )
    keep = w > 0
    if not keep.any():
        raise ValueError("All weights are zero, so no cell is left. Give some a positive weight.")
    return (entries, w) if keep.all() else (entries[keep], w[keep])


def _weights_of(entries: Entries, weights: Any, per_entry: bool) -> npt.NDArray[np.float64]:
    if sp.issparse(weights):
        if weights.shape != entries.matrix_shape:
            raise ValueError(f"weights are of shape {weights.shape}, and X {entries.matrix_shape}.")
        return np.asarray(sp.csr_array(within(weights))[entries.row, entries.col], float).ravel()
    array = np.asarray(weights, dtype=float)
    if per_entry:
        if array.shape != (len(entries),):
            raise ValueError(
                f"Entries need one weight each, an array of shape ({len(entries)},); got "
                f"{array.shape}."
            )
        return array
    n_rows, n_columns = entries.matrix_shape
    if array.ndim != 2 or array.shape[0] not in (1, n_rows) or array.shape[1] not in (1, n_columns):
        raise ValueError(
            f"weights must have the shape {entries.matrix_shape} of X, ({n_rows}, 1) or "
            f"(1, {n_columns}); got {array.shape}."
        )
    whole: Any = np.broadcast_to(array, entries.matrix_shape)
    return np.asarray(whole[entries.row, entries.col])
