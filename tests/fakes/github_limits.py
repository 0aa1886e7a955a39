"""GitHub's primary rate limit: so many requests an hour, told with every answer; a 304 to known credentials is free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tests.fakes.github_state import State

WINDOW_S: Final = 3600


class Limiting:
    """ASGI middleware over the REST API; it lets everything through while the state has no ``rate_limit``."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app, self._state = app, state
        self._window = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._state.rate_limit
        if limit is None or scope["type"] != "http" or "/repos/" not in scope["path"]:
            await self._app(scope, receive, send)
            return
        window = int(self._state.clock() // WINDOW_S)
        if window != self._window:
            self._window, self._state.counted = window, 0
        if self._state.counted >= limit:
            headers = {name.decode(): value.decode() for name, value in self._headers(limit)}
            await JSONResponse({"message": "API rate limit exceeded"}, 403, headers)(scope, receive, send)
            return
        is_known = "authorization" in Headers(scope=scope)

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._state.counted += not (message["status"] == 304 and is_known)
                message["headers"] = [*message["headers"], *self._headers(limit)]
            await send(message)

        await self._app(scope, receive, count)

    def _headers(self, limit: int) -> list[tuple[bytes, bytes]]:
        told = {"limit": limit, "remaining": limit - self._state.counted, "reset": (self._window + 1) * WINDOW_S}
        headers = {f"x-ratelimit-{name}": str(value) for name, value in told.items()} | {"x-ratelimit-resource": "core"}
        return [(name.encode(), value.encode()) for name, value in headers.items()]
