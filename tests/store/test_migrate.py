"""Migrations over a real database: in order, once, by one process, and never silently out of step."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from app.errors import DatabaseUnavailable
from app.postgres import migrate as migrations
from app.postgres.migrate import Migration, MigrationRefused, migrate, plan
from app.postgres.pool import connect
from tests.postgres import execute

if TYPE_CHECKING:
    from pathlib import Path

FIRST = "create table things (id int primary key);"
SECOND = "insert into things values (1); insert into things values (2);"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_start.sql").write_text(FIRST)
    (tmp_path / "0002_fill.sql").write_text(SECOND)
    return tmp_path


async def value(dsn: str, query: str) -> Any:
    conn = await connect(dsn)
    try:
        return await conn.fetchval(query)
    finally:
        await conn.close(timeout=5)


async def test_migrations_are_applied_in_order_and_once(empty_database: str, folder: Path) -> None:
    assert await migrate(empty_database, folder) == ["0001_start", "0002_fill"]
    assert await migrate(empty_database, folder) == []
    (folder / "0003_more.sql").write_text("insert into things values (3);")
    assert await migrate(empty_database, folder) == ["0003_more"]
    assert await value(empty_database, "select array_agg(id order by id) from things") == [1, 2, 3]


async def test_of_several_starters_one_migrates_and_all_find_it_done(empty_database: str, folder: Path) -> None:
    (folder / "0003_slow.sql").write_text("select pg_sleep(0.3);")
    (folder / "0004_index.sql").write_text(
        "-- no-transaction\ncreate index concurrently if not exists i on things (id);"
    )
    answers = await asyncio.gather(*(migrate(empty_database, folder) for _ in range(4)))
    assert sorted(answers, key=len) == [[], [], [], ["0001_start", "0002_fill", "0003_slow", "0004_index"]]
    assert await value(empty_database, "select indisvalid from pg_index where indexrelid = 'i'::regclass") is True


async def test_failed_migration_leaves_nothing_and_is_named(empty_database: str, folder: Path) -> None:
    (folder / "0002_fill.sql").write_text("insert into things values (1); insert into nowhere values (2);")
    with pytest.raises(
        DatabaseUnavailable, match=r'0002_fill failed, nothing of it was kept: relation "nowhere" does not'
    ):
        await migrate(empty_database, folder)
    assert await value(empty_database, "select count(*) from things") == 0
    (folder / "0002_fill.sql").write_text(SECOND)
    assert await migrate(empty_database, folder) == ["0002_fill"]


async def test_edited_migration_is_refused_and_nothing_is_applied(empty_database: str, folder: Path) -> None:
    await migrate(empty_database, folder)
    (folder / "0001_start.sql").write_text(FIRST + " ")
    (folder / "0003_more.sql").write_text("insert into things values (3);")
    with pytest.raises(MigrationRefused, match="0001_start was changed after the database had had it"):
        await migrate(empty_database, folder)
    assert await value(empty_database, "select count(*) from things") == 2


async def test_database_of_a_newer_version_is_refused(empty_database: str, folder: Path) -> None:
    await migrate(empty_database, folder)
    (folder / "0002_fill.sql").unlink()
    with pytest.raises(
        MigrationRefused, match="has had migration 0002_fill, which this version of Tagship does not know"
    ):
        await migrate(empty_database, folder)


async def test_locked_table_fails_the_migration_instead_of_blocking_everybody(
    empty_database: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "STATEMENT_LOCK", "100ms")
    await migrate(empty_database, folder)
    (folder / "0003_alter.sql").write_text("alter table things add column name text;")
    conn = await connect(empty_database)
    try:
        async with conn.transaction():
            await conn.execute("lock table things")
            with pytest.raises(DatabaseUnavailable, match=r"0003_alter failed, nothing of it was kept: .*lock timeout"):
                await migrate(empty_database, folder)
    finally:
        await conn.close()
    assert await migrate(empty_database, folder) == ["0003_alter"]


async def test_killed_migrator_blocks_nobody(empty_database: str, folder: Path) -> None:
    holder = await connect(empty_database)
    await holder.fetchval("select pg_advisory_lock($1)", migrations.LOCK)
    waiting = asyncio.create_task(migrate(empty_database, folder))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.3)
    holder.terminate()
    assert await asyncio.wait_for(waiting, 20) == ["0001_start", "0002_fill"]


async def test_unreachable_database_is_said_without_the_password(folder: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="PostgreSQL at localhost:1/db cannot be reached") as caught:
        await migrate("postgresql://user:hunter2@localhost:1/db", folder)
    assert "hunter2" not in str(caught.value)


async def test_role_without_rights_is_told_so(empty_database: str, folder: Path) -> None:
    role = f"tagship_test_{secrets.token_hex(4)}"
    await execute(empty_database, f"create role {role} login password 'weak'")
    try:
        parts = urlsplit(empty_database)
        weak = parts._replace(netloc=f"{role}:weak@{parts.netloc.rpartition('@')[2]}").geturl()
        with pytest.raises(DatabaseUnavailable, match="cannot be migrated: permission denied for schema public"):
            await migrate(weak, folder)
    finally:
        await execute(empty_database, f"drop role {role}")


@pytest.mark.parametrize(
    ("names", "complaint"),
    [(["0001_a.sql", "0001_b.sql"], "0001_a and 0001_b have the same number"), (["1_a.sql"], "not named like")],
)
def test_folder_out_of_order_is_refused(tmp_path: Path, names: list[str], complaint: str) -> None:
    for name in names:
        (tmp_path / name).write_text("select 1;")
    with pytest.raises(MigrationRefused, match=complaint):
        migrations.read_migrations(tmp_path)


def test_migration_numbered_before_an_applied_one_is_refused() -> None:
    first, second = Migration(1, "0001_a", ""), Migration(2, "0002_b", "")
    with pytest.raises(MigrationRefused, match=r"0001_a is older than what the database has had already \(0002_b\)"):
        plan([first, second], {2: ("0002_b", second.checksum)})
