"""Pictures of models, in the manner of scikit-learn's displays.

A display is made by a ``from_...`` method, which computes, and holds what it shows; ``plot(ax=)``
draws it, and can be called again.  matplotlib is imported when something is plotted, not before.
"""

from .biplot import BiplotDisplay
from .embedding import EmbeddingDisplay
from .loss_curve import LossCurveDisplay
from .ranking_curve import RankingCurveDisplay
from .reconstruction import ReconstructionDisplay
from .regularization_path import RegularizationPathDisplay

__all__ = [
    "BiplotDisplay",
    "EmbeddingDisplay",
    "LossCurveDisplay",
    "RankingCurveDisplay",
    "ReconstructionDisplay",
    "RegularizationPathDisplay",
]
