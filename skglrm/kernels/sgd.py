r"""Block SGD with the reduced per-coordinate learning rate, one block of entries at a time.

For an entry (i, j, a) let p, q be its two rows of factors, cut into a slow group s (the first
``N_SLOW`` dimensions) and a fast group f (the rest), and G, H the accumulated mean squared
gradients of row i and column j in each group (Chin, Zhuang, Juan and Lin 2015).  With
:math:`u = p \cdot q`, :math:`z = -\partial L/\partial u(u, a)` and L2 strengths λ, λ̃ one visit is,
in each group,

.. math::

    \eta = \eta_0 / \sqrt{G} \qquad p \leftarrow p - \eta\,(\lambda p - z q)
    \qquad G \leftarrow G + \operatorname{mean}\,(\lambda p - z q)^2

and likewise for q with η̃ = η₀/√H, λ̃ and the old p.  Written as :math:`p \leftarrow \alpha p +
\beta q` with α = max(1 − ηλ, 0), which keeps a strong penalty from overshooting zero, and β = ηz,
nothing but three inner products is needed of the vectors:

.. math::

    \|\lambda p - z q\|^2 &= \lambda^2 \|p\|^2 - 2 \lambda z\, p \cdot q + z^2 \|q\|^2 \\
    \|\alpha p + \beta q\|^2 &= \alpha^2 \|p\|^2 + 2 \alpha\beta\, p \cdot q + \beta^2 \|q\|^2

so each row carries its two squared norms along, and a visit costs 5 flop-pairs per dimension
instead of the 9 of forming gradients and squaring them: one for p·q, two for each new row.

The *state* of a row is ``N_STATE`` numbers: mean squared gradients of this epoch (slow, fast),
squared norms (slow, fast), G at the beginning of the epoch (slow, fast), two unused.  An epoch's
increments are summed apart because in float32 an increment below 6e-8 G would be lost for ever.

Every visit is a chain: prediction, loss, rates, update.  The prediction of the *next* entry is
therefore begun before this one is written (and made again in the rare case that both share a row or
a column), and its successors' rows are prefetched, so that neighbouring visits overlap.
"""

from dataclasses import dataclass

import numpy as np

from .._jit import kernel
from .._record import Record
from .._simd import (
    LANES,
    gather,
    is_positive,
    nothing,
    pair_of_elements,
    splat,
    sum_pair,
    vectorized,
)

N_SLOW = LANES
"""Dimensions of the slow group: one vector, as in LIBMF; 8 % of 100 in the paper."""

N_STATE = 8
"""Numbers of state per row; see above."""

AHEAD = 6
"""Entries between a prefetch and its visit: about 150 ns, the latency of a shared cache."""


@dataclass(frozen=True)
class GradientStep(Record):
    """What a visit needs besides data: rates, strengths, and 1/|group| for the mean squares."""

    slow_rate: float
    fast_rate: float
    slow_share: float
    fast_share: float
    row_l2: float
    column_l2: float


@dataclass(frozen=True)
class ProximalStep(GradientStep):
    """A gradient step that then shrinks by L1 strengths and lifts to a floor (0 or -inf).

    Its type alone selects that code when a kernel is compiled.
    """

    row_l1: float
    column_l1: float
    floor: float


@kernel
def sgd_block(loss, step, width, entries, start, stop, P, Q, row_state, column_state):
    """Visit entries start..stop once, in order; return the sum of their losses before each visit.

    ``entries`` (n_entries,) have the fields row, column, value; ``P`` (n_rows, width), ``Q``
    (n_columns, width) and the states (n_rows, N_STATE), (n_columns, N_STATE) are updated in place.
    """
    total = 0.0
    if start >= stop:
        return total
    # Unsigned, because numba asks of every signed index whether it is negative.
    first, one, ahead = np.uintp(start), np.uintp(1), np.uintp(AHEAD)
    last = np.uintp(stop) - one
    entry = entries[first]
    i, j, a = np.int64(entry["row"]), np.int64(entry["column"]), entry["value"]
    slow, fast = inner_products(width, P, i, Q, j)
    for t in range(first, last + one):
        soon = entries[min(t + ahead, last)]
        fetch(width, P, np.int64(soon["row"]), Q, np.int64(soon["column"]))
        following = entries[min(t + one, last)]
        next_i, next_j = np.int64(following["row"]), np.int64(following["column"])
        next_slow, next_fast = inner_products(width, P, next_i, Q, next_j)
        u = slow + fast
        total += loss.value(u, a)
        z = -loss.gradient(u, a)
        visit(width, P, i, Q, j, row_state, column_state, z, slow, fast, step)
        if next_i == i or next_j == j:
            next_slow, next_fast = inner_products(width, P, next_i, Q, next_j)
        i, j, a, slow, fast = next_i, next_j, following["value"], next_slow, next_fast
    return total


