"""What people are told about and where, and the notice that a worker holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NewType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from app.queue.lease import Lease


ChannelId = NewType("ChannelId", int)


class ChannelKind(StrEnum):
    """Whose form of incoming webhooks a channel takes; Mattermost and Rocket.Chat take Slack's."""

    SLACK = "slack"


class NoticeEvent(StrEnum):
    BUILD_SUCCEEDED = "build_succeeded"
    BUILD_FAILED = "build_failed"
    ROLLOUT_DONE = "rollout_done"
    ROLLOUT_FAILED = "rollout_failed"


class NoticeState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Channel:
    """Where notices go. ``url_sealed`` is None for the channel whose address is in the settings; ``events`` is None for
    every event there is, ``disabled_reason`` for a channel that is on or was switched off by a person.
    """

    id: ChannelId
    name: str
    kind: ChannelKind
    enabled: bool
    url_sealed: str | None
    events: tuple[NoticeEvent, ...] | None
    created_at: datetime
    updated_at: datetime
    disabled_reason: str | None

    @property
    def from_settings(self) -> bool:
        """Whether its address comes from SLACK_WEBHOOK_URL."""
        return self.url_sealed is None


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one channel about one event; ``subject_id`` is the build's or the rollout's id."""

    id: int
    channel_id: ChannelId
    channel: str
    event: NoticeEvent
    subject_id: int
    facts: Mapping[str, Any]
    state: NoticeState
    attempt: int
    answer: str | None
    run_after: datetime
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClaimedNotice:
    """A notice that this worker holds the lease of; ``facts`` are what the text is made of, ``url_sealed`` is its
    channel's.
    """

    lease: Lease
    channel_id: ChannelId
    url_sealed: str | None
    event: NoticeEvent
    facts: Mapping[str, Any]
    attempt: int
