"""How often repositories are looked at, and what that costs of GitHub's rate limit."""

from __future__ import annotations

import heapq
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import SettingsInvalid
from app.github.rate import Rate, rate_of
from app.reconcile.pace import (
    BETWEEN_REQUESTS_S,
    RARELY_S,
    Pause,
    Trouble,
    most_questions,
    next_look,
    pause_after,
    phase_of,
)
from app.settings import load_settings

NOW: Final = datetime(2026, 1, 1, 12, 0, 7, tzinfo=UTC)
REPOS: Final = [f"acme/service-{number}" for number in range(500)]


def wait_s(**given: object) -> float:
    values = {"now": NOW, "interval_s": 300.0, "phase": 0.5} | given
    return (next_look(**values) - NOW).total_seconds()  # type: ignore[arg-type]


@given(st.floats(1, 86_400), st.floats(0, 1, exclude_max=True), st.floats(0, 4e7))
def test_a_look_comes_again_at_its_own_moment_of_the_next_interval(
    interval_s: float, phase: float, seconds: float
) -> None:
    now = NOW + timedelta(seconds=seconds)
    first = next_look(now, interval_s, phase)
    assert 0.09 * interval_s <= (first - now).total_seconds() <= 1.11 * interval_s
    second = next_look(first + timedelta(milliseconds=20), interval_s, phase)
    assert (second - first).total_seconds() == pytest.approx(interval_s, rel=1e-3, abs=0.01)


def test_five_hundred_repositories_that_begin_at_once_are_spread_over_the_interval() -> None:
    moments = [(next_look(NOW, 300, phase_of(repo)) - NOW).total_seconds() for repo in REPOS]
    for tenth in range(1, 11):
        assert 25 <= sum(30 * tenth <= moment < 30 * (tenth + 1) for moment in moments) <= 75


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ({"trouble": Trouble.PASSING, "failures": 1}, 3, 7),
        ({"trouble": Trouble.PASSING, "failures": 3}, 15, 25),
        ({"trouble": Trouble.PASSING, "failures": 60}, 225, 375),
        ({"trouble": Trouble.PASSING, "failures": 60, "interval_s": 1.0}, 45, 75),
        ({"trouble": Trouble.PASSING, "failures": 0}, 3, 7),
        ({"trouble": Trouble.REFUSED, "failures": 1}, RARELY_S, 1.1 * RARELY_S),
        ({"trouble": Trouble.REFUSED, "failures": 1, "interval_s": 86_400.0}, 86_400, 1.1 * 86_400),
    ],
)
def test_trouble_puts_a_look_off(given: dict[str, object], least: float, most: float) -> None:
    for phase in (0.0, 0.999):
        assert least <= wait_s(**given, phase=phase) <= most


@pytest.mark.parametrize(
    ("asked", "counted", "rate", "pause"),
    [
        pytest.param(1, 1, None, Pause(BETWEEN_REQUESTS_S), id="no limit"),
        pytest.param(1, 0, Rate(5000, 5000, 3600), Pause(BETWEEN_REQUESTS_S), id="a 304 is free"),
        pytest.param(1, 1, Rate(5000, 5000, 3600), Pause(1.44), id="half of the limit is for looks"),
        pytest.param(1, 1, Rate(5000, 2600, 1800), Pause(18), id="the less is left the slower"),
        pytest.param(1, 0, Rate(5000, 2500, 1800), Pause(1800), id="nothing is left for looks"),
        pytest.param(1, 0, Rate(5000, 999, 60), Pause(60, 60), id="little is left for builds"),
        pytest.param(1, 1, Rate(60, 60, 3600), Pause(120), id="without credentials"),
        pytest.param(900, 900, Rate(60, 60, 3600), Pause(3600), id="never longer than until the reset"),
    ],
)
def test_a_look_is_paid_for_before_the_next_one(asked: int, counted: int, rate: Rate | None, pause: Pause) -> None:
    assert pause_after(asked, counted, rate) == pause


