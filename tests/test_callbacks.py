"""Fits that are watched: history, scikit-learn's callbacks, and what ends a fit early."""

import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold

import skglrm
from skglrm import GLRM, FPSGFactorizer, ImplicitALS
from skglrm.callbacks import EarlyStopping, LossRecorder, TimeLimit

MODELS = [
    GLRM(2, tol=0.0, max_iter=5),
    GLRM(2, tol=0.0, max_iter=5, solver="lbfgs"),
    GLRM(2, tol=0.0, max_iter=5, solver="sgd", random_state=0),
    ImplicitALS(3, max_iter=5, random_state=0),
    FPSGFactorizer(3, max_iter=5, random_state=0),
    FPSGFactorizer(3, max_iter=5, random_state=0, early_stopping=True, n_iter_no_change=5),
    FPSGFactorizer(3, max_iter=5, random_state=0, loss="one_class"),
]
each_model = pytest.mark.parametrize("model", MODELS, ids=repr)
needs_scikit_learn_1_9 = pytest.mark.skipif(
    importlib.util.find_spec("sklearn.callback") is None, reason="callbacks came with 1.9"
)


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    X = rng.random((40, 2)) @ rng.random((2, 9)) + 0.1 * rng.random((40, 9))
    X[rng.random(X.shape) < 0.3] = np.nan
    return X


class Spy:
    """Write down what happens, and stop after some iterations."""

    def __init__(self, stop_after=None):
        self.seen, self.stop_after, self.objectives, self.models = [], stop_after, [], []

    def setup(self, estimator, context):
        self.seen.append("setup")

    def teardown(self, estimator, context):
        self.seen.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.seen.append(f"begin {context.task_name} {context.task_id}")

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        self.seen.append(f"end {context.task_name} {context.task_id}")
        self.models.append(fitted_estimator)
        assert X is not None
        if context.task_name == "iteration":
            self.objectives.append(estimator.history_["objective"][-1])
            return context.task_id + 1 == self.stop_after
        return False


@each_model
def test_history_has_a_line_for_every_iteration(model, X):
    model = clone(model).fit(X)
    history = model.history_
    assert history["iteration"] == [1, 2, 3, 4, 5]
    assert history["objective"] == list(model.loss_curve_)
    assert history["seconds"] == sorted(history["seconds"])
    assert 0 < history["seconds"][0]
    if getattr(model, "early_stopping", False):
        assert history["held_out_loss"] == list(model.validation_curve_)
    assert not set(vars(model)) & {"_watch", "_callback_fit_ctx"}


@each_model
def test_callbacks_hear_of_the_fit_and_of_each_iteration_in_order(model, X):
    spy = Spy()
    clone(model).set_callbacks(spy).fit(X)
    iterations = [f"{what} iteration {n}" for n in range(5) for what in ("begin", "end")]
    assert spy.seen == ["setup", "begin fit 0", *iterations, "end fit 0", "teardown"]
    assert len(spy.objectives) == 5


