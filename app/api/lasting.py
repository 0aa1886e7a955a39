"""Streams that stay open for hours: they last no longer than the token that they were asked for with."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from app.access.store import is_valid
from app.api.auth import principal_behind
from app.api.services import services_of
from app.errors import AppError
from app.postgres.pool import transaction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from starlette.requests import Request

    from app.access.model import TokenId
    from app.postgres.pool import Pool

log = structlog.get_logger(__name__)

Piece = TypeVar("Piece")

LOOK_S: Final = 3.0


async def while_token_lasts(request: Request, pieces: AsyncGenerator[Piece, None]) -> AsyncIterator[Piece]:
    """The pieces, until there are no more, or until some seconds after the token was revoked or has expired. Nothing is
    said then: the client comes back, and is told. The administrator's token of the settings lasts.

    Raises ``DatabaseUnavailable`` when it cannot be known whether the token is still good.
    """
    token_id, pool = principal_behind(request).token_id, services_of(request).pool
    loop = asyncio.get_running_loop()
    look_at = loop.time() + LOOK_S
    coming = asyncio.ensure_future(anext(pieces, None))
    try:
        while True:
            await asyncio.wait({coming}, timeout=max(look_at - loop.time(), 0))
            if loop.time() >= look_at:
                if not await _lasts(pool, token_id):
                    log.info("stream_ended_with_token", token_id=token_id)
                    return
                look_at = loop.time() + LOOK_S
            if coming.done():
                piece = coming.result()
                if piece is None:
                    return
                yield piece
                coming = asyncio.ensure_future(anext(pieces, None))
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration, AppError):
            await coming
        await pieces.aclose()


async def _lasts(pool: Pool, token_id: TokenId | None) -> bool:
    if token_id is None:
        return True
    async with transaction(pool) as conn:
        return await is_valid(conn, token_id)
