"""FPSGFactorizer against scikit-learn's own checks of estimators."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skglrm import FPSGFactorizer

ROOT = Path(__file__).parents[1]

CONFIGS = [
    FPSGFactorizer(),
    FPSGFactorizer(n_components=3, n_jobs=2, schedule="rotation"),
    FPSGFactorizer(unstored="zero"),
    FPSGFactorizer(n_components=9, l1_regularization=0.01, nonnegative=True),
    FPSGFactorizer(early_stopping=True, n_iter_no_change=2, max_iter=10),
]

# Blocks on two threads finish in any order: two fits may differ, and nothing else may.
RACY = FPSGFactorizer(n_jobs=2, schedule="fpsg")
MAY_DIFFER = {"check_fit_idempotent"}

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


def name_of(check):
    return getattr(check, "func", check).__name__


@pytest.fixture
def small_blocks(monkeypatch):
    """As many bands as the data allow: those of the checks would fit in one, for one thread."""
    monkeypatch.setattr("skglrm._fpsg_model.ENTRIES_PER_BLOCK", 1)


@parametrize_with_checks(CONFIGS)
def test_scikit_learn_accepts_the_estimator(estimator, check):
    check(estimator)


@parametrize_with_checks([FPSGFactorizer(n_components=3, n_jobs=2, schedule="rotation")])
def test_scikit_learn_accepts_rotation_on_two_threads(estimator, check, small_blocks):
    check(estimator)


@parametrize_with_checks([RACY])
def test_scikit_learn_accepts_what_depends_on_timing_but_for_one_check(
    estimator, check, small_blocks
):
    try:
        check(estimator)
    except AssertionError:
        if name_of(check) not in MAY_DIFFER:
            raise
        pytest.xfail("block order depends on timing")


# These checks fit on a frame and transform an array, and the other way round.
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names:UserWarning")
@pytest.mark.parametrize("estimator", CONFIGS, ids=str)
@pytest.mark.parametrize("name", FURTHER_CHECKS)
def test_checks_that_are_not_run_for_others_pass_too(name, estimator):
    for library in ("pandas", "polars"):
        if library in name:
            pytest.importorskip(library)
    check = getattr(estimator_checks, name, None)
    if check is None:
        pytest.skip("this version of scikit-learn does not have the check")
    check("FPSGFactorizer", clone(estimator))


ARRAY_API = """
import sys, warnings
from unittest import SkipTest
from sklearn.utils.estimator_checks import estimator_checks_generator
from skglrm import FPSGFactorizer

n_run = 0
for estimator, check in estimator_checks_generator(FPSGFactorizer(max_iter=2)):
    if "array_api" in getattr(check, "func", check).__name__:
        try:
            check(estimator)
            n_run += 1
        except SkipTest as reason:
            print(reason)
print("run:", n_run)
"""


def test_the_array_api_check_passes_where_it_is_not_skipped():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ARRAY_API],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if done.stdout.strip().endswith("run: 0"):
        pytest.skip(f"scikit-learn skips the check: {done.stdout}")


@pytest.mark.parametrize(
    ("schedule", "n_jobs", "deterministic"),
    [
        ("fpsg", None, True),
        ("fpsg", 1, True),
        ("fpsg", 2, False),
        ("fpsg", -1, False),
        ("hogwild", 2, False),
        ("rotation", 2, True),
        ("rotation", -1, True),
    ],
)
def test_the_tags_say_what_depends_on_timing(schedule, n_jobs, deterministic):
    tags = FPSGFactorizer(schedule=schedule, n_jobs=n_jobs).__sklearn_tags__()
    assert tags.non_deterministic is not deterministic


# Single precision: the checks above draw float64 and compare dtypes only.


@pytest.fixture
def single():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 12)) + rng.normal(size=(40, 12)) / 10
    X[rng.random(X.shape) < 0.4] = np.nan
    X[7] = np.nan
    return X.astype(np.float32)


@pytest.mark.parametrize("estimator", CONFIGS, ids=str)
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array, sp.csc_array, sp.coo_array])
def test_float32_comes_out_where_float32_goes_in(estimator, container, single):
    X = single if container is np.asarray else container(np.nan_to_num(single))
    model = clone(estimator).set_params(random_state=0).fit(X)
    W = model.transform(X)
    for array in (model.row_factors_, model.components_, W, model.inverse_transform(W)):
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    assert model.predict_entries([0], [0]).dtype == np.float32
    assert type(model.score(X)) is float


@pytest.mark.parametrize("estimator", CONFIGS, ids=str)
def test_float32_obeys_the_laws_of_the_checks(estimator, single):
    model = clone(estimator).set_params(random_state=0)
    W = model.fit_transform(single)
    components = model.components_.copy()
    np.testing.assert_array_equal(model.transform(single), W)
    by_row = np.vstack([model.transform(row[None]) for row in single])
    np.testing.assert_array_equal(by_row, W)
    np.testing.assert_array_equal(model.transform(single[::-1]), W[::-1])
    np.testing.assert_array_equal(W[7], 0)
    again = model.fit(single)
    np.testing.assert_array_equal(again.components_, components)


@pytest.mark.parametrize("estimator", CONFIGS, ids=str)
def test_float32_and_float64_agree_but_for_rounding(estimator, single):
    one, two = (
        clone(estimator).set_params(random_state=0, max_iter=3).fit(single.astype(dtype))
        for dtype in (np.float32, np.float64)
    )
    assert one.scale_ == pytest.approx(two.scale_, rel=1e-6)
    assert one.loss_curve_ == pytest.approx(two.loss_curve_, rel=0.1)
