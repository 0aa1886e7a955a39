"""/api/v1/notices: what was told to whom, with the receiver's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.answering import answer, page
from app.api.asking import found, path_id, query
from app.api.schema.notices import NoticeOut, NoticeQuery
from app.api.services import services_of
from app.notices import store
from app.postgres.pool import transaction

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


async def list_notices(request: Request) -> Response:
    """200 a page of notices, newest first, of every state and channel or of one."""
    asked, services = query(request, NoticeQuery), services_of(request)
    async with transaction(services.pool) as conn:
        listed = await store.list_page(conn, **asked.model_dump())
    return page(request, listed, lambda one: NoticeOut.of(one, services.settings.public_url), asked.limit)


async def read_notice(request: Request) -> Response:
    """200 the notice: its text, its state, and what the receiver answered last."""
    notice_id, services = path_id(request, "notice"), services_of(request)
    async with transaction(services.pool) as conn:
        notice = found(await store.read(conn, notice_id), "notice", notice_id)
    return answer(NoticeOut.of(notice, services.settings.public_url))
