"""The laws of losses hold for correct losses of users, and catch mistakes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from numba.core import config

from skglrm.losses import Absolute, Huber, Logistic, Loss, Poisson, Quadratic
from skglrm.testing import check_loss


@dataclass(frozen=True)
class OfUser(Loss):
    """A correct loss, with other names for the arguments, and nothing that is optional."""

    under: float = 3.0

    def value(self, predicted, observed):
        r = predicted - observed
        return 0.5 * r * r * (self.under if r < 0 else 1.0)

    def gradient(self, guess, truth):
        return (guess - truth) * (self.under if guess < truth else 1.0)


@dataclass(frozen=True)
class OfLabels(Loss):
    """A correct loss on a domain of two numbers: the logistic loss of ±1."""

    def value(self, u, a):
        return max(-a * u, 0.0) + np.log1p(np.exp(-abs(u)))

    def gradient(self, u, a):
        e = np.exp(-abs(u))
        return -a * (e if a * u > 0 else 1.0) / (1.0 + e)

    def contains(self, a):
        return np.abs(a) == 1

    def impute(self, u):
        return np.where(np.asarray(u) > 0, 1.0, -1.0)

    def best_constant(self, values, weights=None):
        share = float(np.average(values > 0, weights=weights))
        with np.errstate(divide="ignore"):
            return float(np.log(share) - np.log1p(-share))


@dataclass(frozen=True)
class Bounded(Loss):
    """A correct loss that is neither convex nor smooth: the absolute error up to 1."""

    smooth: ClassVar[bool] = False
    convex: ClassVar[bool] = False

    def value(self, u, a):
        return min(abs(u - a), 1.0)

    def gradient(self, u, a):
        return ((u > a) * 1.0 - (u < a) * 1.0) * (abs(u - a) < 1.0)


@pytest.mark.parametrize("loss", [OfUser(), OfUser(0.5), OfLabels(), Bounded()], ids=repr)
def test_laws_hold_for_correct_losses_of_users(loss):
    check_loss(loss)


@dataclass(frozen=True)
class DoubleGradient(Quadratic):
    def gradient(self, u, a):
        return 2 * (u - a)


@dataclass(frozen=True)
class NegativeGradient(Absolute):
    def gradient(self, u, a):
        return (u < a) * 1.0 - (u > a) * 1.0


@dataclass(frozen=True)
class GradientOfLowRankModels(Huber):
    """Slope 2u inside and δ outside, with gradient u: the mistake of LowRankModels.jl."""

    convex: ClassVar[bool] = False
    smooth: ClassVar[bool] = False

    def value(self, u, a):
        r = abs(u - a)
        return r * r if r <= self.delta else self.delta * (r - self.delta) + self.delta**2


@dataclass(frozen=True)
class GradientOutsideKink(Absolute):
    def gradient(self, u, a):
        return 3.0 if u == a else (u > a) * 1.0 - (u < a) * 1.0


@dataclass(frozen=True)
class MeanOfAbsolute(Absolute):
    def best_constant(self, values, weights=None):
        return float(np.average(values, weights=weights))


@dataclass(frozen=True)
class ConstantIsAnArray(Quadratic):
    def best_constant(self, values, weights=None):
        return np.average(values, weights=weights, keepdims=True)


@dataclass(frozen=True)
class ConstantWithoutWeights(Quadratic):
    def best_constant(self, values):
        return float(np.mean(values))


@dataclass(frozen=True)
class ConstantForgetsWeights(Quadratic):
    def best_constant(self, values, weights=None):
        return float(np.mean(values))


@dataclass(frozen=True)
class TooFlat(Quadratic):
    @property
    def curvature(self):
        return 0.9


@dataclass(frozen=True)
class CurvatureOfKink(Absolute):
    @property
    def curvature(self):
        return 10.0


@dataclass(frozen=True)
class FiniteOverflow(Poisson):
    finite: ClassVar[bool] = True


@dataclass(frozen=True)
class MinusInfinity(Quadratic):
    finite: ClassVar[bool] = False

    def value(self, u, a):
        return -np.inf


@dataclass(frozen=True)
class TrueAboveOne(Logistic):
    def impute(self, u):
        return (np.asarray(u) > 1) * 1.0


@dataclass(frozen=True)
class DegreeOne(Quadratic):
    degree: ClassVar[float | None] = 1.0


@dataclass(frozen=True)
class DegreeOfHuber(Huber):
    degree: ClassVar[float | None] = 2.0


@dataclass(frozen=True)
class SmoothAbsolute(Absolute):
    smooth: ClassVar[bool] = True


@dataclass(frozen=True)
class ConvexBounded(Bounded):
    convex: ClassVar[bool] = True


@dataclass(frozen=True)
class Overflowing(OfLabels):
    def value(self, u, a):
        return np.log(1.0 + np.exp(np.float64(-a * u)))


@dataclass(frozen=True)
class Dividing(Quadratic):
    def value(self, u, a):
        return (u - a) / 0


@dataclass(frozen=True)
class ImputesElsewhere(Quadratic):
    def impute(self, u):
        return np.asarray(u) + 1.0


@dataclass(frozen=True)
class ImputesOutside(OfLabels):
    def impute(self, u):
        return np.asarray(u)


@dataclass(frozen=True)
class ContainsNaN(Quadratic):
    def contains(self, a):
        return np.ones(np.shape(a), bool)


@dataclass(frozen=True)
class ContainsAnything(Quadratic):
    def contains(self, a):
        return True


@dataclass(frozen=True)
class DiffersWhenCompiled(Quadratic):
    """Python's integers are unbounded."""

    def value(self, u, a):
        return 0.5 * (u - a) ** 2 + (1.0 if (2**62 + int(a * 0)) * 4 < 1 else 0.0)


