"""Notices, field by field, and what a channel of the kind ``webhook`` is sent."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from app.api.fields import RowId
from app.api.schema.base import Out, PageQuery, Time
from app.notices.model import Notice, NoticeEvent, NoticeState, Subject
from app.notices.text import UNREADABLE, message_of
from app.receivers.message import plain


class NoticeQuery(PageQuery):
    state: NoticeState | None = None
    event: NoticeEvent | None = None
    channel_id: RowId | None = None


class NoticeOut(Out):
    id: int
    channel_id: int
    channel: str
    event: NoticeEvent
    subject: Subject = Field(description="what `subject_id` is the id of; a build stands for all rollouts it set going")
    subject_id: int
    text: str | None = Field(description="what it says, without markup; null when another version of Tagship wrote it")
    state: NoticeState
    attempt: int
    status: int | None = Field(description="HTTP status of the last answer; null: there was none")
    answer: str | None = Field(description="the last answer, in one word where it has one, or why there was none")
    message_id: UUID | None = Field(description="the message that it goes out with: those that share it were gathered")
    next_attempt_at: Time | None
    created_at: Time
    finished_at: Time | None

    @classmethod
    def of(cls, notice: Notice, public_url: str) -> NoticeOut:
        try:
            text = plain(message_of(notice.told, public_url))
        except UNREADABLE:  # facts that other code wrote
            text = None
        shown = {
            "text": text,
            "next_attempt_at": notice.run_after if notice.state is NoticeState.PENDING else None,
        }
        return cls.model_validate({name: getattr(notice, name) for name in Notice.__slots__} | shown)


class WebhookProduct(Out):
    product_id: int
    rollout_id: int
    slug: str
    name: str
    state: str = Field(description="of its rollout")
    error: str | None
    output: list[str] = Field(description="the last lines of a task that failed")
    link: str


class WebhookEvent(Out):
    id: int = Field(description="of the notice, as `GET /notices/{id}` has it")
    type: Literal["build.succeeded", "build.failed", "rollout.done", "rollout.failed"]
    at: str
    text: str
    link: str
    build_id: int | None = Field(description="the build it is about, or that the rollout ships")
    image: str = Field(description="`name:tag`, or the exact image of a product that is pinned to none")
    image_id: int | None
    github_repo: str | None
    commit_sha: str | None
    seconds: float | None = Field(description="how long the build took")
    error: str | None
    log: list[str] = Field(description="the last lines of a build that failed")
    products: list[WebhookProduct] = Field(description="whose rollout it is, or all whose rollouts the build set going")


class WebhookData(Out):
    text: str = Field(description="the whole message in words")
    events: list[WebhookEvent]


class WebhookMessage(Out):
    """What is posted to a channel of the kind ``webhook``."""

    type: Literal["build.succeeded", "build.failed", "rollout.done", "rollout.failed", "events", "test"] = Field(
        description="the type of the one event in it; `events`: several were gathered; `test`: none"
    )
    timestamp: str
    data: WebhookData
