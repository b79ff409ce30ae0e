"""``partial_fit`` of a generalised low rank model: new rows, new cells, new columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._certificate import losses_and_slopes
from ._column_losses import in_units
from ._columns import Columns, Null, predictor
from ._factorizer import count_entries
from ._ids import extended, grown, position_dtype
from ._observations import finite, read_matrix
from ._tables import as_frame
from ._updates import moved
from .entries import Entries
from .regularizers import Coupling
from .solvers.alternating import fold_in

__all__ = ["grow"]

Doubles = npt.NDArray[np.float64]

DELTA = 0.5
"""Half of the difference of predictions over which the curvature of a loss is measured."""


@dataclass
class _Batch:
    """New cells in the grown matrix, and its factors on their way; H holds the offset as well."""

    columns: Columns
    matrix: sp.csr_array
    weights: Doubles
    W: Doubles
    H: Doubles
    k: int

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        return np.repeat(np.arange(len(self.W)), np.diff(self.matrix.indptr))

    def slopes(self, W: Doubles, H: Doubles) -> sp.csr_array:
        """Derivatives (n_rows, n_predictions) of the loss by the predictions."""
        b = H[:, self.k] if H.shape[1] > self.k else np.zeros(len(H))
        H = np.ascontiguousarray(H[:, : self.k])
        return losses_and_slopes(self.columns, self.matrix, self.weights, W, H, b)[1]

    def curvatures(self) -> Doubles:
        """Bound, or an estimate, of the second derivative of each cell's loss."""
        out = np.empty(self.matrix.nnz)
        H, b = np.ascontiguousarray(self.H[:, : self.k]), None
        if self.H.shape[1] > self.k:
            b = self.H[:, self.k]
        predict = predictor(self.rows, self.W, H, b)
        for group, at, places in self.columns.groups_of(self.matrix.indices):
            if group.loss.curvature is not None:
                out[at] = group.loss.curvature
                continue
            u, values = predict(at, places), self.matrix.data[at]
            change = group.slopes(u + DELTA, values) - group.slopes(u - DELTA, values)
            out[at] = np.maximum(change.max(axis=1) / (2 * DELTA), 1e-3)
        return out * self.weights


def grow(model: Any, X: Any) -> None:
    """Update a fitted model by the cells of X; see ``GLRM.partial_fit``."""
    regularizers = [_each_of(model, side) for side in ("row", "column")]
    matrix, row_ids, col_ids = _placed(model, X)
    n_rows, n_columns = matrix.shape
    n_known = len(model.row_factors_)
    columns, null = _grown_columns(model, matrix)
    model.column_weights_ = extended(model.column_weights_, n_columns, 1.0)
    model._kinks = extended(model._kinks, n_columns, 1.0)
    model._units = extended(model._units, int(columns.starts[-1]), 1.0)
    k = len(model.components_)  # what set_params says counts for the next fit
    W = extended(model.row_factors_, n_rows, 0).astype(np.float64)
    H = extended(model._H, columns.starts[-1], 0).astype(np.float64)
    n_old = model.components_.shape[1]
    size = np.sqrt(np.mean(H[:n_old] ** 2)) if n_old else 1.0
    H[n_old:] = 0.1 * size * np.random.default_rng(n_old).standard_normal((len(H) - n_old, k))
    if model.offset:
        b = extended(model.offset_, len(H), 0).astype(np.float64)
        b[n_old:] = null.constants[n_old:]
        H = np.column_stack([H, b])
    counts = extended(model._row_counts, n_rows, 0), extended(model._column_counts, n_columns, 0)
    weights = model.column_weights_[matrix.indices]
    batch = _Batch(columns, matrix, weights, W, H, k)
    model._columns, model._null = columns, null

    each = in_units(regularizers[1], model._units)
    each = each if isinstance(each, list) else [each] * len(H)
    for h, regularizer in zip(batch.H[n_old:, :k], each[n_old:], strict=True):
        if regularizer.value(h) == np.inf:  # where no cell moves it, the start must obey
            regularizer.prox(h, 1.0)
    new = np.arange(n_known, n_rows)
    batch.W[new] = _folded(model, batch, new)
    if matrix.nnz:
        curvatures = batch.curvatures()
        if np.diff(matrix.indptr[: n_known + 1]).any():
            batch.W = _moved_rows(batch, curvatures, counts[0], n_known, regularizers[0])
        batch.H = _moved_columns(batch, curvatures, counts, each)
        batch.W[new] = _folded(model, batch, new)
    _store(model, batch, counts, row_ids, col_ids)


