"""One side of the factors, improved while the other stays: the act that alternating methods repeat.

Rows are independent, so a side is cut into blocks of about equal numbers of cells.  Each row gets
a quadratic model of its objective, the minimum of the model, and a look at whether the objective
fell; see :mod:`skglrm.kernels.proximal`.  The next step of a row that failed is shorter.  No block
knows of another, so results do not depend on how blocks are run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._jit import read_only
from ..backends.base import Backend
from ..domains import Real
from ..kernels.proximal import (
    APART,
    AS_IT_IS,
    BOUNDED,
    BY_DIFFERENCES,
    FAR,
    IS_ABOVE,
    IS_LEVEL,
    SOFTMAX,
    add_model,
    add_slope,
    add_value,
    add_vector_model,
    add_vector_value,
    add_weighted_model,
    minimise_blocks,
    minimise_by_coordinates,
    minimise_by_prox,
    minimise_ridge,
    move_model,
    penalise_blocks,
    penalise_rows,
    prox_blocks,
    prox_rows,
)
from ..kernels.quadratic import (
    add_quadratic_model,
    add_quadratic_slope,
    minimise_on_interval,
    solve_quadratic_rows,
)
from ..losses import get_loss
from .base import Floats, one_blas_thread
from .on_rows import OnRows
from .problem import Cells, Group, Part

__all__ = ["HalfStep", "Term", "improve", "settle_slowly"]

Doubles = npt.NDArray[np.float64]

CELLS_PER_BLOCK = 131_072
EFFORT = 4
"""What a prediction costs, if its loss is not quadratic, in cells that are."""

NUMBERS_PER_BLOCK = 2**19
"""Of the matrices A of a block: 4 MB."""

TRIES = 14
TRIES_AT_KINKS = 4
LONGER, SHORTER = 0.5, 4.0  # factors of curvature
WIDEST, SMALLEST = 0.5, 1e-5
"""Half the window that smooths kinks, in units: at the start, and at the end."""

STEP, FEW_CYCLES = (30, 1e-4), (10, 1e-4)
"""Cycles to minimise a model that is to be made anew, and when they end.  The latter is for exact
models of complete rows above all, which cost little, as the products of matrices that they are."""

MOST_STEPS = 50
"""To solve a row; few need as many as ten, and some more where losses have kinks."""

SMOOTH_WINDOW = 3e-4
SLOW, DONE = 1e-3, 1e-5
"""Relative decrease below which a row has done what it can in windows of this size: in a pass, and
when it is to be solved."""

ARMIJO = 1e-4
NOTHING = np.zeros((0, 0, 0))


@dataclass(frozen=True)
class Term:
    """What the cells of one group add to a side, whose rows are those of ``cells``.

    ``other`` (m, d, K) are the factors of the other side; ``unit`` is the size of a difference of
    predictions that matters; ``reading`` says how a prediction reads a cell, where a loss of
    several predictions is a sum of ``loss`` over them.
    """

    loss: Any
    cells: Cells
    other: Floats
    width: int
    is_vector: bool
    unit: float
    reading: int = AS_IT_IS

    @classmethod
    def of(cls, group: Group, cells: Cells, other: Floats, unit: float) -> Term:
        """Return what the cells of a group add."""
        loss, is_vector, reading = group.loss, group.is_vector, AS_IT_IS
        if is_vector and hasattr(loss, "binary"):
            reading = IS_ABOVE if loss.ordered else IS_LEVEL
            loss, is_vector = loss.binary, False
        return cls(loss, cells, other, group.width, is_vector, unit, reading)

    @property
    def is_quadratic(self) -> bool:
        """Whether the loss is ½ (u - a)² exactly."""
        return is_quadratic(self.loss)

    @property
    def effort(self) -> int:
        """What a cell costs."""
        return 1 if self.is_quadratic else EFFORT * self.width

    def prepared(self) -> tuple[Any, Doubles, Doubles]:
        """Return what quadratic models read: lists of lacking columns, Y (m, width) and its Gram.

        Y is in double precision and padded to whole vectors.
        """
        m, _, K = self.other.shape
        Y = np.zeros((m, -(-K // 8) * 8))
        Y[:, :K] = self.other[:, 0]
        gram, lacking = np.zeros((K, K)), self.cells.lacking
        if lacking[0][-1] or self.cells.is_somewhere_full:  # else nobody reads it
            with one_blas_thread():
                gram = np.ascontiguousarray((Y.T @ Y)[:K, :K])
        return lacking, read_only(Y), read_only(gram)

    @property
    def is_kinked(self) -> bool:
        """Whether steps need a radius."""
        return not self.is_vector and not self.loss.smooth and self.loss.curvature is None

    def looks(self, local: bool) -> tuple[float, bool, float, float, float]:
        """How kernels look at cells, as ``add_model`` says: from a bound to what sets windows."""
        bound, smooth = self.loss.curvature, bool(self.loss.smooth)
        by_residual = smooth and isinstance(self.loss.domain, Real)
        reach = 0.0 if by_residual else FAR * self.unit
        if self.is_kinked:
            return np.inf, smooth, reach, 0.0, self.unit
        if bound is not None and (self.is_quadratic or not (local and smooth)):
            return float(bound), smooth, reach, 0.0, 0.0
        bound = np.inf if bound is None else float(bound)
        return bound, smooth, reach, SMOOTH_WINDOW * self.unit, 0.0

    def hessian(self, local: bool) -> tuple[int, float]:
        """How a loss of several predictions is curved, and a bound."""
        bound = self.loss.curvature
        if bound is not None and not local:
            return BOUNDED, float(bound)
        if self.loss.softmax:
            return SOFTMAX, 0.0
        return (BY_DIFFERENCES if self.loss.convex else APART), 0.0


def is_quadratic(loss: Any) -> bool:
    """Whether a loss is ½ (u - a)² exactly."""
    return bool(loss == get_loss("quadratic"))


class State(NamedTuple):
    """Rows on their way: factors (n, d, K), their penalty, and how far the next step goes (n,)."""

    x: Floats
    penalty: Doubles
    scale: Doubles
    radius: Doubles

    def of(self, chosen: Any) -> State:
        """Return the state of some of the rows."""
        return State(self.x[chosen], self.penalty[chosen], self.scale[chosen], self.radius[chosen])

    def copy(self) -> State:
        """Return a state that can be written to."""
        return State(self.x.copy(), self.penalty.copy(), self.scale.copy(), self.radius.copy())

    def put(self, chosen: Any, other: State) -> None:
        """Write the state of some of the rows."""
        for array, new in zip(self, other, strict=True):
            array[chosen] = new


class Block(NamedTuple):
    """Rows that are improved together, and the part whose regularizer they have."""

    part: int
    rows: npt.NDArray[np.int32]


class Outcome(NamedTuple):
    """What a task returns: the rows' new state, their loss, and how many rows found no way down."""

    state: State
    loss: float
    penalty: float
    failed: int


