"""Kernels take frozen dataclasses, and know code that has changed from code that has not."""

import os
import textwrap
from dataclasses import dataclass

import numpy as np
import pytest
from numba import typeof
from numba.core import config

from skglrm._jit import kernel
from skglrm._record import Record
from skglrm.losses import (
    Absolute,
    Hinge,
    Huber,
    Loss,
    Multinomial,
    OneVsAll,
    Quadratic,
    Scaled,
    ScaledVector,
)
from skglrm.regularizers import L1, L2, NonNegative, Regularizer, Sum

compiled_only = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")


def in_python(function):
    return getattr(function, "py_func", function)


@kernel
def mean_loss(loss, u, a):
    total = 0.0
    for t in range(u.size):
        total += loss.value(u[t], a[t]) + 10.0 * loss.gradient(u[t], a[t])
    return total / u.size


@kernel
def shrink(regularizer, x, step):
    regularizer.prox(x, step)
    return regularizer.value(x)


@kernel
def weigh(settings, x):
    return settings.weight * x if settings.active else x * settings.count


U = np.array([0.0, 1.0, -2.0, 3.5])
A = np.array([0.5, 1.0, 2.0, -1.0])


# ------------------------------------------------------------------ compiled = Python


@dataclass(frozen=True)
class OtherNames(Loss):
    """Nothing depends on what arguments are called, ``self`` included."""

    power: int = 2
    halved: bool = True

    def value(this, guess, truth):
        return abs(guess - truth) ** this.power * (0.5 if this.halved else 1.0)

    def gradient(me, x, y):
        return x - y


@pytest.mark.parametrize(
    "loss",
    [
        Quadratic(),
        Huber(0.5),
        Huber(2),  # an int where a float is declared
        Huber(np.float32(0.5)),
        OtherNames(),
        OtherNames(3, False),
        Scaled(2.0, Huber(0.3)),
        Scaled(2.0, Scaled(0.5, Absolute())),
    ],
    ids=repr,
)
def test_a_kernel_computes_what_its_source_says(loss):
    assert mean_loss(loss, U, A) == pytest.approx(in_python(mean_loss)(loss, U, A), rel=1e-14)


@pytest.mark.parametrize(
    "regularizer", [L1(0.5), Sum(L1(0.5), L2(1.0)), Sum(Sum(L1(0.5), L2(1.0)), NonNegative())]
)
def test_a_kernel_writes_what_its_source_says(regularizer):
    compiled, python = U.copy(), U.copy()
    value = shrink(regularizer, compiled, 0.7)
    assert value == pytest.approx(in_python(shrink)(regularizer, python, 0.7), rel=1e-14)
    np.testing.assert_allclose(compiled, python, rtol=1e-14)
    assert not np.array_equal(compiled, U)


@kernel
def vector_loss(loss, u, a, out):
    loss.gradient(u, a, out)
    return loss.value(u, a)


@pytest.mark.parametrize(
    "loss", [Multinomial(4), ScaledVector(2.0, OneVsAll(4, Hinge()))], ids=repr
)
def test_a_vector_loss_has_a_value_and_writes_its_gradient(loss):
    compiled, python = np.empty(4), np.empty(4)
    value = vector_loss(loss, U, 2.0, compiled)
    assert value == pytest.approx(in_python(vector_loss)(loss, U, 2.0, python), rel=1e-14)
    np.testing.assert_allclose(compiled, python, rtol=1e-14)


@dataclass(frozen=True)
class Table(Record):
    values: tuple[float, ...]


@dataclass(frozen=True)
class Tables(Record):
    count: "int"
    first: "tuple[float, ...]"
    second: Table


@kernel
def add_up(tables, d):
    return tables.first[d] + 10.0 * tables.second.values[-1] + 100.0 * tables.count


@pytest.mark.parametrize(
    ("first", "expected"), [((1.5, 2.5), 232.5), ((7, np.float32(0.5), True), 230.5)]
)
def test_tuples_of_numbers_arrive_as_they_are(first, expected):
    assert add_up(Tables(2, first, Table((1.0, 3.0))), 1) == expected


@compiled_only
def test_tuples_of_equal_length_share_a_version_of_a_kernel():
    names = {str(typeof(Table(values))) for values in ((1.0,), (2.0,), (1.0, 2.0))}
    assert len(names) == 2


