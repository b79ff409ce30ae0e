r"""Draw cells from the density proportional to :math:`\exp(-L(u, \cdot))`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._columns import Columns, Group
from .domains import Boolean, Circle, Count, Ordinal
from .entries import Entries

__all__ = ["draw_cells"]

Floats = npt.NDArray[np.floating]


def draw_cells(
    columns: Columns,
    column_weights: Floats,
    U: Floats,
    observed: Entries,
    rng: np.random.Generator,
) -> Floats:
    """Return drawn values (n_rows, n_columns) given predictions U (n_rows, n_predictions).

    Numbers scatter around their prediction by as much as the observed cells of their column do.
    """
    out = np.empty((len(U), len(columns.losses)), U.dtype)
    deviation = _deviations(columns, U, observed)
    for group in columns.groups:
        for j, places in zip(group.columns, group.places, strict=True):
            out[:, j] = _draw(group, U[:, places], column_weights[j], deviation[j], rng)
    signed = columns.signed
    out[:, signed] = np.where(out[:, signed] > 0, 1, -1)
    return out


def _draw(
    group: Group, u: Floats, weight: float, deviation: float, rng: np.random.Generator
) -> Floats:
    domain, loss = group.domain, group.loss
    if domain.n_levels is not None:
        return _draw_level(group, u, weight, rng)
    mean = np.asarray(loss.impute(group.shaped(u)), np.float64)
    if isinstance(domain, Circle) and isinstance(loss.domain, Circle):
        turn = domain.period / (2 * np.pi)
        return np.mod(mean + turn * rng.vonmises(0.0, weight, mean.shape), domain.period)
    if isinstance(loss.domain, Count):
        return rng.poisson(np.clip(mean, 0, 1e15)).astype(float)
    drawn = mean + deviation * rng.normal(size=mean.shape)
    if isinstance(domain, Count):
        return np.maximum(np.rint(drawn), 0)
    inside = domain.contains(drawn)
    return np.where(inside, drawn, domain.impute(loss, group.shaped(u)))


def _draw_level(group: Group, u: Floats, weight: float, rng: np.random.Generator) -> Floats:
    """Draw a level by its probability, softmax of -L."""
    n_levels, domain = int(group.domain.n_levels or 0), group.domain
    low = domain.low if isinstance(domain, Ordinal) else 0
    # Losses of levels number them from 0, others see the levels as numbers.
    first = 0 if group.is_vector or isinstance(domain, Boolean) else low
    costs = np.empty((len(u), n_levels))
    for level in range(n_levels):
        costs[:, level] = group.costs(u, np.full(len(u), float(first + level)))
    chance = np.exp(-weight * (costs - costs.min(axis=1, keepdims=True)))
    ends = np.cumsum(chance, axis=1)
    drawn = rng.random(len(u)) * ends[:, -1]
    return np.asarray(low + np.argmax(ends > drawn[:, None], axis=1), float)


def _deviations(columns: Columns, U: Floats, observed: Entries) -> Floats:
    """Root mean squared error of each column's observed cells; 0 without any."""
    n_columns = len(columns.losses)

    def predict(at: Any, places: npt.NDArray[np.int64]) -> Floats:
        return U[observed.row[at][:, None], places]

    error = columns.impute_cells(observed.col, predict) - observed.value
    counts = np.bincount(observed.col, minlength=n_columns)
    sums = np.bincount(observed.col, error * error, minlength=n_columns)
    return np.asarray(np.sqrt(sums / np.maximum(counts, 1)))
