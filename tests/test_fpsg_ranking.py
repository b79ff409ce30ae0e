"""FPSGFactorizer on positives: pairwise ranking, its negatives, and squared errors of all cells."""

import itertools
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import UndefinedMetricWarning

from skglrm import Entries, FPSGFactorizer, ImplicitALS
from skglrm._jit import read_only
from skglrm._simd import LANES, Width, aligned_zeros
from skglrm.kernels import negatives, pairwise, sgd
from skglrm.kernels.grid import entry_type
from skglrm.kernels.negatives import (
    ColumnBand,
    draw_negative,
    is_among,
    mark_of,
    mark_positives,
    random_bits,
)
from skglrm.kernels.pairwise import rank_block
from skglrm.kernels.sgd import GradientStep, ProximalStep, settle_rows
from skglrm.metrics import auc_score
from skglrm.solvers import block_sgd
from skglrm.solvers.pairs import keys_of

BPR = ["bpr_row", "bpr_column"]


def clicks(m=90, n=60, per_row=15, seed=0, one_in=8):
    """Likely cells of a planted model, and some of them held out."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(m, 3)) @ rng.normal(size=(3, n)) + 0.5 * rng.gumbel(size=(m, n))
    chosen = np.argsort(-taste, axis=1)[:, :per_row]
    row, col = np.repeat(np.arange(m), per_row), chosen.ravel()
    order = rng.permutation(row.size)
    entries = Entries(row[order], col[order], np.ones(row.size), (m, n))
    cut = row.size // one_in
    return entries[cut:], entries[:cut]


def make(loss="bpr_row", n_components=4, **params):
    defaults = {"regularization": 0.005, "max_iter": 40, "random_state": 0}
    return FPSGFactorizer(n_components, loss=loss, **(defaults | params))


def auc(model, train, test):
    scores = model.row_factors_ @ model.components_
    if model.loss == "bpr_column":
        return auc_score(test.to_csr().T, scores.T, exclude=train.to_csr().T)
    return auc_score(test.to_csr(), scores, exclude=train.to_csr())


# ------------------------------------------------------------------ the kernel


def in_python(monkeypatch):
    """The kernel as Python, and what it calls."""
    for module in (negatives, pairwise):
        for name, function in [*vars(module).items()]:
            if hasattr(function, "py_func"):
                monkeypatch.setattr(module, name, function.py_func)
    return getattr(rank_block, "py_func", rank_block)


def marked(indptr, columns, bands):
    """Where the marks of rows begin, and the marks, two bytes for every entry in every band."""
    begins = read_only(2 * indptr)
    marks, position = np.zeros(len(bands) * begins[-1] + 1, np.uint8), indptr[:-1].copy()
    for band in bands:
        mark_positives(indptr, columns, position, begins, band, 0, indptr.size - 1, marks)
    return begins, read_only(marks)


class Case:
    """A block of some rows and columns, ready to be visited."""

    def __init__(self, k=11, dtype=np.float64, weighted=False, n=40, shape=(6, 9)):
        rng = np.random.default_rng(k)
        cells = np.sort(rng.choice(shape[0] * shape[1], n, replace=False))
        self.matrix = sp.csr_array((np.ones(n), np.divmod(cells, shape[1])), shape=shape)
        self.entries = np.zeros(n, entry_type(dtype, weighted))
        order = rng.permutation(n)
        self.entries["row"], self.entries["column"] = (
            side[order] for side in np.divmod(cells, shape[1])
        )
        if weighted:
            self.entries["weight"] = rng.random(n) + 0.5
        self.width = -(-k // LANES) * LANES
        self.sides = []
        for m in shape:
            factors, state = (aligned_zeros((m, w), dtype) for w in (self.width, 8))
            factors[:, :k] = rng.normal(size=(m, k)) / k**0.5
            state[:, 4:6] = 1.5
            settle_rows(factors, state, np.ones(m), 0, m)
            self.sides.append((factors, state))

    def visit(self, kernel, step, clock):
        (P, row_state), (Q, column_state) = self.sides
        entries = read_only(self.entries)
        weighted = entries if "weight" in entries.dtype.names else None
        n = self.matrix.shape[1]
        every = ColumnBand.of(0, n, 0)
        indptr, columns = (
            read_only(a.astype(t))
            for a, t in ((self.matrix.indptr, np.int64), (self.matrix.indices, np.int32))
        )
        begins, marks = marked(indptr, columns, [every])
        return kernel(
            step, Width(self.width), entries, weighted, 0, entries.size, clock, np.uint64(5),
            every, every, n, indptr, columns, begins, marks, P, Q, row_state, column_state,
        )  # fmt: skip


STEPS = [
    GradientStep(0.1, 0.1, 1 / 8, 1 / 3, 0.05, 0.03),
    ProximalStep(0.1, 0.1, 1 / 8, 1 / 3, 0.05, 0.03, 0.02, 0.01, -0.2),
]


def test_the_constants_are_those_of_the_other_kernel():
    for name in ("N_SLOW", "N_STATE", "GAP", "POINT", "TICKS", "LARGE"):
        assert getattr(pairwise, name) == getattr(sgd, name)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("step", STEPS, ids=["plain", "proximal"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_compiled_kernel_does_what_its_source_says(dtype, step, weighted, monkeypatch):
    compiled, python = (Case(dtype=dtype, weighted=weighted) for _ in range(2))
    total = compiled.visit(rank_block, step, 3 << 32)
    expected = python.visit(in_python(monkeypatch), step, 3 << 32)
    slack = {"rtol": 1e-9, "atol": 1e-12} if dtype == np.float64 else {"rtol": 1e-3, "atol": 1e-5}
    assert total == pytest.approx(expected, rel=slack["rtol"])
    for ours, theirs in zip(compiled.sides, python.sides, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, **slack)


def test_pairs_go_around_in_the_ring(monkeypatch):
    """A block of more pairs than there are places for, some entries of which get no negative."""
    compiled, python = (Case(n=860, shape=(40, 23)) for _ in range(2))
    total = compiled.visit(rank_block, STEPS[0], 3 << 32)
    assert total == pytest.approx(python.visit(in_python(monkeypatch), STEPS[0], 3 << 32))
    assert 860 > 3 * pairwise.RING and (np.diff(compiled.matrix.indptr) == 23).any()
    for ours, theirs in zip(compiled.sides, python.sides, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_the_first_visit_is_a_gradient_step():
    case = Case(n=1)
    (P, _), (Q, _) = case.sides
    p, q = P.copy(), Q.copy()
    step = STEPS[0]
    total = case.visit(rank_block, step, 50 << 32)
    i, j = int(case.entries["row"][0]), int(case.entries["column"][0])
    moved = np.flatnonzero((q != Q).any(axis=1))
    (w,) = moved[moved != j]
    difference = p[i] @ (q[j] - q[w])
    z, eta = 1 / (1 + np.exp(difference)), 0.1 / 1.5**0.5
    assert total == pytest.approx(np.log1p(np.exp(-difference)))
    np.testing.assert_allclose(P[i], p[i] - eta * (0.05 * p[i] - z * (q[j] - q[w])))
    np.testing.assert_allclose(Q[j], q[j] - eta * (0.03 * q[j] - z * p[i]))
    np.testing.assert_allclose(Q[w], q[w] - eta * (0.03 * q[w] + z * p[i]))


def test_random_bits_are_those_of_the_source_and_spread_evenly():
    source = getattr(random_bits, "py_func", random_bits)
    key = keys_of(0, 0, 1)[0]
    for t in (0, 1, 2**33 + 5):
        pair = np.uint64(t), np.uint64(3)
        assert random_bits(*pair, key) == source(*pair, key)
    bits = np.array([random_bits(np.uint64(t), np.uint64(0), key) for t in range(4000)], np.uint64)
    for shift in range(64):
        ones = (bits >> np.uint64(shift) & np.uint64(1)).mean()
        assert abs(ones - 0.5) < 0.05
    assert np.unique(bits).size == 4000


@pytest.mark.parametrize("start", [0, 20])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 8, 9])
def test_the_search_finds_what_is_there(n, start):
    numbers = np.concatenate([[-5], start + np.arange(n) ** 2, [999]]).astype(np.int32)
    for w in range(101):
        expected = w in numbers[1 : 1 + n]
        assert is_among(read_only(numbers), 1, 1 + n, w, 101) == expected


@pytest.mark.parametrize("cuts", [(), (1700,), (3, 3, 900, 4999)])
def test_marks_miss_no_positive_and_clear_most_others(cuts):
    rng, n_columns = np.random.default_rng(0), 5000
    rows = [np.sort(rng.choice(n_columns, n, replace=False)) for n in (0, 1, 40, 700, 5000)]
    indptr = read_only(np.cumsum([0, *map(len, rows)]))
    positives = read_only(np.concatenate(rows).astype(np.int32))
    n_bytes = 2 * positives.size
    bands = [
        ColumnBand.of(first, last - first, n * n_bytes)
        for n, (first, last) in enumerate(itertools.pairwise((0, *cuts, n_columns)))
    ]
    begins, marks = marked(indptr, positives, bands)
    assert marks.size == len(bands) * n_bytes + 1
    for band in bands:
        for row, begin, end in zip(rows[1:], begins[1:], begins[2:], strict=False):
            columns = np.arange(band.first, band.first + band.size)
            places = [mark_of(w, band, begin, end) for w in columns]
            assert all(begin <= byte - band.marks < end for byte, _ in places)
            found = np.array([bool(marks[byte] & bit) for byte, bit in places], bool)
            mine = np.isin(columns, row)
            assert found[mine].all()
            if len(row) < 1000 and columns.size > 1000:
                assert found[~mine].mean() < 0.07


@pytest.mark.parametrize("compiled", [True, False])
def test_a_chunk_has_the_negatives_of_its_entries_with_marks_and_without(compiled, monkeypatch):
    if not compiled:
        in_python(monkeypatch)
    rng, shape, key = np.random.default_rng(0), (12, 30), np.uint64(3)
    full = rng.random(shape) < np.linspace(0.03, 1.0, shape[0])[:, None]
    row, column = (side.astype(np.int32) for side in np.nonzero(full))
    entries = np.zeros(row.size, entry_type(np.float32, False))
    entries["row"], entries["column"] = row, column
    entries = read_only(entries)
    indptr = read_only(np.cumsum([0, *full.sum(axis=1)]))
    positives = read_only(column)
    bands, bare = (
        [ColumnBand.of(0, 13, 0), ColumnBand.of(13, 17, begin)] for begin in (2 * row.size, 0)
    )
    expected = [
        negatives.draw_negative(t, key, *bands, 30, positives, indptr[i], indptr[i + 1])
        for t, i in enumerate(row)
    ]
    drawn = [(*pair, t) for t, pair in enumerate(zip(row, column, expected, strict=True))]
    drawn = np.array(drawn)[np.array(expected) >= 0]
    assert len(drawn) < len(row) and not full[drawn[:, 0], drawn[:, 2]].any()
    nothing = read_only(np.zeros(indptr.size, np.int64))
    for two, begins, marks in (
        (bands, *marked(indptr, positives, bands)),
        (bare, nothing, read_only(np.zeros(1, np.uint8))),
        (bare, nothing, read_only(np.full(1, 255, np.uint8))),
    ):
        scratch, queue = np.empty((3, row.size), np.int64), np.empty((512, 4), np.int64)
        n = negatives.draw_chunk(
            entries, 0, row.size, key, *two, 30, indptr, positives, begins, marks,
            scratch, queue, 0,
        )  # fmt: skip
        np.testing.assert_array_equal(queue[:n], drawn)


def test_every_column_is_a_negative_equally_often_but_positives_never():
    n = 40
    positives = read_only(np.array([0, 7, 8, 39], np.int32))
    rng, counts = np.random.default_rng(0), np.zeros((2, n), int)
    for t in range(20_000):
        home, guest = rng.permutation(8)[:2] * 5  # any other band is the guest equally often
        home, guest = (ColumnBand.of(first, 5, 0) for first in (home, guest))
        for row, n_positives in enumerate((0, 4)):
            w = draw_negative(t, np.uint64(1), home, guest, n, positives, 0, n_positives)
            counts[row, w] += 1
    assert abs(counts[0] - 500).max() < 5 * 500**0.5
    assert not counts[1, positives].any()
    assert np.delete(counts[1], positives).min() > 400


def test_a_row_that_has_every_column_has_no_negative():
    positives = read_only(np.arange(5, dtype=np.int32))
    every = ColumnBand.of(0, 5, 0)
    assert draw_negative(0, np.uint64(1), every, every, 5, positives, 0, 5) == -1
    model = make(max_iter=3).fit(np.ones((8, 6)))
    assert model.loss_curve_[-1] < 1 and np.isfinite(model.row_factors_).all()


# ------------------------------------------------------------------ the fit


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("schedule", ["fpsg", "rotation", "hogwild"])
@pytest.mark.parametrize("loss", BPR)
def test_held_out_positives_rank_above_the_rest(loss, schedule, n_jobs):
    train, test = clicks()
    model = make(loss, schedule=schedule, n_jobs=n_jobs, n_blocks=5).fit(train)
    curve = np.array(model.loss_curve_)
    assert curve[-1] < 0.6 * curve[0]
    score = auc(model, train, test)
    assert score > 0.8
    assert model.score(test) == pytest.approx(score, rel=1e-9)
    assert make(loss, max_iter=1, learning_rate=1e-9).fit(train).score(test) < 0.65


@pytest.mark.parametrize("loss", BPR)
def test_rotation_gives_the_same_bits_for_any_number_of_threads(loss):
    train, test = clicks()
    params = {"schedule": "rotation", "n_blocks": 4, "max_iter": 4, "early_stopping": True}
    one, two = (make(loss, n_jobs=n, **params).fit(train).partial_fit(test) for n in (1, 3))
    np.testing.assert_array_equal(one.components_, two.components_)
    np.testing.assert_array_equal(one.row_factors_, two.row_factors_)
    assert one.loss_curve_ == two.loss_curve_
    assert one.validation_curve_ == two.validation_curve_


def test_rows_and_columns_are_treated_alike():
    train, test = clicks()
    across = make("bpr_row").fit(train)
    turned = Entries(train.col, train.row, train.value, (60, 90))
    down = make("bpr_column").fit(turned)
    np.testing.assert_allclose(down.loss_curve_[:10], across.loss_curve_[:10], rtol=0.1)
    assert down.score(Entries(test.col, test.row, test.value, (60, 90))) == pytest.approx(
        across.score(test), abs=0.1
    )


def test_positives_are_never_visited_as_negatives(monkeypatch):
    train, _ = clicks()
    X = train.to_csr()
    seen, visit = [], block_sgd.rank_block

    def watched(*arguments):
        seen.append((arguments[7], *arguments[11:13]))
        return visit(*arguments)

    monkeypatch.setattr(block_sgd, "rank_block", watched)
    make(n_blocks=3, max_iter=1).fit(train)
    indptr, columns = seen[0][1:]
    assert sorted(np.diff(indptr)) == sorted(np.diff(X.indptr))
    for begin, end in itertools.pairwise(indptr):
        assert (np.diff(columns[begin:end]) > 0).all()
    assert len({int(key) for key, *_ in seen}) == len(seen)  # every block has its own stream


def test_held_out_positives_are_no_negatives_either(monkeypatch):
    train, _ = clicks()
    sizes, visit = set(), block_sgd.rank_block

    def watched(*arguments):
        sizes.add(arguments[12].size)
        return visit(*arguments)

    monkeypatch.setattr(block_sgd, "rank_block", watched)
    make(early_stopping=True, max_iter=2).fit(train)
    assert sizes == {len(train)}


def test_streams_depend_on_seed_epoch_and_block():
    keys = {int(key) for at in np.ndindex(3, 3) for key in keys_of(*at, 3)}
    assert len(keys) == 27 and max(keys) < 2**32  # or products in random_bits would overflow
    np.testing.assert_array_equal(keys_of(1, 2, 4)[:3], keys_of(1, 2, 3))


@pytest.mark.parametrize("loss", BPR)
def test_l1_and_nonnegativity_hold_for_rankings(loss):
    train, test = clicks()
    model = make(loss, 8, l1_regularization=0.01, nonnegative=True).fit(train)
    assert min(model.row_factors_.min(), model.components_.min()) == 0
    assert model.score(test) > 0.7
    assert model.transform(train).min() >= 0


def test_early_stopping_watches_pairs_that_are_drawn_once():
    train, _ = clicks(n=100)
    model = make(
        n_components=16, early_stopping=True, max_iter=200, regularization=0, learning_rate=0.3
    ).fit(train)
    assert model.best_iter_ == 1 + np.argmin(model.validation_curve_) < model.n_iter_ < 200
    short = clone(model).set_params(max_iter=model.best_iter_).fit(train)
    np.testing.assert_array_equal(short.components_, model.components_)
    assert 0 < min(model.validation_curve_) < np.log(2)


def test_weights_matter():
    train, test = clicks()
    w = np.where(train.row < 45, 3.0, 0.05)
    model = make(n_components=1, max_iter=30).fit(train, weights=w)
    plain = make(n_components=1, max_iter=30).fit(train)
    heavy = test[test.row < 45]
    assert model.score(heavy) > plain.score(heavy) - 0.02
    assert not np.array_equal(model.components_, plain.components_)


def test_zeros_are_no_entries():
    train, _ = clicks()
    dense = np.nan_to_num(train.to_dense())
    a, b = make(max_iter=3).fit(dense), make(max_iter=3).fit(train)
    np.testing.assert_array_equal(a.components_, b.components_)
    with pytest.raises(ValueError, match="no positive value"):
        make().fit(np.zeros((3, 3)))


def test_one_column_has_nothing_to_be_compared_with():
    with pytest.raises(ValueError, match="n_features = 1.*nothing to compare"):
        make().fit(np.ones((5, 1)))


# ------------------------------------------------------------------ what serves a ranking


@pytest.mark.parametrize("loss", BPR)
def test_new_rows_are_folded_in_alone(loss):
    train, _ = clicks(m=300)
    known = train[train.row < 250]
    model = make(loss).fit(Entries(known.row, known.col, known.value, (250, 60)))
    X = np.nan_to_num(train.to_dense()[250:])
    W = model.transform(X)
    np.testing.assert_array_equal(model.transform(X[7:8])[0], W[7])
    assert not model.transform(np.full((1, 60), np.nan)).any()
    assert model.score(X) > 0.7


def test_a_folded_row_is_a_minimum():
    train, _ = clicks()
    model = make(regularization=0.02).fit(train)
    X = train.to_csr()[:1]
    (w,) = model.transform(X)
    H = model.components_.T
    rng = np.random.default_rng((model._seed, 31))
    negatives = rng.integers(60, size=(60, 5))[X.indices]
    differences = (H[X.indices][:, None] - H[negatives])[~np.isin(negatives, X.indices)]
    slope = -(differences / (1 + np.exp(differences @ w))[:, None]).sum(0)
    np.testing.assert_allclose(slope + 0.02 * len(differences) * w, 0, atol=1e-3)


def test_unseen_rows_get_what_is_popular():
    train, _ = clicks()
    model = make().fit(train)
    counts = np.bincount(train.col, minlength=60)
    scores = model.predict_entries(np.full(60, -1), np.arange(60))
    assert (np.diff(scores[np.argsort(counts, kind="stable")]) >= 0).all()
    items, _ = model.recommend(np.zeros((1, 60)), n=3)
    assert set(counts[items[0]]) <= set(np.sort(counts)[-3:])
    known = np.repeat(np.arange(90), 60), np.tile(np.arange(60), 90)
    np.testing.assert_allclose(
        model.predict_entries(*known).reshape(90, 60), model.row_factors_ @ model.components_
    )


@pytest.mark.parametrize("loss", BPR)
def test_rankings_grow_from_new_entries(loss):
    train, test = clicks()
    known = train[(train.row < 80) & (train.col < 50)]
    model = make(loss).fit(Entries(known.row, known.col, known.value, (80, 50)))
    model.partial_fit(train[(train.row >= 80) | (train.col >= 50)])
    assert model.row_factors_.shape == (90, 4) and model.components_.shape == (4, 60)
    assert model._seen().nnz == len(train)
    for _ in range(10):
        model.partial_fit(train)
    assert model._seen().nnz == len(train)
    assert model.score(test) > 0.75
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        again.partial_fit(test).components_, model.partial_fit(test).components_
    )


def test_a_score_without_positives_is_nan_with_a_warning():
    train, _ = clicks()
    model = make(max_iter=1).fit(train)
    with pytest.warns(UndefinedMetricWarning, match="no row has both"):
        assert np.isnan(model.score(Entries([], [], [], (90, 60))))


# ------------------------------------------------------------------ the whole matrix


def one_class(**params):
    return make("one_class", 3, regularization=0.5, unobserved_weight=0.2, max_iter=15, **params)


def test_one_class_is_implicit_feedback_with_equal_confidence():
    train, test = clicks()
    model = one_class().fit(train)
    curve = np.array(model.loss_curve_)
    assert (np.diff(curve) <= 1e-9 * curve[0]).all()
    exact = ImplicitALS(
        3, alpha=0.8, unobserved_weight=0.2, regularization=0.5, solver="cholesky", max_iter=15,
        random_state=model._seed,
    ).fit(train)  # fmt: skip
    np.testing.assert_array_equal(model.components_, exact.components_)
    np.testing.assert_allclose(model.loss_curve_, 0.5 * np.array(exact.loss_curve_))
    np.testing.assert_array_equal(model.transform(train), exact.transform(train))
    assert model.score(test) > 0.8


def test_the_objective_of_one_class_is_that_of_all_cells():
    train, _ = clicks()
    model = one_class().fit(train)
    U = model.row_factors_ @ model.components_
    positive = train.to_csr().toarray() > 0
    squares = (model.row_factors_**2).sum() + (model.components_**2).sum()
    expected = 0.5 * ((1 - U)[positive] ** 2).sum() + 0.1 * (U[~positive] ** 2).sum()
    assert model.loss_curve_[-1] == pytest.approx(expected + 0.25 * squares, rel=1e-6)


def test_one_class_does_not_look_at_values_and_grows():
    train, test = clicks()
    values = Entries(train.row, train.col, 1.0 + train.row, train.matrix_shape)
    model, same = one_class().fit(values), one_class().fit(train)
    np.testing.assert_array_equal(model.components_, same.components_)
    model.partial_fit(train.to_csr()[:4])
    assert model.row_factors_.shape == (94, 3)
    assert model.predict_entries([93, 0], [0, 0]).shape == (2,)
    assert 0 <= model.score(test) <= 1
