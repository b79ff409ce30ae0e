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

Pairwise ranking needs a second band of columns, a *guest*, from which negatives are drawn.  A
schedule that is ``paired`` holds it as well, and hands out ``block + guest * n_blocks``.
"""

from __future__ import annotations

import heapq
import threading
from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

__all__ = ["Groups", "HogWild", "LeastUpdated", "Rotation", "Schedule"]

AHEAD = 8
"""Blocks that ``coming`` tells of."""


class Schedule(ABC):
    """Base of schedules: the locking, once.

    Parameters
    ----------
    sizes : ndarray of shape (n_bands, n_bands)
        Number of entries per block; empty blocks are never handed out.  If ``paired`` there are
        twice as many bands of columns as of rows.
    seed : int
        Seed of everything random; an epoch draws from a stream of its own, keyed by its number.
    paired : bool
        Whether every block comes with a second band of columns.
    """

    def __init__(self, sizes: npt.NDArray[np.integer], seed: int, paired: bool = False):
        self.sizes = np.asarray(sizes)
        self.n_bands, self.n_columns = self.sizes.shape
        self.seed = seed
        self.paired = paired
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

    def take_all(self) -> list[int]:
        """Return all blocks that may run side by side now; none if the epoch has none left."""
        with self._changed:
            blocks: list[int] = []
            while not self._stopped and self._left():
                block = self._pick()
                if block is None:
                    break
                self._held += 1
                blocks.append(block)
            return blocks

    def coming(self) -> list[int]:
        """Return a few blocks that will probably be handed out next."""
        with self._changed:
            return self._coming()

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

    def _coming(self) -> list[int]:
        return []

    def _release(self, block: int) -> None:
        """Note that a block is free again."""


class Rotation(Schedule):
    """Strata of blocks along shifted diagonals, one after the other (Gemulla et al. 2011).

    Every block runs exactly once per epoch, and the blocks of a stratum touch different rows and
    columns, so results do not depend on who runs which: they are the same bits for any number of
    threads.  The price is a wait at the end of each stratum.

    With guests every band of columns is followed by the one that comes next on the diagonal.
    """

    def _begin(self, rng):
        self._strata = self.strata(rng)
        self._stratum: list[int] = []

    def strata(self, rng: np.random.Generator) -> list[list[int]]:
        """Return the strata of an epoch in reverse order, each with its lightest blocks first."""
        bands, n = np.arange(self.n_bands), self.n_columns
        columns, shifts = rng.permutation(n), rng.permutation(n)
        sizes = self.sizes.ravel()
        strata = []
        for shift in shifts:
            at = (1 + self.paired) * bands + shift
            blocks = bands * n + columns[at % n]
            jobs = blocks + self.paired * sizes.size * columns[(at + 1) % n]
            order = np.argsort(sizes[blocks], kind="stable")
            filled = jobs[order[sizes[blocks[order]] > 0]]
            if filled.size:
                strata.append(filled.tolist())
        return strata

    def _coming(self):
        following = self._strata[-1] if self._strata else []
        return (following[-AHEAD:] + self._stratum)[-AHEAD:]

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

    def __init__(self, sizes, seed, paired=False):
        super().__init__(sizes, seed, paired)
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

    def _coming(self):
        return [block for _, block in self._queue[:AHEAD]]  # about the first of a heap

    def _left(self):
        return self._jobs > 0

    def _pick(self):
        passed_over = []
        chosen = None
        while self._queue and chosen is None:
            priority, block = heapq.heappop(self._queue)
            row, column = divmod(block, self.n_columns)
            if row in self._busy_rows or column in self._busy_columns:
                passed_over.append((priority, block))
            else:
                chosen = self._with_guest(block, column)
                if chosen is None:  # all other columns are held: wait
                    passed_over.append((priority, block))
                    break
                self._busy_rows.add(row)
                self._busy_columns.add(column)
                self._jobs -= 1
        for item in passed_over:
            heapq.heappush(self._queue, item)
        return chosen

    def _with_guest(self, block, home):
        if not self.paired:
            return block
        free = [c for c in range(self.n_columns) if c != home and c not in self._busy_columns]
        if not free:
            return None
        guest = free[self._rng.integers(len(free))]
        self._busy_columns.add(guest)
        return block + guest * self.sizes.size

    def _release(self, block):
        guest, block = divmod(block, self.sizes.size)
        row, column = divmod(block, self.n_columns)
        self._busy_rows.discard(row)
        self._busy_columns.discard(column)
        if self.paired:
            self._busy_columns.discard(guest)
        self.visits[block] += 1
        heapq.heappush(self._queue, (self.visits[block] + self._rng.random(), block))


class Groups(Schedule):
    """All blocks at once, the heaviest first: for groups of rows, each with columns of its own."""

    def _begin(self, rng):
        sizes = self.sizes.ravel()
        order = np.argsort(sizes, kind="stable")
        self._queue = order[sizes[order] > 0].tolist()

    def _left(self):
        return bool(self._queue)

    def _pick(self):
        return self._queue.pop()


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

    def take_all(self):  # noqa: D102
        raise ValueError(
            "schedule='hogwild' needs memory that all threads share: not backend='spark'. "
            "Use schedule='rotation'."
        )