def _each_of(model: Any, side: str) -> Any:
    """The regularizer that all rows or columns have."""
    regularizer = model._regularizer(side)
    if isinstance(regularizer, list | Coupling) or regularizer.on_block:
        raise ValueError(
            "partial_fit needs one regularizer of single rows of factors for each side, and "
            f"{side}_regularizer is {getattr(model, side + '_regularizer')!r}. Fit all data anew."
        )
    return regularizer


def _placed(model: Any, X: Any) -> tuple[sp.csr_array, Any, Any]:
    """The new cells in the grown matrix, and its ids."""
    n_known = len(model.row_factors_)
    if isinstance(X, Entries):
        row_at, row_ids, n_rows = grown(
            "row", X.matrix_shape[0], X.row_ids, model.row_ids_, n_known
        )
        column_at, col_ids, n_columns = grown(
            "column", X.matrix_shape[1], X.col_ids, model.col_ids_, model.n_features_in_
        )
        dtype = position_dtype((n_rows, n_columns))
        row, col = row_at.astype(dtype)[X.row], column_at.astype(dtype)[X.col]
        value = X.value
    else:
        if model.row_ids_ is not None:
            raise ValueError(
                "The model was fitted on Entries with ids, and a matrix does not say which "
                "ids its rows have. Pass Entries.from_frame(...) to partial_fit."
            )
        frame = as_frame(X)
        if frame is not None and model._table is not None and not model._table.is_numeric:
            X = model._table.encode(frame)
        read = read_matrix(model, X, unstored=model.unstored, reset=False)
        row_ids, col_ids, n_columns = None, model.col_ids_, model.n_features_in_
        n_rows = n_known + read.matrix_shape[0]
        row, col, value = read.row + n_known, read.col, read.value
    value = value.astype(model.components_.dtype, copy=False)
    matrix = Entries._trusted(row, col, value, (n_rows, n_columns)).to_csr()
    return matrix, row_ids, col_ids


def _grown_columns(model: Any, matrix: sp.csr_array) -> tuple[Columns, Null]:
    """Losses and null model with those of new columns, which all have the same loss."""
    old, null = model._columns, model._null
    n_new = matrix.shape[1] - len(old.losses)
    names = model._names(None, model._table)
    if not n_new:
        old.check(matrix.indices, matrix.data, names)
        return old, replace(null, counts=null.counts + _counts_of(matrix))
    if len(old.groups) > 1 or model._table is not None:
        raise ValueError(
            f"The entries have {n_new} columns that the model has not seen, and its columns have "
            "losses of their own: it is not known which the new ones should have. Fit all anew."
        )
    columns = Columns(
        (*old.losses, *(old.losses[:1] * n_new)),
        (*old.domains, *(old.domains[:1] * n_new)),
        np.concatenate([old.signed, np.full(n_new, old.signed.all())]),
    )
    columns.check(matrix.indices, matrix.data, None)
    fresh = columns.null_model(matrix, None)
    n_old = len(old.losses)
    constants = np.concatenate([null.constants, fresh.constants[old.starts[-1] :]])
    costs = np.concatenate([null.costs, fresh.costs[n_old:]])
    counts = extended(null.counts, matrix.shape[1], 0.0) + _counts_of(matrix)
    return columns, Null(constants, costs, counts, null.overall)


def _counts_of(matrix: sp.csr_array) -> Doubles:
    return np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(float)


def _folded(model: Any, batch: _Batch, rows: npt.NDArray[np.int64]) -> Doubles:
    """Factors of new rows, given the columns as they are."""
    if not rows.size:
        return np.zeros((0, batch.k))
    part = batch.matrix[rows]
    dtype = model.components_.dtype
    H = np.ascontiguousarray(batch.H[:, : batch.k], dtype)
    offset = batch.H[:, batch.k].astype(dtype) if model.offset else None
    with model._get_backend() as backend:
        return np.asarray(fold_in(model._problem(part), H, offset, backend), np.float64)


