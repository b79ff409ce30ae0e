"""How good lists of recommendations are, by their length."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from .. import metrics
from ._axes import no_top_and_right, on_axes

__all__ = ["RankingCurveDisplay"]

LENGTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)
METRICS = (
    "average_precision", "hit_rate", "ndcg", "precision", "recall", "reciprocal_rank",
    "truncated_recall",
)  # fmt: skip


class RankingCurveDisplay:
    """A ranking metric by the length k of the list.

    Make it by :meth:`from_estimator` or :meth:`from_predictions`; call it again with ``ax=`` to
    compare models.

    Parameters
    ----------
    k : array-like of int
        Lengths of lists.
    values : array-like of float
        The metric at each.
    metric : str
        Its name.
    name : str, default=None
        Name in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    line_ : Line2D
        The curve.

    See Also
    --------
    skglrm.metrics : The metrics.

    Examples
    --------
    >>> from skglrm.displays import RankingCurveDisplay
    >>> RankingCurveDisplay([1, 5], [0.2, 0.6], "recall", "ImplicitALS").values
    array([0.2, 0.6])
    """

    def __init__(
        self, k: npt.ArrayLike, values: npt.ArrayLike, metric: str, name: str | None = None
    ):
        self.k, self.values = np.asarray(k), np.asarray(values, float)
        self.metric, self.name = metric, name

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, X_hidden: Any, *, metric: str = "recall",
        k: Any = LENGTHS, name: str | None = None, ax: Any = None, **line: Any,
    ) -> RankingCurveDisplay:  # fmt: skip
        """Show how well a model recommends.

        Parameters
        ----------
        estimator : GLRM, ImplicitALS or FPSGFactorizer
            Fitted estimator.
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            What is known of each row; its cells are not recommended.
        X_hidden : array-like, sparse or Entries of shape (n_rows, n_features)
            Other cells of the same rows: those above 0 are what should be recommended.
        metric : str, default="recall"
            A metric of ``skglrm.metrics``, without ``_at_k``.
        k : array-like of int, default=(1, 2, 3, 5, ..., 50)
            Lengths of lists; those beyond the number of columns are left out.
        name : str, default=None
            Name in the legend; the class, if ``None``.
        ax : matplotlib Axes, default=None
            Where to draw; new axes if ``None``.
        **line : dict
            Options of matplotlib's ``plot``.

        Returns
        -------
        RankingCurveDisplay
            The display.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the metric is unknown, or a length is not positive.
        """
        check_is_fitted(estimator)
        lengths = _checked(metric, k)
        lengths = lengths[lengths <= estimator.n_features_in_]
        ranked = estimator.recommend(X, n=int(lengths[-1]), return_scores=False)
        return cls.from_predictions(
            X_hidden, ranked, metric=metric, k=lengths, name=name or type(estimator).__name__,
            ax=ax, **line,
        )  # fmt: skip

    @classmethod
    def from_predictions(
        cls, y_true: Any, y_pred: Any, *, metric: str = "recall", k: Any = LENGTHS,
        exclude: Any = None, name: str | None = None, ax: Any = None, **line: Any,
    ) -> RankingCurveDisplay:  # fmt: skip
        """Show how good rankings are, wherever they are from.

        Parameters
        ----------
        y_true, y_pred, exclude
            As the metrics of ``skglrm.metrics`` take them: relevant cells; columns in order or
            scores of all columns; cells seen before.
        metric, k, name, ax, **line
            As for :meth:`from_estimator`.

        Returns
        -------
        RankingCurveDisplay
            The display.

        Raises
        ------
        ValueError
            If the metric is unknown, or a ranking is shorter than a length.
        """
        lengths = _checked(metric, k)
        function = getattr(metrics, f"{metric}_at_k")
        values = [function(y_true, y_pred, k=int(one), exclude=exclude) for one in lengths]
        return cls(lengths, values, metric, name).plot(ax=ax, **line)

    def plot(self, ax: Any = None, **line: Any) -> RankingCurveDisplay:
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; new axes if ``None``.
        **line : dict
            Options of matplotlib's ``plot``.

        Returns
        -------
        RankingCurveDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = on_axes(self, ax)
        options = {"marker": "o", "markersize": 4, "label": self.name, **line}
        (self.line_,) = ax.plot(self.k, self.values, **options)
        ax.set(
            xlabel="k, the length of the list",
            ylabel=f"{self.metric.replace('_', ' ')} at k, mean over rows",
        )
        ax.set_ylim(bottom=0)
        ax.set_xlim(left=0)
        no_top_and_right(ax)
        if self.line_.get_label() and not self.line_.get_label().startswith("_"):
            ax.legend(frameon=False)
        return self


def _checked(metric: str, k: Any) -> npt.NDArray[np.int64]:
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}. Got {metric!r} instead.")
    lengths = np.unique(np.atleast_1d(np.asarray(k)))
    if not lengths.size or lengths.dtype.kind not in "iu" or lengths[0] < 1:
        raise ValueError(f"k must be positive integers. Got {k!r} instead.")
    return lengths
