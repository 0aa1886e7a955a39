"""The notices table: an outbox that is written in the transaction of the event."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from app.notices.model import ChannelId, ClaimedNotice, Notice, NoticeEvent, NoticeState
from app.postgres.queries import load_queries
from app.queue.lease import Beat, Lease
from app.queue.wake import wake

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    import asyncpg

    from app.postgres.pool import Connection

SQL: Final = load_queries("notices")

TOPIC: Final = "notices"
STAGE: Final = "notice"
OLDEST: Final = timedelta(hours=6)
TOO_OLD: Final = f"too old: not sent within {OLDEST.total_seconds() / 3600:.0f} hours"
SWITCHED_OFF: Final = "the channel was switched off"


async def enqueue(conn: Connection, event: NoticeEvent, subject_id: int, facts: Mapping[str, Any]) -> None:
    """Tell every channel that wants it about one event, once; nothing is written when there is none."""
    plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in facts.items()}
    if await conn.fetch(SQL.enqueue_notice, event, subject_id, plain):
        await wake(conn, TOPIC)


async def claim(
    conn: Connection, *, kind: str, token: UUID, lease_s: float, worker: str, with_settings_channel: bool
) -> ClaimedNotice | None:
    """Take the notice that waits longest for a channel of this kind that is on; None when there is none.

    A channel has at most about two notices under way at once. Those of the settings' channel are left to processes that
    know its address.
    """
    row = await conn.fetchrow(SQL.claim_notice, token, lease_s, worker, kind, with_settings_channel)
    if row is None:
        return None
    return ClaimedNotice(
        lease=Lease(STAGE, row["id"], token, lease_s),
        channel_id=ChannelId(row["channel_id"]),
        url_sealed=row["url_sealed"],
        event=NoticeEvent(row["event"]),
        facts=row["facts"],
        attempt=row["attempt"],
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


async def fail_stranded(conn: Connection) -> int:
    """pending -> failed for what nobody is sending and nobody shall: its channel is off, or it is news no more.

    Returns how many there were. What is being sent at this moment ends as it ends.
    """
    return len(await conn.fetch(SQL.fail_stranded_notices, TOO_OLD, SWITCHED_OFF, OLDEST))


async def list_page(
    conn: Connection,
    *,
    state: NoticeState | None,
    event: NoticeEvent | None,
    channel_id: int | None,
    before: int | None,
    limit: int,
) -> list[Notice]:
    """A page of notices, newest first, behind the notice ``before``."""
    return [_notice(row) for row in await conn.fetch(SQL.list_notices, state, event, channel_id, before, limit)]


async def read(conn: Connection, notice_id: int) -> Notice | None:
    row = await conn.fetchrow(SQL.read_notice, notice_id)
    return _notice(row) if row else None


def _notice(row: asyncpg.Record) -> Notice:
    fields = {name: row[name] for name in Notice.__slots__}
    fields["event"], fields["state"] = NoticeEvent(row["event"]), NoticeState(row["state"])
    return Notice(**fields)
