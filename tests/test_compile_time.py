"""Compile time is a feature: kernels are compiled once per machine, and never answer for old code.

Each test runs new processes with a cache directory of their own.
"""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from skglrm import FPSGFactorizer
from skglrm._kernel_cache import _Files

ROOT = Path(__file__).resolve().parents[1]


def run(script, *arguments, cache, path=(ROOT,), **environment):
    """Run a script in a new process; return what it prints, read as JSON."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
        env={
            **inherited,
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            # Or an edit within the same second would be answered from the bytecode.
            "PYTHONDONTWRITEBYTECODE": "1",
            "NUMBA_CACHE_DIR": str(cache),
            **environment,
        },
        cwd=cache,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def files_of(cache):
    return {
        str(path.relative_to(cache)): path.stat().st_size
        for path in cache.rglob("*")
        if path.suffix == ".nbc"
    }


STATISTICS = """
def statistics(package):
    import importlib, pkgutil
    found = {}
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        for name, kernel in vars(importlib.import_module(info.name)).items():
            if hasattr(kernel, "py_func") and kernel.__module__ == info.name:
                found[f"{info.name}.{name}"] = {
                    "hits": sum(kernel.stats.cache_hits.values()),
                    "misses": sum(kernel.stats.cache_misses.values()),
                    "signatures": [str(signature) for signature in kernel.signatures],
                }
    return found
"""

USE = (
    STATISTICS
    + """
import json, sys, tempfile
import numpy as np
import scipy.sparse as sp
import skglrm.kernels
from skglrm import Entries, FPSGFactorizer


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def on_disk(array):
    file = tempfile.NamedTemporaryFile(dir=".", suffix=".npy", delete=False)
    np.save(file, array)
    file.close()
    return np.load(file.name, mmap_mode="r")


def strided(array):
    return np.repeat(array, 2)[::2]


def inputs(kind, dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 20)).astype(dtype)
    X[rng.random(X.shape) < 0.3] = np.nan
    E = Entries.from_matrix(X)
    S = E.to_csr()
    if kind == "strided":
        yield Entries(strided(E.row), strided(E.col), strided(E.value), E.matrix_shape)
        yield E[::2]
        return
    if kind == "update":
        yield X
        return
    yield from (X, np.asfortranarray(X), X[::-1], read_only(X), on_disk(X))
    yield from (S, S.tocsc(), S.tocoo(), sp.csr_matrix(S))
    yield sp.csr_array((read_only(S.data), read_only(S.indices), read_only(S.indptr)), S.shape)
    yield sp.csr_array(
        (S.data, S.indices.astype(np.int64), S.indptr.astype(np.int64)), shape=S.shape
    )
    yield E
    yield E[np.arange(len(E)) % 2 == 0]
    for view in (read_only, on_disk):
        yield Entries(view(E.row), view(E.col), view(E.value), E.matrix_shape)
    yield Entries(E.row.astype(np.int64), E.col.astype(np.uint8), E.value, E.matrix_shape)


results = []
for kind in sys.argv[1:]:
    for dtype in (np.float32, np.float64):
        for X in inputs(kind, dtype):
            model = FPSGFactorizer(3, max_iter=2, random_state=0).fit(X)
            model.transform(X)
            model.recommend(X, n=2)
            model.predict_entries([0, 1], [1, 2])
            model.score(X)
            if kind == "update":
                model.partial_fit(X)
    results.append(statistics(skglrm.kernels))
