"""The observed cells of a matrix, as samples that scikit-learn can split."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_array

from ._ids import encode, position_dtype
from ._jit import read_only
from ._spark.entries import OnCluster, read_frame
from .kernels.dense import count_observed, list_observed
from .solvers.grid import DuplicateCellError

__all__ = ["Entries"]

Array = NDArray[Any]

# What a matrix with missing cells may be, in the words of scikit-learn's validation. CSR, CSC and
# COO are kept as they come: a conversion there would sum duplicates before we could see them.
MATRIX: dict[str, Any] = {
    "accept_sparse": ["csr", "csc", "coo"],
    "dtype": [np.float64, np.float32],
    "order": None,
    "ensure_all_finite": "allow-nan",
}


class Entries:
    """Observed cells of a matrix: one sample per cell.

    Scikit-learn's splitters take samples apart. Given a matrix they hold out rows; given its
    entries they hold out *cells*: ``KFold``, ``train_test_split``, ``GridSearchCV`` and
    ``learning_curve`` work as they are. All parts keep the shape of the whole matrix.

    Parameters
    ----------
    row, col : array-like of int, shape (n_entries,)
        Position of each cell, counted from 0. `from_frame` turns ids of any other type into
        positions.
    value : array-like of real numbers, shape (n_entries,)
        Finite value of each cell. float32 is kept, everything else becomes float64. A missing
        cell is left out; a zero is an observation like any other.
    shape : tuple of int, optional
        ``(n_rows, n_columns)`` of the matrix. By default the smallest that holds all cells.

    Attributes
    ----------
    row, col : ndarray of shape (n_entries,)
        int32, or int64 when `matrix_shape` needs it. Arrays of the right type are not copied,
        and never written to.
    value : ndarray of shape (n_entries,)
        float32 or float64.
    matrix_shape : tuple of int
        ``(n_rows, n_columns)``.
    row_ids, col_ids : ndarray or None
        The id of each row and column, where `from_frame` has counted ids.

    Raises
    ------
    TypeError
        If positions are not integers or values are not real numbers.
    ValueError
        If the arrays are not one-dimensional and of one length, a cell lies outside `shape`, a
        value is NaN or infinite, or there is neither an entry nor a `shape`.

    Notes
    -----
    A cell may appear once. This is checked where entries are sorted anyway: by the estimators and
    by `to_csr`, which refuse duplicates.

    Neighbouring entries often belong to one row, so shuffle when splitting:
    ``KFold(5, shuffle=True)``.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from skglrm import Entries
    >>> entries = Entries(row=[0, 0, 1, 2], col=[0, 2, 1, 2], value=[5.0, 3.0, 4.0, 1.0])
    >>> entries
    Entries(4 observed cells of a 3 x 3 matrix, float64)
    >>> train, test = train_test_split(entries, test_size=0.5, random_state=0)
    >>> len(train), len(test), test.matrix_shape
    (2, 2, (3, 3))
    """

    ndim = 1

    row: Array
    col: Array
    value: Array
    matrix_shape: tuple[int, int]
    row_ids: Array | None
    col_ids: Array | None

    def __init__(
        self,
        row: ArrayLike,
        col: ArrayLike,
        value: ArrayLike,
        shape: tuple[int, int] | None = None,
    ) -> None:
        row, col = _as_positions("row", row), _as_positions("col", col)
        value = _as_values(value)
        if not len(row) == len(col) == len(value):
            raise ValueError(
                "row, col and value must have the same length; "
                f"got {len(row)}, {len(col)} and {len(value)}."
            )
        if shape is not None:
            matrix_shape = _as_shape(shape)
        elif len(value):
            matrix_shape = (int(row.max()) + 1, int(col.max()) + 1)
        else:
            raise ValueError(
                "There are no entries to infer the shape from: "
                "give shape=(n_rows, n_columns) of the matrix."
            )
        _check_inside("row", row, 0, matrix_shape)
        _check_inside("col", col, 1, matrix_shape)
        dtype = position_dtype(matrix_shape)
        self.row = row.astype(dtype, copy=False)
        self.col = col.astype(dtype, copy=False)
        self.value = value
        self.matrix_shape = matrix_shape
        self.row_ids = self.col_ids = None

    @classmethod
    def _trusted(
        cls,
        row: Array,
        col: Array,
        value: Array,
        matrix_shape: tuple[int, int],
        row_ids: Array | None = None,
        col_ids: Array | None = None,
    ) -> Entries:
        """Entries of arrays that are known to be valid: no checks, no copies."""
        entries = object.__new__(cls)
        entries.row, entries.col, entries.value = row, col, value
        entries.matrix_shape = matrix_shape
        entries.row_ids, entries.col_ids = row_ids, col_ids
        return entries

    @classmethod
    def from_matrix(cls, X: Any, unstored: str = "missing") -> Entries:
        """Read the observed cells of a matrix, row by row.

        NaN (and pandas.NA, null, or a masked cell) is missing. A stored zero is an observation.

        Parameters
        ----------
        X : array-like, data frame, or SciPy sparse array or matrix, shape (n_rows, n_columns)
            float32 is kept, everything else becomes float64.
        unstored : {"missing", "zero"}, default="missing"
            What the unstored cells of a sparse `X` are: not observed, or observed zeros. With
            "zero" the result is that of ``X.toarray()``.

        Returns
        -------
        Entries
            In row-major order.

        Raises
        ------
        ValueError
            If a value is infinite or not a number at all, a cell is stored twice, or the sparse
            format does not tell stored zeros from unstored cells (DIA, BSR).

        Examples
        --------
        >>> import numpy as np
        >>> from skglrm import Entries
        >>> Entries.from_matrix([[1.0, np.nan], [0.0, 2.0]]).value
        array([1., 0., 2.])
        """
        X = readable(X, unstored)
        with np.errstate(all="ignore"):  # scikit-learn adds large numbers up to look for infinity
            checked = check_array(X, input_name="X", **MATRIX)
        return observed_cells(checked, unstored)

    @classmethod
    def from_frame(
        cls,
        df: Any,
        *,
        row: str,
        col: str,
        value: str,
        row_ids: ArrayLike | None = None,
        col_ids: ArrayLike | None = None,
    ) -> Entries:
        """Read a long table: one line per observed cell.

        Ids of any type (strings, integers, dates, categories) become positions: the rank of the
        id among the sorted distinct ids, or its place in a vocabulary that you give.

        Parameters
        ----------
        df : pandas or polars data frame, Arrow table, or any other frame that narwhals reads
            A lazy frame is collected.
        row, col, value : str
            Names of the columns that hold the row id, the column id and the value of a cell.
        row_ids, col_ids : array-like of shape (n_rows,) and (n_columns,), optional
            Known ids, each once, in the order of their positions. Give those of the training
            entries (``entries.row_ids``) so that test entries speak of the same rows.

        Returns
        -------
        Entries
            In the order of the table, with attributes `row_ids` and `col_ids`.

        Raises
        ------
        TypeError
            If `df` is not a data frame, values are not real numbers, or ids cannot be ordered.
        ValueError
            If a column does not exist, an id or a value is missing, or an id is not in the
            vocabulary.

        Examples
        --------
        >>> import pandas as pd
        >>> from skglrm import Entries
        >>> df = pd.DataFrame(
        ...     {"user": ["bob", "ann", "bob"], "item": [7, 7, 3], "stars": [5, 4, 1]}
        ... )
        >>> entries = Entries.from_frame(df, row="user", col="item", value="stars")
        >>> entries.row, entries.col
        (array([1, 0, 1], dtype=int32), array([1, 1, 0], dtype=int32))
        >>> entries.row_ids.tolist(), entries.col_ids.tolist()
        (['ann', 'bob'], [3, 7])
        """
        import narwhals.stable.v2 as nw

        frame = nw.from_native(df, pass_through=True)
        if not isinstance(frame, nw.DataFrame | nw.LazyFrame):
            raise TypeError(
                "from_frame needs a data frame (pandas, polars, Arrow, ...); got "
                f"{type(df).__name__}. For arrays use Entries(row, col, value), for a matrix "
                "Entries.from_matrix(X)."
            )
        names = frame.collect_schema().names()
        absent = [name for name in (row, col, value) if name not in names]
        if absent:
            raise ValueError(f"The frame has no column {absent}; its columns are {names}.")
        frame = frame.select(*dict.fromkeys((row, col, value)))
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()

        values = frame.get_column(value)
        if values.dtype.is_decimal():
            values = values.cast(nw.Float64)
        numbers = values.to_numpy()
        is_float = numbers.dtype.kind == "f"
        n_missing = np.count_nonzero(numbers != numbers) if is_float else values.null_count()
        if n_missing:
            raise ValueError(
                f"{n_missing} of {len(values)} values of column {value!r} are missing. A missing "
                "cell is simply left out: drop these lines."
            )
        rows, known_rows = encode(row, frame.get_column(row), row_ids)
        cols, known_cols = encode(col, frame.get_column(col), col_ids)
        entries = cls(rows, cols, numbers, shape=(len(known_rows), len(known_cols)))
        entries.row_ids, entries.col_ids = known_rows, known_cols
        return entries

    @classmethod
    def from_spark(
        cls,
        df: Any,
        *,
        row: str,
        col: str,
        value: str,
        row_ids: ArrayLike | None = None,
        col_ids: ArrayLike | None = None,
    ) -> SparkEntries:
        """Read a long table on a Spark cluster, and leave it there.

        Ids of any type become positions as in `from_frame`: they are sorted and joined on the
        cluster, and only their list comes to the driver, which is as long as the factors will be.
        With ``backend="spark"`` estimators are fitted without a cell on the driver, fold rows in
        and score them there; options that need cells on the driver collect them, see the page on
        Spark.

        Parameters
        ----------
        df : pyspark.sql.DataFrame
            Read several times: persist it if it is costly. It must hold the same each time.
        row, col, value : str
            Names of the columns that hold the row id, the column id and the value of a cell.
        row_ids, col_ids : array-like of shape (n_rows,) and (n_columns,), optional
            Known ids, each once, in the order of their positions.

        Returns
        -------
        SparkEntries
            Entries whose attribute `cells` is a Spark data frame of positions and values.

        Raises
        ------
        TypeError
            If `df` is no Spark data frame, or values are not real numbers.
        ValueError
            If a column does not exist, an id or a value is missing, or an id is not in the
            vocabulary.
        """
        return SparkEntries(**read_frame(df, row, col, value, row_ids, col_ids))

    @property
    def shape(self) -> tuple[int]:
        """``(n_entries,)``.

        Scikit-learn counts and indexes samples by `shape`; without it, it would take the
        entries apart into a Python list. The shape of the matrix is `matrix_shape`.
        """
        return (len(self.value),)

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, key: Any) -> Entries:
        if isinstance(key, tuple):  # scikit-learn writes X[key, ...]
            if key[1:] not in ((), (Ellipsis,)):
                raise IndexError(f"Entries have one axis, but were indexed with {len(key)} keys.")
            key = key[0]
        if isinstance(key, int | np.integer):
            if not -len(self) <= key < len(self):
                raise IndexError(f"Index {key} is out of range for {len(self)} entries.")
            key = slice(key, key + 1 or None)
        value = self.value[key]
        if value.ndim != 1:
            raise IndexError("Entries are indexed by an integer, a slice, or a 1-D array.")
        return self._trusted(
            self.row[key], self.col[key], value, self.matrix_shape, self.row_ids, self.col_ids
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Array:
        # NumPy would otherwise descend into entries of entries of entries.
        raise TypeError(
            "Entries are not an array. Take .value, .to_csr() or .to_dense(), "
            "or use an estimator that reads Entries."
        )

    def __repr__(self) -> str:
        n_rows, n_cols = self.matrix_shape
        cells = "cell" if len(self) == 1 else "cells"
        return (
            f"Entries({len(self)} observed {cells} of a {n_rows} x {n_cols} matrix, "
            f"{self.value.dtype})"
        )

    def to_csr(self) -> sp.csr_array:
        """Return the entries as a sparse matrix; zeros stay stored.

        Returns
        -------
        scipy.sparse.csr_array of shape `matrix_shape`
            With sorted columns in each row.

        Raises
        ------
        ValueError
            If a cell has two entries.
        """
        return sorted_csr(sp.coo_array((self.value, (self.row, self.col)), self.matrix_shape))

    def to_dense(self) -> Array:
        """Return the entries as a dense matrix, NaN where nothing was observed.

        Returns
        -------
        ndarray of shape `matrix_shape`
            Of the dtype of `value`.

        Raises
        ------
        ValueError
            If a cell has two entries.
        """
        X = np.full(self.matrix_shape, np.nan, dtype=self.value.dtype)
        cells = self.to_csr().tocoo()
        X[cells.row, cells.col] = cells.data
        return X

    def to_frame(
        self, *, row: str = "row", col: str = "col", value: str = "value", backend: str = "pandas"
    ) -> Any:
        """Return the entries as a long table: one line per observed cell.

        The way back from `from_frame`: ids where there are ids, else positions.

        Parameters
        ----------
        row, col, value : str
            Names of the columns.
        backend : {"pandas", "polars", "pyarrow"}, default="pandas"
            The library whose data frame to make.

        Returns
        -------
        data frame with three columns and `len(self)` lines

        Raises
        ------
        ValueError
            If `backend` is unknown.
        """
        import narwhals.stable.v2 as nw

        if backend not in ("pandas", "polars", "pyarrow"):
            raise ValueError(f"backend must be 'pandas', 'polars' or 'pyarrow'; got {backend!r}.")
        columns = {
            row: self.row if self.row_ids is None else self.row_ids[self.row],
            col: self.col if self.col_ids is None else self.col_ids[self.col],
            value: self.value,
        }
        engine: Any = backend
        return nw.from_dict(columns, backend=engine).to_native()


class SparkEntries(OnCluster, Entries):  # type: ignore[override]
    """What `Entries.from_spark` returns."""

    def __getitem__(self, key: Any) -> Entries:
        return self.collect()[key]

    def collect(self) -> Entries:
        """Bring the cells to the driver, in no order."""
        cells = self.row, self.col, self.value
        return Entries._trusted(*cells, self.matrix_shape, self.row_ids, self.col_ids)


# Arrays given by the user


def _as_vector(name: str, array: ArrayLike) -> Array:
    if np.ma.is_masked(array):
        raise ValueError(f"{name} is a masked array: leave the masked entries out.")
    vector = np.asarray(array)
    if vector.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional; got an array of shape {vector.shape}.")
    return vector


def _as_positions(name: str, array: ArrayLike) -> Array:
    positions = _as_vector(name, array)
    if not len(positions):  # an empty list is a float array to NumPy
        return positions.astype(np.int32)
    if positions.dtype.kind in "iu":
        return positions
    advice = (
        f"If they are whole numbers, convert them: {name}.astype(np.int64)."
        if positions.dtype.kind == "f"
        else "Entries.from_frame turns ids of any type into positions."
    )
    raise TypeError(
        f"{name} must hold integer positions 0, 1, 2, ...; got dtype {positions.dtype}. {advice}"
    )


def _as_values(array: ArrayLike) -> Array:
    values = _as_vector("value", array)
    if values.dtype.kind not in "biuf":
        raise TypeError(
            f"value must hold real numbers; got dtype {values.dtype}. Convert it with "
            "value.astype(float); a missing cell is simply left out."
        )
    single = values.dtype.newbyteorder("=") == np.float32
    values = values.astype(np.float32 if single else np.float64, copy=False)
    finite = np.isfinite(values)
    if not finite.all():
        first = int(np.argmin(finite))
        raise ValueError(
            f"value[{first}] is {values[first]}; {len(values) - np.count_nonzero(finite)} of "
            f"{len(values)} values are NaN or infinite. Values must be finite; a missing cell is "
            "simply left out."
        )
    return values


def _as_shape(shape: Any) -> tuple[int, int]:
    try:
        n_rows, n_cols = map(operator.index, shape)
    except (TypeError, ValueError):
        n_rows = n_cols = 0
    if n_rows < 1 or n_cols < 1:
        raise ValueError(f"shape must be two positive integers (n_rows, n_columns); got {shape!r}.")
    return n_rows, n_cols


def _check_inside(name: str, positions: Array, axis: int, shape: tuple[int, int]) -> None:
    size = shape[axis]
    if not len(positions) or (positions.min() >= 0 and positions.max() < size):
        return
    first = int(np.argmax((positions < 0) | (positions >= size)))
    rule = (
        "positions are counted from 0"
        if positions[first] < 0
        else f"the last {name} of a matrix of shape {shape} is {size - 1}"
    )
    raise ValueError(
        f"{name}[{first}] is {positions[first]}, but {rule}. Give a shape that holds all cells, "
        "or let Entries.from_frame number ids that are not positions."
    )


# Matrices


def readable(X: Any, unstored: str) -> Any:
    """Turn `X` into something that scikit-learn's validation reads without loss, or refuse."""
    if unstored not in ("missing", "zero"):
        raise ValueError(f"unstored must be 'missing' or 'zero'; got {unstored!r}.")
    if isinstance(X, np.ma.MaskedArray):  # scikit-learn would forget the mask
        return np.ma.filled(X.astype(X.dtype if X.dtype.kind in "fc" else float), np.nan)
    if hasattr(X, "isna") and any(dtype.kind == "O" for dtype in getattr(X, "dtypes", ())):
        X = X.mask(X.isna(), np.nan)  # scikit-learn knows pandas.NA in typed columns only
        _check_numbers(X.to_numpy(dtype=object))
        return X
    if isinstance(X, np.ndarray) and X.dtype.kind == "O":
        _check_numbers(X)
    if not sp.issparse(X):
        return X
    if X.ndim != 2:
        raise ValueError(f"Expected a 2D sparse matrix; got {X.ndim} dimension(s).")
    X = within(X)
    if X.format in ("dia", "bsr"):
        if unstored == "missing":
            flaw = "loses stored zeros" if X.format == "dia" else "stores zeros as padding"
            raise ValueError(
                f"The sparse format {X.format.upper()} {flaw}, so observed and missing cells "
                "cannot be told apart. Convert it yourself, e.g. X.tocsr(), if its non-zeros are "
                "the observed cells, or pass unstored='zero'."
            )
        return X.tocoo()  # keeps duplicates apart, so that they are found
    return X


