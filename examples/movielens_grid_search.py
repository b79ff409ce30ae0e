"""
Model selection on real ratings
===============================

Choose rank and regularization for MovieLens 100K with scikit-learn's own tools, on two processes::

    python examples/movielens_grid_search.py PATH_TO/u.data

The file is ``u.data`` of the MovieLens 100K data set, which may not be redistributed: take it from
GroupLens.  Its lines hold user, item, rating and time, separated by tabs.
"""

import argparse
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skglrm import Entries, EntryRegressor, FPSGFactorizer

NEAR_THE_PROJECT = Path(__file__).resolve().parents[2] / "shared/data/ml-100k-u.data"

GRID = {"n_components": [8, 32, 64], "regularization": [0.08, 0.12, 0.16]}
FOLDS = KFold(5, shuffle=True, random_state=0)
MODEL = FPSGFactorizer(max_iter=30, random_state=0)
N_JOBS = 2


def read_ratings(path):
    """Users and items, counted from 0, and ratings."""
    user, item, rating = np.loadtxt(path, usecols=(0, 1, 2), dtype=np.int64, unpack=True)
    return user - 1, item - 1, rating.astype(np.float64)


def compile_kernels(train):
    """Compile before there are workers, or each of them compiles."""
    for n_components in GRID["n_components"]:
        model = clone(MODEL).set_params(n_components=n_components, max_iter=2).fit(train[:1000])
        model.score(train[:1000])
        model.transform(train.to_csr()[:10])


def search_on_entries(train):
    """Folds of single ratings; the score is D², the share of the squared error explained."""
    return GridSearchCV(MODEL, GRID, cv=FOLDS, n_jobs=N_JOBS).fit(train)


def search_on_ids(user, item, rating, n_components):
    """The same as an ordinary regression on two columns of ids, which may be strings."""
    model = clone(MODEL).set_params(n_components=n_components)
    X = np.array([[f"user {u}", f"item {i}"] for u, i in zip(user, item, strict=True)], object)
    return GridSearchCV(
        EntryRegressor(model),
        {"estimator__regularization": GRID["regularization"]},
        cv=FOLDS,
        scoring="neg_root_mean_squared_error",
        n_jobs=N_JOBS,
    ).fit(X, rating)


def search_by_halving(train):
    """All candidates get 10 passes, the better third of them 30."""
    return HalvingGridSearchCV(
        MODEL,
        GRID,
        cv=FOLDS,
        resource="max_iter",
        min_resources=10,
        max_resources=30,
        factor=3,
        random_state=0,
        n_jobs=N_JOBS,
    ).fit(train)


def classify_users(train, search):
    """Tell generous users from the rest by their factors: folds of users, not of ratings."""
    X = train.to_csr()
    mean_rating = X.sum(axis=1) / np.diff(X.indptr)
    generous = mean_rating > np.median(mean_rating)
    pipeline = make_pipeline(search.best_estimator_, StandardScaler(), LogisticRegression())
    return cross_val_score(pipeline, X, generous, cv=5, n_jobs=N_JOBS)


def table_of_scores(search):
    """Mean score over the folds: one row per rank, one column per regularization."""
    scores = search.cv_results_["mean_test_score"]
    return scores.reshape(len(GRID["n_components"]), len(GRID["regularization"]))


def print_table(scores):
    print("  n_components" + "".join(f"{value:>9}" for value in GRID["regularization"]))
    for rank, row in zip(GRID["n_components"], scores, strict=True):
        print(f"  {rank:>12}" + "".join(f"{score:>9.4f}" for score in row))


def draw_table(scores, path):
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    image = axes.imshow(scores, aspect="auto")
    axes.set(title="D² on held-out ratings", xlabel="regularization", ylabel="n_components")
    axes.set_xticks(range(scores.shape[1]), GRID["regularization"])
    axes.set_yticks(range(scores.shape[0]), GRID["n_components"])
    figure.colorbar(image)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description="Choose a model for MovieLens 100K.")
    parser.add_argument("path", nargs="?", type=Path, default=NEAR_THE_PROJECT, help="u.data")
    path = parser.parse_args().path
    if not path.exists():
        sys.exit(
            f"There is no file {path}. This example needs u.data of MovieLens 100K (from "
            "GroupLens): pass its path. examples/quickstart.py needs no data."
        )
    begin = time.perf_counter()
    user, item, rating = read_ratings(path)
    ratings = Entries(user, item, rating)
    is_test = np.random.default_rng(0).random(len(ratings)) < 0.1
    train, test = ratings[~is_test], ratings[is_test]
    print(f"{len(train):,} ratings to learn from, {len(test):,} held out until the end.")

    compile_kernels(train)
    search = search_on_entries(train)
    print("\nGridSearchCV on Entries, D² by n_components and regularization:")
    print_table(table_of_scores(search))
    print(f"  best: {search.best_params_}")
    predicted = search.best_estimator_.predict_entries(test.row, test.col)
    rmse = root_mean_squared_error(test.value, predicted)
    print(f"  root mean squared error on the ratings held out: {rmse:.4f}")

    rank = search.best_params_["n_components"]
    by_ids = search_on_ids(user[~is_test], item[~is_test], rating[~is_test], rank)
    print("\nGridSearchCV on EntryRegressor with string ids:")
    print(f"  best: {by_ids.best_params_}, cross-validated error {-by_ids.best_score_:.4f}")

    halving = search_by_halving(train)
    print("\nHalvingGridSearchCV on Entries:")
    for n_candidates, n_passes in zip(halving.n_candidates_, halving.n_resources_, strict=True):
        print(f"  {n_candidates} candidates had {n_passes} passes")
    print(f"  best: {halving.best_params_}")

    accuracy = classify_users(train, search)
    print("\nPipeline, user factors into LogisticRegression, generous user or not:")
    print(f"  accuracy {accuracy.mean():.2f} ± {accuracy.std():.2f}; guessing gives 0.50")

    draw_table(table_of_scores(search), "movielens_grid_search.png")
    seconds = time.perf_counter() - begin
    print(f"\nAll that took {seconds:.0f} s; the first grid is drawn in movielens_grid_search.png.")


if __name__ == "__main__":
    main()
