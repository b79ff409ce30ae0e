"""A file of named arrays and one text, which can be mapped into memory; the layout is safetensors'.

::

    8 bytes           length of the header, little-endian
    the header        JSON: {"__metadata__": {...}, name: {"dtype", "shape", "data_offsets"}, ...}
    the arrays        little-endian, in C order, one behind the other

Arrays come in order of falling alignment and the header is padded with spaces, so that every array
is aligned.  Nothing in such a file is ever executed, and nothing is allocated that is larger than
the file.
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ._atomic import replacing

__all__ = ["VERSION", "Contents", "read_container", "write_container"]

VERSION = 1
"""Of the format; a file with a higher one is refused."""

FORMAT = "skglrm"
ALIGNMENT = 64
LONGEST_HEADER = 100_000_000  # as safetensors has it

NAMES = {
    "f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8",
    "u8": "U64", "u4": "U32", "u2": "U16", "u1": "U8", "b1": "BOOL",
}  # fmt: skip
"""NumPy's types that safetensors knows.  Others are bytes to it; the text says what they are."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Contents:
    """What is in a file: the text, the bytes of each array, and who wrote it."""

    text: str
    arrays: dict[str, npt.NDArray[np.uint8]]
    written_by: str


def write_container(
    path: str | os.PathLike[str], text: str, arrays: dict[str, Array], written_by: str
) -> None:
    """Write the file as a whole or not at all; arrays must be contiguous and little-endian."""
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.alignment)
    entries: dict[str, Any] = {}
    end = checksum = 0
    for name, array in ordered:
        kind = NAMES.get(array.dtype.str[1:])
        shape = list(array.shape) if kind else [array.nbytes]
        offsets = [end, end + array.nbytes]
        entries[name] = {"dtype": kind or "U8", "shape": shape, "data_offsets": offsets}
        end = offsets[1]
        checksum = zlib.crc32(_bytes_of(array), checksum)
    about = {
        "format": FORMAT,
        "version": str(VERSION),
        "written_by": written_by,
        "model": text,
        "crc32_of_arrays": str(checksum),
    }
    header = _sealed({"__metadata__": about, **entries})
    if len(header) > LONGEST_HEADER:
        raise ValueError(
            f"What is not an array takes {len(header)} bytes, more than the {LONGEST_HEADER} that "
            "a file may have of it. Ids that are neither strings nor NumPy numbers or dates take "
            "most: convert them before fit."
        )
    # Through a link to the file itself, which would be replaced otherwise.
    with replacing(os.path.realpath(path)) as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for _, array in ordered:
            file.write(_bytes_of(array))


def read_container(path: str | os.PathLike[str], *, mapped: bool) -> Contents:
    """Read a file, or map its arrays, which are read-only then and read as they are used."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        about, spans, start = _header_of(file, size, Path(path))
        if mapped:
            memory = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
            arrays = {name: memory[start + a : start + b] for name, (a, b) in spans.items()}
        else:
            arrays = _read_arrays(file, spans, about["crc32_of_arrays"], Path(path))
    return Contents(about["model"], arrays, about["written_by"])


def _bytes_of(array: Array) -> Any:
    return array.reshape(-1).view(np.uint8).data


def _sealed(header: dict[str, Any]) -> bytes:
    """The header with its own checksum, padded."""
    about = {**header["__metadata__"], "crc32": str(zlib.crc32(_json(header)))}
    text = _json({**header, "__metadata__": about})
    return text + b" " * (-(8 + len(text)) % ALIGNMENT)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _header_of(
    file: BinaryIO, size: int, path: Path
) -> tuple[dict[str, str], dict[str, tuple[int, int]], int]:
    """What the header says of the file, where the arrays are, and where the first begins."""
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or not 2 <= length <= min(LONGEST_HEADER, size):
        if first[:1] == b"\x80" or first[:2] in (b"\x1f\x8b", b"PK", b"x\x9c"):
            raise ValueError(
                f"{path} was not written by save: it looks like a pickle or an archive. If it is a "
                "pickle whose origin you trust, use joblib.load."
            )
        raise ValueError(f"{path} is no file that save has written, or it is truncated.")
    try:
        # Decoded here, because json would look for a codec that suits the bytes, and import it.
        header = json.loads(file.read(length).decode())
        about = header["__metadata__"]
        is_ours = about["format"] == FORMAT
        version = int(about["version"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} is no file that save has written, or it is damaged.") from None
    if not is_ours:
        raise ValueError(f"{path} was not written by skglrm, but by {about['format']!r:.40}.")
    if version > VERSION:
        raise ValueError(
            f"{path} was written by skglrm {about.get('written_by', '?')!s:.40} in version "
            f"{version} of the format, and this skglrm reads versions up to {VERSION}. Upgrade "
            "skglrm, or save the model with this version."
        )
    try:
        return about, _spans_of(header, size - 8 - length, path), 8 + length
    except (KeyError, TypeError, AttributeError, RecursionError):
        raise _damaged(path) from None


def _spans_of(header: dict[str, Any], n_bytes: int, path: Path) -> dict[str, tuple[int, int]]:
    """Where each array is; they must follow each other from the header to the end of the file."""
    about = header["__metadata__"]
    if not all(isinstance(value, str) for value in about.values()):
        raise _damaged(path)
    unsealed = {key: value for key, value in about.items() if key != "crc32"}
    if about["crc32"] != str(zlib.crc32(_json({**header, "__metadata__": unsealed}))):
        raise _damaged(path)
    spans, end = {}, 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        if not (type(first) is type(last) is int and first == end <= last):
            raise _damaged(path)
        spans[name], end = (first, last), last
    if end != n_bytes:
        problem = "truncated" if end > n_bytes else "damaged"
        raise ValueError(
            f"{path} is {problem}: {end} bytes of arrays are due, {n_bytes} are there."
        )
    return spans


def _read_arrays(
    file: BinaryIO, spans: dict[str, tuple[int, int]], checksum: str, path: Path
) -> dict[str, npt.NDArray[np.uint8]]:
    arrays, found = {}, 0
    for name, (first, last) in spans.items():
        arrays[name] = np.empty(last - first, np.uint8)
        if file.readinto(arrays[name].data) != last - first:  # type: ignore[attr-defined]
            raise ValueError(f"{path} is truncated.")
        found = zlib.crc32(arrays[name].data, found)
    if str(found) != checksum:
        raise _damaged(path)
    return arrays


def _damaged(path: Path) -> ValueError:
    return ValueError(f"{path} is damaged: its checksum or its table of contents is wrong.")
