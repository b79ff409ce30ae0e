"""Regularizers obey the laws, and the laws catch regularizers that do not."""

import copy
import pickle
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np
import pytest
from numba.core import config
from scipy import sparse
from scipy.optimize import minimize

from skglrm.regularizers import (
    L1,
    L2,
    Ball,
    BlockSparse,
    Box,
    ConstantLast,
    Coupling,
    ElasticNet,
    Entropy,
    Fixed,
    FreeLast,
    GraphLaplacian,
    KSparse,
    L2Norm,
    NonNegative,
    OneSparse,
    Regularizer,
    Shifted,
    Simplex,
    Sum,
    Tied,
    UnitOneSparse,
    Zero,
    get_regularizer,
)
from skglrm.testing import check_regularizer
from skglrm.testing import regularizers as laws

# Each type is compiled, which takes a second or two; those that share a type come last.
COMPILED = [
    Zero(),
    L1(0.3),
    L2(2.0),
    ElasticNet(0.3, 0.4),
    L2Norm(0.5),
    NonNegative(),
    Box(-0.5, 1.0),
    Ball(2.0),
    Simplex(),
    Entropy(0.5),
    OneSparse(),
    UnitOneSparse(),
    KSparse(2),
    BlockSparse(2),
    Sum(L1(0.3), Sum(L2(2.0), NonNegative())),
    Sum(NonNegative(), OneSparse()),
    FreeLast(L1(0.3)),
    ConstantLast(Simplex()),
    Fixed((1.0, 0.5), L1(0.2)),
    Shifted((1.0, -0.5), L2(0.3)),
    L1(0.0),
    L2(40.0),
    Box(-inf, 0.25),
    Entropy(0.0),
    Entropy(1e-3),
    KSparse(1),
    BlockSparse(1),
]
SUMS = [
    Sum(L1(0.3), L2(2.0)),
    Sum(L1(0.3), NonNegative()),
    Sum(L2(0.7), NonNegative()),
    Sum(L2(2.0), OneSparse()),
    Sum(L2(0.3), Simplex()),
    Sum(L2(0.3), Entropy(0.2)),
    Sum(ElasticNet(0.1, 0.2), Box(-1.0, 0.5)),
    Sum(L1(0.1), L2Norm(0.3)),
    Sum(Sum(L1(0.1), Ball(2.0)), NonNegative()),
    Sum(Sum(L1(0.1), KSparse(2)), NonNegative()),
    Sum(NonNegative(), BlockSparse(2)),
    Sum(L2(1.0), Shifted((1.0, 0.5), NonNegative())),
    Sum(L2(1.0), FreeLast(Sum(L1(0.5), NonNegative()))),
]
ROW_REGULARIZERS = COMPILED + SUMS
TIED = [Tied(L1(0.5)), Tied(L1(0.5), 0.1), Tied(L1(0.5), 0.1, True)]
REGULARIZERS = ROW_REGULARIZERS + TIED


@pytest.mark.parametrize("regularizer", COMPILED + TIED, ids=repr)
def test_regularizer_obeys_the_laws(regularizer):
    check_regularizer(regularizer)


@pytest.mark.parametrize("regularizer", SUMS, ids=repr)
def test_sums_obey_the_laws_in_python(regularizer, monkeypatch):
    """Not compiled, for a type of its own each: the code is that of the sums above."""
    monkeypatch.setattr(laws, "_check_compiled_regularizer", lambda *_: None)
    check_regularizer(regularizer)


