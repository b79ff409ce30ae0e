"""Whatever happens to the cache of kernels, answers are right."""

import json
import os
import shutil

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

IN_CHILDREN = """
import json, os, resource, shutil, signal, sys
from pathlib import Path
from skglrm._kernel_cache import DIGEST_SIZE
from skglrm.kernels.simple import evaluate
from skglrm.losses import Absolute, Huber, Quadratic

cache = Path(os.environ["NUMBA_CACHE_DIR"])


def in_child(action):
    child = os.fork()
    if not child:
        try:
            action()
        finally:
            sys.stderr.flush()
            os._exit(1)
    return os.waitpid(child, 0)[1]


def answer(loss, right, n_compiled, *before):
    def action():
        for one in before:
            one()
        assert evaluate(loss, 3.0, 0.0) == right
        assert sum(evaluate.stats.cache_misses.values()) == n_compiled
        os._exit(0)

    return action


def names():
    return sorted(path.name for path in cache.rglob("*") if path.is_file())

"""

KILLED = (
    IN_CHILDREN
    + """
import hashlib

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def write_half(self, content):
    with open(self, "wb") as file:
        file.write(content[: len(content) // 2])
    die()


def dies_in_the_middle():
    Path.write_bytes = write_half


def dies_before_the_file_has_its_name():
    os.replace = die


n_left = 0
for dies, loss, right in (
    (dies_in_the_middle, Quadratic(), 4.5),
    (dies_before_the_file_has_its_name, Absolute(), 3.0),
):
    assert os.WTERMSIG(in_child(answer(loss, right, 1, dies))) == signal.SIGKILL
    n_left += 1
    whole = [path.read_bytes() for path in cache.rglob("*.nbc")]
    assert all(
        content[:DIGEST_SIZE] == hashlib.sha256(content[DIGEST_SIZE:]).digest() for content in whole
    )
    assert in_child(answer(loss, right, 1)) == 0  # compiled once more
    assert in_child(answer(loss, right, 0)) == 0  # and read
    assert len(names()) == 2 * n_left
print(json.dumps("done"))
"""
)


@needs_fork
def test_a_process_killed_while_it_writes_a_kernel_leaves_no_damaged_one(run, small_copy, tmp_path):
    assert run(KILLED, path=small_copy, NUMBA_CACHE_DIR=str(tmp_path / "cache")) == "done"


FULL = (
    IN_CHILDREN
    + """
def disk_is_full():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def folder_vanishes():
    evaluate._cache.cache_path  # is found before
    shutil.rmtree(cache)


assert in_child(answer(Quadratic(), 4.5, 1, disk_is_full)) == 0
assert names() == []
assert in_child(answer(Absolute(), 3.0, 1, folder_vanishes)) == 0
assert in_child(answer(Huber(), 2.5, 1)) == 0  # the folder has been made again
assert in_child(answer(Huber(), 2.5, 0, disk_is_full)) == 0  # reading goes on
assert len(names()) == 2
print(json.dumps("done"))
"""
)


@needs_fork
def test_a_full_disk_or_a_cache_that_vanishes_only_costs_time(run, small_copy, tmp_path):
    assert run(FULL, path=small_copy, NUMBA_CACHE_DIR=str(tmp_path / "cache")) == "done"


EVALUATE = """
import json
from skglrm.kernels.simple import evaluate
from skglrm.losses import Quadratic
print(json.dumps([evaluate(Quadratic(), 3.0, 0.0), evaluate._cache.cache_path]))
"""


def test_without_any_folder_to_write_to_kernels_are_compiled(run, small_copy, tmp_path):
    # Files where folders would be, since permissions do not stop root.
    in_tree = small_copy / "skglrm" / "kernels" / "__pycache__"
    shutil.rmtree(in_tree, ignore_errors=True)  # of another test
    (tmp_path / "home").write_text("no folder", encoding="utf-8")
    nowhere = str(tmp_path / "home")
    places = ("NUMBA_CACHE_DIR", "HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "USERPROFILE")
    in_tree.write_text("no folder", encoding="utf-8")
    try:
        found = run(EVALUATE, path=small_copy, **dict.fromkeys(places, nowhere))
    finally:
        in_tree.unlink()
    assert found == [4.5, None]


AT_ONCE = """
import json, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from skglrm.kernels.simple import evaluate
from skglrm.losses import Absolute, Huber, Quadratic, Scaled

RIGHT = {Quadratic(): 4.5, Absolute(): 3.0, Huber(): 2.5, Scaled(2.0, Absolute()): 6.0}
losses, barrier = list(RIGHT), threading.Barrier(8)
Path(sys.argv[1]).touch()
while not Path(sys.argv[2]).exists():
    pass  # until the other process is as far


def work(n):
    barrier.wait()
    mine = losses[n % 4 :] + losses[: n % 4]
    return [evaluate(loss, 3.0, 0.0) == RIGHT[loss] for loss in mine]


with ThreadPoolExecutor(8) as pool:
    right = all(all(one) for one in pool.map(work, range(8)))
print(json.dumps([right, sum(evaluate.stats.cache_misses.values())]))
"""


def test_two_processes_with_eight_threads_each_compile_at_once(run, small_copy, tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    pair = [run.start(AT_ONCE, *names, path=small_copy, **cache) for names in ("ab", "ba")]
    found = []
    for process in pair:
        out, error = process.communicate(timeout=300)
        assert process.returncode == 0, error[-3000:]
        found.append(json.loads(out))
    assert all(right for right, _ in found)
    assert run(AT_ONCE, "a", "b", path=small_copy, **cache) == [True, 0]
    assert len(list((tmp_path / "cache").rglob("*.nbc"))) == 4
