"""Compare `skglrm.GLRM` with H2O's GLRM: time to one and the same objective.

    python asv_bench/peers/h2o_glrm.py                              # both tables
    python asv_bench/peers/h2o_glrm.py --table quadratic --h2o-iter 50 200 --rounds 5
    python asv_bench/peers/h2o_glrm.py --rows 2000 --h2o-iter 20    # a trial
    python asv_bench/peers/h2o_glrm.py --table quadratic --without-h2o --target 108728.5

**H2O** is not part of this project. It needs Java (8 to 17) on the path and its client in the
environment that runs this script: `pip install h2o`. The script starts a server of its own on a
free port and stops it.

**The tables** are made from a seed, with 30 % of the cells missing: 100 columns of numbers of low
rank with noise (quadratic loss), and a mixed table of numbers with outliers (Huber), truth values
(logistic), counts (Poisson) and labels (one against all with hinges, which is H2O's loss of
categorical columns).

**What is fair here.** Both minimise the same function of the same cells, H2O's

    sum of losses + gamma (|X|^2 + |Y|^2),    quadratic loss (u - a)^2,

and nobody is believed: one plain function below computes it in float64 from the factors that each
returns. For skglrm the sums of the quadratic table are divided by 2, so that its loss is
`Quadratic()` and its regularizers `L2(gamma)`; on the mixed table they are `L2(2 gamma)`. H2O
starts from what suits it best and runs its line search for a number of iterations; its time is
what its server says the job took, without the transfer of data and results. Of skglrm the whole
call of `fit` is timed, with the least number of iterations that reaches H2O's objective. H2O first
trains a small model, skglrm fits once: neither compilation nor the warming up of Java is timed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from libmf import print_machine, print_row, spread
from numpy.typing import NDArray

from skglrm.glrm import GLRM
from skglrm.losses import Hinge, Huber, Logistic, OneVsAll, Poisson, Quadratic
from skglrm.regularizers import L2

Doubles = NDArray[np.float64]

N_LEVELS = 5
MISSING = 0.3
TRIED_ITERATIONS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
INITS = {"quadratic": "SVD", "mixed": "Random"}
"""H2O's best start: on the mixed table exp(u) of counts is huge at its singular vectors and at the
centres of k-means++, and it gives up after 8 iterations."""

H2O_LOSSES = {
    "quadratic": "Quadratic", "huber": "Huber", "logistic": "Logistic", "poisson": "Poisson",
}  # fmt: skip
LOSSES: dict[str, Any] = {
    "quadratic": Quadratic(),
    "huber": Huber(1.0),
    "logistic": Logistic(),
    "poisson": Poisson(),
    "categorical": OneVsAll(N_LEVELS, Hinge()),
}


# ----------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Table:
    """Values with NaN where missing, and what each column is; labels are codes from 0."""

    name: str
    values: Doubles
    kinds: tuple[str, ...]

    @property
    def unit(self) -> float:
        """H2O's objective over skglrm's: where all losses are quadratic, all terms are halved."""
        return 2.0 if set(self.kinds) == {"quadratic"} else 1.0

    def first_rows(self, n: int) -> Table:
        return Table(self.name, self.values[:n], self.kinds)


def low_rank(rng: np.random.Generator, n_rows: int, n_cols: int, rank: int) -> Doubles:
    """Predictions of variance 1."""
    left, right = rng.normal(size=(n_rows, rank)), rng.normal(size=(rank, n_cols))
    return left @ right / np.sqrt(rank)


def quadratic_table(n_rows: int, rank: int, seed: int, n_cols: int = 100) -> Table:
    rng = np.random.default_rng(seed)
    values = low_rank(rng, n_rows, n_cols, rank) + 0.3 * rng.normal(size=(n_rows, n_cols))
    values[rng.random(values.shape) < MISSING] = np.nan
    return Table("quadratic", values, ("quadratic",) * n_cols)


def mixed_table(n_rows: int, rank: int, seed: int, of_each: int = 15) -> Table:
    """As many columns of each kind, drawn from one model of low rank."""
    rng = np.random.default_rng(seed)
    scores = 2 * low_rank(rng, n_rows, of_each * (3 + N_LEVELS), rank)
    number, truth, count, *label = np.split(scores, 3 + N_LEVELS, axis=1)
    levels = np.stack(label) + rng.gumbel(size=(N_LEVELS, n_rows, of_each))
    outlier = rng.random(number.shape) < 0.05
    columns = {
        "huber": number + np.where(outlier, 5.0, 0.3) * rng.normal(size=number.shape),
        "logistic": (rng.random(truth.shape) < 1 / (1 + np.exp(-truth))).astype(float),
        "poisson": rng.poisson(np.exp(0.5 * count)).astype(float),
        "categorical": levels.argmax(axis=0).astype(float),
    }
    values = np.hstack(list(columns.values()))
    values[rng.random(values.shape) < MISSING] = np.nan
    return Table("mixed", values, tuple(kind for kind in columns for _ in range(of_each)))


# ------------------------------------------------------------------------------- the objective


def objective(table: Table, X: Doubles, blocks: Sequence[Doubles], gamma: float) -> float:
    """H2O's objective, of factors X (n_rows, k) and of one block (k, d) for each column."""
    total = gamma * float((X**2).sum() + sum((block**2).sum() for block in blocks))
    for j, kind in enumerate(table.kinds):
        seen = ~np.isnan(table.values[:, j])
        a, u = table.values[seen, j], X[seen] @ blocks[j]
        total += float(np.sum(cell_losses(kind, u if kind == "categorical" else u[:, 0], a)))
    return total


