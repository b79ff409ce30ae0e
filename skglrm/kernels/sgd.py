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
\beta q` with α = 1 − ηλ and β = ηz, nothing but three inner products is needed of the vectors:

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
from .._simd import LANES, gather, nothing, pair_of_elements, splat, sum_pair, vectorized

N_SLOW = LANES
"""Dimensions of the slow group: one vector, as in LIBMF; 8 % of 100 in the paper."""

N_STATE = 8
"""Numbers of state per row; see above."""

AHEAD = 6
"""Entries between a prefetch and its visit: about 150 ns, the latency of a shared cache."""


@dataclass(frozen=True)
class Step(Record):
    """What a visit needs besides data: rates, strengths, and 1/|group| for the mean squares."""

    slow_rate: float
    fast_rate: float
    slow_share: float
    fast_share: float
    row_l2: float
    column_l2: float
    row_l1: float = 0.0
    column_l1: float = 0.0
    floor: float = -np.inf
    proximal: bool = False


@kernel
def sgd_block(loss, step, width, entries, start, stop, P, Q, row_state, column_state):
    """Visit entries start..stop once, in order; return the sum of their losses before each visit.

    ``entries`` (n_entries,) have the fields row, column, value; ``P`` (n_rows, width), ``Q``
    (n_columns, width) and the states (n_rows, N_STATE), (n_columns, N_STATE) are updated in place.
    """
    total = 0.0
    if start >= stop:
        return total
    last = stop - 1
    i, j = np.int64(entries[start].row), np.int64(entries[start].column)
    slow, fast = inner_products(width, P, i, Q, j)
    for t in range(start, stop):
        soon = entries[min(t + AHEAD, last)]
        fetch(width, P, np.int64(soon.row), Q, np.int64(soon.column))
        following = entries[min(t + 1, last)]
        next_i, next_j = np.int64(following.row), np.int64(following.column)
        next_slow, next_fast = inner_products(width, P, next_i, Q, next_j)
        u, a = slow + fast, entries[t].value
        total += loss.value(u, a)
        z = -loss.gradient(u, a)
        if step.proximal:
            visit_proximal(width, P, i, Q, j, row_state, column_state, z, slow, fast, step)
        else:
            visit(width, P, i, Q, j, row_state, column_state, z, slow, fast, step)
        if next_i == i or next_j == j:
            next_slow, next_fast = inner_products(width, P, next_i, Q, next_j)
        i, j, slow, fast = next_i, next_j, next_slow, next_fast
    return total


@kernel
def sum_losses(loss, width, entries, start, stop, P, Q):
    """Return the sum of the losses of entries start..stop."""
    total = 0.0
    for t in range(start, stop):
        entry = entries[t]
        slow, fast = inner_products(width, P, np.int64(entry.row), Q, np.int64(entry.column))
        total += loss.value(slow + fast, entry.value)
    return total


@kernel
def settle_rows(factors, state, weights, start, stop):
    """Close an epoch for rows start..stop: fold increments into G, recompute the squared norms.

    Returns the sums of weight · |x|² and of weight · |x|₁ over these rows, for the objective.
    """
    squares, absolutes = 0.0, 0.0
    for i in range(start, stop):
        state[i, 4] += state[i, 0]
        state[i, 5] += state[i, 1]
        slow, fast, absolute = 0.0, 0.0, 0.0
        for d in range(factors.shape[1]):
            x = factors[i, d]
            if d < N_SLOW:
                slow += x * x
            else:
                fast += x * x
            absolute += abs(x)
        state[i, 0], state[i, 1], state[i, 2], state[i, 3] = 0.0, 0.0, slow, fast
        squares += weights[i] * (slow + fast)
        absolutes += weights[i] * absolute
    return squares, absolutes


# ------------------------------------------------------------------ the formulas, in NumPy


def inner_products(width, P, i, Q, j):
    """Return the slow and the fast part of p·q."""
    p, q = P[i], Q[j]
    return p[:N_SLOW] @ q[:N_SLOW], p[N_SLOW:] @ q[N_SLOW:]


def fetch(width, P, i, Q, j):
    """Bring the two rows of an entry nearer; no effect on values."""


def visit(width, P, i, Q, j, row_state, column_state, z, slow, fast, step):
    """Move both rows of an entry by one gradient step and add to their accumulators."""
    _plain_visit(P, i, Q, j, row_state, column_state, z, step, _keep)


def visit_proximal(width, P, i, Q, j, row_state, column_state, z, slow, fast, step):
    """Do the same, then shrink by the L1 strengths and lift to the floor."""
    _plain_visit(P, i, Q, j, row_state, column_state, z, step, _shrink_and_lift)


def _plain_visit(P, i, Q, j, row_state, column_state, z, step, prox):
    p, q = P[i].copy(), Q[j].copy()
    sides = (
        (P[i], row_state[i], step.row_l2, step.row_l1, p, q),
        (Q[j], column_state[j], step.column_l2, step.column_l1, q, p),
    )
    groups = (
        (slice(0, N_SLOW), step.slow_rate, step.slow_share),
        (slice(N_SLOW, None), step.fast_rate, step.fast_share),
    )
    for row, state, l2, l1, own, other in sides:
        for g, (dims, learning_rate, share) in enumerate(groups):
            rate = learning_rate / np.sqrt(state[4 + g] + state[g])
            gradient = l2 * own[dims] - z * other[dims]
            row[dims] = prox(own[dims] - rate * gradient, rate * l1, step.floor)
            state[g] += share * (gradient @ gradient)
            state[2 + g] = row[dims] @ row[dims]


def _keep(x, threshold, floor):
    return x


def _shrink_and_lift(x, threshold, floor):
    return np.maximum(x - np.clip(x, -threshold, threshold), floor)


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
    p, q = P.row(i, width), Q.row(j, width)
    for offset in range(0, width, LANES):
        x, y = p.load(offset), q.load(offset)
        keep_p, add_p, keep_q, add_q = both.coefficients(offset)
        p.store(keep_p * x + add_p * y, offset)
        q.store(keep_q * y + add_q * x, offset)
    both.store_state(both.norms_by_algebra())


@vectorized(visit_proximal, returns=nothing)
def _visit_proximal(builder, width, P, i, Q, j, row_state, column_state, z, slow, fast, step):
    both = _BothRows(builder, P, i, Q, j, row_state, column_state, z, slow, fast, step)
    p, q = P.row(i, width), Q.row(j, width)
    element = P.element
    l1 = [step.row_l1, step.row_l1, step.column_l1, step.column_l1]
    thresholds = both.rate * gather(builder, l1, element)
    floor = splat(builder, step.floor, element)
    zero = floor.full(0.0)
    squares = {"p": [zero, zero], "q": [zero, zero]}
    for offset in range(0, width, LANES):
        group = int(offset >= N_SLOW)
        x, y = p.load(offset), q.load(offset)
        keep_p, add_p, keep_q, add_q = both.coefficients(offset)
        for side, row, moved, lane in (
            ("p", p, keep_p * x + add_p * y, group),
            ("q", q, keep_q * y + add_q * x, 2 + group),
        ):
            threshold = thresholds.pick([lane] * LANES)
            new = (moved - moved.minimum(threshold).maximum(-threshold)).maximum(floor)
            row.store(new, offset)
            squares[side][group] = new.times_plus(new, squares[side][group])
    norms = [*sum_pair(*squares["p"]), *sum_pair(*squares["q"])]
    both.store_state(gather(builder, norms, element))


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
        self.keep = 1.0 - self.rate * l2
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
