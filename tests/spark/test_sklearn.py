"""scikit-learn's own checks, one configuration of each estimator on Spark."""

import warnings
from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

from skglrm import GLRM, FPSGFactorizer, ImplicitALS

ESTIMATORS = [
    # With so many components small data are not sketched, which would take more jobs than the fit.
    ImplicitALS(4, solver="cholesky", max_iter=1, backend="spark"),
    GLRM(1, init="random", max_iter=1, tol=0.0, backend="spark"),
    FPSGFactorizer(2, schedule="rotation", n_blocks=1, max_iter=1, backend="spark"),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda one: type(one).__name__)
def test_scikit_learn_accepts_the_estimator(spark, estimator):
    failed = {}
    for checked, check in estimator_checks_generator(estimator):
        name = getattr(check, "func", check).__name__
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(checked)
        except SkipTest:
            continue
        except Exception as error:
            failed[name] = repr(error)
    assert not failed
