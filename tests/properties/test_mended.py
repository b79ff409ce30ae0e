"""What generated cases have found, each as the smallest case that shows it."""

import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from skglrm import GLRM, Entries, FPSGFactorizer, ImplicitALS, load, metrics
from skglrm.block_file import BlockFile
from skglrm.kernels.proximal import prox_rows
from skglrm.losses import KL
from skglrm.regularizers import L2, Fixed, Shifted, Simplex, get_regularizer

X = np.arange(12.0).reshape(4, 3) % 5 + 1


def damaged(kind):
    """A sparse matrix whose positions point outside it, as only attributes can make them."""
    kind, flaw = kind.split()
    matrix = sp.coo_array(X).asformat(kind)
    if kind == "coo":
        matrix.coords[0][0] = -1 if flaw == "negative" else 9
    elif kind == "lil":
        matrix.rows[0][0] = -1 if flaw == "negative" else 9
    elif flaw == "falling":
        matrix.indptr[1] = matrix.indptr[-1] + 1
    else:
        matrix.indices[0] = -1 if flaw == "negative" else 2**31 - 1
    return matrix


DAMAGED = [
    f"{kind} {flaw}"
    for kind in ("csr", "csc", "bsr", "coo", "lil")
    for flaw in ("negative", "beyond", "falling")
    if flaw != "falling" or kind in ("csr", "csc", "bsr")
]


@pytest.mark.parametrize("kind", DAMAGED)
def test_positions_outside_a_sparse_matrix_are_refused_before_anybody_writes_there(kind):
    fits = (GLRM(1, unstored="zero"), FPSGFactorizer(1, unstored="zero"), ImplicitALS(1))
    for call in (
        *(model.fit for model in fits),
        lambda X: Entries.from_matrix(X, unstored="zero"),
        lambda X: GLRM(1).fit(np.ones((4, 3)), weights=X),
        lambda X: metrics.precision_at_k(X, np.zeros((4, 1), int)),
    ):
        with pytest.raises(ValueError, match=r"positions outside its shape.*Make it\s*anew"):
            call(damaged(kind))


@pytest.mark.parametrize("side", ["row_regularizer", "column_regularizer"])
@pytest.mark.parametrize("solver", ["auto", "sgd"])
def test_a_regularizer_of_rows_of_another_length_is_refused(side, solver):
    for regularizer, message in (
        (Shifted((1.0,), L2(0.3)), "center of 1 numbers, but a row has 3"),
        (Fixed((1.0, 2.0, 3.0, 4.0), L2(0.3)), "4"),
    ):
        with pytest.raises(ValueError, match=message):
            GLRM(3, solver=solver, **{side: regularizer}).fit(X)


def test_what_set_params_says_after_a_fit_counts_for_the_next_fit():
    model = GLRM(1, max_iter=2, tol=0).fit(X)
    W, cells = model.transform(X), model.predict_entries([0, 3], [2, 1])
    model.set_params(n_components=7)
    np.testing.assert_array_equal(model.transform(X), W)
    np.testing.assert_array_equal(model.predict_entries([0, 3], [2, 1]), cells)
    assert model.partial_fit(X[:1]).row_factors_.shape == (5, 1)
    assert model.fit(X).row_factors_.shape == (4, 7)


def test_float32_of_another_byte_order_is_float32():
    swapped = X.astype(">f4")
    assert ImplicitALS(1, max_iter=1).fit(swapped).components_.dtype == np.float32
    assert Entries.from_matrix(swapped).value.dtype == np.float64  # as check_array reads it


def test_penalties_that_no_number_can_hold_are_refused():
    with pytest.raises(ValueError, match="regularization=1e[+]300.*beyond float32"):
        ImplicitALS(1, regularization=1e300).fit(X.astype(np.float32))
    with pytest.raises(ValueError, match="regularization_exponent=400"):
        ImplicitALS(1, regularization_exponent=400.0).fit(X)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_overflow_is_an_error_in_words_and_not_a_warning(n_jobs):
    for seed in range(10):  # by chance what is too large looked singular
        model = ImplicitALS(2, alpha=1e30, n_jobs=n_jobs, random_state=seed)
        with pytest.raises(FloatingPointError, match="not finite.*Divide X"):
            model.fit(1e30 * X.astype(np.float32))
    fitted = GLRM(1, max_iter=1, tol=0).fit(X)
    with pytest.raises(FloatingPointError, match="not finite.*Divide X"):
        fitted.inverse_transform([[1e308], [-1e308]])


