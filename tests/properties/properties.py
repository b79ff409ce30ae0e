"""What must hold of every case; each property is a function of one case."""

import tempfile
import warnings
from dataclasses import replace

import numpy as np
from outcomes import UndocumentedError, outcome, time_limit
from sklearn.base import clone
from tables import FRAMES, cast

import skglrm
from skglrm import GLRM, Entries, ImplicitALS
from skglrm import regularizers as R
from skglrm.block_file import BlockFile
from skglrm.losses import KL
from skglrm.regularizers import get_regularizer


def check(holds, what):
    if not holds:
        raise UndocumentedError(what)


def weights_for(case, X):
    if case.weights is None:
        return {}
    if isinstance(X, Entries):
        shape = case.weights.shape
        if X.matrix_shape != shape:
            return {}
        return {"weights": case.weights[X.row, X.col]}
    return {"weights": case.weights}


def fit_is_valid_or_refused(case):
    """A fit gives a valid model or a documented error; so does every method after it."""
    with time_limit():
        X, model = case.X, case.model
        found = outcome(lambda: model.fit(X, **weights_for(case, X)), X, model=model)
        if isinstance(found, Exception):
            check(not hasattr(model, "components_"), "A fit that fails leaves a model.")
            return f"refused by fit: {type(found).__name__}"
        check_valid(model, X)
        check(1 <= model.n_iter_ <= model.max_iter, f"n_iter_ is {model.n_iter_}")
        use(case, model, X)
        return "valid model"


def check_valid(model, X):
    W, H = model.row_factors_, model.components_
    check(np.isfinite(W).all() and np.isfinite(H).all(), f"Factors are not finite: {W} {H}")
    check(W.ndim == H.ndim == 2 and W.shape[1] == H.shape[0], f"Shapes {W.shape} and {H.shape}")
    check(W.dtype == H.dtype and W.dtype in (np.float32, np.float64), f"{W.dtype}, {H.dtype}")
    expected = dtype_of(X)
    if expected is not None:
        check(W.dtype == expected, f"{expected} in, {W.dtype} out")
    if not isinstance(model, GLRM):
        check(H.shape[1] == model.n_features_in_, "columns")
    check(np.isfinite(model.loss_curve_).all(), f"loss_curve_ is {model.loss_curve_}")
    if isinstance(model, GLRM) and not model.scale:
        for name, factor in (("row_regularizer", W), ("column_regularizer", H.T)):
            check_obeyed(getattr(model, name), factor)


def check_obeyed(regularizer, factor):
    """Constraints hold: no row of factors costs infinity."""
    regularizer = get_regularizer(regularizer, 1.0)
    if isinstance(regularizer, R.Regularizer) and not regularizer.on_block:
        costs = [regularizer.value(np.array(row, float)) for row in factor]
        check(not np.isinf(costs).any(), f"{regularizer!r} costs {costs} at {factor}")


def dtype_of(X):
    if isinstance(X, Entries):
        return X.value.dtype
    dtype = getattr(X, "dtype", None)
    return {"f4": np.float32, "f8": np.float64}.get(getattr(dtype, "str", "   ")[1:])


def use(case, model, X):
    """Methods of a fitted model, in an order that the seed gives."""
    rng = np.random.default_rng(case.seed)
    calls = dict(CALLS)
    for name in rng.permutation([*calls]):
        if rng.random() < 0.5:
            continue
        argument, call = calls[name]
        given = argument(case, model, X, rng)
        found = outcome(lambda: call(model, given), given, model=model)  # noqa: B023
        if isinstance(found, Exception):
            continue
        check_result(name, found, model)
        if name.startswith("partial"):
            check_valid(model, given if not isinstance(given, Entries) else None)


def check_result(name, found, model):
    if name in ("transform", "inverse_transform", "predict_entries", "impute", "sample"):
        if not isinstance(found, np.ndarray):  # a frame, which may have columns without labels
            return
        check(found.dtype.kind in "fiu", f"{name} gives {found.dtype}")
        check(not np.isnan(found).any(), f"{name} gives NaN")
        if name == "transform":
            check(np.isfinite(found).all(), "transform gives infinity")
            check(found.dtype == model.components_.dtype, f"transform gives {found.dtype}")
    if name.startswith("recommend"):
        items, scores = found
        check(items.shape == scores.shape, "shape of recommendations")
        check(items.min(initial=-1) >= -1 and items.max(initial=-1) < model.n_features_in_, "items")
        check(not np.isnan(scores).any(), "recommend gives NaN")
        check(((items >= 0) | np.isneginf(scores)).all(), "scores of no items")
        check((scores[:, 1:] <= scores[:, :-1]).all(), "order of recommendations")
    if name.startswith("similar"):
        check(not np.isnan(found[1]).any(), f"{name} gives NaN")
    if name == "score":
        check(found <= 1 + 1e-9 or np.isnan(found), f"score is {found}")


