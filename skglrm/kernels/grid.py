"""Cutting entries into an n_bands × n_bands grid of blocks, and ordering each block.

Everything is a counting sort, because keys are small integers: entries are scattered into their
blocks once, and each block is then ordered inside a core's cache.  The order inside a block depends
on its cells alone, never on how the caller's arrays were arranged.
"""

import numpy as np
import numpy.typing as npt

from .._jit import kernel


def entry_type(value_type: npt.DTypeLike, weighted: bool = False) -> np.dtype:
    """Type of an entry in the grid: row, column and value side by side, 12 bytes in float32."""
    fields = [("row", np.int32), ("column", np.int32), ("value", value_type)]
    return np.dtype(fields + [("weight", value_type)] * weighted)


RING = 16
"""Rows that take turns; their factors stay in the first-level cache."""


@kernel
def count_and_sum(ids, values, counts, sums):
    """Add up how often each id occurs and the sum of its values: counts, sums (n_ids,)."""
    for t in range(ids.size):
        counts[ids[t]] += 1
        sums[ids[t]] += values[t]


@kernel
def sum_squared_deviations(values, center):
    """Return the sum of (value - center)² in float64."""
    total = 0.0
    for t in range(values.size):
        deviation = np.float64(values[t]) - center
        total += deviation * deviation
    return total


@kernel
def count_blocks(row, column, row_spot, column_spot, n_bands, start, stop, counts):
    """Count entries start..stop per block: counts (n_blocks,), block = band of i · n_bands + of j.

    ``row_spot`` (n_rows, 2) and ``column_spot`` (n_columns, 2) hold the band and the place of ids.
    """
    for t in range(start, stop):
        counts[row_spot[row[t], 0] * n_bands + column_spot[column[t], 0]] += 1


@kernel
def scatter_blocks(
    row, column, value, row_spot, column_spot, n_bands, start, stop, unit, position, entries
):
    """Write entries start..stop to their blocks, ids as places and values times ``unit``.

    ``position`` (n_blocks,) is where the next entry of each block goes.
    """
    for t in range(start, stop):
        i, j = row[t], column[t]
        block = row_spot[i, 0] * n_bands + column_spot[j, 0]
        entry = entries[position[block]]
        entry["row"], entry["column"] = row_spot[i, 1], column_spot[j, 1]
        entry["value"] = unit * value[t]
        position[block] += 1


@kernel
def scatter_weights(
    row, column, weight, row_spot, column_spot, n_bands, start, stop, position, entries
):
    """Write the weights of entries start..stop to where ``scatter_blocks`` has written them."""
    for t in range(start, stop):
        block = row_spot[row[t], 0] * n_bands + column_spot[column[t], 0]
        entries[position[block]]["weight"] = weight[t]
        position[block] += 1


@kernel
def order_block(entries, first_row, n_rows, first_column, n_columns):
    """Order the entries of one block in place; return whether no cell occurs twice.

    ``RING`` rows take turns, each with its entries in order of columns; when one is done, the next
    row joins.  Neighbours in this order share no row, so a CPU can overlap their visits, and the
    rows in turn stay in its first-level cache.

    If a cell occurs twice, it is written to the first entry.
    """
    # Stable counting sort by column, so that rows meet their entries in order of columns.
    position = np.zeros(n_columns + 1, np.int64)
    for t in range(entries.size):
        position[entries[t]["column"] - first_column + 1] += 1
    for j in range(n_columns):
        position[j + 1] += position[j]
    by_column = np.empty_like(entries)
    begins = np.zeros(n_rows + 1, np.int64)
    for t in range(entries.size):
        j = entries[t]["column"] - first_column
        by_column[position[j]] = entries[t]
        position[j] += 1
        begins[entries[t]["row"] - first_row + 1] += 1
    for r in range(n_rows):
        begins[r + 1] += begins[r]

    place = _take_turns(begins)
    n_done, last_column = begins, np.full(n_rows, -1, np.int32)
    for t in range(entries.size):
        r, j = by_column[t]["row"] - first_row, by_column[t]["column"]
        if last_column[r] == j:
            entries[0] = by_column[t]
            return False
        last_column[r] = j
        entries[place[n_done[r]]] = by_column[t]
        n_done[r] += 1
    return True


@kernel
def _take_turns(begins):
    """Return the place of entry t, when row r has the entries begins[r] to begins[r + 1]."""
    n_rows = begins.size - 1
    place = np.empty(begins[n_rows], np.int32)
    ring, n_ring, next_row = np.empty((RING, 2), np.int64), 0, 0
    p, turn = 0, 0
    while p < place.size:
        while n_ring < RING and next_row < n_rows:
            ring[n_ring] = begins[next_row], begins[next_row + 1]
            n_ring += begins[next_row] < begins[next_row + 1]
            next_row += 1
        if turn >= n_ring:
            turn = 0
        place[ring[turn, 0]] = p
        p += 1
        ring[turn, 0] += 1
        if ring[turn, 0] < ring[turn, 1]:
            turn += 1
        else:  # this row is done: the last of the ring takes its seat, a new one comes in
            n_ring -= 1
            ring[turn] = ring[n_ring]
    return place


@kernel
def place_rows(source, place, unit, cut, gap, start, stop, target):
    """Write rows start..stop of source (n, k), times ``unit``, to the rows ``place`` of target.

    Columns from ``cut`` on go ``gap`` places further to the right.
    """
    for i in range(start, stop):
        for d in range(source.shape[1]):
            target[place[i], d + gap * (d >= cut)] = unit * source[i, d]


@kernel
def take_rows(source, place, unit, cut, gap, start, stop, target):
    """Undo ``place_rows``: write to rows start..stop of target (n, k), times ``unit``."""
    for i in range(start, stop):
        for d in range(target.shape[1]):
            target[i, d] = unit * source[place[i], d + gap * (d >= cut)]
