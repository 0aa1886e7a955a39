"""What /charts draws and says: the days, the times, and what they come to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from app.builds import store
from app.dashboard.figures import read_figures
from app.postgres.pool import transaction
from tests.api_client import api_services
from tests.factories import built_image, claimed_build
from tests.pages import page_of, signed_in, words

if TYPE_CHECKING:
    from app.postgres.pool import Pool


async def run(pool: Pool, statement: str, *arguments: object) -> None:
    async with transaction(pool) as conn:
        await conn.execute(statement, *arguments)


async def took(pool: Pool, tag: str, *, days_ago: int, seconds: int, waited: int, name: str = "bre") -> int:
    """A build that succeeded so many days ago; its image."""
    image = await built_image(pool, name=name, tag=tag)
    await run(
        pool,
        "update builds set finished_at = now() - make_interval(days => $2), started_at = now() - make_interval("
        "days => $2, secs => $3), created_at = now() - make_interval(days => $2, secs => $3 + $4) where image_id = $1",
        image,
        days_ago,
        seconds,
        waited,
    )
    return image


async def deployed(
    pool: Pool, image: int, *, lead: int, reason: str = "image_built", replayed: int | None = None
) -> None:
    """A product came to run what a delivery led to ``lead`` seconds before, or its replay did."""
    await run(
        pool,
        "with sent as (insert into deliveries (guid, event, state, body, received_at, replays, replayed_at) values"
        " (gen_random_uuid()::text, 'push', 'accepted', 'x', now() - make_interval(secs => $2),"
        " case when $4::int is null then 0 else 1 end, now() - make_interval(secs => $4)) returning id)"
        " , caused as (update builds b set delivery_id = sent.id, created_at = now() - interval '1 second'"
        " from sent where b.image_id = $1 returning b.id), made as (insert into products (name, slug, port)"
        " select 'p', 'p' || count(*), 1 + count(*) from products returning id)"
        " insert into rollouts (product_id, kind, reason, state, finished_at, image, env_sealed, port, publish_mode,"
        " replicas, build_id) select made.id, 'deploy', $3::rollout_reason, 'done', now(), 'x', '{}', 1, 'host', 1,"
        " caused.id from made, caused",
        image,
        lead,
        reason,
        replayed,
    )


async def test_without_anything_the_page_says_so_and_draws_nothing(pool: Pool) -> None:
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/charts")
    assert words(html).count("Nothing in these 7 days.") == 4
    assert "No build succeeded in the last 7 days." in words(html)
    assert "<svg" not in html


async def test_each_day_shows_what_ended_on_it_and_older_ones_are_left_out(pool: Pool) -> None:
    await took(pool, "v1", days_ago=0, seconds=40, waited=2)
    await took(pool, "v2", days_ago=2, seconds=80, waited=6)
    await took(pool, "v3", days_ago=12, seconds=400, waited=60)
    claimed = await claimed_build(pool, tag="v4")
    async with transaction(pool) as conn:
        assert await store.fail(conn, claimed.lease, "x")
        week, month = await read_figures(conn, 7), await read_figures(conn, 30)
    assert [one.values for one in week.success.series] == [
        (None, None, None, None, 1, None, 1),
        (None, None, None, None, 0, None, 1),
    ]
    assert week.success_total.detail == "2 built, 1 failed"
    assert month.success_total.detail == "3 built, 1 failed"
    assert week.wait.series[0].values[4] == pytest.approx(6, abs=0.1)


async def test_durations_are_shown_by_image_name_and_of_one_that_is_asked_for(pool: Pool) -> None:
    await took(pool, "v1", days_ago=1, seconds=40, waited=0)
    await took(pool, "v2", days_ago=1, seconds=60, waited=0)
    await took(pool, "v1", days_ago=1, seconds=10, waited=0, name="shop")
    async with signed_in(api_services(pool)) as client:
        both = await page_of(client, "/charts?days=30")
        one = await page_of(client, "/charts?days=30&name=shop")
        none = await page_of(client, "/charts?name=nothing")
    titles = [re.findall(r'<h3 id="duration-\d+-title" class="mono">([^<]+)<', html) for html in (both, one, none)]
    assert titles == [["bre", "shop"], ["shop"], []]
    assert "50 s 9 of 10 within 58 s; 2 builds" in words(both)
    assert "No build of nothing succeeded in the last 7 days." in words(none)
    assert 'href="/charts?days=7&amp;name=shop"' in one


async def test_the_lead_time_counts_from_the_push_or_the_replay_that_led_to_the_build(pool: Pool) -> None:
    pushed, replayed, by_hand = [await built_image(pool, tag=tag) for tag in ("v1", "v2", "v3")]
    await deployed(pool, pushed, lead=100)
    await deployed(pool, replayed, lead=90_000, replayed=100)
    await deployed(pool, by_hand, lead=500, reason="redeploy")
    async with transaction(pool) as conn:
        figures = await read_figures(conn, 7)
    assert figures.lead_total.figure == "1 min 40 s"
    assert figures.lead_total.detail.endswith("; 2 deploys")
    assert figures.deploys_total.detail == "3 came to run, 0 failed"


async def test_every_picture_is_named_and_said_again_as_a_table(pool: Pool) -> None:
    await took(pool, "v1", days_ago=0, seconds=40, waited=2)
    async with signed_in(api_services(pool)) as client:
        html = await page_of(client, "/charts")
    pictures = html.count("<svg")
    assert pictures == 3
    assert html.count('role="img"') == html.count("<table>") == html.count("As a table") == pictures
    assert 'aria-label="Builds by outcome, 7 days: 100 %, 1 built, 0 failed"' in html


async def test_a_name_that_is_not_one_is_text(pool: Pool) -> None:
    hostile = '"><script>alert(1)</script>'
    await built_image(pool, name="bre", tag="v1")
    await run(pool, "update docker_images set name = $1", hostile)
    async with signed_in(api_services(pool)) as client:
        for query in ({}, {"name": hostile}, {"name": hostile + "x", "days": hostile}):
            answer = await client.get("/charts", params=query)
            assert answer.status_code == 200
            assert "<script>alert" not in answer.text
