"""Fitted models as plain values and arrays, and back, without running code of the file.

``encode`` turns a value into a *node* of JSON and puts arrays aside.  ``None``, Booleans, integers,
strings, finite floats and lists stand for themselves, everything else is an object with one tag::

    {"tuple": [1, 2]}    {"array": ["row_factors_", "<f4", [943, 32], "C"]}
    {"record": ["losses.Huber", {"delta": 0.5}]}

``decode`` builds nothing but what is named in this file: values of Python and NumPy, data types of
frames, and classes from a table or from the caller's hand.  A name is looked up, never imported.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import inspect
import math
import re
import sys
import uuid
import zoneinfo
from collections.abc import Callable, Iterable
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from ._columns import Columns, Null
from ._interactions import Growing, History
from ._later import Later, MadeLater
from ._record import Record
from ._tables import Column, Table
from .backends import SparkBackend
from .domains import Domain

__all__ = ["Decoder", "Encoder", "RefusedError"]

LONG = 64
"""Lists of more elements than this are looked at for a compact form."""

INTERNAL = (Column, Columns, Null, SparkBackend, Table)
BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
NOT_STATE = ("_sklearn_version", "_skl_callbacks", "_parent_callback_ctx")
"""Who wrote a pickle, and who watches a fit."""

PLAIN_TYPE = re.compile(r"[<>|=]?[biufcmMSU]\d{1,9}(\[\d{0,9}[a-zA-Z]{1,2}\])?")
PANDAS_TYPE = re.compile(r"[A-Za-z0-9_.\[\], ]{1,60}")


class RefusedError(ValueError):
    """A file that is sound, but that this session cannot or must not load."""


def _builtin_records() -> dict[str, type]:
    """Losses, regularizers and domains of the library, and what its models consist of, by name."""
    found: dict[str, type] = {f"model.{cls.__name__}": cls for cls in INTERNAL}
    waiting: list[type] = [Record, Domain]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        package, _, inside = cls.__module__.partition(".")
        if package == __package__ and dataclasses.is_dataclass(cls):
            found[f"{inside.split('.')[0]}.{cls.__qualname__}"] = cls
    return found


def full_name(cls: type) -> str:
    """How a class of the user is called in a file."""
    return f"{cls.__module__}:{cls.__qualname__}"


# ------------------------------------------------------------------ to nodes


class Encoder:
    """Turns values into nodes, and collects their arrays and the user's classes."""

    def __init__(self, estimators: dict[str, type]):
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.of_user: set[str] = set()
        self._estimators = {cls: name for name, cls in estimators.items()}
        self._records = {cls: name for name, cls in _builtin_records().items()}

    def encode(self, value: Any, where: str = "") -> Any:
        """Return the node of a value, which is at ``where`` in the model."""
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if kind in (list, tuple):
            return self._sequence(value, kind.__name__, where)
        if kind is dict:
            items = value.items()
            return {"dict": [[self.encode(k), self.encode(v, f"{where}[{k!r}]")] for k, v in items]}
        if kind is np.ndarray:
            return self._array(value, where)
        if isinstance(value, np.generic):
            return {"scalar": [*self._plain_type(value.dtype, where), value.tobytes().hex()]}
        if kind in self._estimators or hasattr(value, "get_params"):
            return self._estimator(value, where)
        if dataclasses.is_dataclass(value) and isinstance(value, (*INTERNAL, Record, Domain)):
            return self._record(value, where)
        for encode in (_simple_node, _random_node, _frame_type_node):
            node = encode(value)
            if node is not None:
                return {tag: self.encode(part, where) for tag, part in node.items()}
        if kind is History:
            parts = [value.start, value.stop, value.column.array, value.value.array]
            names = ("start", "stop", "column", "value")
            return {"history": [*map(self._array, parts, (f"{where}.{name}" for name in names))]}
        raise TypeError(
            f"{where or 'The model'} holds a {kind.__module__}.{kind.__qualname__}, which save "
            "cannot write. Give it a plain value (a backend by name, ids as strings or numbers), "
            "or use joblib.dump, whose files run code when they are loaded."
        )

    def _estimator(self, value: Any, where: str) -> Any:
        cls = type(value)
        name = self._estimators.get(cls)
        if name is None:
            if not any(known in cls.__mro__ for known in self._estimators):
                raise TypeError(f"{where or 'The model'} is a {cls.__qualname__}, not of skglrm.")
            name = self._name_of_user(cls)
        state = {k: v for k, v in value.__getstate__().items() if k not in NOT_STATE}
        prefix = f"{where}." if where else ""
        return {"estimator": [name, {k: self.encode(v, prefix + k) for k, v in state.items()}]}

    def _record(self, value: Any, where: str) -> Any:
        name = self._records.get(type(value)) or self._name_of_user(type(value))
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return {
            "record": [name, {n: self.encode(getattr(value, n), f"{where}.{n}") for n in names}]
        }

    def _name_of_user(self, cls: type) -> str:
        name = full_name(cls)
        self.of_user.add(name)
        return name

    def _array(self, array: Any, where: str) -> Any:
        if array.dtype.kind == "O":
            return self._objects(array, where)
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        (kind,) = self._plain_type(array.dtype, where)
        straight = array.T if order == "F" else array
        native = np.dtype(kind)
        name = self._put(where, np.ascontiguousarray(straight, native), ".T" * (order == "F"))
        return {"array": [name, kind, list(array.shape), order]}

    def _objects(self, array: Any, where: str) -> Any:
        values = array.ravel().tolist()
        if array.ndim == 1 and all(type(value) is str for value in values):
            separator = _unused_character("".join(values))
            text = separator.join(values).encode("utf-8", "surrogatepass")
            utf8 = self._put(where, np.frombuffer(text, np.uint8), ".utf8")
            return {"strings": [utf8, separator, len(values)]}
        nodes = [self.encode(value, where) for value in values]
        return {"objects": [nodes, list(array.shape)]}

    def _sequence(self, values: Any, kind: str, where: str) -> Any:
        if len(values) > LONG:
            compact = self._compact(values, where)
            if compact is not None:
                return {f"long_{kind}": compact}
        nodes = [self.encode(value, f"{where}[{i}]") for i, value in enumerate(values)]
        return nodes if kind == "list" else {"tuple": nodes}

    def _compact(self, values: Any, where: str) -> Any:
        """Node of a long list of floats, of slices, or of few distinct records; else ``None``."""
        kinds = {type(value) for value in values}
        if kinds == {float}:
            return {"floats": self._array(np.array(values), where)}
        if kinds == {slice}:
            parts = {(type(s.start), type(s.stop), s.step) for s in values}
            if parts == {(int, int, None)}:
                bounds = np.array([(s.start, s.stop) for s in values], np.int64)
                return {"slices": self._array(bounds, where)}
        if all(issubclass(kind, Record | Domain) for kind in kinds):
            number: dict[Any, int] = {}
            at = [number.setdefault(value, len(number)) for value in values]
            distinct = [self.encode(value, where) for value in number]
            return {"table": [distinct, self._array(np.array(at, np.int32), where)]}
        return None

    def _plain_type(self, dtype: np.dtype[Any], where: str) -> list[str]:
        kind = dtype.newbyteorder("<").str
        if not PLAIN_TYPE.fullmatch(kind):
            raise TypeError(f"{where} has the type {dtype}, which save cannot write.")
        return [kind]

    def _put(self, where: str, array: np.ndarray[Any, Any], end: str = "") -> str:
        name = where + end
        while name in self.arrays:
            name += "'"
        self.arrays[name] = array
        return name


