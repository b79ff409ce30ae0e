"""Ctrl-C at any moment: the model is as it was, or usable, and nothing goes on behind it."""

import contextlib
import copy
import gc
import itertools
import random
import signal
import sys
import threading
import time

import numpy as np
import pytest
from sklearn.base import clone
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from skglrm import GLRM, Entries, FPSGFactorizer, ImplicitALS
from skglrm.backends import ThreadsBackend
from skglrm.block_file import BlockFile
from skglrm.solvers.base import one_blas_thread
from skglrm.solvers.schedule import Rotation

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers of the system"),
    # Pressed while Python frees something, Ctrl-C is printed and lost: the fit goes on.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TIMES = 12


def interrupted(call, after):
    """Press Ctrl-C some seconds after a call has begun; return whether it was still running."""
    armed = True

    def press(*_):
        if armed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, press)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(after, 1e-6))
        call()
        armed = False
        return False
    except KeyboardInterrupt:
        return True
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def duration(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def moments(whole, seed, hits):
    """Seconds after which to press, until enough have hit; sooner when calls end before."""
    rng = random.Random(seed)
    while len(hits) < TIMES or sum(hits) < TIMES // 3:
        assert len(hits) < 10 * TIMES
        yield rng.uniform(0, whole)
        if not hits[-1]:
            whole *= 0.9


def ended(n_threads):
    """Wait until no more threads are alive than there were."""
    for _ in range(500):
        if threading.active_count() <= n_threads:
            return True
        time.sleep(0.01)
    return False


def blas_threads():
    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]


def arrays(model):
    return {name: value for name, value in vars(model).items() if isinstance(value, np.ndarray)}


def assert_same(a, b):
    assert vars(a).keys() - {"_memory"} == vars(b).keys() - {"_memory"}  # copies have none
    for name, array in arrays(a).items():
        np.testing.assert_array_equal(array, arrays(b)[name], err_msg=name)


def table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 30)) + 0.1 * rng.normal(size=(300, 30))
    X[rng.random(X.shape) < 0.4] = np.nan
    return X


def clicks():
    return np.random.default_rng(0).poisson(0.3, (400, 90)).astype(float)


def ratings():
    return Entries.from_matrix(table())


FITS = {
    "GLRM": (GLRM(3, max_iter=15, tol=0.0, n_jobs=2, random_state=0), table),
    "GLRM of a loss with kinks": (
        GLRM(2, loss="huber", max_iter=4, tol=0.0, n_jobs=2, random_state=0), table,
    ),
    "ImplicitALS": (ImplicitALS(8, max_iter=15, n_jobs=2, random_state=0), clicks),
    "FPSGFactorizer": (
        FPSGFactorizer(8, schedule="rotation", n_blocks=5, max_iter=30, n_jobs=2, random_state=0),
        ratings,
    ),
}  # fmt: skip


@contextlib.contextmanager
def nothing_left():
    gc.collect()
    n_threads, n_blas = threading.active_count(), blas_threads()
    yield
    assert ended(n_threads)
    assert blas_threads() == n_blas


def check_usable(model, X):
    assert np.isfinite(model.row_factors_).all() and np.isfinite(model.components_).all()
    assert model.n_iter_ == len(model.loss_curve_) >= 1
    assert np.isfinite(model.transform(X)).all()