@each_model
def test_a_fit_that_a_callback_ends_is_the_fit_of_so_many_iterations(model, X):
    ended = clone(model).set_callbacks(Spy(stop_after=3)).fit(X)
    short = clone(model).set_params(max_iter=3).fit(X)
    assert ended.n_iter_ == short.n_iter_ == 3
    np.testing.assert_allclose(ended.loss_curve_, short.loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(ended.components_, short.components_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ended.row_factors_, short.row_factors_, rtol=1e-9, atol=1e-12)


@each_model
def test_callbacks_get_the_model_as_if_the_fit_had_ended(model, X):
    spy = Spy()
    fitted = clone(model).set_callbacks(spy).fit(X)
    third, short = spy.models[2], clone(model).set_params(max_iter=3).fit(X)
    assert third.n_iter_ == 3
    # After its last iteration a fit solves for the rows, and moves no more than that.
    rtol = 1e-3 if getattr(model, "solver", "auto") in ("lbfgs", "sgd") else 1e-6
    np.testing.assert_allclose(third.score(X), short.score(X), rtol=rtol)
    predicted = [one.inverse_transform(one.transform(X[:5])) for one in (third, short)]
    np.testing.assert_allclose(*predicted, rtol=20 * rtol)
    assert fitted.n_iter_ == 5
    assert not np.allclose(third.components_, fitted.components_)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_wide_and_tall_matrices_are_shown_the_right_way_round(fit_intercept, X):
    spy, shape = Spy(), dict(random_state=0, fit_intercept=fit_intercept)
    FPSGFactorizer(2, max_iter=3, **shape).set_callbacks(spy).fit(X.T)
    short = FPSGFactorizer(2, max_iter=2, **shape).fit(X.T)
    for name in ("row_factors_", "components_", "_row_accumulators", "loss_curve_"):
        np.testing.assert_array_equal(getattr(spy.models[1], name), getattr(short, name))


def test_a_fit_that_goes_on_shows_the_whole_of_it(X):
    spy = Spy()
    model = FPSGFactorizer(2, max_iter=2, random_state=0, warm_start=True).fit(X)
    model.set_callbacks(spy).fit(X)
    assert [one.n_iter_ for one in spy.models] == [3, 4, 4]
    assert [len(one.loss_curve_) for one in spy.models] == [3, 4, 4]


def test_a_fit_that_fails_tears_callbacks_down_and_leaves_the_model(X):
    spy = Spy()
    model = GLRM(2, tol=0.0, max_iter=5).fit(X)
    before = {name: pickle.dumps(value) for name, value in vars(model).items()}
    model.set_callbacks(spy)
    with pytest.raises(ValueError, match="infinity"):
        model.fit(np.where(np.isnan(X), np.inf, X))
    assert spy.seen == ["setup", "begin fit 0", "begin iteration 0", "teardown"]
    model.set_callbacks()
    assert {name: pickle.dumps(value) for name, value in vars(model).items()} == before


def test_an_error_of_a_callback_is_not_hidden(X):
    class Broken(Spy):
        def on_fit_task_end(self, estimator, context):
            raise RuntimeError("no space left")

    with pytest.raises(RuntimeError, match="no space left"):
        ImplicitALS(2).set_callbacks(Broken()).fit(X)


def test_a_fit_that_is_ended_needs_no_warning_about_convergence(X):
    # Warnings are errors in these tests.
    model = GLRM(2, tol=1e-12, max_iter=50).set_callbacks(Spy(stop_after=2)).fit(X)
    assert model.n_iter_ == 2
    with pytest.warns(ConvergenceWarning):
        GLRM(2, tol=1e-12, max_iter=2).fit(X)


def test_callbacks_survive_clones_and_pickles(X):
    model = GLRM(2, tol=0.0, max_iter=2).set_callbacks(LossRecorder())
    again = pickle.loads(pickle.dumps(model.fit(X)))
    again.fit(X)
    (recorder,) = again._skl_callbacks
    assert [len(run["history"]["objective"]) for run in recorder.runs] == [2, 2]
    assert len(model._skl_callbacks[0].runs) == 1


# ------------------------------------------------------------------ those that come with skglrm


@needs_scikit_learn_1_9
def test_one_recorder_sees_all_fits_of_a_search(X):
    recorder = LossRecorder()
    estimator = GLRM(2, tol=0.0, max_iter=3).set_callbacks(recorder)
    grid = {"regularization": [0.1, 1.0]}
    search = GridSearchCV(estimator, grid, cv=KFold(2, shuffle=True, random_state=0)).fit(X)
    assert len(recorder.runs) == 2 * 2 + 1
    strengths = [run["parameters"]["regularization"] for run in recorder.runs]
    assert strengths == [0.1, 0.1, 1.0, 1.0, search.best_params_["regularization"]]
    assert recorder.runs[-1]["history"] == search.best_estimator_.history_
    assert {run["estimator"] for run in recorder.runs} == {"GLRM"}


def test_a_time_limit_ends_a_fit_after_the_iteration_in_which_it_passes(X):
    assert GLRM(2, tol=0.0, max_iter=9).set_callbacks(TimeLimit(1e-9)).fit(X).n_iter_ == 1
    assert GLRM(2, tol=0.0, max_iter=9).set_callbacks(TimeLimit(1e9)).fit(X).n_iter_ == 9


def falling_after(best):
    """A score that rises up to an iteration, and falls from there."""
    return lambda estimator, X: -abs(estimator.n_iter_ - best)


def test_early_stopping_waits_for_as_many_scores_as_it_is_patient():
    X = np.random.default_rng(0).random((20, 5))
    stopping = EarlyStopping(X, scoring=falling_after(4), patience=2)
    model = ImplicitALS(2, max_iter=30, random_state=0).set_callbacks(stopping).fit(X)
    assert model.n_iter_ == 6
    assert stopping.runs == [{"iterations": [1, 2, 3, 4, 5, 6], "scores": [-3, -2, -1, 0, -1, -2]}]
    seldom = EarlyStopping(X, scoring=falling_after(4), patience=2, every=3)
    assert model.set_callbacks(seldom).fit(X).n_iter_ == 9
    assert seldom.runs[0]["iterations"] == [3, 6, 9]
    rough = EarlyStopping(X, scoring=falling_after(4), patience=2, tol=1.0)
    assert model.set_callbacks(rough).fit(X).n_iter_ == 5  # 1, then 3, which is new by more than 1


def test_early_stopping_scores_data_that_the_fit_does_not_see(X):
    stopping = EarlyStopping(X[30:])
    model = GLRM(2, tol=0.0, max_iter=4).set_callbacks(stopping).fit(X[:30])
    assert len(stopping.runs[0]["scores"]) == model.n_iter_
    np.testing.assert_allclose(stopping.runs[0]["scores"][-1], model.score(X[30:]), rtol=0.1)


def test_early_stopping_works_with_an_estimator_that_has_its_own(X):
    stopping = EarlyStopping(X, scoring=falling_after(4), patience=2)
    model = FPSGFactorizer(2, max_iter=30, random_state=0).set_callbacks(stopping).fit(X)
    assert model.n_iter_ == 6


def test_a_model_that_cannot_be_scored_before_its_end_says_so(X):
    iteration = SimpleNamespace(task_name="iteration", task_id=0)
    with pytest.raises(TypeError, match="data that stay in Spark"):
        EarlyStopping(X).on_fit_task_end(ImplicitALS(), iteration, fitted_estimator=None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TimeLimit(0), "'seconds'.*greater than 0. Got 0"),
        (lambda: EarlyStopping(None, patience=0), "'patience'.*at least 1. Got 0"),
        (lambda: EarlyStopping(None, tol=-1.0), "'tol'.*at least 0. Got -1.0"),
        (lambda: EarlyStopping(None, every=1.5), "'every'.*at least 1. Got 1.5"),
    ],
)
def test_wrong_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ------------------------------------------------------------------ scikit-learn's own