@dataclass
class HalfStep(OnRows):
    """A side of the factors, with all that improving it takes.

    Attributes
    ----------
    target : ndarray of shape (n, d, K)
        The factors; d > 1 only for columns whose loss has several predictions.
    terms : tuple of Term
    parts : tuple of Part
        Regularizers, and the rows of ``target`` that have each.
    n_penalised, n_free : int
        How many of the K coordinates are penalised, and solved for.
    bound : tuple of ndarray, optional
        (linear (n, d, k), diagonal (n,)) of a bound on what couples the rows, at ``target``.
    project : bool
        Whether to move ``target`` to where its penalty is finite.
    """

    target: Floats
    terms: tuple[Term, ...]
    parts: tuple[Part, ...]
    n_penalised: int
    n_free: int
    project: bool = True
    bound: tuple[Doubles, Doubles] | None = None
    state: State = field(init=False)
    prepared: list[tuple[Any, Doubles, Doubles] | None] = field(init=False, default_factory=list)

    def __post_init__(self):
        n = len(self.target)
        self.state = State(self.target, np.zeros(n), np.ones(n), np.full(n, WIDEST))
        if self.project:
            self.make_feasible()

    def make_feasible(self) -> None:
        """Move ``target`` to where its penalty is finite."""
        for part in self.parts:
            x = self.target[part.rows].astype(np.float64)
            self._prox(part, 1e-10, x)
            self.target[part.rows] = x
        self.penalise()

    def penalise(self) -> None:
        """Renew the penalties of the state, after ``target`` has changed."""
        for part in self.parts:
            x = self.target[part.rows].astype(np.float64)
            self.state.penalty[part.rows] = self.penalties(part, x)

    @cached_property
    def is_quadratic(self) -> bool:
        """Whether models are exact."""
        return all(term.is_quadratic for term in self.terms)

    @cached_property
    def is_kinked(self) -> bool:
        """Whether a loss has kinks, so that steps look at windows."""
        return any(term.is_kinked for term in self.terms)

    @property
    def is_closed(self) -> bool:
        """Whether one step finds the best rows, wherever it starts."""
        one_hot = [part.regularizer.one_hot for part in self.parts]
        closed = [method.strength is not None and self.is_quadratic for method in self.methods]
        return self.bound is None and bool(np.logical_or(one_hot, closed).all())

    @cached_property
    def methods(self) -> list[_Method]:
        """How the model of each part is minimised."""
        return [_method(part.regularizer, self.n_penalised) for part in self.parts]

    @cached_property
    def blocks(self) -> list[Block]:
        """Runs of rows with about equal numbers of cells."""
        counts = sum(term.effort * np.diff(term.cells.indptr) for term in self.terms)
        K = self.target.shape[2]
        matrices = np.where(self.is_complete, 0, K * K)  # complete rows share one
        work = counts / CELLS_PER_BLOCK + matrices / NUMBERS_PER_BLOCK
        blocks = []
        for number, part in enumerate(self.parts):
            if part.rows.size:
                sofar = np.cumsum(work[part.rows])
                cuts = np.flatnonzero(np.diff(np.floor(sofar))) + 1
                blocks += [Block(number, rows) for rows in np.split(part.rows, cuts)]
        return blocks

    @cached_property
    def is_complete(self) -> npt.NDArray[np.bool_]:
        """Which rows have all cells, with weight 1, so that their models share one matrix."""
        complete = np.full(len(self.target), self.is_quadratic and self.bound is None)
        for term in self.terms:
            unweighted = not term.cells.weights.size
            complete &= unweighted & (np.diff(term.cells.indptr) == term.cells.n_columns)
        return complete

    def run(self, task: Callable[[Block, HalfStep], Outcome], backend: Backend) -> Outcome:
        """Run a task on all blocks; write the new rows and return the sums."""
        if self.is_quadratic:
            # Weighted cells have no part in what is shared.
            self.prepared = [
                None if term.cells.weights.size else term.prepared() for term in self.terms
            ]
        with one_blas_thread() if self.multiplies else nullcontext():
            outcomes = backend.map(task, self.blocks, self)
        loss = penalty = 0.0
        failed = 0
        for block, outcome in zip(self.blocks, outcomes, strict=True):
            self.state.put(block.rows, outcome.state)
            loss += outcome.loss
            penalty += outcome.penalty
            failed += outcome.failed
        return Outcome(self.state, loss, penalty, failed)

    # -------------------------------------------------------------- what kernels add up

    def losses(self, rows: npt.NDArray[np.int32], x: Floats) -> Doubles:
        """Loss of rows (n,) if their factors were x."""
        F = np.zeros(rows.size)
        for term in self.terms:
            add = (*term.cells.arrays, read_only(term.other), rows, read_only(x), F)
            if term.is_vector:
                add_vector_value(term.loss, term.width, *add)
            else:
                add_value(term.loss, term.reading, *add)
        return F

    def model(
        self, rows: npt.NDArray[np.int32], x: Floats, radius: Doubles, local: bool = False
    ) -> tuple[Doubles, Doubles, Doubles]:
        """Value (n,), slope (n, d, K) and matrix (n, d, K, K) of the losses at x.

        Smooth losses are as curved as they may be at most, where that is known, or ``local``: as
        they are at x.
        """
        n, d, K = x.shape
        F, G, A = np.zeros(n), np.zeros(x.shape), np.zeros((n, d, K, K))
        self._look(rows, x, local, radius, np.ones(n, np.bool_), F, G, A, A, NOTHING)
        return F, G, A

    def windowed_model(
        self, rows: npt.NDArray[np.int32], x: Floats, radius: Doubles, cautious: npt.NDArray[Any]
    ) -> tuple[Doubles, Doubles, Doubles, Doubles, Doubles]:
        """Return F, G, A as by ``model``, without kinks in A; and what is by kinks of G, and of A.

        Rows that are not ``cautious`` have losses just as curved as they are.
        """
        n, d, K = x.shape
        F, G, A = np.zeros(n), np.zeros(x.shape), np.zeros((n, d, K, K))
        B, C = np.zeros(G.shape), np.zeros(A.shape)
        self._look(rows, x, True, radius, cautious, F, G, A, C, B)
        return F, G, A, B, C

    def _look(
        self, rows: npt.NDArray[np.int32], x: Floats, local: bool, radius: Doubles,
        cautious: npt.NDArray[Any], F: Doubles, G: Doubles, A: Doubles, C: Doubles, B: Doubles,
    ) -> None:  # fmt: skip
        """Add the losses to F, G and A; of losses with kinks the matrix to C, and bends to B."""
        x = read_only(x)
        for term, cells, looks in self._seen[local]:
            if term.is_vector:
                how = term.hessian(local)
                add_vector_model(term.loss, term.width, *cells, rows, x, *how, F, G, A)
                continue
            out = (F, G, C, B) if term.is_kinked else (F, G, A, NOTHING)
            add_model(term.loss, term.reading, *cells, rows, x, *looks, radius, cautious, *out)

    @cached_property
    def _seen(self) -> list[list[tuple[Term, Any, Any]]]:
        """Terms, what kernels read of them, and how, if not local and if local."""
        return [
            [
                (term, (*term.cells.arrays, read_only(term.other)), term.looks(local))
                for term in self.terms
            ]
            for local in (False, True)
        ]

    def slope(
        self, rows: npt.NDArray[np.int32], x: Floats
    ) -> tuple[Doubles, npt.NDArray[np.float64]]:
        """Return the loss (n,) of rows and its derivative (n, d, K) at x."""
        F, G, nothing = np.zeros(rows.size), np.zeros(x.shape), np.zeros((0, 0, 0, 0))
        for term in self.terms:
            cells = (*term.cells.arrays, read_only(term.other), rows, read_only(x))
            if term.is_vector:
                add_vector_model(term.loss, term.width, *cells, BOUNDED, 0.0, F, G, nothing)
            else:
                add_slope(term.loss, term.reading, *cells, F, G)
        return F, G

    def exact_model(
        self, rows: npt.NDArray[np.int32], complete: bool, alone: bool
    ) -> tuple[Doubles, Doubles, Doubles]:
        """Return the same at x = 0 for ½ (u - a)²; complete rows share a matrix (1, 1, K, K).

        Products of matrices may round a row differently in other company; not if ``alone``.
        """
        n, K = rows.size, self.target.shape[2]
        F, G = np.zeros(n), np.zeros((n, 1, K))
        A = np.zeros((1 if complete else n, K, K))
        for term, known in zip(self.terms, self.prepared, strict=True):
            cells = term.cells.arrays
            if known is None:
                add_weighted_model(*cells, read_only(term.other), rows, F, G, A)
                continue
            if complete:
                A += known[2]
                _add_complete_slope(term.cells, known[1], rows, F, G, alone)
            else:
                add_quadratic_model(*cells[:3], *known, rows, F, G, A)
        return F, G, A[:, None]

    @property
    def multiplies(self) -> bool:
        """Whether slopes are products of dense matrices."""
        return self.is_quadratic and any(term.cells.dense is not None for term in self.terms)

    def is_plain(self, number: int) -> bool:
        """Whether a part has one term without weights, and a ridge: its rows take one kernel."""
        alone = len(self.prepared) == 1 and self.prepared[0] is not None
        return alone and self.bound is None and self.methods[number].strength is not None

    def solve_plainly(self, number: int, rows: npt.NDArray[np.int32], x: Floats) -> Doubles:
        """Write the best rows of a plain part to x, and return their losses."""
        (term,), method, loss = self.terms, self.methods[number], np.empty(rows.size)
        assert self.prepared[0] is not None
        solve_quadratic_rows(
            *term.cells.arrays[:3], *self.prepared[0], rows, method.strength, method.center,
            self.n_penalised, self.n_free, x, loss,
        )  # fmt: skip
        return loss

    def penalties(self, part: Part, x: Doubles) -> Doubles:
        """Cost (n,) of the factors x of rows of a part."""
        R = np.empty(len(x))
        if part.regularizer.on_block:
            penalise_blocks(part.regularizer, x, R)
        else:
            penalise_rows(part.regularizer, x, self.n_penalised, R)
        return R

    def _prox(self, part: Part, step: float, x: Doubles) -> None:
        if part.regularizer.on_block:
            prox_blocks(part.regularizer, step, x)
        else:
            prox_rows(part.regularizer, step, x, self.n_penalised)

    def minimised(
        self, number: int, A: Doubles, G: Doubles, x: Doubles, scale: Doubles, thorough: bool
    ) -> Doubles:
        """Minimum of the models of rows of a part, from x."""
        method, k, free = self.methods[number], self.n_penalised, self.n_free
        regularizer, z = self.parts[number].regularizer, np.empty_like(x)
        effort = (10_000, 1e-12) if thorough else STEP
        if regularizer.on_block:
            minimise_blocks(regularizer, A, G, x, scale, z)
        elif method.strength is not None:
            minimise_ridge(A, G, x, scale, method.strength, method.center, k, free, z)
        elif method.interval is not None:
            where = (*map(float, method.interval), k, free)
            effort = effort if thorough else FEW_CYCLES
            minimise_on_interval(A, G, x, scale, *where, *effort, z)
        elif method.by_coordinates:
            minimise_by_coordinates(regularizer, A, G, x, scale, k, free, *effort, z)
        else:
            minimise_by_prox(regularizer, A, G, x, scale, k, free, *effort, z)
        return z


