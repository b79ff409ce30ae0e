"""Conversions name the same problem: each half-sweep of the one is a half-sweep of the other."""

import numpy as np
import pytest
import scipy.sparse as sp

from skglrm import conversions as cv
from skglrm.implicit_als import ImplicitALS
from skglrm.solvers.implicit import Model

K = 3


def data(dislikes=False, binary=False):
    """14 x 11, about a third filled, with dyadic values that float32 holds exactly."""
    rng = np.random.default_rng(3)
    D = np.where(rng.random((14, 11)) < 0.35, rng.integers(1, 9, (14, 11)) / 4, 0.0)
    if binary:
        D = (D > 0).astype(float)
    if dislikes:
        D *= np.where(rng.random(D.shape) < 0.2, -1.0, 1.0)
    D[0, 0] = 1.0
    return sp.csr_array(D)


def half_sweep(D, Y, a0, weight, target, ridge):
    """The naive row solve, in the form that all libraries share."""
    X = np.zeros((len(D), Y.shape[1]))
    for u in range(len(D)):
        stored = D[u] != 0
        w, t = weight(D[u][stored]), target(D[u][stored])
        H = Y[stored]
        A = a0 * Y.T @ Y + (H.T * w) @ H + ridge(D[u]) * np.eye(Y.shape[1])
        X[u] = np.linalg.solve(A, H.T @ t)
    return X


def ours(X, params, Y):
    model = Model(
        params["alpha"], params["unobserved_weight"], params["regularization"],
        params["regularization_exponent"],
    )  # fmt: skip
    n = Y.shape[0]
    w0, alpha = model.unobserved_weight, model.alpha
    return half_sweep(
        X.toarray(), Y, w0, lambda v: alpha * abs(v), lambda v: (w0 + alpha * abs(v)) * (v > 0),
        lambda row: float(model.ridge(np.array([np.count_nonzero(row)]), n)[0]),
    )  # fmt: skip


def factors(n=11):
    return np.random.default_rng(5).normal(size=(n, K))


# The libraries' own conventions, written down from their documentation.
def in_implicit(X, Y, alpha, regularization):
    return half_sweep(
        X.toarray(), Y, 1.0, lambda c: abs(alpha * c) - 1, lambda c: np.maximum(alpha * c, 0),
        lambda row: regularization,
    )  # fmt: skip


def in_spark(X, Y, alpha, regParam):
    return half_sweep(
        X.toarray(), Y, 1.0, lambda v: alpha * abs(v), lambda v: (1 + alpha * abs(v)) * (v > 0),
        lambda row: regParam * np.count_nonzero(row > 0),
    )  # fmt: skip


def in_cmfrec(X, Y, alpha, lambda_):
    return half_sweep(
        X.toarray(), Y, 1.0, lambda v: alpha * v, lambda v: 1 + alpha * v, lambda row: lambda_
    )


def in_irspack(X, Y, alpha0, reg, nu, plus=1.0):
    n = len(Y)
    return half_sweep(
        X.toarray(), Y, alpha0, lambda v: v, lambda v: plus * alpha0 + v,
        lambda row: reg * (np.count_nonzero(row) + alpha0 * n) ** nu,
    )  # fmt: skip


def model(**params):
    base = {"alpha": 1.5, "unobserved_weight": 0.5, "regularization": 0.25}
    return ImplicitALS(K, **{**base, **params})


def params_of(model):
    return {name: getattr(model, name) for name in cv._params(0, 0, 0, 0)}


@pytest.mark.parametrize("dislikes", [False, True])
def test_implicit_means_the_same_after_conversion_both_ways(dislikes):
    X, Y = data(dislikes), factors()
    converted, params = cv.to_implicit(X, model())
    expected = ours(X, params_of(model()), Y)
    np.testing.assert_allclose(in_implicit(converted, Y, **params), expected, rtol=1e-10)
    back, params = cv.from_implicit(converted, **params)
    np.testing.assert_allclose(ours(back, params, Y), expected, rtol=1e-10)


