"""What each column of a table is charged, what it can be, and what it is without any factors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._jit import read_only
from .domains import Boolean, Categorical, Count, Domain, Ordinal, Real
from .kernels.pointwise import cell_costs, cell_slopes, vector_cell_costs, vector_cell_slopes
from .kernels.predictions import predict_cells
from .losses import Loss, Quadratic

__all__ = [
    "GAP",
    "Columns",
    "Group",
    "Null",
    "described",
    "extremes_of",
    "name_of",
    "predictor",
]

Floats = npt.NDArray[np.floating]

GAP = 1e-3
"""Least difference between neighbouring thresholds of ordinal columns."""

EXACT_UNITS = 64
"""With more columns than this, units are rounded to powers of two."""

LEAST_UNIT = 1e-75
"""Columns that vary by less are taken for constant: the square of a unit has an inverse."""


@dataclass(frozen=True)
class Group:
    """Columns with equal losses and domains; ``places`` (n_columns, d) are their predictions."""

    loss: Any
    domain: Domain
    columns: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]

    @property
    def is_vector(self) -> bool:
        """Whether a cell has a vector of predictions."""
        return not isinstance(self.loss, Loss)

    @cached_property
    def order(self) -> str | None:
        """What predictions must be for a finite loss: "decreasing", and "negative", or anything."""
        if not self.is_vector or self.loss.finite:
            return None
        positive = np.linspace(2.0, 1.0, int(self.loss.embedding_dim))
        return "decreasing" if np.isfinite(self.loss.value(positive, 0.0)) else "negative"

    def shaped(self, predictions: Floats) -> Floats:
        """Predictions (..., d) as the loss wants them: without the last axis if it is scalar.

        A row is fitted to observed cells only, so its predictions of others may have no finite
        loss.  They are lowered as little as gives them one.
        """
        if not self.is_vector:
            return predictions[..., 0]
        return predictions if self.order is None else _lowered(predictions, self.order)

    def costs(self, predictions: Floats, observed: Floats) -> npt.NDArray[np.float64]:
        """Loss of each cell, from predictions (n_cells, d) and observations (n_cells,)."""
        run = vector_cell_costs if self.is_vector else cell_costs
        out = np.empty(observed.size)
        run(self.loss, read_only(self.shaped(predictions)), read_only(observed), out)
        return out

    def slopes(self, predictions: Floats, observed: Floats) -> npt.NDArray[np.float64]:
        """Derivatives (n_cells, d) of the loss of each cell by its predictions."""
        run = vector_cell_slopes if self.is_vector else cell_slopes
        out = np.zeros(predictions.shape)
        target = out if self.is_vector else out[:, 0]
        flat = np.ascontiguousarray(target)
        run(self.loss, read_only(self.shaped(predictions)), read_only(observed), flat)
        return flat.reshape(predictions.shape)


@dataclass(frozen=True)
class Null:
    """The model without factors.

    Attributes
    ----------
    constants : ndarray of shape (n_predictions,)
        The best constants of all columns.
    costs : ndarray of shape (n_columns,)
        Mean loss of a column's cells under its best constant: the generalised variance.
    counts : ndarray of shape (n_columns,)
        Total weight of each column's cells.
    overall : float or None
        The best constant of all cells, where all columns have one loss with one prediction.
    """

    constants: npt.NDArray[np.float64]
    costs: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]
    overall: float | None


@dataclass(frozen=True)
class Columns:
    """The losses and domains of all columns, which own consecutive predictions.

    Attributes
    ----------
    losses, domains : tuple
        One for each column.
    signed : ndarray of bool, shape (n_columns,)
        Columns of Booleans in which false is -1.
    """

    losses: tuple[Any, ...]
    domains: tuple[Domain, ...]
    signed: npt.NDArray[np.bool_]

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """First prediction of each column, and the number of predictions."""
        widths = [int(loss.embedding_dim) for loss in self.losses]
        return np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)

    @property
    def slices(self) -> list[slice]:
        """The predictions that each column owns."""
        return [slice(int(a), int(b)) for a, b in zip(self.starts, self.starts[1:], strict=False)]

    @property
    def is_scalar(self) -> bool:
        """Whether every column has one prediction of its own kind."""
        return not any(group.is_vector for group in self.groups)

    @cached_property
    def groups(self) -> list[Group]:
        """Columns by loss and domain."""
        members: dict[Any, list[int]] = {}
        known: dict[tuple[int, int], Any] = {}  # equal objects need hashing once
        for j, pair in enumerate(zip(self.losses, self.domains, strict=True)):
            key = known.setdefault((id(pair[0]), id(pair[1])), pair)
            members.setdefault(key, []).append(j)
        groups = []
        for (loss, domain), ids in members.items():
            columns = np.asarray(ids, np.int64)
            places = self.starts[columns][:, None] + np.arange(int(loss.embedding_dim))
            groups.append(Group(loss, domain, columns, places))
        return groups

    def groups_of(self, columns: npt.NDArray[Any]) -> Iterator[tuple[Group, Any, Any]]:
        """Yield each group, where its cells are, and the predictions (n_cells, d) they own."""
        for group, at, rank in self._by_group(columns):
            yield group, at, group.places[rank]

    def _by_group(self, columns: npt.NDArray[Any]) -> Iterator[tuple[Group, Any, Any]]:
        """Yield each group, where its cells are, and their columns' ranks in the group."""
        if len(self.groups) == 1:
            yield self.groups[0], slice(None), columns
            return
        of_column = np.empty(len(self.losses), np.int64)
        rank = np.empty(len(self.losses), np.int64)
        for g, group in enumerate(self.groups):
            of_column[group.columns] = g
            rank[group.columns] = np.arange(group.columns.size)
        of_cell = of_column[columns]
        for g, group in enumerate(self.groups):
            at = np.flatnonzero(of_cell == g)
            if at.size:
                yield group, at, rank[columns[at]]

    # ---------------------------------------------------------- predictions

    def impute(self, U: Floats) -> Floats:
        """Predicted cells (n_rows, n_columns) in the domains, from predictions (n_rows, d)."""
        out = np.empty((len(U), len(self.losses)), U.dtype)
        for group in self.groups:
            u = group.shaped(U[:, group.places])
            out[:, group.columns] = group.domain.impute(group.loss, u)
        if self.signed.any():
            out[:, self.signed] = np.where(out[:, self.signed] > 0, 1, -1)
        return out

    def impute_cells(self, columns: npt.NDArray[Any], predict: Any) -> Floats:
        """Predicted values of cells; ``predict(at, places)`` gives predictions (n_cells, d)."""
        out = np.zeros(columns.size)
        for group, at, places in self.groups_of(columns):
            out[at] = group.domain.impute(group.loss, group.shaped(predict(at, places)))
        signed = self.signed[columns]
        out[signed] = np.where(out[signed] > 0, 1, -1)
        return out

    def costs(
        self, columns: npt.NDArray[Any], observed: Floats, predict: Any
    ) -> npt.NDArray[np.float64]:
        """Loss of each cell, unweighted."""
        out = np.empty(columns.size)
        for group, at, places in self.groups_of(columns):
            out[at] = group.costs(predict(at, places), observed[at])
        return out

    def slopes(
        self, columns: npt.NDArray[Any], observed: Floats, predict: Any
    ) -> Iterator[tuple[Any, Any, npt.NDArray[np.float64]]]:
        """Yield where cells are, their predictions' places (n_cells, d), and the derivatives."""
        for group, at, places in self.groups_of(columns):
            yield at, places, group.slopes(predict(at, places), observed[at])

    # ---------------------------------------------------------- observations

    def check(self, columns: npt.NDArray[Any], values: Floats, names: Any) -> None:
        """Refuse a value outside the domain of its column's loss, naming both."""
        for group, at, _ in self._by_group(columns):
            inside = group.loss.contains(values[at])
            if np.all(inside):
                continue
            first = int(np.argmin(inside))
            j, value = int(columns[at][first]), values[at][first]
            raise ValueError(
                f"Column {name_of(names, j)!r} holds {value:g}, which is not in the domain of its "
                f"loss: {group.loss!r} needs {described(group.loss.domain)}. Correct the value, "
                "replace it by NaN to make it missing, or give the column another loss."
            )

    def single_valued(self, matrix: sp.csr_array) -> npt.NDArray[np.bool_]:
        """Which columns hold one value only, or none."""
        low, high = extremes_of(matrix)
        return low >= high

    def units(self, matrix: sp.csr_array) -> npt.NDArray[np.float64]:
        """Size (n_predictions,) of what a column's predictions differ by, where they have a unit.

        The standard deviation of its observations if they are what is predicted, else 1: log-odds
        have no unit.  Many columns share rounded units, for those with equal
        regularizers are solved together.
        """
        _, half_variances = _means_and_half_variances(
            matrix, None, np.bincount(matrix.indices, minlength=len(self.losses)).astype(float)
        )
        deviations = np.sqrt(2 * half_variances)
        if deviations.size > EXACT_UNITS:
            with np.errstate(divide="ignore"):
                deviations = np.exp2(np.rint(np.log2(deviations)))
        out = np.ones(self.starts[-1])
        for group in self.groups:
            has_unit = not group.is_vector and (
                group.loss.degree is not None or group.loss.domain == Real()
            )
            if has_unit:
                own = deviations[group.columns]
                out[group.places[:, 0]] = np.where(own > LEAST_UNIT, own, 1.0)
        return out

    @property
    def are_labels(self) -> npt.NDArray[np.bool_]:
        """Which columns are of finitely many levels."""
        return np.array([domain.n_levels is not None for domain in self.domains])

    def null_model(self, matrix: sp.csr_array, weights: Floats | None) -> Null:
        """Best constants of all columns, and what they cost."""
        total = np.bincount(matrix.indices, weights, minlength=len(self.losses)).astype(float)
        if all(group.loss == Quadratic() for group in self.groups):
            constants, costs = _means_and_half_variances(matrix, weights, total)
        else:
            constants = self._best_constants(matrix, weights)
            each = self.costs(matrix.indices, matrix.data, lambda at, places: constants[places])
            each = each if weights is None else each * weights
            costs = np.bincount(matrix.indices, each, minlength=len(self.losses)).astype(float)
            costs /= np.where(total > 0, total, 1.0)
        overall = None
        if self.is_scalar and len(set(self.losses)) == 1:
            overall = float(self.losses[0].best_constant(matrix.data, weights))
        return Null(constants, costs, total, overall)

    def _best_constants(
        self, matrix: sp.csr_array, weights: Floats | None
    ) -> npt.NDArray[np.float64]:
        by_column = sp.csr_array(
            (np.arange(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape
        ).tocsc()
        values = matrix.data[by_column.data]
        w = None if weights is None else weights[by_column.data]
        constants = np.zeros(self.starts[-1])
        for j, place in enumerate(self.slices):
            run = slice(by_column.indptr[j], by_column.indptr[j + 1])
            if run.stop > run.start:
                given = None if w is None else w[run]
                constants[place] = self.losses[j].best_constant(values[run], given)
        return constants


def _means_and_half_variances(
    matrix: sp.csr_array, weights: Floats | None, total: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Best constants of half the square, and their mean costs, without sorting by column."""
    n, j = matrix.shape[1], matrix.indices
    once = np.where(total > 0, total, 1.0)

    def means(values: Floats) -> npt.NDArray[np.float64]:
        weighted = values if weights is None else values * weights
        return np.asarray(np.bincount(j, weighted, minlength=n) / once)

    mean = means(matrix.data)
    variance = means((matrix.data - mean[j]) ** 2)
    variance[variance <= 1e-24 * mean * mean] = 0.0  # rounding errors
    return mean, 0.5 * variance


def _lowered(predictions: Floats, order: str) -> npt.NDArray[np.float64]:
    """Return the largest predictions ≤ those given that decrease by GAP, from -GAP if negative."""
    drop = GAP * np.arange(1, predictions.shape[-1] + 1)
    raised = predictions + drop  # float64: float32 may be too coarse for the gap
    if order == "negative":
        raised = np.minimum(raised, 0.0)
    return np.minimum.accumulate(raised, axis=-1) - drop


def predictor(rows: npt.NDArray[Any], W: Floats, H: Floats, b: Floats | None) -> Any:
    """Return a function that predicts cells of given rows: u = w·h + b, by group of columns."""

    def predict(at: Any, places: npt.NDArray[np.int64]) -> Floats:
        out = np.empty(places.shape, H.dtype)
        cells = rows[at]
        u = np.empty(len(places), H.dtype)
        for c in range(places.shape[1]):
            place = np.ascontiguousarray(places[:, c])
            predict_cells(read_only(cells), read_only(place), read_only(W), read_only(H), u)
            out[:, c] = u
        return out if b is None else out + b[places]

    return predict


def name_of(names: Any, j: int) -> Any:
    return j if names is None else names[j]


def described(domain: Domain) -> str:
    words = {"Real": "numbers", "Positive": "numbers above 0", "Boolean": "0 and 1, or -1 and 1"}
    name = type(domain).__name__
    if isinstance(domain, Count):
        end = "" if domain.max is None else f" to {domain.max}"
        return f"counts: whole numbers from 0{end}"
    if isinstance(domain, Ordinal):
        return f"whole numbers from {domain.low} to {domain.high}"
    if isinstance(domain, Categorical):
        return f"levels numbered from 0 to {domain.n_levels - 1}"
    return words.get(name, repr(domain)) if domain in (Real(), Boolean()) else repr(domain)


def extremes_of(matrix: sp.csr_array) -> tuple[Floats, Floats]:
    low, high = np.full(matrix.shape[1], np.inf), np.full(matrix.shape[1], -np.inf)
    np.minimum.at(low, matrix.indices, matrix.data)
    np.maximum.at(high, matrix.indices, matrix.data)
    return low, high
