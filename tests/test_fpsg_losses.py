"""FPSGFactorizer with every loss of numbers and Booleans."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import clone
from sklearn.metrics import d2_absolute_error_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from skglrm import Entries, FPSGFactorizer
from skglrm._fpsg_task import FlooredKL, InUnits, Shifted, SwiftLogistic, scaled
from skglrm.losses import KL, Absolute, Huber, Logistic, Loss, Multinomial, Quadratic, get_loss
from skglrm.testing import check_loss


@dataclass(frozen=True)
class Pseudo(Loss):
    """A smooth absolute error, as a user might write it."""

    width: float = 0.5

    def value(self, u, a):
        return self.width * ((1.0 + ((u - a) / self.width) ** 2) ** 0.5 - 1.0) * self.width

    def gradient(self, u, a):
        r = (u - a) / self.width
        return self.width * r / (1.0 + r * r) ** 0.5


NUMBERS = ["absolute", "huber", "kl", Pseudo()]
BOOLEANS = ["logistic", "hinge", "squared_hinge"]
ALL = NUMBERS + BOOLEANS


def data_for(loss, seed=0, m=90, n=60, share=0.6):
    """Entries with a planted model, and a tenth of them held out."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(m, 2)) @ rng.normal(size=(2, n))
    if loss == "kl":
        truth = rng.random((m, 2)) @ rng.random((2, n)) * 4
    cell = rng.permutation(m * n)[: int(share * m * n)]
    value = truth.ravel()[cell]
    if loss in BOOLEANS:
        value = (rng.random(value.size) < expit(4 * value)).astype(float)
    elif loss != "kl":
        value += 0.05 * rng.normal(size=value.size)
    entries = Entries(cell // n, cell % n, value, (m, n))
    cut = len(entries) // 10
    return entries[cut:], entries[:cut]


def make(loss, n_components=3, **params):
    defaults = {"regularization": 0.03, "max_iter": 40, "random_state": 0}
    return FPSGFactorizer(n_components, loss=loss, nonnegative=loss == "kl", **(defaults | params))


def scores_of(model, entries):
    W, H = model.row_factors_[entries.row], model.components_.T[entries.col]
    return np.einsum("ij,ij->i", W, H)


def cost(loss, u, a):
    loss = get_loss(loss)
    return sum(loss.value(*pair) for pair in zip(u.tolist(), a.tolist(), strict=True))


# ------------------------------------------------------------------ the objective


@pytest.mark.parametrize("loss", ALL, ids=str)
def test_the_objective_falls_to_that_of_the_factors(loss):
    train, test = data_for(loss)
    model = make(loss, max_iter=120, l1_regularization=0.002).fit(train)
    curve = np.array(model.loss_curve_)
    assert curve[-1] < 0.9 * curve[0]
    assert (curve[1:] < curve[:-1] * 1.02).all()
    W, H = model.row_factors_[train.row], model.components_.T[train.col]
    penalty = 0.015 * ((W**2).sum() + (H**2).sum()) + 0.002 * (abs(W).sum() + abs(H).sum())
    expected = cost(loss, scores_of(model, train), train.value) + penalty
    assert curve[-1] == pytest.approx(expected, rel=0.02)
    assert model.score(test) > (0.3 if loss in BOOLEANS else 0.75)
    if loss == "kl":
        assert min(W.min(), H.min()) >= 0


@pytest.mark.parametrize("loss", ["absolute", "huber", "kl", "logistic"])
def test_rotation_gives_the_same_bits_for_any_number_of_threads(loss):
    train, _ = data_for(loss)
    one, two = (
        make(loss, schedule="rotation", n_blocks=5, n_jobs=n, max_iter=4).fit(train) for n in (1, 2)
    )
    np.testing.assert_array_equal(one.components_, two.components_)
    assert one.loss_curve_ == two.loss_curve_


@pytest.mark.parametrize(
    ("loss", "of_unit", "degree"),
    [("absolute", Absolute(), 1), ("kl", "kl", 1), (Huber(0.3), Huber(3.0), 2)],
    ids=str,
)
def test_ten_times_the_data_give_ten_times_the_predictions(loss, of_unit, degree):
    train, test = data_for(loss)
    tenfold = Entries(train.row, train.col, 10 * train.value, train.matrix_shape)
    l2, l1 = 0.03, 0.01
    one = make(loss, regularization=l2, l1_regularization=l1).fit(train)
    l2, l1 = l2 * 10 ** (degree - 1), l1 * 10 ** (degree - 0.5)
    ten = make(of_unit, regularization=l2, l1_regularization=l1).fit(tenfold)
    np.testing.assert_allclose(ten.loss_curve_, 10**degree * np.array(one.loss_curve_), rtol=1e-5)
    np.testing.assert_allclose(
        scores_of(ten, test), 10 * scores_of(one, test), rtol=1e-4, atol=1e-5
    )


def test_outliers_do_not_rule_robust_losses():
    train, test = data_for("absolute")
    value = train.value.copy()
    value[::15] = 60
    spoilt = Entries(train.row, train.col, value, train.matrix_shape)
    errors = {}
    for loss in ("squared", "absolute", "huber"):
        model = make(loss, max_iter=80).fit(spoilt)
        errors[loss] = abs(model.predict_entries(test.row, test.col) - test.value).mean()
    assert max(errors["absolute"], errors["huber"]) < 0.5 * errors["squared"]


def test_a_loss_that_is_twice_another_has_half_its_regularization():
    train, _ = data_for("logistic")
    one = make("logistic", max_iter=200, regularization=0.05).fit(train)
    two = make(2 * Logistic(), max_iter=200, regularization=0.1).fit(train)
    assert two.loss_curve_[-1] == pytest.approx(2 * one.loss_curve_[-1], rel=0.01)


# ------------------------------------------------------------------ the scaled problem


@pytest.mark.parametrize(
    "loss", [FlooredKL(1e-3), InUnits(Huber(0.5), 2.0), Shifted(Quadratic(), 0.5)], ids=repr
)
def test_the_losses_of_the_scaled_problem_are_differentiable(loss):
    for a in (0.0, 0.7, 2.0):
        for u in (1e-4, 0.3, 1.9, 40.0):
            h = 1e-6 * max(1, u)
            slope = (loss.value(u + h, a) - loss.value(u - h, a)) / (2 * h)
            assert loss.gradient(u, a) == pytest.approx(slope, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("loss", [Quadratic(), Absolute(), Huber(0.5), KL(), Pseudo()], ids=repr)
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_scaling_is_exact(loss, shift):
    c = 7.0
    inner, degree = scaled(loss, c, shift)
    for u, a in ((0.4, 0.6), (2.0, 0.1), (0.02, 3.0)):
        outer = loss.value(c * u + shift, c * a)
        assert c**degree * inner.value(u, a) == pytest.approx(outer, rel=1e-9)


def test_the_logistic_loss_that_is_visited_is_the_one_asked_for():
    loss, degree = scaled(Logistic(), 1.0, 0.0)
    assert loss == SwiftLogistic() and degree == 0.0
    for u in np.concatenate([np.linspace(-40, 40, 41), [-650.0, 650.0]]):
        for a in (0.0, 1.0):
            value, slope = Logistic().value(u, a), Logistic().gradient(u, a)
            assert loss.value(u, a) == pytest.approx(value, rel=1e-12, abs=1e-15)
            assert loss.gradient(u, a) == pytest.approx(slope, rel=1e-12)


def test_a_users_loss_obeys_the_laws():
    check_loss(Pseudo())


def test_large_scores_of_booleans_are_finite():
    train, _ = data_for("logistic")
    model = make("logistic", regularization=0.0, learning_rate=3.0, max_iter=5).fit(train)
    assert np.isfinite(model.loss_curve_).all()
    model.row_factors_ = model.row_factors_ * 1e3
    p = model.predict_entries(train.row, train.col)
    assert ((p >= 0) & (p <= 1)).all()


def test_kl_takes_zeros():
    train, _ = data_for("kl")
    value = np.where(np.arange(len(train)) % 3, np.round(train.value), 0.0)
    model = make("kl").fit(Entries(train.row, train.col, value, train.matrix_shape))
    assert np.isfinite(model.loss_curve_).all()
    assert model.predict_entries(train.row, train.col).min() >= 0


# ------------------------------------------------------------------ outputs


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_the_three_outputs_of_booleans(low):
    train, test = data_for("logistic")
    value = np.where(train.value > 0, 1.0, low)
    model = make("logistic").fit(Entries(train.row, train.col, value, train.matrix_shape))
    cells = test.row, test.col
    score, p, label = (
        model.predict_entries(*cells, output=o) for o in ("score", "response", "label")
    )
    np.testing.assert_allclose(score, scores_of(model, test))
    np.testing.assert_allclose(p, expit(score))
    np.testing.assert_array_equal(label, np.where(score > 0, 1.0, low))
    np.testing.assert_array_equal(model.classes_, [low, 1.0])
    assert np.mean((label > 0) == (test.value > 0)) > 0.8
    np.testing.assert_allclose(model.inverse_transform(model.row_factors_)[cells], p)


def test_probabilities_are_calibrated():
    train, test = data_for("logistic", m=300, n=200)
    model = make("logistic", 2, regularization=0.03, max_iter=60).fit(train)
    p = model.predict_entries(test.row, test.col)
    for low, high in ((0, 0.25), (0.25, 0.75), (0.75, 1)):
        inside = (p >= low) & (p < high)
        assert abs(test.value[inside].mean() - p[inside].mean()) < 0.1


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_losses_of_margin_have_scores_and_labels_and_no_probabilities(loss):
    train, test = data_for(loss)
    model = make(loss).fit(train)
    score = model.predict_entries(test.row, test.col, output="score")
    np.testing.assert_array_equal(model.predict_entries(test.row, test.col), score)
    label = model.predict_entries(test.row, test.col, output="label")
    assert set(label) == {0.0, 1.0}
    assert np.mean(label == test.value) > 0.8


def test_losses_of_numbers_have_no_labels():
    train, _ = data_for("absolute")
    model = make("absolute", max_iter=1).fit(train)
    with pytest.raises(ValueError, match="output='label' needs a loss of Booleans"):
        model.predict_entries([0], [0], output="label")
    with pytest.raises(ValueError, match="output must be one of 'response'.*Got 'proba'"):
        model.predict_entries([0], [0], output="proba")


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("absolute", np.median), ("kl", np.mean), ("logistic", np.mean)],
)
def test_what_is_unseen_gets_the_best_constant(loss, expected):
    train, _ = data_for(loss)
    model = make(loss, max_iter=2).fit(train)
    got = model.predict_entries([-1, 999], [-1, 999])
    np.testing.assert_allclose(got, expected(train.value), rtol=2e-3)