def within(X: Any) -> Any:
    """Return a sparse matrix as it is; refuse positions outside it, where SciPy would write."""
    X = X.tocsr() if X.format == "lil" else X  # whose lists hold anything
    if X.format in ("csr", "csc", "bsr"):
        sizes = np.array(X.shape) // getattr(X, "blocksize", 1)
        n_lines, n_places = sizes[::-1] if X.format == "csc" else sizes
        begins, places = X.indptr, [(X.indices[: X.indptr[-1]], n_places)]
        is_sound = begins.size == n_lines + 1 and begins[0] == 0 and (np.diff(begins) >= 0).all()
        is_sound = is_sound and begins[-1] <= min(len(X.indices), len(X.data))
    elif X.format == "coo":
        places = list(zip(X.coords, X.shape, strict=True))
        is_sound = all(len(at) == len(X.data) for at, _ in places)
    else:
        return X
    if not is_sound or any(at.size and not 0 <= at.min() <= at.max() < n for at, n in places):
        raise ValueError(
            f"The sparse matrix is damaged: it has positions outside its shape {X.shape}. Make it "
            "anew, e.g. by scipy.sparse.coo_array((values, (rows, columns)), shape)."
        )
    return X


def _check_numbers(X: Array) -> None:
    """Refuse Python objects that are no numbers, and say which is the first."""
    try:
        X.astype(np.float64)
        return
    except (TypeError, ValueError):
        pass
    for place, value in np.ndenumerate(X):
        try:
            float("nan" if value is None else value)
        except (TypeError, ValueError):
            raise TypeError(
                f"X has dtype object, and {value!r:.80}, a {type(value).__name__}, at {place}: "
                "every argument must be a number, or a string that says a number. Pass NaN where "
                "one is missing."
            ) from None


