"""
Recommendations from play counts
================================

Learn what people listen to from how often they did, choose the model by cross-validation, and
recommend artists to people whom the model has never seen::

    python examples/lastfm_recommendations.py PATH_TO/user_artists.dat

The file is part of the Last.fm data set of HetRec 2011, which may not be redistributed: take it
from GroupLens.  Its lines hold user, artist and number of plays.  If ``artists.dat`` of the same
data set lies beside it, artists have names.  Without a file, plays are generated.
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse as sp
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.pipeline import make_pipeline

from skglrm import ImplicitALS
from skglrm.metrics import ndcg_at_k, recall_at_k
from skglrm.weighting import LogWeighting

NEAR_THE_PROJECT = Path("../shared/data/lastfm-user_artists.dat")

GRID = {
    "implicitals__n_components": [32, 64],
    "implicitals__alpha": [0.3, 1.0],
    "implicitals__regularization": [3.0, 10.0],
}
LONGEST = 50


def read_plays(path):
    """Plays of users (rows) and artists (columns), and the names of the artists."""
    user, artist, plays = np.loadtxt(path, skiprows=1, dtype=np.int64, unpack=True)
    users, row = np.unique(user, return_inverse=True)
    artists, column = np.unique(artist, return_inverse=True)
    shape = len(users), len(artists)
    X = sp.csr_array((plays.astype(np.float32), (row, column)), shape=shape)
    return X, names_of(artists, path.with_name("artists.dat"))


def names_of(artists, path):
    if not path.exists():
        return np.array([f"artist {number}" for number in artists])
    with path.open(encoding="utf-8") as file:
        next(file)
        names = dict(line.split("\t")[:2] for line in file)
    return np.array([names.get(str(number), f"artist {number}") for number in artists])


def generate_plays(n_users=1500, n_artists=3000, n_genres=12, seed=0):
    """Everybody has a few genres, and plays their popular artists most."""
    rng = np.random.default_rng(seed)
    genre = rng.integers(n_genres, size=n_artists)
    popularity = rng.pareto(1.2, size=n_artists) + 0.05
    taste = rng.dirichlet(np.full(n_genres, 0.15), size=n_users)
    rows, columns = [], []
    for user in range(n_users):
        weight = popularity * (taste[user, genre] + 0.005)
        chosen = rng.choice(
            n_artists, size=rng.integers(20, 60), replace=False, p=weight / weight.sum()
        )
        rows.append(np.full(len(chosen), user))
        columns.append(chosen)
    row, column = np.concatenate(rows), np.concatenate(columns)
    plays = np.ceil(rng.lognormal(4, 1.5, size=len(row))).astype(np.float32)
    names = [f"genre {g} artist {j}" for j, g in enumerate(genre)]
    return sp.csr_array((plays, (row, column)), shape=(n_users, n_artists)), np.array(names)


def hide_some(X, share=0.3, seed=0):
    """Part the plays of each row: a history to recommend from, and artists to be found."""
    hidden = np.random.default_rng(seed).random(X.nnz) < share
    row, column = X.nonzero()
    parts = (
        sp.csr_array((X.data[part], (row[part], column[part])), shape=X.shape)
        for part in (~hidden, hidden)
    )
    return tuple(parts)


def choose_model(train):
    """Folds of users: each is scored on artists that were hidden from users not learned from."""
    model = make_pipeline(LogWeighting(), ImplicitALS(max_iter=4, random_state=0))
    folds = KFold(3, shuffle=True, random_state=0)
    return GridSearchCV(model, GRID, cv=folds).fit(train)


def most_played(train, history):
    """The same artists for everybody: those with the most listeners, but what was heard before."""
    scores = np.tile(np.diff(train.tocsc().indptr).astype(float), (history.shape[0], 1))
    scores[history.nonzero()] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :LONGEST]


def draw_curves(curves, path):
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for label, curve in curves.items():
        axes.plot(np.arange(1, LONGEST + 1), curve, label=label)
    axes.set(
        title="Hidden artists found, users never seen before", xlabel="k", ylabel="recall at k"
    )
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description="Recommend artists.")
    parser.add_argument("path", nargs="?", type=Path, default=NEAR_THE_PROJECT)
    path = parser.parse_args().path
    begin = time.perf_counter()
    X, names = read_plays(path) if path.exists() else generate_plays()
    source = path.name if path.exists() else "generated plays"
    print(f"{X.shape[0]:,} users, {X.shape[1]:,} artists, {X.nnz:,} counts ({source})")

    # Strong generalisation: nothing at all of the test users is learned from.
    train, test = train_test_split(X, test_size=0.2, random_state=0)
    history, hidden = hide_some(test)

    search = choose_model(train)
    print("\nNDCG@10 by cross-validation:")
    results = search.cv_results_
    for parameters, score in zip(results["params"], results["mean_test_score"], strict=True):
        values = ", ".join(f"{key.split('__')[1]}={value}" for key, value in parameters.items())
        print(f"  {score:.4f}  {values}")

    weighting, model = search.best_estimator_
    items, scores = model.recommend(weighting.transform(history), n=LONGEST)
    rankings = {"ImplicitALS": items, "most played": most_played(train, history)}
    print(f"\n{test.shape[0]:,} users never seen before, 30 % of their artists hidden:")
    for label, ranking in rankings.items():
        found, order = recall_at_k(hidden, ranking, k=20), ndcg_at_k(hidden, ranking, k=10)
        print(f"  {label:<12} recall@20 {found:.3f}, NDCG@10 {order:.3f}")

    someone = int(np.argmax(np.diff(hidden.indptr)))
    liked = history[[someone]]
    favourites = liked.indices[np.argsort(-liked.data)][:5]
    print(f"\nWho played {', '.join(names[favourites])} may like:")
    for item, score in zip(items[someone, :5], scores[someone, :5], strict=True):
        mark = "  (played, but hidden)" if item in hidden[[someone]].indices else ""
        print(f"  {score:.2f}  {names[item]}{mark}")

    popular = int(np.argmax(np.diff(train.tocsc().indptr)))
    neighbours, cosines = model.similar_items([popular], n=5)
    print(f"\nMost similar to {names[popular]}:")
    for item, cosine in zip(neighbours[0], cosines[0], strict=True):
        print(f"  {cosine:.2f}  {names[item]}")

    curves = {
        label: [recall_at_k(hidden, ranking, k=k) for k in range(1, LONGEST + 1)]
        for label, ranking in rankings.items()
    }
    draw_curves(curves, "lastfm_recommendations.png")
    seconds = time.perf_counter() - begin
    print(f"\nAll that took {seconds:.0f} s; the curves are in lastfm_recommendations.png.")


if __name__ == "__main__":
    main()