@kernel
def sum_losses(loss, width, entries, start, stop, P, Q):
    """Return the sum of the losses of entries start..stop."""
    total = 0.0
    for t in range(start, stop):
        entry = entries[t]
        slow, fast = inner_products(width, P, np.int64(entry["row"]), Q, np.int64(entry["column"]))
        total += loss.value(slow + fast, entry["value"])
    return total


@kernel
def settle_rows(factors, state, weights, start, stop):
    """Close an epoch for rows start..stop: fold increments into G, recompute the squared norms.

    Returns the sums of weight · |x|² and of weight · |x|₁ over these rows, for the objective.
    """
    squares, absolutes = 0.0, 0.0
    zero = factors.dtype.type(0)
    for i in range(start, stop):
        state[i, 4] += state[i, 0]
        state[i, 5] += state[i, 1]
        slow, fast, absolute = zero, zero, zero
        for d in range(N_SLOW):
            slow += factors[i, d] * factors[i, d]
        for d in range(N_SLOW, factors.shape[1]):
            fast += factors[i, d] * factors[i, d]
        for d in range(factors.shape[1]):
            absolute += abs(factors[i, d])
        state[i, 0], state[i, 1], state[i, 2], state[i, 3] = zero, zero, slow, fast
        squares += weights[i] * np.float64(slow + fast)
        absolutes += weights[i] * np.float64(absolute)
    return squares, absolutes


# ------------------------------------------------------------------ the formulas, in NumPy


def inner_products(width, P, i, Q, j):
    """Return the slow and the fast part of p·q."""
    p, q = P[i], Q[j]
    return p[:N_SLOW] @ q[:N_SLOW], p[N_SLOW:] @ q[N_SLOW:]


def fetch(width, P, i, Q, j):
    """Bring the two rows of an entry nearer; no effect on values."""


def visit(width, P, i, Q, j, row_state, column_state, z, slow, fast, step):
    """Move both rows of an entry by one step and add to their accumulators."""
    p, q = P[i].copy(), Q[j].copy()
    proximal = hasattr(step, "floor")
    row_l1, column_l1 = (step.row_l1, step.column_l1) if proximal else (0.0, 0.0)
    sides = (
        (P[i], row_state[i], step.row_l2, row_l1, p, q),
        (Q[j], column_state[j], step.column_l2, column_l1, q, p),
    )
    groups = (
        (slice(0, N_SLOW), step.slow_rate, step.slow_share),
        (slice(N_SLOW, None), step.fast_rate, step.fast_share),
    )
    for row, state, l2, l1, own, other in sides:
        for g, (dims, learning_rate, share) in enumerate(groups):
            rate = learning_rate / np.sqrt(state[4 + g] + state[g])
            gradient = l2 * own[dims] - z * other[dims]
            moved = max(1 - rate * l2, 0) * own[dims] + rate * z * other[dims]
            if proximal:
                moved = np.maximum(moved - np.clip(moved, -rate * l1, rate * l1), step.floor)
            row[dims] = moved
            state[g] += share * (gradient @ gradient)
            state[2 + g] = moved @ moved


# ------------------------------------------------------------------ the same, in vectors


@vectorized(inner_products, returns=pair_of_elements)
def _inner_products(builder, width, P, i, Q, j):
    p, q = P.row(i, width), Q.row(j, width)
    slow = p.load(0) * q.load(0)
    chains = [slow.full(0.0)]  # four sums side by side, so that additions overlap
    for offset in range(LANES, width, LANES):
        x, y = p.load(offset), q.load(offset)
        chains.append(x * y if len(chains) < 5 else x.times_plus(y, chains.pop(1)))
    while len(chains) > 1:
        chains.append(chains.pop(0) + chains.pop(0))
    return sum_pair(slow, chains[0])


