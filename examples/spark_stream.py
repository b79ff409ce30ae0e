"""
Train, update, serve: a stream of ratings on Spark
==================================================

A model is fitted on yesterday's ratings and published. Today's arrive in files, as a stream: each
batch is in the published model exactly once, even if the stream is run again. A server reads the
current version, and knows users it had never seen before.

Needs ``pip install 'skglrm[spark]'`` and Java 17 or later.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from skglrm import Entries, FPSGFactorizer
from skglrm.spark import ModelVersions, update_exactly_once

COLUMNS = {"row": "user", "col": "film", "value": "stars"}


def ratings(first_user, n_users, seed):
    """Users with one of two tastes rate half of thirty films."""
    rng = np.random.default_rng(seed)
    user, film = np.nonzero(rng.random((n_users, 30)) < 0.5)
    liked = (user % 2) == (film % 2)
    stars = np.where(liked, 5.0, 1.0) + 0.3 * rng.standard_normal(user.size)
    names = [f"user {first_user + i:03d}" for i in user]
    return pd.DataFrame({"user": names, "film": film, "stars": stars})


def main(spark):
    home = Path(tempfile.mkdtemp())
    model = FPSGFactorizer(4, max_iter=30, random_state=0)
    model.fit(Entries.from_frame(ratings(0, 100, seed=0), **COLUMNS))
    versions = ModelVersions(home / "models")
    versions.publish(model)

    (home / "events").mkdir()
    for n in range(2):
        ratings(100 + 10 * n, 10, seed=1 + n).to_parquet(home / "events" / f"{n}.parquet")
    events = spark.readStream.schema("user string, film long, stars double").option(
        "maxFilesPerTrigger", 1
    )
    update = update_exactly_once(versions, stream="ratings", **COLUMNS)
    for _ in range(2):  # the second run finds nothing new
        stream = events.parquet(str(home / "events")).writeStream.foreachBatch(update)
        stream = stream.option("checkpointLocation", str(home / "checkpoint"))
        stream.trigger(availableNow=True).start().awaitTermination()

    served = versions.load()
    print(f"{versions.current} knows {len(served.row_factors_)} users")
    newcomer = np.flatnonzero(served.row_ids_ == "user 115")
    best = served.predict_entries(np.repeat(newcomer, 30), np.arange(30)).argsort()[::-1][:5]
    print(f"user 115 is shown films {sorted(served.col_ids_[best].tolist())}")
    return served, versions


if __name__ == "__main__":
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("ratings")
    # Spark cuts what it shuffles into 200 pieces, were they of a few rows.
    session = builder.config("spark.sql.shuffle.partitions", 2).getOrCreate()
    main(session)
    session.stop()