class _Method(NamedTuple):
    """Ridge with strength and center, or on an interval, by coordinates, or by prox."""

    strength: float | None
    center: Doubles
    interval: tuple[float, float, float] | None
    by_coordinates: bool


def _method(regularizer: Any, k: int) -> _Method:
    ridge = regularizer.quadratic_center
    if ridge is None:
        by_coordinates = regularizer.separable and not regularizer.on_block
        interval = regularizer.ridge_on_interval if by_coordinates else None
        return _Method(None, np.zeros(k), interval, by_coordinates)
    strength, center = ridge
    center = np.zeros(k) if center is None else np.array(center)
    return _Method(float(strength), center, None, False)


# ------------------------------------------------------------------ tasks


def improve(block: Block, side: HalfStep) -> Outcome:
    """Take one step on every row of a block."""
    state, loss, failed = _step(side, block, side.state.of(block.rows), thorough=False)
    return Outcome(state, float(loss.sum()), float(state.penalty.sum()), int(failed.sum()))


def settle_slowly(block: Block, side: HalfStep) -> Outcome:
    """Take steps until no row of a block gets better."""
    state = side.state.of(block.rows)
    total, failed = np.zeros(block.rows.size), np.zeros(block.rows.size, bool)
    before = np.full(block.rows.size, np.inf)
    active = np.arange(block.rows.size)
    tol = 1e-7 if state.x.dtype == np.float32 else 1e-8 if side.is_kinked else 1e-10
    for _ in range(MOST_STEPS):
        rows = Block(block.part, block.rows[active])
        new, loss, lost = _step(side, rows, state.of(active), thorough=True)
        state.put(active, new)
        total[active], failed[active] = loss, lost
        after = loss + new.penalty
        moving = before[active] - after > tol * np.abs(after)
        if side.is_kinked:
            moving |= new.radius > SMALLEST
        before[active] = after
        active = active[moving]
        if side.is_quadratic or not active.size:
            break
    return Outcome(state, float(total.sum()), float(state.penalty.sum()), int(failed.sum()))


