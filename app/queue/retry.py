"""When to try again: one pure function for every stage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Try again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further attempt."""


def next_attempt(
    attempt: int, *, most: int, first_s: float, longest_s: float, asked_s: float | None = None
) -> RetryIn | GiveUp:
    """Decide what follows attempt number ``attempt`` (from 1): the wait doubles, but never undercuts what the other
    side asked.

    >>> next_attempt(1, most=3, first_s=2, longest_s=60)
    RetryIn(seconds=2)
    >>> next_attempt(2, most=3, first_s=2, longest_s=60, asked_s=30)
    RetryIn(seconds=30)
    >>> next_attempt(3, most=3, first_s=2, longest_s=60)
    GiveUp()
    """
    if attempt >= most:
        return GiveUp()
    doubled = min(longest_s, first_s * 2 ** min(attempt - 1, 30))
    return RetryIn(max(doubled, asked_s or 0))