def observed_cells(X: Any, unstored: str) -> Entries:
    """Entries of a validated matrix in row-major order."""
    if not sp.issparse(X):
        return _dense_cells(X)
    csr = sorted_csr(X)
    if unstored == "zero":
        return _dense_cells(csr.toarray())
    dtype = position_dtype(csr.shape)
    row = np.repeat(np.arange(csr.shape[0], dtype=dtype), np.diff(csr.indptr))
    # The buffers of a CSR matrix may be longer than what it stores.
    col, value = csr.indices[: csr.nnz].astype(dtype, copy=False), csr.data[: csr.nnz]
    entries = Entries._trusted(row, col, value, csr.shape)
    missing = np.isnan(value)
    return entries[~missing] if missing.any() else entries


def _dense_cells(X: Array) -> Entries:
    n_rows, n_cols = X.shape
    X = read_only(X)
    counts = np.empty(n_rows, np.int64)
    count_observed(X, counts)
    n, dtype = int(counts.sum()), position_dtype((n_rows, n_cols))
    row, col, value = np.empty(n, dtype), np.empty(n, dtype), np.empty(n, X.dtype)
    list_observed(X, row, col, value)
    return Entries._trusted(row, col, value, (n_rows, n_cols))


def sorted_csr(X: Any) -> Any:
    """CSR with sorted columns of a CSR, CSC or COO matrix; duplicates are refused, not summed."""
    csr = X.tocsr()
    if not csr.has_sorted_indices:
        csr = csr.sorted_indices()  # a copy: the user's matrix stays as it is
    if csr.nnz < X.nnz or not csr.has_canonical_format:
        cells = X.tocoo()
        raise DuplicateCellError(*find_duplicate(cells.row, cells.col))
    return csr


def find_duplicate(row: Array, col: Array) -> tuple[int, int]:
    """First cell, in row-major order, that occurs twice; there must be one."""
    order = np.lexsort((col, row))
    row, col = row[order], col[order]
    first = int(np.argmax((row[1:] == row[:-1]) & (col[1:] == col[:-1])))
    return int(row[first]), int(col[first])
