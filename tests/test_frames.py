"""Data frames of three libraries go in, and names and ids come out."""

import datetime

import numpy as np
import pytest

from skglrm import GLRM, Entries, FPSGFactorizer, ImplicitALS

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")
pyarrow = pytest.importorskip("pyarrow")

LIBRARIES = ["pandas", "polars", "pyarrow"]
NAMES = ["Alien", "Brazil", "Casablanca", "Dune", "Edge"]


def frame(library, columns):
    made = pandas.DataFrame(columns)
    if library == "pandas":
        return made
    arrow = pyarrow.Table.from_pandas(made, preserve_index=False)
    return arrow if library == "pyarrow" else polars.from_arrow(arrow)


def wide():
    rng = np.random.default_rng(0)
    X = np.outer(rng.random(12) + 1, rng.random(5) + 1)
    X[rng.random(X.shape) < 0.3] = np.nan
    return X


def long():
    rows, columns = np.nonzero(~np.isnan(wide()))
    return {
        "who": [f"user {i:02}" for i in rows],
        "what": [NAMES[j] for j in columns],
        "stars": wide()[rows, columns],
    }


MODELS = [
    GLRM(2),
    FPSGFactorizer(2, max_iter=3, random_state=0),
    ImplicitALS(2, max_iter=2, random_state=0),
]
each_estimator = pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
each_library = pytest.mark.parametrize("library", LIBRARIES)


@each_estimator
@each_library
def test_a_frame_is_the_matrix_of_its_columns(model, library):
    X = frame(library, dict(zip(NAMES, wide().T, strict=True)))
    fitted = model.fit(X)
    assert fitted.feature_names_in_.tolist() == NAMES
    names, scores = fitted.recommend(X, n=2, return_names=True)
    W = np.asarray(fitted.transform(X))
    plain = type(model)(**model.get_params()).fit(wide())
    np.testing.assert_allclose(W, plain.transform(wide()))
    places, expected = plain.recommend(wide(), n=2)
    np.testing.assert_allclose(scores, expected)
    assert names.tolist() == [[NAMES[j] if j >= 0 else None for j in row] for row in places]


@each_estimator
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_factors_come_out_as_the_frame_that_was_asked_for(model, library):
    X = frame(library, dict(zip(NAMES, wide().T, strict=True)))
    model = type(model)(**model.get_params()).set_output(transform=library)
    factors = model.fit(X).transform(X)
    assert type(factors).__module__.startswith(library)
    prefix = type(model).__name__.lower()
    assert list(factors.columns) == [f"{prefix}0", f"{prefix}1"]
    if library == "pandas":
        moved = X.set_axis([f"row {i}" for i in range(12)])
        assert model.transform(moved).index.equals(moved.index)
    entries = Entries.from_frame(frame(library, long()), row="who", col="what", value="stars")
    assert type(model.fit(entries).transform(entries)).__module__.startswith(library)


@each_estimator
@each_library
def test_ids_go_in_and_come_out(model, library):
    entries = Entries.from_frame(frame(library, long()), row="who", col="what", value="stars")
    model = type(model)(**model.get_params()).fit(entries)
    names, scores = model.recommend(entries[entries.row == 3], n=4, return_names=True)
    places = model.recommend(entries[entries.row == 3], n=4, return_scores=False)
    there = places[3] >= 0
    assert names.dtype == object and scores.shape == names.shape
    assert names[3][there].tolist() == [NAMES[j] for j in places[3][there]]
    assert all(name is None for name in names[3][~there])
    alone = model.recommend(entries, n=2, return_scores=False, return_names=True)
    assert alone.shape == (12, 2)


def test_dates_and_numbers_are_names_as_well():
    days = datetime.date(2026, 1, 1), datetime.date(2026, 1, 2), datetime.date(2026, 1, 3)
    table = polars.DataFrame(
        {"who": [1, 1, 2, 2, 3], "day": [days[i] for i in (0, 1, 0, 2, 1)], "x": [1.0, 2, 3, 4, 5]}
    )
    entries = Entries.from_frame(table, row="who", col="day", value="x")
    model = FPSGFactorizer(1, max_iter=2, random_state=0).fit(entries)
    names = model.recommend(entries, n=2, return_scores=False, return_names=True)
    assert names.dtype.kind == "M"
    assert names[0, 0] == np.datetime64("2026-01-03") and np.isnat(names[0, 1])
    numbers = Entries.from_frame(table, row="day", col="who", value="x")
    model = FPSGFactorizer(1, max_iter=2, random_state=0).fit(numbers)
    names = model.recommend(numbers, n=2, return_scores=False, return_names=True)
    assert names[2].tolist() in ([1, 3], [3, 1])  # the day that only 2 has rated
    assert names[0].tolist() == [3, None] and type(names[0, 0]) is int


def test_columns_without_names_are_refused_before_anything_is_computed():
    model = FPSGFactorizer(1, max_iter=2, random_state=0).fit(wide())
    with pytest.raises(ValueError, match="have no names. Fit on a data frame or on Entries"):
        model.recommend(None, return_names=True)


@each_library
def test_entries_go_back_to_the_table_they_came_from(library):
    table = frame(library, long())
    entries = Entries.from_frame(table, row="who", col="what", value="stars")
    back = entries.to_frame(row="who", col="what", value="stars", backend=library)
    assert type(back) is type(table)
    again = Entries.from_frame(back, row="who", col="what", value="stars")
    for name in ("row", "col", "value"):
        np.testing.assert_array_equal(getattr(again, name), getattr(entries, name))
    assert again.col_ids.tolist() == entries.col_ids.tolist() == sorted({*long()["what"]})


def test_entries_without_ids_give_positions():
    back = Entries([1, 0], [2, 0], [3.0, 4.0]).to_frame(backend="polars")
    assert back.columns == ["row", "col", "value"] and back.rows() == [(1, 2, 3.0), (0, 0, 4.0)]
    with pytest.raises(ValueError, match="backend must be 'pandas', 'polars' or 'pyarrow'"):
        Entries([0], [0], [1.0]).to_frame(backend="excel")
