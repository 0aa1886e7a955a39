"""The sessions table: who signed in to the dashboard, with which token. A session ends with its token."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.access.model import ADMINISTRATOR, Principal, Role, TokenId, hash_of
from app.postgres.queries import load_queries

if TYPE_CHECKING:
    from app.postgres.pool import Connection
    from app.sealing import Vault

SQL: Final = load_queries("access")

COOKIE: Final = "tagship_session"
SECRET_BYTES: Final = 32
LONGEST_COOKIE: Final = 200


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in; ``csrf`` is what every change that the session asks for must carry."""

    principal: Principal
    csrf: str


async def begin(conn: Connection, vault: Vault, principal: Principal, token: str) -> str:
    """A new session of whoever presented ``token``: the value of its cookie, which is stored as its hash only."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    await conn.execute(SQL.insert_session, hash_of(secret), principal.token_id, hash_of(token))
    return f"{secret}.{vault.sign(secret, 'session')}"


async def find(conn: Connection, vault: Vault, cookie: str, settings_token: str) -> Session | None:
    """The session of a cookie; None when the cookie is not ours, or its session or its token is over."""
    secret = secret_of(vault, cookie)
    if secret is None:
        return None
    row = await conn.fetchrow(SQL.session_of_hash, hash_of(secret), hash_of(settings_token))
    if row is None:
        return None
    if row["unseen"]:
        await conn.execute(SQL.touch_session, row["id"])
    principal = (
        Principal(ADMINISTRATOR, Role.ADMIN, None)
        if row["token_id"] is None
        else Principal(row["name"], Role(row["role"]), TokenId(row["token_id"]))
    )
    return Session(principal, vault.sign(secret, "csrf"))


async def end(conn: Connection, vault: Vault, cookie: str) -> None:
    """End the session of a cookie, if it has one."""
    secret = secret_of(vault, cookie)
    if secret is not None:
        await conn.execute(SQL.delete_session, hash_of(secret))


def secret_of(vault: Vault, cookie: str) -> str | None:
    """What identifies the session in a cookie; None when this installation did not sign it. Costs no query."""
    secret, _, signature = cookie.partition(".")
    if len(cookie) > LONGEST_COOKIE or not vault.has_signed(secret, "session", signature):
        return None
    return secret
