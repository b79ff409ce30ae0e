"""Compare `skglrm.FPSGFactorizer` with LIBMF: time, epochs, quality and memory, in turn.

    python asv_bench/peers/libmf.py PATH_TO_LIBMF_SHARED_LIBRARY --ratings ratings20m.npz
    python asv_bench/peers/libmf.py PATH_TO_LIBMF_SHARED_LIBRARY --ml100k u.data
    python asv_bench/peers/libmf.py --ratings ratings20m.npz          # skglrm's rows alone

**The library.** LIBMF is not part of this project. Take its source (version 2.01) from its authors,
switch its AVX flag on and its SSE flag off where its build file says so, keep OpenMP, and build its
library target: the shared library that results is the argument. The default SSE variant is no fair
opponent, since it drops terms when it sums squared gradients, and nothing in its interface tells
the variants apart: name the variant whenever you quote a figure.

**The ratings.** An `.npz` with `row` and `col` (int32), `value` (float32), `test` (bool, True for
held-out entries) and `shape`. MovieLens 100K is its tab-separated file of user, item, rating and
timestamp, with ids from 1.

**What is fair here.** Both get the same entries, already in memory in the form each takes
(`Entries` for skglrm, an array of 12-byte nodes for LIBMF); making that form is not timed, but its
time is printed. LIBMF runs quiet and copies its data, since a caller wants his array back unharmed.
Both have the same loss, L2 strength (no L1), learning rate, number of iterations and threads. Fits
alternate, so a drift of the machine hits both. Both are run once on a slice first, so no
compilation is timed. One function measures the errors of both.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # imported late, so that its cost shows where it belongs
    from skglrm import FPSGFactorizer

LEARNING_RATE = 0.1
ENTRY_BYTES = 12  # two int32 ids and a float32 value
WARM_UP_ENTRIES = 200_000
PREDICT_BATCH = 1_000_000

Predict = Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.floating]]


# ----------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Ratings:
    """Observed cells."""

    row: NDArray[np.int32]
    col: NDArray[np.int32]
    value: NDArray[np.float32]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, where: NDArray[np.bool_] | slice) -> Ratings:
        return Ratings(self.row[where], self.col[where], self.value[where], self.shape)

    def seen(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which rows and which columns have at least one entry."""
        rows, cols = np.zeros(self.shape[0], bool), np.zeros(self.shape[1], bool)
        rows[self.row] = True
        cols[self.col] = True
        return rows, cols


def load_ratings(path: Path, limit: int | None = None) -> tuple[Ratings, Ratings]:
    """Training and test entries; `limit` keeps the first ones only, for a quick trial."""
    with np.load(path) as stored:
        n_rows, n_cols = (int(size) for size in stored["shape"])
        keep = slice(limit)
        test = stored["test"][keep]
        ratings = Ratings(
            stored["row"][keep].astype(np.int32, copy=False),
            stored["col"][keep].astype(np.int32, copy=False),
            stored["value"][keep].astype(np.float32, copy=False),
            (n_rows, n_cols),
        )
    return ratings.take(~test), ratings.take(test)


def load_ml100k(path: Path) -> tuple[Ratings, Ratings]:
    """MovieLens 100K, with about a tenth of its entries held out by a fixed draw."""
    table = np.loadtxt(path, dtype=np.int64, delimiter="\t", usecols=(0, 1, 2), ndmin=2)
    row, col = (table[:, i].astype(np.int32) - np.int32(1) for i in (0, 1))
    shape = (int(row.max()) + 1, int(col.max()) + 1)
    ratings = Ratings(row, col, table[:, 2].astype(np.float32), shape)
    test = np.random.default_rng(0).random(len(ratings)) < 0.1
    return ratings.take(~test), ratings.take(test)


# --------------------------------------------------------------------------------- contestants


@dataclass(frozen=True)
class Settings:
    """What both are told; `schedule` is for skglrm alone, `bins` for LIBMF alone."""

    regularization: float
    threads: int
    schedule: str
    bins: int


