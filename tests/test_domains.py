"""Domains: what they contain, what they impute, and how wrong it is."""

import math
import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from skglrm.domains import Boolean, Categorical, Circle, Count, Ordinal, Positive, Real
from skglrm.losses import (
    Absolute,
    BiggerVsSmaller,
    Hinge,
    Huber,
    Logistic,
    Loss,
    Multinomial,
    OneVsAll,
    OrdinalHinge,
    Periodic,
    Poisson,
    Quadratic,
    Quantile,
)

DOMAINS = [
    Real(), Real(0.0, 2.0), Positive(), Circle(2.0), Boolean(), Count(), Count(3), Ordinal(-1, 2),
    Categorical(3),
]  # fmt: skip
NUMBERS = np.array([-1.5, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("domain", "inside"),
    [
        (Real(), NUMBERS),
        (Real(0.0, 2.0), [0.0, 0.5, 1.0, 2.0]),
        (Positive(), [0.5, 1.0, 2.0, 3.0, 4.0]),
        (Circle(2.0), NUMBERS),
        (Boolean(), [-1.0, 0.0, 1.0]),
        (Count(), [0.0, 1.0, 2.0, 3.0, 4.0]),
        (Count(3), [0.0, 1.0, 2.0, 3.0]),
        (Ordinal(-1, 2), [-1.0, 0.0, 1.0, 2.0]),
        (Categorical(3), [0.0, 1.0, 2.0]),
    ],
    ids=repr,
)
def test_a_domain_contains_its_numbers_and_no_others(domain, inside):
    np.testing.assert_array_equal(NUMBERS[domain.contains(NUMBERS)], inside)


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_contains_answers_for_any_shape_and_type(domain):
    for shape in ((), (2, 4)):
        numbers = np.ones(shape, np.float32)
        answer = domain.contains(numbers)
        assert np.shape(answer) == shape
        assert np.asarray(answer).dtype == bool
        assert np.all(answer)
    assert domain.contains(1) and domain.contains(True)
    assert not domain.contains([np.nan, np.inf, -np.inf]).any()


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_domains_are_values(domain):
    again = pickle.loads(pickle.dumps(domain))
    assert again == domain
    assert hash(again) == hash(domain)
    assert [other for other in DOMAINS if other == domain] == [domain]


@pytest.mark.parametrize(
    ("domain", "n_levels"),
    [(Real(), None), (Circle(1.0), None), (Boolean(), 2), (Count(), None), (Count(3), 4),
     (Ordinal(-1, 2), 4), (Categorical(3), 3)],
    ids=repr,
)  # fmt: skip
def test_number_of_levels(domain, n_levels):
    assert domain.n_levels == n_levels


U = np.array([-7.0, -0.6, -0.5, 0.0, 0.3, 0.5, 1.5, 2.4, 2.5, 9.0])


@pytest.mark.parametrize(
    ("domain", "loss", "imputed"),
    [
        (Real(), Quadratic(), U),
        (Real(-1.0, 2.0), Huber(), [-1.0, -0.6, -0.5, 0.0, 0.3, 0.5, 1.5, 2.0, 2.0, 2.0]),
        (Real(), Poisson(), np.exp(U)),
        (Circle(2.0), Quadratic(), [1.0, 1.4, 1.5, 0.0, 0.3, 0.5, 1.5, 0.4, 0.5, 1.0]),
        (Boolean(), Logistic(), [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]),
        # The cheaper of 0 and 1; a tie is false.
        (Boolean(), Quadratic(), [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]),
        (Boolean(), Quantile(0.2), [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]),
        (Boolean(), Poisson(), [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        # Half to even.
        (Ordinal(-1, 2), Absolute(), [-1, -1, 0, 0, 0, 0, 2, 2, 2, 2]),
        (Ordinal(-1, 2), OrdinalHinge(-1, 2), [-1, -1, 0, 0, 0, 0, 2, 2, 2, 2]),
        (Ordinal(0, 5), Poisson(), np.clip(np.rint(np.exp(U)), 0, 5)),
        (Ordinal(2, 6), Hinge(), [2, 2, 2, 2, 6, 6, 6, 6, 6, 6]),
        (Count(), Poisson(), np.rint(np.exp(U))),
        (Count(), Quadratic(), [0, 0, 0, 0, 0, 0, 2, 2, 2, 9]),
        (Count(4), Quadratic(), [0, 0, 0, 0, 0, 0, 2, 2, 2, 4]),
        (Count(4), Logistic(), [0, 0, 0, 0, 4, 4, 4, 4, 4, 4]),
    ],
    ids=repr,
)
def test_what_is_imputed(domain, loss, imputed):
    found = domain.impute(loss, U)
    np.testing.assert_allclose(found, imputed, rtol=1e-12, atol=1e-15)
    assert domain.contains(found).all()
    as_rows = domain.impute(loss, U.reshape(2, 5))
    np.testing.assert_array_equal(as_rows, found.reshape(2, 5))
    assert domain.impute(loss, U.astype(np.float32)).dtype == np.float32
    assert float(domain.impute(loss, 1.5)) == found[6]


@pytest.mark.parametrize(
    ("domain", "loss", "imputed"),
    [
        (Categorical(3), Multinomial(3), [1, 0, 2]),
        (Categorical(3), OneVsAll(3), [1, 0, 2]),
        (Ordinal(0, 2), OneVsAll(3), [1, 0, 2]),
        (Ordinal(5, 7), OneVsAll(3), [6, 5, 7]),
        (Ordinal(1, 4), BiggerVsSmaller(4), [4, 1, 4]),
    ],
    ids=repr,
)
def test_what_is_imputed_from_several_predictions(domain, loss, imputed):
    u = np.array([[-1.0, 2.0, 1.5], [0.0, 0.0, -1.0], [-3.0, 2.0, 2.5]])
    np.testing.assert_array_equal(domain.impute(loss, u), imputed)
    np.testing.assert_array_equal(domain.impute(loss, np.stack([u, u])), [imputed, imputed])


def test_two_levels_are_a_boolean():
    u = np.array([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(Boolean().impute(Multinomial(2), u), [1.0, 0.0])
    np.testing.assert_array_equal(Categorical(2).impute(Logistic(), [-1.0, 1.0]), [0.0, 1.0])


@dataclass(frozen=True)
class OnlyBaseMethods(Loss):
    """A loss of a user, without anything optional."""

    def value(self, u, a):
        return (u - 2.0 * a) ** 2


def test_a_boolean_is_imputed_by_any_loss():
    np.testing.assert_array_equal(Boolean().impute(OnlyBaseMethods(), [0.9, 1.1]), [0.0, 1.0])


@pytest.mark.parametrize(
    ("domain", "loss", "needed"),
    [
        (Real(), Logistic(), "loss of numbers"),
        (Real(), Multinomial(3), "loss of numbers"),
        (Positive(), Hinge(), "loss of numbers"),
        (Circle(1.0), Hinge(), "loss of numbers"),
        (Count(), Logistic(), "loss of numbers"),
        (Categorical(3), Quadratic(), "loss of 3 levels"),
        (Categorical(3), Multinomial(4), "loss of 3 levels"),
        (Ordinal(0, 3), Multinomial(3), "loss of 4 levels"),
        (Boolean(), Multinomial(3), "loss of 2 levels"),
    ],
    ids=repr,
)
def test_a_domain_refuses_predictions_that_mean_nothing_in_it(domain, loss, needed):
    with pytest.raises(ValueError, match=f"cannot be imputed from predictions of .*{needed}"):
        domain.impute(loss, np.zeros((2, 3)))


@pytest.mark.parametrize("u", [-1e-17, -0.0, 2.0, 4.0, -2.0])
def test_a_circle_never_imputes_its_period(u):
    assert float(Circle(2.0).impute(Periodic(2.0), u)) == 0.0


def test_positive_numbers_stay_positive():
    assert (Positive().impute(Quadratic(), [-1.0, 0.0]) > 0).all()


@pytest.mark.parametrize("domain", [Real(), Real(0.0, 1.0), Circle(2.0), Count(), Ordinal(0, 3)])
def test_nan_stays_nan(domain):
    assert np.isnan(domain.impute(Quadratic(), [np.nan])).all()


@pytest.mark.parametrize(
    ("domain", "predicted", "observed", "error"),
    [
        (Real(), [1.0, 5.0], [3.0, 4.5], [4.0, 0.25]),
        (Ordinal(1, 5), [1, 5], [3, 4], [4, 1]),
        (Count(), [1, 5], [3, 4], [4, 1]),
        (Boolean(), [1, 0, 1, 0], [1, -1, 0, 1], [0, 0, 1, 1]),
        (Categorical(3), [0, 2, 2], [0, 0, 2], [0, 1, 0]),
        # Half an hour from midnight on either side, and a whole turn.
        (Circle(24.0), [23.5, 0.0, 6.0], [0.5, 24.0, 18.0], [1.0, 0.0, 144.0]),
        (Circle(1.0), [0.01], [0.99], [0.0004]),
    ],
    ids=repr,
)
def test_error_of_each_cell(domain, predicted, observed, error):
    np.testing.assert_allclose(domain.error(predicted, observed), error, atol=1e-12)
    np.testing.assert_allclose(domain.error(observed, predicted), error, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Real(1.0, 1.0), "low < high"),
        (lambda: Real(0.0, math.nan), "low < high"),
        (lambda: Circle(0.0), "period > 0"),
        (lambda: Circle(math.inf), "period > 0"),
        (lambda: Count(0), "max >= 1"),
        (lambda: Count(2.5), "max >= 1"),
        (lambda: Ordinal(3, 3), "low < high"),
        (lambda: Ordinal(0, 1.5), "whole numbers"),
        (lambda: Categorical(1), "n_levels >= 2"),
        (lambda: Categorical(2.5), "n_levels >= 2"),
    ],
)
def test_impossible_domains_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()
