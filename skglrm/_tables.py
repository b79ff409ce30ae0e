"""Data frames with typed columns: numbers for the model, and labels and types for the user."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt

from ._ids import _is_missing

__all__ = ["KINDS", "Column", "Table", "as_frame"]

KINDS = ("real", "integer", "boolean", "ordinal", "categorical")
"""What a column can be: numbers, whole numbers, two labels, ordered labels, labels."""

MANY_LEVELS = 100
"""A column of strings with more distinct values gets a warning: it may hold ids or free text."""

Codes = npt.NDArray[np.floating]


def as_frame(X: Any) -> nw.DataFrame[Any] | None:
    """Return X as a narwhals frame, or ``None`` if it is no data frame; a lazy one is collected."""
    frame = nw.from_native(X, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    return frame if isinstance(frame, nw.DataFrame) else None


@dataclass(frozen=True)
class Column:
    """One column of a frame: its kind, what its codes 0, 1, ... stand for, and its type."""

    name: Any
    kind: str
    levels: tuple[Any, ...] | None
    dtype: Any

    @property
    def is_labelled(self) -> bool:
        """Whether numbers in the model are codes of labels, so that they must be translated."""
        return self.levels is not None

    def encode(self, series: Any) -> tuple[Codes, list[Any]]:
        """Numbers of a series, NaN where missing, and the distinct labels that have no code."""
        if self.levels is None:
            return _numbers(series), []
        code_of = {level: code for code, level in enumerate(self.levels)}
        labels = series.to_list()
        codes = np.array([code_of.get(label, -1) for label in map(_hashable, labels)], float)
        unknown = np.flatnonzero(codes < 0)
        codes[unknown] = np.nan
        lost = np.empty(unknown.size, object)
        lost[:] = [labels[at] for at in unknown]
        return codes, list(dict.fromkeys(lost[~_is_missing(lost)]))

    def decode(self, numbers: Codes) -> Any:
        """Labels, or rounded or plain numbers, of what ``encode`` returns; NaN is no label."""
        if self.levels is not None:
            last = len(self.levels) - 1
            known = np.isfinite(numbers) & (last >= 0)
            codes = np.clip(np.where(known, numbers, 0), 0, max(last, 0)).astype(np.int64)
            return [
                self.levels[code] if is_known else None
                for code, is_known in zip(codes.tolist(), known.tolist(), strict=True)
            ]
        if self.kind == "integer":
            low, high = _range_of_integers(self.dtype)
            return np.clip(np.rint(numbers), low, high).astype(np.uint64 if low == 0 else np.int64)
        return numbers


@dataclass(frozen=True)
class Table:
    """The columns of a frame, and the library that it came from."""

    columns: tuple[Column, ...]
    library: str

    @classmethod
    def of(cls, frame: nw.DataFrame[Any]) -> Table:
        """Read the types of the columns, and the levels of those that hold labels."""
        columns = tuple(_column_of(series) for series in frame.iter_columns())
        return cls(columns, frame.implementation.value)

    @property
    def is_numeric(self) -> bool:
        """Whether all columns hold numbers, so that scikit-learn reads the frame as it is."""
        return not any(column.is_labelled for column in self.columns)

    def encode(self, frame: nw.DataFrame[Any]) -> Any:
        """Return a frame of the same library and columns with numbers for labels, NaN if missing.

        Labels that have no code become missing, with one warning.
        """
        known = {column.name: column for column in self.columns}
        numbers: dict[Any, Any] = {}
        unseen = []
        for series in frame.iter_columns():
            column = known.get(series.name)
            if column is None:  # scikit-learn says which names differ
                numbers[series.name] = np.zeros(len(series))
                continue
            numbers[series.name], lost = column.encode(series)
            if lost:
                unseen.append(f"{column.name!r} ({', '.join(map(repr, lost[:3]))})")
        if unseen:
            warnings.warn(
                "Labels that were not seen by fit are taken for missing, in column "
                f"{', '.join(unseen)}. Declare all levels of a column to know them from the start.",
                UserWarning,
                stacklevel=4,
            )
        single = all(dtype == nw.Float32 for dtype in frame.schema.values())
        dtype = np.float32 if single else np.float64
        return self._frame({n: x.astype(dtype, copy=False) for n, x in numbers.items()}, frame)

    def decode(self, numbers: Codes, like: nw.DataFrame[Any] | None = None) -> Any:
        """Return a frame with the types and labels of the fitted one, and the index of ``like``."""
        decoded = {}
        for column, values in zip(self.columns, numbers.T, strict=True):
            decoded[column.name] = self._series(column, column.decode(values))
        return self._frame(decoded, like)

    def _series(self, column: Column, values: Any) -> Any:
        if self.library != "pandas":
            dtype = column.dtype
            if isinstance(values, np.ndarray):
                whole = nw.UInt64 if values.dtype == np.uint64 else nw.Int64
                wide = whole if column.kind == "integer" else nw.Float64
                series = nw.new_series(str(column.name), values, wide, backend=self._backend)
                return series if dtype is None else series.cast(dtype)
            return nw.new_series(str(column.name), values, dtype, backend=self._backend)
        pandas = nw.Implementation.PANDAS.to_native_namespace()
        if isinstance(values, np.ndarray):
            return values if column.dtype is None else pandas.Series(values).astype(column.dtype)
        if column.dtype is None:  # labels among Python objects
            return pandas.Series(values, dtype=object)
        return pandas.Series(pandas.array(values, dtype=column.dtype))

    def _frame(self, data: dict[Any, Any], like: nw.DataFrame[Any] | None) -> Any:
        if self.library == "pandas":
            pandas = nw.Implementation.PANDAS.to_native_namespace()
            frame = pandas.DataFrame(data, columns=list(data))
            if like is not None and like.implementation.is_pandas():
                frame.index = like.to_native().index
            return frame
        first, *others = (
            nw.new_series(name, x, backend=self._backend) if isinstance(x, np.ndarray) else x
            for name, x in data.items()
        )
        # Not nw.from_dict, which forgets the order of categories.
        return first.to_frame().with_columns(*others).to_native()

    @property
    def _backend(self) -> Any:
        return nw.Implementation(self.library)


def _column_of(series: Any) -> Column:
    kind, levels, dtype = _kind_of(series)
    if kind in ("ordinal", "categorical") and len(levels) <= 2:
        kind = "boolean"
    if kind == "categorical" and series.dtype in (nw.String, nw.Object):
        if len(levels) > MANY_LEVELS:
            warnings.warn(
                f"Column {series.name!r} holds {len(levels)} distinct strings, each of which is a "
                "level with factors of its own. Drop the column if it holds ids or free text.",
                UserWarning,
                stacklevel=5,
            )
    if series.implementation.is_pandas() and dtype is not None:
        dtype = series.to_native().dtype
    return Column(series.name, kind, levels, dtype)


def _kind_of(series: nw.Series[Any]) -> tuple[str, Any, Any]:
    """Kind, levels and type of a series; no type where Python objects say nothing."""
    dtype = series.dtype
    if dtype.is_float() or dtype.is_decimal():
        return "real", None, dtype
    if dtype.is_integer():
        return "integer", None, dtype
    if dtype == nw.Boolean:
        return "boolean", (False, True), dtype
    if dtype == nw.Enum:
        return "ordinal", tuple(series.cat.get_categories().to_list()), dtype
    if dtype == nw.Categorical:
        # The categories of polars are those of the whole process.
        polars = series.implementation.is_polars()
        levels = _distinct(series) if polars else tuple(series.cat.get_categories().to_list())
        return "categorical", levels, dtype
    if dtype == nw.String:
        return "categorical", _distinct(series), dtype
    if dtype == nw.Object:
        return _kind_of_objects(series)
    if series.null_count() == len(series):
        return "real", None, None
    raise TypeError(
        f"Column {series.name!r} is of type {dtype}, and no loss fits that. Drop the column, or "
        "turn it into numbers, labels or booleans."
    )


def _kind_of_objects(series: nw.Series[Any]) -> tuple[str, Any, Any]:
    objects = series.to_numpy()
    found = {type(one) for one in objects[~_is_missing(objects)]}
    if all(issubclass(one, str) for one in found) and found:
        return "categorical", _distinct(series), None
    if all(issubclass(one, bool | np.bool_) for one in found) and found:
        return "boolean", (False, True), None
    if all(issubclass(one, int | float | np.integer | np.floating) for one in found):
        return "real", None, None
    kinds = ", ".join(sorted(one.__name__ for one in found))
    raise TypeError(
        f"Column {series.name!r} holds Python objects of type {kinds}, and no loss fits that. "
        "Convert it to one type: numbers, strings or booleans."
    )


def _distinct(series: nw.Series[Any]) -> tuple[Any, ...]:
    values = np.empty(len(series), object)
    values[:] = series.to_list()
    return tuple(sorted(set(values[~_is_missing(values)])))


def _numbers(series: nw.Series[Any]) -> Codes:
    """Floats of a numeric series, NaN where it is missing."""
    if series.dtype == nw.Object or not series.dtype.is_numeric():
        objects = np.empty(len(series), object)
        objects[:] = series.to_list()
        objects[_is_missing(objects)] = np.nan
        try:
            return objects.astype(float)
        except (TypeError, ValueError):
            raise TypeError(
                f"Column {series.name!r} held numbers in fit, and is of type {series.dtype} now."
            ) from None
    single = series.dtype == nw.Float32
    if not series.dtype.is_float():
        series = series.cast(nw.Float64)
    numbers = series.to_numpy()
    return np.asarray(numbers, np.float32 if single else np.float64)


def _range_of_integers(dtype: Any) -> tuple[int, int]:
    """Least and greatest number that a column of integers holds, exact as floats."""
    name = str(dtype).lower()
    bits = int("".join(one for one in name if one.isdigit()) or 64)
    if name.startswith("u"):
        return 0, 2**bits - 1 if bits < 64 else 2**64 - 2**11
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1 if bits < 64 else 2**63 - 2**10


def _hashable(label: Any) -> Any:
    try:
        hash(label)
    except TypeError:
        return None
    return label
