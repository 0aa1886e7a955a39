"""A burst of deliveries leaves the others their connections, and costs few round trips."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from app.deliveries.http import STORED_AT_ONCE, WebhookEndpoint
from app.deliveries.store import Accepted, take_in
from app.github.payload import parse_event
from app.postgres.pool import create_pool, transaction
from app.repositories import store as repositories
from app.repositories.model import MovedTagPolicy
from app.repositories.recipe import Recipe
from tests.load import Burst, push_payload
from tests.store.test_webhook import SECRET, Delivery, answered, ping, stored
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from app.postgres.pool import Connection, Pool

BURST: Final = 40
ROUND_TRIPS: Final = 7  # without BEGIN and COMMIT

WAITING: Final = "select count(*) from pg_locks where relation = 'deliveries'::regclass and not granted"


async def test_a_burst_leaves_connections_to_those_who_renew_leases(database: str, pool: Pool) -> None:
    busy = await create_pool(database, size=STORED_AT_ONCE + 1)
    endpoint = WebhookEndpoint(busy, [SECRET], answer_s=PATIENCE_S)
    async with pool.acquire() as conn:
        async with conn.transaction():
            await conn.execute("lock table deliveries in access exclusive mode")
            deliveries = [Delivery(ping(), f"g-{number}") for number in range(BURST)]
            answers = [asyncio.create_task(answered(endpoint, delivery)) for delivery in deliveries]

            async def as_many_as_may_are_storing() -> bool:
                async with pool.acquire() as other:
                    return bool(await other.fetchval(WAITING) == STORED_AT_ONCE)

            await until(as_many_as_may_are_storing, "deliveries wait for the table")
            async with transaction(busy) as beat:
                await beat.execute("select 1")
        assert {status for status, _ in await asyncio.gather(*answers)} == {200}
    await busy.close()
    assert await stored(pool) == BURST


async def test_a_delivery_that_is_accepted_costs_few_round_trips(pool: Pool) -> None:
    repo = "acme/load"
    async with transaction(pool) as conn:
        await repositories.insert(
            conn, repo=repo, image_name="load", tag_pattern="*", recipe=Recipe(), on_moved_tag=MovedTagPolicy.REBUILD
        )
    async with pool.acquire() as conn:
        await statements_of_a_delivery(conn, repo, "v1.0.0")  # a connection asks what some types are once in its life
        asked = await statements_of_a_delivery(conn, repo, "v1.1.0")
    assert 0 < len(asked) <= ROUND_TRIPS, asked


async def statements_of_a_delivery(conn: Connection, repo: str, tag: str) -> list[str]:
    """What taking in a tag of a registered repository asks the database."""
    body = json.dumps(push_payload(repo, tag, "0" * 40, "c" * 40, 8000)).encode()
    parsed = parse_event("push", "application/json", body)
    asked: list[str] = []
    with conn.query_logger(lambda record: asked.append(record.query)):
        outcome = await take_in(conn, guid=tag, event="push", content_type="application/json", body=body, parsed=parsed)
    assert isinstance(outcome, Accepted)
    await asyncio.sleep(0)  # asyncpg logs a statement in the next step of the loop
    return asked


def test_a_burst_of_the_same_seed_is_the_same_burst() -> None:
    first, again = (Burst(SECRET, ["acme/a", "acme/b"], 5).mixed(100) for _ in range(2))
    assert first == again
    assert len({request.guid for request in first}) == 90
