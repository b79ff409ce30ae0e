"""Losses of several predictions obey the laws, and the laws catch those that do not."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from numba.core import config

from skglrm.domains import Categorical, Ordinal
from skglrm.losses import (
    BiggerVsSmaller,
    CumulativeLogit,
    Hinge,
    Huber,
    Logistic,
    Multinomial,
    MultinomialOrdinal,
    OneVsAll,
    Ordistic,
    ScaledVector,
    SquaredHinge,
    VectorLoss,
    WeightedHinge,
)
from skglrm.testing import check_loss, check_vector_loss

KINDS = [Multinomial, OneVsAll, BiggerVsSmaller, MultinomialOrdinal, CumulativeLogit, Ordistic]
LOSSES = [
    Multinomial(2), Multinomial(4), OneVsAll(3), BiggerVsSmaller(2), BiggerVsSmaller(4),
    MultinomialOrdinal(2), MultinomialOrdinal(4), CumulativeLogit(2), CumulativeLogit(4),
    ScaledVector(2.5, OneVsAll(3, Hinge())),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_vector_loss_obeys_the_laws(loss):
    check_vector_loss(loss)


@pytest.mark.parametrize("n_levels", [2, 3])
def test_ordistic_obeys_the_laws(n_levels):
    # Its slope changes too fast for the law of smoothness where predictions are large.
    check_vector_loss(
        Ordistic(n_levels), predictions=np.random.default_rng(0).normal(size=(20, n_levels))
    )


@pytest.mark.parametrize("n_levels", [3, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_far_out_nothing_warns_or_is_nan(kind, n_levels):
    loss = kind(n_levels)
    places = np.arange(loss.embedding_dim)
    starts_and_slopes = [(u, slope) for u in (-1e3, -0.5, 0.0, 1e3) for slope in (-1e3, -1e-9, 0.0)]
    for start, slope in starts_and_slopes:
        u = start + slope * places
        out = np.empty(u.size)
        for a in range(n_levels):
            loss.gradient(u, float(a), out)
            assert np.isfinite(out).all()
            assert loss.value(u, float(a)) >= 0
        assert loss.contains(loss.impute(u))


# ------------------------------------------------------------------ numbers to check by hand


def gradient(loss, u, a):
    out = np.full(len(u), np.nan)
    loss.gradient(np.asarray(u, float), float(a), out)
    return out


def test_multinomial():
    u = np.array([0.2, -1.0, 0.5, 1.5])
    assert Multinomial(4).value(u, 2.0) == pytest.approx(1.5437745369, abs=1e-9)
    expected = [0.15821909, 0.04765468, -0.78642656, 0.58055279]
    np.testing.assert_allclose(gradient(Multinomial(4), u, 2), expected, atol=1e-8)


def test_multinomial_ordinal():
    u = np.array([-0.5, -1.2, -2.5])
    losses = [MultinomialOrdinal(4).value(u, float(a)) for a in range(4)]
    np.testing.assert_allclose(losses, [0.93275213, 1.186341, 1.51818498, 2.5], atol=1e-8)
    probabilities = [0.39346934, 0.30533645, 0.21910921, 0.082085]
    np.testing.assert_allclose(np.exp(-np.array(losses)), probabilities, atol=1e-8)
    assert u.tolist() == [-0.5, -1.2, -2.5]


@pytest.mark.parametrize("u", [[0.0, -1.0], [-1.0, -1.0], [-2.0, -1.0], [0.5, 0.2]])
def test_multinomial_ordinal_is_infinite_where_tails_do_not_fall(u):
    for a in (0.0, 1.0, 2.0):
        assert MultinomialOrdinal(3).value(np.array(u), a) == np.inf
        np.testing.assert_array_equal(gradient(MultinomialOrdinal(3), u, a), [0.0, 0.0])


def test_cumulative_logit_is_the_likelihood_of_proportional_odds():
    u = np.array([2.0, 0.5, -1.0])
    tails = np.array([1.0, *(1 / (1 + np.exp(-u))), 0.0])
    losses = [CumulativeLogit(4).value(u, float(a)) for a in range(4)]
    np.testing.assert_allclose(losses, -np.log(tails[:-1] - tails[1:]), rtol=1e-12)
    assert CumulativeLogit(4).value(np.array([2.0, 2.5, -1.0]), 3.0) == np.inf


def test_cumulative_logit_keeps_its_digits_far_out():
    # Direct differences of probabilities are 0 there.
    assert CumulativeLogit(3).value(np.array([50.0, 49.0]), 1.0) == pytest.approx(
        49.0 - np.log(-np.expm1(-1.0)), rel=1e-12
    )


def test_ordistic():
    u = np.array([0.0, 1.0, 2.0])
    total = 1 + np.exp(-1) + np.exp(-4)
    assert Ordistic(3).value(u, 1.0) == pytest.approx(1 + np.log(total))
    expected = [0.0, 2 - 2 * np.exp(-1) / total, -4 * np.exp(-4) / total]
    np.testing.assert_allclose(gradient(Ordistic(3), u, 1), expected, rtol=1e-12)


BINARIES = [Logistic(), Hinge(), WeightedHinge(3.0), SquaredHinge(), 2.0 * Logistic()]


@pytest.mark.parametrize("binary", BINARIES, ids=repr)
def test_sums_of_boolean_losses_are_sums_of_boolean_losses(binary):
    u = np.array([0.4, -2.0, 0.9])
    for a in range(3):
        signs = [float(a == c) for c in range(3)]
        expected = sum(binary.value(t, one) for t, one in zip(u, signs, strict=True))
        assert OneVsAll(3, binary).value(u, float(a)) == pytest.approx(expected)
        expected = [binary.gradient(t, one) for t, one in zip(u, signs, strict=True)]
        np.testing.assert_allclose(gradient(OneVsAll(3, binary), u, a), expected)
    for a in range(4):
        above = [float(a > c) for c in range(3)]
        expected = sum(binary.value(t, one) for t, one in zip(u, above, strict=True))
        assert BiggerVsSmaller(4, binary).value(u, float(a)) == pytest.approx(expected)
        expected = [binary.gradient(t, one) for t, one in zip(u, above, strict=True)]
        np.testing.assert_allclose(gradient(BiggerVsSmaller(4, binary), u, a), expected)


@pytest.mark.parametrize(
    ("loss", "binary"),
    [(BiggerVsSmaller(2, one), one) for one in BINARIES] + [(CumulativeLogit(2), Logistic())],
    ids=repr,
)
def test_two_levels_are_a_boolean_loss(loss, binary):
    for t in (-40.0, -1.0, 0.0, 0.3, 1.0, 40.0):
        for a in (0.0, 1.0):
            assert loss.value(np.array([t]), a) == pytest.approx(binary.value(t, a))
            assert gradient(loss, [t], a)[0] == pytest.approx(binary.gradient(t, a))
        if binary != WeightedHinge(3.0):  # the cheaper level, which is not where u > 0
            assert loss.impute(np.array([t])) == binary.impute(t)
    values = np.array([1.0, 0.0, 1.0, 1.0])
    assert loss.best_constant(values) == pytest.approx(binary.best_constant(values))
    assert (loss.smooth, loss.convex, loss.finite) == (binary.smooth, binary.convex, binary.finite)
    assert loss.curvature == binary.curvature


def test_two_categories_are_a_logistic_loss_of_the_difference():
    for u in ([0.3, -1.0], [2.0, 2.0], [-5.0, 40.0]):
        for a in (0.0, 1.0):
            expected = Logistic().value(u[1] - u[0], a)
            assert Multinomial(2).value(np.array(u), a) == pytest.approx(expected)


def test_tails_of_two_levels_are_a_bernoulli_likelihood():
    u = np.array([np.log(0.3)])
    assert np.exp(-MultinomialOrdinal(2).value(u, 1.0)) == pytest.approx(0.3)
    assert np.exp(-MultinomialOrdinal(2).value(u, 0.0)) == pytest.approx(0.7)


@pytest.mark.parametrize("loss", [BiggerVsSmaller(4), BiggerVsSmaller(4, Hinge())], ids=repr)
def test_thresholds_are_pushed_from_both_sides(loss):
    """H2O's ordinal loss never charges thresholds that are too large."""
    for a in (1, 2):
        assert (gradient(loss, [-1e3] * 3, a) <= 0).all()
        assert (gradient(loss, [1e3] * 3, a) >= 0).all()
        assert gradient(loss, [-1e3] * 3, a).min() < 0 < gradient(loss, [1e3] * 3, a).max()


