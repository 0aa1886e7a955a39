"""What people are told about, and the notice that a worker holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from app.queue.lease import Lease


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
class ClaimedNotice:
    """A notice that this worker holds the lease of; ``facts`` are what the text is made of."""

    lease: Lease
    event: NoticeEvent
    facts: Mapping[str, Any]
    attempt: int
    created_at: datetime
    claimed_at: datetime
