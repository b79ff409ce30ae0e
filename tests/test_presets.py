"""Well known models, against their closed forms and scikit-learn."""

import inspect

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF, PCA

from skglrm import presets
from skglrm.glrm import GLRM


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    low_rank = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 12))
    return low_rank + 0.3 * rng.normal(size=(60, 12)) + rng.normal(size=12)


@pytest.fixture(scope="module")
def singular_values(X):
    return np.linalg.svd(X, compute_uv=False)


def test_pca_is_that_of_scikit_learn(X):
    model, peer = presets.pca(3).fit(X), PCA(3).fit(X)
    W = model.transform(X)
    np.testing.assert_allclose(
        model.inverse_transform(W), peer.inverse_transform(peer.transform(X)), atol=1e-8
    )
    np.testing.assert_allclose(model.offset_, X.mean(axis=0), atol=1e-8)
    np.testing.assert_allclose(model.importance_, peer.explained_variance_ratio_, atol=1e-8)
    np.testing.assert_allclose(W.mean(axis=0), 0, atol=1e-8)
    gram = model.components_ @ model.components_.T
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-8)
    assert (np.diff(np.diag(gram)) < 0).all()


def test_pca_without_centers_is_the_truncated_svd(X, singular_values):
    model = presets.pca(3, center=False).fit(X)
    assert model.objective_ == pytest.approx(0.5 * np.sum(singular_values[3:] ** 2), abs=1e-8)


@pytest.mark.parametrize(("rows", "columns"), [(1.0, 1.0), (4.0, 1.0)])
def test_quadratically_regularized_pca_shrinks_singular_values(X, singular_values, rows, columns):
    from skglrm.regularizers import L2

    model = presets.quadratically_regularized_pca(
        5, row_regularizer=L2(rows), column_regularizer=L2(columns), tol=1e-12
    ).fit(X)
    s, first, others = np.sqrt(rows * columns), singular_values[:5], singular_values[5:]
    kept = first > s
    expected = (s * first - 0.5 * s * s)[kept].sum() + 0.5 * (first[~kept] ** 2).sum()
    assert model.objective_ == pytest.approx(expected + 0.5 * (others**2).sum(), rel=1e-9)
    W, H = model.row_factors_, model.components_
    np.testing.assert_allclose(rows * W.T @ W, columns * H @ H.T, atol=1e-6)


def test_matrix_completion_reaches_the_least_nuclear_norm(X):
    Z = X.copy()
    Z[np.random.default_rng(1).random(X.shape) < 0.2] = np.nan
    model = presets.matrix_completion(12, regularization=3.0, tol=1e-10).fit(Z)
    assert model.optimality_gap(Z) < 1e-4
    worse = presets.matrix_completion(1, regularization=3.0).fit(Z)
    assert worse.optimality_gap(Z) > 0.1
    assert worse.objective_ > model.objective_


def test_nmf_is_no_worse_than_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    X = rng.random((40, 3)) @ rng.random((3, 15)) + 0.1 * rng.random((40, 15))
    model = presets.nmf(3, tol=1e-7, max_iter=500).fit(X)
    peer = NMF(3, init="nndsvda", max_iter=2000, random_state=0).fit(X)
    assert model.objective_ < 0.5 * peer.reconstruction_err_**2 * 1.01
    assert model.row_factors_.min() >= 0
    assert model.components_.min() >= 0
    missing = X.copy()
    missing[0, 0] = np.nan
    assert presets.nmf(3, max_iter=500).fit(missing).impute(missing)[0, 0] == pytest.approx(
        X[0, 0], abs=0.2
    )


def test_orthogonal_nmf_gives_each_row_to_one_component():
    rng = np.random.default_rng(0)
    X = rng.random((40, 3)) @ rng.random((3, 15))
    W = presets.orthogonal_nmf(3).fit(X).row_factors_
    gram = W.T @ W
    np.testing.assert_array_equal(gram, np.diag(np.diag(gram)))


