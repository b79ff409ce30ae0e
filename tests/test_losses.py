"""Losses obey the laws, and cost what they should."""

from dataclasses import dataclass

import numpy as np
import pytest

from skglrm.domains import Boolean, Circle, Count, Ordinal, Positive, Real
from skglrm.losses import (
    KL,
    Absolute,
    Fractional,
    Hinge,
    Huber,
    Interval,
    Logistic,
    Loss,
    Multinomial,
    OrdinalHinge,
    Periodic,
    Poisson,
    Quadratic,
    Quantile,
    Scaled,
    SquaredHinge,
    Truncated,
    WeightedHinge,
    get_loss,
)
from skglrm.testing import check_loss

DIFFERENCE = [
    Quadratic(), Absolute(), Huber(), Huber(0.3), Huber(25.0), Quantile(), Quantile(0.9),
    Interval(),
]  # fmt: skip
BOOLEAN = [Logistic(), Hinge(), WeightedHinge(3.0), WeightedHinge(0.25), SquaredHinge()]
OTHERS = [
    Periodic(5.0), Periodic(20.0), Interval(0.5, -1.0, 2.0), Truncated(Huber(0.5), -1.5, 2.0),
    Poisson(), OrdinalHinge(-1, 2), OrdinalHinge(0, 5), Scaled(2.5, Absolute()),
]  # fmt: skip
# The laws resolve slopes to 1e-7, in which these change much where u is about 0.
OF_POSITIVE = [KL(), Fractional()]
LOSSES = DIFFERENCE + BOOLEAN + OTHERS + OF_POSITIVE

POSITIVE = [1e-3, 0.01, 0.1, 0.25, 0.26, 0.9, 1.0, 1.1, 2.0, 3.0, 5.0, 7.0, 40.0, 1e3]


@pytest.mark.parametrize("loss", DIFFERENCE + BOOLEAN + OTHERS, ids=repr)
def test_loss_obeys_the_laws(loss):
    check_loss(loss)


@pytest.mark.parametrize("loss", OF_POSITIVE, ids=repr)
def test_loss_of_positive_numbers_obeys_the_laws(loss):
    check_loss(loss, predictions=POSITIVE)


def test_negative_predictions_of_kl_obey_the_laws():
    check_loss(KL(), predictions=[-1e3, -40.0, -5.5, -1.0, -0.3, -0.1, *POSITIVE])


@pytest.mark.parametrize("loss", DIFFERENCE, ids=repr)
def test_a_perfect_prediction_costs_nothing_and_any_other_something(loss):
    assert loss.value(1.5, 1.5) == 0 == loss.gradient(1.5, 1.5)
    assert loss.value(1.5, 1.25) > 0 < loss.value(1.25, 1.5)


# ------------------------------------------------------------------ numbers to check by hand


@pytest.mark.parametrize(
    ("loss", "value", "gradient"),
    [(Quadratic(), 4.5, 3.0), (Absolute(), 3.0, 1.0), (Huber(0.5), 1.375, 0.5), (Huber(4), 4.5, 3)],
    ids=repr,
)
def test_cost_of_predicting_4_where_1_was_observed(loss, value, gradient):
    assert loss.value(4.0, 1.0) == loss.value(-2.0, 1.0) == value
    assert loss.gradient(4.0, 1.0) == -loss.gradient(-2.0, 1.0) == gradient


