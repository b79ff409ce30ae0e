"""Scorers and splitters that hold out cells, and what the searches find with them."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer, mean_absolute_error, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)

import skglrm
from skglrm import GLRM, Entries, EntryRegressor, FPSGFactorizer, ImplicitALS
from skglrm.datasets import make_ratings
from skglrm.metrics import recall_at_k
from skglrm.model_selection import (
    EntriesAdapter,
    LeaveKOut,
    RandomCells,
    TimeOrdered,
    WholeRows,
    make_heldout_scorer,
    make_ranking_scorer,
)

ENTRIES = make_ratings(90, 30, n_components=2, density=0.6, noise=0.2, skew=0.0, random_state=0)
RANKS = [1, 2, 3, 6]
TRUE_RANK = 2
ROWS = KFold(3, shuffle=True, random_state=0)
CELLS = RandomCells(3)


def as_ids(entries):
    return np.column_stack([entries.row, entries.col])


def model(n_components=TRUE_RANK, **params):
    return GLRM(n_components, regularization=0.1, offset=True, max_iter=50, tol=1e-3, **params)


# ------------------------------------------------------------------ three designs find the rank


def best_rank(search, name="n_components"):
    return search.best_params_[name]


def test_rows_of_a_matrix_tell_the_rank():
    search = GridSearchCV(model(), {"n_components": RANKS}, cv=ROWS).fit(ENTRIES.to_dense())
    assert best_rank(search) == TRUE_RANK
    scorer = make_heldout_scorer("neg_root_mean_squared_error", random_state=1)
    search = GridSearchCV(model(), {"n_components": RANKS}, cv=ROWS, scoring=scorer)
    assert best_rank(search.fit(ENTRIES.to_csr())) == TRUE_RANK
    assert -0.45 < search.best_score_ < -0.2  # the noise


def test_pairs_of_ids_tell_the_rank():
    search = GridSearchCV(
        EntryRegressor(model()), {"estimator__n_components": RANKS}, cv=CELLS, scoring="r2"
    ).fit(as_ids(ENTRIES), ENTRIES.value)
    assert best_rank(search, "estimator__n_components") == TRUE_RANK


def test_entries_tell_the_rank():
    search = GridSearchCV(model(), {"n_components": RANKS}, cv=CELLS).fit(ENTRIES)
    assert best_rank(search) == TRUE_RANK


def test_the_adapter_tells_the_rank_and_hands_back_an_ordinary_model(tmp_path):
    search = GridSearchCV(
        EntriesAdapter(model()), {"estimator__n_components": RANKS}, cv=CELLS, scoring="r2"
    ).fit(ENTRIES, ENTRIES.value)
    assert best_rank(search, "estimator__n_components") == TRUE_RANK
    found = search.best_estimator_.estimator_
    assert type(found) is GLRM and found.components_.shape == (2, 30)
    np.testing.assert_array_equal(
        found.transform(ENTRIES.to_dense()), model().fit(ENTRIES).transform(ENTRIES.to_dense())
    )
    search.best_estimator_.save(tmp_path / "adapter")
    again = skglrm.load(tmp_path / "adapter")
    np.testing.assert_array_equal(again.predict(ENTRIES), search.predict(ENTRIES))


def same_cells(estimator, X, y=None):
    """The trap: predict the very cells that the rows were folded in on."""
    completed = estimator.inverse_transform(estimator.transform(X))
    return -np.sqrt(np.nanmean((completed - X) ** 2))


def test_the_cells_that_rows_are_folded_in_on_do_not_tell_the_rank():
    search = GridSearchCV(model(), {"n_components": RANKS}, cv=ROWS, scoring=same_cells)
    search.fit(ENTRIES.to_dense())
    assert best_rank(search) == max(RANKS)
    assert (np.diff(search.cv_results_["mean_test_score"]) > 0).all()


# ------------------------------------------------------------------ scikit-learn's tools


@pytest.mark.parametrize(
    "splitter", [RandomCells(3), WholeRows(3), TimeOrdered(3), LeaveKOut(2, n_splits=2)]
)
def test_splitters_work_in_every_tool(splitter):
    times = np.arange(len(ENTRIES)) if isinstance(splitter, TimeOrdered) else None
    estimator = FPSGFactorizer(2, max_iter=2, random_state=0)
    results = cross_validate(estimator, ENTRIES, cv=splitter, groups=times)
    assert len(results["test_score"]) == splitter.get_n_splits()
    assert np.isfinite(results["test_score"]).all()
    grid = {"regularization": [0.05, 5.0]}
    search = GridSearchCV(estimator, grid, cv=splitter).fit(ENTRIES, groups=times)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert repr(clone(search).cv) == repr(splitter)
    _, train, test = learning_curve(
        estimator, ENTRIES, None, cv=splitter, groups=times, train_sizes=[0.5, 1.0]
    )
    assert train.shape == test.shape == (2, splitter.get_n_splits())
    _, test = validation_curve(
        estimator, ENTRIES, None, param_name="regularization", param_range=[0.05, 5.0],
        cv=splitter, groups=times,
    )  # fmt: skip
    assert test.shape == (2, splitter.get_n_splits())
    assert pickle.loads(pickle.dumps(splitter)) == splitter


@pytest.mark.parametrize("splitter", [RandomCells(2), LeaveKOut(3)])
def test_successive_halving_takes_splitters_and_scorers(splitter):
    search = HalvingGridSearchCV(
        FPSGFactorizer(2, random_state=0), {"regularization": [0.05, 20.0]}, cv=splitter, factor=2,
        resource="max_iter", max_resources=6, min_resources=3, random_state=0,
        scoring=make_heldout_scorer("neg_mean_absolute_error"),
    ).fit(ENTRIES)  # fmt: skip
    assert search.best_params_["regularization"] == 0.05


def test_the_adapter_takes_scorers_by_name_and_predicts_out_of_fold():
    adapter, y = EntriesAdapter(FPSGFactorizer(2, random_state=0)), ENTRIES.value
    names = ["r2", "neg_mean_absolute_error"]
    results = cross_validate(adapter, ENTRIES, y, cv=CELLS, scoring=names)
    by_ids = cross_validate(
        EntryRegressor(FPSGFactorizer(2, random_state=0)), as_ids(ENTRIES), y, cv=CELLS,
        scoring=names,
    )  # fmt: skip
    for name in names:
        np.testing.assert_allclose(results[f"test_{name}"], by_ids[f"test_{name}"], rtol=1e-9)
    predicted = cross_val_predict(adapter, ENTRIES, y, cv=CELLS)
    assert r2_score(y, predicted) == pytest.approx(results["test_r2"].mean(), abs=0.05)
    scores = cross_val_score(adapter, ENTRIES, cv=CELLS)
    expected = cross_val_score(FPSGFactorizer(2, random_state=0), ENTRIES, cv=CELLS)
    np.testing.assert_array_equal(scores, expected)


def test_scorers_can_be_sent_to_workers_and_used_together():
    scoring = {"error": make_heldout_scorer(), "rank": make_ranking_scorer("recall", 5)}
    sent = pickle.loads(pickle.dumps(scoring))
    estimator, X = FPSGFactorizer(2, random_state=0), ENTRIES.to_csr()
    here, there = (cross_validate(estimator, X, cv=ROWS, scoring=one) for one in (scoring, sent))
    for name in ("test_error", "test_rank"):
        np.testing.assert_array_equal(here[name], there[name])
        assert len(set(here[name])) == 3


# ------------------------------------------------------------------ splitters


def test_every_cell_is_held_out_once():
    for splitter in (RandomCells(4), WholeRows(4)):
        parts = [test for _, test in splitter.split(ENTRIES)]
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(ENTRIES)))
        for train, test in splitter.split(ENTRIES):
            assert not np.intersect1d(train, test).size
            assert len(train) + len(test) == len(ENTRIES)


def test_random_cells_are_shuffled():
    entries = Entries(*np.divmod(np.arange(600), 30), np.ones(600))
    for train, _ in RandomCells(3).split(entries):
        assert len(np.unique(entries.row[train])) == 20  # KFold would leave 13 or 14 rows
    first, again = (list(RandomCells(3, seed).split(entries)) for seed in (0, 1))
    assert not np.array_equal(first[0][1], again[0][1])


def test_whole_rows_are_never_parted():
    for train, test in WholeRows(4).split(ENTRIES):
        assert not np.intersect1d(ENTRIES.row[train], ENTRIES.row[test]).size


def test_time_goes_forward_and_equal_times_stay_together():
    times = np.random.default_rng(0).integers(0, 40, len(ENTRIES))
    known = 0
    for dates in (times, np.datetime64("2026-01-01") + times):
        for train, test in TimeOrdered(4).split(ENTRIES, groups=dates):
            assert dates[train].max() < dates[test].min()
            assert len(train) >= known
            known = len(train) * (len(train) + len(test) < len(ENTRIES))
        assert len(train) + len(test) == len(ENTRIES)


def test_leave_k_out_holds_out_k_of_each_row_with_more():
    entries = Entries([0, 0, 0, 1, 1, 2, 0], [0, 1, 2, 0, 1, 0, 3], np.ones(7))
    times = [5, 1, 9, 2, 3, 4, 7]
    ((train, test),) = LeaveKOut(2).split(entries, groups=times)
    assert test.tolist() == [2, 6]  # the last two of row 0; row 1 has no more than two
    ((train, test),) = LeaveKOut(1).split(entries, groups=times)
    assert test.tolist() == [2, 4] and 5 in train
    draws = [test for _, test in LeaveKOut(1, n_splits=8).split(entries)]
    assert all(sorted(entries.row[test]) == [0, 1] for test in draws)
    assert len({tuple(test) for test in draws}) > 1


def test_ids_are_split_as_entries_are():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(as_ids(ENTRIES).astype(str), columns=["user", "item"])
    lists = frame.to_numpy().tolist()
    for splitter in (RandomCells(3), LeaveKOut(1)):
        expected = [test.tolist() for _, test in splitter.split(ENTRIES)]
        if isinstance(splitter, RandomCells):
            assert [test.tolist() for _, test in splitter.split(lists)] == expected
        assert [len(test) for _, test in splitter.split(frame)] == [*map(len, expected)]
    for train, test in WholeRows(3).split(lists):
        users = np.array(lists)[:, 0]
        assert not np.intersect1d(users[train], users[test]).size


@pytest.mark.parametrize(
    "split, message",
    [
        (lambda: RandomCells(1).split(ENTRIES), "at least two parts; got 1"),
        (lambda: RandomCells(2.5).split(ENTRIES), "at least two parts; got 2.5"),
        (lambda: WholeRows(91).split(ENTRIES), "90 rows, too few for 91 parts"),
        (lambda: TimeOrdered(2).split(ENTRIES), "pass them as groups"),
        (lambda: TimeOrdered(2).split(ENTRIES, groups=[1, 2]), r"groups has the shape \(2,\)"),
        (lambda: TimeOrdered(2).split(ENTRIES, groups=ENTRIES.row * 0), "have the same time"),
        (lambda: TimeOrdered(2).split(ENTRIES, groups=ENTRIES.row * np.nan), "none of them miss"),
        (lambda: LeaveKOut(0).split(ENTRIES), "k and n_splits must be at least 1; got 0"),
        (lambda: LeaveKOut(1, 2).split(ENTRIES, groups=ENTRIES.col), "Leave it at 1"),
        (lambda: LeaveKOut(99).split(ENTRIES), "No row has more than k=99"),
    ],
)
def test_splits_that_cannot_be_made_say_why(split, message):
    with pytest.raises(ValueError, match=message):
        list(split())


@pytest.mark.parametrize("splitter", [RandomCells(2), WholeRows(2), LeaveKOut()])
def test_a_matrix_is_not_split_into_cells(splitter):
    with pytest.raises(TypeError, match=r"take Entries.from_matrix\(X\)"):
        list(splitter.split(ENTRIES.to_dense()))


# ------------------------------------------------------------------ scorers


def test_a_held_out_score_is_the_one_by_hand():
    X = ENTRIES.to_dense()
    fitted = model().fit(X)
    seen = {}

    def metric(observed, predicted):
        seen.update(observed=observed, predicted=predicted)
        return -mean_absolute_error(observed, predicted)

    score = make_heldout_scorer(metric, test_fraction=0.25)(fitted, X)
    assert score == -np.mean(abs(seen["observed"] - seen["predicted"]))
    assert len(seen["observed"]) == pytest.approx(0.25 * len(ENTRIES), rel=0.05)
    by_name = make_heldout_scorer("neg_mean_absolute_error", test_fraction=0.25)
    by_scorer = make_heldout_scorer(
        make_scorer(mean_absolute_error, greater_is_better=False), test_fraction=0.25
    )
    assert by_name(fitted, X) == by_scorer(fitted, X) == pytest.approx(score)
    hidden = np.isin(X, seen["observed"])
    folded = fitted.inverse_transform(fitted.transform(np.where(hidden, np.nan, X)))
    np.testing.assert_allclose(np.sort(folded[hidden]), np.sort(seen["predicted"]))


def test_hidden_cells_are_missing_even_where_unstored_cells_are_zeros():
    X = ENTRIES.to_csr()
    fitted = FPSGFactorizer(2, unstored="zero", max_iter=3, random_state=0).fit(X)
    by_zeros = make_heldout_scorer("r2")(fitted, X)
    assert by_zeros == make_heldout_scorer("r2")(fitted, X.toarray())


def test_entries_are_scored_as_they_are():
    train, test = ENTRIES[::2], ENTRIES[1::2]
    for fitted in (model().fit(train), EntriesAdapter(model()).fit(train)):
        inner = getattr(fitted, "estimator_", fitted)
        expected = r2_score(test.value, inner.predict_entries(test.row, test.col))
        assert make_heldout_scorer("r2")(fitted, test) == pytest.approx(expected)


def test_a_ranking_score_of_entries_leaves_out_what_was_fitted():
    liked = ENTRIES[ENTRIES.value > 3.5]
    train, test = liked[::2], liked[1::2]
    fitted = ImplicitALS(2, max_iter=2, random_state=0).fit(train)
    assert make_ranking_scorer("ndcg", 10)(fitted, test) == pytest.approx(fitted.score(test))
    adapter = EntriesAdapter(clone(fitted)).fit(train)
    assert make_ranking_scorer("ndcg", 10)(adapter, test) == pytest.approx(fitted.score(test))

    for loss in ("bpr_row", "one_class"):
        ranks = FPSGFactorizer(2, loss=loss, max_iter=2, random_state=0).fit(train)
        by_adapter = make_ranking_scorer("ndcg", 10)(EntriesAdapter(clone(ranks)).fit(train), test)
        assert make_ranking_scorer("ndcg", 10)(ranks, test) == pytest.approx(by_adapter)

    adapter = EntriesAdapter(model()).fit(train)
    best = adapter.estimator_.recommend(train, n=5, return_scores=False)
    seen, wanted = (
        Entries(x.row, x.col, np.ones(len(x)), (90, 30)).to_csr() for x in (train, test)
    )
    expected = recall_at_k(wanted, best, k=5, exclude=seen)
    assert make_ranking_scorer("recall", 5)(adapter, test) == pytest.approx(expected)
    with pytest.raises(TypeError, match=r"EntriesAdapter\(GLRM\(\.\.\.\)\)"):
        make_ranking_scorer()(adapter.estimator_, test)


def test_a_ranking_score_of_a_matrix_is_higher_for_a_model_that_knows():
    X = ENTRIES.to_dense()
    scorer = make_ranking_scorer("ndcg", 5, threshold=4.0)
    knows = scorer(model().fit(X), X)
    shuffled = np.random.default_rng(0).permuted(X, axis=1)
    assert knows > 0.5 > scorer(model().fit(shuffled), X) + 0.1


def test_a_ranking_score_does_not_warn_of_names():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(ENTRIES.to_dense()).add_prefix("film ")
    fitted = model().fit(X)
    assert 0 < make_ranking_scorer("recall", 3)(fitted, X) < 1
    assert make_heldout_scorer("r2")(fitted, X) > 0.5
    fitted.set_output(transform="pandas")
    assert make_heldout_scorer("r2")(fitted, X) > 0.5


def test_unusable_parameters_of_scorers_are_named():
    with pytest.raises(ValueError, match="test_fraction must be between 0 and 1. Got 1.0"):
        make_heldout_scorer(test_fraction=1.0)
    with pytest.raises(ValueError, match="'nonsense'"):
        make_heldout_scorer("nonsense")
    with pytest.raises(ValueError, match=r"metric must be one of \['average_precision'.*'auc'"):
        make_ranking_scorer("auc")
    with pytest.raises(ValueError, match="k must be a positive integer. Got 0"):
        make_ranking_scorer(k=0)
    with pytest.raises(TypeError, match="Cells are predicted by a factorizer"):
        make_heldout_scorer()(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]), ENTRIES)


def test_the_adapter_says_what_it_takes():
    with pytest.raises(TypeError, match="EntriesAdapter takes Entries; got ndarray"):
        EntriesAdapter(model()).fit(ENTRIES.to_dense())
    with pytest.raises(ValueError, match="same length"):
        EntriesAdapter(model()).fit(ENTRIES, [1.0])
    fitted = EntriesAdapter(model()).fit(ENTRIES[:500], ENTRIES.value[:500] + 1)
    np.testing.assert_allclose(fitted.fitted_cells().row, ENTRIES.row[:500])
    assert np.mean(fitted.predict(ENTRIES)) == pytest.approx(4.0, abs=0.2)