@needs_scikit_learn_1_9
def test_progress_bars_nest_under_a_search(X, capsys):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    cv = KFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(GLRM(2, tol=0.0, max_iter=2), {"regularization": [0.1]}, cv=cv)
    search.set_callbacks(ProgressBar()).fit(X)
    said = capsys.readouterr().out
    assert "GridSearchCV" in said
    assert "GLRM - fit" in said
    assert "100%" in said


@needs_scikit_learn_1_9
def test_nothing_is_said_without_verbose_nor_callbacks(X, capsys):
    GLRM(2, tol=0.0, max_iter=2).set_callbacks(LossRecorder()).fit(X)
    said = capsys.readouterr()
    assert said.out == said.err == ""


# ------------------------------------------------------------------ older scikit-learn


def test_older_scikit_learn_gets_the_same_calls(X, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    spy, limit = Spy(stop_after=2), TimeLimit(1e9)
    model = GLRM(2, tol=0.0, max_iter=5).set_callbacks(spy, limit).fit(X)
    assert spy.seen == [
        "setup", "begin fit 0", "begin iteration 0", "end iteration 0", "begin iteration 1",
        "end iteration 1", "end fit 0", "teardown",
    ]  # fmt: skip
    assert model.n_iter_ == len(model.history_["objective"]) == 2
    assert [one.n_iter_ for one in spy.models] == [1, 2, 2]
    assert spy.models[0] is not model
    with pytest.raises(ValueError, match="infinity"):
        model.fit(np.where(np.isnan(X), np.inf, X))
    assert spy.seen[-2:] == ["begin iteration 0", "teardown"]


@pytest.mark.parametrize("wrong", [LossRecorder, object(), print])
def test_what_is_no_callback_is_refused(wrong):
    with pytest.raises(TypeError, match="is no callback: it (is a class|has no setup)"):
        GLRM().set_callbacks(wrong)


def test_rich_is_not_imported_with_the_package():
    code = "import sys, skglrm; print('rich' in sys.modules, 'sklearn.callback' in sys.modules)"
    root = str(Path(skglrm.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.stdout.split() == ["False", "False"], done.stderr
