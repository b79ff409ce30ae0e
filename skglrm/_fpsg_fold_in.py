"""Factors of rows given those of columns: each row alone, and to convergence."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._jit import read_only
from .backends.base import Backend
from .kernels.least_squares import solve_rows, solve_rows_proximal
from .kernels.pair_rows import fit_pair_rows
from .losses import Loss, get_loss
from .regularizers import L1, L2, NonNegative, Sum, Zero
from .solvers.alternating import row_side
from .solvers.base import one_blas_thread
from .solvers.problem import Factors, Problem
from .solvers.settle import settle

__all__ = ["fold_in_pairs", "fold_in_rows"]

Floats = npt.NDArray[np.floating]

ROWS_PER_TASK = 256
NEGATIVES = 5
"""Negatives that each positive of a row is compared with."""


def fold_in_rows(
    model: Any,
    loss: Loss,
    matrix: sp.csr_array,
    other: Floats,
    offset: Floats | None,
    backend: Backend,
) -> Floats:
    """Minimise Σ L(p·q_j + offset_j, a_j) + n (½ λ ‖p‖² + μ ‖p‖₁) over the rows of a matrix."""
    out = np.zeros((matrix.shape[0], other.shape[1]), other.dtype)
    if loss == get_loss("squared"):
        if offset is not None:
            values = matrix.data - offset[matrix.indices]
            matrix = sp.csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)
        shared = (model, matrix, np.ascontiguousarray(other), out)
        backend.map(_fold_in_run, _runs(len(out)), shared)
    elif len(out):
        # Divided by the number n of cells, so that the penalty is the same in all rows.
        counts = np.diff(matrix.indptr)
        weights = np.repeat(1.0 / np.maximum(counts, 1), counts).astype(other.dtype)
        problem = Problem.build(
            matrix.astype(other.dtype), loss, other.shape[1], weights=weights,
            row_regularizer=_regularizer(model), offset=offset is not None,
        )  # fmt: skip
        out = _settled(problem, other, offset, model.scale_, backend)
        out[counts == 0] = 0
    return out


def _settled(
    problem: Problem, other: Floats, offset: Floats | None, unit: float, backend: Backend
) -> Floats:
    """Solve rows to convergence; kinks are looked at in a unit that does not depend on the rows."""
    zeros = np.zeros((problem.n_rows, problem.n_components), problem.dtype)
    X, H = problem.inside(Factors(zeros, other, offset))
    side = row_side(problem, X, H)
    side.terms = tuple(replace(term, unit=unit) for term in side.terms)
    with one_blas_thread():
        side.run(settle, backend)
    return problem.outside(X, H).row_factors


def _regularizer(model: Any) -> Any:
    parts: list[Any] = [L1(float(model.l1_regularization))] if model.l1_regularization > 0 else []
    parts += [NonNegative()] if model.nonnegative else []
    parts += [L2(float(model.regularization))] if model.regularization > 0 else []
    return functools.reduce(lambda a, b: Sum(a, b), parts) if parts else Zero()


def _fold_in_run(run: tuple[int, int], shared: Any) -> None:
    model, matrix, other, out = shared
    cells = map(read_only, (matrix.indptr, matrix.indices, matrix.data, other))
    if model.l1_regularization > 0 or model.nonnegative:
        solve_rows_proximal(
            *cells, float(model.regularization), float(model.l1_regularization),
            bool(model.nonnegative), 1000, 1e-10, *run, out,
        )  # fmt: skip
    else:
        solve_rows(*cells, float(model.regularization), *run, out)


def fold_in_pairs(
    model: Any,
    matrix: sp.csr_array,
    H: Floats,
    known: tuple[Floats, sp.csr_array] | None,
    backend: Backend,
) -> Floats:
    """Rank the columns of each row above others, or each row above rows that are ``known``.

    Every column comes with the same few negatives in all rows, so that the result of a row depends
    on nothing else; those that the row (the column) has are left out.
    """
    n_others = len(H) if known is None else len(known[0])
    rng = np.random.default_rng((model._seed, 31))
    negatives = rng.integers(n_others, size=(len(H), NEGATIVES))
    out = np.zeros((matrix.shape[0], H.shape[1]), H.dtype)
    others = None
    if known is not None:
        seen = known[1].tocoo()
        others = known[0], np.sort(seen.row.astype(np.int64) * len(H) + seen.col)
    backend.map(_fold_in_pairs, _runs(len(out)), (model, matrix, H, others, negatives, out))
    return out


def _fold_in_pairs(run: tuple[int, int], shared: Any) -> None:
    model, matrix, H, others, negatives, out = shared
    part = matrix[slice(*run)]
    row = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr) * NEGATIVES)
    column = np.repeat(part.indices, NEGATIVES)
    negative = negatives[part.indices].ravel()
    if others is None:
        cells = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr)) * len(H) + part.indices
        keep = ~np.isin(row * len(H) + negative, cells)
    else:
        cell, cells = negative * len(H) + column, np.append(others[1], -1)
        keep = cells[np.searchsorted(others[1], cell)] != cell
    row, column, negative = row[keep], column[keep], negative[keep]
    if others is None:
        features, offsets = H[column] - H[negative], np.zeros(len(row), H.dtype)
    else:
        features = H[column]
        offsets = -np.einsum("ij,ij->i", features, others[0][negative])
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=part.shape[0]))])
    found = np.zeros((part.shape[0], H.shape[1]), H.dtype)
    fit_pair_rows(
        *map(read_only, (indptr, features, offsets)),
        float(model.regularization), float(model.l1_regularization),
        0.0 if model.nonnegative else -np.inf, 500, 1e-6, 0, len(found), found,
    )  # fmt: skip
    out[slice(*run)] = found


def _runs(n: int) -> list[tuple[int, int]]:
    return [(start, min(start + ROWS_PER_TASK, n)) for start in range(0, n, ROWS_PER_TASK)]
