"""Our own form, for programs: a JSON object per message, as Standard Webhooks has it, with the events as data. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

SEVERAL: Final = "events"
TEST: Final = "test"


def payload(kind: str, at: datetime, text: str, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """``kind`` is the type of the one event there is, ``events`` for several, ``test`` for none; ``at`` the time of the
    first, so that a message that is sent again is the same.
    """
    return {"type": kind, "timestamp": at.isoformat(), "data": {"text": text, "events": list(events)}}
