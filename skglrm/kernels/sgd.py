r"""Block SGD with the reduced per-coordinate learning rate, one block of entries at a time.

For an entry (i, j, a) let p, q be its two rows of factors, cut into a slow group s (the first
``N_SLOW`` dimensions) and a fast group f (the rest), and G, H the accumulated mean squared
gradients of row i and column j in each group (Chin, Zhuang, Juan and Lin 2015).  With
:math:`u = p \cdot q`, :math:`z = -\partial L/\partial u(u, a)` and L2 strengths λ, λ̃ one visit is,
in each group,

.. math::

    G \leftarrow G + \operatorname{mean}\,(\lambda p - z q)^2 \qquad \eta = \eta_0 / \sqrt{G}
    \qquad p \leftarrow p - \eta\,(\lambda p - z q)

and likewise for q with η̃ = η₀/√H, λ̃ and the old p.  The new row is written α p + β q with
α = max(1 − ηλ, 0), which keeps a strong penalty from overshooting zero, and β = ηz.

*Sampled accumulators.*  G is a sum over all visits, and it changes slowly, so it is estimated: one
visit in ``GAP`` adds ``GAP`` times its mean squared gradient and renews the 1/√G of both rows.  An
entry with a ``LARGE`` slope z is always counted, once, for one such step can throw a row far off.
All others find 1/√G in the rows' states and only read it.  The sum is right on average, and a visit
is a dot product and two updates.  The squared gradient itself follows from three inner products,
‖λp − zq‖² = λ²‖p‖² − 2λz p·q + z²‖q‖², so that no gradient is ever formed.

The *state* of a row is ``N_STATE`` numbers: G of this epoch (slow, fast), 1/√G (slow, fast), G at
the beginning of the epoch (slow, fast), two unused.  An epoch's increments are summed apart because
in float32 an increment below 6e-8 G would be lost for ever.

An entry of weight ω counts like ω entries: its step is ω times as long, and the gradient that is
squared is ω times as large.

*Intercepts* are two coordinates more, the first two: (b, 1) in the rows of P and (1, c) in those of
Q, so that p·q has the terms b + c.  What is 1 stays 1 in every visit.

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

GOLDEN = (1 + 5**0.5) / 2

N_SLOW = LANES
"""Dimensions of the slow group: one vector, as in LIBMF; 8 % of 100 in the paper."""

N_STATE = 8
"""Numbers of state per row; see above."""

GAP = 10 + GOLDEN
"""Mean number of visits from one sample of the squared gradient to the next.  Irrational, or the
samples could keep step with rows that take turns, and never meet some of them."""

POINT = 32
TICKS = round(GAP * 2**POINT)
"""``GAP`` as an integer with ``POINT`` bits after the binary point."""

LARGE = 2.5
"""Slope of the loss, in units of the scaled problem, from which on every visit is counted."""

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
class LiftedStep(GradientStep):
    """A gradient step that then lifts what is below a floor.

    Its type alone selects that code when a kernel is compiled.
    """

    floor: float


@dataclass(frozen=True)
class ProximalStep(GradientStep):
    """A gradient step that then shrinks by L1 strengths and lifts to a floor (0 or -inf)."""

    row_l1: float
    column_l1: float
    floor: float


@dataclass(frozen=True)
class InterceptStep(ProximalStep):
    """A proximal step in which the first two coordinates are those of intercepts."""

    intercepts: bool


@kernel
def sgd_block(
    loss, step, width, entries, weighted, scores, start, stop, clock, P, Q, row_state, column_state
):
    """Visit entries start..stop once, in order; return the sum of their losses before each visit.

    ``entries`` (n_entries,) have the fields row, column, value, and ``weighted`` is None; or it is
    ``entries`` once more, and they have the field weight.  ``scores`` is None, or room for some
    hundred: losses are then summed apart from the visits, whose registers a logarithm would take,
    and which do not wait for it.  ``P`` (n_rows, width), ``Q`` (n_columns, width) and the states
    (n_rows, N_STATE), (n_columns, N_STATE) are updated in place.  ``clock`` (0 to ``TICKS``) says
    when the first sample is due; let it differ from epoch to epoch, or an entry that comes always
    at the same place is always sampled, or never.
    """
    total = 0.0
    if start >= stop:
        return total
    # Unsigned, because numba asks of every signed index whether it is negative.
    first, one, ahead = np.uintp(start), np.uintp(1), np.uintp(AHEAD)
    last = np.uintp(stop) - one
    room, summed = np.uintp(0 if scores is None else scores.size), first
    entry = entries[first]
    i, j, a = np.int64(entry["row"]), np.int64(entry["column"]), entry["value"]
    slow, fast = inner_products(width, P, i, Q, j)
    t = first
    limit = LARGE
    while t <= last:
        due = first + np.uintp(clock >> POINT)
        pause = min(due, last + one) if scores is None else min(due, last + one, summed + room)
        while t < pause:
            soon = entries[min(t + ahead, last)]
            soon_i, soon_j = np.int64(soon["row"]), np.int64(soon["column"])
            fetch(width, P, soon_i, Q, soon_j, row_state, column_state)
            following = entries[min(t + one, last)]
            next_i, next_j = np.int64(following["row"]), np.int64(following["column"])
            next_slow, next_fast = inner_products(width, P, next_i, Q, next_j)
            z, weight = -loss.gradient(slow + fast, a), weight_at(weighted, t)
            if abs(z * weight) > limit:
                break
            limit = LARGE
            if scores is None:
                total += weight * loss.value(slow + fast, a)
            else:
                scores[t - summed] = slow + fast
            visit(width, P, i, Q, j, row_state, column_state, z, weight, step)
            if next_i == i or next_j == j:
                next_slow, next_fast = inner_products(width, P, next_i, Q, next_j)
            i, j, a, slow, fast = next_i, next_j, following["value"], next_slow, next_fast
            t += one
        if scores is not None and (t > last or t - summed == room):
            total += sum_values(loss, entries, weighted, scores, summed, t)
            summed = t
        if t <= last and (t == due or t < pause):
            # Outside the inner loop, whose registers it would take.
            z, weight = -loss.gradient(slow + fast, a), weight_at(weighted, t)
            times = (1.0 if abs(z * weight) > LARGE else GAP) * weight * weight
            sample(width, P, i, Q, j, row_state, column_state, z, slow, fast, times, step)
            limit = np.inf  # and now the visit itself
        if t == due:
            clock += TICKS
    return total


@kernel
def sum_values(loss, entries, weighted, scores, start, stop):
    """Return the weighted sum of the losses of entries start..stop, which have these scores."""
    total, first = 0.0, np.uintp(start)
    for n in range(np.uintp(stop) - first):
        t = first + np.uintp(n)
        total += weight_at(weighted, t) * loss.value(scores[n], entries[t]["value"])
    return total


@kernel
def weight_at(weighted, t):
    """Return the weight of entry t, and 1 if entries have none (decided when it is compiled)."""
    if weighted is None:
        return 1.0
    return weighted[t]["weight"]


@kernel
def sum_losses(loss, width, entries, weighted, start, stop, P, Q):
    """Return the weighted sum of the losses of entries start..stop."""
    total = 0.0
    for t in range(start, stop):
        entry = entries[t]
        slow, fast = inner_products(width, P, np.int64(entry["row"]), Q, np.int64(entry["column"]))
        total += weight_at(weighted, t) * loss.value(slow + fast, entry["value"])
    return total


@kernel
def settle_rows(factors, state, weights, start, stop):
    """Close an epoch for rows start..stop: fold increments into G, renew 1/√G.

    Returns the sums of weight · |x|² and of weight · |x|₁ over these rows, for the objective.
    """
    squares, absolutes = 0.0, 0.0
    zero, one = factors.dtype.type(0), factors.dtype.type(1)
    for i in range(start, stop):
        state[i, 4] += state[i, 0]
        state[i, 5] += state[i, 1]
        state[i, 0], state[i, 1] = zero, zero
        state[i, 2] = one / np.sqrt(state[i, 4])
        state[i, 3] = one / np.sqrt(state[i, 5])
        square, absolute = zero, zero
        for d in range(factors.shape[1]):
            square += factors[i, d] * factors[i, d]
            absolute += abs(factors[i, d])
        squares += weights[i] * np.float64(square)
        absolutes += weights[i] * np.float64(absolute)
    return squares, absolutes


# ------------------------------------------------------------------ the formulas, in NumPy


def inner_products(width, P, i, Q, j):
    """Return the slow and the fast part of p·q."""
    p, q = P[i], Q[j]
    return p[:N_SLOW] @ q[:N_SLOW], p[N_SLOW:] @ q[N_SLOW:]


def fetch(width, P, i, Q, j, row_state, column_state):
    """Bring the two rows of an entry and their states nearer; no effect on values."""


def visit(width, P, i, Q, j, row_state, column_state, z, weight, step):
    """Move both rows of an entry by one step."""
    sides = _sides(P, i, Q, j, row_state, column_state, step)
    for one, (row, state, l2, l1, own, other) in zip((1, 0), sides, strict=True):
        for g, (dims, learning_rate, _) in enumerate(_groups(step)):
            rate = weight * learning_rate * state[2 + g]
            moved = max(1 - rate * l2, 0) * own[dims] + rate * z * other[dims]
            if hasattr(step, "floor"):
                shrunk = moved - np.clip(moved, -rate * l1, rate * l1)
                moved = np.maximum(shrunk, step.floor)
            row[dims] = moved
        if hasattr(step, "intercepts"):
            row[one] = own[one]


def sample(width, P, i, Q, j, row_state, column_state, z, slow, fast, times, step):
    """Add ``times`` mean squared gradients of an entry to its rows' accumulators; renew 1/√G."""
    for _, state, l2, _, own, other in _sides(P, i, Q, j, row_state, column_state, step):
        for g, (dims, _, share) in enumerate(_groups(step)):
            gradient = l2 * own[dims] - z * other[dims]
            state[g] += times * share * (gradient @ gradient)
            state[2 + g] = 1 / np.sqrt(state[4 + g] + state[g])