@pytest.mark.parametrize("regularizer", ROW_REGULARIZERS, ids=repr)
def test_prox_beats_every_point_of_a_grid(regularizer):
    ticks = np.linspace(-3.0, 3.0, 61)  # 0, ½ and 1 among them
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    values = np.array([regularizer.value(u) for u in grid])
    assert np.isfinite(values).any()
    for z in ([0.3, -0.2], [1.7, 1.4], [-2.0, 0.9]):
        for step in (0.2, 1.5):
            x = np.array(z)
            regularizer.prox(x, step)
            reached = regularizer.value(x) + ((x - z) ** 2).sum() / (2 * step)
            assert reached <= (values + ((grid - z) ** 2).sum(axis=1) / (2 * step)).min() + 1e-9


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
def test_prox_keeps_the_dtype_and_ends_at_a_finite_value_in_float32(regularizer):
    rng = np.random.default_rng(0)
    shape = (3, 2) if regularizer.on_block else 2
    for scale in (0.1, 1.0, 30.0):
        x = rng.normal(0, scale, shape).astype(np.float32)
        exact = x.astype(np.float64)
        regularizer.prox(x, 0.7)
        regularizer.prox(exact, 0.7)
        assert x.dtype == np.float32
        assert np.isfinite(regularizer.value(x))
        np.testing.assert_allclose(x, exact, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("regularizer", "value", "row"),
    [
        (Zero(), 0.0, [3.0, -1.0, 0.5]),
        (L2(1.0), 5.125, [1.0, -1 / 3, 1 / 6]),  # ½ (9 + 1 + ¼); divided by 1 + 2
        (L1(0.5), 2.25, [2.0, 0.0, 0.0]),  # ½ (3 + 1 + ½); shrunk by 2 · ½
        (ElasticNet(0.5, 1.0), 7.375, [2 / 3, 0.0, 0.0]),
        (NonNegative(), inf, [3.0, 0.0, 0.5]),
        (Box(-0.5, 2.0), inf, [2.0, -0.5, 0.5]),
        (Sum(L1(0.5), L2(1.0)), 7.375, [2 / 3, 0.0, 0.0]),
        (Sum(L2(1.0), L1(0.5)), 7.375, [2 / 3, 0.0, 0.0]),
        (Sum(L1(0.125), NonNegative()), inf, [2.75, 0.0, 0.25]),
        (Sum(L2(1.0), NonNegative()), inf, [1.0, 0.0, 1 / 6]),
        (FreeLast(L2(1.0)), 5.0, [1.0, -1 / 3, 0.5]),
        (ConstantLast(L2(1.0)), inf, [1.0, -1 / 3, 1.0]),
        (Fixed((0.25,), L2(1.0)), inf, [0.25, -1 / 3, 1 / 6]),
        (Shifted((3.0, 2.0, 0.5), L2(1.0)), 4.5, [3.0, 1.0, 0.5]),
    ],
    ids=repr,
)
def test_value_and_prox_of_a_row_with_step_2(regularizer, value, row):
    x = np.array([3.0, -1.0, 0.5])
    assert regularizer.value(x) == value
    regularizer.prox(x, 2.0)
    np.testing.assert_allclose(x, row, rtol=1e-15)


@pytest.mark.parametrize(
    ("regularizer", "row", "projected"),
    [
        (Simplex(), [0.5, 0.0, 0.0], [2 / 3, 1 / 6, 1 / 6]),
        (Simplex(), [0.9, 0.6, -0.3, 0.1], [0.65, 0.35, 0.0, 0.0]),
        (Simplex(), [2.0, 1.0, 0.0], [1.0, 0.0, 0.0]),
        (Simplex(), [1e20, 1e20, 0.0], [0.5, 0.5, 0.0]),
        (Ball(7.0), [1.0] * 7, [1.0] * 7),
        (Ball(7.0), [1.0] * 100, [0.7] * 100),
        (KSparse(3), [-1.0, 2.0, -3.0, 4.0, -5.0], [0.0, 0.0, -3.0, 4.0, -5.0]),
        (OneSparse(), [-3.0, 2.0], [-3.0, 0.0]),
        (Sum(NonNegative(), OneSparse()), [-3.0, 2.0], [0.0, 2.0]),
        (Sum(NonNegative(), OneSparse()), [-3.0, -2.0], [0.0, 0.0]),
        (BlockSparse(2), [3.0, 0.0, 2.0, -2.5, 1.0], [0.0, 0.0, 2.0, -2.5, 0.0]),
        (BlockSparse(2), [0.0, 0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0, 1.0]),
    ],
    ids=repr,
)
def test_projections_known_by_hand(regularizer, row, projected):
    x = np.array(row)
    assert regularizer.value(x) == (0.0 if row == projected else inf)
    regularizer.prox(x, 2.0)
    np.testing.assert_allclose(x, projected, rtol=1e-14)


@pytest.mark.parametrize(
    ("regularizer", "row", "projected"),
    [
        (OneSparse(), [1.0, -2.0, 2.0], [0.0, -2.0, 0.0]),
        (UnitOneSparse(), [0.0, 0.5, 0.5], [0.0, 1.0, 0.0]),
        (UnitOneSparse(), [0.0, 0.0], [1.0, 0.0]),
        (KSparse(2), [1.0, -2.0, 1.0, -1.0], [1.0, -2.0, 0.0, 0.0]),
        (KSparse(2), [1.0, 1.0, 1.0], [1.0, 1.0, 0.0]),
        (BlockSparse(2), [3.0, 4.0, 5.0, 0.0], [3.0, 4.0, 0.0, 0.0]),
    ],
    ids=repr,
)
def test_ties_go_to_the_lowest_index(regularizer, row, projected):
    x = np.array(row)
    regularizer.prox(x, 1.0)
    assert x.tolist() == projected