def test_large_numbers_of_float32_are_read_without_a_warning():
    large = np.array([[3e38, -3e38], [3e38, -3e38], [3e38, 3e38]], np.float32)
    for given in (large, pd.DataFrame(large, columns=["a", "b"])):
        np.testing.assert_array_equal(Entries.from_matrix(given).to_dense(), large)


@pytest.mark.parametrize("value", ["a", {}, [1], object(), 1 + 2j])
def test_an_object_that_is_no_number_is_named_with_its_place(value):
    for make in (np.asarray, pd.DataFrame):
        cells = X.astype(object)
        cells[2, 1] = value
        with pytest.raises(TypeError, match=rf"{type(value).__name__}, at \(2, 1\)"):
            ImplicitALS(1).fit(make(cells))


@pytest.mark.parametrize("size", [1e-30, 1e25])
def test_directions_do_not_depend_on_lengths_whose_squares_are_no_numbers(size):
    model = FPSGFactorizer(1, max_iter=1, random_state=0).fit(X.astype(np.float32))
    model.components_ = np.float32([[1.0, 2.0, -1.0]])
    expected = model.similar_items()
    model.components_ = model.components_ * np.float32(size)
    found = model.similar_items()
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)


def test_a_block_file_that_could_not_be_read_is_not_written(tmp_path):
    entries = Entries([0, 1], [0, 0], [1e200, -1e200])
    with pytest.raises(ValueError, match="beyond float64.*Divide the values"):
        BlockFile.write(tmp_path / "blocks", entries)
    assert not [*tmp_path.iterdir()]


def test_kl_is_finite_where_the_share_of_the_prediction_underflows():
    assert KL().value(1e30, 1e-300) == 1e30


def test_the_projection_on_the_simplex_ends_where_rounding_moves_its_threshold_to_and_fro():
    x = np.array([0.0999999999999999, *3 * [-0.8999999999999999], -0.9, -0.9000000000000002])
    Simplex().prox(x, 1.0)
    assert x.min() >= 0
    assert x.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ["nonnegative", "simplex"])
def test_rows_and_columns_without_cells_obey_their_constraints_when_a_model_grows(name):
    model = GLRM(2, row_regularizer=name, column_regularizer=name, max_iter=1, tol=0).fit(X)
    model.partial_fit(Entries([0], [0], [1.0], (6, 5)))
    regularizer = get_regularizer(name)
    for factor in (model.row_factors_, model.components_.T):
        assert len(factor) in (5, 6)
        assert [regularizer.value(np.array(row)) for row in factor] == [0.0] * len(factor)


def test_a_start_that_nothing_leads_down_from_has_an_objective():
    model = GLRM(1, row_regularizer="none", column_regularizer="none", solver="lbfgs", max_iter=3)
    for start in (np.zeros((3, 2)), 1e25 * np.float32([[1, -1], [-1, 1], [1, 1]])):
        assert np.isfinite(model.fit(start).loss_curve_).all()
        assert len(model.loss_curve_) == model.n_iter_ > 0


@pytest.mark.parametrize("scale", [False, True])
def test_columns_whose_variance_has_no_inverse_are_scored_and_scaled_as_constant_ones(scale):
    tiny = np.array([[1.3e-161, 0.0], [6.4e-161, 1.0], [2e-161, 0.5]])
    model = GLRM(1, max_iter=2, tol=0, scale=scale).fit(tiny)
    assert np.isfinite(model.column_weights_).all()
    assert np.isfinite(model.score(Entries.from_matrix(tiny)))


def test_a_score_that_cannot_be_calculated_is_refused_in_words():
    X = np.array([[-2e300, 1e300, 8e299], [3e300, -2e300, 5e299], [1e300, 2e300, -1e300]])
    model = GLRM(1, max_iter=1).fit(X / 1e300)
    with pytest.raises(FloatingPointError, match="not finite"):
        model.score(X)


def test_a_file_of_a_model_without_rows_is_refused(tmp_path):
    model = GLRM(2, max_iter=1).fit(np.arange(12.0).reshape(4, 3))
    model.row_factors_ = model.row_factors_[:0]
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="factors"):
        load(tmp_path / "model")


