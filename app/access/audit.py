"""The audit log: who did what to what, when and from where; written in the transaction that makes the change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from app.access.model import Act, Subject
    from app.postgres.pool import Connection

SQL: Final = load_queries("audit")

LONGEST_ADDRESS: Final = 100  # of what the proxy before us says, which may be anything


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the audit log."""

    id: int
    at: datetime
    actor: str
    token_id: int | None
    via: str
    address: str | None
    action: str
    subject: str
    subject_id: int | None
    subject_name: str
    details: Mapping[str, Any]


async def record(conn: Connection, act: Act, subject: Subject, **details: Any) -> None:
    """Write down that ``act`` was done to ``subject``; ``details`` are JSON values and never secrets."""
    await conn.execute(
        SQL.insert_audit,
        act.actor,
        act.token_id,
        act.via,
        act.address and act.address[:LONGEST_ADDRESS],
        act.action,
        subject.kind,
        subject.id,
        subject.name,
        details,
    )


async def entries(
    conn: Connection,
    *,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
    subject_id: int | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Entry]:
    """A page of the audit log, newest first, behind the entry ``before``."""
    rows = await conn.fetch(SQL.list_audit, actor, action, subject, subject_id, before, limit)
    return [Entry(**{name: row[name] for name in Entry.__slots__}) for row in rows]
