r"""Objects that all Python workers of a machine read from one copy in memory.

A broadcast of Spark reaches every executor as one file, which holds a pickle; each worker would
unpickle a copy of its own.  Here the pickle is that of one long bytearray with a layout of ours,
which pickle writes as it is: so workers map the file instead, and arrays are views of the map.

::

    magic | length of the head, number of arrays | begin and end of each array | head | arrays

The head is a pickle (protocol 5) of the object without the contents of its arrays.
"""

from __future__ import annotations

import mmap
import pickle
import uuid
from collections import OrderedDict
from typing import Any

import numpy as np

__all__ = ["Published", "packed", "unpacked"]

MAGIC = b"SKGLRM\x00\x01"
LEAD = 11
"""Bytes that pickle writes before a long bytearray."""

ALIGNMENT = 64
SMALLEST = 2**17
"""Pickle frames what is shorter than 64 KiB, and moves it."""

FEW = 1024
"""Bytes of an array that is not worth an entry of its own."""

NEWEST = 2
"""Maps that a worker keeps open: files of destroyed broadcasts stay on disk as long as they are."""


def packed(value: Any) -> bytearray:
    """Return a bytearray that holds an object."""
    from pyspark import cloudpickle

    buffers: list[memoryview] = []

    def apart(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < FEW:
            return True
        buffers.append(raw)
        return False

    # Cloudpickle takes losses and functions of the user's script by value.
    head = cloudpickle.dumps(value, protocol=5, buffer_callback=apart)
    begin = len(MAGIC) + 8 * (2 + 2 * len(buffers))
    end = begin + len(head)
    spans = []
    for raw in buffers:
        start = -(-(end + LEAD) // ALIGNMENT) * ALIGNMENT - LEAD
        end = start + raw.nbytes
        spans.append((start, end))
    out = bytearray(max(end, SMALLEST))
    table = np.array([len(head), len(buffers), *np.ravel(spans)], np.int64)
    out[: len(MAGIC)] = MAGIC
    out[len(MAGIC) : begin] = table.tobytes()
    out[begin : begin + len(head)] = head
    view = memoryview(out)
    for (start, stop), raw in zip(spans, buffers, strict=True):
        view[start:stop] = raw
    return out


def unpacked(raw: Any, origin: int = 0, is_aligned: bool = True) -> Any:
    """Return the object that begins at ``origin`` of a buffer; its arrays cannot be written to."""
    view = memoryview(raw).toreadonly()[origin:]
    at = len(MAGIC)
    n_head, n = np.frombuffer(view[at : at + 16], np.int64).tolist()
    at += 16
    spans = np.frombuffer(view[at : at + 16 * n], np.int64).reshape(n, 2).tolist()
    at += 16 * n
    buffers = [view[start:stop] for start, stop in spans]
    if not is_aligned:
        buffers = [np.frombuffer(b, np.uint8).copy().data.toreadonly() for b in buffers]
    return pickle.loads(view[at : at + n_head], buffers=buffers)


class Published:
    """A packed object on its way to all workers: made by the driver, opened by tasks."""

    def __init__(self, context: Any, payload: bytearray):
        self.token = uuid.uuid4().hex  # other ids are used again
        self.n_bytes = len(payload)
        self._broadcast = context.broadcast(payload)

    def __getstate__(self):
        return {"token": self.token, "n_bytes": self.n_bytes, "_broadcast": self._broadcast}

    def destroy(self) -> None:
        """Remove the files on all machines."""
        self._broadcast.destroy(blocking=False)

    def open(self) -> tuple[Any, bool]:
        """Return the object, and whether it is mapped rather than copied; in a worker."""
        known = _OPENED.get(self.token)
        if known is None:
            raw, origin, is_mapped = _raw(self._broadcast)
            known = unpacked(raw, origin, is_mapped), is_mapped
            _OPENED[self.token] = known
            while len(_OPENED) > NEWEST:
                _OPENED.popitem(last=False)
        return known


_OPENED: OrderedDict[str, tuple[Any, bool]] = OrderedDict()


def _raw(broadcast: Any) -> tuple[Any, int, bool]:
    """Map the file of a broadcast, or unpickle it where there is none, as with encryption."""
    try:
        with open(broadcast._path, "rb") as file:
            raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return raw, raw[:64].index(MAGIC), True
    except (AttributeError, TypeError, OSError, ValueError):
        return broadcast.value, 0, False
