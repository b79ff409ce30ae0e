"""
Ratings that do not fit in memory
=================================

Sort ratings into a file once, then fit the file: in memory for the factors and a few blocks.  With
the same seed the result is that of a fit in memory, to the bit.  LIBMF's text files are read on the
way, and its models written.
"""

import tempfile
import tracemalloc
from pathlib import Path

import numpy as np

from skglrm import Entries, FPSGFactorizer
from skglrm.block_file import BlockFile
from skglrm.io import read_libmf, read_libmf_chunks, write_libmf, write_libmf_model

# %%
# Ratings that come in parts
# --------------------------
# Any source of ``(row, col, value)`` will do: here a generator that makes them up, user by user.

N_USERS, N_ITEMS, PER_USER, N_PARTS = 20_000, 2_000, 50, 20

item_traits = np.random.default_rng(0).normal(0, 0.7, (N_ITEMS, 4))


def parts():
    per_part = N_USERS // N_PARTS
    for part in range(N_PARTS):
        rng = np.random.default_rng((1, part))
        user = np.repeat(np.arange(per_part), PER_USER)
        item = np.concatenate(
            [rng.choice(N_ITEMS, PER_USER, replace=False) for _ in range(per_part)]
        )
        traits = rng.normal(0, 0.7, (per_part, 4))
        stars = 3 + np.einsum("ij,ij->i", traits[user], item_traits[item])
        stars += rng.normal(0, 0.5, user.size)
        yield part * per_part + user, item, np.clip(np.round(2 * stars) / 2, 0.5, 5).astype("f4")


# %%
# Write them, fit them
# --------------------
# The writer reads its source once and sorts on disk; the file appears when all is written.

folder = tempfile.TemporaryDirectory()
path = Path(folder.name, "ratings.blocks")
ratings = BlockFile.write(path, parts(), random_state=0)
print(f"{ratings}, {path.stat().st_size / 1e6:.0f} MB")

model = FPSGFactorizer(16, max_iter=10, random_state=0, schedule="rotation", n_jobs=2)


def fit(data):
    """Fit the model; return by how much memory grew at most, in megabytes."""
    tracemalloc.start()
    model.fit(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


fit(ratings)  # kernels are compiled once
from_file, factors = fit(ratings), model.row_factors_

# %%
# The same in memory
# ------------------

whole = Entries(*map(np.concatenate, zip(*parts(), strict=True)))
in_memory = fit(whole)
print(f"a fit of the file takes {from_file:.0f} MB, one in memory {in_memory:.0f} MB")
print("same bits:", np.array_equal(factors, model.row_factors_))

# %%
# LIBMF's files
# -------------
# A text file of LIBMF is such a source too, read in parts; a model can be handed back to LIBMF.

text = Path(folder.name, "ratings.txt")
write_libmf(text, whole[:200_000])
from_text = BlockFile.write(Path(folder.name, "text.blocks"), read_libmf_chunks(text))
print(f"{from_text}, {len(read_libmf(text)):,} lines of text")

write_libmf_model(Path(folder.name, "model.txt"), model)
folder.cleanup()
