"""Compile time is a feature: kernels are compiled once per machine, and never answer for old code.

Each test runs new processes with a cache directory of their own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
        if path.suffix in (".nbi", ".nbc")
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

USE = STATISTICS + """
import json, sys
import numpy as np
import scipy.sparse as sp
import skglrm.kernels
from skglrm import Entries, FPSGFactorizer


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def on_disk(array):
    np.save("array.npy", array)
    return np.load("array.npy", mmap_mode="r")


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
        return
    yield from (X, np.asfortranarray(X), X[::-1], read_only(X), on_disk(X))
    yield from (S, S.tocsc(), S.tocoo(), sp.csr_matrix(S))
    yield sp.csr_array((read_only(S.data), read_only(S.indices), read_only(S.indptr)), S.shape)
    yield sp.csr_array(
        (S.data, S.indices.astype(np.int64), S.indptr.astype(np.int64)), shape=S.shape
    )
    yield E
    yield E[::2]
    for view in (read_only, on_disk):
        yield Entries(view(E.row), view(E.col), view(E.value), E.matrix_shape)
    yield Entries(E.row.astype(np.int64), E.col.astype(np.uint8), E.value, E.matrix_shape)


for dtype in (np.float32, np.float64):
    for X in inputs(sys.argv[1], dtype):
        model = FPSGFactorizer(3, max_iter=2, random_state=0).fit(X)
        model.transform(X)
        model.recommend(X, n=2)
        model.predict_entries([0, 1], [1, 2])
        model.score(X)
        if sys.argv[1] == "update":
            model.partial_fit(X)
print(json.dumps(statistics(skglrm.kernels)))
"""


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """Cache directory in which the main job has been done, and the statistics of the process."""
    cache = tmp_path_factory.mktemp("used")
    return cache, run(USE, "all", cache=cache)


def test_a_second_process_compiles_nothing_and_adds_no_file(used):
    cache, first = used
    files = files_of(cache)
    assert sum(kernel["misses"] for kernel in first.values()) > 10
    second = run(USE, "all", cache=cache)
    assert {name: kernel["misses"] for name, kernel in second.items() if kernel["misses"]} == {}
    assert sum(kernel["hits"] for kernel in second.values()) > 10
    assert files_of(cache) == files


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


@pytest.mark.xfail(reason="arrays of Entries may be strided, and kernels are given them as they are")
def test_strided_entries_need_no_version_of_their_own(used):
    cache, _ = used
    kernels = run(USE, "strided", cache=cache)
    assert {name: kernel["misses"] for name, kernel in kernels.items() if kernel["misses"]} == {}


@pytest.mark.xfail(reason="an update turns positions and CSR indices into int64")
def test_an_update_needs_no_version_of_its_own(used, tmp_path):
    kernels = run(USE, "update", cache=shutil.copytree(used[0], tmp_path / "cache"))
    assert {name: kernel["misses"] for name, kernel in kernels.items() if kernel["misses"]} == {}


def test_importing_compiles_nothing_and_needs_no_optional_package(tmp_path):
    script = STATISTICS + """
import json, sys
from numba.core import event
with event.install_recorder("numba:compile") as recorder:
    import skglrm, skglrm.testing
    heavy = {"matplotlib", "pandas", "polars", "pyarrow", "pyspark", "rich"} & set(sys.modules)
    import skglrm.kernels
kernels = statistics(skglrm.kernels)
compiled = [name for name, kernel in kernels.items() if kernel["signatures"]]
print(json.dumps([len(recorder.buffer), sorted(heavy), compiled, len(kernels)]))
"""
    events, heavy, compiled, n_kernels = run(script, cache=tmp_path)
    assert (events, heavy, compiled) == (0, [], [])
    assert n_kernels > 5
    assert files_of(tmp_path) == {}


@pytest.mark.xfail(reason="kernels read the fields of entries as attributes, which NumPy refuses")
def test_everything_runs_as_plain_python(tmp_path):
    script = """
import json
import numpy as np
from skglrm import FPSGFactorizer
X = np.outer([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 1.0])
model = FPSGFactorizer(2, max_iter=3, random_state=0, n_blocks=2).fit(X)
print(json.dumps(model.loss_curve_))
"""
    python = run(script, cache=tmp_path, NUMBA_DISABLE_JIT="1")
    assert python == pytest.approx(run(script, cache=tmp_path), rel=1e-9)


# ------------------------------------------------------------------ a copy that may be edited


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, without the estimators, whose imports take seconds."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "skglrm", tmp_path / "copy" / "skglrm", ignore=ignored)
    (tmp_path / "copy" / "skglrm" / "__init__.py").write_text("")
    (tmp_path / "cache").mkdir()
    return tmp_path / "copy"


def edit(path, old, new):
    """Replace text of equal length and hide it from whoever looks at size and time alone."""
    text, status = path.read_text(encoding="utf-8"), path.stat()
    assert old in text, f"{path.name} no longer contains {old!r}: adapt this test"
    assert len(old) == len(new)
    path.write_text(text.replace(old, new), encoding="utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


EVALUATE = """
import json, sys
import numpy as np
from skglrm.losses import Quadratic
from skglrm.testing import _evaluate_loss


