"""/openapi.json, and /docs: Swagger UI from a package's files, so that it works without the internet."""

from __future__ import annotations

import asyncio
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from app.api.openapi import document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from app.api.operation import Operation

PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tagship API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<main id="docs"></main>
<noscript>This page needs JavaScript; the document itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START: Final = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#docs", deepLinking: true, docExpansion: "list", validatorUrl: null,
  defaultModelsExpandDepth: 0, tryItOutEnabled: true
});
"""
FILES: Final = ("swagger-ui.css", "swagger-ui-bundle.js")
# Swagger UI sets styles on its elements and draws its icons from data: URLs.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def docs_routes(operations: Sequence[Operation], *, prefix: str) -> list[BaseRoute]:
    """The routes of the document and of the page that shows it; nothing on either is secret.

    The document is made when it is first asked for, beside the event loop: that takes as long as all else of a start.
    """

    @cache
    def described() -> bytes:
        return bytes(JSONResponse(document(operations, prefix=prefix)).body)

    async def openapi(_request: Request) -> Response:
        return Response(await asyncio.to_thread(described), media_type="application/json")

    return [
        Route("/openapi.json", openapi),
        Route("/docs", _page),
        Route("/docs/start.js", _start),
        *(Route(f"/docs/{name}", _file_of(name)) for name in FILES),
    ]


async def _page(_request: Request) -> Response:
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


async def _start(_request: Request) -> Response:
    return Response(START, media_type="text/javascript")


def _file_of(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def file(_request: Request) -> Response:
        return FileResponse(swagger_folder() / name, headers={"Cache-Control": "no-cache"})

    return file


def swagger_folder() -> Path:
    """Where the installed package keeps Swagger UI; found without importing its Python."""
    spec = find_spec("swagger_ui")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "static"
