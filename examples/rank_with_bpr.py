"""
Ranking with BPR
================

Clicks say what people like and nothing of what they dislike.  Pairwise ranking compares what a row
has with what it has not, and needs no values.  Held-out clicks are found among all columns that a
row has not yet seen, and both ways of measuring are honest: no training click is a candidate.
"""

# %%
# Clicks: the likeliest cells of a planted model, more of them in popular columns
import numpy as np

from skglrm import Entries, FPSGFactorizer
from skglrm.metrics import ndcg_at_k

rng = np.random.default_rng(0)
taste = rng.normal(size=(600, 4)) @ rng.normal(size=(4, 300)) + rng.normal(size=300)
chosen = np.argsort(-taste - rng.gumbel(size=taste.shape), axis=1)[:, :20]
row, col = np.repeat(np.arange(600), 20), chosen.ravel()
order = rng.permutation(row.size)
clicks = Entries(row[order], col[order], np.ones(row.size), taste.shape)
train, test = clicks[2400:], clicks[:2400]

# %%
# Early stopping watches held-out clicks against columns that are drawn once
model = FPSGFactorizer(
    8, loss="bpr_row", regularization=0.01, max_iter=60, early_stopping=True, random_state=0
).fit(train)
print(f"{model.n_iter_} iterations, the best was {model.best_iter_}")

# %%
# AUC: how often a held-out click is above a column that the row does not have
items, _ = model.recommend(train, n=10)
ndcg = ndcg_at_k(test.to_csr(), items, k=10, exclude=train.to_csr())
print(f"BPR: AUC {model.score(test):.3f}, NDCG@10 {ndcg:.3f}")

# %%
# Popularity is what unseen rows get, and what a ranking has to beat
popularity = np.bincount(train.col, minlength=300)
popular = np.argsort(-popularity)[None].repeat(600, 0)
ndcg = ndcg_at_k(test.to_csr(), popular, k=10, exclude=train.to_csr())
print(f"popularity: NDCG@10 {ndcg:.3f}")

# %%
# A new row is folded in from its clicks alone
items, scores = model.recommend(train.to_csr()[:1], n=5)
print(items[0], scores[0].round(2))
