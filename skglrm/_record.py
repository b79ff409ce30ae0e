"""Teach numba to take frozen dataclasses of scalars, and to compile their methods.

A *record* is an ordinary frozen dataclass whose fields are floats, ints, bools, tuples of floats
(``tuple[float, ...]``: short ones, for their length is part of the type) or other records.
It needs no decorator beyond ``@dataclass(frozen=True)``::

    @dataclass(frozen=True)
    class Huber(Loss):
        delta: float = 1.0

        def value(self, u, a):
            r = abs(u - a)
            return 0.5 * r * r if r <= self.delta else self.delta * (r - 0.5 * self.delta)

        def gradient(self, u, a):
            return min(max(u - a, -self.delta), self.delta)

    @kernel
    def total(loss, u, a):
        s = 0.0
        for t in range(u.size):
            s += loss.value(u[t], a[t])
        return s

    total(Huber(0.5), u, a)           # compiled, specialised to Huber, inlined, cached on disk
    total.py_func(Huber(0.5), u, a)   # the same source, as plain Python: the oracle in tests

Three decisions, each of which cures a failure that is silent or far from its cause.

1. The numba *type* is pure data: a name and the types of the members.  It never refers to the
   user's class.  Kernels cache an index of the signatures they were compiled for; were the class
   inside the type, the index would pickle it by reference, and every process that cannot import
   the user's module would crash, even when it only uses losses of the library.
   The classes live beside, in ``_CLASSES``.
2. The name of the type holds a digest of the code of the compiled methods, of the functions they
   call and of the globals they read.  Numba re-checks only the file of the kernel, so without the
   digest an edited loss would silently run its old machine code.
3. Types are memoised per class: a call costs 3-5 microseconds instead of 18.

Known limits.  Of a module's attributes the digest sees numbers, strings and jitted functions that
are read as ``module.name``.  Functions that a method calls must be jitted, as for any numba code.
The imports from ``numba.core`` are not public API: the subprocess tests of compile time
guard them on every supported numba.
"""

import functools
import hashlib
import inspect
import pickle
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from types import CodeType, ModuleType

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.registry import CPUDispatcher
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    models,
    overload_method,
    register_model,
    typeof_impl,
    unbox,
)

COMPILED_METHODS = ("value", "gradient", "prox")
"""What kernels may call: ``value(u, a)`` and ``gradient(u, a)`` of a loss, ``value(u, a)`` and
``gradient(u, a, out)`` of a vector loss, ``value(x)`` and ``prox(x, step)`` (in place) of a
regularizer.  All other methods of a record stay Python."""

# Annotations arrive as strings in modules with ``from __future__ import annotations``.
_SCALARS = {
    float: types.float64, int: types.int64, bool: types.boolean,
    "float": types.float64, "int": types.int64, "bool": types.boolean,
}  # fmt: skip
_TUPLES = (tuple[float, ...], "tuple[float, ...]")

_CLASSES: dict[str, type] = {}
"""Name of a record type -> the class whose methods it carries.

Kept outside both the type and the class.  In the type it would poison shared caches (see above);
a type stored on its own class makes a cyclic pickle, and the index becomes unreadable.
"""


class Record:
    """Base of every class that kernels may receive."""

    __slots__ = ()


class LossRecord(Record):
    """Base of losses: what one entry costs."""

    __slots__ = ()


class VectorLossRecord(Record):
    """Base of vector losses: what one entry costs that has several predictions."""

    __slots__ = ()


class RegularizerRecord(Record):
    """Base of regularizers: what one row of factors costs."""

    __slots__ = ()


class RecordType(types.Type):
    """What numba knows of a record: a name with a digest, and the types of the members."""

    def __init__(self, name, members):
        self.members = members
        super().__init__(name)


# More types, because numba resolves a method by (type, name) and allows it one arity:
# ``value(u, a)`` of a loss and ``value(x)`` of a regularizer need different types.


class LossType(RecordType):
    """The type of a loss."""


class VectorLossType(RecordType):
    """The type of a vector loss."""


class RegularizerType(RecordType):
    """The type of a regularizer."""


# ------------------------------------------------------------------ from a value to its type


_RECENT: dict[int, tuple[Record, types.Type]] = {}
"""Records seen of late, by identity, and their types: kernels are called with the same ones again
and again, and looking through the fields takes as long as a small kernel."""


@typeof_impl.register(Record)
def _typeof_record(record, context):
    known = _RECENT.get(id(record))
    if known is not None and known[0] is record:
        return known[1]
    found = _type_of(record)
    if len(_RECENT) >= 256:
        _RECENT.clear()
    _RECENT[id(record)] = record, found
    return found


def _type_of(record):
    cls = type(record)
    if not (is_dataclass(cls) and cls.__dataclass_params__.frozen):
        raise TypeError(f"{cls.__qualname__} must be decorated with @dataclass(frozen=True).")
    # What the value decides: the types of records, and the lengths of tuples.
    own = []
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Record):
            own.append((field.name, _type_of(value)))
            continue
        _check_number(cls, field, value)
        if field.type in _TUPLES:
            own.append((field.name, types.UniTuple(types.float64, len(value))))
    return _type_of_class(cls, tuple(own))


def _check_number(cls, field, value):
    # Here, because an error while numba reads a value off the record would come too late.
    if field.type in _TUPLES:
        right = isinstance(value, tuple) and all(isinstance(one, Real) for one in value)
    else:
        wanted = {types.int64: Integral, types.boolean: bool | np.bool_}
        right = isinstance(value, wanted.get(_scalar_type(cls, field), Real))
    if not right:
        raise TypeError(
            f"Field {field.name!r} of {cls.__qualname__} is declared {field.type!r}, but holds "
            f"{value!r}."
        )


