"""Reading a build's log: whole, or followed while it grows."""

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
    from app.postgres.pool import Connection, Pool

PIECES: Final = 500
LOOK_AGAIN_S: Final = 5.0


async def whole_log(conn: Connection, build_id: int) -> str:
    """Everything stored so far, in order."""
    text: list[str] = []
    last = 0
    while pieces := await store.read_log(conn, build_id, last, PIECES):
        last = pieces[-1][0]
        text += [data for _, data in pieces]
    return "".join(text)


async def follow_log(pool: Pool, wakeups: Wakeups, build_id: int, after: int) -> AsyncIterator[tuple[int, str]]:
    """Pieces behind position ``after`` as ``(seq, text)``, as they are stored, until the build is final and all are
    read.
    """
    with wakeups.subscribe(store.log_topic(build_id)) as woken:
        while True:
            woken.clear()
            # Both before the read: what is stored between them is read now or at the next turn.
            async with transaction(pool) as conn:
                build = await store.read(conn, build_id)
                pieces = await store.read_log(conn, build_id, after, PIECES)
            for seq, text in pieces:
                after = seq
                yield seq, text
            if len(pieces) == PIECES:
                continue
            if build is None or build.state not in {BuildState.PENDING, BuildState.BUILDING}:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), LOOK_AGAIN_S)
