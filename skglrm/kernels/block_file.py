"""What is done to a block that has just been read from disk."""

import numpy as np

from .._jit import kernel


@kernel
def check_block(entries, first_row, n_rows, first_column, n_columns, unit, shift):
    """Make values a of a block unit · a + shift, in place; return whether all entries are sound.

    An entry is sound if its places lie in the block's bands, which begin at ``first_row`` and
    ``first_column``, and its value is finite.
    """
    bad = False
    for t in range(entries.size):
        entry = entries[t]
        # Unsigned, so that what is negative is too large; 32 bits, because places and bands end
        # below 2³¹, so that no difference of theirs comes round to a sound one.
        i, j = np.uint32(entry["row"] - first_row), np.uint32(entry["column"] - first_column)
        value = entry["value"]
        bad |= (i >= np.uint32(n_rows)) | (j >= np.uint32(n_columns)) | (not np.isfinite(value))
        entry["value"] = unit * value + shift
    return not bad
