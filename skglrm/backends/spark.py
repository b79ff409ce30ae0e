"""The same kernels on a Spark cluster: data stay with the executors, the model with the driver.

A ``map`` over scattered data is one job: the model goes to every machine once, blocks run where
their data are, what they return comes back and is put in its place in the order of blocks.  So
the factors are those of threads to the last bit.  All that works on the model alone
runs on the threads of the driver.
"""

from __future__ import annotations

import time
import uuid
import warnings
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .._spark.errors import SparkBackendError, failures
from .._spark.limits import Limits, check_limits, read_limits
from .._spark.pieces import Pieces
from .._spark.published import Published, packed
from .._spark.session import check_installed, described, find_session, storage_level
from .._spark.work import Answer, run_pieces
from .base import Backend, Scattered

__all__ = ["SparkBackend", "SparkRun"]

GIB = 2**30


@dataclass(frozen=True)
class SparkBackend:
    """Options of ``backend="spark"``.

    The session is not one of them: a fit takes that of its data frame, else the one chosen by
    :func:`skglrm.spark.use_session`, else the active one.

    Parameters
    ----------
    num_partitions : int, default=None
        Partitions of the data; ``None`` means ``spark.default.parallelism``.  Results do not depend
        on it.
    storage_level : str, default="MEMORY_AND_DISK_DESER"
        Name of the storage level of the data.
    max_broadcast_bytes : int, default=2 GiB
        Size of a model that is refused, before anything is sent.

    Examples
    --------
    >>> from skglrm import ImplicitALS
    >>> from skglrm.backends import SparkBackend
    >>> ImplicitALS(backend=SparkBackend(num_partitions=8)).backend.num_partitions
    8
    """

    num_partitions: int | None = None
    storage_level: str = "MEMORY_AND_DISK_DESER"
    max_broadcast_bytes: int = 2 * GIB

    def __post_init__(self):
        n = self.num_partitions
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
            raise ValueError(f"num_partitions must be a positive integer or None; got {n!r}.")
        if not isinstance(self.max_broadcast_bytes, int) or self.max_broadcast_bytes < 1:
            raise ValueError(
                f"max_broadcast_bytes must be a positive integer; got {self.max_broadcast_bytes!r}."
            )

    def start(self, local: Backend) -> SparkRun:
        """Return what runs blocks; the model is worked on by the ``local`` backend.

        Raises
        ------
        ImportError
            If there is no pyspark.
        """
        check_installed()
        return SparkRun(self, local)


