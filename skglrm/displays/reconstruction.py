"""A table, what is missing of it, and what the model fills in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from ._axes import SOLID, on_axes

__all__ = ["ReconstructionDisplay"]

Doubles = npt.NDArray[np.float64]

MISSING = "#c4c4c4"
"""Grey, because white is the middle of the scale of colours."""

TITLES = ("data", "observed cells", "imputed")


class ReconstructionDisplay:
    """Three images of a table: the data, which cells are observed, and the table filled in.

    Missing cells are grey, observed ones blue in the second image.
    Make it by :meth:`from_estimator`.

    Parameters
    ----------
    data : array-like of shape (n_rows, n_columns)
        Data; NaN is missing.
    imputed : array-like of shape (n_rows, n_columns)
        The same with its missing cells filled in.
    unit : str, default="value"
        What the colours mean.

    Attributes
    ----------
    axes_ : list of Axes
        The three axes.
    figure_ : Figure
        What was drawn on.
    images_ : list of AxesImage
        The three images.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm.displays import ReconstructionDisplay
    >>> display = ReconstructionDisplay([[1.0, np.nan]], [[1.0, 2.0]])
    >>> display.mask
    array([[ True, False]])
    """

    def __init__(self, data: npt.ArrayLike, imputed: npt.ArrayLike, unit: str = "value"):
        self.data, self.imputed = np.asarray(data, float), np.asarray(imputed, float)
        self.unit = unit
        self.mask = ~np.isnan(self.data)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, n_rows: int = 100, n_columns: int = 100,
        standardize: bool = True, sort: bool = True, ax: Any = None,
    ) -> ReconstructionDisplay:  # fmt: skip
        """Show what a model fills in.

        Parameters
        ----------
        estimator : GLRM, ImplicitALS or FPSGFactorizer
            Fitted estimator.
        X : array-like, sparse, data frame or Entries of shape (n_rows, n_features)
            Rows with the columns of the fitted data.
        n_rows, n_columns : int, default=100
            Show at most so many, evenly spaced.
        standardize : bool, default=True
            Show each column in standard deviations from its mean, so that columns of different
            units can be shown together.
        sort : bool, default=True
            Order rows and columns by the first component, so that a pattern can be seen.
        ax : matplotlib Axes or array of three, default=None
            Where to draw: in the place of one, or in three; new axes if ``None``.

        Returns
        -------
        ReconstructionDisplay
            The display.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the columns are not those of the fitted data.
        """
        check_is_fitted(estimator)
        cells = estimator._read(X)
        rows = _spaced(cells.matrix_shape[0], n_rows)
        columns = _spaced(cells.matrix_shape[1], n_columns)
        matrix = cells.to_csr()[rows]
        W = estimator._fold_in(matrix)
        values = getattr(estimator, "_values", estimator.inverse_transform)(W)
        data = np.full(matrix.shape, np.nan)
        data[np.repeat(np.arange(len(rows)), np.diff(matrix.indptr)), matrix.indices] = matrix.data
        imputed = np.where(np.isnan(data), values, data)
        if standardize:
            scale = np.where(_deviations(data) > 0, _deviations(data), 1.0)
            middle = _means(data)
            data, imputed = (data - middle) / scale, (imputed - middle) / scale
        if sort:
            along = estimator.components_[0]
            if hasattr(estimator, "component_slices_"):  # the first prediction of each column
                along = along[[part.start for part in estimator.component_slices_]]
            columns = columns[np.argsort(along[columns], kind="stable")]
            order = np.argsort(W[:, 0], kind="stable")
            data, imputed = data[order], imputed[order]
        unit = "standard deviations from the column's mean" if standardize else "value"
        return cls(data[:, columns], imputed[:, columns], unit).plot(ax=ax)

    def plot(self, ax: Any = None) -> ReconstructionDisplay:
        """Draw the three images.

        Parameters
        ----------
        ax : matplotlib Axes or array of three, default=None
            Where to draw: in the place of one, or in three; new axes if ``None``.

        Returns
        -------
        ReconstructionDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there are neither one nor three axes.
        """
        axes = self._three(ax)
        from matplotlib.colors import ListedColormap

        largest = float(np.nanmax(np.abs(self.imputed), initial=0.0)) or 1.0
        signed = bool((self.imputed < 0).any())
        shared = {"aspect": "auto", "interpolation": "none"}
        colours = {
            "cmap": "RdBu_r" if signed else "viridis",
            "vmin": -min(largest, 3.0) if signed else 0.0,
            "vmax": min(largest, 3.0) if signed else largest,
        }
        self.images_ = [
            axes[0].imshow(self.data, **shared, **colours),
            axes[1].imshow(
                self.mask, **shared, cmap=ListedColormap([MISSING, SOLID]), vmin=0, vmax=1
            ),
            axes[2].imshow(self.imputed, **shared, **colours),
        ]
        for one, title in zip(axes, TITLES, strict=True):
            one.set_title(title, fontsize="medium")
            one.set(xticks=[], yticks=[], facecolor=MISSING)
        axes[0].set(xlabel=f"{self.data.shape[1]} columns", ylabel=f"{self.data.shape[0]} rows")
        self.figure_.colorbar(self.images_[2], ax=axes, label=self.unit, shrink=0.9, pad=0.02)
        self.axes_ = axes
        return self

    def _three(self, ax: Any) -> list[Any]:
        """Three axes: those given, or three in the place of one."""
        given = [] if ax is None else list(np.ravel(ax))
        if len(given) not in (0, 1, 3):
            raise ValueError(f"ax must be one axes or three. Got {len(given)}.")
        if len(given) == 3:
            self.figure_ = given[0].figure
            return given
        one = on_axes(self, given[0] if given else None, figsize=(10, 4))
        one.set_axis_off()
        places = one.get_subplotspec().subgridspec(1, 3)
        return [self.figure_.add_subplot(places[n]) for n in range(3)]


def _spaced(n: int, most: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _means(data: Doubles) -> Doubles:
    seen = ~np.isnan(data)
    return np.asarray(np.nansum(data, axis=0) / np.maximum(1, seen.sum(axis=0)))


def _deviations(data: Doubles) -> Doubles:
    return np.asarray(np.sqrt(_means((data - _means(data)) ** 2)))
