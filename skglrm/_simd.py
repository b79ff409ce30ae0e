"""Vectors for kernels: compile-time row widths, and LLVM vectors with arithmetic.

Numba's loops over a row whose length is known only at run time cost twice what the same row costs
as a few vector registers.  Two small things buy that back on every CPU that LLVM knows (8 lanes of
float32 are half an AVX-512 register, one of AVX2, two of NEON):

- ``Width(k)`` is an argument without content whose *type* says how many numbers a row has, so that
  a kernel is compiled, and cached on disk, once per width;
- ``Vector`` wraps an LLVM vector value with ``+ - * /``, so that the code generators of a kernel
  read like the formula they implement.

A function that a kernel calls is written twice: in NumPy, as its definition and as the oracle of
the tests, and in vectors, by a code generator that ``vectorized`` puts in its place.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import (
    NativeValue,
    lower_builtin,
    models,
    register_model,
    type_callable,
    typeof_impl,
    unbox,
)

from ._record import RecordType

LANES = 8
"""Numbers per vector; rows of factors are padded with zeros to a multiple of it."""

_ALIGNMENT = 64  # bytes: a cache line, so that no vector straddles two


def padded(n: int) -> int:
    """Smallest multiple of ``LANES`` that is at least ``n``."""
    return -(-n // LANES) * LANES


def aligned_zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """``numpy.zeros`` whose data begin at a cache line."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    buffer = np.zeros(n_bytes + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + n_bytes].view(dtype).reshape(shape)


# ------------------------------------------------------------------ a number that is a type


class Width:
    """The number of columns of a padded factor matrix, known when a kernel is compiled."""

    __slots__ = ("n",)

    def __init__(self, n: int):
        self.n = n


class WidthType(types.Type):
    """The type of a width: pure data, so that caches on disk can hold it."""

    def __init__(self, n: int, digest: str):
        self.n = n
        super().__init__(f"Width({n})#{digest}")


@functools.cache
def _width_type(n: int) -> WidthType:
    return WidthType(n, _code_digest())


@functools.cache
def _code_digest() -> str:
    # Numba re-checks only the file of a kernel.  The vectors it is made of are written in other
    # files, so their digest is part of every width's name: an edit is never answered from a cache.
    here = Path(__file__).parent
    sources = [here / "_simd.py", *sorted((here / "kernels").glob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


@typeof_impl.register(Width)
def _typeof_width(width, context):
    return _width_type(width.n)


register_model(WidthType)(models.OpaqueModel)


@unbox(WidthType)
def _unbox_width(width_type, obj, c):
    return NativeValue(c.context.get_dummy_value())


# ------------------------------------------------------------------ vectors in a code generator

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)
_ZERO = ir.Constant(_INT32, 0)
_SUFFIX = {"float": "f32", "double": "f64"}


class Vector:
    """An LLVM vector of floats with arithmetic.

    No ``reassoc`` here, unlike in kernels: several sums side by side must stay several, or LLVM
    chains them again and every addition waits for the one before.
    """

    FLAGS = ("contract", "nsz", "arcp")

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    @property
    def lanes(self) -> int:
        return self.value.type.count

    @property
    def element(self):
        return self.value.type.element

    def _lift(self, other) -> Vector:
        return other if isinstance(other, Vector) else self.full(float(other))

    def full(self, number: float) -> Vector:
        return Vector(self.builder, ir.Constant(self.value.type, [number] * self.lanes))

    def __add__(self, other):
        return self._like(self.builder.fadd(self.value, self._lift(other).value, flags=self.FLAGS))

    def __sub__(self, other):
        return self._like(self.builder.fsub(self.value, self._lift(other).value, flags=self.FLAGS))

    def __mul__(self, other):
        return self._like(self.builder.fmul(self.value, self._lift(other).value, flags=self.FLAGS))

    def __truediv__(self, other):
        return self._like(self.builder.fdiv(self.value, self._lift(other).value, flags=self.FLAGS))

    def __rsub__(self, other):
        return self._lift(other) - self

    def __neg__(self):
        return self._like(self.builder.fneg(self.value))

    __radd__ = __add__
    __rmul__ = __mul__

    def _like(self, value) -> Vector:
        return Vector(self.builder, value)

    def sqrt(self) -> Vector:
        return self._call("sqrt", self)

    def times_plus(self, other: Vector, addend: Vector) -> Vector:
        """Return self * other + addend in one rounding, in the order written."""
        return self._call("fma", self, other, addend)

    def _call(self, name, *operands) -> Vector:
        kind = self.value.type
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(kind, [kind] * len(operands)),
            f"llvm.{name}.v{kind.count}{_SUFFIX[str(kind.element)]}",
        )
        return self._like(self.builder.call(function, [o.value for o in operands]))

    def minimum(self, other) -> Vector:
        return self._choose("<", other)

    def maximum(self, other) -> Vector:
        return self._choose(">", other)

    def _choose(self, comparison, other) -> Vector:
        other = self._lift(other)
        keep = self.builder.fcmp_ordered(comparison, self.value, other.value)
        return self._like(self.builder.select(keep, self.value, other.value))

    def pick(self, lanes, other: Vector | None = None) -> Vector:
        """Lanes by number; numbers from ``self.lanes`` on are lanes of ``other``."""
        mask = ir.Constant(ir.VectorType(_INT32, len(lanes)), list(lanes))
        second = self.value if other is None else other.value
        return self._like(self.builder.shuffle_vector(self.value, second, mask))

    def lane(self, number: int):
        return self.builder.extract_element(self.value, ir.Constant(_INT32, number))


