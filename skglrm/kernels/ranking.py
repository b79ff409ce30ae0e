r"""The n best columns of a block of rows: inner products and selection in one pass.

For rows of factors w and columns h the scores are :math:`s_{ij} = w_i \cdot h_j`.  They are made a
tile at a time, ``TALL`` rows × 16 or 8 columns, in registers.  A tile is compared there with the
n-th best score that each of its rows has so far, its *bar*, and since few scores reach the bar, few
tiles are ever looked at again: the scan costs little more than the products.

Columns come in order of falling norm.  By :math:`s_{ij} \le \|w_i\| \|h_j\|` rows are done once
the norm of what is left cannot reach their bars, long before the end if norms vary.

Panels hold factors in the order in which tiles read them: those of ``TALL`` rows, or of the columns
of one tile, dimension by dimension.  Each score is one chain of fused additions
over the dimensions, so it does not depend on what else is in its tile.
"""

import numpy as np

from .._jit import kernel
from .._simd import LANES, Vector, gather, nothing, splat, vectorized

TALL = 6
"""Rows of a tile: 6 × 2 sums and what feeds them just fit into 16 vector registers."""

CACHE_LINE = 64
"""Bytes of a tile's row, 16 or 8 numbers: panels of columns stay in the first-level cache."""

UNROLLED = 4
"""Dimensions per turn of the loop; ``depth``, the k of panels, is a multiple of it."""


@kernel
def rank_block(width, rows, row_norms, columns, norms, ids, begins, ends, seen, items, scores):
    """Find the n columns with the highest scores of each row: items and scores (n_rows, n).

    ``rows`` (n_rows, k) and ``columns`` (n_columns, k) are factors; a tile has as many columns as
    ``width`` says.  Columns have ``ids``; no norm in tile t or in any after it exceeds norms[t].
    Row i may not get seen[begins[i] : ends[i]], which are sorted.  Results are in order, ties by
    id, -1 and -inf where there are too few.  Rows of norm 0 get nothing: their scores are ties, for
    which no tile needs to be made.
    """
    n_rows, wide = items.shape[0], CACHE_LINE // scores.itemsize
    n_active = (n_rows + TALL - 1) // TALL
    depth = (rows.shape[1] + UNROLLED - 1) // UNROLLED * UNROLLED
    row_panels = np.empty((n_active * depth, TALL), scores.dtype)
    active, reach = np.arange(n_active), np.empty(n_active)
    bars = np.full(n_active * TALL, np.inf, scores.dtype)
    for i in range(n_rows):
        if row_norms[i] > 0:
            bars[i] = -np.inf
    for p in range(n_active):
        _pack(rows, p * TALL, row_panels[p * depth : (p + 1) * depth])
        reach[p] = _reach(p, bars, row_norms)
    items[:] = -1
    scores[:] = -np.inf
    panel, tile = np.empty((depth, wide), scores.dtype), np.empty((TALL, wide), scores.dtype)
    hits = np.zeros(1, np.int64)
    for t in range(norms.size):
        n_left = 0
        for a in range(n_active):
            p = active[a]
            if norms[t] < reach[p]:
                continue
            active[n_left] = p
            n_left += 1
            if n_left == 1:
                _pack(columns, t * wide, panel)
            score_tile(width, row_panels, p, panel, depth, bars, tile, hits)
            if hits[0] != 0:
                _offer_tile(p, t, hits[0], tile, ids, begins, ends, seen, bars, items, scores)
                reach[p] = _reach(p, bars, row_norms)
        n_active = n_left
    for i in range(n_rows):
        _sort(items[i], scores[i])


@kernel
def _pack(factors, first, panel):
    """Copy factors[first :] to a panel (depth, width), zeros beyond."""
    k, width = factors.shape[1], panel.shape[1]
    n_real = min(width, factors.shape[0] - first)
    n_square = k // LANES * LANES if n_real == width and width % LANES == 0 else 0
    if n_real < width or k < panel.shape[0]:
        panel[:] = 0
    for c in range(0, width, LANES):
        for d in range(0, n_square, LANES):
            transpose_square(factors, first + c, k, d, panel, width, c)
    for d in range(n_square, k):
        for c in range(n_real):
            panel[d, c] = factors[first + c, d]


@kernel
def _offer_tile(p, t, hits, tile, ids, begins, ends, seen, bars, items, scores):
    """Put the scores of a tile that belong there into the heaps of its rows."""
    width = tile.shape[1]
    first = t * width
    n_real = min(width, ids.size - first)
    for r in range(TALL):
        if (hits >> r) & 1 == 0:
            continue
        i = p * TALL + r
        for c in range(n_real):
            score, j = tile[r, c], np.int64(ids[first + c])
            if not (score > bars[i] or (score == bars[i] and j < items[i, 0])):
                continue
            if not _contains(seen, begins[i], ends[i], j):
                _sift(items[i], scores[i], items.shape[1], j, score)
                bars[i] = scores[i, 0]


@kernel
def _reach(p, bars, row_norms):
    """Return the norm below which no column can be among the best of any row of a panel."""
    least = np.inf
    for i in range(p * TALL, min((p + 1) * TALL, row_norms.size)):
        if row_norms[i] > 0:
            least = min(least, bars[i] / row_norms[i])
    return least


@kernel
def _contains(values, begin, end, x):
    """Whether x is among the sorted values[begin:end]."""
    while begin < end:
        middle = (begin + end) // 2
        if values[middle] < x:
            begin = middle + 1
        elif values[middle] > x:
            end = middle
        else:
            return True
    return False


