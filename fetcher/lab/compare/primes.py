"""The work for the CPU: a prime test by trial division, some ten or twenty milliseconds of pure Python."""

from __future__ import annotations

from math import isqrt

# Odd numbers above 10¹², so that each costs half a million divisions. All are primes but every fourth,
# whose smallest factor is large: a test that does not really test gives itself away.
_CLOSE = (39, 61, 63, None, 91, 121, 163, None, 169, 177, 189, None)
_COMPOSITES = (999_983 * 1_000_003, 999_979 * 1_000_003, 999_961 * 1_000_003)


def numbers(count: int) -> list[int]:
    """`count` numbers to test, always the same."""
    found: list[int] = []
    for index in range(count):
        offset = _CLOSE[index % len(_CLOSE)]
        if offset is None:
            found.append(_COMPOSITES[index // 4 % len(_COMPOSITES)])
        else:
            found.append(10**12 + offset)
    return found


def smallest_factor(number: int) -> int:
    """The smallest factor above 1 of an odd number; of a prime, itself."""
    return factor_among(number, 3, isqrt(number) + 1) or number


def factor_among(number: int, start: int, stop: int) -> int:
    """The first odd divisor from `start` (odd) to below `stop`, or 0."""
    for divisor in range(start, stop, 2):
        if number % divisor == 0:
            return divisor
    return 0
