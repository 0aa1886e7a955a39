"""/api/v1/images/{id}/log: the build log as server-sent events while it grows, or as text."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import StreamingResponse

from app.api.asking import found, missing, path_id, prefers, query, row_id
from app.api.lasting import while_token_lasts
from app.api.schema.images import BuildLogQuery, LogFormat, LogPieceOut
from app.api.services import services_of
from app.builds import store
from app.builds.log import follow_log, stored_log
from app.postgres.pool import transaction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.services import Services
    from app.postgres.pool import Connection


async def read_log(request: Request) -> Response:
    """The log of the image's latest build, or of ``build``: ``text/plain`` when asked for, else one event per piece
    until ``event: end``. ``format`` goes before the header Accept; with ``json`` an event's data is ``{"at", "text"}``,
    the text exactly as it is stored.

    An event's id is ``<build>.<piece>``; a client that comes back with it as ``Last-Event-ID`` misses and repeats
    nothing.
    """
    asked = query(request, BuildLogQuery)
    services = services_of(request)
    async with transaction(services.pool) as conn:
        build_id = await _build_of(conn, path_id(request, "image"), asked.build)
    as_text = prefers(request, "text/plain", over="text/event-stream")
    if asked.format is LogFormat.TEXT or (asked.format is None and as_text):
        return StreamingResponse(stored_log(services.pool, build_id), media_type="text/plain; charset=utf-8")
    after = resume_after(request.headers.get("last-event-id", ""), build_id)
    return EventSourceResponse(
        while_token_lasts(request, _events(services, build_id, after, as_json=asked.format is LogFormat.JSON)),
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


def json_event(event_id: str, piece: store.Piece) -> bytes:
    """The same for whoever wants the text exactly as it is stored: the data is one line of JSON."""
    data = LogPieceOut(at=piece.written_at, text=piece.text).model_dump_json()
    return f"id: {event_id}\r\nevent: log\r\ndata: {data}\r\n\r\n".encode()


async def _build_of(conn: Connection, image_id: int, build_id: int | None) -> int:
    image = found(await store.read_image(conn, image_id), "image", image_id)
    if build_id is None:
        return image.latest_build_id
    build = await store.read(conn, build_id)
    if build is None or build.image_id != image.id:
        raise missing(f"build of image {image_id} with the number", build_id)
    return build_id


async def _events(
    services: Services, build_id: int, after: int, *, as_json: bool
) -> AsyncGenerator[ServerSentEvent | bytes, None]:
    async for piece in follow_log(services.pool, services.wakeups, build_id, after):
        event_id = f"{build_id}.{piece.seq}"
        yield json_event(event_id, piece) if as_json else log_event(event_id, piece.text)
        await asyncio.sleep(0)  # a reader that keeps up would have us send a whole batch before anybody else's turn
    async with transaction(services.pool) as conn:
        build = await store.read(conn, build_id)
    yield ServerSentEvent(str(build.state) if build else "", event="end")
