"""The Spark session that a fit uses: one that exists, and is neither stopped nor changed."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Any

from .errors import SparkBackendError
from .java import provide_java

__all__ = [
    "check_alive", "check_installed", "described", "find_session", "storage_level", "use_session",
]  # fmt: skip

_chosen: ContextVar[Any] = ContextVar("skglrm_spark_session", default=None)


@contextmanager
def use_session(spark: Any) -> Iterator[Any]:
    """Use this session in all fits of the context whose input is no Spark data frame.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
        A classic session, not Spark Connect.
    """
    token = _chosen.set(spark)
    try:
        yield spark
    finally:
        _chosen.reset(token)


@contextmanager
def described(context: Any, text: str) -> Iterator[None]:
    """Say in Spark's pages what the jobs of this thread do; what was said before comes back."""
    before = context.getLocalProperty("spark.job.description")
    context.setJobDescription(text)
    try:
        yield
    finally:
        if context._jsc is not None:
            context.setLocalProperty("spark.job.description", before)


def check_installed() -> None:
    """Raise ``ImportError`` unless there is pyspark."""
    if find_spec("pyspark") is None:
        raise ImportError("backend='spark' needs pyspark: pip install 'skglrm[spark]'.")


def check_alive(session: Any) -> None:
    """Raise ``SparkBackendError`` if the session that a data frame belongs to has been stopped."""
    if session.sparkContext._jsc is None:
        raise SparkBackendError(
            "The Spark session of these entries has been stopped. Read them again in a session "
            "that runs: Entries.from_spark(...)."
        )


def find_session(given: Any = None) -> Any:
    """Return the session that was given, else chosen, else active, else a new one.

    Raises
    ------
    SparkBackendError
        If there is no Java, this is a Spark task or a process of a pool, or the session is one of
        Spark Connect.
    """
    check_installed()
    from pyspark import SparkContext, TaskContext
    from pyspark.sql import SparkSession

    if TaskContext.get() is not None:
        raise SparkBackendError(
            "Spark cannot run inside a Spark task; use backend='numba-threads' here."
        )
    session = given or _chosen.get()
    if session is None and SparkContext._active_spark_context is None:
        _check_process()
        provide_java()
        logging.getLogger("skglrm").info("There is no active Spark session: a new one is made.")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # not the first of the PATH
        session = SparkSession.builder.getOrCreate()
    session = session or SparkSession.active()
    if type(session).__module__.startswith("pyspark.sql.connect"):
        raise SparkBackendError(
            "backend='spark' needs a classic Spark session; this one is Spark Connect, which has "
            "no broadcast. Use a classic session or backend='numba-threads'."
        )
    return session


def _check_process() -> None:
    import multiprocessing

    if multiprocessing.parent_process() is not None:
        raise SparkBackendError(
            "This is a process of a pool without a Spark session, and each would start a cluster "
            "of its own. Use n_jobs=1 or joblib's threading backend for the search, or "
            "backend='numba-threads' for the fits."
        )


def storage_level(name: str) -> Any:
    """Return the storage level that has this name.

    Raises
    ------
    ValueError
        If there is none.
    """
    from pyspark import StorageLevel

    level = getattr(StorageLevel, name, None)
    if not isinstance(level, StorageLevel):
        known = [one for one in vars(StorageLevel) if one.isupper()]
        raise ValueError(f"Unknown storage level {name!r}; the names are {known}.")
    return level
