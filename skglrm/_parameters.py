"""Checks of parameters, in one wording."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

__all__ = ["check_choice", "check_flag", "check_integer", "check_real"]


def check_integer(estimator: Any, name: str, low: int) -> int:
    """Return an integer parameter that is at least ``low``."""
    value = getattr(estimator, name)
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        _refuse(estimator, name, f"an integer of at least {low}", value)
    return int(value)


def check_real(
    estimator: Any, name: str, low: float, high: float = math.inf, *, above: bool = False
) -> float:
    """Return a finite parameter in [low, high), or in (low, high) with ``above``."""
    value = getattr(estimator, name)
    ok = not isinstance(value, bool) and isinstance(value, Real)
    if not ok or not (low < value < high or (value == low and not above)):
        bound = "greater than" if above else "of at least"
        limit = f" and below {high:g}" if high < math.inf else ""
        _refuse(estimator, name, f"a finite number {bound} {low:g}{limit}", value)
    return float(value)


def check_flag(estimator: Any, name: str) -> bool:
    """Return a parameter that is True or False."""
    value = getattr(estimator, name)
    if value is not True and value is not False:
        _refuse(estimator, name, "True or False", value)
    return bool(value)


def check_choice(estimator: Any, name: str, choices: Any) -> str:
    """Return a parameter that is one of several strings."""
    value = getattr(estimator, name)
    if not isinstance(value, str) or value not in choices:
        _refuse(estimator, name, "one of " + ", ".join(map(repr, choices)), value)
    return value


def _refuse(estimator: Any, name: str, wanted: str, value: Any) -> None:
    raise ValueError(
        f"The {name!r} parameter of {type(estimator).__name__} must be {wanted}. "
        f"Got {value!r} instead."
    )