def evaluate(loss, dtype=np.float64):
    value, gradient = np.empty(1), np.empty(1)
    _evaluate_loss(loss, np.array([2.0], dtype), np.array([0.0], dtype), value, gradient)
    return float(value[0])


def misses():
    return sum(_evaluate_loss.stats.cache_misses.values())
"""

USE_LOSSES = EVALUATE + """
import losses_of_a_user as module
names = sys.argv[1:]
values = {name: evaluate(getattr(module, name)()) for name in names}
print(json.dumps([values, misses()]))
"""

LOSSES_OF_A_USER = """
from dataclasses import dataclass

import factors
from factors import factor
from skglrm.losses import Loss

SLOPE = 3.0


class Base(Loss):
    def gradient(self, u, a):
        return 0.0


@dataclass(frozen=True)
class Untouched(Base):
    def value(self, u, a):
        return u


@dataclass(frozen=True)
class Edited(Base):
    def value(self, u, a):
        return 5.0 * u


@dataclass(frozen=True)
class CallsEdited(Base):
    def value(self, u, a):
        return factor(u)


@dataclass(frozen=True)
class ReadsEdited(Base):
    def value(self, u, a):
        return SLOPE * u


@dataclass(frozen=True)
class ReadsInside(Base):
    def value(self, u, a):
        times = lambda x: SLOPE * x
        return times(u)


@dataclass(frozen=True)
class CallsAttribute(Base):
    def value(self, u, a):
        return factors.factor(u)


@dataclass(frozen=True)
class Whole(Base):
    part: Loss = Edited()

    def value(self, u, a):
        return self.part.value(u, a)
"""

FACTORS = """
from numba import njit


@njit
def inner(u):
    return 7.0 * u


@njit
def factor(u):
    return inner(u)
"""


@pytest.fixture
def losses_of_a_user(tmp_path):
    folder = tmp_path / "user"
    folder.mkdir()
    (folder / "losses_of_a_user.py").write_text(LOSSES_OF_A_USER, encoding="utf-8")
    (folder / "factors.py").write_text(FACTORS, encoding="utf-8")
    return folder


def edit_losses(folder):
    edit(folder / "losses_of_a_user.py", "5.0 * u", "6.0 * u")
    edit(folder / "losses_of_a_user.py", "SLOPE = 3.0", "SLOPE = 4.0")
    edit(folder / "factors.py", "7.0 * u", "8.0 * u")


def test_an_edited_loss_is_never_answered_from_the_cache(copy, losses_of_a_user, tmp_path):
    names = ["Untouched", "Edited", "CallsEdited", "ReadsEdited", "Whole"]
    where = {"cache": tmp_path / "cache", "path": (copy, losses_of_a_user)}
    values, misses = run(USE_LOSSES, *names, **where)
    assert values == {
        "Untouched": 2.0, "Edited": 10.0, "CallsEdited": 14.0, "ReadsEdited": 6.0, "Whole": 10.0,
    }  # fmt: skip
    assert misses == 5
    assert run(USE_LOSSES, *names, **where) == [values, 0]
    files = files_of(tmp_path / "cache")

    edit_losses(losses_of_a_user)
    values, misses = run(USE_LOSSES, *names, **where)
    assert values == {
        "Untouched": 2.0, "Edited": 12.0, "CallsEdited": 16.0, "ReadsEdited": 8.0, "Whole": 12.0,
    }  # fmt: skip
    assert misses == 4
    assert len(files_of(tmp_path / "cache")) == len(files) + 4


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        pytest.param(
            "ReadsInside", 6.0, 8.0,
            marks=pytest.mark.xfail(reason="the digest does not look into nested functions"),
        ),
        pytest.param(
            "CallsAttribute", 14.0, 16.0,
            marks=pytest.mark.xfail(reason="the digest does not follow attributes of modules"),
        ),
    ],
)  # fmt: skip
def test_what_an_edited_loss_reaches_in_other_ways_is_seen_too(
    name, before, after, copy, losses_of_a_user, tmp_path
):
    where = {"cache": tmp_path / "cache", "path": (copy, losses_of_a_user)}
    if run(USE_LOSSES, name, **where)[0] != {name: before}:
        raise RuntimeError("the test itself is wrong")
    edit_losses(losses_of_a_user)
    assert run(USE_LOSSES, name, **where)[0] == {name: after}


def test_a_loss_that_others_cannot_import_breaks_nobody(copy, losses_of_a_user, tmp_path):
    builtin = EVALUATE + "print(json.dumps([evaluate(Quadratic()), misses()]))"
    cache = tmp_path / "cache"
    assert run(builtin, cache=cache, path=(copy,)) == [2.0, 1]
    run(USE_LOSSES, "Untouched", "Whole", cache=cache, path=(copy, losses_of_a_user))
    assert run(builtin, cache=cache, path=(copy,)) == [2.0, 0]
    files = files_of(cache)

    # The same kernel for another dtype is compiled into the same index, and leaves it readable.
    single = EVALUATE + "print(json.dumps([evaluate(Quadratic(), np.float32), misses()]))"
    assert run(single, cache=cache, path=(copy,)) == [2.0, 1]
    values, misses = run(USE_LOSSES, "Whole", cache=cache, path=(copy, losses_of_a_user))
    assert (values, misses) == ({"Whole": 10.0}, 0)
    assert len(files_of(cache)) == len(files) + 1


def test_a_loss_of_a_script_is_cached(copy, tmp_path):
    script = EVALUATE + """