@pytest.mark.parametrize("regularizer", [L1(0.0), L2(0.0), L2Norm(0.0), ElasticNet(0.0, 0.0)])
def test_strength_0_behaves_like_zero(regularizer):
    x = np.random.default_rng(0).normal(size=5)
    start = x.copy()
    regularizer.prox(x, 3.0)
    np.testing.assert_array_equal(x, start)
    assert regularizer.value(x) == 0.0
    assert regularizer.quadratic_strength == 0.0


def test_entropy_of_strength_0_is_the_simplex():
    for z in np.random.default_rng(0).normal(0, 2, (20, 6)):
        x, y = z.copy(), z.copy()
        Entropy(0.0).prox(x, 1.0)
        Simplex().prox(y, 1.0)
        np.testing.assert_allclose(x, y, atol=1e-14)


def test_a_constraint_has_no_strength_that_could_switch_it_off():
    x = np.array([-1.0])
    Sum(L1(0.0), NonNegative()).prox(x, 0.0)
    assert x == [0.0]


@pytest.mark.parametrize("strength", [1e-300, 1e-12, 1e-6, 1.0, 1e6])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_entropy_reaches_its_optimality_conditions_at_any_scale(strength, scale):
    z = np.random.default_rng(0).normal(0, scale, 7)
    x = z.copy()
    Entropy(strength).prox(x, 1.0)
    assert (x >= 0).all()
    assert x.sum() == pytest.approx(1.0, rel=1e-12)
    # τ log x + x − z is the same for all entries that have not underflowed.
    kept = x > 1e-300
    multiplier = strength * np.log(x[kept]) + x[kept] - z[kept]
    assert np.ptp(multiplier) <= 1e-11 * (1 + strength + scale)


def solve(objective, start, constraints=(), bounds=None):
    """Minimiser of a smooth convex function, by sequential quadratic programs."""
    found = minimize(
        objective, start, method="SLSQP", constraints=constraints, bounds=bounds,
        options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    return found.x


def test_simplex_is_the_solution_of_the_quadratic_program():
    for z in np.random.default_rng(1).normal(0, 1, (5, 4)):
        x = z.copy()
        Simplex().prox(x, 1.0)
        total = {"type": "eq", "fun": lambda u: u.sum() - 1}
        expected = solve(lambda u, z=z: ((u - z) ** 2).sum(), np.full(4, 0.25), total, [(0, 1)] * 4)
        np.testing.assert_allclose(x, expected, atol=1e-6)


@pytest.mark.parametrize("kind", [L1, L2, L2Norm, Entropy])
@pytest.mark.parametrize("strength", [-0.1, inf, np.nan])
def test_strength_must_be_finite_and_not_negative(kind, strength):
    with pytest.raises(ValueError, match=rf"{kind.__name__} needs a finite strength >= 0"):
        kind(strength)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ElasticNet(0.1, -1.0), "ElasticNet needs a finite l2 >= 0; got -1.0"),
        (lambda: Box(1.0, 0.0), "Box needs lower <= upper"),
        (lambda: Box(inf, inf), "Box needs lower <= upper"),
        (lambda: Box(np.nan, 0.0), "Box needs lower <= upper"),
        (lambda: Ball(0.0), "Ball needs a finite radius > 0; got 0.0"),
        (lambda: KSparse(0), "KSparse needs n >= 1; got 0"),
        (lambda: BlockSparse(0), "BlockSparse needs block_size >= 1"),
        (lambda: Fixed(()), "Fixed needs one or more finite numbers as values; got ()"),
        (lambda: Fixed(3.0), "Fixed needs one or more finite numbers as values; got 3.0"),
        (lambda: Shifted((1.0, inf), L2()), "Shifted needs one or more finite numbers as center"),
        (lambda: Tied(decreasing=inf), "Tied needs a number as decreasing"),
        (lambda: Tied(negative=True), "Tied with negative=True needs decreasing"),
    ],
)
def test_fields_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda part: Sum(L2(), part),
        lambda part: FreeLast(part),
        lambda part: ConstantLast(part),
        lambda part: Fixed((1.0,), part),
        lambda part: Shifted((1.0,), part),
        lambda part: Tied(part),
        lambda part: GraphLaplacian.from_adjacency(np.zeros((2, 2)), 1.0, part),
    ],
)
@pytest.mark.parametrize("part", [L1, "l1", Tied()], ids=repr)
def test_combinators_take_regularizers_of_rows_only(make, part):
    with pytest.raises(TypeError, match="needs regularizers of rows; got"):
        make(part)


