"""Laws of generalised low rank models: for every loss, regularizer and column, whatever the data."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from skglrm import presets
from skglrm.entries import Entries
from skglrm.glrm import GLRM
from skglrm.losses import (
    KL,
    Absolute,
    BiggerVsSmaller,
    CumulativeLogit,
    Hinge,
    Huber,
    Logistic,
    Multinomial,
    MultinomialOrdinal,
    OneVsAll,
    OrdinalHinge,
    Ordistic,
    Periodic,
    Poisson,
    Quadratic,
    SquaredHinge,
)
from skglrm.regularizers import (
    L1,
    L2,
    Ball,
    BlockSparse,
    Box,
    ElasticNet,
    Entropy,
    Fixed,
    GraphLaplacian,
    KSparse,
    L2Norm,
    NonNegative,
    OneSparse,
    Shifted,
    Simplex,
    Sum,
    Tied,
    UnitOneSparse,
    Zero,
)

N_ROWS, N_COLUMNS, K = 24, 8, 3


def signal(n_rows=N_ROWS, n_columns=N_COLUMNS, rank=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, rank)) @ rng.normal(size=(rank, n_columns))


def levels(U, n_levels):
    """Each column cut into levels of equal numbers of cells."""
    bounds = np.quantile(U, np.arange(1, n_levels) / n_levels, axis=0)
    return np.sum(bounds[:, None] < U, axis=0).astype(float)


def with_holes(X, share=0.25, seed=1):
    return np.where(np.random.default_rng(seed).random(X.shape) < share, np.nan, X)


def never_rises(curve):
    curve = np.asarray(curve)
    return bool((np.diff(curve) <= 1e-9 * np.abs(curve[1:])).all())


# ------------------------------------------------------------------ the objective never rises

CELLS = {
    "number": lambda U: U,
    "count": lambda U: np.rint(np.exp(0.5 * U)),
    "positive": lambda U: np.abs(U),
    "angle": lambda U: U % 24.0,
    "boolean": lambda U: (U > 0).astype(float),
    "level": lambda U: levels(U, 3),
}
SMOOTH = [
    (Quadratic(), "number"),
    (Huber(0.5), "number"),
    (Periodic(24.0), "angle"),
    (Poisson(), "count"),
    (KL(), "positive"),
    (Logistic(), "boolean"),
    (SquaredHinge(), "boolean"),
    (Multinomial(3), "level"),
    (OneVsAll(3), "level"),
    (BiggerVsSmaller(3), "level"),
    (Ordistic(3), "level"),
    (CumulativeLogit(3), "level"),
    (MultinomialOrdinal(3), "level"),
]
REGULARIZERS = [
    Zero(),
    L2(0.3),
    L1(0.3),
    ElasticNet(0.2, 0.3),
    L2Norm(0.3),
    NonNegative(),
    Box(-1.0, 2.0),
    Ball(1.5),
    Simplex(),
    Entropy(0.5),
    OneSparse(),
    UnitOneSparse(),
    KSparse(2),
    BlockSparse(2),
    Fixed((1.0,), L2(0.3)),
    Shifted((1.0, 0.0, -1.0), L2(0.3)),
    Sum(L1(0.2), NonNegative()),
]
OF_COLUMNS = [one for one in REGULARIZERS if not one.one_hot]
TURN = 5  # coprime to their number, so that every regularizer is once on each side
PAIRS = [
    (*SMOOTH[i % len(SMOOTH)], regularizer, OF_COLUMNS[(TURN * i + 1) % len(OF_COLUMNS)])
    for i, regularizer in enumerate(REGULARIZERS)
]


@pytest.mark.parametrize("loss, kind, rows, columns", PAIRS, ids=repr)
def test_the_objective_never_rises(loss, kind, rows, columns):
    X = with_holes(CELLS[kind](signal()))
    model = GLRM(
        K, loss=loss, row_regularizer=rows, column_regularizer=columns, offset=True,
        solver="proximal", init="random", random_state=0, max_iter=12, tol=0,
    ).fit(X)  # fmt: skip
    assert never_rises(model.loss_curve_)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    penalties = [rows.value(x) for x in model.row_factors_.astype(float)]
    assert np.isfinite(penalties).all()
