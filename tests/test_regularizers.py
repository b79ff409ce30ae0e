"""Regularizers obey the laws, and the laws catch regularizers that do not."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np
import pytest
from numba.core import config

from skglrm.regularizers import L1, L2, NonNegative, Regularizer, Sum, Zero
from skglrm.testing import check_regularizer

REGULARIZERS = [
    Zero(),
    L1(0.3),
    L1(0.0),
    L2(),
    L2(40.0),
    NonNegative(),
    Sum(L1(0.3), L2(2.0)),
    Sum(L1(0.3), NonNegative()),
    Sum(L2(0.7), NonNegative()),
    Sum(NonNegative(), L2(0.7)),
    Sum(L1(0.3), Sum(L2(2.0), NonNegative())),
]


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
def test_regularizer_obeys_the_laws(regularizer):
    check_regularizer(regularizer)


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_prox_keeps_the_dtype_and_zero(regularizer, dtype):
    x = np.zeros(4, dtype)
    regularizer.prox(x, 0.7)
    assert x.dtype == dtype
    assert not x.any()


@pytest.mark.parametrize(
    ("regularizer", "value", "row"),
    [
        (Zero(), 0.0, [3.0, -1.0, 0.5]),
        (L2(1.0), 5.125, [1.0, -1 / 3, 1 / 6]),  # ½ (9 + 1 + ¼); divided by 1 + 2
        (L1(0.5), 2.25, [2.0, 0.0, 0.0]),  # ½ (3 + 1 + ½); shrunk by 2 · ½
        (NonNegative(), inf, [3.0, 0.0, 0.5]),
        (Sum(L1(0.5), L2(1.0)), 7.375, [2 / 3, 0.0, 0.0]),
        (Sum(L1(0.125), NonNegative()), inf, [2.75, 0.0, 0.25]),
        (Sum(L2(1.0), NonNegative()), inf, [1.0, 0.0, 1 / 6]),
    ],
    ids=repr,
)
def test_value_and_prox_of_a_row_with_step_2(regularizer, value, row):
    x = np.array([3.0, -1.0, 0.5])
    assert regularizer.value(x) == value
    regularizer.prox(x, 2.0)
    np.testing.assert_allclose(x, row, rtol=1e-15)


def test_a_constraint_has_no_strength_that_could_switch_it_off():
    x = np.array([-1.0])
    Sum(L1(0.0), NonNegative()).prox(x, 0.0)
    assert x == [0.0]


@pytest.mark.parametrize("kind", [L1, L2])
@pytest.mark.parametrize("strength", [-0.1, inf, np.nan])
def test_strength_must_be_finite_and_not_negative(kind, strength):
    with pytest.raises(ValueError, match=rf"{kind.__name__} needs a finite strength >= 0"):
        kind(strength)


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


@dataclass(frozen=True)
class Ball(Regularizer):
    """A correct constraint that is not separable: at most this far from 0."""

    radius: float = 1.0

    def value(self, x):
        norm = 0.0
        for d in range(x.size):
            norm += x[d] * x[d]
        return 0.0 if norm <= self.radius * self.radius * (1 + 1e-6) else inf

    def prox(self, x, step):
        norm = 0.0
        for d in range(x.size):
            norm += x[d] * x[d]
        if norm > self.radius * self.radius:
            for d in range(x.size):
                x[d] *= self.radius / np.sqrt(norm)


@dataclass(frozen=True)
class OneNonZero(Regularizer):
    """A correct constraint that is not convex: at most one number differs from 0."""

    convex: ClassVar[bool] = False

    def value(self, x):
        n = 0
        for d in range(x.size):
            n += x[d] != 0
        return 0.0 if n <= 1 else inf

    def prox(self, x, step):
        largest = 0
        for d in range(x.size):
            if abs(x[d]) > abs(x[largest]):
                largest = d
        for d in range(x.size):
            if d != largest:
                x[d] = 0.0


@pytest.mark.parametrize("regularizer", [NonZeros(0.5), Ball(2.0), OneNonZero()], ids=repr)
def test_laws_hold_for_correct_regularizers_of_users(regularizer):
    check_regularizer(regularizer)


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
            Sum(L2(2.0), L1(0.5)),
            "three points",
            r"ξ=array.* at least [\d.]+, but it is [\d.]+.*some pairs",
        ),
        (ProxDoesNothing(), "three points", "should be at least"),
        (ProxReturns(), "in place", "returned array"),
        (ProxIgnoresStep(0.5), "three points", "0.001"),
        (ProxOfSquaredNorm(), "three points", "minimiser of value"),
        (ProxIgnoresStrength(0.5), "three points", "minimiser of value"),
        (StaysNegative(), "finite", "whose value is inf"),
        (AlwaysRescales(2.0), "three points", "minimiser of value"),
        (NotIdempotent(), "projection", "leave points"),
        (ProjectionWithStep(), "projection", r"array\(\[1.\]\) with step 1, but to"),
        (HardThresholdTooLow(), "minimum", "minimiser of value"),
        (NonZerosCalledConvex(0.5), "three points", "minimiser of value"),
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