def _unused_character(text: str) -> str:
    if "\n" not in text:
        return "\n"
    used = set(text)
    return next(one for one in map(chr, range(sys.maxunicode)) if one not in used)


def _simple_node(value: Any) -> Any:
    """Values of the standard library; pandas' timestamps, which are datetimes with nanoseconds."""
    kind = type(value)
    if kind is slice:
        return {"slice": [value.start, value.stop, value.step]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is decimal.Decimal:
        return {"decimal": str(value)}
    if kind is uuid.UUID:
        return {"uuid": value.hex}
    if kind is datetime.date:
        return {"date": value.isoformat()}
    if kind is datetime.timedelta:
        return {"timedelta": [value.days, value.seconds, value.microseconds]}
    if kind is datetime.datetime:
        naive = value.replace(tzinfo=None, fold=0).isoformat()
        return {"datetime": [naive, *_zone_parts(value), value.fold]}
    if isinstance(value, datetime.datetime) and kind.__module__.startswith("pandas"):
        stamp: Any = value
        return {"timestamp": [int(stamp.asm8.view("i8")), stamp.unit, *_zone_parts(value)]}
    return None


def _zone_parts(value: Any) -> list[Any]:
    zone = value.tzinfo
    if zone is None:
        return [None, None]
    if isinstance(zone, zoneinfo.ZoneInfo) and zone.key is not None:
        return [zone.key, None]
    if isinstance(zone, datetime.timezone):
        return [None, zone.utcoffset(None).total_seconds()]
    raise TypeError(f"The time zone {zone!r} has no name that save can write.")


def _random_node(value: Any) -> Any:
    if isinstance(value, np.random.RandomState):
        return {"random_state": value.get_state(legacy=False)}
    if isinstance(value, np.random.Generator):
        return {"generator": value.bit_generator.state}
    return None


def _frame_type_node(value: Any) -> Any:
    """Types of columns of data frames, of narwhals and of pandas."""
    if isinstance(value, nw.Enum):
        return {"narwhals_enum": list(value.categories)}
    if isinstance(value, nw.Decimal):
        parts = [getattr(value, name, None) for name in ("precision", "scale")]
        return {"narwhals": ["Decimal", [part for part in parts if part is not None]]}
    if isinstance(value, nw.dtypes.DType):
        return {"narwhals": [repr(value), []]}
    if isinstance(value, np.dtype):
        return {"pandas": str(value)}
    if not type(value).__module__.startswith("pandas"):
        return None
    if hasattr(value, "categories"):
        categories = value.categories
        held = None if categories is None else categories.to_numpy(dtype=object)
        index_type = None if categories is None else categories.dtype
        return {"pandas_categories": [held, index_type, value.ordered]}
    from pandas.api.types import pandas_dtype  # type: ignore[import-untyped, unused-ignore]

    name = str(value)
    return {"pandas": name} if PANDAS_TYPE.fullmatch(name) and pandas_dtype(name) == value else None


# ------------------------------------------------------------------ from nodes


class Decoder:
    """Turns nodes back into values; each array of the file is used once.

    A ``lazy`` one makes ids that are strings when the model is asked for them.
    """

    def __init__(
        self,
        arrays: dict[str, Any],
        estimators: dict[str, type],
        trusted: Iterable[type] = (),
        lazy: bool = False,
    ):
        self._arrays, self._lazy = dict(arrays), lazy
        self._records = _builtin_records()
        self._estimators = dict(estimators)
        for cls in trusted:
            for known in (full_name(cls), f":{cls.__qualname__}"):
                table = self._estimators if hasattr(cls, "get_params") else self._records
                table[known] = cls
        self._tags: dict[str, Callable[[Any], Any]] = {
            name.removeprefix("_from_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_from_")
        }

    def decode(self, node: Any) -> Any:
        """Return the value of a node."""
        if node is None or type(node) in (bool, int, float, str):
            return node
        if type(node) is list:
            return [self.decode(one) for one in node]
        ((tag, content),) = node.items()
        return self._tags[tag](content)

    def _class(self, table: dict[str, type], name: str) -> type:
        cls = table.get(name) or table.get(":" + name.partition(":")[2])
        if cls is not None:
            return cls
        if ":" not in name:
            raise RefusedError(f"This version of skglrm has no {name!r:.80}, which the file holds.")
        short = name.partition(":")[2]
        raise RefusedError(
            f"The file holds instances of the class {name!r:.80}, which is not part of skglrm. "
            f"Import the class, and pass trusted=[{short:.40}] if it is what you expect."
        )

    def _from_estimator(self, content: Any) -> Any:
        name, state = content
        cls = self._class(self._estimators, name)
        model: Any = object.__new__(cls)
        for parameter in inspect.signature(cls).parameters.values():
            if parameter.default is not parameter.empty:  # of a version that had it not yet
                vars(model)[parameter.name] = parameter.default
        for key, node in state.items():
            if not key.isidentifier() or callable(getattr(cls, key, None)):
                raise ValueError(f"{key!r:.40} is no attribute of a model.")
            is_lazy = self._lazy and isinstance(getattr(cls, key, None), MadeLater)
            if is_lazy and type(node) is dict and "strings" in node:
                vars(model)[key] = self._later(node["strings"])
            else:
                vars(model)[key] = self.decode(node)
        return model

    def _from_record(self, content: Any) -> Any:
        name, fields = content
        cls = self._class(self._records, name)
        known = {field.name for field in dataclasses.fields(cls) if field.init}
        if not fields.keys() <= known:
            raise RefusedError(
                f"The class {cls.__qualname__} has the fields {sorted(known)}, and the file has "
                f"{sorted(fields)!r:.200}. Load it with the class as it was when it was saved."
            )
        return cls(**{key: self.decode(node) for key, node in fields.items()})

    def _from_history(self, content: Any) -> Any:
        history = object.__new__(History)
        history.start, history.stop, column, value = (self.decode(node) for node in content)
        if not len(history.start) == len(history.stop) or not len(column) == len(value):
            raise ValueError("The parts of the history differ in length.")
        history.column, history.value = Growing(column), Growing(value)
        return history

    # -------------------------------------------------------------- arrays and lists

    def _from_array(self, content: Any) -> Any:
        name, kind, shape, order = content
        dtype = self._dtype(kind)
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("The shape of an array is wrong.")
        array = self._arrays.pop(name)
        if array.size != math.prod(shape) * dtype.itemsize or max(shape, default=0) > 2**48:
            raise ValueError("The size of an array is wrong.")
        if array.size and array.ctypes.data % dtype.alignment:
            raise ValueError("An array is not aligned.")
        array = array.view(dtype)
        return array.reshape(shape[::-1]).T if order == "F" else array.reshape(shape)

    def _dtype(self, kind: str) -> np.dtype[Any]:
        if not PLAIN_TYPE.fullmatch(kind):
            raise ValueError("The type of an array is wrong.")
        return np.dtype(kind)

    def _from_scalar(self, content: Any) -> Any:
        kind, digits = content
        return np.frombuffer(bytes.fromhex(digits), self._dtype(kind), 1)[0]

    def _from_strings(self, content: Any) -> Any:
        return self._later(content).make()

    def _later(self, content: Any) -> Later:
        name, separator, count = content
        utf8 = self._arrays.pop(name)

        def make() -> Any:
            text = utf8.tobytes().decode("utf-8", "surrogatepass")
            if count != (text.count(separator) + 1 if count or text else 0):
                raise ValueError("The number of strings is wrong.")
            out = np.empty(count, object)
            out[:] = text.split(separator) if count else []
            return out

        return Later(count, make)

    def _from_objects(self, content: Any) -> Any:
        nodes, shape = content
        out = np.empty(len(nodes), object)
        for i, node in enumerate(nodes):
            out[i] = self.decode(node)
        return out.reshape(shape)

    def _from_long_list(self, content: Any) -> Any:
        ((form, node),) = content.items()
        if form == "floats":
            return self.decode(node).tolist()
        if form == "slices":
            return [slice(start, stop) for start, stop in self.decode(node).tolist()]
        distinct, at = (self.decode(part) for part in node)
        return [distinct[i] for i in at.tolist()]

    def _from_long_tuple(self, content: Any) -> Any:
        return tuple(self._from_long_list(content))

    # -------------------------------------------------------------- simple values

    def _from_float(self, content: Any) -> Any:
        return float(content)

    def _from_tuple(self, content: Any) -> Any:
        return tuple(self.decode(node) for node in content)

    def _from_dict(self, content: Any) -> Any:
        return {self.decode(key): self.decode(value) for key, value in content}

    def _from_slice(self, content: Any) -> Any:
        return slice(*self.decode(content))

    def _from_bytes(self, content: Any) -> Any:
        return bytes.fromhex(content)

    def _from_decimal(self, content: Any) -> Any:
        return decimal.Decimal(content)

    def _from_uuid(self, content: Any) -> Any:
        return uuid.UUID(hex=content)

    def _from_date(self, content: Any) -> Any:
        return datetime.date.fromisoformat(content)

    def _from_timedelta(self, content: Any) -> Any:
        return datetime.timedelta(*content)

    def _from_datetime(self, content: Any) -> Any:
        naive, key, offset, fold = content
        found = datetime.datetime.fromisoformat(naive)
        return found.replace(tzinfo=_zone(key, offset), fold=fold)

    def _from_timestamp(self, content: Any) -> Any:
        import pandas  # type: ignore[import-untyped, unused-ignore]

        number, unit, key, offset = content
        if unit not in ("s", "ms", "us", "ns"):
            raise ValueError("The unit of a timestamp is wrong.")
        found = pandas.Timestamp(np.datetime64(number, unit)).as_unit(unit)
        zone = _zone(key, offset)
        return found if zone is None else found.tz_localize("UTC").tz_convert(zone)

    # -------------------------------------------------------------- random numbers, types of frames

    def _from_random_state(self, content: Any) -> Any:
        state = _random_state(self.decode(content))
        found = np.random.RandomState(self._bit_generator(state["bit_generator"]))
        found.set_state(state)
        return found

    def _from_generator(self, content: Any) -> Any:
        state = _random_state(self.decode(content))
        bits = self._bit_generator(state["bit_generator"])
        bits.state = state
        return np.random.Generator(bits)

    def _bit_generator(self, name: str) -> Any:
        if name not in BIT_GENERATORS:
            raise ValueError("The bit generator is unknown.")
        return getattr(np.random, name)(0)

    def _from_narwhals(self, content: Any) -> Any:
        name, arguments = content
        cls = getattr(nw, name)
        if not issubclass(cls, nw.dtypes.DType):
            raise ValueError("The type of a column is unknown.")
        return cls(*self.decode(arguments))

    def _from_narwhals_enum(self, content: Any) -> Any:
        return nw.Enum(self.decode(content))

    def _from_pandas(self, content: Any) -> Any:
        from pandas.api.types import pandas_dtype  # type: ignore[import-untyped, unused-ignore]

        if not PANDAS_TYPE.fullmatch(content):
            raise ValueError("The type of a column is wrong.")
        return pandas_dtype(content)

    def _from_pandas_categories(self, content: Any) -> Any:
        import pandas

        held, index_type, ordered = self.decode(content)
        index = None if held is None else pandas.Index(held, dtype=index_type)
        return pandas.CategoricalDtype(index, ordered)


def _random_state(state: Any) -> Any:
    """A state of random numbers; NumPy would read beyond the end of those that a lie leads to."""
    inner = state["state"]
    for place, size in (("pos", 624), ("buffer_pos", 4)):
        for held in (state, inner):
            if place in held and not (type(held[place]) is int and 0 <= held[place] <= size):
                raise ValueError("The place in a state of random numbers is wrong.")
    if "key" in inner and state["bit_generator"] == "MT19937":
        if np.shape(inner["key"]) != (624,):
            raise ValueError("The key of a state of random numbers is wrong.")
    return state


def _zone(key: str | None, offset: float | None) -> datetime.tzinfo | None:
    if key is not None:
        return zoneinfo.ZoneInfo(key)
    return None if offset is None else datetime.timezone(datetime.timedelta(seconds=offset))