def cell_losses(kind: str, u: Doubles, a: Doubles) -> Doubles:
    """What cells cost, as H2O documents it."""
    if kind == "quadratic":
        return (u - a) ** 2
    if kind == "huber":
        return np.where(abs(u - a) <= 1, 0.5 * (u - a) ** 2, abs(u - a) - 0.5)
    if kind == "logistic":
        return np.logaddexp(0, np.where(a > 0, -u, u))
    if kind == "poisson":
        return np.exp(u) - a * u + a * np.log(np.maximum(a, 1)) - a
    sign = np.where(np.arange(u.shape[1]) == a[:, None], 1, -1)
    return np.maximum(1 - sign * u, 0).sum(axis=1)


# --------------------------------------------------------------------------------- contestants


@dataclass(frozen=True)
class Settings:
    """What both are told."""

    n_components: int
    gamma: float
    threads: int


class Skglrm:
    def __init__(self, table: Table, settings: Settings) -> None:
        self.table, self.settings = table, settings
        strength = 2 * settings.gamma / table.unit
        self.parameters: dict[str, Any] = {
            "n_components": settings.n_components,
            "loss": [LOSSES[kind] for kind in table.kinds],
            "row_regularizer": L2(strength),
            "column_regularizer": L2(strength),
            "n_jobs": settings.threads,
            "random_state": 0,
        }

    def fit(self, max_iter: int, tol: float = 0.0) -> tuple[float, GLRM]:
        """Seconds of a whole call of `fit`, and the model."""
        model = GLRM(**self.parameters, max_iter=max_iter, tol=tol)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is stopped early on purpose
            start = time.perf_counter()
            model.fit(self.table.values)
            return time.perf_counter() - start, model

    def objective(self, model: GLRM) -> float:
        H = np.asarray(model.components_, np.float64)
        blocks = [H[:, one] for one in model.component_slices_]
        X = np.asarray(model.row_factors_, np.float64)
        return objective(self.table, X, blocks, self.settings.gamma)

    def iterations_to(self, target: float) -> int | None:
        """The least number of iterations, of some, that end at or below the target."""
        for n in TRIED_ITERATIONS:
            if self.fit(n)[1].objective_ * self.table.unit <= target:
                return n
        return None


def level_label(code: int) -> str:
    """Labels sort as their codes, and are lower case as in the names of H2O's archetypes."""
    return f"l{code:03d}"


class H2O:
    """A table on H2O's server; import and start-up are not timed."""

    def __init__(self, table: Table, settings: Settings, init: str) -> None:
        import h2o

        self.table, self.settings, self.init = table, settings, init
        names = [f"{kind}_{j}" for j, kind in enumerate(table.kinds)]
        types = ["enum" if kind == "categorical" else "numeric" for kind in table.kinds]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.csv"
            path.write_text("\n".join([",".join(names), *map(self._line, table.values)]) + "\n")
            self.frame = h2o.import_file(
                str(path), header=1, col_types=dict(zip(names, types, strict=True))
            )
        self.names = names
        if self.frame.shape != table.values.shape:
            raise RuntimeError(f"H2O read a table of shape {self.frame.shape}")

    def _line(self, row: Doubles) -> str:
        """A row of the file."""
        return ",".join(
            "" if np.isnan(a) else level_label(int(a)) if kind == "categorical" else repr(float(a))
            for a, kind in zip(row, self.table.kinds, strict=True)
        )

    def train(self, max_iter: int) -> tuple[float, float, float, int]:
        """Seconds, the objective, what H2O says the objective is, and iterations run."""
        from h2o.estimators import H2OGeneralizedLowRankEstimator

        numeric = [j for j, kind in enumerate(self.table.kinds) if kind in H2O_LOSSES]
        model = H2OGeneralizedLowRankEstimator(
            k=self.settings.n_components,
            loss_by_col=[H2O_LOSSES[self.table.kinds[j]] for j in numeric],
            loss_by_col_idx=numeric,
            multi_loss="Categorical",
            regularization_x="Quadratic",
            regularization_y="Quadratic",
            gamma_x=self.settings.gamma,
            gamma_y=self.settings.gamma,
            transform="NONE",
            ignore_const_cols=False,
            init=self.init,
            max_iterations=max_iter,
            seed=1,
        )
        model.train(training_frame=self.frame)
        output = model._model_json["output"]
        X, blocks = self._factors(output)
        found = objective(self.table, X, blocks, self.settings.gamma)
        return output["run_time"] / 1000, found, output["objective"], output["iterations"]

    def _factors(self, output: dict[str, Any]) -> tuple[Doubles, list[Doubles]]:
        import h2o

        rows = h2o.get_frame(output["representation_name"]).as_data_frame(use_pandas=False)
        X = np.array(rows[1:], float)
        archetypes = output["archetypes"]
        Y = np.array([row[1:] for row in archetypes.cell_values], float)
        place = {name: j for j, name in enumerate(archetypes.col_header[1:])}
        blocks = []
        for name, kind in zip(self.names, self.table.kinds, strict=True):
            labels = map(level_label, range(N_LEVELS)) if kind == "categorical" else [""]
            levels = [name + label for label in labels]
            blocks.append(Y[:, [place[level] for level in levels]])
        return X, blocks


