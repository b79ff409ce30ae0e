"""``ImplicitALS.fit`` of cells that stay on a Spark cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from ._interactions import Growing, History
from ._spark.gather import Gathered, Runs, Table
from .backends import SparkBackend, effective_threads, get_backend
from .solvers.implicit import ImplicitALSSolver, Model, Side

__all__ = ["fit_on_cluster"]


def fit_on_cluster(model: Any, entries: Any) -> bool:
    """Fit an ``ImplicitALS``; return whether the loop converged.

    The driver sees the numbers of cells and the sums of values of rows and columns, and the
    factors.  So the model knows no histories: for ``explain`` and ``score`` they must be given.
    """
    options = SparkBackend() if model.backend == "spark" else model.backend
    table = entries.table(options.storage_level)
    try:
        statistics = {side: table.statistics(side) for side in ("row", "col")}
        rows, columns = (
            _side(table, side, statistics[side], model._model()) for side in ("row", "col")
        )
        if not rows.counts.any():
            raise ValueError("X has no cell with a value other than zero: nothing has happened.")
        sides = [Growing.empty(n, int(model.n_components), dtype=entries.dtype)
                 for n in entries.matrix_shape]  # fmt: skip

        def report(iteration: int, objective: float, so_far: Any) -> bool:
            return bool(model._report(iteration, objective))

        solver = ImplicitALSSolver(
            model._model(), model.solver, int(model.max_iter), float(model.tol), report
        )
        with get_backend(options, effective_threads(model.n_jobs)) as backend:
            X, Y = (side.array for side in sides)
            solution = solver.solve((rows, columns), X, Y, backend, model._seed())
    finally:
        table.free()
    _keep(model, solution, sides, entries, statistics)
    return bool(solution.converged)


def _side(table: Table, side: str, statistics: dict[str, Any], model: Model) -> Side:
    counts = statistics["count"].astype(np.int64)
    n_positive = int(statistics["n_positive"].sum())
    mean = float(statistics["positive"].sum()) / n_positive if n_positive else 0.0
    order = np.argsort(-counts, kind="stable")
    none: Any = np.zeros(0)
    n_other = table.matrix_shape[side == "row"]
    return Side(
        none, none, none, model.ridge(counts, n_other).astype(table.dtype), counts, order,
        source=Gathered(table, Runs.of(side, order), mean_positive=mean),
    )  # fmt: skip


def _keep(model: Any, solution: Any, sides: Any, entries: Any, statistics: Any) -> None:
    model.n_features_in_ = entries.matrix_shape[1]
    if hasattr(model, "feature_names_in_"):
        del model.feature_names_in_
    ids = entries.col_ids
    if ids is not None and ids.dtype == object and all(isinstance(one, str) for one in ids):
        model.feature_names_in_ = ids
    model.loss_curve_, model.solver_ = list(solution.loss_curve), solution.solvers
    model.n_iter_ = len(solution.loss_curve)
    model._history = History(sp.csr_array(entries.matrix_shape, dtype=entries.dtype))
    for name, side in (("row", "row"), ("column", "col")):
        setattr(model, f"_{name}_counts", statistics[side]["count"].astype(np.int64))
        setattr(model, f"_{name}_sums", statistics[side]["sum"])
    model.row_ids_, model.col_ids_ = entries.row_ids, entries.col_ids
    model._column_gram, model._row_gram = np.diag(solution.spectrum), None
    model._spectrum, model._rotation = solution.spectrum, None
    model._set_factors(*sides)
