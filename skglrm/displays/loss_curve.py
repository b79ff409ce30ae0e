"""How a fit came down."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_is_fitted

from ._axes import no_top_and_right, on_axes

__all__ = ["LossCurveDisplay"]


class LossCurveDisplay:
    """The objective of one or several fits, and the held-out loss where there is one.

    Make it by :meth:`from_estimator`, :meth:`from_estimators`, :meth:`from_cv_results` or
    :meth:`from_recorder`.

    Parameters
    ----------
    curves : dict
        From the name of a fit to its history: lists ``"iteration"``, ``"objective"`` and, if known,
        ``"seconds"`` and ``"held_out_loss"``.

    Attributes
    ----------
    curves : dict
        The same.
    ax_, figure_ : matplotlib Axes and Figure
        What was drawn on.
    lines_ : list of Line2D
        Lines of the objectives.
    held_out_ax_ : Axes or None
        Axes of the held-out losses, whose scale is at the right.
    held_out_lines_ : list of Line2D
        Lines of the held-out losses.

    See Also
    --------
    skglrm.callbacks.LossRecorder : Histories of all fits of a search.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm import GLRM
    >>> from skglrm.displays import LossCurveDisplay
    >>> model = GLRM(1, max_iter=3, tol=0.0).fit(np.outer([1.0, 2.0, 3.0], [1.0, 2.0]))
    >>> display = LossCurveDisplay({"rank 1": model.history_})
    >>> display.curves["rank 1"]["iteration"]
    [1, 2, 3]
    """

    held_out_ax_: Any

    def __init__(self, curves: dict[str, dict[str, list[float]]]):
        self.curves = curves

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, by: str = "iteration", name: str | None = None, ax: Any = None,
        **line: Any,
    ) -> LossCurveDisplay:  # fmt: skip
        """Show the fit of an estimator.

        Parameters
        ----------
        estimator : GLRM, ImplicitALS or FPSGFactorizer
            Fitted estimator.
        by : {"iteration", "seconds"}, default="iteration"
            What goes along the horizontal axis.
        name : str, default=None
            Name in the legend; the class, if ``None``.
        ax : matplotlib Axes, default=None
            Where to draw; new axes if ``None``.
        **line : dict
            Options of matplotlib's ``plot`` for the objective.

        Returns
        -------
        LossCurveDisplay
            The display.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``by`` is unknown, or the times of iterations are.
        """
        found = {name or type(estimator).__name__: _history(estimator)}
        return cls(found).plot(ax=ax, by=by, **line)

    @classmethod
    def from_estimators(
        cls, estimators: dict[str, Any], *, by: str = "iteration", ax: Any = None, **line: Any
    ) -> LossCurveDisplay:
        """Show several fits together.

        Parameters
        ----------
        estimators : dict
            From names to fitted estimators.
        by, ax, **line
            As for :meth:`from_estimator`.

        Returns
        -------
        LossCurveDisplay
            The display.
        """
        found = {name: _history(estimator) for name, estimator in estimators.items()}
        return cls(found).plot(ax=ax, by=by, **line)

    @classmethod
    def from_cv_results(
        cls, cv_results: dict[str, Any], *, by: str = "iteration", ax: Any = None, **line: Any
    ) -> LossCurveDisplay:
        """Show the fit of every fold.

        Parameters
        ----------
        cv_results : dict
            What ``cross_validate(..., return_estimator=True)`` returns.
        by, ax, **line
            As for :meth:`from_estimator`.

        Returns
        -------
        LossCurveDisplay
            The display.

        Raises
        ------
        ValueError
            If there are no estimators among the results.
        """
        if "estimator" not in cv_results:
            raise ValueError(
                "cv_results has no 'estimator'. Call cross_validate with return_estimator=True."
            )
        folds = {f"fold {n}": one for n, one in enumerate(cv_results["estimator"], 1)}
        return cls.from_estimators(folds, by=by, ax=ax, **line)

    @classmethod
    def from_recorder(
        cls, recorder: Any, *, label: str | None = None, by: str = "iteration", ax: Any = None,
        **line: Any,
    ) -> LossCurveDisplay:  # fmt: skip
        """Show all fits that a recorder has seen.

        Parameters
        ----------
        recorder : LossRecorder
            Callback that watched the fits.
        label : str, default=None
            Parameter whose value names a fit; ``None`` numbers them.
        by, ax, **line
            As for :meth:`from_estimator`.

        Returns
        -------
        LossCurveDisplay
            The display.
        """
        found = {}
        for n, run in enumerate(recorder.runs, 1):
            name = f"fit {n}" if label is None else f"{label}={run['parameters'][label]}"
            found[name if name not in found else f"{name}, fit {n}"] = run["history"]
        return cls(found).plot(ax=ax, by=by, **line)

    def plot(self, ax: Any = None, *, by: str = "iteration", **line: Any) -> LossCurveDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; new axes if ``None``.
        by : {"iteration", "seconds"}, default="iteration"
            What goes along the horizontal axis.
        **line : dict
            Options of matplotlib's ``plot`` for the objectives.

        Returns
        -------
        LossCurveDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``by`` is unknown, or the times of iterations are.
        """
        if by not in ("iteration", "seconds"):
            raise ValueError(f"by must be 'iteration' or 'seconds'. Got {by!r} instead.")
        for name, curve in self.curves.items():
            if by not in curve:
                raise ValueError(
                    f"Not all iterations of {name!r} have a time: only those of the last "
                    "fit have, and partial_fit or warm_start added others. Use by='iteration'."
                )
        ax = on_axes(self, ax)
        watched = any("held_out_loss" in curve for curve in self.curves.values())
        self.held_out_ax_ = ax.twinx() if watched else None
        self.lines_, self.held_out_lines_ = [], []
        options = {"linewidth": 1.8, "marker": "o", "markersize": 3, **line}
        several = len(self.curves) > 1
        for number, (name, curve) in enumerate(self.curves.items()):
            colour = {"color": f"C{number % 10}", **options}
            label = name if several or not watched else "objective, left"
            self.lines_ += ax.plot(curve[by], curve["objective"], label=label, **colour)
            if "held_out_loss" in curve:
                colour = {**colour, "linestyle": "--", "marker": "none"}
                if not several:
                    colour["color"] = "C1"
                self.held_out_lines_ += self.held_out_ax_.plot(
                    curve[by],
                    curve["held_out_loss"],
                    label=f"{name}, held out" if several else "held-out loss, right",
                    **colour,
                )
        self._describe(ax, by)
        return self

    def _describe(self, ax: Any, by: str) -> None:
        ax.set(xlabel=by, ylabel="objective")
        if by == "iteration":
            ax.xaxis.get_major_locator().set_params(integer=True)
        else:
            ax.set_xlim(left=0)
        ax.spines["top"].set_visible(False)
        if self.held_out_ax_ is None:
            no_top_and_right(ax)
        else:
            self.held_out_ax_.set_ylabel("mean loss held out (dashed)")
            self.held_out_ax_.spines["top"].set_visible(False)
        if len(self.curves) == 1 and self.held_out_ax_ is None:
            ax.set_title(next(iter(self.curves)))
        else:
            ax.legend(handles=[*self.lines_, *self.held_out_lines_], frameon=False)


def _history(estimator: Any) -> dict[str, list[float]]:
    """Return what ``loss_curve_`` has, with times if all of it is of the last fit."""
    check_is_fitted(estimator)
    objective = [float(value) for value in estimator.loss_curve_]
    history = getattr(estimator, "history_", {})
    curve: dict[str, list[Any]] = {
        "iteration": list(range(1, len(objective) + 1)),
        "objective": objective,
    }
    if len(history.get("seconds", ())) == len(objective):
        curve["seconds"] = list(history["seconds"])
    held_out = list(getattr(estimator, "validation_curve_", ()))
    if held_out and len(held_out) == len(objective):
        curve["held_out_loss"] = held_out
    return curve
