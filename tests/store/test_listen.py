"""Wake-ups cross processes, and no loss of the connection leaves anybody asleep."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.postgres import listen
from app.postgres.listen import Wakeups
from app.postgres.pool import connect, transaction
from tests.postgres import execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.postgres.pool import Pool

IN_TIME = 20


@asynccontextmanager
async def running(wakeups: Wakeups) -> AsyncIterator[None]:
    task = asyncio.create_task(wakeups.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def set_in_time(event: asyncio.Event) -> bool:
    await asyncio.wait_for(event.wait(), IN_TIME)
    event.clear()
    return True


async def listener_pid(pool: Pool) -> Any:
    return await pool.fetchval(
        "select pid from pg_stat_activity where query like 'LISTEN%' and datname = current_database()"
    )


async def test_notification_wakes_its_topic_and_no_other(database: str, pool: Pool) -> None:
    wakeups = Wakeups(database)
    with (
        wakeups.subscribe("builds") as builds,
        wakeups.subscribe("builds") as also,
        wakeups.subscribe("other") as other,
    ):
        async with running(wakeups):
            for event in (builds, also, other):
                assert await set_in_time(event), "once at the start"
            await pool.execute("select pg_notify('tagship', 'builds')")
            assert await set_in_time(builds)
            assert await set_in_time(also)
            assert not other.is_set()


async def test_wake_up_comes_with_the_commit_not_before(database: str, pool: Pool) -> None:
    wakeups = Wakeups(database)
    with wakeups.subscribe("builds") as builds:
        async with running(wakeups):
            await set_in_time(builds)
            async with transaction(pool) as conn:
                await conn.execute("select pg_notify('tagship', 'builds')")
                await pool.execute("select pg_notify('tagship', 'other')")
                assert not builds.is_set()
            assert await set_in_time(builds)


async def test_cut_connection_is_replaced_and_wakes_everybody(database: str, pool: Pool) -> None:
    wakeups = Wakeups(database)
    with wakeups.subscribe("builds") as builds:
        async with running(wakeups):
            await set_in_time(builds)
            before = await listener_pid(pool)
            await pool.execute("select pg_terminate_backend($1)", before)
            assert await set_in_time(builds)
            assert await listener_pid(pool) not in (None, before)
            assert wakeups.listening
            await pool.execute("select pg_notify('tagship', 'builds')")
            assert await set_in_time(builds)


async def test_listener_waits_for_a_database_that_is_away(server: str, database: str) -> None:
    name = urlsplit(database).path.removeprefix("/")
    await execute(server, f'alter database "{name}" allow_connections false')
    wakeups = Wakeups(database)
    with wakeups.subscribe("builds") as builds:
        async with running(wakeups):
            with suppress(TimeoutError):
                await asyncio.wait_for(builds.wait(), 0.3)
            assert not wakeups.listening
            await execute(server, f'alter database "{name}" allow_connections true')
            assert await set_in_time(builds)


async def test_connection_that_died_silently_is_noticed(
    database: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes go in and none come out: what a vanished host or a firewall does to a connection."""
    parts = urlsplit(database)
    folder = parse_qs(parts.query).get("host", [""])[0]
    if not folder.startswith("/"):
        pytest.skip("needs a server behind a unix socket")
    monkeypatch.setattr(listen, "ANSWER_S", 0.5)
    silent = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, until: asyncio.Event) -> None:
        while data := await reader.read(65536):
            if until.is_set():
                continue
            writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dead = silent if not writers else asyncio.Event()
        up_reader, up_writer = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
        writers.extend((writer, up_writer))
        with suppress(ConnectionError):
            await asyncio.gather(pump(reader, up_writer, until=dead), pump(up_reader, writer, until=dead))

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    wakeups = Wakeups(f"postgresql://postgres@127.0.0.1:{port}{parts.path}", check_s=0.2)
    with wakeups.subscribe("builds") as builds:
        async with running(wakeups):
            await set_in_time(builds)
            silent.set()
            assert await set_in_time(builds), "woken by the reconnect"
            await pool.execute("select pg_notify('tagship', 'builds')")
            assert await set_in_time(builds)
    for writer in writers:
        writer.close()
    proxy.close()


async def test_subscription_ends_with_its_block(database: str) -> None:
    wakeups = Wakeups(database)
    with wakeups.subscribe("log/1"):
        pass
    assert not wakeups._waiting


async def test_subscriber_that_leaves_does_not_silence_another(database: str, pool: Pool) -> None:
    wakeups = Wakeups(database)
    with wakeups.subscribe("builds") as stays:
        async with running(wakeups):
            await set_in_time(stays)
            with wakeups.subscribe("builds"):
                pass
            conn = await connect(database)
            await conn.execute("select pg_notify('tagship', 'builds')")
            await conn.close()
            assert await set_in_time(stays)
