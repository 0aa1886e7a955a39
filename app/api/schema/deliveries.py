"""The inbox, field by field."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from app.api.fields import Repo, SearchText
from app.api.schema.base import Out, PageQuery, Time
from app.deliveries.model import Delivery, DeliveryState


class DeliveryQuery(PageQuery):
    state: DeliveryState | None = None
    repo: Repo | None = None
    event: SearchText | None = None


class DeliveryOut(Out):
    id: int
    delivery: str = Field(description="GitHub's GUID of it")
    event: str
    repo: str | None
    ref: str | None
    state: DeliveryState
    reason: str | None
    builds: list[int] = Field(description="the builds that it has led to")
    size_bytes: int
    received_at: Time
    replays: int
    replayed_at: Time | None

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryOut:
        shown = {name: getattr(delivery, name) for name in Delivery.__slots__}
        return cls.model_validate(shown | {"delivery": delivery.guid})


class DeliveryDetailOut(DeliveryOut):
    content_type: str
    payload_text: str | None = Field(description="the beginning of the body, when `payload` cannot be shown")
    payload: dict[str, Any] | None = Field(description="what GitHub sent; null when it is no JSON object")


class ReplayOut(Out):
    delivery: str
    outcome: Literal["accepted", "ignored"]
    builds: list[int]
    reason: str | None
