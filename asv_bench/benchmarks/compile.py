"""What a first fit costs in a new process, with an empty and with a warm cache of kernels."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

# numba reports each function that it really compiles; one loaded from the cache is not reported.
_FIRST_FIT = """
import json, time
import numpy as np
from numba.core import event
from skglrm import Entries, FPSGFactorizer

rng = np.random.default_rng(0)
cells = rng.choice(200 * 100, 3_000, replace=False)
row, col = (cells // 100).astype(np.int32), (cells % 100).astype(np.int32)
entries = Entries(row, col, rng.normal(3, 1, 3_000).astype(np.float32), (200, 100))
estimator = FPSGFactorizer(n_components=16, max_iter=5, random_state=0)
with event.install_recorder("numba:compile") as recorder:
    start = time.perf_counter()
    estimator.fit(entries)
    seconds = time.perf_counter() - start
compiled = sum(item.is_start for _, item in recorder.buffer)
print(json.dumps({"fit": seconds, "compiled": compiled}))
"""


def _first_fit(cache_dir: str) -> dict[str, float]:
    """Seconds of the fit and of the whole process, and how many functions were compiled."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_FIT],
        env={**os.environ, "NUMBA_CACHE_DIR": cache_dir},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    process = time.perf_counter() - start
    return {"process": process, **json.loads(done.stdout.splitlines()[-1])}


class FirstFit:
    """Seconds are tracked, not timed: asv's timer would add the start of the interpreter."""

    timeout = 900
    version = "1"

    def setup_cache(self) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as cache_dir:
            cold = _first_fit(cache_dir)
            warm = [_first_fit(cache_dir) for _ in range(3)]
        return {
            "cold_fit": cold["fit"],
            "cold_compiled": cold["compiled"],
            "warm_fit": statistics.median(run["fit"] for run in warm),
            "warm_process": statistics.median(run["process"] for run in warm),
            "warm_compiled": max(run["compiled"] for run in warm),
        }

    setup_cache.timeout = 900  # type: ignore[attr-defined]

    def track_cold_fit(self, found: dict[str, float]) -> float:
        return found["cold_fit"]

    def track_cold_compiled(self, found: dict[str, float]) -> float:
        return found["cold_compiled"]

    def track_warm_fit(self, found: dict[str, float]) -> float:
        return found["warm_fit"]

    def track_warm_process(self, found: dict[str, float]) -> float:
        return found["warm_process"]

    def track_warm_compiled(self, found: dict[str, float]) -> float:
        """Must be 0: whatever is compiled again is missing from the cache."""
        return found["warm_compiled"]

    track_cold_fit.unit = track_warm_fit.unit = "s"  # type: ignore[attr-defined]
    track_warm_process.unit = "s"  # type: ignore[attr-defined]
    track_cold_compiled.unit = track_warm_compiled.unit = "functions"  # type: ignore[attr-defined]
