"""Reading a build's log: what is stored, or followed while it grows. Never more of it in memory than one batch."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from app.builds import store
from app.builds.model import BuildState
from app.postgres.pool import transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.postgres.listen import Wakeups
    from app.postgres.pool import Pool

PIECES: Final = 16  # of at most 64 KiB each: a batch takes the event loop some milliseconds
LOOK_AGAIN_S: Final = 5.0


async def stored_log(pool: Pool, build_id: int) -> AsyncIterator[str]:
    """Everything stored so far, in order, in parts of at most about a million characters."""
    after = 0
    while True:
        async with transaction(pool) as conn:
            pieces = await store.read_log(conn, build_id, after, PIECES)
        if pieces:
            after = pieces[-1].seq
            yield "".join(piece.text for piece in pieces)
        if len(pieces) < PIECES:
            return


async def follow_log(pool: Pool, wakeups: Wakeups, build_id: int, after: int) -> AsyncIterator[store.Piece]:
    """Pieces behind position ``after``, as they are stored, until the build is final and all are read."""
    with wakeups.subscribe(store.log_topic(build_id)) as woken:
        while True:
            woken.clear()
            # Both before the read: what is stored between them is read now or at the next turn.
            async with transaction(pool) as conn:
                build = await store.read(conn, build_id)
                pieces = await store.read_log(conn, build_id, after, PIECES)
            for piece in pieces:
                after = piece.seq
                yield piece
            if len(pieces) == PIECES:
                continue
            if build is None or build.state not in {BuildState.PENDING, BuildState.BUILDING}:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), LOOK_AGAIN_S)
