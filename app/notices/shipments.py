"""The shipments table: builds whose rollouts are told in one message, when they are final or take long.

Nothing waits for an event: each turn of the stage looks at what is so far. A rollout that ends only wakes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.notices import store
from app.notices.model import Follow, Shipment, Subject, tellings_of
from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.postgres.pool import Connection

SQL: Final = load_queries("shipments")

AT_ONCE: Final = 20


async def tell_due(conn: Connection, progress_s: float) -> list[Shipment]:
    """Queue what there is to tell of builds whose rollouts are all final, and of those that nothing was told of for
    ``progress_s`` seconds; which they were. What is final is told to the end with that.
    """
    rows = await conn.fetch(SQL.shipments_to_tell, progress_s, AT_ONCE)
    if not rows:
        return []
    follows = await _follows(conn, [row["build_id"] for row in rows])
    due = [
        Shipment(row["build_id"], row["facts"], tuple(follows.get(row["build_id"], ())), row["progress_told"])
        for row in rows
    ]
    choices = await store.choices(conn)
    for shipment in due:
        await store.write(conn, Subject.BUILD, shipment.build_id, tellings_of(shipment, choices))
    await conn.execute(SQL.note_progress_told, [one.build_id for one in due if not one.final])
    await conn.execute(SQL.end_shipments, [one.build_id for one in due if one.final])
    return due


async def _follows(conn: Connection, build_ids: Sequence[int]) -> dict[int, list[Follow]]:
    found: dict[int, list[Follow]] = {}
    for row in await conn.fetch(SQL.rollouts_of_shipments, list(build_ids)):
        fields = {name: row[name] for name in Follow.__slots__} | {"task_errors": tuple(row["task_errors"])}
        found.setdefault(row["build_id"], []).append(Follow(**fields))
    return found
