"""/healthz: the process answers. /readyz: it could work: database, engine and background loops."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse

from app.api.services import services_of
from app.errors import DatabaseUnavailable
from app.postgres.pool import check_writable

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.services import Services

DATABASE_S: Final = 3.0


async def healthz(_request: Request) -> Response:
    """200 as long as the process answers at all."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """200 when every part works, else 503; each part with ``ok`` or what is wrong."""
    services = services_of(request)
    stalled = services.stalled()
    parts = {
        "database": await _database(services),
        "engine": "ok" if await services.engine.answers() else "the Docker engine does not answer",
        "loops": f"not turning: {', '.join(stalled)}" if stalled else "ok",
    }
    ready = all(part == "ok" for part in parts.values())
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return JSONResponse({"status": "ready" if ready else "not ready", "parts": parts}, status)


async def _database(services: Services) -> str:
    try:
        async with asyncio.timeout(DATABASE_S):
            await check_writable(services.pool)
    except DatabaseUnavailable as error:
        return str(error)
    except TimeoutError:
        return f"PostgreSQL gave no answer within {DATABASE_S:.0f} s"
    return "ok"
