r"""The laws of losses, regularizers, backends and schedules, as functions to call in a test.

Whoever writes one of these hands it to the check of its kind, which raises ``AssertionError`` with
the law that is broken, the numbers that break it, and what to do about it::

    check_loss(MyLoss(0.5))
    check_regularizer(MyConstraint())

A pass is no proof: laws are tried at some hundred points.  Kernels compile the record that is
checked, so the first check of a class takes a second or two.
"""

from __future__ import annotations

from .backends import check_backend
from .losses import check_loss
from .regularizers import check_regularizer
from .schedules import check_schedule
from .vector_losses import check_vector_loss

__all__ = [
    "check_backend",
    "check_loss",
    "check_regularizer",
    "check_schedule",
    "check_vector_loss",
]
