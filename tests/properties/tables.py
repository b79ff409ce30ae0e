"""Cells of matrices, every container that can hold them, and what can be wrong with one."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from hypothesis import strategies as st

from skglrm import Entries

# ------------------------------------------------------------------ cells

MAGNITUDES = (*6 * (1.0,), 1e-30, 1e30, 1e-42, 5e-324, 1e-160, 1e160, 1e300)
STRUCTURES = ("random", "random", "rank one", "constant", "whole", "whole", "spike", "wide")
SHARES = (0.0, 0.0, 0.0, 0.2, 0.4, 0.8)
EMPTY = (*5 * ("",), "row", "column", "both")

KINDS = ("number", "count", "positive", "boolean", "sign", "level", "angle", "fraction")


SHAPES = (
    (1, 1),
    (1, 4),
    (5, 1),
    (2, 2),
    (3, 2),
    (2, 5),
    (4, 3),
    (5, 4),
    (7, 6),
    (6, 3),
    (3, 6),
    (7, 2),
)


def shapes():
    return st.sampled_from(SHAPES)


@st.composite
def tables(draw, kinds=("number",), shape=None):
    """Cells of a matrix, NaN where missing; column j is of the j-th kind, in turn."""
    n_rows, n_columns = draw(shapes()) if shape is None else shape
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    magnitude, structure = draw(st.sampled_from(MAGNITUDES)), draw(st.sampled_from(STRUCTURES))
    U = _structured(structure, (n_rows, n_columns), rng)
    X = np.empty_like(U)
    for j in range(n_columns):
        X[:, j] = of_kind(kinds[j % len(kinds)], U[:, j], magnitude)
    X[rng.random(X.shape) < draw(st.sampled_from(SHARES))] = np.nan
    empty = draw(st.sampled_from(EMPTY))
    if empty in ("row", "both"):
        X[rng.integers(n_rows)] = np.nan
    if empty in ("column", "both"):
        X[:, rng.integers(n_columns)] = np.nan
    return X


def _structured(structure, shape, rng):
    U = rng.normal(size=shape)
    if structure == "rank one":
        return np.outer(U[:, 0], U[0])
    if structure == "constant":
        return np.full(shape, U[0, 0])
    if structure == "whole":
        return np.rint(2 * U)
    if structure == "spike":
        U[rng.integers(shape[0]), rng.integers(shape[1])] *= 10.0 ** rng.integers(-20, 20)
    if structure == "wide":
        U *= 10.0 ** rng.integers(-30, 30, shape)
    return U


def of_kind(kind, u, magnitude=1.0):
    """Values of a domain that grow with u."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        bounded = np.clip(u, -1e6, 1e6)
        found = {
            "number": lambda: u * magnitude,
            "positive": lambda: np.abs(u * magnitude),
            "count": lambda: np.rint(np.minimum(np.abs(u * max(magnitude, 1.0)), 1e9)),
            "boolean": lambda: (u > 0).astype(float),
            "sign": lambda: np.where(u > 0, 1.0, -1.0),
            "level": lambda: np.clip(np.rint(bounded) + 1, 0, 2),
            "angle": lambda: bounded % 24.0,
            "fraction": lambda: 1 / (1 + np.exp(-np.clip(u, -50, 50))),
        }[kind]()
    return np.nan_to_num(found, nan=0.0, posinf=1e300, neginf=-1e300)


# ------------------------------------------------------------------ containers

ORDERS = ("C", "F", "strided", "reversed", "read-only", "big-endian", "list", "masked")
SPARSE = ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")
FRAMES = ("pandas", "nullable", "polars", "pyarrow")
CONTAINERS = (*ORDERS, *SPARSE, "entries", "from_frame", *FRAMES)


def cast(X, dtype):
    """Numbers as another type; what is too large for it is its largest."""
    largest = np.finfo(dtype).max
    return np.clip(X, -largest, largest).astype(dtype)


@dataclass(frozen=True)
class Form:
    """How a table is handed over."""

    container: str
    dtype: type = np.float64
    as_matrix: bool = False
    wide_index: bool = False
    shuffled: bool = False
    seed: int = 0

    @property
    def tells_missing(self):
        """Whether it says which cells are missing, so that nothing is lost on the way."""
        return self.container not in ("bsr", "dia")

    def __call__(self, X):
        return _made(self, cast(X, self.dtype))


@st.composite
def forms(draw, containers=CONTAINERS, dtypes=(np.float64, np.float32)):
    return Form(
        draw(st.sampled_from(containers)),
        draw(st.sampled_from(dtypes)),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.integers(0, 99)),
    )


def _made(form, X):
    name, rng = form.container, np.random.default_rng(form.seed)
    if name in ORDERS:
        return _dense(name, X)
    if name in SPARSE:
        return _sparse(form, X, rng)
    if name in FRAMES:
        return _frame(name, X)
    row, col = np.nonzero(~np.isnan(X))
    value = X[row, col]
    if form.shuffled:
        order = rng.permutation(row.size)
        row, col, value = row[order], col[order], value[order]
    if name == "entries":
        kind = np.int64 if form.wide_index else np.int32
        return Entries(row.astype(kind), col.astype(kind), value, X.shape)
    table = pd.DataFrame({"r": [f"r{i}" for i in row], "c": [f"c{j}" for j in col], "v": value})
    ids = {
        "row_ids": [f"r{i}" for i in range(len(X))],
        "col_ids": [f"c{j}" for j in range(X.shape[1])],
    }
    return Entries.from_frame(table, row="r", col="c", value="v", **ids)


