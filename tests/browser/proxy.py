"""A reverse proxy that serves Tagship below a path, as nginx or Traefik do: with the path taken away, or without."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.serving import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
OF_THE_HOP: Final = {"connection", "content-length", "date", "server", "transfer-encoding"}


class Proxy:
    """Everything below ``prefix`` goes to ``target``, which is set later; all else is a 404."""

    def __init__(self, prefix: str, *, strips: bool) -> None:
        self.target = ""
        self._prefix, self._strips = prefix, strips
        self._client = httpx.AsyncClient(timeout=None)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The address of its root, for the length of the block."""
        async with self._client, serve(Starlette(routes=[Route("/{path:path}", self._pass, methods=METHODS)])) as url:
            yield url

    async def _pass(self, request: Request) -> Response:
        path = request.url.path
        if not f"{path}/".startswith(f"{self._prefix}/"):
            return PlainTextResponse("not below the prefix", 404)
        inner = path.removeprefix(self._prefix) if self._strips else path
        url = f"{self.target}{inner}" + (f"?{request.url.query}" if request.url.query else "")
        sent = self._client.build_request(
            request.method, url, headers=request.headers.raw, content=await request.body()
        )
        answer = await self._client.send(sent, stream=True)
        passed = StreamingResponse(answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose))
        kept = [(name, value) for name, value in answer.headers.raw if name.decode().lower() not in OF_THE_HOP]
        passed.raw_headers = kept
        return passed