print(json.dumps(results))
"""
)


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """Cache directory in which the main job has been done, and the statistics of the process."""
    cache = tmp_path_factory.mktemp("used")
    return cache, *run(USE, "usual", cache=cache)


def test_a_second_process_compiles_nothing_and_adds_no_file(used):
    cache, first = used
    files = files_of(cache)
    assert sum(kernel["misses"] for kernel in first.values()) > 10
    (second,) = run(USE, "usual", cache=cache)
    assert compiled_in(second) == {}
    assert sum(kernel["hits"] for kernel in second.values()) > 10
    assert files_of(cache) == files


def compiled_in(kernels, since=None):
    """Kernels that were compiled rather than read from the cache, and how many times."""
    before = {name: kernel["misses"] for name, kernel in (since or {}).items()}
    misses = {name: kernel["misses"] - before.get(name, 0) for name, kernel in kernels.items()}
    return {name: number for name, number in misses.items() if number}


def test_a_kernel_has_one_version_per_dtype_whatever_the_input(used):
    _, kernels = used
    several = {
        name: kernel["signatures"]
        for name, kernel in kernels.items()
        if len(kernel["signatures"]) > 2  # float32 and float64
    }
    assert several == {}
    for kernel in kernels.values():
        of_float32 = [signature for signature in kernel["signatures"] if "float32" in signature]
        assert len(of_float32) <= 1


@pytest.fixture(scope="module")
def used_otherwise(used, tmp_path_factory):
    """Statistics after the first and after the second of two less usual jobs."""
    cache = tmp_path_factory.mktemp("used_otherwise") / "cache"
    return run(USE, "strided", "update", cache=shutil.copytree(used[0], cache))


def test_strided_entries_need_no_version_of_their_own(used_otherwise):
    strided, _ = used_otherwise
    assert compiled_in(strided) == {}


def test_an_update_needs_no_version_of_its_own(used_otherwise):
    strided, updated = used_otherwise
    assert compiled_in(updated, since=strided) == {}


def test_importing_compiles_nothing_and_needs_no_optional_package(tmp_path):
    script = (
        STATISTICS
        + """
import json, sys
import joblib, narwhals, numba, scipy.optimize, sklearn.base, sklearn.utils.validation
from numba.core import event
optional = {"matplotlib", "pandas", "polars", "pyarrow", "pyspark", "rich"}
of_others = optional & set(sys.modules)  # scikit-learn imports pandas itself, if it is there
with event.install_recorder("numba:compile") as recorder:
    import skglrm, skglrm.testing, skglrm.kernels
    kernels = statistics(skglrm.kernels)
optional &= set(sys.modules) - of_others
compiled = [name for name, kernel in kernels.items() if kernel["signatures"]]
print(json.dumps([len(recorder.buffer), sorted(optional), compiled, len(kernels)]))
"""
    )
    events, optional, compiled, n_kernels = run(script, cache=tmp_path)
    assert (events, optional, compiled) == (0, [], [])
    assert n_kernels > 5
    assert files_of(tmp_path) == {}


def test_everything_runs_as_plain_python(tmp_path):
    X = np.outer([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 1.0])
    script = f"""
import json
import numpy as np
from skglrm import FPSGFactorizer
X = np.array({X.tolist()})
model = FPSGFactorizer(2, max_iter=3, random_state=0, n_blocks=2).fit(X)
transformed = FPSGFactorizer(2, max_iter=3, random_state=0, nonnegative=True).fit_transform(X)
print(json.dumps([model.loss_curve_, transformed.tolist()]))
"""
    curve, transformed = run(script, cache=tmp_path, NUMBA_DISABLE_JIT="1")
    model = FPSGFactorizer(2, max_iter=3, random_state=0, n_blocks=2).fit(X)
    assert curve == pytest.approx(model.loss_curve_, rel=1e-9)
    model = FPSGFactorizer(2, max_iter=3, random_state=0, nonnegative=True)
    np.testing.assert_allclose(transformed, model.fit_transform(X), rtol=1e-6, atol=1e-9)


# ------------------------------------------------------------------ a copy that may be edited


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A folder with a copy of the package, without the estimators, whose imports take seconds."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "skglrm", folder / "skglrm", ignore=ignored)
    (folder / "skglrm" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "skglrm" / "kernels" / "simple.py").write_text(SIMPLE, encoding="utf-8")
    return folder


SIMPLE = """
from .._jit import kernel


@kernel
def evaluate(loss, u, a):
    return loss.value(u, a)
"""


def edit(path, old, new):
    """Replace text by text of equal length, and hide it from who looks at size and time alone."""
    text, status = path.read_text(encoding="utf-8"), path.stat()
    assert old in text, f"{path.name} no longer contains {old!r}: adapt this test"
    assert len(old) == len(new)
    path.write_text(text.replace(old, new), encoding="utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


USE_LOSSES = """
import json
import losses_of_a_user as module
from skglrm.kernels.simple import evaluate

values = {name: evaluate(getattr(module, name)(), 2.0, 0.0) for name in module.NAMES}
print(json.dumps([values, sum(evaluate.stats.cache_misses.values())]))
"""

LOSSES_OF_A_USER = """
from dataclasses import dataclass

import factors
from factors import factor
from skglrm.losses import Loss

SLOPE = 3.0
NAMES = ["Untouched", "Edited", "Calls", "Reads", "Whole", "ReadsInside", "CallsAttribute"]


@dataclass(frozen=True)
class Untouched(Loss):
    def value(self, u, a):
        return u


