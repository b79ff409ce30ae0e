"""Compare `ImplicitALS(backend="spark")` with Spark ML's ALS, and measure what Spark costs.

    python asv_bench/peers/spark_als.py --what speed --n-components 64 128
    python asv_bench/peers/spark_als.py --what memory growth others

**speed.** Both run in one `local[2]` session on the same frame of generated clicks. Spark ML has
its defaults (10 blocks, no checkpoints); `conversions.from_spark` makes the problems equal, and
one function computes the objective of both in float64. Spark ML reports no times of iterations, so
its time per iteration is the difference of fits of different lengths; ours is that between
reports. Fits alternate.

**memory.** A model of 600 MB is published to 1, then 2 workers at once; what each worker has for
itself is read from `/proc/<pid>/smaps_rollup`, before and after it opens the model.

**growth.** 50 iterations: persisted RDDs, bytes in the local directories, and the memory of the
driver, at the beginning and at the end.

**others.** GLRM and FPSG on Spark beside threads, with the bytes and seconds of an iteration.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

import numpy as np
import scipy.sparse as sp

from skglrm import GLRM, FPSGFactorizer, ImplicitALS
from skglrm._spark.published import Published, packed
from skglrm.backends import SparkBackend
from skglrm.conversions import from_spark

REG, ALPHA = 0.01, 1.0

RUNS: list[Any] = []
"""What estimators have started, the last one at the end."""

_start = SparkBackend.start


def noted(options: SparkBackend, local: Any) -> Any:
    RUNS.append(_start(options, local))
    return RUNS[-1]


SparkBackend.start = noted  # type: ignore[method-assign]


def used() -> dict[str, Any]:
    """What the last fit has sent."""
    return [run.info for run in RUNS if run.info["n_jobs"]][-1]


def session(directory: str) -> Any:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]")
    for name, value in {
        "spark.driver.memory": "6g",
        "spark.driver.maxResultSize": "3g",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.default.parallelism": "2",
        "spark.sql.shuffle.partitions": "4",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": directory,
    }.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def clicks(n_rows: int, n_columns: int, n_cells: int) -> sp.csr_array:
    """Clicks with long-tailed rows and columns, and ten tastes."""
    rng = np.random.default_rng(0)
    taste = rng.integers(0, 10, n_rows), rng.integers(0, 10, n_columns)
    row = (n_rows * rng.random(3 * n_cells) ** 2).astype(np.int64)
    column = (n_columns * rng.random(3 * n_cells) ** 3).astype(np.int64)
    keep = (taste[0][row] == taste[1][column]) | (rng.random(row.size) < 0.4)
    cells = np.unique(row[keep] * n_columns + column[keep])
    cells = np.sort(rng.permutation(cells)[:n_cells])
    pairs = np.divmod(cells, n_columns)
    return sp.csr_array((np.ones(cells.size, np.float32), pairs), shape=(n_rows, n_columns))


def objective(X: sp.csr_array, W: np.ndarray, H: np.ndarray) -> float:
    """Objective of Spark ML: weights 1 + alpha v, regParam times the number of positive cells."""
    W, H = W.astype(np.float64), H.astype(np.float64)
    counts = np.diff(X.indptr), np.bincount(X.indices, minlength=X.shape[1])
    total = float(np.sum((W.T @ W) * (H.T @ H)))
    for factors, n in zip((W, H), counts, strict=True):
        total += REG * float(n @ np.einsum("ij,ij->i", factors, factors))
    rows = np.repeat(np.arange(X.shape[0]), counts[0])
    for start in range(0, X.nnz, 1_000_000):
        part = slice(start, start + 1_000_000)
        u = np.einsum("ij,ij->i", W[rows[part]], H[X.indices[part]])
        w = ALPHA * X.data[part].astype(np.float64)
        total += float(np.sum((1 + w) * (1 - u) ** 2 - u * u))
    return total


# ------------------------------------------------------------------------------------- speed


def fit_peer(frame: Any, k: int, n_iter: int, shape: tuple[int, int]) -> Any:
    from pyspark.ml.recommendation import ALS

    als = ALS(
        rank=k, maxIter=n_iter, regParam=REG, alpha=ALPHA, implicitPrefs=True, seed=0,
        userCol="row", itemCol="col", ratingCol="value", checkpointInterval=-1,
    )  # fmt: skip
    begun = time.perf_counter()
    model = als.fit(frame)
    seconds = time.perf_counter() - begun
    factors = []
    for table, n in ((model.userFactors, shape[0]), (model.itemFactors, shape[1])):
        found = table.toPandas()
        side = np.zeros((n, k))
        side[found["id"].to_numpy()] = np.stack(found["features"].to_numpy())
        factors.append(side)
    return seconds, factors


def fit_ours(X: sp.csr_array, k: int, n_iter: int) -> Any:
    data, parameters = from_spark(X, regParam=REG, alpha=ALPHA)
    model = ImplicitALS(k, **parameters, max_iter=n_iter, n_jobs=2, random_state=0, backend="spark")
    begun = time.perf_counter()
    model.fit(data)
    seconds = time.perf_counter() - begun
    return seconds, np.diff(model.history_["seconds"]), model, used()


def speed(spark: Any, args: argparse.Namespace) -> None:
    X = clicks(*args.generate)
    print(f"{X.shape[0]} x {X.shape[1]}, {X.nnz} cells")
    coo = X.tocoo()
    import pandas as pd

    frame = spark.createDataFrame(
        pd.DataFrame({"row": coo.row, "col": coo.col, "value": coo.data})
    ).persist()
    frame.count()
    fit_ours(X[:2000], 8, 2)
    for k in args.n_components:
        fit_ours(X, k, 2), fit_peer(frame, k, 1, X.shape)  # the warm-up
        ours, theirs = [], []
        for _ in range(args.rounds):
            short, _ = fit_peer(frame, k, 1, X.shape)
            long, factors = fit_peer(frame, k, 1 + args.n_iter, X.shape)
            theirs.append((long - short) / args.n_iter)
            whole, each, model, info = fit_ours(X, k, 1 + args.n_iter)
            ours.append(statistics.median(each[:-1] if len(each) > 1 else each))
        reached = objective(X, *factors), objective(X, model.row_factors_, model.components_.T)
        sent = info["bytes_sent"] / info["n_jobs"]
        print(
            f"k = {k:3d}  Spark ML {min(theirs):6.2f} s per iteration, objective {reached[0]:,.0f}"
            f"\nk = {k:3d}  skglrm   {min(ours):6.2f} s per iteration, objective {reached[1]:,.0f} "
            f"(whole fit {whole:.1f} s against {long:.1f} s; {sent / 1e6:.1f} MB sent per job)"
            f"\nk = {k:3d}  {min(theirs) / min(ours):.1f} times as fast per iteration",
            flush=True,
        )


# ------------------------------------------------------------------------------------- memory


def memory(spark: Any, args: argparse.Namespace) -> None:
    context, n_bytes = spark.sparkContext, 600_000_000
    shape = n_bytes // 4 // 64 // 2, 64
    published = Published(context, packed([np.ones(shape, np.float32) for _ in range(2)]))

    def look(_: Any) -> Any:
        def own() -> float:
            lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
            return sum(int(one.split()[1]) for one in lines if one.startswith("Private_")) / 1e3

        def proportional() -> float:
            lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
            return sum(int(one.split()[1]) for one in lines if one.startswith("Pss:")) / 1e3

        before = own(), proportional()
        sides, is_mapped = published.open()
        total = sum(float(side.sum()) for side in sides)
        time.sleep(4)
        after = own(), proportional()
        time.sleep(2)
        return [(os.getpid(), is_mapped, total > 0, before, after)]

    context.parallelize(range(2), 2).map(lambda _: time.sleep(1)).count()
    found = context.parallelize(range(2), 2).mapPartitions(look).collect()
    published.destroy()
    for pid, is_mapped, _, before, after in found:
        extra = after[0] - before[0]
        print(
            f"worker {pid}: mapped {is_mapped}, private {extra:.0f} MB more "
            f"({100 * extra * 1e6 / n_bytes:.1f} % of the model), proportional "
            f"{after[1] - before[1]:.0f} MB more"
        )
    assert len({one[0] for one in found}) == 2, "one worker did both: try again"


# ------------------------------------------------------------------------------------- growth


def growth(spark: Any, args: argparse.Namespace) -> None:
    X = clicks(4000, 1000, 60_000)
    jvm = spark.sparkContext._jvm.java.lang.Runtime.getRuntime()

    def state() -> str:
        disk = sum(p.stat().st_size for p in Path(args.directory).rglob("*") if p.is_file())
        jvm.gc()
        heap = (jvm.totalMemory() - jvm.freeMemory()) / 1e6
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        kept = spark.sparkContext._jsc.getPersistentRDDs().size()
        return (
            f"{kept} RDDs, {disk / 1e6:6.1f} MB on disk, heap {heap:5.0f} MB, driver {peak:5.0f} MB"
        )

    class Watched(ImplicitALS):
        def _report(self, iteration: int, *others: Any, **further: Any) -> bool:
            if iteration in (2, 10, 25, 50):
                print(f"iteration {iteration:2d}: {state()}", flush=True)
            return bool(super()._report(iteration, *others, **further))

    print(f"before      : {state()}")
    Watched(64, max_iter=51, random_state=0, backend="spark").fit(X)
    time.sleep(1)
    print(f"after       : {state()}")


# ------------------------------------------------------------------------------------- others


def others(spark: Any, args: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(20_000, 10)) @ rng.normal(size=(10, 100))
    table[rng.random(table.shape) < 0.3] = np.nan
    ratings = clicks(20_000, 4000, 1_000_000).astype(np.float32)
    ratings.data[:] = 1 + rng.integers(0, 5, ratings.nnz)
    sgd = {"n_blocks": 4, "max_iter": 6, "n_jobs": 2, "random_state": 0}
    cases = {
        "GLRM, 20,000 x 100, k = 10": (GLRM(10, max_iter=6, tol=0, n_jobs=2), table),
        "FPSG rotation, k = 32": (FPSGFactorizer(32, schedule="rotation", **sgd), ratings),
        "FPSG averaging, k = 32": (FPSGFactorizer(32, schedule="averaging", **sgd), ratings),
        "ImplicitALS, k = 64": (ImplicitALS(64, max_iter=6, n_jobs=2, random_state=0), ratings),
    }
    rdd = spark.sparkContext.parallelize(range(2), 2)
    empty = min(_seconds(lambda: rdd.map(abs).collect()) for _ in range(10))
    print(f"an empty job of two Python tasks: {empty:.3f} s; seconds of an iteration:")
    print("| | threads | Spark | jobs | MB sent | pack and broadcast | in jobs |")
    for name, (model, X) in cases.items():
        seconds = {}
        for backend in ("numba-threads", "numba-threads", "spark", "spark"):  # the second counts
            model.set_params(backend=backend).fit(X)
            seconds[backend] = float(np.median(np.diff(model.history_["seconds"])))
        info = used()
        n = model.n_iter_
        print(
            f"| {name} | {seconds['numba-threads']:.3f} | {seconds['spark']:.3f} | "
            f"{info['n_jobs'] / n:.1f} | {info['bytes_sent'] / n / 1e6:.1f} | "
            f"{info['seconds_sending'] / n:.3f} | {info['seconds_running'] / n:.3f} |",
            flush=True,
        )


def _seconds(run: Any) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--what", nargs="+", default=["speed"], choices=["speed", "memory", "growth", "others"]
    )
    parser.add_argument("--generate", nargs=3, type=int, default=[20_000, 6_000, 1_000_000])
    parser.add_argument("--n-components", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--n-iter", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        args.directory = directory
        spark = session(directory)
        for what in args.what:
            globals()[what](spark, args)
        spark.stop()


if __name__ == "__main__":
    main()