@compiled_only
@pytest.mark.parametrize("values", [[1.0, 2.0], (1.0, "a"), (1.0, None), 1.0, U])
def test_what_is_no_tuple_of_numbers_is_refused(values):
    with pytest.raises(TypeError, match=r"Field 'values' of Table is declared tuple\[float"):
        typeof(Table(values))


@dataclass(frozen=True)
class Settings(Record):
    weight: float
    count: int
    active: bool


@pytest.mark.parametrize("settings", [Settings(0.5, 3, True), Settings(0.5, 3, False)])
def test_fields_arrive_as_they_are(settings):
    assert weigh(settings, 4.0) == (2.0 if settings.active else 12.0)


def test_fields_are_read_at_each_call():
    assert [weigh(Settings(w, 1, True), 1.0) for w in (1.0, 2.0, 1.0)] == [1.0, 2.0, 1.0]


@compiled_only
def test_one_version_of_a_kernel_serves_all_values_of_the_fields():
    for delta in (0.125, 0.25, 0.375):
        mean_loss(Huber(delta), U, A)
    names = [str(signature[0]) for signature in mean_loss.signatures]
    assert sum("Huber" in name and "Scaled" not in name for name in names) == 1


# ------------------------------------------------------------------ what a record may be


def from_another_module(annotations: bool):
    source = """
        from dataclasses import dataclass
        from skglrm.losses import Loss

        @dataclass(frozen=True)
        class Told(Loss):
            name: str = "a"
            delta: float = 1.0
    """
    future = "from __future__ import annotations\n" if annotations else ""
    namespace = {"__name__": __name__}
    exec(future + textwrap.dedent(source), namespace)
    return namespace["Told"]


@dataclass(frozen=True)
class HoldsArray(Loss):
    weights: np.ndarray


@dataclass(frozen=True)
class HoldsList(Loss):
    weights: list[float]


@dataclass(frozen=True)
class HoldsMaybe(Loss):
    delta: float | None = None