class Contestant(ABC):
    """One side of the comparison; holds the training entries in the form that it takes."""

    name: str

    @abstractmethod
    def fit(self, n_components: int, max_iter: int, seed: int) -> tuple[float, Predict]:
        """Seconds of a whole fit, and what predicts cells with its factors."""

    @abstractmethod
    def warm_up(self, n_components: int) -> None:
        """Fit a slice, so that what follows pays for no compilation and no first touch."""


class Skglrm(Contestant):
    name = "skglrm"

    def __init__(self, train: Ratings, settings: Settings) -> None:
        from skglrm import Entries

        self.settings = settings
        self.entries = Entries(train.row, train.col, train.value, train.shape)

    def _estimator(self, n_components: int, max_iter: int, seed: int) -> FPSGFactorizer:
        from skglrm import FPSGFactorizer

        return FPSGFactorizer(
            n_components=n_components,
            regularization=self.settings.regularization,
            learning_rate=LEARNING_RATE,
            max_iter=max_iter,
            n_jobs=self.settings.threads,
            random_state=seed,
            schedule=self.settings.schedule,
        )

    def fit(self, n_components: int, max_iter: int, seed: int) -> tuple[float, Predict]:
        estimator = self._estimator(n_components, max_iter, seed)
        start = time.perf_counter()
        estimator.fit(self.entries)
        seconds = time.perf_counter() - start
        if estimator.n_iter_ != max_iter:  # every figure assumes equal iterations
            raise RuntimeError(f"skglrm made {estimator.n_iter_} of {max_iter} iterations")
        return seconds, estimator.predict_entries

    def warm_up(self, n_components: int) -> None:
        # Two iterations: the first epoch may use a kernel of its own.
        estimator = self._estimator(n_components, 2, 0)
        estimator.fit(self.entries[:WARM_UP_ENTRIES])
        estimator.predict_entries(np.zeros(1, np.int32), np.zeros(1, np.int32))


# LIBMF's integers are C ints, its counts `long long`, its reals floats. ctypes pads like the C
# compiler, so the three trailing booleans need no filler.


class _Problem(ctypes.Structure):
    _fields_ = (
        ("m", ctypes.c_int),
        ("n", ctypes.c_int),
        ("nnz", ctypes.c_longlong),
        ("R", ctypes.c_void_p),
    )


class _Parameter(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int) for name in ("fun", "k", "nr_threads", "nr_bins", "nr_iters")),
        *((name, ctypes.c_float) for name in ("lambda_p1", "lambda_p2", "lambda_q1", "lambda_q2")),
        *((name, ctypes.c_float) for name in ("eta", "alpha", "c")),
        *((name, ctypes.c_bool) for name in ("do_nmf", "quiet", "copy_data")),
    )


class _Model(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int) for name in ("fun", "m", "n", "k")),
        ("b", ctypes.c_float),
        ("P", ctypes.POINTER(ctypes.c_float)),
        ("Q", ctypes.POINTER(ctypes.c_float)),
    )


_NODE = np.dtype([("u", np.int32), ("v", np.int32), ("r", np.float32)])


def _open_libmf(path: Path) -> ctypes.CDLL:
    # The resolved path, because a bare file name would be searched for among system libraries.
    library = ctypes.CDLL(str(path.resolve()))
    library.mf_get_default_param.argtypes = ()
    library.mf_get_default_param.restype = _Parameter
    library.mf_train.argtypes = (ctypes.POINTER(_Problem), _Parameter)
    library.mf_train.restype = ctypes.POINTER(_Model)
    library.mf_destroy_model.argtypes = (ctypes.POINTER(ctypes.POINTER(_Model)),)
    library.mf_destroy_model.restype = None
    # A version with another layout would read its parameters from wrong places, unnoticed. The
    # defaults of 2.01 span the structure from its first field to its last.
    default = library.mf_get_default_param()
    found = (default.fun, default.k, default.nr_bins, round(default.eta, 6), default.copy_data)
    if found != (0, 8, 20, 0.1, True):
        raise RuntimeError(f"unexpected LIBMF defaults {found}: this script knows version 2.01")
    return library


