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

Negatives come from two bands of columns, *home*, to which j belongs, and *guest*.  Every draw is a
function of (key, entry, attempt) alone, so results do not depend on which thread runs a block.
Draws are made some dozens at a time, ahead of their visits, so that their rows can be fetched.
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

MARKS = 8
"""Bits of a row's marks for each of its entries: one draw in nine meets a set one by chance."""

HUGE = 1e100
"""Losses share a logarithm until the product of its arguments is as large: no pause is so long
that it could overflow."""

ATTEMPTS = 16
"""Draws before an entry is passed over, because its row has nearly all columns."""

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
PHILOX, WEYL = np.uint64(0xD256D193), np.uint64(0x9E3779B9)
ROUNDS = 7


@kernel
def rank_block(
    step, width, entries, weighted, start, stop, clock, key, bands, indptr, positives, marks,
    P, Q, row_state, column_state,
):  # fmt: skip
    """Visit entries start..stop once, each with a negative; return the sum of losses before visits.

    ``bands`` (5,): first column and number of columns of home, the same of guest, and the number
    of all columns.  ``indptr`` (n_rows + 1,), ``positives``: the sorted columns of every row's
    entries; ``marks``: where these are, roughly, see ``mark_positives``.
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
                entries, drawn_until, end, key, bands, indptr, positives, marks, drawn, queue, n
            )
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
                product *= 1.0 + tail  # at most 2: the logarithm of many at once
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
    tail = exponential(-abs(ahead_by))
    return tail, (tail if ahead_by > 0.0 else 1.0) / (1.0 + tail)


@kernel
def draw_chunk(entries, start, stop, key, bands, indptr, positives, marks, drawn, queue, n):
    """Queue the entries start..stop that get a negative, each as row, column, negative, entry.

    ``n`` are queued already, in a ring; returns their new number.  ``drawn`` (3, CHUNK) is scratch.
    Negatives are those of ``draw_negative``, but marks clear most first candidates, without a
    branch that a CPU could guess wrong.
    """
    candidate, suspect, near, n_suspects = drawn[0], drawn[1], drawn[2], 0
    for e in range(stop - start):
        candidate[e] = column_of(np.uint64(start + e), np.uint64(0), key, bands)
    for e in range(stop - start):
        i = entries[start + e]["row"]
        byte, bit = mark_of(candidate[e], indptr[i], indptr[i + 1], bands[4])
        suspect[n_suspects] = e
        n_suspects += (marks[byte] & bit) != 0
    for s in range(n_suspects):  # lists are on their way while the first is searched
        i = entries[start + suspect[s]]["row"]
        near[s] = positives[guess(indptr[i], indptr[i + 1], candidate[suspect[s]], bands[4])]
    for s in range(n_suspects):
        e = suspect[s]
        i = entries[start + e]["row"]
        candidate[e] = draw_negative(start + e, key, bands, positives, indptr[i], indptr[i + 1])
    for e in range(stop - start):
        at = n & (RING - 1)
        queue[at, 0], queue[at, 1] = entries[start + e]["row"], entries[start + e]["column"]
        queue[at, 2], queue[at, 3] = candidate[e], start + e
        n += candidate[e] >= 0
    return n


@kernel
def mark_of(column, begin, end, n_columns):
    """Return the byte and the bit of a column among the marks of a row, begin..end."""
    bit = np.uint64(column * (MARKS * (end - begin) / n_columns))
    byte = np.uintp(begin) + np.uintp(bit >> np.uint64(3))
    return byte, np.uint8(np.uint64(1) << (bit & np.uint64(7)))


@kernel
def mark_positives(indptr, positives, n_columns, start, stop, marks):
    """Set the marks of the rows start..stop: a bit for every column of theirs.

    A row has as many bytes as entries.  A column whose bit is not set is none of them (Bloom 1970),
    which is one load where a search takes several, each of which waits for the one before.  Bits
    are in the order of columns, which have random places: so they are spread as if by a hash, and
    those of a band of columns lie side by side.
    """
    for i in range(start, stop):
        for c in range(indptr[i], indptr[i + 1]):
            byte, bit = mark_of(positives[c], indptr[i], indptr[i + 1], n_columns)
            marks[byte] |= bit


@kernel
def draw_negative(t, key, bands, positives, begin, end):
    """Draw a column that is not among positives[begin:end]; -1 if ``ATTEMPTS`` draws all are.

    It is one of n columns with equal probability if guest is equally often any band but home: home
    comes with its share of the n, else guest.
    """
    for attempt in range(ATTEMPTS):
        w = column_of(np.uint64(t), np.uint64(attempt), key, bands)
        if not is_among(positives, begin, end, w, bands[4]):
            return w
    return np.int64(-1)


@kernel
def column_of(counter, attempt, key, bands):
    """Draw a column of home or guest."""
    n_guest, n_columns = np.uint64(bands[3]), np.uint64(bands[4])
    bits = random_bits(counter, attempt, key)
    at_home = np.int64((bits >> HALF) * n_columns >> HALF)
    if at_home < bands[1]:
        return bands[0] + at_home
    return bands[2] + np.int64((bits & LOW) * n_guest >> HALF)


@kernel
def random_bits(counter, attempt, key):
    """Return 64 random bits: Philox2x32 with 7 rounds (Salmon et al. 2011).

    No product exceeds 64 bits, so that NumPy and the compiled code agree without overflow.
    """
    left, right = counter & LOW, (counter >> HALF) + (attempt << np.uint64(24))
    for _ in range(ROUNDS):
        product = PHILOX * left
        left, right = (product >> HALF) ^ key ^ right, product & LOW
        key = (key + WEYL) & LOW
    return left << HALF | right


@kernel
def is_among(positives, begin, end, w, n_columns):
    """Whether w is one of the ascending numbers positives[begin:end], all below n_columns.

    Columns have random places, so a guess of where w would be among n of them is off by less than
    √n on average: some neighbours, where a binary search would look all over the list.
    """
    if begin == end:
        return False
    first, last, at = np.uintp(begin), np.uintp(end - 1), guess(begin, end, w, n_columns)
    while positives[at] > w and at > first:
        at -= np.uintp(1)
    while positives[at] < w and at < last:
        at += np.uintp(1)
    return positives[at] == w


@kernel
def guess(begin, end, w, n_columns):
    """Where w would be in positives[begin:end], were these evenly spread.

    Unsigned, because numba asks of every signed index whether it is negative.
    """
    return np.uintp(begin) + np.uintp(w * ((end - begin) / n_columns))


@kernel
def list_positives(entries, start, stop, position, positives):
    """Append the column of each entry start..stop to its row's list: positives[position[row]]."""
    for t in range(start, stop):
        i = entries[t]["row"]
        positives[position[i]] = entries[t]["column"]
        position[i] += 1


