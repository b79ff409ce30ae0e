"""Frames with typed columns: numbers in, labels and types out."""

import numpy as np
import pytest
from sklearn.utils.validation import check_is_fitted

from skglrm._tables import Table, as_frame
from skglrm.domains import Boolean, Categorical, Count, Ordinal, Real
from skglrm.glrm import GLRM

pd = pytest.importorskip("pandas")

LEVELS = ["low", "mid", "high", "top"]
MIXED = {"max_iter": 30, "tol": 1e-2, "offset": True, "scale": True}


def mixed_table(n=90, seed=0):
    """Six columns of six types that two numbers per row determine, without holes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    return pd.DataFrame(
        {
            "size": (5 + 3 * z[:, 0]).astype("float32"),
            "count": np.rint(np.exp(z[:, 1])).astype(int),
            "flag": z[:, 0] + z[:, 1] > 0,
            "answer": np.where(z[:, 1] > 0, "yes", "no"),
            "colour": np.array(["red", "green", "blue"])[
                np.argmax(z @ np.array([[1.0, -1.0, 0.0], [0.0, -1.0, 1.0]]), axis=1)
            ],
            "grade": pd.cut(z[:, 0], [-9, -1, 0, 1, 9], labels=LEVELS),
        },
        index=np.arange(100, 100 + n),
    )


def with_holes(frame, share=0.2, seed=1):
    holes = np.random.default_rng(seed).random(frame.shape) < share
    nullable = frame.astype({"count": "Int64", "flag": "boolean"})
    return nullable.mask(pd.DataFrame(holes, index=frame.index, columns=frame.columns))


@pytest.fixture(scope="module")
def complete():
    return mixed_table()


@pytest.fixture(scope="module")
def table(complete):
    return with_holes(complete)


@pytest.fixture(scope="module")
def model(table):
    return GLRM(2, loss="auto", **MIXED).fit(table)


def as_library(frame, library):
    if library == "pandas":
        return frame
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    plain = polars.from_pandas(frame.astype({"grade": "object"})).with_columns(
        polars.col("grade").cast(polars.Enum(LEVELS))
    )
    return plain if library == "polars" else plain.to_arrow()


# ------------------------------------------------------------------ types


def test_columns_are_known_by_their_types(table):
    columns = Table.of(as_frame(table)).columns
    assert [column.kind for column in columns] == [
        "real", "integer", "boolean", "boolean", "categorical", "ordinal",
    ]  # fmt: skip
    assert columns[3].levels == ("no", "yes")
    assert columns[4].levels == ("blue", "green", "red")
    assert columns[5].levels == ("low", "mid", "high", "top")


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_encoding_and_decoding_undo_each_other(complete, library):
    frame = as_frame(as_library(complete, library))
    types = Table.of(frame)
    coded = as_frame(types.encode(frame))
    assert coded.implementation == frame.implementation
    numbers = np.column_stack([one.to_numpy() for one in coded.iter_columns()])
    again = as_frame(types.decode(numbers, frame))
    assert again.schema == frame.schema
    for name in frame.columns:
        assert again[name].to_list() == frame[name].to_list()


def test_missing_values_of_all_kinds_become_nan():
    frame = pd.DataFrame(
        {
            "a": ["x", None, "y", "z"],
            "b": pd.Series(["x", np.nan, "y", pd.NA], dtype=object),
            "c": pd.Series([1, pd.NA, 3, 4], dtype="Int16"),
            "d": pd.Series([True, None, False, True], dtype=object),
            "e": pd.Categorical([3, None, 1, 3], categories=[3, 1, 2]),
        }
    )
    coded = Table.of(as_frame(frame)).encode(as_frame(frame)).to_numpy()
    np.testing.assert_array_equal(
        coded,
        [[0, 0, 1, 1, 0], [np.nan] * 5, [1, 1, 3, 0, 1], [2, np.nan, 4, 1, 0]],
    )


def test_unused_levels_are_kept_and_two_labels_make_a_boolean():
    frame = pd.DataFrame(
        {
            "a": pd.Categorical(["x", "y", "x"], categories=["x", "y", "unused"]),
            "b": pd.Categorical(["x", "y", "x"], ordered=True),
            "c": ["only", "only", None],
        }
    )
    kinds = {c.name: (c.kind, c.levels) for c in Table.of(as_frame(frame)).columns}
    assert kinds["a"] == ("categorical", ("x", "y", "unused"))
    assert kinds["b"] == ("boolean", ("x", "y"))
    assert kinds["c"] == ("boolean", ("only",))


def test_integers_are_rounded_into_the_range_of_their_type():
    frame = as_frame(pd.DataFrame({"a": np.array([1, 2], np.int8), "b": np.array([1, 2], "u1")}))
    out = Table.of(frame).decode(np.array([[300.0, -7.0], [1.5, 2.5]]))
    assert out["a"].tolist() == [127, 2]
    assert out["b"].tolist() == [0, 2]
    assert out.dtypes.tolist() == [np.int8, np.uint8]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "'when' is of type Datetime.*Drop the"),
        (pd.Series([1, "a"], dtype=object), "'when' holds Python objects of type int, str"),
        (pd.Series([[1], [2]], dtype=object), "'when' holds Python objects of type list"),
    ],
)
def test_columns_that_no_loss_fits_are_named(column, message):
    frame = pd.DataFrame({"a": [1.0, 2.0], "when": column})
    with pytest.raises(TypeError, match=message):
        GLRM(1, loss="auto").fit(frame)


def test_a_column_of_very_many_strings_gets_a_warning():
    frame = pd.DataFrame({"id": [f"user {i}" for i in range(150)]})
    with pytest.warns(UserWarning, match="'id' holds 150 distinct strings"):
        Table.of(as_frame(frame))


# ------------------------------------------------------------------ losses by type


def test_auto_chooses_losses_and_domains_by_type(model):
    names = [type(loss).__name__ for loss in model.losses_]
    assert names == ["Quadratic", "Quadratic", "Logistic", "Logistic", "OneVsAll", "OrdinalHinge"]
    assert model._columns.domains == (
        Real(), Count(), Boolean(), Boolean(), Categorical(3), Ordinal(0, 3),
    )  # fmt: skip
    assert model.components_.shape == (2, 8)
    assert model.component_slices_[4:] == [slice(4, 7), slice(7, 8)]
    assert model.feature_names_in_.tolist() == [
        "size", "count", "flag", "answer", "colour", "grade",
    ]  # fmt: skip


def test_a_dict_leaves_the_other_columns_to_their_types(table):
    model = GLRM(1, loss={"colour": "multinomial", 0: "huber"}, **MIXED).fit(table)
    names = [type(loss).__name__ for loss in model.losses_]
    assert names == ["Huber", "Quadratic", "Logistic", "Logistic", "Multinomial", "OrdinalHinge"]


def test_robust_losses_know_the_unit_of_their_column(table):
    model = GLRM(1, loss="robust", **(MIXED | {"tol": 0.0, "max_iter": 1})).fit(table)
    seen = table["size"].dropna()
    spread = 1.4826 * np.median(np.abs(seen - np.median(seen)))
    assert model.losses_[0].delta == pytest.approx(spread, rel=1e-5)
    assert type(model.losses_[5]).__name__ == "BiggerVsSmaller"


def test_units_do_not_matter_with_scale(complete):
    numbers = complete[["size", "count"]].astype(float).assign(other=complete["size"] ** 2)
    units = np.array([1e-3, 1.0, 1e4])
    plain, large = (
        GLRM(
            1, loss="auto", offset=True, scale=True, regularization=3.0, tol=1e-8, max_iter=9999
        ).fit(data)
        for data in (numbers, numbers * units)
    )
    np.testing.assert_allclose(large.components_ / units, plain.components_, rtol=1e-3, atol=1e-4)
    assert large.objective_ == pytest.approx(plain.objective_, rel=1e-6)


def test_a_principal_component_of_a_boolean_is_imputed_as_a_boolean(table):
    model = GLRM(1, loss={"flag": "quadratic"}, **MIXED).fit(table)
    assert model.impute(table)["flag"].dtype == "boolean"


def test_ordinal_likelihoods_need_thresholds_and_keep_them_in_order(table):
    loss = {"grade": "cumulative_logit"}
    with pytest.raises(ValueError, match="'grade' has CumulativeLogit.*Set offset=True"):
        GLRM(1, loss=loss).fit(table)
    model = GLRM(1, loss=loss, **(MIXED | {"tol": 0.0, "max_iter": 10})).fit(table)
    mine = model.component_slices_[5]
    assert (np.diff(model.offset_[mine]) < 0).all()
    np.testing.assert_allclose(model.components_[:, mine], model.components_[:, [mine.start] * 3])
    assert np.isfinite(model.score(table))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("quadratic", "'flag' holds|'answer' holds 2 labels.*loss='auto'"),
        ({"colour": "quadratic"}, "'colour' holds 3 labels, and Quadratic.* needs numbers"),
        ({"colour": "logistic"}, "'colour' holds 3 labels.* needs 0 and 1"),
        ({"grade": "logistic"}, "'grade' holds 4 ordered labels"),
        ({"size": "multinomial"}, "'size' holds numbers from"),
        ({"size": "logistic"}, "'size' holds .* not in the domain of its loss"),
        ({"size": "poisson"}, "'size' holds .*counts: whole numbers from 0"),
        ({"colors": "multinomial"}, "there is no column 'colors'.*'colour'"),
        ({6: "quadratic"}, "there is no column 6.*0 to 5"),
        ({-1: "quadratic"}, "there is no column -1"),
        ({"size": "huber", 0: "absolute"}, "0 and 'size' are the same column"),
        (["quadratic"] * 5, "list of 5 for 6"),
        ("nope", "Unknown loss 'nope'.*'auto'"),
    ],
)
def test_losses_that_do_not_fit_are_refused_by_name(table, loss, message):
    model = GLRM(1, loss=loss)
    with pytest.raises(ValueError, match=message):
        model.fit(table)
    assert not hasattr(model, "n_features_in_")


# ------------------------------------------------------------------ back to the user


def test_imputation_keeps_what_was_observed_and_fills_the_rest_in_its_type(model, table):
    out = model.impute(table)
    assert (out.dtypes == table.dtypes).all()
    assert out.index.equals(table.index)
    assert not out.isna().any().any()
    assert out.where(table.notna()).equals(table)
    assert out["count"].min() >= 0


def test_imputation_beats_the_mean_and_the_mode(model, complete, table):
    out, hidden = model.impute(table), table.isna()
    size = complete["size"][hidden["size"]]
    error = (out["size"][hidden["size"]] - size).abs().mean()
    assert error < 0.7 * (table["size"].mean() - size).abs().mean()
    for name in ("flag", "answer", "colour", "grade"):
        truth = complete[name][hidden[name]].astype(object)
        right = np.mean(out[name][hidden[name]].astype(object) == truth)
        assert right > np.mean(table[name].mode()[0] == truth) + 0.2


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_other_libraries_get_the_same_cells(model, table, library):
    frame = as_library(table, library)
    other = GLRM(2, loss="auto", **MIXED).fit(frame)
    out = as_frame(other.impute(frame))
    assert out.schema == as_frame(frame).schema
    if library == "polars":  # Arrow has no ordered categories
        expected = model.impute(table)
        for name in ("count", "flag", "answer", "colour", "grade"):
            assert out[name].to_list() == expected[name].tolist()


def test_archetypes_are_rows_of_the_table(model, table):
    archetypes = model.inverse_transform(np.eye(2))
    assert archetypes["colour"].isin(["red", "green", "blue"]).all()
    assert (archetypes.dtypes == table.dtypes).all()
    np.testing.assert_allclose(
        archetypes["size"], model.components_[:, 0] + model.offset_[0], rtol=1e-5
    )


def test_labels_that_fit_has_not_seen_are_missing_with_one_warning(model, table):
    other = table.copy()
    red = (other["colour"] == "red").to_numpy()
    other["colour"] = other["colour"].where(~red, "purple")
    missing = table.copy()
    missing["colour"] = missing["colour"].where(~red)
    with pytest.warns(UserWarning, match=r"not seen by fit.*'colour' \('purple'\)") as record:
        W = model.transform(other)
    assert len(record) == 1
    np.testing.assert_array_equal(W, model.transform(missing))


def test_drawn_cells_are_of_the_domain_and_scatter(model, table):
    draws = [model.sample(table, random_state=seed) for seed in (0, 0, 1)]
    assert draws[0].equals(draws[1])
    assert not draws[0].equals(draws[2])
    for draw in draws:
        assert (draw.dtypes == table.dtypes).all()
        assert draw.where(table.notna()).equals(table)
        assert draw["colour"].isin(["red", "green", "blue"]).all()


def test_drawn_levels_follow_their_probabilities(model, table):
    whole = pd.concat([table.iloc[:1]] * 2000)
    drawn = model.sample(whole, random_state=0, missing_only=False)["flag"].mean()
    u = model._predictions(model.transform(table.iloc[:1]))[0, 2] * 1.0
    chance = 1 / (1 + np.exp(-model.column_weights_[2] * u))
    # 1 and 0 cost log(1 + e^-u) and log(1 + e^u): the odds are e^(w u).
    assert abs(drawn - chance) < 4 * np.sqrt(0.25 / 2000)


def test_arrays_of_codes_stand_for_labels(model, table):
    frame = as_frame(table)
    codes = model._table.encode(frame).to_numpy()
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_allclose(model.transform(codes), model.transform(table), rtol=1e-5)


def test_columns_must_come_back_in_name_and_order(model, table):
    before = model.components_.copy()
    for wrong in (table[table.columns[::-1]], table.iloc[:, :3]):
        with pytest.raises(ValueError, match="feature names should match"):
            model.transform(wrong)
    with pytest.raises(TypeError, match="'size' held numbers in fit, and is of type String"):
        model.impute(table.assign(size="large"))
    check_is_fitted(model)
    np.testing.assert_array_equal(model.components_, before)


def test_new_rows_of_a_table_are_learned(model, table):
    other = GLRM(2, loss="auto", **MIXED).fit(table.iloc[:60])
    other.partial_fit(table.iloc[60:])
    assert other.row_factors_.shape == (90, 2)
    assert other.score(table) > 0.2


@pytest.mark.parametrize("scale", [False, True])
def test_constant_and_empty_columns_keep_their_place(scale):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=20),
            "same": pd.Categorical(["x"] * 20, categories=["x", "y"]),
            "empty": pd.Series([None] * 20, dtype="boolean"),
            "b": rng.normal(size=20),
        }
    )
    model = GLRM(1, loss="auto", offset=True, scale=scale, max_iter=5, tol=0)
    with pytest.warns(UserWarning, match="2 of 4 columns hold a single value.*'same', 'empty'"):
        model.fit(frame)
    assert np.isfinite(model.components_).all()
    assert np.isfinite(model.offset_).all()
    out = model.impute(frame)
    assert (out["same"] == "x").all()
    assert out["empty"].notna().all()
    np.testing.assert_array_equal(model.column_weights_[1:3], 1)
