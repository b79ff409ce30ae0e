"""Pieces built where the entries are: counted, shuffled once per orientation, sorted, cut."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .pieces import Pieces, digest_of
from .published import Published, packed

__all__ = ["Gathered", "Table"]


class Table:
    """Positions and values, kept by the executors until ``free``; duplicates are summed."""

    def __init__(self, cells: Any, matrix_shape: tuple[int, int], dtype: Any, level: Any):
        from pyspark.sql import functions as F

        kind = "float" if dtype == np.float32 else "double"
        summed = cells.groupBy("row", "col").agg(F.sum("value").cast(kind).alias("value"))
        # Both orientations are made from this one: input that changes cannot make them differ.
        self.cells = summed.filter("value != 0").persist(level)
        self.matrix_shape, self.dtype, self.level = matrix_shape, dtype, level

    def free(self) -> None:
        """Remove it from all machines."""
        self.cells.unpersist()

    def statistics(self, side: str) -> dict[str, Any]:
        """Return counts, sums, counts and sums of positive values, and the minimum, by position."""
        from pyspark.sql import functions as F

        value, positive = F.col("value").cast("double"), F.col("value") > 0
        found = self.cells.groupBy(side).agg(
            F.count(value).alias("count"), F.sum(value).alias("sum"),
            F.count_if(positive).alias("n_positive"),
            F.coalesce(F.sum(F.when(positive, value)), F.lit(0.0)).alias("positive"),
            F.min(value).alias("least"),
        ).toArrow()  # fmt: skip
        at = found.column(side).to_numpy()
        out = {}
        for name in ("count", "sum", "n_positive", "positive", "least"):
            column = found.column(name).to_numpy()
            out[name] = np.zeros(self.matrix_shape[side == "col"], column.dtype)
            out[name][at] = column
        return out


class Gathered:
    """What a side's cells are gathered from: the owner of data that are on the cluster."""

    def __init__(self, table: Table, side: str, order: Any, mean_positive: float):
        self.table, self.side, self.order = table, side, order
        self.mean_positive = mean_positive
        self.spark = table.cells.sparkSession

    def gathered(self, places: list[tuple[int, int]], n_partitions: int, level: Any) -> Pieces:
        """Build the pieces of ``places``, runs of ``order``."""
        from pyspark.sql import functions as F

        context = self.spark.sparkContext
        position = np.empty(self.order.size, np.int32)
        position[self.order] = np.arange(self.order.size, dtype=np.int32)
        starts = np.array([start for start, _ in places] + [self.order.size])
        plan = {
            "order": np.asarray(self.order), "position": position, "starts": starts,
            "n": n_partitions, "dtype": np.dtype(self.table.dtype),
        }  # fmt: skip
        published = Published(context, packed(plan))
        other = "col" if self.side == "row" else "row"
        cells = self.table.cells.select(
            F.col(self.side).alias("own"), F.col(other).alias("other"), "value"
        )
        kind = "float" if self.table.dtype == np.float32 else "double"
        placed = cells.mapInArrow(
            partial(_placed, published), f"part int, at int, other int, value {kind}"
        )
        rdd = (
            placed.repartitionById(n_partitions, F.col("part"))
            .mapInArrow(partial(_cut, published), "number int, digest bigint, data binary")
            .rdd.map(_loaded)
            .persist(level)
        )
        pieces = Pieces(rdd, {}, [published])
        try:
            pieces.digests.update(rdd.map(_number_and_digest).collect())
        except BaseException:
            pieces.free()
            raise
        return pieces


def _placed(published: Published, batches: Iterable[Any]) -> Iterator[Any]:
    """Add the partition of each entry, and its row's position in the order."""
    import pyarrow as pa

    plan, _ = published.open()
    for batch in batches:
        at = plan["position"][batch.column("own").to_numpy()]
        number = np.searchsorted(plan["starts"], at, side="right") - 1
        columns = [pa.array((number % plan["n"]).astype(np.int32)), pa.array(at)]
        names = ["part", "at", "other", "value"]
        yield pa.RecordBatch.from_arrays(
            [*columns, batch.column("other"), batch.column("value")], names
        )


def _cut(published: Published, batches: Iterable[Any]) -> Iterator[Any]:
    """Sort the entries of a partition, and cut them into its pieces, one of them a line."""
    import pyarrow as pa
    from pyspark import TaskContext

    plan, _ = published.open()
    table = [[b.column(n).to_numpy() for n in ("at", "other", "value")] for b in batches]
    if table:
        at, other, value = map(np.concatenate, zip(*table, strict=True))
    else:
        at, other, value = np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0)
    order = np.lexsort((other, at))
    at, other, value = at[order], other[order], value[order].astype(plan["dtype"])
    context = TaskContext.get()
    assert context is not None
    for number in range(context.partitionId(), len(plan["starts"]) - 1, plan["n"]):
        start, stop = plan["starts"][number], plan["starts"][number + 1]
        indptr = np.searchsorted(at, np.arange(start, stop + 1)).astype(np.int64)
        own = slice(indptr[0], indptr[-1])
        data = (plan["order"][start:stop].copy(), indptr - indptr[0], other[own], value[own])
        line = {"number": number, "digest": digest_of(data), "data": pickle.dumps(data, 5)}
        schema = pa.schema([("number", pa.int32()), ("digest", pa.int64()), ("data", pa.binary())])
        yield pa.RecordBatch.from_pylist([line], schema=schema)


def _loaded(line: Any) -> tuple[int, int, Any]:
    return line.number, line.digest, pickle.loads(line.data)


def _number_and_digest(piece: Any) -> tuple[int, int]:
    return piece[:2]
