"""Block files: they hold what was written, a fit of one is the fit in memory, damage is refused."""

import dataclasses
import os
import pickle
import tracemalloc
import zlib

import numpy as np
import pytest

from skglrm import Entries, FPSGFactorizer, _block_writer
from skglrm._block_format import Head, pack_tables
from skglrm.block_file import BlockFile
from skglrm.kernels.block_file import check_block
from skglrm.kernels.grid import entry_type
from skglrm.solvers.grid import DuplicateCellError
from skglrm.solvers.schedule import LeastUpdated, Rotation

SHAPES = [(60, 40), (40, 70)]
DTYPES = [np.float64, np.float32]


def ratings(shape=(60, 40), dtype=np.float64, share=0.4, seed=0):
    rng = np.random.default_rng(seed)
    m, n = shape
    truth = rng.normal(size=(m, 2)) @ rng.normal(size=(2, n)) + 0.1 * rng.normal(size=(m, n))
    cell = rng.permutation(m * n)[: int(share * m * n)]
    return Entries(cell // n, cell % n, truth.ravel()[cell].astype(dtype), shape)


def make(**params):
    defaults = {"n_components": 4, "max_iter": 5, "random_state": 0, "schedule": "rotation"}
    return FPSGFactorizer(**(defaults | params))


def sorted_cells(entries):
    order = np.lexsort((entries.col, entries.row))
    return [a[order].tolist() for a in (entries.row, entries.col, entries.value)]


def cells_of(file):
    parts = list(file.blocks())
    arrays = [np.concatenate([getattr(p, n) for p in parts]) for n in ("row", "col", "value")]
    return sorted_cells(Entries(*arrays, file.matrix_shape))


def assert_same_bits(a, b):
    names = {name for name, value in vars(a).items() if isinstance(value, np.ndarray)}
    assert names >= {"row_factors_", "components_"}
    for name in names:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert a.loss_curve_ == b.loss_curve_
    assert (a.scale_, a.baseline_) == (b.scale_, b.baseline_)


@pytest.fixture
def small_runs(monkeypatch):
    """The writer sorts 100 entries at a time."""
    monkeypatch.setattr(_block_writer, "ENTRIES_PER_RUN", 100)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ratings.blocks"


@pytest.fixture
def file(path):
    return BlockFile.write(path, ratings(), n_blocks=3, random_state=0)


# ------------------------------------------------------------------ writing


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_holds_what_was_written(shape, dtype, path, small_runs):
    entries = ratings(shape, dtype)
    file = BlockFile.write(path, entries, n_blocks=4)
    assert (len(file), file.matrix_shape, file.dtype) == (len(entries), shape, dtype)
    assert cells_of(file) == sorted_cells(entries)
    assert len(list(file.blocks())) == 16


def test_how_entries_come_does_not_matter(path, small_runs):
    entries = ratings()
    cut = np.split(np.arange(len(entries)), [7, 300, 301, 600])
    sources = {
        "one": entries,
        "a list": [entries[part] for part in cut],
        "a generator": (entries[part] for part in cut),
        "tuples": [(entries.row[t], entries.col[t], entries.value[t]) for t in cut],
        "an empty chunk": [entries[cut[0]], ([], [], []), entries[7:], entries[:0]],
        "unsigned": [(entries.row.astype(np.uint8), entries.col.tolist(), entries.value)],
    }
    contents = set()
    for source in sources.values():
        BlockFile.write(path, source, shape=(60, 40), n_blocks=3, random_state=0)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_the_order_of_entries_does_not_matter(path):
    value = np.round(ratings().value * 4) / 4  # whose sums are exact
    entries = Entries(ratings().row, ratings().col, value, (60, 40))
    contents = set()
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(entries))
        BlockFile.write(path, entries[order], random_state=0)
        # All but the sum of squares in the head, which is rounded.
        contents.add(path.read_bytes()[72:])
    assert len(contents) == 1


def test_the_matrix_is_the_smallest_unless_a_shape_is_given(path):
    chunks = [([2], [0], [1.0]), ([0], [4], [2.0])]
    assert BlockFile.write(path, chunks).matrix_shape == (3, 5)
    assert BlockFile.write(path, chunks, shape=(4, 6)).matrix_shape == (4, 6)
    assert BlockFile.write(path, Entries([0], [0], [1.0], (7, 8))).matrix_shape == (7, 8)


def test_the_first_chunk_says_the_type_unless_one_is_given(path):
    chunks = [([0], [0], np.float32([1.5])), ([1], [1], np.float64([2.5]))]
    assert BlockFile.write(path, chunks).dtype == np.float32
    assert BlockFile.write(path, chunks, dtype=np.float64).dtype == np.float64


