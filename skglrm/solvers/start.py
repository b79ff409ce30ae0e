r"""Where to start: factors of the linearised problem, or random ones, or centres.

At predictions b, the best constants of the columns (0 without an offset), every loss looks like
half the square of (u - b) - z with z = -L'(b, a) / c.  The missing cells of Z count as 0, so Z is
divided by the share of cells observed before its singular vectors are taken.  Columns are measured
in their units.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from .._jit import read_only
from ..backends.base import Backend
from ..kernels.start import (
    linearise,
    linearise_vector,
    multiply_rows,
    row_distances,
    spread_rows,
)
from .alternating import column_losses
from .base import Floats, one_blas_thread
from .half_step import is_quadratic
from .problem import Cells, Factors, Group, Problem

__all__ = ["INITS", "UNIT", "best_offset", "make_start", "runs_of_rows"]

INITS = ("svd", "nndsvd", "kmeans++", "random")

Doubles = npt.NDArray[np.float64]

ROWS_PER_BLOCK = 2048
UNIT = 1e-3
"""Size of a difference that matters, where the slope of the loss is known to be bounded."""

OVERSAMPLING = 10
POWER_ITERATIONS = 4
SHORTENINGS, SLACK = 24, 1.001
ALIVE = 0.05
"""Share of a singular value that shrinkage leaves at least: a component of 0 would stay 0."""


def make_start(
    problem: Problem,
    init: str,
    seed: Any,
    backend: Backend,
    offset: Floats | None = None,
    with_rows: bool = True,
) -> Factors:
    """Return factors to start from.

    ``"svd"`` means ``"kmeans++"`` if all rows are to be one-hot, and ``"nndsvd"`` if a side must
    not be negative.  ``seed`` is anything that ``numpy.random.default_rng`` takes.  ``offset``
    holds the columns' best constants, if they are known.  Without ``with_rows`` row factors may be
    zeros, where singular vectors of the columns are had for less.

    Raises
    ------
    ValueError
        If ``init`` is unknown.
    """
    if init not in INITS:
        raise ValueError(f"Unknown init {init!r}; the names are {list(INITS)}.")
    rng = np.random.default_rng(seed)
    if problem.offset and offset is None:
        offset = best_offset(problem)
    base = np.zeros(problem.n_predictions) if offset is None else np.asarray(offset, np.float64)
    Z, units = _in_units(problem, _linearised(problem, base))
    # Rounded, so that it does not depend on the order in which squares were summed.
    size = float(np.float32(np.sqrt(Z.mean_square)))
    noise = (size**2 / max(problem.n_components, 1)) ** 0.25
    if init == "svd":
        init = _fitting(problem)
    if init == "random" or not problem.n_components:
        X, H = (
            noise * rng.standard_normal((n, problem.n_components))
            for n in (problem.n_rows, problem.n_predictions)
        )
    elif init == "kmeans++":
        X, H = _centers(problem, Z, rng)
    else:
        # One BLAS thread: results do not depend on how many there are, and blocks do not quarrel.
        with one_blas_thread():
            left = with_rows or init == "nndsvd"
            X, H = _singular(problem, Z, init == "nndsvd", noise, rng, backend, left)
    columns = np.empty(H.shape, problem.dtype)
    columns[problem.order] = H * units[:, None]
    found = Factors(X.astype(problem.dtype), columns, offset)
    return _not_worse_than_nothing(problem, found, backend)


def _not_worse_than_nothing(problem: Problem, start: Factors, backend: Backend) -> Factors:
    """Shorten the directions of columns whose loss they raise: it may rise without a bound.

    They stay above zero, where they might not get away from.
    """
    unbounded = tuple(group for group in problem.groups if group.loss.curvature is None)
    if not unbounded:
        return start
    H, offset = start.column_factors.copy(), start.offset
    owner = np.empty(problem.n_predictions, np.int64)
    for group in problem.groups:
        owner[problem.order[group.start : group.stop]] = np.repeat(group.columns, group.width)
    problem = replace(problem, groups=unbounded)
    least = column_losses(problem, replace(start, column_factors=np.zeros_like(H)), backend)
    for _ in range(SHORTENINGS):
        loss = column_losses(problem, Factors(start.row_factors, H, offset), backend)
        worse = ~(loss <= SLACK * least)
        if not worse.any():
            break
        H[worse[owner]] *= 0.25
    return Factors(start.row_factors, H, offset)


def best_offset(problem: Problem) -> Doubles:
    """Return the best constant predictions (n_predictions,) of the user's columns; 0 if unseen."""
    offset = np.zeros(problem.n_predictions)
    for group in problem.groups:
        cells = group.by_column
        constants = np.zeros((group.columns.size, group.width))
        for j in range(cells.n_rows):
            run = slice(cells.indptr[j], cells.indptr[j + 1])
            if run.stop > run.start:
                weights = cells.weights[run] if cells.weights.size else None
                constants[j] = group.loss.best_constant(cells.values[run], weights)
        offset[problem.order[group.start : group.stop]] = constants.ravel()
    return offset


