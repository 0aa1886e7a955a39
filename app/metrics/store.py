"""What the database says at the moment of a scrape; see ``app.metrics.state`` for what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.metrics.state import Queue, State
from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from app.postgres.pool import Connection

SQL: Final = load_queries("metrics")


async def read_state(conn: Connection) -> State:
    """Read it in two statements, neither of which looks at what is over."""
    queues = {
        row["stage"]: Queue(row["waiting"], row["delayed"], row["running"], row["abandoned"], row["oldest_s"])
        for row in await conn.fetch(SQL.queues)
    }
    numbers = {(row["what"], row["state"]): row["number"] for row in await conn.fetch(SQL.states)}
    return State(queues, numbers)