def _sides(P, i, Q, j, row_state, column_state, step):
    p, q = P[i].copy(), Q[j].copy()
    row_l1, column_l1 = getattr(step, "row_l1", 0.0), getattr(step, "column_l1", 0.0)
    return (
        (P[i], row_state[i], step.row_l2, row_l1, p, q),
        (Q[j], column_state[j], step.column_l2, column_l1, q, p),
    )


def _groups(step):
    return (
        (slice(0, N_SLOW), step.slow_rate, step.slow_share),
        (slice(N_SLOW, None), step.fast_rate, step.fast_share),
    )


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
def _fetch(builder, width, P, i, Q, j, row_state, column_state):
    for array, place, size in (
        (P, i, width), (Q, j, width), (row_state, i, N_STATE), (column_state, j, N_STATE)
    ):  # fmt: skip
        array.row(place, size).prefetch(size)


@vectorized(visit, returns=nothing)
def _visit(builder, width, P, i, Q, j, row_state, column_state, z, weight, step):
    four = _Four(builder, P.element, step)
    rows = P.row(i, width), Q.row(j, width)
    roots = row_state.row(i, N_STATE).load(2, 2), column_state.row(j, N_STATE).load(2, 2)
    rate = four(*[step.slow_rate, step.fast_rate] * 2) * roots[0].pick((0, 1, 2, 3), roots[1])
    rate = rate * splat(builder, weight, P.element, 4)
    keep = (1.0 - rate * four.l2).maximum(0.0)
    add = rate * splat(builder, z, P.element, 4)
    prox = _Prox(four, rate, step) if hasattr(step, "floor") else None

    def move(offset):
        x, y = (row.load(offset) for row in rows)
        group = int(offset >= N_SLOW)
        lanes = [group] * LANES, [2 + group] * LANES
        new_x = keep.pick(lanes[0]) * x + add.pick(lanes[0]) * y
        new_y = keep.pick(lanes[1]) * y + add.pick(lanes[1]) * x
        sides = zip(rows, (x, y), (new_x, new_y), lanes, (1, 0), strict=True)
        for row, old, new, lane, one in sides:
            new = prox(new, lane) if prox else new
            if offset == 0 and hasattr(step, "intercepts"):
                new = new.pick([n + LANES * (n == one) for n in range(LANES)], old)
            row.store(new, offset)

    move(0)
    with builder.if_then(is_positive(builder, step.fast_rate)):  # not in a slow-only epoch
        for offset in range(LANES, width, LANES):
            move(offset)


