"""The words of a report: contexts, links and sentences as GitHub shows them. Pure.

Whoever may see the repository may read them, so they say no more than the API's own sentences, in one line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from app.reports.model import ClaimedReport, Tell

LONGEST_DESCRIPTION: Final = 140  # GitHub refuses more


def context_of(report: ClaimedReport) -> str:
    """Under which name a commit's status is listed; a branch protection rule may require it."""
    return f"tagship/{report.image_name}"


def link_of(report: ClaimedReport, public_url: str) -> str:
    """Where more is said about it."""
    if report.rollout_id is not None:
        return f"{public_url}/api/v1/rollouts/{report.rollout_id}"
    return f"{public_url}/api/v1/images/{report.image_id}"


def payload_of(report: ClaimedReport, public_url: str) -> dict[str, Any]:
    """What tells a deployment of this rollout from all others, also those of another Tagship."""
    return {"tagship": link_of(report, public_url), "rollout": report.rollout_id, "image": image_of(report)}


def image_of(report: ClaimedReport) -> str:
    return f"{report.image_name}:{report.image_tag}"


def description_of(report: ClaimedReport, tell: Tell) -> str:
    """One line of at most 140 characters."""
    if tell.told is None:
        return one_line("the tag moved to another commit before this one was built")
    said = _of_rollout(report, tell) if report.rollout_id is not None else _of_build(report)
    return one_line(said)


def _of_build(report: ClaimedReport) -> str:
    match report.state:
        case "success":
            return f"built in {report.seconds or 0:.0f} s"
        case "failed":
            return f"failed: {report.error}"
        case "cancelled":
            return report.error or "cancelled"
        case "building":
            return "is being built"
        case _:
            return "waits to be built"


def _of_rollout(report: ClaimedReport, tell: Tell) -> str:
    match tell.state:
        case "success":
            return f"{report.slug} runs {image_of(report)}"
        case "failure":
            kept = "failed, what ran before runs" if report.state == "rolled_back" else "failed"
            return f"{kept}: {report.error}"
        case "inactive":
            return "a newer rollout took over"
        case "in_progress":
            return f"{image_of(report)} is being rolled out to {report.slug}"
        case _:
            return f"{image_of(report)} waits to be rolled out to {report.slug}"


def one_line(text: str) -> str:
    """The text without line ends and control characters, cut to what GitHub takes."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= LONGEST_DESCRIPTION else line[: LONGEST_DESCRIPTION - 1].rstrip() + "…"