class _Fitted:
    """Views of the factors in LIBMF's own memory, which is freed with this object.

    No copies: in the memory measurement they would be charged to LIBMF.
    """

    def __init__(self, library: ctypes.CDLL, model: ctypes._Pointer[_Model]) -> None:
        fitted = model.contents
        self.left = np.ctypeslib.as_array(fitted.P, (fitted.m, fitted.k))
        self.right = np.ctypeslib.as_array(fitted.Q, (fitted.n, fitted.k))
        self.mean = np.float32(fitted.b)
        # Not __del__: at exit the globals that it needs may be gone.
        weakref.finalize(self, library.mf_destroy_model, ctypes.pointer(model))


class Libmf(Contestant):
    name = "LIBMF"

    def __init__(self, train: Ratings, settings: Settings, path: Path) -> None:
        self.settings = settings
        self.library = _open_libmf(path)
        self.shape = train.shape
        self.nodes = np.empty(len(train), _NODE)
        self.nodes["u"], self.nodes["v"], self.nodes["r"] = train.row, train.col, train.value
        self.seen_rows, self.seen_cols = train.seen()

    def _train(
        self, nodes: NDArray[np.void], n_components: int, max_iter: int
    ) -> tuple[float, _Fitted]:
        problem = _Problem(*self.shape, len(nodes), nodes.ctypes.data)
        parameter = self.library.mf_get_default_param()
        parameter.fun = 0  # squared loss
        parameter.k = n_components
        parameter.nr_threads = self.settings.threads
        parameter.nr_bins = self.settings.bins
        parameter.nr_iters = max_iter
        parameter.lambda_p1 = parameter.lambda_q1 = 0.0
        parameter.lambda_p2 = parameter.lambda_q2 = self.settings.regularization
        parameter.eta = LEARNING_RATE
        parameter.quiet = parameter.copy_data = True
        start = time.perf_counter()
        model = self.library.mf_train(ctypes.byref(problem), parameter)
        seconds = time.perf_counter() - start
        if not model:
            raise RuntimeError("LIBMF refused the problem; it says why on its error stream")
        return seconds, _Fitted(self.library, model)

    def fit(self, n_components: int, max_iter: int, seed: int) -> tuple[float, Predict]:
        """`seed` is ignored: LIBMF has none; its runs differ by the timing of threads."""
        seconds, fitted = self._train(self.nodes, n_components, max_iter)

        def predict(row: NDArray[np.int32], col: NDArray[np.int32]) -> NDArray[np.floating]:
            # Unseen ids have NaN factors. They are known from the training data, not from NaN,
            # so that a model that diverged does not pass for its mean.
            score = np.einsum("ij,ij->i", fitted.left[row], fitted.right[col])
            return np.where(self.seen_rows[row] & self.seen_cols[col], score, fitted.mean)

        return seconds, predict

    def warm_up(self, n_components: int) -> None:
        self._train(self.nodes[:WARM_UP_ENTRIES], n_components, 2)


def test_rmse(predict: Predict, test: Ratings) -> float:
    """Root mean squared error over all held-out entries, those with an unseen side included."""
    total = 0.0
    for start in range(0, len(test), PREDICT_BATCH):
        part = test.take(slice(start, start + PREDICT_BATCH))
        error = np.asarray(predict(part.row, part.col), np.float64) - part.value
        total += float(error @ error)
    return math.sqrt(total / len(test))


# -------------------------------------------------------------------------------------- memory


def _status_bytes(field: str) -> int | None:
    """A memory field of this process in bytes, where the system has `/proc` (Linux)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(s.split()[1]) * 1024 for s in lines if s.startswith(f"{field}:")), None)


def _max_rss() -> int:
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, kilobytes elsewhere


def peak_increase(action: Callable[[], object]) -> tuple[int, str]:
    """By how many bytes the resident memory peaks above its level before `action`.

    `ru_maxrss` alone can understate: it never falls, so it hides whatever fits below an earlier
    peak (of loading, of compiling, on Linux even of the parent process before `exec`). Where the
    kernel lets us, forget the earlier peak; elsewhere say that the figure is a lower bound.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # freed heap would be reused and not be counted (glibc)
    except (AttributeError, OSError, TypeError):
        pass
    try:
        Path("/proc/self/clear_refs").write_text("5")  # peak := present
    except OSError:
        lowest = _max_rss()
        action()
        return _max_rss() - lowest, "ru_maxrss, a lower bound"
    before = _status_bytes("VmRSS")
    assert before is not None
    action()
    peak = _status_bytes("VmHWM")
    assert peak is not None
    return peak - before, "resident high-water mark, reset before the fit"


