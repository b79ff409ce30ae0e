"""FPSGFactorizer's fit of a block file: what a fit in memory finds in all entries is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ._block_reader import BlockReader, StoredCells
from ._fpsg_start import Statistics, unit_of
from ._fpsg_task import Task, encoded
from .block_file import BlockFile
from .domains import Real

__all__ = ["StoredEntries", "stored"]

MOST_DISTINCT = 100_000
"""Distinct values from which the best constant is computed; if there are more, those of the first
blocks, which are a random part of the matrix."""


@contextmanager
def stored(model: Any, file: BlockFile, weights: Any) -> Iterator[StoredEntries]:
    """Open a file for a fit, and let the model know what it holds."""
    task = model._task
    _check(model, task, file, weights)
    values, counts = _distinct(task, file)
    low = -1.0 if task.kind == "booleans" and (values < 0).any() else 0.0
    if low and (values == 0).any():
        raise ValueError(
            f"The block file holds the values {', '.join(f'{v:g}' for v in values)}, which do not "
            "fit the loss: Booleans are 0 and 1, or -1 and 1. Change the data, or the loss."
        )
    if task.kind == "booleans":
        model.classes_ = np.array([low, 1.0])
    elif hasattr(model, "classes_"):
        del model.classes_
    model.n_features_in_ = file.matrix_shape[1]
    if hasattr(model, "feature_names_in_"):
        del model.feature_names_in_
    with file._open() as reader:
        yield StoredEntries(file, reader, values, counts, low)


def _check(model: Any, task: Task, file: BlockFile, weights: Any) -> None:
    """Refuse what needs all entries in memory, or another grid than the file's."""
    refused = None
    if task.of_positives:
        refused = f"loss={model.loss!r} must know all columns of a row"
    elif model.early_stopping:
        refused = "early_stopping=True draws entries to hold out from all of them"
    elif model.schedule == "hogwild":
        refused = "schedule='hogwild' shuffles all entries"
    elif model.schedule == "averaging":
        refused = "schedule='averaging' takes groups of rows, and the file holds a grid"
    elif model.backend != "numba-threads":
        refused = f"the file is on this machine, and the backend is {model.backend!r}"
    elif weights is not None:
        refused = "the file holds no weights"
    if refused:
        raise ValueError(
            f"{type(model).__name__} cannot fit a block file like that: {refused}. Pass Entries, "
            "or do without."
        )
    if model.n_blocks not in (None, file.n_blocks):
        raise ValueError(
            f"n_blocks={model.n_blocks}, but {file.path} was written with n_blocks={file.n_blocks}."
            " Leave it at None, or write the file again."
        )


@dataclass(frozen=True)
class StoredEntries:
    """A block file in the place of ``Entries``, for the time of a fit.

    ``values`` are distinct values and ``counts`` how often they occur, where a loss needs them.
    Booleans are read as 0 and 1 if ``low``, what stands for false in the file, is -1.
    """

    file: BlockFile
    reader: BlockReader
    values: npt.NDArray[np.float64]
    counts: npt.NDArray[Any]
    low: float
    row_ids: None = None
    col_ids: None = None

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Shape of the matrix."""
        return self.file.matrix_shape

    def __len__(self) -> int:
        return len(self.file)

    def statistics(self, task: Task) -> Statistics:
        """Describe the values; most of it has been found when the file was written."""
        tables, low = self.reader.tables, self.low
        rows, columns = tables.rows, tables.columns
        mean = float(rows.sums.sum() / rows.counts.sum())
        baseline = mean
        if task.loss.degree != 2.0:
            values = (self.values - low) / (1.0 - low)
            baseline = float(task.loss.best_constant(values, self.counts))
        unit = unit_of(tables.head.squares / len(self), mean) if task.has_unit else 1.0
        row_sums, column_sums = (
            (side.sums - low * side.counts) / (1.0 - low) for side in (rows, columns)
        )
        return Statistics(
            StoredCells.of(self.reader, low), rows.counts.copy(), row_sums,
            columns.counts.copy(), column_sums, baseline, unit,
        )  # fmt: skip


def _distinct(task: Task, file: BlockFile) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any]]:
    """Return distinct values and how often they occur, if the loss needs them; refuse bad ones."""
    values: npt.NDArray[Any] = np.zeros(0)
    counts: npt.NDArray[Any] = np.zeros(0)
    any_value = task.loss.domain == Real()
    if any_value and task.loss.degree == 2.0:
        return values, counts
    for part in file.blocks():
        encoded(task, part)  # raises if a value is outside the domain
        if values.size <= MOST_DISTINCT:
            new, n = np.unique(part.value.astype(np.float64), return_counts=True)
            values, at = np.unique(np.concatenate([values, new]), return_inverse=True)
            counts = np.bincount(at, np.concatenate([counts, n]))
        elif any_value:
            break
    return values, counts
