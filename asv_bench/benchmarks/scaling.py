"""How a fit's time grows with the cells, with k and with threads: one thing varies at a time."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np

from skglrm import GLRM, Entries, FPSGFactorizer, ImplicitALS

from .common import Ratings, Timed, planted_ratings

# What this process has compiled, or loaded from the cache, already; see fpsg.py.
_warm: set[object] = set()

ESTIMATORS: dict[str, Any] = {
    "FPSGFactorizer": FPSGFactorizer(regularization=0.05),
    "GLRM": GLRM(regularization=1.0, tol=0.0),
    "ImplicitALS": ImplicitALS(),
}


def fit_quietly(estimator: Any, entries: Entries) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is stopped early on purpose
        estimator.fit(entries)


class _Scaling(Timed):
    """Two iterations on the first of 20,000 x 5,000 cells, which lie in random order."""

    timeout = 600
    repeat = (3, 5, 20.0)

    def setup_cache(self) -> Ratings:
        ratings, _ = planted_ratings(n_entries=1_800_000)
        return ratings

    def prepare(self, ratings: Ratings, name: str, cells: int, k: int, n_jobs: int) -> None:
        part = ratings[:cells]
        value = np.exp(part.value - 3) if name == "ImplicitALS" else part.value
        self.entries = Entries(part.row, part.col, value, part.shape)
        self.estimator = copy.deepcopy(ESTIMATORS[name]).set_params(
            n_components=k, n_jobs=n_jobs, max_iter=2, random_state=0
        )
        if (name, k) not in _warm:
            fit_quietly(copy.deepcopy(self.estimator), self.entries[:20_000])
            _warm.add((name, k))


class Cells(_Scaling):
    """Ten times the cells should take at most about ten times as long."""

    params = (list(ESTIMATORS), [150_000, 500_000, 1_500_000])
    param_names = ["estimator", "cells"]

    def setup(self, ratings: Ratings, name: str, cells: int) -> None:
        self.prepare(ratings, name, cells, k=32, n_jobs=1)

    def time_fit(self, *_: object) -> None:
        fit_quietly(self.estimator, self.entries)

    def peakmem_fit(self, *_: object) -> None:
        fit_quietly(self.estimator, self.entries)


class Components(_Scaling):
    """Linear in k for block SGD; squares and cubes of k take over in least squares."""

    params = (list(ESTIMATORS), [8, 32, 128])
    param_names = ["estimator", "n_components"]

    def setup(self, ratings: Ratings, name: str, n_components: int) -> None:
        self.prepare(ratings, name, 500_000, n_components, n_jobs=1)

    def time_fit(self, *_: object) -> None:
        fit_quietly(self.estimator, self.entries)


class Threads(_Scaling):
    """By threads; more than the machine has cores say nothing."""

    params = (list(ESTIMATORS), [1, 2, 4])
    param_names = ["estimator", "n_jobs"]

    def setup(self, ratings: Ratings, name: str, n_jobs: int) -> None:
        self.prepare(ratings, name, 1_500_000, k=32, n_jobs=n_jobs)

    def time_fit(self, *_: object) -> None:
        fit_quietly(self.estimator, self.entries)