def test_a_file_that_promises_more_components_than_it_has_is_refused(tmp_path):
    model = GLRM(2, max_iter=1).fit(np.arange(12.0).reshape(4, 3))
    model._n_features_out = 2**64  # as many names would be made
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="_n_features_out"):
        load(tmp_path / "model")


def test_a_row_without_cells_gets_what_is_preferred_even_if_the_fit_is_exact():
    cells = np.full((5, 1), 0.4)
    cells[[0, 3]] = np.nan
    rng = np.random.default_rng(0)
    model = GLRM(
        2, row_regularizer="nonnegative", column_regularizer="nonnegative", offset=True,
        init=(rng.normal(size=(5, 2)), rng.normal(size=(2, 1))), solver="sgd", max_iter=2, tol=0,
        random_state=0,
    ).fit(cells)  # fmt: skip
    np.testing.assert_array_equal(model.row_factors_[[0, 3]], 0)
    np.testing.assert_array_equal(model.transform(cells)[[0, 3]], 0)


def test_rows_without_cells_are_alike_where_rows_go_on_from_their_fit():
    # A fit that is exact costs less than one from nothing: rows are solved from where they are.
    table = np.full((5, 1), 0.39831202)
    table[[0, 3]] = np.nan
    for seed in (0, 6, 14, 16):
        rng = np.random.default_rng(seed)
        model = GLRM(
            2, row_regularizer="nonnegative", column_regularizer="nonnegative",
            offset=True, solver="proximal", init=(rng.normal(size=(5, 2)), rng.normal(size=(2, 1))),
            max_iter=2, tol=0.0,
        ).fit(table)  # fmt: skip
        np.testing.assert_array_equal(model.row_factors_[0], model.row_factors_[3])


def test_an_update_that_overflows_leaves_the_model():
    small = np.float32([[1e-3, 2e-3], [2e-3, 1e-3], [3e-3, 1e-3]])
    model = GLRM(1, regularization=0.0, init="random", max_iter=3, tol=0, random_state=0).fit(small)
    model.components_ *= np.float32(1e-3)
    before = model.row_factors_.copy()
    with pytest.raises(FloatingPointError, match="not finite.*Divide X"):
        model.partial_fit(np.float32([[3e38, 3e38]]))
    np.testing.assert_array_equal(model.row_factors_, before)


def test_a_header_in_another_encoding_is_refused_and_looks_for_no_codec(tmp_path):
    ImplicitALS(1, max_iter=1).fit(X).save(tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].decode().encode("utf-16-be")
    (tmp_path / "model").write_bytes(
        len(header).to_bytes(8, "little") + header + content[8 + size :]
    )
    for name in ("utf_16_be", "utf_32_be"):
        sys.modules.pop(f"encodings.{name}", None)
    with pytest.raises(ValueError, match="damaged|no file that save"):
        load(tmp_path / "model")
    assert "encodings.utf_16_be" not in sys.modules


def test_entries_far_apart_do_not_hide_the_one_of_the_simplex():
    model = GLRM(2, column_regularizer=Simplex(), row_regularizer=Simplex(), max_iter=1)
    table = np.array([[1e-4, -1.4e15], [1e-6, -2.4e26]])
    with np.errstate(all="ignore"):
        model.fit(table).partial_fit(table)
    np.testing.assert_allclose(model.row_factors_.sum(axis=1), 1.0, rtol=1e-9)
    x = np.array([[6.3e25, 0.4], [0.4, 1e300], [-1e300, 0.4]])
    prox_rows(Simplex(), 1.0, x[:, None], 2)
    np.testing.assert_array_equal(x, [[1, 0], [0, 1], [0, 1]])


def test_a_block_file_of_values_whose_sum_overflows_is_refused_without_a_warning(tmp_path):
    huge = Entries([0, 1], [0, 1], [1.5e308, 1.5e308])
    with pytest.raises(ValueError, match="Divide the values"):
        BlockFile.write(tmp_path / "a", huge)


@pytest.mark.parametrize("a", [0.0, 1e-300])
def test_the_smooth_end_of_kl_is_hardly_below_zero(a):
    assert min(KL().value(u, a) for u in np.linspace(-3e-8, 1e-8, 41)) == pytest.approx(-5e-9)