@pytest.mark.parametrize(
    ("loss", "u", "a", "value", "gradient"),
    [
        (Logistic(), 1.0, 1.0, 0.3132616875, -0.2689414214),
        (Logistic(), 1.0, 0.0, 1.3132616875, 0.7310585786),
        (Logistic(), -1.0, 0.0, 0.3132616875, 0.2689414214),
        (Logistic(), -1.0, 1.0, 1.3132616875, -0.7310585786),
        (Logistic(), 0.7, 1.0, 0.4031860489, -0.3318122278),
        (3 * Logistic(), 0.7, 1.0, 3 * 0.4031860489, -3 * 0.3318122278),
        (Hinge(), -1.0, 1.0, 2.0, -1.0),
        (Hinge(), 2.0, 1.0, 0.0, 0.0),
        (Hinge(), -2.0, 0.0, 0.0, 0.0),
        (Hinge(), 2.0, 0.0, 3.0, 1.0),
        (WeightedHinge(3.0), -1.0, 1.0, 6.0, -3.0),
        (WeightedHinge(3.0), 2.0, 0.0, 3.0, 1.0),
        (SquaredHinge(), -1.0, 1.0, 4.0, -4.0),
        (SquaredHinge(), 2.0, 1.0, 0.0, 0.0),
        (Poisson(), 0.3, 2.0, 0.1361531687, -0.6501411924),
        (Poisson(), 0.3, 0.0, 1.3498588076, 1.3498588076),
        (Quantile(0.9), 1.0, 3.0, 1.8, -0.9),
        (Quantile(0.9), 3.0, 1.0, 0.2, 0.1),
        (Huber(1.0), 1.5, 1.0, 0.125, 0.5),
        (Huber(1.0), 3.5, 1.0, 2.0, 1.0),
        (Periodic(8.0), 3.0, 1.0, 1.0, np.pi / 4),
        (Periodic(8.0), 9.0, 1.0, 0.0, 0.0),
        (Periodic(8.0), -3.0, 1.0, 2.0, 0.0),
        (KL(), 2.0, 1.0, 1.0 - np.log(2.0), 0.5),
        (KL(), 2.0, 0.0, 2.0, 1.0),
        (KL(), 0.0, 0.0, 0.0, 1.0),
        (Fractional(), 20.0, 10.0, 1.0, 0.1),
        (Fractional(), 5.0, 10.0, 1.0, -0.4),
        (Interval(0.5), 3.0, 1.0, 1.5, 1.0),
        (Interval(0.5), 1.4, 1.0, 0.0, 0.0),
        (Interval(0.5), 0.0, 1.0, 0.5, -1.0),
        (Interval(0.5, lower=1.0), -9.0, 1.0, 0.0, 0.0),
        (Interval(0.5, lower=1.0), 2.0, 1.0, 0.5, 1.0),
        (Interval(0.5, upper=1.0), 9.0, 1.0, 0.0, 0.0),
        (Interval(0.5, upper=1.0), 0.0, 1.0, 0.5, -1.0),
        (Truncated(Quadratic(), 1.0, 5.0), 9.0, 4.0, 0.5, 0.0),
        (Truncated(Quadratic(), 1.0, 5.0), 0.0, 4.0, 4.5, 0.0),
        (Truncated(Quadratic(), 1.0, 5.0), 3.0, 4.0, 0.5, -1.0),
    ],
    ids=repr,
)
def test_value_and_gradient(loss, u, a, value, gradient):
    assert loss.value(u, a) == pytest.approx(value, abs=1e-9)
    assert loss.gradient(u, a) == pytest.approx(gradient, abs=1e-9)


@pytest.mark.parametrize("loss", BOOLEAN, ids=repr)
def test_0_and_minus_1_are_both_false_and_nothing_else_is(loss):
    for u in (-1.5, 0.3, 2.0):
        assert loss.value(u, 0.0) == loss.value(u, -1.0) == loss.value(u, False)
        assert loss.value(u, 1.0) == loss.value(u, True)
    np.testing.assert_array_equal(
        loss.contains([-1, 0, 1, 2, 0.5, -0.5]), [True, True, True, False, False, False]
    )
    values = np.array([1.0, 0.0, 0.0])
    assert loss.best_constant(values) == loss.best_constant(2 * values - 1)


