"""How losses move with the strength of regularization."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._axes import MUTED, SOLID, no_top_and_right, on_axes

__all__ = ["RegularizationPathDisplay"]


MANY = 8
"""With more strengths than this, the axis has labels at powers of ten only."""


class RegularizationPathDisplay:
    """Loss on held-out cells by strength of regularization, and what goes with it.

    Make it by :meth:`from_estimator`, :meth:`from_path` or :meth:`from_cv_results`.

    Parameters
    ----------
    strengths : array-like of shape (n_strengths,)
        Values of the parameter.
    held_out : array-like of shape (n_strengths,)
        Mean loss of cells held out, or what else is judged.
    losses : array-like of shape (n_strengths,), default=None
        The same of the cells fitted on.
    deviations : array-like of shape (n_strengths,), default=None
        Standard deviation of ``held_out`` over folds.
    ranks : array-like of shape (n_strengths,), default=None
        Rank of the model.
    null : float, default=None
        What the best constants reach.
    parameter : str, default="regularization"
        Name of the parameter.
    quantity : str, default="mean loss"
        Name of what is drawn.
    higher_is_better : bool, default=False
        Whether it is a score.

    Attributes
    ----------
    best_strength : float
        The strength that is best on held-out cells.
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    held_out_line_, line_ : Line2D
        Lines of held-out and fitted cells; the second may be ``None``.

    Examples
    --------
    >>> from skglrm.displays import RegularizationPathDisplay
    >>> RegularizationPathDisplay([0.1, 1.0, 10.0], held_out=[0.5, 0.2, 0.9]).best_strength
    1.0
    """

    def __init__(
        self,
        strengths: npt.ArrayLike,
        held_out: npt.ArrayLike,
        *,
        losses: npt.ArrayLike | None = None,
        deviations: npt.ArrayLike | None = None,
        ranks: npt.ArrayLike | None = None,
        null: float | None = None,
        parameter: str = "regularization",
        quantity: str = "mean loss",
        higher_is_better: bool = False,
    ):
        self.strengths, self.held_out = np.asarray(strengths, float), np.asarray(held_out, float)
        self.losses = None if losses is None else np.asarray(losses, float)
        self.deviations = None if deviations is None else np.asarray(deviations, float)
        self.ranks = None if ranks is None else np.asarray(ranks)
        self.null, self.parameter, self.quantity = null, parameter, quantity
        self.higher_is_better = higher_is_better
        best = np.nanargmax(self.held_out if higher_is_better else -self.held_out)
        self.best_strength = float(self.strengths[best])
        self._best = float(self.held_out[best])

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, ax: Any = None, **options: Any
    ) -> RegularizationPathDisplay:
        """Fit along a path, and show it.

        Parameters
        ----------
        estimator : GLRM
            Estimator, fitted or not; it is not changed.
        X : array-like, sparse, data frame or Entries
            Data.
        ax : matplotlib Axes, default=None
            Where to draw; new axes if ``None``.
        **options : dict
            Options of ``GLRM.regularization_path``: ``strengths``, ``n_strengths``, ``held_out``,
            ``random_state``.

        Returns
        -------
        RegularizationPathDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator follows no path.
        """
        if not hasattr(estimator, "regularization_path"):
            raise TypeError(
                f"{type(estimator).__name__} has no regularization_path, only GLRM has. Search "
                "over regularization by GridSearchCV, and pass its cv_results_ to from_cv_results."
            )
        return cls.from_path(estimator.regularization_path(X, **options), ax=ax)

    @classmethod
    def from_path(cls, path: Any, *, ax: Any = None) -> RegularizationPathDisplay:
        """Show a path.

        Parameters
        ----------
        path : RegularizationPath
            What ``GLRM.regularization_path`` returns.
        ax : matplotlib Axes, default=None
            Where to draw; new axes if ``None``.

        Returns
        -------
        RegularizationPathDisplay
            The display.
        """
        return cls(
            path.strengths,
            path.held_out_losses,
            losses=path.losses,
            ranks=path.ranks,
            null=path.null_loss,
        ).plot(ax=ax)

    @classmethod
    def from_cv_results(
        cls, cv_results: dict[str, Any], *, parameter: str = "regularization",
        score: str = "score", ax: Any = None,
    ) -> RegularizationPathDisplay:  # fmt: skip
        """Show what a search over one parameter has found.

        Where the search varied other parameters as well, each value is shown with the best of them.

        Parameters
        ----------
        cv_results : dict
            ``cv_results_`` of ``GridSearchCV`` or its relatives.
        parameter : str, default="regularization"
            The parameter, as the search spells it.
        score : str, default="score"
            The name of the score, where there are several.
        ax : matplotlib Axes, default=None
            Where to draw; new axes if ``None``.

        Returns
        -------
        RegularizationPathDisplay
            The display.

        Raises
        ------
        ValueError
            If the search did not vary the parameter, or has no such score.
        """
        for key in (f"param_{parameter}", f"mean_test_{score}"):
            if key not in cv_results:
                known = [name for name in cv_results if name.startswith(("param_", "mean_test_"))]
                raise ValueError(f"cv_results has no {key!r}; there are {', '.join(known)}.")
        values = np.asarray([float(one) for one in cv_results[f"param_{parameter}"]])
        means, train = cv_results[f"mean_test_{score}"], cv_results.get(f"mean_train_{score}")
        strengths = np.unique(values)
        at = [
            int(
                max(
                    np.flatnonzero(values == one),
                    key=lambda n: np.nan_to_num(means[n], nan=-np.inf),
                )
            )
            for one in strengths
        ]
        return cls(
            strengths,
            means[at],
            losses=None if train is None else train[at],
            deviations=cv_results[f"std_test_{score}"][at],
            parameter=parameter,
            quantity=score.replace("_", " "),
            higher_is_better=True,
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> RegularizationPathDisplay:
        """Draw the path.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; new axes if ``None``.

        Returns
        -------
        RegularizationPathDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = on_axes(self, ax)
        order = np.argsort(self.strengths)
        x = self.strengths[order]
        spread = "" if self.deviations is None else ", ± 1 standard deviation of folds"
        (self.held_out_line_,) = ax.plot(
            x, self.held_out[order], "o-", color=SOLID, markersize=4, label=f"held out{spread}"
        )
        if self.deviations is not None:
            low, high = (self.held_out + sign * self.deviations for sign in (-1, 1))
            ax.fill_between(x, low[order], high[order], color=SOLID, alpha=0.15, linewidth=0)
        self.line_ = None
        if self.losses is not None:
            (self.line_,) = ax.plot(x, self.losses[order], "--", color=MUTED, label="fitted on")
        if self.null is not None:
            ax.axhline(self.null, color=MUTED, linewidth=0.8, linestyle=":", label="constants")
        ax.axvline(self.best_strength, color="C1", linewidth=1.2, zorder=0)
        ax.plot(
            self.best_strength, self._best, "o", color="C1", markersize=7, zorder=3,
            label=f"best, {self.best_strength:.3g}",
        )  # fmt: skip
        if np.all(x > 0):
            ax.set_xscale("log")
            if len(x) <= MANY:  # between decades matplotlib's own labels cover one another
                ax.set_xticks(x, [f"{strength:.3g}" for strength in x])
                ax.minorticks_off()
        ax.set(xlabel=self.parameter, ylabel=self.quantity)
        if self.ranks is not None:
            self._write_ranks(ax, x, self.ranks[order])
        no_top_and_right(ax)
        ax.legend(edgecolor="none", framealpha=0.9)
        return self

    def _write_ranks(self, ax: Any, x: npt.NDArray[Any], ranks: npt.NDArray[Any]) -> None:
        """Write ranks along the upper edge, where one differs from its neighbour."""
        for n, (strength, rank) in enumerate(zip(x.tolist(), ranks.tolist(), strict=True)):
            if n == 0 or rank != ranks[n - 1]:
                ax.annotate(
                    f"rank {rank}",
                    (strength, 1.0),
                    xycoords=("data", "axes fraction"),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="left" if n == 0 else "center",
                    color=MUTED,
                    fontsize="small",
                )
