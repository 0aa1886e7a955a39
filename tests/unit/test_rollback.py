"""Where a product goes back to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rollouts.model import PastDeploy, RolloutId, RolloutReason, rollback_target

CHANGED, ROLLBACK = RolloutReason.CHANGED, RolloutReason.ROLLBACK


def history(spelled: str) -> list[PastDeploy]:
    """``a b <a``: ran a, then b, then went back to a; the first has id 1."""
    return [
        PastDeploy(RolloutId(number), ROLLBACK if word.startswith("<") else CHANGED, word.removeprefix("<"))
        for number, word in enumerate(spelled.split(), 1)
    ]


@pytest.mark.parametrize(
    ("past", "wanted", "target"),
    [
        ("", "a", None),
        ("a", "a", None),
        ("a a a", "a", None),
        ("a b", "b", 1),
        ("a b b", "b", 1),
        ("a b", "c", 2),  # c failed: b still runs
        ("a", "b", 1),
        ("a b <a", "a", None),
        ("a b c <b", "b", 1),
        ("a b c <b <a", "a", None),
        ("a b c <b d", "d", 4),
        ("a b <a c <a", "a", None),
        ("a b c <a", "a", None),
        ("a b a c <a", "a", 2),
        ("<x a", "a", 1),  # what was before has been forgotten
    ],
)
def test_a_rollback_goes_to_the_newest_success_that_is_something_else(
    past: str, wanted: str, target: int | None
) -> None:
    assert rollback_target(history(past), wanted) == target


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=12))
def test_rolling_back_again_and_again_comes_to_an_end_and_never_returns(ran: list[str]) -> None:
    past = [PastDeploy(RolloutId(number), CHANGED, word) for number, word in enumerate(ran, 1)]
    wanted, left = ran[-1], len(ran)
    while (target := rollback_target(past, wanted)) is not None:
        assert target < left
        left, wanted = target, past[target - 1].fingerprint
        past.append(PastDeploy(RolloutId(len(past) + 1), ROLLBACK, wanted))
    assert len(past) <= 2 * len(ran)