@compiled_only
@pytest.mark.parametrize(
    ("record", "field"),
    [
        (from_another_module(False)(), "name"),
        (from_another_module(True)(), "name"),
        (HoldsArray(U), "weights"),
        (HoldsList([1.0]), "weights"),
        (HoldsMaybe(1.0), "delta"),
        (Scaled(2.0, "huber"), "loss"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Record) else one,
)
def test_a_field_that_is_no_number_is_refused_by_name(record, field):
    with pytest.raises(
        TypeError,
        match=rf"Field '{field}' of {type(record).__qualname__} is annotated .* must be float, "
        r"int, bool, tuple\[float, ...\] or another loss or regularizer; pass arrays .* to the "
        "estimator",
    ):
        mean_loss(record, U, A)


@dataclass
class Mutable(Loss):
    delta: float = 1.0


class NoDataclass(Loss):
    pass


@compiled_only
@pytest.mark.parametrize(
    "record",
    [
        pytest.param(Mutable(), id="mutable"),
        pytest.param(
            NoDataclass(),
            id="plain",
        ),
    ],
)
def test_a_class_that_is_no_frozen_dataclass_is_refused(record):
    with pytest.raises(TypeError, match=r"must be decorated with @dataclass\(frozen=True\)"):
        mean_loss(record, U, A)


def test_a_mutable_record_within_a_record_is_refused():
    if config.DISABLE_JIT:
        pytest.skip("nothing is compiled")
    with pytest.raises(TypeError, match="Mutable must be decorated"):
        mean_loss(Scaled(1.0, Mutable()), U, A)


@dataclass(frozen=True)
class Weight(Record):
    weight: float


@kernel
def weigh_alone(settings, x):
    return settings.weight * x


@compiled_only
@pytest.mark.parametrize("weight", ["heavy", None, U])
def test_a_value_that_is_no_number_fails_and_does_not_crash(weight):
    with pytest.raises(TypeError):
        weigh_alone(Weight(weight), 1.0)
    assert weigh_alone(Weight(2.0), 1.0) == 2.0


@compiled_only
def test_a_value_that_is_no_number_fails_whichever_field_it_is_in():
    with pytest.raises(TypeError):
        weigh(Settings("heavy", 1, True), 1.0)


@compiled_only
def test_a_fraction_is_not_taken_for_an_integer():
    with pytest.raises(TypeError):
        weigh(Settings(1.0, 1.5, False), 1.0)


# ------------------------------------------------------------------ the digest

SOURCE = """
import math
from dataclasses import dataclass
from math import exp as f

import numpy as np

from skglrm._jit import kernel
from skglrm.losses import Loss

SLOPE = 2.0
TABLE = np.array([1.0, 2.0])


@kernel
def inner(r):
    return 3.0 * r


@kernel
def outer(r):
    return inner(r) + 1.0


class Base(Loss):
    def gradient(self, u, a):
        return 4.0 * (u - a)


@dataclass(frozen=True)
class Part(Loss):
    def value(self, u, a):
        return 5.0


@dataclass(frozen=True)
class Own(Base):
    delta: float = 1.0

    def value(self, u, a):
        r = math.exp(u) + f(a) + np.sqrt(2.0)
        steep = lambda x: STEEP * x
        return outer(r) * SLOPE * TABLE[0] + 6.0 * self.delta + steep(r)

    def best_constant(self, values):
        return 7.0


STEEP = 8.0


@dataclass(frozen=True)
class Whole(Loss):
    part: Loss

    def value(self, u, a):
        return self.part.value(u, a)
"""


def type_name(old: str = "", new: str = "", expression: str = "Own()") -> str:
    assert old in SOURCE
    namespace = {"__name__": "module_of_a_user"}
    exec(compile(SOURCE.replace(old, new, 1), os.devnull, "exec"), namespace)
    return str(typeof(eval(expression, namespace)))


@compiled_only
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("6.0 *", "6.5 *"),
        ("6.0 * self", "6.0 + self"),
        ("4.0 *", "4.5 *"),
        ("inner(r) + 1.0", "inner(r) + 1.5"),
        ("3.0 * r", "3.5 * r"),
        ("SLOPE = 2.0", "SLOPE = 2.5"),
        ("[1.0, 2.0]", "[1.0, 2.5]"),
        ("math.exp(u)", "math.log(u)"),
        ("import exp as f", "import log as f"),
        ("np.sqrt(2.0)", "np.cbrt(2.0)"),
        ("import numpy as np", "import math as np"),
        ("delta: float = 1.0", "delta: int = 1"),
        ("delta: float", "epsilon: float = 1.0; delta: float"),
        ("class Own(Base)", "class Own(Loss)"),
        ("lambda x: STEEP * x", "lambda x: STEEP + x"),
        pytest.param(
            "STEEP = 8.0",
            "STEEP = 8.5",
        ),
    ],
)
def test_a_change_of_what_is_compiled_changes_the_type(old, new):
    if new == "import math as np":
        new += "; np.array = list; np.sqrt"
    assert type_name(old, new) != type_name()


@compiled_only
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return 7.0", "return 7.5"),  # a method that stays Python
        ("SLOPE = 2.0", "# a comment\n\n\nSLOPE = 2.0"),
        ("@dataclass(frozen=True)\nclass Own", "\n\n\n@dataclass(frozen=True)\nclass Own"),
        ("delta: float = 1.0", "delta: float = 1.5"),  # a default is no code
        ("5.0", "5.5"),  # another class
    ],
)
def test_a_change_of_anything_else_does_not(old, new):
    assert type_name(old, new) == type_name()


@compiled_only
def test_a_change_of_a_part_changes_the_type_of_the_whole():
    assert type_name("5.0", "5.5", "Whole(Part())") != type_name(expression="Whole(Part())")
    assert type_name(expression="Whole(Part())") != type_name(expression="Whole(Own())")


@compiled_only
def test_the_type_of_equal_classes_is_the_same_in_every_process():
    # The name is the key of the cache on disk.
    assert type_name() == type_name()
    assert str(typeof(Huber(0.5))) == str(typeof(Huber(0.7)))
    assert str(typeof(Quadratic())) != str(typeof(Absolute()))


@compiled_only
def test_a_function_that_calls_itself_has_a_digest():
    source = """
        @kernel
        def inner(r):
            return r if r < 1.0 else inner(r - 1.0)
    """
    old = "@kernel\ndef inner(r):\n    return 3.0 * r\n"
    assert type_name(old, textwrap.dedent(source)) != type_name()


def test_regularizers_losses_and_vector_losses_are_kept_apart():
    if config.DISABLE_JIT:
        pytest.skip("nothing is compiled")
    kinds = {type(typeof(record)) for record in (L1(), Quadratic(), Multinomial(3))}
    assert len(kinds) == 3
    assert isinstance(Sum(L1(), L2()), Regularizer)
