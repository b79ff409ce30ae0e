r"""Block SGD for pairwise ranking: columns with an entry before columns without (BPR).

For an entry (i, j), a *positive*, a column w without an entry in row i is drawn.  With
:math:`\Delta = p_i \cdot (q_j - q_w)`, :math:`L(\Delta) = \log(1 + e^{-\Delta})` and
:math:`z = -L'(\Delta)`, one visit is

.. math::

    p_i \leftarrow p_i - \eta_i (\lambda p_i - z (q_j - q_w)) \qquad
    q_j \leftarrow q_j - \eta_j (\tilde\lambda q_j - z p_i) \qquad
    q_w \leftarrow q_w - \eta_w (\tilde\lambda q_w + z p_i)

in each of the two groups of dimensions, all from the old values (Rendle et al. 2009).  Rates, soft
threshold, floor and sampled accumulators are those of :mod:`~skglrm.kernels.sgd`, and so is the
state of a row; see there.

Negatives come from two bands of columns, *home*, to which j belongs, and *guest*; see
:mod:`~skglrm.kernels.negatives`.  They are drawn some dozens at a time, ahead of their visits, so
that their rows can be fetched.
"""

import math

import numpy as np

from .._jit import kernel
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
from .elementary import exponential
from .negatives import draw_chunk

# As in kernels/sgd.py.
N_SLOW, N_STATE = LANES, 8
GAP, POINT = 10 + (1 + 5**0.5) / 2, 32
TICKS = round(GAP * 2**POINT)
LARGE = 2.5

AHEAD = 12
"""Visits between the call for rows and their use: more than in kernels/sgd.py, as guests come from
anywhere in their band."""

RING = 256
"""Places for pairs that are drawn and not yet visited; a power of 2."""

CHUNK = 128
"""Entries whose negatives are drawn in one go: their looks at marks do not wait for each other."""

HUGE = 1e100
"""Losses share a logarithm until the product of its arguments is as large: no pause is so long
that it could overflow."""


@kernel
def rank_block(
    step, width, entries, weighted, start, stop, clock, key, home, guest, n_columns,
    indptr, positives, begins, marks, P, Q, row_state, column_state,
):  # fmt: skip
    """Visit entries start..stop once, each with a negative; return the sum of losses before visits.

    ``home`` and ``guest`` are bands of the ``n_columns`` columns.  ``indptr`` (n_rows + 1,),
    ``positives``: the sorted columns of every row's entries; ``begins`` (n_rows + 1,), ``marks``:
    where these are, roughly, see ``mark_positives``.
    The rest is as for ``sgd_block``.
    """
    total, product, limit = 0.0, 1.0, LARGE
    queue, drawn = np.empty((RING, 4), np.int64), np.empty((3, CHUNK), np.int64)
    drawn_until, n, s, due = start, 0, 0, np.int64(clock)
    i, j, w, slow, fast = 0, 0, 0, P[0, 0], P[0, 0]
    while True:
        while drawn_until < stop and n - s <= RING - CHUNK:
            end = min(drawn_until + CHUNK, stop)
            n = draw_chunk(
                entries, drawn_until, end, key, home, guest, n_columns,
                indptr, positives, begins, marks, drawn, queue, n,
            )  # fmt: skip
            drawn_until = end
        if s == n:
            break
        if s == 0:
            i, j, w = queue[0, 0], queue[0, 1], queue[0, 2]
            slow, fast = score_difference(width, P, i, Q, j, w)
        pause = min(due >> POINT, n if drawn_until == stop else n - AHEAD)
        while s < pause:
            soon = min(s + AHEAD, n - 1) & (RING - 1)
            fetch(
                width, P, queue[soon, 0], Q, queue[soon, 1], queue[soon, 2], row_state, column_state
            )
            after = min(s + 1, n - 1) & (RING - 1)
            next_i, next_j, next_w = queue[after, 0], queue[after, 1], queue[after, 2]
            next_slow, next_fast = score_difference(width, P, next_i, Q, next_j, next_w)
            ahead_by, weight = slow + fast, weight_at(weighted, queue[s & (RING - 1), 3])
            tail, z = tail_and_slope(ahead_by)
            if abs(z * weight) > limit:
                break
            limit = LARGE
            total += weight * max(-ahead_by, 0.0)
            if weighted is None:
                product *= 1.0 + float(tail)  # at most 2: the logarithm of many at once
            else:
                total += weight * math.log1p(tail)
            visit_pair(width, P, i, Q, j, w, row_state, column_state, z, weight, step)
            if next_i == i or next_j == j or next_w == w or next_j == w or next_w == j:
                next_slow, next_fast = score_difference(width, P, next_i, Q, next_j, next_w)
            i, j, w, slow, fast = next_i, next_j, next_w, next_slow, next_fast
            s += 1
        if product > HUGE:
            total += math.log(product)
            product = 1.0
        is_due = s == due >> POINT
        if s < n and (is_due or s < pause):
            # Outside the inner loop, whose registers it would take.
            weight = weight_at(weighted, queue[s & (RING - 1), 3])
            _, z = tail_and_slope(slow + fast)
            times = (1.0 if abs(z * weight) > LARGE else GAP) * weight * weight
            sample_pair(width, P, i, Q, j, w, row_state, column_state, z, times, step)
            limit = np.inf  # and now the visit itself
        if is_due:
            due += TICKS
    return total + math.log(product)


