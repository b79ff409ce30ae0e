"""
Pictures of models
==================

Six ways to look at a fitted model, each with the question that it answers.  The data are generated
here, or come with scikit-learn.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, KFold

from skglrm import GLRM, Entries, FPSGFactorizer, ImplicitALS
from skglrm.displays import (
    BiplotDisplay,
    EmbeddingDisplay,
    LossCurveDisplay,
    RankingCurveDisplay,
    ReconstructionDisplay,
    RegularizationPathDisplay,
)

parser = argparse.ArgumentParser()
parser.add_argument("--save", metavar="FOLDER", help="where to write the pictures")
folder = parser.parse_known_args()[0].save


def keep(display: object, name: str) -> None:
    if folder is not None:
        display.figure_.savefig(Path(folder) / f"{name}.png", dpi=100)
        print(f"{name}.png is written.")


rng = np.random.default_rng(0)

# %%
# A table with holes
# ------------------
# Measurements of wines from three growers, of which a sixth are lost.  What is missing, and is what
# the model fills in like what is there?

wine = load_wine(as_frame=True)
holes = wine.data.mask(rng.random(wine.data.shape) < 1 / 6)
model = GLRM(3, offset=True, scale=True, regularization=10.0).fit(holes)
keep(ReconstructionDisplay.from_estimator(model, holes), "reconstruction")

# %%
# Which columns go together, and what sets the growers apart?  The model has not seen who is who.

growers = np.array([f"grower {n}" for n in wine.target])
keep(BiplotDisplay.from_estimator(model, c=growers), "biplot")

# %%
# How strong a regularization?  To the left the model learns noise: fitted cells get better, hidden
# cells get worse.

path = model.regularization_path(holes, n_strengths=10)
display = RegularizationPathDisplay.from_path(path)
keep(display, "regularization_path")
print(f"The best strength is {display.best_strength:.3g}.")

# %%
# Plays of songs
# --------------
# Listeners have a favourite style, and all know the hits.  A map of the songs: are those of one
# style near to one another, though nobody has told the model?

N_LISTENERS, N_SONGS, STYLES = 500, 120, np.array(["folk", "jazz", "metal", "rock"])
taste, style = rng.integers(0, 4, N_LISTENERS), rng.integers(0, 4, N_SONGS)
fame = rng.lognormal(0, 0.8, N_SONGS)
chance = np.where(taste[:, None] == style, 0.3, 0.03) * fame / fame.mean()
plays = sp.csr_array((rng.random(chance.shape) < chance).astype(float))
hidden = plays.copy()
hidden.data[rng.random(plays.nnz) < 0.8] = 0
hidden.eliminate_zeros()
seen = (plays - hidden).tocsr()
seen.eliminate_zeros()

songs = ImplicitALS(8, regularization=1.0, max_iter=5, random_state=0).fit(seen)
names = [f"song {j}" for j in range(N_SONGS)]
keep(EmbeddingDisplay.from_estimator(songs, c=STYLES[style], names=names, n_names=8), "embedding")

# %%
# Does the model recommend better than the charts do?  A fifth of the plays was hidden from it.

display = RankingCurveDisplay.from_estimator(songs, seen, hidden)
charts = np.broadcast_to(seen.sum(axis=0), seen.shape)
popular = RankingCurveDisplay.from_predictions(
    hidden, charts, exclude=seen, name="most popular", color="gray", ax=display.ax_
)
keep(display, "ranking_curve")
at = int(np.flatnonzero(display.k == 10)[0])
print(
    f"Of the hidden plays, {display.values[at]:.0%} are among the 10 songs recommended, "
    f"and {popular.values[at]:.0%} among the 10 most popular."
)

# %%
# Ratings
# -------
# Has the fit converged, and when does it begin to learn noise?  Some ratings are held out by
# ``early_stopping``; the factors kept are those of the best iteration.

user, item = np.divmod(rng.choice(400 * 150, 12_000, replace=False), 150)
traits = rng.normal(size=(400, 3)), rng.normal(size=(150, 3))
stars = np.einsum("ij,ij->i", traits[0][user], traits[1][item]) + rng.normal(size=user.size)
ratings = Entries(user, item, stars, shape=(400, 150))
factorizer = FPSGFactorizer(
    8, regularization=0.01, early_stopping=True, n_iter_no_change=10, max_iter=60, random_state=0
)
factorizer.fit(ratings)
keep(LossCurveDisplay.from_estimator(factorizer), "loss_curve")
print(f"Iteration {factorizer.best_iter_} of {factorizer.n_iter_} was the best.")

# %%
# What did a search find?  The band is one standard deviation of the folds.

search = GridSearchCV(
    FPSGFactorizer(8, max_iter=20, random_state=0),
    {"regularization": [0.02, 0.05, 0.1, 0.2, 0.5]},
    cv=KFold(3, shuffle=True, random_state=0),
)
search.fit(ratings)
keep(RegularizationPathDisplay.from_cv_results(search.cv_results_), "search")
print(f"The search takes a regularization of {search.best_params_['regularization']}.")

if folder is None:
    plt.show()
