"""LIBMF's models: a text file with a line of factors for each row and each column."""

from __future__ import annotations

import math
import os
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from .._atomic import replacing
from .._fpsg_task import task_of
from ..fpsg import FPSGFactorizer
from ..losses import get_loss

__all__ = ["read_libmf_model", "write_libmf_model"]

LOSSES = {
    0: "squared", 1: "absolute", 2: "kl", 5: "logistic", 6: "squared_hinge", 7: "hinge",
    10: "bpr_row", 11: "bpr_column", 12: "one_class",
}  # fmt: skip
"""LIBMF's numbers of what we call so."""

RECORDS = ("squared", "absolute", "kl", "logistic", "squared_hinge", "hinge")
"""Those that may be given as instances."""

LONGEST_HEAD = 100
BYTES_PER_NUMBER = 64
ROWS_PER_WRITE = 10_000

Floats = npt.NDArray[np.floating]


def read_libmf_model(path: str | os.PathLike[str]) -> FPSGFactorizer:
    r"""Read a model that LIBMF has saved.

    The file holds factors in six digits, LIBMF's number of the loss, and the mean of the training
    values, which is predicted where a row or a column is unseen.  It does not hold the other
    parameters, which keep their defaults, nor what training would go on from: ``partial_fit``
    starts with fresh learning rates, on data of unit deviation.  Booleans are taken to be -1 and 1.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    FPSGFactorizer
        A fitted estimator of float32 factors.  Rows and columns that LIBMF has not seen (NaN there)
        have factors of zero and count as unseen.

    Raises
    ------
    ValueError
        If the file is not a model of LIBMF (the message has the number of the line), or one of
        the one-class problem, which is no model without the weight of other cells.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skglrm.io import read_libmf_model
    >>> text = "f 0\nm 2\nn 2\nk 1\nb 3\np0 T 2 \np1 F 0 \nq0 T 1 \nq1 T 1.5 \n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.txt")
    ...     _ = path.write_text(text)
    ...     model = read_libmf_model(path)
    >>> model.predict_entries([0, 1], [1, 1])
    array([3., 3.], dtype=float32)
    """
    with open(path, "rb") as file:
        reader = _Reader(file, os.fspath(path))
        number = reader.whole("f")
        if number not in LOSSES:
            raise reader.error("LIBMF has no such problem")
        if LOSSES[number] == "one_class":
            raise ValueError(
                f"{os.fspath(path)} is a one-class model, and does not say what cells without an "
                "entry weigh. Fit FPSGFactorizer(loss='one_class') to the data instead."
            )
        n_rows, n_columns, k = (reader.whole(name, 1) for name in "mnk")
        mean = reader.head("b")
        # Before anything is allocated: a number takes two bytes at least.
        if (n_rows + n_columns) * (2 * k + 4) > reader.size:
            raise reader.error(f"{n_rows} + {n_columns} rows of {k} numbers do not fit in the file")
        row_factors = reader.factors("p", n_rows, k)
        column_factors = reader.factors("q", n_columns, k)
        reader.end()
    return _fitted(LOSSES[number], mean, row_factors, column_factors)


