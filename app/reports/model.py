"""A report: what GitHub was told of a build or a rollout, what is true now, and what follows from the two. Pure.

Nothing hooks into the transitions of builds and rollouts. A report is behind when the state it told is not the present
one, so a burst of transitions is told as its last state, and a lost wake-up costs time, not truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from app.errors import GitHubNotFound, GitHubRateLimited, GitHubRefused, GitHubUnavailable
from app.queue.retry import GiveUp, RetryIn, next_attempt

if TYPE_CHECKING:
    from app.queue.lease import Lease

# The state of a build as the state of a commit, and the state of a rollout as the state of a deployment, by GitHub's
# own words (REST docs: commit statuses, deployment statuses).
STATUS_OF: Final = {
    "pending": "pending",
    "building": "pending",
    "success": "success",
    "failed": "failure",
    "cancelled": "error",
}
DEPLOYMENT_OF: Final = {
    "pending": "queued",
    "applying": "in_progress",
    "converging": "in_progress",
    "done": "success",
    "failed": "failure",
    "rolled_back": "failure",
    "superseded": "inactive",
    "cancelled": "inactive",
}
ON_THE_WAY: Final = {"pending", "queued", "in_progress"}

# Together a day, after which a report is news no more.
MOST_ATTEMPTS: Final = 150
FIRST_RETRY_S: Final = 5.0
LONGEST_RETRY_S: Final = 600.0


class ReportKind(StrEnum):
    STATUS = "status"
    DEPLOYMENT = "deployment"


@dataclass(frozen=True, slots=True)
class ClaimedReport:
    """A report that this worker holds the lease of. ``state`` is what is true now, ``told`` and ``told_sha`` what
    GitHub knows; ``overtaken``: a newer build of the same commit, or a newer rollout that is done, says more.
    """

    lease: Lease
    kind: ReportKind
    build_id: int | None
    rollout_id: int | None
    state: str
    told: str | None
    told_sha: str | None
    deployment_id: int | None
    overtaken: bool
    attempt: int
    commit_sha: str
    error: str | None
    seconds: float | None
    image_id: int
    image_name: str
    image_tag: str
    github_repo: str
    slug: str | None


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell GitHub ``state`` (its word) of ``sha``; afterwards GitHub knows ``told`` (our word) of that commit."""

    sha: str
    state: str
    told: str | None
    last: bool


@dataclass(frozen=True, slots=True)
class Note:
    """GitHub has no other word for what is true now: only remember that it was looked at."""

    last: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """Say nothing more, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class SwitchOff:
    """Our credentials may not say such things about this repository."""

    reason: str


def decide(report: ClaimedReport) -> Tell | Note | Leave:
    """What to tell GitHub now."""
    return _of_status(report) if report.kind is ReportKind.STATUS else _of_deployment(report)


def _of_status(report: ClaimedReport) -> Tell | Note | Leave:
    known = STATUS_OF[report.told] if report.told else None
    if report.told_sha is not None and report.told_sha != report.commit_sha:
        if known in ON_THE_WAY:  # the tag moved while it was being built: nobody else will speak of that commit
            return Tell(report.told_sha, "error", None, last=False)
        known = None
    if report.overtaken:
        return Leave("a newer build of the same commit is told instead")
    return _forward(report, STATUS_OF[report.state], known)


def _of_deployment(report: ClaimedReport) -> Tell | Note | Leave:
    state = DEPLOYMENT_OF[report.state]
    if state == "success" and report.overtaken:  # a late success would make GitHub call the newer one inactive
        state = "inactive"
    if state == "inactive" and report.deployment_id is None:
        return Leave("a newer rollout took over before GitHub was told of this one")
    return _forward(report, state, DEPLOYMENT_OF[report.told] if report.told else None)


def _forward(report: ClaimedReport, state: str, known: str | None) -> Tell | Note:
    last = state not in ON_THE_WAY
    return Note(last) if state == known else Tell(report.commit_sha, state, report.state, last)


def after_failure(report: ClaimedReport, error: Exception) -> RetryIn | SwitchOff | Leave:
    """What follows when GitHub did not take it.

    404 is GitHub's answer to those who may not know, too; but for a deployment that was there it means that somebody
    deleted it. 422 is final: the commit is gone, or it has had the thousand statuses that GitHub keeps of a context.
    """
    match error:
        case GitHubRateLimited() | GitHubUnavailable():
            return _again(report, error)
        case GitHubRefused(status=HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN):
            return SwitchOff(str(error))
        case GitHubNotFound() if report.deployment_id is None:
            return SwitchOff(str(error))
        case _:
            return Leave(str(error))


def _again(report: ClaimedReport, error: GitHubRateLimited | GitHubUnavailable) -> RetryIn | Leave:
    asked = error.retry_after_s if isinstance(error, GitHubRateLimited) else None
    decision = next_attempt(
        report.attempt, most=MOST_ATTEMPTS, first_s=FIRST_RETRY_S, longest_s=LONGEST_RETRY_S, asked_s=asked
    )
    return Leave(str(error)) if isinstance(decision, GiveUp) else decision