# -------------------------------------------------------------------------------------- report


def compare(table: Table, settings: Settings, args: argparse.Namespace) -> None:
    n_rows, n_cols = table.values.shape
    share = np.isnan(table.values).mean()
    print(
        f"\n{table.name} table, {n_rows:,} x {n_cols}, {100 * share:.0f} % missing; n_components "
        f"{settings.n_components}, gamma {settings.gamma}, {settings.threads} threads"
    )
    ours = Skglrm(table, settings)
    ours.fit(2)
    print(f"{args.rounds} rounds of skglrm; median (min..max)")
    peer = None
    if not args.without_h2o:
        init = args.h2o_init or INITS[table.name]
        H2O(table.first_rows(500), settings, init).train(5)
        peer = H2O(table, settings, init)
    for max_iter in args.h2o_iter if peer is not None else ():
        seconds, target, claimed, n_iter = peer.train(max_iter)
        print(f"\n  H2O, init {peer.init}, {n_iter} iterations")
        print_row("seconds", [f"{seconds:.2f}"])
        print_row("objective", [f"{target:,.2f}", f"(it says {claimed:,.2f})"])
        report_time_to(target, ours, args.rounds, seconds)
    for target in args.target:
        print(f"\n  to an objective of {target:,.2f}")
        report_time_to(target, ours, args.rounds)
    runs = [ours.fit(100, tol=1e-4) for _ in range(args.rounds)]
    model = runs[-1][1]
    print(f"\n  skglrm to its tol of 1e-4, {model.n_iter_} iterations")
    print_row("seconds", [spread([run[0] for run in runs], 3)])
    print_row(
        "objective",
        [f"{ours.objective(model):,.2f}", f"(it says {model.objective_ * table.unit:,.2f})"],
    )


def report_time_to(
    target: float, ours: Skglrm, rounds: int, peer_seconds: float | None = None
) -> None:
    n = ours.iterations_to(target)
    if n is None:
        print_row("skglrm", ["does not get there"])
        return
    runs = [ours.fit(n) for _ in range(rounds)]
    times = [run[0] for run in runs]
    print_row(f"skglrm, {n} iterations: seconds", [spread(times, 3)])
    print_row("objective", [f"{ours.objective(runs[-1][1]):,.2f}"])
    if peer_seconds is not None:
        print_row("as fast", [f"{peer_seconds / statistics.median(times):.0f}x"])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare skglrm's GLRM with H2O's; see the top of this file."
    )
    parser.add_argument("--table", choices=["quadratic", "mixed"], nargs="+")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--n-components", type=int, default=10)
    parser.add_argument("--gamma", type=float, default=0.1, help="L2 of both sides, as H2O's")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="of skglrm")
    parser.add_argument("--h2o-iter", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--h2o-init", choices=["SVD", "PlusPlus", "Random"])
    parser.add_argument("--memory", default="4g", help="of H2O's server")
    parser.add_argument("--without-h2o", action="store_true", help="skglrm's rows alone")
    parser.add_argument(
        "--target", type=float, nargs="+", default=[],
        help="objectives to reach as well, such as those that H2O reached in an earlier run",
    )  # fmt: skip
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    settings = Settings(args.n_components, args.gamma, args.threads)
    makers = {"quadratic": quadratic_table, "mixed": mixed_table}
    print_machine()
    tables = [makers[name](args.rows, args.n_components, 0) for name in args.table or makers]
    if args.without_h2o:
        for table in tables:
            compare(table, settings, args)
        return
    import h2o

    print(f"h2o {importlib.metadata.version('h2o')}")
    h2o.init(nthreads=args.threads, max_mem_size=args.memory, verbose=False)
    h2o.no_progress()
    try:
        for table in tables:
            compare(table, settings, args)
    finally:
        h2o.cluster().shutdown()


if __name__ == "__main__":
    main()
