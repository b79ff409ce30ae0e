"""Cutting entries into an n_bands × n_bands grid of blocks, and ordering each block.

Everything is a counting sort, because keys are small integers: entries are scattered into their
blocks once, and each block is then ordered inside a core's cache.  The order inside a block depends
on its cells alone, never on how the caller's arrays were arranged.
"""

import numpy as np

from .._jit import kernel

TILE = 256
"""Rows that take turns; their factors must fit in the second-level cache."""


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
def count_blocks(row, column, row_band, column_band, n_bands, start, stop, counts):
    """Count entries start..stop per block: counts (n_bands²,), block = band of i · n_bands + of j.

    ``row_band`` (n_rows,) and ``column_band`` (n_columns,) map ids to bands.
    """
    for t in range(start, stop):
        counts[row_band[row[t]] * n_bands + column_band[column[t]]] += 1


@kernel
def scatter_blocks(
    row, column, value, row_band, column_band, row_place, column_place, n_bands, start, stop,
    unit, position, out_row, out_column, out_value,
):  # fmt: skip
    """Write entries start..stop to their blocks; ``position`` (n_bands²,) is where each goes on.

    ``row_place`` and ``column_place`` are the permuted ids that the grid works with;
    values are multiplied by ``unit``.
    """
    for t in range(start, stop):
        i, j = row[t], column[t]
        block = row_band[i] * n_bands + column_band[j]
        p = position[block]
        out_row[p], out_column[p], out_value[p] = row_place[i], column_place[j], unit * value[t]
        position[block] = p + 1


@kernel
def order_block(rows, columns, values, first_row, n_rows, first_column, n_columns):
    """Order the entries of one block in place; return the place of a duplicate cell, or -1.

    Entries are sorted by row and column.  Then, in tiles of ``TILE`` rows, the first entry of every
    row comes first, then the second of every row that has one, and so on: neighbours in this order
    share no row, so a CPU can overlap their visits, while the tile stays in cache.
    """
    n = rows.size
    spare_rows, spare_columns, spare_values = rows.copy(), columns.copy(), values.copy()
    _sort(columns, first_column, n_columns, rows, columns, values,
          spare_rows, spare_columns, spare_values)  # fmt: skip
    row_start = _sort(spare_rows, first_row, n_rows, spare_rows, spare_columns, spare_values,
                      rows, columns, values)  # fmt: skip
    for t in range(1, n):
        if rows[t] == rows[t - 1] and columns[t] == columns[t - 1]:
            return t
    spare_rows[:], spare_columns[:], spare_values[:] = rows, columns, values
    waiting = np.empty(TILE, np.int64)
    p = 0
    for tile in range(0, n_rows, TILE):
        n_waiting = 0
        for r in range(tile, min(tile + TILE, n_rows)):
            if row_start[r] < row_start[r + 1]:
                waiting[n_waiting] = r
                n_waiting += 1
        turn = 0
        while n_waiting > 0:
            still = 0
            for w in range(n_waiting):
                r = waiting[w]
                t = row_start[r] + turn
                rows[p], columns[p], values[p] = spare_rows[t], spare_columns[t], spare_values[t]
                p += 1
                if t + 1 < row_start[r + 1]:
                    waiting[still] = r
                    still += 1
            n_waiting = still
            turn += 1
    return -1


@kernel
def _sort(keys, first, n_keys, rows, columns, values, out_rows, out_columns, out_values):
    """Stable counting sort of entries by keys in first..first + n_keys; return where each begins."""
    begins = np.zeros(n_keys + 1, np.int64)
    for t in range(keys.size):
        begins[keys[t] - first + 1] += 1
    for key in range(n_keys):
        begins[key + 1] += begins[key]
    position = begins.copy()
    for t in range(keys.size):
        p = position[keys[t] - first]
        out_rows[p], out_columns[p], out_values[p] = rows[t], columns[t], values[t]
        position[keys[t] - first] = p + 1
    return begins
