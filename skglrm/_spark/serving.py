"""Recommendations and factors as Spark data frames, made where the rows are and written there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .gather import Gathered, Table
from .published import Published, packed

__all__ = ["ROWS_PER_PIECE", "rank_rows"]

ROWS_PER_PIECE = 4096


def rank_rows(
    X: Any, rank: Any, fixed: Any, *, path: str, mode: str, ids: Any, item_ids: Any
) -> Any:
    """Write (row, items, scores) for all rows of entries on a cluster; return what was written.

    ``rank(fixed, rows, cells)`` is run where the cells are and returns items and scores;
    ``cells`` are (indptr, columns) of the rows.
    """
    from pyspark import StorageLevel
    from pyspark.sql import types as T

    context, n_rows = X.spark.sparkContext, X.matrix_shape[0]
    level = StorageLevel.MEMORY_AND_DISK_DESER
    table = Table(X.cells, X.matrix_shape, X.dtype, level)
    pieces = published = None
    try:
        places = [
            (start, min(start + ROWS_PER_PIECE, n_rows))
            for start in range(0, n_rows, ROWS_PER_PIECE)
        ]
        n = max(1, min(len(places), context.defaultParallelism))
        pieces = Gathered(table, "row", np.arange(n_rows), 0.0).gathered(places, n, level)
        published = Published(context, packed((rank, fixed, ids, item_ids)))
        lines = pieces.rdd.mapPartitions(partial(_ranked, published))
        schema = T.StructType([
            T.StructField("row", _type_of(ids)),
            T.StructField("items", T.ArrayType(_type_of(item_ids))),
            T.StructField("scores", T.ArrayType(T.FloatType())),
        ])  # fmt: skip
        # Written here: a lazy data frame would outlive the model that it needs.
        X.spark.createDataFrame(lines, schema).write.mode(mode).parquet(path)
        return X.spark.read.parquet(path)
    finally:
        for one in (pieces, table):
            if one is not None:
                one.free()
        if published is not None:
            published.destroy()


def _type_of(ids: Any) -> Any:
    from pyspark.sql import types as T

    if ids is None or ids.dtype.kind in "iu":
        return T.LongType()
    return T.StringType()


def _named(ids: Any, positions: Any) -> list[Any]:
    if ids is None:
        return [int(one) for one in positions]
    chosen = ids[positions]
    return chosen.tolist() if ids.dtype.kind in "iu" else [str(one) for one in chosen]


def _ranked(published: Published, pieces: Iterable[Any]) -> Iterator[Any]:
    (rank, fixed, ids, item_ids), _ = published.open()
    for _, _, (rows, indptr, columns, _) in pieces:
        found, scores = rank(fixed, rows, indptr, columns)
        names = _named(ids, rows)
        for name, best, values in zip(names, found, scores, strict=True):
            there = best >= 0
            yield name, _named(item_ids, best[there]), [float(v) for v in values[there]]
