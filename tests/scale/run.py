"""Sizes that take minutes or gigabytes, and how long Ctrl-C takes in long fits.

    python tests/scale/run.py                       # everything
    python tests/scale/run.py --share 0.1 rows      # a tenth of the size, one part
    python tests/scale/run.py entries               # 52 GB of disk for a while: only if asked for

Each part runs in a process of its own and prints its figures as a line of JSON; a part whose model
is wrong fails.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from skglrm import GLRM, BlockFile, Entries, FPSGFactorizer, ImplicitALS

K = 4


def planted(n_rows, n_columns, per_row, seed=0, H=None):
    """Entries of a matrix of rank K, none of them negative."""
    rng = np.random.default_rng(seed)
    W = rng.random((n_rows, K), np.float32)
    H = rng.random((n_columns, K), np.float32) if H is None else H
    row = np.repeat(np.arange(n_rows, dtype=np.int32), per_row)
    start = rng.integers(0, n_columns, n_rows, dtype=np.int32)
    steps = np.arange(per_row, dtype=np.int32) * (n_columns // per_row)
    col = ((start[:, None] + steps) % n_columns).ravel()
    value = np.einsum("ij,ij->i", W[row], H[col]) + np.float32(0.1)
    return Entries(row, col, value, (n_rows, n_columns))


def estimators():
    """One of each, in the order of their memory."""
    return {
        "FPSGFactorizer": FPSGFactorizer(K, max_iter=5, n_jobs=2, random_state=0),
        "ImplicitALS": ImplicitALS(K, max_iter=3, n_jobs=2, random_state=0),
        "GLRM": GLRM(K, max_iter=3, tol=0.0, n_jobs=2, random_state=0),
    }


def peak():
    """Most memory that this process has had, in GB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return round(int(line.split()[1]) * 1024 / 1e9, 2)
    return float("nan")


def fitted(name, X):
    """Fit, and check that the model predicts finite values that follow the data."""
    estimators()[name].fit(X[:1000])  # compiled
    clocks = time.perf_counter, time.process_time
    begin = [clock() for clock in clocks]
    model = estimators()[name].fit(X)
    seconds, of_processors = (clock() - was for clock, was in zip(clocks, begin, strict=True))
    some = np.random.default_rng(0).choice(len(X), min(len(X), 100_000), replace=False)
    predicted = model.predict_entries(X.row[some], X.col[some])
    assert np.isfinite(predicted).all()
    if name != "ImplicitALS":
        assert np.corrcoef(predicted, X.value[some])[0, 1] > 0.5
    return {
        "entries": len(X),
        "seconds": round(seconds, 1),
        "seconds_of_processors": round(of_processors, 1),
        "peak_gb": peak(),
    }


def rows(name, share):
    """Ten million rows with four entries each."""
    return fitted(name, planted(int(1e7 * share), 2000, 4))


def long_row(name, share):
    """One row with a million entries among a thousand with a hundred."""
    n = int(1e6 * share)
    X = planted(1000, n, 100)
    row = np.concatenate([X.row, np.full(n, 1000, np.int32)])
    col = np.concatenate([X.col, np.arange(n, dtype=np.int32)])
    value = np.concatenate([X.value, np.bincount(X.col, X.value, n).astype(np.float32) + 1])
    return fitted(name, Entries(row, col, value, (1001, n)))


def one_row(name, share):
    """A million entries, all in one row."""
    n = int(1e6 * share)
    value = np.random.default_rng(0).random(n, np.float32) + 1
    return fitted(name, Entries(np.zeros(n, np.int32), np.arange(n, dtype=np.int32), value))


def entries(name, share):
    """More than 2³¹ entries, in a block file."""
    n_columns, per_row, rows_per_chunk = 4000, 1000, 5000
    n_chunks = max(2, int(430 * share))
    shape = (n_chunks * rows_per_chunk, n_columns)
    H = np.random.default_rng(0).random((n_columns, K), np.float32)

    def chunk(n):
        X = planted(rows_per_chunk, n_columns, per_row, seed=n, H=H)
        return X.row + np.int32(n * rows_per_chunk), X.col, X.value

    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        file = BlockFile.write(Path(folder, "entries"), map(chunk, range(n_chunks)), shape=shape)
        written = time.perf_counter() - begin
        model = FPSGFactorizer(K, max_iter=2, n_jobs=2, random_state=0).fit(file)
        size = file.path.stat().st_size
    for n in (0, n_chunks - 1):  # what is counted first, and beyond 32 bits
        row, col, value = chunk(n)
        assert np.corrcoef(model.predict_entries(row, col), value)[0, 1] > 0.5
    return {
        "entries": len(file),
        "file_gb": round(size / 1e9, 1),
        "seconds_of_writing": round(written, 1),
        "seconds": round(time.perf_counter() - begin, 1),
        "peak_gb": peak(),
    }