@dataclass(frozen=True)
class Edited(Loss):
    def value(self, u, a):
        return 5.0 * u


@dataclass(frozen=True)
class Calls(Loss):
    def value(self, u, a):
        return factor(u)


@dataclass(frozen=True)
class Reads(Loss):
    def value(self, u, a):
        return SLOPE * u


@dataclass(frozen=True)
class Whole(Loss):
    part: Loss = Edited()

    def value(self, u, a):
        return self.part.value(u, a)


@dataclass(frozen=True)
class ReadsInside(Loss):
    def value(self, u, a):
        times = lambda x: SLOPE * x
        return times(u)


@dataclass(frozen=True)
class CallsAttribute(Loss):
    def value(self, u, a):
        return factors.another(u)
"""

FACTORS = """
from numba import njit


@njit
def inner(u):
    return 7.0 * u


@njit
def factor(u):
    return inner(u)


@njit
def another(u):
    return inner(u)
"""

BEFORE = {
    "Untouched": 2.0, "Edited": 10.0, "Calls": 14.0, "Reads": 6.0, "Whole": 10.0,
    "ReadsInside": 6.0, "CallsAttribute": 14.0,
}  # fmt: skip
AFTER = {
    "Untouched": 2.0, "Edited": 12.0, "Calls": 16.0, "Reads": 8.0, "Whole": 12.0,
    "ReadsInside": 8.0, "CallsAttribute": 16.0,
}  # fmt: skip


def write_losses(folder):
    folder.mkdir()
    (folder / "losses_of_a_user.py").write_text(LOSSES_OF_A_USER, encoding="utf-8")
    (folder / "factors.py").write_text(FACTORS, encoding="utf-8")
    return folder


OF_LIBRARY_AND_SCRIPT = """
import json
from dataclasses import dataclass
from skglrm.kernels.simple import evaluate
from skglrm.losses import Loss, Quadratic


@dataclass(frozen=True)
class OfScript(Loss):
    factor: float = 3.0

    def value(self, u, a):
        return self.factor * u


values = [evaluate(Quadratic(), 2.0, 0.0), evaluate(OfScript(4.0), 2.0, 0.0)]
print(json.dumps([values, sum(evaluate.stats.cache_misses.values())]))
"""


@pytest.fixture(scope="module")
def edited_losses(copy, tmp_path_factory):
    """What processes print, and the files afterwards.

    Processes that can and that cannot import a user's module take turns, twice; then it is edited.
    """
    cache = tmp_path_factory.mktemp("edited_losses")
    folder = write_losses(cache / "user")
    results, files = [], []
    for script, path in (
        (USE_LOSSES, (copy, folder)),
        (OF_LIBRARY_AND_SCRIPT, (copy,)),
        (USE_LOSSES, (copy, folder)),
        (OF_LIBRARY_AND_SCRIPT, (copy,)),
        (None, None),
        (USE_LOSSES, (copy, folder)),
    ):
        if script is None:
            edit(folder / "losses_of_a_user.py", "5.0 * u", "6.0 * u")
            edit(folder / "losses_of_a_user.py", "SLOPE = 3.0", "SLOPE = 4.0")
            edit(folder / "factors.py", "7.0 * u", "8.0 * u")
            continue
        results.append(run(script, cache=cache, path=path))
        files.append(files_of(cache))
    return results, files


def test_losses_of_modules_and_scripts_are_cached(edited_losses):
    results, files = edited_losses
    assert results[0] == [BEFORE, len(BEFORE)]
    assert results[2] == [BEFORE, 0]
    assert results[3] == [[2.0, 8.0], 0]
    assert files[1] == files[2] == files[3]
    assert len(files[3]) == len(BEFORE) + 2  # one file per loss


def test_a_loss_that_others_cannot_import_breaks_nobody(edited_losses):
    # Both write versions of one kernel: neither may need the classes of the other to read its own.
    results, _ = edited_losses
    assert results[1] == [[2.0, 8.0], 2]
    assert results[2] == [BEFORE, 0]


@pytest.mark.parametrize("name", AFTER)
def test_an_edited_loss_is_never_answered_from_the_cache(name, edited_losses):
    results, _ = edited_losses
    assert results[4][0][name] == AFTER[name]


def test_what_was_not_edited_is_answered_from_the_cache(edited_losses):
    results, files = edited_losses
    assert results[4][1] < len(BEFORE)
    assert len(files[4]) == len(files[3]) + results[4][1]


PREDICT = """
import json
import numpy as np
from skglrm._jit import read_only
from skglrm._simd import Width, aligned_zeros
from skglrm.kernels.grid import entry_type
from skglrm.kernels.sgd import sum_losses
from skglrm.losses import Quadratic

