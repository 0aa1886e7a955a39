"""What the overview shows of tags, products and trouble in each state, and what hostile text becomes there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import pytest

from app.access.model import Role
from app.builds import store
from app.dashboard import figures, overview
from app.dashboard.overview import read_flights, read_needs
from app.deliveries.store import store_unreadable, take_in
from app.github.payload import parse_event
from app.postgres.pool import connect, transaction
from app.products.model import ProductStatus
from app.repositories.model import MovedTagPolicy
from app.repositories.recipe import Recipe
from app.repositories.store import insert as insert_repository
from app.rollouts import store as rollouts
from app.rollouts.model import RolloutKind, RolloutState
from tests.api_client import api_services, token_for
from tests.factories import (
    built_image,
    claim_build,
    claim_rollout,
    claimed_build,
    product,
    queue_build,
    queue_rollout,
    succeed,
)
from tests.load import ZERO, push_payload
from tests.pages import page_of, signed_in, words
from tests.postgres import fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.builds.model import ClaimedBuild
    from app.dashboard.flow import Flight
    from app.postgres.pool import Dedicated, Pool

HOSTILE: Final = '"><script>alert(1)</script>{{ 7 * 7 }}&amp;'


async def run(pool: Pool, statement: str, *arguments: object) -> None:
    async with transaction(pool) as conn:
        await conn.execute(statement, *arguments)


async def flights_of(pool: Pool) -> list[Flight]:
    async with transaction(pool) as conn:
        return await read_flights(conn)


async def needs_of(pool: Pool) -> list[tuple[str, str]]:
    async with transaction(pool) as conn:
        return [(need.subject, need.happened) for need in await read_needs(conn)]


async def fail(pool: Pool, claimed: ClaimedBuild, error: str = "step 4 exited 1") -> None:
    async with transaction(pool) as conn:
        assert await store.fail(conn, claimed.lease, error)


async def end_rollout(pool: Pool, state: RolloutState, status: str) -> int:
    """End the oldest rollout; which one that was."""
    claimed = await claim_rollout(pool)
    assert claimed is not None
    lease, rollout = claimed
    live = rollout.id if state is RolloutState.DONE else rollout.live_rollout_id
    async with transaction(pool) as conn:
        await rollouts.mark_converging(conn, lease, "service")
        if state is not RolloutState.DONE:
            await rollouts.record_failure(conn, lease, "KeyError: PLATFORM_API_KEY", [])
        assert await rollouts.settle(conn, lease, state, status=status, live=live)
    return rollout.id


async def running_product(pool: Pool, image_id: int) -> int:
    product_id = await product(pool, image_id)
    await queue_rollout(pool, product_id)
    await end_rollout(pool, RolloutState.DONE, "running")
    return product_id


async def push(pool: Pool, tag: str) -> None:
    """A delivery of a pushed tag, as it is taken in."""
    body = json.dumps(push_payload("acme/bre", tag, ZERO, "b" * 40, 8000)).encode()
    parsed = parse_event("push", "application/json", body)
    async with transaction(pool) as conn:
        await take_in(conn, guid=tag, event="push", content_type="application/json", body=body, parsed=parsed)


# ---------------------------------------------------------------- nothing yet


async def test_without_anything_the_page_says_what_to_do_next(pool: Pool) -> None:
    async with signed_in(api_services(pool)) as client:
        text = words(await page_of(client, "/"))
    assert "Nothing does: no build, rollout, product or channel is in trouble." in text
    assert "No tag was pushed in the last day" in text
    assert "No product runs yet." in text
    assert "GitHub has sent nothing yet." in text


# ---------------------------------------------------------------- in flight


async def test_a_pushed_tag_is_one_row_from_the_push_to_the_products(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await insert_repository(
            conn,
            repo="acme/bre",
            image_name="bre",
            tag_pattern="*",
            recipe=Recipe(),
            on_moved_tag=MovedTagPolicy.REBUILD,
        )
    old = await built_image(pool, tag="v1.0.0")
    for _ in range(3):
        product_id = await product(pool, old, track="^1")
        await queue_rollout(pool, product_id)
        await end_rollout(pool, RolloutState.DONE, "running")
    await push(pool, "v1.1.0")
    [waiting, *_] = await flights_of(pool)
    assert (waiting.tag, waiting.outcome[1], waiting.delivery_id is not None) == ("v1.1.0", "waiting", True)
    assert waiting.followers == "3 follow a rule that may take it"
    claimed = await claim_build(pool)
    assert claimed is not None
    assert (await flights_of(pool))[0].outcome[1] == "building"
    await succeed(pool, claimed)
    await end_rollout(pool, RolloutState.DONE, "running")
    await end_rollout(pool, RolloutState.ROLLED_BACK, "running")
    [flight, *_] = await flights_of(pool)
    assert flight.outcome == ("deploying", "rolling out")
    assert flight.fleet.sentence == "1 of 3 running, 1 rolled back, 1 waiting"
    async with signed_in(api_services(pool)) as client:
        text = words(await page_of(client, "/"))
    assert "bre:v1.1.0 pushed by" in text
    assert "1 of 3 running, 1 rolled back, 1 waiting" in text
    assert "3 products v1.1.0" not in text


async def test_a_product_that_runs_something_else_by_now_is_not_said_to_run_the_tag(pool: Pool) -> None:
    image = await built_image(pool, tag="v1")
    moved, stopped, kept = [await running_product(pool, image) for _ in range(3)]
    other = await built_image(pool, tag="v2")
    await run(pool, "update products set image_id = $2 where id = $1", moved, other)
    await queue_rollout(pool, moved)
    await end_rollout(pool, RolloutState.DONE, "running")
    await queue_rollout(pool, stopped, RolloutKind.STOP)
    await end_rollout(pool, RolloutState.DONE, "stopped")
    [flight] = [one for one in await flights_of(pool) if one.tag == "v1"]
    assert flight.fleet.counts == {"running": 1, "replaced": 2}
    assert [cell.state for cell in flight.fleet.cells if cell.product_id == kept] == ["running"]


async def test_a_build_shows_its_step_and_how_long_its_name_usually_takes(pool: Pool) -> None:
    for tag in ("v1", "v2", "v3"):
        await built_image(pool, tag=tag)
    await run(
        pool, "update builds set started_at = now() - interval '1 hour', finished_at = now() - interval '3560 seconds'"
    )
    claimed = await claimed_build(pool, tag="v4")
    async with transaction(pool) as conn:
        await store.append_log(conn, claimed.lease, 1, "Step 1/8 : FROM debian\n")
        await store.append_log(conn, claimed.lease, 2, "Step 3/8 : RUN make\n ---> Running in 1f\n")
        await conn.execute("update builds set started_at = now() - interval '10 seconds' where id = $1", claimed.id)
    [flight, *_] = await flights_of(pool)
    assert flight.step is not None
    assert (flight.step.number, flight.step.of_all, flight.usual) == (3, 8, 40)
    assert flight.elapsed is not None
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/")
    assert "step 3 of 8" in words(html)
    assert "usually 40 s" in words(html)
    assert '<progress aria-label="Build of bre:v4" max="1" value="0.2' in html


async def test_of_a_long_log_only_the_end_is_read(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    async with transaction(pool) as conn:
        await store.append_log(conn, claimed.lease, 1, "Step 1/8 : FROM debian\n" + "x" * 60_000 + "\n")
        for seq in range(2, 60):
            await store.append_log(conn, claimed.lease, seq, "y" * 3000 + "\n")
        [row] = await conn.fetch(overview.SQL.log_ends, [claimed.id])
    assert len(row["text"]) <= 40 * 2000
    assert (await flights_of(pool))[0].step is None


async def test_what_is_under_way_stays_in_view_however_old_and_what_ended_leaves_after_a_day(pool: Pool) -> None:
    await built_image(pool, tag="v1")
    await queue_build(pool, tag="v2")
    await run(pool, "update builds set created_at = now() - interval '3 days'")
    assert [one.tag for one in await flights_of(pool)] == ["v2"]


async def test_a_large_fleet_is_drawn_as_a_bar_and_counted(pool: Pool) -> None:
    image = await built_image(pool, tag="v1")
    await run(
        pool,
        "insert into products (name, slug, port, image_id, status) select 'p', 'p' || n, n, $1, 'running'"
        " from generate_series(1, 200) n",
        image,
    )
    await run(
        pool,
        "with made as (insert into rollouts (product_id, kind, reason, state, finished_at, image, env_sealed, port,"
        " publish_mode, replicas, image_id, build_id, image_name, image_tag) select p.id, 'deploy', 'start', 'done',"
        " now(), 'x', '{}', 1, 'host', 1, p.image_id, i.live_build_id, i.name, i.tag from products p"
        " join docker_images i on i.id = p.image_id returning id, product_id)"
        " update products p set live_rollout_id = made.id from made where made.product_id = p.id",
    )
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/")
    assert "200 of 200 running" in html
    assert 'max="200" value="200"' in html
    assert html.count('class="cell ') == 0


# ---------------------------------------------------------------- products and the fleet


async def test_the_fleet_is_shown_by_version_with_what_does_not_run(pool: Pool) -> None:
    first, second = await built_image(pool, tag="v1"), await built_image(pool, tag="v2")
    await running_product(pool, first)
    await running_product(pool, second)
    await running_product(pool, second)
    await product(pool, second, wanted=True, status=ProductStatus.FAILED)
    await product(pool, second)
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/")
    assert "bre: 2 v2, 1 v1, 1 not running" in html
    assert "3 of 4 that should run do." in words(html)
    assert "3 running" in words(html)


async def test_a_rollout_without_a_new_build_is_under_way_too(pool: Pool) -> None:
    product_id = await running_product(pool, await built_image(pool, tag="v1"))
    await queue_rollout(pool, product_id, RolloutKind.STOP)
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/")
    assert re.search(rf'id="rollouts".*/products/{product_id}".*stop \(stop\)', html, re.DOTALL)


# ---------------------------------------------------------------- what needs a person


async def test_a_failed_build_needs_somebody_until_its_name_is_built_anew(pool: Pool) -> None:
    await fail(pool, await claimed_build(pool, tag="v1"))
    assert await needs_of(pool) == [("bre:v1", "its build failed")]
    await built_image(pool, name="other", tag="v9")
    assert len(await needs_of(pool)) == 1
    await built_image(pool, tag="v2")
    assert await needs_of(pool) == []


async def test_a_failed_build_of_a_pinned_image_needs_somebody_whatever_else_was_built(pool: Pool) -> None:
    image = await built_image(pool, tag="v1")
    await running_product(pool, image)
    await queue_build(pool, tag="v1")
    claimed = await claim_build(pool)
    assert claimed is not None
    await fail(pool, claimed)
    await built_image(pool, tag="v2")
    await run(pool, "update builds set finished_at = now() - interval '60 days' where state = 'failed'")
    assert await needs_of(pool) == [("bre:v1", "its build failed; 1 product pinned to it keeps what was built before")]


async def test_an_old_failure_that_concerns_nobody_is_not_brought_up_again(pool: Pool) -> None:
    await fail(pool, await claimed_build(pool, tag="v1"))
    await run(pool, "update builds set finished_at = now() - interval '8 days'")
    assert await needs_of(pool) == []


async def test_a_product_needs_somebody_while_its_last_rollout_is_the_one_that_failed(pool: Pool) -> None:
    product_id = await running_product(pool, await built_image(pool, tag="v1"))
    await queue_rollout(pool, product_id)
    await end_rollout(pool, RolloutState.ROLLED_BACK, "running")
    [(_, happened)] = await needs_of(pool)
    assert happened == "the rollout of bre:v1 failed, and it runs bre:v1 again"
    await queue_rollout(pool, product_id)
    assert await needs_of(pool) == []
    await end_rollout(pool, RolloutState.DONE, "running")
    assert await needs_of(pool) == []


async def test_deliveries_channels_and_repositories_in_trouble_need_somebody(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await store_unreadable(conn, guid="a", event="push", content_type="x", body=b"x", reason="it is no JSON")
        await conn.execute(
            "insert into channels (name, kind, enabled, disabled_reason) values ('ops', 'slack', false, 'gone (410)'),"
            " ('quiet', 'slack', false, null)"
        )
        await conn.execute(
            "insert into looks (repo, error, failures) values ('a/b', 'no such repository', 2), ('a/c', null, 0)"
        )
    found = dict(await needs_of(pool))
    assert sorted(found) == ["Channel ops", "Delivery 1", "a/b"]
    async with signed_in(api_services(pool)) as client:
        text = words(await page_of(client, "/"))
    for sentence in ("it is no JSON", "gone (410)", "no such repository", "Needs you 3"):
        assert sentence in text


# ---------------------------------------------------------------- to whom, and hostile text


async def test_who_may_only_read_sees_the_overview_and_no_button_that_changes_something(pool: Pool) -> None:
    await fail(pool, await claimed_build(pool, tag="v1"))
    async with signed_in(api_services(pool), await token_for(pool, Role.READ)) as client:
        html = await page_of(client, "/")
    assert "data-call" not in html


async def test_hostile_names_and_reasons_are_text(pool: Pool) -> None:
    claimed = await claimed_build(pool, name="bre", tag=HOSTILE)
    await fail(pool, claimed, HOSTILE)
    running = await claimed_build(pool, tag=HOSTILE + "2")
    await product(pool, claimed.image_id, wanted=True, status=ProductStatus.FAILED)
    async with transaction(pool) as conn:
        await store.append_log(conn, running.lease, 1, f"Step 1/2 : RUN {HOSTILE}\n")
        await store_unreadable(conn, guid=HOSTILE, event=HOSTILE, content_type="x", body=b"x", reason=HOSTILE)
        await conn.execute("update products set name = $1", HOSTILE)
        await conn.execute(
            "insert into channels (name, kind, enabled, disabled_reason) values ($1, 'slack', false, $1)", HOSTILE
        )
    await queue_rollout(pool, await running_product(pool, await built_image(pool, tag=HOSTILE + "3")))
    await run(pool, "update products set name = $1", HOSTILE)
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/")
    assert "<script>alert" not in html
    assert "49" not in words(html.replace("{{ 7 * 7 }}", "")) or "7 * 7" in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 5


# ---------------------------------------------------------------- with many rows

FILL: Final = """
insert into docker_images (name, tag, github_repo, github_ref) select 'i' || n % 20, 'v' || n, 'a/b', 'r' from
  generate_series(1, 2000) n;