@kernel
def _sift(items, scores, n, j, score):
    """Replace the root of a heap of length n, its worst column, by column j."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= n:
            break
        if child + 1 < n and _is_worse(items, scores, child + 1, scores[child], items[child]):
            child += 1
        if not _is_worse(items, scores, child, score, j):
            break
        items[place], scores[place] = items[child], scores[child]
        place = child
    items[place], scores[place] = j, score


@kernel
def _is_worse(items, scores, place, score, j):
    return scores[place] < score or (scores[place] == score and items[place] > j)


@kernel
def _sort(items, scores):
    """Turn a heap into a list in order, the best first."""
    for n in range(items.size - 1, 0, -1):
        j, score = items[n], scores[n]
        items[n], scores[n] = items[0], scores[0]
        _sift(items, scores, n, j, score)


# ------------------------------------------------------------------ the formulas, in NumPy


def transpose_square(factors, first, k, d, panel, width, c):
    """Copy ``LANES`` rows from ``first`` on and dimensions from d on to panel[d:, c:]."""
    rows = factors[first : first + LANES, d : d + LANES]
    panel[d : d + LANES, c : c + LANES] = rows.T


def score_tile(width, row_panels, p, panel, depth, bars, tile, hits):
    """Write to ``hits`` a bit for each row with a score at its bar, and scores if there are any."""
    tile[:] = 0
    for d in range(depth):
        tile += np.outer(row_panels[p * depth + d], panel[d])
    reached = (tile >= bars[p * TALL : (p + 1) * TALL, None]).any(axis=1)
    hits[0] = reached @ (1 << np.arange(TALL))


# ------------------------------------------------------------------ the same, in vectors


@vectorized(transpose_square, returns=nothing)
def _transpose_square(builder, factors, first, k, d, panel, width, c):
    integer, lanes = k.type, range(LANES)
    vectors = []
    for step in lanes:
        row = builder.add(first, integer(step))
        vectors.append(factors.row(builder.add(builder.mul(row, k), d), 1).load(0))
    # Swap halves across the diagonal, of squares of 2 numbers, then of 4 and 8.
    for s in (1, 2, 4):
        upper = [lane + LANES - s if lane & s else lane for lane in lanes]
        lower = [lane + LANES if lane & s else lane + s for lane in lanes]
        for i in (lane for lane in lanes if not lane & s):
            a, b = vectors[i], vectors[i + s]
            vectors[i], vectors[i + s] = a.pick(upper, b), a.pick(lower, b)
    for step, vector in enumerate(vectors):
        row = builder.add(d, integer(step))
        panel.row(builder.add(builder.mul(row, width), c), 1).store(vector, 0)


@vectorized(score_tile, returns=nothing)
def _score_tile(builder, width, row_panels, p, panel, depth, bars, tile, hits):
    integer, element = depth.type, tile.element
    bits = type(integer)(LANES)
    bar = bars.row(p, TALL)
    found = integer(0)
    sums = _products(builder, width, row_panels, p, panel, depth)
    for r, row in enumerate(sums):
        limit = splat(builder, bar.load(r, 1).lane(0), element).value
        reached = bits(0)
        for scores in row:
            lanes = builder.fcmp_ordered(">=", scores.value, limit)
            reached = builder.or_(reached, builder.bitcast(lanes, bits))
        any_lane = builder.zext(builder.icmp_unsigned("!=", reached, bits(0)), integer)
        found = builder.or_(found, builder.shl(any_lane, integer(r)))
    hits.row(integer(0), 1).store(gather(builder, [found], integer), 0)
    with builder.if_then(builder.icmp_unsigned("!=", found, integer(0)), likely=False):
        for r, row in enumerate(sums):
            for v, scores in enumerate(row):
                tile.row(integer(r), width).store(scores, v * LANES)


def _products(builder, width, row_panels, p, panel, depth):
    """Code of the loop over dimensions; returns the sums of each row, as vectors."""
    integer, element = depth.type, row_panels.element
    start = builder.mul(p, depth)
    zero = splat(builder, element(0.0), element)
    before = builder.block
    loop, after = (builder.append_basic_block(name) for name in ("dimensions", "summed"))
    builder.branch(loop)
    builder.position_at_end(loop)
    d = builder.phi(integer)
    entering = [[builder.phi(zero.value.type) for _ in range(0, width, LANES)] for _ in range(TALL)]
    sums = [[Vector(builder, phi) for phi in row] for row in entering]
    for step in range(UNROLLED):
        at = builder.add(d, integer(step))
        w = row_panels.row(builder.add(start, at), TALL)
        h = panel.row(at, width)
        vectors = [h.load(offset) for offset in range(0, width, LANES)]
        for r in range(TALL):
            number = splat(builder, w.load(r, 1).lane(0), element)
            sums[r] = [number.times_plus(x, s) for x, s in zip(vectors, sums[r], strict=True)]
    following = builder.add(d, integer(UNROLLED))
    for phi, first, last in (
        (d, integer(0), following),
        *(
            (phi, zero.value, total.value)
            for phis, totals in zip(entering, sums, strict=True)
            for phi, total in zip(phis, totals, strict=True)
        ),
    ):
        phi.add_incoming(first, before)
        phi.add_incoming(last, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
    builder.position_at_end(after)
    return sums