def test_an_unseen_row_has_the_log_odds_of_the_column():
    train, _ = data_for("logistic")
    model = make("logistic", max_iter=2).fit(train)
    got = model.predict_entries(np.full(60, -1), np.arange(60))
    mean = train.value.mean()
    for j in range(60):
        mine = train.value[train.col == j]
        damped = (mine.sum() + 5 * mean) / (mine.size + 5)
        assert got[j] == pytest.approx(damped, abs=2e-3)
    items, _ = model.recommend(np.full((1, 60), np.nan), n=60)
    np.testing.assert_array_equal(np.sort(got)[::-1], got[items[0]])


# ------------------------------------------------------------------ scores and searches


@pytest.mark.parametrize("loss", ["absolute", "logistic"])
def test_the_score_is_one_minus_the_ratio_of_losses(loss):
    train, test = data_for(loss)
    model = make(loss, max_iter=10).fit(train)
    constant = np.full(len(test), get_loss(loss).best_constant(test.value))
    u = model.predict_entries(test.row, test.col, output="score")
    expected = 1 - cost(loss, u, test.value) / cost(loss, constant, test.value)
    assert model.score(test) == pytest.approx(expected, rel=1e-9)
    if loss == "absolute":
        assert expected == pytest.approx(d2_absolute_error_score(test.value, u), rel=1e-9)


