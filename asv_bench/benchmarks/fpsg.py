"""`FPSGFactorizer`: fits by rank, threads and schedule, and what serves a fitted model."""

from __future__ import annotations

import copy

import numpy as np

from skglrm import Entries, FPSGFactorizer

from .common import Ratings, Timed, _ServedRatings, planted_ratings

# What this process has compiled, or loaded from the cache, already. asv calls `setup` again before
# every sample, and only the first call has anything to warm.
_warm: set[tuple[object, ...]] = set()


class Fit(Timed):
    """A whole fit, with the quality that it reaches: time alone could be bought with accuracy."""

    params = ([32, 128], [1, 2], ["fpsg", "rotation", "hogwild"])
    param_names = ["n_components", "n_jobs", "schedule"]

    def setup_cache(self) -> tuple[Ratings, Ratings]:
        return planted_ratings()

    def setup(
        self, data: tuple[Ratings, Ratings], n_components: int, n_jobs: int, schedule: str
    ) -> None:
        train, self.test = data
        self.entries = train.entries()
        self.estimator = FPSGFactorizer(
            n_components=n_components,
            regularization=0.05,
            max_iter=10,
            n_jobs=n_jobs,
            schedule=schedule,
            random_state=0,
        )
        key = ("fit", n_components, n_jobs, schedule)
        if key not in _warm:
            # Two iterations, since the first epoch may use a kernel of its own.
            copy.deepcopy(self.estimator).set_params(max_iter=2).fit(self.entries[:20_000])
            _warm.add(key)

    def time_fit(self, *_: object) -> None:
        self.estimator.fit(self.entries)

    def peakmem_fit(self, *_: object) -> None:
        self.estimator.fit(self.entries)

    def track_heldout_rmse(self, *_: object) -> float:
        self.estimator.fit(self.entries)
        predicted = self.estimator.predict_entries(self.test.row, self.test.col)
        error = np.asarray(predicted, np.float64) - self.test.value
        return float(np.sqrt(np.mean(error * error)))

    track_heldout_rmse.unit = "rmse"  # type: ignore[attr-defined]


class Losses(Timed):
    """Fits with the other losses, each with the score that it reaches."""

    params = ["absolute", "huber", "kl", "logistic", "hinge", "bpr_row"]
    param_names = ["loss"]

    def setup_cache(self) -> tuple[Ratings, Ratings]:
        return planted_ratings()

    def setup(self, data: tuple[Ratings, Ratings], loss: str) -> None:
        self.entries, self.test = (self._entries(part, loss) for part in data)
        self.estimator = FPSGFactorizer(
            n_components=32,
            loss=loss,
            nonnegative=loss == "kl",
            regularization=0.005 if loss == "bpr_row" else 0.05,
            max_iter=10,
            random_state=0,
        )
        if ("loss", loss) not in _warm:
            copy.deepcopy(self.estimator).set_params(max_iter=2).fit(self.entries[:20_000])
            _warm.add(("loss", loss))

    def _entries(self, ratings: Ratings, loss: str) -> Entries:
        value = ratings.value
        if loss in ("logistic", "hinge"):
            value = (value > value.mean()).astype(np.float32)
        elif loss in ("kl", "bpr_row"):
            value = np.exp(value - value.mean())
        return Entries(ratings.row, ratings.col, value, ratings.shape)

    def time_fit(self, *_: object) -> None:
        self.estimator.fit(self.entries)

    def track_heldout_score(self, *_: object) -> float:
        return float(self.estimator.fit(self.entries).score(self.test[:20_000]))

    track_heldout_score.unit = "score"  # type: ignore[attr-defined]


class Serve(_ServedRatings):
    """Calls on a fitted model: fold-in, recommendations, updates."""

    warm = _warm

    def setup_cache(self) -> tuple[FPSGFactorizer, Ratings, Ratings]:
        train, new = planted_ratings()
        estimator = FPSGFactorizer(n_components=64, max_iter=5, random_state=0)
        return estimator.fit(train.entries()), train, new
