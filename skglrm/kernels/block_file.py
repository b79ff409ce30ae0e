"""What is done to a block that has just been read from disk."""

import numpy as np

from .._jit import kernel


@kernel
def check_block(entries, first_row, n_rows, first_column, n_columns, unit, shift):
    """Make values a of a block unit · a + shift, in place; return whether all entries are sound.

    An entry is sound if its places lie in the block's bands, which begin at ``first_row`` and
    ``first_column``, and its value is finite.
    """
    n_bad = 0
    for t in range(entries.size):
        entry = entries[t]
        # Unsigned, so that what is negative is too large.
        i = np.uint64(np.int64(entry["row"]) - first_row)
        j = np.uint64(np.int64(entry["column"]) - first_column)
        value = entry["value"]
        n_bad += (i >= np.uint64(n_rows)) | (j >= np.uint64(n_columns)) | (not np.isfinite(value))
        entry["value"] = unit * value + shift
    return n_bad == 0
