"""How long HTTP requests take, by the route that answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from starlette.routing import Mount, Route

if TYPE_CHECKING:
    from prometheus_client import Histogram
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE: Final = "none"


class MeasuredRequests:
    """ASGI middleware around the router, below whatever changes its paths. Each request is observed when its answer
    begins; one that is never answered is not.
    """

    def __init__(self, app: ASGIApp, requests: Histogram) -> None:
        self._app, self._requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, prefix = time.perf_counter(), scope.get("root_path", "")

        async def send_measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                labels = (method_of(scope), route_of(scope, prefix), f"{message['status'] // 100}xx")
                self._requests.labels(*labels).observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, send_measured)


def method_of(scope: Scope) -> str:
    """The request's method; ``other`` for one that nobody has heard of, since anybody can make up names."""
    return scope["method"] if scope["method"] in METHODS else "other"


def route_of(scope: Scope, prefix: str) -> str:
    """The template of the path that the router found, such as ``/api/v1/images/{id}``, without our own ``prefix``;
    ``none`` where it found none, and the mount's path where that refused before it came to a route.
    """
    route = scope.get("route")
    mounted: str = scope.get("root_path", "").removeprefix(prefix)
    if isinstance(route, Route):
        return mounted + route.path
    return mounted if isinstance(route, Mount) else NO_ROUTE
