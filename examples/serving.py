"""
Save a model, and serve it from a memory map
============================================

A model is fitted once and asked many times, often by several processes of a server.  ``save``
writes one file without pickles, in one step; ``load(..., mmap_mode="r")`` maps it, so that a
process starts at once and all of them share the same memory.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import skglrm
from skglrm import GLRM, Entries, ImplicitALS
from skglrm.losses import Quadratic

folder = Path(tempfile.mkdtemp())

# %%
# Fit on a table of plays
# -----------------------
# Listeners and artists are strings; their ids are part of the model.

rng = np.random.default_rng(0)
taste, style = rng.random((3_000, 5)) ** 3, rng.random((800, 5)) ** 3
liked = np.argwhere(rng.random((3_000, 800)) < 0.02 * taste @ style.T)
plays = pd.DataFrame(
    {
        "listener": [f"listener {i:04}" for i in liked[:, 0]],
        "artist": [f"artist {j:03}" for j in liked[:, 1]],
        "plays": rng.integers(1, 20, len(liked)),
    }
)
train = Entries.from_frame(plays, row="listener", col="artist", value="plays")
model = ImplicitALS(16, max_iter=5, random_state=0).fit(train)
model.save(folder / "plays.skglrm")
size = (folder / "plays.skglrm").stat().st_size / 1e6
print(f"A model of {train} takes {size:.1f} MB.")

# %%
# Serve
# -----
# What happens in each process of a server.  Arrays are read from the disk when they are used.

start = time.perf_counter()
served = skglrm.load(folder / "plays.skglrm", mmap_mode="r")
print(f"Loaded in {1000 * (time.perf_counter() - start):.0f} ms.")

someone = plays[plays.listener == "listener 0042"]
asked = Entries.from_frame(
    someone, row="listener", col="artist", value="plays", col_ids=served.col_ids_
)
names, scores = served.recommend(asked, n=3, return_names=True)
for name, score in zip(names[0], scores[0], strict=True):
    print(f"  {name}  {score:.2f}")
same = model.recommend(asked, n=3, return_names=True)
assert (names == same[0]).all() and (scores == same[1]).all()

# %%
# A newer model takes its place
# -----------------------------
# Whoever has mapped the old file keeps it; whoever loads from now on gets the new one.  If the
# process that saves is killed, the old file is still there, whole.

model.set_params(alpha=5.0).fit(train).save(folder / "plays.skglrm")
newer = skglrm.load(folder / "plays.skglrm", mmap_mode="r")
print(f"The server has alpha={served.alpha}, and the next process alpha={newer.alpha}.")

# %%
# Losses of your own
# ------------------
# A file never names code to import.  If it holds objects of your classes, you hand the classes
# over.


@dataclass(frozen=True)
class Shifted(Quadratic):
    """Half the square of the distance from the observation plus a shift."""

    shift: float = 0.0

    def value(self, u, a):
        return 0.5 * (u - a - self.shift) ** 2

    def gradient(self, u, a):
        return u - a - self.shift


GLRM(1, loss=Shifted(0.5)).save(folder / "own.skglrm")
try:
    skglrm.load(folder / "own.skglrm")
except ValueError as error:
    print("Refused:", error)
print(skglrm.load(folder / "own.skglrm", trusted=[Shifted]))
