"""Notices, field by field."""

from __future__ import annotations

from pydantic import Field

from app.api.fields import RowId
from app.api.schema.base import Out, PageQuery, Time
from app.notices.model import Notice, NoticeEvent, NoticeState
from app.notices.text import notice_text


class NoticeQuery(PageQuery):
    state: NoticeState | None = None
    event: NoticeEvent | None = None
    channel_id: RowId | None = None


class NoticeOut(Out):
    id: int
    channel_id: int
    channel: str
    event: NoticeEvent
    subject: str = Field(description="what `subject_id` is the id of: `build` or `rollout`")
    subject_id: int
    text: str | None = Field(description="as it was or will be sent; null when another version of Tagship wrote it")
    state: NoticeState
    attempt: int
    answer: str | None
    next_attempt_at: Time | None
    created_at: Time
    finished_at: Time | None

    @classmethod
    def of(cls, notice: Notice, public_url: str) -> NoticeOut:
        try:
            text = notice_text(notice.event, notice.facts, public_url)
        except (KeyError, TypeError, ValueError):  # facts that other code wrote
            text = None
        shown = {
            "subject": str(notice.event).partition("_")[0],
            "text": text,
            "next_attempt_at": notice.run_after if notice.state is NoticeState.PENDING else None,
        }
        return cls.model_validate({name: getattr(notice, name) for name in Notice.__slots__} | shown)
