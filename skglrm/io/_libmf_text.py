"""LIBMF's ratings: a text file with a line "row column value" for each entry."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .._atomic import replacing
from .._jit import read_only
from ..backends import effective_threads, get_backend
from ..entries import Entries
from ..kernels import text as kernels

__all__ = ["read_libmf", "read_libmf_chunks", "write_libmf"]

BYTES_PER_PIECE = 4_000_000
LONGEST_LINE = 10_000
LINES_PER_WRITE = 100_000
POWERS = 10.0 ** np.arange(kernels.MOST_DECIMALS + 1)

Triple = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.floating]]

WRONG = {
    kernels.BAD_ROW: "the row {} is not a whole number from 0 to 2147483646",
    kernels.BAD_COLUMN: "the column {} is not a whole number from 0 to 2147483646",
    kernels.NO_VALUE: "the value is missing",
    kernels.TOO_MANY: "{} follows after row, column and value",
}


def read_libmf(
    path: str | os.PathLike[str],
    *,
    shape: tuple[int, int] | None = None,
    dtype: npt.DTypeLike = np.float32,
    n_jobs: int | None = None,
) -> Entries:
    r"""Read ratings in LIBMF's text format.

    A line holds row, column and value, separated by blanks; rows and columns count from 0.  Empty
    lines are passed over.

    Parameters
    ----------
    path : str or path-like
        The file.
    shape : tuple of int, default=None
        ``(n_rows, n_columns)`` of the matrix; by default the smallest that holds all cells, as in
        LIBMF.  Give test entries the shape of the training entries.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Type of the values; LIBMF's is float32.
    n_jobs : int, default=None
        Number of threads; ``None`` means 1, -1 all processors.

    Returns
    -------
    Entries
        In the order of the file.

    Raises
    ------
    ValueError
        If a line is not of this form (the message has its number), a cell lies outside of
        ``shape``, or there is neither an entry nor a ``shape``.

    See Also
    --------
    read_libmf_chunks : The same, part by part.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skglrm.io import read_libmf
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "ratings.txt")
    ...     _ = path.write_text("0 0 5\n0 2 3.5\n1 1 4\n")
    ...     read_libmf(path)
    Entries(3 observed cells of a 2 x 3 matrix, float32)
    """
    parts = list(read_libmf_chunks(path, dtype=dtype, n_jobs=n_jobs))
    if not parts:
        if shape is None:
            raise ValueError(f"{os.fspath(path)} has no entry. Give shape=(n_rows, n_columns).")
        parts = [(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, dtype))]
    row, col, value = map(np.concatenate, zip(*parts, strict=True))
    return Entries(row, col, value, shape)


def read_libmf_chunks(
    path: str | os.PathLike[str],
    *,
    dtype: npt.DTypeLike = np.float32,
    n_jobs: int | None = None,
) -> Iterator[Triple]:
    """Read ratings in LIBMF's text format part by part, in memory for one part per thread.

    Parameters
    ----------
    path : str or path-like
        The file.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Type of the values.
    n_jobs : int, default=None
        Number of threads; ``None`` means 1, -1 all processors.

    Yields
    ------
    row, col, value : ndarray of shape (n_entries,)
        int32 positions, and values, in the order of the file.

    Raises
    ------
    ValueError
        If a line is not "row column value"; the message has its number.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be numpy.float32 or numpy.float64. Got {dtype} instead.")
    n_threads = effective_threads(n_jobs)
    n_lines = 0
    with get_backend("numba-threads", n_threads) as backend:
        pieces = _pieces(path)
        while batch := list(itertools.islice(pieces, n_threads)):
            for triple, n_read, error in backend.map(_parse_piece, batch, (path, dtype)):
                if error is not None:
                    _raise(path, n_lines + n_read, error)
                n_lines += n_read
                if triple[0].size:
                    yield triple


def _raise(path: str | os.PathLike[str], line: int, error: str) -> None:
    raise ValueError(
        f"{os.fspath(path)}, line {line}: {error}. A line of LIBMF's format is 'row column value', "
        "with rows and columns counted from 0."
    )