@pytest.mark.parametrize("low", [0, -2, 1])
@pytest.mark.parametrize("n_levels", [2, 3, 6])
def test_ordinal_hinge_is_the_sum_of_its_hinges(low, n_levels):
    high = low + n_levels - 1
    loss = OrdinalHinge(low, high)
    for a in range(low, high + 1):
        for u in np.linspace(low - 3, high + 3, 16 * (n_levels + 5) + 1):
            value = sum(max(1 - u + b, 0.0) for b in range(low, a))
            value += sum(max(1 + u - b, 0.0) for b in range(a + 1, high + 1))
            gradient = sum(u > b - 1 for b in range(a + 1, high + 1))
            gradient -= sum(u < b + 1 for b in range(low, a))
            assert loss.value(u, float(a)) == pytest.approx(value, abs=1e-12)
            assert loss.gradient(u, float(a)) == gradient


KINKS = [loss for loss in LOSSES if not loss.smooth]


@pytest.mark.parametrize("loss", KINKS, ids=repr)
def test_at_a_kink_the_gradient_is_the_least_slope(loss):
    a = np.array([-1.0, 0.0, 0.25, 1.0, 2.0])
    kinks = [-2.0, -1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0]
    h = 1e-7
    for observation in a[loss.contains(a)].tolist():
        for u in kinks:
            value = loss.value(u, observation)
            left = (value - loss.value(u - h, observation)) / h
            right = (loss.value(u + h, observation) - value) / h
            if left < right - 1e-3:
                least = min(max(left, 0.0), right)
                assert loss.gradient(u, observation) == pytest.approx(least, rel=1e-4, abs=1e-5)


def test_poisson_overflows_to_infinity_and_never_to_nan():
    assert Poisson().value(1e3, 2.0) == Poisson().gradient(1e3, 2.0) == np.inf
    assert Poisson().value(-1e3, 2.0) == pytest.approx(2000 + 2 * np.log(2) - 2)
    assert np.isfinite(Poisson().impute([-1e3, 1e3])).all()


def test_kl_stays_finite_and_does_not_reward_negative_predictions():
    assert np.isfinite([KL().value(0.0, 1.0), KL().gradient(0.0, 1.0)]).all()
    u = -np.logspace(-12, 3, 40)
    for a in (0.0, 1.0):
        assert min(KL().value(one, a) for one in u) > -1e-8


def test_poisson_and_kl_are_the_same_divergence_with_another_link():
    for u, a in [(0.3, 2.0), (-1.0, 1.0), (2.0, 0.0)]:
        assert Poisson().value(u, a) == pytest.approx(KL().value(np.exp(u), a))


@pytest.mark.parametrize(
    ("loss", "domain"),
    [
        (Quadratic(), Real()),
        (Interval(), Real()),
        (Periodic(2.0), Circle(2.0)),
        (Logistic(), Boolean()),
        (Poisson(), Count()),
        (KL(), Real(low=0.0)),
        (Fractional(), Positive()),
        (OrdinalHinge(1, 5), Ordinal(1, 5)),
        (Truncated(Huber(), 0.0, 2.0), Real(0.0, 2.0)),
        (2 * Logistic(), Boolean()),
    ],
    ids=repr,
)
def test_every_loss_has_its_domain(loss, domain):
    assert loss.domain == domain
    assert loss.embedding_dim == 1


# ------------------------------------------------------------------ best constants


@pytest.mark.parametrize(
    ("loss", "constant"),
    # The mean, the median, and for Huber(1): 2 (x - 1) + (x - 2) = 1, the outlier pulling by 1.
    [(Quadratic(), 26.0), (Absolute(), 1.5), (Huber(1.0), 5 / 3)],
    ids=repr,
)
def test_best_constant_of_an_outlier_among_small_values(loss, constant):
    assert loss.best_constant(np.array([1.0, 2.0, 1.0, 100.0])) == pytest.approx(constant)


