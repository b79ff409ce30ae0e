"""Matrix factorization for data with missing cells, in the manner of scikit-learn."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_HOMES = {
    "GLRM": "glrm",
    "BlockFile": "block_file",
    "Entries": "entries",
    "EntryRegressor": "entry_regressor",
    "FPSGFactorizer": "fpsg",
    "ImplicitALS": "implicit_als",
    "load": "_persistence",
}

if not TYPE_CHECKING:

    def __getattr__(name):
        """Import what is asked for: workers of Spark take kernels, but not scikit-learn."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f".{_HOMES.get(name, name)}", __name__)
        globals()[name] = found = getattr(module, name) if name in _HOMES else module
        return found

    def __dir__():
        return sorted({*globals(), *__all__})