def _step(
    side: HalfStep, block: Block, state: State, thorough: bool
) -> tuple[State, Doubles, npt.NDArray[np.bool_]]:
    """Return the next state of the rows of a block, their losses, and which found no way down."""
    part = side.parts[block.part]
    if part.regularizer.one_hot:
        return _best_of_all(side, block, state)
    if not side.is_quadratic:
        return _searched_step(side, block, state, thorough)
    complete = side.is_complete[block.rows]
    if thorough and side.is_plain(block.part):
        complete = np.zeros_like(complete)
    failed = np.zeros(block.rows.size, bool)
    if complete.all() or not complete.any():
        return *_exact_step(side, block, state, bool(complete.all()), thorough), failed
    state, loss = state.copy(), np.empty(block.rows.size)
    for chosen in (complete, ~complete):
        some = Block(block.part, block.rows[chosen])
        new, loss[chosen] = _exact_step(side, some, state.of(chosen), chosen is complete, thorough)
        state.put(chosen, new)
    return state, loss, failed


def _exact_step(
    side: HalfStep, block: Block, state: State, complete: bool, thorough: bool
) -> tuple[State, Doubles]:
    """Minimise the objective of every row; its model has no error."""
    part, rows = side.parts[block.part], block.rows
    if not complete and side.is_plain(block.part):
        new = state.x.copy()
        loss = side.solve_plainly(block.part, rows, new)
        return state._replace(x=new, penalty=side.penalties(part, new.astype(np.float64))), loss
    F, G, A = side.exact_model(rows, complete, alone=thorough)
    if side.bound is not None:
        _add_bound(side, rows, -state.x.astype(np.float64), G, A)
    x, slope = state.x.astype(np.float64), G
    if side.methods[block.part].strength is not None:
        x[:, :, : side.n_free] = 0.0  # so that the result does not depend on where it came from
    if x.any():
        slope = _slope_after(A, G, x, alone=thorough)
    z = side.minimised(block.part, A, slope, x, np.ones(rows.size), thorough)
    new, penalty = z.astype(state.x.dtype, copy=False), side.penalties(part, z)
    z = new.astype(np.float64, copy=False)
    loss = F + _rise(A, G, z, alone=thorough)
    if side.bound is not None or (loss < 1e-7 * F).any():
        loss = side.losses(rows, new)  # the sum above has lost too many digits
    return state._replace(x=new, penalty=penalty), loss