def not_jitted(u, a):
    return u - a


@dataclass(frozen=True)
class DoesNotCompile(Quadratic):
    def gradient(self, u, a):
        return not_jitted(u, a)


@dataclass(frozen=True)
class FieldIsText(Quadratic):
    name: str = "a"


@dataclass
class Mutable(Loss):
    delta: float = 1.0


@dataclass(frozen=True, eq=False)
class WithoutEquality(Quadratic):
    delta: float = 1.0


@dataclass(frozen=True, repr=False)
class WithoutRepr(Quadratic):
    delta: float = 1.0


@dataclass(frozen=True)
class WithoutHash(Quadratic):
    delta: float = 1.0

    __hash__ = None


@dataclass(frozen=True)
class ForgetfulPickle(Quadratic):
    delta: float = 1.0

    def __reduce__(self):
        return ForgetfulPickle, ()


@pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")
@pytest.mark.parametrize(
    ("loss", "law", "numbers"),
    [
        (DoubleGradient(), "gradient", r"gradient returns -?[\d.]+, but .* rises by -?[\d.]+"),
        (NegativeGradient(), "gradient", "rises by -?1"),
        (GradientOfLowRankModels(), "gradient", "gradient returns"),
        (GradientOutsideKink(), "gradient", "gradient returns 3, .* by -1 .* by 1 on the right"),
        (MeanOfAbsolute(), "best_constant", r"costs [\d.]+, but .* costs [\d.]+"),
        (ConstantIsAnArray(), "best_constant", "Return a float"),
        (ConstantWithoutWeights(), "best_constant", "TypeError.*Take the weights"),
        (ConstantForgetsWeights(), "best_constant", r"costs [\d.]+, but .* costs [\d.]+"),
        (TooFlat(), "curvature", "parabola of curvature 0.9 .* is below the value"),
        (CurvatureOfKink(), "curvature", "parabola of curvature 10 .* is below the value"),
        (FiniteOverflow(), "finite", "value.1000.0.* is inf"),
        (MinusInfinity(), "finite", "is -inf"),
        (TrueAboveOne(), "impute", "1.0 where u is positive"),
        (DegreeOne(), "degree", "with degree 1.0"),
        (DegreeOfHuber(), "degree", "with degree 2.0"),
        (SmoothAbsolute(), "smooth", "jumps from -1 to 1"),
        (ConvexBounded(), "convex", "its tangent at u="),
        (Overflowing(), "finite", "-?1000.0.* is inf"),
        (Dividing(), "finite", "ZeroDivisionError"),
        (ImputesElsewhere(), "impute", "which costs 0.5"),
        (ImputesOutside(), "impute", "which contains refuses"),
        (ContainsNaN(), "contains", "nan was said to be in the domain"),
        (ContainsAnything(), "contains", "returned True"),
        (DiffersWhenCompiled(), "compiled", r"in a kernel, but [\d.]+ in Python"),
        (DoesNotCompile(), "compiled", "numba refuses"),
        (FieldIsText(), "compiled", "Field 'name' of FieldIsText is annotated"),
        (Mutable(), "frozen", r"@dataclass\(frozen=True\)"),
        (WithoutEquality(), "equality", r"equals WithoutEquality\(delta=2.0\)"),
        (WithoutHash(), "equality", "hash"),
        (WithoutRepr(), "repr", "WithoutRepr"),
        (ForgetfulPickle(2.0), "pickle", "returned as"),
        (Huber, "instance", "Call the class"),
    ],
    ids=lambda one: one if isinstance(one, str) and one.isidentifier() else "",
)
def test_laws_refuse(loss, law, numbers):
    if law == "compiled" and config.DISABLE_JIT:
        pytest.skip("nothing is compiled")
    with pytest.raises(AssertionError, match=rf"(?s)breaks the law '{law}': .*{numbers}"):
        check_loss(loss)


def test_laws_refuse_a_class_that_other_processes_cannot_find():
    @dataclass(frozen=True)
    class Local(Quadratic):
        pass

    with pytest.raises(AssertionError, match="law 'pickle'.*top level of a module"):
        check_loss(Local())


def test_laws_ask_for_observations_if_they_know_none_of_the_domain():
    with pytest.raises(ValueError, match=r"contains 0 of .* Pass observations="):
        check_loss(OfLabels(), observations=[0.0, 0.5])


def test_laws_are_tried_where_the_caller_says():
    check_loss(GradientOutsideKink(), predictions=[0.1, 0.2], observations=[1, 2])
