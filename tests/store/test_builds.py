"""The build queue: who gets what, what a lease protects, and what a newer build does to an older one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from app.builds import store
from app.builds.model import BuildState, Source
from app.builds.work import BuildStage
from app.postgres.pool import transaction
from app.queue.lease import Beat
from app.repositories.recipe import Recipe
from tests.factories import claim_build, claimed_build, expire, queue_build, succeed
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from app.builds.model import Build
    from app.engine.client import Engine
    from app.github.client import GitHubClient
    from app.postgres.pool import Pool


async def read(pool: Pool, build_id: int) -> Build:
    async with transaction(pool) as conn:
        build = await store.read(conn, build_id)
    assert build is not None
    return build


def stage(pool: Pool, folder: Path) -> BuildStage:
    """A stage that is only asked to settle, and so needs neither engine nor GitHub."""
    return BuildStage(
        pool,
        engine=cast("Engine", None),
        github=cast("GitHubClient", None),
        worker="tests",
        concurrency=1,
        lease_s=30,
        timeout_s=60,
        spool_dir=folder,
        github_api_url="https://api.github.com",
    )


async def test_every_build_is_claimed_once_however_many_workers_ask(pool: Pool) -> None:
    queued = {(await queue_build(pool))[1] for _ in range(4)}
    claims = await asyncio.gather(*[claim_build(pool) for _ in range(5)])
    assert sorted(claim.id for claim in claims if claim) == sorted(queued)
    assert claims.count(None) == 1


async def test_two_builds_of_one_image_never_run_at_the_same_time(pool: Pool) -> None:
    first = await claimed_build(pool, tag="v1")
    _, second = await queue_build(pool, tag="v1")
    assert await claim_build(pool) is None
    async with transaction(pool) as conn:
        assert await store.renew(conn, first.lease) is Beat.CANCEL
        assert await store.cancel_if_wanted(conn, first.lease, "a newer one")
    claimed = await claim_build(pool)
    assert claimed is not None
    assert claimed.id == second


async def test_a_newer_build_cancels_one_that_nobody_works_on(pool: Pool) -> None:
    _, older = await queue_build(pool, tag="v1")
    _, newer = await queue_build(pool, tag="v1")
    assert (await read(pool, older)).state is BuildState.CANCELLED
    assert (await read(pool, newer)).state is BuildState.PENDING


async def test_an_older_build_that_ends_late_does_not_become_what_products_run(pool: Pool) -> None:
    older = await claimed_build(pool, tag="v1")
    _, newer = await queue_build(pool, tag="v1")
    async with transaction(pool) as conn:
        made = await store.succeed(conn, older.lease, image_ref="x", exact_ref="x", digest="x", size_bytes=1)
        assert made is None
        assert await store.cancel_if_wanted(conn, older.lease, "a newer one")
        image = await store.read_image(conn, older.image_id)
    assert image is not None
    assert (image.live_build_id, image.latest_build_id) == (None, newer)


async def test_who_lost_the_lease_can_write_nothing(pool: Pool, tmp_path: Path) -> None:
    lost = await claimed_build(pool)
    await expire(pool, "builds", lost.id)
    await stage(pool, tmp_path).recover()
    async with transaction(pool) as conn:
        assert await store.renew(conn, lost.lease) is Beat.LOST
        assert not await store.append_log(conn, lost.lease, 1, "late")
        assert not await store.fail(conn, lost.lease, "late")
        assert not await store.retry(conn, lost.lease, 1)
        assert not await store.hand_back(conn, lost.lease)
        made = await store.succeed(conn, lost.lease, image_ref="x", exact_ref="x", digest="x", size_bytes=1)
        assert made is None
    assert (await read(pool, lost.id)).state is BuildState.PENDING


async def test_a_lost_worker_costs_an_attempt_and_three_are_all(pool: Pool, tmp_path: Path) -> None:
    _, build_id = await queue_build(pool)
    for attempt in (1, 2, 3):
        async with transaction(pool) as conn:
            await conn.execute("update builds set run_after = now()")
        claimed = await claim_build(pool)
        assert claimed is not None
        assert claimed.attempt == attempt
        await expire(pool, "builds", build_id)
        await stage(pool, tmp_path).recover()
    build = await read(pool, build_id)
    assert build.state is BuildState.FAILED
    assert "worker was lost; 3 attempts were made" in str(build.error)


async def test_a_living_lease_is_left_alone(pool: Pool, tmp_path: Path) -> None:
    claimed = await claimed_build(pool)
    await stage(pool, tmp_path).recover()
    assert (await read(pool, claimed.id)).state is BuildState.BUILDING


async def test_a_build_whose_cancel_was_asked_of_a_lost_worker_is_cancelled(pool: Pool, tmp_path: Path) -> None:
    claimed = await claimed_build(pool)
    async with transaction(pool) as conn:
        assert await store.cancel(conn, claimed.id) is store.Cancel.ASKED
    await expire(pool, "builds", claimed.id)
    await stage(pool, tmp_path).recover()
    assert (await read(pool, claimed.id)).state is BuildState.CANCELLED


async def test_a_build_that_is_cancelled_in_the_last_moment_ships_nothing(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    async with transaction(pool) as conn:
        assert await store.cancel(conn, claimed.id) is store.Cancel.ASKED
        made = await store.succeed(conn, claimed.lease, image_ref="x", exact_ref="x", digest="x", size_bytes=1)
        assert made is None
        assert await store.cancel_if_wanted(conn, claimed.lease, "cancelled")
    assert (await read(pool, claimed.id)).state is BuildState.CANCELLED


async def test_a_cancelled_build_is_neither_tried_again_nor_handed_back(pool: Pool, tmp_path: Path) -> None:
    for ending in ("crash", "hand_back"):
        claimed = await claimed_build(pool)
        async with transaction(pool) as conn:
            assert await store.cancel(conn, claimed.id) is store.Cancel.ASKED
        await (
            stage(pool, tmp_path).crash(claimed, OSError())
            if ending == "crash"
            else stage(pool, tmp_path).hand_back(claimed)
        )
        assert (await read(pool, claimed.id)).state is BuildState.CANCELLED


async def test_a_delivery_that_may_have_been_overtaken_is_looked_up_anew(pool: Pool) -> None:
    first = await claimed_build(pool, tag="v1")
    assert not first.tag_moved
    await succeed(pool, first)
    async with transaction(pool) as conn:
        image_id, _ = await store.upsert_image(conn, name="bre", tag="v1", repo="acme/bre", ref="refs/tags/v1")
        await store.enqueue(conn, image_id, source=Source.DELIVERY, commit="b" * 40, recipe=Recipe())
    second = await claim_build(pool)
    assert second is not None
    assert second.tag_moved


async def test_a_stopping_worker_hands_back_and_never_uses_up_the_last_attempt(pool: Pool) -> None:
    _, build_id = await queue_build(pool)
    for attempt in (1, 2, 3, 3):
        claimed = await claim_build(pool)
        assert claimed is not None
        assert claimed.attempt == attempt
        async with transaction(pool) as conn:
            assert await store.hand_back(conn, claimed.lease)
    assert (await read(pool, build_id)).state is BuildState.PENDING


async def test_a_cancel_that_meets_the_end_of_an_attempt_sees_what_became_of_it(pool: Pool) -> None:
    _, build_id = await queue_build(pool)
    claimed = await claim_build(pool)
    assert claimed is not None

    async def cancel() -> store.Cancel:
        async with transaction(pool) as conn:
            return await store.cancel(conn, build_id)

    async with transaction(pool) as conn:
        assert not await store.cancel_if_wanted(conn, claimed.lease, "cancelled")
        cancelling = asyncio.create_task(cancel())
        waiting = "select exists (select from pg_locks where not granted)"

        async def waits() -> bool:
            return bool(await pool.fetchval(waiting))

        await until(waits, "the cancel waits for the end of the attempt")
        assert await store.retry(conn, claimed.lease, 0)
    assert await cancelling is store.Cancel.ASKED
    assert (await read(pool, build_id)).state is BuildState.CANCELLED