def test_a_search_compares_parameters_of_losses():
    train, _ = data_for("logistic")
    search = GridSearchCV(
        make("logistic", max_iter=10),
        {"loss": ["logistic"], "regularization": [0.05, 30.0], "fit_intercept": [False, True]},
        cv=KFold(3, shuffle=True, random_state=0),
        error_score="raise",
    ).fit(train)
    assert search.best_params_["regularization"] == 0.05
    widths = GridSearchCV(
        make("huber", max_iter=10), {"loss": [Huber(0.01), Huber(2.0)]},
        cv=KFold(2, shuffle=True, random_state=0), error_score="raise",
    )  # fmt: skip
    assert widths.fit(data_for("huber")[0]).best_estimator_.score(train) < 1


# ------------------------------------------------------------------ folding in, growing


@pytest.mark.parametrize("loss", ["logistic", "absolute", "kl"])
def test_a_folded_row_costs_no_more_than_its_fitted_factors(loss):
    train, _ = data_for(loss)
    model = make(loss, regularization=0.1).fit(train)
    W = model.transform(train)
    H = model.components_.T
    for i in range(0, 90, 9):
        mine = train[train.row == i]

        def objective(w, mine=mine):
            return cost(loss, H[mine.col] @ w, mine.value) + 0.05 * len(mine) * (w @ w)

        assert objective(W[i]) <= objective(model.row_factors_[i]) * (1 + 1e-3)
        np.testing.assert_array_equal(model.transform(train.to_dense()[[i]])[0], W[i])
    assert not model.transform(np.full((1, 60), np.nan)).any()