def _fitting(problem: Problem) -> str:
    if all(part.regularizer.one_hot for part in problem.row_parts):
        return "kmeans++"
    intervals = [one.ridge_on_interval for one in problem.regularizers()]
    return "nndsvd" if any(known and known[1] >= 0 for known in intervals) else "svd"


# ------------------------------------------------------------------ the linearised problem


def _linearised(problem: Problem, base: Doubles) -> Cells:
    """Z by row; columns are predictions in the solver's order."""
    cells = problem.groups[0].by_row
    if hasattr(cells, "shared"):  # they are elsewhere, and linearised there
        return cells
    if len(problem.groups) == 1 and is_quadratic(problem.groups[0].loss):
        if not base.any() and not cells.weights.size:
            return cells
    by_column = [_group_linearised(problem, group, base) for group in problem.groups]
    lengths = np.concatenate([np.diff(cells.indptr) for cells in by_column])
    stacked = Cells(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([cells.indices for cells in by_column]),
        np.concatenate([cells.values for cells in by_column]),
        np.zeros(0, problem.dtype),
        problem.n_rows,
    )
    return stacked.transposed


def _in_units(problem: Problem, Z: Cells) -> tuple[Cells, Doubles]:
    """Return Z with every column in its unit, and the units, in the solver's order."""
    each = [np.repeat(problem.units[group.columns], group.width) for group in problem.groups]
    units = np.concatenate(each)
    if (units == 1).all():
        return Z, units
    return replace(Z, values=(Z.values / units[Z.indices]).astype(Z.values.dtype)), units


def _group_linearised(problem: Problem, group: Group, base: Doubles) -> Cells:
    cells, d = group.by_column, group.width
    b = base[problem.order[group.start : group.stop]]
    indptr, _, values, weights = cells.arrays
    none = np.zeros(0, problem.dtype)
    if not group.is_vector:
        out = np.empty_like(cells.values)
        unit = UNIT if group.loss.curvature is not None else group.unit
        linearise(group.loss, indptr, values, weights, b, unit, out)
        return replace(cells, values=out, weights=none)
    wide = np.empty((cells.values.size, d), problem.dtype)
    c = group.loss.curvature or 1.0
    linearise_vector(group.loss, d, indptr, values, weights, b.reshape(-1, d), c, wide)
    runs = [slice(*pair) for pair in itertools.pairwise(indptr)]
    empty = [np.zeros(0, problem.dtype)]
    return Cells(
        np.concatenate([[0], np.cumsum(np.repeat(np.diff(indptr), d))]).astype(np.int64),
        np.concatenate([np.tile(cells.indices[run], d) for run in runs] or empty),
        np.concatenate([wide[run].T.ravel() for run in runs] or empty),
        none,
        cells.n_columns,
    )


# ------------------------------------------------------------------ singular vectors


def _singular(
    problem: Problem,
    Z: Cells,
    nonnegative: bool,
    noise: float,
    rng: np.random.Generator,
    backend: Backend,
    left: bool,
) -> tuple[Doubles, Doubles]:
    n, d, k = problem.n_rows, problem.n_predictions, problem.n_components
    share = Z.values.size / (n * d) or 1.0
    U, S, V = truncated_svd(Z, min(k, n, d), rng, backend, left)
    S = S / share
    if nonnegative:
        U, S, V = _nonnegative(U, S, V)
    x, y = 1.0, 1.0
    strengths = _strengths(problem)
    if strengths is not None and min(strengths) > 0:
        s_x, s_y = strengths
        floor = 0.0 if share == 1 and all(is_quadratic(g.loss) for g in problem.groups) else ALIVE
        S = np.maximum(S - np.sqrt(s_x * s_y), floor * S)
        x, y = (s_y / s_x) ** 0.25, (s_x / s_y) ** 0.25
    X, H = np.zeros((n, k)), np.zeros((d, k))
    X[:, : S.size], H[:, : S.size] = x * U * np.sqrt(S), y * V * np.sqrt(S)
    for factor in (X, H):  # what a matrix of lower rank leaves empty
        factor[:, S.size :] = 0.01 * noise * rng.standard_normal((len(factor), k - S.size))
    return X, H


def _strengths(problem: Problem) -> tuple[float, float] | None:
    """Strengths of rows and columns, where every row has the same, and every column."""
    if len(problem.row_parts) > 1 or len(problem.column_parts) > 1:
        return None
    s_x, s_y = (one.quadratic_strength for one in problem.regularizers())
    return None if s_x is None or s_y is None else (s_x, s_y)


