"""Backends decide where blocks run; solvers know them by two verbs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Protocol

__all__ = ["Backend", "BlockSource", "Scattered"]


class BlockSource(Protocol):
    """What ``sweep`` asks of a schedule: blocks to run, one at a time, by any thread."""

    def take(self) -> int | None:
        """Return a block, or ``None`` when there is none left."""

    def take_all(self) -> list[int]:
        """Return all blocks that may run now, side by side; none when there is none left."""

    def give(self, block: int) -> None:
        """Take a block back."""

    def stop(self) -> None:
        """Let nobody take another block."""


class Scattered(ABC):
    """Something shared by tasks each of which reads data of its own: rows of a large matrix.

    A backend with other machines keeps the data there, in pieces, and sends the rest, the model,
    before every ``map``.  Where there is one machine none of this is called.
    """

    @abstractmethod
    def home(self) -> tuple[tuple[Any, ...], list[Any]]:
        """Return what owns the data, compared by identity, and the place of every piece."""

    @abstractmethod
    def place(self, block: Any) -> Any:
        """Return the place of the piece that a block reads."""

    @abstractmethod
    def piece(self, place: Any) -> Any:
        """Return the data of a piece, to be sent once."""

    @abstractmethod
    def without_data(self) -> Any:
        """Return what ``at`` and ``found`` are methods of: the same without data."""

    @abstractmethod
    def at(self, block: Any, piece: Any) -> tuple[Any, Any]:
        """Return a block and what it shares, both about the rows of the piece alone."""

    @abstractmethod
    def found(self, result: Any, shared: Any) -> Any:
        """Return what to send back: the result of a task, and what it has written to ``shared``."""

    @abstractmethod
    def put(self, block: Any, found: Any) -> Any:
        """Write what a task has written elsewhere, and return its result."""


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
