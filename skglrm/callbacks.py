"""Callbacks that watch fits, and may end them: for ``set_callbacks`` of every factorizer."""

from __future__ import annotations

from typing import Any

from ._parameters import check_integer, check_real

__all__ = ["EarlyStopping", "LossRecorder", "TimeLimit"]


class _Callback:
    """scikit-learn's protocol of callbacks, all of it doing nothing."""

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing before a fit."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing before a fit, nor before one of its iterations."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing after a fit, however it ended."""


class LossRecorder(_Callback):
    """Keep the parameters and the history of every fit, also of those within a search.

    Clones of an estimator share its callbacks, so one recorder sees all fits of a search in this
    process.  A worker process has a copy, and what that records stays there: search with
    ``n_jobs=1``, or with threads.

    Attributes
    ----------
    runs : list of dict
        One for each fit, in the order in which they began: ``"estimator"``, the name of the class;
        ``"parameters"``, of ``get_params``; ``"history"``, which is ``history_`` of the estimator
        as far as the fit went.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm import GLRM
    >>> from skglrm.callbacks import LossRecorder
    >>> X, recorder = np.outer([1.0, 2.0, 3.0], [1.0, 2.0]), LossRecorder()
    >>> model = GLRM(1, tol=0.0, max_iter=3).set_callbacks(recorder).fit(X)
    >>> [run["history"]["iteration"] for run in recorder.runs]
    [[1, 2, 3]]
    """

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Take note of an iteration, or of a fit, that has ended."""
        history = getattr(estimator, "history_", {})
        if context.task_name == "iteration" and context.task_id == 0:
            parameters = estimator.get_params()
            self.runs.append(
                {
                    "estimator": type(estimator).__name__,
                    "parameters": parameters,
                    "history": history,
                }
            )
        elif context.task_name == "fit":
            for run in self.runs:
                if run["history"].get("seconds") is history.get("seconds"):
                    run["history"] = history  # whose objectives are the final ones


class TimeLimit(_Callback):
    """End a fit after the first iteration that ends later than a number of seconds.

    The model is whole: what an estimator does after its last iteration, it does after this one.

    Parameters
    ----------
    seconds : float
        Time since the fit began, without that spent in callbacks.

    Raises
    ------
    ValueError
        If ``seconds`` is not a positive number.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        check_real(self, "seconds", 0.0, above=True)

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        """Return whether the time is up, after an iteration."""
        if context.task_name != "iteration":
            return False
        return bool(estimator.history_["seconds"][-1] >= self.seconds)


class EarlyStopping(_Callback):
    """End a fit when its score on data of yours has stopped rising.

    After every ``every`` iterations a copy of the model as it stands is scored.  The factors kept
    are those of the last iteration, not of the best.  ``FPSGFactorizer`` also has a parameter
    ``early_stopping``, which keeps the best and costs less.

    Parameters
    ----------
    X : array-like, sparse, data frame or Entries
        Data to score on, which the fit does not see: rows of a matrix, or ``Entries`` of the rows
        and columns fitted.
    scoring : callable, default=None
        ``scoring(estimator, X)``, higher is better; ``None`` takes ``estimator.score``.
    patience : int, default=3
        Number of scores in a row without a new best after which the fit ends.
    tol : float, default=0.0
        By how much a new best must exceed the last.
    every : int, default=1
        Score after iterations that this divides: a score may cost more than an iteration.

    Attributes
    ----------
    runs : list of dict
        One for each fit: ``"iterations"`` that were scored, and their ``"scores"``.

    Raises
    ------
    ValueError
        If ``patience`` or ``every`` is not a positive integer, or ``tol`` is negative.

    Examples
    --------
    >>> import numpy as np
    >>> from skglrm import ImplicitALS
    >>> from skglrm.callbacks import EarlyStopping
    >>> rng = np.random.default_rng(0)
    >>> plays = rng.poisson(0.3, (60, 20)).astype(float)
    >>> stopping = EarlyStopping(plays[50:], patience=2)
    >>> model = ImplicitALS(4, max_iter=50, random_state=0).set_callbacks(stopping)
    >>> model.fit(plays[:50]).n_iter_ < 50
    True
    """

    def __init__(
        self, X: Any, *, scoring: Any = None, patience: int = 3, tol: float = 0.0, every: int = 1
    ):
        self.X, self.scoring = X, scoring
        self.patience, self.tol, self.every = patience, tol, every
        check_integer(self, "patience", 1)
        check_real(self, "tol", 0.0)
        check_integer(self, "every", 1)
        self.runs: list[dict[str, list[float]]] = []
        self._current: dict[int, dict[str, list[float]]] = {}

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a run."""
        run: dict[str, list[float]] = {"iterations": [], "scores": []}
        self.runs.append(run)
        self._current[id(estimator)] = run

    def teardown(self, estimator: Any, context: Any) -> None:
        """End a run."""
        self._current.pop(id(estimator), None)

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any) -> bool:
        """Return whether the score has stopped rising, after an iteration."""
        iteration = context.task_id + 1
        if context.task_name != "iteration" or iteration % self.every:
            return False
        if fitted_estimator is None:
            raise TypeError(
                f"A fit of {type(estimator).__name__} on data that stay in Spark does not show its "
                "model before it has ended, so EarlyStopping has nothing to score. Fit on Entries."
            )
        from sklearn.metrics import check_scoring  # takes long to import

        run = self._current[id(estimator)]
        run["iterations"].append(iteration)
        run["scores"].append(
            check_scoring(fitted_estimator, self.scoring)(fitted_estimator, self.X)
        )
        return self._waited(run["scores"]) >= self.patience

    def _waited(self, scores: list[float]) -> int:
        """Return the number of scores since the best."""
        best = 0
        for at, score in enumerate(scores):
            if score > scores[best] + self.tol:
                best = at
        return len(scores) - 1 - best