@pytest.mark.parametrize(
    ("loss", "values", "constant"),
    [
        (Quantile(0.25), [5.0, 1.0, 2.0, 3.0], 1.5),
        (Logistic(), [1.0, 1.0, 0.0, 1.0], np.log(3.0)),
        (Hinge(), [1.0, 1.0, 0.0], 1.0),
        (Hinge(), [1.0, 0.0, 0.0], -1.0),
        (Hinge(), [1.0, 0.0], 0.0),
        (Hinge(), [1.0, 1.0], 1.0),
        (Hinge(), [0.0], -1.0),
        (WeightedHinge(3.0), [1.0, 0.0, 0.0], 1.0),
        (SquaredHinge(), [1.0, 1.0, 1.0, 0.0], 0.5),
        (Poisson(), [0.0, 1.0, 5.0], np.log(2.0)),
        (KL(), [0.0, 1.0, 5.0], 2.0),
        # Between 1 and 9 the slope is 1 - 9/u²: it is 0 at 3.
        (Fractional(), [1.0, 9.0], 3.0),
        (Periodic(8.0), [7.0, 2.0], 0.5),
        (Periodic(8.0), [3.0, 6.0], 4.5),
        (Periodic(8.0), [5.0, 6.0], 5.5),
        (Interval(1.0), [0.0, 10.0], 5.0),
        (Interval(0.0, -1.0, 4.0), [-5.0, 3.0, 9.0], 3.0),
        (Interval(0.0, 2.0, 4.0), [1.0, 2.0], 1.0),
        (Truncated(Quadratic(), 0.0, 5.0), [1.0, 5.0], 3.0),
    ],
    ids=repr,
)
def test_best_constant(loss, values, constant):
    assert loss.best_constant(np.array(values)) == pytest.approx(constant, abs=1e-9)


@pytest.mark.parametrize("loss", DIFFERENCE, ids=repr)
def test_best_constant_of_equal_values_is_their_value(loss):
    assert loss.best_constant(np.full(3, 0.1)) == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize("loss", DIFFERENCE, ids=repr)
def test_best_constant_does_not_lose_digits_of_float32(loss):
    values = np.full(100_000, 0.1, np.float32)
    assert loss.best_constant(values) == pytest.approx(float(np.float32(0.1)), rel=1e-7)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_weight_repeats_an_observation(loss):
    values = np.array([-3.0, -1.0, 0.0, 1.0, 2.0, 5.0])
    values = values[loss.contains(values)]
    weights = np.array([2.0, 0.0, 3.0, 1.0, 4.0, 1.0])[-values.size :]
    repeated = np.repeat(values, weights.astype(int))
    expected = loss.best_constant(repeated)
    assert loss.best_constant(values, weights) == pytest.approx(expected, abs=1e-9)
    assert loss.best_constant(repeated, np.full(repeated.size, 7.0)) == pytest.approx(
        expected, abs=1e-9
    )


@pytest.mark.parametrize("loss", [Logistic(), 2 * Logistic(), Poisson()], ids=repr)
def test_best_constant_is_finite_where_the_cost_falls_for_ever(loss):
    few, many = (loss.best_constant(np.zeros(n)) for n in (5, 500))
    assert -10 < many < few < 0
    if loss.contains(-1.0):
        assert loss.best_constant(np.ones(5)) == pytest.approx(-few)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_best_constant_of_nothing_is_a_number_in_reach(loss):
    nothing = np.array([])
    for constant in (
        loss.best_constant(nothing),
        loss.best_constant(nothing, nothing),
        loss.best_constant(np.ones(2), np.zeros(2)),
    ):
        assert isinstance(constant, float)
        assert constant == 0.0


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0], [np.nan, 1.0]])
@pytest.mark.parametrize("loss", [Quadratic(), Absolute(), Logistic(), OrdinalHinge(0, 1)])
def test_best_constant_refuses_weights_that_are_none(loss, weights):
    with pytest.raises(ValueError, match="weights must be at least 0, one for each of the 2"):
        loss.best_constant(np.array([0.0, 1.0]), np.array(weights))


# ------------------------------------------------------------------ parameters


