"""The tokens table: only hashes are stored, so that whoever reads the database can use none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.access.model import Principal, Role, Token, TokenId, hash_of
from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from app.postgres.pool import Connection

SQL: Final = load_queries("access")


async def insert_token(conn: Connection, *, name: str, role: Role, token: str, expires_at: datetime | None) -> Token:
    """Give out a token. Raises asyncpg's ``UniqueViolationError`` when a valid token has that name."""
    row = await conn.fetchrow(SQL.insert_token, name, role, hash_of(token), expires_at)
    assert row is not None
    return _token(row)


async def list_tokens(conn: Connection) -> list[Token]:
    """Every token, also those that are no longer valid, newest first."""
    return [_token(row) for row in await conn.fetch(SQL.list_tokens)]


async def revoke_token(conn: Connection, token_id: int) -> Token | None:
    """Take a token back; None when there is none that could still be taken back."""
    row = await conn.fetchrow(SQL.revoke_token, token_id)
    return _token(row) if row else None


async def principal_of(conn: Connection, token: str) -> Principal | None:
    """Whoever a presented token stands for; None when it is unknown, revoked or expired.

    It is looked up by its hash, of which an attacker controls no part, so how long that takes tells nothing.
    """
    row = await conn.fetchrow(SQL.token_of_hash, hash_of(token))
    if row is None:
        return None
    if row["unseen"]:
        await conn.execute(SQL.touch_token, row["id"])
    return Principal(row["name"], Role(row["role"]), TokenId(row["id"]))


def _token(row: asyncpg.Record) -> Token:
    fields = {name: row[name] for name in Token.__slots__}
    fields["role"] = Role(row["role"])
    return Token(**fields)
