"""Which cells `score` hides."""

import numpy as np
import pytest

from skglrm import Entries
from skglrm._held_out import SHARE, hidden_cells


def random_entries(n_rows=60, n_cols=40, share=0.5, seed=0):
    rng = np.random.default_rng(seed)
    row, col = np.nonzero(rng.random((n_rows, n_cols)) < share)
    return Entries(row, col, rng.normal(size=row.size), (n_rows, n_cols))


def hidden_by_row(entries):
    """The hidden columns of each row."""
    hidden = entries[hidden_cells(entries)]
    columns = [set() for _ in range(entries.matrix_shape[0])]
    for i, j in zip(hidden.row.tolist(), hidden.col.tolist(), strict=True):
        columns[i].add(j)
    return columns


def test_the_choice_is_repeatable():
    np.testing.assert_array_equal(hidden_cells(random_entries()), hidden_cells(random_entries()))


def test_the_order_of_entries_does_not_matter():
    entries = random_entries()
    order = np.random.default_rng(1).permutation(len(entries))
    np.testing.assert_array_equal(hidden_cells(entries[order]), hidden_cells(entries)[order])


def test_a_row_is_treated_alike_wherever_it_stands():
    entries = random_entries()
    place = np.random.default_rng(1).permutation(60) + 7
    moved = Entries(place[entries.row], entries.col, entries.value, (70, 40))
    there = hidden_by_row(moved)
    assert [there[i] for i in place] == hidden_by_row(entries)
    assert sum(map(len, there)) == hidden_cells(entries).sum()


def test_a_row_is_treated_alike_alone():
    entries = random_entries()
    together = hidden_by_row(entries)
    for i in range(60):
        row = entries[entries.row == i]
        alone = Entries(np.zeros(len(row), int), row.col, row.value, (1, 40))
        assert hidden_by_row(alone) == [together[i]]


def test_precision_does_not_matter():
    entries = random_entries()
    single = entries.value.astype(np.float32)
    one, two = (
        Entries(entries.row, entries.col, single.astype(dtype), entries.matrix_shape)
        for dtype in (np.float32, np.float64)
    )
    np.testing.assert_array_equal(hidden_cells(one), hidden_cells(two))


@pytest.mark.parametrize(
    ("n_cells", "n_hidden"), [(0, 0), (1, 0), (2, 1), (3, 1), (5, 1), (10, 2), (40, 8)]
)
def test_a_fifth_is_hidden_at_least_one_and_never_all(n_cells, n_hidden):
    entries = Entries(np.zeros(n_cells, int), np.arange(n_cells), np.arange(n_cells), (3, 40))
    assert hidden_cells(entries).sum() == n_hidden == (n_cells > 1) * max(1, round(SHARE * n_cells))


def test_every_row_hides_its_share():
    entries = random_entries()
    for columns, n_cells in zip(hidden_by_row(entries), np.bincount(entries.row), strict=True):
        assert len(columns) == max(1, round(SHARE * n_cells))


def test_no_column_is_preferred():
    entries = random_entries(n_rows=4000, n_cols=20, share=1.0)
    share = np.bincount(entries.col[hidden_cells(entries)], minlength=20) / 4000
    # Four standard deviations of a share of 0.2 among 4000.
    assert abs(share - 0.2).max() < 4 * np.sqrt(0.2 * 0.8 / 4000)


def test_rows_of_the_same_pattern_hide_different_cells():
    rng = np.random.default_rng(0)
    X = rng.integers(1, 6, (200, 30)).astype(float)
    assert len(set(map(frozenset, hidden_by_row(Entries.from_matrix(X))))) > 190


def test_rows_of_the_same_content_hide_the_same_cells():
    columns = hidden_by_row(Entries.from_matrix(np.tile(np.arange(30.0), (5, 1))))
    assert columns == [columns[0]] * 5
