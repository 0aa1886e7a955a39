"""/metrics over a real database: what waits and how long, in exact numbers; and what is said when something is away."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from app.api.metrics import DATABASE_S, Scrapes
from app.engine.client import Engine
from app.github.client import GitHubClient
from app.main import open_metrics
from app.metrics.state import Queue, State
from app.metrics.store import read_state
from app.postgres.listen import Wakeups
from app.postgres.pool import create_pool, transaction
from app.rollouts import store as rollouts
from app.web import create_app, create_watched_app
from tests.api_client import SECRET, api_services
from tests.factories import claim_build, queue_build
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.api.services import Services
    from app.postgres.pool import Pool
    from app.rollouts.model import RolloutId


def signed(secret: str, body: bytes) -> dict[str, str]:
    return {"X-Hub-Signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}


# Rows in every state, in one transaction, so that now() is the same everywhere. s(n) is n seconds from now.
ROWS: Final = """
create function s(n int) returns timestamptz return now() + make_interval(secs => n);

insert into docker_images (name, tag, github_repo, github_ref)
  select 'i', n::text, 'acme/bre', 'r' from generate_series(1, 20) n;
insert into builds (image_id, source, recipe, state, run_after) values
  (1, 'api', '{}', 'pending', s(-10)), (2, 'api', '{}', 'pending', s(-30)), (3, 'api', '{}', 'pending', s(0)),
  (4, 'api', '{}', 'pending', s(60));
insert into builds (image_id, source, recipe, state, run_after, lease_token, lease_until) values
  (5, 'api', '{}', 'building', s(-600), gen_random_uuid(), s(20)),
  (6, 'api', '{}', 'building', s(-600), gen_random_uuid(), s(0)),
  (7, 'api', '{}', 'building', s(-600), gen_random_uuid(), s(-40));
insert into builds (image_id, source, recipe, state, run_after, finished_at, exact_ref)
  select n, 'api', '{}', 'success', s(-900), now(), 'x' from generate_series(8, 12) n;
insert into builds (image_id, source, recipe, state, run_after, finished_at, error)
  select n, 'api', '{}', 'failed', s(-900), now(), 'x' from generate_series(13, 14) n;

insert into products (name, slug, port, status)
  select 'p', 'p' || n, n, case when n <= 2 then 'failed' when n <= 9 then 'running' else 'stopped' end::product_status
    from generate_series(1, 12) n;
insert into rollouts (product_id, kind, reason, state, image, env_sealed, port, publish_mode, replicas,
                      run_after, lease_token, lease_until) values
  (1, 'deploy', 'start', 'pending', 'x', '{}', 1, 'host', 1, s(-5), null, null),
  (2, 'deploy', 'start', 'converging', 'x', '{}', 1, 'host', 1, s(3), null, null),
  (3, 'deploy', 'start', 'applying', 'x', '{}', 1, 'host', 1, s(-50), gen_random_uuid(), s(9)),
  (4, 'deploy', 'start', 'converging', 'x', '{}', 1, 'host', 1, s(-500), gen_random_uuid(), s(-100));
insert into rollouts (product_id, kind, reason, state, image, env_sealed, port, publish_mode, replicas, finished_at)
  select n, 'deploy', 'start', 'done', 'x', '{}', 1, 'host', 1, now() from generate_series(1, 9) n;

insert into channels (name, kind, enabled, disabled_reason, paused_until) values
  ('on', 'slack', true, null, null), ('paused', 'slack', true, null, s(30)), ('off', 'slack', false, null, null),
  ('gone', 'slack', false, 'its receiver is gone', null);
insert into notices (channel_id, event, subject, subject_id, facts, run_after, lease_token, lease_until) values
  (1, 'rollout_done', 'rollout', 1, '{}', s(-15), null, null),
  (1, 'rollout_done', 'rollout', 2, '{}', s(-1), null, null),
  (1, 'rollout_done', 'rollout', 3, '{}', s(5), null, null),
  (1, 'rollout_done', 'rollout', 4, '{}', s(-90), gen_random_uuid(), s(5)),
  (2, 'rollout_done', 'rollout', 5, '{}', s(-80), null, null);
insert into notices (channel_id, event, subject, subject_id, facts, state, finished_at)
  select 1, 'build_failed', 'build', n, '{}', 'sent', now() from generate_series(1, 50) n;