@kernel
def weight_at(weighted, t):
    """Return the weight of entry t, and 1 if entries have none (decided when it is compiled)."""
    if weighted is None:
        return 1.0
    return weighted[t]["weight"]


@kernel
def tail_and_slope(ahead_by):
    """Return t = exp(-|Δ|) and -L'(Δ), where L(Δ) = max(-Δ, 0) + log(1 + t)."""
    one = type(ahead_by)(1.0)  # else float32 would be calculated with as float64
    tail = exponential(-abs(ahead_by))
    return tail, (tail if ahead_by > 0.0 else one) / (one + tail)


@kernel
def sum_pair_losses(width, pairs, start, stop, P, Q):
    """Return the sum of the losses of pairs start..stop (n, 3): row, positive, negative."""
    total = 0.0
    for t in range(start, stop):
        i, j, w = np.int64(pairs[t, 0]), np.int64(pairs[t, 1]), np.int64(pairs[t, 2])
        slow, fast = score_difference(width, P, i, Q, j, w)
        total += max(-slow - fast, 0.0) + math.log1p(math.exp(-abs(slow + fast)))
    return total


# ------------------------------------------------------------------ the formulas, in NumPy


def score_difference(width, P, i, Q, j, w):
    """Return the slow and the fast part of p·(q_j − q_w)."""
    p, d = P[i], Q[j] - Q[w]
    return p[:N_SLOW] @ d[:N_SLOW], p[N_SLOW:] @ d[N_SLOW:]


def fetch(width, P, i, Q, j, w, row_state, column_state):
    """Bring the three rows of an entry and their states nearer; no effect on values."""


def visit_pair(width, P, i, Q, j, w, row_state, column_state, z, weight, step):
    """Move the three rows of an entry by one step."""
    for row, state, l2, l1, own, pull in _parts(P, i, Q, j, w, row_state, column_state, step):
        for g, (dims, learning_rate, _) in enumerate(_groups(step)):
            rate = weight * learning_rate * state[2 + g]
            moved = max(1 - rate * l2, 0) * own[dims] + rate * z * pull[dims]
            if hasattr(step, "floor"):
                moved = np.maximum(moved - np.clip(moved, -rate * l1, rate * l1), step.floor)
            row[dims] = moved


def sample_pair(width, P, i, Q, j, w, row_state, column_state, z, times, step):
    """Add ``times`` mean squared gradients to the rows' accumulators; renew 1/√G."""
    for _, state, l2, _, own, pull in _parts(P, i, Q, j, w, row_state, column_state, step):
        for g, (dims, _, share) in enumerate(_groups(step)):
            gradient = l2 * own[dims] - z * pull[dims]
            state[g] += times * share * (gradient @ gradient)
            state[2 + g] = 1 / np.sqrt(state[4 + g] + state[g])


def _parts(P, i, Q, j, w, row_state, column_state, step):
    p, q, other = P[i].copy(), Q[j].copy(), Q[w].copy()
    row_l1, column_l1 = getattr(step, "row_l1", 0.0), getattr(step, "column_l1", 0.0)
    return (
        (P[i], row_state[i], step.row_l2, row_l1, p, q - other),
        (Q[j], column_state[j], step.column_l2, column_l1, q, p),
        (Q[w], column_state[w], step.column_l2, column_l1, other, -p),
    )


def _groups(step):
    return (
        (slice(0, N_SLOW), step.slow_rate, step.slow_share),
        (slice(N_SLOW, None), step.fast_rate, step.fast_share),
    )


# ------------------------------------------------------------------ the same, in vectors


