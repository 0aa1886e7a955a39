"""Brings a database to the newest schema: ``sql/migrations/NNNN_name.sql``, in order, each once, forward only.

Any number of processes may start at once: one migrates, the others wait for it. They wait by asking for the lock again
and again, because a session that waits *inside* PostgreSQL deadlocks with CREATE INDEX CONCURRENTLY.

A file is applied in one transaction, unless its first line is ``-- no-transaction``: then it holds one statement, such
as CREATE INDEX CONCURRENTLY, and must be safe to run twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from app.errors import DatabaseUnavailable
from app.postgres.pool import Dedicated, connect, place, reason
from app.postgres.queries import sql_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

log = structlog.get_logger(__name__)

FILE: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql", re.ASCII)
NO_TRANSACTION: Final = "-- no-transaction"
LOCK: Final = 0x7461_6773_6869_70  # "tagship"; advisory locks are per database
WAIT_S: Final = 600.0
POLL_S: Final = 0.2
STATEMENT_LOCK: Final = "10s"

BOOK: Final = """
create table if not exists schema_migrations (
  version    int primary key,
  name       text not null,
  checksum   text not null,
  applied_at timestamptz not null default now()
)"""


class MigrationRefused(DatabaseUnavailable):
    """The database and the migrations of this version do not belong together; trying again changes nothing."""

    retryable = False


@dataclass(frozen=True, slots=True)
class Migration:
    """One file; ``name`` is its name without ``.sql``."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def in_transaction(self) -> bool:
        return self.sql.partition("\n")[0].strip() != NO_TRANSACTION


async def migrate(dsn: str, folder: Path | None = None) -> list[str]:
    """Apply what is missing; the names of the migrations that this call applied, in order.

    Raises ``MigrationRefused`` when an applied file was edited or is not there, and ``DatabaseUnavailable`` when the
    database cannot be reached, another process migrates for more than ten minutes, or a migration fails.
    """
    migrations = read_migrations(folder or sql_folder() / "migrations")
    conn = await connect(dsn, command_timeout_s=None)
    try:
        async with _only_one(conn):
            await conn.execute(BOOK)
            applied = {row["version"]: row for row in await conn.fetch("select * from schema_migrations")}
            missing = plan(migrations, {key: (row["name"], row["checksum"]) for key, row in applied.items()})
            for migration in missing:
                await _apply(conn, migration)
                log.info("migration_applied", migration=migration.name)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnavailable(f"the database {place(dsn)} cannot be migrated: {reason(error)}") from error
    finally:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await conn.close(timeout=5)
    return [migration.name for migration in missing]


def read_migrations(folder: Path) -> list[Migration]:
    """Every migration of a folder by version; raises ``MigrationRefused`` for a wrong name or a version used twice."""
    migrations: dict[int, Migration] = {}
    for file in sorted(folder.glob("*.sql")):
        match = FILE.fullmatch(file.name)
        if match is None:
            raise MigrationRefused(f"{file} is not named like 0002_what_it_does.sql")
        migration = Migration(int(match[1]), file.stem, file.read_text(encoding="utf-8"))
        if other := migrations.get(migration.version):
            raise MigrationRefused(
                f"{other.name} and {migration.name} have the same number; give the newer one the next"
            )
        migrations[migration.version] = migration
    return [migrations[version] for version in sorted(migrations)]


def plan(migrations: Sequence[Migration], applied: Mapping[int, tuple[str, str]]) -> list[Migration]:
    """What to apply, given the name and checksum of what was applied; raises ``MigrationRefused`` with the reason."""
    known = {migration.version: migration for migration in migrations}
    for version, (name, checksum) in sorted(applied.items()):
        if version not in known:
            raise MigrationRefused(
                f"the database has had migration {name}, which this version of Tagship does not know; "
                "run the version that it was migrated with, or a newer one"
            )
        if known[version].checksum != checksum:
            raise MigrationRefused(
                f"migration {known[version].name} was changed after the database had had it (as {name}); "
                "restore the file, and put the change into a new migration"
            )
    missing = [migration for migration in migrations if migration.version not in applied]
    newest = max(applied, default=0)
    if missing and missing[0].version < newest:
        raise MigrationRefused(
            f"migration {missing[0].name} is older than what the database has had already ({applied[newest][0]}); "
            "give it a number behind that"
        )
    return missing


@asynccontextmanager
async def _only_one(conn: Dedicated) -> AsyncIterator[None]:
    """Hold the lock of the one process that migrates; it goes with the connection, so a killed one blocks nobody."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not await conn.fetchval("select pg_try_advisory_lock($1)", LOCK):
        if asyncio.get_running_loop().time() > deadline:
            raise DatabaseUnavailable("another process is migrating the database and does not come to an end; stop it")
        await asyncio.sleep(POLL_S)
    yield
    await conn.execute("select pg_advisory_unlock($1)", LOCK)


async def _apply(conn: Dedicated, migration: Migration) -> None:
    """Apply one migration and write it down; a table locked for more than 10 s fails it, before it blocks everybody."""
    note = "insert into schema_migrations (version, name, checksum) values ($1, $2, $3)"
    row = (migration.version, migration.name, migration.checksum)
    await conn.execute(f"set lock_timeout = '{STATEMENT_LOCK}'")
    try:
        if migration.in_transaction:
            async with conn.transaction():
                await conn.execute(migration.sql)
                await conn.execute(note, *row)
        else:
            await conn.execute(migration.sql)
            await conn.execute(note, *row)
    except asyncpg.PostgresError as error:
        kept = "nothing of it was kept" if migration.in_transaction else "parts of it may have been kept"
        raise DatabaseUnavailable(f"migration {migration.name} failed, {kept}: {reason(error)}") from error
