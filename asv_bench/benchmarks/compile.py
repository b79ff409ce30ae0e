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
import json, sys, time, warnings
import numpy as np
from numba.core import event
import skglrm

warnings.simplefilter("ignore")  # five iterations are few

rng = np.random.default_rng(0)
cells = rng.choice(200 * 100, 3_000, replace=False)
row, col = (cells // 100).astype(np.int32), (cells % 100).astype(np.int32)
value = rng.uniform(1, 5, 3_000).astype(np.float32)
entries = skglrm.Entries(row, col, value, (200, 100))
estimator = getattr(skglrm, sys.argv[1])(n_components=16, max_iter=5, random_state=0)
with event.install_recorder("numba:compile") as recorder:
    start = time.perf_counter()
    estimator.fit(entries)
    seconds = time.perf_counter() - start
compiled = sum(item.is_start for _, item in recorder.buffer)
print(json.dumps({"fit": seconds, "compiled": compiled}))
"""


def _first_fit(name: str, cache_dir: str) -> dict[str, float]:
    """Seconds of the fit and of the whole process, and how many functions were compiled."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_FIT, name],
        env={**os.environ, "NUMBA_CACHE_DIR": cache_dir},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    process = time.perf_counter() - start
    return {"process": process, **json.loads(done.stdout.splitlines()[-1])}


def _cold_and_warm(name: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as cache_dir:
        cold = _first_fit(name, cache_dir)
        warm = [_first_fit(name, cache_dir) for _ in range(3)]
    return {
        "cold_fit": cold["fit"],
        "cold_compiled": cold["compiled"],
        "warm_fit": statistics.median(run["fit"] for run in warm),
        "warm_process": statistics.median(run["process"] for run in warm),
        "warm_compiled": max(run["compiled"] for run in warm),
    }


class FirstFit:
    """Seconds are tracked, not timed: asv's timer would add the start of the interpreter."""

    params = ["FPSGFactorizer", "GLRM", "ImplicitALS"]
    param_names = ["estimator"]
    timeout = 900
    version = "2"

    def setup_cache(self) -> dict[str, dict[str, float]]:
        return {name: _cold_and_warm(name) for name in self.params}

    setup_cache.timeout = 900  # type: ignore[attr-defined]

    def track_cold_fit(self, found: dict[str, dict[str, float]], name: str) -> float:
        return found[name]["cold_fit"]

    def track_cold_compiled(self, found: dict[str, dict[str, float]], name: str) -> float:
        return found[name]["cold_compiled"]

    def track_warm_fit(self, found: dict[str, dict[str, float]], name: str) -> float:
        return found[name]["warm_fit"]

    def track_warm_process(self, found: dict[str, dict[str, float]], name: str) -> float:
        return found[name]["warm_process"]

    def track_warm_compiled(self, found: dict[str, dict[str, float]], name: str) -> float:
        """Must be 0: whatever is compiled again is missing from the cache."""
        return found[name]["warm_compiled"]

    track_cold_fit.unit = track_warm_fit.unit = "s"  # type: ignore[attr-defined]
    track_warm_process.unit = "s"  # type: ignore[attr-defined]
    track_cold_compiled.unit = track_warm_compiled.unit = "functions"  # type: ignore[attr-defined]