def test_tuples_may_be_given_as_arrays():
    assert Fixed(np.array([1.0, 2.0]), L2()) == Fixed((1, 2), L2())
    assert Shifted([0.5], L2()) == Shifted((0.5,), L2())


@pytest.mark.parametrize(
    ("regularizer", "size", "message"),
    [
        (Fixed((1.0, 2.0, 3.0)), 2, "gives 3 values, but a row has 2 entries"),
        (Shifted((1.0, 2.0), L2()), 3, "has a center of 2 numbers, but a row has 3"),
        (ConstantLast(Simplex()), 1, "needs rows of one entry or more; got 0"),
        (FreeLast(Zero()), 0, "needs rows of one entry or more"),
        (UnitOneSparse(), 0, "needs rows of one entry or more"),
        (Sum(L2(), Shifted((1.0,), L1())), 2, "center of 1 numbers"),
        (Fixed((1.0,), Simplex()), 1, "needs rows of one entry or more"),
        (Tied(L2()), 0, "Tied needs offsets"),
    ],
    ids=repr,
)
def test_rows_of_the_wrong_size_are_refused(regularizer, size, message):
    with pytest.raises(ValueError, match=message):
        regularizer.check_size(size)


@pytest.mark.parametrize("regularizer", [r for r in ROW_REGULARIZERS if "Last" not in repr(r)])
def test_an_empty_row_does_no_harm(regularizer):
    x = np.empty(0)
    regularizer.prox(x, 1.0)
    assert regularizer.value(x) in (0.0, inf)


# ------------------------------------------------------------------ sums


def test_the_order_of_the_parts_does_not_matter():
    assert Sum(L1(0.3), NonNegative()) == Sum(NonNegative(), L1(0.3))
    assert Sum(L2(0.3), Simplex()) == Sum(Simplex(), L2(0.3))
    assert Sum(Sum(L1(), L2()), NonNegative()) == Sum(L1(), Sum(NonNegative(), L2()))
    assert Sum(L1(), L2()).parts == (L2(), L1())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (L1(), L1()),
        (L1(), Simplex()),
        (ElasticNet(), Ball()),
        (Box(), OneSparse()),
        (OneSparse(), Ball()),
        (L2Norm(), L2Norm()),
        (UnitOneSparse(), NonNegative()),
        (Sum(L2(), Simplex()), NonNegative()),
    ],
    ids=repr,
)
def test_sums_without_an_exact_prox_are_refused(first, second):
    for pair in ((first, second), (second, first)):
        with pytest.raises(ValueError, match="The exact prox of the sum of .* is not known"):
            Sum(*pair)


def test_what_depends_on_the_position_is_not_separable():
    parts = (FreeLast(L1()), ConstantLast(L1()), Fixed((1.0,), L1()), Shifted((1.0, 2.0), L1()))
    assert [part.separable for part in parts] == [False] * 4
    assert Sum(L1(), Sum(L2(), NonNegative())).separable
    assert not Sum(L1(), Ball()).separable


def test_parts_without_effect_fit_anything():
    assert Sum(Zero(), Simplex()).parts == (Zero(), Simplex())
    assert Sum(Sum(L2(0.0), Simplex()), L1(0.0)).second.second == Simplex()


def test_quadratic_strength_is_known_where_there_is_one():
    assert Zero().quadratic_strength == 0.0
    assert L2(0.5).quadratic_strength == 0.5
    assert ElasticNet(0.0, 0.5).quadratic_strength == 0.5
    assert Sum(L2(0.5), Sum(L2(1.0), Zero())).quadratic_strength == 1.5
    assert FreeLast(Zero()).quadratic_strength == 0.0
    others = (
        L1(), NonNegative(), Sum(L2(), NonNegative()), FreeLast(L2()), ConstantLast(L2()),
        Shifted((1.0,), L2()), Tied(L2()), ElasticNet(0.5, 0.5), Simplex(),
    )  # fmt: skip
    assert [one.quadratic_strength for one in others] == [None] * len(others)
    assert Sum(L2(0.5), Sum(NonNegative(), Box(-1, 2))).ridge_on_interval == (0.5, 0.0, 2.0)
    assert Shifted((1.0, 2.0), L2(0.5)).quadratic_center == (0.5, (1.0, 2.0))
    assert L2(0.5).quadratic_center == (0.5, None)
    assert Shifted((1.0,), L1()).quadratic_center is None


