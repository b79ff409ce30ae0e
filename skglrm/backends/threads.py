"""Kernels that release the interpreter lock, on a plain thread pool.

No threading layer is involved, so nothing aborts when two fits run in two threads, forking between
fits is safe, and Linux, macOS and Windows behave alike.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from numbers import Integral
from typing import Any

import joblib
import numpy as np
from joblib.parallel import get_active_backend

from .base import Backend

__all__ = ["ThreadsBackend", "effective_threads"]


def effective_threads(n_jobs: Any) -> int:
    """Return the number of threads that scikit-learn's ``n_jobs`` means here.

    ``None`` is 1 unless a ``joblib.parallel_config`` context says otherwise, -1 all processors that
    this process may use.  Below another level of joblib parallelism negative numbers mean 1,
    because the outer level has dealt the processors out already.
    """
    if n_jobs is not None and (isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral)):
        raise TypeError(f"n_jobs must be an integer or None. Got {n_jobs!r} instead.")
    nested = getattr(get_active_backend()[0], "nesting_level", 0) or 0
    if n_jobs is not None and n_jobs < 0 and nested > 0:
        return 1
    n_threads = int(joblib.effective_n_jobs(n_jobs))
    # More threads than that could only wait for each other.  Counting processors takes long.
    return n_threads if n_threads <= 4 else min(n_threads, 4 * joblib.cpu_count())


class ThreadsBackend(Backend):
    """Runs tasks on ``n_threads`` threads of this process; one thread means the caller's own."""

    def __init__(self, n_threads: int = 1):
        self.n_threads = n_threads
        # NumPy's warnings are off, as they are in the thread that looks at the results.
        quiet = partial(np.seterr, all="ignore")
        self._pool = ThreadPoolExecutor(n_threads, initializer=quiet) if n_threads > 1 else None

    def map(self, task, blocks, shared):  # noqa: D102
        blocks = list(blocks)
        if (
            self._pool is None or len(blocks) == 1
        ):  # starting a thread takes as long as a small task
            return [task(block, shared) for block in blocks]
        return list(self._pool.map(lambda block: task(block, shared), blocks))

    def sweep(self, task, schedule, shared):  # noqa: D102
        results: list[tuple[int, object]] = []

        def work():
            while (block := schedule.take()) is not None:
                try:
                    results.append((block, task(block, shared)))
                except BaseException:
                    schedule.stop()
                    raise
                finally:
                    schedule.give(block)

        if self._pool is None:
            work()
            return results
        workers = []
        try:
            for _ in range(self.n_threads):
                workers.append(self._pool.submit(work))
            for worker in workers:
                worker.result()
        finally:
            # After an error or an interrupt here the others finish the block in hand and stop.
            schedule.stop()
            for worker in workers:
                worker.exception()
        return results

    def close(self):  # noqa: D102
        if self._pool is not None:
            # What an interrupt has left in the queue may be most of an iteration.
            self._pool.shutdown(cancel_futures=True)
