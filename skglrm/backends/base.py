"""Backends decide where blocks run; solvers know them by two verbs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Protocol

__all__ = ["Backend", "BlockSource"]


class BlockSource(Protocol):
    """What ``sweep`` asks of a schedule: blocks to run, one at a time, by any thread."""

    def take(self) -> int | None:
        """Return a block, or ``None`` when there is none left."""

    def give(self, block: int) -> None:
        """Take a block back."""

    def stop(self) -> None:
        """Let nobody take another block."""


class Backend(ABC):
    """Base of all backends; usable as a context manager that frees what the backend holds.

    A task is a module-level function ``task(block, shared) -> result`` that calls kernels.
    """

    @abstractmethod
    def map(self, task: Callable[[Any, Any], Any], blocks: Iterable[Any], shared: Any) -> list[Any]:
        """Run a task on independent blocks; return the results in the order of the blocks."""

    @abstractmethod
    def sweep(
        self, task: Callable[[int, Any], Any], schedule: BlockSource, shared: Any
    ) -> list[tuple[int, Any]]:
        """Run a task on all blocks that a schedule hands out; return (block, result) pairs."""

    def close(self) -> None:
        """Free threads or other resources."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
