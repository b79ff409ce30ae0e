r"""Products of the targets of implicit feedback with thin matrices, and their random sketch.

With :math:`t_{uj} = w_0 + \alpha v_{uj}` for stored :math:`v_{uj} > 0`, else 0, the matrix T is
what factors of implicit feedback first approximate, up to a constant.
"""

import numpy as np

from .._jit import kernel
from .._simd import fold, lanes_of, nothing, splat, vectorized

STEP = 8
"""Numbers per pass of the vector loop: a vector of float32, two of float64."""

AHEAD = 8
"""Cells between the prefetch of a row and its use."""


@kernel
def multiply_targets(indptr, indices, values, order, other, w0, alpha, start, stop, out):
    """Write row u of T · other to out[u], for the rows ``order[start:stop]`` of T."""
    zero, k = other.dtype.type(0), other.shape[1]
    whole = k // STEP * STEP
    at, t, soon = np.zeros(4, np.int64), np.zeros(4, other.dtype), np.zeros(4, np.int64)
    for s in range(start, stop):
        u = order[s]
        total, last = out[u], indptr[u + 1] - 1
        total[:] = zero
        for c in range(indptr[u], indptr[u + 1], 4):
            for e in range(4):
                at[e], soon[e] = indices[min(c + e, last)], indices[min(c + e + AHEAD, last)]
                t[e] = w0 + alpha * values[min(c + e, last)]
                if c + e > last or not values[c + e] > 0:
                    t[e] = zero
            add_rows(other, at, soon, t, whole, total)
            for d in range(whole, k):
                for e in range(4):
                    total[d] += t[e] * other[at[e], d]


@kernel
def sketch_targets(indptr, indices, values, order, place, sign, w0, alpha, start, stop, out):
    """Write row u of T · S to out[u]: row j of S is all zeros but ``sign[j]`` at ``place[j]``."""
    zero = out.dtype.type(0)
    for s in range(start, stop):
        u = order[s]
        total = out[u]
        total[:] = zero
        for c in range(indptr[u], indptr[u + 1]):
            if values[c] > 0:
                total[place[indices[c]]] += sign[indices[c]] * (w0 + alpha * values[c])


def add_rows(source, at, soon, c, length, out):
    """Add Σ c[e] · source[at[e], :length] to out, and bring the rows ``soon`` nearer."""
    for e in range(4):
        out[:length] += c[e] * source[at[e], :length]


@vectorized(add_rows, returns=nothing)
def _add_rows(builder, source, at, soon, c, length, out):
    lanes, numbers = lanes_of(source.element), [length.type(e) for e in range(4)]
    rows = [source.long_row(at.integer(e)) for e in numbers]
    later = [source.long_row(soon.integer(e)) for e in numbers]
    coefficients = [splat(builder, c.number(e), source.element, lanes) for e in numbers]
    out = out.vector()

    def body(offset, _):
        total = (out + offset).load(0, lanes)
        for row, coefficient in zip(rows, coefficients, strict=True):
            total = coefficient.times_plus((row + offset).load(0, lanes), total)
        (out + offset).store(total, 0)
        for row in later:
            (row + offset).prefetch(lanes)
        return []

    fold(builder, length, lanes, [], body)
