"""Ids of any type and their positions.

A column of ids is a NumPy array or a narwhals series.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

BLOCK = 1 << 20

FEW = 100
"""So many ids are worth a try without a look at all known ones."""


def _as_ids(ids: Any) -> Array:
    array = np.asarray(ids)
    # Strings are Python objects: frames disagree on fixed widths, where one long id widens all.
    # They are read from the original, because NumPy turns [1, "a"] into ["1", "a"].
    return np.asarray(ids, dtype=object) if array.dtype.kind in "UST" else array


def _distinct(column: Any) -> Array:
    if not isinstance(column, np.ndarray):
        return _as_ids(column.unique())
    ids = _as_ids(column)
    if ids.dtype.kind != "O":
        return np.unique(ids)
    found = set(ids.tolist())
    return np.fromiter(found, dtype=object, count=len(found))


def _is_missing(ids: Array) -> NDArray[np.bool_]:
    """Where ids are None, NaN, NaT or pandas.NA."""
    if ids.dtype.kind != "O":
        return np.asarray(ids != ids)
    return np.fromiter(map(_differs_from_itself, ids.tolist()), dtype=bool, count=len(ids))


def _differs_from_itself(value: Any) -> bool:
    try:
        return value is None or not value == value
    except TypeError:  # pandas.NA refuses to be true or false
        return True


def unique_ids(name: str, column: Any) -> Array:
    """Sorted distinct ids of a column, none of them missing."""
    if not len(column):
        raise ValueError(f"Column {name!r} is empty: at least one observed cell is needed.")
    ids = _distinct(column)
    if _is_missing(ids).any():
        count = np.count_nonzero(_is_missing(_as_ids(column)))
        raise ValueError(
            f"{count} of {len(column)} ids of column {name!r} are missing. A cell needs the ids of "
            "its row and its column: drop these lines, or fill in an id of their own."
        )
    try:
        return np.sort(ids)
    except TypeError:
        kinds = ", ".join(sorted({type(one).__name__ for one in ids}))
        raise TypeError(
            f"Column {name!r} mixes ids that have no common order ({kinds}): convert them to one "
            "type, e.g. strings."
        ) from None


def codes_of(column: Any, ids: Array) -> Array:
    """Position of each id of a column in `ids`; -1 for an id that is not there."""
    if len(column) <= FEW and isinstance(column, np.ndarray):
        found = _bisected(column, ids)
        if found is not None:
            return found
    codes = np.empty(len(column), dtype=position_dtype((len(ids), 1)))
    sample = _as_ids(column[:1])
    find = _by_rank(ids) if sample.dtype.kind == ids.dtype.kind != "O" else _by_equality(ids)
    # In blocks, so that millions of strings of a compact frame are never all Python objects.
    for start in range(0, len(column), BLOCK):
        codes[start : start + BLOCK] = find(column[start : start + BLOCK])
    return codes


def _bisected(few: Array, ids: Array) -> Array | None:
    """Codes found as if `ids` were sorted, as they mostly are; None if that does not find all.

    What is found is right in any case, since each id is there once; so a server that asks for a few
    rows of millions does not read all ids.
    """
    codes = np.empty(len(few), dtype=position_dtype((len(ids), 1)))
    if (
        ids.dtype.kind != few.dtype.kind
    ):  # 1 and 1.0 are equal, large integers and floats may not be
        return None
    try:
        for at, one in enumerate(few.tolist() if few.dtype.kind == "O" else few):
            code = bisect.bisect_left(ids, one)
            if code == len(ids) or not ids[code] == one:
                return None
            codes[at] = code
    except TypeError:  # no common order
        return None
    return codes


def _by_rank(ids: Array) -> Callable[[Any], Array]:
    order = np.argsort(ids, kind="stable")
    ranked = ids[order]

    def find(block: Any) -> Array:
        block = _as_ids(block)
        rank = np.minimum(np.searchsorted(ranked, block), len(ids) - 1)
        return np.where(ranked[rank] == block, order[rank], -1)

    return find


def _by_equality(ids: Array) -> Callable[[Any], Array]:
    """For objects and mixed types; NumPy would round large integers to compare them with floats."""
    place = dict(zip(ids.tolist(), range(len(ids)), strict=True))

    def find(block: Any) -> Array:
        objects = block.tolist() if isinstance(block, np.ndarray) else block.to_list()
        return np.fromiter((place.get(one, -1) for one in objects), np.int64, len(objects))

    return find


def encode(name: str, column: Any, vocabulary: ArrayLike | None) -> tuple[Array, Array]:
    """Codes of a column, and the ids that they stand for."""
    if vocabulary is None:
        ids = unique_ids(name, column)
        return codes_of(column, ids), ids
    ids = _as_ids(vocabulary)
    if ids.ndim != 1 or not 0 < len(ids) == len(_distinct(ids)):
        raise ValueError(
            f"The known ids of {name!r} must be one-dimensional, at least one, and each once."
        )
    codes = codes_of(column, ids)
    unknown = np.flatnonzero(codes < 0)
    if len(unknown):
        first = int(unknown[0])
        example = column[first : first + 1].to_list()[0]  # a Python object
        raise ValueError(
            f"{len(unknown)} of {len(column)} ids of column {name!r} are not among the {len(ids)} "
            f"known ones, e.g. {example!r}. Drop these lines, or add their ids to the known ones."
        )
    return codes, ids


def with_new(known: Array, ids: Array) -> Array:
    """Append the ids that are not known yet; the known keep their positions."""
    new = ids[codes_of(ids, known) < 0]
    if known.dtype.kind != new.dtype.kind:  # keep 1 and "1" apart, and large integers exact
        known, new = known.astype(object), new.astype(object)
    return np.concatenate([known, new])


def position_dtype(matrix_shape: tuple[int, int]) -> type[np.signedinteger[Any]]:
    """Type of positions in a matrix of this shape."""
    return np.int32 if max(matrix_shape) <= np.iinfo(np.int32).max else np.int64


def extended(array: Array, n: int, fill: float) -> Array:
    """Return a C-contiguous copy with n rows, the new ones filled."""
    longer = np.full((n, *array.shape[1:]), fill, array.dtype)
    longer[: len(array)] = array
    return longer


def grown(
    side: str,
    n: int,
    ids: Array | None,
    known_ids: Array | None,
    n_known: int,
) -> tuple[Array, Array | None, int]:
    """Return where rows (or columns) of a batch go, the ids of all then, and their number."""
    if (ids is None) != (known_ids is None):
        given, fitted = ("no ids", "ids") if ids is None else ("ids", "positions")
        raise ValueError(
            f"The entries have {given} for their {side}s, but the model was fitted on {fitted}. "
            "Build both with Entries.from_frame, or both with Entries(row, col, value)."
        )
    if ids is None or known_ids is None:
        return np.arange(n), None, max(n, n_known)
    at = codes_of(ids, known_ids)
    new = np.flatnonzero(at < 0)
    at = at.astype(np.int64)
    at[new] = n_known + np.arange(new.size)
    return at, with_new(known_ids, ids), n_known + new.size


def position_of(n: int, ids: Array | None, known_ids: Array | None, n_known: int) -> Array:
    """Return the position in the fitted matrix of each of n rows or columns, -1 if it has none.

    They are matched by id if both sides have ids, else by position.
    """
    if ids is not None and known_ids is not None:
        return codes_of(ids, known_ids)
    positions = np.arange(n)
    return np.where(positions < n_known, positions, -1)
