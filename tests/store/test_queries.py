"""The SQL files against a migrated database: every query is valid, every query is used, both schemas are the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from app.postgres.pool import connect
from app.postgres.queries import load_queries, sql_folder
from tests.postgres import execute, fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from app.postgres.pool import Dedicated

APP: Final = sql_folder().parent / "app"
STAGES: Final = sorted(file.stem for file in (sql_folder() / "queries").glob("*.sql"))
USE: Final = re.compile(r"\bSQL\.(\w+)")
LOAD: Final = re.compile(r"load_queries\(\"(\w+)\"\)")

# Every fact of a schema that an application can notice, as text; not the order of columns, nor names PostgreSQL chose.
FACTS: Final = {
    "columns": """
        select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
               pg_get_expr(d.adbin, d.adrelid) as "default"
          from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')""",
    "constraints": """
        select conrelid::regclass::text, contype, pg_get_constraintdef(oid)
          from pg_constraint where connamespace = 'public'::regnamespace and contype <> 'n'""",
    "indexes": "select tablename, indexdef from pg_indexes where schemaname = 'public'",
    "views": "select viewname, definition from pg_views where schemaname = 'public'",
    "enums": """
        select t.typname, array_agg(e.enumlabel::text order by e.enumsortorder)
          from pg_type t join pg_enum e on e.enumtypid = t.oid group by t.typname""",
    "functions": "select proname, pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace",
    "triggers": "select tgrelid::regclass::text, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal",
}


async def facts_of(dsn: str) -> dict[str, list[str]]:
    conn = await connect(dsn)
    try:
        rows: dict[str, list[asyncpg.Record]] = {kind: await conn.fetch(query) for kind, query in FACTS.items()}
    finally:
        await conn.close(timeout=5)
    texts = {kind: [str(tuple(row)) for row in found] for kind, found in rows.items()}
    return {kind: sorted(text for text in found if "schema_migrations" not in text) for kind, found in texts.items()}


@pytest.fixture(scope="module")
async def migrated(server: str, template: str) -> AsyncIterator[Dedicated]:
    """A connection to one database for all queries, which are prepared and never run."""
    async with fresh_database(server, template) as dsn:
        conn = await connect(dsn)
        yield conn
        await conn.close(timeout=5)


@pytest.mark.parametrize(
    ("stage", "name"),
    [pytest.param(stage, name, id=f"{stage}.{name}") for stage in STAGES for name in load_queries(stage)],
)
async def test_query_is_valid_on_the_migrated_database(migrated: Dedicated, stage: str, name: str) -> None:
    await migrated.prepare(load_queries(stage)[name])


@pytest.mark.parametrize("stage", STAGES)
def test_every_query_has_a_caller_and_every_call_a_query(stage: str) -> None:
    used: set[str] = set()
    for file in APP.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if stage in LOAD.findall(text):
            used.update(USE.findall(text))
    known = set(load_queries(stage))
    assert used - known == set(), "called, and not in the file"
    assert known - used == set(), "in the file, and never called"


def test_a_module_loads_one_file_of_queries_as_sql() -> None:
    """The test above tells by ``SQL.name`` who calls what, which needs this rule."""
    for file in APP.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        loads = LOAD.findall(text)
        assert len(loads) <= 1, f"{file} loads {loads}"
        assert text.count('load_queries("') == text.count('SQL: Final = load_queries("'), f"{file} must name them SQL"


async def test_migrations_make_exactly_the_schema_of_schema_sql(server: str, database: str) -> None:
    migrated = await facts_of(database)
    async with fresh_database(server) as dsn:
        await execute(dsn, (sql_folder() / "schema.sql").read_text(encoding="utf-8"))
        explained = await facts_of(dsn)
    assert migrated["columns"], "the comparison sees something"
    assert migrated == explained


async def test_the_comparison_of_schemas_sees_a_changed_default(database: str) -> None:
    before = await facts_of(database)
    await execute(database, "alter table products alter column replicas set default 2")
    assert (await facts_of(database))["columns"] != before["columns"]
