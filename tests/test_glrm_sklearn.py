"""GLRM against scikit-learn's own checks of estimators, with no excuse."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skglrm.entries import Entries
from skglrm.glrm import GLRM
from skglrm.losses import Huber
from skglrm.regularizers import L1, L2, NonNegative, Sum

CONFIGS = [
    GLRM(),
    GLRM(n_components=3, offset=True, n_jobs=2),
    GLRM(offset=True, scale=True, solver="proximal", tol=1e-3),
    GLRM(loss="huber", tol=1e-3),
    GLRM(unstored="zero", init="random", random_state=0, max_iter=1000, tol=1e-3),
    GLRM(row_regularizer="nonnegative_l2", column_regularizer=Sum(L2(0.1), NonNegative())),
    GLRM(column_regularizer=L1(0.05), regularization=0.2, tol=1e-3, max_iter=300),
    GLRM(loss="auto", regularization=1.0),
    GLRM(solver="exact", row_regularizer=L2(0.3), max_iter=500),
]

# Not part of what `parametrize_with_checks` runs for estimators outside scikit-learn.
FURTHER_CHECKS = [
    "check_dataframe_column_names_consistency",
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]


@parametrize_with_checks(CONFIGS)
def test_scikit_learn_accepts_the_estimator(estimator, check):
    check(estimator)


# These checks fit on a frame and transform an array, and the other way round.
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names:UserWarning")
@pytest.mark.parametrize("estimator", CONFIGS[:2], ids=str)
@pytest.mark.parametrize("name", FURTHER_CHECKS)
def test_checks_that_are_not_run_for_others_pass_too(name, estimator):
    for library in ("pandas", "polars"):
        if library in name:
            pytest.importorskip(library)
    check = getattr(estimator_checks, name, None)
    if check is None:
        pytest.skip("this version of scikit-learn does not have the check")
    check("GLRM", clone(estimator))


@pytest.fixture
def single():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 12)) + rng.normal(size=(40, 12)) / 10
    X[rng.random(X.shape) < 0.4] = np.nan
    X[7] = np.nan
    return X.astype(np.float32)


@pytest.mark.parametrize("estimator", CONFIGS[:4], ids=str)
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array, sp.csc_array, sp.coo_array])
def test_float32_comes_out_where_float32_goes_in(estimator, container, single):
    X = single if container is np.asarray else container(np.nan_to_num(single))
    model = clone(estimator).fit(X)
    W = model.transform(X)
    for array in (model.row_factors_, model.components_, W, model.inverse_transform(W)):
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    assert model.impute(X).dtype == model.predict_entries([0], [0]).dtype == np.float32
    assert type(model.score(X)) is float


@pytest.mark.parametrize("estimator", CONFIGS, ids=str)
def test_a_row_gets_the_same_factors_alone_and_in_company(estimator, single):
    model = clone(estimator)
    W = model.fit_transform(single)
    components = model.components_.copy()
    np.testing.assert_array_equal(model.transform(single), W)
    by_row = np.vstack([model.transform(row[None]) for row in single])
    np.testing.assert_array_equal(by_row, W)
    np.testing.assert_array_equal(model.transform(single[::-1]), W[::-1])
    np.testing.assert_array_equal(W[7], 0)
    np.testing.assert_array_equal(model.components_, components)
    np.testing.assert_array_equal(model.fit(single).components_, components)


def test_a_model_survives_pickling_and_cloning(single):
    model = GLRM(loss=Huber(0.5), row_regularizer=L2(0.2), offset=True).fit(single)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(single), model.transform(single))
    assert clone(model).get_params() == model.get_params()


def test_a_grid_holds_out_rows_of_a_matrix_and_cells_of_entries(single):
    grid = {"n_components": [1, 3], "loss": ["quadratic", Huber(0.5)]}
    for data in (single, Entries.from_matrix(single)):
        cv = KFold(3, shuffle=True, random_state=0)
        search = GridSearchCV(GLRM(offset=True, regularization=0.02, tol=1e-3), grid, cv=cv).fit(
            data
        )
        assert search.best_params_["n_components"] == 3
        assert search.best_score_ > 0.8


def test_a_pipeline_scales_before_the_model(single):
    pipe = make_pipeline(StandardScaler(), GLRM(3, regularization=0.02))
    back = pipe.inverse_transform(pipe.fit_transform(single))
    seen = ~np.isnan(single)
    assert np.abs(back - single)[seen].mean() < 0.2
    assert list(pipe[-1].get_feature_names_out()) == ["glrm0", "glrm1", "glrm2"]
