r"""Columns without an entry in a row, drawn at random: the negatives of pairwise ranking.

A negative comes from one of two bands of columns, *home* and *guest*.  Every draw is a function of
(key, entry, attempt) alone, so results do not depend on which thread runs a block.

Whether a row has an entry in the column that is drawn, *marks* say nearly always: a few bits for
every entry, in one byte or two that are at hand.  Only when they cannot tell is the sorted list of
the row's columns searched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._jit import kernel
from .._record import Record

MARKS = 16
"""Bits of a row's marks for each of its entries: one draw in 17 meets a set one by chance."""

ATTEMPTS = 16
"""Draws before an entry is passed over, because its row has nearly all columns."""

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
PHILOX, WEYL = np.uint64(0xD256D193), np.uint64(0x9E3779B9)
ROUNDS = 7


@dataclass(frozen=True)
class ColumnBand(Record):
    """A band of columns: the first, how many, 2³² over that number, and where its marks begin."""

    first: int
    size: int
    scale: int
    marks: int

    @classmethod
    def of(cls, first: int, size: int, marks: int) -> ColumnBand:
        """Return the band of ``size`` columns from ``first`` on."""
        return cls(int(first), int(size), 2**32 // max(int(size), 1), int(marks))


@kernel
def draw_chunk(
    entries, start, stop, key, home, guest, n_columns, indptr, positives, begins, marks,
    drawn, queue, n,
):  # fmt: skip
    """Queue the entries start..stop that get a negative, each as row, column, negative, entry.

    ``n`` are queued already, in a ring; returns their new number.  ``drawn`` (3, stop - start) is
    scratch.  Negatives are those of ``draw_negative``, but marks clear most first candidates,
    without a branch that a CPU could guess wrong.
    """
    candidate, suspect, near, n_suspects = drawn[0], drawn[1], drawn[2], 0
    for e in range(stop - start):
        candidate[e] = column_of(np.uint64(start + e), np.uint64(0), key, home, guest, n_columns)
    for e in range(stop - start):
        i = entries[start + e]["row"]
        begin, end = begins[i], begins[i + 1]
        if home.first <= candidate[e] < home.first + home.size:
            byte, bit = mark_of(candidate[e], home, begin, end)
        else:
            byte, bit = mark_of(candidate[e], guest, begin, end)
        suspect[n_suspects] = e
        n_suspects += ((marks[byte] & bit) != 0) | (begin == end)  # no marks: a short list
    for s in range(n_suspects):  # lists are on their way while the first is searched
        i = entries[start + suspect[s]]["row"]
        near[s] = positives[guess(indptr[i], indptr[i + 1], candidate[suspect[s]], n_columns)]
    for s in range(n_suspects):
        e = suspect[s]
        i = entries[start + e]["row"]
        candidate[e] = draw_negative(
            start + e, key, home, guest, n_columns, positives, indptr[i], indptr[i + 1]
        )
    for e in range(stop - start):
        at = n & (queue.shape[0] - 1)
        queue[at, 0], queue[at, 1] = entries[start + e]["row"], entries[start + e]["column"]
        queue[at, 2], queue[at, 3] = candidate[e], start + e
        n += candidate[e] >= 0
    return n


@kernel
def draw_negative(t, key, home, guest, n_columns, positives, begin, end):
    """Draw a column that is not among positives[begin:end]; -1 if ``ATTEMPTS`` draws all are.

    It is one of n columns with equal probability if guest is equally often any band but home: home
    comes with its share of the n, else guest.
    """
    for attempt in range(ATTEMPTS):
        w = column_of(np.uint64(t), np.uint64(attempt), key, home, guest, n_columns)
        if not is_among(positives, begin, end, w, n_columns):
            return w
    return np.int64(-1)


@kernel
def column_of(counter, attempt, key, home, guest, n_columns):
    """Draw a column of home or guest."""
    bits = random_bits(counter, attempt, key)
    at_home = np.int64((bits >> HALF) * np.uint64(n_columns) >> HALF)
    if at_home < home.size:
        return home.first + at_home
    return guest.first + np.int64((bits & LOW) * np.uint64(guest.size) >> HALF)


@kernel
def random_bits(counter, attempt, key):
    """Return 64 random bits: Philox2x32 with 7 rounds (Salmon et al. 2011).

    ``key`` has 32 bits.  No product exceeds 64 bits, so that NumPy and the compiled code agree
    without overflow.
    """
    left, right = counter & LOW, (counter >> HALF) + (attempt << np.uint64(24))
    for _ in range(ROUNDS):
        product = PHILOX * left
        left, right = (product >> HALF) ^ key ^ right, product & LOW
        key = (key + WEYL) & LOW
    return left << HALF | right


# ------------------------------------------------------------------ marks


@kernel
def mark_of(column, band, begin, end):
    """Return the byte and the bit of a column among the marks of a row, begin..end of its band.

    Of b bits it is number ⌊b · (column - first) / size⌋, or the one before.
    """
    place = np.uint64(column - band.first) * np.uint64(band.scale)
    bit = place * (np.uint64(end - begin) << np.uint64(3)) >> HALF
    byte = np.uintp(band.marks) + np.uintp(begin) + np.uintp(bit >> np.uint64(3))
    return byte, np.uint8(np.uint64(1) << (bit & np.uint64(7)))


@kernel
def mark_positives(indptr, positives, position, begins, band, start, stop, marks):
    """Set the marks of the rows start..stop in a band: a bit for every column of theirs.

    A column whose bit is not set is none of them (Bloom 1970), which is one load where a search
    takes several, each of which waits for the one before.  Bits are in the order of columns, which
    have random places: so they are spread as if by a hash.  Marks lie by band and then by row, like
    the visits that ask for them; rows too short for a byte in every band have none.  ``position``
    says how far each row's list has been read; bands come in ascending order.
    """
    for i in range(start, stop):
        c = position[i]
        while c < indptr[i + 1] and positives[c] < band.first + band.size:
            if begins[i] < begins[i + 1]:
                byte, bit = mark_of(np.int64(positives[c]), band, begins[i], begins[i + 1])
                marks[byte] |= bit
            c += 1
        position[i] = c


# ------------------------------------------------------------------ lists


@kernel
def is_among(positives, begin, end, w, n_columns):
    """Whether w is one of the ascending numbers positives[begin:end], all below n_columns.

    Columns have random places, so a guess of where w would be among n of them is off by less than
    √n on average: some neighbours, where a binary search would look all over the list.
    """
    if begin == end:
        return False
    first, last, at = np.uintp(begin), np.uintp(end - 1), guess(begin, end, w, n_columns)
    while positives[at] > w and at > first:
        at -= np.uintp(1)
    while positives[at] < w and at < last:
        at += np.uintp(1)
    return positives[at] == w


@kernel
def guess(begin, end, w, n_columns):
    """Where w would be in positives[begin:end], were these evenly spread.

    Unsigned, because numba asks of every signed index whether it is negative.
    """
    return np.uintp(begin) + np.uintp(w * ((end - begin) / n_columns))


@kernel
def list_positives(entries, start, stop, position, positives):
    """Append the column of each entry start..stop to its row's list: positives[position[row]]."""
    for t in range(start, stop):
        i = entries[t]["row"]
        positives[position[i]] = entries[t]["column"]
        position[i] += 1


@kernel
def sort_positives(indptr, rows, positives):
    """Sort the lists of some rows."""
    for r in range(rows.size):
        positives[indptr[rows[r]] : indptr[rows[r] + 1]].sort()


@kernel
def draw_pairs(key, every, indptr, positives, pairs):
    """Write a negative, or -1, to every pair (n, 3) of row and column: pairs[:, 2].

    ``every`` is the band of all columns.
    """
    for t in range(len(pairs)):
        i = pairs[t, 0]
        pairs[t, 2] = draw_negative(
            t, key, every, every, every.size, positives, indptr[i], indptr[i + 1]
        )
