"""Transactions on the pool: all or nothing, and a lost database is one known error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from app.errors import DatabaseUnavailable
from app.postgres import pool as pools
from app.postgres.pool import Pool, check_writable, connect, create_pool, place, transaction
from tests.fakes.stalling_wire import StallingWire
from tests.postgres import execute


async def test_transaction_commits_at_its_end(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await conn.execute("insert into channels (name, kind) values ('a', 'slack')")
    assert await pool.fetchval("select count(*) from channels") == 1


async def test_any_exception_rolls_back_and_passes(pool: Pool) -> None:
    with pytest.raises(ZeroDivisionError):
        async with transaction(pool) as conn:
            await conn.execute("insert into channels (name, kind) values ('a', 'slack')")
            raise ZeroDivisionError
    assert await pool.fetchval("select count(*) from channels") == 0


async def test_mistake_in_a_statement_stays_what_it_is(pool: Pool) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        async with transaction(pool) as conn:
            await conn.execute("insert into channels (name, kind) values ('a', 'x'), ('a', 'y')")
    with pytest.raises(asyncpg.DataError):
        async with transaction(pool) as conn:
            await conn.fetch("select $1::int", "seven")


async def test_connection_cut_during_a_transaction_is_database_unavailable(pool: Pool) -> None:
    with pytest.raises(DatabaseUnavailable, match="PostgreSQL ended the transaction"):
        async with transaction(pool) as conn:
            pid = await conn.fetchval("select pg_backend_pid()")
            await pool.execute("select pg_terminate_backend($1, 5000)", pid)
            await conn.execute("select 1")
    async with transaction(pool) as conn:
        assert await conn.fetchval("select 1") == 1


async def test_connection_cut_before_commit_is_database_unavailable(pool: Pool) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with transaction(pool) as conn:
            pid = await conn.fetchval("select pg_backend_pid()")
            await pool.execute("select pg_terminate_backend($1, 5000)", pid)


async def test_deadlock_victim_may_try_again(pool: Pool) -> None:
    await pool.execute("insert into channels (name, kind) values ('a', 'x'), ('b', 'x')")
    both_hold = asyncio.Barrier(2)

    async def lock(first: str, second: str) -> str:
        try:
            async with transaction(pool) as conn:
                await conn.execute("select 1 from channels where name = $1 for update", first)
                await both_hold.wait()
                await conn.execute("select 1 from channels where name = $1 for update", second)
        except DatabaseUnavailable as error:
            return str(error)
        return "ok"

    answers = await asyncio.gather(lock("a", "b"), lock("b", "a"))
    assert sorted(answers) == ["PostgreSQL ended the transaction: deadlock detected", "ok"]


async def test_exhausted_pool_is_database_unavailable(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "ACQUIRE_S", 0.1)
    small = await create_pool(database, size=1)
    async with transaction(small):
        with pytest.raises(DatabaseUnavailable, match="gave no connection: no answer in time"):
            async with transaction(small):
                pass
    await small.close()


async def test_closed_pool_is_database_unavailable(database: str) -> None:
    closed = await create_pool(database, size=1)
    await closed.close()
    with pytest.raises(DatabaseUnavailable, match="gave no connection"):
        async with transaction(closed):
            pass


async def test_slow_statement_is_database_unavailable(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "COMMAND_S", 0.1)
    impatient = await create_pool(database, size=1)
    with pytest.raises(DatabaseUnavailable, match="no answer in time"):
        async with transaction(impatient) as conn:
            await conn.execute("select pg_sleep(60)")
    async with transaction(impatient) as conn:
        assert await conn.fetchval("select 1") == 1
    await impatient.close()


@pytest.mark.parametrize("value", [{"a": [1, None, "é"]}, [], "text", None, 1.5, True])
async def test_jsonb_is_a_python_value(database: str, pool: Pool, value: object) -> None:
    async with transaction(pool) as conn:
        assert await conn.fetchval("select $1::jsonb", value) == value
    conn = await connect(database)
    assert await conn.fetchval("select $1::jsonb", value) == value
    await conn.close()


@pytest.mark.parametrize(
    ("dsn", "where"),
    [
        ("postgresql://user:hunter2@localhost:1/db", "localhost:1/db"),
        ("postgresql://user:hunter2@/db?host=/nowhere", "/nowhere/db"),
        ("postgresql://user:hunter2@localhost:port/db", "the address in DATABASE_URL"),
        ("postgresql://user:hunter2@localhost:1/db?sslmode=hunter2", "localhost:1/db"),
    ],
)
async def test_unreachable_server_is_named_without_its_password(dsn: str, where: str) -> None:
    for attempt in (connect(dsn), create_pool(dsn)):
        with pytest.raises(DatabaseUnavailable, match=f"PostgreSQL at {where} cannot be reached") as caught:
            await attempt
        chain = [str(caught.value), str(caught.value.__cause__ or "")]
        assert "hunter2" not in " ".join(chain)


def test_place_names_host_and_database_only() -> None:
    assert place("postgres://u:p@[::1]/db?application_name=x") == "::1:5432/db"
    assert place("postgres://u:p@db.example.org:6432/tagship") == "db.example.org:6432/tagship"


async def test_a_transaction_cancelled_behind_a_silent_network_lets_go(
    database: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "COMMAND_S", 3600.0)
    folder = parse_qs(urlsplit(database).query).get("host", [""])[0]
    if not folder.startswith("/"):
        pytest.skip("needs a server behind a unix socket")
    async with StallingWire.start(Path(folder) / ".s.PGSQL.5432") as wire:
        wired = await create_pool(wire.dsn(urlsplit(database).path[1:]), size=1)
        begun = asyncio.Event()

        async def write() -> None:
            async with transaction(wired) as conn:
                await conn.fetchval("select 1")
                wire.stall()
                begun.set()
                await conn.fetchval("select 1")

        writing = asyncio.create_task(write())
        await begun.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(writing, 60)
        wire.cut()
        async with transaction(wired) as conn:
            assert await conn.fetchval("select 1") == 1
        wired.terminate()


async def test_locks_of_whoever_vanished_are_given_up(
    database: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "SESSION", pools.SESSION.replace("10s", "100ms"))
    await pool.execute("insert into channels (name, kind) values ('a', 'slack')")
    vanished = await create_pool(database, size=1)
    with pytest.raises(DatabaseUnavailable, match="PostgreSQL ended the transaction"):
        async with transaction(vanished) as conn:
            await conn.execute("update channels set name = 'b'")
            async with transaction(pool) as other:
                await other.execute("update channels set name = 'c'")
            await conn.execute("select 1")
    assert await pool.fetchval("select name from channels") == "c"
    await vanished.close()


async def test_sessions_keep_what_the_pool_set_for_them(pool: Pool) -> None:
    for _ in range(2):
        async with transaction(pool) as conn:
            assert await conn.fetchval("show idle_in_transaction_session_timeout") == "10s"


async def test_a_server_that_takes_no_writes_is_said_and_asked_anew(server: str, database: str, pool: Pool) -> None:
    name = urlsplit(database).path[1:]
    await pool.execute(f'alter database "{name}" set default_transaction_read_only = on')
    await pool.expire_connections()
    with pytest.raises(DatabaseUnavailable, match=r"in a read-only transaction; it is a standby, or .* is on"):
        async with transaction(pool) as conn:
            await conn.execute("insert into channels (name, kind) values ('a', 'slack')")
    with pytest.raises(DatabaseUnavailable, match="takes no writes"):
        await check_writable(pool)
    await execute(server, f'alter database "{name}" reset default_transaction_read_only')
    await check_writable(pool)


async def test_a_connection_lost_after_its_commit_undoes_nothing(
    database: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_off(_conn: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(pools, "_leave", break_off)
    broken = await create_pool(database, size=1)
    async with transaction(broken) as conn:
        await conn.execute("insert into channels (name, kind) values ('a', 'slack')")
    assert await pool.fetchval("select count(*) from channels") == 1
    await broken.close()