def _dense(name, X):
    if name == "F":
        return np.asfortranarray(X)
    if name == "strided":
        wide = np.full((2 * X.shape[0], 3 * X.shape[1]), 7, X.dtype)
        wide[::2, ::3] = X
        return wide[::2, ::3]
    if name == "reversed":
        return X[::-1, ::-1].copy()[::-1, ::-1]
    if name == "read-only":
        X = X.copy()
        X.flags.writeable = False
        return X
    if name == "big-endian":
        return X.astype(X.dtype.newbyteorder(">"))
    if name == "list":
        return X.tolist()
    if name == "masked":
        return np.ma.masked_array(np.where(np.isnan(X), 9.0, X).astype(X.dtype), np.isnan(X))
    return np.ascontiguousarray(X)


def _sparse(form, X, rng):
    row, col = np.nonzero(~np.isnan(X))
    index = np.int64 if form.wide_index else np.int32
    if form.shuffled and form.container in ("coo", "csr", "csc"):
        order = rng.permutation(row.size)
        row, col = row[order], col[order]
    value = X[row, col]
    row, col = row.astype(index), col.astype(index)
    coo = (sp.coo_matrix if form.as_matrix else sp.coo_array)((value, (row, col)), X.shape)
    found = coo.asformat(form.container)
    for name in ("indices", "indptr", "row", "col"):
        if form.container in ("csr", "csc", "bsr") and hasattr(found, name):
            setattr(found, name, getattr(found, name).astype(index))
    if form.shuffled and form.container in ("csr", "csc"):
        _shuffle_within(found, rng)
    return found


def _shuffle_within(X, rng):
    """Positions of a row in no order."""
    for start, stop in zip(X.indptr[:-1], X.indptr[1:], strict=True):
        order = start + rng.permutation(stop - start)
        X.indices[start:stop], X.data[start:stop] = X.indices[order], X.data[order]
    X.has_sorted_indices = False


def _names(X):
    return [f"c{j}" for j in range(X.shape[1])]


def _frame(name, X):
    names = _names(X)
    if name == "pandas":
        return pd.DataFrame(X, columns=names)
    if name == "nullable":
        kind = "Float32" if X.dtype == np.float32 else "Float64"
        return pd.DataFrame(
            {
                n: pd.array([pd.NA if v != v else v for v in x.tolist()], kind)
                for n, x in zip(names, X.T, strict=True)
            }
        )
    if name == "polars":
        import polars

        return polars.DataFrame(
            {n: np.ascontiguousarray(x) for n, x in zip(names, X.T, strict=True)}
        )
    import pyarrow

    return pyarrow.table(
        {n: pyarrow.array(x, from_pandas=True) for n, x in zip(names, X.T, strict=True)}
    )


# ------------------------------------------------------------------ what is wrong with a table


def _infinite(X, rng):
    X[_somewhere(X, rng)] = rng.choice([np.inf, -np.inf])
    return X if rng.random() < 0.5 else sp.csr_array(np.where(np.isnan(X), 0, X))


def _twice(X, rng):
    row, col = np.nonzero(~np.isnan(X))
    row, col = np.append(row, row[:1]), np.append(col, col[:1])
    value, kind = X[row, col], rng.integers(4)
    if kind == 0:
        return Entries(row, col, value, X.shape)
    if kind == 1:
        return sp.coo_array((value, (row, col)), X.shape)
    order = np.lexsort((col, row))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(X)))])
    csr = sp.csr_array((value[order], col[order], indptr), X.shape)
    return csr if kind == 2 else csr.T


def _empty(X, rng):
    nothing = [
        np.empty((0, 3)), np.empty((3, 0)), np.full((3, 2), np.nan), [], [[]], sp.csr_array((3, 4)),
        sp.csr_array((0, 4)), Entries([], [], [], (2, 2)), pd.DataFrame(), pd.DataFrame({"a": []}),
    ]  # fmt: skip
    return nothing[rng.integers(len(nothing))]


def _of_objects(X, rng):
    strange = [None, "a", {}, [1], object(), 1 + 2j, np.datetime64("2020-01-01"), pd.NA]
    X = X.astype(object)
    X[_somewhere(X, rng)] = strange[rng.integers(len(strange))]
    return X if rng.random() < 0.5 else pd.DataFrame(X, columns=_names(X))


def _not_of_two_dimensions(X, rng):
    flat = [X.ravel(), X[0], X[0, 0], sp.coo_array(np.nan_to_num(X[0])), None, "text", X[None]]
    return flat[rng.integers(len(flat))]


def _beyond(X, rng):
    """Positions outside the matrix: SciPy believes what attributes say."""
    row, col = np.nonzero(~np.isnan(X))
    made = sp.coo_array((X[row, col], (row, col)), X.shape).asformat(rng.choice(["csr", "csc"]))
    if made.nnz:
        places = (max(X.shape), -1, 2**31 - 1)
        made.indices[rng.integers(made.nnz)] = places[rng.integers(len(places))]
    return made


def _somewhere(X, rng):
    return rng.integers(X.shape[0]), rng.integers(X.shape[1])


FLAWS = {
    "infinite": _infinite,
    "twice": _twice,
    "empty": _empty,
    "of objects": _of_objects,
    "not of two dimensions": _not_of_two_dimensions,
    "beyond": _beyond,
    "complex": lambda X, rng: X.astype(complex),
    "of strings": lambda X, rng: X.astype(str),
    "of another width": lambda X, rng: np.column_stack([X, X[:, :1]]),
}
"""Containers that an estimator must refuse, or read with care."""