class SparkRun(Backend):
    """A fit on Spark, and all that it holds on the cluster until it is closed."""

    def __init__(self, options: SparkBackend, local: Backend):
        self.options = options
        self.info: dict[str, Any] = {
            "n_jobs": 0, "bytes_sent": 0, "seconds_sending": 0.0, "seconds_running": 0.0,
            "mapped": 0, "copied": 0,
        }  # fmt: skip
        self._local = local
        self._context: Any = None
        self._limits = Limits(0, 0)
        self._tag = f"skglrm-{uuid.uuid4().hex}"
        self._scattered: dict[Any, tuple[list[Any], Pieces, dict[Any, int]]] = {}

    def map(self, task, blocks, shared):  # noqa: D102
        if not isinstance(shared, Scattered):
            return self._local.map(task, blocks, shared)
        blocks = list(blocks)
        if not blocks:
            return []
        answers = self._answers(task, blocks, shared)
        for answer in answers:
            if answer.error is not None:
                raise answer.error
        return [shared.put(block, a.result) for block, a in zip(blocks, answers, strict=True)]

    def sweep(self, task, schedule, shared):  # noqa: D102
        if not isinstance(shared, Scattered):
            return self._local.sweep(task, schedule, shared)
        results: list[tuple[int, Any]] = []
        while blocks := schedule.take_all():
            try:
                results += zip(blocks, self.map(task, blocks, shared), strict=True)
            except BaseException:
                schedule.stop()
                raise
            finally:
                for block in blocks:
                    schedule.give(block)
        return results

    def close(self):  # noqa: D102
        scattered, self._scattered = self._scattered, {}
        if self._context is not None and self._context._jsc is not None:
            for _, pieces, _ in scattered.values():
                pieces.free()
            self._context.removeJobTag(self._tag)
        self._local.close()

    # -------------------------------------------------------------- one job

    def _answers(self, task: Any, blocks: list[Any], shared: Scattered) -> list[Answer]:
        context = self._connected(shared)
        model = shared.without_data()
        with failures():
            pieces, numbers = self._pieces(shared)
        readers: dict[int, list[int]] = {}
        for n, block in enumerate(blocks):
            readers.setdefault(numbers[shared.place(block)], []).append(n)
        published = None
        try:
            begun = time.perf_counter()
            with failures():
                payload = packed((task, blocks, readers, model))
                target = getattr(shared, "target", None)
                n_returned = len(payload) if target is None else target.nbytes
                most = self.options.max_broadcast_bytes
                check_limits(self._limits, len(payload), n_returned, most)
                published = Published(context, payload)
                del payload
                sent = time.perf_counter()
                name = getattr(task, "__name__", type(task).__name__).lstrip("_")
                with described(context, f"skglrm: {name.replace('_', ' ')}"):
                    found = pieces.run(run_pieces, published, set(readers))
        finally:
            if published is not None and context._jsc is not None:
                published.destroy()
        self.info["seconds_sending"] += sent - begun
        self.info["seconds_running"] += time.perf_counter() - sent
        self._note(published, found)
        answers = sorted(found)
        for piece, ns in readers.items():
            if any(answers[n].digest != pieces.digests[piece] for n in ns):
                raise SparkBackendError(
                    f"Piece {piece} of the data changed while it was computed again: the input is "
                    "not deterministic. Write it to a table first, and read that."
                )
        return answers

    def _note(self, published: Published, found: Iterable[Answer]) -> None:
        self.info["n_jobs"] += 1
        self.info["bytes_sent"] += published.n_bytes
        for answer in found:
            self.info["mapped" if answer.is_mapped else "copied"] += 1

    def _connected(self, shared: Scattered) -> Any:
        if self._context is None:
            owner = shared.home()[0][0]
            session = find_session(getattr(owner, "spark", None))
            self._context = session.sparkContext
            self._context.addJobTag(self._tag)
            self._limits = read_limits(self._context)
            settings = self._context._jsc.sc().conf()  # getConf() copies them one by one
            if settings.get("spark.python.worker.reuse", "true") == "false":
                warnings.warn(
                    "spark.python.worker.reuse is false: every task imports everything anew, which "
                    "takes seconds. Leave it true.",
                    UserWarning,
                    stacklevel=2,
                )
        return self._context

    def _pieces(self, shared: Scattered) -> tuple[Pieces, dict[Any, int]]:
        self._forget()
        owners, places = shared.home()
        key = (tuple(map(id, owners)), tuple(places))
        if key not in self._scattered:
            level = storage_level(self.options.storage_level)
            n = self.options.num_partitions or self._context.defaultParallelism
            n = max(1, min(n, len(places)))
            numbers = {place: number for number, place in enumerate(places)}
            gathered = getattr(owners[0], "gathered", None)
            if gathered is not None:  # the data are on the cluster
                pieces = gathered(places, n, level)
            else:
                data = (shared.piece(place) for place in places)
                pieces = Pieces.sent(self._context, data, n, level)
            refs = [weakref.ref(owner) for owner in owners if not isinstance(owner, bool)]
            self._scattered[key] = (refs, pieces, numbers)
        _, pieces, numbers = self._scattered[key]
        return pieces, numbers

    def _forget(self) -> None:
        """Free the pieces of data that no longer exist, as those of a mini-batch."""
        for key, (refs, pieces, _) in list(self._scattered.items()):
            if any(ref() is None for ref in refs):
                del self._scattered[key]
                pieces.free()
