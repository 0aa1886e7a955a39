"""An ASGI application on a free loopback port, served by uvicorn in this event loop."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"


@asynccontextmanager
async def serve(app: ASGIApp, port: int = 0) -> AsyncIterator[str]:
    """Serve ``app`` for the length of the block and yield its address, ``http://127.0.0.1:PORT``; 0 means a free port.

    Connections are kept as long as clients like: one that closes just as a client sends on it loses a request. Requests
    still open at the end are cut off after a second. Only uvicorn's start and stop are used, not its own loop with its
    signal handlers.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited; asyncio sets it on few sockets
        listener.bind((LOOPBACK, port))
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            timeout_keep_alive=3600,
            timeout_graceful_shutdown=1,
        )
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        try:
            yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        finally:
            await server.shutdown(sockets=[listener])