# ------------------------------------------------------------------ tied blocks


def test_a_tied_block_is_charged_once():
    """So its prox is that of the mean for the step divided by the number of rows."""
    block = np.array([[1.0, 9.0], [2.0, 8.0], [6.0, -7.0]])
    Tied(L2(2.0)).prox(block, 1.5)
    np.testing.assert_allclose(block, [[1.5, 9.0], [1.5, 8.0], [1.5, -7.0]])  # 3 / (1 + 1.5 · 2/3)
    assert Tied(L2(2.0)).value(block) == pytest.approx(1.5**2)


@pytest.mark.parametrize(("gap", "negative"), [(0.0, False), (0.3, False), (0.3, True)])
def test_thresholds_are_the_solution_of_the_quadratic_program(gap, negative):
    rng = np.random.default_rng(2)
    for n in (1, 2, 3, 6):
        for scale in (0.2, 1.0):
            z = rng.normal(0, scale, n)
            block = np.column_stack([np.zeros(n), z])
            Tied(Zero(), gap, negative).prox(block, 1.0)
            limits = [{"type": "ineq", "fun": lambda t: t[:-1] - t[1:] - gap}] if n > 1 else []
            limits += [{"type": "ineq", "fun": lambda t: -gap - t[0]}] * negative
            start = -gap * np.arange(1.0, n + 1)
            expected = solve(lambda t, z=z: ((t - z) ** 2).sum(), start, limits)
            np.testing.assert_allclose(block[:, 1], expected, atol=1e-6)


def test_violators_are_pooled():
    block = np.array([[3.0], [5.0], [1.0], [2.0]])  # no components, thresholds only
    Tied(decreasing=0.0).prox(block, 1.0)
    assert block[:, 0].tolist() == [4.0, 4.0, 1.5, 1.5]


def test_tied_blocks_that_break_a_constraint_cost_infinity():
    good = np.array([[1.0, 0.5], [1.0, 0.1]])
    assert Tied(L2(2.0), 0.4).value(good) == 1.0
    assert Tied(L2(2.0), 0.5).value(good) == inf
    assert Tied(L2(2.0), 0.4, True).value(good) == inf
    assert Tied(L2(2.0), 0.4, True).value(good - [0.0, 1.0]) == 1.0
    assert Tied(L2(2.0)).value(np.array([[1.0, 0.5], [1.01, 0.1]])) == inf


# ------------------------------------------------------------------ graphs

WEIGHTS = np.array(
    [[0.0, 1.0, 0.0, 0.5], [1.0, 0.0, 2.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0]]
)


@pytest.fixture
def graph():
    return GraphLaplacian.from_adjacency(WEIGHTS, strength=1.5, regularizer=L2(0.1))


def test_a_graph_charges_differences_between_neighbours(graph):
    H = np.random.default_rng(0).normal(size=(4, 3))
    differences = ((H[:, None] - H[None]) ** 2).sum(axis=2)
    assert graph.value_all(H) == pytest.approx(1.5 / 4 * (WEIGHTS * differences).sum(), rel=1e-13)
    assert graph.value_all(np.ones((4, 2))) == pytest.approx(0.0, abs=1e-14)
    assert graph.regularizer == L2(0.1)
    assert isinstance(graph, Coupling)


def test_the_majorizer_of_a_graph_touches_and_lies_above(graph):
    rng = np.random.default_rng(0)
    H = rng.normal(size=(4, 3))
    linear, diagonal = graph.majorizer(H)
    assert linear.shape == (4, 3)
    assert diagonal.shape == (4,)

    def bound(G):
        squares = ((G - H) ** 2).sum(axis=1)
        return graph.value_all(H) + (linear * (G - H)).sum() + 0.5 * diagonal @ squares

    assert bound(H) == graph.value_all(H)
    for scale in (1e-3, 1.0, 10.0):
        for _ in range(20):
            G = H + rng.normal(0, scale, H.shape)
            assert bound(G) >= graph.value_all(G) - 1e-12
            slope = (graph.value_all(H + 1e-6 * (G - H)) - graph.value_all(H)) / 1e-6
            assert slope == pytest.approx((linear * (G - H)).sum(), abs=1e-4 * scale**2 + 1e-6)
    # Tight: neighbours of opposite sign reach the bound of a single edge.
    edge = GraphLaplacian.from_adjacency([[0, 1], [1, 0]])
    linear, diagonal = edge.majorizer(np.zeros((2, 1)))
    G = np.array([[1.0], [-1.0]])
    assert edge.value_all(G) == 0.5 * diagonal @ (G[:, 0] ** 2)


