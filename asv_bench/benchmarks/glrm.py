"""`GLRM`: fits by loss, quality at equal iterations, fold-in, and cost by observed cells."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skglrm.glrm import GLRM
from skglrm.losses import Huber, Logistic, Multinomial, OrdinalHinge, Poisson

from .common import Ratings, Timed, _ServedRatings, planted_ratings

# What this process has compiled, or loaded from the cache, already; see fpsg.py.
_warm: set[object] = set()

N_LEVELS = 4
LOSSES: dict[str, Any] = {
    "quadratic": "quadratic",
    "huber": Huber(1.0),
    "logistic": Logistic(),
    "poisson": Poisson(),
    "ordinal": OrdinalHinge(0, N_LEVELS - 1),
    "multinomial": Multinomial(N_LEVELS),
}


def planted_table(loss: str, n_rows: int, n_cols: int, rank: int = 10) -> NDArray[np.float64]:
    """A table of low rank that suits a loss; 30 % of its cells are missing."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(n_rows, rank)) @ rng.normal(size=(rank, n_cols)) / np.sqrt(rank)
    noise = rng.normal(size=scores.shape)
    if loss in ("quadratic", "nonnegative"):
        values = scores + 0.3 * noise
    elif loss == "huber":
        values = scores + np.where(rng.random(scores.shape) < 0.05, 5.0, 0.3) * noise
    elif loss == "logistic":
        values = (2 * scores + noise > 0).astype(float)
    elif loss == "poisson":
        values = rng.poisson(np.exp(0.5 * scores)).astype(float)
    else:
        values = np.clip(np.rint(1.5 + scores + 0.5 * noise), 0, N_LEVELS - 1)
    if loss == "nonnegative":
        values = abs(values)
    values[rng.random(values.shape) < 0.3] = np.nan
    return values


def fit_quietly(estimator: GLRM, X: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is stopped early on purpose
        estimator.fit(X)


class Fit(Timed):
    """A whole fit of one loss, with the objective that it reaches: speed must not cost quality."""

    params = (list(LOSSES), [1, 2])
    param_names = ["loss", "n_jobs"]
    shape = (2_000, 60)

    n_new = 500

    def setup(self, loss: str, n_jobs: int) -> None:
        n_rows, n_cols = self.shape
        table = planted_table(loss, n_rows + self.n_new, n_cols)
        self.X, self.new_rows = table[:n_rows], table[n_rows:]
        self.estimator = GLRM(
            n_components=10, loss=LOSSES[loss], max_iter=10, tol=0.0, n_jobs=n_jobs, random_state=0
        )
        if ("fit", loss) not in _warm:
            fit_quietly(self.estimator, self.X[:200])
            _warm.add(("fit", loss))

    def time_fit(self, *_: object) -> None:
        fit_quietly(self.estimator, self.X)

    def peakmem_fit(self, *_: object) -> None:
        fit_quietly(self.estimator, self.X)

    def track_objective(self, *_: object) -> float:
        """Per observed cell."""
        fit_quietly(self.estimator, self.X)
        return float(self.estimator.objective_ / np.isfinite(self.X).sum())

    def track_score_of_new_rows(self, *_: object) -> float:
        """D² of a fifth of their cells, predicted from the others."""
        fit_quietly(self.estimator, self.X)
        return float(self.estimator.score(self.new_rows))

    track_objective.unit = "loss per cell"  # type: ignore[attr-defined]
    track_score_of_new_rows.unit = "D²"  # type: ignore[attr-defined]


class Nonnegative(Fit):
    """Non-negative factors of a table with missing and of one without."""

    params = (["missing", "complete"], [1, 2])
    param_names = ["cells", "n_jobs"]

    def setup(self, cells: str, n_jobs: int) -> None:
        n_rows, n_cols = self.shape
        table = planted_table("nonnegative", n_rows + self.n_new, n_cols)
        if cells == "complete":
            table = np.nan_to_num(table)
        self.X, self.new_rows = table[:n_rows], table[n_rows:]
        self.estimator = GLRM(
            n_components=10, row_regularizer="nonnegative", column_regularizer="nonnegative",
            max_iter=10, tol=0.0, n_jobs=n_jobs, random_state=0,
        )  # fmt: skip
        if ("nonnegative", cells) not in _warm:
            fit_quietly(self.estimator, self.X[:200])
            _warm.add(("nonnegative", cells))


class Target(Timed):
    """20,000 x 100, 30 % missing, quadratic loss: the fit that is compared with H2O's."""

    params = [1, 2]
    param_names = ["n_jobs"]
    repeat = (5, 20, 20.0)

    def setup(self, n_jobs: int) -> None:
        self.X = planted_table("quadratic", 20_000, 100)
        self.estimator = GLRM(n_components=10, n_jobs=n_jobs, random_state=0)
        if "target" not in _warm:
            fit_quietly(self.estimator, self.X[:200])
            _warm.add("target")
        fit_quietly(self.estimator, self.X)  # transform needs a model

    def time_fit(self, *_: object) -> None:
        self.estimator.fit(self.X)

    def peakmem_fit(self, *_: object) -> None:
        self.estimator.fit(self.X)

    def time_transform(self, *_: object) -> None:
        self.estimator.transform(self.X)

    def time_impute(self, *_: object) -> None:
        self.estimator.impute(self.X)


class ObservedCells(Timed):
    """Cost follows the observed cells: tables of very different size, each with a million."""

    params = ["20000 x 1000", "20000 x 50000", "200000 x 1000"]
    param_names = ["shape"]
    timeout = 600
    repeat = (3, 5, 20.0)

    def setup(self, shape: str) -> None:
        n_rows, n_cols = map(int, shape.split(" x "))
        rng = np.random.default_rng(0)
        cells = np.unique(rng.integers(0, n_rows * n_cols, 1_000_000))
        row, col = cells // n_cols, cells % n_cols
        left, right = rng.normal(size=(n_rows, 3)), rng.normal(size=(n_cols, 3))
        value = np.einsum("ij,ij->i", left[row], right[col]) + 0.3 * rng.normal(size=cells.size)
        self.X = sparse.csr_array((value.astype(np.float32), (row, col)), shape=(n_rows, n_cols))
        self.estimator = GLRM(
            n_components=10, regularization=1.0, max_iter=5, tol=0.0, random_state=0
        )
        if "cells" not in _warm:
            fit_quietly(self.estimator, self.X[:200])
            _warm.add("cells")

    def time_fit(self, *_: object) -> None:
        fit_quietly(self.estimator, self.X)

    def peakmem_fit(self, *_: object) -> None:
        fit_quietly(self.estimator, self.X)


class Serve(_ServedRatings):
    """Calls on a model of ratings: fold-in, recommendations, updates."""

    timeout = 600
    warm = _warm

    def setup_cache(self) -> tuple[GLRM, Ratings, Ratings]:
        train, new = planted_ratings()
        model = GLRM(n_components=16, regularization=1.0, max_iter=5, tol=0.0, random_state=0)
        fit_quietly(model, train.entries())
        return model, train, new

    setup_cache.timeout = 600  # type: ignore[attr-defined]
