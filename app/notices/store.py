"""The notices table: an outbox that is written in the transaction of the event."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from app.notices.model import (
    MOST_TOGETHER,
    ChannelId,
    ChannelKind,
    Choice,
    ClaimedMessage,
    Concern,
    Notice,
    NoticeEvent,
    NoticeState,
    Subject,
    Telling,
    Told,
    together,
    told_of_build_at_once,
    told_with_its_build,
    wants,
)
from app.postgres.queries import load_queries
from app.queue.lease import Beat, Lease
from app.queue.wake import wake

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
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
    """Tell every channel that wants it about one event of a build or a rollout, once; nothing is written when there is
    none.

    A build that set rollouts going, and these rollouts, are told in one message later: this only takes note of the
    build, and wakes whoever looks whether its rollouts are final.
    """
    if told_with_its_build(event, facts):
        await wake(conn, TOPIC)
        return
    plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in facts.items()}
    rollouts = int(plain.get("rollouts", 0)) if event is NoticeEvent.BUILD_SUCCEEDED else 0
    if rollouts:
        await conn.execute(SQL.begin_shipment, subject_id, plain)
    found = await choices(conn)
    concern = await _concern(conn, event, plain, found)
    hearers = [choice for choice in found if wants(choice, event, concern) and told_of_build_at_once(choice, rollouts)]
    subject = Subject(event.partition("_")[0])
    await write(conn, subject, subject_id, [Telling(choice.channel_id, event, plain) for choice in hearers])


async def choices(conn: Connection) -> list[Choice]:
    """What every channel that is on wants to hear of; none of them is deleted before the transaction ends."""
    return [
        Choice(
            ChannelId(row["id"]),
            None if row["events"] is None else tuple(NoticeEvent(event) for event in row["events"]),
            tuple(row["images"]),
            tuple(row["products"]),
        )
        for row in await conn.fetch(SQL.choices)
    ]


async def write(conn: Connection, subject: Subject, subject_id: int, tellings: Sequence[Telling]) -> None:
    """Write these to the outbox, besides those that are there already."""
    rows = [{"channel_id": one.channel_id, "event": one.event, "facts": dict(one.facts)} for one in tellings]
    if rows and await conn.fetch(SQL.write_notices, subject, subject_id, rows):
        await wake(conn, TOPIC)


async def claim(
    conn: Connection,
    *,
    kinds: Iterable[ChannelKind],
    token: UUID,
    lease_s: float,
    worker: str,
    with_settings_channel: bool,
) -> ClaimedMessage | None:
    """Take the notice that waits longest for a channel of these kinds that is on, with those that go out together with
    it; None when there is none.

    A channel has at most about two messages under way at once. Those of the settings' channel are left to processes
    that know its address.
    """
    first = await conn.fetchrow(SQL.next_notice, list(kinds), with_settings_channel)
    if first is None:
        return None
    rows = await conn.fetch(
        SQL.notices_beside, first["channel_id"], first["id"], first["message_id"], MOST_TOGETHER - 1
    )
    waiting = [first["id"], *(row["id"] for row in rows)]
    ids = waiting if first["message_id"] else waiting[: together(len(waiting))]
    message_id = first["message_id"] or token
    leased = await conn.fetch(SQL.lease_notices, ids, token, lease_s, worker, message_id)
    return ClaimedMessage(
        lease=Lease(STAGE, first["id"], token, lease_s, first["waited_s"]),
        message_id=message_id,
        channel_id=ChannelId(first["channel_id"]),
        channel=first["channel"],
        kind=ChannelKind(first["kind"]),
        url_sealed=first["url_sealed"],
        secret_sealed=first["secret_sealed"],
        told=tuple(_told(row) for row in sorted(leased, key=lambda row: int(row["id"]))),
    )


async def renew(conn: Connection, message: ClaimedMessage) -> Beat:
    lease = message.lease
    held = await conn.fetchval(SQL.renew_notices, message.ids, lease.token, lease.seconds)
    return Beat.LOST if held is None else Beat.HELD


async def settle(
    conn: Connection, message: ClaimedMessage, state: NoticeState, answer: str, *, status: int | None = None
) -> bool:
    """pending -> sent | failed for all of a message, with the receiver's answer; False when the lease was lost."""
    token = message.lease.token
    return await conn.fetchval(SQL.settle_notices, message.ids, token, state, status, answer) is not None


async def retry(
    conn: Connection, message: ClaimedMessage, wait_s: float, answer: str, *, status: int | None = None
) -> bool:
    """Let it wait so long before it is claimed again; False when the lease was lost."""
    token = message.lease.token
    return await conn.fetchval(SQL.retry_notices, message.ids, token, wait_s, status, answer) is not None


async def hand_back(conn: Connection, message: ClaimedMessage) -> bool:
    """Let another worker claim it at once, without an attempt having been made; False when the lease was lost."""
    return await conn.fetchval(SQL.hand_back_notices, message.ids, message.lease.token) is not None


async def fail_stranded(conn: Connection) -> list[NoticeEvent]:
    """pending -> failed for what nobody is sending and nobody shall: its channel is off, or it is news no more.

    Returns what each was about. What is being sent at this moment ends as it ends.
    """
    rows = await conn.fetch(SQL.fail_stranded_notices, TOO_OLD, SWITCHED_OFF, OLDEST)
    return [NoticeEvent(row["event"]) for row in rows]


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


async def _concern(conn: Connection, event: NoticeEvent, facts: Mapping[str, Any], found: Iterable[Choice]) -> Concern:
    """The image and the products that an event concerns; these are looked up only where a channel chooses by them."""
    if event in {NoticeEvent.ROLLOUT_DONE, NoticeEvent.ROLLOUT_FAILED}:
        return Concern(facts.get("image_name") or "", (str(facts.get("slug", "")),))
    image, slugs = str(facts.get("name", "")), ()
    if any(choice.products for choice in found):
        slugs = tuple(row["slug"] for row in await conn.fetch(SQL.slugs_pinned_to, image))
    return Concern(image, slugs)


def _told(row: asyncpg.Record) -> Told:
    fields = {name: row[name] for name in Told.__slots__}
    fields["event"], fields["subject"] = NoticeEvent(row["event"]), Subject(row["subject"])
    return Told(**fields)


def _notice(row: asyncpg.Record) -> Notice:
    fields = {name: row[name] for name in Notice.__slots__}
    fields["event"], fields["state"] = NoticeEvent(row["event"]), NoticeState(row["state"])
    fields["subject"] = Subject(row["subject"])
    return Notice(**fields)
