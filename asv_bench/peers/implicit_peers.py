"""Compare `skglrm.ImplicitALS` with implicit, irspack and cmfrec: time to a given objective.

    python asv_bench/peers/implicit_peers.py --clicks clicks.npz --n-components 64 128 256
    python asv_bench/peers/implicit_peers.py --generate 138493 26744 8200000

**Time to objective.** Each peer that is installed runs `--peer-iter` iterations from its own start.
The objective of the fastest is the goal. skglrm is then fitted with 1, 2, 3, … iterations (at most
20) until it is there, and the time of that whole fit, with transposing, making the start and the
exact last half-iteration, is compared with the time of the fastest peer. One function computes the
objective of all, in float64, from the factors: w0 = 1, alpha = 1 on the counts, a constant L2
strength.

**What is fair here.** All get the same matrix in float32, in memory, in the form they take, and the
same number of threads; BLAS is held to one thread, as implicit asks. Fits alternate, so a drift of
the machine hits all. Everybody runs once on a slice first, so no compilation is timed. Conversions
of `skglrm.conversions` make the problems equal.

**Recommendations.** `--recommend` times the ten best unseen columns of all rows against
`implicit`'s `recommend` with the same factors, and compares the lists. skglrm folds every row in
first, as `recommend` does for a matrix, implicit looks its factors up: the harder task is ours.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import numpy as np
import scipy.sparse as sp
from libmf import peak_increase

from skglrm import conversions
from skglrm.implicit_als import ImplicitALS

Factors = tuple[np.ndarray, np.ndarray]
L2 = 0.01
MOST_ITERATIONS = 20
"""After which skglrm is said not to reach the objective."""


def generated(n_rows: int, n_columns: int, n_cells: int) -> sp.csr_array:
    """Clicks with long-tailed rows and columns, and ten tastes."""
    rng = np.random.default_rng(0)
    taste = rng.integers(0, 10, n_rows), rng.integers(0, 10, n_columns)
    row = (n_rows * rng.random(2 * n_cells) ** 2.5).astype(np.int64)
    column = (n_columns * rng.random(2 * n_cells) ** 3.5).astype(np.int64)
    row, column = rng.permutation(n_rows)[row], rng.permutation(n_columns)[column]
    keep = (taste[0][row] == taste[1][column]) | (rng.random(row.size) < 0.4)
    cells = np.unique(row[keep] * n_columns + column[keep])
    cells = cells[rng.permutation(cells.size)[:n_cells]]
    pairs = np.divmod(np.sort(cells), n_columns)
    return sp.csr_array((np.ones(cells.size, np.float32), pairs), shape=(n_rows, n_columns))


def objective(X: sp.csr_array, W: np.ndarray, H: np.ndarray) -> float:
    """Objective of section `ImplicitALS` with w0 = alpha = 1, in float64."""
    W, H = W.astype(np.float64), H.astype(np.float64)
    total = float(np.sum((W.T @ W) * (H.T @ H)) + L2 * (np.sum(W * W) + np.sum(H * H)))
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    for start in range(0, X.nnz, 1_000_000):
        part = slice(start, start + 1_000_000)
        u = np.einsum("ij,ij->i", W[rows[part]], H[X.indices[part]])
        v = X.data[part].astype(np.float64)
        total += float(np.sum(v * u * u - 2 * (1 + v) * u + 1 + v))
    return total


# ----------------------------------------------------------------------------------------- fits


def fit_skglrm(X: sp.csr_array, k: int, n_iter: int, threads: int) -> Callable[[], Factors]:
    def fit() -> Factors:
        model = ImplicitALS(
            k, regularization=L2, max_iter=n_iter, n_jobs=threads, random_state=0
        ).fit(X)
        return model.row_factors_, model.components_.T

    return fit


def fit_implicit(X: sp.csr_array, k: int, n_iter: int, threads: int) -> Callable[[], Factors]:
    from implicit.als import AlternatingLeastSquares

    data, params = conversions.to_implicit(X, ImplicitALS(regularization=L2))
    data = sp.csr_matrix(data)

    def fit() -> Factors:
        model = AlternatingLeastSquares(
            k, iterations=n_iter, num_threads=threads, random_state=0, **params
        )
        model.fit(data, show_progress=False)
        return model.user_factors, model.item_factors

    return fit


def fit_irspack(X: sp.csr_array, k: int, n_iter: int, threads: int) -> Callable[[], Factors]:
    from irspack import IALSRecommender

    data, params = conversions.to_irspack(X, ImplicitALS(regularization=L2))
    data = sp.csr_matrix(data)

    def fit() -> Factors:
        model = IALSRecommender(
            data, n_components=k, train_epochs=n_iter, n_threads=threads, solver_type="CG",
            loss_type="ORIGINAL", **params,
        ).learn()  # fmt: skip
        core = model.trainer.core_trainer
        return np.asarray(core.user), np.asarray(core.item)

    return fit


def fit_cmfrec(X: sp.csr_array, k: int, n_iter: int, threads: int) -> Callable[[], Factors]:
    from cmfrec import CMF_implicit

    data, params = conversions.to_cmfrec(X, ImplicitALS(regularization=L2))
    data = sp.coo_matrix(data)

    def fit() -> Factors:
        model = CMF_implicit(
            k, niter=n_iter, nthreads=threads, use_float=True, verbose=False,
            precompute_for_predictions=False, finalize_chol=False, **params,
        ).fit(data)  # fmt: skip
        return model.A_, model.B_

    return fit


PEERS: dict[str, Callable[..., Callable[[], Factors]]] = {
    "implicit": fit_implicit,
    "irspack": fit_irspack,
    "cmfrec": fit_cmfrec,
}


def installed(X: sp.csr_array, names: list[str]) -> list[str]:
    found = []
    for name in names:
        try:
            PEERS[name](X[:1000], 8, 1, 1)()  # also the warm-up
        except ImportError:
            print(f"{name} is not installed")
        else:
            found.append(name)
    return found


def timed(fit: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = fit()
    return time.perf_counter() - start, result


def compare(X: sp.csr_array, k: int, args: argparse.Namespace, peers: list[str]) -> None:
    times: dict[str, list[float]] = {name: [] for name in [*peers, "skglrm"]}
    reached: dict[str, float] = {}
    for name in peers:
        seconds, factors = timed(PEERS[name](X, k, args.peer_iter, args.threads))
        times[name].append(seconds)
        reached[name] = objective(X, *factors)
    fastest = min(peers, key=lambda name: times[name][0])
    goal = reached[fastest]
    for n_iter in range(1, MOST_ITERATIONS + 1):
        seconds, factors = timed(fit_skglrm(X, k, n_iter, args.threads))
        reached["skglrm"] = objective(X, *factors)
        if reached["skglrm"] <= goal:
            break
    times["skglrm"].append(seconds)
    for _ in range(args.rounds - 1):
        for name in times:
            fit = PEERS.get(name, fit_skglrm)
            iterations = n_iter if name == "skglrm" else args.peer_iter
            times[name].append(timed(fit(X, k, iterations, args.threads))[0])
    for name, seconds in times.items():
        iterations = n_iter if name == "skglrm" else args.peer_iter
        print(
            f"k = {k:3d}  {name:9s} {statistics.median(seconds):7.2f} s "
            f"({min(seconds):.2f} .. {max(seconds):.2f})  {iterations} iterations, "
            f"objective {reached[name]:,.0f}"
        )
    if reached["skglrm"] > goal:
        print(f"k = {k:3d}  skglrm did not reach the objective of {fastest} in {n_iter} iterations")
    else:
        ratio = statistics.median(times[fastest]) / statistics.median(times["skglrm"])
        print(f"k = {k:3d}  {ratio:.2f} times as fast as {fastest} to its objective", flush=True)


def compare_recommend(X: sp.csr_array, k: int, args: argparse.Namespace) -> None:
    model = ImplicitALS(k, regularization=L2, max_iter=2, n_jobs=args.threads, random_state=0)
    model.fit(X)
    calls: dict[str, Callable[[], Any]] = {"skglrm": lambda: model.recommend(X, n=10)}
    try:
        from implicit.als import AlternatingLeastSquares
    except ImportError:
        print("implicit is not installed")
    else:
        peer = AlternatingLeastSquares(k, num_threads=args.threads)
        peer.user_factors = model.row_factors_
        peer.item_factors = np.ascontiguousarray(model.components_.T)
        data = sp.csr_matrix(X)
        calls["implicit"] = lambda: peer.recommend(
            np.arange(X.shape[0]), data, N=10, filter_already_liked_items=True
        )
    lists: dict[str, Any] = {name: call() for name, call in calls.items()}  # also the warm-up
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(args.rounds):
        for name, call in calls.items():
            times[name].append(timed(call)[0])
    for name, call in calls.items():
        increase, how = peak_increase(call)
        print(
            f"k = {k:3d}  recommend, {name:9s} {statistics.median(times[name]):7.2f} s "
            f"({min(times[name]):.2f} .. {max(times[name]):.2f}), "
            f"peak memory {increase / 2**20:+.0f} MiB ({how})",
            flush=True,
        )
    if "implicit" in lists:
        print(f"k = {k:3d}  recommend, {agreement(model, *lists.values())}", flush=True)


def agreement(model: ImplicitALS, ours: Any, theirs: Any) -> str:
    """How many lists are equal, and how far the scores of the others lie apart, place by place."""
    differ = np.flatnonzero((ours[0] != theirs[0]).any(axis=1))
    W, H = model.row_factors_[differ].astype(np.float64), model.components_.T.astype(np.float64)
    scores = [np.einsum("ik,ijk->ij", W, H[found[0][differ]]) for found in (ours, theirs)]
    apart = np.abs(scores[0] - scores[1]).max(initial=0)
    return (
        f"{len(ours[0]) - len(differ)} of {len(ours[0])} lists are the same; in the others, scores "
        f"in the same place differ by at most {apart:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--clicks", help="a CSR matrix written by scipy.sparse.save_npz")
    data.add_argument("--generate", nargs=3, type=int, metavar=("ROWS", "COLUMNS", "CELLS"))
    parser.add_argument("--n-components", nargs="+", type=int, default=[64])
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--peer-iter", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recommend", action="store_true")
    args = parser.parse_args()

    X = generated(*args.generate) if args.generate else sp.csr_array(sp.load_npz(args.clicks))
    X = X.astype(np.float32)
    print(f"{X.shape[0]} x {X.shape[1]}, {X.nnz} cells, {args.threads} threads")
    peers = installed(X, args.peers)
    fit_skglrm(X[:1000], 8, 2, 1)()
    fit_skglrm(X[:1000], 64, 2, 1)()
    for k in args.n_components:
        if peers:
            compare(X, k, args, peers)
        if args.recommend:
            compare_recommend(X, k, args)


if __name__ == "__main__":
    main()
