"""Rows and columns of a table in one picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from ._axes import (
    MUTED,
    column_names,
    no_top_and_right,
    on_axes,
    scatter,
    spread_labels,
    two_of,
)

__all__ = ["BiplotDisplay"]

Doubles = npt.NDArray[np.float64]


class BiplotDisplay:
    r"""Two components: rows as points, columns as arrows.

    A point and an arrow that lie in one direction mean a high prediction, opposite ones a low one,
    and right angles the column's constant: up to the other components, the prediction is
    :math:`x_i \cdot y_j`.  All arrows are drawn longer or shorter by one number.  Make it by
    :meth:`from_estimator`.

    Parameters
    ----------
    points : array-like of shape (n_rows, 2)
        Row factors.
    arrows : array-like of shape (n_arrows, 2)
        Column factors.
    names : list of str
        Names of the arrows.
    axis_names : tuple of str, default=("component 0", "component 1")
        Names of the axes.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    points_ : PathCollection
        The rows.
    arrows_ : list of Annotation
        The columns.
    texts_ : list of Annotation
        Their names.

    Examples
    --------
    >>> from skglrm.displays import BiplotDisplay
    >>> display = BiplotDisplay([[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5]], ["price"])
    >>> display.names
    ['price']
    """

    def __init__(
        self,
        points: npt.ArrayLike,
        arrows: npt.ArrayLike,
        names: list[str],
        axis_names: tuple[str, str] = ("component 0", "component 1"),
    ):
        self.points, self.arrows = np.asarray(points, float), np.asarray(arrows, float)
        self.names, self.axis_names = list(names), axis_names

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any = None, *, components: Any = (0, 1), n_arrows: int = 12,
        c: Any = None, ax: Any = None, **points: Any,
    ) -> BiplotDisplay:  # fmt: skip
        """Show two components of a model.

        Parameters
        ----------
        estimator : GLRM, ImplicitALS or FPSGFactorizer
            Fitted estimator of at least two components.
        X : array-like, sparse, data frame or Entries, default=None
            Rows to show; ``None`` shows those fitted.
        components : pair of int, default=(0, 1)
            The components, across and up.
        n_arrows : int, default=12
            Show the longest arrows only.
        c : array-like of shape (n_rows,), default=None
            Numbers, or labels, by which to colour the rows.
        ax : matplotlib Axes, default=None
            Where to draw; new axes if ``None``.
        **points : dict
            Options of matplotlib's ``scatter``.

        Returns
        -------
        BiplotDisplay
            The display.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``components`` are not two components of the model.
        """
        check_is_fitted(estimator)
        at = list(two_of(components, len(estimator.components_), "A biplot"))
        W = estimator.row_factors_ if X is None else estimator.transform(X)
        # Columns may be in units of their own: arrows are compared in units of what varies.
        units = np.asarray(getattr(estimator, "_units", np.ones(1)))
        arrows = (estimator.components_.T / units[:, None])[:, at]
        names = _names_of_predictions(estimator)
        longest = np.sort(np.argsort(-np.hypot(*arrows.T), kind="stable")[:n_arrows])
        shares = getattr(estimator, "importance_", None)
        axis_names = [
            f"component {k}" + ("" if shares is None else f" ({shares[k]:.0%} of the loss)")
            for k in at
        ]
        display = cls(
            W[:, at], arrows[longest], [names[j] for j in longest], (axis_names[0], axis_names[1])
        )
        return display.plot(ax=ax, c=c, **points)

    def plot(self, ax: Any = None, *, c: Any = None, **points: Any) -> BiplotDisplay:
        """Draw points and arrows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; new axes if ``None``.
        c : array-like of shape (n_rows,), default=None
            Numbers, or labels, by which to colour the rows.
        **points : dict
            Options of matplotlib's ``scatter``.

        Returns
        -------
        BiplotDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = on_axes(self, ax)
        ax.set_aspect("equal", adjustable="datalim")
        for line in (ax.axhline, ax.axvline):
            line(0.0, color=MUTED, linewidth=0.5, zorder=0)
        self.points_ = scatter(ax, self.points, c, **points)
        reach = np.abs(self.points).max(initial=1e-12)
        length = np.hypot(*self.arrows.T).max(initial=1e-12)
        tips = self.arrows * (reach / length)
        self.arrows_ = [
            ax.annotate(
                "", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": "#b0302c", "lw": 1.2}
            )
            for tip in tips
        ]
        self.texts_ = spread_labels(ax, tips, self.names, color="#b0302c")
        ax.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1])
        no_top_and_right(ax)
        return self


def _names_of_predictions(estimator: Any) -> list[str]:
    """Name every row of column factors; those of columns with several predictions by levels."""
    names, slices = column_names(estimator), getattr(estimator, "component_slices_", None)
    if slices is None:
        return names
    table, found = getattr(estimator, "_table", None), []
    for j, (name, part) in enumerate(zip(names, slices, strict=True)):
        n = part.stop - part.start
        levels = None if table is None else table.columns[j].levels
        parts = range(n) if levels is None or len(levels) != n else levels
        found += [name] if n == 1 else [f"{name}: {one}" for one in parts]
    return found