def truncated_svd(
    Z: Cells, k: int, rng: np.random.Generator, backend: Backend, left: bool = True
) -> tuple[Doubles, Doubles, Doubles]:
    """Return U (n, k), S (k,), V (d, k) of the k largest singular values, signs fixed.

    By the Gram matrix of the shorter side if that is cheap, else by subspace iteration.  Without
    ``left`` U may be zeros, which saves a pass over the cells.
    """
    if Z.n_columns > Z.n_rows:
        V, S, U = truncated_svd(Z.transposed, k, rng, backend)
        return U, S, V
    n, d, width = Z.n_rows, Z.n_columns, min(k + OVERSAMPLING, Z.n_columns)
    if n * d * d <= 8 * POWER_ITERATIONS * Z.values.size * width or d <= 4 * width:
        G = np.zeros((d, d))
        for part in backend.map(_gram_of_rows, runs_of_rows(n), _shared(Z)):
            G += part
        squares, V = _eigh(G, subset_by_index=(d - width, d - 1))
        if not left:
            V = V[:, ::-1][:, :k]
            return np.zeros((n, k)), np.sqrt(np.maximum(squares[::-1][:k], 0)), V * _signs(V)
    else:
        V = rng.standard_normal((d, width))
        for _ in range(POWER_ITERATIONS):
            # Orthogonal on the shorter side alone: with ten million rows the other takes minutes.
            V = np.linalg.qr(product(Z.transposed, product(Z, V, backend), backend))[0]
    B = product(Z, V, backend)
    values, R = _eigh(B.T @ B)
    R, S = R[:, ::-1][:, :k], np.sqrt(np.maximum(values[::-1][:k], 0))
    V = V @ R
    signs = _signs(V)
    V *= signs
    rank = np.maximum(S, 1e-12 * max(S[0], 1e-300)) if S.size else S
    return (B @ R) * signs / rank, S, V


def _eigh(matrix: Doubles, **options: Any) -> tuple[Doubles, Doubles]:
    """Eigenvalues and eigenvectors of a matrix of squares, if none of these is beyond float64."""
    if not np.isfinite(matrix).all():
        raise np.linalg.LinAlgError("squares are not finite")
    values, vectors = scipy.linalg.eigh(matrix, **options)
    return values, vectors


def _signs(V: Doubles) -> Doubles:
    """Signs that make the entry of largest magnitude of every column positive."""
    return np.where(V[np.abs(V).argmax(axis=0), np.arange(V.shape[1])] < 0, -1.0, 1.0)


def product(Z: Cells, other: Doubles, backend: Backend) -> Doubles:
    """Return Z @ other (n_columns, k)."""
    shared = _shared(Z, np.ascontiguousarray(other))
    parts = backend.map(_multiply, runs_of_rows(Z.n_rows), shared)
    return np.concatenate(parts)


def runs_of_rows(n: int) -> list[tuple[int, int]]:
    """Cut n rows into the runs that tasks multiply."""
    return [(start, min(start + ROWS_PER_BLOCK, n)) for start in range(0, n, ROWS_PER_BLOCK)]


def _shared(Z: Any, other: Doubles | None = None) -> Any:
    """Return what tasks on runs of rows share, wherever the cells are."""
    if hasattr(Z, "shared"):
        return Z.shared(other)
    return Z if other is None else (Z, other)


def _multiply(run: tuple[int, int], shared: Any) -> Doubles:
    Z, other = shared
    out = np.empty((run[1] - run[0], other.shape[1]))
    multiply_rows(*Z.arrays[:3], read_only(other), *run, out)
    return out


def _gram_of_rows(run: tuple[int, int], Z: Cells) -> Doubles:
    dense = np.zeros((run[1] - run[0], Z.n_columns))
    spread_rows(*Z.arrays[:3], *run, dense)
    return dense.T @ dense


def _nonnegative(U: Doubles, S: Doubles, V: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Keep of each pair of singular vectors the heavier of the positive and the negative parts.

    C. Boutsidis, E. Gallopoulos (2008), "SVD based initialization".
    """
    U, S, V = U.copy(), S.copy(), V.copy()
    for c in range(S.size):
        pairs = [(np.maximum(sign * U[:, c], 0), np.maximum(sign * V[:, c], 0)) for sign in (1, -1)]
        norms = [(np.linalg.norm(u), np.linalg.norm(v)) for u, v in pairs]
        best = int(norms[1][0] * norms[1][1] > norms[0][0] * norms[0][1])
        (u, v), (size_u, size_v) = pairs[best], norms[best]
        U[:, c], V[:, c] = u / (size_u or 1), v / (size_v or 1)
        S[c] *= size_u * size_v
    return U, S, V


# ------------------------------------------------------------------ centres


def _centers(problem: Problem, Z: Cells, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """Rows far from one another as components; Arthur and Vassilvitskii (2007), "k-means++"."""
    n, k = problem.n_rows, problem.n_components
    X, H = np.zeros((n, k)), np.zeros((problem.n_predictions, k))
    X[:, 0] = 1
    nearest, out = np.full(n, np.inf), np.empty(n)
    seen = np.diff(Z.indptr) > 0
    for c in range(k):
        chance = np.where(seen, np.minimum(nearest, 1e300), 0.0)
        total = chance.sum()
        row = int(rng.choice(n, p=chance / total)) if total > 0 else int(rng.integers(n))
        run = slice(Z.indptr[row], Z.indptr[row + 1])
        H[Z.indices[run], c] = Z.values[run]
        row_distances(*Z.arrays[:3], read_only(H[:, c]), out)
        X[out < nearest] = np.eye(k)[c]
        nearest = np.minimum(nearest, out)
    return X, H
