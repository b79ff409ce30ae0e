"""One Spark session for all tests here; without pyspark or Java they are skipped."""

import json
import os
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Many short jobs in processes that live for minutes: neither the second compiler pays, nor garbage
# collected side by side, nor Java made of every query; a socket of TCP waits 20 ms in every task.
QUICK = {
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.python.unix.domain.socket.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.path).parents:
            # What pyspark itself leaves open, or warns of.
            for ignored in (
                "ignore::ResourceWarning",
                "ignore::pytest.PytestUnraisableExceptionWarning",
                "ignore:PySpark does not yet fully support:FutureWarning",
                "ignore::DeprecationWarning:pyspark.*",
            ):
                item.add_marker(pytest.mark.filterwarnings(ignored))


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    """Where Spark keeps its files."""
    return tmp_path_factory.mktemp("spark")


@pytest.fixture(scope="session")
def java():
    """Skip without pyspark or a Java to run it on, be it the one of a wheel."""
    pytest.importorskip("pyspark", reason="pyspark is not installed")
    from skglrm._spark.errors import SparkBackendError
    from skglrm._spark.java import provide_java

    try:
        provide_java()
    except SparkBackendError as error:
        pytest.skip(str(error))


@pytest.fixture
def environment(java):
    """For a process that starts a session of its own."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "QUICK_SPARK": json.dumps(QUICK)}


@pytest.fixture(scope="session")
def start(scratch, java):
    """What starts a session that is quick and silent."""
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

    def start(master):
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master(master)
        for name, value in {**QUICK, "spark.local.dir": str(scratch)}.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        return session

    return start


@pytest.fixture(scope="session")
def spark(start):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = start("local[2]")
    yield session
    session.stop()