P, Q = aligned_zeros((1, 8), np.float64), aligned_zeros((1, 8), np.float64)
P[0], Q[0] = np.arange(1, 9) / 8, 0.5
entries = read_only(np.array([(0, 0, 1.0)], entry_type(np.float64)))
loss = sum_losses(Quadratic(), Width(8), entries, None, 0, 1, P, Q)
print(json.dumps([loss, sum(sum_losses.stats.cache_misses.values())]))
"""


@pytest.fixture(scope="module")
def edited_vectors(copy, tmp_path_factory):
    """Results before edits, after an edit of a generator, and of vectors."""
    cache = tmp_path_factory.mktemp("edited_vectors")
    folder = cache / "copy"
    shutil.copytree(copy, folder)
    results = [run(PREDICT, cache=cache, path=(folder,))]
    for name, old, new in (
        ("kernels/sgd.py", "p.load(0) * q.load(0)", "p.load(0) + q.load(0)"),
        ("_simd.py", "self.builder.fadd(self.value", "self.builder.fsub(self.value"),
    ):
        edit(folder / "skglrm" / name, old, new)
        results.append(run(PREDICT, cache=cache, path=(folder,)))
    return results


def test_edited_vector_code_is_never_answered_from_the_cache(edited_vectors):
    before, generator, vectors = edited_vectors
    assert before == [pytest.approx(0.5 * (0.5 * 4.5 - 1.0) ** 2), 1]
    assert generator == [pytest.approx(0.5 * (4.5 + 8 * 0.5 - 1.0) ** 2), 1]
    assert vectors[0] != generator[0]
    assert vectors[1] == 1


# ------------------------------------------------------------------ files that processes share


SUM = """
import json, sys
from pathlib import Path
import numpy as np
from skglrm.kernels.simple import evaluate
from skglrm.losses import Absolute, Huber, Quadratic

Path(sys.argv[1]).touch()
while not Path(sys.argv[2]).exists():
    pass  # until the other process is as far
losses = [Quadratic(), Absolute(), Huber()]
losses = losses[::-1] if len(sys.argv) > 3 else losses
print(json.dumps([evaluate(loss, 3.0, 0.0) for loss in losses]))
"""


def test_processes_that_compile_at_once_read_their_own_versions(copy, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run, SUM, "a", "b", cache=tmp_path, path=(copy,))
        second = pool.submit(run, SUM, "b", "a", "reversed", cache=tmp_path, path=(copy,))
    expected = [4.5, 3.0, 2.5]
    assert (first.result(), second.result()) == (expected, expected[::-1])
    assert run(SUM, "a", "a", cache=tmp_path, path=(copy,)) == expected
    assert len(files_of(tmp_path)) == 3


def test_versions_written_by_turns_do_not_overwrite_each_other(tmp_path):
    one, other = (
        _Files(tmp_path, "kernel", "skglrm.kernels.grid"),
        _Files(tmp_path, "kernel", "skglrm.kernels.grid"),
    )
    keys = [(f"type {i}", ("processor",)) for i in range(4)]
    assert [one.load(key) for key in keys] == [None] * 4
    for i, key in enumerate(keys):
        (one, other)[i % 2].save(key, i)
    assert [one.load(key) for key in keys] == [other.load(key) for key in keys] == [0, 1, 2, 3]
    one.flush()
    assert [other.load(key) for key in keys] == [None] * 4
    assert files_of(tmp_path) == {}


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_a_damaged_version_is_compiled_again(damage, tmp_path):
    files, key = _Files(tmp_path, "kernel", "skglrm.kernels.grid"), ("type",)
    files.save(key, "code")
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    changed = {"truncated": content[:-1], "changed": content[:-2] + b"x.", "empty": b""}
    path.write_bytes(changed[damage])
    assert files.load(key) is None
    files.save(key, "code")
    assert files.load(key) == "code"


def test_where_nothing_can_be_written_kernels_are_compiled_all_the_same(copy, tmp_path):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    (tmp_path / "a").touch()
    result = run(
        SUM, "a", "a", cache=tmp_path, path=(copy,), NUMBA_CACHE_DIR=str(tmp_path / "file")
    )
    assert result == [4.5, 3.0, 2.5]
    assert files_of(tmp_path) == {}
