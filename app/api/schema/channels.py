"""Channels, field by field. Address and signing secret come back masked, and writing the mask back keeps them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints, WrapValidator

from app.api.fields import ADDRESS, Label, Pattern, WebhookUrl
from app.api.schema.base import In, Out, Time
from app.mask import MASK
from app.notices.model import Channel, ChannelKind, NoticeEvent
from app.receivers.signing import LONGEST, PREFIX, SHORTEST, is_secret


def _or_mask(value: Any, check: Any) -> Any:
    return value if value == MASK else check(value)


def _each_once(value: list[NoticeEvent]) -> list[NoticeEvent]:
    if len(set(value)) != len(value):
        raise ValueError("must name each event once")
    return value


def _secret(value: str) -> str:
    """Refusals never repeat the secret."""
    if not is_secret(value):
        raise ValueError(f"must be {PREFIX} and {SHORTEST} to {LONGEST} bytes in base64, as Standard Webhooks has it")
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
IMAGES: Final = "globs on the name of the image; none: every image"
PRODUCTS: Final = (
    "globs on the slug: rollouts of these products and builds of images that they are pinned to; none: all"
)
IN_BASE64: Final = r"(?:[A-Za-z0-9+/]{4}){8,20}(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?"
ENCODED: Final = f"{PREFIX}{IN_BASE64}"
Globs = Annotated[list[Pattern], Field(max_length=100, default_factory=list)]
SigningSecret = Annotated[
    str,
    StringConstraints(max_length=200),
    AfterValidator(_secret),
    Field(json_schema_extra={"pattern": f"^{ENCODED}$", "examples": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}),
]
SecretOrMask = Annotated[
    SigningSecret,
    WrapValidator(_or_mask),
    Field(json_schema_extra={"pattern": rf"^(?:{re.escape(MASK)}|{ENCODED})$", "examples": [MASK]}),
]


class ChannelIn(In):
    """``kind`` is whose form of messages the receiver takes. Only ``webhook`` is signed: with the ``secret`` given, or
    with one that is made and shown once.
    """

    name: Label
    kind: Kind
    url: WebhookUrl
    events: Events | None = None
    images: Annotated[Globs, Field(description=IMAGES)]
    products: Annotated[Globs, Field(description=PRODUCTS)]
    secret: SigningSecret | None = None
    enabled: bool = True


class ChannelPatch(In):
    """Only what is given changes; ``events: null`` stands for every event, and ``secret: null`` has a new one made,
    which is shown once.
    """

    name: Label = ""
    url: UrlOrMask = MASK
    events: Events | None = None
    images: Annotated[Globs, Field(description=IMAGES)]
    products: Annotated[Globs, Field(description=PRODUCTS)]
    secret: SecretOrMask | None = MASK
    enabled: bool = True


class ChannelOut(Out):
    id: int
    name: str
    kind: ChannelKind
    url: str = Field(description="always masked")
    from_settings: bool = Field(description="its address is SLACK_WEBHOOK_URL")
    secret: str | None = Field(
        description="masked; the one that was made is shown in the answer that made it. null: this kind signs nothing"
    )
    events: list[NoticeEvent] | None = Field(description="null: every event")
    images: list[str] = Field(description=IMAGES)
    products: list[str] = Field(description=PRODUCTS)
    enabled: bool
    disabled_reason: str | None = Field(description="why it switched itself off; null: it did not")
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, channel: Channel, *, made: str | None = None) -> ChannelOut:
        """``made`` is a signing secret that nobody knows yet."""
        shown = {name: getattr(channel, name) for name in Channel.__slots__}
        secret = made or (MASK if channel.secret_sealed is not None else None)
        return cls.model_validate(shown | {"url": MASK, "secret": secret, "from_settings": channel.from_settings})


class ChannelTestOut(Out):
    sent: bool = Field(description="whether the receiver took it")
    status: int | None = Field(description="the receiver's HTTP status; null when it could not be reached")
    answer: str = Field(description="what it said, when that is one word, or why it was not sent")