def test_binary_confidences_of_implicit_need_no_extra_weight():
    X, Y = data(binary=True), factors()
    converted, params = cv.from_implicit(X, alpha=1.0, regularization=0.3)
    assert params["alpha"] == 0
    expected = in_implicit(X, Y, 1.0, 0.3)
    np.testing.assert_allclose(ours(converted, params, Y), expected, rtol=1e-10)
    converted, params = cv.from_implicit(X, alpha=4.0, regularization=0.3)
    expected = in_implicit(X, Y, 4.0, 0.3)
    np.testing.assert_allclose(ours(converted, params, Y), expected, rtol=1e-10)


def test_spark_means_the_same_after_conversion_both_ways():
    X, Y = data(), factors()
    converted, params = cv.from_spark(X, regParam=0.2, alpha=2.0)
    expected = in_spark(X, Y, 2.0, 0.2)
    np.testing.assert_allclose(ours(converted, params, Y), expected, rtol=1e-8)
    back, again = cv.to_spark(converted, ImplicitALS(K, **params))
    assert again == pytest.approx({"alpha": 2.0, "regParam": 0.2})
    np.testing.assert_allclose(in_spark(back, Y, **again), expected, rtol=1e-8)


@pytest.mark.parametrize("log", [False, True])
def test_cmfrec_means_the_same_after_conversion_both_ways(log):
    X, Y = data(), factors()
    X.data += 1
    values = X.copy()
    if log:
        values.data = np.log(X.data)
    converted, params = cv.from_cmfrec(X, lambda_=0.7, alpha=3.0, apply_log_transf=log)
    expected = in_cmfrec(values, Y, 3.0, 0.7)
    np.testing.assert_allclose(ours(converted, params, Y), expected, rtol=1e-10)
    converted, params = cv.to_cmfrec(X, model())
    expected = ours(X, params_of(model()), Y)
    np.testing.assert_allclose(in_cmfrec(converted, Y, **params), expected, rtol=1e-10)


@pytest.mark.parametrize("nu", [0.0, 1.0])
def test_irspack_means_the_same_after_conversion_both_ways(nu):
    X, Y = data(), factors()
    converted, params = cv.from_irspack(X, alpha0=0.3, reg=0.02, nu=nu)
    expected = in_irspack(X, Y, 0.3, 0.02, nu)
    np.testing.assert_allclose(ours(converted, params, Y), expected, rtol=1e-10)
    ours_first = model(regularization_exponent=nu)
    converted, params = cv.to_irspack(X, ours_first)
    expected = ours(X, params_of(ours_first), Y)
    np.testing.assert_allclose(in_irspack(converted, Y, **params), expected, rtol=1e-10)


def test_log_scaling_of_irspack_is_a_change_of_values():
    X, _ = cv.from_irspack(data(), alpha0=1.0, confidence_scaling="log", epsilon=0.5)
    np.testing.assert_allclose(X.data, np.log(1 + data().data / 0.5))


@pytest.mark.parametrize("nu", [0.0, 1.0])
@pytest.mark.parametrize("value", [1.0, 2.5])
def test_rendles_objective_takes_the_same_twenty_sweeps_in_other_units(nu, value):
    a0, reg = 0.3, 0.02
    X = data(binary=True)
    X.data *= value
    converted, params = cv.from_rendle(X, alpha0=a0, reg=reg, nu=nu)
    scale = np.sqrt((value + a0) / value)
    theirs, mine = factors(), scale * factors()
    for _ in range(20):
        rows = in_irspack(X, theirs, a0, reg, nu, plus=0.0)
        theirs = in_irspack(X.T, rows, a0, reg, nu, plus=0.0)
        my_rows = ours(converted, params, mine)
        mine = ours(converted.T, params, my_rows)
    np.testing.assert_allclose(my_rows @ mine.T, scale**2 * rows @ theirs.T, rtol=0, atol=1e-11)
    back, again = cv.to_rendle(converted, ImplicitALS(K, **params))
    assert again == pytest.approx({"alpha0": a0, "reg": reg, "nu": nu})
    np.testing.assert_array_equal(back.toarray(), X.toarray())


