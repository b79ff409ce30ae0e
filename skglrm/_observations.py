"""How estimators read `X`: a matrix with missing cells, or entries."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import validate_data

from .entries import MATRIX, Entries, observed_cells, readable


def read_input(
    estimator: Any, X: Any, *, unstored: str, reset: bool, allow_constant: bool = False
) -> Entries:
    """Read `X`, a matrix or `Entries`, and set or check the estimator's number of features.

    A matrix gives its entries in row-major order, and is known to hold no cell twice. `Entries`
    are returned as they are.

    With `reset` (in `fit` and the first `partial_fit`) there must be an observed cell. Without it,
    a row with none is a row like any other.

    Estimators that learn from *where* entries are (implicit feedback, one-class losses) pass
    `allow_constant`; to all others a sparse matrix of equal values tells nothing.
    """
    if not isinstance(X, Entries):
        return read_matrix(
            estimator, X, unstored=unstored, reset=reset, allow_constant=allow_constant
        )
    name = type(estimator).__name__
    names = _column_names(X)
    if reset:
        _check_not_empty(X, name)
        estimator.n_features_in_ = X.matrix_shape[1]
        if names is not None:
            estimator.feature_names_in_ = names
        elif hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
        return X
    if X.matrix_shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {X.matrix_shape[1]} features, but {name} is expecting "
            f"{estimator.n_features_in_} features as input."
        )
    known = getattr(estimator, "col_ids_", getattr(estimator, "feature_names_in_", None))
    if known is not None and X.col_ids is not None and not np.array_equal(X.col_ids, known):
        # As many columns, but others: entries that were numbered on their own.
        raise ValueError(
            f"The columns of X are not those that {name} was fitted on. Number the entries by the "
            "same ids: Entries.from_frame(..., row_ids=train.row_ids, col_ids=train.col_ids)."
        )
    return X


def read_matrix(
    estimator: Any, X: Any, *, unstored: str, reset: bool, allow_constant: bool = False
) -> Entries:
    """Read the observed cells of a matrix; see `read_input`."""
    if isinstance(X, tuple):
        raise TypeError(
            f"X is a tuple of {len(X)} objects. For the positions and values of observed cells "
            "pass Entries(row, col, value); for the rows of a matrix pass np.asarray(X)."
        )
    with unchanged_on_error(estimator):
        options = MATRIX | ({"dtype": np.float32} if _is_single(X) else {})
        X = validate_data(estimator, readable(X, unstored), reset=reset, **options)
        entries = observed_cells(X, unstored)
        if reset:
            _check_not_empty(entries, type(estimator).__name__)
    if reset and unstored == "missing" and sp.issparse(X) and not allow_constant:
        _warn_if_constant(entries, type(estimator).__name__)
    return entries


def _is_single(X: Any) -> bool:
    """Whether X is of float32 in a way that scikit-learn may not see: a frame, or byte-swapped."""
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype):
        return dtype.newbyteorder("=") == np.float32
    frame = nw.from_native(X, pass_through=True, eager_only=True)
    return isinstance(frame, nw.DataFrame) and set(frame.schema.values()) == {nw.Float32}


@contextmanager
def unchanged_on_error(estimator: Any) -> Iterator[None]:
    """Give an estimator the attributes back that it had before a call that fails.

    Validation alone sets `n_features_in_` and `feature_names_in_`. Arrays must be replaced, not
    written to, for this to help.
    """
    before = vars(estimator).copy()
    try:
        with quiet_arithmetic():
            yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


@contextmanager
def quiet_arithmetic() -> Iterator[None]:
    """Calculate without NumPy's warnings: what is not finite is found in results, by `finite`."""
    with np.errstate(all="ignore"):
        try:
            yield
        except np.linalg.LinAlgError as error:
            raise FloatingPointError(_OUT_OF_RANGE) from error


def finite(result: Any) -> Any:
    """Return a result as it is, or raise an error if a number of it is NaN or infinite."""
    if not np.isfinite(result).all():
        raise FloatingPointError(_OUT_OF_RANGE)
    return result


_OUT_OF_RANGE = (
    "The result is not finite: numbers of X, or parameters, are too large or too small to "
    "calculate with. Divide X by a constant, choose parameters nearer to 1, or pass float64."
)


def _check_not_empty(entries: Entries, name: str) -> None:
    if not len(entries):
        n_rows, n_cols = entries.matrix_shape
        raise ValueError(
            f"X has no observed cell: all {n_rows} x {n_cols} are missing. {name} needs at least "
            "one. (In a sparse X, unstored cells are zeros only with unstored='zero'.)"
        )


def _warn_if_constant(entries: Entries, name: str) -> None:
    value = entries.value
    if len(value) > 1 and value.min() == value.max():
        warnings.warn(
            f"All {len(value)} stored values of the sparse X are {value[0]:g}, and {name} takes "
            "unstored cells for missing: a constant explains such data. If unstored cells are "
            "zeros, pass unstored='zero'; for clicks and other implicit feedback use ImplicitALS.",
            UserWarning,
            stacklevel=4,
        )


def _column_names(entries: Entries) -> np.ndarray[Any, Any] | None:
    """Names of the columns, if the ids are names; scikit-learn's names are strings."""
    ids = entries.col_ids
    if ids is None or ids.dtype != object or not all(isinstance(one, str) for one in ids):
        return None
    return ids
