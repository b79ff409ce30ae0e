"""Matrix factorization for data with missing cells, in the manner of scikit-learn."""

from . import losses, regularizers
from .entries import Entries
from .entry_regressor import EntryRegressor
from .fpsg import FPSGFactorizer

__version__ = "0.1.0.dev0"

__all__ = ["Entries", "EntryRegressor", "FPSGFactorizer", "losses", "regularizers"]
