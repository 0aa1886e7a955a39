"""What a build of an image means for two hundred products costs no more statements than for two."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.postgres.pool import transaction
from app.products import store as products
from app.rollouts.model import RolloutState
from tests.factories import built_image, product

if TYPE_CHECKING:
    from app.builds.model import ImageId
    from app.postgres.pool import Pool


async def statements_of_a_build(pool: Pool, image_id: ImageId, tag: str) -> tuple[int, int]:
    """How many rollouts a build of the image queues, and with how many statements."""
    asked: list[str] = []
    async with transaction(pool) as conn:
        with conn.query_logger(lambda record: asked.append(record.query)):
            queued = await products.follow_build(conn, image_id, "bre", tag)
            await asyncio.sleep(0)  # asyncpg logs a statement in the next step of the loop
    return len(queued), len(asked)


async def test_one_build_queues_a_rollout_of_every_product_with_as_few_statements_as_for_two(pool: Pool) -> None:
    image_id = await built_image(pool, name="bre", tag="v1.0.0")
    for _ in range(200):
        await product(pool, image_id, wanted=True)
    await statements_of_a_build(pool, image_id, "v1.0.0")  # a connection asks what some types are once in its life
    count, first = await statements_of_a_build(pool, image_id, "v1.0.0")
    assert count == 200
    async with transaction(pool) as conn:
        await conn.execute("delete from products where id not in (select id from products order by id limit 2)")
    count, few = await statements_of_a_build(pool, image_id, "v1.0.0")
    assert count == 2
    assert first == few
    async with transaction(pool) as conn:
        states = await conn.fetch("select state, count(*) from rollouts group by state order by state")
    assert [tuple(row) for row in states] == [(RolloutState.PENDING, 2), (RolloutState.SUPERSEDED, 4)]
