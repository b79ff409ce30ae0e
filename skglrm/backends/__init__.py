"""Where blocks run: ``"numba-threads"``."""

from __future__ import annotations

from .base import Backend
from .threads import ThreadsBackend, effective_threads

__all__ = ["Backend", "ThreadsBackend", "effective_threads", "get_backend"]


def get_backend(backend: str | Backend, n_threads: int) -> Backend:
    """Return the backend that a parameter means.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if isinstance(backend, Backend):
        return backend
    if backend == "numba-threads":
        return ThreadsBackend(n_threads)
    raise ValueError(f"Unknown backend {backend!r}; this version of skglrm has 'numba-threads'.")
