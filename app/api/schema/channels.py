"""Channels, field by field. The address is a secret: it comes back masked, and writing the mask back keeps it."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WrapValidator

from app.api.fields import ADDRESS, Label, WebhookUrl
from app.api.schema.base import In, Out, Time
from app.mask import MASK
from app.notices.model import Channel, ChannelKind, NoticeEvent


def _or_mask(value: Any, check: Any) -> Any:
    return value if value == MASK else check(value)


def _each_once(value: list[NoticeEvent]) -> list[NoticeEvent]:
    if len(set(value)) != len(value):
        raise ValueError("must name each event once")
    return value


Events = Annotated[
    list[Annotated[NoticeEvent, Field(strict=False)]],
    Field(min_length=1, max_length=100, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_each_once),
]
UrlOrMask = Annotated[
    WebhookUrl,
    WrapValidator(_or_mask),
    Field(
        description="the mask keeps the address that is there",
        examples=[MASK],
        json_schema_extra={"pattern": rf"^(?:{re.escape(MASK)}|{ADDRESS})$"},
    ),
]
Kind = Annotated[ChannelKind, Field(strict=False)]


class ChannelIn(In):
    name: Label
    kind: Kind
    url: WebhookUrl
    events: Events | None = None
    enabled: bool = True


class ChannelPatch(In):
    """Only what is given changes; ``events: null`` stands for every event."""

    name: Label = ""
    url: UrlOrMask = MASK
    events: Events | None = None
    enabled: bool = True


class ChannelOut(Out):
    id: int
    name: str
    kind: ChannelKind
    url: str = Field(description="always masked")
    from_settings: bool = Field(description="its address is SLACK_WEBHOOK_URL")
    events: list[NoticeEvent] | None = Field(description="null: every event")
    enabled: bool
    disabled_reason: str | None = Field(description="why it switched itself off; null: it did not")
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, channel: Channel) -> ChannelOut:
        shown = {name: getattr(channel, name) for name in Channel.__slots__}
        return cls.model_validate(shown | {"url": MASK, "from_settings": channel.from_settings})


class ChannelTestOut(Out):
    sent: bool = Field(description="whether the receiver took it")
    status: int | None = Field(description="the receiver's HTTP status; null when it could not be reached")
    answer: str = Field(description="what it said, when that is one word, or why it was not sent")
