"""LIBMF's text and models: what was written is what is read, and what is wrong is told by line."""

import pickle

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skglrm import Entries, FPSGFactorizer, io
from skglrm._jit import read_only
from skglrm.io import _libmf_text as text_files
from skglrm.kernels import text as kernels
from skglrm.losses import Hinge, Huber


def cells(n=500, shape=(40, 30), dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    cell = rng.permutation(shape[0] * shape[1])[:n]
    value = rng.normal(size=n) * 10.0 ** rng.integers(-30, 30, n)
    return Entries(cell // shape[1], cell % shape[1], value.astype(dtype), shape)


def assert_same(a, b):
    assert a.matrix_shape == b.matrix_shape and a.value.dtype == b.value.dtype
    for name in ("row", "col", "value"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces of a few lines each."""
    monkeypatch.setattr(text_files, "BYTES_PER_PIECE", 64)


# ------------------------------------------------------------------ ratings


@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_was_written_is_what_is_read(dtype, n_jobs, tmp_path, small_pieces):
    entries = cells(dtype=dtype)
    io.write_libmf(tmp_path / "ratings", entries)
    again = io.read_libmf(tmp_path / "ratings", shape=(40, 30), dtype=dtype, n_jobs=n_jobs)
    assert_same(again, entries)


def test_chunks_are_the_file_in_parts(tmp_path, small_pieces):
    io.write_libmf(tmp_path / "ratings", cells())
    chunks = list(io.read_libmf_chunks(tmp_path / "ratings"))
    assert len(chunks) > 50
    row, col, value = map(np.concatenate, zip(*chunks, strict=True))
    assert_same(Entries(row, col, value, (40, 30)), cells())


def test_any_blanks_separate_and_any_number_is_a_value(tmp_path, small_pieces):
    lines = ["0 0 5", "\t0\t1  -0.25 ", "", "  ", "1 0 +7.", "1 1 .5\r", "2 2 1e-3", "3 0 -0",
             "3 1 12345678901234567890", "3 2 0.1234567890123456789", "4 4 1E2"]  # fmt: skip
    path = tmp_path / "ratings"
    path.write_text("\n".join(lines))
    entries = io.read_libmf(path, dtype=np.float64)
    numbers = [line.split() for line in lines if line.split()]
    assert entries.row.tolist() == [int(row) for row, _, _ in numbers]
    assert entries.col.tolist() == [int(col) for _, col, _ in numbers]
    assert entries.value.tolist() == [float(value) for _, _, value in numbers]
    assert entries.matrix_shape == (5, 5)


def test_the_kernel_and_its_source_agree():
    content = b"3 14 1.5\n\n 0 0 -2 \n7 7 nan\n1 1 1 x\n"
    text = read_only(np.frombuffer(content, np.uint8))
    results = []
    for parse in (kernels.parse_triples, kernels.parse_triples.py_func):
        row, col = np.zeros(5, np.int32), np.zeros(5, np.int32)
        mantissa, decimals = np.zeros(5), np.zeros(5, np.uint8)
        end = parse(text, row, col, mantissa, decimals)
        results.append((*map(int, end), *(a[:3].tolist() for a in (row, col, mantissa, decimals))))
    nan, x = content.index(b"nan"), content.index(b"x")
    expected = (3, kernels.TOO_MANY, x, [3, 0, 7], [14, 0, 7], [15, -2, nan], [1, 0, 255])
    assert results == [expected, expected]


FLAWS = {
    "negative row": ("-1 0 1", "the row '-1' is not"),
    "row with a point": ("1.0 0 1", "the row '1.0' is not"),
    "huge column": ("0 2147483647 1", "the column '2147483647' is not"),
    "endless column": ("0 99999999999999999999999 1", "the column '99999999999999999999999' is"),
    "one field": ("7", "the column that is missing"),
    "two fields": ("7 7", "the value is missing"),
    "four fields": ("7 7 1 881250949", "'881250949' follows after"),
    "a word": ("7 7 good", "the value 'good' is not a finite number"),
    "nan": ("7 7 nan", "the value 'nan' is not a finite number"),
    "infinity": ("7 7 1e99", "the value '1e99' is not a finite number"),
    "underscore": ("7 7 1_0", "the value '1_0' is not a finite number"),
    "comma": ("7,7,1", "the row '7,7,1' is not"),
    "no text": ("\xff 7 1", "the row '"),
    "an endless line": ("1" * 30_000, "the row '1111"),
}


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize("n_before", [0, 5, 200])
def test_a_flaw_is_told_with_its_line(flaw, n_before, tmp_path, small_pieces):
    line, message = FLAWS[flaw]
    path = tmp_path / "ratings"
    before = "".join(f"{i} 0 1\n" for i in range(n_before))
    path.write_text(before + "\n" + line + "\n0 0 1\n", encoding="latin-1")
    with pytest.raises(ValueError) as error:
        io.read_libmf(path)
    assert f"line {n_before + 2}: {message}" in str(error.value)


def test_the_earliest_flaw_is_told(tmp_path, small_pieces):
    path = tmp_path / "ratings"
    path.write_text("0 0 1\n0 1 nan\n0 2\n")
    with pytest.raises(ValueError, match="line 2: the value 'nan'"):
        io.read_libmf(path)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_entries_needs_a_shape(content, tmp_path):
    path = tmp_path / "ratings"
    path.write_text(content)
    with pytest.raises(ValueError, match="has no entry. Give shape"):
        io.read_libmf(path)
    assert io.read_libmf(path, shape=(2, 3)).matrix_shape == (2, 3)
    assert list(io.read_libmf_chunks(path)) == []


def test_arguments_are_checked(tmp_path):
    path = tmp_path / "ratings"
    path.write_text("5 0 1\n")
    with pytest.raises(ValueError, match=r"row\[0\] is 5, but"):
        io.read_libmf(path, shape=(2, 2))
    with pytest.raises(ValueError, match="dtype must be"):
        io.read_libmf(path, dtype=np.int32)
    with pytest.raises(TypeError, match="write_libmf needs Entries; got list"):
        io.write_libmf(path, [(0, 0, 1)])
    with pytest.raises(ValueError, match="at most 2147483647 rows"):
        io.write_libmf(path, Entries([0], [0], [1.0], (2**31, 1)))
    with pytest.raises(FileNotFoundError):
        io.read_libmf(tmp_path / "nothing")
    assert path.read_text() == "5 0 1\n"


def test_a_file_is_replaced_at_once_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "ratings"
    path.write_text("as it was")

    def fail(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr(text_files.np, "unique", fail)
    with pytest.raises(OSError, match="disk is full"):
        io.write_libmf(path, cells())
    assert path.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [path]


# ------------------------------------------------------------------ models


# As LIBMF writes it, with a blank at the end of lines.
MODEL = "f 0\nm 3\nn 2\nk 2\nb 3.5\np0 T 1 2 \np1 F 0 0 \np2 T -0.5 1e-3 \nq0 T 3 1 \nq1 F 0 0 \n"


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "model"
    path.write_text(MODEL)
    return path


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 20))
    X[rng.random(X.shape) < 0.3] = np.nan
    X[4], X[:, 7] = np.nan, np.nan
    return FPSGFactorizer(4, max_iter=5, random_state=0).fit(X.astype(np.float32))


def test_libmf_s_factors_are_read(model_file):
    model = io.read_libmf_model(model_file)
    np.testing.assert_array_equal(model.row_factors_, np.float32([[1, 2], [0, 0], [-0.5, 1e-3]]))
    np.testing.assert_array_equal(model.components_, np.float32([[3, 0], [1, 0]]))
    assert (model.loss, model.baseline_, model.n_components) == ("squared", 3.5, 2)
    # As LIBMF predicts: the mean wherever a side is unseen or outside.
    predicted = model.predict_entries([0, 2, 1, 0, 0, 3, -1], [0, 0, 0, 1, 9, 0, 0])
    np.testing.assert_allclose(predicted, [5, -1.499, 3.5, 3.5, 3.5, 3.5, 3.5], rtol=1e-6)


def test_a_model_that_was_read_is_a_model_like_any_other(model_file):
    model = io.read_libmf_model(model_file)
    assert model.transform([[5.0, np.nan]]).shape == (1, 2)
    assert model.recommend([[np.nan, np.nan]], n=1)[0].shape == (1, 1)
    model.partial_fit(Entries([0, 4], [0, 1], [4.0, 5.0]))
    assert model.row_factors_.shape == (5, 2)


def test_a_model_that_was_written_is_read_back(fitted, tmp_path):
    io.write_libmf_model(tmp_path / "model", fitted)
    again = io.read_libmf_model(tmp_path / "model")
    np.testing.assert_array_equal(again.row_factors_, fitted.row_factors_)
    np.testing.assert_array_equal(again.components_, fitted.components_)
    assert again.baseline_ == pytest.approx(fitted.baseline_, rel=1e-8)
    lines = (tmp_path / "model").read_text().splitlines()
    assert lines[5 + 4] == "p4 F 0 0 0 0 " and lines[5 + 30 + 7] == "q7 F 0 0 0 0 "
    io.write_libmf_model(tmp_path / "again", again)
    assert (tmp_path / "again").read_text().splitlines() == lines


@pytest.mark.parametrize(("low", "loss"), [(0.0, "logistic"), (-1.0, Hinge())], ids=str)
def test_booleans_are_minus_1_and_1_in_libmf(low, loss, tmp_path):
    entries = cells(700)
    value = np.where(np.sin(entries.row + entries.col) > -0.5, 1.0, low)
    entries = Entries(entries.row, entries.col, value, (45, 30))
    model = FPSGFactorizer(4, loss=loss, max_iter=5, random_state=0).fit(entries)
    io.write_libmf_model(tmp_path / "model", model)
    assert (tmp_path / "model").read_text().startswith("f 7" if low else "f 5")
    again = io.read_libmf_model(tmp_path / "model")
    assert again.classes_.tolist() == [-1.0, 1.0]
    rows, cols = np.divmod(np.arange(40 * 30), 30)
    for output, a, b in (("score", 1, 0), ("response", 1, 0), ("label", 1 - low, low)):
        got, expected = (m.predict_entries(rows, cols, output=output) for m in (again, model))
        if output == "label":
            got = a * (got > 0) + b
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    unseen = [m.predict_entries([44, 99], [99, 99], output="score") for m in (again, model)]
    np.testing.assert_allclose(*unseen, rtol=1e-5)


def test_intercepts_become_components(tmp_path):
    train = Entries(cells().row, cells().col, np.sin(cells().row + 2.0), (40, 30))
    model = FPSGFactorizer(2, fit_intercept=True, max_iter=5, random_state=0).fit(train)
    io.write_libmf_model(tmp_path / "model", model)
    again = io.read_libmf_model(tmp_path / "model")
    assert again.n_components == 4
    got, expected = (m.predict_entries(train.row, train.col) for m in (again, model))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_a_ranking_that_was_read_ranks(tmp_path):
    path = tmp_path / "model"
    path.write_text(MODEL.replace("f 0", "f 10").replace("q1 F 0 0", "q1 T 4 1"))
    model = io.read_libmf_model(path)
    assert model.loss == "bpr_row"
    entries = Entries([0], [0], [1.0], (3, 2))
    assert model.recommend(entries, n=2, exclude_seen=False)[0][0].tolist() == [1, 0]


DAMAGES = {
    "not a model": (lambda s: "0 0 5\n", 1, "must be 'f'"),
    "empty": (lambda s: "", 1, "must be 'f'"),
    "unknown problem": (lambda s: s.replace("f 0", "f 3"), 1, "no such problem"),
    "one class": (lambda s: s.replace("f 0", "f 12"), None, "is a one-class model"),
    "half a problem": (lambda s: s.replace("f 0", "f 0.5"), 1, "no whole number"),
    "no rows": (lambda s: s.replace("m 3", "m 0"), 2, "from 1 to"),
    "a bomb": (lambda s: s.replace("m 3", "m 2000000000"), 5, "do not fit in the file"),
    "another bomb": (lambda s: s.replace("k 2", "k 2000000000"), 5, "do not fit in the file"),
    "mean": (lambda s: s.replace("b 3.5", "b nan"), 5, "must be 'b'"),
    "a row too few": (lambda s: s.replace("p2 T -0.5 1e-3 \n", ""), 8, "must be p2"),
    "a number too few": (lambda s: s.replace("T 3 1", "T 3"), 9, "2 numbers"),
    "a word": (lambda s: s.replace("T 3 1", "T 3 x"), 9, "not a number"),
    "an infinite factor": (lambda s: s.replace("T 3 1", "T 3 inf"), 9, "2 finite numbers"),
    "cut short": (lambda s: s[: s.index("q1")], 10, "must be q1"),
    "an endless line": (lambda s: s.replace("T 3 1", "T 3 1" + " " * 999), 9, "too long"),
    "more": (lambda s: s + "\nq2 T 1 1\n", 12, "nothing should follow"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_told_with_its_line(damage, tmp_path):
    change, line, message = DAMAGES[damage]
    path = tmp_path / "model"
    path.write_text(change(MODEL))
    with pytest.raises(ValueError) as error:
        io.read_libmf_model(path)
    assert message in str(error.value)
    assert line is None or f"line {line}: " in str(error.value)


def test_only_what_libmf_has_is_written(fitted, tmp_path):
    with pytest.raises(NotFittedError):
        io.write_libmf_model(tmp_path / "model", FPSGFactorizer())
    with pytest.raises(TypeError, match="got Entries"):
        io.write_libmf_model(tmp_path / "model", cells())
    fitted = pickle.loads(pickle.dumps(fitted)).set_params(loss=Huber())
    with pytest.raises(ValueError, match=r"has no loss Huber\(delta=1.0\); it has squared"):
        io.write_libmf_model(tmp_path / "model", fitted)
    assert not list(tmp_path.iterdir())