def _searched_step(
    side: HalfStep, block: Block, state: State, thorough: bool
) -> tuple[State, Doubles, npt.NDArray[np.bool_]]:
    """Minimise a model of every row, more and more cautiously until the objective falls."""
    part, rows = side.parts[block.part], block.rows
    F, G, A = side.model(rows, state.x, state.radius, local=True)
    if side.bound is not None:
        _add_bound(side, rows, np.zeros_like(state.x, dtype=np.float64), G, A)
    present = F + state.penalty
    state = state.copy()
    loss, x0 = F.copy(), state.x.astype(np.float64)
    narrower, enough = np.zeros(rows.size, bool), DONE if thorough else SLOW
    todo = np.arange(rows.size)
    for _ in range(TRIES_AT_KINKS if side.is_kinked else TRIES):
        scale = state.scale[todo]
        z = side.minimised(block.part, A[todo], G[todo], x0[todo], scale, thorough)
        new = z.astype(state.x.dtype)
        R = side.penalties(part, z)
        step = z - x0[todo]
        curved = scale * _moved(A[todo], G[todo], step)[1]
        value = side.losses(rows[todo], new)
        total = value + R
        if side.bound is not None:
            total = total + _bound_value(side, rows[todo], step)
        better = total <= present[todo] - ARMIJO * curved
        # Where a step promises nothing beyond rounding, the row has arrived.
        arrived = ~better & (curved <= 1e-13 * np.abs(present[todo]))
        chosen = todo[better]
        state.x[chosen], state.penalty[chosen], loss[chosen] = new[better], R[better], value[better]
        state.scale[chosen] = np.maximum(LONGER * state.scale[chosen], 1.0)
        slow = total[better] >= present[chosen] - enough * np.abs(total[better])
        narrower[chosen[slow]] = narrower[todo[arrived]] = True
        todo = todo[~better & ~arrived]
        if not todo.size:
            break
        state.scale[todo] *= SHORTER
    failed = np.zeros(rows.size, bool)
    failed[todo] = narrower[todo] = True
    state.scale[todo] = 1.0
    if side.is_kinked:
        failed &= state.radius <= SMALLEST
        state.radius[narrower] = np.maximum(0.3 * state.radius[narrower], SMALLEST)
    return state, loss, failed


