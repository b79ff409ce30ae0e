"""Attributes that a mapped file holds as text, made into Python objects when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Later", "MadeLater"]


class Later:
    """A value of known length that is not made yet."""

    def __init__(self, length: int, make: Callable[[], Any]):
        self._length, self.make = length, make

    def __len__(self) -> int:
        return self._length


class MadeLater:
    """An attribute whose place in the object may hold a `Later`.

    Two threads that are the first at once make it twice, which does no harm.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, model: Any, owner: type | None = None) -> Any:
        if model is None:
            return self
        if self._name not in model.__dict__:
            raise AttributeError(f"{type(model).__name__!r} object has no attribute {self._name!r}")
        value = model.__dict__[self._name]
        if isinstance(value, Later):
            value = model.__dict__[self._name] = value.make()
        return value

    def __set__(self, model: Any, value: Any) -> None:
        model.__dict__[self._name] = value

    def __delete__(self, model: Any) -> None:
        if self._name not in model.__dict__:
            raise AttributeError(self._name)
        del model.__dict__[self._name]
