"""Where kernels are cached while tests run, and what tests of several files share."""

import contextlib
import os
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DAY = 86_400


def _cache_directory() -> Path:
    """Directory that all workers share and that persists between runs.

    Files that nobody has written for two weeks are removed: edits of kernels leave them behind.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError:
        home = Path(tempfile.gettempdir())
    kernels = home / "skglrm-tests" / "kernels"
    for path in kernels.rglob("*.nbc"):
        with contextlib.suppress(FileNotFoundError):  # another worker was faster
            if time.time() - path.stat().st_mtime > 14 * DAY:
                path.unlink()
    return kernels


# Before anything imports numba, which reads it once.  A worker inherits the choice of the process
# that started it, which is not one of the user's.
if os.environ.get("NUMBA_CACHE_DIR") in (None, os.environ.get("SKGLRM_TEST_CACHE")):
    os.environ["NUMBA_CACHE_DIR"] = os.environ["SKGLRM_TEST_CACHE"] = str(_cache_directory())


def pytest_configure(config):
    # Files run in the order below, not those with the most tests first.
    config.option.loadscopereorder = False


COMPILING = ("test_fpsg.py", "test_implicit_als.py", "test_alternating.py", "test_glrm.py")
"""What compiles the kernels that Spark's workers would each compile for themselves."""


def pytest_collection_modifyitems(items):
    # Spark's tests take the longest: they come as early as kernels are there.
    def turn(item):
        if item.path.name in COMPILING and item.path.parent.name == "tests":
            return COMPILING.index(item.path.name)
        return len(COMPILING) + ("spark" not in item.path.parts)

    items.sort(key=turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadfile`, make one file of all tests that share the session of Spark."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            path = super()._split_scope(nodeid)
            alone = not path.startswith("tests/spark/") or path.endswith("test_cluster.py")
            return path if alone else "tests/spark"

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory with the public data sets that lie beside the repository."""
    directory = ROOT.parent / "shared" / "data"
    if not directory.is_dir():
        pytest.skip(f"no data sets in {directory}")
    return directory
