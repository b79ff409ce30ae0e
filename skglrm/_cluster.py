"""What fitted models do with cells that stay on a Spark cluster."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any

import numpy as np
import scipy.sparse as sp

from ._ids import position_of
from ._observations import read_input
from ._ranking import best_columns
from ._spark.errors import failures
from ._spark.serving import by_rows, type_of, written
from .entries import Entries

__all__ = ["score_of_rows", "transform_rows", "write_factors", "write_recommendations"]


def transform_rows(model: Any, X: Any) -> Any:
    """Fold the rows in where their cells are; the factors come to the driver."""
    factors = np.empty((X.matrix_shape[0], len(model.components_)), model.components_.dtype)
    with _folded(model, X) as found, failures():
        for rows, W in found.collect():
            factors[rows] = W
    return factors


def write_factors(model: Any, X: Any, path: str, mode: str) -> Any:
    """Fold the rows in where their cells are, and write their factors."""
    from pyspark.sql import types as T

    number = T.FloatType() if model.components_.dtype == np.float32 else T.DoubleType()
    schema = [("row", type_of(X.row_ids)), ("factors", T.ArrayType(number))]
    with _folded(model, X, X.row_ids) as found, failures():
        return written(X.spark, found.flatMap(_factor_lines), schema, path, mode)


def _folded(model: Any, X: Any, ids: Any = None) -> Any:
    read_input(model, X, unstored=getattr(model, "unstored", "missing"), reset=False)
    return by_rows(_fold_in, (_local(model), ids), X, summed=False)


def _fold_in(fixed: Any, rows: Any, cells: Any) -> Iterator[Any]:
    (model, ids), (indptr, columns, values) = fixed, cells
    row = np.repeat(np.arange(len(rows), dtype=np.int32), np.diff(indptr))
    shape = len(rows), model.n_features_in_
    names = rows if ids is None else ids[rows]
    yield names, model.transform(Entries._trusted(row, columns, values, shape))


def _factor_lines(found: Any) -> Iterator[Any]:
    names, W = found
    return zip(_plain(names), W.tolist(), strict=True)


def _local(model: Any) -> Any:
    """The same model, which works on one thread of whoever has it."""
    model = copy(model)
    model.backend, model.n_jobs = "numba-threads", 1
    exact = model.__dict__.get("_exact")
    if exact is not None:
        model._exact = _local(exact)
    return model


# ------------------------------------------------------------------ scores


def score_of_rows(model: Any, X: Any, fixed: Any = None, seen: Any = None) -> Any:
    """Return the sums that a score is made of, of entries in the fitted matrix."""
    shape = len(model.row_factors_), model.n_features_in_
    places = [
        position_of(n, ids, known, size)
        for n, ids, known, size in zip(
            X.matrix_shape, (X.row_ids, X.col_ids), (model.row_ids_, model.col_ids_), shape,
            strict=True,
        )
    ]  # fmt: skip
    # What is not known is one row, or column, more than there are.
    at = [np.where(place < 0, size, place) for place, size in zip(places, shape, strict=True)]
    sources = [X] if seen is None else [X, seen]
    if seen is not None:
        at.append(position_of(seen.matrix_shape[1], seen.col_ids, model.col_ids_, shape[1]))
    shared = _local(model), fixed, at
    with by_rows(_sum_scores, shared, *sources, summed=seen is not None) as found, failures():
        parts = sorted(found.collect())
    return np.sum([sums for _, sums in parts], axis=0)


def _sum_scores(shared: Any, rows: Any, cells: Any, *seen: Any) -> Iterator[Any]:
    model, fixed, at = shared
    indptr, columns, values = cells
    shape = len(model.row_factors_) + 1, model.n_features_in_ + 1
    row = np.repeat(at[0][rows], np.diff(indptr)).astype(np.int32)
    entries = Entries._trusted(row, at[1][columns].astype(np.int32), values, shape)
    for indptr, columns, _ in seen:
        column = at[2][columns]
        row, known = np.repeat(at[0][rows], np.diff(indptr)), column >= 0
        ones = np.ones(int(known.sum()), np.int8)
        fixed = sp.csr_array((ones, (row[known], column[known])), shape=(shape[0], shape[1] - 1))
    if len(entries):
        yield int(rows[0]), np.asarray(model._score_sums(entries, fixed), np.float64).tolist()


# ------------------------------------------------------------------ recommendations


def write_recommendations(
    model: Any, X: Any, n: int, exclude_seen: bool, path: str, mode: str
) -> Any:
    """Rank the columns for all rows where their cells are, and write the best."""
    from pyspark.sql import types as T

    (n_rows, n_columns), n_known = X.matrix_shape, len(model.row_factors_)
    row_at = position_of(n_rows, X.row_ids, model.row_ids_, n_known)
    column_at = position_of(n_columns, X.col_ids, model.col_ids_, model.n_features_in_)
    unknown = row_at < 0
    W = np.where(unknown[:, None], 0, model.row_factors_[row_at])
    counts, sums = (
        np.where(unknown, 0, known[row_at]) for known in (model._row_counts, model._row_sums)
    )
    rows, columns = model._ranking_factors(W, counts, sums)
    ids = X.row_ids, model.col_ids_
    fixed = rows, np.ascontiguousarray(columns), np.asarray(column_at), n, exclude_seen, ids
    schema = [
        ("row", type_of(ids[0])), ("items", T.ArrayType(type_of(ids[1]))),
        ("scores", T.ArrayType(T.FloatType())),
    ]  # fmt: skip
    with by_rows(_rank, fixed, X, summed=True) as found, failures():
        return written(X.spark, found, schema, path, mode)


def _rank(fixed: Any, at: Any, cells: Any) -> Iterator[Any]:
    rows, columns, column_at, n, exclude_seen, (ids, item_ids) = fixed
    indptr, seen, _ = cells
    exclude = None
    if exclude_seen:
        place = column_at[seen]
        known = place >= 0
        row = np.repeat(np.arange(len(at)), np.diff(indptr))[known]
        ones = (np.ones(len(row)), (row, place[known]))
        exclude = sp.csr_array(ones, shape=(len(at), len(columns)))
    items, scores = best_columns(rows[at], columns, n, exclude=exclude)
    names = at if ids is None else ids[at]
    for name, best, values in zip(_plain(names), items, scores, strict=True):
        best, values = best[best >= 0], values[best >= 0]
        yield name, _plain(best if item_ids is None else item_ids[best]), values.tolist()


def _plain(ids: Any) -> list[Any]:
    """Ids as data frames hold them: integers, or strings."""
    return ids.tolist() if ids.dtype.kind in "iu" else [str(one) for one in ids]