def test_kmeans_finds_two_clusters():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(5, 1, size=(100, 2)), rng.normal(-10, 1, size=(50, 2))])
    model = presets.kmeans(2, random_state=0).fit(X)
    W = model.row_factors_
    assert sorted(W.sum(axis=0)) == [50, 100]
    np.testing.assert_array_equal(np.sort(W, axis=1), np.tile([0.0, 1.0], (150, 1)))
    peer = KMeans(2, n_init=1, random_state=0).fit(X)
    assert model.objective_ == pytest.approx(0.5 * peer.inertia_)
    np.testing.assert_allclose(
        np.sort(model.components_, axis=0), np.sort(peer.cluster_centers_, axis=0)
    )
    mixture = presets.quadratic_mixture(2, init=(W, model.components_), max_iter=20, tol=0).fit(X)
    assert mixture.objective_ <= model.objective_
    np.testing.assert_allclose(mixture.row_factors_.sum(axis=1), 1)


def test_robust_pca_with_a_large_delta_is_regularized_pca(X):
    robust = presets.robust_pca(3, delta=1e6, regularization=1.0, offset=False).fit(X)
    plain = presets.quadratically_regularized_pca(3, regularization=1.0).fit(X)
    assert robust.objective_ == pytest.approx(plain.objective_, rel=1e-3)


def test_robust_pca_is_not_bent_by_outliers(X):
    spoiled = X.copy()
    spoiled[np.random.default_rng(2).random(X.shape) < 0.05] += 100
    clean = spoiled == X

    def error(model):
        return np.abs(model.inverse_transform(model.fit_transform(spoiled)) - X)[clean].mean()

    assert error(presets.robust_pca(4)) < 0.5 * error(presets.pca(4))


def test_logistic_pca_with_one_row_of_scores_is_a_logistic_regression():
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(80, 1)) @ rng.normal(size=(1, 10)) > 0).astype(float)
    model = presets.logistic_pca(1, regularization=1.0).fit(X)
    out = model.inverse_transform(model.row_factors_)
    assert set(np.unique(out)) <= {0.0, 1.0}
    assert (out == X).mean() > 0.9
    # The factors of a row solve a ridge logistic regression: its derivative is 0.
    u = model.row_factors_ @ model.components_ + model.offset_
    slope = (1 / (1 + np.exp(-u)) - X) @ model.components_.T + model.row_factors_
    np.testing.assert_allclose(slope, 0, atol=1e-4)


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        (presets.boolean_pca, [-1.0, 1.0]),
        (presets.ordinal_pca, [1.0, 2.0, 3.0]),
        (presets.categorical_pca, [0.0, 1.0, 2.0]),
        (presets.poisson_pca, [0.0, 1.0, 5.0]),
        (presets.max_margin, [0.0, 1.0]),
    ],
)
def test_predictions_are_in_the_domain_and_beat_a_constant(preset, values):
    rng = np.random.default_rng(0)
    ranks = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 10))
    bounds = np.quantile(ranks, np.arange(1, len(values)) / len(values), axis=0)
    X = np.asarray(values)[np.sum(ranks > bounds[:, None], axis=0)]
    model = preset(2, random_state=0, tol=1e-3, regularization=1.0).fit(X)
    out = model.inverse_transform(model.row_factors_)
    constant = model._columns.impute(model._constants[None])
    assert np.all(out == np.rint(out))
    if preset is not presets.poisson_pca:
        assert set(np.unique(out)) <= set(values)
    assert np.abs(out - X).mean() < 0.7 * np.abs(constant - X).mean()


@pytest.mark.parametrize("name", presets.__all__)
def test_every_preset_is_a_model_whose_parameters_can_be_changed(name):
    preset = getattr(presets, name)
    first = next(iter(inspect.signature(preset).parameters))
    model = preset(**{first: 3}, max_iter=7, offset=True)
    assert isinstance(model, GLRM)
    assert model.get_params()["max_iter"] == 7
    model._check_parameters()
    assert preset.__doc__
