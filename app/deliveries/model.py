"""Deliveries as they are kept, and what one asks for: the decision, apart from any database."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from app.github.payload import NotATagPush, TagChange, TagPush
from app.repositories.model import MovedTagPolicy, Repository

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from app.builds.model import BuildId


class DeliveryState(StrEnum):
    RECEIVED = "received"
    ACCEPTED = "accepted"
    IGNORED = "ignored"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook request as it is kept, without its body; ``builds`` are all that it has led to, replays included."""

    id: int
    guid: str
    event: str
    repo: str | None
    ref: str | None
    state: DeliveryState
    reason: str | None
    content_type: str
    size_bytes: int
    received_at: datetime
    replays: int
    replayed_at: datetime | None
    builds: tuple[BuildId, ...]


@dataclass(frozen=True, slots=True)
class BuildFor:
    """Build the tag for each of these registrations."""

    push: TagPush
    registrations: tuple[Repository, ...]


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing to do; ``reason`` is a sentence."""

    reason: str


def decide(event: TagPush | NotATagPush, registrations: Sequence[Repository]) -> BuildFor | Ignored:
    """Decide what a delivery leads to, given every registration of its repository."""
    if isinstance(event, NotATagPush):
        return Ignored(event.reason)
    if event.kind is TagChange.DELETED:
        return Ignored(f"tag {event.tag} was deleted; what runs goes on running")
    if not registrations:
        return Ignored(f"{event.repo} is not registered")
    matching = [registration for registration in registrations if registration.takes(event.tag)]
    if not matching:
        patterns = ", ".join(sorted({registration.tag_pattern for registration in registrations}))
        return Ignored(f"tag {event.tag} matches no registered pattern ({patterns})")
    if event.kind is TagChange.MOVED:
        matching = [r for r in matching if r.on_moved_tag is MovedTagPolicy.REBUILD]
        if not matching:
            return Ignored(f"tag {event.tag} was moved, and moved tags are not rebuilt here (on_moved_tag)")
    return BuildFor(event, tuple(matching))
