"""Schedules: which blocks of a grid may run together, and in which order.

Two blocks conflict if they share a band of rows or a band of columns.  A schedule hands out blocks
that do not conflict with those still held, and knows nothing of what is done with them::

    schedule.begin(epoch)
    while (block := schedule.take()) is not None:   # in each of several threads
        try:
            ...
        finally:
            schedule.give(block)

An epoch hands out as many blocks as there are with entries, and ``take`` returns ``None`` when they
are all back.  Waiting is on a condition variable; nothing spins.
"""

from __future__ import annotations

import heapq
import threading
from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

__all__ = ["HogWild", "LeastUpdated", "Rotation", "Schedule"]


class Schedule(ABC):
    """Base of schedules: the locking, once.

    Parameters
    ----------
    sizes : ndarray of shape (n_bands, n_bands)
        Number of entries per block; empty blocks are never handed out.
    seed : int
        Seed of everything random; an epoch draws from a stream of its own, keyed by its number.
    """

    def __init__(self, sizes: npt.NDArray[np.integer], seed: int):
        self.sizes = np.asarray(sizes)
        self.n_bands = self.sizes.shape[0]
        self.seed = seed
        self._changed = threading.Condition()
        self._stopped = False
        self._held = 0

    def begin(self, epoch: int) -> None:
        """Make ready to hand out the blocks of one epoch."""
        with self._changed:
            self._stopped = False
            self._held = 0
            self._begin(np.random.default_rng((self.seed, epoch)))

    def take(self) -> int | None:
        """Return a block that conflicts with none that is held, waiting for one if need be.

        ``None`` means that the epoch has no block left for this thread.
        """
        with self._changed:
            while not self._stopped and self._left():
                block = self._pick()
                if block is not None:
                    self._held += 1
                    return block
                self._changed.wait()
            return None

    def give(self, block: int) -> None:
        """Hand a block back."""
        with self._changed:
            self._held -= 1
            self._release(block)
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand out nothing more in this epoch, because something failed."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @abstractmethod
    def _begin(self, rng: np.random.Generator) -> None: ...

    @abstractmethod
    def _left(self) -> bool:
        """Whether this epoch will hand out another block."""

    @abstractmethod
    def _pick(self) -> int | None:
        """Choose a block, or ``None`` if none can run now."""

    def _release(self, block: int) -> None:
        """Note that a block is free again."""


class Rotation(Schedule):
    """Strata of blocks along shifted diagonals, one after the other (Gemulla et al. 2011).

    Every block runs exactly once per epoch, and the blocks of a stratum touch different rows and
    columns, so results do not depend on who runs which: they are the same bits for any number of
    threads.  The price is a wait at the end of each stratum.
    """

    def _begin(self, rng):
        self._strata = self.strata(rng)
        self._stratum: list[int] = []

    def strata(self, rng: np.random.Generator) -> list[list[int]]:
        """Return the strata of an epoch in reverse order, each with its lightest blocks first."""
        bands = np.arange(self.n_bands)
        columns, shifts = rng.permutation(self.n_bands), rng.permutation(self.n_bands)
        sizes = self.sizes.ravel()
        strata = []
        for shift in shifts:
            blocks = bands * self.n_bands + columns[(bands + shift) % self.n_bands]
            blocks = blocks[sizes[blocks] > 0]
            if blocks.size:
                strata.append(blocks[np.argsort(sizes[blocks], kind="stable")].tolist())
        return strata

    def _left(self):
        return bool(self._stratum or self._strata)

    def _pick(self):
        if not self._stratum:
            if self._held:
                return None
            self._stratum = self._strata.pop()
        return self._stratum.pop()


class LeastUpdated(Schedule):
    """The free block with the fewest visits so far, ties at random: FPSG (Zhuang et al. 2013).

    Nobody waits for the slowest block of a stratum, but which blocks are free depends on timing,
    and so do results with several threads.  An epoch is as many jobs as there are blocks with
    entries, not an exact pass: a block may run twice and another not at all, and catches up in the
    next.
    """

    def __init__(self, sizes, seed):
        super().__init__(sizes, seed)
        blocks = np.flatnonzero(self.sizes.ravel())
        self.visits = np.zeros(self.sizes.size, np.int64)
        rng = np.random.default_rng(seed)
        self._queue = [(p, int(b)) for p, b in zip(rng.random(blocks.size), blocks, strict=True)]
        heapq.heapify(self._queue)
        self._n_blocks = blocks.size
        self._busy_rows, self._busy_columns = set[int](), set[int]()

    def _begin(self, rng):
        self._rng = rng
        self._jobs = self._n_blocks

    def _left(self):
        return self._jobs > 0

    def _pick(self):
        passed_over = []
        chosen = None
        while self._queue and chosen is None:
            priority, block = heapq.heappop(self._queue)
            row, column = divmod(block, self.n_bands)
            if row in self._busy_rows or column in self._busy_columns:
                passed_over.append((priority, block))
            else:
                chosen = block
                self._busy_rows.add(row)
                self._busy_columns.add(column)
                self._jobs -= 1
        for item in passed_over:
            heapq.heappush(self._queue, item)
        return chosen

    def _release(self, block):
        row, column = divmod(block, self.n_bands)
        self._busy_rows.discard(row)
        self._busy_columns.discard(column)
        self.visits[block] += 1
        heapq.heappush(self._queue, (self.visits[block] + self._rng.random(), block))


class HogWild(Schedule):
    """All blocks at random, conflicts or not (Recht et al. 2011): for comparison only.

    Threads overwrite each other's updates of a row now and then, and nothing is reproducible.
    """

    def _begin(self, rng):
        self._queue = rng.permutation(np.flatnonzero(self.sizes.ravel())).tolist()

    def _left(self):
        return bool(self._queue)

    def _pick(self):
        return self._queue.pop()