def _pieces(path: str | os.PathLike[str]) -> Iterator[tuple[int, int]]:
    """Cut a file into runs of whole lines."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = 0
        while start < size:
            file.seek(min(start + BYTES_PER_PIECE, size))
            # A line that is too long is cut, and refused where it is read.
            file.readline(LONGEST_LINE)
            yield start, file.tell()
            start = file.tell()


def _parse_piece(piece: tuple[int, int], shared: Any) -> tuple[Triple, int, str | None]:
    """Return entries, and the number of lines; or the number of the line that is wrong, and how."""
    path, dtype = shared
    start, stop = piece
    with open(path, "rb") as file:
        file.seek(start)
        content = file.read(stop - start)
    if not content.endswith(b"\n"):
        content += b"\n"
    n_lines = content.count(b"\n")
    row, col = np.empty(n_lines, np.int32), np.empty(n_lines, np.int32)
    value, decimals = np.empty(n_lines), np.empty(n_lines, np.uint8)
    text = read_only(np.frombuffer(content, np.uint8))
    n, wrong, place = kernels.parse_triples(text, row, col, value, decimals)
    value, decimals = value[:n], decimals[:n]
    for t in np.flatnonzero(decimals == kernels.TOKEN).tolist():
        decimals[t], begin = 0, int(value[t])
        number = _number(_token(content, begin))
        if number is None or not abs(number) <= float(np.finfo(dtype).max):
            line = content.count(b"\n", 0, begin) + 1
            return (
                (row[:0], col[:0], value[:0]),
                line,
                f"the value {_quoted(content, begin)} is not a finite number",
            )
        value[t] = number
    if wrong != kernels.FINE:
        error = WRONG[wrong].format(_quoted(content, place))
        return (row[:0], col[:0], value[:0]), content.count(b"\n", 0, place) + 1, error
    value /= POWERS[decimals]
    return (row[:n], col[:n], value.astype(dtype, copy=False)), n_lines, None


def _token(content: bytes, begin: int) -> bytes:
    return content[begin : content.index(b"\n", begin)].split(None, 1)[0]


def _quoted(content: bytes, begin: int) -> str:
    word = content[begin : content.index(b"\n", begin)][:40].split(None, 1)
    return repr(word[0].decode("ascii", "replace")) if word else "that is missing"


def _number(token: bytes) -> float | None:
    try:
        return None if b"_" in token else float(token)
    except ValueError:
        return None


def write_libmf(path: str | os.PathLike[str], entries: Entries) -> None:
    """Write ratings in LIBMF's text format, so that reading them gives the same entries.

    Ids are not written, only positions; nor is the shape of the matrix.

    Parameters
    ----------
    path : str or path-like
        The file; it is replaced at once, when all is written.
    entries : Entries
        What to write.

    Raises
    ------
    TypeError
        If ``entries`` are no ``Entries``.
    ValueError
        If there are more rows or columns than LIBMF's 2147483647.
    """
    if not isinstance(entries, Entries):
        raise TypeError(
            f"write_libmf needs Entries; got {type(entries).__name__}. Use "
            "Entries.from_matrix(X) for a matrix."
        )
    if max(entries.matrix_shape) > kernels.LARGEST_ID + 1:
        raise ValueError(
            f"LIBMF has at most {kernels.LARGEST_ID + 1} rows and columns; the matrix is "
            f"{entries.matrix_shape[0]} x {entries.matrix_shape[1]}."
        )
    with replacing(path) as file:
        for start in range(0, len(entries), LINES_PER_WRITE):
            part = entries[start : start + LINES_PER_WRITE]
            # Each distinct value once, as the shortest text that reads back as the same number.
            values, which = np.unique(part.value, return_inverse=True)
            numbers = np.array(list(map(str, values)), object)[which]
            lines = zip(part.row.tolist(), part.col.tolist(), numbers.tolist(), strict=True)
            file.write("".join(map("%d %d %s\n".__mod__, lines)).encode("ascii"))
