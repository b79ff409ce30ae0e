"""Metrics of rankings against their definitions, written naively, and against examples by hand."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import ndcg_score, roc_auc_score

from skglrm import Entries, metrics

N_ROWS, N_COLUMNS = 40, 23


# ------------------------------------------------------------------ the definitions, naively


def precision(columns, values, k):
    return sum(j in values for j in columns[:k]) / k


def recall(columns, values, k):
    return sum(j in values for j in columns[:k]) / len(values)


def truncated_recall(columns, values, k):
    return sum(j in values for j in columns[:k]) / min(k, len(values))


def hit_rate(columns, values, k):
    return float(any(j in values for j in columns[:k]))


def reciprocal_rank(columns, values, k):
    return next((1 / p for p, j in enumerate(columns[:k], 1) if j in values), 0.0)


def average_precision(columns, values, k):
    hits = [p for p, j in enumerate(columns[:k], 1) if j in values]
    return sum(precision(columns, values, p) for p in hits) / min(k, len(values))


def graded_ndcg(columns, values, k):
    def gain(numbers):
        return sum(number / math.log2(p + 1) for p, number in enumerate(numbers[:k], 1))

    got = [values.get(j, 0) for j in columns]
    return gain(got) / gain(sorted(values.values(), reverse=True))


def ndcg(columns, values, k):
    return graded_ndcg(columns, dict.fromkeys(values, 1), k)


def graded_ndcg_at_k(*args, **options):
    return metrics.ndcg_at_k(*args, graded=True, **options)


AT_K = {
    "precision": (metrics.precision_at_k, precision),
    "recall": (metrics.recall_at_k, recall),
    "truncated recall": (metrics.truncated_recall_at_k, truncated_recall),
    "hit rate": (metrics.hit_rate_at_k, hit_rate),
    "reciprocal rank": (metrics.reciprocal_rank_at_k, reciprocal_rank),
    "average precision": (metrics.average_precision_at_k, average_precision),
    "NDCG": (metrics.ndcg_at_k, ndcg),
    "graded NDCG": (graded_ndcg_at_k, graded_ndcg),
}
each_metric = pytest.mark.parametrize(("metric", "naive"), AT_K.values(), ids=AT_K.keys())


def by_definition(naive, y_true, rankings, k, seen):
    """One number per row; NaN where nothing is relevant."""
    out = []
    for i, ranking in enumerate(rankings):
        values = {j: v for j, v in enumerate(y_true[i]) if v > 0 and not seen[i, j]}
        columns = [j for j in ranking if j >= 0 and not seen[i, j]]
        out.append(naive(columns, values, k) if values else np.nan)
    return np.array(out)


def by_score(scores):
    """Columns of each row from the highest score down, ties by column, without -inf and NaN."""
    return [
        sorted((j for j in range(len(row)) if row[j] > -np.inf), key=lambda j: (-row[j], j))
        for row in scores
    ]


@pytest.fixture(scope="module")
def problem():
    """Relevant cells with grades, dislikes and empty rows; scores with ties; cells seen before."""
    rng = np.random.default_rng(0)
    y_true = rng.integers(1, 6, (N_ROWS, N_COLUMNS)) * (rng.random((N_ROWS, N_COLUMNS)) < 0.2)
    y_true[:3] = 0
    y_true[3] = 1
    y_true[4, 5] = -3
    scores = rng.integers(0, 9, (N_ROWS, N_COLUMNS)).astype(float)
    scores[5, ::2] = -np.inf
    scores[6, 1::3] = np.nan
    seen = rng.random((N_ROWS, N_COLUMNS)) < 0.15
    seen[7] = True
    seen[8] = y_true[8] > 0
    return y_true, scores, seen


@each_metric
@pytest.mark.parametrize("k", [1, 2, 5, N_COLUMNS, 40])
@pytest.mark.parametrize("excluding", [False, True])
def test_scores_are_judged_as_defined(excluding, k, metric, naive, problem):
    y_true, scores, seen = problem
    seen = seen if excluding else np.zeros_like(seen)
    expected = by_definition(naive, y_true, by_score(scores), k, seen)
    options = {"k": k, "exclude": seen if excluding else None}
    got = metric(sp.csr_array(y_true), scores, average=None, **options)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert metric(y_true, scores, **options) == pytest.approx(np.nanmean(expected), rel=1e-12)


@each_metric
@pytest.mark.parametrize("k", [1, 5, 12])
@pytest.mark.parametrize("excluding", [False, True])
def test_rankings_are_judged_as_defined(excluding, k, metric, naive, problem):
    y_true, _, seen = problem
    rng = np.random.default_rng(1)
    ranking = np.array([rng.permutation(N_COLUMNS)[:12] for _ in range(N_ROWS)])
    ranking[rng.random(ranking.shape) < 0.1] = -1
    ranking[9] = -1
    seen = seen if excluding else np.zeros_like(seen)
    expected = by_definition(naive, y_true, ranking, k, seen)
    exclude = sp.csr_array(seen) if excluding else None
    got = metric(y_true, ranking, k=k, exclude=exclude, average=None)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@each_metric
def test_how_the_work_is_cut_does_not_matter(metric, naive, problem, monkeypatch):
    y_true, scores, seen = problem
    whole = metric(y_true, scores, exclude=seen, average=None)
    monkeypatch.setattr(metrics, "SCORES_AT_ONCE", 3 * N_COLUMNS)
    np.testing.assert_array_equal(metric(y_true, scores, exclude=seen, average=None), whole)


@each_metric
def test_the_best_order_gets_one_and_the_worst_zero(metric, naive):
    y_true = np.array([[0, 1, 0, 0, 1, 0, 0]])
    best, worst = np.array([[1, 4, 0]]), np.array([[0, 2, 3]])
    assert metric(y_true, best, k=2) == 1
    assert metric(y_true, worst, k=3) == 0


@each_metric
def test_any_container_of_cells_will_do(metric, naive, problem):
    y_true, scores, seen = problem
    expected = metric(y_true, scores, exclude=seen)
    row, col = np.nonzero(y_true)
    order = np.random.default_rng(0).permutation(row.size)
    shuffled = sp.coo_array((y_true[row, col][order], (row[order], col[order])), y_true.shape)
    seen_entries = Entries.from_matrix(sp.csr_array(seen * 1.0))
    for one in (shuffled, sp.csc_matrix(shuffled), Entries.from_matrix(sp.csr_array(y_true * 1.0))):
        assert metric(one, scores, exclude=seen_entries) == expected
    holes = np.where(y_true == 0, np.nan, y_true)
    assert metric(holes, scores.astype(np.float32), exclude=np.where(seen, 2.0, np.nan)) == expected


def test_what_recommend_returns_can_be_judged():
    from skglrm import FPSGFactorizer

    X = np.random.default_rng(0).integers(1, 6, (20, 15)).astype(float)
    held_out = np.random.default_rng(1).random(X.shape) < 0.3
    train = np.where(held_out, np.nan, X)
    model = FPSGFactorizer(2, random_state=0).fit(train)
    liked = held_out & (X >= 4)
    items, scores = model.recommend(train, n=5)
    everything = np.full(X.shape, -np.inf)
    there = items >= 0
    everything[np.nonzero(there)[0], items[there]] = scores[there]
    one = metrics.ndcg_at_k(liked, items, k=5)
    assert one == metrics.ndcg_at_k(liked, everything, k=5) > 0


# ------------------------------------------------------------------ by hand


def test_precision_divides_by_k_and_truncated_recall_by_what_is_possible():
    y_true, ranking = [[1, 0, 0, 0, 0]], [[0, 1, 2, 3]]
    assert metrics.precision_at_k(y_true, ranking, k=4) == 1 / 4
    assert metrics.truncated_recall_at_k(y_true, ranking, k=4) == 1
    assert metrics.recall_at_k([[1, 1, 1, 1, 0]], ranking, k=2) == 1 / 2


def test_ties_go_to_the_column_that_comes_first():
    assert metrics.hit_rate_at_k(
        [[1, 0], [0, 1]], np.zeros((2, 2)), k=1, average=None
    ).tolist() == [
        1,
        0,
    ]


def test_excluded_cells_make_room_and_are_not_relevant():
    y_true, ranking, seen = [[1, 0, 1]], [[0, 1, 2]], sp.csr_array([[1, 1, 0]])
    assert metrics.reciprocal_rank_at_k(y_true, ranking, k=3) == 1
    assert metrics.reciprocal_rank_at_k(y_true, ranking, k=1, exclude=seen) == 1
    assert metrics.recall_at_k(y_true, ranking, k=1, exclude=seen) == 1


def test_excluded_stored_zeros_are_excluded():
    seen = sp.csr_array(([0.0], [0], [0, 1]), shape=(1, 3))
    assert metrics.hit_rate_at_k([[0, 1, 0]], [[0, 1]], k=1, exclude=seen) == 1


def test_duplicate_cells_are_one_cell():
    twice = sp.coo_array(([1.0, 2.0], ([0, 0], [1, 1])), shape=(1, 3))
    assert metrics.recall_at_k(twice, [[1, 0]], k=1) == 1


# ------------------------------------------------------------------ AUC


def naive_auc(scores, relevant):
    good, bad = scores[relevant], scores[~relevant]
    if good.size == 0 or bad.size == 0:
        return np.nan
    return np.mean([(g > b) + 0.5 * (g == b) for g in good for b in bad])


@pytest.mark.parametrize("at_once", [4_000_000, 50])
@pytest.mark.parametrize("excluding", [False, True])
def test_auc_is_the_share_of_pairs_in_order(excluding, at_once, problem, monkeypatch):
    monkeypatch.setattr(metrics, "SCORES_AT_ONCE", at_once)
    y_true, scores, seen = problem
    scores = np.where(np.isnan(scores), 3.0, scores)
    kept = ~seen if excluding else np.ones_like(seen)
    expected = np.array(
        [naive_auc(s[c], r[c] > 0) for s, r, c in zip(scores, y_true, kept, strict=True)]
    )
    exclude = seen if excluding else None
    got = metrics.auc_score(y_true, scores, exclude=exclude, average=None)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert metrics.auc_score(y_true, scores, exclude=exclude) == pytest.approx(np.nanmean(expected))


def test_auc_of_ties_is_a_half():
    assert metrics.auc_score([[1, 0, 0, 1]], np.zeros((1, 4))) == 0.5


def test_scikit_learn_agrees_where_it_has_the_same_metric():
    rng = np.random.default_rng(0)
    y_true, scores = rng.random((30, 12)) < 0.4, rng.normal(size=(30, 12))
    y_true[:, 0], y_true[:, 1] = True, False
    for k in (3, 12):
        assert metrics.ndcg_at_k(y_true, scores, k=k) == pytest.approx(
            ndcg_score(y_true, scores, k=k)
        )
    auc = roc_auc_score(y_true.T, scores.T, average="macro")
    assert metrics.auc_score(y_true, scores) == pytest.approx(auc)


# ------------------------------------------------------------------ undefined and refused


def test_rows_without_relevant_columns_do_not_count():
    y_true, ranking = [[0, 0], [0, 1]], [[0], [1]]
    assert metrics.precision_at_k(y_true, ranking, k=1) == 1
    values = metrics.precision_at_k(y_true, ranking, k=1, average=None)
    np.testing.assert_array_equal(values, [np.nan, 1])


@pytest.mark.parametrize("metric", [*(m for m, _ in AT_K.values()), metrics.auc_score])
@pytest.mark.parametrize("n_rows", [0, 3])
def test_a_mean_of_nothing_is_nan_and_warns(n_rows, metric):
    y_true = sp.csr_array((n_rows, 4))
    with pytest.warns(UndefinedMetricWarning, match="No row") as caught:
        assert math.isnan(metric(y_true, np.zeros((n_rows, 4))))
    assert caught[0].filename == __file__ or metric is graded_ndcg_at_k


REFUSED = {
    "no place": ({"k": 0}, ValueError, "k must be a positive integer"),
    "half a place": ({"k": 2.5}, ValueError, "k must be a positive integer"),
    "other average": ({"average": "macro"}, ValueError, "average must be 'samples' or None"),
    "rows": ({"y_pred": np.zeros((3, 2), int)}, ValueError, "2 rows, but y_pred has 3"),
    "scores": ({"y_pred": np.zeros((2, 3))}, ValueError, "y_pred has shape"),
    "short": ({"y_pred": np.array([[0], [1]])}, ValueError, "ranks 1 columns, but k=2"),
    "beyond": ({"y_pred": np.array([[0, 4], [1, 2]])}, ValueError, "names column 4"),
    "twice": ({"y_pred": np.array([[0, 1], [2, 2]])}, ValueError, "twice in the same row"),
    "flat": ({"y_pred": np.array([0, 1])}, ValueError, "two dimensions"),
    "words": ({"y_pred": np.array([["a", "b"]] * 2)}, TypeError, "integers"),
    "exclude": ({"exclude": np.zeros((2, 3))}, ValueError, "exclude has shape"),
}


@pytest.mark.parametrize(("change", "error", "match"), REFUSED.values(), ids=REFUSED.keys())
def test_what_makes_no_sense_is_refused(change, error, match):
    arguments = {"y_true": np.eye(2, 4), "y_pred": np.array([[0, 1], [2, 3]]), "k": 2}
    with pytest.raises(error, match=match):
        metrics.recall_at_k(**{**arguments, **change})


def test_auc_refuses_nan_and_other_shapes():
    with pytest.raises(ValueError, match="y_score has NaN"):
        metrics.auc_score(np.eye(2), np.array([[1.0, np.nan], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="y_score has shape"):
        metrics.auc_score(np.eye(2), np.eye(3))


def test_arguments_are_only_read(problem):
    y_true, scores, seen = (part.copy() for part in problem)
    cells, excluded = sp.csr_array(y_true * 1.0), sp.csr_array(seen)
    ranking = np.argsort(-scores, axis=1)
    arrays = [scores, ranking, cells.data, cells.indices, excluded.data, excluded.indices]
    for array in arrays:
        array.flags.writeable = False
    metrics.ndcg_at_k(cells, scores, exclude=excluded)
    metrics.ndcg_at_k(cells, ranking, exclude=excluded)
    metrics.auc_score(cells, np.nan_to_num(scores), exclude=excluded)
