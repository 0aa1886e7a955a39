"""/live: tells a page which of its parts are no longer true, as server-sent events."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.routing import Route

from app.api.auth import session_behind
from app.api.lasting import while_token_lasts
from app.dashboard.pulse import Pulse
from app.errors import DatabaseUnavailable
from app.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.services import Services


def live_route(services: Services) -> Route:
    """The stream for those who are signed in: ``event: changed`` with names of topics, separated by blanks. The topics
    are the columns of the query ``pulse``.
    """
    pulse = Pulse(services.pool)

    async def live(request: Request) -> Response:
        try:
            session = await session_behind(request)
        except DatabaseUnavailable as error:
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers={"Retry-After": "5"}).response()
        if session is None:
            return Problem(HTTPStatus.UNAUTHORIZED, "sign in first").response()
        request.state.principal = session.principal
        return EventSourceResponse(
            while_token_lasts(request, _events(pulse)),
            ping=15,
            send_timeout=30,
            headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"},
        )

    return Route("/live", live, methods=["GET"])


async def _events(pulse: Pulse) -> AsyncGenerator[ServerSentEvent, None]:
    with pulse.watch() as watcher:
        while True:
            yield ServerSentEvent(" ".join(await watcher.news()), event="changed")
