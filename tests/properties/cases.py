"""Hypothesis strategies: every model, the cells that it is for, and how they are handed over."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from tables import FLAWS, KINDS, Form, forms, shapes, tables

from skglrm import GLRM, FPSGFactorizer, ImplicitALS
from skglrm import losses as L
from skglrm import regularizers as R

# ------------------------------------------------------------------ losses and regularizers

LOSSES = {
    "number": [
        "quadratic", "absolute", "huber", "quantile", L.Quadratic(), L.Absolute(), L.Huber(0.5),
        L.Huber(1e-12), L.Quantile(0.9),
        L.Interval(0.5), L.Interval(0.1, -1.0, 1.0), L.Truncated(L.Quadratic(), -3.0, 3.0),
        2.5 * L.Quadratic(), 1e-12 * L.Huber(3.0),
    ],
    "count": ["poisson", L.Poisson(), L.KL()],
    "positive": ["kl", L.KL(), 0.5 * L.KL()],
    "boolean": ["logistic", "hinge", "squared_hinge", L.Logistic(), L.WeightedHinge(3.0),
    2 * L.Hinge()],
    "sign": ["logistic", L.SquaredHinge()],
    "level": [
        L.OrdinalHinge(0, 2), L.BiggerVsSmaller(3), L.MultinomialOrdinal(3), L.CumulativeLogit(3),
        L.Ordistic(3),
        L.Multinomial(3), L.OneVsAll(3), 2 * L.Multinomial(3), L.OneVsAll(3, L.Hinge()),
        "multinomial", "ordinal_hinge", "auto",
    ],
    "angle": [L.Periodic(24.0)],
    "fraction": ["fractional", L.Fractional()],
}  # fmt: skip

REGULARIZERS = [
    "l2", "l2", "l1", "none", "nonnegative", "nonnegative_l2", "nonnegative_l1", "simplex",
    "entropy", "one_sparse",
    "nonnegative_one_sparse", "unit_one_sparse", "l2_norm", None,
    R.Zero(), R.L2(0.3), R.L2(1e6), R.L2(1e-300), R.L1(0.3), R.ElasticNet(0.2, 0.3),
    R.L2Norm(0.3), R.NonNegative(),
    R.Box(-1.0, 2.0), R.Ball(1.5), R.Simplex(), R.Entropy(0.5), R.OneSparse(), R.UnitOneSparse(),
    R.KSparse(2),
    R.BlockSparse(1), R.Fixed((1.0,), R.L2(0.3)), R.Shifted((1.0,), R.L2(0.3)), R.Sum(R.L1(0.2),
    R.NonNegative()),
    R.Sum(R.L2(0.2), R.Box(0.0, 1.0)), R.FreeLast(R.L2(0.3)), R.ConstantLast(R.L2(0.3)),
    R.Tied(R.L2(0.3)),
]  # fmt: skip


def _laplacian(n):
    return R.GraphLaplacian.from_adjacency(np.eye(n, k=1) + np.eye(n, k=-1), 0.5)


# Kernels are compiled for the types of losses, regularizers and values: what comes in few minutes
# draws these only, which other tests compile as well.
FEW_LOSSES = {
    "number": ["quadratic", "quadratic", L.Huber(0.5), 2.5 * L.Quadratic()],
    "boolean": ["logistic"],
    "level": [L.Multinomial(3)],
}
FEW_REGULARIZERS = ["l2", "l2", "l1", "none", "nonnegative", R.L2(1e6), R.Simplex()]
FEW_SGD_LOSSES = {
    "number": ["squared"],
    "boolean": ["logistic", "one_class"],
    "positive": ["one_class", "bpr_row"],
}
ALL = False
"""Whether to draw everything there is."""


# ------------------------------------------------------------------ models


@dataclass
class Case:
    """A model, the table it is for, and how that is handed over."""

    model: Any
    cells: np.ndarray
    form: Form
    weights: Any = None
    flaw: str | None = None
    seed: int = 0

    @property
    def X(self):
        if self.flaw is not None:
            return FLAWS[self.flaw](self.cells.copy(), np.random.default_rng(self.seed))
        return self.form(self.cells)


RANKS = (1, 2, 3, 6)
REGULARIZATION = (*6 * (0.1,), 1.0, 0.0, 1e-8, 1e8, 1e-300, 1e300)
TOL = (0.0, 1e-4, 0.5)


@st.composite
def glrms(draw, shape):
    """A GLRM and the kinds of columns that its losses take."""
    pick = lambda values: draw(st.sampled_from(values))  # noqa: E731
    losses, regularizers = (LOSSES, REGULARIZERS) if ALL else (FEW_LOSSES, FEW_REGULARIZERS)
    if draw(st.integers(0, 4)) == 0:
        kinds = [pick([*losses]) for _ in range(shape[1])]
        loss = [pick(losses[kind]) for kind in kinds]
    else:
        kinds = [pick([*losses])]
        loss = pick(losses[kinds[0]])
    row, column = pick(regularizers), pick(regularizers)
    if draw(st.integers(0, 15)) == 0:
        row = _laplacian(shape[0])
    if draw(st.integers(0, 15)) == 0:
        column = _laplacian(shape[1])
    k = pick(RANKS)
    init = pick(("svd", "random", "kmeans++", "nndsvd", "arrays"))
    if init == "arrays":
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        scale = pick((1.0, 0.0, 1e30))
        init = (scale * rng.normal(size=(shape[0], k)), scale * rng.normal(size=(k, shape[1])))
    return kinds, GLRM(
        k, loss=loss, row_regularizer=row, column_regularizer=column,
        regularization=pick(REGULARIZATION),
        offset=draw(st.booleans()), scale=draw(st.booleans()), init=init,
        solver=pick(("auto", "auto", "proximal", "exact", "lbfgs", "sgd")),
        unstored=pick(("missing", "missing", "missing", "zero")),
        max_iter=draw(st.integers(1, 3)), tol=pick(TOL), n_jobs=pick((None, None, 2)),
        random_state=draw(st.integers(0, 9)),
    )  # fmt: skip


@st.composite
def implicits(draw, shape):
    pick = lambda values: draw(st.sampled_from(values))  # noqa: E731
    return [pick(("number", "positive", "count", "boolean"))], ImplicitALS(
        pick(RANKS), alpha=pick((*6 * (1.0,), 0.0, 40.0, 1e30, 1e-30)),
        unobserved_weight=pick((*6 * (1.0,), 0.1, 0.0, 1e30, 1e-30)),
        regularization=pick(REGULARIZATION), regularization_exponent=pick((0.0, 0.0, 0.5, 1.0,
        30.0)),
        solver=pick(("auto", "cholesky", "cg", "subspace")), max_iter=draw(st.integers(1, 3)),
        tol=pick(TOL),
        n_jobs=pick((None, None, 2)), random_state=draw(st.integers(0, 9)),
    )  # fmt: skip


SGD_LOSSES = {
    "number": [
        "squared",
        "absolute",
        "huber",
        "quantile",
        L.Interval(0.5),
        L.Truncated(L.Huber(0.5), -1.0, 1.0),
        2 * L.Huber(0.5),
    ],
    "positive": ["kl", "bpr_row", "bpr_column", "one_class"],
    "count": ["poisson", "kl"],
    "boolean": ["logistic", "hinge", "squared_hinge", "one_class", "bpr_row"],
    "sign": ["logistic", "hinge"],
    "fraction": ["fractional"],
    "angle": [L.Periodic(24.0)],
    "level": [L.OrdinalHinge(0, 2), L.Multinomial(3)],
}


@st.composite
def sgds(draw, shape):
    pick = lambda values: draw(st.sampled_from(values))  # noqa: E731
    losses = SGD_LOSSES if ALL else FEW_SGD_LOSSES
    kind = pick([*losses])
    return [kind], FPSGFactorizer(
        pick(RANKS), loss=pick(losses[kind]), regularization=pick(REGULARIZATION),
        l1_regularization=ALL * pick((0.0, 0.0, 0.1, 1e8)),
        learning_rate=pick((*6 * (0.1,), 1.0, 1e-30, 1e30)), nonnegative=pick((False, False,
        ALL)), fit_intercept=pick((False, False, ALL)),
        unobserved_weight=pick((0.1, 0.9)), schedule=pick(("fpsg", "rotation", "hogwild")),
        n_blocks=pick((None, None, None, 1, 2, 3)),
        warm_start=draw(st.booleans()), early_stopping=pick((False, False, True)),
        validation_fraction=pick((0.1, 0.5, 0.9)),
        n_iter_no_change=1, unstored=pick(("missing", "missing", "missing", "zero")),
        max_iter=draw(st.integers(1, 3)), tol=pick(TOL),
        n_jobs=pick((None, None, 2)), random_state=draw(st.integers(0, 9)),
    )  # fmt: skip


@st.composite
def cases(draw, models=None):
    shape = draw(shapes())
    make = draw(st.sampled_from(models or (glrms, implicits, sgds)))
    kinds, model = draw(make(shape))
    if draw(st.integers(0, 15)) == 0:
        kinds = [draw(st.sampled_from(KINDS))]  # values of another domain
    cells = draw(tables(kinds, shape))
    form = draw(forms())
    flaw = draw(st.sampled_from([*FLAWS])) if draw(st.integers(0, 9)) == 0 else None
    seed = draw(st.integers(0, 2**16))
    weights = None
    if make is not implicits and draw(st.integers(0, 4)) == 0:
        rng = np.random.default_rng(seed)
        weights = draw(st.sampled_from((1.0, 0.0, 1e-30, 1e30))) * rng.random(shape)
        weights[rng.random(shape) < 0.2] = 0
    return Case(model, cells, form, weights, flaw, seed)


EXTREMES = (
    0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1e-300,
    -1e-300,
    5e-324,
    30.0,
    -30.0,
    800.0,
    -800.0,
    1e30,
    -1e30,
    1e140,
    -1e140,
)
VALUES = {
    "number": EXTREMES, "count": (0.0, 1.0, 7.0, 1e9), "positive": (0.0, 1e-300, 1.0, 1e30,
    1e140), "boolean": (0.0, 1.0),
    "sign": (-1.0, 1.0), "level": (0.0, 1.0, 2.0), "angle": (0.0, 5.0, 23.9, -700.0),
    "fraction": (0.0, 0.5, 1.0),
}  # fmt: skip


@st.composite
def charges(draw):
    """A loss, a prediction and an observation of its domain."""
    kind = draw(st.sampled_from([*VALUES]))
    loss = draw(st.sampled_from([one for one in LOSSES[kind] if not isinstance(one, str)]))
    a = draw(st.sampled_from(VALUES[kind]))
    if not loss.contains(np.array([a]))[0]:
        a = 1.0
    u = draw(st.one_of(st.sampled_from(EXTREMES), st.floats(-1e3, 1e3)))
    return loss, u, a


@st.composite
def steps(draw):
    """A regularizer, a row of factors and the length of a step."""
    regularizer = draw(
        st.sampled_from(
            [one for one in REGULARIZERS if isinstance(one, R.Regularizer) and not one.on_block]
        )
    )
    entry = st.one_of(st.sampled_from(EXTREMES), st.floats(-1e3, 1e3))
    x = np.array(draw(st.lists(entry, min_size=1, max_size=4)))
    return regularizer, x, draw(st.sampled_from((1.0, 0.1, 1e-8, 1e8, 1e-300)))
