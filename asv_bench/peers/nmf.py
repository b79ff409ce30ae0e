"""Compare `skglrm.GLRM` with scikit-learn's NMF: one start, one objective, time and value.

    python asv_bench/peers/nmf.py
    python asv_bench/peers/nmf.py --table small sparse --rounds 5

Both minimise, over non-negative factors of a complete table,

    1/2 |A - WH|^2 + s/2 (|W|^2 + |H|^2)

from the same random start, by coordinate descent of one kind or another. One plain function
computes the objective of both. Whole calls of `fit_transform` are timed: scikit-learn to its
default tolerance; skglrm with the least number of iterations that ends at or below the same
objective, and to a tolerance of its own.

The tables: "small" 1,000 x 100 and "large" 20,000 x 500, complete, with noise; "digits", the images
that scikit-learn ships; "sparse", 10,000 x 2,000 with about 1 % of the cells above zero and the
others zero, which are cells like any other to skglrm; it takes long and must be asked for.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from libmf import print_machine, print_row, spread
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF

from skglrm.glrm import GLRM
from skglrm.regularizers import L2, NonNegative, Sum

Doubles = NDArray[np.float64]
TRIED_ITERATIONS = (25, 100, 400)
SKLEARN_MAX_ITER = 200


@dataclass(frozen=True)
class Task:
    """A table, its rank, the strength s, and where both start."""

    name: str
    values: Any
    strength: float
    W: Doubles
    H: Doubles

    @classmethod
    def of(cls, name: str, values: Any, n_components: int, strength: float) -> Task:
        rng, size = np.random.default_rng(0), np.sqrt(values.mean() / n_components)
        W, H = (size * abs(rng.normal(size=(n, n_components))) for n in values.shape)
        return cls(name, values, strength, W, H.T.copy())

    def objective(self, W: Doubles, H: Doubles) -> float:
        """The objective, without forming WH: |A|^2 - 2 <AH', W> + <W'W, HH'>."""
        A, stored = self.values, self.values.data if sp.issparse(self.values) else self.values
        square = float(
            (stored**2).sum() - 2 * ((A @ H.T) * W).sum() + ((W.T @ W) * (H @ H.T)).sum()
        )
        return 0.5 * (square + self.strength * float((W**2).sum() + (H**2).sum()))


def planted(rng: np.random.Generator, n_rows: int, n_cols: int, rank: int, noise: float) -> Doubles:
    table = rng.random((n_rows, rank)) @ rng.random((rank, n_cols))
    return np.maximum(table + noise * rng.normal(size=table.shape), 0)


def planted_sparse(rng: np.random.Generator, n_rows: int, n_cols: int, rank: int) -> Any:
    """Counts whose rates have topics: every row and every column belongs to few."""
    W = rng.gamma(0.2, 1.0, (n_rows, rank))
    H = rng.gamma(0.2, 1.0, (rank, n_cols))
    rates = W @ H
    return sp.csr_array(rng.poisson(rates * (0.012 / rates.mean())).astype(float))


def make_task(name: str, strength: float) -> Task:
    rng = np.random.default_rng(0)
    if name == "small":
        return Task.of(name, planted(rng, 1_000, 100, 10, 0.1), 10, strength)
    if name == "large":
        return Task.of(name, planted(rng, 20_000, 500, 20, 0.5), 20, strength)
    if name == "digits":
        return Task.of(name, load_digits().data, 16, strength)
    return Task.of(name, planted_sparse(rng, 10_000, 2_000, 20), 20, strength)


@dataclass(frozen=True)
class Run:
    seconds: float
    objective: float
    n_iter: int
    curve: Sequence[float] = ()


def fit_sklearn(task: Task, max_iter: int) -> Run:
    n_rows, n_cols = task.values.shape
    model = NMF(
        task.W.shape[1],
        init="custom",
        max_iter=max_iter,
        alpha_W=task.strength / n_cols,  # it multiplies by the number of columns, and of rows
        alpha_H=task.strength / n_rows,
        l1_ratio=0.0,
    )
    W, H = task.W.copy(), task.H.copy()  # it works in place
    start = time.perf_counter()
    W = model.fit_transform(task.values, W=W, H=H)
    seconds = time.perf_counter() - start
    return Run(seconds, task.objective(W, model.components_), model.n_iter_)


def fit_skglrm(task: Task, max_iter: int, threads: int, tol: float = 0.0) -> Run:
    regularizer = Sum(L2(task.strength), NonNegative()) if task.strength else NonNegative()
    model = GLRM(
        task.W.shape[1],
        row_regularizer=regularizer,
        column_regularizer=regularizer,
        unstored="zero",
        init=(task.W, task.H),
        max_iter=max_iter,
        tol=tol,
        n_jobs=threads,
    )
    start = time.perf_counter()
    W = model.fit_transform(task.values)
    seconds = time.perf_counter() - start
    found = task.objective(W, model.components_)
    return Run(seconds, found, model.n_iter_, model.loss_curve_)


def iterations_to(target: float, task: Task, threads: int) -> int | None:
    """The least number of iterations whose objective is at most the target."""
    for most in TRIED_ITERATIONS:
        reached = np.flatnonzero(np.array(fit_skglrm(task, most, threads).curve) <= target)
        if reached.size:
            n = int(reached[0]) + 1
            # The last pass, which solves the rows to the end, may get there earlier.
            while n > 1 and fit_skglrm(task, n - 1, threads).objective <= target:
                n -= 1
            return n
    return None


def compare(task: Task, args: argparse.Namespace) -> None:
    n_rows, n_cols = task.values.shape
    print(
        f"\n{task.name}: {n_rows:,} x {n_cols:,}, n_components {task.W.shape[1]}, strength "
        f"{task.strength}, {args.threads} threads; objective at the start "
        f"{task.objective(task.W, task.H):,.3f}"
    )
    fit_skglrm(task, 2, args.threads)  # compiles
    peers = [fit_sklearn(task, SKLEARN_MAX_ITER) for _ in range(args.rounds)]
    print_row("", ["iterations", "seconds", "objective"])
    show("scikit-learn", peers)
    target = peers[-1].objective
    n_iter = iterations_to(target, task, args.threads)
    if n_iter is None:
        print_row("skglrm, to that objective", ["does not get there"])
    else:
        ours = [fit_skglrm(task, n_iter, args.threads) for _ in range(args.rounds)]
        show("skglrm, to that objective", ours)
        ratio = median_seconds(peers) / median_seconds(ours)
        print_row("  as fast", ["", f"{ratio:.1f}x"])
    ours = [fit_skglrm(task, SKLEARN_MAX_ITER, args.threads, 1e-6) for _ in range(args.rounds)]
    show("skglrm, to a tol of 1e-6", ours)


def show(label: str, runs: Sequence[Run]) -> None:
    seconds = spread([run.seconds for run in runs], 3)
    print_row(label, [str(runs[-1].n_iter), seconds, f"{runs[-1].objective:,.3f}"])


def median_seconds(runs: Sequence[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare skglrm's GLRM with scikit-learn's NMF; see the top of this file."
    )
    tables = ["small", "large", "digits", "sparse"]
    parser.add_argument("--table", choices=tables, nargs="+", default=tables[:3])
    parser.add_argument("--strength", type=float, default=0.1, help="s, of L2 on both sides")
    parser.add_argument("--threads", type=int, default=2, help="of skglrm")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    print_machine()
    warnings.simplefilter("ignore")  # fits are stopped early on purpose
    for name in args.table:
        compare(make_task(name, args.strength), args)


if __name__ == "__main__":
    main()
