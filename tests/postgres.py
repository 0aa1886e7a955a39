"""Real PostgreSQL for tests: one server per session, one database per test, copied from a migrated template.

``TAGSHIP_TEST_DATABASE_URL`` names a server to use instead of the embedded one; its account must be allowed to create
databases.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest

from app.postgres.embedded import EmbeddedPostgres
from app.postgres.migrate import migrate
from app.postgres.pool import Pool, connect, create_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

RUN: Final = f"tagship_{secrets.token_hex(4)}"
NUMBERS: Final = itertools.count(1)
MEMORY: Final = Path("/dev/shm")
ROOM: Final = 1 << 30


def with_database(dsn: str, name: str) -> str:
    """The same server, another database."""
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


async def execute(dsn: str, statement: str) -> None:
    """Run one statement on a connection of its own."""
    conn = await connect(dsn)
    try:
        await conn.execute(statement)
    finally:
        await conn.close(timeout=5)


@asynccontextmanager
async def fresh_database(server: str, template: str = "template0") -> AsyncIterator[str]:
    """The DSN of a new database, a copy of ``template``; gone afterwards, whoever is still connected to it."""
    name = f"{RUN}_{next(NUMBERS)}"
    # The two checkpoints of a copy by files cost next to nothing where nothing is synchronised, as on our own server.
    strategy = "wal_log" if "TAGSHIP_TEST_DATABASE_URL" in os.environ else "file_copy"
    await execute(server, f'create database "{name}" template "{template}" strategy {strategy}')
    try:
        if template != "template0":  # a copy is the same installation; tests that share an engine are others
            await execute(with_database(server, name), "update installation set id = gen_random_uuid()")
        yield with_database(server, name)
    finally:
        await execute(server, f'drop database "{name}" with (force)')


@pytest.fixture(scope="session")
def public_folder() -> Iterator[Path]:
    """A folder that every account may enter: pytest's own are closed to the account that root runs PostgreSQL as.

    In memory where there is room: most of what a database costs is making, and taking away, its thousand files.
    """
    folder = Path(tempfile.mkdtemp(prefix="tagship-test-", dir=MEMORY if _has_room(MEMORY) else None))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK) and shutil.disk_usage(folder).free > ROOM


@pytest.fixture(scope="session")
async def server(public_folder: Path) -> AsyncIterator[str]:
    """The DSN of a running server."""
    if external := os.environ.get("TAGSHIP_TEST_DATABASE_URL"):
        yield external
        return
    postgres = await EmbeddedPostgres.start(public_folder / "postgres", durable=False)
    try:
        yield postgres.dsn
    finally:
        await postgres.stop()


@pytest.fixture(scope="session")
async def template(server: str) -> AsyncIterator[str]:
    """The name of a migrated database to copy; nobody stays connected to it."""
    async with fresh_database(server) as dsn:
        await migrate(dsn)
        yield urlsplit(dsn).path.removeprefix("/")


@pytest.fixture
async def empty_database(server: str) -> AsyncIterator[str]:
    """The DSN of a new database without any tables."""
    async with fresh_database(server) as dsn:
        yield dsn


@pytest.fixture
async def database(server: str, template: str) -> AsyncIterator[str]:
    """The DSN of a new migrated database."""
    async with fresh_database(server, template) as dsn:
        yield dsn


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    """A pool on a new migrated database."""
    pool = await create_pool(database, size=5)
    try:
        yield pool
    finally:
        pool.terminate()
