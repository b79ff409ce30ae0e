"""What is done with the rows of entries on a cluster, where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from .errors import failures
from .gather import Gathered, Runs, Table
from .published import Published, packed

__all__ = ["ROWS_PER_PIECE", "by_rows", "type_of", "written"]

ROWS_PER_PIECE = 4096


@contextmanager
def by_rows(
    task: Callable[..., Any], fixed: Any, *sources: Any, summed: bool, side: str = "row"
) -> Iterator[Any]:
    """Give an RDD of what ``task(fixed, rows, cells, ...)`` yields for runs of all rows.

    ``cells`` are (indptr, columns, values) of the rows, from each of the sources, which are entries
    with the same numbers of rows.  Rows are columns if ``side`` is "col".  All that this takes is
    freed at the end of the block.
    """
    from pyspark import StorageLevel

    context = sources[0].spark.sparkContext
    n_rows = sources[0].matrix_shape[side == "col"]
    level = StorageLevel.MEMORY_AND_DISK_DESER
    places = [
        (start, min(start + ROWS_PER_PIECE, n_rows)) for start in range(0, n_rows, ROWS_PER_PIECE)
    ]
    n = max(1, min(len(places), context.defaultParallelism))
    held: list[Any] = []
    published = None
    try:
        with failures():
            for source in sources:
                held.append(Table(source.cells, source.matrix_shape, source.dtype, level, summed))
                layout = Runs.of(side, np.arange(n_rows))
                held.append(Gathered(held[-1], layout).gathered(places, n, level))
            published = Published(context, packed((task, fixed)))
            pieces = held[1].rdd.map(_alone)
            for more in held[3::2]:
                pieces = pieces.zip(more.rdd).map(_together)
            yield pieces.mapPartitions(partial(_run, published))
    finally:
        for one in held[::-1]:
            one.free()
        if published is not None and context._jsc is not None:
            published.destroy()


def written(spark: Any, lines: Any, schema: list[tuple[str, Any]], path: str, mode: str) -> Any:
    """Write lines as Parquet, and return the data frame that reads them."""
    from pyspark.sql import types as T

    fields = [T.StructField(name, type_) for name, type_ in schema]
    # Written here: a lazy data frame would outlive the model that it needs.
    spark.createDataFrame(lines, T.StructType(fields)).write.mode(mode).parquet(path)
    return spark.read.parquet(path)


def type_of(ids: Any) -> Any:
    """Return the type of a column of ids, or of positions."""
    from pyspark.sql import types as T

    if ids is None or ids.dtype.kind in "iu":
        return T.LongType()
    return T.StringType()


def _alone(piece: Any) -> list[Any]:
    return [piece[2]]


def _together(pair: Any) -> list[Any]:
    pieces, (_, _, data) = pair
    return [*pieces, data]


def _run(published: Published, pieces: Iterable[Any]) -> Iterator[Any]:
    (task, fixed), _ = published.open()
    for datas in pieces:
        yield from task(fixed, datas[0][0], *(data[1:] for data in datas))