@pytest.mark.parametrize("delta", [0, -1.0, np.nan])
def test_huber_refuses_a_delta_that_is_not_positive(delta):
    with pytest.raises(ValueError, match="delta > 0"):
        Huber(delta)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Quantile(0.0), "0 < q < 1"),
        (lambda: Quantile(1.0), "0 < q < 1"),
        (lambda: Periodic(0.0), "period > 0"),
        (lambda: Periodic(np.inf), "period > 0"),
        (lambda: Interval(-1.0), "radius >= 0"),
        (lambda: Interval(0.0, 2.0, 1.0), "lower < upper"),
        (lambda: Truncated(Quadratic(), 1.0, 1.0), "lower < upper"),
        (lambda: Truncated(Logistic(), 0.0, 1.0), "loss of real numbers"),
        (lambda: WeightedHinge(0.0), "positive_weight > 0"),
        (lambda: OrdinalHinge(2, 2), "low < high"),
        (lambda: OrdinalHinge(0, 1.5), "whole numbers"),
        (lambda: Scaled(0.0, Huber()), "finite and > 0"),
        (lambda: -1 * Huber(), "finite and > 0"),
        (lambda: np.inf * Huber(), "finite and > 0"),
    ],
)
def test_impossible_parameters_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()


@pytest.mark.parametrize("number", [2, 2.0, np.float64(2.0), np.float32(2.0), np.int64(2)])
def test_a_number_times_a_loss_is_a_loss(number):
    assert number * Huber(0.5) == Scaled(2.0, Huber(0.5))
    assert number * (3 * Huber(0.5)) == Scaled(6.0, Huber(0.5))


def test_a_scaled_loss_claims_what_its_loss_claims():
    assert (3 * Quadratic()).degree == 2.0
    assert (3 * Quadratic()).curvature == 3.0
    assert (3 * Absolute()).curvature is None
    assert not (3 * Absolute()).smooth
    assert not (3 * Periodic(1.0)).convex
    assert not (3 * Poisson()).finite
    np.testing.assert_array_equal((3 * Poisson()).contains([-1.0, 1.5]), [False, True])


# ------------------------------------------------------------------ get_loss


@pytest.mark.parametrize(
    ("name", "loss"),
    [("squared", Quadratic()), ("quadratic", Quadratic()), ("absolute", Absolute()),
     ("huber", Huber()), ("quantile", Quantile(0.5)), ("logistic", Logistic()),
     ("hinge", Hinge()), ("squared_hinge", SquaredHinge()), ("poisson", Poisson()), ("kl", KL()),
     ("fractional", Fractional())],
)  # fmt: skip
def test_get_loss_knows_names(name, loss):
    assert get_loss(name) == loss


@pytest.mark.parametrize("loss", [Huber(0.7), Multinomial(3)], ids=repr)
def test_get_loss_returns_an_instance_as_it_is(loss):
    assert get_loss(loss) is loss


def test_get_loss_lists_the_names_if_a_name_is_unknown():
    with pytest.raises(ValueError, match="'sqared'.*'absolute', 'fractional', .*'squared'"):
        get_loss("sqared")


@pytest.mark.parametrize("loss", [Huber, None, 2, lambda u, a: 0.0, Quadratic().value])
def test_get_loss_refuses_what_is_neither_name_nor_instance(loss):
    with pytest.raises(TypeError, match="needs calling"):
        get_loss(loss)


@dataclass(frozen=True)
class WithoutFormula(Loss):
    """A loss of a user who gives no best constant."""

    under: float = 3.0
    smooth = False

    def value(self, u, a):
        return abs(u - a) * (self.under if u < a else 1.0)

    def gradient(self, u, a):
        return (u > a) * 1.0 - (u < a) * self.under


@pytest.mark.parametrize("n", [1, 7, 5000])
def test_best_constant_is_searched_for_if_there_is_no_formula(n):
    rng = np.random.default_rng(0)
    a, weights = 100 + rng.exponential(size=n), rng.random(n)
    for w in (None, weights):
        found = WithoutFormula().best_constant(a, w)
        best = Quantile(0.75).best_constant(a, w)  # three times as steep below

        def cost(u, w=w):
            return np.average([WithoutFormula().value(u, one) for one in a], weights=w)

        assert cost(found) <= cost(best) * 1.001 + 1e-9
    assert WithoutFormula().best_constant(np.array([])) == 0.0
