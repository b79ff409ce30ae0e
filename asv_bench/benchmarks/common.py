"""Data that all benchmarks share, made anew from a seed: no download, no file of others."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skglrm import Entries


@dataclass(frozen=True)
class Ratings:
    """Observed cells as plain arrays.

    asv pickles what `setup_cache` returns: arrays keep that independent of how a commit lays out
    its `Entries`.
    """

    row: NDArray[np.int32]
    col: NDArray[np.int32]
    value: NDArray[np.float32]
    shape: tuple[int, int]

    def __getitem__(self, where: slice | NDArray[np.bool_]) -> Ratings:
        return Ratings(self.row[where], self.col[where], self.value[where], self.shape)

    def entries(self) -> Entries:
        return Entries(self.row, self.col, self.value, self.shape)

    def first_rows(self, n_rows: int) -> sparse.csr_array:
        """The first rows as a matrix with all columns."""
        part = self[self.row < n_rows]
        shape = (n_rows, self.shape[1])
        return sparse.csr_array((part.value, (part.row, part.col)), shape=shape)


def planted_ratings(
    n_rows: int = 20_000,
    n_cols: int = 5_000,
    n_entries: int = 1_000_000,
    *,
    rank: int = 8,
    noise: float = 0.5,
    seed: int = 0,
) -> tuple[Ratings, Ratings]:
    """Training and test cells (a tenth) of a table of low rank with noise.

    Rows and columns are drawn with lognormal weights: few have very many cells and many have few,
    as in real ratings, which is what tests schedules and the balance of blocks. `noise` is the
    standard deviation of the noise, hence about the least test RMSE that a model can have.
    """
    rng = np.random.default_rng(seed)
    row_weight, col_weight = rng.lognormal(0, 1.0, n_rows), rng.lognormal(0, 1.3, n_cols)
    draws = 2 * n_entries  # popular cells come several times
    drawn_rows = rng.choice(n_rows, draws, p=row_weight / row_weight.sum())
    drawn_cols = rng.choice(n_cols, draws, p=col_weight / col_weight.sum())
    cells = np.unique(drawn_rows * n_cols + drawn_cols)
    if len(cells) < n_entries:
        raise ValueError(f"{n_entries} entries are too many for {n_rows} x {n_cols} cells")
    cells = rng.choice(cells, n_entries, replace=False)
    row, col = (cells // n_cols).astype(np.int32), (cells % n_cols).astype(np.int32)
    left = rng.normal(0, rank**-0.25, (n_rows, rank)).astype(np.float32)
    right = rng.normal(0, rank**-0.25, (n_cols, rank)).astype(np.float32)
    value = 3 + 0.4 * rng.normal(size=n_rows)[row] + 0.4 * rng.normal(size=n_cols)[col]
    value += np.einsum("ij,ij->i", left[row], right[col])
    value += rng.normal(0, noise, n_entries)
    ratings = Ratings(row, col, value.astype(np.float32), (n_rows, n_cols))
    test = rng.random(n_entries) < 0.1
    return ratings[~test], ratings[test]


class Timed:
    """How fits are timed: one call at a time, some repeats, compiled before by `setup`."""

    timeout = 300
    number = 1
    repeat: tuple[int, int, float] = (3, 10, 20.0)
    rounds = 1
    warmup_time = 0
    version = "1"


class _Served(Timed):
    """Calls on a fitted model; asv passes over names with an underscore, but not over heirs."""

    params = [1, 2]
    param_names = ["n_jobs"]
    repeat = (5, 30, 10.0)  # partial_fit changes the model: each sample needs a fresh one
    warm: set[object]  # what this process has compiled, or loaded from the cache, already

    def setup(self, cache: tuple[Any, Ratings, Ratings], n_jobs: int) -> None:
        fitted, train, new = cache
        self.rows = train.first_rows(2_000)
        self.new_entries = new[:50_000].entries()
        self.prepare(fitted, n_jobs)

    def prepare(self, fitted: Any, n_jobs: int) -> None:
        if ("serve", n_jobs) not in self.warm:
            self.call_all(copy.deepcopy(fitted).set_params(n_jobs=n_jobs))
            self.warm.add(("serve", n_jobs))
        self.estimator = copy.deepcopy(fitted).set_params(n_jobs=n_jobs)

    def call_all(self, estimator: Any) -> None:
        few = self.rows[:100]
        estimator.transform(few)
        estimator.recommend(few, n=10)
        estimator.partial_fit(self.new_entries[:1_000])
        estimator.partial_fit(few)

    def time_transform(self, *_: object) -> None:
        self.estimator.transform(self.rows)

    def time_recommend(self, *_: object) -> None:
        self.estimator.recommend(self.rows, n=10)

    def time_partial_fit_rows(self, *_: object) -> None:
        self.estimator.partial_fit(self.rows)


class _ServedRatings(_Served):
    """Those of a model that is updated by new cells."""

    def time_partial_fit_entries(self, *_: object) -> None:
        self.estimator.partial_fit(self.new_entries)
