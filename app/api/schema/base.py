"""What every model of the API shares: strict on the way in, RFC 3339 times on the way out, pages by key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from app.api.fields import RowId


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[datetime, PlainSerializer(_rfc3339, return_type=str)]


class In(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class FieldErrorOut(Out):
    loc: list[str]
    msg: str


class ProblemOut(Out):
    """A refusal, as RFC 9457 has it; ``errors`` name the fields that are wrong."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldErrorOut] | None = None


class WaitQuery(In):
    wait: Annotated[float, Field(ge=0, le=600)] = 0


class PageQuery(In):
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    before: RowId | None = None
