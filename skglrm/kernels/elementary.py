r"""Exponential and logarithm without a call, for loops in which every visit needs one.

A call of the C library empties the registers that a visit has filled, and keeps the compiler from
taking several entries at once.  These agree with it to about 1e-14, for numbers that are neither
subnormal nor infinite; the exponential of a float32 to 2e-7 near 0, and to 5e-6 far from it.
"""

import math

import numpy as np

from .._jit import kernel

PER_LOG_2, LOG_2 = 1 / math.log(2.0), math.log(2.0)
FARTHEST, FARTHEST_SINGLE = 700.0, 87.0
"""Where the exponential stops growing, or shrinking, lest it leave the normal numbers."""

ROOT_HALF = int(np.float64(0.5**0.5).view(np.int64))
EXPONENT = np.int64(52)
BIAS = 1023


@kernel
def exponential(x):
    r"""Return :math:`e^x = 2^n e^r`, |r| at most ½ log 2, for ``x`` up to ±``FARTHEST``.

    The series of :math:`e^r`, to the 7th power for float32 and else to the 11th, is summed in pairs
    that need not wait for another.
    """
    number = type(x)
    is_double = number(1e-300) > 0.0  # known when it is compiled, like everything of constants
    farthest = number(FARTHEST) if is_double else number(FARTHEST_SINGLE)
    x = min(max(x, -farthest), farthest)
    n = np.floor(x * number(PER_LOG_2) + number(0.5))
    r = x - n * number(LOG_2)
    r2 = r * r
    r4 = r2 * r2
    low = (number(1.0) + r) + r2 * (number(1 / 2) + r * number(1 / 6))
    high = (number(1 / 24) + r * number(1 / 120)) + r2 * (number(1 / 720) + r * number(1 / 5040))
    if is_double:
        highest = number(1 / 40320) + r * number(1 / 362880)
        high += r4 * (highest + r2 * (number(1 / 3628800) + r * number(1 / 39916800)))
    power = np.int64((np.int64(n) + BIAS) << EXPONENT).view(np.float64)
    return number(power) * (low + r4 * high)


@kernel
def logarithm(x):
    r"""Return :math:`\log x = e \log 2 + 2 \operatorname{artanh} s`, for normal ``x`` > 0.

    :math:`x = 2^e m` with m from √½ to √2, and :math:`s = (m - 1) / (m + 1)`, at most 0.172.
    """
    bits = np.float64(x).view(np.int64)
    e = (bits - ROOT_HALF) >> EXPONENT
    m = np.int64(bits - (e << EXPONENT)).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    q4 = q * q * (q * q)
    low = (1.0 + q * (1 / 3)) + q * q * (1 / 5 + q * (1 / 7))
    middle = (1 / 9 + q * (1 / 11)) + q * q * (1 / 13 + q * (1 / 15))
    series = low + q4 * (middle + q4 * (1 / 17 + q * (1 / 19)))
    return e * LOG_2 + 2.0 * s * series
