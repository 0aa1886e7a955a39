"""Removing a product's service, step by step, with crashes in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.engine.client import Engine
from app.engine.service import apply_service, read_service
from app.engine.shape import LABEL_PRODUCT, LABEL_ROLLOUT, PublishMode, ServiceTarget
from app.errors import EngineUnavailable
from app.postgres.pool import transaction
from app.products import store as products
from app.rollouts import store
from app.rollouts.model import RolloutKind, RolloutReason
from app.rollouts.work import ClaimedRollout, RolloutStage
from tests.engine.yard import TEST_LABEL
from tests.factories import VAULT, built_image, expire, product
from tests.ports import free_port

if TYPE_CHECKING:
    from app.postgres.pool import Pool
    from app.products.model import Product
    from tests.engine.yard import Yard


def stage(pool: Pool, engine: Engine) -> RolloutStage:
    return RolloutStage(pool, engine, VAULT, worker="tests", concurrency=1, lease_s=30, monitor_s=1, timeout_s=60)


@pytest.fixture
async def doomed(pool: Pool, yard: Yard) -> Product:
    """A product whose slug no other run has, on its way out."""
    made = await product(pool, await built_image(pool))
    slug = f"gone-{yard.run}-{made}-{free_port()}"
    yard.services.add(f"tagship-{slug}")
    async with transaction(pool) as conn:
        # Renamed, so that its env does not open any more: no reason to keep it.
        await conn.execute("update products set slug = $2 where id = $1", made, slug)
        await products.lock(conn, made)
        await store.enqueue(conn, [made], kind=RolloutKind.REMOVE, reason=RolloutReason.DELETE)
        found = await products.read(conn, made)
    assert found is not None
    return found


async def with_service(engine: Engine, yard: Yard, doomed: Product, owner: str) -> str:
    target = ServiceTarget(
        name=f"tagship-{doomed.slug}",
        image="busybox:latest",
        env={},
        replicas=0,
        port=free_port(),
        container_port=80,
        publish_mode=PublishMode.HOST,
        labels={LABEL_PRODUCT: owner, LABEL_ROLLOUT: "0"},
        container_labels={TEST_LABEL: yard.run},
        monitor_s=1,
    )

    async def ours() -> bool:
        return True

    await apply_service(engine, target, still_ours=ours)
    return target.name


async def claimed(working: RolloutStage) -> ClaimedRollout:
    job = await working.claim()
    assert job is not None
    return job


async def exists(pool: Pool, doomed: Product) -> bool:
    async with transaction(pool) as conn:
        return await products.read(conn, doomed.id) is not None


async def test_a_crash_between_service_and_row_is_finished_by_the_next_worker(
    pool: Pool, engine: Engine, yard: Yard, doomed: Product
) -> None:
    name = await with_service(engine, yard, doomed, doomed.slug)
    working = stage(pool, engine)
    job = await claimed(working)
    late = await working.run(job)
    assert await read_service(engine, name) is None
    assert await exists(pool, doomed), "the worker died before it could delete the row"
    await expire(pool, "rollouts", job.lease.row_id)
    settle = await working.run(await claimed(working))
    await settle()
    assert not await exists(pool, doomed)
    with pytest.raises(Exception, match="was lost"):
        await late()


async def test_a_service_of_that_name_that_is_not_ours_stays(
    pool: Pool, engine: Engine, yard: Yard, doomed: Product
) -> None:
    name = await with_service(engine, yard, doomed, "somebody-else")
    working = stage(pool, engine)
    await (await working.run(await claimed(working)))()
    assert not await exists(pool, doomed)
    assert await read_service(engine, name) is not None


async def test_a_removal_never_gives_up_however_long_the_engine_is_away(
    pool: Pool, engine: Engine, doomed: Product
) -> None:
    job = await claimed(stage(pool, engine))
    async with transaction(pool) as conn:
        await conn.execute("update rollouts set deadline_at = now() - interval '1 day'")
    async with Engine.open("unix:///nowhere/docker.sock") as away:
        with pytest.raises(EngineUnavailable) as raised:
            await stage(pool, away).run(job)
        await stage(pool, away).crash(job, raised.value)
    async with transaction(pool) as conn:
        await conn.execute("update rollouts set run_after = now()")
        rollout = await store.read(conn, job.rollout.id)
    assert rollout is not None
    assert not rollout.state.final
    assert rollout.progress == str(raised.value)
    working = stage(pool, engine)
    await (await working.run(await claimed(working)))()
    assert not await exists(pool, doomed)