insert into deliveries (guid, event, state, body, received_at) select n::text, 'push', 'accepted', 'x',
  now() - n * interval '2 hours' from generate_series(1, 10000) n;
insert into builds (image_id, source, recipe, state, created_at, started_at, finished_at, exact_ref, delivery_id)
  select 1 + n % 2000, 'delivery', '{}', 'success', t, t, t, 'x', n
    from (select n, now() - n * interval '2 hours' as t from generate_series(1, 10000) n) x;
update docker_images i set latest_build_id = b.id from builds b where b.image_id = i.id;
insert into products (name, slug, port) select 'p', 'p' || n, n from generate_series(1, 200) n;
insert into rollouts (product_id, kind, reason, state, finished_at, image, env_sealed, port, publish_mode, replicas,
    build_id)
  select 1 + n % 200, 'deploy', 'image_built', 'done', now() - n * interval '2 hours', 'x', '{}', 1, 'host', 1,
         1 + n % 10000
    from generate_series(1, 20000) n;
update products p set status = 'running', live_rollout_id = (select max(id) from rollouts r where r.product_id = p.id);
insert into build_log (build_id, seq, data) select 1 + n % 1000, 1 + n / 1000, 'x' from generate_series(0, 19999) n;
insert into audit_log (actor, via, action, subject, subject_id, subject_name)
  select 'a', 'webhook', 'push_tag', 'delivery', n, 'x' from generate_series(1, 10000) n;
