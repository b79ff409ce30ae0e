"""Clocks may jump; fits may not notice."""

import itertools
import time

import numpy as np
import pytest
from sklearn.base import clone

from skglrm import GLRM, FPSGFactorizer, ImplicitALS
from skglrm.callbacks import LossRecorder, TimeLimit

DAY = 86_400.0


def counts():
    return np.random.default_rng(0).poisson(1.0, (40, 12)).astype(float)


MODELS = {
    "GLRM": GLRM(2, max_iter=3, tol=0.0, verbose=1, random_state=0),
    "ImplicitALS": ImplicitALS(3, max_iter=3, verbose=1, random_state=0),
    "FPSGFactorizer": FPSGFactorizer(
        3, max_iter=3, early_stopping=True, verbose=1, random_state=0
    ),
}  # fmt: skip


@pytest.fixture(params=["set back", "set forward", "to and fro"])
def clock(request, monkeypatch):
    """The time of day jumps by a day whenever it is asked for."""
    days = {"set back": (-1,), "set forward": (1,), "to and fro": (1, -1)}[request.param]
    jumps, now = itertools.cycle(days), [time.time()]

    def jumping():
        now[0] += next(jumps) * DAY
        return now[0]

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * jumping()))


@pytest.mark.parametrize("name", MODELS)
def test_a_clock_that_is_set_changes_no_fit(name, clock, capsys):
    model, recorder, X = clone(MODELS[name]), LossRecorder(), counts()
    model.set_callbacks(recorder, TimeLimit(1000.0)).fit(X)
    seconds = model.history_["seconds"]
    assert model.history_["iteration"] == [1, 2, 3]  # no limit of time has ended it
    assert all(0 <= one < 1000 for one in seconds) and seconds == sorted(seconds)
    assert capsys.readouterr().out.count("iteration") == 3
    assert len(recorder.runs) == 1
    undisturbed = clone(model).fit(X)
    np.testing.assert_array_equal(model.components_, undisturbed.components_)


@pytest.mark.parametrize("name", MODELS)
def test_even_a_monotonic_clock_that_is_not_breaks_no_fit(name, monkeypatch):
    X = counts()
    expected = clone(MODELS[name]).fit(X)
    jumps, real = itertools.cycle([DAY, -DAY, 0.0]), time.perf_counter
    with monkeypatch.context() as patch:
        for clock in ("perf_counter", "monotonic"):
            patch.setattr(time, clock, lambda: real() + next(jumps))
        model = clone(MODELS[name]).fit(X)
    np.testing.assert_array_equal(model.components_, expected.components_)
    assert np.isfinite(model.history_["seconds"]).all()