# ------------------------------------------------------------------ shapes, constants, parameters


@pytest.mark.parametrize(
    ("kind", "dim", "domain"),
    [
        (Multinomial, 5, Categorical(5)),
        (OneVsAll, 5, Categorical(5)),
        (Ordistic, 5, Ordinal(0, 4)),
        (BiggerVsSmaller, 4, Ordinal(0, 4)),
        (MultinomialOrdinal, 4, Ordinal(0, 4)),
        (CumulativeLogit, 4, Ordinal(0, 4)),
    ],
)
def test_every_loss_has_its_dimension_and_domain(kind, dim, domain):
    for loss in (kind(5), 2.0 * kind(5)):
        assert loss.embedding_dim == dim
        assert loss.domain == domain
        assert loss.impute(np.zeros((2, 3, dim))).shape == (2, 3)
        np.testing.assert_array_equal(loss.contains([-1, 0, 4, 5, 2.5]), [0, 1, 1, 0, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_best_constant_of_frequencies(kind):
    shares = np.array([0.5, 0.2, 0.3])
    values = np.repeat([0.0, 1.0, 2.0], [5, 2, 3])
    constant = kind(3).best_constant(values)
    above = np.array([0.5, 0.3])
    expected = {
        Multinomial: np.log(shares) - np.log(shares).mean(),
        OneVsAll: np.log(shares / (1 - shares)),
        BiggerVsSmaller: np.log(above / (1 - above)),
        MultinomialOrdinal: np.log(above),
        CumulativeLogit: np.log(above / (1 - above)),
        Ordistic: np.sqrt(np.log(0.5 / shares)),
    }
    np.testing.assert_allclose(constant, expected[kind], rtol=1e-12, atol=1e-12)
    weights = np.array([5.0, 2.0, 3.0, 0.0])
    again = kind(3).best_constant(np.array([0.0, 1.0, 2.0, 1.0], np.float32), weights)
    np.testing.assert_allclose(again, constant, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("values", [[], [1.0], [0.0, 0.0, 3.0], [3.0]], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_best_constant_is_finite_and_can_be_predicted_whatever_is_missing(kind, values):
    loss = kind(4)
    constant = loss.best_constant(np.array(values))
    assert constant.shape == (loss.embedding_dim,)
    assert np.isfinite(constant).all()
    assert all(np.isfinite(loss.value(constant, float(a))) for a in range(4))
    if values and len(set(values)) == 1:
        assert loss.impute(constant) == values[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_levels", [1, 0, -3, 2.5])
def test_one_level_leaves_nothing_to_predict(kind, n_levels):
    with pytest.raises(ValueError, match=rf"{kind.__name__} needs .* n_levels >= 2; got"):
        kind(n_levels)


@pytest.mark.parametrize("kind", [OneVsAll, BiggerVsSmaller])
def test_sums_of_boolean_losses_refuse_other_losses(kind):
    with pytest.raises(ValueError, match=r"needs a loss of Booleans.*Huber"):
        kind(3, Huber())


def test_a_number_times_a_loss_is_a_loss():
    assert 2 * Multinomial(3) == ScaledVector(2.0, Multinomial(3))
    assert np.float64(3.0) * (2 * Multinomial(3)) == ScaledVector(6.0, Multinomial(3))
    assert (2 * Multinomial(3)).curvature == 1.0
    assert (2 * CumulativeLogit(3)).curvature is None
    assert not (2 * OneVsAll(3, Hinge())).smooth
    assert not (2 * Ordistic(3)).convex
    assert not (2 * MultinomialOrdinal(3)).finite
    with pytest.raises(ValueError, match="finite and > 0"):
        0 * Multinomial(3)


# ------------------------------------------------------------------ the laws catch mistakes


@dataclass(frozen=True)
class OfUser(VectorLoss):
    """A correct loss of a user: squared distance to the corner of the level."""

    n_levels: int = 3

    @property
    def embedding_dim(self):
        return self.n_levels

    @property
    def domain(self):
        return Categorical(self.n_levels)

    def value(self, u, a):
        total = 0.0
        for c in range(u.size):
            total += 0.5 * (u[c] - (a == c)) ** 2
        return total

    def gradient(self, u, a, out):
        for c in range(u.size):
            out[c] = u[c] - (a == c)

    def impute(self, u):
        return np.argmax(u, axis=-1) * 1.0


def test_laws_hold_for_a_correct_loss_of_a_user():
    check_vector_loss(OfUser())


@dataclass(frozen=True)
class DoubleGradient(OfUser):
    def gradient(self, u, a, out):
        for c in range(u.size):
            out[c] = 2 * (u[c] - (a == c))


@dataclass(frozen=True)
class Adds(OfUser):
    def gradient(self, u, a, out):
        for c in range(u.size):
            out[c] += u[c] - (a == c)


@dataclass(frozen=True)
class ChangesItsArgument(OfUser):
    def gradient(self, u, a, out):
        u[0] -= 1.0
        out[:] = u


@dataclass(frozen=True)
class ReturnsItsGradient(OfUser):
    def gradient(self, u, a, out):
        out[:] = u
        return out


@dataclass(frozen=True)
class Overflowing(Multinomial):
    def value(self, u, a):
        with np.errstate(over="ignore"):
            return float(np.log(np.exp(u).sum()) - u[int(a)])


@dataclass(frozen=True)
class TooFlat(OfUser):
    @property
    def curvature(self):
        return 0.9


@dataclass(frozen=True)
class ConvexOrdistic(Ordistic):
    convex: ClassVar[bool] = True


@dataclass(frozen=True)
class SmoothHinge(OneVsAll):
    @property
    def smooth(self):
        return True


@dataclass(frozen=True)
class ImputesFirst(OfUser):
    def impute(self, u):
        return np.zeros(np.shape(u)[:-1])


@dataclass(frozen=True)
class ImputesAll(OfUser):
    def impute(self, u):
        return np.asarray(u)


@dataclass(frozen=True)
class ContainsMore(OfUser):
    def contains(self, a):
        return np.isfinite(a)


@dataclass(frozen=True)
class ConstantOfZeros(OfUser):
    def best_constant(self, values, weights=None):
        return np.zeros(self.n_levels)


@dataclass(frozen=True)
class ConstantForgetsWeights(Multinomial):
    def best_constant(self, values, weights=None):
        return super().best_constant(values)


@dataclass(frozen=True)
class ConstantIsInfinite(Multinomial):
    def best_constant(self, values, weights=None):
        with np.errstate(divide="ignore"):
            return np.log(np.bincount(values.astype(int), weights, self.n_levels))


def not_jitted(u):
    return u


@dataclass(frozen=True)
class DoesNotCompile(OfUser):
    def gradient(self, u, a, out):
        for c in range(u.size):
            out[c] = not_jitted(u[c]) - (a == c)


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize(
    ("loss", "law", "numbers"),
    [
        (DoubleGradient(), "gradient", "gradient returns .*, but .* rises by"),
        (Adds(), "finite", "with NaN in out before"),
        (ChangesItsArgument(), "in place", "left u at"),
        (ReturnsItsGradient(), "in place", "returned array"),
        (Overflowing(3), "finite", "is inf"),
        (TooFlat(), "curvature", "parabola of curvature 0.9"),
        (ConvexOrdistic(3), "convex", "its tangent"),
        (SmoothHinge(3, Hinge()), "smooth", "jumps"),
        (ImputesFirst(), "impute", "is 0, but the levels cost"),
        (ImputesAll(), "impute", "one level for each row"),
        (ContainsMore(), "contains", "0.5 was said to be in the domain"),
        (ConstantOfZeros(), "best_constant", "costs .*, but .* costs"),
        (ConstantForgetsWeights(3), "best_constant", "weights .*costs .*, but .* costs"),
        (ConstantIsInfinite(3), "best_constant", "finite numbers"),
        (DoesNotCompile(), "compiled", "numba refuses"),
        (Logistic(), "instance", "Derive it from"),
        (Multinomial, "instance", "Call the class"),
    ],
    ids=lambda one: one if isinstance(one, str) and one.isidentifier() else "",
)
def test_laws_refuse(loss, law, numbers):
    if law == "compiled" and config.DISABLE_JIT:
        pytest.skip("nothing is compiled")
    predictions = None
    if isinstance(loss, Ordistic | OneVsAll):
        predictions = [[1.0, -1.0, 0.5], [0.2, 0.3, 0.4], [2.0, -0.1, 0.0]]
    with pytest.raises(AssertionError, match=rf"(?s)breaks the law '{law}': .*{numbers}"):
        check_vector_loss(loss, predictions=predictions)


def test_laws_of_one_prediction_refuse_a_vector_loss():
    with pytest.raises(AssertionError, match="check_vector_loss"):
        check_loss(Multinomial(3))


def test_laws_ask_for_predictions_if_all_cost_too_much():
    with pytest.raises(ValueError, match="Pass predictions="):
        check_vector_loss(CumulativeLogit(3), predictions=[[0.0, 1.0]])