BAD = {
    "nothing": ([], {}, ValueError, "no entry to write"),
    "empty": ([([], [], [])], {}, ValueError, "no entry to write"),
    "a number": ([5], {}, TypeError, "got int"),
    "two arrays": ([([0], [0])], {}, TypeError, "got tuple"),
    "a matrix": ([np.ones((3, 3))], {}, TypeError, "got ndarray"),
    "negative": ([([-1], [0], [1.0])], {}, ValueError, "positions are counted from 0"),
    "outside": ([([5], [0], [1.0])], {"shape": (2, 2)}, ValueError, r"row\[0\] is 5"),
    "nan": ([([0], [0], [np.nan])], {}, ValueError, "NaN or infinite"),
    "too wide": ([([0], [2**31], [1.0])], {}, ValueError, "at most 2147483647"),
    "n_blocks": ([([0], [0], [1.0])], {"n_blocks": 2}, ValueError, "smaller side.* has 1"),
    "no blocks": ([([0], [0], [1.0])], {"n_blocks": 0}, ValueError, "at least 1. Got 0"),
    "half blocks": ([([0], [0], [1.0])], {"n_blocks": 1.5}, ValueError, "at least 1. Got 1.5"),
    "dtype": ([([0], [0], [1.0])], {"dtype": np.int32}, ValueError, "numpy.float32 or"),
    "twice": ([([0, 1], [0, 3], [1.0, 1]), ([1], [3], [2.0])], {}, DuplicateCellError, "row 1"),
    "twice, tall": ([([5, 0, 5], [1, 0, 1], [1.0, 1, 1])], {}, DuplicateCellError, "row 5"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_written_leaves_the_old_file(bad, path):
    source, params, error, message = BAD[bad]
    path.write_text("as it was")
    with pytest.raises(error, match=message):
        BlockFile.write(path, source, **params)
    assert path.read_text() == "as it was"
    assert os.listdir(path.parent) == [path.name]


def test_ids_have_no_place_in_a_file(path):
    frame = pytest.importorskip("pandas").DataFrame({"u": ["a"], "i": ["b"], "v": [1.0]})
    entries = Entries.from_frame(frame, row="u", col="i", value="v")
    with pytest.raises(ValueError, match="holds positions, no ids. Keep entries.row_ids"):
        BlockFile.write(path, entries)


def test_a_source_that_fails_leaves_nothing_behind(path):
    def chunks():
        yield ratings()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BlockFile.write(path, chunks())
    assert os.listdir(path.parent) == []


def peak_of(action):
    tracemalloc.start()
    try:
        result = action()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_entries(path, monkeypatch):
    monkeypatch.setattr(_block_writer, "ENTRIES_PER_RUN", 5_000)
    m, n, parts = 300, 200, 16

    def chunks():
        for part in range(parts):
            cell = np.arange(part, m * n, parts)
            yield cell // n, cell % n, np.sin(cell)

    BlockFile.write(path, chunks(), n_blocks=8)  # compiles
    make(max_iter=2).fit(BlockFile(path))
    size = path.stat().st_size
    assert size > 16 * m * n
    peak, file = peak_of(lambda: BlockFile.write(path, chunks(), n_blocks=8))
    assert peak < 0.75 * size
    peak, _ = peak_of(lambda: make(max_iter=2).fit(file))
    assert peak < 0.5 * size


# ------------------------------------------------------------------ fitting


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_fit_of_a_file_is_the_fit_in_memory_to_the_bit(shape, dtype, n_jobs, path, small_runs):
    entries = ratings(shape, dtype)
    file = BlockFile.write(path, entries, n_blocks=5, random_state=0)
    expected = make(n_blocks=5).fit(entries)
    model = make(n_jobs=n_jobs).fit(file)
    assert_same_bits(model, expected)
    np.testing.assert_array_equal(model.transform(entries), expected.transform(entries))
    assert model.score(entries) == expected.score(entries)
    more = ratings((shape[0] + 5, shape[1]), dtype, seed=1)
    assert_same_bits(model.partial_fit(more), expected.set_params(n_blocks=None).partial_fit(more))


def booleans(entries, low):
    value = np.where(entries.value > 0, 1.0, low)
    return Entries(entries.row, entries.col, value, entries.matrix_shape)


@pytest.mark.parametrize(
    ("params", "low"),
    [
        ({"fit_intercept": True}, None),
        ({"loss": "absolute"}, None),
        ({"loss": "logistic"}, 0.0),
        ({"loss": "logistic"}, -1.0),
    ],
    ids=str,
)
def test_other_losses_too(params, low, path):
    entries = ratings(share=0.5) if low is None else booleans(ratings(share=0.5), low)
    file = BlockFile.write(path, entries, n_blocks=3, random_state=0)
    model = make(**params).fit(file)
    expected = make(n_blocks=3, **params).fit(entries)
    # The median of an even number of values is not unique.
    baseline = pytest.approx(expected.baseline_, abs=0.05)
    assert model.baseline_ == baseline
    model.baseline_ = expected.baseline_
    assert_same_bits(model, expected)
    if low is not None:
        assert model.classes_.tolist() == [low, 1.0]


def test_a_default_grid_is_that_of_a_default_fit(path):
    entries = ratings((400, 300), share=1.0)
    file = BlockFile.write(path, entries, random_state=0)
    assert file.n_blocks == 2
    assert_same_bits(make(max_iter=2).fit(file), make(max_iter=2).fit(entries))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_fpsg_schedule_reads_files_too(n_jobs, file):
    model = make(schedule="fpsg", max_iter=40, n_jobs=n_jobs).fit(file)
    expected = make(max_iter=40, n_blocks=3).fit(ratings())
    assert model.loss_curve_[-1] == pytest.approx(expected.loss_curve_[-1], rel=0.05)


def test_another_seed_is_another_start_on_the_same_grid(file):
    models = [make(random_state=seed).fit(file) for seed in (1, 1, 2)]
    assert_same_bits(models[0], models[1])
    assert not np.array_equal(models[0].components_, models[2].components_)
    assert models[2].loss_curve_[-1] < models[2].loss_curve_[0]


def test_a_warm_start_goes_on(file):
    model = make(warm_start=True, max_iter=3).fit(file)
    expected = make(warm_start=True, max_iter=3, n_blocks=3).fit(ratings())
    assert_same_bits(model.fit(file), expected.fit(ratings()))
    assert model.n_iter_ == 6


def test_systems_without_positioned_reads_and_hints_get_the_same_bits(file, monkeypatch):
    expected = make(n_jobs=2).fit(file)
    monkeypatch.delattr(os, "preadv", raising=False)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    assert_same_bits(make(n_jobs=2).fit(file), expected)


@pytest.mark.parametrize("n_bands", [1, 3, 7])
def test_rotation_announces_what_comes_next(n_bands):
    schedule = Rotation(np.ones((n_bands, n_bands), int), 0)
    schedule.begin(0)
    while (block := schedule.take()) is not None:
        schedule.give(block)
        coming = schedule.coming()
        if coming:
            assert schedule.take() == coming[-1]
            schedule.give(coming[-1])


def test_what_fpsg_announces_are_free_blocks():
    schedule = LeastUpdated(np.ones((5, 5), int), 0)
    schedule.begin(0)
    held = [schedule.take(), schedule.take()]
    assert len(schedule.coming()) > 0
    assert set(schedule.coming()) <= set(range(25)) - set(held)


REFUSED = {
    "bpr": ({"loss": "bpr_row"}, "must know all columns of a row"),
    "one_class": ({"loss": "one_class"}, "must know all columns of a row"),
    "early_stopping": ({"early_stopping": True}, "draws entries to hold out"),
    "hogwild": ({"schedule": "hogwild"}, "shuffles all entries"),
    "n_blocks": ({"n_blocks": 4}, "was written with n_blocks=3"),
    "domain": ({"loss": "kl", "nonnegative": True}, "does not fit the loss"),
    "booleans": ({"loss": "logistic"}, "Booleans are 0 and 1, or -1 and 1"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_needs_all_entries_is_refused(reason, file):
    params, message = REFUSED[reason]
    model = make(**params)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.fit(file)
    assert vars(model) == before


def test_booleans_are_of_one_kind_in_all_blocks(path):
    chunks = [(range(4), range(4), [0, 1, -1, 1])]
    file = BlockFile.write(path, [tuple(map(np.array, chunks[0]))], n_blocks=4)
    with pytest.raises(ValueError, match="Booleans are 0 and 1, or -1 and 1"):
        make(loss="logistic").fit(file)


def test_weights_are_refused(file):
    with pytest.raises(ValueError, match="the file holds no weights"):
        make().fit(file, weights=np.ones(len(file)))


def test_a_file_is_not_an_array(file):
    with pytest.raises(TypeError, match="A BlockFile is not an array"):
        np.asarray(file)
    model = make().fit(file)
    for call in (model.transform, model.score, model.partial_fit):
        with pytest.raises(TypeError, match="A BlockFile is not an array"):
            call(file)


def test_a_pickled_file_is_opened_again(file):
    assert_same_bits(make().fit(pickle.loads(pickle.dumps(file))), make().fit(file))


# ------------------------------------------------------------------ damage


def test_a_file_cut_short_is_refused_wherever_it_ends(file, path):
    content = path.read_bytes()
    for size in [0, 5, 8, 71, 72, 73, 500, len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="is damaged|is not a block file"):
            BlockFile(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match=r"has \d+ bytes and should have"):
        BlockFile(path)


def test_every_flipped_bit_of_head_and_tables_is_found(file, path):
    content = path.read_bytes()
    begin = file._tables.head.entries_begin
    for place in [*range(72), *range(72, begin, 131), begin - 1]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged|is not a block file|has version"):
            BlockFile(path)


def test_other_files_and_versions_are_told_apart(file, path):
    content = path.read_bytes()
    path.write_text("0 0 5\n")
    with pytest.raises(ValueError, match="not a block file. .*read_libmf reads LIBMF's text"):
        BlockFile(path)
    path.write_bytes(content[:8] + (2).to_bytes(4, "little") + content[12:])
    with pytest.raises(ValueError, match="has version 2 .* reads version 1"):
        BlockFile(path)
    with pytest.raises(FileNotFoundError):
        BlockFile(path.parent / "nothing")


HOSTILE = [
    {"n_rows": 2**31 - 1},
    {"n_columns": 2**62},
    {"n_entries": 2**62},
    {"n_entries": -1},
    {"n_rows": 0},
    {"n_blocks": 0},
    {"n_blocks": 2**40},
    {"value_size": 3},
    {"seed": -1},
    {"squares": float("nan")},
]


@pytest.mark.parametrize("lie", HOSTILE, ids=str)
def test_a_head_that_lies_is_refused_before_memory_is_taken(lie, file, path):
    head = dataclasses.replace(file._tables.head, **lie)
    content = path.read_bytes()
    path.write_bytes(head.pack() + content[72:])

    def attempt():
        with pytest.raises(ValueError, match="is damaged"):
            BlockFile(path)

    assert peak_of(attempt)[0] < 100_000


def forged(path, change):
    """Write a file with valid checksums whose tables or entries are changed."""
    tables = BlockFile(path)._tables
    content = path.read_bytes()
    arrays = {f"{side}.{name}": array.copy() for side in ("rows", "columns")
              for name, array in vars(getattr(tables, side)).items()}  # fmt: skip
    arrays["offsets"] = tables.offsets.copy()
    dtype = entry_type(tables.head.dtype)
    arrays["entries"] = np.frombuffer(content[tables.head.entries_begin :], dtype).copy()
    change(arrays)
    sides = [
        type(tables.rows)(*(arrays[f"{side}.{f.name}"] for f in dataclasses.fields(tables.rows)))
        for side in ("rows", "columns")
    ]
    packed = pack_tables(*sides, arrays["offsets"])
    head = dataclasses.replace(tables.head, tables_crc=zlib.crc32(packed))
    path.write_bytes(head.pack() + packed + arrays["entries"].tobytes())


def setter(name, place, value):
    return lambda arrays: arrays[name].__setitem__(place, value)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("rows.place", 0, 60),
        ("rows.place", 0, -1),
        ("columns.place", slice(0, 2), 3),
        ("rows.edges", 1, 10**6),
        ("columns.edges", 0, 1),
        ("offsets", 2, -5),
        ("offsets", -1, 10**9),
        ("rows.counts", 0, 2**62),
        ("columns.counts", 0, -1),
        ("rows.sums", 0, np.inf),
    ],
)
def test_tables_that_contradict_one_another_are_refused(name, place, value, file, path):
    forged(path, setter(name, place, value))
    with pytest.raises(ValueError, match="tables contradict one another"):
        BlockFile(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("row", 2**31 - 1), ("row", -1), ("column", 40), ("value", np.nan), ("value", np.inf)],
)
def test_entries_of_other_blocks_are_refused_before_they_are_visited(field, value, file, path):
    model = make().fit(file)
    before = pickle.dumps(model)
    forged(path, lambda arrays: arrays["entries"][field].__setitem__(500, value))
    with pytest.raises(ValueError, match=r"is damaged: block \d has entries of other blocks"):
        model.fit(BlockFile(path))
    assert pickle.dumps(model) == before


def test_a_file_that_was_replaced_is_noticed(file, path):
    BlockFile.write(path, ratings(seed=1), n_blocks=3, random_state=1)
    with pytest.raises(ValueError, match="no longer the file that was opened"):
        make().fit(file)
    make().fit(BlockFile(path))


def test_the_kernel_and_its_source_agree():
    entries = np.array([(3, 1, 2.0), (4, 2, -1.0)], entry_type(np.float64))
    for check in (check_block, check_block.py_func):
        block = entries.copy()
        assert check(block, 3, 2, 1, 2, 0.5, 1.0)
        assert block["value"].tolist() == [2.0, 0.5]
        assert not check(entries.copy(), 3, 1, 1, 2, 0.5, 1.0)
        assert not check(entries.copy(), 3, 2, 2, 2, 0.5, 1.0)


def test_the_head_is_as_documented(file, path):
    assert len(file._tables.head.pack()) == 72
    assert path.read_bytes()[:12] == b"skglrmBF" + (1).to_bytes(4, "little")
    assert isinstance(file._tables.head, Head)
