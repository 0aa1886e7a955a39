"""The statements that run all the time stay quick when tables grow: EXPLAIN says which index they use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.postgres.pool import connect
from app.postgres.queries import load_queries
from tests.postgres import fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.postgres.pool import Dedicated

TOKEN = "'00000000-0000-0000-0000-000000000000'::uuid"
CASES = [
    ("builds", "claim_build", [TOKEN, "30", "'w'"], "builds_to_claim"),
    ("builds", "expired_builds", [], "builds_one_building_per_image"),
    ("builds", "read_log", ["5", "3", "500"], "build_log_pkey"),
    ("builds", "builds_of_image", ["5"], "builds_by_image"),
    ("retention", "to_purge", ["null", "0", "100"], "builds_to_purge"),
    ("retention", "images_to_delete", [], "images_to_delete"),
    ("rollouts", "claim_rollout", [TOKEN, "30", "'w'", "60", "60"], "rollouts_to_claim"),
    ("rollouts", "rollouts_of_product", ["5", "null", "50"], "rollouts_by_product"),
    ("notices", "next_notice", ["array['slack']", "true"], "notices_to_claim"),
    ("notices", "notices_beside", ["1", "5", "null", "19"], "notices_waiting"),
    ("shipments", "shipments_to_tell", ["180", "20"], "rollouts_to_claim"),
    ("shipments", "rollouts_of_shipments", ["array[5]"], "rollouts_by_build"),
    ("reconcile", "claim_look", [TOKEN, "120", "'w'"], "looks_to_claim"),
    ("reconcile", "seen_of", ["'a/7'", "array['v5']"], "seen_tags_pkey"),
    ("notices", "fail_stranded_notices", ["'a'", "'b'", "'6 hours'"], "notices_waiting"),
]

FILL = """
insert into docker_images (name, tag, github_repo, github_ref) select 'i', n::text, 'a/b', 'r' from generate_series(1,
3000) n; insert into builds (image_id, source, recipe, state, finished_at, error)
  select id, 'api', '{}', 'failed', now(), 'x' from docker_images;
insert into reports (build_id, finished_at) select id, now() from builds;
insert into build_log (build_id, seq, data) select 5, n, 'x' from generate_series(1, 5000) n;
insert into products (name, slug, port) select 'p', 'p' || n, n from generate_series(1, 200) n;
insert into rollouts (product_id, kind, reason, state, finished_at, image, env_sealed, port, publish_mode, replicas)
  select id, 'deploy', 'start', 'done', now(), 'x', '{}', 1, 'host', 1 from products, generate_series(1, 30);
insert into looks (repo, run_after) select 'a/' || n, now() + n * interval '1 second' from generate_series(1, 3000) n;
insert into seen_tags (repo, tag) select repo, 'v' || n from looks, generate_series(1, 5) n;
insert into channels (name, kind) values ('c', 'slack');
insert into notices (channel_id, event, subject, subject_id, facts, state, finished_at)
  select 1, 'rollout_done', 'rollout', n, '{}', 'sent', now() from generate_series(1, 3000) n
"""


TABLES = ("docker_images", "builds", "reports", "build_log", "products", "rollouts", "notices", "looks", "seen_tags")


@pytest.fixture(scope="module")
async def filled(server: str, template: str) -> AsyncIterator[Dedicated]:
    """A connection to one database for all statements, with rows enough for an index to be worth it."""
    async with fresh_database(server, template) as dsn:
        conn = await connect(dsn)
        try:
            for statement in FILL.split(";\n"):
                await conn.execute(statement)
            for table in TABLES:
                await conn.execute(f"analyze {table}")
            yield conn
        finally:
            await conn.close(timeout=5)


async def plan_of(conn: Dedicated, stage: str, name: str, arguments: list[str]) -> str:
    statement = load_queries(stage)[name].rstrip(";")
    for number, argument in reversed(list(enumerate(arguments, 1))):
        statement = statement.replace(f"${number}", argument)
    return "\n".join(row[0] for row in await conn.fetch(f"explain {statement}"))


@pytest.mark.parametrize(("stage", "name", "arguments", "index"), CASES)
async def test_statement_uses_its_index(
    filled: Dedicated, stage: str, name: str, arguments: list[str], index: str
) -> None:
    plan = await plan_of(filled, stage, name, arguments)
    assert index in plan, plan


@pytest.mark.parametrize("table", ["builds", "rollouts", "notices", "deliveries", "audit_log"])
async def test_the_pulse_of_pages_reads_no_growing_table_whole(filled: Dedicated, table: str) -> None:
    plan = await plan_of(filled, "pulse", "pulse", [])
    assert f"Seq Scan on {table}" not in plan, plan


@pytest.mark.parametrize("query", ["queues", "states"])
@pytest.mark.parametrize("table", ["builds", "rollouts", "notices", "reports", "docker_images"])
async def test_a_scrape_of_metrics_reads_no_growing_table_whole(filled: Dedicated, query: str, table: str) -> None:
    plan = await plan_of(filled, "metrics", query, [])
    assert f"Seq Scan on {table}" not in plan, plan
