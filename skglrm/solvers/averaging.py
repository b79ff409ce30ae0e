r"""Local SGD: groups of rows side by side, each on a copy of the columns, of which means are taken.

An epoch visits each group once.  Rows belong to one group, and are as it leaves them; of a column
that group g, with n_gj of its n_j entries, has moved by Δ_gj,

.. math:: Q_j \leftarrow Q_j + \sum_g \frac{n_{gj}}{n_j} \Delta_{gj}

and the squared gradients that set its learning rate are averaged alike.  Sums of the moves would
diverge for columns with entries everywhere.  Nobody waits within an epoch, and nothing depends on
who runs which group; the price is that a column learns as much as from one group only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .base import Floats

__all__ = ["Share", "average", "share_of"]


class Share(NamedTuple):
    """What a group makes of the columns that it has entries of: places, weights, new values."""

    places: npt.NDArray[np.int64]
    weights: npt.NDArray[Any]
    factors: Floats
    gradients: Floats


def share_of(entries: npt.NDArray[Any], columns: Any) -> Share:
    """Return what the entries of a group have made of a copy of all columns."""
    weights = entries["weight"] if "weight" in (entries.dtype.names or ()) else None
    totals = np.bincount(entries["column"], weights, minlength=len(columns.factors))
    places = np.flatnonzero(totals)
    return Share(places, totals[places], columns.factors[places], columns.state[places, :2])


def average(columns: Any, shares: list[Share], floor: float) -> None:
    """Move the columns by the mean of their moves in the groups, added in this order."""
    before, type_ = columns.factors.copy(), columns.factors.dtype.type
    for places, weights, factors, gradients in shares:
        part = (weights / columns.counts[places]).astype(type_)[:, None]
        # A difference first, so that what no group has moved stays as it is, to the bit.
        columns.factors[places] += part * (factors - before[places])
        columns.state[places, :2] += part * gradients
    if floor == 0.0:  # a mean of such numbers, but for rounding
        np.maximum(columns.factors, type_(0), out=columns.factors)
