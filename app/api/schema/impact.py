"""What a tag would do, field by field."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.api.fields import GitTag
from app.api.schema.base import In, Out
from app.products.pins import Effect


class ImpactQuery(In):
    tag: GitTag


class MoveOut(Out):
    """A product whose pin the tag would move, or which would roll out again because it is pinned to that very tag.
    ``runs`` says whether it would roll out now: a stopped one does not.
    """

    id: int
    slug: str
    name: str
    from_tag: Annotated[str, Field(serialization_alias="from")]
    to: str
    track: str | None
    effect: Effect
    runs: bool


class StayOut(Out):
    id: int
    slug: str
    name: str
    pinned_to: str
    track: str | None
    reason: str


class ImpactOut(Out):
    image: str
    tag: str
    moves: list[MoveOut]
    stays: list[StayOut]