@vectorized(score_difference, returns=pair_of_elements)
def _score_difference(builder, width, P, i, Q, j, w):
    p, q, other = P.row(i, width), Q.row(j, width), Q.row(w, width)
    slow = p.load(0) * (q.load(0) - other.load(0))
    chains = [slow.full(0.0)]  # four sums side by side, so that additions overlap
    for offset in range(LANES, width, LANES):
        x, d = p.load(offset), q.load(offset) - other.load(offset)
        chains.append(x * d if len(chains) < 5 else x.times_plus(d, chains.pop(1)))
    while len(chains) > 1:
        chains.append(chains.pop(0) + chains.pop(0))
    return sum_pair(slow, chains[0])


@vectorized(fetch, returns=nothing)
def _fetch(builder, width, P, i, Q, j, w, row_state, column_state):
    for array, place, size in (
        (P, i, width), (Q, j, width), (Q, w, width),
        (row_state, i, N_STATE), (column_state, j, N_STATE), (column_state, w, N_STATE),
    ):  # fmt: skip
        array.row(place, size).prefetch(size)


class _Row:
    """One of the three rows: where it is, and what it is charged."""

    def __init__(self, array, states, index, width, l2, l1):
        self.row, self.state = array.row(index, width), states.row(index, N_STATE)
        self.l2, self.l1 = l2, l1

    def spread(self, vector):
        """Slow and fast of a pair, each in all lanes."""
        return [vector.pick([group] * LANES) for group in (0, 1)]


def _three(width, P, i, Q, j, w, row_state, column_state, step):
    row_l1, column_l1 = (getattr(step, f"{side}_l1", None) for side in ("row", "column"))
    return (
        _Row(P, row_state, i, width, step.row_l2, row_l1),
        _Row(Q, column_state, j, width, step.column_l2, column_l1),
        _Row(Q, column_state, w, width, step.column_l2, column_l1),
    )


@vectorized(visit_pair, returns=nothing)
def _visit_pair(builder, width, P, i, Q, j, w, row_state, column_state, z, weight, step):
    element = P.element
    three = _three(width, P, i, Q, j, w, row_state, column_state, step)
    rates = gather(builder, [step.slow_rate, step.fast_rate], element)
    rates = rates * splat(builder, weight, element, 2)
    keeps, adds, thresholds = [], [], []
    for part in three:
        rate = rates * part.state.load(2, 2)
        keeps.append(part.spread((1.0 - rate * splat(builder, part.l2, element, 2)).maximum(0.0)))
        adds.append(part.spread(rate * splat(builder, z, element, 2)))
        if hasattr(step, "row_l1"):
            thresholds.append(part.spread(rate * splat(builder, part.l1, element, 2)))

    def move(offset, group):
        p, q, other = (part.row.load(offset) for part in three)
        pulls = (q - other, p, -p)
        for n, (own, pull) in enumerate(zip((p, q, other), pulls, strict=True)):
            moved = keeps[n][group] * own + adds[n][group] * pull
            if thresholds:
                threshold = thresholds[n][group]
                moved = moved - moved.minimum(threshold).maximum(-threshold)
            if hasattr(step, "floor"):
                moved = moved.maximum(splat(builder, step.floor, element))
            three[n].row.store(moved, offset)

    move(0, 0)
    with builder.if_then(is_positive(builder, step.fast_rate)):  # not in a slow-only epoch
        for offset in range(LANES, width, LANES):
            move(offset, 1)


@vectorized(sample_pair, returns=nothing)
def _sample_pair(builder, width, P, i, Q, j, w, row_state, column_state, z, times, step):
    element = P.element
    three = _three(width, P, i, Q, j, w, row_state, column_state, step)
    z = splat(builder, z, element)
    shares = gather(builder, [step.slow_share, step.fast_share], element)
    shares = shares * splat(builder, times, element, 2)
    strengths = [splat(builder, part.l2, element) for part in three]
    squares = [[z.full(0.0), z.full(0.0)] for _ in three]
    for offset in range(0, width, LANES):
        p, q, other = (part.row.load(offset) for part in three)
        for n, (own, pull) in enumerate(((p, q - other), (q, p), (other, -p))):
            gradient = strengths[n] * own - z * pull
            group = int(offset >= N_SLOW)
            squares[n][group] = gradient.times_plus(gradient, squares[n][group])
    for part, sums in zip(three, squares, strict=True):
        so_far = part.state.load(0, 2) + shares * gather(builder, sum_pair(*sums), element)
        roots = so_far.full(1.0) / (part.state.load(4, 2) + so_far).sqrt()
        part.state.store(so_far.pick((0, 1, 2, 3), roots), 0)