def the_data(case, model, X, rng):
    return X


def some_entries(case, model, X, rng):
    """Cells of known and new rows and columns."""
    n, d = len(model.row_factors_), model.n_features_in_
    m = int(rng.integers(1, 5))
    cells = rng.choice((n + 2) * (d + 1), min(m, (n + 2) * (d + 1)), replace=False)
    pool = case.cells[~np.isnan(case.cells)]
    value = rng.choice(pool, m) if pool.size else np.ones(m)
    return Entries(
        cells // (d + 1),
        cells % (d + 1),
        cast(value[: cells.size], case.form.dtype),
        (n + 2, d + 1),
    )


def positions(case, model, X, rng):
    return rng.integers(-1, 9, (2, 5))


def factors(case, model, X, rng):
    k = len(model.components_)
    return rng.choice([1.0, 0.0, 1e30, -1e-30, 1e300], (2, k))


def nothing(case, model, X, rng):
    return None


CALLS = {
    "transform": (the_data, lambda m, X: m.transform(X)),
    "partial_fit": (the_data, lambda m, X: m.partial_fit(X)),
    "partial_fit of entries": (some_entries, lambda m, X: m.partial_fit(X)),
    "score": (the_data, lambda m, X: m.score(X)),
    "recommend": (the_data, lambda m, X: m.recommend(X, n=3)),
    "recommend seen": (the_data, lambda m, X: m.recommend(X, n=9, exclude_seen=False, items=[0])),
    "predict_entries": (positions, lambda m, at: m.predict_entries(*at)),
    "inverse_transform": (factors, lambda m, W: m.inverse_transform(W)),
    "similar_items": (nothing, lambda m, _: m.similar_items(n=3)),
    "similar_rows": (nothing, lambda m, _: m.similar_rows(n=3)),
}  # fmt: skip


# ------------------------------------------------------------------ laws across forms


def fitted(model, X, **keywords):
    """The model fitted, or the error."""
    found = outcome(lambda: model.fit(X, **keywords), X, model=model)
    return found


def the_container_does_not_matter(case):
    """The same cells give the same model, to the bit, whatever holds them."""
    if case.flaw is not None or not case.form.tells_missing or case.weights is not None:
        return "not asked"
    with time_limit():
        model = (
            clone(case.model).set_params(n_jobs=None, unstored="missing")
            if not isinstance(case.model, ImplicitALS)
            else clone(case.model).set_params(n_jobs=None)
        )
        form = case.form
        if form.container == "list":  # whose numbers are all float64
            form = replace(form, dtype=np.float64)
        plain = replace(form, container="C")
        if (
            isinstance(case.model, GLRM)
            and case.form.container in FRAMES
            and "auto" in repr(case.model.loss)
        ):
            return "not asked"  # a frame has types of columns
        first = fitted(clone(model), plain(case.cells))
        second = fitted(model, form(case.cells))
        if isinstance(first, Exception) or isinstance(second, Exception):
            check(type(first) is type(second), f"{first!r:.300}, but {second!r:.300}")
            return f"refused: {type(first).__name__}"
        for name in ("components_", "row_factors_"):
            one, other = getattr(first, name), getattr(second, name)
            check(np.array_equal(one, other), f"{name} differ: {one} {other}")
        return "the same"


def a_row_is_folded_in_alone(case):
    """``transform`` of a row does not depend on other rows, and agrees with the fit if promised."""
    if case.flaw is not None:
        return "not asked"
    with time_limit():
        X = replace(case.form, container="C")(case.cells)
        model = fitted(case.model, X)
        if isinstance(model, Exception):
            return f"refused: {type(model).__name__}"
        W = outcome(lambda: model.transform(X), X, model=model)
        if isinstance(W, Exception):
            return f"refused: {type(W).__name__}"
        for i in range(len(X)):
            alone = model.transform(X[i : i + 1])
            check(np.array_equal(alone[0], W[i]), f"row {i}: {alone[0]} alone, {W[i]} among others")
        return "alone"


def a_loaded_model_is_the_model(case):
    """A model that was saved and loaded has all attributes, and predicts the same bits."""
    with time_limit(), tempfile.TemporaryDirectory() as folder:
        model = fitted(case.model, case.X)
        if isinstance(model, Exception):
            return f"refused: {type(model).__name__}"
        path = f"{folder}/model"
        saved = outcome(lambda: model.save(path), model=model)
        if isinstance(saved, Exception):
            return f"not saved: {type(saved).__name__}"
        again = outcome(lambda: skglrm.load(path))
        check(not isinstance(again, Exception), f"not loaded: {again!r}")
        check(
            vars(again).keys()
            == {k for k in vars(model) if k != "_memory"}
            | {k for k in vars(again) if k in vars(type(again)())},
            "attributes differ",
        )
        for name in ("components_", "row_factors_"):
            check(np.array_equal(getattr(model, name), getattr(again, name)), f"{name} differ")
        return "the same"


