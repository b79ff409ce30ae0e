"""Compare every loss of `FPSGFactorizer` that LIBMF has too: speed of iterations, and quality.

    python asv_bench/peers/libmf_losses.py LIBMF.so --ratings ratings20m.npz
    python asv_bench/peers/libmf_losses.py LIBMF.so --quality

The library and the ratings are those of `libmf.py`, and so is what is fair. Losses of Booleans see
the sign of the rating less the mean, rankings that there is a rating. Speed is that of iterations
after the second, the fastest of some rounds in turn: from `history_`, and for LIBMF, which keeps no
times, as a long fit less a short one. Quality is measured on planted data after equal iterations:
held-out entries, one metric for both, from their factors.
LIBMF's squared hinge has ½ in front, so that it gets half of our regularization.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from libmf import (
    _NODE,
    LEARNING_RATE,
    Ratings,
    _Fitted,
    _open_libmf,
    _Problem,
    load_ratings,
    print_machine,
)
from numpy.typing import NDArray
from scipy.special import expit, xlogy

from skglrm import Entries, FPSGFactorizer
from skglrm.metrics import auc_score

FUNCTIONS = {
    "squared": 0, "absolute": 1, "kl": 2, "logistic": 5, "squared_hinge": 6, "hinge": 7,
    "bpr_row": 10, "bpr_column": 11,
}  # fmt: skip
BOOLEANS = ("logistic", "squared_hinge", "hinge")
SHORT = 2

Floats = NDArray[np.floating]


def strength(loss: str) -> float:
    return 0.005 if loss.startswith("bpr") else 0.05


def values_of(loss: str, value: Floats) -> Floats:
    """The data of a loss, made from numbers."""
    if loss in BOOLEANS:
        return np.where(value > value.mean(), 1, -1).astype(np.float32)
    if loss.startswith("bpr"):
        return np.ones_like(value)
    return value


class Ours:
    def __init__(self, loss: str, data: Ratings, threads: int):
        self.loss, self.threads = loss, threads
        self.entries = Entries(data.row, data.col, data.value, data.shape)

    def fit(self, k: int, max_iter: int, seed: int = 0) -> tuple[Floats, Floats]:
        model = FPSGFactorizer(
            k, loss=self.loss, regularization=strength(self.loss), learning_rate=LEARNING_RATE,
            nonnegative=self.loss == "kl", max_iter=max_iter, n_jobs=self.threads,
            random_state=seed,
        ).fit(self.entries)  # fmt: skip
        self.clock = model.history_["seconds"]
        return model.row_factors_, model.components_.T

    def seconds(self, k: int, max_iter: int) -> tuple[float, float]:
        self.fit(k, max_iter)
        return self.clock[SHORT - 1] - self.clock[0], self.clock[-1] - self.clock[0]


class Theirs:
    def __init__(self, loss: str, data: Ratings, threads: int, library: ctypes.CDLL):
        self.loss, self.threads, self.library, self.shape = loss, threads, library, data.shape
        self.nodes = np.empty(len(data), _NODE)
        self.nodes["u"], self.nodes["v"], self.nodes["r"] = data.row, data.col, data.value

    def fit(self, k: int, max_iter: int, seed: int = 0) -> tuple[Floats, Floats]:
        parameter = self.library.mf_get_default_param()
        parameter.fun, parameter.k, parameter.nr_threads = FUNCTIONS[self.loss], k, self.threads
        parameter.nr_bins, parameter.nr_iters, parameter.eta = 20, max_iter, LEARNING_RATE
        half = 0.5 if self.loss == "squared_hinge" else 1.0
        parameter.lambda_p1 = parameter.lambda_q1 = 0.0
        parameter.lambda_p2 = parameter.lambda_q2 = half * strength(self.loss)
        parameter.quiet = parameter.copy_data = True
        parameter.do_nmf = self.loss == "kl"
        problem = _Problem(*self.shape, len(self.nodes), self.nodes.ctypes.data)
        model = self.library.mf_train(ctypes.byref(problem), parameter)
        if not model:
            raise RuntimeError("LIBMF refused the problem; it says why on its error stream")
        self.fitted = _Fitted(self.library, model)  # the factors are views of its memory
        return self.fitted.left, self.fitted.right

    def seconds(self, k: int, max_iter: int) -> tuple[float, float]:
        times = []
        for n in (SHORT, max_iter):
            begin = time.perf_counter()
            self.fit(k, n)
            times.append(time.perf_counter() - begin)
        return times[0], times[1]


# ----------------------------------------------------------------------------------------- speed


def compare_speed(args: argparse.Namespace, library: ctypes.CDLL) -> None:
    train, _ = load_ratings(args.ratings, args.limit)
    print(f"{len(train):,} ratings, {args.threads} threads; million visits per second")
    for loss in args.losses:
        data = Ratings(train.row, train.col, values_of(loss, train.value), train.shape)
        sides = Ours(loss, data, args.threads), Theirs(loss, data, args.threads, library)
        for k in args.n_components:
            Ours(loss, data.take(slice(200_000)), args.threads).fit(k, SHORT)  # compiles
            best = np.full((2, 2), np.inf)  # of each side: until SHORT iterations, and all
            for _ in range(args.rounds):
                for n, side in enumerate(sides):
                    best[n] = np.minimum(best[n], side.seconds(k, SHORT + args.max_iter))
            rates = len(train) * args.max_iter / (best[:, 1] - best[:, 0]) / 1e6
            print(
                f"{loss:<14} k={k:<4} skglrm {rates[0]:7.1f}   LIBMF {rates[1]:7.1f}   "
                f"{rates[0] / rates[1]:.2f}x as fast",
                flush=True,
            )


# --------------------------------------------------------------------------------------- quality


def planted(loss: str, seed: int, m: int = 2000, n: int = 800, k: int = 4):
    """Training and test entries of a model of low rank, with noise."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(m, k)) @ rng.normal(size=(k, n))
    if loss == "kl":
        truth = rng.gamma(1, size=(m, k)) @ rng.gamma(1, size=(k, n))
    if loss.startswith("bpr"):
        chosen = np.argsort(-truth - rng.gumbel(size=(m, n)), axis=1)[:, :60]
        row, col = np.repeat(np.arange(m), 60), chosen.ravel()
        value = np.ones(row.size)
    else:
        row, col = np.divmod(rng.permutation(m * n)[:200_000], n)
        value = truth[row, col]
        if loss == "kl":
            value = rng.poisson(value).astype(float)
        elif loss in BOOLEANS:
            value = np.where(rng.random(value.size) < expit(2 * value), 1.0, -1.0)
        else:
            value = value + 0.3 * rng.standard_t(3, size=value.size)
    order = rng.permutation(row.size)
    data = Ratings(
        row[order].astype(np.int32), col[order].astype(np.int32), value[order].astype(np.float32),
        (m, n),
    )  # fmt: skip
    cut = row.size // 10
    return data.take(slice(cut, None)), data.take(slice(cut))


