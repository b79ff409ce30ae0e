"""Long use: memory stays flat, and answers are those of one thread.

    python tests/scale/soak.py              # 1,000 updates and 10,000 requests for each estimator
    python tests/scale/soak.py --share 0.1

Prints a line for each estimator, and fails if memory grows by more than MOST.  Updates and requests
have a process each: what others have freed is handed out again in pieces, which looks like growth.
"""

import argparse
import gc
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone

from skglrm import GLRM, Entries, FPSGFactorizer, ImplicitALS

MOST = 8e6
"""Bytes that memory may grow by, beyond what the model does: the allocator keeps some pages."""

N_THREADS = 8

MODELS = {
    "GLRM": GLRM(4, max_iter=5, tol=0.0, random_state=0),
    "ImplicitALS": ImplicitALS(8, max_iter=3, random_state=0),
    "FPSGFactorizer": FPSGFactorizer(8, max_iter=3, random_state=0),
}


def memory():
    """Bytes of this process that are in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def held(model):
    """Bytes of a model's arrays."""
    return sum(_bytes(one) for one in vars(model).values())


def _bytes(value):
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return sum(map(_bytes, vars(value).values())) if hasattr(value, "__dict__") else 0


def batch(n, n_new=20, n_columns=200):
    """Cells of rows that are new, and for other estimators than GLRM of columns that are."""
    rng = np.random.default_rng(n)
    row = np.repeat(np.arange(n_new), 15)
    col = np.concatenate([rng.choice(n_columns, 15, replace=False) for _ in range(n_new)])
    return row, col, rng.poisson(3.0, row.size) + 1.0


def batches(name, count):
    """Batches with ids that nobody has seen before."""
    for n in range(count):
        row, col, value = batch(n)
        if name == "GLRM":
            X = np.full((20, 200), np.nan)
            X[row, col] = value
            yield X
            continue
        items = np.array([f"item {i}" for i in range(200)], object)
        items[-1] = f"item {200 + n}"
        users = [f"user {20 * n + i}" for i in row.tolist()]
        frame = pd.DataFrame({"user": users, "item": items[col], "value": value})
        yield Entries.from_frame(frame, row="user", col="item", value="value")


def update(name, count, warm):
    """Many updates: bytes that memory has grown by beyond twice the model, and seconds."""
    source = batches(name, count)
    model = clone(MODELS[name]).fit(next(source))
    begin = start = None
    for n, X in enumerate(source, 2):
        model.partial_fit(X)
        if n == warm:
            start, begin = memory() - 2 * held(model), time.perf_counter()
    # Twice, because what grows has room to grow, and copies are made of it.
    grown = memory() - 2 * held(model) - start
    assert len(model.row_factors_) == 20 * count
    assert np.isfinite(model.row_factors_).all()
    return grown, time.perf_counter() - begin


def serve(name, count, warm):
    """Many requests from eight threads on one model: bytes grown, seconds, and whether right."""
    row, col, value = batch(0, n_new=400)
    X = Entries(row, col, value, (400, 200)).to_csr()
    model = clone(MODELS[name]).fit(X)
    requests = [X[[i]] for i in range(100)]
    expected = [model.recommend(one, n=10) for one in requests]

    def ask(n):
        items, scores = model.recommend(requests[n % 100], n=10)
        right = expected[n % 100]
        return np.array_equal(items, right[0]) and np.array_equal(scores, right[1])

    with ThreadPoolExecutor(N_THREADS) as pool:
        right = all(pool.map(ask, range(warm)))
        start, begin = memory(), time.perf_counter()
        for first in range(0, count, warm):  # what waits in the queue takes memory, too
            right &= all(pool.map(ask, range(first, first + warm)))
        return memory() - start, time.perf_counter() - begin, right


def alone(function, *arguments):
    """Call a function in a process of its own."""
    # One of a server that has imported everything.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as pool:
        return pool.submit(function, *arguments).result()


def soak(name, n_updates, n_requests):
    """Figures of one estimator."""
    updated = alone(update, name, n_updates, n_updates // 4)
    served = alone(serve, name, n_requests, n_requests // 10)
    return {
        "updates": n_updates,
        "grown_by_updates": updated[0],
        "seconds_of_updates": round(updated[1], 2),
        "requests": n_requests,
        "grown_by_requests": served[0],
        "seconds_of_requests": round(served[1], 2),
        "right": bool(served[2]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="of 1,000 and 10,000")
    parser.add_argument("names", nargs="*", default=list(MODELS))
    options = parser.parse_args()
    failed = False
    for name in options.names:
        found = soak(name, int(1000 * options.share), int(10_000 * options.share))
        print(json.dumps({"estimator": name, **found}), flush=True)
        grown = max(found["grown_by_updates"], found["grown_by_requests"])
        failed |= grown > MOST or not found["right"]
    sys.exit(failed)


if __name__ == "__main__":
    main()