analyze"""
WEEK: Final = "now() - interval '7 days'"


@pytest.fixture(scope="module")
async def filled(server: str, template: str) -> AsyncIterator[Dedicated]:
    """A connection to one database for all statements, with years of builds and rollouts."""
    async with fresh_database(server, template) as dsn:
        conn = await connect(dsn)
        try:
            for statement in FILL.split(";\n"):
                await conn.execute(statement)
            yield conn
        finally:
            await conn.close(timeout=5)


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        (overview.SQL.flights, ["12"]),
        (overview.SQL.cells, ["array[5, 6]", "60"]),
        (overview.SQL.log_ends, ["array[5, 6]"]),
        (overview.SQL.queue_now, []),
        (overview.SQL.rollouts_now, ["6"]),
        (overview.SQL.fleet, ["12"]),
        (overview.SQL.newest_deliveries, ["8"]),
        (overview.SQL.failed_builds, ["20"]),
        (overview.SQL.failed_products, ["20"]),
        (overview.SQL.failed_deliveries, ["20"]),
        (figures.SQL.build_days, [WEEK]),
        (figures.SQL.deploy_days, [WEEK]),
        (figures.SQL.duration_days, [WEEK, "6", "null"]),
    ],
)
async def test_the_page_reads_no_growing_table_whole(filled: Dedicated, statement: str, arguments: list[str]) -> None:
    asked = statement.rstrip(";")
    for number, argument in reversed(list(enumerate(arguments, 1))):
        asked = asked.replace(f"${number}", argument)
    plan = "\n".join(row[0] for row in await filled.fetch(f"explain {asked}"))
    for table in ("builds", "rollouts", "deliveries", "audit_log", "build_log"):
        assert f"Seq Scan on {table}" not in plan, plan


async def test_figures_count_what_ended_on_each_day(pool: Pool) -> None:
    await built_image(pool, tag="v1")
    await fail(pool, await claimed_build(pool, tag="v2"))
    async with transaction(pool) as conn:
        shown = await figures.read_figures(conn, 7)
        durations = await figures.read_durations(conn, 7, None)
        none = await figures.read_durations(conn, 7, "no such name")
    assert (shown.success_total.figure, len(shown.success.days)) == ("50 %", 7)
    assert [one.values[-1] for one in shown.success.series] == [1, 1]
    assert [chart.title for chart, _ in durations] == ["bre"]
    assert none == []
