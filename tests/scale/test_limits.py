"""Shapes at the edges: wide positions, more than 2**32 cells, one long row, 1 and many components.

What takes longer is in run.py.
"""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone

from skglrm import GLRM, Entries, FPSGFactorizer, ImplicitALS
from skglrm._ranking import best_columns
from skglrm.metrics import ndcg_at_k
from skglrm.model_selection import RandomCells
from skglrm.solvers.grid import Bands

MODELS = {
    "GLRM": GLRM(2, max_iter=3, tol=0.0, random_state=0),
    "ImplicitALS": ImplicitALS(3, max_iter=2, random_state=0),
    "FPSGFactorizer": FPSGFactorizer(3, max_iter=3, random_state=0),
}


def counts(m=60, n=25, share=0.5):
    rng = np.random.default_rng(0)
    X = rng.poisson(3.0, (m, n)) + 1.0
    X[rng.random(X.shape) > share] = 0
    return sp.csr_array(X)


def answers(model, X):
    model = clone(model).fit(X)
    new = X[:7]
    found = [model.row_factors_, model.components_, model.transform(new)]
    found += [*model.recommend(new, n=3), model.predict_entries([0, 5], [1, 99])]
    found += [*model.similar_items([1], n=3), *model.similar_rows([2], n=3), model.score(X)]
    model.partial_fit(new)
    return [*found, model.row_factors_, model.components_]


@pytest.mark.parametrize("name", MODELS)
def test_wide_positions_and_offsets_give_the_same_bits(name, monkeypatch):
    X = counts()
    wide = X.copy()
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    expected = answers(MODELS[name], X)
    for module in ("_ids", "entries", "_fpsg_updates", "_growth"):
        monkeypatch.setattr(f"skglrm.{module}.position_dtype", lambda shape: np.int64)
    for one, other in zip(answers(MODELS[name], wide), expected, strict=True):
        np.testing.assert_array_equal(one, other)


SIDE = 70_000


def scattered(n=40):
    """A table of rank one in distant corners of a matrix with 4.9 billion cells."""
    rng = np.random.default_rng(0)
    row, col = (np.sort(rng.choice(SIDE, n, replace=False)) for _ in range(2))
    row[-1] = col[-1] = SIDE - 1
    a, b = rng.uniform(1, 2, n), rng.uniform(1, 2, n)
    i, j = np.divmod(rng.permutation(n * n), n)
    return Entries(row[i], col[j], a[i] * b[j], (SIDE, SIDE))


@pytest.mark.parametrize(
    "model",
    [
        GLRM(1, regularization=1e-6, max_iter=20, tol=0.0, random_state=0),
        FPSGFactorizer(1, regularization=1e-3, max_iter=300, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_more_cells_than_32_bits_can_count_are_no_matter(model):
    X = scattered()
    train, test = X[:1400], X[1400:]
    model = clone(model).fit(train)
    error = model.predict_entries(test.row, test.col) - test.value
    assert np.sqrt(np.mean(error**2)) < 0.05
    assert model.score(test) > 0.98
    again = clone(model).fit(train.to_csr())
    np.testing.assert_array_equal(again.components_, model.components_)
    best, scores = model.recommend(train.to_csr()[np.unique(test.row)[:3]], n=2)
    assert best.shape == (3, 2) and np.isfinite(scores).all()


def test_more_cells_than_32_bits_can_count_are_no_matter_to_clicks():
    X = scattered()
    model = ImplicitALS(2, max_iter=3, random_state=0).fit(X[:1400])
    assert model.predict_entries(X.row, X.col).mean() > 0.8  # all other cells are near zero
    assert abs(model.predict_entries(X.row, (X.col + 1) % (SIDE - 1))).mean() < 0.1


def test_cells_of_large_matrices_are_told_apart():
    X = scattered()
    shifted = Entries([0, 61356, 61356], [0, 0, 64176], [1.0, 2.0, 3.0], (SIDE, SIDE))
    assert 61356 * SIDE + 64176 - 2**32 < SIDE  # as 32 bits would have it, in the first row
    np.testing.assert_array_equal(shifted.to_csr()[[61356]].toarray()[0, [0, 64176]], [2, 3])
    with pytest.raises(ValueError, match="61356.*64176"):
        Entries([61356, 0, 61356], [64176, 0, 64176], [1.0, 2.0, 3.0], (SIDE, SIDE)).to_csr()
    for train, test in RandomCells(n_splits=2, random_state=0).split(X):
        assert not np.intersect1d(train, test).size
    for column, right in ((SIDE - 1, 1.0), (SIDE - 2, 0.0)):
        assert ndcg_at_k(X, np.full((SIDE, 1), column), k=1) == right


def test_more_rows_or_columns_than_places_are_refused_before_memory_is_taken():
    many = np.broadcast_to(np.int64(1), 2**31)
    with pytest.raises(ValueError, match="at most 2147483647 rows and columns; got 2147483648"):
        Bands.cut(many, 4, np.random.default_rng(0))
    factors = np.broadcast_to(np.float32(1), (2**31, 1))
    with pytest.raises(ValueError, match="at most 2147483647 columns; got 2147483648"):
        best_columns(np.ones((1, 1), np.float32), factors, 3)


LONG = 100_000


@pytest.mark.parametrize("name", MODELS)
def test_all_entries_may_be_in_one_row_or_one_column(name):
    value = np.random.default_rng(0).poisson(3.0, LONG) + 1.0
    at, zeros = np.arange(LONG), np.full(LONG, 2)
    for X in (Entries(zeros, at, value, (5, LONG)), Entries(at, zeros, value, (LONG, 5))):
        model = clone(MODELS[name]).fit(X)
        assert np.isfinite(model.row_factors_).all() and np.isfinite(model.components_).all()
        predicted = model.predict_entries(X.row, X.col)
        if name == "ImplicitALS":
            assert predicted.mean() > 0.5
        else:
            assert np.corrcoef(predicted, X.value)[0, 1] > 0.8


@pytest.mark.parametrize("name", MODELS)
def test_one_component_is_enough_for_rank_one(name):
    X = np.outer(np.arange(1.0, 13.0), np.arange(1.0, 6.0))
    model = clone(MODELS[name]).set_params(n_components=1, max_iter=40).fit(X)
    assert model.components_.shape == (1, 5) and model.row_factors_.shape == (12, 1)
    assert model.transform(X[:2]).shape == (2, 1)
    order = np.argsort(model.predict_entries([11] * 5, np.arange(5)))
    np.testing.assert_array_equal(order, np.arange(5))


@pytest.mark.parametrize("name", MODELS)
def test_a_thousand_components_are_possible(name):
    X = counts(3, 2, 1.0)
    model = clone(MODELS[name]).set_params(n_components=1024, max_iter=1).fit(X)
    assert model.components_.shape == (1024, 2) and model.row_factors_.shape == (3, 1024)
    assert np.isfinite(model.transform(X)).all()
    assert np.isfinite(model.predict_entries([0, 1, 2], [0, 1, 1])).all()
