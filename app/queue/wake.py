"""The hint that there may be something to do: a NOTIFY that is delivered when the transaction commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.postgres.pool import Connection

SQL: Final = load_queries("queue")


async def wake(conn: Connection, topic: str) -> None:
    """Wake whoever waits for ``topic``, in any process, once this transaction commits."""
    await wake_all(conn, [topic])


async def wake_all(conn: Connection, topics: Sequence[str]) -> None:
    """Wake whoever waits for any of these topics, with one statement."""
    await conn.execute(SQL.wake, topics)
