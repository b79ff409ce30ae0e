"""How a fit tells those who watch it, after every iteration: lines, callbacks, ``history_``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Watched"]

HOOKS = ("setup", "on_fit_task_begin", "on_fit_task_end", "teardown")


class Watched:
    """Base of estimators whose fits can be watched, and ended, at the end of every iteration.

    ``fit`` runs within ``_watched``; its solver calls ``_report`` after every iteration, and ends
    if that returns true.
    """

    verbose: int
    max_iter: int
    loss_curve_: list[float]
    history_: dict[str, list[float]]
    _watch: _Watch | None = None
    _skl_callbacks: list[Any]

    def set_callbacks(self, *callbacks: Any) -> Any:
        """Set the callbacks of the estimator; without any, take away those that it has.

        Parameters
        ----------
        *callbacks : callback instances
            Objects with the methods of scikit-learn's callbacks: ``setup``,
            ``on_fit_task_begin``, ``on_fit_task_end`` and ``teardown``.

        Returns
        -------
        estimator instance
            The estimator itself.

        Raises
        ------
        TypeError
            If an object lacks one of the methods, or is a class.
        """
        for one in callbacks:
            missing = [hook for hook in HOOKS if not callable(getattr(one, hook, None))]
            if isinstance(one, type) or missing:
                lack = (
                    "is a class: pass an instance"
                    if isinstance(one, type)
                    else (f"has no {', '.join(missing)}")
                )
                raise TypeError(f"{one!r} is no callback: it {lack}.")
        if callbacks:
            self._skl_callbacks = list(callbacks)
        else:
            self.__dict__.pop("_skl_callbacks", None)
        return self

    @contextmanager
    def _watched(self, X: Any) -> Iterator[None]:
        """Watch the fit inside: outside of what is undone on errors, which would lose the watch."""
        try:
            self._watch = _Watch(self, X)
            yield
            self._watch.end(self.loss_curve_)
        finally:
            self.__dict__.pop("_watch", None)
            if "_callback_fit_ctx" in vars(self):
                # The decorator tears down; around fit it would shift warnings by a frame.
                _, with_callbacks = _callback_support()
                with_callbacks(lambda estimator: None)(self)

    def _report(
        self,
        iteration: int,
        objective: float,
        validation: float | None = None,
        fitted: Callable[[], dict[str, Any]] | None = None,
    ) -> bool:
        """Tell how an iteration ended; return whether a callback wants it to be the last.

        ``fitted`` makes the attributes of a model as if the fit had stopped here.
        """
        if self.verbose:
            held_out = "" if validation is None else f", held-out loss {validation:.6g}"
            line = f"iteration {iteration}: objective {objective:.6g}{held_out}"
            print(f"[{type(self).__name__}] {line}")
        return self._watch is not None and self._watch.note(
            iteration, objective, validation, fitted
        )


class _Watch:
    """What is known of a fit that runs, and the callbacks that want to know it."""

    def __init__(self, estimator: Watched, X: Any):
        self.estimator, self.X = estimator, X
        self.history: dict[str, list[float]] = {"iteration": [], "seconds": [], "objective": []}
        self.context: Any = None
        if getattr(estimator, "_skl_callbacks", []):
            mixin, _ = _callback_support()
            self.context = mixin._init_callback_context(estimator, max_subtasks=estimator.max_iter)
            self.context.call_on_fit_task_begin(estimator=estimator, X=X)
            self.begin_iteration()
        self.begun = time.perf_counter()

    def begin_iteration(self) -> None:
        self.task = self.context.subcontext(task_name="iteration")
        self.task.call_on_fit_task_begin(estimator=self.estimator, X=self.X)

    def note(
        self,
        iteration: int,
        objective: float,
        validation: float | None,
        fitted: Callable[[], dict[str, Any]] | None,
    ) -> bool:
        arrived = time.perf_counter()
        found = {"iteration": iteration, "seconds": arrived - self.begun, "objective": objective}
        if validation is not None:
            found["held_out_loss"] = validation
        for name, value in found.items():
            self.history.setdefault(name, []).append(value)
        self.estimator.history_ = self.history
        if self.context is None:
            return False
        stop = self.task.call_on_fit_task_end(
            estimator=self.estimator, X=self.X, reconstruction_attributes=fitted
        )
        if not stop and iteration < self.estimator.max_iter:
            self.begin_iteration()
        self.begun += time.perf_counter() - arrived  # the time of callbacks is not the fit's
        return bool(stop)

    def end(self, loss_curve: list[float]) -> None:
        """Keep the history, with objectives that are final only now, and tell the callbacks."""
        earlier = len(loss_curve) - len(self.history["iteration"])  # of fits that this one goes on
        self.estimator.history_ = {**self.history, "objective": list(loss_curve)[earlier:]}
        if self.context is not None:
            self.context.call_on_fit_task_end(
                estimator=self.estimator,
                X=self.X,
                reconstruction_attributes=lambda: vars(self.estimator).copy(),
            )


def _callback_support() -> tuple[Any, Any]:
    """scikit-learn's support of callbacks, imported when there are some: it brings rich along."""
    try:
        from sklearn.callback import CallbackSupportMixin, with_callbacks
    except ImportError:  # scikit-learn < 1.9
        from ._old_callbacks import CallbackSupportMixin, with_callbacks
    return CallbackSupportMixin, with_callbacks