def rows_and_columns_may_be_permuted(case):
    """Rows and columns in another order give the factors in that order."""
    model = case.model
    X = np.clip(case.cells, -1e3, 1e3)
    X[np.abs(X) < 1e-3] = 0
    rng = np.random.default_rng(case.seed)
    n, d = X.shape
    k = model.n_components
    W, H = rng.normal(size=(n, k)), rng.normal(size=(k, d))
    rows, columns = rng.permutation(n), rng.permutation(d)
    if isinstance(model.loss, list):
        return "not asked"
    params = {
        "row_regularizer": "l2", "column_regularizer": "l2", "regularization": 0.1, "scale": False,
        "solver": "proximal", "n_jobs": None, "tol": 0.0, "max_iter": 2,
    }  # fmt: skip
    with time_limit():
        first = fitted(clone(model).set_params(init=(W, H), **params), X)
        second = fitted(
            clone(model).set_params(init=(W[rows], H[:, columns]), **params), X[rows][:, columns]
        )
        if isinstance(first, Exception) or isinstance(second, Exception):
            check(type(first) is type(second), f"{first!r:.300}, but {second!r:.300}")
            return f"refused: {type(first).__name__}"
        one = first.row_factors_ @ first.components_ + first.offset_
        other = second.row_factors_ @ second.components_ + second.offset_
        at = np.concatenate(
            [np.arange(s.start, s.stop) for s in (first.component_slices_[j] for j in columns)]
        )
        size = 1 + np.abs(one).max()
        check(
            np.allclose(one[rows][:, at], other, rtol=1e-4, atol=1e-4 * size),
            f"{one[rows][:, at]} {other}",
        )
        return "permuted"


# ------------------------------------------------------------------ reading and records


def every_container_is_read_alike(case):
    """``Entries`` of any container hold its cells, in order."""
    if not case.form.tells_missing or case.form.container in ("entries", "from_frame"):
        return "not asked"
    X = case.form(case.cells)
    entries = outcome(lambda: Entries.from_matrix(X), X)
    check(not isinstance(entries, Exception), repr(entries))
    expected = cast(case.cells, case.form.dtype)
    row, col = np.nonzero(~np.isnan(expected))
    same = np.array_equal(entries.row, row) and np.array_equal(entries.col, col)
    check(
        same and np.array_equal(entries.value, expected[row, col]), f"{entries.to_csr().toarray()}"
    )
    return "read"


def a_block_file_holds_the_cells(case):
    """What was written to blocks comes back, each cell once."""
    entries = replace(case.form, container="entries")(case.cells)
    if not len(entries):
        return "not asked"
    with tempfile.TemporaryDirectory() as folder:
        made = outcome(
            lambda: BlockFile.write(f"{folder}/b", entries, random_state=case.seed), entries
        )
        if isinstance(made, Exception):
            check(np.abs(entries.value).max() > 1e150, repr(made))
            return f"refused: {type(made).__name__}"
        parts = [*made.blocks()]
        X = np.full(entries.matrix_shape, np.nan, entries.value.dtype)
        for part in parts:
            X[part.row, part.col] = part.value
        check(sum(map(len, parts)) == len(entries), "number of cells")
        check(np.array_equal(X, entries.to_dense(), equal_nan=True), "cells differ")
    return "the same"


def losses_are_finite_in_their_domain(case):
    """No loss and no slope is NaN, wherever predictions are."""
    loss, u, a = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if loss.embedding_dim > 1:
            u = np.array([u, -u, 0.5 * u, u][: loss.embedding_dim])
            out = np.zeros_like(u)
            value = loss.value(u, a)
            loss.gradient(u, a, out)
            slope = out
        else:
            value, slope = loss.value(u, a), loss.gradient(u, a)
    least = -5e-9 if isinstance(loss, KL) else 0.0  # which its documentation says
    check(value >= least - 1e-9 * (1 + abs(a)), f"{loss!r} at {u}, {a}: {value}")
    check(not np.isnan(slope).any(), f"{loss!r} at {u}, {a}: slope {slope}")
    return "finite"


def proxes_are_finite_and_obey(case):
    """A prox of finite numbers is finite, and has a finite cost."""
    regularizer, x, step = case
    try:
        regularizer.check_size(len(x))
    except ValueError:
        return "refused"
    y = x.copy()
    with np.errstate(all="ignore"):
        regularizer.prox(y, step)
        cost = regularizer.value(y)
    check(np.isfinite(y).all(), f"{regularizer!r}.prox({x}, {step}) is {y}")
    check(not np.isnan(cost), f"{regularizer!r}.value({y}) is NaN")
    return "finite"
