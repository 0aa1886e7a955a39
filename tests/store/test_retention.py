"""Removing and deleting in the database: what guards it, what it leaves, and who does it when."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast
from uuid import uuid4

import asyncpg
import pytest

from app.access import audit
from app.access.model import Act, Subject, Via
from app.builds import store as builds
from app.builds.model import BuildState, Queue, Source, needs_build
from app.postgres.migrate import migrate
from app.postgres.pool import connect, transaction
from app.queue.lease import Beat
from app.repositories.recipe import Recipe
from app.retention import store
from app.retention.model import Chore, Policy, Why
from app.retention.upkeep import Upkeep
from app.retention.work import ChoreStage
from tests.factories import (
    COMMIT,
    built_image,
    claimed_build,
    expire,
    product,
    queue_build,
    queue_rollout,
    succeed,
)
from tests.postgres import fresh_database

if TYPE_CHECKING:
    from app.builds.model import ClaimedBuild, Image
    from app.engine.client import Engine
    from app.postgres.pool import Pool
    from app.retention.model import BuiltImage


async def made(pool: Pool, *, tag: str | None = None) -> ClaimedBuild:
    """A build that has made an image."""
    claimed = await claimed_build(pool, tag=tag)
    await succeed(pool, claimed)
    return claimed


async def listed(pool: Pool, build_id: int) -> BuiltImage:
    async with transaction(pool) as conn:
        return next(one for one in await store.built_images(conn) if one.build_id == build_id)


async def removed(pool: Pool, build_id: int) -> bool:
    one = await listed(pool, build_id)
    async with transaction(pool) as conn:
        return await store.remove(conn, one)


async def image_of(pool: Pool, image_id: int) -> Image | None:
    async with transaction(pool) as conn:
        return await builds.read_image(conn, image_id)


async def deleted(pool: Pool, image_id: int) -> store.Busy | list[store.InUse]:
    async with transaction(pool) as conn:
        image = await builds.lock_image(conn, image_id)
        assert image is not None
        return await store.delete(conn, image)


async def live(pool: Pool, product_id: int, rollout_id: int) -> None:
    """Let a rollout be what the product runs."""
    async with transaction(pool) as conn:
        await conn.execute("update rollouts set state = 'done', finished_at = now() where id = $1", rollout_id)
        await conn.execute("update products set live_rollout_id = $2 where id = $1", product_id, rollout_id)


async def pin(pool: Pool, product_id: int, image_id: int | None) -> None:
    async with transaction(pool) as conn:
        await conn.execute("update products set image_id = $2 where id = $1", product_id, image_id)


# ---------------------------------------------------------------- removing


async def test_an_image_whose_build_was_removed_says_so_and_is_built_again_for_the_same_commit(pool: Pool) -> None:
    one = await made(pool)
    assert (await listed(pool, one.id)).live
    assert await removed(pool, one.id)
    image = await image_of(pool, one.image_id)
    assert image is not None
    assert (image.live_build_id, image.image_ref, image.build_status) == (None, None, BuildState.SUCCESS)
    assert isinstance(image.removed_at, datetime)
    assert "no longer on the engine (removed by retention" in str(image.not_runnable)
    async with transaction(pool) as conn:
        latest = await builds.read(conn, one.id)
        assert needs_build(latest, COMMIT) == Queue()
        assert not await builds.hold(conn, one.id)
        assert [gone.build_id for gone in await store.to_purge(conn, None)] == [one.id]
    await made(pool, tag=one.tag)
    rebuilt = await image_of(pool, one.image_id)
    assert rebuilt is not None
    assert (rebuilt.removed_at, rebuilt.not_runnable) == (None, None)


async def test_an_image_that_was_never_built_says_that(pool: Pool) -> None:
    image_id, _ = await queue_build(pool)
    image = await image_of(pool, image_id)
    assert image is not None
    assert "has not been built (pending)" in str(image.not_runnable)


@pytest.mark.parametrize("need", ["pinned", "rolling out", "running", "held", "being rebuilt"])
async def test_what_came_to_be_needed_after_the_plan_is_not_removed(pool: Pool, need: str) -> None:
    one = await made(pool)
    other = await built_image(pool)
    seen = await listed(pool, one.id)
    if need == "being rebuilt":
        await queue_build(pool, tag=one.tag)
    else:
        product_id = await product(pool, one.image_id)
        if need in {"rolling out", "running"}:
            rollout_id = await queue_rollout(pool, product_id)
            await pin(pool, product_id, other)
            if need == "running":
                await live(pool, product_id, rollout_id)
        if need == "held":
            await pin(pool, product_id, other)
            async with transaction(pool) as conn:
                await conn.execute("update products set held_build_id = $2 where id = $1", product_id, one.id)
    async with transaction(pool) as conn:
        assert not await store.remove(conn, seen)
    assert (await listed(pool, one.id)).live


async def test_an_older_build_goes_while_its_image_is_pinned_and_the_live_one_stays(pool: Pool) -> None:
    first = await made(pool, tag="v1")
    second = await made(pool, tag="v1")
    await product(pool, second.image_id)
    assert await removed(pool, first.id)
    assert not await removed(pool, second.id)
    image = await image_of(pool, second.image_id)
    assert image is not None
    assert image.live_build_id == second.id


async def test_a_rollout_that_is_being_queued_is_waited_for(pool: Pool) -> None:
    one = await made(pool)
    seen = await listed(pool, one.id)
    product_id = await product(pool, one.image_id)
    await queue_rollout(pool, product_id)
    async with transaction(pool) as conn:
        await conn.execute("update rollouts set state = 'superseded', finished_at = now()")
        await conn.execute("update products set image_id = null")

    async def remove() -> bool:
        async with transaction(pool) as conn:
            return await store.remove(conn, seen)

    async with transaction(pool) as conn:
        assert await builds.hold(conn, one.id)
        removing = asyncio.create_task(remove())
        done, _ = await asyncio.wait({removing}, timeout=0.3)
        assert not done, "it must wait for whoever holds the build"
        await conn.execute("update rollouts set state = 'pending', finished_at = null")
    assert not await removing


async def test_uses_are_what_runs_is_pinned_and_was_run(pool: Pool) -> None:
    versions = [await made(pool, tag=f"v{number}") for number in range(1, 6)]
    product_id = await product(pool, versions[0].image_id)
    for version in versions:
        await pin(pool, product_id, version.image_id)
        await live(pool, product_id, await queue_rollout(pool, product_id))
    async with transaction(pool) as conn:
        found = await store.uses(conn, keep=2)
    ids = [version.id for version in versions]
    assert [use.build_id for use in found if use.why is Why.RUNS] == [ids[4]]
    assert [use.build_id for use in found if use.why is Why.PINNED] == [ids[4]]
    ran = sorted((use.rank, use.build_id) for use in found if use.why is Why.ROLLBACK)
    assert ran == [(1, ids[4]), (2, ids[3]), (3, ids[2])]


# ---------------------------------------------------------------- deleting


async def test_a_deleted_image_is_gone_at_once_and_its_row_when_the_engine_is_rid_of_it(pool: Pool) -> None:
    one = await made(pool, tag="v1")
    await made(pool, tag="v1")
    async with transaction(pool) as conn:
        await conn.execute("insert into build_log (build_id, seq, data) values ($1, 1, 'x')", one.id)
    assert await deleted(pool, one.image_id) == []
    assert await image_of(pool, one.image_id) is None
    async with transaction(pool) as conn:
        assert await builds.list_images(conn) == []
        assert await builds.lock_image(conn, one.image_id) is None
        assert not await store.delete_purged(conn, one.image_id)
        waiting = await store.to_purge(conn, one.image_id)
        assert len(waiting) == 2
        assert await store.images_to_delete(conn) == []
        for gone in waiting:
            await store.mark_purged(conn, gone.build_id)
        assert await store.images_to_delete(conn) == [one.image_id]
        assert await store.delete_purged(conn, one.image_id)
        for table in ("docker_images", "builds", "build_log"):
            assert await conn.fetchval(f"select count(*) from {table}") == 0


async def test_an_image_that_never_was_built_is_deleted_at_once(pool: Pool) -> None:
    image_id, build_id = await queue_build(pool)
    async with transaction(pool) as conn:
        assert await builds.cancel(conn, build_id) is builds.Cancel.ASKED
    assert await deleted(pool, image_id) == []
    async with transaction(pool) as conn:
        assert await store.delete_purged(conn, image_id)


async def test_what_was_removed_is_read_a_page_at_a_time(pool: Pool) -> None:
    one = await made(pool, tag="v1")
    two = await made(pool, tag="v1")
    await deleted(pool, one.image_id)
    async with transaction(pool) as conn:
        first = await store.to_purge(conn, None, limit=1)
        assert [gone.build_id for gone in first] == [one.id]
        assert [gone.build_id for gone in await store.to_purge(conn, None, after=one.id)] == [two.id]


@pytest.mark.parametrize("need", ["pinned", "rolling out", "running", "held"])
async def test_an_image_that_a_product_needs_is_not_deleted_and_the_product_is_named(pool: Pool, need: str) -> None:
    one = await made(pool)
    product_id = await product(pool, one.image_id)
    if need != "pinned":
        rollout_id = await queue_rollout(pool, product_id)
        await pin(pool, product_id, await built_image(pool))
        if need in {"running", "held"}:
            await live(pool, product_id, rollout_id if need == "running" else await queue_rollout(pool, product_id))
        if need == "held":
            async with transaction(pool) as conn:
                await conn.execute("update products set held_build_id = $2 where id = $1", product_id, one.id)
    found = await deleted(pool, one.image_id)
    assert isinstance(found, list)
    assert [needed.id for needed in found] == [product_id]
    assert await image_of(pool, one.image_id) is not None


async def test_an_image_that_is_being_built_is_not_deleted(pool: Pool) -> None:
    image_id, _ = await queue_build(pool)
    assert await deleted(pool, image_id) == store.Busy()


async def test_an_image_that_products_only_ran_once_may_be_deleted_and_their_history_stays(pool: Pool) -> None:
    one = await made(pool)
    product_id = await product(pool, one.image_id)
    await live(pool, product_id, await queue_rollout(pool, product_id))
    await pin(pool, product_id, await built_image(pool))
    await live(pool, product_id, await queue_rollout(pool, product_id))
    assert await deleted(pool, one.image_id) == []
    async with transaction(pool) as conn:
        await store.mark_purged(conn, one.id)
        assert await store.delete_purged(conn, one.image_id)
        assert await conn.fetchval("select count(*) from rollouts where product_id = $1", product_id) == 2


@pytest.mark.parametrize("by", ["tag", "hand"])
async def test_an_image_that_is_wanted_again_while_it_is_deleted_stays(pool: Pool, by: str) -> None:
    one = await made(pool, tag="v1")
    await deleted(pool, one.image_id)
    names = {"name": "bre", "tag": "v1", "repo": "acme/bre", "ref": "refs/tags/v1"}
    async with transaction(pool) as conn:
        if by == "tag":
            image_id, latest = await builds.upsert_image(conn, **names)
            assert needs_build(latest, COMMIT) == Queue()
        else:
            again = await builds.insert_image(conn, **names)
            assert again is not None
            image_id = again
        assert image_id == one.image_id
        await builds.enqueue(conn, image_id, source=Source.API, commit=COMMIT, recipe=Recipe())
        await store.mark_purged(conn, one.id)
        assert not await store.delete_purged(conn, image_id)
    image = await image_of(pool, one.image_id)
    assert image is not None
    assert image.build_status is BuildState.PENDING


async def test_only_one_row_takes_a_name_that_is_not_being_deleted(pool: Pool) -> None:
    await made(pool, tag="v1")
    async with transaction(pool) as conn:
        assert await builds.insert_image(conn, name="bre", tag="v1", repo="acme/bre", ref="refs/tags/v1") is None


async def test_a_build_that_made_nothing_cannot_be_removed(pool: Pool) -> None:
    claimed = await claimed_build(pool)
    with pytest.raises(asyncpg.CheckViolationError):
        async with transaction(pool) as conn:
            await conn.execute("update builds set removed_at = now() where id = $1", claimed.id)


async def test_a_manifest_that_two_builds_share_is_needed_until_one_is_left(pool: Pool) -> None:
    digests = [await claimed_build(pool) for _ in range(2)]
    for claimed in digests:
        await succeed(pool, claimed, digest="sha256:" + "c" * 64)
    first, second = (claimed.id for claimed in digests)
    exact = "sha256:" + "c" * 64
    async with transaction(pool) as conn:
        assert await store.digest_is_needed(conn, first, exact)
    assert await removed(pool, second)
    async with transaction(pool) as conn:
        assert not await store.digest_is_needed(conn, first, exact)


# ---------------------------------------------------------------- chores


def stage(pool: Pool, interval_h: float = 24) -> ChoreStage:
    """A stage that finds nothing to remove, and so needs no engine."""
    policy = Policy(10, timedelta(days=14), "base:latest")
    upkeep = Upkeep(pool, cast("Engine", None), None, policy, None)
    return ChoreStage(pool, upkeep, worker="tests", interval_h=interval_h)


async def due(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await conn.execute("update chores set run_after = now() - interval '1 second'")


async def test_a_chore_is_done_by_one_process_at_a_time(pool: Pool) -> None:
    await due(pool)
    claims = await asyncio.gather(*[stage(pool).claim() for _ in range(5)])
    assert sorted(claim.chore for claim in claims if claim) == [Chore.ORPHANS, Chore.PURGE, Chore.RETENTION]


async def test_retention_that_is_off_is_never_claimed(pool: Pool) -> None:
    await due(pool)
    claims = [await stage(pool, interval_h=0).claim() for _ in range(3)]
    assert sorted(claim.chore for claim in claims if claim) == [Chore.ORPHANS, Chore.PURGE]


async def test_a_process_that_begins_lets_orphans_be_looked_for_once(pool: Pool) -> None:
    working = stage(pool)
    await pool.execute("update chores set run_after = now() + interval '1 day'")
    assert await working.claim() is None
    await working.recover()
    job = await working.claim()
    assert job is not None
    assert job.chore is Chore.ORPHANS
    async with transaction(pool) as conn:
        assert await store.settle(conn, job.lease, 60, done=True)
    await working.recover()
    assert await working.claim() is None


# ---------------------------------------------------------------- what is known of what is on the engine


async def test_records_say_which_builds_are_over_and_what_they_made(pool: Pool) -> None:
    done, running = await made(pool), await claimed_build(pool)
    async with transaction(pool) as conn:
        records = await store.records(conn, [done.id, running.id, 9999], [], default_image="base:latest")
    assert set(records.builds) == {done.id, running.id}
    assert records.builds[done.id].over
    assert records.builds[done.id].succeeded
    assert len(records.builds[done.id].made) == 1
    assert not records.builds[running.id].over
    assert (records.builds[done.id].at_work, records.builds[running.id].at_work) == (None, running.attempt)
    assert records.last_build_id == running.id
    assert records.claimed_since is not None


async def test_what_was_purged_is_not_on_record(pool: Pool) -> None:
    done = await made(pool)
    await removed(pool, done.id)
    async with transaction(pool) as conn:
        known = (await store.records(conn, [done.id], [], default_image="base:latest")).builds[done.id]
        assert known.made
        await store.mark_purged(conn, done.id)
        known = (await store.records(conn, [done.id], [], default_image="base:latest")).builds[done.id]
        assert not known.made


async def test_a_product_is_gone_only_if_its_removal_was_asked_for_and_none_has_its_name(pool: Pool) -> None:
    image_id = await built_image(pool)
    asked, _ = await product(pool, image_id), await product(pool, image_id)
    slugs = [row["slug"] for row in await pool.fetch("select slug from products order by id")]
    async with transaction(pool) as conn:
        act = Act(actor="tests", token_id=None, via=Via.API, address=None, action="delete_product")
        await audit.record(conn, act, Subject("product", asked, slugs[0]))
        assert await store.products_gone(conn, [*slugs, "never-heard-of"]) == frozenset()
        await conn.execute("delete from products")
        assert await store.products_gone(conn, [*slugs, "never-heard-of"]) == {slugs[0]}


async def test_every_database_is_an_installation_of_its_own(pool: Pool, server: str, template: str) -> None:
    async with transaction(pool) as conn:
        first = await store.installation(conn)
    claimed = await claimed_build(pool)
    assert claimed.installation == first
    assert first in claimed.name_on_engine(1)
    async with fresh_database(server) as dsn:
        await migrate(dsn)
        other = await connect(dsn)
        try:
            assert await store.installation(other) != first
        finally:
            await other.close()


async def test_a_chore_that_is_done_waits_for_its_next_turn(pool: Pool) -> None:
    working = stage(pool, interval_h=0)
    job = await working.claim()
    assert job is not None
    await (await working.run(job))()
    assert await working.claim() is None
    assert await working.renew(job) is Beat.LOST
    await due(pool)
    assert await working.claim() is not None


async def test_a_chore_of_a_lost_worker_is_claimed_again_and_the_lost_one_writes_nothing(pool: Pool) -> None:
    working = stage(pool, interval_h=0)
    job = await working.claim()
    assert job is not None
    await expire(pool, "chores", job.lease.row_id)
    again = await working.claim()
    assert again is not None
    async with transaction(pool) as conn:
        assert not await store.settle(conn, replace(job.lease, token=uuid4()), 0, done=True)
        assert not await store.settle(conn, job.lease, 0, done=True)


async def test_a_chore_that_is_handed_back_is_due_at_once_and_one_that_crashed_is_not(pool: Pool) -> None:
    working = stage(pool, interval_h=0)
    job = await working.claim()
    assert job is not None
    await working.hand_back(job)
    again = await working.claim()
    assert again is not None
    await working.crash(again, RuntimeError())
    assert await working.claim() is None