@pytest.mark.parametrize("loss", ["logistic", "absolute"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_models_grow_from_new_entries(loss, fit_intercept):
    train, test = data_for(loss)
    known = train[(train.row < 80) & (train.col < 50)]
    model = make(loss, fit_intercept=fit_intercept)
    model.fit(Entries(known.row, known.col, known.value, (80, 50)))
    before = model.score(Entries(test.row, test.col, test.value, test.matrix_shape))
    model.partial_fit(train[(train.row >= 80) | (train.col >= 50)])
    assert model.row_factors_.shape[0] == 90 and model.n_features_in_ == 60
    assert model.score(test) > before


@pytest.mark.parametrize("loss", ["absolute", "logistic"])
def test_early_stopping_keeps_the_best_iteration(loss):
    train, _ = data_for(loss)
    model = make(
        loss, 8, early_stopping=True, regularization=1e-3, max_iter=60, learning_rate=0.3
    ).fit(train)
    assert model.best_iter_ == 1 + np.argmin(model.validation_curve_) < model.n_iter_
    short = clone(model).set_params(max_iter=model.best_iter_).fit(train)
    np.testing.assert_array_equal(short.components_, model.components_)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("loss", "value", "message"),
    [
        ("logistic", 0.5, r"The value 0.5 of the cell \(row 4, column 7\).*Booleans are 0 and 1"),
        ("kl", -1.0, r"The value -1 of the cell \(row 4, column 7\).*does not fit the loss"),
        ("poisson", -2.0, r"The value -2 of the cell \(row 4, column 7\).*does not fit the loss"),
        ("bpr_row", -1.0, r"The value -1 of the cell \(row 4, column 7\).*entries are positive"),
    ],
)
def test_values_outside_of_the_domain_are_refused_by_name(loss, value, message):
    X = np.ones((10, 10))
    X[::2] = 0
    X[4, 7] = value
    with pytest.raises(ValueError, match=message):
        make(loss).fit(X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": "kl", "nonnegative": False}, "Pass nonnegative=True"),
        ({"loss": Multinomial(3)}, "Use GLRM"),
        ({"loss": "bpr_row", "fit_intercept": True}, "Leave fit_intercept at False"),
        ({"loss": "one_class", "nonnegative": True}, "solved exactly, and not with nonnegative"),
        ({"loss": "one_class", "unobserved_weight": 2.0}, "unobserved_weight"),
    ],
    ids=str,
)
def test_losses_that_do_not_go_with_parameters_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        FPSGFactorizer().set_params(**params).fit(np.eye(4) + 1)


# ------------------------------------------------------------------ scikit-learn


@parametrize_with_checks(
    [
        FPSGFactorizer(n_components=2, loss="absolute", max_iter=3),
        FPSGFactorizer(n_components=2, loss="kl", nonnegative=True, max_iter=3),
        FPSGFactorizer(n_components=2, fit_intercept=True, max_iter=3),
        FPSGFactorizer(n_components=2, loss="bpr_row", max_iter=3),
    ]
)
def test_scikit_learn_accepts_the_losses(estimator, check):
    check(estimator)
