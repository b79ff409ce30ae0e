"""Threads keep the order of results, report failures, and count as scikit-learn does."""

import threading
import time

import joblib
import numpy as np
import pytest

from skglrm import FPSGFactorizer
from skglrm.backends import Backend, ThreadsBackend, effective_threads, get_backend
from skglrm.solvers.schedule import LeastUpdated, Rotation
from skglrm.testing import check_backend, check_schedule


@pytest.fixture(params=[1, 2, 5], ids="{} threads".format)
def backend(request):
    with ThreadsBackend(request.param) as threads:
        yield threads


class _Failure(Exception):
    pass


def _slow_first(block, shared):
    time.sleep(0.01 if block < 3 else 0.0)
    shared.append(block)
    return -block


def _fail_at_three(block, shared):
    if block == 3:
        raise _Failure("three")
    return block


def _thread(block, shared):
    shared.wait(10)
    return threading.get_ident()


def test_threads_obey_the_laws(backend):
    check_backend(backend)


def test_results_come_in_the_order_of_blocks_not_of_completion(backend):
    done = []
    assert backend.map(_slow_first, range(12), done) == [-block for block in range(12)]
    assert sorted(done) == list(range(12))
    if backend.n_threads == 5:
        assert done != sorted(done)


def test_an_exception_reaches_the_caller_and_the_pool_survives(backend):
    for _ in range(3):
        with pytest.raises(_Failure, match="three"):
            backend.map(_fail_at_three, range(8), None)
        assert backend.map(_fail_at_three, [0, 1], None) == [0, 1]


def test_tasks_run_side_by_side():
    with ThreadsBackend(3) as backend:
        together = threading.Barrier(3)
        assert len(set(backend.map(_thread, range(3), together))) == 3


def test_one_thread_is_the_thread_of_the_caller():
    before = threading.active_count()
    with ThreadsBackend() as backend:
        here = backend.map(_thread, [0], threading.Barrier(1))
        assert here == [threading.get_ident()]
        assert threading.active_count() == before


def test_closing_ends_the_threads():
    before = threading.active_count()
    with ThreadsBackend(4) as backend:
        backend.map(_thread, range(4), threading.Barrier(4))
        assert threading.active_count() == before + 4
    assert threading.active_count() == before
    backend.close()  # once more does no harm


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_fit_that_fails_leaves_no_thread(n_jobs, monkeypatch):
    def fail(*arguments):
        raise _Failure("in a kernel")

    monkeypatch.setattr("skglrm.solvers.block_sgd.sgd_block", fail)
    before = threading.active_count()
    X = np.random.default_rng(0).normal(size=(40, 30))
    with pytest.raises(_Failure, match="in a kernel"):
        FPSGFactorizer(2, n_jobs=n_jobs, n_blocks=5, random_state=0).fit(X)
    assert threading.active_count() == before


# ------------------------------------------------------------------ get_backend


def test_backends_have_a_name_or_are_instances():
    with get_backend("numba-threads", 3) as by_name:
        assert isinstance(by_name, ThreadsBackend)
        assert by_name.n_threads == 3
        assert get_backend(by_name, 1) is by_name


@pytest.mark.parametrize("backend", ["threads", "", None, 2, ThreadsBackend])
def test_unknown_backends_are_refused(backend):
    with pytest.raises(ValueError, match="Unknown backend .*'numba-threads'"):
        get_backend(backend, 1)


# ------------------------------------------------------------------ n_jobs


def test_none_is_one_thread():
    assert effective_threads(None) == 1


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_positive_numbers_are_obeyed(n_jobs):
    assert effective_threads(n_jobs) == n_jobs


def test_negative_numbers_count_from_all_processors():
    n = joblib.cpu_count()
    assert effective_threads(-1) == n
    assert effective_threads(-2) == max(1, n - 1)
    assert effective_threads(-1000) == 1


def test_zero_is_refused():
    with pytest.raises(ValueError, match="n_jobs"):
        effective_threads(0)
    with pytest.raises(ValueError, match="n_jobs"):
        FPSGFactorizer(n_jobs=0).fit(np.eye(4))