def _add_complete_slope(
    cells: Cells, Y: Doubles, rows: npt.NDArray[np.int32], F: Doubles, G: Doubles, alone: bool
) -> None:
    """Add ½ Σ (x·y - a)² at x = 0 to F (n,) and G (n, 1, K), for rows that have all cells."""
    if cells.dense is None or alone:
        add_quadratic_slope(*cells.arrays[:3], Y, rows, F, G)
        return
    together = rows[-1] - rows[0] + 1 == rows.size
    values = cells.dense[rows[0] : rows[-1] + 1] if together else cells.dense[rows]
    G[:, 0] -= (values.astype(np.float64, copy=False) @ Y)[:, : G.shape[2]]
    F += cells.half_squares[rows]


def _slope_after(A: Doubles, G: Doubles, step: Doubles, alone: bool) -> Doubles:
    """Slope of a model after a step."""
    if A.shape[:2] == (1, 1) and not alone:
        return G + (step[:, 0] @ A[0, 0])[:, None]
    return _moved(A, G, step)[2]


def _rise(A: Doubles, G: Doubles, step: Doubles, alone: bool) -> Doubles:
    """By how much a step changes a model."""
    if A.shape[:2] == (1, 1) and not alone:
        return np.einsum("pm,pm->p", G[:, 0] + 0.5 * (step[:, 0] @ A[0, 0]), step[:, 0])
    linear, curved, _ = _moved(A, G, step)
    return linear + 0.5 * curved