class Rows:
    """A C-contiguous array inside a code generator."""

    def __init__(self, context, builder, array_type, array):
        self.builder = builder
        struct = context.make_array(array_type)(context, builder, array)
        self.data, self.shape = struct.data, cgutils.unpack_tuple(builder, struct.shape)

    @property
    def element(self):
        return self.data.type.pointee

    def row(self, index, width: int) -> Row:
        """Row ``index``, if rows have ``width`` numbers."""
        return self._row(index, ir.Constant(_INT64, width))

    def long_row(self, index) -> Row:
        """Row ``index`` of an array whose width is known only when it runs."""
        return self._row(index, self.shape[-1])

    def number(self, index):
        """The number at a place of a one-dimensional array."""
        return self.builder.load(self.builder.gep(self.data, [index]))

    def integer(self, index):
        """The same as a 64-bit integer."""
        number = self.number(index)
        return number if number.type == _INT64 else self.builder.sext(number, _INT64)

    def vector(self) -> Row:
        """A one-dimensional array as its only row."""
        return Row(self.builder, self.data)

    def _row(self, index, width) -> Row:
        return Row(self.builder, self.builder.gep(self.data, [self.builder.mul(index, width)]))


class Row:
    """One row of an array, read and written a vector at a time."""

    def __init__(self, builder, pointer):
        self.builder, self.pointer = builder, pointer
        self._size = 4 if str(pointer.type.pointee) == "float" else 8

    def load(self, offset: int, lanes: int = LANES) -> Vector:
        """The ``lanes`` numbers from ``offset`` on."""
        return Vector(self.builder, self.builder.load(self._at(offset, lanes), align=self._size))

    def store(self, vector: Vector, offset: int) -> None:
        """Write a vector to the places from ``offset`` on."""
        self.builder.store(vector.value, self._at(offset, vector.lanes), align=self._size)

    def __add__(self, offset) -> Row:
        """The same row from an offset on that is known only when it runs."""
        return Row(self.builder, self.builder.gep(self.pointer, [offset]))

    def prefetch(self, width: int) -> None:
        """Ask for the cache lines of the row: it will be read and written soon."""
        byte = ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(ir.VoidType(), [byte, _INT32, _INT32, _INT32]),
            "llvm.prefetch.p0",
        )
        how = [ir.Constant(_INT32, n) for n in (0, 3, 1)]  # kind, how long to keep, data
        for offset in range(0, width, _ALIGNMENT // self._size):
            address = self.builder.bitcast(self._at(offset, 1), byte)
            self.builder.call(function, [address, *how])

    def _at(self, offset, lanes):
        address = self.builder.gep(self.pointer, [ir.Constant(_INT64, offset)])
        return self.builder.bitcast(
            address, ir.VectorType(self.pointer.type.pointee, lanes).as_pointer()
        )


def splat(builder, number, element, lanes: int = LANES) -> Vector:
    """All lanes equal to one number, converted to the type ``element``."""
    kind = ir.VectorType(element, lanes)
    empty = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(empty, convert(builder, number, element), _ZERO)
    zeros = ir.Constant(ir.VectorType(_INT32, lanes), [0] * lanes)
    return Vector(builder, builder.shuffle_vector(first, empty, zeros))


def gather(builder, numbers, element) -> Vector:
    """A vector of separate numbers, converted to the type ``element``."""
    value = ir.Constant(ir.VectorType(element, len(numbers)), ir.Undefined)
    for lane, number in enumerate(numbers):
        number = convert(builder, number, element)
        value = builder.insert_element(value, number, ir.Constant(_INT32, lane))
    return Vector(builder, value)


def convert(builder, number, element):
    """A float as a float of the type ``element``."""
    if number.type == element:
        return number
    return (builder.fptrunc if str(element) == "float" else builder.fpext)(number, element)


def is_positive(builder, number):
    """Whether a float is greater than zero."""
    return builder.fcmp_ordered(">", number, ir.Constant(number.type, 0.0))


def sum_pair(first: Vector, second: Vector) -> tuple[Any, Any]:
    """The sums over the lanes of two vectors, both trees climbed together."""
    half = first.lanes // 2
    low = [*range(half), *range(2 * half, 3 * half)]
    both = first.pick(low, second) + first.pick([half + lane for lane in low], second)
    while half > 1:
        half //= 2
        low = [*range(half), *range(2 * half, 3 * half)]
        both = both.pick(low) + both.pick([half + lane for lane in low])
    return both.lane(0), both.lane(1)


def lane_sums(vectors: list[Vector]) -> list[Any]:
    """The sums over the lanes of each of 2ⁿ vectors, all trees climbed together."""
    group = vectors[0].lanes
    while group > 1:
        low = [lane for lane in range(vectors[0].lanes) if lane % group < group // 2]
        high = [lane + group // 2 for lane in low]
        if len(vectors) == 1:
            vectors = [vectors[0].pick(low) + vectors[0].pick(high)]
        else:
            low, high = ([*half, *(n + vectors[0].lanes for n in half)] for half in (low, high))
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [a.pick(low, b) + a.pick(high, b) for a, b in pairs]
        group //= 2
    return [vector.lane(n) for vector in vectors for n in range(vector.lanes)]


def lanes_of(element) -> int:
    """Numbers of a type in a register of 32 bytes."""
    return 8 if str(element) == "float" else 4


def zeros_of(builder, element, count: int) -> list[Vector]:
    """So many vectors of zeros, a register each."""
    kind = ir.VectorType(element, lanes_of(element))
    return [Vector(builder, ir.Constant(kind, [0.0] * kind.count)) for _ in range(count)]


def fold(builder, length, lanes: int, vectors: list[Vector], body: Callable) -> list[Vector]:
    """Carry vectors through a loop: ``vectors = body(offset, vectors)`` for 0, lanes, … < length.

    ``length`` is known only when it runs, and a multiple of ``lanes``.
    """
    slots = [cgutils.alloca_once_value(builder, vector.value) for vector in vectors]
    zero, step = ir.Constant(_INT64, 0), ir.Constant(_INT64, lanes)
    with cgutils.for_range_slice(builder, zero, length, step, _INT64) as (offset, _):
        vectors = body(offset, [Vector(builder, builder.load(slot)) for slot in slots])
        for slot, vector in zip(slots, vectors or [], strict=True):
            builder.store(vector.value, slot)
    return [Vector(builder, builder.load(slot)) for slot in slots]


# ------------------------------------------------------------------ functions with two bodies


def vectorized(function: Callable, returns: Callable) -> Callable:
    """Decorate the code generator that stands for ``function`` in compiled kernels.

    The generator gets the LLVM builder and one operand per argument: a :class:`Rows` for an array,
    an int for a :class:`Width`, a namespace of the members of a record, an LLVM value for a number.
    ``returns`` maps the numba types of the arguments to that of the result.
    """

    def register(generate):
        signature_of_function = inspect.signature(function)

        @type_callable(function)
        def _typing(context):
            def typer(*arguments):
                return returns(*arguments)

            typer.__signature__ = signature_of_function  # numba does not lower *arguments
            return typer

        @lower_builtin(function, *[types.Any] * len(signature_of_function.parameters))
        def _lower(context, builder, signature, arguments):
            operands = map(functools.partial(_operand, context, builder), signature.args, arguments)
            result = generate(builder, *operands)
            if result is None:
                return context.get_dummy_value()
            if not isinstance(result, tuple | list):
                return result
            return cgutils.pack_array(builder, result)

        return generate

    return register


def _operand(context, builder, kind, value):
    if isinstance(kind, WidthType):
        return kind.n
    if isinstance(kind, types.Array):
        return Rows(context, builder, kind, value)
    if isinstance(kind, RecordType):
        struct = cgutils.create_struct_proxy(kind)(context, builder, value=value)
        return SimpleNamespace(**{name: getattr(struct, name) for name, _ in kind.members})
    return value


def pair_of_elements(width, rows, *others):
    """Type of a pair of numbers of the kind that the first array holds."""
    return types.UniTuple(rows.dtype, 2)


def four_elements(rows, *others):
    """Type of four numbers of the kind that the first array holds."""
    return types.UniTuple(rows.dtype, 4)


def one_element(rows, *others):
    """Type of a number of the kind that the first array holds."""
    return rows.dtype


def nothing(*arguments):
    """Type of a function that only writes."""
    return types.void
