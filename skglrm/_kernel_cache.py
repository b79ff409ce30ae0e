"""Compiled kernels on disk, which any number of processes may read and write at once.

Numba keeps one index per function, which says in which numbered file each version lies.  Two
processes that compile two versions at the same time may write both to the same file, and whoever
reads it later runs the code of the other.  Numba also looks at the file of the function alone:
after an edit elsewhere, or an update that leaves size and time as they were, it answers with old
code.

Here there is no index.  A version lies in a file whose name is a digest of its key: the types of
the arguments, the processor, and the source that the kernel is made of.  Files are written whole or
not at all, and what was damaged since is compiled again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
import pickle
import sys
import uuid
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, NullCache
from numba.core.serialize import dumps

__all__ = ["KernelCache"]

# Every kernel depends on these.  It does not import the losses and regularizers that it is given:
# the names of their types hold digests of their code.
ALWAYS = tuple(f"{__package__}.{name}" for name in ("_jit", "_record"))
DIGEST_SIZE = hashlib.sha256().digest_size


class KernelCache:
    """What numba asks for compiled versions of a function, and gives new ones to.

    Finding the folder takes a millisecond, which is left until the function is called.
    """

    def __init__(self, function: Any):
        self._function = function

    @property
    def cache_path(self) -> Any:
        """Folder of the files, or ``None`` if there is none to write to."""
        return self._cache.cache_path

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Read the version for some types of arguments; ``None`` if there is none."""
        return self._cache.load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write a new version, if the disk lets us: what cannot be kept can still run."""
        with contextlib.suppress(OSError):
            self._cache.save_overload(sig, data)

    def flush(self) -> None:
        """Remove all versions."""
        self._cache.flush()

    @functools.cached_property
    def _cache(self) -> Any:
        try:
            return _FunctionCache(self._function)
        except RuntimeError:  # there is no folder to write to
            return NullCache()


class _FunctionCache(FunctionCache):
    def __init__(self, function: Any):
        super().__init__(function)
        folder = Path(self._cache_path)
        self._cache_file = _Files(folder, self._impl.filename_base, function.__module__)


class _Files:
    """One file per version: a digest of the content, then the pickled key and code."""

    def __init__(self, folder: Path, name: str, module: str):
        self.folder, self.name, self.module = folder, name, module

    def load(self, key: Any) -> Any:
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        digest, content = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
        if digest != hashlib.sha256(content).digest():
            return None
        known, code = pickle.loads(content)
        return code if known == key else None

    def save(self, key: Any, code: Any) -> None:
        content = dumps((key, code))
        path = self._path(key)
        written = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        try:
            written.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(written, path)
        finally:
            written.unlink(missing_ok=True)

    def flush(self) -> None:
        for path in self.folder.glob(f"{self.name}.*.nbc"):
            path.unlink(missing_ok=True)

    def _path(self, key: Any) -> Path:
        digest = hashlib.sha256(f"{_sources(self.module)} {key!r}".encode()).hexdigest()[:24]
        return self.folder / f"{self.name}.{digest}.nbc"


@functools.cache
def _sources(module: str) -> str:
    """Digest of a module, of what it imports from this package, and of numba's version."""
    package, *_ = __name__.split(".")
    found, to_do = set(), [module, *ALWAYS]
    while to_do:
        name = to_do.pop()
        if name in found or name.split(".")[0] != package:
            continue
        found.add(name)
        for value in list(vars(sys.modules[name]).values()):  # other threads may import
            own = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
            to_do += [own] if isinstance(own, str) else []
    digest = hashlib.sha256(numba.__version__.encode())
    for name in sorted(found):
        digest.update(Path(str(sys.modules[name].__file__)).read_bytes())
    return digest.hexdigest()