@pytest.mark.parametrize(
    ("rate", "most"),
    [(None, 200), (Rate(5000, 5000, 1), 200), (Rate(60, 60, 1), 15), (Rate(60, 31, 1), 1), (Rate(60, 0, 1), 1)],
)
def test_one_look_does_not_use_up_what_all_may(rate: Rate | None, most: int) -> None:
    assert most_questions(rate) == most


def looks(limit: int, *, hours: int, cost: int, interval_s: float = 300) -> tuple[list[int], dict[str, list[float]]]:
    """Let 500 repositories be looked at by this clock, as the queue does: the one due for longest, one at a time, and
    not before the last one is paid for. Requests in each hour, and the moments of every repository.
    """
    start, at, open_at, used = NOW.replace(minute=0, second=0), 0.0, 0.0, [0] * hours
    due = [(0.0, repo) for repo in REPOS]
    moments: dict[str, list[float]] = {repo: [] for repo in REPOS}
    while True:
        run_after, repo = heapq.heappop(due)
        at = max(at, run_after, open_at)
        hour = int(at // 3600)
        if hour >= hours:
            return used, moments
        used[hour] += cost
        moments[repo].append(at)
        rate = Rate(limit, max(limit - used[hour], 0), 3600 - at % 3600)
        open_at = at + pause_after(1, cost, rate).open_s
        again = next_look(start + timedelta(seconds=at), interval_s, phase_of(repo))
        heapq.heappush(due, ((again - start).total_seconds(), repo))


@pytest.mark.parametrize(("limit", "most"), [(60, 30), (5000, 2500)])
def test_five_hundred_repositories_use_at_most_half_of_the_limit_in_any_hour(limit: int, most: int) -> None:
    used, _ = looks(limit, hours=4, cost=1)
    assert max(used) <= most
    assert min(used) >= most * 0.6, "and they use what they may"


def test_without_a_token_the_interval_is_stretched_for_all_alike() -> None:
    _, moments = looks(60, hours=60, cost=1)
    counts = [len(found) for found in moments.values()]
    assert min(counts) >= 1
    assert max(counts) - min(counts) <= 2


def test_with_a_token_what_has_not_changed_costs_nothing_and_all_keep_their_interval() -> None:
    used, moments = looks(5000, hours=2, cost=0)
    assert used == [0, 0]
    for found in moments.values():
        assert 23 <= len(found) <= 26


@pytest.mark.parametrize("value", ["-1", "86401", "inf", "nan", "often"])
def test_an_interval_that_is_none_is_refused_by_name(value: str) -> None:
    with pytest.raises(SettingsInvalid, match="TAGSHIP_RECONCILE_INTERVAL_S"):
        load_settings({"TAGSHIP_RECONCILE_INTERVAL_S": value})


def test_an_interval_is_five_minutes_unless_given_and_may_be_never() -> None:
    assert load_settings({}).tagship_reconcile_interval_s == 300
    assert load_settings({"TAGSHIP_RECONCILE_INTERVAL_S": "0"}).tagship_reconcile_interval_s == 0


def test_the_headers_of_an_answer_tell_the_rate_by_its_own_clock() -> None:
    headers = {
        "x-ratelimit-limit": "5000",
        "x-ratelimit-remaining": "42",
        "x-ratelimit-reset": str(int(NOW.timestamp()) + 90),
        "date": "Thu, 01 Jan 2026 12:00:07 GMT",
    }
    assert rate_of(headers) == Rate(5000, 42, 90)
    assert rate_of(headers | {"x-ratelimit-resource": "graphql"}) is None
    assert rate_of(headers | {"x-ratelimit-reset": "soon"}) is None
    assert rate_of({}) is None
    assert rate_of(headers | {"x-ratelimit-reset": "99999999999"}) == Rate(5000, 42, 3600)
    assert rate_of(headers | {"x-ratelimit-reset": "0"}) == Rate(5000, 42, 1)


@pytest.mark.parametrize("name", ["limit", "remaining", "reset"])
@pytest.mark.parametrize("number", ["9" * 400, "-" + "9" * 400], ids=["huge", "hugely negative"])
def test_a_rate_that_no_server_has_is_none(name: str, number: str) -> None:
    headers = {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "42", "x-ratelimit-reset": "1"}
    assert rate_of(headers | {f"x-ratelimit-{name}": number}) is None
