"""
Which rank? Three searches that find it, and two that do not
=============================================================

How many factors there are is the question that every factorization starts with.  Here the answer is
known, because three factors were planted.  Each way to ask is one of scikit-learn's own searches;
what differs is which cells a model is scored on.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, KFold

from skglrm import GLRM, Entries, EntryRegressor, FPSGFactorizer
from skglrm.datasets import make_ratings
from skglrm.model_selection import RandomCells, make_heldout_scorer

parser = argparse.ArgumentParser()
parser.add_argument("--save", metavar="PATH", help="write the picture to this file")
options, _ = parser.parse_known_args()

PLANTED = 3
RANKS = [1, 2, 3, 4, 6, 8]
ratings = make_ratings(
    150, 50, n_components=PLANTED, density=0.5, noise=0.3, skew=0.3, random_state=0
)
print(f"{ratings}, of rank {PLANTED} plus noise\n")

model = GLRM(regularization=0.3, offset=True, max_iter=30, tol=1e-3)
rows, cells = KFold(3, shuffle=True, random_state=0), RandomCells(3)
error = "neg_root_mean_squared_error"

# %%
# New rows
# --------
# The samples are the rows of a matrix.  Of each held-out row a fifth of the cells is hidden, the
# row is folded in on the others, and the hidden cells are predicted.

by_rows = GridSearchCV(
    model, {"n_components": RANKS}, cv=rows, scoring=make_heldout_scorer(error)
).fit(ratings.to_dense())

# %%
# New cells of known rows
# -----------------------
# The samples are the cells: either ``Entries``, or two columns of ids and the value as ``y``, where
# every scorer works by its name.

by_entries = GridSearchCV(
    model, {"n_components": RANKS}, cv=cells, scoring=make_heldout_scorer(error)
).fit(ratings)

ids = np.column_stack([ratings.row, ratings.col])
by_ids = GridSearchCV(
    EntryRegressor(model), {"estimator__n_components": RANKS}, cv=cells, scoring=error
).fit(ids, ratings.value)

# %%
# The trap: the same cells
# ------------------------
# Rows that were held out look honest.  But if they are scored on the very cells that they are
# folded in on, more factors are always better.


def same_cells(estimator, X, y=None):
    completed = estimator.inverse_transform(estimator.transform(X))
    return -np.sqrt(np.nanmean((completed - X) ** 2))


by_same_cells = GridSearchCV(model, {"n_components": RANKS}, cv=rows, scoring=same_cells).fit(
    ratings.to_dense()
)

searches = {
    "new rows": by_rows,
    "new cells": by_entries,
    "new cells, by ids": by_ids,
    "same cells": by_same_cells,
}
print(f"{'error by rank':20}" + "".join(f"{rank:8}" for rank in RANKS) + "   chosen")
for name, search in searches.items():
    errors = -search.cv_results_["mean_test_score"]
    (chosen,) = search.best_params_.values()
    print(f"{name:20}" + "".join(f"{one:8.3f}" for one in errors) + f"{chosen:9}")

# %%
# The other trap: halving on iterations
# -------------------------------------
# Successive halving lets all candidates run for a few iterations, and the better half for more.  A
# model with more factors learns faster at first, so first rungs that are too short throw out the
# right one.  Begin with a third of the iterations.

print()
mean = ratings.value.mean()
centred = Entries(ratings.row, ratings.col, ratings.value - mean, ratings.matrix_shape)
for first in (1, 10):
    halving = HalvingGridSearchCV(
        FPSGFactorizer(regularization=0.03, learning_rate=0.2, random_state=0),
        {"n_components": RANKS},
        resource="max_iter",
        min_resources=first,
        max_resources=30,
        factor=2,
        cv=cells,
        random_state=0,
    ).fit(centred)
    print(f"halving from {first:2} iterations chooses {halving.best_params_['n_components']}")

# %%
# The picture
# -----------

figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
styles = {"new rows": "o-", "new cells": "s-", "new cells, by ids": "x", "same cells": "^--"}
for name, search in searches.items():
    ax.plot(RANKS, -search.cv_results_["mean_test_score"], styles[name], label=name)
ax.axvline(PLANTED, color="0.8", zorder=0)
ax.set(xlabel="n_components", ylabel="root mean squared error", xticks=RANKS)
ax.legend(title="scored on", frameon=False)
if options.save:
    figure.savefig(options.save, dpi=150)
plt.show()
