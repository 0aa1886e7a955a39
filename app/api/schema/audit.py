"""The audit log, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.access.model import Via
from app.api.fields import RowId, SearchText
from app.api.schema.base import Out, PageQuery, Time

if TYPE_CHECKING:
    from app.access.audit import Entry


class AuditQuery(PageQuery):
    actor: SearchText | None = None
    action: SearchText | None = None
    subject: SearchText | None = None
    subject_id: RowId | None = None


class AuditOut(Out):
    id: int
    at: Time
    actor: str
    token_id: int | None
    via: Via
    address: str | None
    action: str
    subject: str
    subject_id: int | None
    subject_name: str
    details: dict[str, Any]

    @classmethod
    def of(cls, entry: Entry) -> AuditOut:
        return cls.model_validate(entry)
