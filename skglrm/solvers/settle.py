"""Rows solved to the end, for final factors of the other side.

Where losses are convex, and regularizers half the square of a norm, by Newton's method; see
:mod:`skglrm.kernels.newton`.  All other rows take the steps of :mod:`skglrm.solvers.half_step`
until they get no better.
"""

from __future__ import annotations

import numpy as np

from ..kernels.newton import NARROWEST, WIDEST, Rows, advance
from .half_step import Block, HalfStep, Outcome, settle_slowly

__all__ = ["settle"]

MOST_LOOKS = 100


def settle(block: Block, side: HalfStep) -> Outcome:
    """Take steps until no row of a block gets better."""
    part, method = side.parts[block.part], side.methods[block.part]
    plain = method.strength is not None and side.bound is None
    convex = all(term.loss.convex for term in side.terms)
    if part.regularizer.one_hot or side.is_quadratic or not (plain and convex):
        return settle_slowly(block, side)
    ridge = (method.strength, method.center, side.n_penalised, side.n_free)
    state = side.state.of(block.rows).copy()
    rows = Rows.of(state.x, WIDEST if side.is_kinked else NARROWEST)
    active, trial = np.arange(block.rows.size), state.x.copy()
    # The promised decrease, relative to the objective, of rows that are solved.
    tol = 1e-9 if trial.dtype == np.float32 or side.is_kinked else 1e-14
    for _ in range(MOST_LOOKS):
        if not active.size:
            break
        windows = rows.radius[active], rows.cautious[active]
        model = side.windowed_model(block.rows[active], trial, *windows)
        going = advance(rows, active, trial, *model, *ridge, tol)
        active, trial = active[:going], trial[:going]
    penalty = side.penalties(part, rows.best.astype(np.float64))
    loss = float(rows.loss.sum())
    return Outcome(state._replace(penalty=penalty), loss, float(penalty.sum()), active.size)
