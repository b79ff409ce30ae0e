"""ImplicitALS against scikit-learn's own checks of estimators, with no exception."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skglrm import Entries
from skglrm.implicit_als import ImplicitALS

CONFIGS = [
    ImplicitALS(n_components=3),
    ImplicitALS(),
    ImplicitALS(n_components=3, n_jobs=2, solver="cg", regularization_exponent=1.0, max_iter=3),
    ImplicitALS(n_components=3, solver="subspace", max_iter=3, alpha=2.0),
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
@pytest.mark.parametrize("name", FURTHER_CHECKS)
def test_checks_that_are_not_run_for_others_pass_too(name):
    for library in ("pandas", "polars"):
        if library in name:
            pytest.importorskip(library)
    check = getattr(estimator_checks, name, None)
    if check is None:
        pytest.skip("this version of scikit-learn does not have the check")
    check("ImplicitALS", clone(CONFIGS[0]))


def clicks(n_rows=60, n_columns=30):
    rng = np.random.default_rng(0)
    likes = rng.random((n_rows, 3)) @ rng.random((3, n_columns)) > 1.0
    return sp.csr_array((likes & (rng.random(likes.shape) < 0.6)).astype(float))


def test_grid_search_over_rows_prefers_a_model_that_learned_something():
    search = GridSearchCV(
        ImplicitALS(random_state=0, max_iter=5),
        {"n_components": [3], "regularization": [0.1, 1e9]},
        cv=KFold(3),
    )
    with pytest.warns(UserWarning, match="All predictions are zero"):
        search.fit(clicks())
    assert search.best_params_["regularization"] == 0.1
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_grid_search_over_cells_scores_what_the_row_was_not_fitted_on():
    search = GridSearchCV(
        ImplicitALS(random_state=0, max_iter=5),
        {"n_components": [1, 3]},
        cv=KFold(3, shuffle=True, random_state=0),
    ).fit(Entries.from_matrix(clicks()))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ > 0.2


def test_it_works_at_the_end_of_a_pipeline():
    pipe = make_pipeline(FunctionTransformer(np.log1p), ImplicitALS(3, random_state=0, max_iter=3))
    W = pipe.fit_transform(clicks())
    np.testing.assert_array_equal(pipe.transform(clicks()), W)
    assert 0 <= pipe.score(clicks()) <= 1
