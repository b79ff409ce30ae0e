"""Weights for counts: formulas by hand, laws, and scikit-learn's own checks."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skglrm import Entries, FPSGFactorizer
from skglrm.weighting import BM25Weighting, LogWeighting, TfidfWeighting

TRANSFORMERS = [LogWeighting(scale=2.5), TfidfWeighting(), BM25Weighting(k1=2.0, b=0.6)]
each_transformer = pytest.mark.parametrize("transformer", TRANSFORMERS, ids=str)


def log_by_hand(counts, i, j):
    return math.log(1 + counts[i, j] / 2.5)


def tfidf_by_hand(counts, i, j):
    n, d = sum(row.any() for row in counts), sum(counts[:, j] > 0)
    return math.sqrt(counts[i, j]) * (1 + math.log((1 + n) / (1 + d)))


def bm25_by_hand(counts, i, j):
    rows = [row for row in counts if row.any()]
    n, d = len(rows), sum(counts[:, j] > 0)
    mean = sum(row.sum() for row in rows) / n
    x, k1, b = counts[i, j], 2.0, 0.6
    saturated = x * (k1 + 1) / (x + k1 * (1 - b + b * counts[i].sum() / mean))
    return math.log(1 + (n - d + 0.5) / (d + 0.5)) * saturated


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    X = rng.integers(1, 50, (12, 7)) * (rng.random((12, 7)) < 0.5) * 1.0
    X[3] = 0  # a row without cells
    X[:, 2] = 0
    X[:, 4] = np.where(X.any(axis=1), 5, 0)  # a column that all rows have
    return X


@pytest.mark.parametrize(
    ("transformer", "by_hand"),
    list(zip(TRANSFORMERS, [log_by_hand, tfidf_by_hand, bm25_by_hand], strict=True)),
    ids=["log", "tfidf", "bm25"],
)
def test_weights_are_those_of_the_formula(transformer, by_hand, counts):
    expected = [[by_hand(counts, i, j) if counts[i, j] else 0 for j in range(7)] for i in range(12)]
    np.testing.assert_allclose(transformer.fit_transform(counts), expected, rtol=1e-12)


@each_transformer
def test_weights_are_positive_where_there_are_counts_and_nowhere_else(transformer, counts):
    np.testing.assert_array_equal(transformer.fit_transform(counts) > 0, counts > 0)


@each_transformer
def test_a_larger_count_never_weighs_less(transformer, counts):
    transformer.fit(counts)
    row = np.zeros((30, 7))
    row[:, 0] = np.arange(1, 31)
    assert (np.diff(transformer.transform(row)[:, 0]) > 0).all()


@each_transformer
def test_dislikes_keep_their_sign(transformer, counts):
    signs = np.where(np.random.default_rng(1).random(counts.shape) < 0.3, -1.0, 1.0)
    liked, mixed = transformer.fit_transform(counts), transformer.fit_transform(counts * signs)
    np.testing.assert_array_equal(mixed, liked * signs)


@each_transformer
@pytest.mark.parametrize("container", [sp.csr_array, sp.csr_matrix, sp.coo_array, sp.csc_array])
def test_sparse_counts_get_the_same_weights(container, transformer, counts):
    got = transformer.fit_transform(container(counts))
    assert sp.issparse(got) and got.format == "csr"
    np.testing.assert_array_equal(got.toarray(), transformer.fit_transform(counts))


@each_transformer
def test_entries_get_the_same_weights_in_their_own_order(transformer, counts):
    row, col = np.nonzero(counts)
    order = np.random.default_rng(0).permutation(row.size)
    row, col = row[order], col[order]
    entries = Entries(row, col, counts[row, col], counts.shape)
    got = transformer.fit_transform(entries)
    np.testing.assert_array_equal(got.row, row)
    np.testing.assert_allclose(got.value, transformer.fit_transform(counts)[row, col], rtol=1e-12)


def test_ids_of_entries_are_kept():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"u": ["a", "b"], "i": ["x", "y"], "n": [1.0, 2.0]})
    entries = Entries.from_frame(table, row="u", col="i", value="n")
    got = LogWeighting().fit_transform(entries)
    assert got.row_ids.tolist() == ["a", "b"]
    assert got.col_ids.tolist() == ["x", "y"]


@each_transformer
def test_stored_zeros_and_duplicates_change_nothing(transformer, counts):
    plain = sp.coo_array(counts)
    rows = np.concatenate([plain.row, plain.row, [0, 3]])
    columns = np.concatenate([plain.col, plain.col, [2, 2]])
    values = np.concatenate([plain.data * 0.25, plain.data * 0.75, [0.0, 0.0]])
    messy = sp.coo_array((values, (rows, columns)), shape=counts.shape)
    got, expected = transformer.fit_transform(messy), transformer.fit_transform(counts)
    np.testing.assert_allclose(got.toarray(), expected, rtol=1e-12)


@each_transformer
def test_rows_without_counts_change_nothing(transformer, counts):
    more = np.vstack([counts, np.zeros((20, 7))])
    got = transformer.fit_transform(more)
    np.testing.assert_array_equal(got[:12], transformer.fit_transform(counts))
    assert not got[12:].any()


@each_transformer
def test_a_row_does_not_depend_on_its_neighbours(transformer, counts):
    transformer.fit(counts)
    whole = transformer.transform(counts)
    np.testing.assert_array_equal(transformer.transform(counts[4:5]), whole[4:5])


@each_transformer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept_and_input_only_read(dtype, transformer, counts):
    X = sp.csr_array(counts.astype(dtype))
    for array in (X.data, X.indices, X.indptr):
        array.flags.writeable = False
    before = X.data.copy()
    assert transformer.fit_transform(X).dtype == dtype
    np.testing.assert_array_equal(X.data, before)


@each_transformer
def test_nothing_at_all_stays_nothing(transformer):
    assert not transformer.fit_transform(np.zeros((3, 2))).any()


def test_scikit_learn_computes_the_same_tfidf(counts):
    counts = counts[counts.any(axis=1)]
    theirs = TfidfTransformer(norm=None).fit(sp.csr_array(counts)).transform(np.sqrt(counts))
    np.testing.assert_allclose(TfidfWeighting().fit_transform(counts), theirs.toarray())


def test_bm25_without_its_parameters_is_rarity_alone(counts):
    weights = BM25Weighting(k1=0.0).fit_transform(counts)
    for column in weights.T:
        assert len(set(column[column > 0].round(12))) <= 1


def test_long_rows_matter_by_b_alone(counts):
    row = np.zeros((2, 7))
    row[:, 0] = 3
    row[1, 1] = 500
    for b, same in ((0.0, True), (0.75, False)):
        weights = BM25Weighting(b=b).fit(counts).transform(row)
        assert (weights[0, 0] == weights[1, 0]) == same


def test_they_stand_in_pipelines_before_a_model(counts):
    pipeline = make_pipeline(BM25Weighting(), FPSGFactorizer(2, random_state=0))
    assert pipeline.fit_transform(sp.csr_array(counts)).shape == (12, 2)
    row, col = np.nonzero(counts)
    entries = Entries(row, col, counts[row, col], counts.shape)
    for train, test in KFold(3, shuffle=True, random_state=0).split(entries):
        assert np.isfinite(pipeline.fit(entries[train]).score(entries[test]))


@pytest.mark.parametrize(
    ("transformer", "name"),
    [
        (LogWeighting(scale=0), "scale"),
        (LogWeighting(scale=math.inf), "scale"),
        (BM25Weighting(k1=-1), "k1"),
        (BM25Weighting(b=1.5), "b"),
        (BM25Weighting(b="much"), "b"),
    ],
    ids=str,
)
def test_parameters_out_of_range_are_refused(transformer, name, counts):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of {type(transformer).__name__}"):
        transformer.fit(counts)


def test_other_columns_than_those_of_fit_are_refused(counts):
    fitted = LogWeighting().fit(counts)
    with pytest.raises(ValueError, match="X has 5 features, but LogWeighting is expecting 7"):
        fitted.transform(counts[:, :5])
    with pytest.raises(ValueError, match="X has 5 features, but LogWeighting is expecting 7"):
        fitted.transform(Entries([0], [4], [1.0]))


@parametrize_with_checks([LogWeighting(), TfidfWeighting(), BM25Weighting()])
def test_scikit_learn_accepts_the_transformers(estimator, check):
    check(estimator)
