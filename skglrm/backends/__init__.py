"""Where blocks run: ``"numba-threads"`` or ``"spark"``."""

from __future__ import annotations

from .base import Backend, Scattered
from .spark import SparkBackend
from .threads import ThreadsBackend, effective_threads

__all__ = [
    "Backend",
    "Scattered",
    "SparkBackend",
    "ThreadsBackend",
    "effective_threads",
    "get_backend",
]


def get_backend(backend: str | Backend | SparkBackend, n_threads: int) -> Backend:
    """Return the backend that a parameter means.

    Raises
    ------
    ValueError
        If the name is unknown.
    ImportError
        If the backend needs a package that is not installed.
    """
    if isinstance(backend, Backend):
        return backend
    if backend == "numba-threads":
        return ThreadsBackend(n_threads)
    if backend == "spark":
        backend = SparkBackend()
    if isinstance(backend, SparkBackend):
        return backend.start(ThreadsBackend(n_threads))
    raise ValueError(
        f"Unknown backend {backend!r}; the names are 'numba-threads' and 'spark', or pass a "
        "SparkBackend(...)."
    )
