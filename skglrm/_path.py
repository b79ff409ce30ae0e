"""Fits from strong to weak regularization, judged on cells held out."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from ._certificate import losses_and_slopes, spectral_norm
from ._held_out import drawn_cells
from .entries import Entries

__all__ = ["RegularizationPath", "follow_path"]

Doubles = npt.NDArray[np.float64]

WEAKEST = 1e-3
"""The last strength of a path, as a share of the first."""


@dataclass(frozen=True)
class RegularizationPath:
    """What a model is at each strength of regularization.

    Attributes
    ----------
    strengths : ndarray of shape (n_strengths,)
        Values of ``regularization``, descending.
    objectives : ndarray of shape (n_strengths,)
        Losses and regularizers on the cells fitted on.
    losses : ndarray of shape (n_strengths,)
        Mean loss of the cells fitted on.
    held_out_losses : ndarray of shape (n_strengths,)
        Mean loss of the cells held out.
    null_loss : float
        The same for the best constants of the columns.
    ranks : ndarray of shape (n_strengths,)
        Numerical rank of the products of factors.
    seconds : ndarray of shape (n_strengths,)
        Time of each fit.
    best_strength : float
        The strength with the least held-out loss.
    """

    strengths: Doubles
    objectives: Doubles
    losses: Doubles
    held_out_losses: Doubles
    null_loss: float
    ranks: npt.NDArray[np.int64]
    seconds: Doubles
    best_strength: float


def follow_path(
    model: Any, X: Any, strengths: Any, n_strengths: int, held_out: float, random_state: Any
) -> RegularizationPath:
    """Fit clones of a model along a path; see ``GLRM.regularization_path``."""
    if not any(
        isinstance(getattr(model, side), str) and getattr(model, side) not in ("zero", "none")
        for side in ("row_regularizer", "column_regularizer")
    ):
        raise ValueError(
            "regularization_path varies the strength of regularizers that are given by name, and "
            f"row_regularizer={model.row_regularizer!r}, "
            f"column_regularizer={model.column_regularizer!r}. Name one of them, e.g. 'l2'."
        )
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must be a share between 0 and 1. Got {held_out!r} instead.")
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    model = clone(model).set_params(random_state=seed)
    train, test = _split(model, X, held_out, seed)
    if strengths is None:
        strengths = np.geomspace(1.0, WEAKEST, n_strengths) * _strongest(model, train)
    strengths = np.sort(np.asarray(strengths, float).ravel())[::-1]
    found, init = [], model.init
    for strength in strengths.tolist():
        one = clone(model).set_params(regularization=strength, init=init)
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            one._fit_read(*train)
        found.append((*_judged(one, train, test), time.perf_counter() - begin))
        init = _alive(one, seed)
    objectives, losses, held, ranks, seconds = (np.array(one) for one in zip(*found, strict=True))
    null = (
        one._columns.costs(test.col, test.value, lambda at, places: one._constants[places])
        @ one.column_weights_[test.col]
    )
    best = float(strengths[int(np.argmin(held))])
    return RegularizationPath(
        strengths, objectives, losses, held, float(null / len(test)), ranks, seconds, best
    )


def _split(model: Any, X: Any, held_out: float, seed: int) -> tuple[Any, Entries]:
    """What ``_fit_read`` takes for the cells to fit on, and the cells held out."""
    _, _, entries, table = model._read_training(X, None)
    hidden = drawn_cells(entries, held_out, seed)
    kept = entries[~hidden]
    return (kept.to_csr(), None, kept, table), entries[hidden]


def _strongest(model: Any, train: Any) -> float:
    """The least strength of L2 on both sides that makes all factors zero."""
    probe = clone(model)
    matrix, weights, entries, table = train
    probe._describe_columns(matrix, weights, entries, table)
    b = probe._null.constants if model.offset else np.zeros_like(probe._null.constants)
    each = probe.column_weights_[matrix.indices]
    nothing = np.zeros((matrix.shape[0], 1)), np.zeros((b.size, 1))
    _, G = losses_and_slopes(probe._columns, matrix, each, *nothing, b)
    return spectral_norm(G @ sp.diags_array(probe._units)) or 1.0


def _judged(model: Any, train: Any, test: Entries) -> tuple[float, float, float, int]:
    kept = train[2]

    def mean_loss(cells: Entries) -> float:
        unseen = (model._row_counts[cells.row] == 0) | (model._column_counts[cells.col] == 0)
        predict = model._predictor(cells.row, unseen)
        costs = model._columns.costs(cells.col, cells.value, predict)
        return float(costs @ model.column_weights_[cells.col] / len(cells))

    W, H = model.row_factors_, model._H
    R_w, R_h = (np.linalg.qr(np.asarray(factor, np.float64)).R for factor in (W, H))
    sizes = np.linalg.svd(R_w @ R_h.T).S
    rank = int(np.sum(sizes > max(1e-6 * sizes[0], 1e-12)))
    return model.objective_, mean_loss(kept), mean_loss(test), rank


def _alive(model: Any, seed: int) -> tuple[Any, ...]:
    """Factors to go on from; components that are zero get a little noise, or they would stay so."""
    W, H = model.row_factors_.copy(), model._H.copy()
    size = np.sqrt(np.mean(W * W, axis=0) * np.mean(H * H, axis=0))
    dead = size <= 1e-6 * max(float(size.max()), 1e-6)
    rng = np.random.default_rng(seed)
    for factor in (W, H):
        noise = 1e-2 * rng.standard_normal((len(factor), int(dead.sum())))
        factor[:, dead] = noise.astype(factor.dtype)
    return (W, H.T, model.offset_) if model.offset else (W, H.T)
