"""What a Spark task does: run the blocks of the pieces that live in its partition."""

from __future__ import annotations

import gc
import pickle
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

from threadpoolctl import ThreadpoolController

from .published import Published

__all__ = ["Answer", "run_pieces"]


class Answer(NamedTuple):
    """What comes back from a block: its result or its exception, and the digest of its piece."""

    block: int
    result: Any
    error: BaseException | None
    digest: int
    is_mapped: bool


def run_pieces(published: Published, pieces: Iterable[tuple[int, int, Any]]) -> Iterator[Answer]:
    """Yield the answers of all blocks that read these (number, digest, data).

    All pieces are read even if none is asked for: Spark ends workers that leave input behind, and
    new ones have to import everything again.
    """
    from pyspark import TaskContext

    context = TaskContext.get()
    n_threads = context.cpus() if context is not None else 1
    (task, blocks, readers, model), is_mapped = published.open()

    def run(piece: tuple[int, int, Any]) -> list[Answer]:
        number, digest, data = piece
        return [
            Answer(n, *_attempt(task, blocks[n], model, data), digest, is_mapped)
            for n in readers.get(number, ())
        ]

    # One thread of BLAS: the same bits as on the driver, whatever is configured here.
    with _blas().limit(limits=1, user_api="blas"):
        if n_threads == 1:
            for piece in pieces:
                yield from run(piece)
        else:
            yield from _side_by_side(run, pieces, n_threads)
    _freeze(len(sys.modules))


@cache
def _freeze(n_modules: int) -> None:
    """Keep what has been imported out of sight of the garbage collector; again if more has been.

    After every task Spark has a worker look through all it holds for garbage.  The modules of a
    model are some hundred thousand objects, none of which is: 35 ms, in which no next task begins.
    """
    gc.collect()
    gc.freeze()


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def _side_by_side(
    run: Callable[..., list[Answer]], pieces: Iterable[Any], n_threads: int
) -> Iterator[Answer]:
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[Future[list[Answer]]] = deque()
        for piece in pieces:
            waiting.append(pool.submit(run, piece))
            if len(waiting) > 2 * n_threads:  # so that few pieces are in memory at once
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()


def _attempt(task: Any, block: Any, model: Any, data: Any) -> tuple[Any, BaseException | None]:
    """Result and exception: what fails is not tried again, for it would fail again."""
    try:
        here, shared = model.at(block, data)
        return model.found(task(here, shared), shared), None
    except Exception as error:
        error.add_note("In a Spark task:\n" + traceback.format_exc())
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return None, error