REFUSED = {
    "confidence below 1": (lambda: cv.from_implicit([[0.5, 2.0]]), "confidence 0.5"),
    "stored zero": (
        lambda: cv.from_implicit(sp.csr_array(([0.0, 2.0], ([0, 0], [0, 1])))),
        "confidence 0,",
    ),
    "confidence 1 among others": (lambda: cv.from_implicit([[1.0, 2.0]]), "1 among others"),
    "no weight": (lambda: cv.to_implicit(data(), model(unobserved_weight=0)), "=0 has no"),
    "exponent": (lambda: cv.to_implicit(data(), model(regularization_exponent=1)), "=1 has no"),
    "exponent to cmfrec": (
        lambda: cv.to_cmfrec(data(), model(regularization_exponent=0.5)),
        "=0.5 has no",
    ),
    "dislikes from Spark": (lambda: cv.from_spark(data(True)), "negative"),
    "constant λ to Spark": (lambda: cv.to_spark(data(), model()), "not proportional"),
    "dislikes to cmfrec": (lambda: cv.to_cmfrec(data(True), model()), "negative"),
    "log of 1": (lambda: cv.from_cmfrec([[1.0, 3.0]], apply_log_transf=True), "value 1 "),
    "unknown scaling": (lambda: cv.from_irspack([[1.0]], confidence_scaling="sqrt"), "'sqrt'"),
    "no slope": (lambda: cv.to_irspack(data(), model(alpha=0.0)), "alpha=0"),
    "graded": (lambda: cv.from_rendle(data(), alpha0=1.0, reg=1.0), "one value"),
    "infinite": (lambda: cv.from_cmfrec([[np.inf]]), "finite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_equivalent_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_conversions_do_not_change_the_data():
    X = data()
    before = X.copy()
    for convert in (cv.from_spark, cv.from_cmfrec, cv.from_irspack):
        convert(X)
    cv.to_implicit(X, model())
    np.testing.assert_array_equal(X.toarray(), before.toarray())


# ------------------------------------------------------------------ against the libraries


@pytest.mark.filterwarnings("ignore:OpenBLAS is configured")
def test_implicit_itself_agrees():
    als = pytest.importorskip("implicit.als")
    X, params = cv.to_implicit(data(dislikes=True), model())
    theirs = als.AlternatingLeastSquares(
        K, dtype=np.float64, use_cg=False, use_native=True, iterations=3, random_state=0,
        num_threads=1, **params,
    )  # fmt: skip
    theirs.fit(sp.csr_matrix(X), show_progress=False)
    expected = ours(data(dislikes=True).T, params_of(model()), theirs.user_factors)
    np.testing.assert_allclose(theirs.item_factors, expected, rtol=1e-6, atol=1e-9)


def test_cmfrec_itself_agrees():
    cmfrec = pytest.importorskip("cmfrec")
    X, params = cv.to_cmfrec(data(), model())
    theirs = cmfrec.CMF_implicit(
        K, use_float=False, use_cg=False, niter=3, nthreads=1, verbose=False,
        precompute_for_predictions=False, **params,
    ).fit(sp.coo_matrix(X))  # fmt: skip
    expected = ours(data(), params_of(model()), theirs.B_)
    np.testing.assert_allclose(theirs.A_, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss_type", ["ORIGINAL", "IALSPP"])
def test_irspack_itself_agrees(loss_type):
    irspack = pytest.importorskip("irspack")
    original = loss_type == "ORIGINAL"
    data_ = data() if original else data(binary=True)
    settings = model(alpha=1.0, regularization_exponent=1.0, regularization=0.02)
    X, params = (cv.to_irspack if original else cv.to_rendle)(data_, settings)
    theirs = irspack.IALSRecommender(
        sp.csr_matrix(X), n_components=K, loss_type=loss_type, solver_type="CHOLESKY",
        train_epochs=3, n_threads=1, **params,
    ).learn()  # fmt: skip
    plus = 1.0 if original else 0.0
    users = np.asarray(theirs.trainer.core_trainer.user, np.float64)
    expected = in_irspack(sp.csr_array(X).T, users, **params, plus=plus)
    items = np.asarray(theirs.trainer.core_trainer.item, np.float64)
    np.testing.assert_allclose(items, expected, rtol=1e-4, atol=1e-6)
