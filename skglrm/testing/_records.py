"""Laws of records: values that can be compared, pickled and compiled."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

EPS = float(np.finfo(np.float64).eps)


def broken(what: Any, law: str, found: str, remedy: str) -> NoReturn:
    raise AssertionError(f"{what!r} breaks the law {law!r}: {found} {remedy}")


def check_record(record: Any, base: type, noun: str) -> None:
    kind = type(record)
    if not isinstance(record, base):
        remedy = "Call the class." if isinstance(record, type) else f"Derive it from {base!r}."
        broken(record, "instance", f"it is no instance of {base.__name__}.", remedy)
    params = getattr(kind, "__dataclass_params__", None)
    if not is_dataclass(kind) or params is None or not params.frozen:
        broken(
            record,
            "frozen",
            f"{kind.__name__} is not a frozen dataclass.",
            f"Decorate the {noun} with @dataclass(frozen=True).",
        )
    for field in fields(kind):
        try:
            setattr(record, field.name, getattr(record, field.name))
        except FrozenInstanceError:
            continue
        found = f"its field {field.name!r} can be set."
        broken(record, "frozen", found, "Leave __setattr__ to @dataclass(frozen=True).")
    remedy = "Leave __eq__ to @dataclass(frozen=True)."
    if replace(record) != record or record == object():
        broken(record, "equality", "it differs from a copy with the same fields.", remedy)
    for other in _with_other_numbers(record):
        if other == record:
            broken(record, "equality", f"it equals {other!r}.", remedy)
    try:
        same = hash(replace(record)) == hash(record)
    except TypeError:
        same = False
    if not same:
        found = "it has no hash that depends on the fields alone."
        broken(record, "equality", found, "Leave __hash__ to @dataclass(frozen=True).")
    shown = [repr(getattr(record, field.name)) for field in fields(kind)]
    if kind.__name__ not in repr(record) or any(part not in repr(record) for part in shown):
        found = f"the class is {kind.__name__} and its fields are {shown}."
        broken(record, "repr", found, "Leave __repr__ to @dataclass(frozen=True).")
    try:
        returned = pickle.loads(pickle.dumps(record))
    except Exception as error:
        raise AssertionError(
            f"{record!r} breaks the law 'pickle': {error} Define the class at the top level of a "
            "module, so that other processes find it."
        ) from error
    if returned != record or hash(returned) != hash(record):
        found = f"it returned as {returned!r}."
        broken(record, "pickle", found, "Leave pickling to @dataclass(frozen=True).")


def _with_other_numbers(record: Any) -> Iterator[Any]:
    """Yield the record with one number changed at a time, where its class lets it."""
    for field in fields(record):
        number = getattr(record, field.name)
        if isinstance(number, float | int):
            other = not number if isinstance(number, bool) else 2 * number or type(number)(1)
            try:
                changed = replace(record, **{field.name: other})
            except (TypeError, ValueError):
                continue
            if other != number:
                yield changed


def compile_with(record: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(record, *arguments)
    except Exception as error:
        raise AssertionError(
            f"{record!r} breaks the law 'compiled': numba refuses a method that kernels call. "
            "Methods may use numbers, the fields, math, NumPy and functions that are jitted "
            f"themselves. It says: {error}"
        ) from error


def compare(
    record: Any,
    compiled: npt.NDArray[np.float64],
    python: npt.NDArray[np.float64],
    slack: npt.NDArray[np.float64],
    name: Callable[[int], str],
) -> None:
    with np.errstate(invalid="ignore"):
        agree = (compiled == python) | (np.abs(compiled - python) <= slack)
    if not agree.all():
        t = int(np.argmin(agree))
        broken(
            record,
            "compiled",
            f"{name(t)} is {compiled[t]:.9g} in a kernel, but {python[t]:.9g} in Python.",
            "Avoid what differs between them: integers that overflow, attributes of modules, "
            "exact comparisons of rounded numbers.",
        )