insert into docker_images (name, tag, github_repo, github_ref) values ('j', '1', 'acme/refuses', 'r');
insert into builds (image_id, source, recipe, state, run_after, finished_at, error, commit_sha)
  select n, 'api', '{}', 'failed', s(-900), now(), 'x', repeat('a', 40) from generate_series(15, 21) n;
insert into report_refusals (repo, kind, reason, retry_at) values
  ('acme/refuses', 'status', 'no', s(60)), ('acme/did', 'deployment', 'no', s(-60));
insert into reports (build_id, told, told_sha, run_after, lease_token, lease_until, finished_at)
select b.id, r.told, case when r.told is not null then b.commit_sha end, s(r.after), r.token, r.until, r.over
  from builds b join (values
    (15, null, -25, null::uuid, null::timestamptz, null::timestamptz),  -- waits
    (16, 'pending', -12, null, null, null),                             -- waits: GitHub knows an older state
    (17, 'failed', -70, null, null, null),                              -- GitHub knows it
    (18, null, 70, null, null, null),                                   -- put off
    (19, null, -70, gen_random_uuid(), s(10), null),                    -- is told now
    (20, null, -70, null, null, now()),                                 -- over
    (21, null, -70, null, null, null)                                   -- refused
  ) r (image_id, told, after, token, until, over) on r.image_id = b.image_id;
insert into reports (build_id) select id from builds where image_id = 1;  -- its commit is not known

update look_pace set open_at = s(4), closed_until = s(-4);
insert into looks (repo, run_after, asks, asks_done, lease_token, lease_until, error) values
  ('a/asked', s(-8), 2, 1, null, null, null), ('a/due', s(-90), 1, 1, null, null, 'GitHub says no'),
  ('a/later', s(90), 1, 1, null, null, null), ('a/now', s(-9), 1, 0, gen_random_uuid(), s(9), null);

