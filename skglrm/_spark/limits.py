"""What a fit needs of the driver, checked before anything is sent."""

from __future__ import annotations

from typing import Any, NamedTuple

from .errors import SparkBackendError

__all__ = ["Limits", "check_limits", "read_limits", "size_of"]

GIB = 2**30


def size_of(n_bytes: float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.1f} GB"


class Limits(NamedTuple):
    """Bytes that may be collected, 0 if any number, and that the JVM of the driver has."""

    results: int
    heap: int


def read_limits(context: Any) -> Limits:
    """Ask the driver, which takes some milliseconds."""
    conf = context._jsc.sc().conf()
    results = int(conf.getSizeAsBytes("spark.driver.maxResultSize", "1g"))
    return Limits(results, int(context._jvm.java.lang.Runtime.getRuntime().maxMemory()))


def check_limits(limits: Limits, n_sent: int, n_returned: int, most_sent: int) -> None:
    """Raise unless a model of so many bytes can be sent, and the part that changes collected.

    Raises
    ------
    SparkBackendError
        That says which setting to change.
    """
    if n_sent > most_sent:
        raise SparkBackendError(
            f"The model to be sent takes {size_of(n_sent)}; max_broadcast_bytes is "
            f"{size_of(most_sent)}. Use fewer components, or raise the limit, "
            "SparkBackend(max_broadcast_bytes=...), if every machine has the memory."
        )
    limit, heap = limits
    if limit and 1.1 * n_returned > limit:
        raise SparkBackendError(
            f"Collecting factors of {size_of(n_returned)} needs spark.driver.maxResultSize of "
            f"more than that; it is {size_of(limit)}. Create the session with "
            f"spark.driver.maxResultSize={-(-2 * n_returned // GIB)}g."
        )
    if n_returned > 0.5 * heap:
        raise SparkBackendError(
            f"The JVM of the driver has {size_of(heap)}; collecting factors of "
            f"{size_of(n_returned)} needs twice that. Set "
            f"spark.driver.memory={-(-3 * n_returned // GIB)}g before the session starts; a "
            "running session cannot be changed."
        )