@functools.cache
def _type_of_class(cls, own):
    known = dict(own)
    members = tuple(
        (f.name, known[f.name] if f.name in known else _scalar_type(cls, f)) for f in fields(cls)
    )
    name = f"{cls.__module__}.{cls.__qualname__}#{_digest(cls)}{members}"
    _CLASSES[name] = cls
    if issubclass(cls, LossRecord):
        return LossType(name, members)
    if issubclass(cls, VectorLossRecord):
        return VectorLossType(name, members)
    return (RegularizerType if issubclass(cls, RegularizerRecord) else RecordType)(name, members)


def _scalar_type(cls, field):
    try:
        return _SCALARS[field.type]
    except (KeyError, TypeError):
        # A TypeError, because numba reads a ValueError here as "some Python object".
        raise TypeError(
            f"Field {field.name!r} of {cls.__qualname__} is annotated {field.type!r}. Fields of a "
            "loss or regularizer must be float, int, bool, tuple[float, ...] or another loss or "
            "regularizer; pass arrays (weights, for instance) to the estimator instead."
        ) from None


# ------------------------------------------------------------------ the digest of the code


def _digest(cls):
    methods = (getattr(cls, name, None) for name in COMPILED_METHODS)
    sha = hashlib.sha256()
    for method in methods:
        sha.update(b"-" if method is None else _fingerprint(method, ()))
    return sha.hexdigest()[:12]


def _fingerprint(function, seen):
    """Bytes that change when the function, what it calls or the globals it reads change."""
    function = getattr(function, "py_func", function)  # a jitted function -> its Python source
    if function in seen:
        return b""
    parts = [_code_bytes(function.__code__)]
    for name, value in sorted(_read_by(function).items()):
        parts.append(name.encode())
        if inspect.isfunction(value) or isinstance(value, CPUDispatcher):
            parts.append(_fingerprint(value, (*seen, function)))
        elif isinstance(value, ModuleType):
            parts.append(value.__name__.encode())
        else:  # scalars and arrays by value; builtins, ufuncs and classes by qualified name
            parts.append(pickle.dumps(value, protocol=4))
    return b"\0".join(parts)


def _read_by(function):
    """Return what a function, and the functions inside it, read from outside, by name."""
    names, codes = set(), [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [const for const in code.co_consts if isinstance(const, CodeType)]
    read = {name: function.__globals__[name] for name in names if name in function.__globals__}
    modules = {name: value for name, value in read.items() if isinstance(value, ModuleType)}
    for module_name, module in modules.items():
        for name in names & vars(module).keys():
            value = getattr(module, name)
            if isinstance(value, CPUDispatcher | float | int | str):
                read[f"{module_name}.{name}"] = value
    cells = function.__closure__ or ()
    return read | dict(
        zip(function.__code__.co_freevars, (c.cell_contents for c in cells), strict=True)
    )


def _code_bytes(code):
    # co_names matter: ``math.exp(u)`` and ``math.log(u)`` have equal co_code and co_consts.
    consts = b"".join(
        _code_bytes(c) if isinstance(c, CodeType) else repr(c).encode() for c in code.co_consts
    )
    return b"|".join((code.co_code, consts, repr(code.co_names).encode()))


# ------------------------------------------------------------------ from Python to machine


@register_model(RecordType)
@register_model(LossType)
@register_model(VectorLossType)
@register_model(RegularizerType)
class _RecordModel(models.StructModel):
    def __init__(self, manager, record_type):
        super().__init__(manager, record_type, list(record_type.members))


@unbox(RecordType)
def _unbox_record(record_type, obj, c):
    struct = cgutils.create_struct_proxy(record_type)(c.context, c.builder)
    for name, member in record_type.members:
        attribute = c.pyapi.object_getattr_string(obj, name)
        setattr(struct, name, c.unbox(member, attribute).value)
        c.pyapi.decref(attribute)
    failed = cgutils.is_not_null(c.builder, c.pyapi.err_occurred())
    return NativeValue(struct._getvalue(), is_error=failed)


# ------------------------------------------------------------------ inside a kernel


@infer_getattr
class _RecordAttributes(AttributeTemplate):
    key = RecordType

    def generic_resolve(self, record_type, attribute):
        return dict(record_type.members).get(attribute)


@lower_getattr_generic(RecordType)
def _read_member(context, builder, record_type, value, attribute):
    struct = cgutils.create_struct_proxy(record_type)(context, builder, value=value)
    return getattr(struct, attribute)


# One entry per method name; every present and future record benefits.  The arity must be spelled:
# numba does not lower ``*args`` or defaults here.  strict=False lets the user's method name its
# arguments as it likes.


@overload_method(LossType, "value", strict=False)
def _loss_value(self, u, a):
    return _method(self, "value")


@overload_method(LossType, "gradient", strict=False)
def _loss_gradient(self, u, a):
    return _method(self, "gradient")


@overload_method(VectorLossType, "value", strict=False)
def _vector_loss_value(self, u, a):
    return _method(self, "value")


@overload_method(VectorLossType, "gradient", strict=False)
def _vector_loss_gradient(self, u, a, out):
    return _method(self, "gradient")


@overload_method(RegularizerType, "value", strict=False)
def _regularizer_value(self, x):
    return _method(self, "value")


@overload_method(RegularizerType, "prox", strict=False)
def _regularizer_prox(self, x, step):
    return _method(self, "prox")


def _method(record_type, name):
    return getattr(_CLASSES[record_type.name], name, None)