def test_prox_of_a_graph_satisfies_its_equation(graph):
    Z = np.random.default_rng(0).normal(size=(4, 3))
    H = Z.copy()
    assert graph.prox_all(H, 0.7) is None
    laplacian = np.diag(WEIGHTS.sum(axis=1)) - WEIGHTS
    np.testing.assert_allclose(H + 0.7 * 1.5 * laplacian @ H, Z, atol=1e-13)


def test_a_graph_is_a_value(graph):
    same = GraphLaplacian(1.5, sparse.coo_array(graph.laplacian), L2(0.1))
    for other in (same, copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        assert other == graph
        assert hash(other) == hash(graph)
    assert graph != GraphLaplacian(1.0, graph.laplacian, L2(0.1))
    assert graph != GraphLaplacian(1.5, graph.laplacian)
    assert graph != GraphLaplacian.from_adjacency(2 * WEIGHTS, 1.5, L2(0.1))
    assert graph != "graph"
    assert "4 nodes, 3 edges" in repr(graph)


def test_a_graph_keeps_a_copy():
    weights = WEIGHTS.copy()
    graph = GraphLaplacian.from_adjacency(weights)
    weights[:] = 0.0
    assert graph == GraphLaplacian.from_adjacency(WEIGHTS)


def test_a_graph_without_edges_costs_nothing():
    graph = GraphLaplacian.from_adjacency(sparse.csr_array((3, 3)))
    H = np.arange(6.0).reshape(3, 2)
    assert graph.value_all(H) == 0.0
    graph.prox_all(H, 1.0)
    np.testing.assert_array_equal(H, np.arange(6.0).reshape(3, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GraphLaplacian(1.0, np.eye(2)), "do not sum to 0"),
        (lambda: GraphLaplacian(1.0, -WEIGHTS), "do not sum to 0"),
        (lambda: GraphLaplacian(1.0, [[-1.0, 1.0], [1.0, -1.0]]), "positive entries off"),
        (lambda: GraphLaplacian(1.0, np.zeros((2, 3))), "must be square"),
        (lambda: GraphLaplacian(1.0, [[1.0, -1.0], [0.0, 0.0]]), "is not symmetric"),
        (lambda: GraphLaplacian(-1.0, np.zeros((2, 2))), "strength >= 0"),
        (lambda: GraphLaplacian.from_adjacency([[0, -1], [-1, 0]]), "negative weights"),
        (lambda: GraphLaplacian.from_adjacency([[0, np.nan], [np.nan, 0]]), "holds NaN"),
        (lambda: GraphLaplacian.from_adjacency(WEIGHTS).value_all(np.ones((3, 1))), "4 nodes"),
    ],
)
def test_what_is_no_graph_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ------------------------------------------------------------------ names


def test_names_take_their_strength_from_the_argument():
    assert get_regularizer("l2", 0.7) == L2(0.7)
    assert get_regularizer("l1", 0.7) == L1(0.7)
    assert get_regularizer("l2_norm", 0.7) == L2Norm(0.7)
    assert get_regularizer("nonnegative_l2", 0.7) == Sum(NonNegative(), L2(0.7))
    assert get_regularizer("nonnegative_l1", 0.7) == Sum(NonNegative(), L1(0.7))
    assert get_regularizer("simplex", 0.7) == Simplex()
    assert [get_regularizer(name) for name in (None, "none", "zero")] == [Zero()] * 3


def test_an_instance_carries_its_own_strength(graph):
    assert get_regularizer(L2(3.0), 0.7) == L2(3.0)
    assert get_regularizer(graph, 0.7) is graph


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("lasso", ValueError, "Unknown regularizer 'lasso'; the names are .*'l1'"),
        (L2, TypeError, "A class needs calling"),
        (0.5, TypeError, "must be a name or an instance"),
    ],
)
def test_what_is_no_regularizer_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        get_regularizer(given)