def interrupts(name, share):
    """Seconds from Ctrl-C to the return of a fit that would take very long; the worst of ten."""
    X = planted(int(1e6 * share), 2000, 20)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    model = estimators()[name].set_params(max_iter=2, n_components=16)
    model.fit(X[: len(X) // 100])  # compiled
    model.set_params(max_iter=10_000)
    rng, waits, n_threads = np.random.default_rng(0), [], threading.active_count()
    for _ in range(10):
        pressed = []
        threading.Thread(target=_press, args=(rng.uniform(0.5, 6.0), pressed), daemon=True).start()
        try:
            model.fit(X)
            raise AssertionError("The fit was not interrupted.")
        except KeyboardInterrupt:
            waits.append(time.perf_counter() - pressed[0])
        time.sleep(0.1)
        assert threading.active_count() <= n_threads
        assert np.isfinite(model.components_).all()
    return {"entries": len(X), "worst_seconds": round(max(waits), 3)}


def _press(after, pressed):
    time.sleep(after)
    pressed.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)


COLD = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from sklearn.base import clone
from skglrm import GLRM, FPSGFactorizer, ImplicitALS

X = np.random.default_rng(0).poisson(1.0, (60, 20)).astype(float)
models = [
    GLRM(2, max_iter=3, tol=0.0, random_state=0),
    ImplicitALS(3, max_iter=2, random_state=0),
    FPSGFactorizer(3, max_iter=2, schedule="rotation", random_state=0),
]
barrier = threading.Barrier(8)


def work(n):
    barrier.wait()
    return [(i % 3, clone(models[i % 3]).fit(X).components_.tobytes()) for i in range(n, n + 3)]


with ThreadPoolExecutor(8) as pool:
    found = {one for result in pool.map(work, range(8)) for one in result}
assert len(found) == 3, "threads disagree"
import hashlib
print(hashlib.sha256(b"".join(one for _, one in sorted(found))).hexdigest())
"""


def cold(name, share):
    """Two processes with eight threads each fit all estimators at once, with no kernel compiled."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"env": {**os.environ, "NUMBA_CACHE_DIR": folder}, "stdout": subprocess.PIPE}
        begin = time.perf_counter()
        pair = [subprocess.Popen([sys.executable, "-c", COLD], **options) for _ in range(2)]
        found = [process.communicate()[0] for process in pair]
        assert all(process.returncode == 0 for process in pair)
        seconds = time.perf_counter() - begin
        again = subprocess.run([sys.executable, "-c", COLD], **options, check=True).stdout
    assert {*found} == {again}
    return {"seconds": round(seconds, 1)}


PARTS = {
    "rows": rows, "long_row": long_row, "one_row": one_row, "interrupts": interrupts, "cold": cold,
    "entries": entries,
}  # fmt: skip
ALONE = ("cold", "entries")
"""Parts that are of one estimator, or of all at once."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the sizes")
    parser.add_argument("--estimator", choices=list(estimators()))
    usual = [part for part in PARTS if part != "entries"]
    parser.add_argument("parts", nargs="*", default=usual, metavar=f"{{{','.join(PARTS)}}}")
    options = parser.parse_args()
    if options.estimator and len(options.parts) == 1:
        part = options.parts[0]
        found = PARTS[part](options.estimator, options.share)
        print(json.dumps({"part": part, "estimator": options.estimator, **found}), flush=True)
        return
    failed = False
    for part in options.parts:
        for name in list(estimators())[: 1 if part in ALONE else None]:
            arguments = [part, "--estimator", name, "--share", str(options.share)]
            failed |= bool(subprocess.run([sys.executable, __file__, *arguments]).returncode)
    sys.exit(failed)


if __name__ == "__main__":
    main()