def measure_memory(args: argparse.Namespace, settings: Settings) -> None:
    """Body of the fresh process: load, warm up, fit once; one line of JSON on stdout."""
    train, _ = load_ratings(args.ratings, args.limit)
    contestant = make_contestant(args.measure_memory_of, train, settings, args.library)
    del train  # a contestant keeps what it needs; a second copy of the inputs would only blur
    (n_components,) = args.n_components
    contestant.warm_up(n_components)
    increase, how = peak_increase(lambda: contestant.fit(n_components, args.max_iter, 0))
    print(json.dumps({"increase": increase, "how": how}))


def spawn_memory_measurement(args: argparse.Namespace, name: str, k: int) -> tuple[int, str]:
    """Measure in a process of its own: peaks of one fit would hide those of the next."""
    command = [sys.executable, __file__]
    if args.library is not None:
        command.append(str(args.library))
    command += ["--measure-memory-of", name, "--ratings", str(args.ratings)]
    command += ["--n-components", str(k), "--max-iter", str(args.max_iter)]
    command += ["--threads", str(args.threads), "--schedule", args.schedule]
    command += ["--regularization", str(args.regularization), "--bins", str(args.bins)]
    if args.limit is not None:
        command += ["--limit", str(args.limit)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    return result["increase"], result["how"]


# -------------------------------------------------------------------------------------- report


@dataclass
class Runs:
    """What the rounds of one contestant gave, in order."""

    whole: list[float]
    short: list[float]
    rmse: list[float]

    def epochs(self) -> list[float]:
        """Seconds of the iterations that the whole fit has above the short one, per round."""
        return [whole - short for whole, short in zip(self.whole, self.short, strict=True)]


def spread(values: Sequence[float], digits: int) -> str:
    """Median and, as a measure of noise, min..max."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def rates(runs: Runs, ratings: int) -> list[float]:
    """Million ratings per second of each round; NaN where noise exceeds the difference."""
    return [ratings / s / 1e6 if s > 0 else float("nan") for s in runs.epochs()]


def rate_text(runs: Runs, ratings: int) -> tuple[float, str]:
    """The rate of the median difference, and its spread over rounds."""
    middle, each = statistics.median(runs.epochs()), rates(runs, ratings)
    if middle <= 0 or any(np.isnan(each)):
        return float("nan"), "lost in noise"
    rate = ratings / middle / 1e6
    return rate, f"{rate:.1f} ({min(each):.1f}..{max(each):.1f})"


def ratio_text(ratio: float, per_round: Sequence[float], what: str) -> str:
    """The ratio of medians, and the range of the ratios within rounds."""
    if np.isnan(ratio):
        return "-"
    return f"{ratio:.2f}x {what} ({min(per_round):.2f}..{max(per_round):.2f})"


def quotients(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def print_row(label: str, cells: Sequence[str]) -> None:
    print(f"  {label:<34}" + "".join(f"{cell:<28}" for cell in cells).rstrip())


def print_table(
    runs: dict[str, Runs], train: Ratings, k: int, args: argparse.Namespace, names: list[str]
) -> None:
    ours, peer = runs[Skglrm.name], runs.get(Libmf.name)
    columns = [ours] if peer is None else [ours, peer]
    ratings = (args.max_iter - args.short_iter) * len(train)
    print(f"\nn_components = {k}")
    print_row("", names if peer is None else [*names, "skglrm against LIBMF"])

    cells = [spread(side.whole, 2) for side in columns]
    if peer is not None:
        ratio = statistics.median(peer.whole) / statistics.median(ours.whole)
        cells.append(ratio_text(ratio, quotients(peer.whole, ours.whole), "as fast"))
    print_row("whole fit, s", cells)

    medians, cells = [], []
    for side in columns:
        rate, text = rate_text(side, ratings)
        medians.append(rate)
        cells.append(text)
    if peer is not None:
        each = quotients(rates(ours, ratings), rates(peer, ratings))
        cells.append(ratio_text(medians[0] / medians[1], each, "as fast"))
    print_row("epochs alone, million ratings/s", cells)

    cells = [spread(side.rmse, 5) for side in columns]
    if peer is not None:
        difference = statistics.median(ours.rmse) - statistics.median(peer.rmse)
        cells.append(f"{difference:+.5f} (lower is better)")
    print_row("test RMSE", cells)

    if args.memory:
        factor_bytes = sum(train.shape) * k * 4
        entry_bytes = len(train) * ENTRY_BYTES
        measured = [spawn_memory_measurement(args, name, k) for name in names]
        peaks = [increase for increase, _ in measured]
        relative = [(peak - factor_bytes) / entry_bytes for peak in peaks]
        cells = [f"{peak / 1e6:.0f}" for peak in peaks]
        if peer is not None:
            cells.append(f"{peaks[0] / peaks[1]:.2f}x as much")
        print_row("peak RSS increase in fit, MB", cells)
        print_row("  (peak - factors) / entries", [f"{value:.2f}" for value in relative])
        print_row("  bytes of entries (12 each), MB", [f"{entry_bytes / 1e6:.0f}"])
        print_row("  bytes of factors (float32), MB", [f"{factor_bytes / 1e6:.0f}"])
        print_row("  measured by", [measured[0][1]])


def cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cpu_vectors() -> str:
    """The widest vectors that the CPU says it has: both sides live on them."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "vectors unknown"
    found = [flag for flag in ("avx", "avx2", "avx512f") if flag in flags]
    return found[-1] if found else "no AVX"


def print_machine() -> None:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = [f"Python {platform.python_version()}"]
    for package in ("skglrm", "numpy", "numba", "llvmlite", "scikit-learn"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} (not installed: a checkout)")
    print(f"CPU: {cpu_model()}, {cpus} usable, {cpu_vectors()}; {platform.system()}")
    print(", ".join(versions))
    if hasattr(os, "getloadavg"):
        print(f"load average before the start: {os.getloadavg()[0]:.2f} (0 is a quiet machine)")


# --------------------------------------------------------------------------------- comparisons


def make_contestant(
    name: str, train: Ratings, settings: Settings, library: Path | None
) -> Contestant:
    if name == Skglrm.name:
        return Skglrm(train, settings)
    if library is None:
        raise ValueError(f"{name} needs the path of its shared library")
    return Libmf(train, settings, library)


def make_contestants(
    train: Ratings, settings: Settings, library: Path | None
) -> tuple[list[Contestant], str]:
    """All contestants, and a note on how long their inputs took to make."""
    names = [Skglrm.name] if library is None else [Skglrm.name, Libmf.name]
    contestants, notes = [], []
    for name in names:
        start = time.perf_counter()
        contestants.append(make_contestant(name, train, settings, library))
        notes.append(f"{name} {time.perf_counter() - start:.2f} s")
    return contestants, ", ".join(notes)


def compare_speed(args: argparse.Namespace, settings: Settings) -> None:
    train, test = load_ratings(args.ratings, args.limit)
    if not len(train) or not len(test):
        raise SystemExit("the ratings need training and test entries")
    seen_rows, seen_cols = train.seen()
    unseen = 1 - (seen_rows[test.row] & seen_cols[test.col]).mean()
    contestants, construction = make_contestants(train, settings, args.library)
    names = [contestant.name for contestant in contestants]

    print(
        f"\n{len(train):,} training and {len(test):,} test ratings, "
        f"{train.shape[0]:,} x {train.shape[1]:,}; {100 * unseen:.3f} % of the test ratings have "
        "an unseen side and are counted"
    )
    print(
        f"{args.max_iter} iterations, {args.threads} threads, regularization "
        f"{args.regularization}, learning rate {LEARNING_RATE}; skglrm: schedule "
        f"{args.schedule}" + (f"; LIBMF: {args.bins} bins" if args.library else "")
    )
    print(f"inputs made before, not timed below (imports included): {construction}")
    print(
        f"each is warmed up (skglrm: compiled) on {min(WARM_UP_ENTRIES, len(train)):,} ratings "
        "with the same n_components and dtype before anything is timed"
    )
    print(f"{args.rounds} rounds in turn; median (min..max), the range shows the noise")
    print(
        f"epochs alone: ({args.max_iter} - {args.short_iter}) passes over the time that "
        f"{args.max_iter} iterations take beyond {args.short_iter}"
    )
    if args.short_iter == 1:
        print(
            "  note: LIBMF's first iteration updates 8 dimensions only; if skglrm skips that in "
            "a fit of one\n  iteration, the difference flatters skglrm: --short-iter 2 is free "
            "of this"
        )

    for k in args.n_components:
        for contestant in contestants:
            contestant.warm_up(k)
        runs = {name: Runs([], [], []) for name in names}
        for seed in range(args.rounds):
            for contestant in contestants:
                seconds, predict = contestant.fit(k, args.max_iter, seed)
                runs[contestant.name].whole.append(seconds)
                runs[contestant.name].rmse.append(test_rmse(predict, test))
                del predict  # its factors would sit in memory during the next fit
            for contestant in contestants:
                runs[contestant.name].short.append(contestant.fit(k, args.short_iter, seed)[0])
        print_table(runs, train, k, args, names)
        sys.stdout.flush()


def compare_ml100k(args: argparse.Namespace) -> None:
    k, max_iter, n_seeds = 64, 30, 5
    settings = Settings(0.1, args.threads, args.schedule, args.bins)
    train, test = load_ml100k(args.ml100k)
    contestants, _ = make_contestants(train, settings, args.library)
    print(
        f"\nMovieLens 100K, {len(train):,} training and {len(test):,} test ratings; "
        f"n_components {k}, regularization {settings.regularization}, {max_iter} iterations, "
        f"{args.threads} threads"
    )
    print(
        f"test RMSE, mean of {n_seeds} seeds (min..max), lower is better; LIBMF has no seed, "
        "its runs differ by timing"
    )
    errors: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for seed in range(n_seeds):
        for contestant in contestants:
            predict = contestant.fit(k, max_iter, seed)[1]
            errors[contestant.name].append(test_rmse(predict, test))
    for name, values in errors.items():
        mean = statistics.mean(values)
        print_row(name, [f"{mean:.5f} ({min(values):.5f}..{max(values):.5f})"])
    if args.library is not None:
        ours, peer = (statistics.mean(values) for values in errors.values())
        print_row("difference", [f"{ours - peer:+.5f}"])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare skglrm's FPSGFactorizer with LIBMF; see the top of this file."
    )
    parser.add_argument("library", nargs="?", type=Path, help="LIBMF's shared library (AVX build)")
    parser.add_argument("--ratings", type=Path, help=".npz with row, col, value, test, shape")
    parser.add_argument("--ml100k", type=Path, help="MovieLens 100K's file of ratings")
    parser.add_argument("--n-components", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--max-iter", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--schedule", default="fpsg", help="of skglrm")
    parser.add_argument("--regularization", type=float, default=0.05, help="L2 on both sides")
    parser.add_argument("--bins", type=int, default=20, help="of LIBMF, per side")
    parser.add_argument(
        "--short-iter", type=int, default=1,
        help="iterations of the short fit that is subtracted to get the epochs alone",
    )  # fmt: skip
    parser.add_argument("--memory", action="store_true", help="also measure peak memory")
    parser.add_argument("--limit", type=int, help="use the first entries only (a trial)")
    parser.add_argument(
        "--measure-memory-of", choices=[Skglrm.name, Libmf.name], help=argparse.SUPPRESS
    )
    args = parser.parse_args(arguments)
    if args.ratings is None and args.ml100k is None:
        parser.error("give --ratings, --ml100k or both")
    if args.memory and args.ratings is None:
        parser.error("--memory needs --ratings")
    if not 1 <= args.short_iter < args.max_iter:
        parser.error("--max-iter must exceed --short-iter, which must be at least 1")
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    if args.library is not None and not args.library.is_file():
        parser.error("the LIBMF library does not exist")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    settings = Settings(args.regularization, args.threads, args.schedule, args.bins)
    if args.measure_memory_of is not None:
        measure_memory(args, settings)
        return
    print_machine()
    if args.library is None:
        print("no LIBMF library given: skglrm alone")
    if args.ratings is not None:
        compare_speed(args, settings)
    if args.ml100k is not None:
        compare_ml100k(args)


if __name__ == "__main__":
    main()
