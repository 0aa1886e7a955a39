"""/api/v1/images/{id}/log: the build log as server-sent events while it grows, or as text."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import StreamingResponse

from app.api.asking import found, path_id, prefers, row_id
from app.api.lasting import while_token_lasts
from app.api.services import services_of
from app.builds import store
from app.builds.log import follow_log, stored_log
from app.postgres.pool import transaction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.services import Services


async def read_log(request: Request) -> Response:
    """The log of the image's latest build: ``text/plain`` when asked for, else one event per piece until ``event:
    end``.

    An event's id is ``<build>.<piece>``; a client that comes back with it as ``Last-Event-ID`` misses and repeats
    nothing.
    """
    image_id = path_id(request, "image")
    services = services_of(request)
    async with transaction(services.pool) as conn:
        image = found(await store.read_image(conn, image_id), "image", image_id)
    if prefers(request, "text/plain", over="text/event-stream"):
        text = stored_log(services.pool, image.latest_build_id)
        return StreamingResponse(text, media_type="text/plain; charset=utf-8")
    after = resume_after(request.headers.get("last-event-id", ""), image.latest_build_id)
    return EventSourceResponse(
        while_token_lasts(request, _events(services, image.latest_build_id, after)),
        ping=15,
        send_timeout=30,
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
    )


def resume_after(last_event_id: str, build_id: int) -> int:
    """The last piece that a returning client has; 0 for a new one, or when another build has become the latest."""
    build, _, piece = last_event_id.partition(".")
    return row_id(piece) if build == str(build_id) else 0


def log_event(event_id: str, text: str) -> bytes:
    """One event as ``ServerSentEvent`` would write it, in a twentieth of the time when lines are short."""
    lines = text.removesuffix("\n").replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\ndata: ")
    return f"id: {event_id}\r\nevent: log\r\ndata: {lines}\r\n\r\n".encode()


async def _events(services: Services, build_id: int, after: int) -> AsyncGenerator[ServerSentEvent | bytes, None]:
    async for seq, text in follow_log(services.pool, services.wakeups, build_id, after):
        yield log_event(f"{build_id}.{seq}", text)
        await asyncio.sleep(0)  # a reader that keeps up would have us send a whole batch before anybody else's turn
    async with transaction(services.pool) as conn:
        build = await store.read(conn, build_id)
    yield ServerSentEvent(str(build.state) if build else "", event="end")
