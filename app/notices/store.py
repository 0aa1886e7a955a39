"""The channels and notices tables: an outbox that is written in the transaction of the event."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from app.notices.model import ClaimedNotice, NoticeEvent, NoticeState
from app.postgres.queries import load_queries
from app.queue.lease import Beat, Lease
from app.queue.wake import wake

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from app.postgres.pool import Connection

SQL: Final = load_queries("notices")

TOPIC: Final = "notices"
STAGE: Final = "notice"


async def set_channel(conn: Connection, name: str, kind: str, *, enabled: bool) -> None:
    """Make sure of a channel that the settings configure."""
    await conn.execute(SQL.set_channel, name, kind, enabled)


async def enqueue(conn: Connection, event: NoticeEvent, subject_id: int, facts: Mapping[str, Any]) -> None:
    """Tell every channel about one event, once; nothing is written when no channel is on."""
    plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in facts.items()}
    if await conn.fetch(SQL.enqueue_notice, event, subject_id, plain):
        await wake(conn, TOPIC)


async def claim(conn: Connection, *, kind: str, token: UUID, lease_s: float, worker: str) -> ClaimedNotice | None:
    """Take the notice that waits longest for a channel of this kind that is on; None when there is none."""
    row = await conn.fetchrow(SQL.claim_notice, token, lease_s, worker, kind)
    if row is None:
        return None
    return ClaimedNotice(
        lease=Lease(STAGE, row["id"], token, lease_s),
        event=NoticeEvent(row["event"]),
        facts=row["facts"],
        attempt=row["attempt"],
        created_at=row["created_at"],
        claimed_at=row["claimed_at"],
    )


async def renew(conn: Connection, lease: Lease) -> Beat:
    held = await conn.fetchval(SQL.renew_notice, lease.row_id, lease.token, lease.seconds)
    return Beat.LOST if held is None else Beat.HELD


async def settle(conn: Connection, lease: Lease, state: NoticeState, answer: str) -> bool:
    """pending -> sent | failed, with the receiver's answer; False when the lease was lost."""
    return await conn.fetchval(SQL.settle_notice, lease.row_id, lease.token, state, answer) is not None


async def retry(conn: Connection, lease: Lease, wait_s: float, answer: str) -> bool:
    """Let it wait so long before it is claimed again; False when the lease was lost."""
    return await conn.fetchval(SQL.retry_notice, lease.row_id, lease.token, wait_s, answer) is not None


async def hand_back(conn: Connection, lease: Lease) -> bool:
    """Let another worker claim it at once, without an attempt having been made; False when the lease was lost."""
    return await conn.fetchval(SQL.hand_back_notice, lease.row_id, lease.token) is not None
