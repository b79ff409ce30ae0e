r"""What a generalised low rank model minimises, in the shape that solvers want it.

.. math::

    \sum_{(i,j) \in \Omega} \omega_{ij} L_j(x_i \cdot Y_j + b_j, a_{ij})
    + \sum_i r_i(x_i) + \sum_j \tilde r_j(Y_j)

Columns with equal losses are one :class:`Group`, and inside solvers they are neighbours: kernels
never see two losses.  The offset b is one more coordinate, 1 in every row and free in every column,
so kernels never see an offset either.  Outside, everything is in the order of the user's columns:

>>> import numpy as np, scipy.sparse as sp
>>> from skglrm.losses import Absolute, Quadratic
>>> from skglrm.regularizers import L2
>>> X = sp.csr_array(np.array([[1.0, 2.0, 3.0], [4.0, 0.0, 6.0]]))
>>> problem = Problem.build(X, [Quadratic(), Absolute(), Quadratic()], 2, row_regularizer=L2(0.1))
>>> [group.columns.tolist() for group in problem.groups], problem.order.tolist()
([[0, 2], [1]], [0, 2, 1])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from .._jit import read_only
from ..domains import Boolean
from ..kernels.cells import (
    count_kept,
    count_lacking,
    list_lacking,
    take_columns,
    transpose_cells,
)
from ..losses import Loss
from ..regularizers.base import Coupling, Regularizer
from .base import Floats

__all__ = ["Cells", "Factors", "Fit", "Group", "Part", "Problem"]


@dataclass(frozen=True)
class Cells:
    """Observed cells of some rows by some columns: CSR arrays, and a weight per cell.

    ``weights`` is empty when all are 1.  The transpose, whose rows are columns, is of this class.
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.integer]
    values: Floats
    weights: Floats
    n_columns: int

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.indptr.size - 1

    @cached_property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """What kernels take: indptr, indices, values, weights, none of them writable."""
        return tuple(map(read_only, (self.indptr, self.indices, self.values, self.weights)))

    @cached_property
    def dense(self) -> Floats | None:
        """The values (n_rows, n_columns), if no cell is missing and all weights are 1."""
        n, m = self.n_rows, self.n_columns
        if self.weights.size or self.values.size != n * m or (np.diff(self.indptr) != m).any():
            return None
        in_order = (self.indices.reshape(n, m) == np.arange(m, dtype=self.indices.dtype)).all()
        return self.values.reshape(n, m) if in_order else None

    @cached_property
    def half_squares(self) -> npt.NDArray[np.float64]:
        """Half the sums (n_rows,) of the squares of dense values."""
        values = self.values.reshape(self.n_rows, self.n_columns)
        squares: npt.NDArray[np.float64] = np.einsum(
            "ij,ij->i", values, values, dtype=np.dtype(np.float64)
        )
        return 0.5 * squares

    @cached_property
    def is_somewhere_full(self) -> bool:
        """Whether a row lacks no cell."""
        return bool(np.diff(self.indptr).max(initial=0) == self.n_columns)

    @property
    def mean_square(self) -> float:
        """Mean of the squares of the values; 1 if there are none."""
        return float(np.mean(self.values.astype(np.float64) ** 2)) if self.values.size else 1.0

    @cached_property
    def lacking(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """CSR arrays (indptr, indices) of the columns that rows lack, if they are half full."""
        counts = np.empty(self.n_rows, np.int64)
        count_lacking(self.arrays[0], self.n_columns, counts)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        indices = np.empty(int(indptr[-1]) + 1, self.indices.dtype)
        list_lacking(*self.arrays[:2], self.n_columns, read_only(indptr), indices)
        return read_only(indptr), read_only(indices)

    @cached_property
    def transposed(self) -> Cells:
        """The same cells by column."""
        if self.dense is not None:
            n, m = self.dense.shape
            rows = np.tile(np.arange(n, dtype=_index_type(n)), m)
            values = np.ascontiguousarray(self.dense.T).ravel()
            return Cells(np.arange(m + 1, dtype=np.int64) * n, rows, values, self.weights, n)
        counts = np.bincount(self.indices, minlength=self.n_columns)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        indices = np.empty(self.indices.size, _index_type(self.n_rows))
        values, weights = np.empty_like(self.values), np.empty_like(self.weights)
        transpose_cells(*self.arrays, indptr[:-1].copy(), indices, values, weights)
        return Cells(indptr, indices, values, weights, self.n_rows)


@dataclass(frozen=True)
class Group:
    """Columns with equal losses.

    Attributes
    ----------
    loss : Loss or VectorLoss
    columns : ndarray of int
        The user's columns, ascending.
    start, stop : int
        Rows of the column factors, in the solver's order, that belong to these columns.
    by_row : Cells
        Their cells; a column is called by its position in ``columns``.
    unit : float
        Size of a difference of predictions that matters: that of the data, at kinks.
    """

    loss: Any
    columns: npt.NDArray[np.int64]
    start: int
    stop: int
    by_row: Cells
    unit: float

    @property
    def width(self) -> int:
        """Number of predictions per cell, and of factors per column."""
        return int(self.loss.embedding_dim)

    @property
    def is_vector(self) -> bool:
        """Whether a cell has a vector of predictions, maybe of length 1."""
        return not isinstance(self.loss, Loss)

    @property
    def by_column(self) -> Cells:
        """The same cells by column."""
        return self.by_row.transposed


@dataclass(frozen=True)
class Part:
    """Rows (or columns) that share a regularizer."""

    regularizer: Regularizer
    rows: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Factors:
    """Factors in the order of the user's columns.

    A column whose loss has several predictions per cell owns as many consecutive rows of
    ``column_factors`` and entries of ``offset``, which is ``None`` in models without offset.
    """

    row_factors: Floats
    column_factors: Floats
    offset: Floats | None = None


@dataclass(frozen=True)
class Fit:
    """What a solver returns.

    ``loss_curve`` holds the objective, losses and both penalties, after every iteration; the last
    is that of ``factors``.  ``n_failed`` counts rows and columns that found no way down in the last
    iteration, though their model promised one.
    """

    factors: Factors
    loss_curve: list[float]
    n_iter: int
    converged: bool
    n_failed: int = 0


@dataclass(frozen=True)
class Problem:
    """Losses, regularizers and cells of one model.

    Attributes
    ----------
    groups : tuple of Group
    row_parts, column_parts : tuple of Part
        Ids are rows, or the user's columns.
    row_coupling, column_coupling : Coupling or None
        What couples rows, or columns, with one another, such as a graph Laplacian.
    n_rows, n_columns, n_components : int
    offset : bool
    order : ndarray of shape (n_predictions,)
        Row order[p] of the user's column factors is row p of the solver's.
    units : ndarray of shape (n_columns,)
        In what the factors of columns are measured where nobody pays for them.
    """

    groups: tuple[Group, ...]
    row_parts: tuple[Part, ...]
    column_parts: tuple[Part, ...]
    row_coupling: Coupling | None
    column_coupling: Coupling | None
    n_rows: int
    n_columns: int
    n_components: int
    offset: bool
    order: npt.NDArray[np.int64]
    units: npt.NDArray[np.float64]

    @classmethod
    def build(
        cls,
        matrix: sp.csr_array,
        losses: Any,
        n_components: int,
        *,
        weights: Floats | None = None,
        row_regularizer: Any,
        column_regularizer: Any = None,
        offset: bool = False,
        units: npt.NDArray[np.float64] | None = None,
        kinks: npt.NDArray[np.float64] | None = None,
    ) -> Problem:
        """Group the columns of a matrix by loss.

        Parameters
        ----------
        matrix : csr_array of shape (n_rows, n_columns)
            The stored cells are the observed ones; the array is not changed, and its parts may be
            used as they are.
        losses : loss, or sequence of n_columns losses
        n_components : int
            Without the offset.
        weights : ndarray, optional
            Weights >= 0 of ``matrix.data``; cells of weight 0 count as missing.
        row_regularizer, column_regularizer : Regularizer, or a sequence with one for each
            Or a :class:`Coupling` of all.  No regularizer of the columns means that of the rows.
        offset : bool
            Whether every column has a constant of its own, which no regularizer touches.
        units : ndarray, optional
            Of the columns; the regularizers know of them already.
        kinks : ndarray, optional
            Units of the columns at kinks, those of an earlier problem: rows that are folded in must
            not choose their own.

        Raises
        ------
        ValueError
            If a regularizer is for rows of factors of another length.
        """
        n_rows, n_columns = matrix.shape
        if column_regularizer is None:
            column_regularizer = row_regularizer
        row_regularizer, row_coupling = _uncoupled(row_regularizer)
        column_regularizer, column_coupling = _uncoupled(column_regularizer)
        row_parts = _parts(row_regularizer, n_rows)
        column_parts = _parts(column_regularizer, n_columns)
        for part in (*row_parts, *column_parts):  # kernels read as many numbers as a row has
            is_longer = bool(offset) and part.regularizer.on_block
            part.regularizer.check_size(n_components + is_longer)
        groups = _grouped(matrix, losses, weights, kinks)
        widths = np.empty(n_columns, np.int64)
        for group in groups:
            widths[group.columns] = group.width
        first = np.cumsum(widths) - widths
        order = [
            (first[group.columns][:, None] + np.arange(group.width)).ravel() for group in groups
        ]
        return cls(
            groups,
            row_parts,
            column_parts,
            row_coupling,
            column_coupling,
            n_rows,
            n_columns,
            n_components,
            bool(offset),
            np.concatenate(order),
            np.ones(n_columns) if units is None else units,
        )

    @property
    def kinks(self) -> npt.NDArray[np.float64]:
        """Units (n_columns,) at kinks."""
        units = np.empty(self.n_columns)
        for group in self.groups:
            units[group.columns] = group.unit
        return units

    @property
    def n_predictions(self) -> int:
        """Predictions per row: one per column, more for losses with several."""
        return self.order.size

    @property
    def n_coordinates(self) -> int:
        """Length of a row of factors inside solvers."""
        return self.n_components + self.offset

    @property
    def n_cells(self) -> int:
        """Number of observed cells."""
        return sum(group.by_row.values.size for group in self.groups)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of values and factors."""
        return self.groups[0].by_row.values.dtype

    def regularizers(self) -> list[Any]:
        """Return all regularizers of both sides."""
        return [part.regularizer for part in (*self.row_parts, *self.column_parts)]

    def inside(self, factors: Factors) -> tuple[Floats, Floats]:
        """Return copies (n_rows, K), (n_predictions, K) in the solver's order, offset included."""
        X, H = np.asarray(factors.row_factors), np.asarray(factors.column_factors)[self.order]
        if self.offset:
            b = np.zeros(len(H)) if factors.offset is None else factors.offset[self.order]
            X, H = np.column_stack([X, np.ones(len(X))]), np.column_stack([H, b])
        return np.array(X, self.dtype, order="C"), np.array(H, self.dtype, order="C")

    def outside(self, X: Floats, H: Floats) -> Factors:
        """Undo ``inside``."""
        k = self.n_components
        columns = np.empty_like(H)
        columns[self.order] = H
        offset = columns[:, k].copy() if self.offset else None
        return Factors(np.array(X[:, :k]), np.array(columns[:, :k]), offset)


# ------------------------------------------------------------------ groups and parts


def _grouped(
    matrix: sp.csr_array, losses: Any, weights: Floats | None, kinks: Floats | None
) -> tuple[Group, ...]:
    n_columns = matrix.shape[1]
    losses = list(losses) if isinstance(losses, Sequence) else [losses] * n_columns
    if len(losses) != n_columns:
        raise ValueError(f"{len(losses)} losses for {n_columns} columns; give one for each.")
    scale = np.ones(n_columns)
    members: dict[Any, list[int]] = {}
    known: dict[int, tuple[float, Any]] = {}
    for j, loss in enumerate(losses):
        factor, base = known.setdefault(id(loss), _unscaled(loss))
        scale[j] = factor
        members.setdefault(base, []).append(j)
    groups, start = [], 0
    for loss, columns in members.items():
        positions = np.asarray(columns, np.int64)
        stop = start + positions.size * int(loss.embedding_dim)
        cells = _cells_of(matrix, positions, weights, scale)
        unit = _unit_at_kinks(loss, cells.values) if kinks is None else float(kinks[columns[0]])
        groups.append(Group(loss, positions, start, stop, cells, unit))
        start = stop
    return tuple(groups)


def _unit_at_kinks(loss: Any, values: Floats) -> float:
    is_scalar = isinstance(loss, Loss)
    if not is_scalar or loss.smooth or isinstance(loss.domain, Boolean) or not values.size:
        return 1.0
    return float(np.std(values, dtype=np.float64)) or 1.0


def _unscaled(loss: Any) -> tuple[float, Any]:
    """Return (c, L) for a loss c·L: a factor is a weight, and equal losses make one group."""
    factor = 1.0
    while isinstance(getattr(loss, "weight", None), float | int) and hasattr(loss, "loss"):
        factor, loss = factor * loss.weight, loss.loss
    return factor, loss


def _cells_of(
    matrix: sp.csr_array,
    columns: npt.NDArray[np.int64],
    weights: Floats | None,
    scale: npt.NDArray[np.float64],
) -> Cells:
    n_rows, n_columns = matrix.shape
    dtype = np.result_type(matrix.data.dtype, np.float32)
    indices = matrix.indices.astype(_index_type(n_columns), copy=False)
    values = matrix.data.astype(dtype, copy=False)
    given = np.zeros(0, dtype) if weights is None else np.asarray(weights, dtype)
    indptr = matrix.indptr.astype(np.int64, copy=False)
    if columns.size == n_columns and weights is None and (scale == 1).all():
        return Cells(indptr, indices, values, given, n_columns)
    position = np.full(n_columns, -1, indices.dtype)
    position[columns] = np.arange(columns.size)
    position[scale == 0] = -1
    counts = np.empty(n_rows, np.int64)
    source = (*map(read_only, (indptr, indices)), read_only(given), read_only(position))
    count_kept(*source, counts)
    n = int(counts.sum())
    out = Cells(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.empty(n, indices.dtype),
        np.empty(n, dtype),
        np.empty(n if given.size or (scale[columns] != 1).any() else 0, dtype),
        columns.size,
    )
    take_columns(
        *source[:2], read_only(values), *source[2:], read_only(scale), out.indices, out.values,
        out.weights,
    )  # fmt: skip
    return out


def _uncoupled(regularizer: Any) -> tuple[Any, Coupling | None]:
    if isinstance(regularizer, Coupling):
        return regularizer.regularizer, regularizer
    return regularizer, None


def _index_type(n: int) -> Any:
    return np.int32 if n < 2**31 else np.int64


def _parts(regularizer: Any, n: int) -> tuple[Part, ...]:
    if not isinstance(regularizer, Sequence):
        return (Part(regularizer, np.arange(n, dtype=np.int32)),)
    if len(regularizer) != n:
        raise ValueError(f"{len(regularizer)} regularizers for {n} rows; give one for each.")
    members: dict[Any, list[int]] = {}
    for i, one in enumerate(regularizer):
        members.setdefault(one, []).append(i)
    return tuple(Part(one, np.asarray(ids, np.int32)) for one, ids in members.items())
