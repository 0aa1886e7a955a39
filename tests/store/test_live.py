"""What a page that is open is told: the topics that changed, soon, and nothing when nothing did."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from app.dashboard.pulse import Pulse
from app.postgres.pool import transaction
from app.web import create_app
from tests.api_client import ADMIN_TOKEN, api_services
from tests.fakes.serving import serve
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.postgres.pool import Pool

PRODUCT = "insert into products (name, slug, port) values ('Allianz', 'allianz', 8001)"


@asynccontextmanager
async def topics_told(pool: Pool) -> AsyncIterator[AsyncIterator[set[str]]]:
    """The topics of each event that a page gets, through a real server, for somebody who is signed in."""
    async with (
        serve(create_app(api_services(pool))) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client,
    ):
        await client.post("/signin", data={"token": ADMIN_TOKEN})
        async with client.stream("GET", "/live") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = response.aiter_lines()
            yield (set(line.removeprefix("data: ").split()) async for line in lines if line.startswith("data: "))


async def test_a_page_is_told_at_once_of_everything_and_then_of_what_changed(pool: Pool) -> None:
    async with asyncio.timeout(PATIENCE_S), topics_told(pool) as told:
        assert await anext(told) == {"activity", "builds", "deliveries", "notices", "products", "rollouts"}
        async with transaction(pool) as conn:
            await conn.execute(PRODUCT)
        assert await anext(told) == {"products"}
        async with transaction(pool) as conn:
            await conn.execute("update products set status = 'failed'")
        assert await anext(told) == {"products"}


async def test_who_comes_later_is_told_of_everything_too(pool: Pool) -> None:
    pulse = Pulse(pool)
    with pulse.watch() as first:
        everything = await first.news()
        with pulse.watch() as second:
            assert await second.news() == everything


async def test_nobody_asks_the_database_when_nobody_looks(pool: Pool) -> None:
    pulse = Pulse(pool)
    with pulse.watch() as watcher:
        await watcher.news()
        beating = pulse.beating
    assert beating is not None
    async with asyncio.timeout(PATIENCE_S):
        await beating
    assert beating.done()


async def test_two_products_that_swap_their_states_are_a_change(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await conn.execute(PRODUCT)
        await conn.execute("insert into products (name, slug, port, status) values ('AXA', 'axa', 8002, 'failed')")
    pulse = Pulse(pool)
    with pulse.watch() as watcher:
        await watcher.news()
        async with transaction(pool) as conn:
            swapped = "case status when 'failed' then 'stopped' else 'failed' end::product_status"
            await conn.execute(f"update products set status = {swapped}")
        async with asyncio.timeout(PATIENCE_S):
            assert await watcher.news() == ["products"]
