"""What a call may end in: a result, or an error that the library means to raise."""

import faulthandler
import pickle
import signal
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import sklearn
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning

import skglrm

OURS = Path(skglrm.__file__).parent
KERNELS = OURS / "kernels"
SKLEARN = Path(sklearn.__file__).parent

ERRORS = (ValueError, TypeError, NotImplementedError, FloatingPointError)
WARNINGS = (UserWarning, ConvergenceWarning, UndefinedMetricWarning)
CPU_LIMIT = 200
"""Seconds of work that one case may take: a thousandth of it, but for kernels that are compiled."""

WAITING_LIMIT = 1800
"""Seconds after which a case that does nothing ends the process, with a traceback."""


class UndocumentedError(AssertionError):
    """Something that no promise of the library covers."""


def is_documented(error):
    """Whether an error is one of the documented classes, with a message, raised on purpose.

    Raised on purpose means: its last frame lies in skglrm, but not in a kernel, or in scikit-learn,
    whose checks the estimators use.  NumPy's, SciPy's and numba's own errors are not.
    """
    if not isinstance(error, ERRORS) or not str(error).strip():
        return False
    last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    if last.is_relative_to(KERNELS):
        return False
    return last.is_relative_to(OURS) or last.is_relative_to(SKLEARN)


def is_documented_warning(warning):
    """Whether a warning is meant for users; those of NumPy and of deprecated things are not."""
    return warning.category in WARNINGS and bool(str(warning.message).strip())


@contextmanager
def time_limit():
    """Raise in a case that works too long; end the process if it waits, or is in compiled code."""

    def expire(*_):
        raise UndocumentedError(f"It took more than {CPU_LIMIT} s.")

    faulthandler.dump_traceback_later(WAITING_LIMIT, exit=True)
    before = signal.signal(signal.SIGPROF, expire)
    signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        faulthandler.cancel_dump_traceback_later()


def outcome(call, *inputs, model=None):
    """Return what a call returns, or the documented error that it raises.

    Inputs must not change, nor may ``model`` when the call fails; everything else is an
    ``UndocumentedError``.
    """
    before = [*map(fingerprint, inputs)]
    state = None if model is None else state_of(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = call()
        except UndocumentedError:
            raise
        except Exception as error:
            if not is_documented(error):
                raise UndocumentedError(f"{type(error).__name__}: {error}") from error
            found = error.with_traceback(None)
    if isinstance(found, Exception) and state is not None and state_of(model) != state:
        raise UndocumentedError(f"The model changed in a call that fails: {found!r}")
    if [*map(fingerprint, inputs)] != before:
        raise UndocumentedError("The input changed.")
    for warning in caught:
        if not is_documented_warning(warning):
            raise UndocumentedError(
                f"{warning.category.__name__}: {warning.message} "
                f"({warning.filename}:{warning.lineno}); then {found!r:.200}"
            )
    return found


def state_of(model):
    """All attributes of a model, to the bit."""
    return pickle.dumps({k: v for k, v in vars(model).items() if k != "_memory"})


def fingerprint(X):
    """What an input holds, to the bit."""
    if isinstance(X, np.ndarray):
        return X.dtype.str, X.shape, X.strides, X.tobytes() if X.dtype != object else repr(X)
    if sp.issparse(X):
        parts = [
            fingerprint(value)
            for _, value in sorted(vars(X).items())
            if isinstance(value, np.ndarray)
        ]
        return X.format, X.shape, parts, repr(X._dict) if X.format == "dok" else None
    if isinstance(X, skglrm.Entries):
        return [fingerprint(X.row), fingerprint(X.col), fingerprint(X.value)]
    return repr(X)
