"""/healthz: the process answers. /readyz: it could work, part by part: database, engine, background loops and more."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse

from app.api.services import services_of
from app.errors import AppError, DatabaseUnavailable
from app.postgres.pool import check_writable

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from app.api.services import Services

DATABASE_S: Final = 3.0
ENGINE_S: Final = 3.0
OK: Final = "ok"
NO_ENGINE: Final = "the Docker engine does not answer"
NOT_ASKED: Final = "not known: the Docker engine does not answer"
NO_ANSWER: Final = f"not known: the Docker engine did not describe itself within {ENGINE_S:.0f} s"
NO_MANAGER: Final = "the engine is not a manager of a swarm; run `docker swarm init` on it"
NOT_LISTENING: Final = "no wake-ups arrive from PostgreSQL; work is found by looking every few seconds"

NEEDED: Final = ("database", "engine", "loops")


async def healthz(_request: Request) -> Response:
    """200 as long as the process answers at all."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """200 when every part works that is needed, else 503, within four seconds; each part with ``ok`` or what is wrong.

    A process that cannot take deliveries in and build is not ready. Without a swarm it does that, and refuses to start
    products; without the listener it does everything, only later: both are told and leave it ready.
    """
    services = services_of(request)
    stalled = services.stalled()
    database, (engine, swarm) = await asyncio.gather(_database(services), _engine_and_swarm(services))
    parts = {
        "database": database,
        "engine": engine,
        "swarm": swarm,
        "loops": f"not turning: {', '.join(stalled)}" if stalled else OK,
        "listener": OK if services.wakeups.listening else NOT_LISTENING,
    }
    ready = all(parts[part] == OK for part in NEEDED)
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
    return OK


async def _engine_and_swarm(services: Services) -> tuple[str, str]:
    """What is wrong with the engine, and what with its swarm. Without an engine nobody knows of the swarm."""
    engine = NO_ENGINE
    try:
        async with asyncio.timeout(ENGINE_S):
            if not await services.engine.answers():
                return NO_ENGINE, NOT_ASKED
            engine = OK
            info = await services.engine.describe()
    except TimeoutError:
        return engine, NOT_ASKED if engine != OK else NO_ANSWER
    except AppError as error:
        return engine, str(error)
    return engine, OK if info.swarm_active and info.swarm_manager else NO_MANAGER
