"""Benchmarks of skglrm for asv.

asv imports this package before anything else, and it sets environment variables that numba and the
BLAS libraries read once, at their import: hence no import of them above.
"""

import hashlib
import importlib.util
import os
from pathlib import Path

# One BLAS thread: n_jobs is a parameter here, and a second layer of threads would blur it.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


def _source_digest() -> str:
    """Digest of skglrm's sources, found without importing them."""
    spec = importlib.util.find_spec("skglrm")
    digest = hashlib.sha256()
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


# asv runs each benchmark in a temporary directory, where a relative cache would be empty every
# time. One cache per state of the sources, so that old ones can be thrown away as a whole.
_cache = Path(os.environ.get("NUMBA_CACHE_DIR") or ".asv/numba")
if not _cache.is_absolute():
    _cache = Path(__file__).resolve().parents[1] / _cache / _source_digest()
    os.environ["NUMBA_CACHE_DIR"] = str(_cache)
