"""Time and memory of `skglrm.GLRM` on a large table with few observed cells.

    python asv_bench/peers/large_sparse.py                     # 10^6 x 10^4 with 10^7 cells
    python asv_bench/peers/large_sparse.py --scaling           # and other shapes and sizes
    python asv_bench/peers/large_sparse.py --loss huber --dtype float64

The claim is that cost grows with the number of observed cells (and, more slowly, of rows and
columns), not with rows times columns: 10^6 x 10^4 numbers of 4 bytes would take 40 GB alone. Every
fit runs in a process of its own, which makes the data from a seed, compiles on a small table and
then measures one call of `fit`. "Peak" is the most resident memory of that process as a whole, with
interpreter, libraries, data and model; "increase" is by how much it rises in the fit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from libmf import peak_increase, print_machine, print_row
from numpy.typing import NDArray

LIMIT = 4 * 2**30
SHAPES = [
    (1_000_000, 10_000, 10_000_000),
    (1_000_000, 10_000, 5_000_000),
    (1_000_000, 1_000, 10_000_000),
    (100_000, 10_000, 10_000_000),
    (100_000, 1_000, 10_000_000),
]


def sparse_table(n_rows: int, n_cols: int, n_cells: int, dtype: str, rank: int = 5) -> sp.csr_array:
    """A table of low rank with noise; rows have about equal numbers of cells, in random columns.

    Duplicate draws are dropped, so there are slightly fewer cells.
    """
    rng = np.random.default_rng(0)
    counts = rng.multinomial(n_cells, np.full(n_rows, 1 / n_rows))
    rows = np.repeat(np.arange(n_rows), counts)
    cells = rows * n_cols + rng.integers(0, n_cols, n_cells)
    cells.sort()
    cells = cells[np.concatenate([[True], np.diff(cells) > 0])]
    row, col = np.divmod(cells, n_cols)
    left, right = (rng.normal(size=(n, rank)) for n in (n_rows, n_cols))
    value = 0.3 * rng.normal(size=cells.size)
    for c in range(rank):
        value += left[row, c] * right[col, c] / np.sqrt(rank)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n_rows))])
    index = np.int32
    return sp.csr_array(
        (value.astype(dtype), col.astype(index), indptr.astype(index)), shape=(n_rows, n_cols)
    )


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Body of the fresh process."""
    from skglrm.glrm import GLRM

    warnings.simplefilter("ignore")  # it is stopped early on purpose
    options = {
        "loss": args.loss, "regularization": 1.0, "n_jobs": args.threads, "random_state": 0,
        "tol": 0.0,
    }  # fmt: skip
    GLRM(args.n_components, max_iter=2, **options).fit(sparse_table(2_000, 100, 20_000, args.dtype))
    X = sparse_table(*args.measure, args.dtype)
    found: dict[str, Any] = {"cells": int(X.nnz)}

    def fit(max_iter: int) -> tuple[float, NDArray[np.float64]]:
        model = GLRM(args.n_components, max_iter=max_iter, **options)
        start = time.perf_counter()
        model.fit(X)
        return time.perf_counter() - start, np.array(model.loss_curve_)

    def measured() -> None:
        found["whole"], curve = fit(args.max_iter)
        found["objective"] = curve[-1]

    found["increase"], found["how"] = peak_increase(measured)
    found["peak"] = peak_of_process()
    found["short"] = fit(1)[0]
    return found


def peak_of_process() -> int:
    """The most resident memory of this process, in bytes; on Linux since it was reset."""
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def spawn(args: argparse.Namespace, shape: tuple[int, int, int]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", *map(str, shape)]
    for name in ("loss", "dtype", "n_components", "threads", "max_iter"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(args: argparse.Namespace, shape: tuple[int, int, int]) -> None:
    found = spawn(args, shape)
    iteration = (found["whole"] - found["short"]) / (args.max_iter - 1)
    cells = found["cells"]
    share = cells / shape[0] / shape[1]
    print(f"\n{shape[0]:,} x {shape[1]:,}, {cells:,} cells ({100 * share:.3g} %)")
    print_row(f"fit of {args.max_iter} iterations, s", [f"{found['whole']:.2f}"])
    print_row("an iteration, s", [f"{iteration:.2f}", f"{1e9 * iteration / cells:.0f} ns per cell"])
    print_row("all else, s", [f"{found['short'] - iteration:.2f}"])
    print_row("objective per cell", [f"{found['objective'] / cells:.5f}"])
    within = "" if found["peak"] <= LIMIT else "above 4 GiB"
    print_row("peak of the process, GiB", [f"{found['peak'] / 2**30:.2f}", within])
    print_row("  increase in the fit, GiB", [f"{found['increase'] / 2**30:.2f}", found["how"]])
    sys.stdout.flush()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Time and memory of GLRM on a large sparse table; see the top of this file."
    )
    parser.add_argument("--loss", default="quadratic", help="a name that GLRM takes")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--n-components", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-iter", type=int, default=6)
    parser.add_argument("--scaling", action="store_true", help="other shapes as well")
    parser.add_argument("--shape", type=int, nargs=3, metavar=("ROWS", "COLUMNS", "CELLS"))
    parser.add_argument("--measure", type=int, nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.max_iter < 2:
        parser.error("--max-iter must be at least 2: the time of an iteration is a difference")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    if args.measure is not None:
        print(json.dumps(measure(args)))
        return
    print_machine()
    print(
        f"{args.loss} loss, n_components {args.n_components}, {args.dtype}, {args.threads} threads"
    )
    shapes = SHAPES if args.scaling else [tuple(args.shape) if args.shape else SHAPES[0]]
    for shape in shapes:
        report(args, shape)


if __name__ == "__main__":
    main()
