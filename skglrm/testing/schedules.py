"""The laws of schedules."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..solvers.schedule import Schedule
from ._records import broken

SECONDS = 60.0
"""After so long a check of a backend or schedule says that it hangs."""


def check_schedule(schedule_class: type[Schedule], *, disjoint: bool = True) -> None:
    """Check that a schedule obeys the laws that block SGD relies on, with blocks that do nothing.

    - *disjoint*: blocks that are held at the same time share no band of rows or columns.
    - *empty*: blocks without entries are never handed out.
    - *epoch*: every epoch hands out as many blocks as have entries, and then ``None``.
    - *seed*: one thread gets the same blocks in the same order for the same seed.
    - *stop*: after ``stop`` nothing is handed out until the next epoch begins.
    - *hang*: nobody waits for ever.

    Parameters
    ----------
    schedule_class : type
        Class that is called as ``schedule_class(sizes, seed)``.
    disjoint : bool, default=True
        Whether the first law is asked for; ``HogWild`` gives it up.

    Raises
    ------
    AssertionError
        If a law is broken.  The message names the law and says what to fix.

    Examples
    --------
    >>> from skglrm.solvers.schedule import Rotation
    >>> from skglrm.testing import check_schedule
    >>> check_schedule(Rotation)
    """
    rng = np.random.default_rng(0)
    sparse = rng.integers(0, 3, (6, 6)) * rng.integers(1, 50, (6, 6))
    alone = np.zeros((3, 3), np.int64)
    alone[1, 2] = 4
    for sizes in (np.ones((1, 1), np.int64), alone, sparse, np.ones((7, 7), np.int64)):
        for n_threads in (1, 3):
            within_a_minute(
                schedule_class,
                lambda sizes=sizes, n_threads=n_threads: _check_epochs(
                    schedule_class, sizes, n_threads, disjoint
                ),
            )
        within_a_minute(
            schedule_class, lambda sizes=sizes: _check_order_and_stop(schedule_class, sizes)
        )


def _check_epochs(
    schedule_class: type[Schedule], sizes: npt.NDArray[np.int64], n_threads: int, disjoint: bool
) -> None:
    n_bands = len(sizes)
    schedule = schedule_class(sizes, 0)
    lock = threading.Lock()
    for epoch in range(3):
        held: list[int] = []
        taken: list[int] = []
        complaints: list[tuple[str, str, str]] = []

        def work(held=held, taken=taken, complaints=complaints):
            while (block := schedule.take()) is not None:
                with lock:
                    for other in held if disjoint else ():
                        if block // n_bands == other // n_bands or not (block - other) % n_bands:
                            found = f"blocks {block} and {other} of {n_bands}² were held together."
                            remedy = "Hand out blocks whose bands of rows and columns are free."
                            complaints.append(("disjoint", found, remedy))
                    held.append(block)
                    taken.append(block)
                time.sleep(0)  # let another thread take one
                with lock:
                    held.remove(block)
                schedule.give(block)

        schedule.begin(epoch)
        threads = [threading.Thread(target=work, daemon=True) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if complaints:
            broken(schedule_class, *complaints[0])
        for block in taken:
            if not sizes.flat[block]:
                found = f"block {block} of {sizes.tolist()} was handed out."
                broken(schedule_class, "empty", found, "Leave out blocks of size 0.")
        if len(taken) != np.count_nonzero(sizes):
            found = (
                f"epoch {epoch} with {n_threads} threads handed out {len(taken)} blocks, but "
                f"{np.count_nonzero(sizes)} of {sizes.tolist()} have entries."
            )
            broken(schedule_class, "epoch", found, "Count blocks when they are taken.")


def _check_order_and_stop(schedule_class: type[Schedule], sizes: npt.NDArray[np.int64]) -> None:
    first, second = schedule_class(sizes, 3), schedule_class(sizes, 3)
    for epoch in range(2):
        runs = []
        for schedule in (first, second):
            schedule.begin(epoch)
            run = []
            while (block := schedule.take()) is not None:
                run.append(block)
                schedule.give(block)
            runs.append(run)
        if runs[0] != runs[1]:
            found = f"with one thread and the same seed it gave {runs[0]} and {runs[1]}."
            broken(schedule_class, "seed", found, "Draw from the generator that is passed.")
    first.begin(2)
    block = first.take()
    first.stop()
    if block is None or first.take() is not None:
        found = "take returned another block after stop."
        broken(schedule_class, "stop", found, "Leave take and stop to Schedule.")
    first.give(block)
    first.begin(3)
    if first.take() is None:
        found = "begin did not start a new epoch after stop."
        broken(schedule_class, "stop", found, "Reset in _begin what an epoch changes.")


def within_a_minute(what: Any, check: Callable[[], None]) -> None:
    """Run a check in a thread of its own, so that it cannot hang the caller."""
    raised: list[BaseException] = []

    def run():
        try:
            check()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        found = f"no end after {SECONDS:g} seconds."
        broken(what, "hang", found, "Look for a wait that nobody ends.")
    if raised:
        raise raised[0]