def _moved(A: Doubles, G: Doubles, step: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Slope along a step, curvature along it, and the slope of the model after it."""
    linear, curved, slope = np.empty(len(step)), np.empty(len(step)), np.empty_like(step)
    move_model(A, G, step, linear, curved, slope)
    return linear, curved, slope


def _best_of_all(
    side: HalfStep, block: Block, state: State
) -> tuple[State, Doubles, npt.NDArray[np.bool_]]:
    """Try every row with a single 1; the present one stays if no other costs less."""
    x = state.x.copy()
    loss = side.losses(block.rows, x)
    for c in range(x.shape[1]):
        best = x.copy()
        for m in range(side.n_penalised):
            trial = x.copy()
            trial[:, c, : side.n_penalised] = 0
            trial[:, c, m] = 1
            value = side.losses(block.rows, trial)
            better = value < loss
            best[better], loss[better] = trial[better], value[better]
        x = best
    penalty = side.penalties(side.parts[block.part], x.astype(np.float64))
    return state._replace(x=x, penalty=penalty), loss, np.zeros(block.rows.size, bool)


def _add_bound(
    side: HalfStep, rows: npt.NDArray[np.int32], step: Doubles, G: Doubles, A: Doubles
) -> None:
    """Add the bound on what couples the rows to a model at ``target`` + step."""
    assert side.bound is not None
    linear, diagonal = side.bound
    k = side.n_penalised
    G[:, :, :k] += linear[rows] + diagonal[rows][:, None, None] * step[:, :, :k]
    at = np.arange(k)
    A[:, :, at, at] += diagonal[rows][:, None, None]


def _bound_value(side: HalfStep, rows: npt.NDArray[np.int32], step: Doubles) -> Doubles:
    assert side.bound is not None
    linear, diagonal = side.bound
    s = step[:, :, : side.n_penalised]
    return np.einsum("pcm,pcm->p", linear[rows], s) + 0.5 * diagonal[rows] * np.einsum(
        "pcm,pcm->p", s, s
    )
