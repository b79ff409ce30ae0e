"""Fits in many threads and processes at once are those of one alone."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone
from threadpoolctl import threadpool_info, threadpool_limits

from skglrm import GLRM, FPSGFactorizer, ImplicitALS
from skglrm.solvers.base import one_blas_thread


def counts(seed=0):
    X = np.random.default_rng(seed).poisson(1.0, (60, 20)).astype(float)
    return X


MODELS = [
    GLRM(2, max_iter=5, tol=0.0, random_state=0),
    ImplicitALS(3, max_iter=3, n_jobs=2, random_state=0),
    FPSGFactorizer(3, max_iter=3, schedule="rotation", n_blocks=3, n_jobs=2, random_state=0),
]


def factors(model, X):
    fitted = clone(model).fit(X)
    return [fitted.row_factors_, fitted.components_, fitted.transform(X)]


def test_eight_threads_that_fit_at_once_get_what_one_gets():
    expected = [factors(model, counts()) for model in MODELS]
    barrier = threading.Barrier(8)

    def work(n):
        barrier.wait()
        order = [(n + i) % len(MODELS) for i in range(2 * len(MODELS))]
        return [(i, factors(MODELS[i], counts())) for i in order]

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(work, range(8)):
            for i, arrays in found:
                for array, other in zip(arrays, expected[i], strict=True):
                    np.testing.assert_array_equal(array, other)


def test_eight_threads_that_ask_one_model_get_what_one_gets():
    X = counts()
    for model in MODELS:
        fitted = clone(model).fit(X)

        def ask(n, fitted=fitted):
            some = X[n : n + 5]
            return [*fitted.recommend(some, n=3), fitted.transform(some), fitted.score(X)]

        expected = [ask(n) for n in range(8)]
        with ThreadPoolExecutor(8) as pool:
            for found, right in zip(pool.map(ask, range(8)), expected, strict=True):
                for one, other in zip(found, right, strict=True):
                    np.testing.assert_array_equal(one, other)


def blas_threads():
    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]


def test_fits_side_by_side_give_the_threads_of_blas_back():
    steps = [threading.Event() for _ in range(3)]

    def second():
        steps[0].wait(60)
        with one_blas_thread():
            steps[1].set()
            steps[2].wait(60)
            seen.append(blas_threads())

    seen = []
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        thread = threading.Thread(target=second)
        thread.start()
        with one_blas_thread():
            steps[0].set()
            steps[1].wait(60)
        # The first has left, and the second still computes: it must not get more threads, for its
        # bits would depend on who else fits.
        steps[2].set()
        thread.join(60)
        assert seen == [[1] * len(before)]
        assert blas_threads() == before


FORKED = """
import json, multiprocessing, os, sys, warnings
import numpy as np
from sklearn.base import clone
from skglrm import GLRM, FPSGFactorizer, ImplicitALS

warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of fork and threads
X = np.random.default_rng(0).poisson(1.0, (60, 20)).astype(float)
models = [
    GLRM(2, max_iter=5, tol=0.0, n_jobs=2, random_state=0),
    ImplicitALS(3, max_iter=3, n_jobs=2, random_state=0),
    FPSGFactorizer(3, max_iter=3, schedule="rotation", n_blocks=3, n_jobs=2, random_state=0),
]
fitted = [clone(model).fit(X) for model in models]


def same(_=None):
    again = [clone(model).fit(X) for model in models]
    return all(
        np.array_equal(one.components_, other.components_)
        and np.array_equal(one.recommend(X, n=3)[0], other.recommend(X, n=3)[0])
        for one, other in zip(fitted, again)
    )


child = os.fork()
if not child:
    os._exit(0 if same() else 1)
status = os.waitpid(child, 0)[1]
with multiprocessing.get_context("fork").Pool(2) as pool:
    in_pool = pool.map(same, range(4))
print(json.dumps([status, in_pool, same()]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_children_of_a_process_that_has_fitted_fit_and_predict(run):
    assert run(FORKED) == [0, [True] * 4, True]
