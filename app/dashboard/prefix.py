"""Tagship behind a path, as in https://ops.example/tagship: TAGSHIP_PUBLIC_URL says so.

Some proxies take the path away before they pass a request on, others do not; both work. The path becomes the request's
``root_path``, and links of pages begin with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class PathPrefix:
    """ASGI middleware that makes a request's path what it is below the path of ``public_url``."""

    def __init__(self, app: ASGIApp, public_url: str) -> None:
        self._app, self._prefix = app, prefix_of(public_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._prefix and scope["type"] == "http":
            path = scope["path"]
            inner = path.removeprefix(self._prefix) if path.startswith(f"{self._prefix}/") else path
            # Starlette takes root_path off the path by itself (ASGI: path includes root_path).
            scope = {**scope, "root_path": self._prefix, "path": self._prefix + inner}
        await self._app(scope, receive, send)


def prefix_of(public_url: str) -> str:
    """The path of an address, without the slash at its end: "" for most.

    >>> prefix_of("https://ops.example/tagship"), prefix_of("https://ops.example")
    ('/tagship', '')
    """
    return urlsplit(public_url).path.rstrip("/")
