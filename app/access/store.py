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


async def insert_token(
    conn: Connection, *, name: str, role: Role, token: str, expires_at: datetime | None
) -> Token | None:
    """Give out a token; None when it would have expired already, by the database's clock.

    Raises asyncpg's ``UniqueViolationError`` when a token that was not revoked has that name.
    """
    row = await conn.fetchrow(SQL.insert_token, name, role, hash_of(token), expires_at)
    return _token(row) if row else None


async def list_tokens(conn: Connection, *, before: int | None, limit: int) -> list[Token]:
    """A page of tokens, also of those that are no longer valid, newest first, behind the token ``before``."""
    return [_token(row) for row in await conn.fetch(SQL.list_tokens, before, limit)]


async def revoke_token(conn: Connection, token_id: int) -> Token | None:
    """Take a token back; None when there is none that could still be taken back."""
    row = await conn.fetchrow(SQL.revoke_token, token_id)
    return _token(row) if row else None


async def token_exists(conn: Connection, token_id: int) -> bool:
    """Whether there ever was a token of that id, revoked or not."""
    return bool(await conn.fetchval(SQL.token_exists, token_id))


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


async def valid_hashes(conn: Connection) -> frozenset[bytes]:
    """The hashes of all tokens that may be used now."""
    return frozenset(row["hash"] for row in await conn.fetch(SQL.valid_hashes))


async def is_valid(conn: Connection, token_id: TokenId) -> bool:
    """Whether a token may still be used."""
    return bool(await conn.fetchval(SQL.token_is_valid, token_id))


def _token(row: asyncpg.Record) -> Token:
    fields = {name: row[name] for name in Token.__slots__}
    fields["role"] = Role(row["role"])
    return Token(**fields)
