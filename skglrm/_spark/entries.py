"""Observed cells in a Spark data frame: they come to the driver only where somebody asks for them.

Ids of any type are numbered on the cluster: distinct, sorted, joined back.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from .gather import Table
from .session import check_alive, check_installed, storage_level

__all__ = ["OnCluster", "read_frame"]


class OnCluster:
    """Entries whose arrays are collected when they are looked at.

    Attributes
    ----------
    cells : pyspark.sql.DataFrame
        Columns ``row``, ``col`` (positions, int) and ``value`` (float or double).
    dtype : type
        float32 or float64.
    """

    def __init__(self, cells: Any, n: int, matrix_shape: Any, ids: Any, dtype: Any):
        self._cells, self.n_entries, self.dtype = cells, n, dtype
        self.matrix_shape = matrix_shape
        self.row_ids, self.col_ids = ids

    @property
    def cells(self) -> Any:
        """The data frame of positions and values, as long as its session lives."""
        check_alive(self._cells.sparkSession)
        return self._cells

    @property
    def spark(self) -> Any:
        """The session that the data frame belongs to."""
        return self.cells.sparkSession

    @cached_property
    def _collected(self) -> tuple[Any, Any, Any]:
        table = self.cells.toArrow()
        row, col = (table.column(name).to_numpy().astype(np.int32) for name in ("row", "col"))
        return row, col, table.column("value").to_numpy().astype(self.dtype)

    @property
    def row(self) -> Any:
        """Positions of rows, collected."""
        return self._collected[0]

    @property
    def col(self) -> Any:
        """Positions of columns, collected."""
        return self._collected[1]

    @property
    def value(self) -> Any:
        """Values, collected."""
        return self._collected[2]

    @property
    def shape(self) -> tuple[int]:
        """``(n_entries,)``."""
        return (self.n_entries,)

    def __len__(self) -> int:
        return self.n_entries

    def __repr__(self) -> str:
        n_rows, n_columns = self.matrix_shape
        name = np.dtype(self.dtype).name
        matrix = f"{n_rows} x {n_columns} matrix, {name}"
        return f"Entries({len(self)} observed cells of a {matrix}, on Spark)"

    def table(self, level: str, summed: bool = True) -> Table:
        """Return the cells, kept by the executors until they are freed."""
        return Table(self.cells, self.matrix_shape, self.dtype, storage_level(level), summed)


def read_frame(
    df: Any, row: str, col: str, value: str, row_ids: Any, col_ids: Any
) -> dict[str, Any]:
    """Number the ids of a long table; what ``OnCluster`` is made of.

    Raises
    ------
    TypeError
        If ``df`` is no Spark data frame, or the values are not numbers.
    ValueError
        If a column does not exist, an id or a value is missing, or an id is not known.
    """
    if not (hasattr(df, "mapInArrow") and hasattr(df, "sparkSession")):
        raise TypeError(
            f"from_spark needs a Spark data frame; got {type(df).__name__}. For pandas, polars or "
            "Arrow use Entries.from_frame."
        )
    check_installed()
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    absent = [name for name in (row, col, value) if name not in df.columns]
    if absent:
        raise ValueError(f"The frame has no column {absent}; its columns are {df.columns}.")
    kind = df.schema[value].dataType
    if not isinstance(kind, T.NumericType | T.BooleanType):
        raise TypeError(
            f"Column {value!r} must hold real numbers; it is {kind.simpleString()}. Cast it."
        )
    is_single = isinstance(kind, T.FloatType)
    long = df.select(
        F.col(row).alias("row_id"), F.col(col).alias("col_id"),
        F.col(value).cast("float" if is_single else "double").alias("value"),
    )  # fmt: skip
    n = _check_complete(long, {"row_id": row, "col_id": col, "value": value})
    rows, known_rows = _numbered(long, "row", row, row_ids)
    columns, known_columns = _numbered(long, "col", col, col_ids)
    cells = long.join(rows, "row_id").join(columns, "col_id").select("row", "col", "value")
    shape = (len(known_rows), len(known_columns))
    dtype = np.float32 if is_single else np.float64
    return {
        "cells": cells, "n": n, "matrix_shape": shape, "ids": (known_rows, known_columns),
        "dtype": dtype,
    }  # fmt: skip


def _check_complete(long: Any, names: dict[str, str]) -> int:
    """Count the entries, and refuse missing ids and values that are no finite numbers."""
    from pyspark.sql import functions as F

    value = F.col("value")
    finite = value.isNotNull() & ~F.isnan(value) & (F.abs(value) < float("inf"))
    bad = {"row_id": F.col("row_id").isNull(), "col_id": F.col("col_id").isNull(), "value": ~finite}
    counts = [F.count_if(test).alias(name) for name, test in bad.items()]
    found = long.agg(F.count(F.lit(1)).alias("n"), *counts).collect()[0]
    if not found["n"]:
        raise ValueError("The frame is empty: at least one observed cell is needed.")
    for name, column in names.items():
        if found[name]:
            what = "values" if name == "value" else "ids"
            raise ValueError(
                f"{found[name]} of {found['n']} {what} of column {column!r} are missing or not "
                "finite. A missing cell is simply left out: drop these lines."
            )
    return int(found["n"])


def _numbered(long: Any, side: str, name: str, known: Any) -> tuple[Any, Any]:
    """A data frame of ids and their positions, and the ids in order."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    ids = long.select(f"{side}_id").distinct()
    if known is None:
        number = F.row_number().over(Window.orderBy(f"{side}_id")) - 1
        numbered = ids.select(f"{side}_id", number.cast("int").alias(side))
        return numbered, _as_ids(numbered.orderBy(side).select(f"{side}_id"))
    import pyarrow as pa

    known = np.asarray(known)
    columns = {f"{side}_id": pa.array(known.tolist()), side: np.arange(len(known), dtype=np.int32)}
    numbered = long.sparkSession.createDataFrame(pa.table(columns))
    unknown = ids.join(numbered, f"{side}_id", "left_anti")
    example = unknown.first()
    if example is not None:
        raise ValueError(
            f"{unknown.count()} ids of column {name!r} are not among the {len(known)} known ones, "
            f"e.g. {example[0]!r}. Drop these lines, or add their ids to the known ones."
        )
    return numbered, known


def _as_ids(frame: Any) -> Any:
    column = frame.toArrow().column(0)
    ids = column.to_numpy()
    return ids.astype(object) if ids.dtype.kind in "OUST" else ids
