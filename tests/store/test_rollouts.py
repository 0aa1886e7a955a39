"""Rollouts as rows: one at a time for each product, frozen when queued, and what a built image queues."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from app.builds import store as builds
from app.postgres.pool import transaction
from app.products import store as products
from app.products.model import ProductStatus
from app.queue.lease import Beat
from app.rollouts import store
from app.rollouts.frozen import open_env
from app.rollouts.model import RolloutKind, RolloutReason, RolloutState
from tests.factories import (
    VAULT,
    built_image,
    claim_build,
    claim_rollout,
    claimed_build,
    expire,
    product,
    queue_build,
    queue_rollout,
    succeed,
)
from tests.waiting import until

if TYPE_CHECKING:
    from app.builds.model import ClaimedBuild
    from app.postgres.pool import Connection, Pool
    from app.rollouts.model import Rollout


async def read(pool: Pool, rollout_id: int) -> Rollout:
    async with transaction(pool) as conn:
        rollout = await store.read(conn, rollout_id)
    assert rollout is not None
    return rollout


async def status_of(pool: Pool, product_id: int) -> str:
    async with transaction(pool) as conn:
        status: str = await conn.fetchval("select status from products where id = $1", product_id)
    return status


async def test_a_rollout_keeps_what_the_product_was_when_it_was_queued(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))
    rollout = await read(pool, await queue_rollout(pool, made))
    async with transaction(pool) as conn:
        await conn.execute("update products set replicas = 7, port = 1, env_sealed = '{}' where id = $1", made)
    assert await read(pool, rollout.id) == rollout
    assert open_env(VAULT, rollout.slug, rollout.env_sealed) == {"CUSTOMER": "x"}


async def test_a_newer_rollout_takes_over_and_the_older_worker_is_fenced_off(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))
    await queue_rollout(pool, made)
    claimed = await claim_rollout(pool)
    assert claimed is not None
    lease, _ = claimed
    newer = await queue_rollout(pool, made)
    assert (await read(pool, lease.row_id)).state is RolloutState.SUPERSEDED
    async with transaction(pool) as conn:
        assert await store.renew(conn, lease) is Beat.LOST
        assert not await store.mark_converging(conn, lease, "service")
        assert not await store.settle(conn, lease, RolloutState.DONE, status="running", live=None)
    again = await claim_rollout(pool)
    assert again is not None
    assert again[1].id == newer


async def test_the_rollout_of_a_lost_worker_is_claimed_again_where_it_was(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))
    await queue_rollout(pool, made)
    first = await claim_rollout(pool)
    assert first is not None
    async with transaction(pool) as conn:
        assert await store.mark_converging(conn, first[0], "service")
    assert await claim_rollout(pool) is None
    await expire(pool, "rollouts", first[0].row_id)
    second = await claim_rollout(pool)
    assert second is not None
    assert second[1].state is RolloutState.CONVERGING
    assert second[1].deadline_at == first[1].deadline_at
    async with transaction(pool) as conn:
        assert not await store.record_progress(conn, first[0], "late", None)


async def test_settling_says_what_the_product_is(pool: Pool) -> None:
    made = await product(pool, await built_image(pool))
    await queue_rollout(pool, made)
    assert await status_of(pool, made) == "deploying"
    claimed = await claim_rollout(pool)
    assert claimed is not None
    async with transaction(pool) as conn:
        assert await store.settle(conn, claimed[0], RolloutState.DONE, status="running", live=claimed[1].id)
    assert await status_of(pool, made) == "running"


async def test_a_failure_without_its_reason_is_refused_by_the_table(pool: Pool) -> None:
    await queue_rollout(pool, await product(pool, await built_image(pool)))
    claimed = await claim_rollout(pool)
    assert claimed is not None
    with pytest.raises(asyncpg.CheckViolationError):
        async with transaction(pool) as conn:
            await store.settle(conn, claimed[0], RolloutState.FAILED, status="failed", live=None)


async def test_one_built_tag_moves_every_product_that_follows_it(pool: Pool) -> None:
    first = await built_image(pool, tag="v2.0.0")
    running = [await product(pool, first, wanted=True, track="^2") for _ in range(3)]
    stopped = await product(pool, first, track="^2")
    fixed = await product(pool, first, wanted=True)
    foreign = await product(pool, await built_image(pool, name="other", tag="v2.0.0"), track="^2")
    claimed = await claimed_build(pool, tag="v2.1.0")
    queued = await succeed(pool, claimed, digest="sha256:new")
    made = [await read(pool, rollout_id) for rollout_id in queued]
    assert sorted(rollout.product_id for rollout in made) == running
    assert {(rollout.image, rollout.reason) for rollout in made} == {("sha256:new", RolloutReason.PIN_MOVED)}
    async with transaction(pool) as conn:
        rows = await conn.fetch("select id from products where image_id = $1 order by id", claimed.image_id)
    assert [row["id"] for row in rows] == [*running, stopped]
    assert {await status_of(pool, fixed), await status_of(pool, foreign)} == {"stopped"}


async def test_a_product_that_waits_for_its_image_starts_with_it(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    waiting = await product(pool, claimed.image_id, status=ProductStatus.AWAITING_IMAGE)
    [rollout_id] = await succeed(pool, claimed)
    assert (await read(pool, rollout_id)).reason is RolloutReason.IMAGE_BUILT
    assert await status_of(pool, waiting) == "deploying"


async def test_a_product_that_is_being_stopped_stays_stopped_whatever_is_built(pool: Pool) -> None:
    made = await product(pool, await built_image(pool, tag="v3.0.0"), wanted=True, track="^3")
    await queue_rollout(pool, made, RolloutKind.STOP)
    assert await succeed(pool, await claimed_build(pool, tag="v3.1.0")) == []


async def test_of_two_tags_that_end_together_the_newer_one_wins(pool: Pool) -> None:
    made = await product(pool, await built_image(pool, tag="v4.0.0"), wanted=True, track="^4")
    older, newer = await claimed_build(pool, tag="v4.1.0"), await claimed_build(pool, tag="v4.2.0")
    async with transaction(pool) as first:
        await builds.lock_image(first, older.image_id)
        await settle(first, older)
        waiting = asyncio.create_task(succeed(pool, newer))
        await until_blocked(pool)
    [rollout_id] = await waiting
    assert (await read(pool, rollout_id)).image_id == newer.image_id
    async with transaction(pool) as conn:
        assert await conn.fetchval("select image_id from products where id = $1", made) == newer.image_id


async def settle(conn: Connection, claimed: ClaimedBuild) -> None:
    digest = f"sha256:{claimed.id}"
    await builds.succeed(conn, claimed.lease, image_ref="x", exact_ref=digest, digest=digest, size_bytes=1)
    await builds.set_live(conn, claimed.image_id, claimed.id)
    await products.follow_build(conn, claimed.image_id, claimed.name, claimed.tag)


async def until_blocked(pool: Pool) -> None:
    """Wait until some transaction waits for a lock of another."""

    async def look() -> bool:
        async with pool.acquire() as conn:
            return bool(await conn.fetchval("select count(*) from pg_locks where not granted"))

    await until(look, "a transaction waits", 10)


async def test_everything_at_once_never_deadlocks(pool: Pool) -> None:
    """Builds that end, tags that move, products that start and stop, rollouts that settle: all lock in one order."""
    image_id = await built_image(pool, tag="v5.0.0")
    running = [await product(pool, image_id, wanted=True, track="^5") for _ in range(4)]

    async def build(number: int) -> None:
        await queue_build(pool, tag=f"v5.{number % 3 + 1}.0")
        claimed = await claim_build(pool)
        if claimed is not None:
            async with transaction(pool) as conn:
                await builds.lock_image(conn, claimed.image_id)
                if await conn.fetchval("select cancel_requested_at is null from builds where id = $1", claimed.id):
                    await settle(conn, claimed)
                else:
                    await builds.cancel_if_wanted(conn, claimed.lease, "a newer one")

    async def start_and_stop(number: int) -> None:
        await queue_rollout(pool, running[number % 4], RolloutKind.DEPLOY if number % 2 else RolloutKind.STOP)

    async def roll_out(_number: int) -> None:
        if claimed := await claim_rollout(pool):
            async with transaction(pool) as conn:
                await store.settle(conn, claimed[0], RolloutState.DONE, status="running", live=claimed[1].id)

    await asyncio.gather(*[work(n) for n in range(40) for work in (build, start_and_stop, roll_out)])
