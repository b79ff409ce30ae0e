r"""Where implicit ALS begins: the leading singular vectors of the targets, roughly.

ALS from a random start is subspace iteration on the targets at first, which is slow: its error
falls by a constant factor per sweep.  A block Krylov space of the same number of products holds a
far better approximation, and a product costs a quarter of a half-sweep.

C. Musco and C. Musco, "Randomized block Krylov methods for stronger and faster approximate singular
value decomposition", NeurIPS 2015.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .._jit import read_only
from .._simd import aligned_zeros
from ..backends.base import Backend
from ..kernels.sketch import multiply_targets, sketch_targets
from .base import Floats

__all__ = ["can_start_spectrally", "spectral_start"]

POWER = 2
"""Products with T Tᵀ, so the space has three blocks."""

IDLE_DEVIATION = 0.1
"""Length of a row's first factors where the data do not say what they should be."""

ROWS_PER_TASK = 4096


def can_start_spectrally(shape: tuple[int, int], k: int) -> bool:
    """Whether a matrix is large enough for the Krylov space to be a small part of it."""
    return min(shape) >= 2 * (POWER + 1) * k


def spectral_start(
    rows: Any, columns: Any, X: Floats, Y: Floats, w0: float, alpha: float, seed: int,
    backend: Backend,
) -> None:  # fmt: skip
    """Overwrite X (n_rows, k) and Y (n_columns, k) by U √S and V √S, with U S Vᵀ ≈ T / mean T.

    Where T has a lower rank, X is random and Y zero: zeros in both would stay zeros for ever.
    ``rows`` and ``columns`` are the two sides of the stored cells.
    """
    k, dtype = X.shape[1], X.dtype
    weights = dtype.type(w0), dtype.type(alpha)
    rng = np.random.default_rng(seed)
    place, sign = rng.integers(k, size=len(X)), 2 * rng.integers(2, size=len(X)) - 1
    product = _empty_like(Y)
    sketch = read_only(place), read_only(sign.astype(dtype)), *weights
    backend.map(_sketch_task, columns.tasks(k), columns.shared(product, sketch))
    raw, basis = product, list[Floats]()
    H = np.zeros(((POWER + 1) * k,) * 2)
    for j in range(POWER + 1):
        basis.append(_orthonormal(product, basis, backend))
        if j:
            before = np.concatenate([cross(B, raw, backend) for B in basis])
            H[: len(before), (j - 1) * k : j * k] = before
        _times(rows, basis[j], X, weights, backend)
        if j < POWER:
            raw = _times(columns, X, _empty_like(Y), weights, backend)
            product = raw.copy()
    H[-k:, -k:] = cross(X, X, backend)
    lower = np.tril(H)
    squares, vectors = np.linalg.eigh(lower + np.tril(H, -1).T)
    squares, vectors = squares[::-1][:k], np.ascontiguousarray(vectors[:, ::-1][:, :k])
    values = np.sqrt(np.maximum(squares, 0))
    positive = values > np.finfo(dtype).eps ** 0.5 * values[0]
    scale = 1 / _mean_target(rows, w0, alpha)
    right = np.where(positive, np.sqrt(values * scale), 0)
    left = np.where(positive, np.sqrt(scale / np.where(positive, values, 1)), 0)
    _combine(basis, vectors * left, Y, backend)
    _times(rows, Y, X, weights, backend)
    _combine(basis, vectors * right, Y, backend)
    idle = np.flatnonzero(~positive)
    if idle.size:
        X[:, idle] = IDLE_DEVIATION / k**0.5 * rng.standard_normal((len(X), idle.size))


def _mean_target(side: Any, w0: float, alpha: float) -> float:
    mean = side.mean_positive
    return w0 + alpha * mean if mean else 1.0


def _times(side: Any, other: Floats, out: Floats, weights: Any, backend: Backend) -> Floats:
    shared = side.shared(out, (read_only(other), *weights))
    backend.map(_times_task, side.tasks(other.shape[1]), shared)
    return out


def _times_task(run: tuple[int, int], shared: Any) -> None:
    side = shared.side
    cells = side.indptr, side.indices, side.values, side.order
    multiply_targets(*cells, *shared.fixed, *run, shared.target)


def _sketch_task(run: tuple[int, int], shared: Any) -> None:
    side = shared.side
    cells = side.indptr, side.indices, side.values, side.order
    sketch_targets(*cells, *shared.fixed, *run, shared.target)


# ------------------------------------------------------------------ thin dense matrices


def _empty_like(A: Floats) -> Floats:
    return aligned_zeros(A.shape, A.dtype)  # no row straddles more lines of cache than it must


def _orthonormal(A: Floats, basis: list[Floats], backend: Backend) -> Floats:
    """Return an orthonormal basis of what A adds to ``basis``; zeros where it adds nothing."""
    out = _empty_like(A)
    floor = np.finfo(A.dtype).eps * np.trace(cross(A, A, backend))
    for _ in range(2):  # the second time takes away what rounding left
        for B in basis:
            weights = np.concatenate([np.eye(A.shape[1]), -cross(B, A, backend)])
            _combine([A, B], weights, A, backend)
        squares, vectors = np.linalg.eigh(cross(A, A, backend))
        positive = squares > floor
        scale = np.where(positive, 1 / np.sqrt(np.where(positive, squares, 1)), 0)
        _combine([A], vectors * scale, out, backend)
        A, floor = out, 0.5
    return out


def cross(A: Floats, B: Floats, backend: Backend) -> npt.NDArray[np.float64]:
    """Return Aᵀ B in float64, from sums of a fixed number of rows in the working precision."""
    total = np.zeros((A.shape[1], B.shape[1]))
    for part in backend.map(_cross_task, _runs(len(A)), (A, B)):
        total += part
    return total


def _cross_task(run: tuple[int, int], shared: Any) -> Floats:
    A, B = (matrix[slice(*run)] for matrix in shared)
    return A.T @ B


def _combine(parts: list[Floats], weights: Any, out: Floats, backend: Backend) -> None:
    """Write Σ part · its rows of ``weights`` to out, which may be one of the parts."""
    blocks = np.split(weights.astype(out.dtype), len(parts))
    backend.map(_combine_task, _runs(len(out)), (parts, blocks, out))


def _combine_task(run: tuple[int, int], shared: Any) -> None:
    parts, blocks, out = shared
    here = slice(*run)
    total = parts[0][here] @ blocks[0]
    for part, block in zip(parts[1:], blocks[1:], strict=True):
        total += part[here] @ block
    out[here] = total


def _runs(n: int) -> list[tuple[int, int]]:
    return [(start, min(start + ROWS_PER_TASK, n)) for start in range(0, n, ROWS_PER_TASK)]
