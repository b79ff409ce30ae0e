"""Pieces built where the entries are: shuffled once for each layout, sorted, cut."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from .pieces import Pieces, digest_of
from .published import Published, packed

__all__ = ["Gathered", "Layout", "Runs", "Table"]


class Layout(Protocol):
    """Which piece a cell belongs to, and what pieces hold; sent to workers."""

    def cut(self, places: list[Any]) -> Any:
        """Return the layout of pieces that have these places."""

    def numbers(self, row: Any, col: Any) -> Any:
        """Return the number of each cell's piece."""

    def data(self, number: int, row: Any, col: Any, value: Any) -> tuple[Any, ...]:
        """Return the arrays of a piece, from its cells in any order."""


class Table:
    """Positions and values, kept by the executors until ``free``.

    Cells that are given twice are ``summed``, and zeros left out; else all is kept as it is.
    """

    def __init__(
        self, cells: Any, matrix_shape: tuple[int, int], dtype: Any, level: Any, summed: bool = True
    ):
        from pyspark.sql import functions as F

        self.matrix_shape, self.dtype, self.level = matrix_shape, dtype, level
        if summed:
            kind = "float" if dtype == np.float32 else "double"
            cells = cells.groupBy("row", "col").agg(F.sum("value").cast(kind).alias("value"))
            cells = cells.filter("value != 0")
        # All layouts are made from this one: input that changes cannot make them differ.
        self.cells = cells.persist(level)

    def duplicate(self) -> tuple[int, int] | None:
        """Return the position of a cell that is given twice, if there is one."""
        twice = self.cells.groupBy("row", "col").count().filter("count > 1").first()
        return None if twice is None else (twice["row"], twice["col"])

    def free(self) -> None:
        """Remove it from all machines."""
        self.cells.unpersist()

    def squares(self, center: float) -> float:
        """Return the sum of (value - center)²."""
        from pyspark.sql import functions as F

        deviation = F.col("value").cast("double") - F.lit(center)
        return float(self.cells.agg(F.sum(deviation * deviation)).first()[0])

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
    """What pieces are gathered from: the owner of data that are on the cluster."""

    def __init__(self, table: Table, layout: Layout, **facts: Any):
        self.table, self.layout = table, layout
        self.spark = table.cells.sparkSession
        vars(self).update(facts)

    def gathered(self, places: list[Any], n_partitions: int, level: Any) -> Pieces:
        """Build the pieces that have these places."""
        context = self.spark.sparkContext
        published = Published(context, packed((self.layout.cut(places), self.table.dtype)))
        rdd = (
            self._numbered(published)
            .selectExpr(f"pmod(number, {n_partitions}) as part", "*")
            .repartitionById(n_partitions, "part")
            .mapInArrow(
                partial(_cut, published, len(places), n_partitions),
                "number int, digest bigint, data binary",
            )
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

    def counts(self, n: int) -> Any:
        """Return how many cells each of n pieces will have, before they are built."""
        published = Published(self.spark.sparkContext, packed((self.layout, self.table.dtype)))
        try:
            found = self._numbered(published).groupBy("number").count().toArrow()
        finally:
            published.destroy()
        counts = np.zeros(n, np.int64)
        counts[found.column("number").to_numpy()] = found.column("count").to_numpy()
        return counts

    def _numbered(self, published: Published) -> Any:
        kind = "float" if self.table.dtype == np.float32 else "double"
        return self.table.cells.mapInArrow(
            partial(_placed, published), f"number int, row int, col int, value {kind}"
        )


@dataclass(frozen=True)
class Runs:
    """Runs of the rows in ``order`` (of columns, if ``side`` is "col") as CSR arrays.

    Places are (first, behind the last) in ``order``.
    """

    side: str
    order: Any
    position: Any
    starts: Any = None

    @classmethod
    def of(cls, side: str, order: Any) -> Any:
        """Return the layout of rows in this order."""
        position = np.empty(order.size, np.int32)
        position[order] = np.arange(order.size, dtype=np.int32)
        return cls(side, np.asarray(order), position)

    def cut(self, places: list[Any]) -> Runs:
        """Return the layout of these runs."""
        return replace(self, starts=np.array([*(start for start, _ in places), self.order.size]))

    def numbers(self, row: Any, col: Any) -> Any:
        """Return the number of each cell's run."""
        at = self.position[row if self.side == "row" else col]
        return np.searchsorted(self.starts, at, side="right") - 1

    def data(self, number: int, row: Any, col: Any, value: Any) -> tuple[Any, ...]:
        """Return rows, indptr, indices and values."""
        own, other = (row, col) if self.side == "row" else (col, row)
        start, stop = self.starts[number], self.starts[number + 1]
        at = self.position[own]
        order = np.lexsort((other, at))
        indptr = np.searchsorted(at[order], np.arange(start, stop + 1)).astype(np.int64)
        return self.order[start:stop].copy(), indptr, other[order], value[order]


def _placed(published: Published, batches: Iterable[Any]) -> Iterator[Any]:
    """Add the number of the piece of each cell."""
    import pyarrow as pa

    (layout, _), _ = published.open()
    for batch in batches:
        row, col, value = (batch.column(name) for name in ("row", "col", "value"))
        number = layout.numbers(row.to_numpy(), col.to_numpy())
        arrays = [pa.array(number.astype(np.int32)), row, col, value]
        yield pa.RecordBatch.from_arrays(arrays, ["number", "row", "col", "value"])


def _cut(
    published: Published, n_pieces: int, n_partitions: int, batches: Iterable[Any]
) -> Iterator[Any]:
    """Cut the cells of a partition into its pieces, one of them a line."""
    import pyarrow as pa
    from pyspark import TaskContext

    (layout, dtype), _ = published.open()
    names = ("number", "row", "col", "value")
    table = [[batch.column(name).to_numpy() for name in names] for batch in batches]
    if not table:
        table = [[np.zeros(0, np.int32)] * 3 + [np.zeros(0, dtype)]]
    number, *cells = (np.concatenate(parts) for parts in zip(*table, strict=True))
    order = np.argsort(number, kind="stable")
    number, cells = number[order], [array[order] for array in cells]
    context = TaskContext.get()
    assert context is not None
    for n in range(context.partitionId(), n_pieces, n_partitions):
        own = slice(*np.searchsorted(number, [n, n + 1]))
        data = layout.data(n, *(array[own] for array in cells))
        line = {"number": n, "digest": digest_of(data), "data": pickle.dumps(data, 5)}
        schema = pa.schema([("number", pa.int32()), ("digest", pa.int64()), ("data", pa.binary())])
        yield pa.RecordBatch.from_pylist([line], schema=schema)


def _loaded(line: Any) -> tuple[int, int, Any]:
    return line.number, line.digest, pickle.loads(line.data)


def _number_and_digest(piece: Any) -> tuple[int, int]:
    return piece[:2]
