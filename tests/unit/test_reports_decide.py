"""What GitHub is told next, from what it knows and what is true."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.builds.model import BuildState
from app.errors import GitHubNotFound, GitHubRateLimited, GitHubRefused, GitHubUnavailable
from app.queue.lease import Lease
from app.queue.retry import RetryIn
from app.reports.model import (
    DEPLOYMENT_OF,
    MOST_ATTEMPTS,
    STATUS_OF,
    ClaimedReport,
    Leave,
    Note,
    ReportKind,
    SwitchOff,
    Tell,
    after_failure,
    decide,
)
from app.reports.text import context_of, description_of, link_of, one_line, payload_of
from app.rollouts.model import RolloutState

if TYPE_CHECKING:
    from app.errors import AppError

OLD: Final = "a" * 40
NEW: Final = "b" * 40
STATUS: Final = ClaimedReport(
    lease=Lease("report", 1, uuid4(), 60),
    kind=ReportKind.STATUS,
    build_id=1,
    rollout_id=None,
    state="pending",
    told=None,
    told_sha=None,
    deployment_id=None,
    overtaken=False,
    attempt=1,
    commit_sha=NEW,
    error=None,
    seconds=41.4,
    image_id=9,
    image_name="bre",
    image_tag="v1.0.0",
    github_repo="acme/bre",
    slug=None,
)
DEPLOYMENT: Final = replace(STATUS, kind=ReportKind.DEPLOYMENT, build_id=None, rollout_id=5, slug="allianz")


def status(**fields: Any) -> Tell | Note | Leave:
    return decide(replace(STATUS, **fields))


def deployment(**fields: Any) -> Tell | Note | Leave:
    return decide(replace(DEPLOYMENT, **fields))


def test_every_state_has_a_word_of_githubs() -> None:
    assert set(STATUS_OF) == set(BuildState)
    assert set(DEPLOYMENT_OF) == set(RolloutState)


@pytest.mark.parametrize(
    ("state", "word", "last"),
    [
        ("pending", "pending", False),
        ("building", "pending", False),
        ("success", "success", True),
        ("failed", "failure", True),
        ("cancelled", "error", True),
    ],
)
def test_a_build_is_the_status_of_its_commit(state: str, word: str, last: bool) -> None:
    assert status(state=state) == Tell(NEW, word, state, last=last)


@pytest.mark.parametrize(
    ("state", "word", "last"),
    [
        ("pending", "queued", False),
        ("applying", "in_progress", False),
        ("converging", "in_progress", False),
        ("done", "success", True),
        ("failed", "failure", True),
        ("rolled_back", "failure", True),
        ("superseded", "inactive", True),
        ("cancelled", "inactive", True),
    ],
)
def test_a_rollout_is_the_status_of_its_deployment(state: str, word: str, last: bool) -> None:
    assert deployment(state=state, deployment_id=3) == Tell(NEW, word, state, last=last)


def test_what_github_has_no_other_word_for_is_not_told_again() -> None:
    assert status(state="building", told="pending", told_sha=NEW) == Note(last=False)
    assert deployment(state="converging", told="applying", told_sha=NEW, deployment_id=3) == Note(last=False)


def test_a_newer_build_of_the_commit_speaks_for_it() -> None:
    assert isinstance(status(state="success", told="pending", told_sha=NEW, overtaken=True), Leave)


def test_a_commit_that_the_tag_left_does_not_stay_pending() -> None:
    assert status(state="success", told="pending", told_sha=OLD) == Tell(OLD, "error", None, last=False)
    assert status(state="success") == Tell(NEW, "success", "success", last=True)


def test_a_rollout_that_github_never_heard_of_is_not_made_only_to_be_inactive() -> None:
    assert isinstance(deployment(state="superseded"), Leave)
    assert isinstance(deployment(state="done", overtaken=True), Leave)


def test_a_late_success_does_not_take_over_from_a_newer_rollout() -> None:
    found = deployment(state="done", told="pending", told_sha=NEW, deployment_id=3, overtaken=True)
    assert found == Tell(NEW, "inactive", "done", last=True)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (GitHubRefused("no", status=401), SwitchOff("no")),
        (GitHubRefused("no", status=403), SwitchOff("no")),
        (GitHubNotFound("no"), SwitchOff("no")),
        (GitHubRefused("a thousand", status=422), Leave("a thousand")),
        (GitHubRefused("no", status=409), Leave("no")),
        (GitHubRefused("no"), Leave("no")),
        (GitHubRateLimited(700), RetryIn(700)),
        (GitHubRateLimited(1), RetryIn(5)),
        (GitHubUnavailable("away"), RetryIn(5)),
    ],
)
def test_each_failure_has_its_consequence(error: AppError, expected: object) -> None:
    assert after_failure(STATUS, error) == expected


def test_a_deployment_that_somebody_deleted_switches_nothing_off() -> None:
    assert isinstance(after_failure(replace(DEPLOYMENT, deployment_id=3), GitHubNotFound("gone")), Leave)
    assert isinstance(after_failure(DEPLOYMENT, GitHubNotFound("may not")), SwitchOff)


def test_an_outage_is_waited_for_a_day_and_not_for_ever() -> None:
    away = GitHubUnavailable("away")
    waits = [after_failure(replace(STATUS, attempt=number), away) for number in range(1, MOST_ATTEMPTS + 1)]
    assert 23 * 3600 < sum(wait.seconds for wait in waits if isinstance(wait, RetryIn)) < 26 * 3600
    assert waits[-1] == Leave("away")


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"state": "pending"}, "waits to be built"),
        ({"state": "building"}, "is being built"),
        ({"state": "success"}, "built in 41 s"),
        ({"state": "failed", "error": "no Dockerfile\nthere"}, "failed: no Dockerfile there"),
        ({"state": "cancelled", "error": "cancelled before it began"}, "cancelled before it began"),
    ],
)
def test_a_status_says_in_a_line_what_happened(fields: dict[str, Any], text: str) -> None:
    report = replace(STATUS, **fields)
    tell = decide(report)
    assert isinstance(tell, Tell)
    assert description_of(report, tell) == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"state": "pending"}, "bre:v1.0.0 waits to be rolled out to allianz"),
        ({"state": "converging"}, "bre:v1.0.0 is being rolled out to allianz"),
        ({"state": "done"}, "allianz runs bre:v1.0.0"),
        ({"state": "failed", "error": "exit 1"}, "failed: exit 1"),
        ({"state": "rolled_back", "error": "exit 1"}, "failed, what ran before runs: exit 1"),
        ({"state": "superseded"}, "a newer rollout took over"),
    ],
)
def test_a_deployment_says_in_a_line_what_happened(fields: dict[str, Any], text: str) -> None:
    report = replace(DEPLOYMENT, deployment_id=3, **fields)
    tell = decide(report)
    assert isinstance(tell, Tell)
    assert description_of(report, tell) == text


@given(st.text())
def test_no_description_is_longer_than_github_takes_or_has_two_lines(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 140
    assert line.isprintable()


def test_a_long_description_says_that_it_was_cut() -> None:
    assert one_line("x" * 141) == "x" * 139 + "…"
    assert one_line("x" * 140) == "x" * 140


def test_links_lead_to_the_image_and_to_the_rollout() -> None:
    assert context_of(STATUS) == "tagship/bre"
    assert link_of(STATUS, "https://t") == "https://t/api/v1/images/9"
    assert link_of(DEPLOYMENT, "https://t") == "https://t/api/v1/rollouts/5"
    assert payload_of(DEPLOYMENT, "https://t") != payload_of(DEPLOYMENT, "https://u"), "another Tagship's rollout 5"