# ------------------------------------------------------------------ the laws catch mistakes


@dataclass(frozen=True)
class NonZeros(Regularizer):
    """A correct regularizer that is not convex: ``strength`` for every number but 0."""

    strength: float = 1.0

    convex: ClassVar[bool] = False

    def value(self, row):
        total = 0.0
        for d in range(row.size):
            total += self.strength * (row[d] != 0)
        return total

    def prox(self, row, length):
        for d in range(row.size):
            if row[d] * row[d] <= 2 * length * self.strength:
                row[d] = 0.0


def test_laws_hold_for_a_correct_regularizer_of_a_user():
    check_regularizer(NonZeros(0.5))
    check_regularizer(Sum(NonZeros(0.5), L2(1.0)))


def test_a_sum_is_convex_only_if_its_parts_are():
    assert not Sum(NonZeros(), L2(0.0)).convex
    assert not Sum(L2(0.0), NonZeros()).convex
    assert Sum(L1(), L2()).convex


@dataclass(frozen=True)
class ProxDoesNothing(L1):
    """The mistake of dask-glm's ElasticNet."""

    def prox(self, x, step):
        pass


@dataclass(frozen=True)
class WrongOrder(Regularizer):
    """A sum whose prox is a composition where that is wrong."""

    first: Regularizer
    second: Regularizer

    def value(self, x):
        return self.first.value(x) + self.second.value(x)

    def prox(self, x, step):
        self.first.prox(x, step)
        self.second.prox(x, step)


@dataclass(frozen=True)
class ValueWrites(Shifted):
    def value(self, x):
        for d in range(x.size):
            x[d] -= self.center[d]
        return self.regularizer.value(x)


@dataclass(frozen=True)
class WholeStepForTheMean(Tied):
    """The mistake of LowRankModels.jl's tied columns."""

    def prox(self, x, step):
        x[:, :-1] = x[:, :-1].mean(axis=0)
        self.regularizer.prox(x[0, :-1], step)
        x[1:, :-1] = x[0, :-1]


@dataclass(frozen=True)
class LargestSignedEntry(OneSparse):
    """The mistake of LowRankModels.jl's one-sparse constraint."""

    def prox(self, x, step):
        largest = np.argmax(x)
        for d in range(x.size):
            if d != largest:
                x[d] = 0.0


@dataclass(frozen=True)
class OneSparseCalledConvex(OneSparse):
    convex: ClassVar[bool] = True


@dataclass(frozen=True)
class CalledHomogeneous(L2):
    homogeneous: ClassVar[bool] = True


@dataclass(frozen=True)
class CalledSeparable(Ball):
    separable: ClassVar[bool] = True


@dataclass(frozen=True)
class CalledShrinking(L1):
    shrinks: ClassVar[bool] = True


@dataclass(frozen=True)
class CalledOneHot(OneSparse):
    one_hot: ClassVar[bool] = True


@dataclass(frozen=True)
class CalledQuadratic(L1):
    @property
    def ridge_on_interval(self):
        return self.strength, -inf, inf


@dataclass(frozen=True)
class CalledCentred(Shifted):
    @property
    def quadratic_center(self):
        return 1.0, self.center


@dataclass(frozen=True)
class TooLong(Zero):
    def check_size(self, size):
        raise ValueError("rows of 65 entries only")


@dataclass(frozen=True)
class ProxReturns(L2):
    def prox(self, x, step):
        return x / (1.0 + step * self.strength)


@dataclass(frozen=True)
class ProxIgnoresStep(L1):
    def prox(self, x, step):
        for d in range(x.size):
            x[d] -= min(max(x[d], -self.strength), self.strength)


@dataclass(frozen=True)
class ProxOfSquaredNorm(L2):
    """The prox of λ‖x‖² without the half."""

    def prox(self, x, step):
        for d in range(x.size):
            x[d] /= 1.0 + 2.0 * step * self.strength


@dataclass(frozen=True)
class ProxIgnoresStrength(L1):
    """The mistake of LowRankModels.jl's NonNegOneReg."""

    def prox(self, x, step):
        for d in range(x.size):
            x[d] -= min(max(x[d], -step), step)


@dataclass(frozen=True)
class StaysNegative(NonNegative):
    def prox(self, x, step):
        for d in range(x.size):
            x[d] = max(x[d], -1e-3)


