"""Schedules hand out blocks that do not conflict, each as often as the others, to anybody."""

import queue
import threading
import time
from collections import Counter

import numpy as np
import pytest

from skglrm import Entries, FPSGFactorizer
from skglrm.backends import ThreadsBackend
from skglrm.solvers import block_sgd
from skglrm.solvers.schedule import HogWild, LeastUpdated, Rotation, Schedule
from skglrm.testing import check_schedule

SCHEDULES = [Rotation, LeastUpdated, HogWild]


def sizes_of(n_bands, share_empty=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(1, 99, (n_bands, n_bands)) * (rng.random((n_bands, n_bands)) >= share_empty)


def within(seconds, function):
    """Call a function that could hang, in a thread that is given up if it does."""
    outcome = []

    def run():
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"no end after {seconds} seconds"
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def run_epoch(schedule, epoch, n_threads=1, hold=lambda block: None):
    """Hand out all blocks of an epoch to some threads; return them in order of being taken."""
    taken, held, conflicts, lock = [], [], [], threading.Lock()

    def work():
        while (block := schedule.take()) is not None:
            with lock:
                row, column = divmod(block, schedule.n_bands)
                conflicts.extend(
                    (block, other)
                    for other in held
                    if row == other // schedule.n_bands or column == other % schedule.n_bands
                )
                held.append(block)
                taken.append(block)
            hold(block)
            with lock:
                held.remove(block)
            schedule.give(block)

    schedule.begin(epoch)
    threads = [threading.Thread(target=work) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken, conflicts


# ------------------------------------------------------------------ all schedules


@pytest.mark.parametrize("schedule", [Rotation, LeastUpdated])
def test_schedules_obey_the_laws(schedule):
    check_schedule(schedule)


def test_hogwild_obeys_the_laws_but_one():
    check_schedule(HogWild, disjoint=False)
    with pytest.raises(AssertionError, match="HogWild'> breaks the law 'disjoint'.*held together"):
        check_schedule(HogWild)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("share_empty", [0.0, 0.4, 0.95])
def test_an_epoch_is_as_many_blocks_as_have_entries(kind, share_empty):
    schedule = kind(sizes_of(6, share_empty), seed=1)
    filled = np.flatnonzero(schedule.sizes)
    for epoch in range(4):
        taken, _ = run_epoch(schedule, epoch)
        assert len(taken) == filled.size
        assert set(taken) <= set(filled)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_without_entries_there_is_nothing_to_take(kind):
    assert run_epoch(kind(np.zeros((3, 3), np.int64), 0), 0)[0] == []


@pytest.mark.parametrize("kind", SCHEDULES)
def test_epochs_differ_and_depend_on_their_number_and_the_seed_alone(kind):
    first, again, other = (kind(sizes_of(5), seed) for seed in (0, 0, 1))
    runs = [[run_epoch(schedule, epoch)[0] for epoch in (0, 1)] for schedule in (first, again)]
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]
    assert run_epoch(other, 0)[0] != runs[0][0]


@pytest.mark.parametrize("kind", [Rotation, HogWild])
def test_an_epoch_does_not_depend_on_those_before(kind):
    # So that a fit may be continued.
    seasoned, fresh = kind(sizes_of(5), 0), kind(sizes_of(5), 0)
    for epoch in range(3):
        run_epoch(seasoned, epoch)
    assert run_epoch(seasoned, 7)[0] == run_epoch(fresh, 7)[0]


@pytest.mark.parametrize("kind", SCHEDULES)
def test_who_waits_for_a_block_is_told_to_stop(kind):
    schedule = kind(np.ones((1, 1), np.int64) if kind is not HogWild else np.eye(1, dtype=int), 0)
    schedule.begin(0)
    block = schedule.take()
    waiting = threading.Thread(target=schedule.take, daemon=True)
    waiting.start()
    schedule.stop()
    schedule.give(block)
    waiting.join(10)
    assert not waiting.is_alive()
    assert schedule.take() is None


# ------------------------------------------------------------------ rotation


@pytest.mark.parametrize("n_bands", [1, 2, 3, 8])
def test_rotation_visits_each_block_once_in_strata_of_disjoint_blocks(n_bands):
    schedule = Rotation(np.ones((n_bands, n_bands), np.int64), seed=3)
    for epoch in range(3):
        strata = schedule.strata(np.random.default_rng(epoch))
        assert sorted(block for stratum in strata for block in stratum) == list(range(n_bands**2))
        for stratum in strata:
            assert len({block // n_bands for block in stratum}) == n_bands
            assert len({block % n_bands for block in stratum}) == n_bands
        taken, _ = run_epoch(schedule, epoch)
        assert sorted(taken) == list(range(n_bands**2))
        for start in range(0, n_bands**2, n_bands):
            stratum = taken[start : start + n_bands]
            assert len({block // n_bands for block in stratum}) == n_bands
            assert len({block % n_bands for block in stratum}) == n_bands


@pytest.mark.parametrize("share_empty", [0.0, 0.5])
def test_rotation_deals_the_heaviest_block_of_a_stratum_first(share_empty):
    schedule = Rotation(sizes_of(6, share_empty), seed=0)
    for stratum in schedule.strata(np.random.default_rng(0)):
        sizes = schedule.sizes.ravel()[stratum]
        assert (sizes > 0).all()
        assert (np.diff(sizes) >= 0).all()  # taken from the end


def test_rotation_waits_until_a_stratum_is_back():
    schedule = Rotation(np.ones((3, 3), np.int64), seed=0)
    schedule.begin(0)
    stratum = [schedule.take() for _ in range(3)]
    fourth = []
    waiting = threading.Thread(target=lambda: fourth.append(schedule.take()), daemon=True)
    waiting.start()
    for block in stratum:
        waiting.join(0.02)
        assert not fourth
        schedule.give(block)
    waiting.join(10)
    assert fourth[0] not in stratum


@pytest.mark.parametrize("kind", [Rotation, LeastUpdated])
def test_all_who_wait_are_woken(kind):
    schedule = kind(np.ones((2, 2), np.int64), seed=0)
    schedule.begin(0)
    held = [schedule.take(), schedule.take()]
    answers = queue.Queue()
    threads = [
        threading.Thread(target=lambda: answers.put(schedule.take()), daemon=True) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(0.02)  # let them wait
    for block in held:
        schedule.give(block)
        time.sleep(0.02)  # who is woken too early waits again
    taken = [answers.get(timeout=10), answers.get(timeout=10)]
    assert None not in taken
    for block in taken:
        schedule.give(block)
    assert answers.get(timeout=10) is None


@pytest.mark.parametrize("n_threads", [1, 4])
def test_rotation_with_threads_never_holds_blocks_that_conflict(n_threads):
    schedule = Rotation(sizes_of(9, 0.2), seed=5)
    for epoch in range(10):
        taken, conflicts = within(30, lambda e=epoch: run_epoch(schedule, e, n_threads))
        assert not conflicts
        assert sorted(taken) == np.flatnonzero(schedule.sizes).tolist()


# ------------------------------------------------------------------ FPSG


def test_ten_thousand_empty_jobs_on_eight_threads():
    schedule = LeastUpdated(np.ones((17, 17), np.int64), seed=0)
    visits = Counter()
    for epoch in range(35):  # 10,115 jobs
        taken, conflicts = within(60, lambda e=epoch: run_epoch(schedule, e, n_threads=8))
        assert not conflicts
        assert len(taken) == 289
        visits.update(taken)
    counts = np.array([visits[block] for block in range(289)])
    np.testing.assert_array_equal(counts, schedule.visits)
    assert abs(counts - 35).max() <= 3
    assert counts.std() < 1


def test_one_thread_visits_every_block_once_per_epoch():
    schedule = LeastUpdated(sizes_of(5, 0.3), seed=0)
    for epoch in range(3):
        taken, _ = run_epoch(schedule, epoch)
        assert sorted(taken) == np.flatnonzero(schedule.sizes).tolist()


def test_the_free_block_with_the_fewest_visits_is_next():
    schedule = LeastUpdated(np.ones((4, 4), np.int64), seed=0)
    schedule.begin(0)
    held = [schedule.take() for _ in range(4)]  # all bands are busy now
    assert len({block // 4 for block in held}) == len({block % 4 for block in held}) == 4
    schedule.give(held[0])
    assert schedule.take() == held[0]  # the only free one, though it has had its visit
    for block in held[1:]:
        schedule.give(block)
    following = schedule.take()
    assert following not in held


def test_a_thread_that_finds_no_free_block_waits_for_one():
    schedule = LeastUpdated(np.ones((2, 2), np.int64), seed=0)
    schedule.begin(0)
    held = [schedule.take(), schedule.take()]
    third = []
    waiting = threading.Thread(target=lambda: third.append(schedule.take()), daemon=True)
    waiting.start()
    waiting.join(0.05)
    assert not third
    schedule.give(held[0])
    waiting.join(10)
    assert third == [held[0]]


def test_a_block_that_takes_long_does_not_hold_up_the_others():
    schedule = LeastUpdated(np.ones((5, 5), np.int64), seed=0)
    slow, finished = threading.Event(), []

    def hold(block):
        if not finished:
            finished.append(None)
            assert slow.wait(30)  # until the others have done all they can
        else:
            finished.append(block)
            if len(finished) == 25:
                slow.set()

    taken, conflicts = within(60, lambda: run_epoch(schedule, 0, n_threads=2, hold=hold))
    assert len(taken) == 25
    assert not conflicts


# ------------------------------------------------------------------ with a backend


class _Failure(Exception):
    pass


def _fail(block, shared):
    shared.append(block)
    if len(shared) == 5:
        raise _Failure(block)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("n_threads", [1, 4])
def test_a_task_that_raises_ends_the_epoch_and_nobody_hangs(kind, n_threads):
    schedule = kind(np.ones((9, 9), np.int64), seed=0)
    with ThreadsBackend(n_threads) as backend:
        for epoch in range(3):
            schedule.begin(epoch)
            visited = []
            with pytest.raises(_Failure):
                within(30, lambda visited=visited: backend.sweep(_fail, schedule, visited))
            assert len(visited) < 5 + n_threads
            assert schedule.take() is None
        schedule.begin(3)
        results = within(30, lambda: backend.sweep(_block, schedule, None))
        assert len(results) == 81


def _block(block, shared):
    return block


def test_a_schedule_that_fails_is_reported_and_nobody_hangs():
    class Broken(Schedule):
        def _begin(self, rng):
            self.n = 0

        def _left(self):
            return True

        def _pick(self):
            self.n += 1
            if self.n > 3:
                raise _Failure("pick")
            return self.n

    schedule = Broken(np.ones((3, 3), np.int64), 0)
    schedule.begin(0)
    with ThreadsBackend(3) as backend, pytest.raises(_Failure):
        within(30, lambda: backend.sweep(_block, schedule, None))


# ------------------------------------------------------------------ the grid of a fit


@pytest.mark.parametrize("schedule", ["fpsg", "rotation", "hogwild"])
def test_rows_and_columns_are_permuted_apart(schedule, monkeypatch):
    # From one stream, a square matrix would keep its diagonal together.
    seen = []

    def watched(row, column, value, row_bands, column_bands, *arguments):
        seen.append((row_bands, column_bands))
        return build_grid(row, column, value, row_bands, column_bands, *arguments)

    build_grid = block_sgd.build_grid
    monkeypatch.setattr(block_sgd, "build_grid", watched)
    n = 60
    cell = np.random.default_rng(0).permutation(n * n)[:2000]
    entries = Entries(cell // n, cell % n, np.sin(cell), (n, n))
    for seed in (0, 1):
        FPSGFactorizer(2, schedule=schedule, n_blocks=4, max_iter=1, random_state=seed).fit(entries)
    (rows, columns), (other_rows, _) = seen
    assert (rows.place != columns.place).mean() > 0.8
    assert (rows.place != np.arange(n)).mean() > 0.8
    assert (columns.place != np.arange(n)).mean() > 0.8
    assert (rows.place != other_rows.place).mean() > 0.8
    diagonal = rows.spot[:, 0] == columns.spot[:, 0]
    assert diagonal.mean() < 0.6
