"""Connections to PostgreSQL: the pool, one transaction at a time, and dedicated connections.

Here asyncpg's "cannot reach it" becomes ``DatabaseUnavailable``. Everything is addressed by one DSN, also the embedded
server. Sentences name host and database; user, password and options of the DSN never appear in them.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg

from app.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Pooled: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
Dedicated: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

CONNECT_S: Final = 10.0
ACQUIRE_S: Final = 10.0
COMMAND_S: Final = 30.0
END_S: Final = 1.0
GIVE_BACK_S: Final = 2.0
APPLICATION: Final = "tagship"

UNREACHABLE: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)

# The connection is gone, or the server ended our work for reasons that pass: shutdown, out of something, deadlock,
# trouble with its disk, no writes for now.
PASSING: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
)

# A connection that broke in the middle of something may complain of its own state before it knows that it is gone.
BROKEN: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# Whoever vanishes without a word (a process that hangs, a host that died, a network that swallows packets) must not
# keep its row locks: a server would wait for two hours. Statements and not startup parameters, which poolers refuse.
SESSION: Final = """
set idle_in_transaction_session_timeout = '10s';
set tcp_keepalives_idle = 30;
set tcp_keepalives_interval = 10;
set tcp_keepalives_count = 3"""


_waiting: Final[Counter[int]] = Counter()  # transactions that have no connection yet, by the id of their pool


async def create_pool(dsn: str, *, size: int = 10) -> Pool:
    """Open a pool of at most ``size`` connections, one of them at once; jsonb columns are Python values.

    A statement may take 30 s. Nobody may change a session's settings: they are not reset for the next one, which saves
    every transaction a round trip. Raises ``DatabaseUnavailable``.
    """
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size,
            init=_set_up,
            reset=_leave,
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            server_settings={"application_name": APPLICATION},
        )
    except UNREACHABLE as error:
        raise _unreachable(dsn, error) from _shown(error)


async def connect(dsn: str, *, command_timeout_s: float | None = COMMAND_S) -> Dedicated:
    """Open one connection that the caller closes; raises ``DatabaseUnavailable``."""
    try:
        conn = await asyncpg.connect(
            dsn,
            timeout=CONNECT_S,
            command_timeout=command_timeout_s,
            server_settings={"application_name": APPLICATION},
        )
    except UNREACHABLE as error:
        raise _unreachable(dsn, error) from _shown(error)
    try:
        await _set_codecs(conn)
    except UNREACHABLE as error:
        conn.terminate()
        raise _unreachable(dsn, error) from _shown(error)
    return conn


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A connection inside one transaction: committed at the end, rolled back by any exception.

    Raises ``DatabaseUnavailable`` when no connection can be had within 10 s, when it breaks, when a statement takes
    longer than 30 s, or when the server ends the transaction for a passing reason. If COMMIT itself was cut off, nobody
    knows whether it took place: whoever tries again must be idempotent. Whoever is cancelled gets away within a second,
    also when the network swallows everything.
    """
    conn = await _acquire(pool)
    loop, cause, cut = asyncio.get_running_loop(), None, None
    try:
        async with conn.transaction():
            try:
                yield conn
            except BaseException as error:
                cause, cut = error, loop.call_later(END_S, conn.terminate)
                raise
    except BROKEN as error:
        if isinstance(cause, asyncio.CancelledError):
            raise cause from error
        gone = _gone(conn) or isinstance(error, asyncpg.InternalClientError)
        if isinstance(error, asyncpg.InternalClientError):
            with suppress(asyncpg.InterfaceError):
                conn.terminate()
        if gone or isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            with suppress(asyncpg.InterfaceError):  # the pool is being closed
                await pool.expire_connections()  # the others were opened to the same server, as it was then
        if gone or isinstance(error, (TimeoutError, *PASSING)):
            raise DatabaseUnavailable(f"PostgreSQL ended the transaction: {reason(error)}{_advice(error)}") from error
        raise
    finally:
        await _give_back(pool, conn, cut)


def waiting(pool: Pool) -> int:
    """How many transactions wait for a connection of this pool."""
    return _waiting[id(pool)]


async def _acquire(pool: Pool) -> Pooled:
    _waiting[id(pool)] += 1
    try:
        return await pool.acquire(timeout=ACQUIRE_S)
    except BROKEN as error:
        raise DatabaseUnavailable(f"PostgreSQL gave no connection: {reason(error)}") from error
    finally:
        _waiting[id(pool)] -= 1
        if not _waiting[id(pool)]:
            del _waiting[id(pool)]


async def check_writable(pool: Pool) -> None:
    """Raise ``DatabaseUnavailable`` with the reason when a transaction could not be written now."""
    async with transaction(pool) as conn:
        if await conn.fetchval("select current_setting('transaction_read_only')::boolean"):
            raise asyncpg.ReadOnlySQLTransactionError("it takes no writes")


def place(dsn: str) -> str:
    """Host and database of a DSN, for people: ``db.example.org:5432/tagship``; nothing of it is a secret."""
    try:
        parts = urlsplit(dsn)
        host = parse_qs(parts.query).get("host", [""])[0] or parts.hostname or "localhost"
        return f"{host}{'' if host.startswith('/') else f':{parts.port or 5432}'}{parts.path}"
    except ValueError:
        return "the address in DATABASE_URL"


def _gone(conn: Connection) -> bool:
    try:
        return conn.is_closed()
    except asyncpg.InterfaceError:  # the pool takes a broken connection back at once, and then it answers nothing
        return True


async def _give_back(pool: Pool, conn: Pooled, cut: asyncio.TimerHandle | None) -> None:
    """Let others have the connection; one that breaks meanwhile is closed, and changes nothing about what was done."""
    try:
        with suppress(*BROKEN):
            await pool.release(conn, timeout=GIVE_BACK_S)
    finally:
        if cut is not None:
            cut.cancel()


async def _set_up(conn: Connection) -> None:
    await conn.execute(SESSION)
    await _set_codecs(conn)


async def _leave(_conn: Connection) -> None:
    """Nothing to reset."""


async def _set_codecs(conn: Connection) -> None:
    await conn.set_type_codec("jsonb", encoder=_to_json, decoder=json.loads, schema="pg_catalog")


def _to_json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _unreachable(dsn: str, error: Exception) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"PostgreSQL at {place(dsn)} cannot be reached: {reason(error)}; "
        "check that it runs, and that DATABASE_URL is right if it is set"
    )


def _shown(error: Exception) -> Exception | None:
    """The cause that a traceback may show: a complaint about the DSN itself repeats parts of it."""
    return error if isinstance(error, (OSError, asyncpg.PostgresError)) else None


def _advice(error: Exception) -> str:
    """What to do about it, where that is not to wait."""
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return "; it is a standby, or default_transaction_read_only is on: point DATABASE_URL to the one that writes"
    if isinstance(error, asyncpg.DiskFullError):
        return "; make room on the disk of PostgreSQL"
    return ""


def reason(error: Exception) -> str:
    """What went wrong in a few words; without PostgreSQL's DETAIL, which repeats values of rows."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, (OSError, asyncpg.PostgresError)):
        return str(error).partition("\n")[0] or type(error).__name__
    if isinstance(error, asyncpg.InterfaceError):
        return "the connection is closed"
    return "the address is not valid"