def test_too_many_threads_for_any_use_are_not_made():
    assert effective_threads(10**6) <= 4 * joblib.cpu_count()


def test_none_means_what_a_context_says():
    with joblib.parallel_config(n_jobs=3):
        assert effective_threads(None) == 3
        assert effective_threads(2) == 2
    with joblib.parallel_config("threading", n_jobs=2):
        assert effective_threads(None) == 2
    assert effective_threads(None) == 1


@pytest.mark.parametrize("outer", ["threading", "loky"])
def test_below_parallel_work_all_processors_are_dealt_out_already(outer):
    asked = [None, -1, -2, 1]
    with joblib.parallel_config(outer, n_jobs=2):
        found = joblib.Parallel()(joblib.delayed(effective_threads)(n_jobs) for n_jobs in asked)
    assert found == [1, 1, 1, 1]
    assert effective_threads(-1) == joblib.cpu_count()


def test_a_backend_that_breaks_laws_is_refused():
    class Unordered(ThreadsBackend):
        def map(self, task, blocks, shared):
            return super().map(task, blocks, shared)[::-1]

    class Silent(ThreadsBackend):
        def map(self, task, blocks, shared):
            try:
                return super().map(task, blocks, shared)
            except Exception:
                return []

    class Forgetful(ThreadsBackend):
        def sweep(self, task, schedule, shared):
            results = []
            while (block := schedule.take()) is not None:
                results.append((block, task(block, shared)))
                schedule.give(block)
            return results

    class Lossy(ThreadsBackend):
        def sweep(self, task, schedule, shared):
            return super().sweep(task, schedule, shared)[1:]

    class Unstopped(ThreadsBackend):
        def sweep(self, task, schedule, shared):
            results = []
            while (block := schedule.take()) is not None:
                try:
                    results.append((block, task(block, shared)))
                finally:
                    schedule.give(block)
            return results

    class Mortal(ThreadsBackend):
        dead = False

        def map(self, task, blocks, shared):
            if self.dead:
                raise RuntimeError("cannot schedule new futures")
            try:
                return super().map(task, blocks, shared)
            except Exception:
                self.dead = True
                raise

    for kind, law, found in (
        (Unordered, "order", "not in the order of the blocks"),
        (Silent, "errors", "did not reach the caller"),
        (Forgetful, "errors", "gave back"),
        (Lossy, "sweep", "sweep returned"),
        (Unstopped, "errors", "would still hand out"),
        (Mortal, "survival", "cannot schedule new futures"),
    ):
        with pytest.raises(AssertionError, match=f"(?s)breaks the law '{law}': .*{found}"):
            check_backend(kind())
    with pytest.raises(AssertionError, match="law 'instance'"):
        check_backend("numba-threads")
    assert issubclass(ThreadsBackend, Backend)


def test_a_schedule_that_breaks_laws_is_refused():
    class Conflicting(Rotation):
        def strata(self, rng):
            return [list(range(self.sizes.size))]

    class Short(LeastUpdated):
        def _begin(self, rng):
            super()._begin(rng)
            self._jobs = max(1, self._jobs - 1)

    class Unseeded(Rotation):
        def _begin(self, rng):
            super()._begin(np.random.default_rng())

    class Restless(LeastUpdated):
        def stop(self):
            pass

    for kind, law, found in (
        (Conflicting, "empty|disjoint", "was handed out|held together"),
        (Short, "epoch", "handed out"),
        (Unseeded, "seed", "same seed it gave"),
        (Restless, "stop", "after stop"),
    ):
        with pytest.raises(AssertionError, match=f"(?s)breaks the law '({law})': .*({found})"):
            check_schedule(kind)


def test_a_backend_that_hangs_is_refused(monkeypatch):
    monkeypatch.setattr("skglrm.testing.schedules.SECONDS", 0.2)
    never = threading.Event()

    class Hanging(ThreadsBackend):
        def map(self, task, blocks, shared):
            never.wait()
            raise SystemExit

    with pytest.raises(AssertionError, match="breaks the law 'hang': no end after 0.2 seconds"):
        check_backend(Hanging())
    never.set()