update chores set last_run_at = s(-120) where name = 'purge';
"""


async def test_what_waits_runs_is_put_off_or_was_abandoned_is_counted_exactly(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await conn.execute(ROWS)
        state = await read_state(conn)
    assert state.queues == {
        "build": Queue(waiting=3, delayed=1, running=2, abandoned=1, oldest_s=40),
        "rollout": Queue(waiting=1, delayed=1, running=1, abandoned=1, oldest_s=100),
        "notice": Queue(waiting=2, delayed=2, running=1, abandoned=0, oldest_s=15),
        "report": Queue(waiting=2, delayed=2, running=1, abandoned=0, oldest_s=25),
        "look": Queue(waiting=1, delayed=2, running=1, abandoned=0, oldest_s=8),
    }
    assert state.numbers == {
        ("builds", "pending"): 4,
        ("builds", "building"): 3,
        ("rollouts", "pending"): 1,
        ("rollouts", "applying"): 1,
        ("rollouts", "converging"): 2,
        ("products", "failed"): 2,
        ("products", "running"): 7,
        ("products", "stopped"): 3,
        ("channels", "on"): 2,
        ("channels", "off"): 1,
        ("channels", "switched_off"): 1,
        ("looks", "ok"): 3,
        ("looks", "failing"): 1,
        ("refusals", "status"): 1,
        ("chores", "purge"): 120,
    }


async def test_an_empty_database_has_nothing_in_any_queue(pool: Pool) -> None:
    async with transaction(pool) as conn:
        assert await read_state(conn) == State({}, {})


# ---------------------------------------------------------------- what a claim and a rollout tell


async def test_a_claimed_build_tells_how_long_it_could_have_been_begun(pool: Pool) -> None:
    _, build_id = await queue_build(pool)
    async with transaction(pool) as conn:
        await conn.execute("update builds set run_after = now() - interval '1 hour' where id = $1", build_id)
    claimed = await claim_build(pool)
    assert claimed is not None
    assert claimed.lease.waited_s is not None
    assert 3600 <= claimed.lease.waited_s < 3600 + PATIENCE_S


SHIPPED: Final = """
with d as (
  insert into deliveries (guid, event, body, state, received_at, replays, replayed_at)
  values ('g', 'push', '', 'accepted', now() - interval '300 seconds', $1::int,
          case when $1::int > 0 then now() - interval '60 seconds' end)
  returning id
), i as (insert into docker_images (name, tag, github_repo, github_ref) values ('i', '1', 'a/b', 'r') returning id
), b as (
  insert into builds (image_id, delivery_id, source, recipe, state, finished_at, exact_ref)
  select i.id, case when $2::boolean then d.id end, 'delivery', '{}', 'success', now(), 'x' from i, d returning id
), p as (insert into products (name, slug, port) values ('p', 'p', 1) returning id)
insert into rollouts (product_id, build_id, kind, reason, image, env_sealed, port, publish_mode, replicas)
select p.id, b.id, 'deploy', $3, 'x', '{}', 1, 'host', 1 from p, b returning id
"""


@pytest.mark.parametrize(
    ("replays", "delivered", "reason", "seconds"),
    [
        (0, True, "image_built", 300),
        (0, True, "pin_moved", 300),
        (2, True, "image_built", 60),
        (0, True, "redeploy", None),
        (0, True, "start", None),
        (0, False, "image_built", None),
    ],
)
async def test_a_rollout_knows_its_push_only_where_it_ships_what_was_pushed(
    pool: Pool, replays: int, delivered: bool, reason: str, seconds: float | None
) -> None:
    async with transaction(pool) as conn:
        rollout_id: RolloutId = await conn.fetchval(SHIPPED, replays, delivered, reason)
        assert await rollouts.seconds_since_push(conn, rollout_id) == seconds


# ---------------------------------------------------------------- the answer


@pytest.fixture
async def services(pool: Pool) -> AsyncIterator[Services]:
    """The services of a process without an engine."""
    github = GitHubClient.open(api_url="https://api.github.com")
    async with Engine.open("unix:///nowhere/docker.sock") as engine:
        made = api_services(pool, github=github)
        yield replace(made, engine=engine, metrics=open_metrics(pool, made.wakeups))
    await github.close()


@pytest.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without a token."""
    transport = httpx.ASGITransport(create_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://tagship") as opened:
        yield opened


async def scrape(client: httpx.AsyncClient) -> dict[str, float]:
    """Each sample by its name and labels, as they are written."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    lines = (line for line in answer.text.splitlines() if not line.startswith("#"))
    return {sample: float(value) for sample, _, value in (line.rpartition(" ") for line in lines)}


async def test_a_scrape_needs_no_token_and_gets_the_format_that_it_asks_for(client: httpx.AsyncClient) -> None:
    plain = await client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    asked = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    open_metrics_text = await client.get("/metrics", headers=asked)
    assert open_metrics_text.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_metrics_text.text.endswith("# EOF\n")
    for nonsense in (
        b"application/openmetrics-text;version=x",
        b"text/plain;version=1..",
        b",;,=",
        b"text/plain;v=\x80",
    ):
        answer = await client.get("/metrics", headers=[(b"Accept", nonsense)])
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4"), nonsense


async def test_a_scrape_shows_what_the_database_says_at_that_moment(pool: Pool, client: httpx.AsyncClient) -> None:
    waiting = 'tagship_queue_jobs{stage="build",state="waiting"}'
    assert (await scrape(client))[waiting] == 0
    await queue_build(pool)
    shown = await scrape(client)
    assert shown[waiting] == 1
    assert shown["tagship_database_up"] == 1
    assert shown["tagship_engine_up"] == 0
    assert shown["tagship_listener_connected"] == 0
    assert shown['tagship_http_request_duration_seconds_count{method="GET",route="/metrics",status="2xx"}'] == 1


@pytest.mark.parametrize(
    ("body", "secret", "event", "outcome"),
    [
        (b'{"zen": "x"}', SECRET, "ping", "ignored"),
        (b"{", SECRET, "push", "unreadable"),
        (b"{}", "another", "push", "refused"),
        (b"{" * (25 * 2**20 + 1), SECRET, "push", "too_large"),
    ],
)
async def test_a_delivery_is_counted_by_what_came_of_it(
    client: httpx.AsyncClient, body: bytes, secret: str, event: str, outcome: str
) -> None:
    headers = {"X-GitHub-Event": event, "X-GitHub-Delivery": "g-1", "Content-Type": "application/json"}
    await client.post("/webhooks/github", content=body, headers=headers | signed(secret, body))
    shown = await scrape(client)
    counted = {name: number for name, number in shown.items() if name.startswith("tagship_deliveries_total") and number}
    assert counted == {f'tagship_deliveries_total{{outcome="{outcome}"}}': 1}


async def test_the_same_delivery_again_is_a_duplicate_and_no_second_one(client: httpx.AsyncClient) -> None:
    body = b'{"zen": "x"}'
    headers = {"X-GitHub-Event": "ping", "X-GitHub-Delivery": "g-1", "Content-Type": "application/json"}
    for _ in range(3):
        await client.post("/webhooks/github", content=body, headers=headers | signed(SECRET, body))
    shown = await scrape(client)
    assert shown['tagship_deliveries_total{outcome="ignored"}'] == 1
    assert shown['tagship_deliveries_total{outcome="duplicate"}'] == 2


# ---------------------------------------------------------------- what is away


async def test_a_database_that_is_away_leaves_what_the_process_knows(services: Services) -> None:
    await services.pool.close()
    transport = httpx.ASGITransport(create_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://tagship") as client:
        shown = await scrape(client)
        ready = await client.get("/readyz")
    assert shown["tagship_database_up"] == 0
    assert shown['tagship_deliveries_total{outcome="accepted"}'] == 0
    assert not [name for name in shown if name.startswith(("tagship_queue_jobs", "tagship_products"))]
    assert ready.status_code == 503
    assert "PostgreSQL" in ready.json()["parts"]["database"]


async def test_a_pool_that_is_used_up_keeps_no_scrape_waiting(database: str, services: Services) -> None:
    small = await create_pool(database, size=1)
    try:
        services = replace(services, pool=small, metrics=open_metrics(small, services.wakeups))
        scrapes = httpx.ASGITransport(create_watched_app(services))
        async with small.acquire(), httpx.AsyncClient(transport=scrapes, base_url="http://tagship") as client:
            async with asyncio.timeout(DATABASE_S + PATIENCE_S):
                shown = await asyncio.gather(*(scrape(client) for _ in range(5)))
        assert [one["tagship_database_up"] for one in shown] == [0] * 5
        assert {one['tagship_pool_connections{state="in_use"}'] for one in shown} == {1}
    finally:
        small.terminate()


async def test_scrapes_that_come_together_ask_the_database_once(services: Services) -> None:
    asked = 0

    class Counting(Scrapes):
        async def _ask(self) -> Any:
            nonlocal asked
            asked += 1
            return await super()._ask()

    counting = Counting(services)
    await asyncio.gather(*(counting._found() for _ in range(20)))
    assert asked == 1
    await counting._found()
    assert asked == 2, "the next one is told what is true then"


async def test_who_waits_for_a_connection_is_counted(database: str) -> None:
    small = await create_pool(database, size=1)
    try:
        metrics = open_metrics(small, Wakeups(""))

        def waiting() -> float | None:
            return metrics.registry.get_sample_value("tagship_pool_connections", {"state": "waiting"})

        async def take() -> None:
            async with transaction(small):
                pass

        async def two_wait() -> bool:
            return waiting() == 2

        async with transaction(small):
            takers = [asyncio.create_task(take()) for _ in range(2)]
            await until(two_wait, "two transactions wait for the connection")
        await asyncio.gather(*takers)
        assert waiting() == 0
    finally:
        small.terminate()


# ---------------------------------------------------------------- readiness


async def test_readiness_tells_each_part(client: httpx.AsyncClient) -> None:
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "not ready",
        "parts": {
            "database": "ok",
            "engine": "the Docker engine does not answer",
            "swarm": "not known: the Docker engine does not answer",
            "loops": "ok",
            "listener": "no wake-ups arrive from PostgreSQL; work is found by looking every few seconds",
        },
    }


async def test_a_process_that_only_works_answers_nothing_but_how_it_is(services: Services) -> None:
    transport = httpx.ASGITransport(create_watched_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://tagship") as client:
        answers = {path: await client.get(path) for path in ("/healthz", "/readyz", "/metrics", "/", "/api/v1/images")}
        assert [answer.status_code for answer in answers.values()] == [200, 503, 200, 404, 404]
        assert (await client.post("/webhooks/github")).status_code == 404
        assert answers["/metrics"].headers["Cache-Control"] == "no-store"
