"""The part of scikit-learn 1.9's callback protocol that ``fit`` needs, for older scikit-learn."""

from __future__ import annotations

import copy
import functools
import inspect
import uuid
from typing import Any

__all__ = ["CallbackSupportMixin", "Context", "with_callbacks"]


class Context:
    """A task of a fit: the fit itself, or an iteration, whose ``parent`` is the fit."""

    source_estimator_name = source_task_name = None

    def __init__(self, callbacks: list[Any], name: str, task: str, parent: Context | None, n: int):
        self._callbacks, self.estimator_name, self.task_name = callbacks, name, task
        self.parent, self.max_subtasks, self.task_id, self._n_children = parent, n, 0, 0
        self.root_uuid: uuid.UUID = uuid.uuid4() if parent is None else parent.root_uuid

    def subcontext(self, task_name: str) -> Context:
        """Return the context of the next part of this task."""
        part = Context(self._callbacks, self.estimator_name, task_name, self, 0)
        part.task_id = self._n_children
        self._n_children += 1
        return part

    def call_on_fit_task_begin(self, **known: Any) -> Context:
        """Tell all callbacks that the task begins."""
        self._call("on_fit_task_begin", **known)
        return self

    def call_on_fit_task_end(self, **known: Any) -> bool:
        """Tell all callbacks that the task ends; return whether one of them wants to stop."""
        return self._call("on_fit_task_end", **known)

    def _call(self, hook: str, *, estimator: Any, reconstruction_attributes: Any = None, **known):
        """Call a hook with what it asks for by name."""
        stop = False
        for callback in self._callbacks:
            function = getattr(callback, hook)
            given = {}
            for parameter in inspect.signature(function).parameters.values():
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    continue
                if parameter.name == "fitted_estimator" and reconstruction_attributes is not None:
                    known["fitted_estimator"] = copy.copy(estimator)
                    vars(known["fitted_estimator"]).update(reconstruction_attributes())
                given[parameter.name] = known.get(parameter.name)
            stop |= bool(function(estimator, self, **given))
        return stop


class CallbackSupportMixin:
    """Prepares the callbacks of an estimator for a fit."""

    def _init_callback_context(self, max_subtasks: int) -> Context:
        callbacks = getattr(self, "_skl_callbacks", [])
        context = Context(callbacks, type(self).__name__, "fit", None, max_subtasks)
        self._callback_fit_ctx = context
        for callback in callbacks:
            callback.setup(estimator=self, context=context)
        return context


def with_callbacks(method: Any) -> Any:
    """Tear down the callbacks of an estimator after a method of it, however it ends."""

    @functools.wraps(method)
    def managed(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(estimator, *args, **kwargs)
        finally:
            context = vars(estimator).pop("_callback_fit_ctx", None)
            for callback in [] if context is None else context._callbacks:
                callback.teardown(estimator=estimator, context=context)

    return managed
