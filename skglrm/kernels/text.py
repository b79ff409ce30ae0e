"""Reading lines of "row column value" from bytes."""

import numpy as np

from .._jit import kernel

NEWLINE, SPACE, ZERO, NINE = 10, 32, 48, 57
MINUS, PLUS, POINT = 45, 43, 46

LARGEST_ID = 2**31 - 2
LARGEST_MANTISSA = 2**53
"""Below it integers are float64 numbers, and dividing one by a power of ten rounds once."""

MOST_DECIMALS = 22
"""10 to this power is the largest that float64 holds exactly."""

TOKEN = 255
"""Stands for a number that is not plain digits around a point: let Python read it."""

FINE, BAD_ROW, BAD_COLUMN, NO_VALUE, TOO_MANY = 0, 1, 2, 3, 4


@kernel
def parse_triples(text, row, col, mantissa, decimals):
    """Read lines of row, column and value, separated by blanks: value = mantissa / 10^decimals.

    ``text`` (n_bytes,) ends with a newline; ``row``, ``col``, ``mantissa`` and ``decimals`` have
    room for all lines.  Where ``decimals`` is ``TOKEN``, ``mantissa`` is the place in ``text`` of
    the number to read.  Lines of blanks alone are passed over.

    Returns the number of entries, ``FINE`` or what is wrong, and the place where that is.
    """
    n, t = 0, 0
    while t < text.size:
        t = _after_blanks(text, t)
        if text[t] == NEWLINE:
            t += 1
            continue
        begin = t
        i, t = _index(text, t)
        if i < 0:
            return n, BAD_ROW, begin
        begin = t = _after_blanks(text, t)
        j, t = _index(text, t)
        if j < 0:
            return n, BAD_COLUMN, begin
        t = _after_blanks(text, t)
        if text[t] == NEWLINE:
            return n, NO_VALUE, t
        row[n], col[n] = i, j
        mantissa[n], decimals[n], t = _number(text, t)
        t = _after_blanks(text, t)
        if text[t] != NEWLINE:
            return n, TOO_MANY, t
        n += 1
        t += 1
    return n, FINE, t


@kernel
def _is_blank(byte):
    return byte == SPACE or (9 <= byte <= 13 and byte != NEWLINE)


@kernel
def _after_blanks(text, t):
    while _is_blank(text[t]):
        t += 1
    return t


@kernel
def _index(text, t):
    """Return the whole number at t, or -1 if there is none or it is too large; and its end."""
    begin, number = t, 0
    while ZERO <= text[t] <= NINE and number <= LARGEST_ID:
        number = 10 * number + (np.int64(text[t]) - ZERO)
        t += 1
    ended = _is_blank(text[t]) or text[t] == NEWLINE
    return (number if ended and t > begin and number <= LARGEST_ID else -1), t


@kernel
def _number(text, t):
    """Return mantissa, decimals and end of the number at t."""
    begin, number, n_digits, n_decimals = t, 0, 0, 0
    negative = text[t] == MINUS
    if negative or text[t] == PLUS:
        t += 1
    after_point = False
    while number < LARGEST_MANTISSA:
        if ZERO <= text[t] <= NINE:
            number = 10 * number + (np.int64(text[t]) - ZERO)
            n_digits += 1
            n_decimals += after_point
        elif text[t] == POINT and not after_point:
            after_point = True
        else:
            break
        t += 1
    short = number < LARGEST_MANTISSA and n_digits > 0 and n_decimals <= MOST_DECIMALS
    if short and (_is_blank(text[t]) or text[t] == NEWLINE):
        return float(-number if negative else number), n_decimals, t
    while not (_is_blank(text[t]) or text[t] == NEWLINE):
        t += 1
    return float(begin), TOKEN, t
