"""The one exception for what goes wrong on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["SparkBackendError", "failures"]

LINES = 12


class SparkBackendError(RuntimeError):
    """A Spark job failed, was cancelled, or cannot run."""


@contextmanager
def failures() -> Iterator[None]:
    """Turn what Spark raises into a ``SparkBackendError``; all else passes."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException) as error:
        raise _of_spark(error) from error


def _of_spark(error: BaseException) -> SparkBackendError:
    """What a failed job means, with the last lines of what the cluster said."""
    java: Any = getattr(error, "java_exception", None)
    text = str(error) if java is None else str(java.toString())
    lines = [line for line in text.splitlines() if line.strip()]
    for n, line in enumerate(lines):
        if line.startswith("Driver stacktrace"):  # what follows is about Spark's own scheduler
            lines = lines[:n]
            break
    told = "\n".join(lines[-LINES:])
    if "cancelled" in text:
        what = "A Spark job of skglrm was cancelled; the session is usable."
        return SparkBackendError(f"{what}\n{told}")
    if "No module named" in text and ("skglrm" in text or "numba" in text):
        told += (
            "\nThe Python of the executors lacks a package that this one has. Install it there, "
            "and set PYSPARK_PYTHON to that Python before the session is made."
        )
    return SparkBackendError(f"A Spark job of skglrm failed. What the cluster says last:\n{told}")