@kernel
def sort_positives(indptr, rows, positives):
    """Sort the lists of some rows."""
    for r in range(rows.size):
        positives[indptr[rows[r]] : indptr[rows[r] + 1]].sort()


@kernel
def draw_pairs(key, bands, indptr, positives, pairs):
    """Write a negative, or -1, to every pair (n, 3) of row and column: pairs[:, 2]."""
    for t in range(len(pairs)):
        i = pairs[t, 0]
        pairs[t, 2] = draw_negative(t, key, bands, positives, indptr[i], indptr[i + 1])


@kernel
def sum_pair_losses(width, pairs, start, stop, P, Q):
    """Return the sum of the losses of pairs start..stop (n, 3): row, positive, negative."""
    total = 0.0
    for t in range(start, stop):
        i, j, w = np.int64(pairs[t, 0]), np.int64(pairs[t, 1]), np.int64(pairs[t, 2])
        slow, fast = score_difference(width, P, i, Q, j, w)
        total += max(-slow - fast, 0.0) + math.log1p(math.exp(-abs(slow + fast)))
    return total


@kernel
def fit_pair_rows(indptr, features, offsets, l2, l1, floor, max_iter, tol, start, stop, out):
    r"""Minimise Σ_t L(x_t·p + o_t) + n (½ l2 ‖p‖² + l1 ‖p‖₁), p ≥ floor, for rows start..stop.

    ``indptr`` (n_rows + 1,) says which features x (n_pairs, k) and offsets o (n_pairs,) a row has;
    n is their number.  As L'' ≤ ¼, each step minimises, coordinate by coordinate, the parabola with
    the matrix A = ¼ Σ x xᵀ + n l2 I that touches the objective from above: it never rises.
    """
    k = features.shape[1]
    A, slope, p, moved = np.empty((k, k)), np.empty(k), np.empty(k), np.empty(k)
    for i in range(start, stop):
        n = indptr[i + 1] - indptr[i]
        A[:] = 0.0
        p[:] = 0.0
        for t in range(indptr[i], indptr[i + 1]):
            _add_outer(A, 0.25, features[t])
        for d in range(k):
            A[d, d] += l2 * n
        for _ in range(max_iter if n else 0):
            for d in range(k):
                slope[d] = l2 * n * p[d]
            for t in range(indptr[i], indptr[i + 1]):
                u = offsets[t]
                for d in range(k):
                    u += features[t, d] * p[d]
                tail = math.exp(-abs(u))
                g = -(tail if u > 0.0 else 1.0) / (1.0 + tail)
                for d in range(k):
                    slope[d] += g * features[t, d]
            if _minimise_parabola(A, slope, l1 * n, floor, tol, p, moved) <= tol:
                break
        for d in range(k):
            out[i, d] = p[d]


@kernel
def _add_outer(A, factor, x):
    """Add factor · x xᵀ to A."""
    for d in range(x.size):
        for m in range(x.size):
            A[d, m] += factor * x[d] * x[m]


@kernel
def _minimise_parabola(A, slope, l1, floor, tol, p, move):
    """Move p to the minimum of slope·v + ½ vᵀAv + l1 ‖p + v‖₁ over v, p + v ≥ floor.

    Cyclic coordinate descent; returns the largest move, relative to the largest coordinate.
    """
    k = p.size
    move[:] = 0.0
    for _ in range(100):
        largest, change = 0.0, 0.0
        for d in range(k):
            if A[d, d] <= 0.0:
                continue
            s = slope[d]
            for m in range(k):
                s += A[d, m] * move[m]
            new = p[d] + move[d] - s / A[d, d]
            threshold = l1 / A[d, d]
            new = max(new - min(max(new, -threshold), threshold), floor)
            change = max(change, abs(new - p[d] - move[d]))
            largest = max(largest, abs(new))
            move[d] = new - p[d]
        if change <= 0.1 * tol * largest:
            break
    largest, change = 0.0, 0.0
    for d in range(k):
        p[d] += move[d]
        change = max(change, abs(move[d]))
        largest = max(largest, abs(p[d]))
    return change / largest if largest > 0.0 else 0.0


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
