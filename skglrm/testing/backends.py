"""The laws of backends."""

from __future__ import annotations

import time

import numpy as np

from ..backends.base import Backend
from ..solvers.schedule import Rotation, Schedule
from ._records import broken
from .schedules import within_a_minute


def check_backend(backend: Backend) -> None:
    """Check that a backend obeys the laws that solvers rely on.

    - *order*: ``map`` returns the results in the order of the blocks, whichever ends first, and
      takes any iterable of blocks, an empty one as well.
    - *shared*: every task gets what is shared.
    - *sweep*: every block that the schedule hands out is run once, and given back once.
    - *errors*: an exception in a task reaches the caller, and the schedule has all its blocks back.
    - *survival*: the backend works on after it.
    - *hang*: all this ends within a minute.

    Parameters
    ----------
    backend : Backend
        The backend to check; it stays open.

    Raises
    ------
    AssertionError
        If a law is broken.  The message names the law and says what to fix.

    Examples
    --------
    >>> from skglrm.backends import ThreadsBackend
    >>> from skglrm.testing import check_backend
    >>> with ThreadsBackend(2) as backend:
    ...     check_backend(backend)
    """
    if not isinstance(backend, Backend):
        found = f"it is no instance of {Backend.__name__}."
        broken(backend, "instance", found, f"Derive it from {Backend!r}.")
    within_a_minute(backend, lambda: _check_verbs(backend))


def _check_verbs(backend: Backend) -> None:
    _check_map(backend)
    _check_sweep(backend)
    for verb in (_failing_map, _failing_sweep):
        try:
            verb(backend)
        except _TaskError as error:
            if error.args != (FAILING,):
                found = f"the exception arrived with the arguments {error.args!r}."
                broken(backend, "errors", found, "Raise the exception of the task unchanged.")
        else:
            found = "an exception in a task did not reach the caller."
            broken(backend, "errors", found, "Raise it again when the tasks have ended.")
    try:
        _check_map(backend)
        _check_sweep(backend)
    except Exception as error:
        raise AssertionError(
            f"{backend!r} breaks the law 'survival': after an exception in a task it fails with "
            f"{error!r}. An exception must leave the backend as it was."
        ) from error


FAILING = 5


class _TaskError(Exception):
    """What a task of these checks raises."""


def _square_slowly(block: int, shared: int) -> int:
    time.sleep(0.002 if block % 4 == 0 else 0.0)
    return shared + block * block


def _fail_at_one(block: int, shared: int) -> int:
    if block == shared:
        raise _TaskError(block)
    return block


def _check_map(backend: Backend) -> None:
    expected = [100 + block * block for block in range(30)]
    for blocks in (range(30), iter(range(30)), list(range(30))):
        results = backend.map(_square_slowly, blocks, 100)
        if results != expected:
            if sorted(results) == expected:
                found = f"the results came as {results}, not in the order of the blocks."
                broken(backend, "order", found, "Sort results by block.")
            found = f"map returned {results} instead of {expected}."
            broken(backend, "shared", found, "Call task(block, shared) once for every block.")
    if backend.map(_square_slowly, [], 0) != []:
        broken(backend, "order", "without blocks map returned something.", "Return [].")


class _Watched:
    """A schedule that notes what is done with it."""

    def __init__(self, schedule: Schedule):
        self.schedule = schedule
        self.taken: list[int] = []
        self.given: list[int] = []

    def take(self):
        block = self.schedule.take()
        if block is not None:
            self.taken.append(block)
        return block

    def give(self, block):
        self.given.append(block)
        self.schedule.give(block)

    def stop(self):
        self.schedule.stop()


def _new_schedule() -> _Watched:
    schedule = Rotation(np.ones((5, 5), np.int64), seed=0)
    schedule.begin(0)
    return _Watched(schedule)


def _check_sweep(backend: Backend) -> None:
    watched = _new_schedule()
    results = backend.sweep(_square_slowly, watched, 7)
    expected = [(block, 7 + block * block) for block in range(25)]
    if sorted(results) != expected:
        found = f"sweep returned {sorted(results)} instead of {expected}."
        remedy = "Run every block that take returns once; return (block, result) pairs."
        broken(backend, "sweep", found, remedy)
    _check_all_given(backend, watched, "sweep")


def _check_all_given(backend: Backend, watched: _Watched, law: str) -> None:
    if sorted(watched.taken) != sorted(watched.given):
        found = f"it took the blocks {sorted(watched.taken)} and gave back {sorted(watched.given)}."
        broken(backend, law, found, "Give every block back once, in a finally clause.")


def _failing_map(backend: Backend) -> None:
    backend.map(_fail_at_one, range(30), FAILING)


def _failing_sweep(backend: Backend) -> None:
    watched = _new_schedule()
    try:
        backend.sweep(_fail_at_one, watched, FAILING)
    finally:
        _check_all_given(backend, watched, "errors")
        if watched.take() is not None:
            found = "after an exception the schedule would still hand out blocks."
            broken(backend, "errors", found, "Call schedule.stop() when a task fails.")
