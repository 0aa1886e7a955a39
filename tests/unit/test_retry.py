"""When to try again."""

from __future__ import annotations

from app.queue.retry import GiveUp, RetryIn, next_attempt


def test_the_wait_doubles_up_to_the_longest() -> None:
    waits = [next_attempt(attempt, most=9, first_s=1, longest_s=5) for attempt in range(1, 6)]
    assert waits == [RetryIn(1), RetryIn(2), RetryIn(4), RetryIn(5), RetryIn(5)]


def test_the_last_attempt_is_the_last() -> None:
    assert next_attempt(3, most=3, first_s=1, longest_s=5) == GiveUp()


def test_what_the_other_side_asks_is_kept() -> None:
    assert next_attempt(1, most=3, first_s=1, longest_s=5, asked_s=60) == RetryIn(60)
