"""The build log on its way into PostgreSQL: pieces of text in, rows of at most 64 KiB out, a quarter of a second
later at most.

One journal per attempt and one row per flush, numbered by the lease holder alone, so that readers can follow by
number and never skip a row that commits late. Text that PostgreSQL cannot hold (NUL, lone surrogates) becomes U+FFFD.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from app.builds import store
from app.errors import DatabaseUnavailable, LeaseLost
from app.postgres.pool import transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.postgres.pool import Pool
    from app.queue.lease import Lease

log = structlog.get_logger(__name__)

FLUSH_S: Final = 0.25
PIECE_CHARACTERS: Final = 64 * 1024
MOST_WAITING_CHARACTERS: Final = 8 * 1024 * 1024
UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """The text with every character that PostgreSQL's ``text`` refuses replaced by U+FFFD."""
    return UNSTORABLE.sub("\ufffd", text)


def next_piece(text: str, *, whole: bool) -> str:
    r"""The part of waiting text that makes the next row: whole lines, as many as fit; empty when it must wait for more.

    A row ends in the middle of a line only when the line alone is longer than a row, or when ``whole`` asks for the
    rest.

    >>> next_piece("one\ntw", whole=False), next_piece("tw", whole=False), next_piece("tw", whole=True)
    ('one\n', '', 'tw')
    """
    if whole and len(text) <= PIECE_CHARACTERS:
        return text
    end = text.rfind("\n", 0, PIECE_CHARACTERS) + 1
    return text[: end or PIECE_CHARACTERS] if end or len(text) >= PIECE_CHARACTERS else ""


class Journal:
    """Takes log text and sees to it that it is stored, in order; use it through ``journal``."""

    def __init__(self, pool: Pool, lease: Lease, last_seq: int) -> None:
        self._pool, self._lease, self._seq = pool, lease, last_seq
        self._waiting: list[str] = []
        self._characters = 0
        self._storing = asyncio.Lock()

    async def write(self, text: str) -> None:
        """Take log text; waits only while more is waiting than one row holds.

        Raises ``LeaseLost``, and ``DatabaseUnavailable`` when far too much is waiting for a database that is away.
        """
        self._waiting.append(text)
        self._characters += len(text)
        if self._characters >= PIECE_CHARACTERS:
            try:
                await self.flush()
            except DatabaseUnavailable:
                if self._characters > MOST_WAITING_CHARACTERS:
                    raise

    async def flush(self, *, whole: bool = False) -> None:
        """Store every complete line taken so far; ``whole``: also the line that has no end yet."""
        async with self._storing:
            while piece := next_piece("".join(self._waiting), whole=whole):
                self._waiting = ["".join(self._waiting)]
                await self._store(storable(piece))
                # Whatever was written while the row was on its way has been appended behind the text.
                self._waiting[0] = self._waiting[0][len(piece) :]
                self._characters -= len(piece)

    async def _store(self, piece: str) -> None:
        try:
            async with transaction(self._pool) as conn:
                held = await store.append_log(conn, self._lease, self._seq + 1, piece)
        except asyncpg.UniqueViolationError:
            held = True  # an earlier try was committed although its answer got lost
        if not held:
            raise LeaseLost(self._lease.stage, self._lease.row_id)
        self._seq += 1

    async def tick(self) -> None:
        """Flush again and again; a database that is away for a moment only delays the log."""
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush()
            except DatabaseUnavailable as error:
                log.warning("log_delayed", reason=str(error))


@asynccontextmanager
async def journal(pool: Pool, lease: Lease, last_seq: int) -> AsyncIterator[Journal]:
    """A journal that flushes by itself; on leaving, everything has been stored.

    A lease that is lost while the caller is busy elsewhere shows at its next write.
    """
    kept = Journal(pool, lease, last_seq)
    ticker = asyncio.create_task(kept.tick())
    try:
        yield kept
    finally:
        ticker.cancel()
        await asyncio.wait({ticker})
        if not ticker.cancelled() and (error := ticker.exception()):
            raise error
        await kept.flush(whole=True)