@pytest.mark.parametrize("name", FITS)
def test_an_interrupted_fit_leaves_the_model_as_it_was_or_usable(name):
    model, make = FITS[name]
    X, hits = make(), []
    small = make()[:100] if not isinstance(X, Entries) else X[: len(X) // 2]
    expected = clone(model).fit(X)
    whole = duration(lambda: clone(model).fit(X))
    with nothing_left():
        for after in moments(whole, 0, hits):
            one = clone(model)
            if len(hits) % 2:  # one that is fitted already keeps its factors
                one.fit(small)
            before = copy.deepcopy(one)
            hits.append(interrupted(lambda one=one: one.fit(X), after))
            if not hits[-1]:
                assert_same(one, expected)
            elif isinstance(one, FPSGFactorizer) and hasattr(one, "history_"):
                check_usable(one, small)  # it keeps what it has reached
            else:
                assert_same(one, before)
            assert "_watch" not in vars(one)
    assert_same(clone(model).fit(X), expected)


@pytest.mark.parametrize("name", ["GLRM", "ImplicitALS", "FPSGFactorizer"])
def test_an_interrupted_update_leaves_the_model_as_it_was(name):
    model, make = FITS[name]
    X, hits = make(), []
    parts = (X[:200], X[200:]) if not isinstance(X, Entries) else (X[::2], X[1::2])
    fitted = clone(model).fit(parts[0])
    expected = copy.deepcopy(fitted).partial_fit(parts[1])
    whole = duration(lambda: copy.deepcopy(fitted).partial_fit(parts[1]))
    with nothing_left():
        for after in moments(whole, 1, hits):
            one = copy.deepcopy(fitted)
            hits.append(interrupted(lambda one=one: one.partial_fit(parts[1]), after))
            assert_same(one, fitted if hits[-1] else expected)
            if hits[-1]:
                assert_same(one.partial_fit(parts[1]), expected)


def test_ctrl_c_anywhere_gives_the_threads_of_blas_back():
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers

    def numbers():
        return [library.num_threads for library in libraries]

    with one_blas_thread():
        pass  # from now on it knows the libraries
    with threadpool_limits(limits=2, user_api="blas"):
        expected, ended = numbers(), False
        for moment in itertools.count():
            n_events = 0

            def press(frame, event, argument, moment=moment):
                nonlocal n_events
                n_events += event in ("call", "c_return")  # where Python looks for signals
                if n_events == moment + 1:
                    n_events += 1
                    raise KeyboardInterrupt

            sys.setprofile(press)
            try:
                with one_blas_thread():
                    pass
                ended = n_events <= moment
            except KeyboardInterrupt:
                pass
            finally:
                sys.setprofile(None)
            assert numbers() == expected, moment
            if ended:
                break
    assert moment > 20


def test_an_interrupted_writer_of_a_block_file_leaves_no_file(tmp_path):
    X, path, hits = ratings(), tmp_path / "blocks", []

    def write():
        BlockFile.write(path, X, n_blocks=4, random_state=0)

    write()
    whole, content = duration(write), path.read_bytes()
    for after in moments(whole, 2, hits):
        path.write_bytes(b"old")
        hits.append(interrupted(write, after))
        assert path.read_bytes() in ((b"old", content) if hits[-1] else (content,))
        assert [one.name for one in tmp_path.iterdir()] == ["blocks"]


def test_an_interrupted_fit_of_a_block_file_closes_it(tmp_path):
    file = BlockFile.write(tmp_path / "blocks", ratings(), n_blocks=5, random_state=0)
    model, hits = clone(FITS["FPSGFactorizer"][0]).set_params(n_blocks=None), []
    expected = clone(model).fit(file)
    whole = duration(lambda: clone(model).fit(file))
    with nothing_left():
        for after in moments(whole, 3, hits):
            one = clone(model)
            hits.append(interrupted(lambda one=one: one.fit(file), after))
            if hits[-1]:
                assert not hasattr(one, "components_") or one.n_iter_ <= model.max_iter
    assert_same(clone(model).fit(file), expected)


@pytest.mark.parametrize("verb", ["map", "sweep"])
def test_an_interrupt_while_work_is_handed_out_ends_it(verb):
    # An iteration of a large fit has thousands of blocks: they would take minutes.
    begun, handed_out, n_blocks = [], [], 1000

    def task(block, _):
        begun.append(block)
        time.sleep(0.002)

    with pytest.raises(KeyboardInterrupt), ThreadsBackend(2) as backend:
        submit = backend._pool.submit

        def submit_or_interrupt(*arguments):
            handed_out.append(None)
            if len(handed_out) == (500 if verb == "map" else 2):
                raise KeyboardInterrupt
            return submit(*arguments)

        backend._pool.submit = submit_or_interrupt
        if verb == "map":
            backend.map(task, range(n_blocks), None)
        else:
            schedule = Rotation(np.ones((40, 40), np.int64), 0)
            schedule.begin(0)
            backend.sweep(task, schedule, None)
    assert len(begun) < 250
