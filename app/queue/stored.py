"""What a job must write down before it may end: tried for as long as its lease lasts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from app.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

PAUSE_S: Final = 0.5


async def until_stored(work: Callable[[], Awaitable[Result]], *, pause_s: float = PAUSE_S) -> Result:
    """Do ``work``, and again as long as PostgreSQL is away: what was built or sent shall not be built or sent twice.

    For jobs of a loop only, which cancels them when their lease is lost. ``work`` is guarded by that lease: if COMMIT
    took place and nobody heard of it, doing it again has no effect, or finds the lease lost.
    """
    while True:
        try:
            return await work()
        except DatabaseUnavailable as error:
            log.warning("settling_delayed", reason=str(error), wait_s=pause_s)
        await asyncio.sleep(pause_s)
