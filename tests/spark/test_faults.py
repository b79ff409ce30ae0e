"""What a fit on Spark survives, and what it says when it does not."""

import json
import os
import signal
import subprocess
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


STOPPED = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from pyspark.sql import SparkSession
from skglrm import Entries, ImplicitALS

os.environ.update(SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable)
builder = SparkSession.builder.master("local[1]").config("spark.local.dir", sys.argv[1])
for name, value in json.loads(os.environ["QUICK_SPARK"]).items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("OFF")
rows = [(i % 7, i % 5, 1.0 + i % 3) for i in range(30)]
frame = spark.createDataFrame(rows, ["user", "item", "plays"])
entries = Entries.from_spark(frame, row="user", col="item", value="plays")
local = entries.collect()
model = ImplicitALS(2, backend="spark", max_iter=2, random_state=0).fit(entries)
found = {}


def tell(name, call):
    try:
        call()
        found[name] = "fine"
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"


before = model.components_.copy()
spark.stop()
tell("predict", lambda: model.predict_entries([0, 1], [1, 2]))
tell("recommend", lambda: model.recommend(local, n=2))
tell("transform", lambda: model.transform(local.to_csr()))
tell("similar", lambda: model.similar_items(n=2))
tell("save", lambda: model.save(os.path.join(sys.argv[1], "model")))
tell("fit of a frame of the stopped session", lambda: model.fit(entries))
found["unchanged"] = bool((model.components_ == before).all())
tell("fit of other data", lambda: model.fit(local))
print(json.dumps(found))
"""


def test_a_model_outlives_its_session(environment, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    told = found.pop("fit of a frame of the stopped session")
    assert told.startswith("SparkBackendError") and "session" in told
    assert found.pop("unchanged")
    assert set(found.values()) == {"fine"}, found
