"""From parameters to the losses and regularizers of columns: by name, position or type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ._columns import GAP, Columns, described, extremes_of, name_of
from ._tables import Table
from .domains import Boolean, Categorical, Count, Domain, Ordinal, Real
from .losses import (
    BiggerVsSmaller,
    CumulativeLogit,
    Huber,
    Logistic,
    Multinomial,
    MultinomialOrdinal,
    OneVsAll,
    OrdinalHinge,
    Ordistic,
    Quadratic,
    get_loss,
)
from .regularizers import L2, Coupling, Tied

__all__ = ["in_units", "resolve_losses", "resolve_regularizers", "with_thresholds"]

Floats = npt.NDArray[np.floating]

BY_LEVELS: dict[str, Any] = {
    "ordinal_hinge": lambda low, high: OrdinalHinge(low, high),
    "bigger_vs_smaller": lambda low, high: BiggerVsSmaller(high + 1),
    "cumulative_logit": lambda low, high: CumulativeLogit(high + 1),
    "multinomial_ordinal": lambda low, high: MultinomialOrdinal(high + 1),
    "multinomial": lambda low, high: Multinomial(high + 1),
    "one_vs_all": lambda low, high: OneVsAll(high + 1),
    "ordistic": lambda low, high: Ordistic(high + 1),
}
"""Losses whose fields are the lowest and the highest level of the column."""

BY_TYPE: dict[str, dict[str, Any]] = {
    "auto": {
        "real": Quadratic(),
        "integer": Quadratic(),
        "boolean": Logistic(),
        "ordinal": "ordinal_hinge",
        "categorical": "one_vs_all",
    },
    "robust": {
        "real": "huber_of_spread",
        "integer": "huber_of_spread",
        "boolean": Logistic(),
        "ordinal": "bigger_vs_smaller",
        "categorical": "one_vs_all",
    },
    "likelihood": {
        "real": Quadratic(),
        "integer": Quadratic(),
        "boolean": Logistic(),
        "ordinal": "cumulative_logit",
        "categorical": "multinomial",
    },
}
"""Losses by the type of the column, under the names that choose them."""


def resolve_losses(loss: Any, names: Any, table: Table | None, matrix: sp.csr_array) -> Columns:
    """Return the loss and the domain of every column.

    Parameters
    ----------
    loss : str, Loss, VectorLoss, sequence or dict
        The parameter of the estimator.
    names : sequence or None
        Names of the columns.
    table : Table or None
        Types of the columns of a data frame.
    matrix : csr_array
        The observed cells: levels are read off them where there is no table.
    """
    n_columns = matrix.shape[1]
    specs = _spread(loss, n_columns, names)
    explicit = not (isinstance(loss, str) or hasattr(loss, "embedding_dim"))
    extremes = spreads = None
    losses, domains = [], []
    shared: dict[Any, Any] = {}  # one object for equal losses, which makes grouping fast
    for j, spec in enumerate(specs):
        column = None if table is None else table.columns[j]
        kind = "real" if column is None else column.kind
        if isinstance(spec, str) and spec in BY_TYPE:
            spec = BY_TYPE[spec][kind]
        if isinstance(spec, str) and spec in BY_LEVELS:
            if column is not None and column.is_labelled:
                low, high = 0, max(len(column.levels or ()) - 1, 1)
            else:
                extremes = extremes_of(matrix) if extremes is None else extremes
                low, high = _levels(extremes[0][j], extremes[1][j], spec, name_of(names, j))
            spec = BY_LEVELS[spec](low, high)
        if spec == "huber_of_spread":
            spreads = _spreads(matrix) if spreads is None else spreads
            spec = Huber(float(spreads[j]))
        one = get_loss(spec)
        domain = one.domain
        if column is not None:
            domain = _domain(column, one, explicit)
            if column.kind == "integer" and domain == Real():
                extremes = extremes_of(matrix) if extremes is None else extremes
                domain = Count() if extremes[0][j] >= 0 else domain
        losses.append(shared.setdefault(one, one))
        domains.append(shared.setdefault(domain, domain))
    return Columns(tuple(losses), tuple(domains), _signed(matrix, domains))


def _spread(loss: Any, n_columns: int, names: Any) -> list[Any]:
    """One loss or name for each column; those that a dict leaves out are chosen by type."""
    if isinstance(loss, Mapping):
        return _by_key("loss", loss, n_columns, names, "auto")
    if isinstance(loss, Sequence) and not isinstance(loss, str):
        _check_length("loss", loss, n_columns)
        return list(loss)
    if isinstance(loss, str) and loss not in BY_LEVELS and loss not in BY_TYPE:
        try:
            loss = get_loss(loss)
        except ValueError as error:
            further = [*BY_TYPE, *BY_LEVELS]
            raise ValueError(f"{error} For GLRM there are also {further}.") from None
    return [loss] * n_columns


def in_units(regularizer: Any, units: npt.NDArray[np.float64]) -> Any:
    """Return r(h / c), for a regularizer r or a list of them, where a column has the unit c.

    Constraints that do not depend on the length of h stay as they are, and so do regularizers that
    are neither squares nor norms.
    """
    if (units == 1).all() or isinstance(regularizer, Coupling):
        return regularizer
    each = regularizer if isinstance(regularizer, list) else [regularizer] * units.size
    known: dict[tuple[int, float], Any] = {}
    out = []
    for one, unit in zip(each, units.tolist(), strict=True):
        key = (id(one), unit)
        if key not in known:
            known[key] = one if unit == 1 else _in_unit(one, unit)
        out.append(known[key])
    return out


def _in_unit(regularizer: Any, unit: float) -> Any:
    if hasattr(regularizer, "first"):
        first, second = regularizer.first, regularizer.second
        return replace(regularizer, first=_in_unit(first, unit), second=_in_unit(second, unit))
    if regularizer.quadratic_strength:
        return L2(regularizer.quadratic_strength / unit**2)
    if regularizer.homogeneous and hasattr(regularizer, "strength"):
        return replace(regularizer, strength=regularizer.strength / unit)
    return regularizer


def with_thresholds(regularizer: Any, columns: Columns, names: Any, offset: bool) -> Any:
    """Tie the predictions of ordinal columns whose likelihood is 0 unless thresholds decrease.

    Returns ``regularizer``, one or a list, as it is if there are none.
    """
    needy = {group.loss: group.order for group in columns.groups}
    if not any(needy.values()) or isinstance(regularizer, Coupling):
        return regularizer
    n = len(columns.losses)
    out = list(regularizer) if isinstance(regularizer, list) else [regularizer] * n
    for j, loss in enumerate(columns.losses):
        rule = needy.get(loss)
        if not rule or out[j].on_block:
            continue
        if not offset:
            raise ValueError(
                f"Column {name_of(names, j)!r} has {loss!r}, whose thresholds between levels are "
                "the offsets of the model. Set offset=True, or give the column 'ordinal_hinge' or "
                "'bigger_vs_smaller'."
            )
        out[j] = Tied(out[j], GAP, rule == "negative")
    return out


def resolve_regularizers(name: str, given: Any, n: int, names: Any, get: Any) -> Any:
    """Return one regularizer, or a list with one for each row or column."""
    if isinstance(given, Mapping):
        return [get(one) for one in _by_key(name, given, n, names, "l2")]
    if isinstance(given, Sequence) and not isinstance(given, str):
        _check_length(name, given, n)
        return [get(one) for one in given]
    return get(given)


def _by_key(parameter: str, given: Mapping[Any, Any], n: int, names: Any, rest: Any) -> list[Any]:
    out = [rest] * n
    place = {} if names is None else {name: j for j, name in enumerate(names)}
    taken: dict[int, Any] = {}
    for key, one in given.items():
        j = place.get(key)
        if j is None and isinstance(key, int | np.integer) and not isinstance(key, bool):
            j = int(key) if 0 <= key < n else None
        if j is None:
            known = f"the names {list(place)[:10]} or " if place else ""
            raise ValueError(
                f"{parameter}: there is no column {key!r}. Keys are {known}positions from 0 to "
                f"{n - 1}."
            )
        if j in taken:
            raise ValueError(f"{parameter}: {key!r} and {taken[j]!r} are the same column.")
        taken[j], out[j] = key, one
    return out


def _check_length(parameter: str, given: Any, n: int) -> None:
    if len(given) != n:
        raise ValueError(
            f"{parameter} is a list of {len(given)} for {n} of them; give one for each, or a dict "
            "of those that differ."
        )


def _domain(column: Any, loss: Any, explicit: bool) -> Domain:
    """What a column of a frame can be, if its loss suits its type."""
    own: Domain = loss.domain
    if not column.is_labelled:
        return own
    n_levels = len(column.levels)
    numeric = not own.n_levels  # losses of numbers, and counts
    as_numbers = explicit or (column.kind == "boolean" and column.levels == (False, True))
    if column.kind == "boolean":
        if isinstance(own, Boolean) or (numeric and as_numbers):
            return Boolean()
        fits = not numeric
    elif column.kind == "ordinal":
        if numeric and as_numbers:
            return Ordinal(0, n_levels - 1)
        fits = not numeric and not isinstance(own, Boolean)
    else:
        fits = isinstance(own, Categorical)
    if fits and np.all(own.contains(np.arange(n_levels, dtype=float))):
        return own
    labels = "ordered labels" if column.kind == "ordinal" else "labels"
    raise ValueError(
        f"Column {column.name!r} holds {n_levels} {labels}, and {loss!r} needs {described(own)}. "
        "Pass loss='auto' to choose losses by the types of the columns, or a dict with a loss for "
        "this one."
    )


def _spreads(matrix: sp.csr_array) -> Floats:
    """Median absolute deviation of each column as a standard deviation, which outliers spare."""
    by_column = matrix.tocsc()
    out = np.ones(matrix.shape[1])
    for j, (a, b) in enumerate(zip(by_column.indptr, by_column.indptr[1:], strict=False)):
        values = by_column.data[a:b].astype(np.float64)
        if values.size:
            spread = 1.4826 * np.median(np.abs(values - np.median(values)))
            out[j] = spread or np.std(values) or 1.0
    return out


def _levels(low: float, high: float, spec: str, name: Any) -> tuple[int, int]:
    """Lowest and highest level of a column of numbers; at least two levels."""
    if low > high:  # nothing was observed
        return 0, 1
    if low != np.rint(low) or high != np.rint(high) or (low < 0 and spec != "ordinal_hinge"):
        raise ValueError(
            f"Column {name!r} holds numbers from {low:g} to {high:g}, and loss={spec!r} needs "
            "whole numbers, from 0 unless it is 'ordinal_hinge'. Turn the column into codes or "
            "labels, or give it another loss."
        )
    return int(low), max(int(high), int(low) + 1)


def _signed(matrix: sp.csr_array, domains: list[Domain]) -> npt.NDArray[np.bool_]:
    signed = np.zeros(len(domains), bool)
    booleans = np.array([isinstance(one, Boolean) for one in domains])
    if booleans.any():
        signed[matrix.indices[matrix.data == -1]] = True
    return signed & booleans
