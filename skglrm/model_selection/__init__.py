"""Choosing a model by cells that it has not seen.

Scorers and splitters for scikit-learn's own tools: ``cross_validate``, ``GridSearchCV``,
``HalvingGridSearchCV``, ``learning_curve`` and ``validation_curve``.
"""

from ._adapter import EntriesAdapter
from ._scorers import make_heldout_scorer, make_ranking_scorer
from ._splitters import LeaveKOut, RandomCells, TimeOrdered, WholeRows

__all__ = [
    "EntriesAdapter",
    "LeaveKOut",
    "RandomCells",
    "TimeOrdered",
    "WholeRows",
    "make_heldout_scorer",
    "make_ranking_scorer",
]
