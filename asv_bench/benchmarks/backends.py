"""The same fits by threads and by Spark: what a cluster costs before it helps.

Spark's rows are left out without pyspark and a Java.  The session is `local[2]`, so both have two
cores; what is seen is the price of jobs and broadcasts, not of a network.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import numpy as np

from skglrm import GLRM, Entries, FPSGFactorizer, ImplicitALS

from .common import Ratings, planted_ratings

ESTIMATORS: dict[str, Any] = {
    "FPSGFactorizer": FPSGFactorizer(regularization=0.05, schedule="rotation"),
    "FPSGFactorizer, averaging": FPSGFactorizer(regularization=0.05, schedule="averaging"),
    "GLRM": GLRM(regularization=1.0, tol=0.0),
    "ImplicitALS": ImplicitALS(),
}
BACKENDS = ["numba-threads", "spark"]


def session() -> Any:
    """The session of this process, made at the first call; asv skips where there can be none."""
    from skglrm._spark.java import provide_java
    from skglrm.spark import SparkBackendError

    try:
        provide_java()
        from pyspark.sql import SparkSession
    except (ImportError, SparkBackendError) as error:
        raise NotImplementedError(str(error)) from error
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master("local[2]")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def entries_of(ratings: Ratings, name: str) -> Entries:
    value = np.exp(ratings.value - 3) if name == "ImplicitALS" else ratings.value
    return Entries(ratings.row, ratings.col, value, ratings.shape)


class Fit:
    """Five iterations, kernels compiled and workers started before."""

    params = (list(ESTIMATORS), BACKENDS)
    param_names = ["estimator", "backend"]
    timeout = 600
    number = 1
    repeat = (3, 5, 30.0)
    rounds = 1
    warmup_time = 0
    version = "1"

    def setup_cache(self) -> Ratings:
        ratings, _ = planted_ratings(n_entries=400_000)
        return ratings

    def setup(self, ratings: Ratings, name: str, backend: str) -> None:
        if backend == "spark":
            session()
        self.entries = entries_of(ratings, name)
        self.estimator = ESTIMATORS[name].set_params(
            n_components=32, max_iter=5, n_jobs=2, random_state=0, backend=backend
        )
        self.fit(self.entries[:20_000])

    def fit(self, entries: Entries) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is stopped early on purpose
            self.estimator.fit(entries)

    def time_fit(self, *_: object) -> None:
        self.fit(self.entries)

    def peakmem_fit(self, *_: object) -> None:
        """Of the driver's Python; the JVM and the workers are processes of their own."""
        self.fit(self.entries)

    def track_objective(self, *_: object) -> float:
        """Must be the same for both backends, to the last digit."""
        self.fit(self.entries)
        return float(self.estimator.loss_curve_[-1])

    track_objective.unit = "loss"  # type: ignore[attr-defined]


class FitOfDataFrame:
    """The same on Spark, of cells in a data frame: pieces are built where the cells are."""

    params = (["FPSGFactorizer", "GLRM", "ImplicitALS"],)
    param_names = ["estimator"]
    timeout = 600
    number = 1
    repeat = (3, 5, 30.0)
    rounds = 1
    warmup_time = 0
    version = "1"

    def setup_cache(self) -> Ratings:
        ratings, _ = planted_ratings(n_entries=400_000)
        return ratings

    def setup(self, ratings: Ratings, name: str) -> None:
        spark = session()
        entries = entries_of(ratings, name)
        frame = spark.createDataFrame(entries.to_frame(backend="pyarrow")).persist()
        self.entries = Entries.from_spark(frame, row="row", col="col", value="value")
        self.estimator = ESTIMATORS[name].set_params(
            n_components=32, max_iter=1, n_jobs=2, random_state=0, backend="spark"
        )
        self.time_fit()
        self.estimator.set_params(max_iter=5)

    def time_fit(self, *_: object) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.estimator.fit(self.entries)