@dataclass(frozen=True)
class AlwaysRescales(Ball):
    """The mistake of LowRankModels.jl's QuadConstraint: it moves points inside the ball."""

    def prox(self, x, step):
        norm = 1e-300
        for d in range(x.size):
            norm += x[d] * x[d]
        for d in range(x.size):
            x[d] *= self.radius / np.sqrt(norm)


@dataclass(frozen=True)
class NotIdempotent(NonNegative):
    def prox(self, x, step):
        for d in range(x.size):
            x[d] = max(0.5 * x[d], 0.0)


@dataclass(frozen=True)
class ProjectionWithStep(NonNegative):
    def prox(self, x, step):
        for d in range(x.size):
            x[d] = x[d] if x[d] > 0 else step


@dataclass(frozen=True)
class HardThresholdTooLow(NonZeros):
    def prox(self, x, step):
        for d in range(x.size):
            if x[d] * x[d] <= step * self.strength:
                x[d] = 0.0


@dataclass(frozen=True)
class NonZerosCalledConvex(NonZeros):
    convex: ClassVar[bool] = True


@dataclass(frozen=True)
class ValueIsNaN(L2):
    def value(self, x):
        return np.nan


@dataclass(frozen=True)
class FarAway(Zero):
    """Every point is as good, but the nearest is the point itself."""

    convex: ClassVar[bool] = False

    def prox(self, x, step):
        for d in range(x.size):
            x[d] += 1.0


@dataclass(frozen=True)
class DiffersWhenCompiled(Zero):
    def value(self, x):
        return 1.0 if (2**62 + int(x.size)) * 4 < 1000 else 0.0


@dataclass(frozen=True)
class DoesNotCompile(Zero):
    def prox(self, x, step):
        x[:] = [float(number) for number in x.tolist()]


@dataclass
class Mutable(Regularizer):
    strength: float = 1.0


@pytest.mark.parametrize(
    ("regularizer", "law", "numbers"),
    [
        (
            WrongOrder(L2(2.0), L1(0.5)),
            "three points",
            r"ξ=array.* at least [\d.]+, but it is [\d.]+.*some pairs",
        ),
        (ProxDoesNothing(), "three points", "should be at least"),
        (ProxReturns(), "in place", "returned array"),
        (ProxIgnoresStep(0.5), "three points", "0.001"),
        (ProxOfSquaredNorm(), "three points", "minimiser of value"),
        (ProxIgnoresStrength(0.5), "three points", "minimiser of value"),
        (StaysNegative(), "finite", "whose value is inf"),
        (AlwaysRescales(2.0), "firm", "firmly non-expansive"),
        (NotIdempotent(), "projection", "leave points"),
        (ProjectionWithStep(), "projection", r"array\(\[1.\]\) with step 1, but to"),
        (HardThresholdTooLow(), "minimum", "minimiser of value"),
        (NonZerosCalledConvex(0.5), "firm", r"convex: ClassVar\[bool\] = False"),
        (OneSparseCalledConvex(), "firm", "firmly non-expansive"),
        (ValueWrites((1.0, 2.0), L2()), "in place", "turned the row into"),
        (WholeStepForTheMean(L2()), "three points", "minimiser of value"),
        (LargestSignedEntry(), "projection", "leave points"),
        (CalledHomogeneous(), "claims", "homogeneous is set"),
        (CalledSeparable(), "claims", "separable is set"),
        (CalledShrinking(), "claims", "shrinks is set"),
        (CalledOneHot(), "claims", "one_hot is set"),
        (CalledQuadratic(), "claims", "ridge_on_interval is"),
        (CalledCentred((1.0, 2.0), L2(2.0)), "claims", "quadratic_center is"),
        (ValueIsNaN(), "finite", "is nan"),
        (FarAway(), "projection", "from there"),
        (DiffersWhenCompiled(), "compiled", "in a kernel, but"),
        (DoesNotCompile(), "compiled", "numba refuses"),
        (Mutable(), "frozen", r"@dataclass\(frozen=True\)"),
        (L1, "instance", "Call the class"),
    ],
    ids=lambda one: one if isinstance(one, str) and one.isidentifier() else "",
)
def test_laws_refuse(regularizer, law, numbers):
    if law == "compiled" and config.DISABLE_JIT:
        pytest.skip("nothing is compiled")
    with pytest.raises(AssertionError, match=rf"(?s)breaks the law '{law}': .*{numbers}"):
        check_regularizer(regularizer)


def test_rows_that_cannot_be_made_are_refused():
    with pytest.raises(ValueError, match="rows of 65 entries only"):
        check_regularizer(TooLong())