@vectorized(fetch, returns=nothing)
def _fetch(builder, width, P, i, Q, j):
    P.row(i, width).prefetch(width)
    Q.row(j, width).prefetch(width)


@vectorized(visit, returns=nothing)
def _visit(builder, width, P, i, Q, j, row_state, column_state, z, slow, fast, step):
    both = _BothRows(builder, P, i, Q, j, row_state, column_state, z, slow, fast, step)
    rows = P.row(i, width), Q.row(j, width)
    prox = _Prox(builder, both.rate, step) if hasattr(step, "floor") else None

    def move(offset):
        x, y = (row.load(offset) for row in rows)
        keep_p, add_p, keep_q, add_q = both.coefficients(offset)
        moved = keep_p * x + add_p * y, keep_q * y + add_q * x
        for side, row in enumerate(rows):
            row.store(prox(moved[side], side, offset) if prox else moved[side], offset)

    if prox:
        for offset in range(0, width, LANES):
            move(offset)
        both.store_state(prox.norms())
        return
    move(0)
    with builder.if_then(is_positive(builder, step.fast_rate)):  # not in a slow-only epoch
        for offset in range(LANES, width, LANES):
            move(offset)
    both.store_state(both.norms_by_algebra())


class _Prox:
    """Soft threshold and floor, and the squared norms of what they leave."""

    def __init__(self, builder, rate, step):
        l1 = [step.row_l1, step.row_l1, step.column_l1, step.column_l1]
        self.builder, self.element = builder, rate.element
        self.thresholds = rate * gather(builder, l1, rate.element)
        self.floor = splat(builder, step.floor, rate.element)
        self.squares = [self.floor.full(0.0)] * 4

    def __call__(self, x, side, offset):
        lane = 2 * side + int(offset >= N_SLOW)
        threshold = self.thresholds.pick([lane] * LANES)
        x = (x - x.minimum(threshold).maximum(-threshold)).maximum(self.floor)
        self.squares[lane] = x.times_plus(x, self.squares[lane])
        return x

    def norms(self):
        sums = [*sum_pair(*self.squares[:2]), *sum_pair(*self.squares[2:])]
        return gather(self.builder, sums, self.element)


class _BothRows:
    """Rates and states of an entry's two rows as vectors (p slow, p fast, q slow, q fast)."""

    def __init__(self, builder, P, i, Q, j, row_state, column_state, z, slow, fast, step):
        element = P.element
        self.states = row_state.row(i, N_STATE), column_state.row(j, N_STATE)
        row, column = (state.load(0, 4) for state in self.states)
        at_start = [state.load(4, 2) for state in self.states]
        self.increments = row.pick((0, 1, 4, 5), column)
        self.norms = row.pick((2, 3, 6, 7), column)
        self.products = gather(builder, [slow, fast, slow, fast], element)
        z = splat(builder, z, element, 4)
        l2 = gather(builder, [step.row_l2, step.row_l2, step.column_l2, step.column_l2], element)
        rates = [step.slow_rate, step.fast_rate] * 2
        self.shares = gather(builder, [step.slow_share, step.fast_share] * 2, element)
        total = at_start[0].pick((0, 1, 2, 3), at_start[1]) + self.increments
        self.rate = gather(builder, rates, element) / total.sqrt()
        self.keep = (1.0 - self.rate * l2).maximum(0.0)
        self.add = self.rate * z
        self.squared_gradients = self._norms_of(-l2, z)

    def _norms_of(self, own, other):
        """Squared norms of own · (own row) + other · (other row)."""
        cross = own * other * self.products
        other_norms = self.norms.pick((2, 3, 0, 1))
        return own * own * self.norms + (cross + cross) + other * other * other_norms

    def norms_by_algebra(self):
        return self._norms_of(self.keep, self.add)

    def coefficients(self, offset):
        """α, β, α̃, β̃ for the vector of dimensions from ``offset`` on."""
        group = int(offset >= N_SLOW)
        for lane in (group, 2 + group):
            yield self.keep.pick([lane] * LANES)
            yield self.add.pick([lane] * LANES)

    def store_state(self, norms):
        # Rounding can leave a vanishing gradient with a tiny negative square.
        increments = self.increments + self.squared_gradients.maximum(0.0) * self.shares
        self.states[0].store(increments.pick((0, 1, 4, 5), norms), 0)
        self.states[1].store(increments.pick((2, 3, 6, 7), norms), 0)
