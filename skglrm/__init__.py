"""Matrix factorization for data with missing cells, in the manner of scikit-learn."""

from . import (
    datasets,
    domains,
    io,
    losses,
    metrics,
    model_selection,
    presets,
    regularizers,
    weighting,
)
from ._persistence import load
from .block_file import BlockFile
from .entries import Entries
from .entry_regressor import EntryRegressor
from .fpsg import FPSGFactorizer
from .glrm import GLRM
from .implicit_als import ImplicitALS

__all__ = [
    "GLRM",
    "BlockFile",
    "Entries",
    "EntryRegressor",
    "FPSGFactorizer",
    "ImplicitALS",
    "datasets",
    "domains",
    "io",
    "load",
    "losses",
    "metrics",
    "model_selection",
    "presets",
    "regularizers",
    "weighting",
]
__version__ = "0.1.0.dev0"