def _moved_rows(
    batch: _Batch,
    curvatures: Doubles,
    counts: npt.NDArray[np.int64],
    n_known: int,
    regularizer: Any,
) -> Doubles:
    """Known rows that have new cells, moved."""
    H = batch.H[:, : batch.k]
    lengths = np.zeros(len(batch.columns.losses))
    for group in batch.columns.groups:
        lengths[group.columns] = np.sum(H[group.places] ** 2, axis=(1, 2))
    n = len(batch.W)
    lengths = curvatures * lengths[batch.matrix.indices]
    bound: Doubles = np.bincount(batch.rows, lengths, minlength=n).astype(float)
    bound[n_known:] = 0
    moment = H.T @ H / len(batch.columns.losses)
    past = counts * (curvatures.mean() if curvatures.size else 1.0)

    def slopes(W: Doubles) -> Doubles:
        return np.asarray(batch.slopes(np.ascontiguousarray(W), batch.H) @ H)

    return moved(batch.W, slopes, bound, past, moment, [regularizer] * n, batch.k)


def _moved_columns(
    batch: _Batch,
    curvatures: Doubles,
    counts: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    regularizers: list[Any],
) -> Doubles:
    """Columns that have new cells, moved, with their offsets."""
    W = batch.W
    if batch.H.shape[1] > batch.k:
        W = np.column_stack([W, np.ones(len(W))])
    n_columns = len(batch.columns.losses)
    indices = batch.matrix.indices
    lengths = np.sum(W * W, axis=1)[batch.rows]
    by_column = np.bincount(indices, curvatures * lengths, minlength=n_columns).astype(float)
    n_cells = np.bincount(indices, minlength=n_columns)
    mean = np.bincount(indices, curvatures, minlength=n_columns) / np.maximum(n_cells, 1)
    owner = np.repeat(np.arange(n_columns), np.diff(batch.columns.starts))
    old = W[: counts[0].size][counts[0] > 0]
    moment = old.T @ old / max(1, len(old))
    past = (counts[1] * mean)[owner]

    def slopes(H: Doubles) -> Doubles:
        return np.asarray(batch.slopes(batch.W, np.ascontiguousarray(H)).T @ W)

    return moved(batch.H, slopes, by_column[owner], past, moment, regularizers, batch.k)


def _store(model: Any, batch: _Batch, counts: Any, row_ids: Any, col_ids: Any) -> None:
    dtype = model.components_.dtype
    matrix, (row_counts, column_counts) = batch.matrix, counts
    added = [
        count_entries(batch.rows, matrix.data, matrix.shape[0]),
        count_entries(matrix.indices, matrix.data, matrix.shape[1]),
    ]
    model._row_counts = row_counts + added[0][0]
    model._row_sums = extended(model._row_sums, matrix.shape[0], 0) + added[0][1]
    model._column_counts = column_counts + added[1][0]
    model._column_sums = extended(model._column_sums, matrix.shape[1], 0) + added[1][1]
    model.baseline_ = float(model._row_sums.sum() / max(1, model._row_counts.sum()))
    model.row_factors_ = finite(batch.W.astype(dtype))  # in double precision they may be larger
    H = np.ascontiguousarray(finite(batch.H[:, : batch.k].astype(dtype)))
    model.components_ = H.T
    if model.offset:
        model.offset_ = finite(batch.H[:, batch.k].astype(dtype))
    else:
        model.offset_ = np.zeros(len(H), dtype)
    model.losses_ = list(batch.columns.losses)
    model.component_slices_ = batch.columns.slices
    model.n_iter_ += 1
    if matrix.shape[1] != model.n_features_in_:
        model.n_features_in_ = matrix.shape[1]
        if hasattr(model, "feature_names_in_"):
            del model.feature_names_in_
    model.row_ids_, model.col_ids_ = row_ids, col_ids
