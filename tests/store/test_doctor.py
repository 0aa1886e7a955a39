"""What doctor says of a database, and that it leaves it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.doctor import examine
from app.findings import Finding
from app.postgres.pool import connect
from app.settings import load_settings
from tests.postgres import execute

if TYPE_CHECKING:
    from pathlib import Path

PARTS = ["database", "engine", "swarm", "github", "reports", "webhook", "registry", "disk"]


async def findings(folder: Path, database: str) -> dict[str, Finding]:
    """What doctor finds with this database, and with an engine and a GitHub that are not there."""
    settings = load_settings(
        {
            "DATABASE_URL": database,
            "DOCKER_HOST": f"unix://{folder}/none.sock",
            "GITHUB_API_URL": "http://127.0.0.1:9",
            "TAGSHIP_DATA_DIR": str(folder),
        }
    )
    found = await examine(settings)
    assert [finding.part for finding in found] == PARTS
    return {finding.part: finding for finding in found}


async def tables(database: str) -> int:
    conn = await connect(database)
    try:
        count: int = await conn.fetchval("select count(*) from pg_class where relnamespace = 'public'::regnamespace")
    finally:
        await conn.close(timeout=5)
    return count


async def test_an_empty_database_is_fine_and_stays_empty(tmp_path: Path, empty_database: str) -> None:
    found = (await findings(tmp_path, empty_database))["database"]
    assert found.ok
    assert "to apply, run `tagship migrate`" in found.sentence
    assert await tables(empty_database) == 0


async def test_a_migrated_database_is_up_to_date(tmp_path: Path, database: str) -> None:
    found = (await findings(tmp_path, database))["database"]
    assert found.ok
    assert found.sentence.endswith("schema: up to date")


async def test_a_database_of_a_newer_release_is_not_fine(tmp_path: Path, database: str) -> None:
    await execute(database, "insert into schema_migrations (version, name, checksum) values (9999, '9999_x', 'x')")
    found = (await findings(tmp_path, database))["database"]
    assert not found.ok
    assert "9999_x" in found.sentence


async def test_a_database_that_does_not_show_its_schema_is_one_sentence(tmp_path: Path, database: str) -> None:
    await execute(database, "alter table schema_migrations rename column checksum to sum")
    found = (await findings(tmp_path, database))["database"]
    assert not found.ok
    assert "cannot be examined" in found.sentence


async def test_no_registry_is_no_fault(tmp_path: Path, database: str) -> None:
    found = (await findings(tmp_path, database))["registry"]
    assert found == Finding("registry", ok=True, sentence="none configured; images stay on this engine")