from dataclasses import dataclass
from skglrm.losses import Loss


@dataclass(frozen=True)
class OfScript(Loss):
    factor: float = 3.0

    def value(self, u, a):
        return self.factor * u

    def gradient(self, u, a):
        return self.factor


print(json.dumps([evaluate(OfScript(4.0)), misses()]))
"""
    where = {"cache": tmp_path / "cache", "path": (copy,)}
    assert run(script, **where) == [8.0, 1]
    files = files_of(tmp_path / "cache")
    assert run(script, **where) == [8.0, 0]
    assert files_of(tmp_path / "cache") == files


VISIT = """
import json
import numpy as np
from skglrm._jit import read_only
from skglrm._simd import Width, aligned_zeros
from skglrm.kernels.grid import entry_type
from skglrm.kernels.sgd import N_STATE, GradientStep, settle_rows, sgd_block
from skglrm.losses import Quadratic

P, Q, row_state, column_state = (aligned_zeros((1, 8), np.float64) for _ in range(4))
P[0], Q[0] = np.arange(1, 9) / 8, 0.5
for factors, state in ((P, row_state), (Q, column_state)):
    state[:, 4:6] = 1.0
    settled = settle_rows(factors, state, np.ones(1), 0, 1)
norms = row_state[0, 2:4].tolist()
entries = read_only(np.array([(0, 0, 1.0)], entry_type(np.float64)))
step = GradientStep(0.1, 0.1, 0.125, 0.0, 0.05, 0.05)
loss = sgd_block(Quadratic(), step, Width(8), entries, 0, 1, P, Q, row_state, column_state)
misses = sum(sgd_block.stats.cache_misses.values())
print(json.dumps([loss, P[0].tolist(), norms, misses]))
"""


def test_edited_vector_code_is_never_answered_from_the_cache(copy, tmp_path):
    where = {"cache": tmp_path / "cache", "path": (copy,)}
    loss, p, _, misses = run(VISIT, **where)
    assert loss == pytest.approx(0.5 * (0.5 * 4.5 - 1.0) ** 2)
    assert misses == 1
    assert run(VISIT, **where)[3] == 0

    # The generator of a kernel: slow dimensions are added instead of multiplied.
    edit(copy / "skglrm" / "kernels" / "sgd.py", "p.load(0) * q.load(0)", "p.load(0) + q.load(0)")
    loss, _, _, misses = run(VISIT, **where)
    assert loss == pytest.approx(0.5 * (4.5 + 8 * 0.5 - 1.0) ** 2)
    assert misses == 1

    # What generators are made of: a sum becomes a difference.
    edit(copy / "skglrm" / "_simd.py", "self.builder.fadd(self.value", "self.builder.fsub(self.value")
    edited, _, _, misses = run(VISIT, **where)
    assert edited != loss
    assert misses == 1


@pytest.mark.xfail(reason="settle_rows has no Width, whose digest covers the other files")
def test_an_edited_number_of_lanes_is_seen_by_kernels_without_a_width(copy, tmp_path):
    where = {"cache": tmp_path / "cache", "path": (copy,)}
    _, _, norms, _ = run(VISIT, **where)
    if norms[1] != 0.0:
        raise RuntimeError("the test itself is wrong")
    edit(copy / "skglrm" / "_simd.py", "LANES = 8", "LANES = 4")
    _, _, norms, _ = run(VISIT, **where)
    assert norms[1] > 0.0
