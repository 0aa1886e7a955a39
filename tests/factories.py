"""Rows in the states that a test needs, made by the same functions that make them in production."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from app.builds import store as builds
from app.builds.model import Build, BuildId, BuildState, ClaimedBuild, ImageId, Source
from app.engine.shape import PublishMode
from app.postgres.pool import transaction
from app.products import store as products
from app.products.model import ProductFields, ProductId, ProductStatus
from app.repositories.recipe import Recipe
from app.rollouts import store as rollouts
from app.rollouts.frozen import seal_value
from app.rollouts.model import Rollout, RolloutId, RolloutKind, RolloutReason
from app.sealing import Vault

if TYPE_CHECKING:
    from app.postgres.pool import Pool
    from app.queue.lease import Lease

VAULT: Final = Vault.from_secret("a secret key for tests only")
NUMBERS: Final = itertools.count(1)
COMMIT: Final = "a" * 40


def build_in(state: BuildState, commit: str | None, *, removed_at: datetime | None = None) -> Build:
    """A build as a decision sees it, without a row."""
    return Build(
        id=BuildId(7),
        image_id=ImageId(1),
        source=Source.DELIVERY,
        commit_sha=commit,
        recipe=Recipe(),
        state=state,
        attempt=1,
        image_ref=None,
        digest=None,
        size_bytes=None,
        error=None,
        created_at=datetime(2026, 11, 27, tzinfo=UTC),
        started_at=None,
        finished_at=None,
        removed_at=removed_at,
    )


async def queue_build(pool: Pool, *, name: str = "bre", tag: str | None = None) -> tuple[ImageId, BuildId]:
    """A pending build of a new image, or another one of an image that exists."""
    tag = tag or f"v1.{next(NUMBERS)}.0"
    async with transaction(pool) as conn:
        image_id, _ = await builds.upsert_image(conn, name=name, tag=tag, repo="acme/bre", ref=f"refs/tags/{tag}")
        build_id = await builds.enqueue(conn, image_id, source=Source.API, commit=COMMIT, recipe=Recipe())
    return image_id, build_id


async def claim_build(pool: Pool, *, lease_s: float = 30) -> ClaimedBuild | None:
    async with transaction(pool) as conn:
        return await builds.claim(conn, token=uuid4(), lease_s=lease_s, worker="tests")


async def claimed_build(pool: Pool, *, name: str = "bre", tag: str | None = None) -> ClaimedBuild:
    """A build under a lease."""
    await queue_build(pool, name=name, tag=tag)
    claimed = await claim_build(pool)
    assert claimed is not None
    return claimed


async def succeed(pool: Pool, claimed: ClaimedBuild, *, digest: str | None = None) -> list[RolloutId]:
    """End a claimed build well; the rollouts that follow from it."""
    made = digest or f"sha256:{next(NUMBERS):064x}"
    async with transaction(pool) as conn:
        await builds.lock_image(conn, claimed.image_id)
        image_id = await builds.succeed(
            conn, claimed.lease, image_ref="bre:x", exact_ref=made, digest=made, size_bytes=1
        )
        assert image_id is not None
        await builds.set_live(conn, image_id, claimed.id)
        return await products.follow_build(conn, image_id, claimed.name, claimed.tag)


async def built_image(pool: Pool, *, name: str = "bre", tag: str | None = None) -> ImageId:
    claimed = await claimed_build(pool, name=name, tag=tag)
    await succeed(pool, claimed)
    return claimed.image_id


async def product(
    pool: Pool,
    image_id: int,
    *,
    wanted: bool = False,
    status: ProductStatus = ProductStatus.STOPPED,
    track: str | None = None,
) -> ProductId:
    number = next(NUMBERS)
    slug = f"product-{number}"
    env = {"CUSTOMER": seal_value(VAULT, slug, "CUSTOMER", "x")}
    fields = ProductFields(f"Product {number}", 9000 + number, None, PublishMode.HOST, 1, image_id, track, env, None)
    async with transaction(pool) as conn:
        product_id = await products.insert(conn, slug=slug, fields=fields, status=status)
        await conn.execute("update products set wanted = $2 where id = $1", product_id, wanted)
    return product_id


async def queue_rollout(pool: Pool, product_id: int, kind: RolloutKind = RolloutKind.DEPLOY) -> RolloutId:
    reason = RolloutReason.START if kind is RolloutKind.DEPLOY else RolloutReason.STOP
    async with transaction(pool) as conn:
        await products.lock(conn, product_id)
        [rollout_id] = await rollouts.enqueue(conn, [product_id], kind=kind, reason=reason)
    return rollout_id


async def claim_rollout(pool: Pool) -> tuple[Lease, Rollout] | None:
    async with transaction(pool) as conn:
        return await rollouts.claim(conn, token=uuid4(), lease_s=30, worker="tests", timeout_s=600)


async def expire(pool: Pool, table: str, row_id: int) -> None:
    """Let the time of a lease pass."""
    async with transaction(pool) as conn:
        await conn.execute(f"update {table} set lease_until = now() - $1::interval where id = $2", timedelta(1), row_id)
