"""What a fit on Spark survives, and what it says when it does not."""

import os
import signal
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone

from skglrm import ImplicitALS
from skglrm._spark.errors import SparkBackendError
from skglrm.backends import Scattered, SparkBackend, ThreadsBackend
from skglrm.backends.spark import SparkRun


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("skglrm.solvers.implicit.NUMBERS_PER_TASK", 5000)


def clicks():
    return sp.csr_array(np.random.default_rng(0).poisson(0.2, (200, 70)).astype(np.float32))


def dies(block, shared):
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(SparkRun):
    """Its third job kills the Python workers that it runs on."""

    def map(self, task, blocks, shared):
        third = isinstance(shared, Scattered) and self.info["n_jobs"] == 2
        return super().map(dies if third else task, blocks, shared)


def test_a_python_worker_killed_in_a_task_is_an_error_and_the_session_stays_usable(spark):
    # A local session tries no task twice; a cluster does: see test_cluster.py.
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    model = ImplicitALS(8, solver="cholesky", max_iter=3, random_state=0).fit(clicks())
    failing = clone(model).set_params(backend=SparkBackend(2)).fit(clicks())
    before = vars(failing).copy()
    with Dying(SparkBackend(2), ThreadsBackend(1)) as run:
        failing.backend = run
        with pytest.raises(SparkBackendError, match="A Spark job of skglrm failed"):
            failing.fit(clicks()[:50])
    now = vars(failing)
    assert now.keys() == before.keys()
    assert all(now[name] is before[name] for name in now.keys() - {"backend"})
    failing.set_params(backend=SparkBackend(2)).fit(clicks())
    np.testing.assert_array_equal(failing.components_, model.components_)
