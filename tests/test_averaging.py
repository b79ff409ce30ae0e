"""Local SGD: groups of rows side by side, and means of what they make of columns."""

from types import SimpleNamespace

import numpy as np
import pytest

from skglrm import FPSGFactorizer
from skglrm.solvers.averaging import average, share_of

ENTRY = np.dtype([("row", np.int32), ("column", np.int32), ("value", np.float32)])


def table(n_rows=60, n_columns=24):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3)) @ rng.normal(size=(3, n_columns))
    X[rng.random(X.shape) < 0.3] = np.nan
    return X.astype(np.float32)


def averaging(**parameters):
    return FPSGFactorizer(4, schedule="averaging", random_state=0, **parameters)


def columns_at(factors, increments, counts):
    state = np.zeros((len(factors), 8), np.float32)
    state[:, :2] = np.array(increments)[:, None]
    factors = np.array(factors, np.float32)[:, None]
    return SimpleNamespace(factors=factors, state=state, counts=np.array(counts))


def test_moves_count_by_the_share_of_entries():
    first = np.array([(0, 0, 1.0), (1, 0, 1.0), (2, 0, 1.0), (0, 2, 1.0)], ENTRY)
    second = np.array([(5, 0, 1.0)], ENTRY)
    columns = columns_at([1.0, 7.0, 2.0], [0.0, 0.0, 0.0], [4, 0, 1])
    shares = [
        share_of(first, columns_at([3.0, 9.0, 5.0], [4.0, 0.0, 2.0], [])),
        share_of(second, columns_at([-1.0, 9.0, 9.0], [8.0, 0.0, 1.0], [])),
    ]
    average(columns, shares, -1.0)
    # 1 + ¾ (3 - 1) + ¼ (-1 - 1); nobody has entries of the second; one group has all of the third.
    np.testing.assert_array_equal(columns.factors[:, 0], [2.0, 7.0, 5.0])
    np.testing.assert_array_equal(columns.state[:, 0], [5.0, 0.0, 2.0])


def test_one_group_is_a_pass_over_all_entries():
    one = averaging(n_blocks=1, max_iter=5).fit(table())
    whole = FPSGFactorizer(4, schedule="rotation", n_blocks=1, max_iter=5, random_state=0)
    np.testing.assert_allclose(one.loss_curve_, whole.fit(table()).loss_curve_, rtol=1e-5)


@pytest.mark.parametrize("shape", [(60, 24), (24, 60)])
def test_results_do_not_depend_on_the_number_of_threads(shape):
    fits = [averaging(n_blocks=5, max_iter=3, n_jobs=n).fit(table(*shape)) for n in (1, 3)]
    for name in ("row_factors_", "components_", "loss_curve_"):
        np.testing.assert_array_equal(*(getattr(fit, name) for fit in fits))


def test_more_groups_take_more_epochs_and_arrive():
    after = [averaging(n_blocks=n, max_iter=15).fit(table()).loss_curve_[-1] for n in (2, 8)]
    assert after[0] < after[1]
    slow = averaging(n_blocks=8, max_iter=80).fit(table())
    assert slow.loss_curve_[-1] < after[0]
    assert slow.score(table()) > 0.9


def test_it_grows_by_new_rows_as_others_do():
    model = averaging(n_blocks=3, max_iter=3).fit(table())
    model.partial_fit(table()[:5])
    assert model.row_factors_.shape == (65, 4)
    assert np.isfinite(model.components_).all()


def test_rankings_have_no_negatives_to_draw():
    with pytest.raises(ValueError, match=r"schedule='averaging'.*rotation"):
        averaging(loss="bpr_row").fit(np.abs(table()))
