"""The data of a fit, cut into pieces that are kept by the executors."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

__all__ = ["Pieces", "digest_of"]

SMALL = 2**20
"""Bytes of data that are sent with every job, which is quicker than to have them kept."""


def digest_of(data: Any) -> int:
    """Number that changes if the arrays of a piece do."""
    digest = 0
    for array in data:
        digest = zlib.crc32(array.tobytes(), digest)
    return digest


def _itself(number: int) -> int:
    return number


def _pieces_of(pairs: Iterable[tuple[int, Any]]) -> Iterable[Any]:
    return (piece for _, piece in pairs)


class Pieces:
    """A cached RDD of (number, digest, data); piece n is in partition n modulo their number."""

    def __init__(self, rdd: Any, digests: dict[int, int], held: list[Any] | None = None):
        self.rdd = rdd
        self.digests = digests
        self._held = held or []  # what the RDD is made from

    @classmethod
    def sent(
        cls, context: Any, data: Iterable[Any], n_partitions: int, storage_level: Any
    ) -> Pieces:
        """Send pieces from the driver."""
        pieces = [(number, digest_of(one), one) for number, one in enumerate(data)]
        digests = {number: digest for number, digest, _ in pieces}
        n_bytes = sum(array.nbytes for _, _, one in pieces for array in one)
        pairs = [(piece[0] % n_partitions, piece) for piece in pieces]
        if n_bytes <= SMALL:
            parts: list[list[Any]] = [[] for _ in range(n_partitions)]
            for number, piece in pairs:
                parts[number].append(piece)
            # One element is one partition here.
            rdd = context.parallelize(parts, n_partitions).flatMap(_itself)
            return cls(rdd, digests)
        # A shuffle: without one, Spark would send the data again with every job.
        source = context.parallelize(pairs, n_partitions)
        rdd = source.partitionBy(n_partitions, _itself).mapPartitions(_pieces_of, True)
        return cls(_kept(rdd, storage_level), digests)

    @property
    def n_partitions(self) -> int:
        """Number of partitions of the RDD."""
        return int(self.rdd.getNumPartitions())

    def run(self, function: Callable[..., Any], published: Any, numbers: set[int]) -> list[Any]:
        """Run a function on the partitions that hold some of these pieces."""
        rdd = self.rdd.mapPartitions(partial(function, published))
        wanted = sorted({number % self.n_partitions for number in numbers})
        if len(wanted) == self.n_partitions:
            return list(rdd.collect())
        return list(rdd.context.runJob(rdd, list, wanted))

    def free(self) -> None:
        """Remove them from all machines."""
        if self.rdd.is_cached:
            self.rdd.unpersist()
            self.rdd.cleanShuffleDependencies()
        for one in self._held:
            one.destroy()


def _kept(rdd: Any, storage_level: Any) -> Any:
    rdd = rdd.persist(storage_level)
    try:
        rdd.count()
    except BaseException:
        rdd.unpersist()
        raise
    return rdd
