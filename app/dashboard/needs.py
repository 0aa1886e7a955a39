"""What needs a person: what happened, to what, and what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.dashboard.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

LONGEST: Final = 300


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a person should look at. ``state`` gives it its colour; ``link`` begins below the prefix."""

    state: str
    subject: str
    happened: str
    reason: str
    to_do: str
    link: str
    action: str
    since: datetime | None


def failed_build(row: Mapping[str, Any]) -> Need:
    """An image whose latest build failed."""
    pinned, kept = row["pinned"], ""
    if pinned:
        verb, rest = ("keep", "what was built before") if row["was_built"] else ("wait", "for it")
        kept = f"; {plural(pinned, 'product')} pinned to it {verb}{'s' if pinned == 1 else ''} {rest}"
    return Need(
        "failed",
        f"{row['name']}:{row['tag']}",
        f"its build failed{kept}",
        brief(row["error"]),
        "Read the log, mend the recipe, and push a new tag; or rebuild it if the cause has passed.",
        f"/images/{row['image_id']}#log",
        "Open the log",
        row["finished_at"],
    )


def failed_product(row: Mapping[str, Any]) -> Need:
    """A product whose last rollout failed, or that should run and does not."""
    link = f"/products/{row['id']}"
    image = f"{row['image_name']}:{row['image_tag']}" if row["image_name"] else "what it should run"
    if row["rollout_state"] == "rolled_back":
        kept = f"{row['live_name']}:{row['live_tag']}" if row["live_name"] else "what it ran"
        happened = f"the rollout of {image} failed, and it runs {kept} again"
        to_do = "Read what its containers said; then mend the image or its settings, and redeploy."
        state = "rolled_back"
    elif row["rollout_state"] == "failed":
        happened, state = f"the rollout of {image} failed, and nothing earlier could be kept running", "failed"
        to_do = "Read what its containers said; then roll back, or mend the image or its settings and redeploy."
    else:
        happened, state = "it should run and does not", "failed"
        to_do = "Look at its tasks and logs, then redeploy it or roll it back."
    reason = brief(row["error"]) if row["error"] else ""
    return Need(state, row["name"], happened, reason, to_do, link, "Open the product", row["finished_at"])


def failed_delivery(row: Mapping[str, Any]) -> Need:
    """A delivery that was rightly signed and could not be understood."""
    return Need(
        "failed",
        f"Delivery {row['id']}",
        f"GitHub's event {row['event']} could not be understood",
        brief(row["reason"]),
        "Look at its payload and at the webhook's content type; then redeliver it on GitHub, or replay it here.",
        f"/deliveries/{row['id']}",
        "Open the delivery",
        row["received_at"],
    )


def channel_off(row: Mapping[str, Any]) -> Need:
    """A channel that switched itself off."""
    return Need(
        "rolled_back",
        f"Channel {row['name']}",
        "it switched itself off, so that nobody is told there",
        brief(row["disabled_reason"]),
        "Give it an address that works, switch it on again and send a test message.",
        "/settings",
        "Open the settings",
        row["updated_at"],
    )


def failed_look(row: Mapping[str, Any]) -> Need:
    """A repository whose tags could not be listed."""
    times = row["failures"]
    return Need(
        "rolled_back",
        row["repo"],
        f"its tags could not be listed ({plural(times, 'time')} in a row), so that a lost delivery stays lost",
        brief(row["error"]),
        "Check the credentials for GitHub and that the repository still exists; it is tried again by itself.",
        "/settings",
        "Open the settings",
        row["looked_at"],
    )


def in_order(needs: Iterable[Need]) -> list[Need]:
    """What is broken first, then what merely deserves a look; the latest first of each."""
    newest_first = sorted(needs, key=lambda need: need.since.timestamp() if need.since else 0.0, reverse=True)
    return sorted(newest_first, key=lambda need: need.state != "failed")


def brief(reason: object) -> str:
    r"""The beginning of a reason, on one line.

    >>> brief("exit code 1:\n  KeyError"), len(brief("x" * 1000))
    ('exit code 1: KeyError', 300)
    """
    text = " ".join(str(reason or "")[: 4 * LONGEST].split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