def badness(loss: str, train: Ratings, test: Ratings, P: Floats, Q: Floats) -> float:
    """What held-out entries say of factors; lower is better."""
    if loss.startswith("bpr"):
        known, asked = (
            Entries(data.row, data.col, data.value, data.shape).to_csr() for data in (train, test)
        )
        scores = np.asarray(P, float) @ np.asarray(Q, float).T
        if loss == "bpr_column":
            known, asked, scores = known.T.tocsr(), asked.T.tocsr(), scores.T
        return 1 - float(auc_score(asked, scores, exclude=known))
    u = np.einsum("ij,ij->i", P[test.row].astype(float), Q[test.col])
    a = test.value.astype(float)
    costs: dict[str, Callable[[], Floats]] = {
        "squared": lambda: (u - a) ** 2,
        "absolute": lambda: abs(u - a),
        "kl": lambda: xlogy(a, a / np.maximum(u, 1e-3)) - a + np.maximum(u, 1e-3),
        "logistic": lambda: np.logaddexp(0, -a * u),
        "hinge": lambda: (a * u <= 0) * 1.0,
        "squared_hinge": lambda: (a * u <= 0) * 1.0,
    }
    return float(np.mean(costs[loss]()))


def compare_quality(args: argparse.Namespace, library: ctypes.CDLL) -> None:
    print(f"planted data, {args.quality_iter} iterations, k = 8; mean of {args.rounds} seeds, less")
    print("is better: mean loss of held-out entries, share of wrong labels, 1 - AUC")
    for loss in args.losses:
        found = np.zeros((args.rounds, 2))
        for seed in range(args.rounds):
            train, test = planted(loss, seed)
            for n, side in enumerate(
                (Ours(loss, train, args.threads), Theirs(loss, train, args.threads, library))
            ):
                P, Q = side.fit(8, args.quality_iter, seed)
                found[seed, n] = badness(loss, train, test, P, Q)
        ours, theirs = found.mean(axis=0)
        print(
            f"{loss:<14} skglrm {ours:.4f}   LIBMF {theirs:.4f}   {theirs / ours:.3f}", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare losses with LIBMF's.")
    parser.add_argument("library", type=Path, help="LIBMF's shared library (AVX build)")
    parser.add_argument("--ratings", type=Path, help=".npz with row, col, value, test, shape")
    parser.add_argument("--quality", action="store_true", help="compare on planted data")
    parser.add_argument("--losses", nargs="+", choices=list(FUNCTIONS), default=list(FUNCTIONS))
    parser.add_argument("--n-components", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--max-iter", type=int, default=4, help="timed iterations")
    parser.add_argument("--quality-iter", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="use the first entries only (a trial)")
    args = parser.parse_args()
    library = _open_libmf(args.library)
    print_machine()
    if args.ratings is not None:
        compare_speed(args, library)
    if args.quality:
        compare_quality(args, library)


if __name__ == "__main__":
    main()
