"""Matrix factorization for data with missing cells, in the manner of scikit-learn."""

from . import domains, losses, metrics, presets, regularizers, weighting
from .entries import Entries
from .entry_regressor import EntryRegressor
from .fpsg import FPSGFactorizer
from .glrm import GLRM
from .implicit_als import ImplicitALS

__all__ = [
    "GLRM",
    "Entries",
    "EntryRegressor",
    "FPSGFactorizer",
    "ImplicitALS",
    "domains",
    "losses",
    "metrics",
    "presets",
    "regularizers",
    "weighting",
]
__version__ = "0.1.0.dev0"
