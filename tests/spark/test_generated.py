"""Generated cases on Spark: the bits of threads, or the same error.

SPARK_CASES=300 pytest tests/spark/test_generated.py tries more of them.
"""

import os
import sys
import warnings
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from sklearn.base import clone

from skglrm import FPSGFactorizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "properties"))
from cases import cases
from properties import weights_for

N_CASES = int(os.environ.get("SPARK_CASES", "25"))


def fitted(case, backend):
    """The model fitted, or the error."""
    model, X = clone(case.model).set_params(backend=backend), case.X
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(X, **weights_for(case, X))
    except Exception as error:
        assert not hasattr(model, "components_")
        return error


def is_for_threads_alone(model):
    """Whether a model needs shared memory, or has a schedule with an order of its own on Spark."""
    if not isinstance(model, FPSGFactorizer):
        return False
    return model.schedule in ("fpsg", "hogwild") or model.loss in ("bpr_row", "bpr_column")


def test_a_fit_on_spark_is_that_on_threads_or_ends_with_the_same_error(spark):
    outcomes = []

    @settings(
        max_examples=N_CASES, derandomize=True, database=None, deadline=None,
        suppress_health_check=[*HealthCheck],
    )  # fmt: skip
    @given(cases())
    def run(case):
        there = fitted(case, "spark")
        if is_for_threads_alone(case.model):
            if isinstance(there, Exception):
                assert isinstance(there, ValueError | TypeError | FloatingPointError), repr(there)
            else:
                assert np.isfinite(there.components_).all()
            outcomes.append("alone")
            return
        here = fitted(case, "numba-threads")
        if isinstance(here, Exception):
            assert type(there) is type(here), f"{here!r}, but on Spark {there!r}"
            assert str(there) == str(here)
        else:
            assert not isinstance(there, Exception), repr(there)
            np.testing.assert_array_equal(there.row_factors_, here.row_factors_)
            np.testing.assert_array_equal(there.components_, here.components_)
        outcomes.append("refused" if isinstance(here, Exception) else "same")

    run()
    assert outcomes.count("same") >= N_CASES // 4
