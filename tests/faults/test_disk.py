"""Full disks and killed writers leave the old file, or the new one, and nothing else."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest

from skglrm import Entries, FPSGFactorizer, io
from skglrm.block_file import BlockFile

resource = pytest.importorskip("resource", reason="needs limits of the system")


def entries(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    cell = rng.permutation(150 * 80)[:n]
    return Entries(cell // 80, cell % 80, rng.normal(size=n), (150, 80))


@pytest.fixture(scope="module")
def model():
    return FPSGFactorizer(3, max_iter=1, random_state=0).fit(entries())


WRITERS = {
    "a model": lambda path, model: model.save(path),
    "a block file": lambda path, model: BlockFile.write(path, entries(), n_blocks=3),
    "LIBMF's ratings": lambda path, model: io.write_libmf(path, entries()),
    "LIBMF's model": lambda path, model: io.write_libmf_model(path, model),
}


@contextlib.contextmanager
def room_for(n):
    """No file can grow beyond so many bytes: writing fails as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_leaves_the_old_file_and_no_other(what, model, tmp_path):
    path, write = tmp_path / "file", WRITERS[what]
    write(path, model)
    size = path.stat().st_size
    path.write_bytes(b"old")
    for room in (0, 1, 100, size // 3, size // 2, size - 1):
        with room_for(room), pytest.raises(OSError):
            write(path, model)
        assert path.read_bytes() == b"old"
        assert [one.name for one in tmp_path.iterdir()] == ["file"]
    write(path, model)
    assert path.stat().st_size == size


def test_every_write_that_fails_is_noticed(model, tmp_path, monkeypatch):
    # Not only the first: an error in the middle of a file must not end in a file that looks whole.
    from skglrm import _atomic

    path, n_writes = tmp_path / "file", 0

    class Failing:
        """A file one of whose writes finds the disk full."""

        def __init__(self, file, fails_at):
            self.file, self.fails_at, self.n = file, fails_at, 0

        def write(self, data):
            self.n += 1
            if self.n == self.fails_at:
                raise OSError(28, "No space left on device")
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    opened = []

    def open_failing(*arguments):
        opened.append(Failing(open(*arguments), fails_at))
        return opened[-1]

    for what, write in WRITERS.items():
        fails_at = 1
        while True:
            with monkeypatch.context() as patch:
                patch.setattr(_atomic, "open", open_failing, raising=False)
                try:
                    write(path, model)
                except OSError:
                    assert not list(tmp_path.iterdir()), what
                    fails_at += 1
                    n_writes += 1
                    continue
            break
        assert fails_at == opened[-1].n + 1 > 1  # each of its writes has failed once
        path.unlink()
    assert n_writes > 10


KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np
from skglrm import Entries, FPSGFactorizer
from skglrm.block_file import BlockFile

folder = Path(sys.argv[1])
rng = np.random.default_rng(0)
cell = rng.permutation(300 * 200)[:30_000]
X = Entries(cell // 200, cell % 200, rng.normal(size=cell.size), (300, 200))
path = folder / "blocks"
sources, whole = [X, X[::2]], set()
for one in sources:
    file = BlockFile.write(path, one, n_blocks=4, random_state=0)
    whole.add(path.read_bytes())
model = FPSGFactorizer(8, max_iter=1, n_jobs=2, random_state=0).fit(file)  # kernels are compiled


def write():
    for one in sources:
        BlockFile.write(path, one, n_blocks=4, random_state=0)


def fit():
    model.fit(BlockFile(path))


random.seed(0)
left = {}
for action in (write, fit):
    for _ in range(20):
        child = os.fork()
        if not child:
            while True:
                action()
        time.sleep(random.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert path.read_bytes() in whole
        model.fit(BlockFile(path))
    beside = [one for one in folder.iterdir() if one != path]
    assert all(one.name.startswith(".blocks.") for one in beside), beside
    left[action.__name__] = len(beside)
    for one in beside:
        one.unlink()
print(json.dumps(left))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_killed_while_it_writes_or_fits_a_block_file_leaves_a_whole_one(run, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    left = run(KILLED, folder)
    assert left["write"] > 0  # some were killed in the middle
    assert left["fit"] == 0  # a fit writes nothing
    assert Path(folder / "blocks").exists()


def test_what_is_opened_is_closed_when_a_fit_of_a_file_fails(tmp_path):
    file = BlockFile.write(tmp_path / "blocks", entries(), n_blocks=3, random_state=0)
    before = open_files()
    with pytest.raises(FloatingPointError):
        FPSGFactorizer(3, learning_rate=1e200, regularization=0.0).fit(file)
    assert open_files() == before


def open_files():
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("needs /proc")
    return len(list(folder.iterdir()))
