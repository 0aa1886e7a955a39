"""/api/v1/audit: who changed what, when, and from where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.access import audit
from app.api.answering import page
from app.api.asking import query
from app.api.schema.audit import AuditOut, AuditQuery
from app.api.services import services_of
from app.postgres.pool import transaction

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def list_audit(request: Request) -> Response:
    """200 a page of the audit log, newest first, by who (``actor``), what (``action``) and to what (``subject``, such
    as ``product``, and ``subject_id``).
    """
    asked = query(request, AuditQuery)
    async with transaction(services_of(request).pool) as conn:
        listed = await audit.entries(conn, **asked.model_dump())
    return page(request, listed, AuditOut.of, asked.limit)