class _Reader:
    """Reads lines one by one, and knows where it is."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file, self.path, self.line = file, path, 0
        self.size = os.fstat(file.fileno()).st_size

    def error(self, what: str) -> ValueError:
        return ValueError(f"{self.path}, line {self.line}: {what}. This is no model of LIBMF.")

    def fields(self, longest: int) -> list[bytes]:
        self.line += 1
        line = self.file.readline(longest)
        if len(line) == longest:
            raise self.error("the line is too long")
        return line.split()

    def head(self, name: str) -> float:
        fields = self.fields(LONGEST_HEAD)
        try:
            found, number = fields[0].decode(), float(fields[1])
        except (IndexError, ValueError):
            found, number = "", math.nan
        if found != name or len(fields) != 2 or not math.isfinite(number):
            raise self.error(f"it must be {name!r} and a number")
        return number

    def whole(self, name: str, least: int = 0) -> int:
        number = self.head(name)
        if not number.is_integer() or not least <= number < 2**31:
            raise self.error(f"{name} = {number:g} is no whole number from {least} to 2147483647")
        return int(number)

    def factors(self, name: str, n: int, k: int) -> Floats:
        """Return n rows of factors, NaN where a row is unseen."""
        out = np.empty((n, k), np.float32)
        longest = BYTES_PER_NUMBER * (k + 2)
        for i in range(n):
            fields = self.fields(longest)
            if len(fields) != k + 2 or fields[0] != b"%s%d" % (name.encode(), i):
                raise self.error(f"it must be {name}{i}, T or F, and {k} numbers")
            if fields[1] == b"F":
                out[i] = np.nan
                continue
            try:
                out[i] = list(map(float, fields[2:]))
            except ValueError:
                raise self.error("a factor is not a number") from None
            if fields[1] != b"T" or not np.isfinite(out[i]).all():
                raise self.error(f"it must be {name}{i}, T or F, and {k} finite numbers")
        return out

    def end(self) -> None:
        while line := self.file.readline(LONGEST_HEAD):
            self.line += 1
            if line.split():
                raise self.error("nothing should follow the last column")


def _fitted(loss: str, mean: float, row_factors: Floats, column_factors: Floats) -> FPSGFactorizer:
    """Return an estimator with these factors, where rows of NaN are unseen."""
    model = FPSGFactorizer(row_factors.shape[1], loss=loss, nonnegative=loss == "kl")
    task = task_of(model)
    baseline = mean
    if task.kind == "booleans":
        model.classes_ = np.array([-1.0, 1.0])
        mean = min(max(0.5 + 0.5 * mean, 0.0), 1.0)
        baseline = float(task.loss.best_constant(np.array([0.0, 1.0]), np.array([1 - mean, mean])))
    sides = []
    for factors in (row_factors, column_factors):
        # One entry of the mean each: no offset, so that the mean is all that is predicted.
        counts = np.where(np.isnan(factors[:, 0]), 0, 1)
        sides += [counts, counts * mean]
    model._row_counts, model._row_sums, model._column_counts, model._column_sums = sides
    model.baseline_, model.scale_, model._seed = baseline, 1.0, 0
    model.row_ids_ = model.col_ids_ = None
    model.n_features_in_ = len(column_factors)
    model.loss_curve_, model.validation_curve_ = [], []
    model.n_iter_ = model.best_iter_ = 0
    model._set_factors(
        np.nan_to_num(row_factors, nan=0.0),
        np.nan_to_num(column_factors, nan=0.0),
        np.ones((len(row_factors), 2), np.float32),
        np.ones((len(column_factors), 2), np.float32),
    )
    return model


def write_libmf_model(path: str | os.PathLike[str], model: FPSGFactorizer) -> None:
    """Write a fitted model for LIBMF to predict with.

    Factors are written as float32, LIBMF's type, in nine digits: nothing is lost of float32
    factors.  Intercepts become two components more.  Rows and columns without entries become NaN
    there, as LIBMF has them.  LIBMF predicts the mean where either side is unseen; offsets of the
    other side, ids, parameters and learning rates have no place in the file.  ``model.save`` loses
    nothing.

    Parameters
    ----------
    path : str or path-like
        The file; it is replaced at once, when all is written.
    model : FPSGFactorizer
        A fitted estimator with one of LIBMF's losses.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is no ``FPSGFactorizer``.
    ValueError
        If LIBMF does not have the loss.
    """
    if not isinstance(model, FPSGFactorizer):
        raise TypeError(f"LIBMF has models of FPSGFactorizer alone; got {type(model).__name__}.")
    check_is_fitted(model)
    task, number = model._task, _number_of(model.loss)
    mean = model.baseline_
    if task.kind == "booleans":  # which are -1 and 1 in LIBMF
        mean = 2.0 * float(model._row_sums.sum() / model._row_counts.sum()) - 1.0
    sides = (
        ("p", model.row_factors_, model._row_counts > 0),
        ("q", model.components_.T, model._column_counts > 0),
    )
    m, n, k = len(model.row_factors_), model.n_features_in_, len(model.components_)
    with replacing(path) as file:
        head = f"f {number}\nm {m}\nn {n}\nk {k}\nb {mean:.9g}\n"
        file.write(head.encode("ascii"))
        for name, factors, seen in sides:
            _write_factors(file, name, factors, seen)


def _number_of(loss: Any) -> int:
    """Return LIBMF's number of a loss, given by name or as an instance."""
    for number, name in LOSSES.items():
        if loss == name or (name in RECORDS and get_loss(loss) == get_loss(name)):
            return number
    raise ValueError(f"LIBMF has no loss {loss!r}; it has {', '.join(LOSSES.values())}.")


def _write_factors(file: BinaryIO, name: str, factors: Floats, seen: npt.NDArray[np.bool_]) -> None:
    k = factors.shape[1]
    for start in range(0, len(factors), ROWS_PER_WRITE):
        rows = factors[start : start + ROWS_PER_WRITE].astype(np.float32).tolist()
        line = f"{name}%d %s " + "%.9g " * k + "\n"
        none = (0.0,) * k
        file.write(
            "".join(
                line % ((i, "T", *row) if seen[i] else (i, "F", *none))
                for i, row in enumerate(rows, start)
            ).encode("ascii")
        )
