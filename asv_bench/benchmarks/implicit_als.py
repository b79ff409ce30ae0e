"""`ImplicitALS`: fits by rank, solver and threads, and what serves a fitted model."""

from __future__ import annotations

import copy

import numpy as np
from scipy import sparse

from skglrm import Entries
from skglrm.implicit_als import ImplicitALS
from skglrm.metrics import ndcg_at_k

from .common import Ratings, Timed, _Served, planted_ratings

# What this process has compiled, or loaded from the cache, already; see fpsg.py.
_warm: set[object] = set()


def planted_clicks() -> tuple[Ratings, Ratings]:
    """How often rows met columns, for training and test: the half of the cells that they like."""
    train, test = planted_ratings(n_entries=2_000_000, seed=1)
    return _clicks(train), _clicks(test)


def _clicks(ratings: Ratings) -> Ratings:
    liked = ratings[ratings.value > 3]
    often = np.maximum(np.rint(np.exp(liked.value - 3)), 1)
    return Ratings(liked.row, liked.col, often.astype(np.float32), liked.shape)


def matrix_of(clicks: Ratings) -> sparse.csr_array:
    return sparse.csr_array((clicks.value, (clicks.row, clicks.col)), shape=clicks.shape)


class Fit(Timed):
    """A whole fit, with the objective that it reaches: time alone could be bought with accuracy."""

    params = ([32, 128], [1, 2], ["auto", "cholesky", "cg", "subspace"])
    param_names = ["n_components", "n_jobs", "solver"]
    version = "2"

    def setup_cache(self) -> tuple[Ratings, Ratings]:
        return planted_clicks()

    def setup(
        self, data: tuple[Ratings, Ratings], n_components: int, n_jobs: int, solver: str
    ) -> None:
        train, self.test = data
        self.X = matrix_of(train)
        # So strong that rankings are better than by popularity, which says most about these clicks.
        self.estimator = ImplicitALS(
            n_components=n_components, regularization=100.0, solver=solver, max_iter=5,
            n_jobs=n_jobs, random_state=0,
        )  # fmt: skip
        key = ("fit", n_components, solver)
        if key not in _warm:
            copy.deepcopy(self.estimator).set_params(max_iter=2).fit(self.X[:500])
            _warm.add(key)

    def time_fit(self, *_: object) -> None:
        self.estimator.fit(self.X)

    def peakmem_fit(self, *_: object) -> None:
        self.estimator.fit(self.X)

    def track_objective(self, *_: object) -> float:
        """Per stored cell."""
        self.estimator.fit(self.X)
        return float(self.estimator.loss_curve_[-1] / self.X.nnz)

    def track_ndcg(self, *_: object) -> float:
        """Of held-out clicks among ten, for some rows."""
        rows = slice(0, 2_000)
        items, _scores = self.estimator.fit(self.X).recommend(self.X[rows], n=10)
        return float(ndcg_at_k(matrix_of(self.test)[rows], items, k=10, exclude=self.X[rows]))

    track_objective.unit = "loss per cell"  # type: ignore[attr-defined]
    track_ndcg.unit = "NDCG@10"  # type: ignore[attr-defined]


class Serve(_Served):
    """Calls on a fitted model: fold-in, recommendations, explanations, updates."""

    version = "2"
    warm = _warm

    def setup_cache(self) -> tuple[ImplicitALS, Ratings]:
        clicks, _ = planted_clicks()
        model = ImplicitALS(n_components=64, max_iter=5, random_state=0)
        return model.fit(matrix_of(clicks)), clicks

    def setup(self, cache: tuple[ImplicitALS, Ratings], n_jobs: int) -> None:
        fitted, clicks = cache
        self.rows = clicks.first_rows(2_000)
        first = clicks[clicks.row < 2_000]  # the full history of these rows
        self.histories = Entries(first.row, first.col, first.value, clicks.shape)
        self.prepare(fitted, n_jobs)

    def call_all(self, estimator: ImplicitALS) -> None:
        few = self.rows[:100]
        estimator.transform(few)
        estimator.recommend(few, n=10)
        estimator.explain(0, 0)
        estimator.similar_items([0], n=10)
        estimator.partial_fit(self.histories)
        estimator.partial_fit(few)

    def time_explain(self, *_: object) -> None:
        for item in range(20):
            self.estimator.explain(0, item)

    def time_similar_items(self, *_: object) -> None:
        self.estimator.similar_items(np.arange(2_000), n=10)

    def time_partial_fit_histories(self, *_: object) -> None:
        self.estimator.partial_fit(self.histories)
