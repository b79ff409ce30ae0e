"""A map of the columns, or of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from ._axes import column_names, no_top_and_right, on_axes, scatter, spread_labels

__all__ = ["EmbeddingDisplay"]


class EmbeddingDisplay:
    """Columns (or rows) as points, near to one another where their factors have like directions.

    Factors are scaled to length 1, so that distances go with the cosines of ``similar_items``, and
    projected on the two directions in which they vary most.  Make it by :meth:`from_estimator`.

    Parameters
    ----------
    points : array-like of shape (n_points, 2)
        Positions on the map.
    names : list of str, default=None
        Names of the points.
    named : array-like of int, default=()
        Points whose names are written.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    points_ : PathCollection
        The points.
    texts_ : list of Annotation
        The names.

    Examples
    --------
    >>> from skglrm.displays import EmbeddingDisplay
    >>> EmbeddingDisplay([[0.0, 1.0], [1.0, 0.0]], ["jazz", "rock"]).points.shape
    (2, 2)
    """

    def __init__(self, points: npt.ArrayLike, names: Any = None, named: npt.ArrayLike = ()):
        self.points, self.names = np.asarray(points, float), names
        self.named = np.asarray(named, np.int64)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, side: str = "columns", names: Any = None, n_names: int = 15,
        projector: Any = None, c: Any = None, ax: Any = None, **points: Any,
    ) -> EmbeddingDisplay:  # fmt: skip
        """Show the columns or the rows of a model.

        Those without cells, or with factors zero, have no direction, and are left out.

        Parameters
        ----------
        estimator : GLRM, ImplicitALS or FPSGFactorizer
            Fitted estimator.
        side : {"columns", "rows"}, default="columns"
            What to show.
        names : array-like of str, default=None
            Names of all columns or rows; ``None`` takes feature names or ids.
        n_names : int, default=15
            Write the names of so many, those with the most cells.
        projector : object, default=None
            Something with ``fit_transform`` into two dimensions, for instance scikit-learn's
            ``TSNE()``; ``None`` projects on principal axes.
        c : array-like of shape (n_columns,) or (n_rows,), default=None
            Numbers, or labels, by which to colour.
        ax : matplotlib Axes, default=None
            Where to draw; new axes if ``None``.
        **points : dict
            Options of matplotlib's ``scatter``.

        Returns
        -------
        EmbeddingDisplay
            The display.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``side`` is unknown, or names or colours are not as many as there are columns or
            rows.
        """
        check_is_fitted(estimator)
        if side not in ("columns", "rows"):
            raise ValueError(f"side must be 'columns' or 'rows'. Got {side!r} instead.")
        is_columns = side == "columns"
        factors = _factors_of_columns(estimator) if is_columns else estimator.row_factors_
        n_cells = estimator._column_counts if is_columns else estimator._row_counts
        if names is None:
            names = column_names(estimator) if is_columns else estimator.row_ids_
        if names is None:
            names = np.arange(len(factors))
        for what, given in (("names", names), ("c", c)):
            if given is not None and len(given) != len(factors):
                raise ValueError(f"There are {len(given)} {what} for {len(factors)} {side}.")
        factors = np.asarray(factors, np.float64)
        lengths = np.linalg.norm(factors, axis=1)
        shown = np.flatnonzero((lengths > 0) & (n_cells > 0))
        directions = factors[shown] / lengths[shown, None]
        points_at = (
            _principal(directions) if projector is None else projector.fit_transform(directions)
        )
        most = np.argsort(-n_cells[shown], kind="stable")[:n_names]
        display = cls(points_at, [str(names[n]) for n in shown], most)
        return display.plot(ax=ax, c=None if c is None else np.asarray(c)[shown], **points)

    def plot(self, ax: Any = None, *, c: Any = None, **points: Any) -> EmbeddingDisplay:
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; new axes if ``None``.
        c : array-like of shape (n_points,), default=None
            Numbers, or labels, by which to colour.
        **points : dict
            Options of matplotlib's ``scatter``.

        Returns
        -------
        EmbeddingDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = on_axes(self, ax)
        ax.set_aspect("equal", adjustable="datalim")
        self.points_ = scatter(ax, self.points, c, **points)
        names = [] if self.names is None else [self.names[n] for n in self.named]
        self.texts_ = spread_labels(ax, self.points[self.named[: len(names)]], names)
        ax.set(xticks=[], yticks=[])
        no_top_and_right(ax)
        ax.spines[["left", "bottom"]].set_visible(False)
        return self


def _factors_of_columns(estimator: Any) -> npt.NDArray[Any]:
    """Return a vector for each column, if all have one."""
    H, slices = estimator.components_.T, getattr(estimator, "component_slices_", None)
    if slices is None:
        return np.asarray(H)
    if any(part.stop - part.start > 1 for part in slices):
        raise ValueError(
            "The columns of this model have different numbers of predictions, and no common space. "
            "Show them as arrows by BiplotDisplay, or pass side='rows'."
        )
    return np.asarray(H)


def _principal(directions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the two coordinates in which directions vary most; their peaks are positive."""
    centred = directions - directions.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    points = centred @ axes[:, ::-1][:, :2]
    if points.shape[1] < 2:  # a model of one component: along a line
        points = np.column_stack([points, np.zeros(len(points))])
    peak = points[np.argmax(np.abs(points), axis=0), np.arange(2)]
    return np.asarray(points * np.where(peak < 0, -1, 1))