@vectorized(sample, returns=nothing)
def _sample(builder, width, P, i, Q, j, row_state, column_state, z, slow, fast, times, step):
    four = _Four(builder, P.element, step)
    norms = four(*_squared_norms(P.row(i, width), width), *_squared_norms(Q.row(j, width), width))
    z = splat(builder, z, P.element, 4)
    cross = four.l2 * z * four(slow, fast, slow, fast)
    squares = four.l2 * four.l2 * norms - (cross + cross) + z * z * norms.pick((2, 3, 0, 1))
    states = row_state.row(i, N_STATE), column_state.row(j, N_STATE)
    so_far, at_start = (
        states[0].load(at, 2).pick((0, 1, 2, 3), states[1].load(at, 2)) for at in (0, 4)
    )
    # Rounding can leave a vanishing gradient with a tiny negative square.
    shares = four(*[step.slow_share, step.fast_share] * 2) * splat(builder, times, P.element, 4)
    so_far = so_far + shares * squares.maximum(0.0)
    roots = so_far.full(1.0) / (at_start + so_far).sqrt()
    states[0].store(so_far.pick((0, 1, 4, 5), roots), 0)
    states[1].store(so_far.pick((2, 3, 6, 7), roots), 0)


def _squared_norms(row, width):
    slow = row.load(0)
    fast = slow.full(0.0)
    for offset in range(LANES, width, LANES):
        x = row.load(offset)
        fast = x.times_plus(x, fast)
    return sum_pair(slow * slow, fast)


class _Four:
    """Makes vectors of four numbers: (p slow, p fast, q slow, q fast)."""

    def __init__(self, builder, element, step):
        self.builder, self.element = builder, element
        self.l2 = self(step.row_l2, step.row_l2, step.column_l2, step.column_l2)

    def __call__(self, *numbers):
        return gather(self.builder, numbers, self.element)


class _Prox:
    """Soft threshold, if there is L1, and floor."""

    def __init__(self, four, rate, step):
        self.thresholds = None
        if hasattr(step, "row_l1"):
            self.thresholds = rate * four(step.row_l1, step.row_l1, step.column_l1, step.column_l1)
        self.floor = splat(four.builder, step.floor, four.element)

    def __call__(self, x, lanes):
        if self.thresholds:
            threshold = self.thresholds.pick(lanes)
            x = x - x.minimum(threshold).maximum(-threshold)
        return x.maximum(self.floor)
