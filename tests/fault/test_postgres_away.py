"""A PostgreSQL that is there and of no use: silent, locked, full, read-only. Deliveries are refused in time and with
the reason, none is lost, and all goes on by itself when it can.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest

from app.main import POOL_SIZE
from app.postgres.pool import COMMAND_S
from tests.fakes.stalling_wire import StallingWire
from tests.fault.deliveries import Delivery, intake, kept, parts, send, send_all, takes_in
from tests.fault.postgres import OURS, ask, cut_connections, own_postgres, small_disk
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fault.postgres import OwnPostgres
    from tests.fault.process import Tagship

LESS_THAN_A_STATEMENT_S = COMMAND_S - 5
MORE_THAN_THE_POOL = POOL_SIZE + 8
ALL_BLOCKED = f"select count(*) >= {POOL_SIZE} from pg_stat_activity where {OURS} and wait_event_type = 'Lock'"
DISK_MEBIBYTES = 192
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")


@pytest.fixture(scope="module")
async def server(public_folder: Path) -> AsyncIterator[OwnPostgres]:
    """A server whose databases the tests of this module make useless, each its own."""
    async with own_postgres(public_folder / "away") as server:
        yield server


@pytest.fixture(scope="module")
async def wire(server: OwnPostgres) -> AsyncIterator[StallingWire]:
    async with StallingWire.start(server.socket) as wire:
        yield wire


@pytest.fixture(scope="module")
async def tagship(wire: StallingWire, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tagship]:
    """One process for all tests of this module: whatever befalls its database, it is never started again."""
    async with intake(tmp_path_factory.mktemp("tagship"), DATABASE_URL=wire.dsn("postgres")) as tagship:
        yield tagship


@asynccontextmanager
async def locked(dsn: str, table: str) -> AsyncIterator[None]:
    """Nobody else reads or writes the table."""
    conn = await asyncpg.connect(dsn)
    try:
        async with conn.transaction():
            await conn.execute(f"lock table {table} in access exclusive mode")
            yield
    finally:
        await conn.close()


async def read_without_end(tagship: Tagship, path: str) -> None:
    """Hold a connection of the pool, and ask for the next as soon as it is given up."""
    while True:
        await tagship.api.get(path)


async def test_silent_network_is_a_503_in_time_and_keeps_nobody_from_stopping(
    server: OwnPostgres, wire: StallingWire, tagship: Tagship, tmp_path: Path
) -> None:
    deliveries = [Delivery() for _ in range(4)]
    async with intake(tmp_path, "serve", DATABASE_URL=wire.dsn("postgres")) as other:
        wire.stall()
        try:
            other.process.terminate()
            await asyncio.gather(
                send_all(tagship, deliveries), asyncio.wait_for(other.process.wait(), LESS_THAN_A_STATEMENT_S)
            )
            said = await parts(tagship)
        finally:
            wire.cut()
        assert other.process.returncode == 0, other.log.read_text()
    assert [(delivery.status, bool(delivery.retry_after)) for delivery in deliveries] == [(503, True)] * 4
    assert "PostgreSQL" in said["database"]

    await takes_in(tagship)
    await send_all(tagship, deliveries)
    assert all(delivery.taken for delivery in deliveries)
    assert await kept(server.dsn(), deliveries) == (4, 4, 4)


async def test_exhausted_pool_is_a_503_in_time_and_said_by_readyz(server: OwnPostgres, tagship: Tagship) -> None:
    deliveries = [Delivery() for _ in range(4)]
    async with locked(server.dsn(), "channels"), asyncio.TaskGroup() as group:
        readers = [group.create_task(read_without_end(tagship, "/channels")) for _ in range(MORE_THAN_THE_POOL)]
        await until(partial(ask, server.dsn(), ALL_BLOCKED), "every connection of the pool waits for the lock")
        said, _ = await asyncio.gather(parts(tagship), send_all(tagship, deliveries))
        for reader in readers:
            reader.cancel()
    assert "PostgreSQL gave no answer" in said["database"]
    assert [(delivery.status, bool(delivery.retry_after)) for delivery in deliveries] == [(503, True)] * 4

    await takes_in(tagship)
    await send_all(tagship, deliveries)
    assert all(delivery.taken for delivery in deliveries)
    assert await kept(server.dsn(), deliveries) == (4, 4, 4)


async def test_server_that_refuses_writes_is_said_and_taken_again(server: OwnPostgres, tagship: Tagship) -> None:
    await ask(server.dsn(), "alter database postgres set default_transaction_read_only = on")
    await cut_connections(server.dsn())  # as a failover does
    refused = await send(tagship, Delivery())
    assert (refused.status, bool(refused.retry_after)) == (503, True)
    assert "read-only transaction; it is a standby" in refused.said
    assert "takes no writes" in (await parts(tagship))["database"]
    assert not tagship.events("request_crashed")

    await ask(server.dsn("template1"), "alter database postgres reset default_transaction_read_only")
    await takes_in(tagship)  # in new sessions: those of before stay as they were
    assert (await send(tagship, refused)).status == 202
    assert await kept(server.dsn(), [refused]) == (1, 1, 1)


@AS_ROOT
async def test_full_disk_is_a_503_with_the_reason_until_there_is_room(public_folder: Path, tmp_path: Path) -> None:
    async with (
        small_disk(public_folder / "small", DISK_MEBIBYTES) as disk,
        own_postgres(disk.folder / "postgres") as server,
        intake(tmp_path, DATABASE_URL=server.dsn()) as tagship,
    ):
        assert (await send(tagship, Delivery())).status == 202
        disk.fill()
        large = Delivery(padding=secrets.token_hex(4 * 1024 * 1024))
        await send(tagship, large)
        assert (large.status, bool(large.retry_after)) == (503, True), large.said
        assert any("No space left" in event["reason"] for event in tagship.events("request_failed"))
        disk.make_room()
        if not server.running():
            await server.start()
        await takes_in(tagship)
        assert (await send(tagship, large)).status == 202
        assert await kept(server.dsn(), [large]) == (1, 1, 1)
