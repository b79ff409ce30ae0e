"""Run by test_cluster.py: an executor of a local cluster is killed in the middle of a fit."""

import json
import os
import signal
import sys
import time
from pathlib import Path


def executor_of_this_task(_):
    """Id of the JVM that started the daemon that started this worker."""
    daemon = os.getppid()
    return int(Path(f"/proc/{daemon}/stat").read_text().rsplit(")", 1)[1].split()[1])


def main(scratch):
    os.environ.update(
        SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable, SPARK_WORKER_DIR=scratch
    )
    from pyspark import cloudpickle
    from pyspark.sql import SparkSession

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    builder = SparkSession.builder.master("local-cluster[2,1,1024]")
    settings = {**json.loads(os.environ["QUICK_SPARK"]), "spark.executor.memory": "600m"}
    for name, value in {**settings, "spark.local.dir": scratch}.items():
        builder = builder.config(name, value)
    context = builder.getOrCreate().sparkContext
    context.setLogLevel("OFF")

    import numpy as np
    import scipy.sparse as sp

    from skglrm import ImplicitALS
    from skglrm._spark import pieces
    from skglrm.backends import SparkBackend, ThreadsBackend
    from skglrm.solvers import implicit

    implicit.NUMBERS_PER_TASK = 5000
    pieces.SMALL = 0
    X = sp.csr_array(np.random.default_rng(0).poisson(0.2, (200, 70)).astype(np.float32))
    model = ImplicitALS(8, solver="cholesky", max_iter=4, random_state=0).fit(X)

    executors = set()
    for _ in range(50):
        executors |= set(context.parallelize(range(4), 4).map(executor_of_this_task).collect())
        if len(executors) == 2:
            break
        time.sleep(0.2)
    assert len(executors) == 2, executors

    class Killing(ImplicitALS):
        def _report(self, iteration, objective, **further):
            if iteration == 2:
                os.kill(min(executors), signal.SIGKILL)
            return False

    run = SparkBackend(4).start(ThreadsBackend(1))
    other = Killing(8, solver="cholesky", max_iter=4, random_state=0, backend=run).fit(X)
    survivors = set(context.parallelize(range(4), 4).map(executor_of_this_task).collect())
    print(
        json.dumps(
            {
                "same": bool(
                    np.array_equal(model.row_factors_, other.row_factors_)
                    and np.array_equal(model.components_, other.components_)
                    and np.allclose(model.loss_curve_, other.loss_curve_, rtol=1e-8)
                ),
                "killed": min(executors) not in survivors,
                "copied": run.info["copied"],
                "persisted": context._jsc.getPersistentRDDs().size(),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
