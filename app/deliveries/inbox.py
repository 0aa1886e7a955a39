"""Reading the inbox, and deciding a stored delivery anew: after a registration was made, or a build failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.builds.model import BuildId
from app.deliveries.model import Delivery, DeliveryState
from app.deliveries.store import Accepted, queue_builds
from app.postgres.pool import transaction
from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from app.deliveries.model import Ignored
    from app.github.payload import NotATagPush, TagPush
    from app.postgres.pool import Connection, Pool

SQL: Final = load_queries("deliveries")

PART_BYTES: Final = 1024 * 1024


async def list_page(
    conn: Connection,
    *,
    state: DeliveryState | None,
    repo: str | None,
    event: str | None,
    before: int | None,
    limit: int,
) -> list[Delivery]:
    """A page of the inbox, newest first, behind the delivery ``before``."""
    return [_delivery(row) for row in await conn.fetch(SQL.list_deliveries, state, repo, event, before, limit)]


async def read(conn: Connection, delivery_id: int) -> Delivery | None:
    row = await conn.fetchrow(SQL.read_delivery, delivery_id)
    return _delivery(row) if row else None


async def body_parts(pool: Pool, delivery: Delivery) -> AsyncIterator[bytes]:
    """The body as it was signed, a mebibyte at a time; it ends early when the delivery is deleted meanwhile."""
    for start in range(1, delivery.size_bytes + 1, PART_BYTES):
        async with transaction(pool) as conn:
            part = await conn.fetchval(SQL.read_part_of_body, delivery.id, start, PART_BYTES)
        yield part or b""


async def whole_body(pool: Pool, delivery: Delivery) -> bytes:
    """All that ``body_parts`` gives."""
    return b"".join([part async for part in body_parts(pool, delivery)])


async def lock(conn: Connection, delivery_id: int) -> bool:
    """Let nobody else decide this delivery anew until the transaction ends; False when it is gone."""
    return await conn.fetchval(SQL.lock_delivery, delivery_id) is not None


async def replay(conn: Connection, delivery_id: int, parsed: TagPush | NotATagPush) -> Accepted | Ignored:
    """Decide a locked delivery with today's registrations, queue what is needed, and write down that it was replayed.

    One that leads to builds is accepted from now on. One that leads to none is ignored with today's reason, unless it
    has been accepted before.
    """
    outcome = await queue_builds(conn, delivery_id, parsed)
    state, reason = ("accepted", None) if isinstance(outcome, Accepted) else ("ignored", outcome.reason)
    await conn.execute(SQL.settle_replay, delivery_id, state, reason, parsed.repo, parsed.ref)
    return outcome


def _delivery(row: asyncpg.Record) -> Delivery:
    fields = {name: row[name] for name in Delivery.__slots__}
    fields["state"] = DeliveryState(row["state"])
    fields["builds"] = tuple(BuildId(build) for build in row["builds"])
    return Delivery(**fields)
