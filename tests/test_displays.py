"""Displays draw what they hold, and hold what the model says."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_validate

import skglrm
from skglrm import GLRM, Entries, FPSGFactorizer, ImplicitALS, metrics
from skglrm.callbacks import LossRecorder
from skglrm.displays import (
    BiplotDisplay,
    EmbeddingDisplay,
    LossCurveDisplay,
    RankingCurveDisplay,
    ReconstructionDisplay,
    RegularizationPathDisplay,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 9)) + 0.1 * rng.normal(size=(40, 9))
    X[rng.random(X.shape) < 0.2] = np.nan
    return X


@pytest.fixture(scope="module")
def table(X):
    return GLRM(3, tol=0.0, max_iter=4).fit(X)


@pytest.fixture(scope="module")
def stopped(X):
    model = FPSGFactorizer(3, max_iter=6, random_state=0, early_stopping=True, n_iter_no_change=6)
    return model.fit(X)


@pytest.fixture(scope="module")
def plays():
    return sp.csr_array(np.random.default_rng(1).poisson(0.4, (30, 12)).astype(float))


@pytest.fixture(scope="module")
def songs(plays):
    return ImplicitALS(3, max_iter=3, random_state=0).fit(plays)


def written(display):
    """Every picture can be written to a file."""
    display.figure_.canvas.draw()
    return display


# ------------------------------------------------------------------ loss curves


def test_a_loss_curve_is_that_of_the_model(table):
    display = written(LossCurveDisplay.from_estimator(table))
    (line,) = display.lines_
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(line.get_ydata(), table.loss_curve_)
    assert display.held_out_ax_ is None
    by_time = LossCurveDisplay.from_estimator(table, by="seconds")
    np.testing.assert_array_equal(by_time.lines_[0].get_xdata(), table.history_["seconds"])


def test_held_out_losses_have_an_axis_of_their_own(stopped):
    display = written(LossCurveDisplay.from_estimator(stopped, by="seconds"))
    (line,) = display.held_out_lines_
    np.testing.assert_array_equal(line.get_ydata(), stopped.validation_curve_)
    assert line.axes is display.held_out_ax_ is not display.ax_


def test_folds_and_fits_of_a_search_are_drawn_together(X):
    entries, recorder = Entries.from_matrix(X), LossRecorder()
    model = FPSGFactorizer(2, max_iter=3, random_state=0).set_callbacks(recorder)
    found = cross_validate(model, entries, cv=KFold(2, shuffle=True), return_estimator=True)
    folds = LossCurveDisplay.from_cv_results(found)
    assert list(folds.curves) == ["fold 1", "fold 2"]
    assert len(folds.lines_) == 2
    if recorder.runs:  # scikit-learn 1.9
        seen = LossCurveDisplay.from_recorder(recorder, label="n_components")
        assert list(seen.curves) == ["n_components=2", "n_components=2, fit 2"]
    both = LossCurveDisplay.from_estimators(dict(zip("ab", found["estimator"], strict=True)))
    assert [line.get_label() for line in both.lines_] == ["a", "b"]
    with pytest.raises(ValueError, match="return_estimator=True"):
        LossCurveDisplay.from_cv_results({"test_score": [0.0]})


def test_times_that_are_not_known_are_not_made_up(X):
    model = FPSGFactorizer(2, max_iter=3, random_state=0).fit(X).partial_fit(X[:5])
    assert len(LossCurveDisplay.from_estimator(model).lines_[0].get_xdata()) == 4
    with pytest.raises(ValueError, match="Use by='iteration'"):
        LossCurveDisplay.from_estimator(model, by="seconds")
    with pytest.raises(ValueError, match="'iteration' or 'seconds'. Got 'epoch'"):
        LossCurveDisplay.from_estimator(model, by="epoch")


# ------------------------------------------------------------------ paths


def test_a_path_marks_the_best_strength(X):
    path = GLRM(3, tol=1e-2).regularization_path(X, n_strengths=4)
    display = written(RegularizationPathDisplay.from_path(path))
    assert display.best_strength == path.best_strength
    np.testing.assert_array_equal(display.held_out_line_.get_xdata(), path.strengths[::-1])
    np.testing.assert_array_equal(display.held_out_line_.get_ydata(), path.held_out_losses[::-1])
    np.testing.assert_array_equal(display.line_.get_ydata(), path.losses[::-1])
    assert display.ax_.get_xscale() == "log"


def test_a_search_over_two_parameters_shows_the_best_of_the_other(X):
    grid = {"regularization": [0.01, 1.0], "n_components": [1, 3]}
    search = GridSearchCV(
        FPSGFactorizer(random_state=0, max_iter=3), grid, cv=KFold(2, shuffle=True, random_state=0)
    ).fit(Entries.from_matrix(X))
    display = written(RegularizationPathDisplay.from_cv_results(search.cv_results_))
    assert display.best_strength == search.best_params_["regularization"]
    assert display.held_out.max() == search.best_score_
    assert display.strengths.tolist() == [0.01, 1.0]
    with pytest.raises(ValueError, match="no 'param_alpha'; there are .*param_n_components"):
        RegularizationPathDisplay.from_cv_results(search.cv_results_, parameter="alpha")


def test_a_few_strengths_are_the_labels_of_the_axis():
    display = RegularizationPathDisplay([0.02, 0.05, 0.1], [1.0, 0.5, 0.8]).plot()
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == ["0.02", "0.05", "0.1"]
    assert not len(display.ax_.xaxis.get_minorticklocs())


def test_an_estimator_without_a_path_says_what_to_do(songs, plays):
    with pytest.raises(TypeError, match="from_cv_results"):
        RegularizationPathDisplay.from_estimator(songs, plays)


# ------------------------------------------------------------------ biplots and maps


def test_a_biplot_keeps_the_angles_of_the_model(table):
    display = written(BiplotDisplay.from_estimator(table, components=(2, 0), n_arrows=4))
    np.testing.assert_array_equal(display.points, table.row_factors_[:, [2, 0]])
    H = table.components_.T[:, [2, 0]]
    longest = np.sort(np.argsort(-np.hypot(*H.T))[:4])
    np.testing.assert_array_equal(display.arrows, H[longest])
    assert display.names == [f"x{j}" for j in longest]
    tips = np.array([arrow.xy for arrow in display.arrows_])
    ratio = tips / display.arrows
    np.testing.assert_allclose(ratio, ratio[0, 0])
    assert ratio[0, 0] > 0
    assert "component 2" in display.ax_.get_xlabel()


def test_a_biplot_names_levels():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"size": np.arange(9.0), "colour": ["red", "green", "blue"] * 3})
    model = GLRM(2, loss="auto", max_iter=2, tol=0.0).fit(frame)
    display = written(BiplotDisplay.from_estimator(model))
    assert display.names[0] == "size"
    assert set(display.names[1:]) == {"colour: red", "colour: green", "colour: blue"}


@pytest.mark.parametrize("components", [(0, 3), (1, 1), (0,), (0.0, 1.0), (-1, 0)])
def test_a_biplot_needs_two_components_that_are_there(table, components):
    with pytest.raises(ValueError, match="from 0 to 2"):
        BiplotDisplay.from_estimator(table, components=components)


def test_a_map_shows_cosines_where_two_dimensions_are_all():
    rng = np.random.default_rng(0)
    model = GLRM(2, tol=0.0, max_iter=2).fit(rng.normal(size=(20, 2)) @ rng.normal(size=(2, 8)))
    display = written(EmbeddingDisplay.from_estimator(model, n_names=3))
    directions = model.components_.T / np.linalg.norm(model.components_.T, axis=1)[:, None]

    def distances(points):
        return np.linalg.norm(points[:, None] - points, axis=2)

    np.testing.assert_allclose(distances(display.points), distances(directions), atol=1e-12)
    assert len(display.texts_) == 3


def test_a_map_leaves_out_what_has_no_direction(plays):
    empty = plays.toarray()
    empty[:, 4] = 0
    model = ImplicitALS(3, max_iter=2, random_state=0).fit(empty)
    labels = np.array(["a", "b"] * 6)
    display = written(EmbeddingDisplay.from_estimator(model, c=labels, n_names=100))
    assert len(display.points) == 11
    assert "x4" not in display.names
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["a", "b"]


def test_a_map_can_be_of_rows_and_by_another_projector(songs):
    class First:
        def fit_transform(self, factors):
            np.testing.assert_allclose(np.linalg.norm(factors, axis=1), 1.0)
            return factors[:, :2]

    numbers = np.arange(30)
    display = EmbeddingDisplay.from_estimator(songs, side="rows", projector=First(), c=numbers)
    has_factors = songs.row_factors_.any(axis=1)
    assert len(written(display).points) == has_factors.sum()
    with pytest.raises(ValueError, match="2 names for 12 columns"):
        EmbeddingDisplay.from_estimator(songs, names=["a", "b"])
    with pytest.raises(ValueError, match="'columns' or 'rows'. Got 'items'"):
        EmbeddingDisplay.from_estimator(songs, side="items")


def test_names_do_not_cover_one_another():
    display = EmbeddingDisplay(np.zeros((6, 2)), list("abcdef"), range(6)).plot()
    boxes = [
        text.get_window_extent(display.figure_.canvas.get_renderer()) for text in display.texts_
    ]
    middles = sorted((box.y0 + box.y1) / 2 for box in boxes)
    assert min(np.diff(middles)) > 5


# ------------------------------------------------------------------ rankings, reconstructions


def test_a_ranking_curve_is_that_of_the_metric(songs, plays):
    hidden = sp.csr_array((plays.toarray() == 0) * np.eye(30, 12))
    display = written(RankingCurveDisplay.from_estimator(songs, plays, hidden, metric="ndcg"))
    assert display.k.tolist() == [1, 2, 3, 5, 7, 10]  # there are twelve columns
    ranked = songs.recommend(plays, n=10, return_scores=False)
    for k, value in zip(display.k, display.line_.get_ydata(), strict=True):
        assert value == metrics.ndcg_at_k(hidden, ranked, k=int(k))
    scores = np.broadcast_to(np.arange(12.0), (30, 12))
    again = RankingCurveDisplay.from_predictions(
        hidden, scores, k=[2, 1], metric="ndcg", name="last", ax=display.ax_
    )
    assert again.ax_ is display.ax_
    assert again.k.tolist() == [1, 2]
    assert [text.get_text() for text in again.ax_.get_legend().get_texts()] == [
        "ImplicitALS",
        "last",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "f1"}, "metric must be one of .*ndcg.* Got 'f1'"),
        ({"k": [0, 1]}, "k must be positive integers"),
        ({"k": []}, "k must be positive integers"),
        ({"k": 1.5}, "k must be positive integers"),
    ],
)
def test_wrong_metrics_and_lengths_are_refused(songs, plays, options, message):
    with pytest.raises(ValueError, match=message):
        RankingCurveDisplay.from_estimator(songs, plays, plays, **options)


def test_a_reconstruction_keeps_what_is_observed(table, X):
    display = written(ReconstructionDisplay.from_estimator(table, X, standardize=False, sort=False))
    np.testing.assert_array_equal(display.data, X)
    np.testing.assert_array_equal(display.mask, ~np.isnan(X))
    np.testing.assert_allclose(display.imputed, table.impute(X))
    assert len(display.axes_) == 3


def test_a_reconstruction_of_a_part_in_units_of_columns(table, X):
    display = ReconstructionDisplay.from_estimator(table, X, n_rows=10, n_columns=5)
    assert display.data.shape == (10, 5)
    np.testing.assert_allclose(np.nanmean(display.data, axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.nanstd(display.data, axis=0), 1)
    np.testing.assert_array_equal(display.imputed[display.mask], display.data[display.mask])


def test_a_reconstruction_finds_room_in_one_place_and_in_three(stopped, X):
    _, places = plt.subplots(1, 4)
    in_one = written(ReconstructionDisplay.from_estimator(stopped, X, ax=places[0]))
    assert in_one.figure_ is places[0].figure
    in_three = in_one.plot(ax=places[1:])
    assert in_three.axes_ == list(places[1:])
    with pytest.raises(ValueError, match="one axes or three. Got 2"):
        in_one.plot(ax=places[:2])


# ------------------------------------------------------------------ all of them


@pytest.mark.parametrize(
    "show",
    [
        lambda model, X: LossCurveDisplay.from_estimator(model),
        lambda model, X: BiplotDisplay.from_estimator(model),
        lambda model, X: EmbeddingDisplay.from_estimator(model),
        lambda model, X: RankingCurveDisplay.from_estimator(model, X, X),
        lambda model, X: ReconstructionDisplay.from_estimator(model, X),
    ],
)
def test_a_model_must_be_fitted(show, X):
    with pytest.raises(NotFittedError):
        show(GLRM(2), X)


def test_without_matplotlib_displays_say_what_to_install(table, monkeypatch):
    display = LossCurveDisplay({"a": table.history_})
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"LossCurveDisplay.*'skglrm\[plot\]'"):
        display.plot()


def test_the_example_draws_seven_pictures(tmp_path):
    environment = {
        "MPLBACKEND": "Agg",
        "PYTHONPATH": str(Path(skglrm.__file__).parents[1]),
        "PYTHONUTF8": "1",
        "PYTHONWARNINGS": "error,ignore::DeprecationWarning,ignore::PendingDeprecationWarning",
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "displays.py"), "--save", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert len([path for path in tmp_path.glob("*.png") if path.stat().st_size > 10_000]) == 7
    ours, charts = (
        int(share.split("%")[0]) for share in done.stdout.split("plays, ")[1].split("and ")[:2]
    )
    assert ours > 1.5 * charts
