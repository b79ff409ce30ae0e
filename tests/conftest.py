"""Where kernels are cached while tests run, and what tests of several files share."""

import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DAY = 86_400


def _digest_of_package() -> str:
    sources = sorted((ROOT / "skglrm").rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def _cache_directory() -> Path:
    """Directory that persists between runs, and is another one after any edit of the package.

    Numba looks at the file of a kernel only, so a shared directory could answer for code that has
    changed elsewhere.  Directories that nobody has used for two days are removed.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError:
        home = Path(tempfile.gettempdir())
    caches = home / "skglrm-tests"
    # Numba's cache has no lock, so tests that run side by side do not share one.
    mine = caches / (_digest_of_package() + os.environ.get("PYTEST_XDIST_WORKER", ""))
    mine.mkdir(parents=True, exist_ok=True)
    os.utime(mine)
    for other in caches.iterdir():
        if time.time() - other.stat().st_mtime > 2 * DAY:
            shutil.rmtree(other, ignore_errors=True)
    return mine


# Before anything imports numba, which reads it once.  A worker inherits the choice of the process
# that started it, which is not one of the user's.
if os.environ.get("NUMBA_CACHE_DIR") in (None, os.environ.get("SKGLRM_TEST_CACHE")):
    os.environ["NUMBA_CACHE_DIR"] = os.environ["SKGLRM_TEST_CACHE"] = str(_cache_directory())


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory with the public data sets that lie beside the repository."""
    directory = ROOT.parent / "shared" / "data"
    if not directory.is_dir():
        pytest.skip(f"no data sets in {directory}")
    return directory
